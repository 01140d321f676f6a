"""What the DL/T 645 source promises over real sockets: right values or none, come what may.

Simulated time passes over real sockets, so an hour of polls takes as long as its sockets do. The
simulated meters have protocol code of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping, Sequence

import numpy as np
import pytest

from adapters.profiles import load_profiles
from adapters.sources.dlt645 import Dlt645Source
from adapters.sources.dlt645.terminals import Terminals
from collector.errors import ConfigurationError
from collector.model import Ids, Quality
from collector.registry import Device
from collector.telemetry import Telemetry
from meterwatch.clock import SimulatedClock
from tests import intakes
from tests.adapters.dlt645_line import Shown, SimLine, SimMeter
from tests.intakes import CollectingIntake

START = 1_795_000_000_000 // 900_000 * 900_000
"""A whole quarter of an hour."""
SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
PATIENT = 5.0
"""A timeout that a busy machine does not reach."""
SHORT = 0.05
"""One that is reached on purpose: then only what is right is asked, not how much."""
THREE, ONE = "dlt645-2007-three-phase", "dlt645-2007-single-phase"
A, B = "398192000337", "201500000016"
PROFILES = load_profiles()


class World:
    """A source on an intake, with everything that names things."""

    def __init__(self, clock: SimulatedClock, intake: CollectingIntake) -> None:
        self.clock = clock
        self.intake = intake
        self.telemetry = Telemetry()
        self.origins: list[str] = []
        self.points: dict[str, int] = {}
        self.source: Dlt645Source

    def origin_ids(self, names: Sequence[str]) -> Ids:
        self.origins += [name for name in names if name not in self.origins]
        return np.array([self.origins.index(name) for name in names], np.int32)

    def ids(self, devices: Sequence[Device]) -> Mapping[str, int]:
        for one in devices:
            for item in PROFILES[one.profile].items:
                name = f"{one.site}/{one.place}/{item.quantity}/raw"
                self.points.setdefault(name, len(self.points))
        return self.points

    def states(self, origin: str) -> list[tuple[bool, str]]:
        return [
            (state.up, state.reason)
            for state in self.intake.states()
            if self.origins[state.origin] == origin
        ]

    def series(self, device: str, quantity: str) -> list[tuple[int, float]]:
        """Valid readings of a device's point, in order of arrival."""
        point = self.points[f"s/{device}/{quantity}/raw"]
        return [
            (time, value)
            for id_, time, value, quality in self.intake.rows()
            if id_ == point and quality == Quality.GOOD
        ]

    def newest(self, device: str) -> dict[str, float]:
        """The last valid value of each quantity."""
        names = {id_: name for name, id_ in self.points.items()}
        found: dict[str, float] = {}
        for id_, _, value, quality in self.intake.rows():
            _, place, quantity, _ = names[id_].split("/")
            if place == device and quality == Quality.GOOD:
                found[quantity] = value
        return found

    def update(self, devices: Sequence[Device]) -> None:
        self.source.update(devices, PROFILES, self.ids(devices))


@contextlib.asynccontextmanager
async def polling(
    devices: Sequence[Device],
    clock: SimulatedClock,
    intake: CollectingIntake,
    patience: float = PATIENT,
) -> AsyncIterator[World]:
    world = World(clock, intake)
    world.source = Dlt645Source(
        "dlt645",
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


def device(
    url: str, id_: str = "d", profile: str = ONE, interval: float = 60.0, **more: float
) -> Device:
    """A device whose place has its own name."""
    return Device("s", id_, id_, profile, connection=url, interval=interval, **more)  # type: ignore[arg-type]


def free_port() -> int:
    """A port that nobody listens on (kept free long enough by the kernel's port order)."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


FULL: Shown = {
    "0001FF00": "00123456 00011111 00022222 00033333 00056789",
    "00020000": "00000100",
    "00030000": "00004000",
    "00040000": "80000007",
    "01010000": "2611200815" + "012345",
    "02800004": "004321",
    "0201FF00": "2201 2202 2203",
    "0202FF00": "001001 801002 001003",
    "02800001": "000004",
    "0203FF00": "012000 003000 004000 805000",
    "0204FF00": "800100 000200 000300 000400",
    "0205FF00": "012100 004000 004000 004100",
    "0206FF00": "0991 0992 0993 8994",
    "02800002": "5001",
}
"""What a three-phase meter shows. The demand's number comes first on the wire, its minute after."""
MEANT = {
    "energy.active.import": 1234.56,
    "energy.active.import.sharp": 111.11,
    "energy.active.import.peak": 222.22,
    "energy.active.import.flat": 333.33,
    "energy.active.import.valley": 567.89,
    "energy.active.export": 1.0,
    "energy.reactive.import": 40.0,
    "energy.reactive.export": -0.07,
    "power.active.demand.max": 1.2345,
    "power.active.demand": 0.4321,
    "voltage.l1": 220.1,
    "voltage.l2": 220.2,
    "voltage.l3": 220.3,
    "current.l1": 1.001,
    "current.l2": -1.002,
    "current.l3": 1.003,
    "current.neutral": 0.004,
    "power.active": 1.2,
    "power.active.l1": 0.3,
    "power.active.l2": 0.4,
    "power.active.l3": -0.5,
    "power.reactive": -0.01,
    "power.reactive.l1": 0.02,
    "power.reactive.l2": 0.03,
    "power.reactive.l3": 0.04,
    "power.apparent": 1.21,
    "power.apparent.l1": 0.4,
    "power.apparent.l2": 0.4,
    "power.apparent.l3": 0.41,
    "power.factor": 0.991,
    "power.factor.l1": 0.992,
    "power.factor.l2": 0.993,
    "power.factor.l3": -0.994,
    "frequency": 50.01,
}


def full() -> Shown:
    return FULL


class Moving:
    """A single-phase meter whose energy and voltage say when they were read."""

    def __init__(self, clock: SimulatedClock) -> None:
        self.clock = clock

    def __call__(self) -> Shown:
        seconds = (self.clock.now() - START) // SECOND
        tariffs = " ".join(f"{100_000 * n + seconds:08d}" for n in range(5, 0, -1))
        return {
            "0001FF00": tariffs,
            "00020000": f"{700_000 + seconds:08d}",
            "02010100": f"{2000 + seconds % 1000:04d}",
            "02020100": "001000",
            "02030000": "002200",
            "02060000": "0990",
            "02800002": "5000",
            "04000102": "120000",
        }


def believable(world: World, id_: str = "d") -> int:
    """Every stored reading is what the meter showed at that moment. How many there are."""
    count = 0
    wanted = {"energy.active.import": 5000.0, "energy.active.import.valley": 1000.0,
              "energy.active.export": 7000.0}  # fmt: skip
    for quantity, base in wanted.items():
        for time, value in world.series(id_, quantity):
            count += 1
            assert value == pytest.approx(base + (time - START) / SECOND / 100), (quantity, time)
    for time, value in world.series(id_, "voltage.l1"):
        assert value == pytest.approx(200 + (time - START) / SECOND % 1000 / 10), time
    return count


def tcp(line: SimLine, address: str = A) -> str:
    return f"dlt645+tcp://127.0.0.1:{line.port}?address={address}"


# Right values.


async def test_a_whole_meter_is_read_by_blocks(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    async with (
        SimLine(meter := SimMeter(A, full)) as line,
        polling([device(tcp(line), profile=THREE)], clock, intake) as world,
    ):
        await clock.run_until(START + 5 * MINUTE + SECOND)
        assert world.newest("d") == pytest.approx(MEANT)
        assert world.newest("d")["energy.active.import"] == 1234.56
        times = [time for time, _ in world.series("d", "energy.active.import")]
        assert times == [START + n * MINUTE for n in range(6)]
        assert world.states("device:s/d") == [(True, "")]
        assert world.states(f"dlt645:127.0.0.1:{line.port}") == [(True, "")]
        assert len(meter.asked) == 6 * 14


async def test_ratios_multiply_gauges_and_leave_counters_as_shown(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    async with SimLine(SimMeter(A, full)) as line:
        ratios = {"ratio": 3000.0, "voltage_ratio": 100.0, "current_ratio": 30.0}
        meter = device(tcp(line), profile=THREE, **ratios)
        async with polling([meter], clock, intake) as world:
            await clock.run_until(START + SECOND)
            got = world.newest("d")
            for quantity, value in (("energy.active.import", 1234.56), ("power.active", 3600.0),
                                    ("power.active.demand.max", 3703.5), ("voltage.l1", 22010.0),
                                    ("current.l1", 30.03), ("power.factor", 0.991)):  # fmt: skip
                assert got[quantity] == pytest.approx(value), quantity


async def test_meters_on_one_line_are_asked_in_turn_over_one_connection(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    addresses = [f"{n:012d}" for n in range(1, 9)]
    shows = Moving(clock)
    async with SimLine(*(SimMeter(one, shows) for one in addresses)) as line:
        line.echo = True
        devices = [device(tcp(line, one.lstrip("0")), f"d{one[-1]}") for one in addresses]
        async with polling(devices, clock, intake) as world:
            await clock.run_until(START + 10 * MINUTE)
            assert line.connections == 1
            for one in addresses:
                assert believable(world, f"d{one[-1]}") >= 3 * 10


async def test_a_serial_line(clock: SimulatedClock, intake: CollectingIntake) -> None:
    line = SimLine(SimMeter(A, Moving(clock)), SimMeter(B, Moving(clock)))
    path = line.serial()
    urls = [f"dlt645+serial://{path}?address={one}&parity=N" for one in (A, B)]
    async with polling([device(urls[0], "a"), device(urls[1], "b")], clock, intake) as world:
        await clock.run_until(START + 5 * MINUTE)
        assert believable(world, "a") >= 15
        assert believable(world, "b") >= 15
        assert world.states(f"dlt645:{path}") == [(True, "")]
    await line.stop()


async def test_a_serial_port_that_is_not_there_is_told(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    url = "dlt645+serial:///dev/no-such-port?address=1"
    async with polling([device(url)], clock, intake) as world:
        await clock.run_until(START + MINUTE)
        ((up, reason),) = world.states("dlt645:/dev/no-such-port")
        assert not up
        assert "no such serial port" in reason


@pytest.mark.parametrize("pattern", ["AAAAAAAAAAAA", "AAAAAAAA0337"])
async def test_a_meter_whose_address_is_open_says_who_it_is(
    pattern: str, clock: SimulatedClock, intake: CollectingIntake
) -> None:
    shows = Moving(clock)
    meter = SimMeter(A, lambda: {**shows(), "00010000": "00000000"})
    async with (
        SimLine(meter) as line,
        polling([device(tcp(line, pattern))], clock, intake) as world,
    ):
        await clock.run_until(START + 3 * MINUTE)
        assert believable(world) >= 3 * 3
        assert len([one for one in meter.asked if one in {"who", "00010000"}]) == 1


async def test_two_meters_that_may_be_meant_are_neither(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    async with (
        SimLine(SimMeter(A, Moving(clock)), SimMeter(B, Moving(clock))) as line,
        polling([device(tcp(line, "A" * 12))], clock, intake) as world,
    ):
        await clock.run_until(START + 10 * SECOND)
        ((up, reason),) = world.states("device:s/d")
        assert not up
        assert A in reason
        assert B in reason
        assert intake.rows() == []


async def test_an_answer_in_several_frames_is_put_together(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    async with (
        SimLine(SimMeter(A, full, most=3)) as line,
        polling([device(tcp(line), profile=THREE)], clock, intake) as world,
    ):
        await clock.run_until(START + SECOND)
        assert world.newest("d") == pytest.approx(MEANT)


async def test_what_a_meter_does_not_have_is_asked_singly_then_left_out_and_tried_again_next_day(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    shows = {
        "00010000": "00000100", "00010100": "00000010", "02010100": "2200", "02030000": "000100",
        "02060000": "FFFF",
    }  # fmt: skip
    async with (
        SimLine(meter := SimMeter(A, lambda: shows)) as line,
        polling([device(tcp(line), interval=900)], clock, intake) as world,
    ):
        await clock.run_until(START + HOUR)
        assert world.newest("d") == {
            "energy.active.import": 1.0, "energy.active.import.sharp": 0.1,
            "voltage.l1": 220.0, "power.active": 0.01}  # fmt: skip
        ((up, reason),) = world.states("device:s/d")
        assert up
        assert "00010200 (no such data)" in reason
        assert "0001FF00" not in reason
        factor = world.points["s/d/power.factor/raw"]
        marked = [row for row in intake.rows() if row[0] == factor]
        assert marked
        assert all(row[3] == Quality.NO_VALUE for row in marked)
        assert meter.asked.count("0001FF00") == meter.asked.count("02020100") == 1
        await clock.run_until(START + 25 * HOUR)
        assert meter.asked.count("0001FF00") == meter.asked.count("02020100") == 2


async def test_a_block_that_ends_early_brings_what_it_has(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    shows = {**FULL, "0201FF00": "2201", "0001FF00": "00123456 00011111"}
    async with (
        SimLine(SimMeter(A, lambda: shows)) as line,
        polling([device(tcp(line), profile=THREE)], clock, intake) as world,
    ):
        await clock.run_until(START + SECOND)
        absent = {"voltage.l2", "voltage.l3", "energy.active.import.peak",
                  "energy.active.import.flat", "energy.active.import.valley"}  # fmt: skip
        assert set(world.newest("d")) == set(MEANT) - absent


async def test_an_answer_of_another_length_is_no_value(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    shows = {**FULL, "0201FF00": "220100 220200 2203", "00020000": "0000000100"}
    async with (
        SimLine(SimMeter(A, lambda: shows)) as line,
        polling([device(tcp(line), profile=THREE)], clock, intake) as world,
    ):
        await clock.run_until(START + SECOND)
        got = world.newest("d")
        assert "energy.active.export" not in got
        assert got["energy.active.import"] == 1234.56
        bad = {world.points[f"s/d/{q}/raw"] for q in ("energy.active.export",)}
        assert [row[3] for row in intake.rows() if row[0] in bad] == [Quality.NO_VALUE]


async def test_another_refusal_is_asked_again_before_it_is_believed(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    meter = SimMeter(A, Moving(clock), errors={"02020100": 0x01})
    async with (
        SimLine(meter) as line,
        polling([device(tcp(line), interval=600)], clock, intake) as world,
    ):
        await clock.run_until(START + HOUR)
        assert meter.asked.count("02020100") == 3
        assert believable(world) > 0
        assert "another error" in world.states("device:s/d")[-1][1]
        meter.errors = {}
        await clock.run_until(START + 25 * HOUR)
        assert world.series("d", "current.l1") != []


@pytest.mark.parametrize("identifier", ["0001FF00", "00020000", "02800002"])
async def test_what_a_meter_is_silent_about_is_left_out_while_it_answers_the_rest(
    clock: SimulatedClock, intake: CollectingIntake, identifier: str
) -> None:
    meter = SimMeter(A, Moving(clock), ignores=frozenset({identifier}))
    async with (
        SimLine(meter) as line,
        polling([device(tcp(line))], clock, intake, SHORT) as world,
    ):
        await clock.run_until(START + 20 * MINUTE)
        assert believable(world) > 0
        assert len(world.series("d", "voltage.l1")) >= 15
        assert world.states("device:s/d")[-1][0]


async def test_a_meter_that_has_nothing_of_it_is_left_in_peace(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    async with (
        SimLine(meter := SimMeter(A, dict)) as line,
        polling([device(tcp(line))], clock, intake) as world,
    ):
        await clock.run_until(START + 30 * MINUTE)
        ((up, reason),) = world.states("device:s/d")
        assert not up
        assert "has nothing of what its profile names" in reason
        everything = 1 + 5 + 6
        assert len(meter.asked) <= everything + 35, "one question a minute, at most"
        meter.shows = Moving(clock)
        await clock.run_until(START + 32 * MINUTE)
        assert believable(world) > 0


# Whatever goes wrong.

TROUBLES: dict[str, dict[str, object]] = {
    "noise before": {"before": b"\x00\xff\x68\x16garbage"},
    "a beginning before": {"before": bytes.fromhex("68 11 22 33 44 55 66 68 91 C8")},
    "wrong address": {"says_it_is": B},
    "wrong identifier": {"other_identifier": "00010A00"},
    "altered in the data": {"altered_byte": -3},
    "altered sum": {"altered_byte": -2},
    "lost byte": {"lost_byte": 16},
    "cut": {"cut_after": 15},
    "silent": {"silent": True},
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_whatever_a_meter_does_a_stored_value_is_right(
    trouble: str, clock: SimulatedClock, intake: CollectingIntake
) -> None:
    """For a while the meter misbehaves; a neighbour on the line loses nothing."""
    bad, good = SimMeter(A, Moving(clock)), SimMeter(B, Moving(clock))
    async with SimLine(bad, good) as line:
        devices = [device(tcp(line, A), "bad"), device(tcp(line, B), "good")]
        async with polling(devices, clock, intake, patience=0.3) as world:
            await clock.run_until(START + MINUTE + SECOND)
            for name, value in TROUBLES[trouble].items():
                setattr(bad, name, value)
            before = believable(world, "bad")
            await clock.run_until(START + 5 * MINUTE + SECOND)
            wrong_only = trouble in {"noise before", "a beginning before"}
            assert (believable(world, "bad") > before) is wrong_only
            for name in TROUBLES[trouble]:
                setattr(bad, name, getattr(SimMeter("", dict), name))
            await clock.run_until(START + 10 * MINUTE + SECOND)
            assert believable(world, "bad") > before
            good_times = [time for time, _ in world.series("good", "energy.active.import")]
            assert good_times == [START + n * MINUTE for n in range(11)]
            believable(world, "good")
            ups = [up for up, _ in world.states("device:s/bad")]
            assert ups == ([True] if wrong_only else [True, False, True])


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        ({"altered_byte": -2}, "garbled: look at baud rate, parity and wiring"),
        ({"says_it_is": B}, f"an answer of meter {B} to something else came"),
        ({"silent": True}, "does not answer within"),
    ],
)
async def test_the_reason_tells_an_electrician_where_to_look(
    trouble: dict[str, object], says: str, clock: SimulatedClock, intake: CollectingIntake
) -> None:
    meter = SimMeter(A, full, **trouble)  # type: ignore[arg-type]
    async with (
        SimLine(meter) as line,
        polling([device(tcp(line))], clock, intake, SHORT) as world,
    ):
        await clock.run_until(START + MINUTE)
        ((up, reason),) = world.states("device:s/d")
        assert not up
        assert says in reason


@pytest.mark.parametrize("lag", [1, 2, 3])
async def test_a_late_answer_never_becomes_a_value(
    lag: int, clock: SimulatedClock, intake: CollectingIntake
) -> None:
    """Every answer comes just when a later question waits for its own; then the line is well."""
    async with (
        SimLine(SimMeter(A, Moving(clock))) as line,
        polling([device(tcp(line), interval=10)], clock, intake, SHORT) as world,
    ):
        await clock.run_until(START + MINUTE)
        line.lag = lag
        await clock.run_until(START + 10 * MINUTE)
        believable(world)
        line.lag = 0
        before = believable(world)
        await clock.run_until(START + 20 * MINUTE)
        assert believable(world) > before


async def test_a_meter_of_another_line_that_is_heard_here_is_not_ours(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    """Two meters answer every question; only the one that was meant counts."""
    chatter = SimMeter(A, full, says_it_is=B)
    async with (
        SimLine(chatter, SimMeter(A, Moving(clock))) as line,
        polling([device(tcp(line))], clock, intake) as world,
    ):
        await clock.run_until(START + 5 * MINUTE)
        assert believable(world) >= 15


async def test_a_dead_meter_costs_its_neighbours_no_poll(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    dead = SimMeter(A, Moving(clock), silent=True)
    async with SimLine(dead, SimMeter(B, Moving(clock))) as line:
        devices = [device(tcp(line, A), "dead"), device(tcp(line, B), "well", interval=10)]
        async with polling(devices, clock, intake, SHORT) as world:
            await clock.run_until(START + HOUR)
            failures = world.telemetry.value("dlt645_failures", kind="silent")
            assert failures <= 70  # once a minute, after the first few
            times = [time for time, _ in world.series("well", "energy.active.import")]
            assert len(times) >= 355


async def test_a_lost_connection_is_opened_again(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    async with (
        SimLine(SimMeter(A, Moving(clock))) as line,
        polling([device(tcp(line))], clock, intake) as world,
    ):
        await clock.run_until(START + 3 * MINUTE)
        line.hang_up()
        await clock.run_until(START + 6 * MINUTE)
        assert line.connections >= 2
        assert believable(world) >= 15


async def test_a_server_that_is_away_is_told(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    url = f"dlt645+tcp://127.0.0.1:{free_port()}?address={A}"
    async with polling([device(url)], clock, intake) as world:
        await clock.run_until(START + 8 * MINUTE)
        ((up, reason),) = world.states(url.partition("?")[0].replace("+tcp://", ":"))
        assert not up
        assert "cannot connect" in reason


# Terminals that call us.


async def called(world: World, origin: str) -> None:
    """Until the line of ``origin`` is up."""
    await world.intake.until(lambda _: any(up for up, _ in world.states(origin)))


async def test_terminals_that_call_are_known_by_what_they_say(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    port = free_port()
    urls = [f"dlt645+listen://127.0.0.1:{port}?terminal=1381234567{n}&address={A}" for n in (1, 2)]
    one, two = SimLine(SimMeter(A, Moving(clock))), SimLine(SimMeter(A, full))
    async with polling([device(urls[0], "a"), device(urls[1], "b")], clock, intake) as world:
        await clock.run_until(START + MINUTE)
        assert [up for up, _ in world.states(f"dlt645:127.0.0.1:{port}/13812345671")] == [False]
        await two.call(port, b"REG,13812345672\r\n")
        await one.call(port, b"\x00\x0113812345671")
        while world.telemetry.value("dlt645_polls", source="dlt645") < 2:
            await clock.run_until(clock.now() + SECOND)
        await clock.run_until(clock.now() + 3 * MINUTE)
        assert believable(world, "a") >= 6
        assert world.newest("b")["energy.active.import"] == 1234.56
        assert world.states(f"dlt645:127.0.0.1:{port}/13812345672")[-1] == (True, "")
        # it lost its network and calls again; the old connection still looks alive
        again = SimLine(SimMeter(A, lambda: {**FULL, "00020000": "00009900"}))
        await again.call(port, b"13812345672")
        while world.newest("b")["energy.active.export"] != 99.0:
            await clock.run_until(clock.now() + SECOND)
    for line in (one, two, again):
        await line.stop()


async def test_a_terminal_that_says_nothing_is_known_by_its_meter(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    port = free_port()
    urls = [f"dlt645+listen://127.0.0.1:{port}?address={one}" for one in (A, B)]
    line = SimLine(SimMeter(B, Moving(clock)))
    async with polling([device(urls[0], "a"), device(urls[1], "b")], clock, intake, 0.3) as world:
        await clock.run_until(START + SECOND)
        await line.call(port)
        while not believable(world, "b"):
            await clock.run_until(clock.now() + SECOND)
        assert believable(world, "a") == 0
    await line.stop()


async def test_a_stranger_is_counted_and_sent_away(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    port = free_port()
    url = f"dlt645+listen://127.0.0.1:{port}?terminal=13812345678&address={A}"
    async with polling([device(url)], clock, intake, SHORT) as world:
        await clock.run_until(START + SECOND)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"138123456789")  # one digit more is another number
        assert await reader.read() != b""  # it was asked for its meter, and then left
        assert world.telemetry.value("dlt645_unknown_terminals") == 1
        assert intake.rows() == []
        writer.close()


async def test_nobody_listens_for_lines_that_went_while_their_port_was_taken(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        url = f"dlt645+listen://127.0.0.1:{port}?terminal=13812345678&address={A}"
        async with polling([device(url)], clock, intake) as world:
            await clock.run_until(START + MINUTE)
            world.update([])
            await clock.run_until(START + 2 * MINUTE)
            other.close()
            await clock.run_until(START + 3 * MINUTE)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
            world.update([device(url)])  # wanted again, it is open again
            await called_at(clock, port)


async def called_at(clock: SimulatedClock, port: int) -> None:
    """Until ``port`` can be called."""
    while True:
        await clock.run_until(clock.now() + SECOND)
        with contextlib.suppress(ConnectionRefusedError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return


async def test_closed_while_it_opens_it_keeps_no_port() -> None:
    port = free_port()
    terminals = Terminals("127.0.0.1", port, PATIENT, Telemetry())
    opening = asyncio.create_task(terminals.start())
    await asyncio.sleep(0)
    assert not opening.done()
    terminals.close()
    assert await opening == ""
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


# The registry.


async def test_another_registry_keeps_what_stays(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    async with SimLine(SimMeter(A, Moving(clock)), SimMeter(B, Moving(clock))) as line:
        first = device(tcp(line, A), "a")
        async with polling([first], clock, intake) as world:
            await clock.run_until(START + 2 * MINUTE)
            world.update([first, device(tcp(line, B), "b")])
            await clock.run_until(START + 4 * MINUTE)
            assert line.connections == 1
            assert believable(world, "b") > 0
            world.update([])
            before = intake.count()
            await clock.run_until(START + 8 * MINUTE)
            assert intake.count() == before


def test_devices_that_cannot_be_polled_as_written_are_all_told() -> None:
    url = "dlt645+serial:///dev/ttyS1"
    devices = [
        device(f"{url}?address=12x4", "no-address"),
        device(f"{url}?address=1", "wrong-profile", profile="generic-counter"),
        device(f"{url}?address=2", "first"),
        device(f"{url}?address=3&baud=9600", "other-baud"),
        device(f"{url}?address=AAAAAAAAAAAA", "anybody"),
        device("modbus+tcp://10.0.0.1?unit=1", "not-ours"),
    ]
    with pytest.raises(ConfigurationError) as caught:
        Dlt645Source("x", devices, PROFILES, {}, lambda names: np.zeros(len(names), np.int32),
                     SimulatedClock(START), Telemetry())  # fmt: skip
    told = "\n".join(map(str, caught.value.faults))
    for says in (
        'address is "12x4"',
        "says nothing of dlt645",
        "spoken to in another way",
        "may also be",
    ):
        assert says in told
    assert len(caught.value.faults) == 4
