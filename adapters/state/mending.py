"""The books mended around late readings: from the history, for as many points at once as can be.

Works inside the books' transaction. A reading that is in the history already, exactly so, changes
nothing and is passed over. The others are taken in stretch by stretch (see
``collector.accounts.mends``): what is around them is read from the history for many points at
once, and where all of it is plain it is accounted for all of them at once too. What is left (a
reset, a glitch, an exchange of meters nearby) is accounted by itself. Either way only the
difference that the late readings make is added to the books.

The history has a **horizon**: what is older is in the books and nowhere else. A reading whose
account would begin at one that is no longer there is refused, but for the newest readings: where
a point stands is known however long it was silent.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from adapters.state.ledger import Ledger
from adapters.stores.columns import EMPTY, Columns, Rows, in_order, joined, layered, stacked
from adapters.stores.series import SeriesStore
from collector.accounts.buckets import Quarters, spread, together
from collector.accounts.counters import Account, Tail, Terms, account, counting
from collector.accounts.mends import Read, mended
from collector.accounts.standing import NEVER, Standing
from collector.model import Mask, Times

ALWAYS: Final = 1 << 62
APART_MS: Final = 6 * 3_600_000
"""Late readings further apart than this are stretches of their own ..."""
STRETCHES: Final = 8
"""... unless a point has more of them than this."""
NEAR_MS: Final = (2 * 60_000, 20 * 60_000, 160 * 60_000)
"""How far around late readings the history is read for many points, one after the other."""
AROUND_MS: Final = 3_600_000
"""The same for one point at first; eightfold each time it is not enough, and everything beyond
``FAR_MS``."""
FAR_MS: Final = 60 * 86_400_000
AT_ONCE_MS: Final = 1024 * 3_600_000
"""How much history, over all points, is looked at in one go: a bound of the memory."""

Index = npt.NDArray[np.intp]


class Mender:
    """See the module. ``stand`` is told where a point stands when its newest reading changed."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        history: SeriesStore,
        ledger: Ledger,
        standing: Standing,
        terms: Mapping[int, tuple[Terms, ...]],
        stand: Callable[[int, Tail | None], None],
    ) -> None:
        self._db = connection
        self._history, self._ledger, self._standing = history, ledger, standing
        self._terms = terms
        self._stand = stand
        self.horizon = NEVER
        """Nothing older than this (UTC ms) is read or taken."""
        self.refused = 0
        """Readings refused since somebody last set this to zero."""

    def take(self, rows: Rows) -> None:
        """Take in late readings (sorted by point and time, each once), into the history too."""
        for part in _stretches(rows):
            fresh = self._unknown(part)
            if not len(fresh.point):
                continue
            left: Mask = self._standing.settled[fresh.point[fresh.heads()]]
            for near in NEAR_MS:
                if left.any():
                    left[left] = ~self._many(_of(fresh, left), near)
            done = self._standing.settled[fresh.point[fresh.heads()]] & ~left
            parts = [_of(fresh, done)]
            parts += [self._one(*each) for each in _each(_of(fresh, ~done))]
            self._keep(parts, len(fresh.point))

    def take_singly(self, rows: Rows) -> None:
        """The same for readings newer than any of their points of which it is known that they
        do not plainly follow."""
        self._keep([self._one(*each) for each in _each(rows)], len(rows.point))

    def _keep(self, parts: list[Rows], given: int) -> None:
        taken = in_order(stacked([part for part in parts if len(part.point)]))
        self.refused += given - len(taken.point)
        if len(taken.point):
            self._history.write(*taken)

    def release(self, points: npt.NDArray[np.int64]) -> None:
        """What is held open of ``points`` goes into the books."""
        held = self._standing.release(points)
        self._ledger.add(held, self._standing.scale[held.group])

    def _unknown(self, rows: Rows) -> Rows:
        """Those that the history does not hold exactly so. One stretch of each point."""
        head, last = rows.heads(), _lasts(rows)
        point = rows.point[head]
        known = self._history.read_many(point, rows.time[head], rows.time[last] + 1)
        if not len(known.point):
            return rows
        both = stacked([known, rows])
        order = np.lexsort((both.time, both.point))
        _, time, value, quality = ordered = both.take(order)
        twice = (ordered.point[1:] == ordered.point[:-1]) & (time[1:] == time[:-1])
        bits = value.view(np.int64)
        twice &= (bits[1:] == bits[:-1]) & (quality[1:] == quality[:-1])
        again = order[1:][twice] - len(known.point)
        keep: Mask = np.ones(len(rows.point), np.bool_)
        keep[again] = False
        return rows if keep.all() else rows.take(keep)

    # --- many at once

    def _many(self, rows: Rows, near: int) -> Mask:
        """Which points are done. One stretch of each."""
        head, last = rows.heads(), _lasts(rows)
        first, newest = rows.time[head], rows.time[last]
        width = np.cumsum(newest - first + 2 * near) // AT_ONCE_MS
        done: Mask = np.zeros(len(head), np.bool_)
        for turn in np.unique(width).tolist():
            mine = width == turn
            done[mine] = self._turn(_of(rows, mine), near)
        return done

    def _turn(self, rows: Rows, near: int) -> Mask:
        standing = self._standing
        head = rows.heads()
        point, first, last = rows.point[head], rows.time[head], rows.time[_lasts(rows)]
        seen = standing.seen[point]
        low, high = first - near, np.minimum(last + near, seen)
        known = self._history.read_many(point, low, high + 1)
        whole = in_order(stacked([known, rows]))
        found = mended(
            _read(known, point),
            _read(whole, point),
            first,
            last,
            high >= seen,
            standing.limits(point),
        )
        done = found.done & ~self._undecided(point, low, high + 1)
        quarters = found.quarters.where(done[found.quarters.group])
        self.release(point[np.unique(quarters.group)].astype(np.int64))
        self._ledger.add(
            _named(quarters, point[quarters.group]), standing.scale[point][quarters.group]
        )
        tail = done & found.last
        standing.time[point[tail]], standing.steps[point[tail]] = (
            found.time[tail],
            found.steps[tail],
        )
        return done

    def _undecided(self, point: npt.NDArray[np.int32], low: Times, high: Times) -> Mask:
        found = self._db.execute(
            "SELECT point, since, until FROM anomaly WHERE point IN "
            "(SELECT value FROM json_each(?)) AND since < ? AND until > ?",
            (json.dumps(point.tolist()), int(high.max()), int(low.min())),
        ).fetchall()
        out: Mask = np.zeros(len(point), np.bool_)
        if found:
            of, since, until = np.array(found, np.int64).T
            at = np.searchsorted(point, of)
            out[at[(since < high[at]) & (until > low[at])]] = True
        return out

    # --- one by itself

    def _one(self, point: int, fresh: Columns) -> Rows:
        """Account again from the settled reading before the first of ``fresh`` to the one after
        the last that is settled with them and without them: beyond it the two are the same.
        Returns what was taken in."""
        self.release(np.array([point]))
        newest = int(self._standing.seen[point])
        anchored = bool(self._standing.time[point] != NEVER)
        silent = anchored and bool(self._standing.time[point] < self.horizon)
        back, ahead = ALWAYS if silent else AROUND_MS, AROUND_MS
        while len(fresh.time):
            first, last = int(fresh.time[0]), int(fresh.time[-1])
            low, high = max(first - back, NEVER), min(last + ahead, newest)
            old = self._read(point, low, high) if anchored else EMPTY
            settled = self._settled(point, old, low, high)
            since = int(settled[0]) if len(settled) and settled[0] < first else None
            if since is not None:
                since = int(settled[settled < first][-1])
            elif anchored:
                if low > NEVER and self._is_older(point, low):
                    back = min(back * 8, ALWAYS) if back < FAR_MS else ALWAYS
                    continue
                if self.is_cut(point):
                    end = int(settled[0]) if len(settled) else ALWAYS
                    fresh = fresh.take(fresh.time > end)
                    continue
            was = self._account(point, old, since)
            now = self._account(point, layered([old, fresh]), since)
            both = np.intersect1d(was.settled, now.settled, assume_unique=True)
            both = both[both > last]
            until = int(both[0]) if len(both) else None
            if until is None and high < newest:
                ahead *= 8
                continue
            self._differ(point, was, now, NEVER if since is None else since, until)
            if until is None:
                self._stand(point, now.tail)
            if since is None and len(now.settled):
                self.begin(point, int(now.settled[0]))
            break
        return Rows(np.full(len(fresh.time), point, np.int32), *fresh)

    def whole(self, point: int) -> Columns:
        """All readings of a point that are left, in front of them its anchor if it is not."""
        return self._read(point, NEVER, ALWAYS)

    def _read(self, point: int, low: int, high: int) -> Columns:
        found = self._history.read(point, low, high + 1)
        columns = Columns(found.time, found.value, found.quality)
        at = int(self._standing.time[point])
        if at == NEVER or at >= self.horizon:
            return columns
        value = self._standing.value(point)
        anchor = Columns(np.array([at]), np.array([value]), np.zeros(1, np.uint8))
        return joined([anchor, columns])

    def begin(self, point: int, time: int) -> None:
        """The account of ``point`` begins with a reading of ``time``."""
        self._db.execute(
            "INSERT INTO began VALUES (?, ?) ON CONFLICT (point) DO UPDATE "
            "SET time = min(time, excluded.time)",
            (point, time),
        )

    def is_cut(self, point: int) -> bool:
        """The account of ``point`` begins before the horizon."""
        if self.horizon <= NEVER:
            return False
        row = self._db.execute("SELECT time FROM began WHERE point = ?", (point,)).fetchone()
        return row is not None and row[0] < self.horizon

    def _is_older(self, point: int, time: int) -> bool:
        return bool(len(self._history.before(point, time, 1)))

    def _settled(self, point: int, old: Columns, low: int, high: int) -> Times:
        """Times of the readings in ``old`` that are settled in the books."""
        time = old.time[counting(*old, self._terms[point])]
        low = int(old.time[0]) if len(old.time) else low
        for since, until in self._ledger.undecided(point, low, high + 1):
            time = time[(time <= since) | (time >= until)]
        return time

    def _account(self, point: int, of: Columns, since: int | None) -> Account:
        at = 0 if since is None else int(np.searchsorted(of.time, since))
        return account(*of.take(slice(at, None)), self._terms[point])

    def _differ(
        self, point: int, was: Account, now: Account, since: int, until: int | None
    ) -> None:
        """Between the two readings the books say ``now`` instead of ``was``."""
        end = ALWAYS if until is None else until
        delta = together([_went(now, end, 1), _went(was, end, -1)])
        changed = (delta.steps != 0) | (delta.measured != 0) | (delta.estimated != 0)
        delta = delta.where(changed)
        scales = [self._ledger.scale(of.scale) for of in self._terms[point]]
        scale = np.array(scales, np.int64)[delta.group]
        self._ledger.add(_named(delta, np.full(len(delta), point, np.int64)), scale)
        self._ledger.replace_anomalies(point, now, since, end)


def _went(of: Account, until: int, sign: int) -> Quarters:
    """What went through before ``until``, times ``sign``; group = index of the service."""
    a, n = of.advances, int(np.searchsorted(of.advances.end, until, "right"))
    part = spread(
        a.service[:n].astype(np.int64), a.start[:n], a.end[:n], a.steps[:n], a.estimated[:n]
    )
    return Quarters(
        part.group, part.quarter, sign * part.steps, sign * part.measured, sign * part.estimated
    )


def _named(of: Quarters, group: npt.NDArray[np.integer]) -> Quarters:
    return Quarters(group.astype(np.int64), of.quarter, of.steps, of.measured, of.estimated)


def _read(rows: Rows, point: npt.NDArray[np.int32]) -> Read:
    head = rows.heads()
    of = np.repeat(np.searchsorted(point, rows.point[head]), np.diff(head, append=len(rows.point)))
    return Read(of, rows.time, rows.value, rows.quality)


def _lasts(rows: Rows) -> Index:
    return np.append(rows.heads()[1:], len(rows.point))[: len(rows.heads())] - 1


def _of(rows: Rows, which: Mask) -> Rows:
    """Rows of those points (in order) that ``which`` selects."""
    if which.all():
        return rows
    return rows.take(np.repeat(which, np.diff(rows.heads(), append=len(rows.point))))


def _each(rows: Rows) -> Iterator[tuple[int, Columns]]:
    head = rows.heads()
    for low, high in zip(head.tolist(), (_lasts(rows) + 1).tolist(), strict=True):
        yield int(rows.point[low]), Columns(*rows.take(slice(low, high))[1:])


def _stretches(rows: Rows) -> Iterator[Rows]:
    """``rows`` in parts that hold at most one stretch of a point."""
    if not len(rows.point):
        return
    head = rows.heads()
    new: Mask = np.diff(rows.time, prepend=rows.time[:1]) > APART_MS
    new[head] = False
    nth: Index = np.cumsum(new, dtype=np.intp)
    nth = nth - np.repeat(nth[head], np.diff(head, append=len(nth)))
    if int(nth.max()) >= STRETCHES:
        nth[:] = 0
    for turn in range(int(nth.max()) + 1):
        yield rows.take(nth == turn) if nth.any() else rows
