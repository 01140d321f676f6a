"""What the Modbus source promises over real sockets: right values or none, whatever the wire does.

Most tests let simulated time pass over real sockets, so an hour of polls takes as long as its
sockets do. pymodbus's own servers check that we speak the protocol; the simulator's meters
(whose protocol code is its own) do everything that a well-behaved server cannot.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from time import sleep

import numpy as np
import pytest
from pymodbus import FramerType
from pymodbus.pdu import ModbusPDU
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from adapters.profiles import load_profiles
from adapters.sources.modbus import ModbusSource
from adapters.sources.modbus.address import parse_connection
from adapters.sources.modbus.link import Link
from adapters.sources.modbus.plan import Block
from collector.errors import ConfigurationError
from collector.model import Ids, Quality
from collector.ports import Clock, Urgency
from collector.profile import Profile, Register
from collector.registry import Device
from collector.telemetry import Telemetry
from meterwatch.clock import SimulatedClock, SystemClock
from meterwatch.simulator.meters import Meter, MeterServer, Trouble
from tests import intakes
from tests.intakes import CollectingIntake

START = 1_795_000_000_000 // 900_000 * 900_000
"""A whole quarter of an hour."""
SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
TIMEOUT = 0.05

PAIR = Profile(
    "pair",
    "",
    "",
    "",
    "",
    "",
    (
        Register("voltage.l1", 3, 0, "f32", "V"),
        Register("energy.active.import", 3, 200, "u32", "kWh", scale=0.01),
    ),
    {},
)
"""Two blocks whose answers look alike: a late one for the first fits the second."""
PROFILES = {**load_profiles(), "pair": PAIR}


class World:
    """A source on an intake, with everything that names things."""

    def __init__(self, clock: Clock, intake: CollectingIntake) -> None:
        self.clock = clock
        self.intake = intake
        self.telemetry = Telemetry()
        self.origins: list[str] = []
        self.points: dict[str, int] = {}
        self.source: ModbusSource

    def origin_ids(self, names: Sequence[str]) -> Ids:
        self.origins += [name for name in names if name not in self.origins]
        return np.array([self.origins.index(name) for name in names], np.int32)

    def ids(self, devices: Sequence[Device]) -> Mapping[str, int]:
        for device in devices:
            for register in PROFILES[device.profile].registers:
                name = f"{device.site}/{device.place}/{register.quantity}/raw"
                self.points.setdefault(name, len(self.points))
        return self.points

    def states(self) -> list[tuple[str, bool]]:
        return [(self.origins[state.origin], state.up) for state in self.intake.states()]

    def series(self, device: str, quantity: str = "voltage.l1") -> list[tuple[int, float]]:
        """Valid readings of a device's point, in order of arrival."""
        point = self.points[f"s/{device}/{quantity}/raw"]
        return [
            (time, value)
            for id_, time, value, quality in self.intake.rows()
            if id_ == point and quality == Quality.GOOD
        ]

    def update(self, devices: Sequence[Device]) -> None:
        self.source.update(devices, PROFILES, self.ids(devices))


@contextlib.asynccontextmanager
async def polling(
    devices: Sequence[Device],
    clock: Clock,
    intake: CollectingIntake,
    patience: float = TIMEOUT,
) -> AsyncIterator[World]:
    world = World(clock, intake)
    world.source = ModbusSource(
        "modbus",
        devices,
        PROFILES,
        world.ids(devices),
        world.origin_ids,
        clock,
        world.telemetry,
        patience,
    )
    task = asyncio.create_task(world.source.run(intake))
    try:
        yield world
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


intake = intakes.intake


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(START)


def device(url: str, id_: str = "d", profile: str = "pair", interval: float = 10.0) -> Device:
    """A device whose place has its own name."""
    return Device("s", id_, id_, profile, connection=url, interval=interval)


def steady(now: int) -> Mapping[str, float]:
    """A voltage below 1000 and a counter above it, both moving: no one is the other."""
    seconds = (now - START) / SECOND
    return {"voltage.l1": 200 + seconds % 60, "energy.active.import": 5000 + seconds // 10}


def meter(unit: int = 1, values: Callable[[int], Mapping[str, float]] = steady) -> Meter:
    return Meter(unit, PAIR, values)


def believable(world: World, id_: str = "d") -> None:
    """Every stored reading is what the meter said at that moment."""
    for quantity in ("voltage.l1", "energy.active.import"):
        for time, value in world.series(id_, quantity):
            assert value == pytest.approx(steady(time)[quantity], rel=1e-6), (quantity, time)


def free_port() -> int:
    """A port that nobody listens on (kept free long enough by the kernel's port order)."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


# Against pymodbus's own servers.


def eastron_slave(unit: int) -> SimDevice:
    floats = {0x00: 230.1, 0x34: 8200.0, 0x46: 50.0, 0x48: 12345.5}
    words = [0] * 400
    for address, number in floats.items():
        words[address : address + 2] = struct.unpack(">HH", struct.pack(">f", number))
    return SimDevice(unit, [SimData(0, values=words, datatype=DataType.REGISTERS)])


async def reads_eastron(url: str, intake: CollectingIntake) -> None:
    async with polling(
        [device(url, profile="eastron-sdm630", interval=0.05)], SystemClock(), intake, patience=2
    ) as world:
        await intake.until(lambda seen: len(seen.rows()) >= 3 * 26)
        for quantity, value in (
            ("voltage.l1", 230.1),
            ("power.active", 8.2),
            ("frequency", 50.0),
            ("energy.active.import", 12345.5),
        ):
            found = world.series("d", quantity)
            assert len(found) >= 3
            assert [v for _, v in found] == pytest.approx([value] * len(found))


@pytest.mark.parametrize("framing", ["modbus+tcp", "modbus+rtu-tcp"])
async def test_reads_a_server_of_another_make(framing: str, intake: CollectingIntake) -> None:
    framer = FramerType.SOCKET if framing == "modbus+tcp" else FramerType.RTU
    server = ModbusTcpServer(eastron_slave(7), framer=framer, address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    port = server.transport.sockets[0].getsockname()[1]
    try:
        await reads_eastron(f"{framing}://127.0.0.1:{port}?unit=7", intake)
    finally:
        await server.shutdown()


async def test_reads_a_serial_line(intake: CollectingIntake) -> None:
    """Two pseudo terminals, wired crosswise: ours at one end, pymodbus's server at the other."""
    ours, our_end = os.openpty()
    theirs, their_end = os.openpty()
    loop = asyncio.get_running_loop()
    loop.add_reader(ours, lambda: os.write(theirs, os.read(ours, 1024)))
    loop.add_reader(theirs, lambda: os.write(ours, os.read(theirs, 1024)))
    server = ModbusSerialServer(eastron_slave(7), port=os.ttyname(their_end), baudrate=115200)
    await server.serve_forever(background=True)
    try:
        await reads_eastron(f"modbus+serial://{os.ttyname(our_end)}?unit=7&baud=115200", intake)
    finally:
        await server.shutdown()
        for end in (ours, theirs):
            loop.remove_reader(end)
        for end in (ours, our_end, theirs, their_end):
            os.close(end)


async def test_a_missing_serial_port_is_told_and_waited_for(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    url = "modbus+serial:///nowhere/ttyS9?unit=1"
    async with polling([device(url)], clock, intake) as world:
        await clock.run_until(START + MINUTE)
        assert world.states() == [("modbus:/nowhere/ttyS9", False)]
        assert "no such serial port" in intake.states()[0].reason


# Every framing, with the simulator.


@pytest.mark.parametrize("rtu", [False, True])
async def test_a_day_of_quarter_hours_is_read_on_the_quarter_hour(
    rtu: bool, clock: SimulatedClock, intake: CollectingIntake
) -> None:
    async with MeterServer([meter(3)], clock.now, rtu=rtu) as server:
        one = device(server.url(3), interval=900)
        async with polling([one], clock, intake) as world:
            await clock.run_until(START + 24 * HOUR)
            times = [time for time, _ in world.series("d")]
            assert times == [START + n * 15 * MINUTE for n in range(97)]
            believable(world)
            assert world.states() == [
                (f"modbus:127.0.0.1:{server.port}", True),
                ("device:s/d", True),
            ]
            segments = intake.batch().segments
            assert {world.origins[n] for n in segments.origin.tolist()} == {"device:s/d"}
            assert segments.received.tolist() == times


async def test_several_slaves_share_one_connection(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    async with MeterServer([meter(n) for n in range(1, 21)], clock.now) as server:
        devices = [device(server.url(n), f"d{n}", interval=n) for n in range(1, 21)]
        async with polling(devices, clock, intake) as world:
            await clock.run_until(START + MINUTE)
            assert server.connections == 1
            for n in range(1, 21):
                whole = [t for t in range(START, START + MINUTE + 1) if t % (n * SECOND) == 0]
                assert [t for t, _ in world.series(f"d{n}")] == sorted({START, *whole})
                believable(world, f"d{n}")


@pytest.mark.parametrize("rtu", [False, True])
async def test_a_server_that_comes_later_is_found(
    rtu: bool, clock: SimulatedClock, intake: CollectingIntake
) -> None:
    """The first connect fails, and so do many after it."""
    server = MeterServer([meter()], clock.now, rtu=rtu, port=free_port())
    async with polling([device(server.url(1))], clock, intake) as world:
        await clock.run_until(START + HOUR)
        bus = f"modbus:127.0.0.1:{server.port}"
        assert world.states() == [(bus, False)], "told once, however often it was tried"
        async with server:
            await clock.run_until(START + HOUR + MINUTE)
            assert world.states() == [(bus, False), (bus, True), ("device:s/d", True)]
            believable(world)
            assert world.series("d")


@pytest.mark.parametrize("rtu", [False, True])
async def test_a_server_may_restart(
    rtu: bool, clock: SimulatedClock, intake: CollectingIntake
) -> None:
    server = MeterServer([meter()], clock.now, rtu=rtu)
    await server.start()
    async with polling([device(server.url(1))], clock, intake) as world:
        await clock.run_until(START + MINUTE)
        await server.stop()
        await clock.run_until(START + 2 * MINUTE)
        await server.start()
        await clock.run_until(START + 3 * MINUTE)
        bus = f"modbus:127.0.0.1:{server.port}"
        ups = [up for origin, up in world.states() if origin == bus]
        assert ups == [True, False, True]
        times = [time for time, _ in world.series("d")]
        assert [t for t in times if t > START + 150 * SECOND]
        assert not [t for t in times if START + 70 * SECOND < t < START + 2 * MINUTE]
        believable(world)
        await server.stop()


async def test_a_lost_connection_is_noticed_at_once(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    """Not after the timeout, which is longer than this test may take."""
    one = meter()
    async with (
        MeterServer([one], clock.now) as server,
        polling([device(server.url(1))], clock, intake, patience=600) as world,
    ):
        await clock.run_until(START + MINUTE)
        one.trouble = Trouble.DROPS
        await clock.run_until(START + 2 * MINUTE)
        one.trouble = None
        await clock.run_until(START + 4 * MINUTE)
        ups = [up for origin, up in world.states() if origin == "device:s/d"]
        assert ups == [True, False, True]
        believable(world)


async def test_a_busy_program_takes_no_meter_for_dead() -> None:
    """Connecting takes several turns of the loop, each of which may be slow."""
    loop = asyncio.get_running_loop()
    turns = 10

    def busy() -> None:
        nonlocal turns
        sleep(TIMEOUT)  # the work that keeps this turn
        turns -= 1
        if turns:
            loop.call_soon(busy)

    async with MeterServer([meter()], SystemClock().now) as server:
        link = Link(parse_connection(server.url(1)).bus, TIMEOUT)
        busy()
        assert await link.connect() is None
        link.close()


async def test_a_cancellation_in_the_very_turn_of_the_answer_is_heeded(
    clock: SimulatedClock,
) -> None:
    """``asyncio.wait_for`` forgets it (until Python 3.12); the program would never stop."""
    async with MeterServer([meter()], clock.now) as server:
        link = Link(parse_connection(server.url(1)).bus, 10)
        assert await link.connect() is None
        task = asyncio.create_task(link.read(1, Block(3, 0, 2)))
        while link._answer is None:  # noqa: ASYNC110 until it asks
            await asyncio.sleep(0)
        link._answer.set_result(ModbusPDU())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not link.connected, "its answer is lost, so is the line's step"


# Late answers.


async def late(
    server: MeterServer, one: Meter, clock: SimulatedClock, world: World, end: int
) -> None:
    """From now on the meter answers only when the program has long asked again."""
    one.trouble = Trouble.SLOW
    for _ in range(4):
        one.gate = asyncio.Event()
        before = server.connections
        running = asyncio.create_task(clock.run_until(end))
        while server.connections == before and not running.done():  # noqa: ASYNC110
            await asyncio.sleep(0)  # a turn of the loop: the server has no event for it
        one.gate.set()
        await running
        end += MINUTE
    one.trouble, one.gate = None, None
    await clock.run_until(end + 2 * MINUTE)


async def test_a_late_answer_on_rtu_is_never_taken_for_another(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    """The converter passes it on over the new connection, where another question, whose answer
    has the same length, is open."""
    one = meter()
    async with (
        MeterServer([one], clock.now, rtu=True) as server,
        polling([device(server.url(1))], clock, intake) as world,
    ):
        await clock.run_until(START + MINUTE)
        before = len(world.series("d"))
        await late(server, one, clock, world, START + 2 * MINUTE)
        believable(world)
        assert len(world.series("d")) > before
        assert world.telemetry.value("modbus_failures", kind="garbled") > 0, (
            "no late answer came: this test tested nothing"
        )


async def test_a_late_answer_on_tcp_is_known_by_its_number(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    one, other = meter(1), meter(2)
    async with MeterServer([one, other], clock.now) as server:
        devices = [device(server.url(1), "d"), device(server.url(2), "e")]
        async with polling(devices, clock, intake) as world:
            await clock.run_until(START + MINUTE)
            one.trouble, one.gate = Trouble.SLOW, asyncio.Event()
            await clock.run_until(START + 2 * MINUTE)
            one.gate.set()
            await clock.run_until(START + 3 * MINUTE)
            one.trouble = None
            await clock.run_until(START + 5 * MINUTE)
            believable(world, "d")
            believable(world, "e")
            assert len(world.series("e")) == 31, "a silent slave costs its neighbour nothing"


# Bad neighbours.


@pytest.mark.parametrize("rtu", [False, True])
async def test_a_dead_slave_costs_the_others_no_reading(
    rtu: bool, clock: SimulatedClock, intake: CollectingIntake
) -> None:
    meters = [meter(n) for n in range(1, 6)]
    meters[2].trouble = Trouble.DEAD
    async with MeterServer(meters, clock.now, rtu=rtu) as server:
        devices = [device(server.url(n), f"d{n}") for n in range(1, 6)]
        async with polling(devices, clock, intake) as world:
            await clock.run_until(START + 30 * MINUTE)
            for n in (1, 2, 4, 5):
                assert len(world.series(f"d{n}")) == 181
                believable(world, f"d{n}")
            assert world.series("d3") == []
            assert meters[2].asked < 45, "probed singly and ever more rarely"
            assert world.states().count(("device:s/d3", False)) == 1
            meters[2].trouble = None
            await clock.run_until(START + 33 * MINUTE)
            believable(world, "d3")
            assert len(world.series("d3")) >= 6
            assert world.states()[-1] == ("device:s/d3", True)


@pytest.mark.parametrize("trouble", [Trouble.SHORT, Trouble.GARBAGE, Trouble.EXCEPTION])
@pytest.mark.parametrize("rtu", [False, True])
async def test_a_bad_answer_leaves_no_reading(
    trouble: Trouble, rtu: bool, clock: SimulatedClock, intake: CollectingIntake
) -> None:
    bad, good = meter(1), meter(2)
    async with MeterServer([bad, good], clock.now, rtu=rtu) as server:
        devices = [device(server.url(1), "d"), device(server.url(2), "e")]
        async with polling(devices, clock, intake) as world:
            bad.trouble = trouble
            await clock.run_until(START + 5 * MINUTE)
            assert world.series("d") == []
            assert ("device:s/d", False) in world.states()
            assert len(world.series("e")) == 31
            believable(world, "e")
            bad.trouble = None
            await clock.run_until(START + 8 * MINUTE)
            assert world.series("d")
            believable(world, "d")


async def test_one_lost_frame_is_no_outage(clock: SimulatedClock, intake: CollectingIntake) -> None:
    one = meter()
    async with (
        MeterServer([one], clock.now, rtu=True) as server,
        polling([device(server.url(1))], clock, intake) as world,
    ):
        await clock.run_until(START + 15 * SECOND)
        one.trouble = Trouble.DEAD
        await clock.run_until(START + 20 * SECOND)
        one.trouble = None
        await clock.run_until(START + MINUTE)
        assert ("device:s/d", False) not in world.states()
        assert [t - START for t, _ in world.series("d")] == [
            n * SECOND for n in (0, 10, 21, 30, 40, 50, 60)
        ], "asked again after a second, then on time as before"


async def test_a_gateway_that_speaks_for_a_silent_slave(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    one = Meter(1, PAIR, steady, trouble=Trouble.EXCEPTION, exception=11)
    async with (
        MeterServer([one], clock.now) as server,
        polling([device(server.url(1))], clock, intake) as world,
    ):
        await clock.run_until(START + MINUTE)
        down = [state for state in intake.states() if not state.up]
        assert len(down) == 1
        assert "no answer" in down[0].reason
        assert "does not respond" in down[0].reason
        assert server.connections == 1
        assert world.telemetry.value("modbus_failures", kind="silent") > 2


async def test_registers_that_a_device_lacks_are_left_out(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    """A smaller sister of the model: everything else is read all the same."""
    lesser = replace(PAIR, registers=PAIR.registers[1:])
    one = Meter(1, lesser, steady, holes=False)
    async with (
        MeterServer([one], clock.now) as server,
        polling([device(server.url(1))], clock, intake) as world,
    ):
        await clock.run_until(START + MINUTE)
        assert len(world.series("d", "energy.active.import")) == 7
        assert world.series("d", "voltage.l1") == []
        believable(world)
        states = [s for s in intake.states() if world.origins[s.origin] == "device:s/d"]
        assert [state.up for state in states] == [True]
        assert "2 from 0x0000" in states[0].reason


async def test_a_device_that_refuses_holes_is_read_over_none(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    gappy = load_profiles()["acrel-dtsd1352"]
    one = Meter(1, gappy, lambda _: {"frequency": 50.0, "voltage.l1": 230.0}, holes=False)
    async with MeterServer([one], clock.now) as server:
        devices = [device(server.url(1), profile="acrel-dtsd1352")]
        async with polling(devices, clock, intake) as world:
            await clock.run_until(START + MINUTE)
            assert len(world.series("d", "frequency")) == 7
            assert len(intake.rows()) == 7 * len(gappy.registers), "nothing was left out"


async def test_a_device_with_another_map_altogether_is_down(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    nothing = replace(PAIR, registers=())
    one = Meter(1, nothing, steady, holes=False)
    async with (
        MeterServer([one], clock.now) as server,
        polling([device(server.url(1))], clock, intake) as world,
    ):
        await clock.run_until(START + MINUTE)
        assert intake.rows() == []
        down = [state for state in intake.states() if not state.up]
        assert len(down) == 1
        assert "illegal data address" in down[0].reason
        assert one.asked < 60
        assert world.states().count(("device:s/d", False)) == 1


async def test_no_value_is_kept_as_such(clock: SimulatedClock, intake: CollectingIntake) -> None:
    one = meter(values=lambda _: {"energy.active.import": 1.0})
    async with (
        MeterServer([one], clock.now) as server,
        polling([device(server.url(1))], clock, intake),
    ):
        await clock.run_until(START + SECOND)
        rows = {point: (value, quality) for point, _, value, quality in intake.rows()}
        assert np.isnan(rows[0][0])
        assert rows[0][1] == Quality.NO_VALUE
        assert rows[1] == (1.0, Quality.GOOD)


# Registry.


async def test_devices_are_read_only_between_their_dates(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    """A meter is replaced at the same address and place: each reading belongs to one of them."""
    async with MeterServer([meter()], clock.now) as server:
        change = START + 5 * MINUTE
        old = replace(device(server.url(1), "old"), place="d", end=change)
        new = replace(device(server.url(1), "new"), place="d", start=change)
        async with polling([old, new], clock, intake) as world:
            await clock.run_until(START + 10 * MINUTE)
            batch = intake.batch()
            by = {"old": [], "new": []}
            origins = [world.origins[n] for n in batch.origin().tolist()]
            for time, origin in zip(batch.time.tolist(), origins, strict=True):
                by[origin.removeprefix("device:s/")].append(time)
            assert max(by["old"]) < change == min(by["new"])
            assert len(batch) == 2 * 61, "none twice, none missing"


async def test_a_new_registry_changes_only_what_changed(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    async with (
        MeterServer([meter(1), meter(2)], clock.now) as kept,
        MeterServer([meter(1)], clock.now) as left,
        MeterServer([meter(1)], clock.now) as added,
    ):
        first = [device(kept.url(1), "a"), device(left.url(1), "b")]
        async with polling(first, clock, intake) as world:
            await clock.run_until(START + 5 * MINUTE)
            moved = replace(first[0], file="moved.toml", line=9)
            world.update([moved, device(kept.url(2), "c"), device(added.url(1), "e", interval=5)])
            await clock.run_until(START + 10 * MINUTE)
            assert [kept.connections, left.connections, added.connections] == [1, 1, 1]
            times = [t for t, _ in world.series("a")]
            assert times == [START + n * 10 * SECOND for n in range(61)], "undisturbed"
            assert max(t for t, _ in world.series("b")) <= START + 5 * MINUTE
            assert len(world.series("c")) == 31
            assert len(world.series("e")) >= 60
            assert world.states().count(("device:s/a", True)) == 1


async def test_a_bad_registry_is_refused_and_the_old_one_kept(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    async with (
        MeterServer([meter()], clock.now) as server,
        polling([device(server.url(1))], clock, intake) as world,
    ):
        await clock.run_until(START + MINUTE)
        bad = [
            device("modbus+tcp://host:99999?unit=1"),
            device("modbus+tcp://host?unit=1", profile="push"),
            device("modbus+tcp://two:502?unit=1"),
            device("modbus+rtu-tcp://two:502?unit=1"),
            device("modbus+tcp://three?unit=300"),
            device("modbus+serial:///dev/ttyS1?parity=X"),
            device("modbus+tcp://four?baud=9600"),
        ]
        with pytest.raises(ConfigurationError) as caught:
            world.source.update(bad, PROFILES, world.points)
        assert len(caught.value.faults) == 6
        await clock.run_until(START + 2 * MINUTE)
        assert len(world.series("d")) == 13


# The intake.


async def test_nothing_is_polled_ahead_of_what_is_not_synced(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    """A bus does not sleep on unsynced readings, so simulated time waits for the disk."""
    async with (
        MeterServer([meter()], clock.now) as server,
        polling([device(server.url(1))], clock, intake) as world,
    ):
        await clock.run_until(START + MINUTE)
        intake.hold()
        rows = intake.count()
        running = asyncio.create_task(clock.run_until(START + HOUR))
        await intake.until(lambda seen: seen.count() > rows)
        assert intake.unsynced() == 2
        assert clock.now() == START + 70 * SECOND
        intake.release()
        await running
        assert len(world.series("d")) == 361


async def test_polls_widen_while_the_journal_nears_its_bound(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    async with (
        MeterServer([meter()], clock.now) as server,
        polling([device(server.url(1))], clock, intake) as world,
    ):
        await clock.run_until(START + 10 * MINUTE)
        intake.refuse_below(Urgency.POLL)
        await clock.run_until(START + 20 * MINUTE)
        intake.refuse_below(Urgency.BACKFILL)
        await clock.run_until(START + 30 * MINUTE)
        counts = [0, 0, 0]
        for time, _ in world.series("d"):
            counts[min(2, (time - START) // (10 * MINUTE))] += 1
        assert counts[0] == 60
        assert 15 <= counts[1] <= 17, "a quarter as often"
        assert 50 <= counts[2] <= 61
        told = [s.reason for s in intake.states() if "times less often" in s.reason]
        assert len(told) == 1, "the gap is in the record, with its reason"
        assert all(state.up for state in intake.states())


async def test_refused_readings_are_counted_and_polling_goes_on(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    async with (
        MeterServer([meter()], clock.now) as server,
        polling([device(server.url(1))], clock, intake) as world,
    ):
        await clock.run_until(START + MINUTE)
        kept = intake.count()
        intake.refuse_below(Urgency.CONTROL)
        await clock.run_until(START + 10 * MINUTE)
        assert intake.count() == kept
        lost = world.telemetry.value("modbus_readings_refused", source="modbus")
        assert lost > 20
        intake.refuse_below(Urgency.BACKFILL)
        await clock.run_until(START + 12 * MINUTE)
        assert intake.count() > kept


async def test_polls_of_many_buses_travel_together(intake: CollectingIntake) -> None:
    """What finished while the last delivery was being synced is one delivery."""
    clock = SystemClock()
    meters = [meter() for _ in range(30)]
    async with contextlib.AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(MeterServer([m], clock.now)) for m in meters]
        devices = [device(s.url(1), f"d{n}", interval=600) for n, s in enumerate(servers)]
        intake.hold()
        patience = 600  # held, the intake keeps whoever failed waiting: nobody may, however slow
        world = await stack.enter_async_context(polling(devices, clock, intake, patience))
        while min(one.asked for one in meters) < 2:  # noqa: ASYNC110 the meter has no event
            await asyncio.sleep(0)
        assert len(intake.deliveries) == 1, "the first waits for its sync, the others for it"
        intake.release()
        await intake.until(lambda seen: seen.count() >= 60)
        assert len([d for d in intake.deliveries if d.batch is not None]) <= 3
        batch = intake.batch()
        assert len({world.origins[n] for n in batch.segments.origin.tolist()}) == 30
        assert batch.segments.sizes().tolist() == [2] * 30
