"""What the books say of quarter-hours, hours and days, as it becomes final, and as it changes.

Promise: a span is told once all its quarter-hours are closed, and again when one of them was
changed after that. What is told carries a **revision**, and the same span under the same revision
is the same amount, whoever asks, however often, and whatever crashed in between: a quarter-hour
that was re-opened is told only after the clock of the books moved on, because until then further
changes count as the same re-opening (``reopened``, see :mod:`adapters.state.ledger`). A changed
span has a higher revision than before.

Nobody keeps a list of changes. Who asks says where the clock stood when it asked last, and rows say
where it stood when they were changed; so any number of askers go at their own pace. A long way is
gone in steps: points in order of their ids, of each point its local days.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import chain, groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from adapters.state.books_reader import amounts
from adapters.state.foldfile import open_reader
from collector.accounts.calendar import edges
from collector.accounts.counters import QUARTER_MS
from collector.accounts.standing import NEVER
from collector.model import Mask, Times, Values

LEVELS: Final = ("15m", "hour", "day")
START: Final = (-1, NEVER)
"""Before every point."""
_DAY: Final = 104
"""Quarter-hours that a local day has at most, and some."""

Place = tuple[int, int]
"""How far a step came: a point, and the quarter-hour of it from which the next one goes on."""


class Told(NamedTuple):
    """One span of one point (``name``: of the point; ``level``: one of ``LEVELS``). ``start`` UTC
    ms; ``amount measured estimated`` as in ``Spans``, all zero for what was told and is known no
    more; ``revision``: see the module."""

    name: str
    level: str
    start: int
    amount: float
    measured: float
    estimated: float
    revision: int


class _Piece(NamedTuple):
    """Quarter-hours ``[low, high)`` of a point that have something to tell; ``spans``: about how
    much."""

    point: int
    zone: str
    low: int
    high: int
    spans: int


class _Rows(NamedTuple):
    point: npt.NDArray[np.int64]
    quarter: Times
    scale: Values
    steps: Times
    measured: Times
    estimated: Times
    reopened: Times
    closed: Times


class BooksChanges:
    """See the module. One thread. Raises ``TemporaryError`` while there are no books yet."""

    def __init__(self, path: Path) -> None:
        self._db = open_reader(path)

    def close(self) -> None:
        self._db.close()

    def closed(self) -> int:
        """Quarter-hours before this number are closed; ``NEVER`` at first."""
        row = self._db.execute("SELECT value FROM meta WHERE key = 'closed'").fetchone()
        return NEVER if row is None else int(row[0])

    def told(
        self, since: int, until: int, after: Place, room: int
    ) -> tuple[list[Told], Place | None]:
        """What became final, or changed for good, while the clock of the books went from ``since``
        to ``until`` (numbers that :meth:`closed` gave, or ``NEVER``): the part behind ``after``,
        about ``room`` spans of it. Also where the next part begins, None when this was the last."""
        self._db.execute("BEGIN")
        try:
            pieces, follows = self._pieces(since, until, after, room)
            rows = self._rows(pieces)
            names = dict(self._db.execute("SELECT id, name FROM point").fetchall())
            closed = self.closed()
        finally:
            self._db.execute("COMMIT")
        zones = {piece.point: piece.zone for piece in pieces}
        found: list[Told] = []
        for zone in sorted(set(zones.values())):
            points = [point for point, its in zones.items() if its == zone]
            mine = _where(rows, np.isin(rows.point, points))
            for level in LEVELS if len(mine.point) else ():
                found += _spans(mine, level, zone, (since, until, closed), names)
        return found, follows

    def _pieces(
        self, since: int, until: int, after: Place, room: int
    ) -> tuple[list[_Piece], Place | None]:
        taken: list[_Piece] = []
        # Closed before the snapshot is: an unfinished question would keep it open.
        with closing(self._db.execute(*_reopened(since, until, after[0]))) as reopened:
            for piece in self._all_pieces(since, until, after, reopened):
                if room <= 0:
                    return taken, (piece.point, piece.low)
                taken.append(piece)
                room -= piece.spans
        return taken, None

    def _all_pieces(
        self, since: int, until: int, after: Place, changed: Iterable[tuple[int, int]]
    ) -> Iterator[_Piece]:
        at, begin = after
        zones = self._db.execute("SELECT id, zone FROM point WHERE id >= ? ORDER BY id", (at,))
        reopened = groupby(changed, itemgetter(0))
        again: tuple[int, list[int]] = (-1, [])
        ranges: dict[str, list[tuple[int, int, int]]] = {}
        for point, zone in zones.fetchall():
            while again[0] < point and (group := next(reopened, None)) is not None:
                again = (group[0], [quarter for _, quarter in group[1]])
            if until - since > _DAY:
                whole = _ranges(zone, *self._extent(point, since, until), until)
            else:
                if zone not in ranges:
                    ranges[zone] = _ranges(zone, since, until, until)
                whole = ranges[zone]
            first = whole[0][0] if whole else until
            late = again[1] if again[0] == point else []
            for low, high, spans in chain(_days(zone, late, first), whole):
                if point > at or high > begin:
                    yield _Piece(point, zone, low, high, spans)

    def _extent(self, point: int, since: int, until: int) -> tuple[int, int]:
        """The part of ``[since, until)`` in which the books hold anything of a point."""
        low, high = self._db.execute(
            "SELECT (SELECT min(quarter) FROM quarter WHERE point = ?1 AND quarter >= ?2), "
            "(SELECT max(quarter) FROM quarter WHERE point = ?1 AND quarter < ?3)",
            (point, since - _DAY if since != NEVER else NEVER, until),
        ).fetchone()
        if low is None or high is None or low > high:
            return until, until
        return max(low, since), min(high + _DAY, until)

    def _rows(self, pieces: list[_Piece]) -> _Rows:
        found = self._db.execute(
            "WITH piece AS (SELECT value ->> 0 AS point, value ->> 1 AS low, value ->> 2 AS high "
            "FROM json_each(?)) SELECT q.point, q.quarter, q.scale, q.steps, q.measured, "
            "q.estimated, q.reopened, q.closed FROM piece CROSS JOIN quarter AS q ON "
            "q.point = piece.point AND q.quarter >= piece.low AND q.quarter < piece.high",
            (json.dumps([(piece.point, piece.low, piece.high) for piece in pieces]),),
        ).fetchall()
        columns = np.array(found, np.int64).reshape(-1, 8)
        columns = columns[np.lexsort((columns[:, 1], columns[:, 0]))].T
        scales = dict(self._db.execute("SELECT id, value FROM scale").fetchall())
        scale = np.array([scales[id_] for id_ in columns[2].tolist()], np.float64)
        return _Rows(columns[0], columns[1], scale, *columns[3:])


def _reopened(since: int, until: int, point: int) -> tuple[str, tuple[int, int, int]]:
    """Asks for point and quarter-hour of what was re-opened, from ``point`` on, in order of
    points. Who asks for the first time gets all of it in any case."""
    return _REOPENED, (-NEVER if since == NEVER else since, until, point)


_REOPENED: Final = (
    "SELECT p.id, q.quarter FROM point AS p CROSS JOIN quarter AS q ON q.point = p.id "  # noqa: S608 a constant
    f"AND q.closed > {NEVER} AND q.closed >= ? AND q.closed < ? WHERE p.id >= ? ORDER BY p.id"
)


def _ranges(zone: str, since: int, end: int, until: int) -> list[tuple[int, int, int]]:
    """``[since, end)`` by local days (low, high, about how many spans), the first one from where
    the first span begins that ends within."""
    if end <= since:
        return []
    low = since
    for level in ("hour", "day"):
        first, ends = edges(level, zone, since * QUARTER_MS, end * QUARTER_MS)[:2].tolist()
        if ends <= until * QUARTER_MS:
            low = min(low, first // QUARTER_MS)
    found = []
    days = edges("day", zone, low * QUARTER_MS, end * QUARTER_MS) // QUARTER_MS
    for day, following in pairwise(days.tolist()):
        begin, high = max(day, low), min(following, until)
        new = high - max(begin, since)
        found.append((begin, high, new + new // 4 + 2))
    return found


def _days(zone: str, quarters: list[int], before: int) -> Iterator[tuple[int, int, int]]:
    """The local days of ``quarters``, as far as they are before ``before``."""
    left = sorted({quarter for quarter in quarters if quarter < before})
    while left:
        day = edges("day", zone, left[0] * QUARTER_MS, left[0] * QUARTER_MS + 1) // QUARTER_MS
        low, high = day.tolist()
        later = [quarter for quarter in left if quarter >= high]
        yield low, min(high, before), 3 * (len(left) - len(later))
        left = later


def _where(rows: _Rows, keep: Mask) -> _Rows:
    ints = (rows.steps, rows.measured, rows.estimated, rows.reopened, rows.closed)
    return _Rows(
        rows.point[keep], rows.quarter[keep], rows.scale[keep], *(one[keep] for one in ints)
    )


def _spans(
    rows: _Rows, level: str, zone: str, clock: tuple[int, int, int], names: dict[int, str]
) -> list[Told]:
    """Sums of rows (sorted by point and quarter) that have something to tell."""
    since, until, closed = clock
    time = rows.quarter * QUARTER_MS
    bounds = edges(level, zone, int(time.min()), int(time.max()) + 1)
    at = np.searchsorted(bounds, time, "right") - 1
    start, end = bounds[at], bounds[at + 1]
    head = np.flatnonzero(
        (np.diff(rows.point, prepend=-1) != 0) | (np.diff(start, prepend=start[0] - 1) != 0)
    )
    span = np.repeat(np.arange(len(head)), np.diff(head, append=len(time)))
    # Compared as quarter-hours: NEVER is one, and no time in milliseconds.
    over = -(-end // QUARTER_MS)
    due = (over > since) | ((rows.closed >= since) & (rows.closed < until))
    due = np.logical_or.reduceat(due, head)
    due &= over[head] <= until
    due &= np.maximum.reduceat(rows.closed, head) < closed
    width = (end - start)[head]
    measured, estimated, revision = (
        np.add.reduceat(column, head) for column in (rows.measured, rows.estimated, rows.reopened)
    )
    due &= (measured + estimated > 0) | (revision > 0)
    amount = amounts(span, len(head), rows.scale, rows.steps)
    columns = (
        rows.point[head],
        start[head],
        amount,
        measured / width,
        estimated / width,
        revision,
    )
    return [
        Told(names[point], level, *rest)
        for point, *rest in zip(*(column[due].tolist() for column in columns), strict=True)
    ]
