"""A DL/T 645 source and meters that do not have, refuse or cut short what their profile names: the
rest is read, and what they lack is tried again."""

from __future__ import annotations

import pytest

from collector.model import Quality
from meterwatch.clock import SimulatedClock
from tests import intakes
from tests.adapters.dlt645.dlt645_line import SimLine, SimMeter
from tests.adapters.dlt645.dlt645_polled import (
    FULL,
    MEANT,
    SHORT,
    THREE,
    A,
    Moving,
    believable,
    device,
    polling,
    tcp,
)
from tests.adapters.polling import polled
from tests.adapters.polling.polled import HOUR, MINUTE, SECOND, START
from tests.intakes import CollectingIntake

clock, intake = polled.clock, intakes.intake


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
