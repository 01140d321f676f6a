"""What every store of readings promises, on every implementation.

A store is added as an entry of ``STORES``: how to open one, and what it cannot do *by nature*
(a projection's database, say, that has no NaN). What it cannot do is named there, word by word
of ``ABILITIES``; the tests concerned then check that the store really cannot, so that a wrong
excuse fails.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.journals.sqlite import SqliteJournal
from adapters.projection.store import ProjectedStore
from adapters.stores.archive import Archive
from adapters.stores.external import Target
from adapters.stores.influx import InfluxDatabase
from adapters.stores.line import LineEncoder, PointNames
from adapters.stores.victoria import VictoriaDatabase
from collector.errors import RejectedError
from collector.model import USABLE_IN_MEANS, Batch, Quality
from collector.ports import ReadingStore, Series
from collector.telemetry import Telemetry
from tests.databases import InfluxDb, VictoriaMetrics

ABILITIES = {
    "nan": "a value may be NaN, and comes back so",
    "infinite": "a value may be infinite, and comes back so",
    "correction": "a later write of the same (point, time) wins",
    "requalify": "a later write gives a reading another quality",
    "exact": "every bit of a finite float64 comes back",
    "at-once": "what was written is read at once",
}
NOON = 1_795_305_600_000
GOOD, FAULT, NO_VALUE = Quality.GOOD, Quality.FAULT, Quality.NO_VALUE


@dataclass(frozen=True)
class Kind:
    """``open``: an empty store, closed on exit; ``cannot``: keys of ``ABILITIES``; ``first`` and
    ``last``: the times (UTC ms) that it takes at ``NOON``."""

    open: Callable[[Path, Servers], AbstractContextManager[ReadingStore]]
    cannot: frozenset[str] = field(default_factory=frozenset)
    first: int = -(2**63)
    last: int = 2**63 - 2


@contextmanager
def archive(folder: Path) -> Iterator[ReadingStore]:
    journal = SqliteJournal(folder / "journal.db", Telemetry())
    store = Archive(folder / "archive.db", journal, Telemetry())
    yield store
    store.close()
    journal.close()


class Points(dict[int, PointNames]):
    """Every number is a point of a site of its own test."""

    def __init__(self, site: str) -> None:
        super().__init__(
            (
                point,
                PointNames("electricity", f"f{point}", "county", "place", f"q{point}", site, "raw"),
            )
            for point in (*range(10), 62, 63, 64, 65, 65_535, 65_536, 65_537, 2**31 - 2, 2**31 - 1)
        )


SITES = (f"site-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Started when the first test wants them, stopped after the last."""
    with ExitStack() as stack:
        yield Servers(tmp_path_factory.mktemp("servers"), stack)


class Servers:
    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack

    @cached_property
    def victoria(self) -> VictoriaMetrics:
        return self._stack.enter_context(VictoriaMetrics(self._folder / "vm"))

    @cached_property
    def influx(self) -> InfluxDb:
        return self._stack.enter_context(InfluxDb(self._folder / "influx"))


class Flushed(ProjectedStore):
    """VictoriaMetrics shows what it took within a second or two; here, when it was told to."""

    server: VictoriaMetrics

    def write(self, batch: Batch) -> None:
        try:
            super().write(batch)
        finally:
            self.server.flush()


@contextmanager
def victoria(servers: Servers) -> Iterator[ReadingStore]:
    database = VictoriaDatabase(Target("vm", "victoria-metrics", servers.victoria.url))
    store = Flushed(database, LineEncoder(Points(next(SITES))), NOON)
    store.server = servers.victoria
    yield store
    database.close()


@contextmanager
def influx(servers: Servers) -> Iterator[ReadingStore]:
    where = Target("influx", "influxdb", servers.influx.url, version=1, bucket="meterwatch")
    database = InfluxDatabase(where)
    yield ProjectedStore(database, LineEncoder(Points(next(SITES))), NOON)
    database.close()


# By nature: neither has NaN or infinity (a NaN is told as a row of "quality" without a value), both
# keep 64 bits of nanoseconds, and what is invalid or marked has
# rows of its own, which a later write does not take away. VictoriaMetrics keeps
# samples, so a second one of the same time may win or lose, and none from before 1970.
STORES = {
    "archive": Kind(lambda folder, _: archive(folder)),
    "victoria-metrics": Kind(
        lambda _, servers: victoria(servers),
        frozenset({"infinite", "correction", "requalify", "exact", "at-once"}),
        first=1,
        last=NOON + 2 * 86_400_000 - 60_000,
    ),
    "influxdb": Kind(
        lambda _, servers: influx(servers),
        frozenset({"infinite", "requalify"}),
        first=-(2**63 // 10**6),
        last=2**63 // 10**6,
    ),
}


@pytest.fixture(params=sorted(STORES))
def kind(request: pytest.FixtureRequest) -> Kind:
    return STORES[request.param]


@pytest.fixture
def store(kind: Kind, servers: Servers, tmp_path: Path) -> Iterator[ReadingStore]:
    with kind.open(tmp_path, servers) as opened:
        yield opened


def rows(series: Series) -> list[tuple[int, float, int]]:
    return list(
        zip(series.time.tolist(), series.value.tolist(), series.quality.tolist(), strict=True)
    )


def check(kind: Kind, ability: str, *, holds: bool) -> None:
    """The promise holds, exactly when the store does not say that it cannot."""
    assert ability in ABILITIES
    assert holds == (ability not in kind.cannot), f"{ABILITIES[ability]}: {holds}"


def test_an_empty_store_answers_with_nothing(store: ReadingStore) -> None:
    assert rows(store.read(3, 0, NOON)) == []
    assert rows(store.latest(3)) == []
    buckets = store.buckets(3, 0, NOON, 60_000)
    assert [len(column) for column in (buckets.start, buckets.count, buckets.mean)] == [0, 0, 0]
    store.write(Batch.empty())
    assert rows(store.latest(3)) == []


def test_a_reading_comes_back_with_its_quality(store: ReadingStore) -> None:
    store.write(Batch.of([1, 2], [NOON, NOON], [12.25, 7.5], [GOOD, FAULT]))
    assert rows(store.read(1, NOON, NOON + 1)) == [(NOON, 12.25, GOOD)]
    assert rows(store.read(2, NOON, NOON + 1)) == [(NOON, 7.5, FAULT)]
    assert rows(store.read(3, NOON, NOON + 1)) == []


def test_a_range_holds_its_start_and_not_its_end(store: ReadingStore) -> None:
    store.write(Batch.of([1] * 4, [NOON + i for i in range(4)], range(4)))
    assert [time for time, *_ in rows(store.read(1, NOON + 1, NOON + 3))] == [NOON + 1, NOON + 2]
    assert rows(store.read(1, NOON + 2, NOON + 2)) == []
    assert rows(store.read(1, NOON + 3, NOON)) == []


def test_a_batch_needs_no_order(store: ReadingStore) -> None:
    store.write(Batch.of([2, 1, 2, 1], [NOON + 3, NOON + 2, NOON + 1, NOON], [4, 3, 2, 1]))
    assert rows(store.read(1, 0, 2 * NOON)) == [(NOON, 1, 0), (NOON + 2, 3, 0)]
    assert rows(store.read(2, 0, 2 * NOON)) == [(NOON + 1, 2, 0), (NOON + 3, 4, 0)]


def test_writing_twice_is_writing_once(store: ReadingStore) -> None:
    batch = Batch.of([1, 1], [NOON, NOON + 1], [5.0, 6.0])
    store.write(batch)
    store.write(batch)
    assert rows(store.read(1, 0, 2 * NOON)) == [(NOON, 5.0, 0), (NOON + 1, 6.0, 0)]
    assert store.buckets(1, NOON, NOON + 10, 10).count.tolist() == [2]


def test_the_later_wins_within_a_batch_and_against_the_store(
    kind: Kind, store: ReadingStore
) -> None:
    store.write(Batch.of([1, 1, 1], [NOON, NOON, NOON + 1], [1.0, 2.0, 9.0], [GOOD, GOOD, FAULT]))
    inside = rows(store.read(1, 0, 2 * NOON)) == [(NOON, 2.0, GOOD), (NOON + 1, 9.0, FAULT)]
    store.write(Batch.of([1, 1], [NOON + 1, NOON], [3.0, 4.0], [FAULT, GOOD]))
    against = rows(store.read(1, 0, 2 * NOON)) == [(NOON, 4.0, GOOD), (NOON + 1, 3.0, FAULT)]
    if "correction" not in kind.cannot:  # else it wins or loses by chance
        assert inside
        assert against


def test_a_correction_may_change_the_quality(kind: Kind, store: ReadingStore) -> None:
    store.write(Batch.of([1, 1], [NOON, NOON + 1], [2.0, 9.0], [GOOD, FAULT]))
    store.write(Batch.of([1, 1], [NOON + 1, NOON], [3.0, 4.0], [GOOD, NO_VALUE]))
    after = rows(store.read(1, 0, 2 * NOON)) == [(NOON, 4.0, NO_VALUE), (NOON + 1, 3.0, GOOD)]
    check(kind, "requalify", holds=after)


def test_late_readings_go_where_they_belong(store: ReadingStore) -> None:
    store.write(Batch.of([1, 1], [NOON, NOON + 2], [1.0, 3.0]))
    store.write(Batch.of([1, 1], [NOON + 1, NOON - 1], [2.0, 0.0]))
    assert [value for _, value, _ in rows(store.read(1, 0, 2 * NOON))] == [0.0, 1.0, 2.0, 3.0]
    assert rows(store.latest(1)) == [(NOON + 2, 3.0, 0)]


def test_the_latest_is_by_time_whatever_its_quality(store: ReadingStore) -> None:
    store.write(Batch.of([1, 1], [NOON + 5, NOON], [1.0, 2.0], [FAULT, GOOD]))
    assert rows(store.latest(1)) == [(NOON + 5, 1.0, FAULT)]


def test_an_impossible_time_is_kept_and_moves_nothing(store: ReadingStore) -> None:
    ahead = NOON + 10**8
    store.write(Batch.of([1, 1], [NOON, ahead], [1.0, 2.0], [GOOD, Quality.BAD_TIME]))
    assert rows(store.latest(1)) == [(NOON, 1.0, GOOD)]
    assert rows(store.read(1, ahead, ahead + 1)) == [(ahead, 2.0, Quality.BAD_TIME)]


def test_buckets_count_what_is_valid_and_what_lies_beside(kind: Kind, store: ReadingStore) -> None:
    minute = 60_000
    times = [NOON, NOON + 10_000, NOON + 20_000, NOON + minute, NOON + 3 * minute - 1]
    store.write(
        Batch.of(
            [1] * 5,
            times,
            [3.0, 1.0, -200.0, -200.0, 8.0],
            [GOOD, Quality.SUBSTITUTED, FAULT, NO_VALUE, Quality.UNCERTAIN],
        )
    )
    found = store.buckets(1, NOON, NOON + 3 * minute, minute)
    assert found.start.tolist() == [NOON, NOON + minute, NOON + 2 * minute]
    assert found.count.tolist() == [2, 0, 1]
    assert found.invalid.tolist() == [1, 1, 0]
    assert found.mean[[0, 2]].tolist() == [2.0, 8.0]
    assert (found.low[0], found.high[0], found.first[0], found.last[0]) == (1.0, 3.0, 3.0, 1.0)
    for column in (found.low, found.high, found.mean, found.first, found.last):
        assert np.isnan(column[1])


def test_buckets_are_counted_from_their_start_and_end_with_the_range(store: ReadingStore) -> None:
    store.write(Batch.of([1] * 6, [NOON + i for i in range(6)], range(6)))
    found = store.buckets(1, NOON + 1, NOON + 5, 3)
    assert found.start.tolist() == [NOON + 1, NOON + 4]
    assert found.count.tolist() == [3, 1]
    assert found.mean.tolist() == [2.0, 4.0]


def test_spans_without_readings_are_left_out(store: ReadingStore) -> None:
    store.write(Batch.of([1, 1], [NOON, NOON + 100], [1.0, 2.0]))
    assert store.buckets(1, NOON, NOON + 1000, 10).start.tolist() == [NOON, NOON + 100]


def test_nan_is_a_reading_and_no_valid_value(kind: Kind, store: ReadingStore) -> None:
    store.write(Batch.of([1, 1], [NOON, NOON + 1], [np.nan, 4.0]))
    found = rows(store.read(1, 0, 2 * NOON))
    check(kind, "nan", holds=len(found) == 2 and np.isnan(found[0][1]))
    buckets = store.buckets(1, NOON, NOON + 2, 2)
    assert (buckets.count[0], buckets.mean[0]) == (1, 4.0)
    if "nan" not in kind.cannot:
        assert buckets.invalid[0] == 1


EXACTLY = [-0.0, 0.1 + 0.2, 1e-300, -1.7976931348623157e308, 123456.789]


def test_values_come_back_exactly(kind: Kind, store: ReadingStore) -> None:
    store.write(Batch.of([1] * len(EXACTLY), range(NOON, NOON + len(EXACTLY)), EXACTLY))
    found = store.read(1, NOON, NOON + len(EXACTLY)).value
    check(kind, "exact", holds=found.tobytes() == np.array(EXACTLY).tobytes())


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_what_is_infinite_comes_back_so(kind: Kind, store: ReadingStore, value: float) -> None:
    store.write(Batch.of([1], [NOON], [value], [FAULT]))
    found = rows(store.read(1, NOON, NOON + 1))
    check(kind, "infinite", holds=found == [(NOON, value, FAULT)])
    assert [(time, quality) for time, _, quality in found] == [(NOON, FAULT)]


@pytest.mark.parametrize("point", [0, 63, 64, 65_536, 2**31 - 1])
def test_any_stable_id_is_a_point_of_its_own(store: ReadingStore, point: int) -> None:
    ids = [point, *(other for other in (point - 1, point + 1) if 0 <= other < 2**31)]
    store.write(Batch.of(ids, [NOON] * len(ids), [1.0, 2.0, 3.0][: len(ids)]))
    assert rows(store.read(point, 0, 2 * NOON)) == [(NOON, 1.0, 0)]


@pytest.mark.parametrize("time", [-(2**63), -1, 0, 1, 2**42, 2**63 - 2])
def test_any_time_is_a_time(kind: Kind, store: ReadingStore, time: int) -> None:
    batch = Batch.of([1, 1], [time, NOON], [1.0, 2.0], received=NOON)
    if kind.first <= time <= kind.last:
        store.write(batch)
        assert (time, 1.0, 0) in rows(store.read(1, -(2**63), 2**63 - 1))
    else:
        with pytest.raises(RejectedError) as refused:  # told, and the other one is stored
            store.write(batch)
        assert set(refused.value.reasons) == {0}
        assert rows(store.read(1, -(2**63), 2**63 - 1)) == [(NOON, 2.0, GOOD)]


def test_the_edges_of_what_it_takes_are_where_it_says(kind: Kind, store: ReadingStore) -> None:
    times = [max(kind.first, -(2**63)), kind.last]
    store.write(Batch.of([1, 1], times, [1.0, 2.0]))
    assert [time for time, *_ in rows(store.read(1, -(2**63), 2**63 - 1))] == times


Row = tuple[int, int, float, Quality]


def within(
    kind: Kind, batch: list[Row], model: dict[tuple[int, int], tuple[float, int]]
) -> list[Row]:
    """``batch`` without what the store cannot do: without any second row of a (point, time), or
    without those that change its quality."""
    if "correction" in kind.cannot:
        first = {row[:2]: row for row in reversed(batch)}
        return [row for key, row in first.items() if (key[0], NOON + key[1]) not in model]
    if "requalify" in kind.cannot:
        quality = {(point, time - NOON): held[1] for (point, time), held in model.items()}
        return [row for row in batch if quality.setdefault(row[:2], int(row[3])) == row[3]]
    return batch


some_rows = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.integers(0, 30),
        st.integers(-5, 5).map(float),
        st.sampled_from([GOOD, Quality.UNMARKED, FAULT, NO_VALUE]),
    ),
    max_size=30,
)


@given(st.lists(some_rows, max_size=5), st.integers(1, 40))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_batches_give_the_same_answers_as_a_dictionary(
    kind: Kind,
    servers: Servers,
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[list[Row]],
    width: int,
) -> None:
    model: dict[tuple[int, int], tuple[float, int]] = {}
    with kind.open(tmp_path_factory.mktemp("store"), servers) as store:
        for batch in batches:
            kept = within(kind, batch, model)
            columns = list(zip(*kept, strict=True)) if kept else [(), (), (), ()]
            times = [NOON + time for time in columns[1]]
            store.write(Batch.of(columns[0], times, columns[2], columns[3]))
            model |= {(p, NOON + t): (value, int(quality)) for p, t, value, quality in kept}
        for point in range(4):
            mine = sorted((t, *row) for (p, t), row in model.items() if p == point)
            assert rows(store.read(point, NOON, NOON + 31)) == mine
            assert rows(store.latest(point)) == mine[-1:]
            check_buckets(store, point, mine, width)


def check_buckets(
    store: ReadingStore, point: int, mine: list[tuple[int, float, int]], width: int
) -> None:
    """Against the definition, one bucket and one reading at a time."""
    found = store.buckets(point, NOON, NOON + 31, width)
    starts = sorted({time - (time - NOON) % width for time, *_ in mine})
    assert found.start.tolist() == starts
    for at, start in enumerate(starts):
        inside = [row for row in mine if start <= row[0] < start + width]
        valid = [value for _, value, quality in inside if USABLE_IN_MEANS[quality]]
        assert found.count[at] == len(valid)
        assert found.invalid[at] == len(inside) - len(valid)
        if valid:
            assert found.mean[at] == pytest.approx(sum(valid) / len(valid))
            assert (found.low[at], found.high[at]) == (min(valid), max(valid))
            assert (found.first[at], found.last[at]) == (valid[0], valid[-1])
        else:
            assert np.isnan(found.mean[at])
