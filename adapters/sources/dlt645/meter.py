"""One meter on a line: what it is asked, what it refused, how it fares. No I/O.

A meter that has no such data is not asked for it again until the next day, the next registry or
the next time it was down: it may be another meter by then. One that refuses for another reason is
asked again, and only left in peace about that after ``PATIENCE`` times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from adapters.sources.dlt645.plan import Plan, plan
from collector.profile import Profile
from collector.registry import Device

PATIENCE: Final = 3
DAY_MS: Final = 86_400_000


class Meter:
    """``pattern`` is its address as written; ``address`` the whole one, once it is known."""

    def __init__(
        self, device: Device, pattern: str, profile: Profile, ids: Mapping[str, int]
    ) -> None:
        self.device = device
        self.pattern = pattern
        self.address = "" if "A" in pattern else pattern
        self.origin = f"device:{device.key}"
        self.interval = max(1, round(device.interval * 1000))
        self.at = device.start
        """When it is due, UTC ms; in the past: now."""
        self.failures = 0
        self.up: bool | None = None
        """As told last; None: nothing was told yet."""
        self.plan: Plan
        self._profile = profile
        self._ids = ids
        self._without: dict[int, str] = {}
        self._refused: Counter[int] = Counter()
        self._forget_at = 0
        self._make()

    def after(self, old: Meter | None) -> Meter:
        """What to go on with where ``old`` was: itself when nothing about it changed."""
        if old is None:
            return self
        if self._as_read() == old._as_read():  # noqa: SLF001 of the same class
            return old
        self.up = old.up
        return self

    def _as_read(self) -> tuple[object, ...]:
        where = replace(self.device, file="", line=0)
        return where, self.pattern, self._profile, self._ids_read()

    def _ids_read(self) -> tuple[int, ...]:
        return plan(self.device, self._profile, self._ids).points

    def refuse(self, identifier: int, *, for_good: bool, why: str, now: int) -> bool:
        """It refused ``identifier``. True when it is to be left out from now on (a block: its
        values are asked for one by one)."""
        self._refused[identifier] += 1
        if not for_good and self._refused[identifier] < PATIENCE:
            return False
        self._without[identifier] = why
        self._forget_at = self._forget_at or now + DAY_MS
        self._make()
        return True

    def gave(self, identifier: int) -> None:
        """It answered ``identifier``."""
        self._refused.pop(identifier, None)

    def look(self, now: int) -> None:
        """A day has passed since it refused something: it is asked again."""
        if self._forget_at and self._forget_at <= now:
            self.widen()

    def widen(self) -> None:
        """Forget what it refused and who it was: it may be another meter by now."""
        self._without.clear()
        self._refused.clear()
        self._forget_at = 0
        if "A" in self.pattern:
            self.address = ""
        self._make()

    def refused(self) -> str:
        """What is left out, for people. Blocks are not: their values are asked for singly."""
        singles = {item.identifier for item in self._profile.items}
        return "; ".join(
            f"{identifier:08X} ({why})"
            for identifier, why in sorted(self._without.items())
            if identifier in singles
        )

    def _make(self) -> None:
        self.plan = plan(self.device, self._profile, self._ids, self._without)
