"""The archive is a function of the journal: whatever happens to the process, cursor and
readings agree; what was refused is kept fairly; retention follows the journal's time."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from adapters.journals.sqlite import SqliteJournal
from adapters.stores.archive import DAY_MS, REPLAYED, STRIDE_MS, Archive
from adapters.stores.archive_reader import ArchiveReader
from adapters.stores.refused import WINDOW_MS
from collector.errors import ConfigurationError, TemporaryError
from collector.model import (
    Batch,
    Entry,
    Mark,
    Quality,
    Reason,
    Refusal,
    Revision,
    SourceState,
    Tick,
)
from collector.ports import Fold, ReadingStore
from collector.telemetry import Telemetry

NOON = 1_795_305_600_000
NAMES = [f"print/main/energy.{n}/raw" for n in range(4)]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    journal = SqliteJournal(tmp_path / "journal.db", Telemetry())
    journal.point_ids(NAMES)
    journal.origin_ids(["mqtt:main", "gateway:gw-print"])
    yield journal
    journal.close()


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


@pytest.fixture
def build(
    tmp_path: Path, journal: SqliteJournal, telemetry: Telemetry
) -> Iterator[Callable[..., Archive]]:
    opened: list[Archive] = []

    def built(**options: int) -> Archive:
        opened.append(Archive(tmp_path / "archive.db", journal, telemetry, **options))
        return opened[-1]

    yield built
    for archive in opened:
        archive.close()


@pytest.fixture
def reader(tmp_path: Path, build: Callable[..., Archive]) -> Iterator[ArchiveReader]:
    build().close()
    with closing(ArchiveReader(tmp_path / "archive.db")) as opened:
        yield opened


def catch_up(archive: Archive, journal: SqliteJournal, *, whole: bool = False) -> None:
    archive.apply(journal.read(archive.cursor(), 1 << 30))
    archive.commit(whole=whole)


def readings(point: int, times: range, value: float = 1.0) -> Batch:
    return Batch.of([point] * len(times), times, [value] * len(times))


def test_it_is_a_fold_and_a_store(build: Callable[..., Archive]) -> None:
    fold: Fold = build()
    store: ReadingStore = build()
    assert fold.name == "archive"
    assert not len(store.latest(0))


def test_it_goes_on_where_it_was(
    journal: SqliteJournal, build: Callable[..., Archive], reader: ArchiveReader
) -> None:
    journal.append([readings(0, range(10)), Tick(20), readings(1, range(5))])
    archive = build()
    catch_up(archive, journal)
    archive.close()
    journal.append([readings(0, range(10, 20), 2.0)])
    archive = build()
    assert archive.cursor() == 3
    catch_up(archive, journal, whole=True)
    assert archive.cursor() == journal.last() == reader.stats().cursor
    assert reader.read(0, 0, 100).value.tolist() == [1.0] * 10 + [2.0] * 10
    assert reader.count_and_sum(NAMES[1], 0, 100) == (5, 5.0)


def test_what_was_applied_and_not_committed_comes_again(
    journal: SqliteJournal, build: Callable[..., Archive], reader: ArchiveReader
) -> None:
    journal.append([readings(0, range(10)), Refusal(NOON, 0, Reason.PAYLOAD, "not JSON")])
    archive = build()
    archive.apply(journal.read(0))
    archive.close()
    assert (len(reader.read(0, 0, 100)), reader.refused()) == (0, [])
    archive = build()
    assert archive.cursor() == 0
    archive.apply(journal.read(0))
    archive.apply(journal.read(0))
    archive.commit()
    archive.commit()
    assert len(reader.read(0, 0, 100)) == 10
    assert [(row.times, row.readings) for row in reader.refused()] == [(1, 1)]


def test_many_readings_are_committed_before_all_are_taken(
    journal: SqliteJournal, build: Callable[..., Archive], reader: ArchiveReader
) -> None:
    for start in range(0, 1000, 100):
        journal.append([readings(0, range(start, start + 100))])
    archive = build(max_rows=250)
    archive.apply(journal.read(0))
    assert archive.cursor() == 9
    assert len(reader.read(0, 0, 10_000)) == 900


def test_a_full_disk_loses_nothing(
    journal: SqliteJournal, build: Callable[..., Archive], reader: ArchiveReader
) -> None:
    rng = np.random.default_rng(1)
    rows = 50_000
    journal.append([Batch.of([0] * rows, range(rows), rng.standard_normal(rows))])
    journal.append([Refusal(NOON, 0, Reason.PAYLOAD, "not JSON")])
    archive = build()
    archive.apply(journal.read(0))
    archive._file.connection.execute("PRAGMA max_page_count = 40")
    with pytest.raises(TemporaryError):
        archive.commit()
    assert archive.cursor() == 0
    archive._file.connection.execute("PRAGMA max_page_count = 1000000")
    archive.commit(whole=True)
    assert archive.cursor() == 2
    assert reader.count_and_sum(0, 0, rows)[0] == rows
    assert [row.times for row in reader.refused()] == [1]


def test_names_lie_beside_the_readings_and_follow_a_rename(
    journal: SqliteJournal, build: Callable[..., Archive], reader: ArchiveReader
) -> None:
    archive = build()
    journal.append([readings(2, range(3))])
    catch_up(archive, journal)
    assert reader.point_names() == NAMES
    assert reader.origin_names() == ["mqtt:main", "gateway:gw-print"]
    journal.rename_point(NAMES[2], "print/press/energy.2/raw")
    journal.append([Revision(NOON, "registry", "digest", {})])
    catch_up(archive, journal)
    assert len(reader.read("print/press/energy.2/raw", 0, 100)) == 3
    with pytest.raises(KeyError):
        reader.read(NAMES[2], 0, 100)
    assert reader.points() == [2]


def test_a_new_journal_is_given_the_same_ids(
    tmp_path: Path, journal: SqliteJournal, build: Callable[..., Archive], telemetry: Telemetry
) -> None:
    journal.append([readings(3, range(3))])
    catch_up(build(), journal)
    fresh = SqliteJournal(tmp_path / "fresh.db", telemetry)
    path = tmp_path / "archive.db"
    with pytest.raises(ConfigurationError, match="follows journal"):
        Archive(path, fresh, telemetry)
    with closing(ArchiveReader(path)) as reader:
        fresh.seed_points(reader.point_names())
    fresh.append([readings(int(fresh.point_ids([NAMES[3]])[0]), range(3, 5))])
    moved = Archive(path, fresh, telemetry, reset=True)
    catch_up(moved, fresh)
    assert len(moved.read(3, 0, 100)) == 5
    moved.close()
    fresh.close()


# --- what was refused


def refused(origin: int, detail: str, time: int = NOON, sample: bytes = b"", n: int = 1) -> Refusal:
    return Refusal(time, origin, Reason.UNKNOWN_DEVICE, detail, n, "mqtt-json", sample)


def test_who_is_down_since_when_and_why_is_there_for_whoever_asks(
    build: Callable[..., Archive], journal: SqliteJournal, reader: ArchiveReader
) -> None:
    assert (reader.states(), reader.tick()) == ({}, 0)
    down = "nobody listens"
    told = [
        SourceState(NOON, 0, True),
        Tick(NOON + 1),
        SourceState(NOON + 2, 0, False, "refused"),
        SourceState(NOON + 3, 0, False, down * 100),
        SourceState(NOON + 4, 1, True),
        Tick(NOON + 5),
    ]
    journal.append(told[:3])
    archive = build()
    catch_up(archive, journal)
    journal.append(told[3:])
    catch_up(archive, journal)
    states = reader.states()
    assert list(states) == ["gateway:gw-print", "mqtt:main"]
    main = states["mqtt:main"]
    assert (main.up, main.since, main.told) == (False, NOON + 2, NOON + 3)
    assert main.reason == (down * 100)[:400]
    assert states["gateway:gw-print"].up
    assert reader.tick() == NOON + 5
    journal.append([SourceState(NOON + 6, 0, True)])
    catch_up(archive, journal)
    main = reader.states()["mqtt:main"]
    assert (main.up, main.since, main.reason) == (True, NOON + 6, "")


def test_equal_refusals_are_one_row_that_counts_and_keeps_each_sample(
    journal: SqliteJournal, build: Callable[..., Archive], reader: ArchiveReader
) -> None:
    late = NOON + 2 * WINDOW_MS
    journal.append(
        [
            refused(0, "no device m9", NOON, b"first", 2),
            refused(0, "no device m9", NOON + 5, b"second", 3),
            refused(0, "no device m9", NOON + 9, b"second", 3),
            refused(1, "no device m9", NOON, b"another origin"),
            refused(0, "no device m9", late, b"much later"),
        ]
    )
    catch_up(build(), journal)
    newest, *others = reader.refused()
    assert (newest.first, newest.times) == (late, 1)
    row = next(row for row in others if row.origin == 0)
    assert (row.first, row.last, row.times, row.readings, row.samples) == (NOON, NOON + 9, 3, 8, 2)
    assert [sample for _, sample in reader.refused_samples(row.id)] == [b"first", b"second"]
    assert [(t.origin, t.times, t.readings) for t in reader.refused_totals()] == [
        (0, 4, 9),
        (1, 1, 1),
    ]
    assert len(reader.refused(origin=1)) == 1
    assert reader.refused(reason=Reason.PAYLOAD) == []


def test_a_flood_pushes_out_only_its_own(
    journal: SqliteJournal, build: Callable[..., Archive], reader: ArchiveReader
) -> None:
    archive = build(max_refused_bytes=20_000)
    journal.append([refused(1, "wrong serial", NOON, b"kept")])
    for start in range(0, 3000, 100):
        flood = [
            refused(0, f"garbage {n % 7}", NOON + n, b"%d" % n * 20)
            for n in range(start, start + 100)
        ]
        journal.append(flood)
        catch_up(archive, journal)
    (quiet,) = reader.refused(origin=1)
    assert reader.refused_samples(quiet.id) == [(NOON, b"kept")]
    flooded = reader.refused(origin=0)
    assert sum(row.times for row in flooded) == 3000
    held = [sample for row in flooded for _, sample in reader.refused_samples(row.id)]
    assert 0 < sum(map(len, held)) <= 20_000
    assert b"2999" * 20 in held
    total = reader.refused_totals()[0]
    assert total.samples_dropped == 3000 - len(held)


def test_rows_have_a_bound_too_and_the_totals_add_up(
    journal: SqliteJournal, build: Callable[..., Archive], reader: ArchiveReader
) -> None:
    archive = build(max_refused_rows=50)
    journal.append([refused(1, "wrong serial", NOON, b"kept")])
    journal.append([refused(0, f"garbage {n}", NOON, b"x") for n in range(400)])
    catch_up(archive, journal)
    assert len(reader.refused(origin=1)) == 1
    held = reader.refused(origin=0, limit=1000)
    assert [row.detail for row in held] == [f"garbage {n}" for n in range(399, 350, -1)]
    assert [(t.times, t.dropped, t.samples_dropped) for t in reader.refused_totals()] == [
        (400, 351, 351),
        (1, 0, 0),
    ]


def test_what_was_replayed_gives_back_its_samples_and_stays_as_evidence(
    journal: SqliteJournal, build: Callable[..., Archive], reader: ArchiveReader
) -> None:
    archive = build()
    journal.append([refused(0, "no device m9", NOON, b"payload")])
    catch_up(archive, journal)
    (row,) = reader.refused()
    journal.append(
        [
            Mark(NOON + 60, REPLAYED, str(row.id), NOON, NOON),
            Mark(NOON + 60, REPLAYED, "no number", NOON, NOON),
            refused(0, "no device m9", NOON + 70, b"again"),
        ]
    )
    catch_up(archive, journal)
    again, row = reader.refused()
    assert (row.replayed, row.samples, row.times) == (NOON + 60, 0, 1)
    assert (again.replayed, again.samples) == (None, 1)


# --- retention


def test_retention_follows_the_ticks_of_the_journal(
    journal: SqliteJournal, build: Callable[..., Archive], reader: ArchiveReader
) -> None:
    archive = build(retention_days=200)
    start = NOON - 250 * DAY_MS
    every = range(start, NOON, DAY_MS // 20)
    journal.append([readings(0, every), readings(1, range(start, start + 10))])
    catch_up(archive, journal)
    assert len(reader.read(0, 0, NOON)) == len(every)
    for day in range(60):
        journal.append([Tick(NOON + day * DAY_MS), Tick(NOON + day * DAY_MS + 5_000)])
        catch_up(archive, journal)
    kept = reader.read(0, 0, NOON).time
    assert kept[0] >= NOON + (59 - 201) * DAY_MS
    assert kept[0] <= NOON + (59 - 199) * DAY_MS
    assert not len(reader.latest(1))
    assert reader.stats().stored.sealed_rows < len(every)


def test_a_clock_gone_wrong_cannot_empty_the_archive(
    journal: SqliteJournal, build: Callable[..., Archive], reader: ArchiveReader
) -> None:
    archive = build(retention_days=200)
    per_day = 1000
    every = range(NOON - 190 * DAY_MS, NOON, DAY_MS // per_day)
    journal.append([readings(0, every), Tick(NOON)])
    catch_up(archive, journal)
    assert reader.stats().stored.sealed_rows == len(every)
    for second in range(20):
        journal.append([Tick(NOON + 36_500 * DAY_MS + second)])
        catch_up(archive, journal)
    journal.append([Tick(NOON + DAY_MS), readings(0, range(NOON, NOON + 10))])
    catch_up(archive, journal)
    assert reader.latest(0).time.tolist() == [NOON + 9]
    left = reader.read(0, 0, NOON).time
    lost = len(every) - len(left)
    assert 0 < lost <= per_day * STRIDE_MS // DAY_MS + 4096
    assert left[-1] == every[-1]


def test_history_older_than_the_retention_is_told(
    journal: SqliteJournal, build: Callable[..., Archive], telemetry: Telemetry
) -> None:
    archive = build(retention_days=200)
    journal.append([Tick(NOON), readings(0, range(NOON - 300 * DAY_MS, NOON, DAY_MS))])
    catch_up(archive, journal)
    journal.append([readings(0, range(NOON - 300 * DAY_MS, NOON, DAY_MS))])
    catch_up(archive, journal)
    assert telemetry.value("archive_expired_on_arrival") == 100


# --- others at the same time, and none at all


def test_readers_in_other_threads_see_whole_commits(
    tmp_path: Path, journal: SqliteJournal, build: Callable[..., Archive]
) -> None:
    archive = build()
    archive.commit()
    torn: list[int] = []
    done = threading.Event()

    def watch() -> None:
        with closing(ArchiveReader(tmp_path / "archive.db")) as reader:
            while not done.is_set():
                found = reader.read(0, 0, 1 << 40)
                if len(found) % 5000 or (np.diff(found.time) != 1).any():
                    torn.append(len(found))

    threads = [threading.Thread(target=watch) for _ in range(2)]
    for thread in threads:
        thread.start()
    for start in range(0, 200_000, 5000):
        journal.append([readings(0, range(start, start + 5000))])
        catch_up(archive, journal)
    done.set()
    for thread in threads:
        thread.join()
    assert torn == []
    assert archive._series.stored().sealed_rows > 0


WRITER = """
import json, sys
from pathlib import Path
from adapters.journals.sqlite import SqliteJournal
from adapters.stores.archive import Archive
from collector.telemetry import Telemetry
folder = Path(sys.argv[1])
journal = SqliteJournal(folder / "journal.db", Telemetry())
archive = Archive(folder / "archive.db", journal, Telemetry())
while archive.cursor() < journal.last():
    archive.apply(journal.read(archive.cursor(), 1))
    archive.commit(whole=archive.cursor() % 3 == 0)
    print(json.dumps(archive.cursor()), flush=True)
"""


def entry(seq: int) -> Entry:
    """The journal's entry ``seq`` (from 1): rows that tell which entry wrote them last."""
    rng = np.random.default_rng(seq)
    if seq % 5 == 0:
        return refused(0, f"garbage {seq % 3}", NOON + seq, b"%d" % seq)
    points = rng.integers(0, 8, 3000)
    quality = rng.choice([Quality.GOOD, Quality.FAULT], 3000)
    return Batch.of(points, rng.integers(0, 20_000, 3000), [float(seq)] * 3000, quality)


def test_killed_at_any_moment_cursor_and_readings_agree(tmp_path: Path) -> None:
    entries = 60
    journal = SqliteJournal(tmp_path / "journal.db", Telemetry())
    journal.append([entry(seq) for seq in range(1, entries + 1)])
    chance = random.Random(20)
    model: dict[tuple[int, int], float] = {}
    applied = kills = 0
    while applied < entries:
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, tmp_path],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[3],
        )
        assert process.stdout is not None
        told = 0
        for _ in range(chance.randint(2, 16)):
            told = int(json.loads(process.stdout.readline() or b"0")) or told
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += 1
        with closing(ArchiveReader(tmp_path / "archive.db")) as reader:
            cursor = reader.stats().cursor
            assert cursor >= told
            for seq in range(applied + 1, cursor + 1):
                if isinstance(batch := entry(seq), Batch):
                    model |= dict.fromkeys(
                        zip(batch.point.tolist(), batch.time.tolist(), strict=True), float(seq)
                    )
            applied = cursor
            assert sum(total.times for total in reader.refused_totals()) == cursor // 5
            found = {
                (point, time): value
                for point in reader.points()
                for series in [reader.read(point, 0, 1 << 40)]
                for time, value in zip(series.time.tolist(), series.value.tolist(), strict=True)
            }
            assert found == model
    assert kills >= 3
    with closing(ArchiveReader(tmp_path / "archive.db")) as reader:
        assert reader.stats().stored.sealed_rows > 20_000
    journal.close()
