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
from adapters.state.ledger import SCHEMA as LEDGER_SCHEMA
from adapters.state.ledger import Ledger
from adapters.stores.columns import Rows, in_order, stacked
from adapters.stores.series import SCHEMA as HISTORY_SCHEMA
from adapters.stores.series import SeriesStore
from collector.accounts.buckets import Quarters
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
from collector.model import Batch, Entry, Mask, Qualities, Quality, Revision, Tick, Times, Values
from collector.ports import Journal, Series
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
NEAR_MS: Final = 3_600_000
"""How far around late readings the history is read at first; eightfold each time it is not
enough, and everything beyond ``FAR_MS``."""
FAR_MS: Final = 60 * 86_400_000
_ALWAYS: Final = 1 << 62

SCHEMA: Final = (
    HISTORY_SCHEMA
    + LEDGER_SCHEMA
    + """
CREATE TABLE IF NOT EXISTS point (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, zone TEXT NOT NULL, terms TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS standing (id INTEGER PRIMARY KEY CHECK (id = 0), data BLOB NOT NULL);
"""
)

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
            closed = int(str(self._file.get("closed", NEVER)))
            self._ledger = Ledger(self._file.connection, closed)
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
                for point in self._learn(*self._parse(entry)):
                    self._recount(point)
            self._seq = seq

    def commit(self, *, whole: bool = False) -> None:  # noqa: ARG002 every commit is whole
        self._settle()
        if self._changed:
            self._file.begin()
            self._run("INSERT OR REPLACE INTO standing VALUES (0, ?)", (self._standing.save(),))
            self._history.compact(self._compact_rows)
        self._file.set_cursor(self._seq)
        self._file.commit()
        self._changed = False

    def sync(self) -> int:
        """Fsync what was committed; its cursor. From a thread of its own."""
        return self._file.sync()

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
        of = self._account(point, self._history.read(point, NEVER, _ALWAYS), NEVER)
        always = (NEVER, _ALWAYS)
        self._ledger.replace(point, of, self._scales(point), always, always)
        self._stand(point, of.tail)

    def _stand(self, point: int, tail: Tail | None) -> None:
        services = self._terms[point]
        scale = 0 if tail is None else self._ledger.scale(services[tail.service].scale)
        self._standing.place(point, tail, services, scale)

    def _scales(self, point: int) -> list[int]:
        return [self._ledger.scale(of.scale) for of in self._terms[point]]

    def _place(self, point: int, tail: Tail) -> None:
        """As it stood before the restart."""
        for index, of in enumerate(self._terms.get(point, ())):
            if of.start <= tail.time < of.end:
                self._stand(point, replace(tail, service=index))
                return
        self._standing.settled[point] = False

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
        self._book(self._standing.held(quarters, self._ledger.closed))
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
                first = int(counted[0])
                one = slice(first, first + 1)
                of = account(time[one], value[one], quality[one], self._terms[point])
                self._stand(point, of.tail)
                self._standing.seen[point] = time[first]
                keep[low : low + first + 1] = False
        return rows.take(keep)

    def _tick(self, time: int) -> None:
        closed = (time - GRACE_MS) // QUARTER_MS
        if closed <= self._ledger.closed:
            return
        self._settle()
        self._file.begin()
        self._changed = True
        self._book(self._standing.release(self._standing.closing(closed)))
        self._ledger.closed = closed
        self._file.set("closed", closed)

    def _book(self, quarters: Quarters) -> None:
        """Add to the books; group = point, whose present scale it is in."""
        self._ledger.add(quarters, self._standing.scale[quarters.group])

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
        back, ahead, newest = NEAR_MS, NEAR_MS, int(self._standing.seen[point])
        while True:
            low, high = max(first - back, NEVER), min(last + ahead, newest)
            series = self._history.read(point, low, high + 1)
            undecided = self._ledger.undecided(point, low, high + 1)
            before = series.time[series.time < first]
            before = before[counting(*_columns(series, len(before)), self._terms[point])]
            before = _decided(before, undecided)
            since = int(before[-1]) if len(before) else None
            edge = (first if since is None else since) // QUARTER_MS
            begin = before[before <= edge * QUARTER_MS][-1:]
            if not len(begin) and low > NEVER and len(self._history.before(point, low, 1)):
                back = min(back * 8, _ALWAYS) if back < FAR_MS else _ALWAYS
                continue
            of = self._account(point, series, int(begin[0]) if len(begin) else NEVER)
            after = _decided(of.settled[of.settled > last], undecided)
            until = int(after[0]) if len(after) else None
            stop = _ALWAYS if until is None else -(-until // QUARTER_MS)
            if high >= newest or (len(after) and int(after[-1]) >= stop * QUARTER_MS):
                break
            ahead *= 8
        stretch = (NEVER if since is None else since, _ALWAYS if until is None else until)
        self._ledger.replace(point, of, self._scales(point), (edge, stop), stretch)
        if until is None:
            self._stand(point, of.tail)

    def _account(self, point: int, series: Series, begin: int) -> Account:
        at = int(np.searchsorted(series.time, begin))
        return account(series.time[at:], series.value[at:], series.quality[at:], self._terms[point])


def _columns(series: Series, rows: int) -> tuple[Times, Values, Qualities]:
    return series.time[:rows], series.value[:rows], series.quality[:rows]


def _decided(times: Times, undecided: list[tuple[int, int]]) -> Times:
    """Those of ``times`` that lie in no undecided stretch."""
    for since, until in undecided:
        times = times[(times <= since) | (times >= until)]
    return times


__all__ = ["Books", "BooksReader"]
