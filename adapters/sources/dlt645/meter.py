"""One meter on a line: what it is asked, and what it refused. Asks nothing itself.

A meter that has no such data is not asked for it again until the next day, the next registry or
the next time it was down: it may be another meter by then. One that refuses for another reason is
asked again, and only left in peace about that after ``PATIENCE`` times; one that is silent about it
and answers other things, after ``SILENCES``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Final

from adapters.sources.dlt645.plan import Plan, plan
from adapters.sources.polling import Failure, Polled, What
from collector.profile import Profile
from collector.registry import Device

PATIENCE: Final = 3
SILENCES: Final = 2
DAY_MS: Final = 86_400_000


class Meter(Polled):
    """``pattern`` is its address as written; ``address`` the whole one, once it is known.
    ``empty`` says why there is nothing to ask it for, when it refused everything."""

    __slots__ = (
        "_changed",
        "_forget_at",
        "_ids",
        "_profile",
        "_refused",
        "_whole",
        "_without",
        "address",
        "empty",
        "pattern",
        "plan",
    )

    def __init__(
        self, device: Device, pattern: str, profile: Profile, ids: Mapping[str, int]
    ) -> None:
        super().__init__(device)
        self.pattern = pattern
        self.address = "" if "A" in pattern else pattern
        self.empty = ""
        self._profile = profile
        self._ids = ids
        self._without: dict[int, str] = {}
        self._refused: Counter[int] = Counter()
        self._forget_at = 0
        self._changed = False
        self._whole = plan(device, profile, ids)
        self.plan: Plan = self._whole
        self.wanted = bool(self.plan.questions)

    @property
    def points(self) -> int:
        return len(self._whole.points)

    def as_read(self) -> tuple[object, ...]:
        return self.where(), self.pattern, self._profile, self._whole.points

    def ahead(self, answered: Collection[int]) -> int | None:
        """What to ask next in a poll in which this was ``answered``; None: that is all."""
        return next((one for one in self.plan.questions if one not in answered), None)

    def refuse(self, identifier: int, why: str, now: int, patience: int = 1) -> bool:
        """It refused ``identifier``, for the ``patience``th time at least: then True, and it is
        left out from now on (a block: its values are asked for one by one)."""
        self._refused[identifier] += 1
        if self._refused[identifier] < patience:
            return False
        self._without[identifier] = why
        self._changed = True
        self._forget_at = self._forget_at or now + DAY_MS
        self.plan = plan(self.device, self._profile, self._ids, self._without)
        self.wanted = bool(self.plan.questions)
        return True

    def gave(self, identifier: int) -> None:
        """It answered ``identifier``."""
        self._refused.pop(identifier, None)

    def look(self, now: int) -> None:
        """A day has passed since it refused something: it is asked again."""
        if self._forget_at and self._forget_at <= now:
            self.widen()

    def emptied(self) -> Failure:
        """It has nothing of what is wanted: then it is asked for all of it, now and then."""
        self.empty = f"it has nothing of what its profile names: {self.refused()[1]}"
        self.widen(barren=True)
        return Failure(What.NO_SUCH, self.empty)

    def widen(self, *, barren: bool = False) -> None:
        self._changed = self._changed or bool(self._without)
        self._without.clear()
        self._refused.clear()
        self._forget_at = 0
        self.barren = barren
        if "A" in self.pattern:
            self.address = ""
        self.plan = self._whole
        self.wanted = bool(self.plan.questions)

    def refused(self) -> tuple[int, str]:
        """Blocks are not named: their values are asked for singly."""
        singles = {item.identifier for item in self._profile.items}
        lacks = [one for one in sorted(self._without.items()) if one[0] in singles]
        return len(lacks), ", ".join(f"{identifier:08X} ({why})" for identifier, why in lacks)

    def news(self) -> bool:
        changed, self._changed = self._changed, False
        return changed
