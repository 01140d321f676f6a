"""Who answers on a Modbus bus? One question at a time, the least that tells.

Each unit number is asked one question (holding register 0); any answer counts, an exception too,
because only a device that is there can refuse. On a serial line, where a late answer may have met
another's question, one that is silent is asked once more at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from adapters.sources.modbus.address import Framing, parse_connection
from adapters.sources.modbus.link import Link
from adapters.sources.modbus.plan import Block
from adapters.sources.polling import What
from collector.errors import ConfigurationError, Fault
from meterwatch.commissioning.contact.modbus import ModbusContact
from meterwatch.commissioning.contact.ports import Heard, Kind, Progress, Scope, Wanted
from meterwatch.commissioning.contact.urls import with_option

PATIENCE_S: Final = 0.5
"""Most slaves answer within a fifth of a second; a serial converter adds its own wait."""
LAST_UNIT: Final = 247
"""Unit numbers above are reserved (Modbus over serial line V1.02, clause 2.2)."""
_QUESTION: Final = Block(3, 0, 1)


class ModbusSearch:
    """``units`` of the bus that ``url`` names; the unit number in it is not used."""

    protocol = "modbus"

    def __init__(self, url: str, units: Sequence[int], patience: float) -> None:
        bus = parse_connection(url).bus
        self.place = bus.place
        self.questions = len(units)
        self.scope = Scope(Kind.UNITS, str(units[0]), str(units[-1]))
        self._rounds = 1 if bus.framing is Framing.TCP else 2
        self.longest = len(units) * patience * self._rounds
        self._units = units
        self._url = url
        self._link = Link(bus, patience)

    async def run(self, progress: Progress) -> Heard:
        """Ask everybody, and on a serial line the silent ones again."""
        asked = 0
        alive: set[int] = set()
        waiting = list(self._units)
        for left in reversed(range(self._rounds)):
            total = asked + len(waiting)
            silent: list[int] = []
            for unit in waiting:
                there, failure = await self._answers(unit)
                if failure:
                    return Heard(_sorted(alive), asked, failure)
                if there:
                    alive.add(unit)
                else:
                    silent.append(unit)
                asked += 1
                progress(asked, total + (len(silent) if left else 0), len(alive))
            waiting = silent
        return Heard(_sorted(alive), asked)

    def contact(self, who: str) -> ModbusContact:
        return ModbusContact(with_option(self._url, "unit", who), int(who), self._link)

    def close(self) -> None:
        self._link.close()

    async def _answers(self, unit: int) -> tuple[bool, str]:
        """Whether ``unit`` is there; second: why nobody can be asked."""
        if not self._link.connected:
            failure = await self._link.connect()
            if failure is not None:
                return False, failure.detail
        answer = await self._link.read(unit, _QUESTION)
        if isinstance(answer, bytes):
            return True, ""
        if answer.what is What.CONNECT:
            return False, f"{self.place}: {answer.detail}"
        return answer.what in {What.NO_SUCH, What.REFUSED, What.GARBLED}, ""


def search(url: str, wanted: Wanted, patience: float | None) -> ModbusSearch:
    """A search of the units that were asked for. Raises ``AddressError`` for a URL that is none,
    ``ConfigurationError`` for options that make no sense."""
    if wanted.addresses or wanted.thorough:
        what = "of Modbus devices unit numbers are asked"
        raise ConfigurationError(Fault("--address, --thorough", 0, what, "--first N --last M"))
    first, last = wanted.first or 1, wanted.last or LAST_UNIT
    if last < first:
        raise ConfigurationError(Fault("--last", 0, "is below --first", "exchange the two"))
    return ModbusSearch(url, range(first, last + 1), patience or PATIENCE_S)


def _sorted(units: set[int]) -> tuple[str, ...]:
    return tuple(str(unit) for unit in sorted(units))
