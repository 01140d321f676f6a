"""Rules warn of a place only while it is in service; what it says before is kept and no more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from collector.model import Batch, Tick
from collector.registry import Registry
from collector.states import States, spans_of
from rules.engine import Engine
from tests.rules.fleet import MINUTE, T0, Fleet, device, registry

NMHC = "voc.nmhc.concentration"
RULES = f"""
[[rule]]
id = "high"
kind = "threshold"
quantity = "{NMHC}"
above = 60.0
level = "red"
title = "t"

[[rule]]
id = "stuck"
kind = "flatline"
quantity = "{NMHC}"
for = "4m"
level = "yellow"
title = "t"

[[rule]]
id = "silent"
kind = "absence"
target = "device"
window = "5m"
level = "red"
title = "t"

[[rule]]
id = "mute"
kind = "absence"
target = "gateway"
window = "5m"
level = "red"
title = "t"

[[rule]]
id = "dry"
kind = "absence"
target = "point"
quantity = "{NMHC}"
window = "9m"
level = "red"
title = "t"
"""
OTHERS = ("planned", "commissioning", "trial", "out-of-service", "closed")


def fleet_of(states: States) -> Registry:
    """One monitor behind a gateway, at a place of these states."""
    whole = registry({device("out", gateway="g"): [NMHC]})
    place = replace(whole.places["s/out"], states=states)
    point = replace(whole.points[0], in_service=spans_of(states))
    return replace(whole, places={"s/out": place}, points=[point])


class Day:
    """An engine over it, minute by minute."""

    def __init__(self, states: States) -> None:
        self.fleet = Fleet(fleet_of(states), RULES)
        self.engine: Engine = self.fleet.engine()
        self.point = self.fleet.point(f"out/{NMHC}")

    def minutes(self, first: int, last: int, value: float | None = None) -> list[str]:
        """Ticks (and readings) of the minutes ``first .. last``; what was said."""
        for minute in range(first, last + 1):
            at = T0 + minute * MINUTE
            if value is not None:
                self.engine.apply(1, Batch.of([self.point], [at], [value], received=at, origin=1))
            self.engine.apply(2, Tick(at))
        said = self.engine.changes().transitions
        return [f"{(one.time - T0) // MINUTE} {one.to_state} {one.data['rule']}" for one in said]

    def again(self) -> None:
        """The program stops and goes on from its snapshot."""
        kept = self.engine.snapshot()
        self.engine = self.fleet.engine(revised=False)
        self.engine.restore(kept, *self.fleet.revisions)


@pytest.mark.parametrize("state", OTHERS)
def test_a_place_that_is_not_in_service_warns_of_nothing(state: str) -> None:
    day = Day(((0, state),))
    assert day.minutes(0, 10, 70.0) == []
    assert day.minutes(11, 40) == []


def test_the_same_in_service_warns() -> None:
    day = Day(((0, "in-service"),))
    assert day.minutes(0, 10, 70.0) == ["0 firing high", "4 firing stuck"]
    fired = [line.split()[2] for line in day.minutes(11, 40) if "firing" in line]
    assert {*fired} >= {"mute"}


@pytest.mark.parametrize("stopped", [False, True])
def test_a_trial_run_becomes_service_at_its_date(stopped: bool) -> None:
    day = Day(((0, "trial"), (T0 + 6 * MINUTE, "in-service")))
    assert day.minutes(0, 5, 70.0) == []
    if stopped:
        day.again()
    # The tick of minute 6 comes after its reading, so the rules begin with the next one; what was
    # high and stood still before does not count.
    assert day.minutes(6, 12, 70.0) == ["7 firing high", "11 firing stuck"]


@pytest.mark.parametrize("stopped", [False, True])
def test_warnings_end_when_the_place_goes_out_of_service(stopped: bool) -> None:
    day = Day(((0, "in-service"), (T0 + 6 * MINUTE, "out-of-service")))
    assert day.minutes(0, 5, 70.0) == ["0 firing high", "4 firing stuck"]
    if stopped:
        day.again()
    assert sorted(day.minutes(6, 12, 70.0)) == ["6 closed high", "6 closed stuck"]
    assert day.minutes(13, 40) == []


def test_silence_counts_from_the_beginning_of_service() -> None:
    day = Day(((0, "commissioning"), (T0 + 20 * MINUTE, "in-service")))
    assert day.minutes(0, 24) == []
    assert "25 firing mute" in day.minutes(25, 26)


def test_late_readings_of_a_trial_are_not_found_late() -> None:
    day = Day(((0, "trial"), (T0 + 60 * MINUTE, "in-service")))
    day.minutes(58, 62, 50.0)
    times = [T0 + minute * MINUTE for minute in (40, 41, 61)]
    late = Batch.of([day.point] * 3, times, [70.0] * 3, received=T0 + 90 * MINUTE, backfill=True)
    day.engine.apply(3, late)
    day.engine.apply(4, Tick(T0 + 91 * MINUTE))
    found = day.engine.changes().late.values()
    assert [one.start for one in found] == [times[2]]


def test_a_restart_long_after_service_began_changes_nothing() -> None:
    day = Day(((0, "trial"), (T0 - 60 * MINUTE, "in-service")))
    assert day.minutes(0, 5, 70.0) == ["0 firing high", "4 firing stuck"]
    day.again()
    assert day.minutes(6, 8, 70.0) == []
    assert sorted(day.minutes(9, 9, 50.0)) == ["9 resolved high", "9 resolved stuck"]


@pytest.mark.parametrize("before", ["left", "empty"])
def test_a_gateway_that_is_entered_has_its_window_from_then_on(before: str) -> None:
    """One that was there before and left, or had no device, is not at once silent."""
    whole = registry({device("a", gateway="g"): [NMHC]})
    other = registry({device("b", gateway="h"): [NMHC]})
    if before == "empty":
        other = replace(other, gateways={**other.gateways, **whole.gateways})
    fleet = Fleet(whole if before == "left" else other, RULES, pause=10**9)
    fleet.registries |= {"other": other, "entered": whole}
    engine = fleet.engine()
    said: list[tuple[int, str, str]] = []

    def ticks(low: int, high: int) -> None:
        for minute in range(low, high):
            engine.apply(minute, Tick(T0 + minute * MINUTE))
            open_ = {one.id: one for one in engine._book.open.values()}
            said.extend(
                (minute, open_[one.alert].rule, open_[one.alert].subject)
                for one in engine.changes().transitions
                if one.to_state == "firing"
            )

    ticks(0, 3)
    engine.apply(3, fleet.registry_revision("other"))
    ticks(3, 60)
    engine.apply(60, fleet.registry_revision("entered"))
    ticks(60, 70)
    assert [one for one in said if one[2] == "gateway:g"] == [(65, "mute", "gateway:g")]
