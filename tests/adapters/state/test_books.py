"""What the books' file says of plain journals, told as cases: gaps, late data, anomalies, mended
registries."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from adapters.state.books import GRACE_MS
from adapters.state.books_reader import Spans
from collector.accounts.counters import Kind
from collector.model import Quality, Tick
from tests.accounts_reference import QUARTER
from tests.adapters.state import books_kept
from tests.adapters.state.books_kept import HOUR, METER, World, batch, every_quarter

world = books_kept.world


def span(of: Spans, start: int) -> tuple[float, float, float, int]:
    (at,) = np.flatnonzero(of.start == start).tolist()
    return of.amount[at], of.measured[at], of.estimated[at], int(of.reopened[at])


def test_a_quarter_hour_that_nobody_measured_does_not_exist(world: World) -> None:
    books = world.books()
    books.apply([world.registry([METER])])
    books.apply([world.entry(batch(0, every_quarter(1, 2, 4)))])
    books.apply([world.entry(batch(0, [(9 * QUARTER, 4.0, Quality.FAULT)]))])
    books.commit()
    reader = world.reader()
    found = reader.buckets(0, "15m", 0, 24 * HOUR)
    assert found.start.tolist() == [0, QUARTER]
    assert found.amount.tolist() == [1.0, 2.0]
    assert found.measured.tolist() == [1.0, 1.0]
    hour = reader.buckets(0, "hour", 0, 24 * HOUR)
    assert (hour.amount.tolist(), hour.measured.tolist()) == ([3.0], [0.5])
    assert reader.total(0, 9 * QUARTER, 24 * HOUR) is None
    assert len(reader.buckets(7, "day", 0, 24 * HOUR)) == 0
    reader.close()
    books.close()


@pytest.mark.parametrize("level", ["15m", "hour", "day", "month"])
def test_a_span_may_be_wider_than_the_books(world: World, level: str) -> None:
    books = world.books()
    books.apply([world.registry([METER], [METER])])
    books.apply([world.entry(batch(0, every_quarter(1, 2, 4, first=2_000_000)))])
    books.commit()
    reader = world.reader()
    assert reader.buckets(0, level, -(2**62), 2**62).amount.sum() == 3
    assert len(reader.buckets(1, level, -(2**62), 2**62)) == 0
    assert len(reader.buckets(0, level, 0, HOUR)) == 0
    reader.close()
    books.close()


def test_a_gap_is_told_as_estimated(world: World) -> None:
    books = world.books()
    books.apply([world.registry([METER]), world.entry(batch(0, [(0, 0, 0), (4 * QUARTER, 8, 0)]))])
    books.commit()
    assert span(world.reader().buckets(0, "hour", 0, HOUR), 0) == (8.0, 0.0, 1.0, 0)
    books.close()


def test_late_data_reopens_a_closed_bucket_once(world: World) -> None:
    books = world.books()
    books.apply([world.registry([METER])])
    books.apply([world.entry(batch(0, [(0, 0, 0), (4 * QUARTER, 8, 0), (5 * QUARTER, 9, 0)]))])
    books.apply([world.entry(Tick(5 * QUARTER + GRACE_MS))])
    books.commit()
    with_gap = world.reader().buckets(0, "15m", 0, 5 * QUARTER)
    assert with_gap.reopened.tolist() == [0] * 5
    books.apply([world.entry(batch(0, [(2 * QUARTER, 2, 0)]))])
    books.commit()
    books.apply([world.entry(batch(0, [(QUARTER, 1, 0)]))])
    books.commit()
    mended = world.reader().buckets(0, "15m", 0, 5 * QUARTER)
    assert mended.amount.tolist() == [1, 1, 3, 3, 1]
    assert mended.measured.tolist() == [1, 1, 0, 0, 1]
    assert mended.estimated.tolist() == [0, 0, 1, 1, 0]
    assert mended.reopened.tolist() == [1, 1, 1, 1, 0]
    books.apply([world.entry(Tick(9 * QUARTER))])
    books.apply([world.entry(batch(0, [(3 * QUARTER, 4, 0)]))])
    books.commit()
    whole = world.reader().buckets(0, "15m", 0, 5 * QUARTER)
    assert whole.amount.tolist() == [1, 1, 2, 4, 1]
    assert whole.reopened.tolist() == [1, 1, 2, 2, 0]
    books.close()


def test_in_order_but_after_closing_counts_as_reopened(world: World) -> None:
    books = world.books()
    books.apply([world.registry([METER]), world.entry(batch(0, every_quarter(1, 2)))])
    books.apply([world.entry(Tick(24 * HOUR))])
    books.apply([world.entry(batch(0, every_quarter(3, 4, first=2)))])
    books.commit()
    assert world.reader().buckets(0, "15m", 0, HOUR).reopened.tolist() == [0, 1, 1]
    books.close()


def test_what_comes_late_far_back_leaves_the_present_alone(world: World) -> None:
    books = world.books()
    books.apply([world.registry([METER]), world.entry(batch(0, every_quarter(*range(160))))])
    books.commit()
    books.apply([world.entry(batch(0, [(QUARTER + 5_000, 1.2, 0)]))])
    books.commit()
    books.apply([world.entry(batch(0, every_quarter(160, 161, first=160)))])
    books.commit()
    reader = world.reader()
    assert reader.total(0, 0, 200 * QUARTER) == 161
    assert set(reader.buckets(0, "15m", 0, 161 * QUARTER).measured.tolist()) == {1.0}
    books.close()


@pytest.mark.parametrize("wrong", [3, 9])
def test_the_newest_reading_may_be_corrected(world: World, wrong: float) -> None:
    books = world.books()
    books.apply([world.registry([METER]), world.entry(batch(0, every_quarter(1, 2, wrong)))])
    books.commit()
    books.apply([world.entry(batch(0, every_quarter(4, first=2)))])
    books.commit()
    books.apply([world.entry(batch(0, every_quarter(5, first=3)))])
    books.commit()
    assert world.reader().buckets(0, "15m", 0, HOUR).amount.tolist() == [1, 2, 1]
    books.close()


def test_gauges_and_unknown_points_are_not_accounted(world: World) -> None:
    books = world.books()
    books.apply([world.registry([METER], gauges=1)])
    for point in (1, 2, 99):
        books.apply([world.entry(batch(point, every_quarter(1, 2, 3)))])
    books.commit()
    reader = world.reader()
    assert list(reader.points()) == [0]
    assert all(len(reader.buckets(point, "15m", 0, HOUR)) == 0 for point in (0, 1, 2, 99))
    books.close()


def test_an_impossible_time_moves_nothing(world: World) -> None:
    books = world.books()
    books.apply([world.registry([METER]), world.entry(batch(0, every_quarter(1, 2, 4)))])
    books.apply([world.entry(batch(0, [(QUARTER, 3, Quality.BAD_TIME)]))])
    books.apply([world.entry(batch(0, [(2**50, 3, Quality.BAD_TIME)]))])
    books.apply([world.entry(batch(0, every_quarter(5, first=3)))])
    books.commit()
    assert world.reader().buckets(0, "15m", 0, HOUR).amount.tolist() == [1, 2, 1]
    books.close()


def test_a_later_invalid_reading_of_the_same_time_takes_the_valid_one_back(world: World) -> None:
    books = world.books()
    books.apply([world.registry([METER]), world.entry(batch(0, every_quarter(1, 2, 4)))])
    books.apply([world.entry(batch(0, [(QUARTER, 2, Quality.CALIBRATION)]))])
    books.commit()
    found = world.reader().buckets(0, "15m", 0, HOUR)
    assert found.amount.tolist() == [1.5, 1.5]
    assert found.estimated.tolist() == [1, 1]
    books.close()


def test_anomalies_are_told_in_words(world: World) -> None:
    books = world.books()
    books.apply([world.registry([METER])])
    books.apply([world.entry(batch(0, every_quarter(500, 510, 7, 9)))])
    books.commit()
    reader = world.reader()
    (reset,) = reader.anomalies(0)
    assert reset.kind is Kind.RESET
    assert (reset.before, reset.after, reset.counted) == (510, 7, 7)
    assert "reset" in reset.words
    assert "510" in reset.words_zh
    flags = reader.buckets(0, "15m", 0, HOUR).flags.tolist()
    assert flags == [0, Kind.RESET, 0]
    assert reader.anomalies(0, 0, reset.time) == []
    assert reader.anomalies() == [reset]
    books.close()


def test_a_ratio_mended_in_the_registry_mends_the_books(world: World) -> None:
    books = world.books()
    books.apply([world.registry([METER], [METER])])
    for point in (0, 1):
        books.apply([world.entry(batch(point, every_quarter(1, 2, 4)))])
    books.commit()
    books.apply([world.registry([replace(METER, ratio=40)], [METER])])
    books.apply([world.entry(batch(0, every_quarter(5, first=3)))])
    books.commit()
    assert world.reader().buckets(0, "15m", 0, HOUR).amount.tolist() == [40, 80, 40]
    assert world.reader().buckets(1, "15m", 0, HOUR).amount.tolist() == [1, 2]
    books.close()


def test_a_replacement_entered_afterwards_mends_the_books(world: World) -> None:
    books = world.books()
    books.apply([world.registry([METER])])
    books.apply([world.entry(batch(0, every_quarter(500, 510, 3, 4)))])
    books.commit()
    assert world.reader().total(0, 0, HOUR) == pytest.approx(14)
    exchange = 2 * QUARTER
    old, new = replace(METER, end=exchange), replace(METER, device="s/new", start=exchange)
    books.apply([world.registry([old, new])])
    books.commit()
    reader = world.reader()
    assert reader.total(0, 0, HOUR) == pytest.approx(11)
    assert [oddity.kind for oddity in reader.anomalies()] == [Kind.REPLACEMENT]
    books.close()


def test_a_point_that_left_the_registry_keeps_its_books(world: World) -> None:
    books = world.books()
    books.apply([world.registry([METER], [METER])])
    books.apply([world.entry(batch(1, every_quarter(1, 2)))])
    books.apply([world.registry([METER])])
    books.apply([world.entry(batch(1, every_quarter(3, first=2)))])
    books.commit()
    assert world.reader().total(1, 0, HOUR) == 1
    books.apply([world.registry([METER], [METER])])
    books.apply([world.entry(batch(1, every_quarter(4, first=3)))])
    books.commit()
    assert world.reader().total(1, 0, HOUR) == 3
    books.close()


def test_without_a_commit_nothing_changed(world: World) -> None:
    books = world.books()
    books.apply([world.registry([METER]), world.entry(batch(0, every_quarter(1, 2)))])
    books.commit()
    cursor = books.cursor()
    more = [world.entry(batch(0, every_quarter(3, 4, first=2))), world.entry(Tick(24 * HOUR))]
    books.apply(more)
    books.close()
    books = world.books()
    assert books.cursor() == cursor
    assert world.reader().total(0, 0, HOUR) == 1
    books.apply(more)
    books.commit(whole=True)
    assert world.reader().total(0, 0, HOUR) == 3
    books.close()


def test_what_is_delivered_again_is_not_even_stored_again(world: World) -> None:
    books = world.books()
    rows = [*every_quarter(1, 2, 4), (3 * QUARTER, float("nan"), int(Quality.NO_VALUE))]
    books.apply([world.registry([METER]), world.entry(batch(0, rows))])
    books.apply([world.entry(Tick(24 * HOUR))])
    books.commit()
    before = stored(world)
    books.apply([world.entry(batch(0, rows))])
    books.commit()
    assert stored(world) == before
    books.close()


def stored(world: World) -> list[tuple[object, ...]]:
    """All quarter-hours, and how many readings the history holds."""
    with closing(sqlite3.connect(world.folder / "books.db")) as db:
        return [*db.execute("SELECT * FROM quarter"), *db.execute("SELECT sum(n) FROM run")]
