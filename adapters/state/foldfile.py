"""The SQLite file of a fold: its tables, its cursor and whose journal it follows.

Promise: state, output and cursor change in one transaction or not at all; a crash at any moment
leaves the last commit. A file never follows a journal other than the one it was begun with,
unless a person says so (``reset``). One thread (and one process) writes; readers open their own
connection with :func:`open_reader`.

A commit is atomic but may be lost with the machine's power; ``sync`` returns only when an fsync
covers what was committed before it, so that the journal may forget. It is called from a thread
of its own: neither an fsync nor the moving of the log into the file makes a commit wait.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from collector.errors import ConfigurationError, Fault, TemporaryError

BUSY_MS: Final = 10_000
CACHE_KIB: Final = 2_048
WAL_LIMIT: Final = 32 << 20
"""Bytes of log at which a commit moves it into the file itself, if ``sync`` never came to it."""
_META: Final = "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID"
# Errors of the machine, not of the program: the same commit may succeed later.
_PASSING: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOMEM,
    }
)
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class FoldFile:
    """An open fold file. ``connection`` is in autocommit mode: begin and commit through here.

    ``schema``: idempotent statements (``CREATE TABLE IF NOT EXISTS ...``) separated by ``;``.
    ``version``: of that schema; a file of another version is refused. ``reset``: a file begun
    with another journal is accepted, and its cursor restarts at 0 (its contents stay: stable
    point ids must then be seeded into the new journal from what the file holds, see
    ``Archive``, which keeps the names for that). ``page_size`` holds for a new file only.

    Raises ``ConfigurationError`` for another journal's file, another version, or a file that is
    no database.
    """

    def __init__(
        self,
        path: Path,
        journal_identity: str,
        schema: str,
        *,
        version: int = 1,
        reset: bool = False,
        page_size: int = 4096,
    ) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.connection = sqlite3.connect(
                self.path,
                timeout=BUSY_MS / 1000,
                isolation_level=None,
                check_same_thread=False,
                factory=_Connection,
            )
        except sqlite3.OperationalError as fault:
            raise TemporaryError(f"{self.path}: {fault}") from fault
        self._seq = 0
        self._committed = 0
        self._synced = 0
        self._syncing: sqlite3.Connection | None = None
        try:
            self._open(journal_identity, schema, version, reset, page_size)
        except (sqlite3.Error, TemporaryError, ConfigurationError):
            self.connection.close()
            raise

    def _open(self, identity: str, schema: str, version: int, reset: bool, page_size: int) -> None:
        run = self.connection.execute
        run(f"PRAGMA page_size = {page_size:d}")
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = NORMAL")
        run(f"PRAGMA cache_size = -{CACHE_KIB}")
        run(f"PRAGMA journal_size_limit = {WAL_LIMIT}")
        run(f"PRAGMA wal_autocheckpoint = {WAL_LIMIT // page_size}")
        run("PRAGMA mmap_size = 0")
        with self.transaction():
            run(_META)
            for statement in schema.split(";"):
                if statement.strip():
                    run(statement)
            self._check("schema", version, f"was written by schema {{}}, this is {version}")
            if reset and self.get("journal", identity) != identity:
                self.set("cursor", 0)
                self.set("journal", identity)
            self._check(
                "journal",
                identity,
                f"follows journal {{}}, but the journal here is {identity}",
                "bring its journal back, or restart it on this journal with reset",
            )
            self._seq = int(str(self.get("cursor", 0)))
            self.set("cursor", self._seq)
        self._committed = self._seq

    def _check(self, key: str, expected: object, what: str, todo: str = "") -> None:
        found = self.get(key)
        if found is None:
            self.set(key, expected)
        elif found != expected:
            raise ConfigurationError(Fault(str(self.path), 0, what.format(found), todo))

    @property
    def cursor(self) -> int:
        """The last sequence number whose effect is committed."""
        return self._committed

    def get(self, key: str, default: object = None) -> object:
        """A small value that the fold keeps beside its tables."""
        row = self.connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return default if row is None else row[0]

    def set(self, key: str, value: object) -> None:
        """As :meth:`get`; within the open transaction."""
        self.connection.execute(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (key, value),
        )

    def begin(self) -> None:
        """Open the write transaction; nothing happens when it is open already."""
        if not self.connection.in_transaction:
            self.connection.execute("BEGIN IMMEDIATE")

    def set_cursor(self, seq: int) -> None:
        """Move the cursor, within the open transaction (which is begun if need be)."""
        self.begin()
        self.set("cursor", seq)
        self._seq = seq

    def commit(self) -> None:
        """Commit the open transaction, if any.

        Raises ``TemporaryError`` when the machine refused (disk full, locked): the transaction
        is then rolled back, and what the fold holds in memory is ahead of its file. It repeats
        its writes from what it kept, or is opened again and reads on from the cursor.
        """
        try:
            if self.connection.in_transaction:
                self.connection.execute("COMMIT")
        except TemporaryError:
            self.rollback()
            raise
        self._committed = self._seq

    def sync(self) -> int:
        """Have what was committed fsynced; the cursor that is safe. Any one thread, beside the
        one that commits. Raises ``TemporaryError`` as ``commit`` does."""
        seq = self._committed
        if seq > self._synced:
            if self._syncing is None:
                with _told(self.path):
                    self._syncing = sqlite3.connect(
                        self.path,
                        timeout=BUSY_MS / 1000,
                        isolation_level=None,
                        check_same_thread=False,
                        factory=_Connection,
                    )
            # A checkpoint begins by syncing the whole log; how far it then gets in moving
            # it into the file does not matter here. Busy: somebody else's is under way.
            run = self._syncing.execute
            (busy, _, _) = run("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if not busy:
                self._synced = seq
        return self._synced

    def rollback(self) -> None:
        """Undo everything since the last commit."""
        if self.connection.in_transaction:
            # SQLite may have rolled back by itself, or be past helping.
            with suppress(sqlite3.OperationalError, TemporaryError, ConfigurationError):
                self.connection.execute("ROLLBACK")
        self._seq = self._committed

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit at the end, roll back on any exception. ``TemporaryError`` as in ``commit``."""
        self.begin()
        try:
            yield self.connection
        except BaseException:
            self.rollback()
            raise
        self.commit()

    def close(self) -> None:
        """Give the file back; an open transaction is rolled back. May be repeated."""
        with suppress(sqlite3.ProgrammingError):  # closed before
            self.rollback()
        if self._syncing is not None:
            self._syncing.close()
        self.connection.close()


def open_reader(path: Path) -> sqlite3.Connection:
    """A read-only connection to a fold's file, for any other thread or process.

    Autocommit; keep transactions short, a long one keeps the WAL from shrinking. Raises
    ``TemporaryError`` while the file, or its tables, are not there yet, ``ConfigurationError``
    for a file that is no database.
    """
    with _told(path):
        try:
            connection, tables = _opened(path)
        except sqlite3.OperationalError as fault:
            if fault.sqlite_errorcode & 0xFF != sqlite3.SQLITE_READONLY:
                raise
            # Its writer was killed while it was made: only who may write can put it right.
            with suppress(sqlite3.DatabaseError), closing(_connect(path, "rw")) as writer:
                writer.execute("SELECT count(*) FROM sqlite_master").fetchone()
            connection, tables = _opened(path)
    if not tables:
        connection.close()
        raise TemporaryError(f"{path}: its tables are not there yet")
    return connection


def _opened(path: Path) -> tuple[sqlite3.Connection, int]:
    """A reader, and whether the tables are there: they come with the cursor, in one
    transaction."""
    connection = _connect(path, "ro")
    try:
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        (tables,) = connection.execute(
            "SELECT count(*) FROM sqlite_master WHERE name = 'meta'"
        ).fetchone()
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection, int(tables)


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{Path(path).absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_MS / 1000,
        isolation_level=None,
        check_same_thread=False,
    )


class _Connection(sqlite3.Connection):
    """Tells a fold whose fault a failure is: the machine's (``TemporaryError``: the same may
    succeed later), the file's (``ConfigurationError``: somebody must look), or, as SQLite
    raised it, that of what was asked. The entry that was being applied must answer for the
    last kind only."""

    def __init__(self, path: Path, *more: Any, **others: Any) -> None:
        super().__init__(path, *more, **others)
        self._path = path

    def execute(self, sql: str, values: Any = (), /) -> sqlite3.Cursor:
        try:
            return super().execute(sql, values)
        except sqlite3.DatabaseError as fault:
            raise _whose(self._path, fault) from fault

    def executemany(self, sql: str, values: Any, /) -> sqlite3.Cursor:
        try:
            return super().executemany(sql, values)
        except sqlite3.DatabaseError as fault:
            raise _whose(self._path, fault) from fault

    def cursor(self, *_factory: Any) -> Any:
        made = super().cursor(_Cursor)
        made.path = self._path
        return made


class _Cursor(sqlite3.Cursor):
    """The rows of a damaged file may fail where they are fetched."""

    path = Path()

    def fetchone(self) -> Any:
        with _told(self.path):
            return super().fetchone()

    def fetchall(self) -> list[Any]:
        with _told(self.path):
            return super().fetchall()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as fault:
        raise _whose(path, fault) from fault


def _whose(path: Path, fault: sqlite3.DatabaseError) -> Exception:
    # Extended codes (SQLITE_IOERR_WRITE ...) keep the primary one in the low byte.
    code = getattr(fault, "sqlite_errorcode", 0) & 0xFF
    if code in _PASSING:
        return TemporaryError(f"{path}: {fault}")
    if code in _DAMAGED:
        todo = "bring back a copy of it, or move it away: it is then begun anew"
        return ConfigurationError(
            Fault(str(path), 0, f"cannot be opened or read as a database: {fault}", todo)
        )
    return fault
