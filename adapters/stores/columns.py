"""Columns of readings in order, and what is done with them. Pure.

``Columns`` are readings of one point in order of time, ``Rows`` those of many points. Layers are
such columns where a newer one overrides an older one at equal times.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from collector.model import USABLE_IN_MEANS, Ids, Mask, Qualities, Times, Values
from collector.ports import Buckets, Series

Selector = slice | Mask | npt.NDArray[np.intp]
LAST_TIME: Final = int(np.iinfo(np.int64).max)
FIRST_TIME: Final = int(np.iinfo(np.int64).min)


class Columns(NamedTuple):
    """Readings of one point in order of time."""

    time: Times
    value: Values
    quality: Qualities

    def take(self, which: Selector) -> Columns:
        return Columns(self.time[which], self.value[which], self.quality[which])

    def series(self) -> Series:
        return Series(self.time, self.value, self.quality)


class Rows(NamedTuple):
    """Readings of many points."""

    point: Ids
    time: Times
    value: Values
    quality: Qualities

    def take(self, which: Selector) -> Rows:
        return Rows(self.point[which], self.time[which], self.value[which], self.quality[which])

    def heads(self) -> npt.NDArray[np.intp]:
        """The first row of each point, in rows sorted by point."""
        return np.flatnonzero(np.diff(self.point, prepend=self.point[:1] - 1))


EMPTY: Final = Columns(np.empty(0, np.int64), np.empty(0, np.float64), np.empty(0, np.uint8))
NO_ROWS: Final = Rows(np.empty(0, np.int32), *EMPTY)


def bucketed(series: Series, start: int, width: int) -> Buckets:
    """Statistics of ``series`` per span of ``width`` ms from ``start`` (no reading is older).

    ``first`` and ``last`` are by time; ``mean`` is the plain mean of the valid readings.
    """
    spans = (series.time - np.int64(start)).view(np.uint64) // np.uint64(width)
    heads = np.flatnonzero(np.diff(spans, prepend=spans[:1] + np.uint64(1)))
    rows = np.diff(heads, append=len(spans))
    valid = USABLE_IN_MEANS[series.quality] & ~np.isnan(series.value)
    bucket = np.repeat(np.arange(len(heads)), rows)[valid]
    value = series.value[valid]
    begins = np.flatnonzero(np.diff(bucket, prepend=-1))
    ends = np.append(begins[1:], len(value)) - 1
    which = bucket[begins]

    def spread(found: npt.NDArray[np.float64]) -> Values:
        column = np.full(len(heads), np.nan)
        column[which] = found
        return column

    count = np.zeros(len(heads), np.int64)
    count[which] = ends + 1 - begins
    low = high = mean = first = last = np.full(len(heads), np.nan)
    if len(begins):
        low, high = (
            spread(np.minimum.reduceat(value, begins)),
            spread(np.maximum.reduceat(value, begins)),
        )
        mean = spread(np.add.reduceat(value, begins) / (ends + 1 - begins))
        first, last = spread(value[begins]), spread(value[ends])
    at = (spans[heads] * np.uint64(width)).view(np.int64) + np.int64(start)
    return Buckets(at, count, low, high, mean, first, last, rows - count)


def in_order(rows: Rows) -> Rows:
    """Sorted by point, then time; of equal (point, time) the last one stays."""
    point, time = rows.point, rows.time
    if len(point) < 2:
        return rows
    if (point[1:] < point[:-1]).any():
        order = by_point(point)
        rows = rows.take(order)
        point, time = rows.point, rows.time
    same = point[1:] == point[:-1]
    if not (same & (time[1:] <= time[:-1])).any():
        return rows
    order = np.lexsort((time, point))
    point, time = point[order], time[order]
    last = np.append((point[1:] != point[:-1]) | (time[1:] != time[:-1]), True)
    kept = order[last]
    return rows.take(kept)


def by_point(point: Ids) -> npt.NDArray[np.intp]:
    """Stable order by point. numpy sorts 16-bit numbers by radix, ten times as fast."""
    offset = (point - point.min()).astype(np.uint32)
    order = np.argsort(offset.astype(np.uint16), kind="stable")
    if int(offset.max()) < 1 << 16:
        return order
    return order[np.argsort((offset >> 16).astype(np.uint16)[order], kind="stable")]


def cut(columns: Columns, low: int, high: int) -> Columns:
    """Rows with ``low <= time <= high``."""
    time = columns.time
    if not len(time) or (time[0] >= low and time[-1] <= high):
        return columns
    begin = int(np.searchsorted(time, low, side="left"))
    return columns.take(slice(begin, int(np.searchsorted(time, high, side="right"))))


def joined(parts: Sequence[Columns]) -> Columns:
    """Parts that follow each other in time, as one."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return EMPTY
    return Columns(
        np.concatenate([part.time for part in parts]),
        np.concatenate([part.value for part in parts]),
        np.concatenate([part.quality for part in parts]),
    )


def layered(layers: Sequence[Columns]) -> Columns:
    """Layers, oldest first, as one: in order of time, a newer layer winning."""
    columns = joined([layer for layer in layers if len(layer.time)])
    time = columns.time
    if (time[1:] > time[:-1]).all():
        return columns
    order = np.argsort(time, kind="stable")
    time = time[order]
    kept = order[np.append(time[1:] != time[:-1], True)]
    return columns.take(kept)


def enough(parts: Iterable[Columns], n: int, *, backwards: bool = False) -> Columns:
    """Disjoint parts in order (or backwards) until they hold ``n`` rows, as one in order."""
    found: list[Columns] = []
    rows = 0
    for part in parts:
        found.append(part)
        rows += len(part.time)
        if rows >= n:
            break
    return joined(found[::-1] if backwards else found)


def stacked(parts: Sequence[Rows]) -> Rows:
    """Rows of ``parts`` one after another."""
    if not parts:
        return NO_ROWS
    return Rows(
        np.concatenate([part.point for part in parts]),
        np.concatenate([part.time for part in parts]),
        np.concatenate([part.value for part in parts]),
        np.concatenate([part.quality for part in parts]),
    )
