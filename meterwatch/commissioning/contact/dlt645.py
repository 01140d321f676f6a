"""A DL/T 645-2007 meter, read with one profile or another.

Only asks (control codes 11, 12 and 13). At first contact the meter is asked who it is, whatever the
URL says: an abbreviated address becomes the whole one, and of an address that stays silent it is
found out who answers instead. What the meter does not have is left out and told, and so is what
it leaves unanswered while it answers everything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from adapters.sources.dlt645.address import parse_connection
from adapters.sources.dlt645.frame import ANY
from adapters.sources.dlt645.plan import Plan, plan
from adapters.sources.polling import Failure, What
from collector.model import Quality
from collector.profile import Profile
from collector.quantities import quantities
from collector.registry import Device
from meterwatch.clock import SystemClock
from meterwatch.commissioning.contact.dlt645_identity import identified
from meterwatch.commissioning.contact.dlt645_line import OpenLine
from meterwatch.commissioning.contact.ports import UNANSWERED, Clock, Ending, Identified, Trouble
from meterwatch.commissioning.contact.urls import with_option
from meterwatch.commissioning.plausible import Value

ZONE: Final = "Asia/Shanghai"
"""What meters with this protocol show, as long as nobody says otherwise."""
_ENDINGS: Final = {
    What.CONNECT: Ending.UNREACHED,
    What.SILENT: Ending.SILENT,
    What.GARBLED: Ending.GARBLED,
}


@dataclass(frozen=True, slots=True)
class Lack:
    """The meter is there and does not give this."""

    why: str


class Dlt645Contact:
    """One meter on a line, by its address or its end; ``line`` is shared where a search has
    opened it."""

    protocol = "dlt645"

    def __init__(
        self, url: str, pattern: str, line: OpenLine, *, zone: str = ZONE, clock: Clock
    ) -> None:
        self.url = url
        self.meter = pattern
        self._line = line
        self._zone = zone
        self._clock = clock

    async def open(self) -> Trouble | None:
        """Connect, and ask the meter for its whole address."""
        why = await self._line.open()
        if why:
            return Trouble(Ending.UNREACHED, why)
        found = await self._line.who(self.meter)
        if isinstance(found, Failure):
            return await self._nobody(found)
        self.url = with_option(self.url, "address", found)
        self.meter = found
        return None

    def reading(self, profile: Profile) -> Dlt645Reading:
        return Dlt645Reading(self, profile)

    async def identify(self, profile: Profile) -> Identified:  # noqa: ARG002 -- every meter has it at the same place
        """Numbers, ratios and clock, each asked for by itself."""
        return await identified(self.ask, self.meter, self._clock, self._zone)

    def close(self) -> None:
        self._line.close()

    async def ask(self, identifier: int) -> bytes | Lack | Trouble:
        """The data behind ``identifier``; a lost or disturbed frame is asked for again."""
        failure = Failure(What.LOST, "")
        for _ in range(2):
            why = await self._line.open()
            if why:
                return Trouble(Ending.UNREACHED, why)
            answer = await self._line.link.read(self.meter, identifier)
            if isinstance(answer, bytes):
                return answer
            if answer.what in {What.NO_SUCH, What.REFUSED}:
                return Lack(answer.detail.rpartition(": ")[2])
            failure = answer
        if failure.what is What.SILENT and isinstance(await self._line.who(self.meter), str):
            return Lack(UNANSWERED)
        return Trouble(_ENDINGS.get(failure.what, Ending.BROKEN), str(failure))

    async def _nobody(self, failure: Failure) -> Trouble:
        """Nobody answered as asked: does anybody?"""
        what = _ENDINGS.get(failure.what, Ending.BROKEN)
        other: str | Failure = ""
        if what is Ending.SILENT and self.meter != ANY:
            other = await self._line.who(ANY)
        return Trouble(what, str(failure), other if isinstance(other, str) else "")


@dataclass(frozen=True, slots=True)
class Answers:
    """Data by the identifier asked for, and what it means."""

    plan: Plan
    profile: Profile
    data: Mapping[int, bytes]

    def values(self, turn: str = "ABCD") -> tuple[Value, ...]:  # noqa: ARG002 -- digits have one order
        points, values, qualities = self.plan.decode(self.data)
        names = [self.profile.items[n].quantity for n in points.tolist()]
        return tuple(
            Value(name, value, quantities()[name].unit, Quality(quality))
            for name, value, quality in zip(names, values.tolist(), qualities.tolist(), strict=True)
        )


class Dlt645Reading:
    """A block that the meter refuses is asked for value by value: then it is known which it
    lacks."""

    refused = ()

    def __init__(self, contact: Dlt645Contact, profile: Profile) -> None:
        self.profile = profile
        self._contact = contact
        self._without: dict[int, str] = {}

    @property
    def lacking(self) -> tuple[tuple[str, str], ...]:
        without = self._without
        return tuple(
            (item.quantity, without[item.identifier])
            for item in self.profile.items
            if item.identifier in without
        )

    async def read(self) -> Answers | Trouble:
        """Ask for everything once."""
        data: dict[int, bytes] = {}
        while True:
            made = self._planned()
            identifier = next((one for one in made.questions if one not in data), None)
            if identifier is None:
                return Answers(made, self.profile, data)
            answer = await self._contact.ask(identifier)
            if isinstance(answer, Trouble):
                return answer
            if isinstance(answer, Lack):
                self._without[identifier] = answer.why
            else:
                data[identifier] = answer

    def _planned(self) -> Plan:
        device = Device("probe", "device", "place", self.profile.name)
        ids = {f"probe/place/{item.quantity}/raw": n for n, item in enumerate(self.profile.items)}
        return plan(device, self.profile, ids, self._without)


def contact(
    url: str, patience: float, *, zone: str = ZONE, clock: Clock | None = None
) -> Dlt645Contact:
    """The meter at ``url``. Raises ``AddressError``."""
    address = parse_connection(url)
    line = OpenLine(address.line, patience)
    return Dlt645Contact(url, address.meter, line, zone=zone, clock=clock or SystemClock())
