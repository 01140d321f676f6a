"""Local hours, days and months, clock changes included."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.accounts.calendar import HOUR_MS, LEVELS, edges, local_day, midnight

ZONES = [
    "Asia/Shanghai",
    "Europe/Berlin",
    "America/Sao_Paulo",  # its clock changed at midnight
    "Asia/Kathmandu",  # +05:45
    "Australia/Lord_Howe",  # its clock changes by half an hour
    "Atlantic/Azores",  # its clock goes back over midnight
]


def ms(zone: str, *when: int, fold: int = 0) -> int:
    return int(datetime(*when, tzinfo=ZoneInfo(zone), fold=fold).timestamp()) * 1000


def test_a_day_in_china_begins_at_16_utc() -> None:
    start = ms("Asia/Shanghai", 2018, 1, 1)
    assert edges("day", "Asia/Shanghai", start, start + 1).tolist() == [start, start + 24 * HOUR_MS]
    assert start == ms("UTC", 2017, 12, 31, 16)


def test_the_last_millisecond_belongs_to_the_day_before() -> None:
    start = ms("Asia/Shanghai", 2018, 1, 1)
    assert edges("day", "Asia/Shanghai", start - 1, start).tolist()[-1] == start
    assert len(edges("day", "Asia/Shanghai", start - 1, start + 1)) == 3


def test_months_follow_the_calendar() -> None:
    zone = "Asia/Shanghai"
    found = edges("month", zone, ms(zone, 2023, 12, 31), ms(zone, 2024, 3, 1))
    assert found.tolist() == [
        ms(zone, 2023, 12, 1),
        ms(zone, 2024, 1, 1),
        ms(zone, 2024, 2, 1),
        ms(zone, 2024, 3, 1),
    ]


@pytest.mark.parametrize(("day", "hours"), [((2026, 3, 29), 23), ((2026, 10, 25), 25)])
def test_a_clock_change_makes_a_day_of_23_or_25_hours(day: tuple[int, ...], hours: int) -> None:
    start = midnight("Europe/Berlin", date(*day))
    found = edges("day", "Europe/Berlin", start, start + 1)
    assert np.diff(found).tolist() == [hours * HOUR_MS]
    assert len(edges("hour", "Europe/Berlin", *found.tolist())) == hours + 1


def test_a_day_whose_midnight_does_not_exist_begins_with_the_change() -> None:
    zone = "America/Sao_Paulo"  # 2018-11-04 00:00 became 01:00
    assert midnight(zone, date(2018, 11, 4)) == ms(zone, 2018, 11, 4, 1)


def test_hours_of_a_zone_off_the_hour_begin_at_its_own() -> None:
    start = ms("Asia/Kathmandu", 2026, 5, 1, 10)
    assert edges("hour", "Asia/Kathmandu", start + 1, start + 2).tolist() == [
        start,
        start + HOUR_MS,
    ]


def test_an_empty_range_has_no_span() -> None:
    assert all(len(edges(level, "Asia/Shanghai", 5, 5)) == 1 for level in LEVELS)


def test_an_unknown_level_is_told() -> None:
    with pytest.raises(ValueError, match="week"):
        edges("week", "Asia/Shanghai", 0, 1)


@given(
    st.sampled_from(ZONES),
    st.sampled_from(LEVELS),
    st.integers(0, 2_000_000_000_000),
    st.integers(1, 80 * 86_400_000),
)
@settings(max_examples=200, deadline=None)
def test_spans_cover_the_range_and_no_more(zone, level, start, length) -> None:
    found = edges(level, zone, start, start + length)
    assert found[0] <= start < found[1]
    assert found[-2] < start + length <= found[-1]
    assert np.all(np.diff(found) > 0)
    assert np.all(found % 900_000 == 0)


@given(st.sampled_from(ZONES), st.integers(0, 2_000_000_000_000))
@settings(max_examples=200, deadline=None)
def test_a_moment_lies_within_its_local_day(zone, time) -> None:
    low, high = edges("day", zone, time, time + 1).tolist()
    assert low <= time < high
    assert {local_day(zone, t) for t in (low, time, high - 1)} == {local_day(zone, time)}
