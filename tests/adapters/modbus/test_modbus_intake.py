"""A Modbus source and the intake behind it: polls wait for the disk, widen where it is nearly full,
and travel together."""

from __future__ import annotations

import asyncio
import contextlib

from collector.ports import Urgency
from meterwatch.clock import SimulatedClock, SystemClock
from meterwatch.simulator.meters import MeterServer
from tests import intakes
from tests.adapters.modbus.modbus_polled import device, meter, polling
from tests.adapters.polling import polled
from tests.adapters.polling.polled import HOUR, MINUTE, SECOND, START
from tests.intakes import CollectingIntake

clock, intake = polled.clock, intakes.intake


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
