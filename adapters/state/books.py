"""The books: what went through every counter, by quarter-hour, in one file.

Promise: after each commit the file holds exactly what :func:`collector.accounts.counters.account`
says of the set of readings up to the cursor and of the registry in force there, whatever the
order, lateness and repetition of the readings and however they were cut into batches and
commits. State, books and cursor change in one transaction.

How: every counter reading goes into a history of this file's own (so that this fold depends on
the journal alone). Readings that plainly follow are added by :class:`Standing`, many points at
once. For anything else the stretch between the settled readings around it is accounted with it
and without it (:class:`Mender`), and the difference is added: the work is that of the stretch,
not of the history. A reading with an impossible time is no reading of any time and is left out.

The history goes back ``history_days`` behind the ticks, and is cut once a day, at a UTC midnight,
by a week at most: the **horizon**. Books older than it stay as they are, for ever. A reading
older than it, or so near to it that what comes before is needed and gone, is counted and changes
nothing. A change of the registry reaches back to the first quarter-hour's edge that is left.

What a register showed when its meter was put in or taken out, where the registry states it, is a
reading of these books at the first or the last millisecond of the service. It is taken in where
the revision stands in the journal, or at the first tick at which that moment is past, and
withdrawn when the registry no longer states it.

A quarter-hour is **closed** once the clock of the journal (its ticks) is ``GRACE_MS`` past its
end. One that is changed after that is counted as re-opened, once for each time that the clock
moved on in between.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from adapters.state.books_reader import BooksReader
from adapters.state.foldfile import FoldFile
from adapters.state.ledger import SCHEMA as LEDGER_SCHEMA
from adapters.state.ledger import Ledger
from adapters.state.mending import ALWAYS, Mender
from adapters.stores.columns import NO_ROWS, Rows, in_order, stacked
from adapters.stores.series import SCHEMA as HISTORY_SCHEMA
from adapters.stores.series import SeriesStore
from collector.accounts.buckets import Quarters
from collector.accounts.counters import (
    QUARTER_MS,
    Tail,
    Terms,
    account,
    agreed,
    counting,
)
from collector.accounts.standing import NEVER, Standing
from collector.model import Batch, Entry, Mask, Quality, Revision, Tick
from collector.ports import Journal
from collector.registry import COUNTER, FOREVER, PointTable, Registry, Service
from collector.telemetry import Telemetry

GRACE_MS: Final = 5 * 60_000
"""A quarter-hour stays open this long after its end: readings on its edge are still coming."""
RULES: Final = 1
"""Of the account's rules: when they change, all books are written anew from the history."""
VERSION: Final = 1
PAGE_BYTES: Final = 8192
"""The blobs of the history are long: 5 percent less time than with the usual 4096."""
SETTLE_ROWS: Final = 1 << 17
COMPACT_ROWS: Final = 1 << 17
SCHEMA: Final = (
    HISTORY_SCHEMA
    + LEDGER_SCHEMA
    + """
CREATE TABLE IF NOT EXISTS point (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, zone TEXT NOT NULL, terms TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS stated (
    point INTEGER, time INTEGER, value REAL NOT NULL, PRIMARY KEY (point, time)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS standing (id INTEGER PRIMARY KEY CHECK (id = 0), data BLOB NOT NULL);
"""
)

DAY_MS: Final = 86_400_000
STRIDE_MS: Final = 7 * DAY_MS
"""The horizon goes so far in a day at most, so that a clock gone wrong does little harm."""
EXPIRED_CHUNKS: Final = 256
"""Chunks of history that one commit deletes at most."""

Parse = Callable[[Revision], tuple[Registry, PointTable]]


class Books:
    """The fold ``account`` (see ``collector.ports.Fold``).

    ``parse`` turns a journalled registry into points; it is called for the revision in force at
    the cursor and for each later one. ``history_days``: see the module; ``telemetry`` is told of
    readings older than that (``books_beyond_history``). ``compact_rows``: how much of the history
    is tidied per commit at most. Raises what ``FoldFile`` raises.
    """

    name = "account"

    def __init__(
        self,
        path: Path,
        journal: Journal,
        parse: Parse,
        *,
        reset: bool = False,
        history_days: int = 400,
        telemetry: Telemetry | None = None,
        compact_rows: int = COMPACT_ROWS,
    ) -> None:
        self._parse = parse
        self._keep_ms = history_days * DAY_MS
        self._telemetry = telemetry
        self._beyond = 0
        self._expiring = True
        self._silent: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self._compact_rows = compact_rows
        self._file = FoldFile(
            path, journal.identity, SCHEMA, version=VERSION, reset=reset, page_size=PAGE_BYTES
        )
        try:
            self._history = SeriesStore(self._file.connection)
            self._standing = Standing()
            self._terms: dict[int, tuple[Terms, ...]] = {}
            # stated registers, by point and time: all that the registry has, and those to come
            self._stated_now: dict[tuple[int, int], float] = {}
            self._due: dict[tuple[int, int], float] = {}
            self._counter: Mask = np.zeros(0, np.bool_)
            self._fresh: list[Rows] = []
            self._fresh_rows = 0
            self._changed = False
            self._seq = self._file.cursor
            closed = int(str(self._file.get("closed", NEVER)))
            self._ledger = Ledger(self._file.connection, closed)
            self._mender = Mender(
                self._file.connection,
                self._history,
                self._ledger,
                self._standing,
                self._terms,
                self._stand,
            )
            self._mender.horizon = max(NEVER, self._history.horizon())
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
                self._withdraw()
                self._state(entry.time)
            self._seq = seq

    def commit(self, *, whole: bool = False) -> None:  # noqa: ARG002 every commit is whole
        self._settle()
        if self._changed:
            self._file.begin()
            self._run("INSERT OR REPLACE INTO standing VALUES (0, ?)", (self._standing.save(),))
            self._history.compact(self._compact_rows)
            if self._expiring:
                self._expiring = (
                    self._mender.horizon != NEVER
                    and self._history.retain(self._mender.horizon, EXPIRED_CHUNKS) > 0
                )
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
        self._silent = self._standing.behind(self._mender.horizon)

    def _learn(self, registry: Registry, table: PointTable) -> list[int]:
        """Take the services of all counters; returns the points whose account they change. A
        point that the registry no longer has keeps the books it has."""
        self._counter = table.known & (table.kind == COUNTER)
        self._standing.grow(len(self._counter))
        said = dict[int, tuple[str, str, str]]()
        wanted: dict[tuple[int, int], float] = {}
        for point in np.flatnonzero(self._counter).tolist():
            of = table.points[point]
            self._terms[point] = agreed(of.counted())
            wanted |= {(point, time): value for time, value in _stated(of.services)}
            zone = registry.sites[of.site].zone
            said[point] = (of.name, zone, f"{RULES} {self._terms[point]!r}")
        self._stated_now = wanted
        taken = {row[:2]: row[2] for row in self._run("SELECT point, time, value FROM stated")}
        self._due = {at: value for at, value in wanted.items() if taken.get(at) != value}
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

    def _withdraw(self) -> None:
        """Registers that the registry no longer states are readings without a value."""
        taken: list[tuple[int, int]] = self._run("SELECT point, time FROM stated").fetchall()
        gone = [at for at in taken if at[0] in self._terms and at not in self._stated_now]
        if gone:
            self._file.connection.executemany(
                "DELETE FROM stated WHERE point = ? AND time = ?", gone
            )
            self._write_down(dict.fromkeys(gone, math.nan), Quality.NO_VALUE)

    def _state(self, now: int) -> None:
        """Take in the stated registers whose moment is past at ``now``."""
        ready = {at: value for at, value in self._due.items() if at[1] <= now}
        if ready:
            self._file.begin()
            self._file.connection.executemany(
                "INSERT OR REPLACE INTO stated VALUES (?, ?, ?)",
                [(*at, value) for at, value in ready.items()],
            )
            self._write_down(ready, Quality.MANUAL)
            self._due = {at: value for at, value in self._due.items() if at not in ready}

    def _write_down(self, rows: Mapping[tuple[int, int], float], quality: Quality) -> None:
        point, time = zip(*rows, strict=True)
        self._gather(Batch.of(point, time, list(rows.values()), [quality] * len(rows)))
        self._settle()

    def _recount(self, point: int) -> None:
        """The whole account of a point, anew from its history."""
        self._changed = True
        self._book(self._standing.release(np.array([point])))
        of = account(*self._mender.whole(point), self._terms[point])
        low = since = NEVER
        if self._mender.is_cut(point):
            since = int(of.settled[0]) if len(of.settled) else ALWAYS
            low = -(-since // QUARTER_MS)
            self._ledger.forget_undecided(point, since)
        self._ledger.replace(point, of, self._scales(point), (low, ALWAYS), (since, ALWAYS))
        if len(of.settled):
            self._mender.begin(point, int(of.settled[0]))
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
        if not len(rows.point):
            return
        # Of points silent for so long the order of arrival matters: see Mender.
        woken = bool(len(self._silent)) and bool(np.isin(rows.point, self._silent).any())
        if woken:
            self._settle()
        self._fresh.append(rows)
        self._fresh_rows += len(rows.point)
        if woken or self._fresh_rows >= SETTLE_ROWS:
            self._settle()

    def _settle(self) -> None:
        """Everything gathered goes into history and books."""
        if not self._fresh:
            return
        rows = in_order(stacked(self._fresh))
        self._fresh, self._fresh_rows = [], 0
        self._changed = True
        self._file.begin()
        beyond = rows.time < self._mender.horizon
        if beyond.any():
            self._beyond += int(np.count_nonzero(beyond))
            rows = rows.take(~beyond)
        late = rows.time <= self._standing.seen[rows.point]
        if late.any():
            self._mender.take(rows.take(late))
            rows = rows.take(~late)
        if not len(rows.point):
            return
        entered, rows = self._enter(rows)
        quarters, left = self._standing.take(*rows)
        self._book(self._standing.held(quarters, self._ledger.closed))
        slow: Mask = np.zeros(len(self._standing), np.bool_)
        slow[left] = True
        others = slow[rows.point]
        plainly = rows.take(~others) if len(left) else rows
        parts = [part for part in (entered, plainly) if len(part.point)]
        if parts:
            self._history.write(*stacked(parts))
        if len(left):
            self._mender.take_singly(rows.take(others))

    def _enter(self, rows: Rows) -> tuple[Rows, Rows]:
        """Points of which nothing was known get their first anchor; returns the rows up to it,
        and the other rows."""
        head = rows.heads()
        new = self._standing.seen[rows.point[head]] == NEVER
        if not new.any():
            return NO_ROWS, rows
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
                self._mender.begin(point, int(time[first]))
                self._standing.seen[point] = time[first]
                keep[low : low + first + 1] = False
        return rows.take(~keep), rows.take(keep)

    def _tick(self, time: int) -> None:
        day = time // DAY_MS
        if self._file.get("aged") != day:
            self._settle()
            self._file.begin()
            self._changed = True
            self._file.set("aged", day)
            self._age(day * DAY_MS - self._keep_ms)
        if self._due:
            self._state(time)
        self._close(time)

    def _age(self, wished: int) -> None:
        """The history is cut at ``wished``, or as near to it as it may be today."""
        now = self._mender.horizon
        horizon = wished if now == NEVER else min(max(now, wished), now + STRIDE_MS)
        self._mender.horizon = horizon
        self._silent = self._standing.behind(horizon)
        self._expiring = self._history.retain(horizon, EXPIRED_CHUNKS) > 0
        self._tell()

    def _tell(self) -> None:
        """Once a day: what came too late."""
        self._beyond += self._mender.refused
        self._mender.refused = 0
        if self._beyond and self._telemetry is not None:
            self._telemetry.count("books_beyond_history", self._beyond)
            self._telemetry.event(
                "readings older than the history of the books came, and change no book",
                level="warning",
                readings=self._beyond,
            )
        self._beyond = 0

    def _close(self, time: int) -> None:
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


def _stated(services: Sequence[Service]) -> Iterator[tuple[int, float]]:
    """Time and register of what the registry says of the meters' beginnings and ends."""
    for one in services:
        if one.first is not None:
            yield one.start, one.first
        if one.last is not None and one.end < FOREVER:
            yield one.end - 1, one.last


__all__ = ["Books", "BooksReader"]
