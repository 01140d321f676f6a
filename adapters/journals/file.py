"""The file of a journal: a connection for each thread, and what happens when the file is damaged.

A file that turns out to be damaged, or was taken away while in use, accepts nothing more: it is
marked, whoever asked is told (``on_damage``), and the next opening with ``mend`` keeps it aside
and begins a new one, into which ``carry`` brings what is still whole.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from collector.errors import TemporaryError
from collector.telemetry import Telemetry

PAGE_BYTES: Final = 16384
BUSY_MS: Final = 30_000
WAL_LIMIT: Final = 32 << 20
"""Bytes of log at which an append moves it into the file itself, if no release came to it."""
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

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


class JournalFile:
    """See the module. ``synchronous="OFF"`` exists to prove that the test of the sync can fail."""

    def __init__(
        self,
        path: Path,
        telemetry: Telemetry,
        *,
        synchronous: Synchronous,
        mend: bool,
        on_damage: Callable[[str], None] | None,
    ) -> None:
        self.path = path
        self.identity = ""
        self._telemetry = telemetry
        self._synchronous = synchronous
        self._mend = mend
        self._on_damage = on_damage
        self._damage = ""
        self._marker = path.with_name(f"{path.name}.is-damaged")
        self._inode = 0
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self.lock = threading.Lock()

    def open(self, carry: Callable[[Path], tuple[int, int]]) -> None:
        """Open, or begin. ``carry`` brings the records of a damaged file over, and says how many
        it did and how many could not be read. Raises ``TemporaryError``."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._prepare(carry)
        except (OSError, sqlite3.OperationalError) as fault:
            self.close()
            raise TemporaryError(f"{self.path}: cannot be opened now: {fault}") from fault

    def connection(self) -> sqlite3.Connection:
        """This thread's connection."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False, cached_statements=32
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

    @contextmanager
    def guarded(self) -> Iterator[sqlite3.Connection]:
        """This thread's connection. A full disk or a lock held too long passes: the caller keeps
        what it has and retries. Damage does not: the file is marked for the next opening."""
        try:
            yield self.connection()
        except sqlite3.DatabaseError as fault:
            if _is_damage(fault):
                with contextlib.suppress(OSError):
                    self._marker.write_text(f"{fault}\n", encoding="utf-8")
                self._tell_damage(f"is damaged: {fault}")
                raise TemporaryError(f"{self.path}: {self._damage}") from fault
            if isinstance(fault, sqlite3.OperationalError):
                raise TemporaryError(f"journal cannot be written now: {fault}") from fault
            raise

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """As ``guarded``, in a transaction, one thread at a time."""
        with self.lock, self.guarded() as connection, _transaction(connection):
            yield connection

    def check_place(self) -> None:
        """Records in a file that was taken away from under us would be kept for nobody."""
        try:
            here = self.path.stat().st_ino == self._inode
        except OSError:
            here = False
        if not here:
            self._tell_damage("was moved or deleted while in use")
            raise TemporaryError(f"{self.path}: {self._damage}")

    def close(self) -> None:
        """Close every thread's connection."""
        with self.lock:
            for connection in self._connections:
                connection.close()
            self._connections.clear()

    def _prepare(self, carry: Callable[[Path], tuple[int, int]]) -> None:
        if self._marker.exists():
            told = self._marker.read_text(encoding="utf-8", errors="replace")
            self._set_aside(told.strip() or "marked as damaged", carry)
        try:
            self._create()
        except sqlite3.DatabaseError as fault:
            if not _is_damage(fault):
                raise
            self._set_aside(str(fault), carry)

    def _create(self) -> None:
        connection = self.connection()
        with _transaction(connection):
            for statement in SCHEMA.split(";\n"):
                connection.execute(statement)
            connection.execute(
                "INSERT OR IGNORE INTO meta VALUES ('identity', ?)", (secrets.token_hex(16),)
            )
            connection.execute("INSERT OR IGNORE INTO meta VALUES ('version', '1')")
        query = "SELECT value FROM meta WHERE key = 'identity'"
        (self.identity,) = connection.execute(query).fetchone()
        self._inode = self.path.stat().st_ino

    def _set_aside(self, reason: str, carry: Callable[[Path], tuple[int, int]]) -> None:
        """A file that is no database any more must not stop a box nobody visits: keep it under
        another name, say so, begin anew, and carry over what is still whole."""
        if not self._mend:
            raise TemporaryError(
                f"{self.path}: is damaged: {reason}; the next start of its program mends it"
            )
        self.close()
        self._local = threading.local()
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns() // 1_000_000}")
        for suffix in ("-wal", "-shm", ""):  # the log first: the file without it would be older
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").rename(f"{aside}{suffix}")
        self._create()
        carried, lost = carry(aside) if aside.exists() else (0, 0)
        self._marker.unlink(missing_ok=True)
        self._telemetry.count("journal_set_aside")
        self._telemetry.event(
            "journal was damaged, kept aside, a new one begun",
            level="error",
            kept=str(aside),
            reason=reason,
            records_carried_over=carried,
            records_not_readable=lost,
        )

    def _tell_damage(self, what: str) -> None:
        if self._damage:
            return
        self._damage = what
        self._telemetry.event("journal cannot be used", level="error", reason=what)
        if self._on_damage is not None:
            self._on_damage(what)


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


def _is_damage(fault: sqlite3.DatabaseError) -> bool:
    return getattr(fault, "sqlite_errorcode", 0) & 0xFF in _DAMAGED
