"""How rows go into runs, and runs become fewer, and chunks. Inside the owner's transaction.

A small write becomes one *wide* run over all points; when enough of these have gathered (or by
a large write at once) they are spread into one run per group of neighbouring points. Runs of a
group are merged, tier by tier, and sealed into chunks when the group is full.

Invariants. Chunks of a point are disjoint in time. Every wide run is newer than every group's.
Merged runs are always neighbours in age and their merger takes the place of the newest, so that
the later write goes on winning. One step handles a bounded number of rows: about twice what
makes a group full, and at most ``Sizes.rewrites`` chunks.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from adapters.stores.chunks import (
    CorruptChunkError,
    decode_chunk,
    decode_run,
    encode_chunk,
    encode_run,
)
from adapters.stores.columns import EMPTY, Columns, Rows, in_order, layered, stacked
from collector.model import Mask

GROUP_BITS: Final = 6
"""64 neighbouring points share a run."""
WIDE: Final = -(1 << 40)
"""The "group" of runs over all points."""
OLDEST_TIER: Final = 99


@dataclass(frozen=True, slots=True)
class Sizes:
    """When runs become other runs, and chunks. The defaults were measured (docs/decisions/0010);
    tests use small ones to see more of the machinery with few rows."""

    wide_runs: int = 16
    """Wide runs are spread when they are so many ..."""
    wide_rows: int = 1 << 17
    """... or hold so many rows."""
    fan: int = 16
    """So many small runs of one tier are merged into one of the next."""
    seal_rows: int = 1024
    """A group is full, and sealed, when its runs hold this many rows for each of its points."""
    seal_least: int = 512
    """A point with fewer rows waits in the group's oldest run."""
    chunk_rows: int = 4096
    rewrites: int = 256
    """Chunks that one step rewrites at most for late data; the rest waits for the next."""


@dataclass(slots=True)
class _Gathered:
    """What is known of a group's runs without asking the database. It only decides when to
    look: after a rollback it may be wrong, and is set right by the next look."""

    small: int = 0
    small_rows: int = 0
    rows: int = 0
    points: int = 1

    def due(self, sizes: Sizes) -> bool:
        full = sizes.seal_rows * self.points
        return self.rows >= full or (self.small >= sizes.fan and self.small_rows < full // 4)


@dataclass(frozen=True, slots=True)
class _Run:
    seq: int
    tier: int
    rows: int
    points: int


class Compactor:
    """Merges and seals; see the module. Touches nothing until :meth:`compact` is called."""

    def __init__(self, connection: sqlite3.Connection, sizes: Sizes) -> None:
        self._db = connection
        self._sizes = sizes
        self._gathered: dict[int, _Gathered] = {}
        self._look(
            "SELECT grp, tier, count(*), sum(n), max(points) FROM run WHERE grp != ? "
            "GROUP BY grp, tier",
            WIDE,
        )

    def add(self, rows: Rows) -> None:
        """Store rows sorted by point and time, one per point and time."""
        waiting = self._db.execute(
            "SELECT seq, n FROM run WHERE grp = ? ORDER BY seq", (WIDE,)
        ).fetchall()
        total = len(rows.point) + sum(n for _, n in waiting)
        if len(waiting) + 1 < self._sizes.wide_runs and total < self._sizes.wide_rows:
            add_run(self._db, None, WIDE, 0, rows)
            return
        if waiting:
            rows = in_order(stacked([*self._taken([seq for seq, _ in waiting]), rows]))
        groups = rows.point >> GROUP_BITS
        starts = np.flatnonzero(np.diff(groups, prepend=groups[:1] - 1))
        stops = np.append(starts[1:], len(groups))
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
            group = int(groups[start])
            points = add_run(self._db, None, group, 0, rows.take(slice(start, stop)))
            self._note(group, points, stop - start, 1)

    def _taken(self, seqs: Sequence[int]) -> list[Rows]:
        """The rows of these runs, which are deleted."""
        parts = []
        for seq in seqs:
            (data,) = self._db.execute("SELECT data FROM run WHERE seq = ?", (seq,)).fetchone()
            try:
                parts.append(decode_run(data))
            except CorruptChunkError as fault:
                self._put_aside("run", seq, str(fault))
            self._db.execute("DELETE FROM run WHERE seq = ?", (seq,))
        return parts

    def compact(self, max_rows: int) -> int:
        """Handle due groups until about ``max_rows`` rows were read and written anew. Returns
        the rows; 0 if nothing was due."""
        handled = 0
        for group in [g for g, known in self._gathered.items() if known.due(self._sizes)]:
            if handled >= max_rows:
                break
            handled += self._tend(group)
        return handled

    def _note(self, group: int, points: int, rows: int, small: int) -> None:
        known = self._gathered.setdefault(group, _Gathered())
        known.rows += rows
        known.points = max(known.points, points)
        known.small += small
        known.small_rows += rows if small else 0

    def _look(self, query: str, which: int) -> None:
        for group, tier, runs, rows, points in self._db.execute(query, (which,)):
            self._note(group, points, rows, 0 if tier else runs)

    def _tend(self, group: int) -> int:
        """One step for one group: seal its oldest runs, or merge runs of one tier."""
        runs = [
            _Run(*row)
            for row in self._db.execute(
                "SELECT seq, tier, n, points FROM run WHERE grp = ? ORDER BY seq", (group,)
            )
        ]
        chosen, seal = _choose(runs, self._sizes)
        handled = self._merge(group, chosen, seal=seal) if chosen else 0
        self._gathered.pop(group, None)
        self._look("SELECT grp, tier, 1, n, points FROM run WHERE grp = ?", group)
        return handled

    def _merge(self, group: int, runs: Sequence[_Run], *, seal: bool) -> int:
        """Neighbouring runs become one in the place of the newest, less what is sealed."""
        parts = self._taken([run.seq for run in runs])
        rows = in_order(stacked(parts))
        handled = sum(run.rows for run in runs)
        if seal:
            rows, rewritten = self._seal(rows)
            handled += rewritten
        if len(rows.point):
            tier = OLDEST_TIER if seal else 1 + max(run.tier for run in runs)
            add_run(self._db, runs[-1].seq, group, tier, rows)
        return handled

    def _seal(self, rows: Rows) -> tuple[Rows, int]:
        """Points with enough rows go into chunks; the rest is returned, with the number of
        rows in the chunks that were rewritten."""
        starts = rows.heads()
        stops = np.append(starts[1:], len(rows.point))
        left: Mask = np.ones(len(rows.point), np.bool_)
        allowed, rewritten = self._sizes.rewrites, 0
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
            if stop - start < self._sizes.seal_least or not allowed:
                continue
            part = slice(start, stop)
            columns = Columns(rows.time[part], rows.value[part], rows.quality[part])
            done, used, touched = self._seal_point(int(rows.point[start]), columns, allowed)
            left[part] = ~done
            allowed -= used
            rewritten += touched
        return rows.take(left), rewritten

    def _seal_point(self, point: int, new: Columns, allowed: int) -> tuple[Mask, int, int]:
        """Rows of one point into chunks: which of them were, how many chunks were rewritten for
        that, and the rows these held.

        A row belongs to the last chunk that begins before it (the first chunk, if none does).
        Rows behind that chunk's end make chunks of their own if they are enough.
        """
        there = self._db.execute(
            "SELECT id, low, high FROM chunk WHERE point = :point AND low <= :last AND low >= "
            "coalesce((SELECT max(low) FROM chunk WHERE point = :point AND low <= :first), :first) "
            "ORDER BY low",
            {"point": point, "first": int(new.time[0]), "last": int(new.time[-1])},
        ).fetchall()
        lows = np.array([low for _, low, _ in there], np.int64)
        highs = np.array([high for _, _, high in there], np.int64)
        owner = np.searchsorted(lows, new.time, side="right") - 1
        done: Mask = owner < 0
        if there and int(np.count_nonzero(done)) < self._sizes.seal_least:
            owner[done] = 0
            done[:] = False
        elif done.any():
            self._insert(point, new.take(done))
        used = touched = 0
        for which in np.unique(owner[~done]).tolist():
            mine = owner == which
            behind = mine & (new.time > highs[which])
            if int(np.count_nonzero(behind)) >= self._sizes.seal_least:
                self._insert(point, new.take(behind))
                done |= behind
                mine &= ~behind
            if mine.any() and used < allowed:
                used += 1
                touched += self._rewrite(point, there[which][0], new.take(mine))
                done |= mine
        return done, used, touched

    def _rewrite(self, point: int, chunk: int, added: Columns) -> int:
        (data,) = self._db.execute("SELECT data FROM chunk WHERE id = ?", (chunk,)).fetchone()
        try:
            old = decode_chunk(data)
        except CorruptChunkError as fault:
            self._put_aside("chunk", chunk, str(fault))
            old = EMPTY
        self._db.execute("DELETE FROM chunk WHERE id = ?", (chunk,))
        self._insert(point, layered([old, added]))
        return len(old.time)

    def _insert(self, point: int, columns: Columns) -> None:
        rows = len(columns.time)
        pieces = -(-rows // self._sizes.chunk_rows)
        for piece in range(pieces):
            part = columns.take(slice(rows * piece // pieces, rows * (piece + 1) // pieces))
            low, high = int(part.time[0]), int(part.time[-1])
            self._db.execute(
                "INSERT INTO chunk (point, low, high, n, data) VALUES (?, ?, ?, ?, ?)",
                (point, low, high, len(part.time), encode_chunk(*part)),
            )

    def _put_aside(self, kind: str, row: int, why: str) -> None:
        """A corrupt blob leaves the readings' way, but is kept for a person to look at."""
        self._db.execute(_ASIDE[kind], (why, row))


_ASIDE: Final = {
    "run": "INSERT INTO damaged SELECT 'run', grp, n, low, high, ?, data FROM run WHERE seq = ?",
    "chunk": "INSERT INTO damaged SELECT 'chunk', point, n, low, high, ?, data FROM chunk "
    "WHERE id = ?",
}


def add_run(
    connection: sqlite3.Connection, seq: int | None, group: int, tier: int, rows: Rows
) -> int:
    """Store rows of one group, sorted, as a run (``seq`` None: the newest). Their points."""
    points = len(rows.heads())
    connection.execute(
        "INSERT INTO run VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            seq,
            group,
            tier,
            len(rows.point),
            points,
            int(rows.time.min()),
            int(rows.time.max()),
            encode_run(rows, squeeze=tier > 0),
        ),
    )
    return points


def _choose(runs: Sequence[_Run], sizes: Sizes) -> tuple[Sequence[_Run], bool]:
    """Which of a group's runs, oldest first, to merge now, and whether to seal them."""
    full = sizes.seal_rows * max((run.points for run in runs), default=1)
    if sum(run.rows for run in runs) >= full:
        rows = stop = 0
        while stop < len(runs) and rows < 2 * full:
            rows += runs[stop].rows
            stop += 1
        return runs[:stop], True
    stop = len(runs)
    while stop:
        start = stop
        while start and runs[start - 1].tier == runs[stop - 1].tier:
            start -= 1
        if stop - start >= sizes.fan and sum(run.rows for run in runs[start:stop]) < full // 4:
            return runs[start:stop], False
        stop = start
    return [], False
