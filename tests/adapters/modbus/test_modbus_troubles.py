"""A Modbus source and slaves in trouble: dead, garbled, refusing, without what their profile names.
They cost their neighbours nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adapters.profiles import load_profiles
from meterwatch.clock import SimulatedClock
from meterwatch.simulator.meters import Meter, MeterServer, Trouble
from tests import intakes
from tests.adapters.modbus.modbus_polled import PAIR, believable, device, meter, polling, steady
from tests.adapters.polling import polled
from tests.adapters.polling.polled import MINUTE, SECOND, START
from tests.intakes import CollectingIntake

clock, intake = polled.clock, intakes.intake


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


# What a device lacks.


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
