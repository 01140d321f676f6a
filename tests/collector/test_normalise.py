"""Normalising makes a reading's quality worse where it must, and changes nothing else."""

from __future__ import annotations

import contextlib
import math
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.model import VALID_BELOW, Batch, Quality, concat
from collector.normalise import AHEAD_MS, EARLIEST_MS, normalise, parse_time
from collector.registry import PointTable

NOW = 1_800_000_000_000
LARGEST = float(np.finfo(np.float64).max)

# id 0: 0..100; id 1: not known to this revision; id 2: -40..60; ids from 3 on: newer than it
TABLE = PointTable(
    known=np.array([True, False, True]),
    kind=np.array([1, 1, 1], np.uint8),
    low=np.array([0.0, -LARGEST, -40.0]),
    high=np.array([100.0, LARGEST, 60.0]),
    points={},
    ids={},
)
RANGES = {0: (0.0, 100.0), 2: (-40.0, 60.0)}


def plain(point: int, time: int, value: float, quality: int, received: int) -> tuple[float, int]:
    """What should become of one reading: the definition, one reading at a time."""
    if not math.isfinite(value):
        quality = quality if quality >= VALID_BELOW else Quality.NO_VALUE
        value = math.nan
    elif point in RANGES and not RANGES[point][0] <= value <= RANGES[point][1]:
        quality = quality if quality >= VALID_BELOW else Quality.IMPLAUSIBLE
    if time > received + AHEAD_MS or time < EARLIEST_MS:
        quality = max(quality, Quality.BAD_TIME)
    return value, quality


ROWS = st.tuples(
    st.integers(0, 5),
    st.sampled_from([NOW, NOW + AHEAD_MS, NOW + AHEAD_MS + 1, 0, EARLIEST_MS, EARLIEST_MS - 1, -1])
    | st.integers(NOW - 10**9, NOW + 10**6),
    st.floats() | st.sampled_from([0.0, 100.0, 100.1, -40.0, -200.0]),
    st.sampled_from([int(quality) for quality in Quality]),
)
DELIVERIES = st.lists(
    st.tuples(st.lists(ROWS, max_size=6), st.integers(NOW - 10**6, NOW + 10**6)), max_size=4
)


@given(DELIVERIES)
def test_it_equals_the_definition_whatever_the_segments(
    deliveries: list[tuple[list[tuple[int, int, float, int]], int]],
) -> None:
    batches = [
        Batch.of(*([row[i] for row in rows] for i in range(4)), received=received)
        for rows, received in deliveries
    ]
    batch = concat(batches)
    before = [column.copy() for column in (batch.point, batch.time, batch.value, batch.quality)]
    found = normalise(batch, TABLE)
    expected = [
        plain(point, time, value, quality, received)
        for rows, received in deliveries
        for point, time, value, quality in rows
    ]
    np.testing.assert_array_equal(found.value, np.array([value for value, _ in expected]))
    assert found.quality.tolist() == [quality for _, quality in expected]
    assert found.quality.dtype == np.uint8
    assert found.point is batch.point
    assert found.time is batch.time
    assert found.segments is batch.segments
    after = (batch.point, batch.time, batch.value, batch.quality)
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)


@given(DELIVERIES)
def test_twice_is_once(
    deliveries: list[tuple[list[tuple[int, int, float, int]], int]],
) -> None:
    batch = concat(
        [
            Batch.of(*([row[i] for row in rows] for i in range(4)), received=received)
            for rows, received in deliveries
        ]
    )
    once = normalise(batch, TABLE)
    twice = normalise(once, TABLE)
    np.testing.assert_array_equal(once.quality, twice.quality)
    np.testing.assert_array_equal(once.value, twice.value)


def test_what_is_in_order_passes_untouched() -> None:
    batch = Batch.of([0, 2, 0], [NOW, NOW - 1, NOW], [0.0, 60.0, 100.0])
    assert normalise(batch, TABLE) is batch
    assert normalise(Batch.empty(), TABLE) is not None


def test_an_impossible_value_is_kept_beside_its_verdict() -> None:
    batch = Batch.of([0], [NOW], [-200.0])
    found = normalise(batch, TABLE)
    assert found.value.tolist() == [-200.0]
    assert found.quality.tolist() == [Quality.IMPLAUSIBLE]


def test_infinity_is_never_stored() -> None:
    found = normalise(Batch.of([0, 1, 9], [NOW] * 3, [math.inf, -math.inf, math.inf]), TABLE)
    assert np.isnan(found.value).all()
    assert found.quality.tolist() == [Quality.NO_VALUE] * 3


def test_a_time_ahead_by_a_minute_is_bad_and_kept() -> None:
    batch = Batch.of([0, 0], [NOW + 60_000, NOW + 60_001], [1, 1], received=NOW)
    found = normalise(batch, TABLE)
    assert found.quality.tolist() == [Quality.GOOD, Quality.BAD_TIME]
    assert found.time.tolist() == [NOW + 60_000, NOW + 60_001]


def test_each_row_is_judged_by_its_own_receipt() -> None:
    early = Batch.of([0], [NOW], [1], received=NOW - 120_000)
    late = Batch.of([0], [NOW], [1], received=NOW)
    found = normalise(concat([early, late]), TABLE)
    assert found.quality.tolist() == [Quality.BAD_TIME, Quality.GOOD]


def test_what_was_already_invalid_keeps_its_reason() -> None:
    batch = Batch.of([0, 0], [NOW] * 2, [50.0, 500.0], [Quality.BAD_TIME, Quality.CALIBRATION])
    found = normalise(batch, TABLE)
    assert found.quality.tolist() == [Quality.BAD_TIME, Quality.CALIBRATION]


def test_a_point_that_came_after_this_revision_has_no_range() -> None:
    batch = Batch.of([7, 1, 7], [NOW] * 3, [1e30, -1e30, math.nan])
    nothing = np.zeros(0)
    empty = PointTable(TABLE.known[:0], TABLE.kind[:0], nothing, nothing, {}, {})
    for table in (TABLE, empty):
        found = normalise(batch, table)
        assert found.quality.tolist() == [Quality.GOOD, Quality.GOOD, Quality.NO_VALUE]


# Times as they are written.

SHANGHAI = "Asia/Shanghai"
EIGHT = int(datetime.fromisoformat("2026-11-22T08:00:00+08:00").timestamp()) * 1000


@pytest.mark.parametrize(
    "written",
    [
        "2026-11-22T08:00:00+08:00",
        "2026-11-22T00:00:00Z",
        "2026-11-22T00:00:00.000+00:00",
        "2026-11-22T08:00:00",
        "2026-11-22 08:00:00",
        "2026-11-22T08:00",
        "2026-11-22T08:00:00.000999",
        EIGHT,
        float(EIGHT),
    ],
)
def test_one_moment_in_many_writings(written: str | float) -> None:
    assert parse_time(written, SHANGHAI) == EIGHT


def test_a_time_without_offset_is_of_the_given_zone() -> None:
    assert parse_time("2026-11-22T08:00:00", "UTC") == EIGHT + 8 * 3_600_000
    assert parse_time("2026-11-22T08:00:00", "Asia/Urumqi") == EIGHT + 2 * 3_600_000


def test_of_an_hour_shown_twice_the_first_is_meant() -> None:
    first = parse_time("2026-10-25T02:30:00", "Europe/Berlin")
    assert first == parse_time("2026-10-25T02:30:00+02:00", "UTC")


@pytest.mark.parametrize(
    ("written", "says"),
    [
        (1_795_305_600, "looks like seconds"),
        (1_795_305_600.0, "looks like seconds"),
        (1_795_305_600_000_000, "micro- or nanoseconds"),
        (1_795_305_600_000_000_000, "micro- or nanoseconds"),
        (1_795_305_600_000.5, "no whole number"),
        (math.nan, "no whole number"),
        (math.inf, "no whole number"),
        (True, "no whole number"),
        (-5, "before 1970"),
        (0, "before 1970"),
        ("1795305600000", "number in quotes"),
        ("20261122080000", "is not ISO 8601: send 2026-11-22T08:00:00.08:00"),
        ("20261122080000123", "is not ISO 8601: send 2026-11-22T08:00:00.08:00"),
        ("20261399080000", "number in quotes"),
        ("2026-02-31T08:00:00", "there is no such day"),
        ("2026-13-01", "there is no such day"),
        ("2026-11-22T25:00:00+08:00", "there is no such time of day"),
        ("2026-11-22", "has no time of day: send 2026-11-22T08:00:00.08:00"),
        ("2026/11/22 8:00:00", "send 2026-11-22T08:00:00.08:00"),
        ("22.11.2026 08:00", "not ISO 8601"),
        ("2026-11-22T08:00:00+99:00", "not ISO 8601"),
        ("", "not ISO 8601"),
        ("x" * 1000, "xxx..."),
    ],
)
def test_garbage_is_named(written: str | float, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_time(written, SHANGHAI)


def test_an_unknown_zone_is_named() -> None:
    with pytest.raises(ValueError, match="Mars"):
        parse_time("2026-11-22T08:00:00", "Mars/Base")


FIRST, LAST = (datetime.fromisoformat(f"{year}-01-01T00:00") for year in (1971, 9000))


@given(
    st.datetimes(FIRST, LAST),
    st.sampled_from(["Asia/Shanghai", "UTC", "America/New_York", "Asia/Kathmandu"]),
    st.integers(-14 * 60, 14 * 60),
)
def test_text_there_and_back(moment: datetime, zone: str, offset: int) -> None:
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    epoch = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
    local = moment.replace(tzinfo=ZoneInfo(zone))
    assert parse_time(moment.isoformat(), zone) == (local - epoch) // timedelta(milliseconds=1)
    sign = "-" if offset < 0 else "+"
    text = f"{moment.isoformat()}{sign}{abs(offset) // 60:02}:{abs(offset) % 60:02}"
    utc = datetime.fromisoformat(moment.isoformat() + "+00:00") - timedelta(minutes=offset)
    assert parse_time(text, zone) == (utc - epoch) // timedelta(milliseconds=1)


@given(st.text(max_size=30) | st.integers() | st.floats() | st.booleans())
def test_anything_is_a_time_or_a_value_error(written: str | float) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(parse_time(written, SHANGHAI), int)
