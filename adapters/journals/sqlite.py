"""The journal on SQLite: one file, ordered records, synced before ``append`` returns.

Promises:
- What ``append`` returned is covered by an fdatasync of the write-ahead log (WAL mode with
  ``synchronous=FULL``); all entries of one call are there, or none.
- Sequence numbers grow and are never re-used, not even after everything was trimmed.
- A record that cannot be decoded is skipped, counted, and kept aside in ``corrupt``.
- No read transaction outlives a fetch, so the log can always be checkpointed.
- Only what every registered consumer has released is deleted, in small steps that ride on the
  transaction of an append.
- A revision in force is never forgotten: who reads from before the oldest record left gets the
  revisions that hold there first, each under its number.
- A release is a hint: it may be lost with the process, and is given again.
- Several processes may append, read and release at once; SQLite's locks order them.
- A damaged file is kept aside at the next opening, and every record of it that is still whole is
  carried over into a new one (``file.py``, ``salvage.py``).

It never interprets readings, and knows folds only by the name under which they release.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from adapters.journals.file import PAGE_BYTES, JournalFile, Synchronous
from adapters.journals.salvage import Salvage
from collector.errors import TemporaryError
from collector.model import Batch, Entry, Ids, Revision
from collector.ports import Urgency
from collector.records import CorruptRecordError, decode, encode
from collector.telemetry import Telemetry

TRIM_RECORDS: Final = 64
"""Records deleted at most in one append: a small step keeps the commit short."""
RELIEF_STEPS: Final = 64
"""So many more steps a release takes by itself while more than ``RELIEF_SHARE`` is in use."""
RELIEF_SHARE: Final = 0.25
KEEP_CORRUPT: Final = 256
SALVAGE_BYTES: Final = 8 << 20
OWN_SLICE: Final = 0.25
FOREIGN_SLICE: Final = 0.02
"""Seconds between two looks for what another process appended: rarely where this process is
the one that appends, often where it only consumes."""


class SqliteJournal:
    """See :class:`collector.ports.Journal`. ``max_bytes`` bounds the file (law 10);
    ``free_bytes`` tells the disk's free bytes and ``reserve_bytes`` how many of them are not
    ours to fill. ``synchronous="OFF"`` exists to prove that the test of the sync can fail.
    ``mend``: a damaged file is set aside; only for the one process that takes readings in.
    ``on_damage`` is called, from any thread, with what was found.

    Raises ``TemporaryError`` when the file cannot be opened now."""

    def __init__(
        self,
        path: Path,
        telemetry: Telemetry,
        *,
        max_bytes: int = 1 << 30,
        reserve_bytes: int = 64 << 20,
        free_bytes: Callable[[Path], int] | None = None,
        synchronous: Synchronous = "FULL",
        mend: bool = False,
        on_damage: Callable[[str], None] | None = None,
    ) -> None:
        self._file = JournalFile(
            path, telemetry, synchronous=synchronous, mend=mend, on_damage=on_damage
        )
        self._telemetry = telemetry
        self._max_bytes = max_bytes
        self._reserve_bytes = reserve_bytes
        self._free_bytes = free_bytes or _disk_free
        self._news = threading.Condition()
        self._roused = 0
        self._releases: dict[str, int] = {}
        self._corrupt_seen: set[int] = set()
        self._appends = False
        self._ids: dict[str, dict[str, int]] = {"point": {}, "origin": {}}
        self._last = 0
        self._live_bytes = 0
        self._file.open(self._carry_over)
        self.identity = self._file.identity
        self._last = self.last()
        with self._file.guarded() as connection:
            self._measure(connection)

    # --- writing ----------------------------------------------------------------------------

    def append(self, entries: Sequence[Entry]) -> int:
        bodies = [encode(entry) for entry in entries]
        self._appends = True
        self._file.check_place()
        with self._file.writing() as connection:
            for entry, body in zip(entries, bodies, strict=True):
                seq = connection.execute("INSERT INTO record (body) VALUES (?)", (body,)).lastrowid
                if isinstance(entry, Revision):
                    connection.execute(
                        "INSERT INTO revision VALUES (?, ?, ?)", (entry.kind, seq, body)
                    )
            self._write_releases(connection)
            self._trim(connection)
        last = int(seq or 0) if entries else self._last
        with contextlib.suppress(sqlite3.DatabaseError):  # what was appended is appended
            self._measure(self._file.connection())
        with self._news:
            self._last = max(self._last, last)
            self._news.notify_all()
        return last

    def release(self, consumer: str, seq: int) -> None:
        with self._file.lock:
            self._releases[consumer] = max(seq, self._releases.get(consumer, 0))
        if not self._appends:
            self._flush_releases()
        self._relieve()
        self._checkpoint()

    def register(self, consumers: Sequence[str]) -> None:
        """These will read, though they may start later: keep everything for them until then."""
        with self._file.writing() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO consumer VALUES (?, 0)", [(name,) for name in consumers]
            )

    def forget(self, consumer: str) -> None:
        """Nothing is kept for ``consumer`` any more; it may begin again where the journal then
        does."""
        with self._file.writing() as connection:
            self._releases.pop(consumer, None)
            connection.execute("DELETE FROM consumer WHERE name = ?", (consumer,))

    def held_bytes(self, after: int) -> int:
        """About how much of the journal holds what comes after ``after``."""
        first, last = self.first(), self.last()
        share = (last - max(after, first - 1)) / max(1, last - first + 1)
        return int(self._live_bytes * max(0.0, share))

    def _flush_releases(self) -> None:
        with self._file.writing() as connection:
            self._write_releases(connection)

    def _write_releases(self, connection: sqlite3.Connection) -> None:
        """Releases ride on the next append, so that they cost no sync of their own."""
        connection.executemany(
            "INSERT INTO consumer VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET"
            " released = excluded.released WHERE excluded.released > released",
            self._releases.items(),
        )
        self._releases.clear()

    def _relieve(self) -> None:
        """After a long backlog appends alone would trim too slowly, the more so while they are
        refused: delete in the thread of whoever released, one small transaction at a time."""
        for _ in range(RELIEF_STEPS):
            with self._file.guarded() as connection:
                self._measure(connection)
            if self._live_bytes < RELIEF_SHARE * self._max_bytes:
                return
            with self._file.writing() as connection:
                self._write_releases(connection)
                if self._trim(connection) < TRIM_RECORDS:
                    return

    def _checkpoint(self) -> None:
        """Move the log into the file, in the thread of whoever released: appends do not wait."""
        with self._file.guarded():
            self._file.connection().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def _trim(self, connection: sqlite3.Connection) -> int:
        """Delete a bounded number of the oldest records that every consumer released, and the
        revisions that were replaced before that; how many records."""
        (released,) = connection.execute("SELECT min(released) FROM consumer").fetchone()
        if released is None:
            return 0
        connection.execute(
            "DELETE FROM revision WHERE seq < (SELECT max(later.seq) FROM revision AS later"
            " WHERE later.kind = revision.kind AND later.seq <= ?)",
            (released,),
        )
        return connection.execute(
            "DELETE FROM record WHERE seq IN"
            " (SELECT seq FROM record WHERE seq <= ? ORDER BY seq LIMIT ?)",
            (released, TRIM_RECORDS),
        ).rowcount

    # --- reading ----------------------------------------------------------------------------

    def read(self, after: int, max_bytes: int = 8 << 20) -> list[tuple[int, Entry]]:
        out: list[tuple[int, Entry]] = []
        while not out:
            rows = self._fetch(after, max_bytes)
            if not rows:
                break
            for seq, body in rows:
                try:
                    whole = body if isinstance(body, bytes) else b""  # of a page that is gone
                    out.append((seq, decode(whole)))
                except CorruptRecordError as fault:
                    self._keep_corrupt(seq, str(fault))
            after = rows[-1][0]
        return out

    def _fetch(self, after: int, max_bytes: int) -> list[tuple[int, bytes]]:
        """Raw records after ``after``: about ``max_bytes``, at least one if there is any."""
        rows: list[tuple[int, bytes]] = []
        total = 0
        with self._file.guarded() as connection:
            cursor = connection.execute(
                "SELECT seq, body FROM record WHERE seq > ? ORDER BY seq", (after,)
            )
            with contextlib.closing(cursor):
                for seq, body in cursor:
                    rows.append((seq, body))
                    total += len(body)
                    if total >= max_bytes:
                        break
            if not rows or rows[0][0] > after + 1:
                until = rows[0][0] if rows else 2**62
                query = "SELECT seq, body FROM revision WHERE seq > ? AND seq < ? ORDER BY seq"
                rows = connection.execute(query, (after, until)).fetchall() + rows
        return rows

    def _keep_corrupt(self, seq: int, reason: str) -> None:
        if seq in self._corrupt_seen:
            return
        self._corrupt_seen.add(seq)
        self._telemetry.count("journal_corrupt_records")
        self._telemetry.event("journal record skipped", level="error", seq=seq, reason=reason)
        with self._file.writing() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO corrupt SELECT seq, ?, body FROM record WHERE seq = ?",
                (reason, seq),
            )
            connection.execute(
                "DELETE FROM corrupt WHERE seq NOT IN"
                " (SELECT seq FROM corrupt ORDER BY seq DESC LIMIT ?)",
                (KEEP_CORRUPT,),
            )

    def corrupt(self) -> list[tuple[int, str, bytes]]:
        """What was skipped: sequence number, reason, bytes."""
        return self._file.connection().execute("SELECT seq, reason, body FROM corrupt").fetchall()

    def first(self) -> int:
        """Oldest record still here; 0 when there is none."""
        with self._file.guarded():
            (seq,) = self._file.connection().execute("SELECT min(seq) FROM record").fetchone()
        return int(seq or 0)

    def last(self) -> int:
        with self._file.guarded():
            row = (
                self._file.connection()
                .execute("SELECT seq FROM sqlite_sequence WHERE name = 'record'")
                .fetchone()
            )
        return int(row[0]) if row else 0

    def wait(self, after: int, timeout: float) -> bool:
        until = time.monotonic() + timeout
        roused = self._roused
        while True:
            with self._news:
                if self._last > after:
                    return True
                left = until - time.monotonic()
                if left <= 0 or self._roused != roused:
                    self._file.check_place()
                    return self.last() > after
                self._news.wait(min(left, OWN_SLICE if self._appends else FOREIGN_SLICE))
                if self._last > after:
                    return True
            if self.last() > after:
                return True

    def rouse(self) -> None:
        with self._news:
            self._roused += 1
            self._news.notify_all()

    # --- dictionaries and revisions ---------------------------------------------------------

    def point_ids(self, names: Sequence[str]) -> Ids:
        return self._identify("point", names)

    def point_names(self) -> list[str]:
        return self._names("point")

    def origin_ids(self, names: Sequence[str]) -> Ids:
        return self._identify("origin", names)

    def origin_names(self) -> list[str]:
        return self._names("origin")

    def rename_point(self, old: str, new: str) -> None:
        with self._file.writing() as connection:
            connection.execute("UPDATE OR IGNORE point SET name = ? WHERE name = ?", (new, old))
            self._ids["point"].clear()

    def seed_points(self, names: Sequence[str]) -> None:
        """Give a *new* journal the dictionary of the archive that outlived the old one (names by
        id, "" where there is none), so that stable ids stay what they were. Does nothing once
        any point is known."""
        with self._file.writing() as connection:
            if connection.execute("SELECT count(*) FROM point").fetchone()[0] == 0:
                rows = [(number, name) for number, name in enumerate(names) if name]
                connection.executemany("INSERT OR IGNORE INTO point VALUES (?, ?)", rows)

    def _identify(self, kind: str, names: Sequence[str]) -> Ids:
        known = self._ids[kind]
        if any(name not in known for name in names):
            with self._file.writing() as connection:
                known.update(connection.execute(f"SELECT name, id FROM {kind}").fetchall())  # noqa: S608 kind is ours
                taken = max(known.values(), default=-1) + 1
                new = [name for name in dict.fromkeys(names) if name not in known]
                rows = [(taken + at, name) for at, name in enumerate(new)]
                connection.executemany(f"INSERT INTO {kind} VALUES (?, ?)", rows)  # noqa: S608 kind is ours
            known.update({name: number for number, name in rows})
        return np.array([known[name] for name in names], np.int32)

    def _names(self, kind: str) -> list[str]:
        query = f"SELECT id, name FROM {kind} ORDER BY id"  # noqa: S608 kind is ours
        rows = self._file.connection().execute(query).fetchall()
        names = [""] * (rows[-1][0] + 1 if rows else 0)
        for number, name in rows:
            names[number] = name
        return names

    def revision(self, kind: str, seq: int | None = None) -> Revision | None:
        row = (
            self._file.connection()
            .execute(
                "SELECT body FROM revision WHERE kind = ? AND seq <= ? ORDER BY seq DESC LIMIT 1",
                (kind, seq if seq is not None else 2**62),
            )
            .fetchone()
        )
        if row is None:
            return None
        entry = decode(row[0])
        return entry if isinstance(entry, Revision) else None

    # --- bounds -----------------------------------------------------------------------------

    def pressure(self) -> Urgency:
        used = self._live_bytes / self._max_bytes
        if self._free_bytes(self._file.path) < self._reserve_bytes:
            used = max(used, 0.95)
        if used < 0.80:
            return Urgency.BACKFILL
        if used < 0.90:
            return Urgency.PUSH
        if used < 0.97:
            return Urgency.POLL
        return Urgency.CONTROL

    def _measure(self, connection: sqlite3.Connection) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()
        self._live_bytes = (pages - free) * PAGE_BYTES

    def consumers(self) -> dict[str, int]:
        """Who consumes, and up to where they released."""
        query = "SELECT name, released FROM consumer"
        found = dict(self._file.connection().execute(query).fetchall())
        return found | self._releases

    def live_bytes(self) -> int:
        """Bytes in use of the journal's bound, as of the last append."""
        return self._live_bytes

    def close(self) -> None:
        """Close every thread's connection. Nothing may use the journal afterwards."""
        if self._releases:
            with contextlib.suppress(TemporaryError):  # a release is a hint
                self._flush_releases()
        self._file.close()

    def _carry_over(self, aside: Path) -> tuple[int, int]:
        old = Salvage.open(aside)
        try:
            if old.points is None or old.origins is None:
                return 0, 0
            with self._file.writing() as connection:
                connection.executemany("INSERT OR IGNORE INTO point VALUES (?, ?)", old.points)
                connection.executemany("INSERT OR IGNORE INTO origin VALUES (?, ?)", old.origins)
            carried = size = 0
            gathered: list[Entry] = []
            for entry in old.entries():
                gathered.append(entry)
                size += len(entry) * 21 if isinstance(entry, Batch) else 1024
                carried += 1
                if size >= SALVAGE_BYTES:
                    self.append(gathered)
                    gathered, size = [], 0
            if gathered:
                self.append(gathered)
            return carried, old.lost
        finally:
            old.close()
            self._appends = False


def _disk_free(path: Path) -> int:
    stat = os.statvfs(path.parent)
    return stat.f_bavail * stat.f_frsize
