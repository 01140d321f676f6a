"""The journal on SQLite: one file, ordered records, synced before ``append`` returns.

Promises:
- What ``append`` returned is covered by an fdatasync of the write-ahead log (WAL mode with
  ``synchronous=FULL``); all entries of one call are there, or none.
- Sequence numbers grow and are never re-used, not even after everything was trimmed.
- A record that cannot be decoded is skipped, counted, and kept aside in ``corrupt``.
- No read transaction outlives a fetch, so the log can always be checkpointed.
- Only what every registered consumer has released is deleted, in small steps that ride on the
  transaction of an append.
- A release is a hint: it may be lost with the process, and is given again.
- Several processes may append, read and release at once; SQLite's locks order them.

It never interprets readings, and knows folds only by the name under which they release.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

import numpy as np

from collector.errors import TemporaryError
from collector.model import Entry, Ids, Revision
from collector.ports import Urgency
from collector.records import CorruptRecordError, decode, encode
from collector.telemetry import Telemetry

PAGE_BYTES: Final = 16384
BUSY_MS: Final = 30_000
WAL_LIMIT: Final = 32 << 20
"""Bytes of log at which an append moves it into the file itself, if no release came to it."""
TRIM_RECORDS: Final = 64
"""Records deleted at most in one append: a small step keeps the commit short."""
KEEP_CORRUPT: Final = 256
OWN_SLICE: Final = 0.25
FOREIGN_SLICE: Final = 0.02
"""Seconds between two looks for what another process appended: rarely where this process is
the one that appends, often where it only consumes."""

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS record (seq INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS point (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS origin (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS consumer (name TEXT PRIMARY KEY, released INTEGER NOT NULL)
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS revision (kind TEXT NOT NULL, seq INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (kind, seq));
CREATE TABLE IF NOT EXISTS corrupt (seq INTEGER PRIMARY KEY, reason TEXT NOT NULL, body BLOB);
"""

Synchronous = Literal["FULL", "OFF"]


class SqliteJournal:
    """See :class:`collector.ports.Journal`. ``max_bytes`` bounds the file (law 10);
    ``free_bytes`` tells the disk's free bytes and ``reserve_bytes`` how many of them are not
    ours to fill. ``synchronous="OFF"`` exists to prove that the test of the sync can fail."""

    def __init__(
        self,
        path: Path,
        telemetry: Telemetry,
        *,
        max_bytes: int = 1 << 30,
        reserve_bytes: int = 64 << 20,
        free_bytes: Callable[[Path], int] | None = None,
        synchronous: Synchronous = "FULL",
    ) -> None:
        self._path = path
        self._telemetry = telemetry
        self._max_bytes = max_bytes
        self._reserve_bytes = reserve_bytes
        self._free_bytes = free_bytes or _disk_free
        self._synchronous = synchronous
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._news = threading.Condition()
        self._releases: dict[str, int] = {}
        self._corrupt_seen: set[int] = set()
        self._appends = False
        self._ids: dict[str, dict[str, int]] = {"point": {}, "origin": {}}
        self._last = 0
        self._live_bytes = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._prepare()

    # --- writing ----------------------------------------------------------------------------

    def append(self, entries: Sequence[Entry]) -> int:
        bodies = [encode(entry) for entry in entries]
        connection = self._connection()
        self._appends = True
        with self._lock, _temporary_faults(), _transaction(connection):
            for entry, body in zip(entries, bodies, strict=True):
                seq = connection.execute("INSERT INTO record (body) VALUES (?)", (body,)).lastrowid
                if isinstance(entry, Revision):
                    connection.execute(
                        "INSERT INTO revision VALUES (?, ?, ?)", (entry.kind, seq, body)
                    )
            self._write_releases(connection)
            self._trim(connection)
        last = int(seq or 0) if entries else self._last
        self._measure(connection)
        with self._news:
            self._last = max(self._last, last)
            self._news.notify_all()
        return last

    def release(self, consumer: str, seq: int) -> None:
        with self._lock:
            self._releases[consumer] = max(seq, self._releases.get(consumer, 0))
        if not self._appends:
            self._flush_releases()
        self._checkpoint()

    def _flush_releases(self) -> None:
        connection = self._connection()
        with self._lock, _temporary_faults(), _transaction(connection):
            self._write_releases(connection)

    def _write_releases(self, connection: sqlite3.Connection) -> None:
        """Releases ride on the next append, so that they cost no sync of their own."""
        connection.executemany(
            "INSERT INTO consumer VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET"
            " released = excluded.released WHERE excluded.released > released",
            self._releases.items(),
        )
        self._releases.clear()

    def _checkpoint(self) -> None:
        """Move the log into the file, in the thread of whoever released: appends do not wait."""
        with _temporary_faults():
            self._connection().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def _trim(self, connection: sqlite3.Connection) -> None:
        """Delete a bounded number of the oldest records that every consumer released."""
        (released,) = connection.execute("SELECT min(released) FROM consumer").fetchone()
        if released is None:
            return
        connection.execute(
            "DELETE FROM record WHERE seq IN"
            " (SELECT seq FROM record WHERE seq <= ? ORDER BY seq LIMIT ?)",
            (released, TRIM_RECORDS),
        )

    # --- reading ----------------------------------------------------------------------------

    def read(self, after: int, max_bytes: int = 8 << 20) -> list[tuple[int, Entry]]:
        out: list[tuple[int, Entry]] = []
        while not out:
            rows = self._fetch(after, max_bytes)
            if not rows:
                break
            for seq, body in rows:
                try:
                    out.append((seq, decode(body)))
                except CorruptRecordError as fault:
                    self._keep_corrupt(seq, str(fault))
            after = rows[-1][0]
        return out

    def _fetch(self, after: int, max_bytes: int) -> list[tuple[int, bytes]]:
        """Raw records after ``after``: about ``max_bytes``, at least one if there is any."""
        rows: list[tuple[int, bytes]] = []
        total = 0
        cursor = self._connection().execute(
            "SELECT seq, body FROM record WHERE seq > ? ORDER BY seq", (after,)
        )
        try:
            for seq, body in cursor:
                rows.append((seq, body))
                total += len(body)
                if total >= max_bytes:
                    break
        finally:
            cursor.close()
        return rows

    def _keep_corrupt(self, seq: int, reason: str) -> None:
        if seq in self._corrupt_seen:
            return
        self._corrupt_seen.add(seq)
        self._telemetry.count("journal_corrupt_records")
        self._telemetry.event("journal record skipped", level="error", seq=seq, reason=reason)
        connection = self._connection()
        with self._lock, _temporary_faults(), _transaction(connection):
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
        return self._connection().execute("SELECT seq, reason, body FROM corrupt").fetchall()

    def last(self) -> int:
        row = (
            self._connection()
            .execute("SELECT seq FROM sqlite_sequence WHERE name = 'record'")
            .fetchone()
        )
        return int(row[0]) if row else 0

    def wait(self, after: int, timeout: float) -> bool:
        until = time.monotonic() + timeout
        while True:
            with self._news:
                if self._last > after:
                    return True
                left = until - time.monotonic()
                if left <= 0:
                    return self.last() > after
                self._news.wait(min(left, OWN_SLICE if self._appends else FOREIGN_SLICE))
                if self._last > after:
                    return True
            if self.last() > after:
                return True

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
        connection = self._connection()
        with self._lock, _temporary_faults(), _transaction(connection):
            connection.execute("UPDATE OR IGNORE point SET name = ? WHERE name = ?", (new, old))
            self._ids["point"].clear()

    def seed_points(self, names: Sequence[str]) -> None:
        """Give a *new* journal the dictionary of the archive that outlived the old one, so that
        stable ids stay what they were. Does nothing once any point is known."""
        connection = self._connection()
        with self._lock, _temporary_faults(), _transaction(connection):
            if connection.execute("SELECT count(*) FROM point").fetchone()[0] == 0:
                connection.executemany("INSERT INTO point VALUES (?, ?)", enumerate(names))

    def _identify(self, kind: str, names: Sequence[str]) -> Ids:
        known = self._ids[kind]
        if any(name not in known for name in names):
            connection = self._connection()
            with self._lock, _temporary_faults(), _transaction(connection):
                known.update(connection.execute(f"SELECT name, id FROM {kind}").fetchall())  # noqa: S608 kind is ours
                taken = max(known.values(), default=-1) + 1
                new = [name for name in dict.fromkeys(names) if name not in known]
                rows = [(taken + at, name) for at, name in enumerate(new)]
                connection.executemany(f"INSERT INTO {kind} VALUES (?, ?)", rows)  # noqa: S608 kind is ours
            known.update({name: number for number, name in rows})
        return np.array([known[name] for name in names], np.int32)

    def _names(self, kind: str) -> list[str]:
        rows = self._connection().execute(f"SELECT id, name FROM {kind} ORDER BY id").fetchall()  # noqa: S608 kind is ours
        names = [""] * (rows[-1][0] + 1 if rows else 0)
        for number, name in rows:
            names[number] = name
        return names

    def revision(self, kind: str, seq: int | None = None) -> Revision | None:
        row = (
            self._connection()
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
        if self._free_bytes(self._path) < self._reserve_bytes:
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
        found = dict(self._connection().execute("SELECT name, released FROM consumer").fetchall())
        return found | self._releases

    def live_bytes(self) -> int:
        """Bytes in use of the journal's bound, as of the last append."""
        return self._live_bytes

    def close(self) -> None:
        """Close every thread's connection. Nothing may use the journal afterwards."""
        if self._releases:
            with contextlib.suppress(TemporaryError):  # a release is a hint
                self._flush_releases()
        with self._lock:
            for connection in self._connections:
                connection.close()
            self._connections.clear()

    # --- opening ----------------------------------------------------------------------------

    def _prepare(self) -> None:
        try:
            self._create()
        except sqlite3.DatabaseError as fault:
            if isinstance(fault, sqlite3.OperationalError):
                raise
            self._set_aside(str(fault))
            self._create()

    def _create(self) -> None:
        connection = self._connection()
        with _transaction(connection):
            for statement in SCHEMA.split(";\n"):
                connection.execute(statement)
            connection.execute(
                "INSERT OR IGNORE INTO meta VALUES ('identity', ?)", (secrets.token_hex(16),)
            )
            connection.execute("INSERT OR IGNORE INTO meta VALUES ('version', '1')")
        (self.identity,) = connection.execute(
            "SELECT value FROM meta WHERE key = 'identity'"
        ).fetchone()
        self._last = self.last()
        self._measure(connection)

    def _set_aside(self, reason: str) -> None:
        """A file that is no database any more must not stop a box nobody visits: keep it under
        another name, say so, and start anew."""
        self.close()
        self._local = threading.local()
        aside = self._path.with_name(f"{self._path.name}.damaged-{time.time_ns() // 1_000_000}")
        self._path.rename(aside)
        for suffix in ("-wal", "-shm"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        self._telemetry.count("journal_set_aside")
        self._telemetry.event(
            "journal was damaged, kept aside, a new one begun",
            level="error",
            kept=str(aside),
            reason=reason,
        )

    def _connection(self) -> sqlite3.Connection:
        """This thread's connection."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                self._path, isolation_level=None, check_same_thread=False, cached_statements=32
            )
            connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.execute("PRAGMA cache_size = -2048")
            connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_LIMIT // PAGE_BYTES}")
            connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT}")
            self._local.connection = connection
            self._connections.append(connection)
        return connection


def _disk_free(path: Path) -> int:
    stat = os.statvfs(path.parent)
    return stat.f_bavail * stat.f_frsize


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk has already rolled back
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _temporary_faults() -> Iterator[None]:
    """A full disk or a lock held too long passes; the caller keeps what it has and retries."""
    try:
        yield
    except sqlite3.OperationalError as fault:
        raise TemporaryError(f"journal cannot be written now: {fault}") from fault
