"""What every journal promises, on every implementation (one today).

A model-based test drives a journal by random appends, reads, releases, re-openings and damage,
and compares it with a list; the cases below it name single promises.
"""

from __future__ import annotations

import sqlite3
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from adapters.journals.sqlite import TRIM_RECORDS, SqliteJournal
from collector.errors import TemporaryError
from collector.model import Batch, Entry, Refusal, Revision, SourceState, Tick
from collector.ports import Urgency
from collector.telemetry import Telemetry
from tests.entries import entries, same


class JournalMachine(RuleBasedStateMachine):
    """The journal against a plain list."""

    @initialize()
    def create(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "journal.db"
        self.journal = SqliteJournal(self.path, Telemetry())
        self.model: list[tuple[int, Entry]] = []
        self.damaged: set[int] = set()
        self.released: dict[str, int] = {}
        self.names: list[str] = []
        self.highest = 0

    @rule(new=st.lists(entries, min_size=1, max_size=4))
    def append(self, new: list[Entry]) -> None:
        last = self.journal.append(new)
        assert last >= self.highest + len(new)
        self.model += [(last - len(new) + 1 + at, entry) for at, entry in enumerate(new)]
        self.highest = last

    @rule(consumer=st.sampled_from(["archive", "judge"]), back=st.integers(0, 5))
    def release(self, consumer: str, back: int) -> None:
        seq = max(0, self.highest - back)
        self.journal.release(consumer, seq)
        self.released[consumer] = max(seq, self.released.get(consumer, 0))

    @rule()
    def reopen(self) -> None:
        identity = self.journal.identity
        self.journal.close()
        self.journal = SqliteJournal(self.path, Telemetry())
        assert self.journal.identity == identity

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def damage(self, data: st.DataObject) -> None:
        seq = data.draw(st.sampled_from([seq for seq, _ in self.model]))
        with sqlite3.connect(self.path) as other:
            row = other.execute("SELECT body FROM record WHERE seq = ?", (seq,)).fetchone()
            if row is None:
                return
            body = bytearray(row[0])
            body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
            other.execute("UPDATE record SET body = ? WHERE seq = ?", (bytes(body), seq))
        other.close()
        self.damaged.add(seq)

    @rule(names=st.lists(st.sampled_from(["a", "b", "c", "d/e"]), max_size=5))
    def identify(self, names: list[str]) -> None:
        self.names += [name for name in dict.fromkeys(names) if name not in self.names]
        assert list(self.journal.point_ids(names)) == [self.names.index(name) for name in names]
        assert self.journal.point_names() == self.names

    @rule(after=st.integers(0, 30), size=st.sampled_from([1, 300, 1 << 20]))
    def read(self, after: int, size: int) -> None:
        got = self.journal.read(after, size)
        expected = [
            (seq, entry) for seq, entry in self.model if seq > after and seq not in self.damaged
        ]
        trimmed_up_to = self._trim_bound()
        anything = bool(got)
        while got and got[0][0] <= trimmed_up_to and isinstance(got[0][1], Revision):
            seq, revision = got.pop(0)  # in force, though the records around it may be gone
            assert same(revision, dict(self.model)[seq])
        kept = [seq for seq, _ in expected if seq > trimmed_up_to]
        if kept:
            assert anything, "something is there, so something is returned"
        firsts = [seq for seq, _ in expected]
        if got:
            start = firsts.index(got[0][0])
            assert all(seq <= trimmed_up_to for seq in firsts[:start]), "nothing unreleased is gone"
            for (seq, entry), (want, original) in zip(got, expected[start:], strict=False):
                assert seq == want
                assert same(entry, original)

    @invariant()
    def last_is_last(self) -> None:
        if hasattr(self, "journal"):
            assert self.journal.last() == self.highest

    @invariant()
    def newest_revision_is_known(self) -> None:
        if not hasattr(self, "journal"):
            return
        for kind in ("registry", "rules"):
            ours = [e for _, e in self.model if isinstance(e, Revision) and e.kind == kind]
            found = self.journal.revision(kind)
            assert found == (ours[-1] if ours else None), "kept, trimmed and damaged or not"

    def _trim_bound(self) -> int:
        return min(self.released.values()) if self.released else 0

    def teardown(self) -> None:
        if hasattr(self, "journal"):
            self.journal.close()
            self.folder.cleanup()


JournalMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestJournalAgainstModel = JournalMachine.TestCase


@pytest.fixture
def journal(tmp_path: Path) -> SqliteJournal:
    return SqliteJournal(tmp_path / "journal.db", Telemetry())


def test_released_by_all_is_deleted_and_numbers_go_on(journal: SqliteJournal) -> None:
    journal.release("archive", 0)
    journal.release("judge", 0)
    last = journal.append([Tick(at) for at in range(10)])
    journal.release("archive", last)
    journal.append([Tick(99)])
    assert journal.read(0)[0][0] == 1, "the judge has not released"
    journal.release("judge", last)
    assert journal.append([Tick(100)]) == last + 2
    assert [seq for seq, _ in journal.read(0)] == [last + 1, last + 2]


def test_numbers_are_not_reused_after_everything_was_trimmed(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "journal.db", Telemetry())
    last = journal.append([Tick(1)])
    journal.release("archive", last)
    journal.append([Tick(2)])
    journal.close()
    again = SqliteJournal(tmp_path / "journal.db", Telemetry())
    again.release("archive", last + 1)
    assert again.append([Tick(3)]) == last + 2


def test_a_backlog_is_trimmed_in_small_steps(journal: SqliteJournal) -> None:
    last = journal.append([Tick(at) for at in range(3 * TRIM_RECORDS)])
    journal.release("archive", last)
    journal.append([Tick(0)])
    assert journal.read(0)[0][0] == TRIM_RECORDS + 1


def test_a_corrupt_record_is_skipped_counted_and_kept(tmp_path: Path) -> None:
    telemetry = Telemetry()
    journal = SqliteJournal(tmp_path / "journal.db", telemetry)
    journal.append([Tick(1), Tick(2), Tick(3)])
    with sqlite3.connect(tmp_path / "journal.db") as other:
        other.execute("UPDATE record SET body = x'00' WHERE seq = 2")
    other.close()
    assert [seq for seq, _ in journal.read(0)] == [1, 3]
    assert [seq for seq, _ in journal.read(0)] == [1, 3]
    assert telemetry.value("journal_corrupt_records") == 1, "counted once, not at every read"
    ((seq, reason, body),) = journal.corrupt()
    assert (seq, body) == (2, b"\x00")
    assert "shorter" in reason


def test_a_run_of_corrupt_records_does_not_end_the_journal(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "journal.db", Telemetry())
    journal.append([Tick(at) for at in range(9)])
    with sqlite3.connect(tmp_path / "journal.db") as other:
        other.execute("UPDATE record SET body = x'4d57' WHERE seq < 9")
    other.close()
    assert journal.read(0, max_bytes=1) == [(9, Tick(8))]


def test_a_file_that_is_no_database_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(b"SQLite format 3\x00" + b"\xff" * 5000)
    telemetry = Telemetry()
    with pytest.raises(TemporaryError, match="mends it"):
        SqliteJournal(path, telemetry)  # only for the one that takes readings in
    journal = SqliteJournal(path, telemetry, mend=True)
    assert journal.append([Tick(1)]) == 1
    assert telemetry.value("journal_set_aside") == 1
    assert [p.name for p in tmp_path.glob("journal.db.damaged-*")]


def test_refusal_order_as_the_bound_comes_near(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "journal.db", Telemetry(), max_bytes=4 << 20)
    journal.release("archive", 0)
    rows = 4_000
    batch = Batch.of(range(rows), range(rows), np.linspace(0, 1, rows))
    seen: list[Urgency] = [journal.pressure()]
    while journal.pressure() is not Urgency.CONTROL:
        journal.append([batch])
        if journal.pressure() != seen[-1]:
            seen.append(journal.pressure())
    assert seen == [Urgency.BACKFILL, Urgency.PUSH, Urgency.POLL, Urgency.CONTROL]
    journal.release("archive", journal.last())
    while journal.pressure() is not Urgency.BACKFILL:
        journal.append([Tick(0)])
    assert len(journal.read(0)) < 60


def test_a_disk_that_fills_up_refuses_before_it_fails(tmp_path: Path) -> None:
    free = 10 << 30
    journal = SqliteJournal(
        tmp_path / "journal.db", Telemetry(), reserve_bytes=1 << 20, free_bytes=lambda _: free
    )
    assert journal.pressure() is Urgency.BACKFILL
    free = 1 << 10
    assert journal.pressure() is Urgency.POLL


def test_a_full_disk_is_temporary_and_loses_nothing(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "journal.db", Telemetry())
    journal.append([Tick(1)])
    (pages,) = journal._file.connection().execute("PRAGMA page_count").fetchone()
    journal._file.connection().execute(f"PRAGMA max_page_count = {pages}")
    big = Refusal(1, 0, "x", "y", 1, "z", b"\0" * (1 << 20))
    with pytest.raises(TemporaryError, match="full"):
        journal.append([big])
    journal._file.connection().execute("PRAGMA max_page_count = 1000000")
    assert journal.append([big]) == 2
    assert [seq for seq, _ in journal.read(0)] == [1, 2]


def test_two_openings_append_and_see_each_other(tmp_path: Path) -> None:
    """Two objects on one file stand for two processes: they share nothing but the file."""
    one = SqliteJournal(tmp_path / "journal.db", Telemetry())
    two = SqliteJournal(tmp_path / "journal.db", Telemetry())
    per_writer = 40
    threads = [
        threading.Thread(
            target=lambda journal=journal, who=who: [
                journal.append([SourceState(at, who, up=True)]) for at in range(per_writer)
            ]
        )
        for who, journal in enumerate((one, two))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen = one.read(0)
    assert len(seen) == 2 * per_writer
    for who in (0, 1):
        order = [e.time for _, e in seen if isinstance(e, SourceState) and e.origin == who]
        assert order == sorted(order)
    assert two.wait(2 * per_writer - 1, timeout=5)
    assert list(one.point_ids(["x", "y"])) == list(two.point_ids(["x", "y"]))
    assert list(two.point_ids(["z", "x"])) == [2, 0]
    assert one.point_names() == ["x", "y", "z"]


def test_wait_wakes_for_an_append(journal: SqliteJournal) -> None:
    woken: list[bool] = []
    waiter = threading.Thread(target=lambda: woken.append(journal.wait(0, timeout=30)))
    waiter.start()
    journal.append([Tick(1)])
    waiter.join()
    assert woken == [True]
    assert journal.wait(1, timeout=0) is False


def test_who_is_roused_waits_no_longer(journal: SqliteJournal) -> None:
    found: list[bool] = []
    waiter = threading.Thread(target=lambda: found.append(journal.wait(0, timeout=3600)))
    waiter.start()
    while waiter.is_alive():
        journal.rouse()
    assert found == [False]


def test_a_renamed_point_keeps_its_id(journal: SqliteJournal) -> None:
    journal.point_ids(["a", "b"])
    journal.rename_point("a", "new")
    assert list(journal.point_ids(["new", "b", "a"])) == [0, 1, 2]


def test_a_new_journal_takes_the_ids_that_an_archive_knows(journal: SqliteJournal) -> None:
    journal.seed_points(["a", "b"])
    assert list(journal.point_ids(["b", "c"])) == [1, 2]
    journal.seed_points(["other"])
    assert journal.point_names() == ["a", "b", "c"]


def test_the_revision_in_force_at_a_record(journal: SqliteJournal) -> None:
    first = Revision(1, "registry", "d1", {"a.toml": "x"})
    second = Revision(2, "registry", "d2", {"a.toml": "y"})
    at = journal.append([first, Tick(5)])
    journal.append([second])
    assert journal.revision("registry", at) == first
    assert journal.revision("registry") == second
    assert journal.revision("rules") is None


def test_what_is_registered_is_waited_for_before_it_reads(journal: SqliteJournal) -> None:
    journal.register(["archive", "judge"])
    last = journal.append([Tick(1)])
    journal.release("archive", last)
    journal.append([Tick(2)])
    assert journal.first() == 1, "the judge has not started yet"
    journal.release("judge", last)
    journal.register(["judge"])
    journal.append([Tick(3)])
    assert journal.first() == 2, "to be registered again takes nothing back"


def test_a_long_backlog_is_gone_soon_after_its_release_without_appends(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "journal.db", Telemetry(), max_bytes=4 << 20)
    journal.register(["archive"])
    batch = Batch.of(range(200), range(200), np.linspace(0, 1, 200))
    while journal.pressure() is Urgency.BACKFILL:
        journal.append([batch] * 10)
    assert journal.last() > 4 * TRIM_RECORDS
    journal.release("archive", journal.last())
    assert journal.pressure() is Urgency.BACKFILL
    assert journal.live_bytes() <= 2 << 20


def test_revisions_that_nobody_can_ask_for_go(journal: SqliteJournal) -> None:
    journal.register(["judge"])
    text = "x" * 100_000
    for number in range(50):
        last = journal.append([Revision(number, "registry", f"d{number}", {"a.toml": text})])
        journal.release("judge", last - 1)
    assert journal.live_bytes() < 10 * len(text)
    found = [journal.revision("registry", seq) for seq in (last - 1, last)]
    assert [one.digest if one else "" for one in found] == ["d48", "d49"]


def test_ids_may_be_seeded_with_gaps(journal: SqliteJournal) -> None:
    journal.seed_points(["a", "", "", "d"])
    assert list(journal.point_ids(["d", "new", "a"])) == [3, 4, 0]


def test_a_journal_that_is_taken_away_accepts_nothing_more(tmp_path: Path) -> None:
    told: list[str] = []
    path = tmp_path / "journal.db"
    journal = SqliteJournal(path, Telemetry(), on_damage=told.append)
    journal.append([Tick(1)])
    path.rename(tmp_path / "elsewhere.db")
    with pytest.raises(TemporaryError, match="deleted while in use"):
        journal.append([Tick(2)])
    with pytest.raises(TemporaryError, match="deleted while in use"):
        journal.wait(1, timeout=0)
    assert len(told) == 1
    assert [seq for seq, _ in journal.read(0)] == [1], "what it held can still be applied"


def damaged(tmp_path: Path, records: int) -> tuple[Path, list[Entry]]:
    """A journal with pages in its middle overwritten, and what was appended to it."""
    path = tmp_path / "journal.db"
    journal = SqliteJournal(path, Telemetry())
    journal.point_ids(["a", "b"])
    journal.origin_ids(["mqtt:x"])
    held: list[Entry] = [Refusal(at, 0, "x", "y", 1, "z", b"\x07" * 5000) for at in range(records)]
    for entry in held:
        journal.append([entry])
    journal._file.connection().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    journal.close()
    with path.open("r+b") as opened:
        opened.seek(path.stat().st_size // 2 // 16384 * 16384)
        opened.write(b"\xa5" * 3 * 16384)
    return path, held


def test_damage_found_while_reading_is_told_and_mended_with_all_that_is_whole(
    tmp_path: Path,
) -> None:
    path, held = damaged(tmp_path, 200)
    told: list[str] = []
    journal = SqliteJournal(path, Telemetry(), on_damage=told.append)
    with pytest.raises(TemporaryError, match="damaged"):
        journal.read(0, max_bytes=1 << 30)
    assert told
    identity = journal.identity
    journal.close()
    telemetry = Telemetry()
    mended = SqliteJournal(path, telemetry, mend=True)
    assert telemetry.value("journal_set_aside") == 1
    assert mended.identity != identity
    assert mended.point_names() == ["a", "b"]
    assert mended.origin_names() == ["mqtt:x"]
    kept = [entry for _, entry in mended.read(0)]
    assert [entry for entry in held if entry in kept] == kept, "in order, once"
    assert len(held) - len(kept) < 40, "only what stood on those pages is lost"
    mended.close()
    SqliteJournal(path, telemetry, mend=True).close()
    assert telemetry.value("journal_set_aside") == 1, "once"


def test_a_truncated_journal_keeps_its_beginning(tmp_path: Path) -> None:
    path, held = damaged(tmp_path, 100)
    with path.open("r+b") as opened:
        opened.truncate(path.stat().st_size // 3)
    telemetry = Telemetry()
    journal = SqliteJournal(path, telemetry, mend=True)
    assert telemetry.value("journal_set_aside") == 1
    kept = [entry for _, entry in journal.read(0)]
    assert kept
    assert kept == held[: len(kept)]
    last = journal.append([Tick(7)])
    assert journal.read(last - 1) == [(last, Tick(7))]


def test_a_reader_that_begins_anew_gets_the_revisions_in_force(journal: SqliteJournal) -> None:
    old, new = (Revision(at, "registry", f"d{at}", {"a.toml": "x"}) for at in (1, 2))
    rules = Revision(3, "rules", "r", {"b.toml": "y"})
    last = journal.append([old, rules, new, *[Tick(at) for at in range(20)]])
    journal.release("judge", last - 1)
    journal.append([Tick(99)])
    assert journal.first() == last
    found = [(2, rules), (3, new), (last, Tick(19)), (last + 1, Tick(99))]
    assert journal.read(0) == found
    assert journal.read(2) == found[1:]
    assert journal.read(3) == found[2:]
    journal.release("judge", last + 1)
    journal.append([])
    assert journal.read(0) == found[:2], "though no record is left"
