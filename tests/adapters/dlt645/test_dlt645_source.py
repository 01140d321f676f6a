"""What the DL/T 645 source promises over real sockets: right values of the meters that the registry
names, over TCP and serial lines.

Simulated time passes over real sockets, so an hour of polls takes as long as its sockets do.
"""

from __future__ import annotations

import numpy as np
import pytest

from adapters.sources.dlt645 import Dlt645Source
from collector.errors import ConfigurationError
from collector.telemetry import Telemetry
from meterwatch.clock import SimulatedClock
from tests import intakes
from tests.adapters.dlt645.dlt645_line import SimLine, SimMeter
from tests.adapters.dlt645.dlt645_polled import (
    MEANT,
    PROFILES,
    THREE,
    A,
    B,
    Moving,
    believable,
    device,
    full,
    polling,
    tcp,
)
from tests.adapters.polling import polled
from tests.adapters.polling.polled import MINUTE, SECOND, START
from tests.intakes import CollectingIntake

clock, intake = polled.clock, intakes.intake


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
