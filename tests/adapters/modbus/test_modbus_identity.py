"""A running bus asks a device who it is before its readings count: over real sockets, in simulated
time."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import numpy as np

from adapters.profiles import load_profiles
from adapters.sources.modbus import ModbusSource
from collector.model import Ids, Reason
from collector.registry import Device
from collector.telemetry import Telemetry
from meterwatch.clock import SimulatedClock
from meterwatch.simulator.meters import Meter, MeterServer, Trouble
from tests import intakes
from tests.adapters.polling import polled
from tests.adapters.polling.polled import HOUR, MINUTE, START
from tests.intakes import CollectingIntake

PROFILES = load_profiles()
ABB, ACREL = PROFILES["abb-b-series"], PROFILES["acrel-dtsd1352"]
POINTS = ("voltage.l1", "energy.active.import")
clock, intake = polled.clock, intakes.intake


def shows(_: int) -> Mapping[str, float]:
    return {"voltage.l1": 230.0, "energy.active.import": 5000.0}


@contextlib.asynccontextmanager
async def polling(
    clock: SimulatedClock, intake: CollectingIntake, *devices: Device
) -> AsyncIterator[list[str]]:
    """Names of origins by id."""
    origins: list[str] = []

    def origin_ids(names: Sequence[str]) -> Ids:
        origins.extend(name for name in names if name not in origins)
        return np.array([origins.index(name) for name in names], np.int32)

    ids = {
        f"s/{one.place}/{quantity}/raw": 10 * n + m
        for n, one in enumerate(devices)
        for m, quantity in enumerate(POINTS)
    }
    source = ModbusSource(
        "modbus", devices, PROFILES, ids, origin_ids, clock, Telemetry(), timeout=5
    )
    task = asyncio.create_task(source.run(intake))
    try:
        yield origins
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def device(url: str, profile: str, serial: str = "", current: float = 1.0) -> Device:
    return Device(
        "s", "d", "d", profile, connection=url, interval=10, serial=serial,
        ratio=current, current_ratio=current,
    )  # fmt: skip


async def test_another_serial_number_is_no_reading_of_this_device(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    meter = Meter(1, ABB, shows, serial="7654321")
    async with (
        MeterServer([meter], clock.now) as server,
        polling(clock, intake, device(server.url(1), ABB.name, "1234567")) as origins,
    ):
        await clock.run_until(START + 5 * MINUTE)
        assert intake.rows() == []
        kept = intake.refusals()
        assert 3 <= len(kept) <= 12, "as evidence, and not with each poll"
        assert {one.reason for one in kept} == {Reason.WRONG_SERIAL}
        assert {one.count for one in kept} == {2}
        assert {origins[one.origin] for one in kept} == {"device:s/d"}
        assert "7654321" in kept[0].detail
        assert [state.up for state in intake.states()] == [True, False], "the bus, the device"
        meter.serial = "01234567"
        await clock.run_until(START + 7 * MINUTE)
        assert len(intake.rows()) >= 2 * 5
        assert intake.states()[-1].up
        assert len(intake.refusals()) <= len(kept) + 1


async def test_who_it_is_is_asked_again_when_it_was_away_and_once_a_day(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    meter = Meter(1, ABB, shows, serial="1234567")
    where = (3, 0x8900)
    async with (
        MeterServer([meter], clock.now) as server,
        polling(clock, intake, device(server.url(1), ABB.name, "1234567")),
    ):
        await clock.run_until(START + HOUR)
        assert meter.answers[where] == 1
        meter.trouble, meter.exception = Trouble.EXCEPTION, 11  # the gateway cannot reach it
        await clock.run_until(START + HOUR + 5 * MINUTE)
        meter.trouble, meter.serial = None, "7654321"  # somebody exchanged it meanwhile
        rows = len(intake.rows())
        await clock.run_until(START + 2 * HOUR)
        assert len(intake.rows()) == rows
        meter.serial = "1234567"
        await clock.run_until(START + 3 * HOUR)
        asked = meter.answers[where]
        await clock.run_until(START + 28 * HOUR)
        assert meter.answers[where] == asked + 1


async def test_a_ratio_that_differs_is_told_once_and_changes_nothing(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    identity = ACREL.identity
    assert identity.voltage_ratio is not None
    assert identity.current_ratio is not None
    meter = Meter(
        1, ACREL, shows, current_ratio=30.0,
        held={identity.voltage_ratio: 1.0, identity.current_ratio: 40.0},
    )  # fmt: skip
    async with (
        MeterServer([meter], clock.now) as server,
        polling(clock, intake, device(server.url(1), ACREL.name, current=30)),
    ):
        await clock.run_until(START + HOUR)
        told = [state.reason for state in intake.states() if state.reason]
        assert len(told) == 1
        assert "30 in the registry and 40 in the meter" in told[0]
        assert len(intake.rows()) > 500


async def test_a_map_that_is_silent_about_who_it_is_is_read_all_the_same(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    class Deaf(MeterServer):
        """Answers nothing that its map does not have."""

        def question(self, connection: Any, number: int, frame: bytes) -> None:
            if frame[2:4] != b"\x89\x00":
                super().question(connection, number, frame)

    async with (
        Deaf([Meter(1, ABB, shows)], clock.now) as server,
        polling(clock, intake, device(f"{server.url(1)}&timeout=50", ABB.name, "1234567")),
    ):
        await clock.run_until(START + 5 * MINUTE)
        assert len(intake.rows()) > 2 * 20
        assert intake.states()[-1].up


async def test_evidence_of_another_meter_is_counted_as_often_as_it_would_be_read(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    meter = Meter(1, ABB, shows, serial="7654321")
    slow = dataclasses.replace(device("", ABB.name, "1234567"), interval=3600.0)
    async with (
        MeterServer([meter], clock.now) as server,
        polling(clock, intake, dataclasses.replace(slow, connection=server.url(1))),
    ):
        await clock.run_until(START + 24 * HOUR)
        assert 23 <= len(intake.refusals()) <= 25
