"""Readings of a batch, sorted into two lanes per point: the live one and the late one.

Only readings usable in limits (and finite, not from the future, and of a time at which their
place was in service) enter a lane. The live lane
of a point takes a reading that is not late (receipt - time <= late_after) and newer than every
one it took before. All others enter the late lane, in journal order; there a reading that is not
newer than the previous one, or follows it after more than the point's ``gap``, starts **anew**:
nothing is concluded across it. Thus both lanes always run forward in time, and how readings are
cut into batches changes nothing: each reading's lane depends only on those before it.

``Lanes`` also keeps the last sign of life of every point, for absence rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from collector.model import (
    USABLE_IN_LIMITS,
    Batch,
    Ids,
    Mask,
    Quality,
    Times,
    Values,
)
from collector.states import Spans, within
from rules.life import NEVER

FUTURE_MS: Final = 60_000
"""Beyond receipt by more than this a time is impossible (law 4)."""
GAP_MS: Final = 600_000
"""Readings further apart than this, and than three intervals, do not belong together."""
LIVE, LATE = 0, 1
Rowids = npt.NDArray[np.intp]


@dataclass(slots=True)
class Rows:
    """One lane's readings of a batch, grouped by point, in order within each.

    Per group (ascending ``point``): ``start`` and ``stop`` rows, ``high low last`` of value,
    value and time, ``before`` and ``was``: time and value of the reading before the first
    (NEVER, NaN: none), ``restarts``: the group holds a row that starts anew. Per row: ``time``,
    ``value``, ``row`` (its place in the batch), ``anew`` (late lane only).
    """

    lane: int
    point: Ids
    start: Rowids
    stop: Rowids
    high: Values
    low: Values
    last: Times
    before: Times
    was: Values
    time: Times
    value: Values
    row: Rowids
    anew: Mask | None
    restarts: Mask | None
    _slopes: tuple[Values, Values, Values] | None = None

    def __len__(self) -> int:
        return len(self.time)

    def previous(self) -> tuple[Times, Values]:
        """Time and value of the reading before each row (NEVER, NaN: none)."""
        times = np.empty_like(self.time)
        values = np.empty_like(self.value)
        times[1:], values[1:] = self.time[:-1], self.value[:-1]
        times[self.start], values[self.start] = self.before, self.was
        return times, values

    def slopes(self) -> tuple[Values, Values, Values]:
        """Change per millisecond since the previous reading: per row (NaN: none), and the
        highest and lowest of each group."""
        if self._slopes is None:
            times, values = self.previous()
            with np.errstate(invalid="ignore", divide="ignore"):
                slope = (self.value - values) / (self.time - times)
            if self.anew is not None:
                slope[self.anew] = np.nan
            high = np.fmax.reduceat(slope, self.start)
            low = np.fmin.reduceat(slope, self.start)
            self._slopes = slope, high, low
        return self._slopes


class Lanes:
    """Memory of the lanes, as arrays over stable point ids."""

    ARRAYS: Final = (
        "live_time",
        "live_value",
        "late_time",
        "late_value",
        "seen",
        "answered",
    )

    def __init__(self, late_after: int) -> None:
        self.late_after = late_after
        self.size = 0
        self.live_time = np.empty(0, np.int64)
        self.live_value = np.empty(0, np.float64)
        self.late_time = np.empty(0, np.int64)
        self.late_value = np.empty(0, np.float64)
        self.seen = np.empty(0, np.int64)
        """Receipt of the newest reading, whatever it says (but not bad-time)."""
        self.answered = np.empty(0, np.int64)
        """The same without no-communication: a gateway speaking for a silent device."""
        self.gap = np.empty(0, np.int64)
        """ms between two readings beyond which they do not belong together."""
        self._spans: dict[int, Spans] = {}
        self._partly = np.empty(0, np.bool_)

    def served(self, spans: Mapping[int, Spans]) -> None:
        """Points whose place is not always in service, and when it is."""
        self._spans = dict(spans)
        self._partly = np.zeros(max(spans, default=-1) + 1, np.bool_)
        self._partly[list(spans)] = True

    def grow(self, size: int) -> None:
        """Make room for point ids below ``size``."""
        more = size - self.size
        if more <= 0:
            return
        self.size = size
        for name in self.ARRAYS:
            array: npt.NDArray[Any] = getattr(self, name)
            empty: Any = np.nan if array.dtype.kind == "f" else NEVER
            setattr(self, name, np.concatenate([array, np.full(more, empty, array.dtype)]))
        self.gap = np.concatenate([self.gap, np.full(more, GAP_MS, np.int64)])

    def split(self, batch: Batch) -> tuple[Rows | None, Rows | None]:
        """The live and late rows of ``batch`` (None: none), which also moves the lanes on: call
        it once per batch. Points beyond the registry's are remembered but have no rules."""
        if not len(batch):
            return None, None
        top = int(batch.point.max()) + 1
        if top > self.size:
            self.grow(max(top, self.size * 5 // 4))
        keep = self._usable(batch)
        late = self._late(batch, keep)
        if late is None:
            live = keep
        else:
            live = np.flatnonzero(~late) if keep is None else keep[~late]
            keep = np.flatnonzero(late) if keep is None else keep[late]
        rows, rejected = self._live(batch, live)
        if late is None:
            laggards = rejected
        else:
            laggards = keep if rejected is None else np.sort(np.concatenate([keep, rejected]))
        if laggards is None or not len(laggards):
            return rows, None
        return rows, self._take_late(batch, laggards)

    def _usable(self, batch: Batch) -> Rowids | None:
        """Rows that may enter a lane; None: all."""
        keep = self._sound(batch)
        if not self._spans:
            return keep
        rows = np.arange(len(batch)) if keep is None else keep
        of = batch.point[rows]
        idle = (of < len(self._partly)) & self._partly[np.minimum(of, len(self._partly) - 1)]
        for at in np.flatnonzero(idle).tolist():
            idle[at] = not within(self._spans[int(of[at])], int(batch.time[rows[at]]))
        return rows[~idle] if idle.any() else keep

    def _sound(self, batch: Batch) -> Rowids | None:
        """Rows fit to be judged; None: all. Notes the signs of life on the way."""
        quality, received = batch.quality, batch.segments.received
        plain = int(quality.max()) == Quality.GOOD and bool(np.isfinite(batch.value).all())
        punctual = int(batch.time.max()) <= int(received.min()) + FUTURE_MS
        if plain and punctual:
            self._note(batch, None, None)
            return None
        possible = np.ones(len(batch), np.bool_)
        if not punctual:
            possible = batch.time <= batch.received() + FUTURE_MS
        if plain:
            self._note(batch, possible, possible)
            return np.flatnonzero(possible)
        alive = possible & (quality != Quality.BAD_TIME)
        self._note(batch, alive, alive & (quality != Quality.NO_COMMUNICATION))
        return np.flatnonzero(possible & USABLE_IN_LIMITS[quality] & np.isfinite(batch.value))

    def _note(self, batch: Batch, alive: Mask | None, answered: Mask | None) -> None:
        received = batch.segments.received
        same = len(received) == 1 or bool((received == received[0]).all())
        stamps: Any = received[0] if same else batch.received()
        for array, mask in ((self.seen, alive), (self.answered, answered)):
            if mask is None:
                array[batch.point] = stamps
            else:
                array[batch.point[mask]] = stamps if same else stamps[mask]

    def _late(self, batch: Batch, keep: Rowids | None) -> Mask | None:
        """Which of the rows ``keep`` are late; None: none."""
        bound = batch.segments.received - self.late_after
        if int(batch.time.min()) >= int(bound.max()):
            return None
        late: Mask = batch.time < np.repeat(bound, batch.segments.sizes())
        if keep is not None:
            late = late[keep]
        return late if late.any() else None

    def _live(self, batch: Batch, taken: Rowids | None) -> tuple[Rows | None, Rowids | None]:
        """Rows for the live lane out of ``taken`` (None: all), and those it will not have."""
        if taken is not None and not len(taken):
            return None, None
        order = self._order(batch.point if taken is None else batch.point[taken])
        if taken is not None:
            order = taken[order]
        point, time = batch.point[order], batch.time[order]
        start = _starts(point)
        groups = point[start]
        mark = self.live_time[groups]
        rising = time[1:] > time[:-1]
        rising[start[1:] - 1] = True
        rejected: Rowids | None = None
        if not (rising.all() and (time[start] > mark).all()):
            fresh = _ascending(time, start, mark)
            rejected, order = np.sort(order[~fresh]), order[fresh]
            if not len(order):
                return None, rejected
            point, time = point[fresh], time[fresh]
            start = _starts(point)
            groups = point[start]
        rows = _grouped(
            LIVE, groups, start, time, batch.value[order], order, self.live_time, self.live_value
        )
        return rows, rejected

    def _take_late(self, batch: Batch, taken: Rowids) -> Rows:
        order = taken[self._order(batch.point[taken])]
        point, time = batch.point[order], batch.time[order]
        start = _starts(point)
        groups = point[start]
        rows = _grouped(
            LATE, groups, start, time, batch.value[order], order, self.late_time, self.late_value
        )
        before, _ = rows.previous()
        # NEVER + gap does not overflow; time - NEVER would.
        rows.anew = (time <= before) | (time > before + self.gap[point])
        rows.restarts = np.logical_or.reduceat(rows.anew, start)
        return rows

    def _order(self, point: Ids) -> Rowids:
        """Rows by point, each point's in journal order."""
        if self.size <= 1 << 16:  # numpy's stable sort of 16 bits is a radix sort, 13 x faster
            return np.argsort(point.astype(np.uint16), kind="stable")
        low = np.argsort((point & 0xFFFF).astype(np.uint16), kind="stable")
        high = (point >> 16).astype(np.uint16)[low]
        return low[np.argsort(high, kind="stable")]


def _starts(point: Ids) -> Rowids:
    """First row of each run of equal points."""
    return np.concatenate([[0], np.flatnonzero(point[1:] != point[:-1]) + 1])


def _ascending(time: Times, start: Rowids, mark: Times) -> Mask:
    """Rows that are newer than their group's mark and every row of the group before them."""
    sizes = np.diff(start, append=len(time))
    least = int(time.min())
    span = int(time.max()) - least + 2
    # Each group shifted above the one before, so that one running maximum serves all of them.
    # The mark stands in as a row before the first, clipped into the group's own range.
    shift = np.arange(len(start), dtype=np.int64) * span
    shifted = time - (least - 1) + np.repeat(shift, sizes)
    floor = np.clip(mark - (least - 1), 0, span - 1, where=mark > NEVER, out=np.zeros_like(mark))
    floor += shift
    highest = np.empty_like(shifted)
    highest[1:] = np.maximum.accumulate(shifted)[:-1]
    highest[start] = floor
    return shifted > np.maximum(highest, np.repeat(floor, sizes))


def _grouped(
    lane: int,
    groups: Ids,
    start: Rowids,
    time: Times,
    value: Values,
    row: Rowids,
    marks: Times,
    values: Values,
) -> Rows:
    """The rows with their summaries; the lane's memory moves on to their last readings."""
    stop = np.append(start[1:], len(time))
    before, was = marks[groups], values[groups]
    last = time[stop - 1]
    marks[groups] = last
    values[groups] = value[stop - 1]
    high = np.maximum.reduceat(value, start)
    low = np.minimum.reduceat(value, start)
    return Rows(
        lane, groups, start, stop, high, low, last, before, was, time, value, row, None, None
    )
