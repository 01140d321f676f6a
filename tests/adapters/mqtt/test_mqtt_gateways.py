"""Simulated gateways, brokers of the demo and our source together: everything is counted."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.sources.mqtt import MqttSettings, MqttSource
from collector.model import Quality, Reason
from collector.telemetry import Telemetry
from meterwatch.clock import SimulatedClock
from meterwatch.simulator.broker import RunningBroker, broker
from meterwatch.simulator.gateways import PushedDevice, SimulatedGateway
from tests.adapters.payload.pushed import T0, Fleet
from tests.intakes import CollectingIntake
from tests.servers import Mosquitto, program

pytestmark = pytest.mark.timeout(60)
BOTH = pytest.mark.parametrize("embedded", [False, True], ids=["mosquitto", "embedded"])
DEVICES = (
    PushedDevice(
        "main-meter",
        lambda t: {"energy.active.import": (t - T0) / 1000, "power.active": 5e4},
        lambda: "21030001",
        {"power.active": "W"},
    ),
    PushedDevice(
        "stack",
        lambda _: {"voc.nmhc.concentration": 20.5, "fluegas.temperature": None},
        flags=lambda _: {"voc.nmhc.concentration": "C"},
    ),
)


class Bench:
    """A gateway, a broker and a source under one simulated clock."""

    def __init__(self, running: RunningBroker, intake: CollectingIntake) -> None:
        self.clock = SimulatedClock(T0)
        self.intake = intake
        self.gateway = SimulatedGateway("gw-print", DEVICES, self.clock, running.port)
        settings = MqttSettings(
            "main", running.host, running.port, version=running.version, first_wait=0.05
        )
        self.source = MqttSource(settings, Fleet().decoder, self.clock, Telemetry())

    async def minute(self, count: int = 1) -> None:
        await self.clock.run_until(self.clock.now() + count * 60_000)

    async def arrived(self, readings: int) -> None:
        await self.intake.until(lambda i: i.count() == readings)

    def times(self) -> list[int]:
        return sorted((time - T0) // 1000 for time in self.intake.batch().time.tolist())


@contextlib.asynccontextmanager
async def bench(folder: Path, *, embedded: bool = False) -> AsyncIterator[Bench]:
    if not embedded:
        program("mosquitto")
    with CollectingIntake() as intake:
        async with broker(folder, embedded=embedded) as running:
            on = Bench(running, intake)
            tasks = [asyncio.create_task(on.source.run(intake))]
            await intake.until(lambda i: any(s.up for s in i.states()))
            tasks.append(asyncio.create_task(on.gateway.run()))
            try:
                yield on
            finally:
                for task in reversed(tasks):
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await task


@BOTH
async def test_readings_of_a_gateway_arrive(tmp_path: Path, embedded: bool) -> None:
    async with bench(tmp_path, embedded=embedded) as on:
        await on.minute(2)
        assert on.gateway.measured == on.gateway.acknowledged == 12 * 4
        await on.arrived(12 * 4)
        assert on.times() == sorted([*range(10, 121, 10)] * 4)
        first = on.intake.rows()[:4]
        assert [value for _, _, value, _ in first][:3] == [10.0, 50.0, 20.5]
        assert [quality for _, _, _, quality in first] == [
            0,
            0,
            Quality.CALIBRATION,
            Quality.NO_VALUE,
        ]
        assert on.intake.refusals() == []


@BOTH
async def test_what_a_silent_gateway_kept_comes_later_and_says_so(
    tmp_path: Path, embedded: bool
) -> None:
    async with bench(tmp_path, embedded=embedded) as on:
        await on.minute()
        on.gateway.faults.silent = True
        await on.minute(30)
        await on.arrived(24)
        assert on.gateway.acknowledged == 24
        assert sum(len(row.fields["values"]) for row in on.gateway.kept) == 30 * 24
        on.gateway.faults.silent = False
        await on.minute()
        await on.arrived(32 * 24)
        assert on.times() == sorted([*range(10, 32 * 60 + 1, 10)] * 4)
        batch = on.intake.batch()
        late = batch.segments.by_row(batch.segments.backfill)
        assert late.sum() >= 29 * 24
        assert not late[-20:].any()


@BOTH
async def test_faults_are_seen_as_what_they_are(tmp_path: Path, embedded: bool) -> None:
    async with bench(tmp_path, embedded=embedded) as on:
        faults = on.gateway.faults
        faults.wrong_serial = {"main-meter": "999"}
        await on.minute()
        await on.arrived(12)
        assert {(r.reason, r.count) for r in on.intake.refusals()} == {(Reason.WRONG_SERIAL, 2)}
        faults.wrong_serial = {}
        faults.garbage = 2
        faults.duplicate = faults.shuffled = True
        await on.minute()
        await on.arrived(12 + 48)
        reasons = [r.reason for r in on.intake.refusals()]
        assert (reasons.count(Reason.WRONG_SERIAL), reasons.count(Reason.PAYLOAD)) == (6, 2)
        assert on.gateway.garbage == 2
        assert on.gateway.measured == on.gateway.acknowledged == 48
        assert all(state.up for state in on.intake.states())  # either broker takes our replies


async def test_a_gateway_outlives_its_broker(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "b") as server, CollectingIntake() as intake:
        on = Bench(RunningBroker("mosquitto", server.port, 5), intake)
        sending = asyncio.create_task(on.gateway.run())
        await on.minute()
        server.stop()
        await on.minute()
        assert (on.gateway.measured, on.gateway.acknowledged) == (48, 24)
        server.start()
        await on.minute()
        assert on.gateway.measured == on.gateway.acknowledged == 72
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sending


async def test_a_full_gateway_loses_the_oldest_and_counts_it() -> None:
    clock = SimulatedClock(T0)
    box = SimulatedGateway("gw-print", DEVICES, clock, 1, keep=4)
    box.faults = dataclasses.replace(box.faults, silent=True)
    for n in range(5):
        box.measure(T0 + n)
    assert not await box.deliver()
    assert (box.measured, box.lost, len(box.kept)) == (20, 12, 4)
    assert [row.time - T0 for row in box.kept] == [3, 3, 4, 4]
