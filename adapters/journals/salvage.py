"""What can still be read of a damaged journal, so that a new one goes on with it.

Promise: reads only, never raises for what it finds, and gives a record only whole (its checksum
holds). Records name points and origins by number, so it gives none unless both dictionaries
could be read to their ends.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from collector.model import Entry
from collector.records import CorruptRecordError, decode

STEP: Final = 64
"""Records read at once; where that fails, one by one."""


@dataclass(slots=True)
class Salvage:
    """``points`` and ``origins``: names by id; None when that table could not be read."""

    path: Path
    points: list[tuple[int, str]] | None = None
    origins: list[tuple[int, str]] | None = None
    lost: int = 0
    _db: sqlite3.Connection | None = field(default=None, repr=False)

    @staticmethod
    def open(path: Path) -> Salvage:
        found = Salvage(path)
        try:
            found._db = sqlite3.connect(path, isolation_level=None)
            # Otherwise SQLite reads nothing at all of a file that was cut short.
            found._db.execute("PRAGMA writable_schema = ON")
            found.points = found._names("point")
            found.origins = found._names("origin")
        except (sqlite3.DatabaseError, ValueError):
            pass  # nothing can be named, so nothing can be used
        return found

    def _names(self, table: str) -> list[tuple[int, str]]:
        assert self._db is not None
        rows = self._db.execute(f"SELECT id, name FROM {table} ORDER BY id").fetchall()  # noqa: S608 ours
        if not all(isinstance(name, str) and isinstance(number, int) for number, name in rows):
            raise ValueError(table)
        return rows

    def entries(self) -> Iterator[Entry]:
        """Every record that is whole, in order. ``lost`` then counts the numbers between the
        first and the last that are not."""
        if self._db is None or self.points is None or self.origins is None:
            return
        low, high = self._ends()
        for start in range(low, high + 1, STEP):
            for body in self._bodies(start, min(start + STEP, high + 1)):
                try:
                    yield decode(body if isinstance(body, bytes) else b"")
                except CorruptRecordError:
                    self.lost += 1

    def close(self) -> None:
        if self._db is not None:
            self._db.close()

    def _ends(self) -> tuple[int, int]:
        assert self._db is not None
        ends = []
        for order in ("ASC", "DESC"):
            query = f"SELECT seq FROM record ORDER BY seq {order} LIMIT 1"  # noqa: S608 ours
            try:
                ends.append(self._db.execute(query).fetchone())
            except sqlite3.DatabaseError:
                ends.append(None)
        first, last = ends
        if last is None:
            try:
                last = self._db.execute(
                    "SELECT seq FROM sqlite_sequence WHERE name = 'record'"
                ).fetchone()
            except sqlite3.DatabaseError:
                last = None
        if last is None:
            return 1, 0
        return (first[0] if first else max(1, last[0] - 100_000)), last[0]

    def _bodies(self, start: int, stop: int) -> list[bytes]:
        assert self._db is not None
        query = "SELECT body FROM record WHERE seq >= ? AND seq < ? ORDER BY seq"
        try:
            return [body for (body,) in self._db.execute(query, (start, stop))]
        except sqlite3.DatabaseError:
            if stop - start == 1:
                self.lost += 1
                return []
        return [body for seq in range(start, stop) for body in self._bodies(seq, seq + 1)]
