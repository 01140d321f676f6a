"""The books, read: amounts by quarter-hour, hour, day and month, totals, and what was odd.

Promise: every answer is of one commit of the fold, and may be asked for from any thread (one
reader per thread) or process while the fold writes. Hours, days and months are sums of
quarter-hours, in the time zone of the point's site. A span of which nothing is known is not
there; it is never a zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from adapters.state.foldfile import open_reader
from collector.accounts.calendar import edges
from collector.accounts.counters import QUARTER_MS, Kind
from collector.accounts.standing import NEVER, SAVED
from collector.model import Mask, Times, Values

_WORDS: Final[dict[Kind, tuple[str, str]]] = {
    Kind.RESET: (
        "the register fell from {before:.10g} to {after:.10g} and went on from there: a reset",
        "读数由 {before:.10g} 降到 {after:.10g} 并继续走字：表计归零",
    ),
    Kind.ROLLOVER: (
        "the register rolled over from {before:.10g} to {after:.10g}",
        "读数由 {before:.10g} 翻转到 {after:.10g}：计数器满量程归零",
    ),
    Kind.GLITCH: (
        "one reading of {after:.10g} after {before:.10g} fits neither neighbour: left out",
        "{before:.10g} 之后的单个读数 {after:.10g} 与前后不符：不计入",
    ),
    Kind.JUMP: (
        "the register leapt from {before:.10g} to {after:.10g}, more than this meter can count",
        "读数由 {before:.10g} 跳到 {after:.10g}，超出该表可能的最大走字",
    ),
    Kind.REPLACEMENT: (
        "the meter was replaced: the old one ended at {before:.10g}, the new began at {after:.10g}",
        "换表：旧表止码 {before:.10g}，新表起码 {after:.10g}",
    ),
    Kind.PENDING: (
        "the register went from {before:.10g} to {after:.10g}: waits for a second reading",
        "读数由 {before:.10g} 变为 {after:.10g}：等待下一次读数确认",
    ),
}
_COUNTED: Final = ("; {:.10g} counted", "；计入 {:.10g}")
_NOT_COUNTED: Final = ("; nothing counted", "；不计入电量")


@dataclass(frozen=True, slots=True)
class Spans:
    """Amounts of one point by span; columns, one row for each span of which anything is known.

    ``start end`` UTC ms; ``amount`` canonical units after the ratio; ``measured estimated``:
    shares of the span (0 .. 1) that readings close together cover, and that only a wider gap
    does; what is missing to 1 is not known; ``flags``: bits of :class:`Kind` of what was odd
    within; ``reopened``: how often it (at hours and more: all its quarter-hours together) was
    changed after it had been closed.
    """

    start: Times
    end: Times
    amount: Values
    measured: Values
    estimated: Values
    flags: npt.NDArray[np.int64]
    reopened: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.start)


@dataclass(frozen=True, slots=True)
class Oddity:
    """An anomaly of one point as the books hold it; see ``collector.accounts.counters.Anomaly``.
    ``words`` and ``words_zh`` say it to a person."""

    point: int
    kind: Kind
    time: int
    since: int
    until: int
    before: float
    after: float
    counted: float | None

    @property
    def words(self) -> str:
        return self._say(0)

    @property
    def words_zh(self) -> str:
        return self._say(1)

    def _say(self, language: int) -> str:
        text = _WORDS[self.kind][language].format(before=self.before, after=self.after)
        if self.kind not in {Kind.RESET, Kind.JUMP}:
            return text
        if self.counted is None:
            return text + _NOT_COUNTED[language]
        return text + _COUNTED[language].format(self.counted)


class BooksReader:
    """See the module. Raises ``TemporaryError`` while there are no books yet."""

    def __init__(self, path: Path) -> None:
        self._db = open_reader(path)

    def close(self) -> None:
        self._db.close()

    def points(self) -> dict[int, str]:
        """Names of all counters that were ever in the registry, by id."""
        return dict(self._db.execute("SELECT id, name FROM point ORDER BY id").fetchall())

    def zone(self, point: int) -> ZoneInfo:
        """In which zone the point's days begin; UTC for an unknown point."""
        row = self._db.execute("SELECT zone FROM point WHERE id = ?", (point,)).fetchone()
        return ZoneInfo(row[0] if row else "UTC")

    def buckets(self, point: int, level: str, start: int, end: int) -> Spans:
        """The spans of ``level`` (``15m hour day month``) that meet ``[start, end)``, whole.
        An unknown point has none. Raises ``ValueError`` for an unknown level."""
        with self._snapshot():
            row = self._db.execute("SELECT zone FROM point WHERE id = ?", (point,)).fetchone()
            first, last = self._extent(point)
            start, end = max(start, first * QUARTER_MS), min(end, last * QUARTER_MS)
            bounds = edges(level, row[0] if row else "UTC", start, end)
            low, high = int(bounds[0]), int(bounds[-1])
            rows = self._quarters(point, low // QUARTER_MS, high // QUARTER_MS)
            odd = self._oddities(point, low, high)
        return _summed(bounds, rows, odd)

    def total(self, point: int, start: int, end: int) -> float | None:
        """What went through in the quarter-hours that begin in ``[start, end)`` (UTC ms),
        canonical units; None when nothing of them is known."""
        low, high = -(-start // QUARTER_MS), -(-end // QUARTER_MS)
        with self._snapshot():
            rows = self._quarters(point, low, high)
        if not (rows.measured + rows.estimated).sum():
            return None
        return float(amounts(np.zeros(len(rows.quarter), np.int64), 1, rows.scale, rows.steps)[0])

    def anomalies(
        self, point: int | None = None, start: int = NEVER, end: int = -NEVER
    ) -> list[Oddity]:
        """What was odd at ``start <= time < end``, in order of time; of all points when none is
        given."""
        rows = self._db.execute(
            "SELECT point, kind, time, since, until, before, after, counted FROM anomaly "
            "WHERE (?1 IS NULL OR point = ?1) AND time >= ?2 AND time < ?3 ORDER BY time, point",
            (point, start, end),
        )
        return [Oddity(of, Kind(kind), *rest) for of, kind, *rest in rows]

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("COMMIT")

    def _oddities(self, point: int, start: int, end: int) -> list[tuple[int, int, int]]:
        return self._db.execute(
            "SELECT since, time, kind FROM anomaly WHERE point = ? AND since < ? AND time > ?",
            (point, end, start),
        ).fetchall()

    def _extent(self, point: int) -> tuple[int, int]:
        """The quarter-hours ``[low, high)`` in which the books hold anything of ``point``."""
        (low, high) = self._db.execute(
            "SELECT min(quarter), max(quarter) FROM quarter WHERE point = ?", (point,)
        ).fetchone()
        held = self._held(point)
        known = [low, high] if low is not None else []
        known += [held[0]] if held is not None else []
        return (min(known), max(known) + 1) if known else (0, 0)

    def _quarters(self, point: int, low: int, high: int) -> _Rows:
        """Rows of the books with ``low <= quarter < high``, the open quarter-hour included."""
        scales: dict[int, float] = dict(self._db.execute("SELECT id, value FROM scale").fetchall())
        found = self._db.execute(
            "SELECT quarter, scale, steps, measured, estimated, reopened FROM quarter "
            "WHERE point = ? AND quarter >= ? AND quarter < ?",
            (point, low, high),
        ).fetchall()
        held = self._held(point)
        if held is not None and low <= held[0] < high:
            found.append(held)
        columns = np.array(found, np.int64).reshape(-1, 6).T
        scale = np.array([scales[id_] for id_ in columns[1].tolist()], np.float64)
        return _Rows(columns[0], scale, *columns[2:])

    def _held(self, point: int) -> tuple[int, int, int, int, int, int] | None:
        saved = self._db.execute("SELECT data FROM standing").fetchone()
        if saved is None:
            return None
        rows = np.frombuffer(saved[0], SAVED)
        at = int(np.searchsorted(rows["point"], point))
        if at == len(rows) or rows["point"][at] != point or rows["quarter"][at] == NEVER:
            return None
        names = ("quarter", "scale", "quarter_steps", "measured", "estimated")
        quarter, scale, steps, measured, estimated = (int(rows[name][at]) for name in names)
        return quarter, scale, steps, measured, estimated, 0


@dataclass(frozen=True, slots=True)
class _Rows:
    quarter: Times
    scale: Values
    steps: Times
    measured: Times
    estimated: Times
    reopened: Times


def amounts(span: npt.NDArray[np.int64], spans: int, scale: Values, steps: Times) -> Values:
    """Sum per span of rows (columns: ``span scale steps``). Steps of one scale are added as
    integers, then scaled: exact."""
    amount = np.zeros(spans)
    for value in np.unique(scale).tolist():
        mine = scale == value
        counted = np.zeros(spans, np.int64)
        np.add.at(counted, span[mine], steps[mine])
        amount += counted * value
    return amount


def _summed(bounds: Times, rows: _Rows, odd: list[tuple[int, int, int]]) -> Spans:
    spans = len(bounds) - 1
    span = np.searchsorted(bounds, rows.quarter * QUARTER_MS, "right") - 1
    flags = np.zeros(spans, np.int64)
    for since, time, kind in odd:
        flags[(bounds[:-1] < time) & (bounds[1:] > since)] |= kind

    def added(column: Times) -> Times:
        out = np.zeros(spans, np.int64)
        np.add.at(out, span, column)
        return out

    measured, estimated, width = added(rows.measured), added(rows.estimated), np.diff(bounds)
    known: Mask = measured + estimated > 0
    return Spans(
        bounds[:-1][known],
        bounds[1:][known],
        amounts(span, spans, rows.scale, rows.steps)[known],
        (measured / width)[known],
        (estimated / width)[known],
        flags[known],
        added(rows.reopened)[known],
    )
