"""What the simulated plants promise: exact counters, repeatable values, causes with effects."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterwatch.simulator.curves import (
    DAY,
    HOUR,
    MONDAY,
    SECOND,
    WEEK,
    Counter,
    Flow,
    Load,
    Switched,
    Timeline,
    Total,
    chance,
    wander,
)
from meterwatch.simulator.plants import COOLING_S, PLANTS, Plant, printing

TUESDAY_10 = MONDAY + 150 * WEEK + DAY + 10 * HOUR
moments = st.integers(MONDAY - 30 * DAY, MONDAY + 4000 * DAY)
seeds = st.integers(0, 2**31)
rates = st.floats(0, 5000)


@st.composite
def loads(draw: st.DrawFn) -> Load:
    def knots() -> tuple[tuple[float, float], ...]:
        inner = draw(st.lists(st.integers(1, 95), unique=True, max_size=6))
        hours = [0.0, *(quarter / 4 for quarter in sorted(inner)), 24.0]
        return tuple((hour, draw(rates)) for hour in hours)

    restday = knots() if draw(st.booleans()) else None
    return Load(knots(), restday, unsteady=draw(st.floats(0, 0.95)), seed=draw(seeds))


@st.composite
def switched(draw: st.DrawFn) -> tuple[Switched, list[int]]:
    flow = Switched(draw(loads()), Timeline(draw(st.floats(0, 2))))
    start = draw(moments)
    changes = sorted(start + gap for gap in draw(st.lists(st.integers(0, DAY), max_size=5)))
    for change in changes:
        flow.setting.turn(change, draw(st.floats(0, 2)))
    return flow, [start - HOUR, *changes, start + DAY + HOUR]


def integral(flow: Flow, start: int, end: int, steps: int = 4000) -> float:
    """The area by the midpoint rule, as anybody would measure it."""
    width = (end - start) / steps
    heights = sum(flow.at(round(start + (i + 0.5) * width)) for i in range(steps))
    return heights * width / HOUR


@given(loads(), moments, st.integers(1, 2 * HOUR))
@settings(max_examples=40, deadline=None)
def test_the_area_is_the_integral_of_the_rate(load: Load, start: int, span: int) -> None:
    exact = load.area(start + span) - load.area(start)
    assert exact == pytest.approx(integral(load, start, start + span), rel=2e-3, abs=0.5)


@given(switched(), st.lists(st.integers(0, 10_000), min_size=2, max_size=30))
@settings(max_examples=80, deadline=None)
def test_a_counter_never_falls_and_does_not_mind_who_asks(
    case: tuple[Switched, list[int]], steps: list[int]
) -> None:
    flow, spans = case
    counter = Counter(flow, spans[0], 1234.5)
    times = [spans[0] + step * 9000 for step in steps]
    as_asked = {t: counter.at(t) for t in times}
    in_order = [as_asked[t] for t in sorted(as_asked)]
    # A register of 0.01 kWh cannot show less than a millionth of a kilowatt hour.
    assert all(later >= earlier - 1e-6 for earlier, later in pairwise(in_order))
    assert [counter.at(t) for t in reversed(times)] == [as_asked[t] for t in reversed(times)]


@given(switched())
@settings(max_examples=80, deadline=None)
def test_what_is_switched_is_the_sum_of_its_pieces(case: tuple[Switched, list[int]]) -> None:
    flow, spans = case
    pieces = sum(
        flow.setting.at(start) * (flow.flow.area(end) - flow.flow.area(start))
        for start, end in pairwise(spans)
    )
    whole = flow.area(spans[-1]) - flow.area(spans[0])
    assert whole == pytest.approx(pieces, rel=1e-9, abs=1e-5)


@given(st.integers(0, 3), st.floats(0, 0.9), seeds)
@settings(deadline=None)
def test_unsteadiness_takes_nothing_away_over_a_swing(
    week: int, unsteady: float, seed: int
) -> None:
    knots = (0, 10), (8, 100), (20, 60), (24, 10)
    rest = (0, 5), (24, 5)
    load = Load(knots, rest, unsteady=unsteady, seed=seed, swings=(HOUR,))
    start = MONDAY + week * WEEK
    start -= start % HOUR
    workday = 8 * 55 + 12 * 80 + 4 * 35
    assert load.area(start + WEEK) - load.area(start) == pytest.approx(5 * workday + 2 * 120)


def test_a_reset_counter_starts_again_from_nothing() -> None:
    counter = Counter(Load(((0, 60), (24, 60))), TUESDAY_10, start=900.0)
    counter.reset(TUESDAY_10 + HOUR)
    assert counter.at(TUESDAY_10) == 900
    assert counter.at(TUESDAY_10 + HOUR - 1) == pytest.approx(960, abs=0.001)
    assert counter.at(TUESDAY_10 + HOUR) == 0
    assert counter.at(TUESDAY_10 + 2 * HOUR) == pytest.approx(60)


def test_a_timeline_only_grows_at_its_end() -> None:
    timeline = Timeline(1.0)
    timeline.turn(1000, 0.0)
    with pytest.raises(ValueError, match="end"):
        timeline.turn(999, 1.0)
    assert [timeline.at(t) for t in (999, 1000, 5000)] == [1, 0, 0]


def test_what_follows_a_setting_lags_by_its_time_constant() -> None:
    timeline = Timeline(1.0)
    timeline.turn(10_000, 0.0)
    assert timeline.followed(10_000, 2.0) == 1
    assert timeline.followed(12_000, 2.0) == pytest.approx(math.exp(-1))
    timeline.turn(12_000, 1.0)
    assert timeline.followed(12_000, 2.0) == pytest.approx(math.exp(-1))
    assert timeline.followed(60_000, 2.0) == pytest.approx(1)


@given(seeds, moments)
def test_chance_is_repeatable_and_bounded(seed: int, t: int) -> None:
    assert -1 <= chance(seed, t) < 1
    assert chance(seed, t) == chance(seed, t)
    assert -1 <= wander(seed, t, 5000) <= 1
    assert abs(wander(seed, t, 5000) - wander(seed, t + 1, 5000)) < 0.001


@pytest.mark.parametrize(
    "knots", [((1, 5), (24, 5)), ((0, 5), (23, 5)), ((0, 1), (9, 1), (9, 2), (24, 1))]
)
def test_a_day_has_all_its_hours_once(knots: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(ValueError, match="hour"):
        Load(knots).at(MONDAY)


def test_a_negative_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="fall"):
        Load(((0, 5), (12, -1), (24, 5))).at(MONDAY)


@pytest.mark.parametrize("site", PLANTS)
def test_a_main_meter_shows_what_is_behind_it(site: str) -> None:
    plant = PLANTS[site](TUESDAY_10, 7)
    behind = [p for p in plant.places if p != "main" and "power.active" in plant.places[p]]
    assert len(behind) >= 5
    for t in range(TUESDAY_10, TUESDAY_10 + DAY, 3 * HOUR + 17 * SECOND):
        parts = sum(plant.places[place]["power.active"](t) for place in behind)
        assert parts < plant.places["main"]["power.active"](t) < 1.25 * parts + 15


@pytest.mark.parametrize("site", PLANTS)
def test_nothing_in_a_plant_is_beyond_belief(site: str) -> None:
    plant = PLANTS[site](TUESDAY_10, 7)
    for place, measures in plant.places.items():
        for quantity, value in measures.items():
            for t in range(TUESDAY_10, TUESDAY_10 + WEEK, 5 * HOUR + 7 * SECOND):
                now = value(t)
                assert math.isfinite(now), (place, quantity)
                if quantity in {"voltage.l1", "voltage.l2", "voltage.l3"}:
                    assert 220 < now < 240
                elif quantity == "frequency":
                    assert 49.9 < now < 50.1
                elif quantity == "fluegas.o2":
                    assert 2 < now < 21
                elif not quantity.endswith("pressure"):
                    assert now >= 0, (place, quantity)


def nmhc(plant: Plant, t: int) -> float:
    return plant.places["stack"]["voc.nmhc.concentration"](t)


@pytest.mark.parametrize("seed", range(5))
def test_the_stack_exceeds_only_while_the_oxidiser_has_no_power(seed: int) -> None:
    plant = printing(TUESDAY_10, seed)
    off, on = TUESDAY_10 + 20 * SECOND, TUESDAY_10 + 50 * SECOND
    plant.setting("rto").turn(off, 0)
    plant.setting("rto").turn(on, 1)
    settled = round(6 * COOLING_S) * SECOND
    seconds = range(TUESDAY_10, TUESDAY_10 + 90 * SECOND, SECOND)
    assert all(nmhc(plant, t) < 60 for t in seconds if t <= off or t > on + settled)
    assert all(nmhc(plant, t) > 250 for t in seconds if off + 3 * SECOND < t <= on)
    power = plant.places["rto"]["power.active"]
    assert power(off - 1) > 20
    assert power(off) == 0
    assert power(on) > 20


def test_without_work_there_is_little_to_treat() -> None:
    plant = printing(TUESDAY_10, 1)
    plant.setting("press-1").turn(TUESDAY_10, 0)
    plant.setting("press-2").turn(TUESDAY_10, 0)
    plant.setting("rto").turn(TUESDAY_10, 0)
    assert nmhc(plant, TUESDAY_10 + 60 * SECOND) < 5


def test_a_total_is_its_parts() -> None:
    one, two = Load(((0, 10), (24, 10))), Load(((0, 4), (24, 4)))
    total = Total(((2.0, one), (1.0, two)))
    assert total.at(TUESDAY_10) == 24
    assert total.area(TUESDAY_10 + HOUR) - total.area(TUESDAY_10) == pytest.approx(24)


@given(
    st.lists(st.tuples(st.integers(0, 400_000), st.floats(0, 1)), max_size=12),
    st.integers(0, 2_000_000),
    st.floats(0.5, 60),
)
def test_a_lag_forgets_nothing_that_could_be_seen(
    changes: list[tuple[int, float]], t: int, lag: float
) -> None:
    timeline = Timeline(1.0)
    for since, setting in sorted(changes):
        timeline.turn(since, setting)
    value, target, since = 1.0, 1.0, 0
    for change, setting in sorted(changes):
        if change > t:
            break
        value = target + (value - target) * math.exp(-(change - since) / (1000 * lag))
        target, since = setting, change
    plain = target + (value - target) * math.exp(-(t - since) / (1000 * lag))
    assert timeline.followed(t, lag) == pytest.approx(plain, abs=1e-12)


def test_weeks_of_the_script_cost_no_more_than_a_minute_of_it() -> None:
    flow = Switched(Load(((0, 60), (24, 60))), Timeline())
    for change in range(20_000):
        flow.setting.turn(TUESDAY_10 + change * 30 * SECOND, change % 2)
    end = TUESDAY_10 + 20_000 * 30 * SECOND
    flow.area(end)
    asked = []
    counted = Switched(CountedFlow(flow.flow, asked), flow.setting, flow._before)
    assert counted.area(end) - counted.area(TUESDAY_10) == pytest.approx(20_000 / 2 * 0.5)
    assert len(asked) == 4


class CountedFlow:
    """A flow that remembers who asked."""

    def __init__(self, flow: Flow, asked: list[int]) -> None:
        self._flow, self._asked = flow, asked

    def at(self, t: int) -> float:
        return self._flow.at(t)

    def area(self, t: int) -> float:
        self._asked.append(t)
        return self._flow.area(t)
