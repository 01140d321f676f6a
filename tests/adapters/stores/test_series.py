"""The series store equals a dictionary, whatever was written, in which cuts, compacted when."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from adapters.state.foldfile import FoldFile, open_reader
from adapters.stores.columns import LAST_TIME
from adapters.stores.compaction import Sizes
from adapters.stores.series import ASIDE_CHUNKS, SCHEMA, SeriesStore
from collector.model import Quality
from collector.ports import Series

SMALL = Sizes(wide_runs=3, wide_rows=60, fan=3, seal_rows=8, seal_least=4, chunk_rows=8, rewrites=2)
"""Everything that happens with millions of rows happens here with dozens."""

BAD = int(Quality.BAD_TIME)


def memory() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(SCHEMA)
    return connection


def put(store: SeriesStore, rows: list[tuple[int, int, float, int]]) -> int:
    return store.write(
        np.array([row[0] for row in rows], np.int32),
        np.array([row[1] for row in rows], np.int64),
        np.array([row[2] for row in rows], np.float64),
        np.array([row[3] for row in rows], np.uint8),
    )


def line(point: int, times: range, value: float = 1.0) -> list[tuple[int, int, float, int]]:
    return [(point, time, value, 0) for time in times]


def rows_of(series: Series) -> list[tuple[int, float, int]]:
    return list(
        zip(series.time.tolist(), series.value.tolist(), series.quality.tolist(), strict=True)
    )


def settle(store: SeriesStore) -> None:
    while store.compact():
        pass


points = st.sampled_from([0, 1, 2, 63, 64, 200, 2**31 - 1])
times = st.one_of(st.integers(0, 60), st.integers(-(2**63), 2**63 - 1))
rows = st.tuples(points, times, st.integers(0, 9).map(float), st.sampled_from([0, 10, 160, BAD]))


class EqualsADictionary(RuleBasedStateMachine):
    """Writes, compactions of any size, rollbacks and re-openings against {(point, time): row}."""

    @initialize()
    def begin(self) -> None:
        self.db = memory()
        self.store = SeriesStore(self.db, SMALL)
        self.good: dict[tuple[int, int], tuple[float, int]] = {}
        self.aside: dict[tuple[int, int], tuple[float, int]] = {}

    def teardown(self) -> None:
        self.db.close()

    @rule(written=st.lists(rows, max_size=40))
    def write(self, written: list[tuple[int, int, float, int]]) -> None:
        put(self.store, written)
        for point, time, value, quality in written:
            kept = self.aside if quality == BAD else self.good
            kept[point, time] = (value, quality)

    @rule(point=points, start=st.integers(0, 60), step=st.integers(1, 3), n=st.integers(4, 40))
    def write_line(self, point: int, start: int, step: int, n: int) -> None:
        self.write(line(point, range(start, start + n * step, step), float(n)))

    @rule(max_rows=st.integers(1, 50))
    def compact(self, max_rows: int) -> None:
        self.store.compact(max_rows)

    @rule(written=st.lists(rows, max_size=40), max_rows=st.integers(1, 50))
    def rolled_back(self, written: list[tuple[int, int, float, int]], max_rows: int) -> None:
        self.db.execute("BEGIN")
        put(self.store, written)
        self.store.compact(max_rows)
        self.db.execute("ROLLBACK")

    @rule()
    def open_again(self) -> None:
        self.store = SeriesStore(self.db, SMALL)

    @rule(spans=st.dictionaries(points, st.tuples(times, times)))
    def many_at_once(self, spans: dict[int, tuple[int, int]]) -> None:
        asked = sorted(spans)
        found = self.store.read_many(
            np.array(asked, np.int32),
            np.array([spans[point][0] for point in asked], np.int64),
            np.array([spans[point][1] for point in asked], np.int64),
        )
        singly = [(p, *row) for p in asked for row in rows_of(self.store.read(p, *spans[p]))]
        assert list(zip(*(column.tolist() for column in found), strict=True)) == singly

    @rule(point=points, time=times, n=st.integers(1, 5))
    def neighbours(self, point: int, time: int, n: int) -> None:
        mine = sorted((t, *row) for (p, t), row in self.good.items() if p == point)
        assert rows_of(self.store.before(point, time, n)) == [r for r in mine if r[0] < time][-n:]
        assert rows_of(self.store.after(point, time, n)) == [r for r in mine if r[0] > time][:n]
        assert rows_of(self.store.latest(point)) == mine[-1:]

    @rule(point=points, start=times, end=times)
    def between(self, point: int, start: int, end: int) -> None:
        both = self.aside | self.good
        mine = sorted((t, *row) for (p, t), row in both.items() if p == point and start <= t < end)
        assert rows_of(self.store.read(point, start, end)) == mine

    @invariant()
    def everything_is_there(self) -> None:
        both = self.aside | self.good
        assert self.store.points() == sorted({point for point, _ in both})
        for point in self.store.points():
            mine = sorted((t, *row) for (p, t), row in both.items() if p == point)
            found = rows_of(self.store.read(point, -(2**63), LAST_TIME))
            assert found == [row for row in mine if row[0] < LAST_TIME]

    @invariant()
    def chunks_are_disjoint(self) -> None:
        last: dict[int, int] = {}
        for point, low, high in self.db.execute(
            "SELECT point, low, high FROM chunk ORDER BY point, low"
        ):
            assert low <= high
            assert point not in last or low > last[point]
            last[point] = high


EqualsADictionary.TestCase.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None
)
TestEqualsADictionary = EqualsADictionary.TestCase


@pytest.fixture
def store() -> Iterator[SeriesStore]:
    with closing(memory()) as connection:
        yield SeriesStore(connection, SMALL)


def test_what_has_gathered_is_sealed_and_small_runs_disappear(store: SeriesStore) -> None:
    for start in range(0, 400, 10):
        put(store, line(5, range(start, start + 10)))
        store.compact()
    stored = store.stored()
    assert stored.sealed_rows >= 350
    assert stored.runs <= SMALL.fan + SMALL.wide_runs
    assert stored.sealed_rows + stored.run_rows == 400


def test_late_rows_over_many_chunks_are_worked_off_in_bounded_steps(store: SeriesStore) -> None:
    put(store, line(5, range(0, 800, 2)))
    settle(store)
    before = store.stored().chunks
    put(store, line(5, range(1, 800, 10), 2.0))
    assert store.compact(1) > 0
    assert len(store.read(5, 0, 800)) == 480
    settle(store)
    assert len(store.read(5, 0, 800)) == 480
    assert before > 10 * SMALL.rewrites


def test_a_bad_time_moves_nothing_but_is_kept(store: SeriesStore) -> None:
    put(store, line(5, range(100)))
    put(store, [(5, 4_000_000_000_000, 7.0, BAD), (5, -5, 8.0, BAD), (6, 9, 9.0, BAD)])
    settle(store)
    assert rows_of(store.latest(5)) == [(99, 1.0, 0)]
    assert rows_of(store.latest(6)) == []
    assert rows_of(store.after(5, 98, 9)) == [(99, 1.0, 0)]
    assert rows_of(store.before(5, 1, 9)) == [(0, 1.0, 0)]
    assert rows_of(store.read(5, 200, LAST_TIME)) == [(4_000_000_000_000, 7.0, BAD)]
    assert store.points() == [5, 6]
    store.retain(50)
    assert rows_of(store.read(5, -10, 0)) == [(-5, 8.0, BAD)]


def test_bad_times_have_a_bound_of_their_own(store: SeriesStore) -> None:
    for start in range(0, 2000, 100):
        put(store, [(5, 10**13 + time, 1.0, BAD) for time in range(start, start + 100)])
        settle(store)
    assert store.retain(0) > 1000
    left = rows_of(store.read(5, 0, LAST_TIME))
    assert 0 < len(left) <= (ASIDE_CHUNKS + 2) * SMALL.chunk_rows
    assert left[-1][0] == 10**13 + 1999


def test_retention_shows_nothing_older_and_gives_back_what_it_can(store: SeriesStore) -> None:
    put(store, line(5, range(400)) + line(6, range(3)))
    settle(store)
    deleted = 0
    while gone := store.retain(100, max_chunks=3):
        assert gone <= 3 * SMALL.chunk_rows + SMALL.wide_rows
        deleted += gone
    assert 90 <= deleted <= 100
    assert store.read(5, 0, 1000).time[0] == 100
    assert store.before(5, 103, 9).time.tolist() == [100, 101, 102]
    assert store.buckets(5, 0, 1000, 200).count.tolist() == [100, 200]
    assert not len(store.latest(6))
    assert put(store, line(5, range(90, 110))) == 10
    assert store.read(5, 0, 1000).time[0] == 100


def test_a_horizon_moved_back_shows_what_was_not_deleted(store: SeriesStore) -> None:
    put(store, line(5, range(50)))
    store.retain(10**15, max_chunks=0)
    assert not len(store.read(5, 0, 1000))
    put(store, line(5, range(50, 60)))
    store.retain(55)
    assert store.read(5, 0, 1000).time.tolist() == [55, 56, 57, 58, 59]


def test_a_reader_elsewhere_sees_all_of_it_at_every_moment(tmp_path: Path) -> None:
    file = FoldFile(tmp_path / "fold.db", "j", SCHEMA)
    store = SeriesStore(file.connection, SMALL)
    with closing(open_reader(tmp_path / "fold.db")) as connection:
        reader = SeriesStore(connection, SMALL)
        for start in range(0, 300, 10):
            file.begin()
            put(store, line(5, range(start, start + 10)))
            store.compact()
            assert len(reader.read(5, 0, 1000)) == start
            file.commit()
            assert len(reader.read(5, 0, 1000)) == start + 10
    file.close()


def damage(connection: sqlite3.Connection, table: str) -> int:
    """One byte of one blob; the rows it holds."""
    key, data, n = connection.execute(f"SELECT rowid, data, n FROM {table} LIMIT 1").fetchone()
    broken = bytearray(data)
    broken[-1] ^= 1
    connection.execute(f"UPDATE {table} SET data = ? WHERE rowid = ?", (bytes(broken), key))
    return int(n)


@pytest.mark.parametrize("table", ["chunk", "run"])
def test_a_corrupt_blob_is_skipped_counted_and_kept_aside(table: str) -> None:
    with closing(memory()) as connection:
        store = SeriesStore(connection, SMALL)
        put(store, line(5, range(100)))
        settle(store)
        put(store, line(5, range(100, 103)))
        lost = damage(connection, table)
        assert len(store.read(5, 0, 1000)) == 103 - lost
        assert len(store.read(5, 0, 1000)) == 103 - lost
        assert store.stored().damaged == 1
        put(store, line(5, range(-20, 200)))
        settle(store)
        assert store.stored().damaged == 1
        assert [len(store.read(5, -50, 1000)), len(store.latest(5))] == [220, 1]
        ((kind, n),) = connection.execute("SELECT kind, n FROM damaged").fetchall()
        assert (kind, n) == (table, lost)
