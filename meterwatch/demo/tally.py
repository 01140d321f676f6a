"""The demo's account of readings: what was sent, by the senders' own counting, against what is
stored and what was refused, by the files' counting. The two sides share nothing but the wire.

A gateway counts a reading when the broker has acknowledged it. A meter counts an answer when it
has sent it; its poll is whole when the last question of the poll is answered, and only a whole
poll is used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from adapters.sources.modbus.plan import plan
from adapters.stores.archive_reader import ArchiveReader
from adapters.stores.refused import RefusedTotal
from collector.registry import Registry
from meterwatch.app import Program
from meterwatch.simulator.opening import OpenPark

MODBUS: Final = "modbus"
"""Stands for all polled meters; other origins are named as the journal names them."""
_EVER: Final = (-(2**62), 2**62)


@dataclass(frozen=True, slots=True)
class Row:
    """Readings of one origin. ``sent`` counts each once, however often it was delivered."""

    origin: str
    sent: int
    stored: int
    refused: int

    @property
    def missing(self) -> int:
        return self.sent - self.stored - self.refused


@dataclass(frozen=True, slots=True)
class Tally:
    """The whole account. ``refusals``: origin, reason, readings. ``unheard``: answers of meters
    that came too late for their poll (not in ``rows``). ``repeated``: readings written again.
    ``kept``: readings still in each gateway."""

    rows: Sequence[Row]
    refusals: Sequence[tuple[str, str, int]] = ()
    unheard: int = 0
    repeated: int = 0
    kept: Mapping[str, int] = field(default_factory=dict)

    @property
    def whole(self) -> Row:
        """All origins together."""
        return Row(
            "",
            sum(row.sent for row in self.rows),
            sum(row.stored for row in self.rows),
            sum(row.refused for row in self.rows),
        )

    @property
    def adds_up(self) -> bool:
        """Line by line: a surplus here does not make good a gap there. Nor can more have been
        heard than was answered."""
        return self.unheard >= 0 and all(row.missing == 0 for row in self.rows)


class Senders:
    """What the simulators say they sent to ``program``."""

    def __init__(self, park: OpenPark, program: Program) -> None:
        self._park = park
        self._program = program
        registry, profiles = program.fleet.registry, program.fleet.profiles
        self._plans = {
            key: plan(registry.devices[key], profiles[registry.devices[key].profile], ids)
            for key in park.park.meters
            if (ids := program.table.ids)
        }

    def answered(self) -> int:
        """Readings in polls that a meter answered to the end."""
        total = 0
        for key, how in self._plans.items():
            last = how.blocks[-1]
            asked = self._park.park.meters[key].answers[last.function, last.address]
            total += asked * len(how.points)
        return total

    def polled(self) -> int:
        """Of these, what the program heard in time."""
        telemetry = self._program.telemetry
        return sum(
            round(telemetry.value("modbus_readings", source=source.name))
            for source in self._program.fleet.settings.sources
            if source.kind == "modbus"
        )

    def sent(self) -> dict[str, int]:
        """By origin."""
        pushed = {f"gateway:{name}": box.acknowledged for name, box in self._park.gateways.items()}
        return {MODBUS: self.polled()} | pushed

    def kept(self) -> dict[str, int]:
        """Readings that wait in a gateway, by origin."""
        return {
            f"gateway:{name}": sum(row.readings for row in box.kept)
            for name, box in self._park.gateways.items()
            if box.kept
        }


def tally(
    registry: Registry,
    reader: ArchiveReader,
    sent: Mapping[str, int],
    *,
    answered: int,
    written: int,
    kept: Mapping[str, int],
) -> Tally:
    """The account. ``sent`` by origin; ``answered`` by meters; ``written``: readings as often as
    they were written to the archive."""
    stored = held(registry, reader)
    refusals = totals(reader.origin_names(), reader.refused_totals())
    refused = Counter[str]()
    for origin, _, readings in refusals:
        refused[_line(origin, sent)] += readings
    origins = dict.fromkeys([*sent, *stored, *refused])
    rows = [Row(origin, sent.get(origin, 0), stored[origin], refused[origin]) for origin in origins]
    return Tally(
        rows,
        refusals,
        unheard=answered - sent.get(MODBUS, 0),
        repeated=written - sum(stored.values()),
        kept=dict(kept),
    )


def held(registry: Registry, reader: ArchiveReader) -> Counter[str]:
    """Readings in the archive, each (point, time) once, by who brings that point."""
    count = Counter[str]()
    known = set(reader.point_names())
    for point in registry.points:
        if point.name in known:
            device = registry.devices[point.services[-1].device]
            origin = f"gateway:{device.gateway}" if device.gateway else MODBUS
            count[origin] += len(reader.read(point.name, *_EVER))
    return count


def totals(origins: Sequence[str], refused: Sequence[RefusedTotal]) -> list[tuple[str, str, int]]:
    """Refused readings by origin and reason, the most first."""
    found = [(origins[one.origin], one.reason, one.readings) for one in refused]
    return sorted(found, key=lambda one: (-one[2], one))


def _line(origin: str, sent: Mapping[str, int]) -> str:
    """The line of the account to which a refusal belongs."""
    polled = origin.partition(":")[0] in {MODBUS, "device"}
    return MODBUS if polled and origin not in sent else origin
