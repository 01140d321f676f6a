"""The books: what went through every counter, by quarter-hour, in one file.

Promise: after each commit the file holds exactly what :func:`collector.accounts.counters.account`
says of the set of readings up to the cursor and of the registry in force there, whatever the
order, lateness and repetition of the readings and however they were cut into batches and
commits. State, books and cursor change in one transaction.

How: every counter reading goes into a history of this file's own (so that this fold depends on
the journal alone). Readings that plainly follow are added by :class:`Standing`, many points at
once. For anything else the stretch between the settled readings around it is accounted again
from the history and its quarter-hours are written anew: the work is that of the stretch, not of
the history. A reading with an impossible time is no reading of any time and is left out.

A quarter-hour is **closed** once the clock of the journal (its ticks) is ``GRACE_MS`` past its
end. One that is changed after that is counted as re-opened, once for each time that the clock
moved on in between.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from adapters.state.books_reader import BooksReader
from adapters.state.foldfile import FoldFile
from adapters.stores.columns import Rows, in_order, stacked
from adapters.stores.series import SCHEMA as HISTORY_SCHEMA
from adapters.stores.series import SeriesStore
from collector.accounts.buckets import Quarters, spread, together
from collector.accounts.counters import (
    QUARTER_MS,
    Account,
    Tail,
    Terms,
    account,
    agreed,
    counting,
)
from collector.accounts.standing import NEVER, Standing
from collector.model import Batch, Entry, Mask, Quality, Revision, Tick, Times
from collector.ports import Journal
from collector.registry import COUNTER, PointTable, Registry

GRACE_MS: Final = 5 * 60_000
"""A quarter-hour stays open this long after its end: readings on its edge are still coming."""
RULES: Final = 1
"""Of the account's rules: when they change, all books are written anew from the history."""
VERSION: Final = 1
SETTLE_ROWS: Final = 1 << 17
COMPACT_ROWS: Final = 1 << 17
APART_MS: Final = 6 * 3_600_000
"""Late readings further apart than this are mended each by itself."""
AHEAD_MS: Final = 2 * 3_600_000
_ALWAYS: Final = 1 << 62

SCHEMA: Final = (
    HISTORY_SCHEMA
    + """
CREATE TABLE IF NOT EXISTS point (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, zone TEXT NOT NULL, terms TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS scale (id INTEGER PRIMARY KEY, value REAL NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS quarter (
    point INTEGER NOT NULL, quarter INTEGER NOT NULL, scale INTEGER NOT NULL,
    steps INTEGER NOT NULL, measured INTEGER NOT NULL, estimated INTEGER NOT NULL,
    reopened INTEGER NOT NULL, closed INTEGER NOT NULL,
    PRIMARY KEY (point, quarter, scale)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS anomaly (
    point INTEGER NOT NULL, since INTEGER NOT NULL, time INTEGER NOT NULL, kind INTEGER NOT NULL,
    until INTEGER NOT NULL, before REAL NOT NULL, after REAL NOT NULL, counted REAL,
    PRIMARY KEY (point, since, time, kind)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS standing (id INTEGER PRIMARY KEY CHECK (id = 0), data BLOB NOT NULL);
"""
)
# "quarter": amounts are steps x scale.value; a row without any measured or estimated time stands
# for a quarter-hour that was known, was closed, and is known no more. "closed": the clock (as a
# quarter-hour) when it was last re-opened. The newest quarter-hour of a point is in "standing".

_ADD: Final = """
INSERT INTO quarter VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (point, quarter, scale) DO UPDATE SET
    steps = steps + excluded.steps, measured = measured + excluded.measured,
    estimated = estimated + excluded.estimated,
    reopened = reopened + (excluded.closed > closed), closed = max(closed, excluded.closed)
"""

Parse = Callable[[Revision], tuple[Registry, PointTable]]


class Books:
    """The fold ``account`` (see ``collector.ports.Fold``).

    ``parse`` turns a journalled registry into points; it is called for the revision in force at
    the cursor and for each later one. ``compact_rows``: how much of the history is tidied per
    commit at most. Raises what ``FoldFile`` raises.
    """

    name = "account"

    def __init__(
        self,
        path: Path,
        journal: Journal,
        parse: Parse,
        *,
        reset: bool = False,
        compact_rows: int = COMPACT_ROWS,
    ) -> None:
        self._parse = parse
        self._compact_rows = compact_rows
        self._file = FoldFile(path, journal.identity, SCHEMA, version=VERSION, reset=reset)
        try:
            self._history = SeriesStore(self._file.connection)
            self._standing = Standing()
            self._terms: dict[int, tuple[Terms, ...]] = {}
            self._counter: Mask = np.zeros(0, np.bool_)
            self._fresh: list[Rows] = []
            self._fresh_rows = 0
            self._changed = False
            self._seq = self._file.cursor
            self._closed = int(str(self._file.get("closed", NEVER)))
            self._scales: dict[float, int] = {
                value: id_ for id_, value in self._run("SELECT id, value FROM scale").fetchall()
            }
            revision = journal.revision("registry", self._seq)
            self._resume(None if revision is None else parse(revision))
        except BaseException:
            self._file.close()
            raise

    @property
    def _run(self) -> Callable[..., sqlite3.Cursor]:
        return self._file.connection.execute

    def cursor(self) -> int:
        return self._file.cursor

    def apply(self, entries: Sequence[tuple[int, Entry]]) -> None:
        for seq, entry in entries:
            if isinstance(entry, Batch):
                self._gather(entry)
            elif isinstance(entry, Tick):
                self._tick(entry.time)
            elif isinstance(entry, Revision) and entry.kind == "registry":
                self._settle()
                self._file.begin()
                self._adopt(*self._parse(entry))
            self._seq = seq

    def commit(self, *, durable: bool = False) -> None:
        self._settle()
        if self._changed:
            self._file.begin()
            self._run("INSERT OR REPLACE INTO standing VALUES (0, ?)", (self._standing.save(),))
            self._history.compact(self._compact_rows)
        self._file.set_cursor(self._seq)
        self._file.commit(durable=durable)
        self._changed = False

    def close(self) -> None:
        self._file.close()

    # --- the registry

    def _resume(self, known: tuple[Registry, PointTable] | None) -> None:
        row = self._run("SELECT data FROM standing").fetchone()
        tails = self._standing.load(row[0]) if row else []
        if known is None:
            return
        with self._file.transaction():
            changed = self._learn(*known)
            for point, tail in tails:
                self._place(point, tail)
            for point in changed:
                self._recount(point)

    def _adopt(self, registry: Registry, table: PointTable) -> None:
        for point in self._learn(registry, table):
            self._recount(point)

    def _learn(self, registry: Registry, table: PointTable) -> list[int]:
        """Take the services of all counters; returns the points whose account they change. A
        point that the registry no longer has keeps the books it has."""
        self._counter = table.known & (table.kind == COUNTER)
        self._standing.grow(len(self._counter))
        said = dict[int, tuple[str, str, str]]()
        for point in np.flatnonzero(self._counter).tolist():
            of = table.points[point]
            self._terms[point] = agreed(of.services)
            zone = registry.sites[of.site].zone
            said[point] = (of.name, zone, f"{RULES} {self._terms[point]!r}")
        known = {row[0]: row[1:] for row in self._run("SELECT id, name, zone, terms FROM point")}
        self._file.connection.executemany(
            "INSERT OR REPLACE INTO point VALUES (?, ?, ?, ?)",
            [(point, *row) for point, row in said.items() if known.get(point) != row],
        )
        return [
            point
            for point, row in said.items()
            if self._standing.seen[point] != NEVER and known.get(point, row)[2] != row[2]
        ]

    def _recount(self, point: int) -> None:
        """The whole account of a point, anew from its history."""
        self._changed = True
        self._book(self._standing.release(np.array([point])))
        series = self._history.read(point, NEVER, _ALWAYS)
        of = account(series.time, series.value, series.quality, self._terms[point])
        self._write(point, of, NEVER, _ALWAYS, NEVER, _ALWAYS)
        self._standing.settled[point] = False
        if of.tail is not None:
            self._stand(point, of.tail)

    def _place(self, point: int, tail: Tail) -> None:
        """As it stood before the restart."""
        for index, of in enumerate(self._terms.get(point, ())):
            if of.start <= tail.time < of.end:
                self._stand(point, replace(tail, service=index))
                return
        self._standing.settled[point] = False

    def _stand(self, point: int, tail: Tail) -> None:
        services = self._terms[point]
        self._standing.place(point, tail, services, self._scale(services[tail.service]))

    def _scale(self, of: Terms) -> int:
        """The number of a scale in the file, given on first sight."""
        if of.scale not in self._scales:
            (id_,) = self._run(
                "INSERT INTO scale (value) VALUES (?) RETURNING id", (of.scale,)
            ).fetchone()
            self._scales[of.scale] = id_
        return self._scales[of.scale]

    # --- readings

    def _gather(self, batch: Batch) -> None:
        if not len(batch):
            return
        beyond = int(batch.point.max()) + 1 - len(self._counter)
        if beyond > 0:
            self._counter = np.append(self._counter, np.zeros(beyond, np.bool_))
        keep = self._counter[batch.point] & (batch.quality != Quality.BAD_TIME)
        rows = Rows(batch.point, batch.time, batch.value, batch.quality)
        if not keep.all():
            rows = rows.take(keep)
        if len(rows.point):
            self._fresh.append(rows)
            self._fresh_rows += len(rows.point)
            if self._fresh_rows >= SETTLE_ROWS:
                self._settle()

    def _settle(self) -> None:
        """Everything gathered goes into history and books."""
        if not self._fresh:
            return
        rows = in_order(stacked(self._fresh))
        self._fresh, self._fresh_rows = [], 0
        self._changed = True
        self._file.begin()
        self._history.write(*rows)
        rows = self._enter(rows)
        quarters, left = self._standing.take(*rows)
        self._book(self._standing.held(quarters, self._closed))
        for point in left.tolist():
            low, high = np.searchsorted(rows.point, (point, point + 1))
            self._mend(point, rows.time[low:high])

    def _enter(self, rows: Rows) -> Rows:
        """Points of which nothing was known get their first anchor; returns the other rows."""
        head = rows.heads()
        new = self._standing.seen[rows.point[head]] == NEVER
        if not new.any():
            return rows
        keep: Mask = np.ones(len(rows.point), np.bool_)
        stop = np.append(head[1:], len(keep))
        for low, high in zip(head[new].tolist(), stop[new].tolist(), strict=True):
            point = int(rows.point[low])
            _, time, value, quality = rows.take(slice(low, high))
            counted = np.flatnonzero(counting(time, value, quality, self._terms[point]))
            if len(counted):
                first = slice(int(counted[0]), int(counted[0]) + 1)
                of = account(time[first], value[first], quality[first], self._terms[point])
                assert of.tail is not None, "a reading that counts is an anchor"
                self._stand(point, of.tail)
                self._standing.seen[point] = of.tail.time
                keep[low : low + first.stop] = False
        return rows.take(keep)

    def _tick(self, time: int) -> None:
        closed = (time - GRACE_MS) // QUARTER_MS
        if closed <= self._closed:
            return
        self._settle()
        self._file.begin()
        self._changed = True
        self._book(self._standing.release(self._standing.closing(closed)))
        self._closed = closed
        self._file.set("closed", closed)

    def _book(self, quarters: Quarters) -> None:
        """Add to the books; group = point, whose present scale it is in."""
        if not len(quarters):
            return
        late = quarters.quarter < self._closed
        self._file.connection.executemany(
            _ADD,
            zip(
                quarters.group.tolist(),
                quarters.quarter.tolist(),
                self._standing.scale[quarters.group].tolist(),
                quarters.steps.tolist(),
                quarters.measured.tolist(),
                quarters.estimated.tolist(),
                late.astype(int).tolist(),
                np.where(late, self._closed, NEVER).tolist(),
                strict=True,
            ),
        )

    # --- mending

    def _mend(self, point: int, times: Times) -> None:
        """Account again around the readings at ``times``, which are in the history already."""
        self._book(self._standing.release(np.array([point])))
        cuts = np.flatnonzero(np.diff(times) > APART_MS)
        for low, high in zip(np.append(0, cuts + 1), np.append(cuts, -1), strict=True):
            self._mend_around(point, int(times[low]), int(times[high]))

    def _mend_around(self, point: int, first: int, last: int) -> None:
        """Account again from the settled reading before ``first`` to the one after ``last``
        that is settled in the old account and in the new: beyond it the two are the same. The
        quarter-hours that this stretch touches are accounted whole."""
        since = self._settled_before(point, first)
        low = (first if since is None else since) // QUARTER_MS
        begin = None if since is None else self._settled_before(point, low * QUARTER_MS + 1)
        ahead = AHEAD_MS
        while True:
            end = last + ahead
            series = self._history.read(point, NEVER if begin is None else begin, end + 1)
            of = account(series.time, series.value, series.quality, self._terms[point])
            sure = self._settled_before_too(point, of.settled[of.settled > last])
            until = int(sure[0]) if len(sure) else None
            high = _ALWAYS if until is None else -(-until // QUARTER_MS)
            if end >= int(self._standing.seen[point]) or (
                until is not None and int(sure[-1]) >= high * QUARTER_MS
            ):
                break
            ahead *= 8
        self._write(
            point,
            of,
            low,
            high,
            NEVER if since is None else since,
            _ALWAYS if until is None else until,
        )
        if until is None:
            self._standing.settled[point] = False
            if of.tail is not None:
                self._stand(point, of.tail)

    def _settled_before(self, point: int, time: int) -> int | None:
        """The newest reading before ``time`` at which the books so far are settled."""
        count = 4
        while True:
            series = self._history.before(point, time, count)
            found = series.time[
                counting(series.time, series.value, series.quality, self._terms[point])
            ]
            if len(found):
                break
            if len(series) < count:
                return None
            count *= 8
        newest = int(found[-1])
        (since,) = self._run(
            "SELECT min(since) FROM anomaly WHERE point = ? AND since < ? AND until > ?",
            (point, newest, newest),
        ).fetchone()
        return newest if since is None else int(since)

    def _settled_before_too(self, point: int, times: Times) -> Times:
        """Those of ``times`` at which the books so far are settled as well."""
        if not len(times):
            return times
        for since, until in self._run(
            "SELECT DISTINCT since, until FROM anomaly WHERE point = ? AND since < ? AND until > ?",
            (point, int(times[-1]), int(times[0])),
        ).fetchall():
            times = times[(times <= since) | (times >= until)]
        return times

    def _write(self, point: int, of: Account, low: int, high: int, since: int, until: int) -> None:
        """What ``of`` says of the quarter-hours ``[low, high)`` and of anomalies that began in
        ``[since, until)`` replaces what the file says of them."""
        self._run(
            "DELETE FROM anomaly WHERE point = ? AND since >= ? AND since < ?",
            (point, since, until),
        )
        self._file.connection.executemany(
            "INSERT INTO anomaly VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (point, a.since, a.time, int(a.kind), a.until, a.before, a.after, a.counted)
                for a in of.anomalies
                if since <= a.since < until
            ],
        )
        scales = np.array([self._scale(terms) for terms in self._terms[point]], np.int64)
        a = of.advances
        quarters = spread(a.service.astype(np.int64), a.start, a.end, a.steps, a.estimated)
        quarters = quarters.where((quarters.quarter >= low) & (quarters.quarter < high))
        if len(scales) > 1:
            quarters = together([replace(quarters, group=scales[quarters.group])])
        elif len(scales):
            quarters = replace(quarters, group=scales[quarters.group])
        self._write_quarters(point, quarters, low, high)

    def _write_quarters(self, point: int, quarters: Quarters, low: int, high: int) -> None:
        """Rows (group = scale) that replace those of ``[low, high)``; only changes are written."""
        old: dict[tuple[int, int], list[int]] = {
            (quarter, scale): row
            for quarter, scale, *row in self._run(
                "SELECT quarter, scale, steps, measured, estimated, reopened, closed FROM quarter "
                "WHERE point = ? AND quarter >= ? AND quarter < ?",
                (point, low, high),
            )
        }
        write: list[tuple[int, ...]] = []
        for quarter, scale, *amounts in zip(
            quarters.quarter.tolist(),
            quarters.group.tolist(),
            quarters.steps.tolist(),
            quarters.measured.tolist(),
            quarters.estimated.tolist(),
            strict=True,
        ):
            before = old.pop((quarter, scale), None)
            if before is None or before[:3] != amounts:
                write.append((point, quarter, scale, *amounts, *self._touched(quarter, before)))
        for (quarter, scale), before in old.items():
            if before[:3] != [0, 0, 0]:
                write.append((point, quarter, scale, 0, 0, 0, *self._touched(quarter, before)))
        self._file.connection.executemany(
            "INSERT OR REPLACE INTO quarter VALUES (?, ?, ?, ?, ?, ?, ?, ?)", write
        )

    def _touched(self, quarter: int, before: list[int] | None) -> tuple[int, int]:
        """``reopened`` and ``closed`` of a quarter-hour that changes now."""
        reopened, closed = (0, NEVER) if before is None else (before[3], before[4])
        if quarter >= self._closed or closed == self._closed:
            return reopened, closed
        return reopened + 1, self._closed


__all__ = ["Books", "BooksReader"]
