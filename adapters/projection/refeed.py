"""What a database still has to be given from the archive: a table of spans, and how one is read.

Promise: a span is in the table until the database took what the archive holds of it, in one
transaction with the cursor that made it necessary. So feeding again survives any crash, goes on
where it stopped, and costs one row for each point and day however long the database was away.

A span of ``ALL`` is of every point; ``done`` is the last point of it that is finished. Newest
first: what people look at is there first.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from adapters.stores.archive_reader import ArchiveReader
from adapters.stores.columns import Rows
from collector.model import Batch

ALL: Final = -1
DAY_MS: Final = 86_400_000
POINTS_AT_ONCE: Final = 64
"""Points read from the archive in one go: a day of ten-second readings of so many is half a
million rows."""

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS refeed (
    point INTEGER NOT NULL, day INTEGER NOT NULL, low INTEGER NOT NULL, high INTEGER NOT NULL,
    done INTEGER NOT NULL DEFAULT -1, PRIMARY KEY (point, day)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS refeed_newest ON refeed (day DESC, point);
CREATE TABLE IF NOT EXISTS refed (
    checkpoint INTEGER NOT NULL, point INTEGER NOT NULL, day INTEGER NOT NULL,
    low INTEGER NOT NULL, high INTEGER NOT NULL);
"""
# An ALL span that grows is begun anew: points that were done lack what was added.
_ADD: Final = """
INSERT INTO refeed (point, day, low, high) VALUES (?, ?, ?, ?) ON CONFLICT (point, day) DO UPDATE
SET low = min(low, excluded.low), high = max(high, excluded.high), done = -1
"""


@dataclass(frozen=True, slots=True)
class Share:
    """A part of the table that is fed at once. ``rows`` in order of point and time; ``spans``:
    the rows of the table it comes from, as (point, day); ``done``: of a span of ``ALL``, the last
    point of it after this."""

    rows: Rows
    spans: tuple[tuple[int, int], ...]
    done: int | None = None


class Refeed:
    """See the module. ``connection``: of the projection's own file, in autocommit mode; changes
    belong to the owner's transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self.pending = bool(self.left())

    def add(self, batch: Batch) -> None:
        """The readings of ``batch`` have to come from the archive: one span a point and day."""
        if not len(batch):
            return
        day = batch.time // DAY_MS
        order = np.lexsort((day, batch.point))
        point, day, time = batch.point[order], day[order], batch.time[order]
        first = np.flatnonzero(np.append(True, (point[1:] != point[:-1]) | (day[1:] != day[:-1])))
        self._insert(
            zip(
                point[first].tolist(),
                day[first].tolist(),
                np.minimum.reduceat(time, first).tolist(),
                (np.maximum.reduceat(time, first) + 1).tolist(),
                strict=True,
            )
        )

    def add_span(self, point: int, low: int, high: int) -> None:
        """All of ``point`` (or ``ALL``) with ``low <= time < high`` (UTC ms)."""
        days = range(low // DAY_MS, (high - 1) // DAY_MS + 1)
        self._insert(
            (point, day, max(low, day * DAY_MS), min(high, (day + 1) * DAY_MS)) for day in days
        )

    def _insert(self, rows: Iterable[tuple[int, int, int, int]]) -> None:
        self._db.executemany(_ADD, rows)
        self.pending = True

    def left(self) -> int:
        """Spans that are left."""
        (count,) = self._db.execute("SELECT count(*) FROM refeed").fetchone()
        return int(count)

    def next(self, archive: ArchiveReader) -> Share | None:
        """What to feed next; None when nothing is left."""
        spans = self._db.execute(
            "SELECT point, day, low, high, done FROM refeed ORDER BY day DESC, point LIMIT ?",
            (POINTS_AT_ONCE,),
        ).fetchall()
        self.pending = bool(spans)
        if not spans:
            return None
        if spans[0][0] == ALL:
            return self._share_of_all(archive, *spans[0][1:])
        day = spans[0][1]
        chosen = [span for span in spans if span[1] == day]
        columns = np.array(chosen, np.int64).T
        rows = archive.read_many(columns[0].astype(np.int32), columns[2], columns[3])
        return Share(rows, tuple((point, day) for point, *_ in chosen))

    def _share_of_all(
        self, archive: ArchiveReader, day: int, low: int, high: int, done: int
    ) -> Share:
        points = archive.points_after(done, POINTS_AT_ONCE)
        spans = ((ALL, day),)
        ids = np.array(points, np.int32)
        bounds = np.full(len(ids), low, np.int64), np.full(len(ids), high, np.int64)
        last = points[-1] if len(points) == POINTS_AT_ONCE else None
        return Share(archive.read_many(ids, *bounds), spans, last)

    def finish(self, share: Share, checkpoint: int | None = None) -> None:
        """The database has it; but keep it for :meth:`again` until ``checkpoint`` is settled."""
        if share.done is not None:
            self._db.execute(
                "UPDATE refeed SET done = ? WHERE point = ? AND day = ?",
                (share.done, *share.spans[0]),
            )
            return
        for point, day in share.spans:
            if checkpoint is not None:
                self._db.execute(
                    "INSERT INTO refed SELECT ?, point, day, low, high FROM refeed "
                    "WHERE point = ? AND day = ?",
                    (checkpoint, point, day),
                )
            self._db.execute("DELETE FROM refeed WHERE point = ? AND day = ?", (point, day))
        self.pending = bool(self.left())

    def settled(self, checkpoint: int) -> None:
        """What was fed up to ``checkpoint`` cannot be lost any more."""
        self._db.execute("DELETE FROM refed WHERE checkpoint <= ?", (checkpoint,))

    def again(self) -> None:
        """What was fed and is not settled has to be fed once more."""
        spans = self._db.execute("DELETE FROM refed RETURNING point, day, low, high").fetchall()
        self._insert(spans)
        self._db.execute("UPDATE refeed SET done = -1")
        self.pending = bool(self.left())
