"""One device on a Modbus bus: what to read from it, and what it refuses. Asks nothing itself.

What a device refuses as "no such register" is found by halving (``lack.py``) within a poll, so
that the rest of that poll is kept; it is left out until the device went down, or the registry says
something else. The answer is told once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from adapters.sources.modbus import identity
from adapters.sources.modbus.lack import Search
from adapters.sources.modbus.plan import Block, Plan, plan, spans
from adapters.sources.polling import Failure, Polled, What
from collector.profile import Profile
from collector.registry import Device

NAMED: Final = 6
"""Points that are named when they are refused; the rest are counted."""
WHO_AGAIN_MS: Final = 86_400_000
SILENCES: Final = 2
"""To the question who it is; then it is believed."""


class Slave(Polled):
    """Its ``plan``, and ``who``: what it is asked to find out whether it is the one in the
    registry."""

    __slots__ = (
        "_identified_until",
        "_ids",
        "_profile",
        "_search",
        "_searched",
        "_unsaid",
        "_whole",
        "plan",
        "unit",
        "who",
    )

    def __init__(self, device: Device, unit: int, profile: Profile, ids: Mapping[str, int]) -> None:
        super().__init__(device)
        self.unit = unit
        self.who = identity.questions(profile, device)
        self._identified_until = 0
        self._profile = profile
        self._ids = ids
        self._search = Search()
        self._searched = False
        self._unsaid = 0
        self._whole = plan(device, profile, ids)
        self.plan: Plan = self._whole
        self.wanted = bool(self.plan.blocks)

    @property
    def points(self) -> int:
        return len(self._whole.points)

    def as_read(self) -> tuple[object, ...]:
        return self.where(), self.unit, self._profile, self._whole.points.tolist()

    # Who it is.

    def asks_who(self, now: int) -> bool:
        """Whether it must say who it is before its readings count."""
        return bool(self.who) and now >= self._identified_until

    def unsaid(self) -> bool:
        """It was silent about who it is, though it is there; whether it may be left at that: maps
        that do not answer what they do not know are no reason to lose a meter."""
        self._unsaid += 1
        return self._unsaid > SILENCES

    def said(self, answers: Mapping[Block, bytes], now: int) -> Failure | None:
        """What it answered to ``who``: a failure when it is another device."""
        found = identity.objections(self._profile, self.device, answers)
        for one in found:
            if one.refuse:
                return Failure(What.WRONG_DEVICE, one.detail)
        remark = "; ".join(one.detail for one in found)
        self._unsaid = 0 if answers else self._unsaid
        self._searched = self._searched or remark != self.remark
        self.remark = remark
        self._identified_until = now + WHO_AGAIN_MS
        return None

    # What it refuses.

    def narrow(self, block: Block, code: int, *, answers: bool) -> list[Block]:
        """It refused ``block``: what to ask instead of it. ``answers``: it does answer this
        function."""
        pieces = self._search.refused(
            (block.function, block.address, block.address + block.count),
            spans(self._whole.registers),
            0 if answers else code,
        )
        return [Block(function, start, end - start) for function, start, end in pieces]

    def only(self, blocks: Sequence[Block]) -> Plan:
        """How to decode a poll in which just ``blocks`` were answered."""
        return plan(self.device, self._profile, self._ids, lack=self._search.lack, only=blocks)

    def replan(self, *, whole: bool) -> None:
        """Read what is left from now on. ``whole``: nothing was left open by the last poll."""
        self._searched = True
        if whole:
            self._search.settle()
        self.plan = plan(self.device, self._profile, self._ids, lack=self._search.lack)
        self.wanted = bool(self.plan.blocks)
        self.barren = not self.wanted
        if self.barren:
            self.widen(barren=True)

    def widen(self, *, barren: bool = False) -> None:
        self._search = Search()
        self._searched = True
        self._identified_until = 0
        self.plan = self._whole
        self.wanted = bool(self.plan.blocks)
        self.barren = barren

    def refused(self) -> tuple[int, str]:
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

    def news(self) -> bool:
        if not self._searched or self._search.open:
            return False
        self._searched = False
        return True
