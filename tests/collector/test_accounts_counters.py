"""What a counter showed becomes what went through it: the rules one by one, then all at once
against a plain reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.accounts.buckets import spread
from collector.accounts.counters import Account, Kind, account, terms
from collector.model import Quality
from collector.registry import FOREVER, Service
from tests.accounts_reference import QUARTER, Reading, lives, reference

METER = Service("s/m", 0, FOREVER, resolution=0.01, modulus=10**6, max_rate=100, interval=900)
BLIND = Service("s/m", 0, FOREVER, resolution=0.01, modulus=10**6, interval=900)
PLAIN = Service("s/m", 0, FOREVER, resolution=0.01, interval=900)


def told(readings: list[Reading], *services: Service) -> Account:
    """The account of readings in any order; the later of two with one time wins."""
    held = {t: (value, quality) for t, value, quality in readings if quality != Quality.BAD_TIME}
    times = sorted(held)
    return account(
        np.array(times, np.int64),
        np.array([held[t][0] for t in times], np.float64),
        np.array([held[t][1] for t in times], np.uint8),
        [terms(service) for service in services],
    )


def every_quarter(*values: float | None) -> list[Reading]:
    """Readings 15 minutes apart; None is a missing one."""
    return [(i * QUARTER, v, 0) for i, v in enumerate(values) if v is not None]


def total(of: Account) -> int:
    return int(of.advances.steps.sum())


def kinds(of: Account) -> list[Kind]:
    return [anomaly.kind for anomaly in of.anomalies]


def test_advances_are_exact_in_register_steps() -> None:
    values = [round(0.1 * i, 2) for i in range(1001)]
    of = told(every_quarter(*values), METER)
    assert set(of.advances.steps.tolist()) == {10}
    assert total(of) == 10_000
    assert not of.anomalies


@pytest.mark.parametrize("service", [METER, BLIND])
def test_rollover_at_the_modulus(service: Service) -> None:
    of = told(every_quarter(9_999.50, 9_999.99, 0.30, 0.31), service)
    assert of.advances.steps.tolist() == [49, 31, 1]
    assert kinds(of) == [Kind.ROLLOVER]
    assert of.anomalies[0].counted == pytest.approx(0.31)


def test_reset_just_after_a_poll_loses_nothing() -> None:
    of = told(every_quarter(500.0, 510.0, 7.0, 9.0), METER)
    assert of.advances.steps.tolist() == [1000, 700, 200]
    assert kinds(of) == [Kind.RESET]
    assert (of.anomalies[0].before, of.anomalies[0].after) == (510.0, 7.0)


def test_a_reset_counts_only_once_a_second_reading_confirms_it() -> None:
    of = told(every_quarter(500.0, 510.0, 7.0), METER)
    assert of.advances.steps.tolist() == [1000]
    assert kinds(of) == [Kind.PENDING]
    assert of.tail is not None
    assert of.tail.pending


def test_a_single_low_reading_is_no_reset() -> None:
    of = told(every_quarter(500.0, 510.0, 0.0, 530.0, 531.0), METER)
    assert of.advances.steps.tolist() == [1000, 2000, 100]
    assert of.advances.start.tolist() == [0, QUARTER, 3 * QUARTER]
    assert kinds(of) == [Kind.GLITCH]


@pytest.mark.parametrize("service", [METER, PLAIN])
def test_a_register_that_steps_back_a_little_is_not_counted_from_zero(service: Service) -> None:
    of = told(every_quarter(9_000.0, 8_990.0, 8_995.0), service)
    assert of.advances.steps.tolist() == [500]
    assert kinds(of) == [Kind.RESET]
    assert of.anomalies[0].counted is None


def test_a_leap_beyond_the_greatest_rate_is_a_glitch_when_it_comes_back() -> None:
    of = told(every_quarter(500.0, 4_000.0, 520.0), METER)
    assert of.advances.steps.tolist() == [2000]
    assert kinds(of) == [Kind.GLITCH]


def test_a_leap_that_stays_is_a_step_of_which_nothing_is_counted() -> None:
    of = told(every_quarter(500.0, 4_000.0, 4_010.0, 4_020.0), METER)
    assert of.advances.steps.tolist() == [1000, 1000]
    assert of.advances.start.tolist() == [QUARTER, 2 * QUARTER]
    assert kinds(of) == [Kind.JUMP]
    assert of.anomalies[0].counted is None


def test_garbage_after_a_reset_does_not_hide_it() -> None:
    of = told(every_quarter(500.0, 7.0, 4_000.0, 9.0, 10.0), METER)
    assert of.advances.steps.tolist() == [900, 100]
    assert kinds(of) == [Kind.GLITCH, Kind.GLITCH, Kind.RESET]


def test_replacement_by_dates_loses_nothing_when_both_were_read_at_the_exchange() -> None:
    exchange = 2 * QUARTER
    old = Service("s/old", 0, exchange, resolution=0.01, interval=900)
    new = Service("s/new", exchange, FOREVER, resolution=0.001, ratio=10, interval=900)
    of = told(
        [
            (0, 100.0, 0),
            (QUARTER, 101.0, 0),
            (exchange - 1, 102.5, 0),
            (exchange, 3.0, 0),
            (exchange + QUARTER, 3.25, 0),
        ],
        old,
        new,
    )
    assert of.advances.steps.tolist() == [100, 150, 250]
    assert of.advances.service.tolist() == [0, 0, 1]
    assert kinds(of) == [Kind.REPLACEMENT]
    assert (of.anomalies[0].before, of.anomalies[0].after) == (102.5, 3.0)


def test_between_two_devices_nothing_is_counted() -> None:
    old = Service("s/old", 0, 2 * QUARTER, resolution=0.01)
    new = Service("s/new", 2 * QUARTER, FOREVER, resolution=0.01)
    of = told(every_quarter(1.0, 2.0, None, 900.0, 901.0), old, new)
    assert of.advances.steps.tolist() == [100, 100]
    assert of.advances.end.tolist() == [QUARTER, 4 * QUARTER]


@pytest.mark.parametrize("quality", [q for q in Quality if q >= Quality.STOPPED])
def test_an_invalid_reading_never_counts(quality: Quality) -> None:
    readings = every_quarter(1.0, 2.0, 3.0)
    readings[1] = (QUARTER, 2.5, quality)
    of = told(readings, METER)
    assert of.advances.steps.tolist() == [200]
    assert not of.anomalies


def test_one_reading_is_no_advance() -> None:
    of = told(every_quarter(5.0), METER)
    assert len(of.advances) == 0
    assert of.tail is not None
    assert told([], METER).tail is None


def test_a_missed_reading_of_a_quarter_hour_meter_is_estimated() -> None:
    of = told(every_quarter(1.0, 2.0, None, 4.0), METER)
    assert of.advances.estimated.tolist() == [False, True]


def test_a_counter_without_resolution_is_counted_in_millionths() -> None:
    of = told(every_quarter(0.1, 0.3, 0.7), Service("s/m", 0, FOREVER))
    assert of.advances.steps.tolist() == [200_000, 400_000]


def booked(of: Account, services: tuple[Service, ...]) -> dict[tuple[float, int], list[int]]:
    """Quarter-hours by (scale, number) as [steps, measured, estimated]."""
    a = of.advances
    quarters = spread(a.service.astype(np.int64), a.start, a.end, a.steps, a.estimated)
    scales = [terms(service).scale for service in services]
    out: dict[tuple[float, int], list[int]] = {}
    for group, quarter, *amounts in zip(
        quarters.group.tolist(),
        quarters.quarter.tolist(),
        quarters.steps.tolist(),
        quarters.measured.tolist(),
        quarters.estimated.tolist(),
        strict=True,
    ):
        at = out.setdefault((scales[group], quarter), [0, 0, 0])
        for i, amount in enumerate(amounts):
            at[i] += amount
    return out


@given(lives(), st.randoms(use_true_random=False))
@settings(max_examples=400, deadline=None)
def test_equals_a_plain_reference_in_any_order(life, random) -> None:
    readings, services = life
    delivered = readings + [random.choice(readings) for _ in range(len(readings) // 3)]
    random.shuffle(delivered)
    of = told(delivered, *services)
    expected = reference(delivered, services)
    assert booked(of, services) == {
        key: [q.steps, q.measured, q.estimated] for key, q in expected.quarters.items()
    }
    found = [(a.kind.name.lower(), a.time, a.since, a.until) for a in of.anomalies]
    assert sorted(found) == sorted(expected.anomalies)


@given(lives(), st.data())
@settings(max_examples=200, deadline=None)
def test_taken_up_at_a_settled_reading_the_rest_is_the_same(life, data) -> None:
    readings, services = life
    whole = told(readings, *services)
    if not len(whole.settled):
        return
    at = int(data.draw(st.sampled_from(whole.settled.tolist())))
    rest = told([r for r in readings if r[0] >= at], *services)
    later = whole.advances.start >= at
    assert rest.advances.steps.tolist() == whole.advances.steps[later].tolist()
    assert rest.advances.end.tolist() == whole.advances.end[later].tolist()
    assert list(rest.anomalies) == [a for a in whole.anomalies if a.since >= at]
    assert rest.settled.tolist() == whole.settled[whole.settled >= at].tolist()
    assert rest.tail == whole.tail
