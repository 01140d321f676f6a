"""One device on a bus: what to read from it, when, and how it fares. Asks nothing itself.

What a device refuses as "no such register" is found by halving (``lack.py``) within a poll, so
that the rest of that poll is kept; it is left out until the device went down, or the registry says
something else. The answer is told once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from adapters.sources.modbus.lack import Search
from adapters.sources.modbus.pace import Pace
from adapters.sources.modbus.plan import Block, Plan, plan, spans
from collector.model import Qualities, Values
from collector.profile import Profile
from collector.registry import Device

NAMED: Final = 6
"""Points that are named when they are refused; the rest are counted."""


class Slave:
    """Its ``plan`` and how it fares."""

    __slots__ = (
        "_ids",
        "_profile",
        "_search",
        "_searched",
        "_told",
        "_whole",
        "asked_short",
        "at",
        "barren",
        "busy_since",
        "busy_times",
        "device",
        "failures",
        "interval",
        "origin",
        "pace",
        "plan",
        "proved",
        "unit",
        "up",
    )

    def __init__(self, device: Device, unit: int, profile: Profile, ids: Mapping[str, int]) -> None:
        self.device = device
        self.unit = unit
        self.origin = f"device:{device.key}"
        self.interval = max(1, round(device.interval * 1000))
        self.at = device.start
        """When it is due, UTC ms; in the past: now."""
        self.failures = 0
        """In a row; while there are any it is asked one thing only, to see whether it answers."""
        self.proved = False
        """It answered that one thing since it failed: its next poll is due."""
        self.up: bool | None = None
        """As told last; None: nothing was told yet."""
        self.pace = Pace()
        self.barren = False
        """It refused everything: a refusal is no sign of life any more."""
        self.busy_since = 0
        self.busy_times = 0
        self.asked_short = False
        self._profile = profile
        self._ids = ids
        self._search = Search()
        self._searched = False
        self._told = ""
        self._whole = plan(device, profile, ids)
        self.plan: Plan = self._whole

    def after(self, old: Slave | None) -> Slave:
        """What to go on with where ``old`` was: itself when nothing about it changed."""
        if old is None:
            return self
        if self._as_read() == old._as_read():  # noqa: SLF001 of the same class
            return old
        self.up = old.up
        return self

    def _as_read(self) -> tuple[object, ...]:
        where = replace(self.device, file="", line=0)
        return where, self.unit, self._profile, self._whole.points.tolist()

    # What it refuses.

    def narrow(self, block: Block, code: int) -> list[Block]:
        """It refused ``block``: what to ask instead of it."""
        pieces = self._search.refused(
            (block.function, block.address, block.address + block.count),
            spans(self._whole.registers),
            code,
        )
        return [Block(function, start, end - start) for function, start, end in pieces]

    def read_only(self, blocks: Sequence[Block], answers: Sequence[bytes]) -> Poll:
        """What came of a poll in which something was refused."""
        read = plan(self.device, self._profile, self._ids, lack=self._search.lack, only=blocks)
        return Poll(read, *read.decode(b"".join(answers)))

    def replan(self, *, whole: bool) -> None:
        """Read what is left from now on. ``whole``: nothing was left open by the last poll."""
        self._searched = True
        if whole:
            self._search.settle()
        self.plan = plan(self.device, self._profile, self._ids, lack=self._search.lack)
        self.barren = not self.plan.blocks
        if self.barren:
            self.widen(barren=True)

    def widen(self, *, barren: bool = False) -> None:
        """Forget what it refused: it may be another device by now."""
        self._search = Search()
        self._searched = bool(self._told)
        self.plan = self._whole
        self.barren = barren

    def refused(self) -> tuple[int, str]:
        """How many points are left out, and which, for people."""
        lost = [
            register
            for register in self._whole.registers
            if any(self._search.lack.has(*span) for span in spans([register]))
        ]
        names = [
            f"{register.quantity} ({register.width} from {register.address:#06x})"
            for register in lost[:NAMED]
        ]
        more = f" and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
        return len(lost), ", ".join(names) + more

    def news(self) -> str | None:
        """What it refuses, when that was not told yet."""
        if not self._searched or self._search.open:
            return None
        self._searched = False
        _, names = self.refused()
        if names == self._told:
            return None
        self._told = names
        return names


class Poll:
    """What one poll brought."""

    __slots__ = ("plan", "qualities", "values")

    def __init__(self, read: Plan, values: Values, qualities: Qualities) -> None:
        self.plan = read
        self.values = values
        self.qualities = qualities
