"""Meters in the field: dead, slow, late, lying and half-broken slaves, in simulated time.

``line``: 32 slaves on one 9600-baud line behind a serial converter, at the shortest interval (whole
tenths of a second) that the line can carry, one of them dead. No slot of any other may stay empty.
``flapping``: the same line with three slaves that die, answer late, or come back, at random.
``hour``: many buses of every kind, an hour of mixed faults on them.

Every number that a simulated meter shows says whose it is, which register, and which tenth of a
second: so every single stored reading is held against what that register held at that moment, and
no mix-up of units, registers or moments can go unseen. All of it runs in one simulated loop
(``tests/simulated_loop.py``): the program's own source, link and pymodbus on one side, the
simulator's servers on the other, no sockets between.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from adapters.sources.modbus import ModbusSource
from collector.model import Ids, Quality, SourceState
from collector.ports import Delivery, Urgency
from collector.profile import Profile, Register
from collector.quantities import quantities
from collector.registry import Device
from collector.telemetry import Telemetry
from meterwatch.simulator.faults import Gateway, Line, Trouble
from meterwatch.simulator.meters import Meter, MeterServer
from tests.simulated_loop import LoopClock, simulate

START: Final = 1_795_000_000_000 // 900_000 * 900_000
TICK_MS: Final = 100
TIMEOUT: Final = 2.0
RECENT_MS: Final = 20_000
GAUGES: Final = [row for row in quantities().values() if row.kind == "gauge"][:20]
SLAVES: Final = 32
FAULTS: Final = tuple(one for one in Trouble if one is not Trouble.WRONG)


def profile(name: str, registers: int, blocks: int) -> Profile:
    """32-bit numbers in ``blocks`` blocks whose answers look alike."""
    each = registers // blocks
    rows = [
        Register(row.name, 3, 200 * (n // each) + 2 * (n % each), "u32", row.unit)
        for n, row in enumerate(GAUGES[:registers])
    ]
    return Profile(name, "", "", "", "", "", tuple(rows), {})


FORTY: Final = profile("forty", 20, 1)
"""40 registers, one question."""
ALIKE: Final = profile("alike", 8, 2)
PROFILES: Final = {one.name: one for one in (FORTY, ALIKE)}


def stamp(where: int, now: int) -> int:
    """What register ``where`` holds at ``now``, as 32 bits: nobody else's, and of no other tenth of
    a second within an hour and a half."""
    return where << 16 | (now - START) // TICK_MS % 0x10000


class Recording(Meter):
    """Keeps of which moment its newest answer to each question was: any other is a late one."""

    def read(self, function: int, address: int, count: int, now: int) -> list[int] | int:
        self.__dict__.setdefault("newest", {})[address, count] = now
        return super().read(function, address, count, now)


class Field:
    """Simulated buses, the source that polls them, and an intake that checks every reading."""

    def __init__(self, model: Profile, interval: float) -> None:
        self.clock = LoopClock(START)
        self.telemetry = Telemetry()
        self.model = model
        self.interval = interval
        self.servers: list[MeterServer] = []
        self.meters: list[Recording] = []
        self.devices: list[Device] = []
        self.ids: dict[str, int] = {}
        self.readings = 0
        self.wrong: list[tuple[int, int, float]] = []
        self.times: dict[int, list[int]] = defaultdict(list)
        """By slave, when it was read."""
        self.states: list[tuple[str, bool, str]] = []
        self._origins: list[str] = []

    async def bus(
        self,
        slaves: int,
        *,
        rtu: bool = True,
        line: Line | None = None,
        gateway: Gateway = Gateway.HONEST,
    ) -> MeterServer:
        """One more bus, its slaves numbered from 1."""
        meters: list[Recording] = []
        for unit in range(1, slaves + 1):
            first = len(self.ids)
            place = f"p{len(self.devices)}"
            for n, row in enumerate(self.model.registers):
                self.ids[f"s/{place}/{row.quantity}/raw"] = first + n
            meters.append(Recording(unit, self.model, self._values(first), raw=True))
            self.devices.append(Device("s", place, place, self.model.name, interval=self.interval))
        self.meters += meters
        server = MeterServer(meters, self.clock.now, rtu=rtu, line=line, gateway=gateway)
        await server.start()
        for unit, device in enumerate(self.devices[-slaves:], 1):
            object.__setattr__(device, "connection", server.url(unit))
        self.servers.append(server)
        return server

    def _values(self, first: int) -> Any:
        names = [row.quantity for row in self.model.registers]
        return lambda now: {name: stamp(first + n, now) for n, name in enumerate(names)}

    @contextlib.asynccontextmanager
    async def polled(self) -> Any:
        source = ModbusSource(
            "modbus",
            self.devices,
            PROFILES,
            self.ids,
            self._origin_ids,
            self.clock,
            self.telemetry,
            TIMEOUT,
        )
        task = asyncio.create_task(source.run(self))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            for server in self.servers:
                await server.stop()
        assert not self.telemetry.value("modbus_bus_faults", source="modbus"), "a bug in a bus"

    def _origin_ids(self, names: Sequence[str]) -> Ids:
        self._origins += [name for name in names if name not in self._origins]
        return np.array([self._origins.index(name) for name in names], np.int32)

    # The intake.

    def submit(self, delivery: Delivery) -> None:
        raise NotImplementedError

    async def deliver(self, delivery: Delivery) -> bool:
        for entry in delivery.entries:
            if isinstance(entry, SourceState):
                self.states.append((self._origins[entry.origin], entry.up, entry.reason))
        batch = delivery.batch
        if batch is not None:
            rows = (batch.point, batch.time, batch.value, batch.quality)
            for point, time, value, quality in zip(*(r.tolist() for r in rows), strict=True):
                self._check(point, time, value, quality)
        return True

    def pressure(self) -> Urgency:
        return Urgency.BACKFILL

    def _check(self, point: int, time: int, value: float, quality: int) -> None:
        """It is what that register held when the meter was last asked that question, in this
        poll: an answer to an earlier one would be of another moment."""
        self.readings += 1
        slave, n = divmod(point, len(self.model.registers))
        if n == 0:
            self.times[slave].append(time)
        address = self.model.registers[n].address
        held = [
            then
            for (first, count), then in self.meters[slave].__dict__["newest"].items()
            if first <= address < first + count and 0 <= time - then < RECENT_MS
        ]
        if quality != Quality.GOOD or value not in {stamp(point, then) for then in held}:
            self.wrong.append((point, time, value))

    def missed(self, slave: int, start: int, end: int) -> int:
        """Of its slots from ``start`` to ``end``, those in which nothing was read of it."""
        slot = round(self.interval * 1000)
        seen = {time // slot for time in self.times[slave]}
        return sum(n not in seen for n in range(-(-start // slot), end // slot))

    def failures(self) -> dict[str, int]:
        kinds = ("silent", "garbled", "refused", "no_such", "busy", "lost", "connect")
        found = {k: round(self.telemetry.value("modbus_failures", kind=k)) for k in kinds}
        return {kind: count for kind, count in found.items() if count}


def just_carried(line: Line, slaves: int, model: Profile) -> float:
    """The shortest interval, in whole tenths of a second, in which all are asked and answer."""
    size = sum(row.width for row in model.registers) * 2
    each = line.seconds(8) + line.turnaround + line.seconds(size + 5)
    return math.ceil(each * slaves * 10) / 10


def line(seed: int, minutes: int, *, from_start: bool) -> dict[str, Any]:
    """One dead slave of 32 on a full line."""

    async def work() -> dict[str, Any]:
        chance = random.Random(seed)
        wires = Line()
        field = Field(FORTY, just_carried(wires, SLAVES, FORTY))
        server = await field.bus(SLAVES, line=wires)
        dead = chance.randrange(SLAVES)
        if from_start:
            server.meters[dead + 1].trouble = Trouble.DEAD
        async with field.polled():
            await asyncio.sleep(60)
            server.meters[dead + 1].trouble = Trouble.DEAD
            begin = field.clock.now()
            await asyncio.sleep(minutes * 60)
            end = field.clock.now()
        live = [slave for slave in range(SLAVES) if slave != dead]
        missed = {slave: found for slave in live if (found := field.missed(slave, begin, end))}
        assert not field.wrong, field.wrong[:5]
        assert not missed, f"slave {dead} is dead, and these missed polls: {missed}"
        assert server.meters[dead + 1].asked > minutes / 2, "it was given up"
        assert any(not up and origin.startswith("device:") for origin, up, _ in field.states)
        return {
            "interval_s": field.interval,
            "slaves": SLAVES,
            "minutes": minutes,
            "readings": field.readings,
            "missed": 0,
            "probes": server.meters[dead + 1].asked,
        }

    return simulate(work())


def flapping(seed: int, minutes: int) -> dict[str, Any]:
    """Three of 32 die, answer late, come back."""

    async def work() -> dict[str, Any]:
        chance = random.Random(seed)
        wires = Line()
        field = Field(FORTY, just_carried(wires, SLAVES, FORTY))
        server = await field.bus(SLAVES, line=wires)
        wild = chance.sample(range(1, SLAVES + 1), 3)
        changes = 0
        async with field.polled():
            for _ in range(minutes * 20):
                await asyncio.sleep(3 * chance.random() * 2)
                meter = server.meters[chance.choice(wild)]
                meter.trouble = chance.choice((None, None, Trouble.DEAD, Trouble.LATE))
                meter.delay = chance.uniform(0.2, 9)
                changes += 1
            begin, end = START + 60_000, field.clock.now()
        live = [slave for slave in range(SLAVES) if slave + 1 not in wild]
        assert not field.wrong, field.wrong[:5]
        assert field.failures().get("silent", 0) > 5, "nothing flapped"
        slots = (end - begin) * len(live) / (field.interval * 1000)
        return {
            "readings": field.readings,
            "changes": changes,
            "failures": field.failures(),
            "missed": sum(field.missed(slave, begin, end) for slave in live),
            "of_slots": round(slots),
            "wrong": 0,
        }

    return simulate(work())


@dataclass(frozen=True, slots=True)
class Size:
    buses: int
    slaves: int
    minutes: int
    interval: float


FULL: Final = Size(200, 4, 60, 30.0)
SMALL: Final = Size(8, 4, 10, 30.0)


def hour(seed: int, size: Size) -> dict[str, Any]:
    """Mixed faults on many buses."""

    async def work() -> dict[str, Any]:
        chance = random.Random(seed)
        field = Field(ALIKE, size.interval)
        for n in range(size.buses):
            await field.bus(
                size.slaves,
                rtu=n % 3 == 0,
                line=Line(chance.choice((2400, 9600, 19200))) if n % 2 else None,
                gateway=Gateway.HASTY if n % 3 == 1 else Gateway.HONEST,
            )
        done: Counter[str] = Counter()
        async with field.polled():
            ends = field.clock.now() + size.minutes * 60_000
            troubles = [_troubles(server, field, ends, chance, done) for server in field.servers]
            await asyncio.gather(*troubles)
            await asyncio.sleep(300)
            after = field.clock.now() - 3 * round(size.interval * 1000)
            silent = [n for n, times in sorted(field.times.items()) if times[-1] < after]
        assert not field.wrong, field.wrong[:5]
        assert len(field.times) == len(field.devices)
        assert not silent, f"never came back: {silent[:10]}"
        return {
            "buses": size.buses,
            "minutes": size.minutes,
            "readings": field.readings,
            "faults": dict(done),
            "failures": field.failures(),
            "wrong": 0,
        }

    return simulate(work())


async def _troubles(
    server: MeterServer, field: Field, ends: int, chance: random.Random, done: Counter[str]
) -> None:
    """One bus's bad hour."""
    while field.clock.now() < ends:
        await asyncio.sleep(chance.uniform(5, 120))
        kind = chance.choice((*FAULTS, "dropped", "away"))
        if kind == "dropped":
            server.drop()
        elif kind == "away":
            await server.stop()
            await asyncio.sleep(chance.uniform(1, 40))
            await server.start()
        else:
            assert isinstance(kind, Trouble)
            meter = chance.choice(list(server.meters.values()))
            meter.delay = chance.uniform(0.05, 12)
            meter.exception = chance.choice((1, 2, 3, 4, 5, 6, 8, 10, 11))
            meter.trouble = kind
            await asyncio.sleep(chance.uniform(1, 90))
            meter.trouble = None
        done[kind if isinstance(kind, str) else kind.name.lower()] += 1


def campaign(seed: int, minutes: int, size: Size) -> dict[str, Any]:
    return {
        "line": line(seed, minutes, from_start=False),
        "line_dead_from_start": line(seed, minutes, from_start=True),
        "flapping": flapping(seed, minutes),
        "hour": hour(seed, size),
    }
