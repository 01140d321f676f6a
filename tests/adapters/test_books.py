"""The books' file equals a plain reference, whatever the order, the cuts, the crashes."""

from __future__ import annotations

import itertools
import random
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from adapters.journals.sqlite import SqliteJournal
from adapters.state.books import GRACE_MS, Books, BooksReader
from adapters.state.books_reader import Spans
from collector.accounts.counters import Kind
from collector.model import Batch, Entry, Quality, Revision, Tick
from collector.registry import COUNTER, FOREVER, GAUGE, Point, PointTable, Registry, Service, Site
from collector.telemetry import Telemetry
from tests.accounts_reference import QUARTER, Cut, Reading, calm_life, lives, reference

ZONE = "Asia/Shanghai"
HOUR = 3_600_000
METER = Service("s/m", 0, FOREVER, resolution=0.01, modulus=10**6, max_rate=2000, interval=900)


class World:
    """A journal, and registries by the digest of their revision."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = SqliteJournal(folder / "journal.db", Telemetry(), synchronous="OFF")
        self.known: dict[str, tuple[Registry, PointTable]] = {}

    def registry(self, *points: Sequence[Service], gauges: int = 0) -> tuple[int, Entry]:
        """A journalled revision in which point ``i`` has the services ``points[i]``; the points
        after them are gauges."""
        made = [Point("s", f"p{i}", "energy", services=tuple(of)) for i, of in enumerate(points)]
        made += [Point("s", f"g{i}", "power") for i in range(gauges)]
        ids = {point.name: i for i, point in enumerate(made)}
        size = len(made)
        table = PointTable(
            known=np.ones(size, np.bool_),
            kind=np.array([COUNTER] * len(points) + [GAUGE] * gauges, np.uint8),
            low=np.full(size, -np.inf),
            high=np.full(size, np.inf),
            points=dict(enumerate(made)),
            ids=ids,
        )
        site = Site("s", "Site", "单位", "620502", "C2319", zone=ZONE)
        digest = str(len(self.known))
        self.known[digest] = (Registry({"s": site}, {}, {}, {}, {}, made), table)
        return self.entry(Revision(0, "registry", digest, {}))

    def books(self, history_days: int = 10**6, telemetry: Telemetry | None = None) -> Books:
        return Books(
            self.folder / "books.db",
            self.journal,
            lambda r: self.known[r.digest],
            history_days=history_days,
            telemetry=telemetry,
        )

    def reader(self) -> BooksReader:
        return BooksReader(self.folder / "books.db")

    def entry(self, entry: Entry) -> tuple[int, Entry]:
        """``entry`` as the journal gives it back, with its number."""
        return self.journal.append([entry]), entry

    def close(self) -> None:
        self.journal.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def batch(point: int, readings: Iterable[Reading]) -> Batch:
    rows = list(readings)
    return Batch.of(
        [point] * len(rows), [r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows]
    )


def every_quarter(*values: float, first: int = 0) -> list[Reading]:
    return [((first + i) * QUARTER, v, 0) for i, v in enumerate(values)]


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


# --- against the reference


def test_late_beside_what_the_books_took_for_a_glitch(world: World) -> None:
    """100 .. 90 101: 90 was a glitch. With a 95 between the two it was a reset."""
    meter = replace(METER, modulus=0)
    rows: list[Reading] = [(0, 100, 0), (HOUR, 90, 0), (HOUR + 60_000, 101, 0), (2 * HOUR, 102, 0)]
    one_by_one(world, meter, [*rows, (HOUR + 30_000, 95, 0)])


def test_late_beside_a_reset_is_when_it_was_decided(world: World) -> None:
    rows: list[Reading] = [(0, 100, 0), (HOUR, 2, 0), (HOUR + 60_000, 3, 0), (2 * HOUR, 4, 0)]
    one_by_one(world, METER, [*rows, (HOUR + 30_000, 2.5, 0)])


def test_late_in_a_service_of_which_nothing_counts_yet(world: World) -> None:
    old, new = replace(METER, end=HOUR), replace(METER, start=HOUR, device="s/new")
    fault = (HOUR + 60_000, 0, int(Quality.FAULT))
    late = (HOUR + 30_000, 7, 0)
    after = (HOUR + 90_000, 8, 0)
    one_by_one(world, old, [(0, 1, 0), (HOUR - 5_000, 2, 0), fault, late, after], new)


def one_by_one(world: World, meter: Service, rows: list[Reading], *later: Service) -> None:
    services = (meter, *later)
    books = world.books()
    books.apply([world.registry(services)])
    for i, row in enumerate(rows):
        books.apply([world.entry(batch(0, [row]))])
        books.commit()
        reader = world.reader()
        compared(reader, 0, rows[: i + 1], services)
        reader.close()
    books.close()


def compared(
    reader: BooksReader, point: int, readings: list[Reading], services, since: int | None = None
) -> None:
    expected = reference(readings, services)
    amounts: dict[int, list[float]] = {}
    for (scale, number), quarter in sorted(expected.quarters.items(), key=lambda q: q[0][::-1]):
        at = amounts.setdefault(number * QUARTER, [0.0, 0.0, 0.0])
        at[0] += quarter.steps * scale
        at[1] += quarter.measured / QUARTER
        at[2] += quarter.estimated / QUARTER
    times = [time for time, *_ in readings] or [0]
    found = reader.buckets(point, "15m", min(times), max(times) + 1)
    assert found.start.tolist() == list(amounts)
    for i, (amount, measured, estimated) in enumerate(amounts.values()):
        assert found.amount[i] == pytest.approx(amount, rel=1e-12, abs=1e-12)
        assert (found.measured[i], found.estimated[i]) == pytest.approx((measured, estimated))
    told = [(a.kind.name.lower(), a.time, a.since, a.until) for a in reader.anomalies(point)]
    early = -(2**63) if since is None else since
    told = [row for row in told if row[1] >= early]
    assert sorted(told) == sorted(row for row in expected.anomalies if row[1] >= early)


@st.composite
def journals(draw: st.DrawFn):
    """Meters with every fault at once, in any order."""
    points = draw(st.lists(lives(), min_size=1, max_size=3))
    chance = random.Random(draw(st.integers(0, 2**32)))
    return [services for _, services in points], scripted(points, chance)


def scripted(points, chance: random.Random) -> list[object]:
    """Readings of some points in the order of the journal, in batches, with ticks, commits,
    crashes and changes of the registry between them; some twice, some corrected."""
    rows = [(point, row) for point, (readings, _) in enumerate(points) for row in readings]
    rows.sort(key=lambda row: row[1][0])
    disorder = chance.choice([0, 0.02, 0.1, 1])
    for _ in range(int(len(rows) * min(disorder, 0.2))):
        at = chance.randrange(len(rows))
        point, (time, value, _) = rows[at]
        again = (point, (time, chance.choice([value, value + 1]), chance.choice([0, 0, 130])))
        rows.insert(at + chance.choice([1, 2, 5, 100]), again)
    for _ in range(int(len(rows) * disorder)):
        at = chance.randrange(len(rows))
        rows.insert(at + chance.choice([1, 2, 10, 200]), rows.pop(at))
    if disorder == 1:
        chance.shuffle(rows)
    script: list[object] = []
    # A change of the registry accounts everything anew, and so would hide what went wrong before.
    events = ["tick", "commit", "commit", "commit", chance.choice(["crash", "registry", ""]), ""]
    while rows:
        size = chance.choice([1, 3, 10, 40])
        script.append(rows[:size])
        del rows[:size]
        event = chance.choice(events)
        if event == "tick":
            script.append(Tick((rows[0][1][0] if rows else 0) + chance.choice([0, HOUR])))
        elif event:
            script.append(event)
    return script


@given(journals())
@settings(max_examples=50, deadline=None, phases=[Phase.generate])
def test_equals_a_plain_reference_for_any_journal(journal) -> None:
    points, script = journal
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        try:
            played(world, points, script)
        finally:
            world.close()


@given(st.integers(0, 2**32))
@settings(max_examples=40, deadline=None, phases=[Phase.generate])
def test_equals_a_plain_reference_for_meters_as_most_are(seed) -> None:
    chance = random.Random(seed)
    points = [calm_life(chance) for _ in range(3)]
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        try:
            played(world, [services for _, services in points], scripted(points, chance))
        finally:
            world.close()


def played(world: World, points, script) -> None:
    # The registry changes between one in which each point has its last service only, and all.
    registries = itertools.cycle([[services[-1:] for services in points], points])
    changes = "registry" in script
    books = world.books()
    books.apply([world.registry(*(next(registries) if changes else points))])
    books.commit()
    delivered: list[list[Reading]] = [[] for _ in points]
    for step in script:
        match step:
            case "commit":
                books.commit()
            case "crash":
                books.close()
                books = world.books()
                for entry in world.journal.read(books.cursor()):
                    books.apply([entry])
            case "registry":
                books.apply([world.registry(*next(registries))])
            case Tick():
                books.apply([world.entry(step)])
            case _:
                for point, row in step:
                    delivered[point].append(row)
                books.apply([world.entry(rows_of(step))])
    if changes:
        books.apply([world.registry(*points)])
    books.commit()
    reader = world.reader()
    for point, services in enumerate(points):
        compared(reader, point, delivered[point], services)
    reader.close()
    books.close()


def rows_of(step: list[tuple[int, Reading]]) -> Batch:
    return Batch.of(
        [point for point, _ in step],
        [row[0] for _, row in step],
        [row[1] for _, row in step],
        [row[2] for _, row in step],
    )


# --- with a history that is cut


def test_what_is_older_than_the_history_is_told_and_changes_nothing(world: World) -> None:
    telemetry = Telemetry()
    books = world.books(2, telemetry)
    rows: list[Reading] = [(hour * HOUR, hour, 0) for hour in range(0, 240, 5)]
    books.apply([world.registry([METER]), world.entry(batch(0, rows))])
    books.apply([world.entry(Tick(240 * HOUR))])
    books.commit()
    before = world.reader().buckets(0, "15m", 0, 240 * HOUR).amount.tolist()
    # Before the horizon (hour 192), and between it and the first reading behind it (hour 195).
    books.apply([world.entry(batch(0, [(100 * HOUR + 1, 0, 0), (193 * HOUR, 194, 0)]))])
    books.apply([world.entry(Tick(264 * HOUR))])
    books.commit()
    assert world.reader().buckets(0, "15m", 0, 240 * HOUR).amount.tolist() == before
    assert telemetry.value("books_beyond_history") == 2
    books.apply([world.entry(batch(0, [(231 * HOUR, 234, 0)]))])
    books.commit()
    reader = world.reader()
    assert reader.buckets(0, "15m", 0, 240 * HOUR).amount.tolist() != before
    assert reader.total(0, 0, 240 * HOUR) == pytest.approx(235)
    books.close()


@pytest.mark.parametrize("together", [False, True])
def test_after_a_long_silence_commits_make_no_difference(world: World, together: bool) -> None:
    books = world.books(1)
    books.apply([world.registry([METER]), world.entry(batch(0, [(0, 0, 0), (HOUR, 1, 0)]))])
    books.apply([world.entry(Tick(5 * 24 * HOUR))])
    for hour, value in ((102, 90), (99, 80)):
        books.apply([world.entry(batch(0, [(hour * HOUR, value, 0)]))])
        if not together:
            books.commit()
    books.commit()
    # The first to come closes the silence; the one before it came too late.
    assert world.reader().total(0, 0, 99 * HOUR) == pytest.approx(1 + 89 * 98 / 101, abs=0.01)
    books.close()


@given(journals(), st.sampled_from([1, 2, 20]))
@settings(max_examples=30, deadline=None, phases=[Phase.generate])
def test_equals_a_plain_reference_of_what_a_cut_history_lets_in(journal, days) -> None:
    points, script = journal
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        try:
            played_and_cut(world, points, [step for step in script if step != "registry"], days)
        finally:
            world.close()


@given(st.integers(0, 2**32), st.sampled_from([1, 2, 5]))
@settings(max_examples=16, deadline=None, phases=[Phase.generate])
def test_a_cut_history_lets_in_what_a_plain_reference_does_for_meters_read_seldom(
    seed: int, days: int
) -> None:
    chance = random.Random(seed)
    made = [calm_life(chance, (4 * HOUR, 7 * HOUR, 20 * HOUR)) for _ in range(2)]
    points = [(readings[:50], services) for readings, services in made]
    script = scripted(points, chance)
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        try:
            services = [services for _, services in points]
            played_and_cut(world, services, [step for step in script if step != "registry"], days)
        finally:
            world.close()


def played_and_cut(world: World, points, script, days: int) -> None:
    cuts = [Cut(services, days) for services in points]
    books = world.books(days)
    books.apply([world.registry(*[cut.services for cut in cuts])])
    books.commit()
    for step in script:
        match step:
            case "commit":
                books.commit()
            case "crash":
                books.close()
                books = world.books(days)
                for entry in world.journal.read(books.cursor()):
                    books.apply([entry])
            case Tick():
                books.commit()
                frozen = old_books(world, cuts)
                books.apply([world.entry(step)])
                books.commit()
                assert old_books(world, cuts) == frozen
                for cut in cuts:
                    cut.tick(step.time)
            case _:
                for point, cut in enumerate(cuts):
                    cut.deliver([row for of, row in step if of == point])
                books.apply([world.entry(rows_of(step))])
    books.commit()
    reader = world.reader()
    for point, cut in enumerate(cuts):
        compared(reader, point, cut.counted, cut.services, cut.horizon)
    reader.close()
    books.close()


def old_books(world: World, cuts: list[Cut]) -> list[list[object]]:
    """All days of all points: a tick changes none, whatever is forgotten with it."""
    reader = world.reader()
    found = [reader.buckets(point, "day", 0, 400 * 24 * HOUR) for point in range(len(cuts))]
    reader.close()
    return [[of.start.tolist(), of.amount.tolist(), of.measured.tolist()] for of in found]
