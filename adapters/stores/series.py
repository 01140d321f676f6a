"""Readings by point and time in tables of a database that somebody else owns.

Promise: what was written is what is read, upserted by (point, time), the later write winning,
whatever the order, the cutting into writes and the moments of compaction. The owner of the
connection begins and commits; every method here works inside the owner's transaction.

How: no row per reading. A write becomes a *run*, its rows sorted by point and time. ``compact``
merges runs in steps of bounded size and seals what has gathered into *chunks*, one point each,
disjoint in time; late data rewrites only the chunks it falls into. Newer layers win over older:
of runs the one with the larger ``seq``, and any run over the chunks.

A reading whose time is impossible (``BAD_TIME``) lies aside, under the point ``-1 - point``: it
is read back at the time it claims, but moves neither ``latest`` nor retention nor anybody's
chunks. Where it claims a time at which there is a usable reading, the usable one is read.

Retention moves a horizon: what is older is not read any more from that moment, and its space is
given back chunk by chunk.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from adapters.stores.chunks import CorruptChunkError, decode_chunk, decode_run, slice_run
from adapters.stores.columns import (
    EMPTY,
    FIRST_TIME,
    LAST_TIME,
    Columns,
    Rows,
    bucketed,
    cut,
    enough,
    in_order,
    joined,
    layered,
    stacked,
)
from adapters.stores.compaction import GROUP_BITS, WIDE, Compactor, Sizes
from collector.model import Ids, Qualities, Quality, Times, Values
from collector.ports import Buckets, Series

ASIDE_CHUNKS: Final = 4
"""Chunks of readings with impossible times that retention leaves a point."""

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS run (
    seq INTEGER PRIMARY KEY, grp INTEGER NOT NULL, tier INTEGER NOT NULL,
    n INTEGER NOT NULL, points INTEGER NOT NULL,
    low INTEGER NOT NULL, high INTEGER NOT NULL, data BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS run_by_group ON run (grp);
CREATE TABLE IF NOT EXISTS chunk (
    id INTEGER PRIMARY KEY, point INTEGER NOT NULL,
    low INTEGER NOT NULL, high INTEGER NOT NULL, n INTEGER NOT NULL, data BLOB NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS chunk_by_point ON chunk (point, low);
CREATE INDEX IF NOT EXISTS chunk_by_age ON chunk (high) WHERE point >= 0;
CREATE TABLE IF NOT EXISTS damaged (
    kind TEXT NOT NULL, owner INTEGER NOT NULL, n INTEGER NOT NULL,
    low INTEGER NOT NULL, high INTEGER NOT NULL, why TEXT NOT NULL, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS series_state (key TEXT PRIMARY KEY, value INTEGER) WITHOUT ROWID;
"""
"""For the owner's file (see ``FoldFile``)."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a store holds: readings in chunks and runs (a reading written twice and not yet
    merged counts twice), the bytes of their blobs, and blobs found damaged."""

    sealed_rows: int
    sealed_bytes: int
    run_rows: int
    run_bytes: int
    chunks: int
    runs: int
    damaged: int


class SeriesStore:
    """See the module. ``connection`` is in autocommit mode (``isolation_level=None``) with
    :data:`SCHEMA` in it; a read-only one serves the reading methods."""

    def __init__(self, connection: sqlite3.Connection, sizes: Sizes | None = None) -> None:
        self._db = connection
        self._sizes = sizes or Sizes()
        self._compactor: Compactor | None = None
        self._unreadable: set[tuple[str, int]] = set()

    # --- writing

    def write(self, point: Ids, time: Times, value: Values, quality: Qualities) -> int:
        """Upsert rows of any order, duplicates included (the later row wins). Visible to this
        connection at once. Returns how many rows are older than the retention horizon and will
        therefore not be seen."""
        aside = quality == Quality.BAD_TIME
        if aside.any():
            point = np.where(aside, ~point, point)
        if len(point):
            self._housekeeping().add(in_order(Rows(point, time, value, quality)))
        horizon = self.horizon()
        return int(np.count_nonzero((time < horizon) & ~aside)) if horizon > FIRST_TIME else 0

    def compact(self, max_rows: int = 1 << 18) -> int:
        """Merge and seal what is due until about ``max_rows`` rows were handled. Returns the
        rows handled; 0 when nothing was due. Changes nothing that a read can see."""
        return self._housekeeping().compact(max_rows)

    def retain(self, before: int, max_chunks: int = 1 << 30) -> int:
        """Move the horizon to ``before`` (UTC ms) and give back the space of at most
        ``max_chunks`` chunks that lie wholly behind it. Returns rows deleted; call again until
        0. Moved back, it shows again what was not deleted yet."""
        self._db.execute(
            "INSERT INTO series_state VALUES ('horizon', ?) "
            "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (before,),
        )
        return (
            self._delete(
                "DELETE FROM chunk WHERE id IN (SELECT id FROM chunk WHERE high < ? AND "
                "point >= 0 LIMIT ?) RETURNING n",
                (before, max_chunks),
            )
            + self._delete("DELETE FROM run WHERE high < ? AND grp >= 0 RETURNING n", (before,))
            + self._delete(
                "DELETE FROM chunk WHERE id IN (SELECT id FROM (SELECT id, row_number() OVER "
                "(PARTITION BY point ORDER BY id DESC) AS age FROM chunk WHERE point < 0) "
                "WHERE age > ?) RETURNING n",
                (ASIDE_CHUNKS,),
            )
        )

    def _delete(self, statement: str, arguments: tuple[int, ...]) -> int:
        return sum(n for (n,) in self._db.execute(statement, arguments).fetchall())

    def _housekeeping(self) -> Compactor:
        if self._compactor is None:
            self._compactor = Compactor(self._db, self._sizes)
        return self._compactor

    # --- reading

    def read(self, point: int, start: int, end: int) -> Series:
        """Readings with ``start <= time < end`` (UTC ms), whatever their quality."""
        with self._snapshot():
            found = self._between(point, max(start, self.horizon()), end - 1)
            aside = self._between(~point, start, end - 1)
        return (layered([aside, found]) if len(aside.time) else found).series()

    def read_many(self, point: Ids, start: Times, end: Times) -> Rows:
        """As :meth:`read` for each point (ascending, each once) with its own ``start`` and
        ``end``; sorted by point, then time. A run is decoded once for all points."""
        asked = end > start
        point, start, end = point[asked], start[asked], end[asked]
        with self._snapshot():
            found = [
                self._many(~point[::-1], start[::-1], end[::-1] - 1, aside=True),
                self._many(point, np.maximum(start, self.horizon()), end - 1),
            ]
        return in_order(stacked([part for part in found if len(part.point)]))

    def _many(self, point: Ids, low: Times, high: Times, *, aside: bool = False) -> Rows:
        """Layers of all ``point``, oldest first; where ``aside``, as their readings lie."""
        layers: list[Rows] = []
        for of, since, until in zip(point.tolist(), low.tolist(), high.tolist(), strict=True):
            if aside and not self._any_aside():
                break
            for chunk in self._chunks(
                _CHUNKS_BETWEEN, {"point": of, "low": since, "high": until, "first": FIRST_TIME}
            ):
                part = cut(chunk, since, until)
                layers.append(Rows(np.full(len(part.time), of, np.int32), *part))
        if len(point):
            layers += self._runs_of(point, low, high)
        rows = stacked(layers)
        return Rows(np.maximum(rows.point, ~rows.point), *rows[1:])

    def _any_aside(self) -> bool:
        return self._db.execute("SELECT 1 FROM chunk WHERE point < 0").fetchone() is not None

    def _runs_of(self, point: Ids, low: Times, high: Times) -> list[Rows]:
        """Rows of the runs with ``low <= time <= high``, by point (sorted)."""
        groups = [*np.unique(point >> GROUP_BITS).tolist(), WIDE]
        found = []
        for seq, data in self._db.execute(
            "SELECT seq, data FROM run WHERE grp IN (SELECT value FROM json_each(?)) "
            "AND low <= ? AND high >= ? ORDER BY seq",
            (json.dumps(groups), int(high.max()), int(low.min())),
        ):
            try:
                rows = decode_run(data)
            except CorruptChunkError:
                self._unreadable.add(("run", seq))
                continue
            heads = rows.heads()
            ids = rows.point[heads]
            at = np.minimum(np.searchsorted(point, ids), len(point) - 1)
            wanted = point[at] == ids
            each = np.diff(heads, append=len(rows.point))
            since = np.repeat(np.where(wanted, low[at], LAST_TIME), each)
            until = np.repeat(np.where(wanted, high[at], FIRST_TIME), each)
            kept = np.flatnonzero((rows.time >= since) & (rows.time <= until))
            if len(kept):
                found.append(rows.take(kept))
        return found

    def buckets(self, point: int, start: int, end: int, width: int) -> Buckets:
        """Statistics per span of ``width`` ms, spans counted from ``start``; see ``Buckets``."""
        return bucketed(self.read(point, start, end), start, width)

    def latest(self, point: int) -> Series:
        """The newest reading (one row or none). Those with an impossible time do not count."""
        return self._newest(point, LAST_TIME, 1)

    def before(self, point: int, time: int, n: int) -> Series:
        """The ``n`` newest readings older than ``time``, in order of time; without those whose
        time is impossible."""
        return self._newest(point, time - 1, n)

    def after(self, point: int, time: int, n: int) -> Series:
        """The ``n`` oldest readings newer than ``time``, in order of time; without those whose
        time is impossible."""
        with self._snapshot():
            low = max(time + 1, self.horizon())
            if low > LAST_TIME:
                return EMPTY.series()
            chunks = self._chunks(
                _CHUNKS_BETWEEN,
                {"point": point, "low": low, "high": LAST_TIME, "first": FIRST_TIME},
            )
            layers = [enough((cut(chunk, low, LAST_TIME) for chunk in chunks), n)]
            layers += self._runs(point, low, LAST_TIME)
        return layered(layers).take(slice(0, n)).series()

    def _newest(self, point: int, high: int, n: int) -> Series:
        with self._snapshot():
            low = self.horizon()
            if high < low:
                return EMPTY.series()
            chunks = self._chunks(
                "SELECT id, data FROM chunk WHERE point = :point AND low <= :high "
                "ORDER BY low DESC",
                {"point": point, "high": high},
            )
            layers = [enough((cut(chunk, low, high) for chunk in chunks), n, backwards=True)]
            layers += self._runs(point, low, high)
        found = layered(layers)
        return found.take(slice(max(0, len(found.time) - n), None)).series()

    def _between(self, point: int, low: int, high: int) -> Columns:
        if high < low:
            return EMPTY
        chunks = self._chunks(
            _CHUNKS_BETWEEN, {"point": point, "low": low, "high": high, "first": FIRST_TIME}
        )
        sealed = joined([cut(chunk, low, high) for chunk in chunks])
        return layered([sealed, *self._runs(point, low, high)])

    def _chunks(self, query: str, arguments: dict[str, int]) -> Iterator[Columns]:
        for chunk, data in self._db.execute(query, arguments):
            try:
                yield decode_chunk(data)
            except CorruptChunkError:
                self._unreadable.add(("chunk", chunk))

    def _runs(self, point: int, low: int, high: int) -> list[Columns]:
        found = []
        for seq, data in self._db.execute(
            "SELECT seq, data FROM run WHERE grp IN (?, ?) AND low <= ? AND high >= ? ORDER BY seq",
            (point >> GROUP_BITS, WIDE, high, low),
        ):
            try:
                found.append(cut(slice_run(data, point), low, high))
            except CorruptChunkError:
                self._unreadable.add(("run", seq))
        return found

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """One view of chunks and runs, though another connection compacts meanwhile."""
        if self._db.in_transaction:
            yield
            return
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("COMMIT")

    # --- about itself

    def oldest(self) -> int | None:
        """The end (UTC ms) of the chunk that ends first: nothing sealed is older than it by
        more than a chunk."""
        (found,) = self._db.execute("SELECT min(high) FROM chunk WHERE point >= 0").fetchone()
        return None if found is None else int(found)

    def oldest_reading(self) -> int:
        """A time (UTC ms) that no reading with a possible time is older than; 0 when there is
        none. Readings with an impossible time may make it older than it need be."""
        found = [
            low
            for (low,) in self._db.execute(
                "SELECT min(low) FROM chunk WHERE point >= 0 UNION ALL "
                "SELECT min(low) FROM run WHERE grp >= 0 OR grp = ?",
                (WIDE,),
            )
            if low is not None
        ]
        return max(min(found), self.horizon()) if found else 0

    def horizon(self) -> int:
        """Readings older than this (UTC ms) are not kept; the smallest int64 at first."""
        row = self._db.execute("SELECT value FROM series_state WHERE key = 'horizon'").fetchone()
        return FIRST_TIME if row is None else int(row[0])

    def points(self) -> list[int]:
        """Ids of all points with readings, in order. Reads every run."""
        with self._snapshot():
            found = {
                point
                for (point,) in self._db.execute(
                    "WITH RECURSIVE next(point) AS (SELECT min(point) FROM chunk UNION ALL "
                    "SELECT (SELECT min(point) FROM chunk WHERE point > next.point) FROM next "
                    "WHERE next.point IS NOT NULL) SELECT point FROM next WHERE point IS NOT NULL"
                )
            }
            for seq, data in self._db.execute("SELECT seq, data FROM run"):
                try:
                    found.update(np.unique(decode_run(data).point).tolist())
                except CorruptChunkError:
                    self._unreadable.add(("run", seq))
        return sorted({max(point, ~point) for point in found})

    def stored(self) -> Stored:
        """What is held. Reads the head of every blob: not for every second."""

        def one(query: str) -> Any:
            return self._db.execute(query).fetchone()

        with self._snapshot():
            rows, size, chunks = one(_TOTALS + "chunk")
            run_rows, run_size, runs = one(_TOTALS + "run")
            (damaged,) = one("SELECT count(*) FROM damaged")
            self._unreadable = {blob for blob in self._unreadable if self._is_unreadable(*blob)}
        return Stored(rows, size, run_rows, run_size, chunks, runs, damaged + len(self._unreadable))

    def _is_unreadable(self, kind: str, row: int) -> bool:
        """Still: compaction may have put it aside and given its number to another."""
        query = {
            "chunk": "SELECT data FROM chunk WHERE id = ?",
            "run": "SELECT data FROM run WHERE seq = ?",
        }[kind]
        found = self._db.execute(query, (row,)).fetchone()
        try:
            if found is not None:
                (decode_chunk if kind == "chunk" else decode_run)(found[0])
        except CorruptChunkError:
            return True
        return False


# From the chunk in which :low lies, or the first one.
_CHUNKS_BETWEEN: Final = """
SELECT id, data FROM chunk WHERE point = :point AND low <= :high AND high >= :low AND low >=
coalesce((SELECT max(low) FROM chunk WHERE point = :point AND low <= :low), :first) ORDER BY low
"""
_TOTALS: Final = "SELECT coalesce(sum(n), 0), coalesce(sum(length(data)), 0), count(*) FROM "
