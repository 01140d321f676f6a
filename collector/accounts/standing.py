"""Where every counter stands now, as arrays by point id: the fast way into the books. Pure.

Readings that come in order and plainly follow (nearly all) are accounted for many points at
once, by the same arithmetic as :mod:`collector.accounts.counters`; a point with anything else
among its readings (late, out of line, beyond its service, not settled) is left to the caller,
untouched but for ``seen``, to be accounted again from its history.

The newest quarter-hour of each point is held open here, so that a batch in the middle of a
quarter-hour writes nothing; ``held`` says when it goes into the books.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from collector.accounts.buckets import Quarters, spread, together
from collector.accounts.counters import Tail, Terms, plain, registers, usable
from collector.model import Ids, Mask, Qualities, Times, Values

NEVER: Final = -(1 << 62)

SAVED: Final = np.dtype(
    [
        ("point", "<i4"),
        ("settled", "?"),
        ("seen", "<i8"),
        ("time", "<i8"),
        ("steps", "<i8"),
        ("quarter", "<i8"),
        ("quarter_steps", "<i8"),
        ("measured", "<i4"),
        ("estimated", "<i4"),
        ("scale", "<i4"),
    ]
)
"""What is kept of a point over a restart; the rest follows from the registry."""


class Limits(NamedTuple):
    """Of the service in which the anchor lies: columns, see ``counters.Terms``; ``half`` the
    modulus."""

    start: Times
    end: Times
    gap: Times
    half: Times
    per_ms: Values
    quantum: Values


class Standing:
    """Columns by point id: ``seen`` newest time of any reading (``NEVER``: none); ``time
    steps`` the anchor (``time`` ``NEVER``: none); ``settled``: there is one and nothing is
    pending; ``quarter quarter_steps measured estimated`` what is held of the newest
    quarter-hour (``NEVER``: none); ``scale``: whatever number the caller gave to the scale of
    the anchor's service."""

    def __init__(self) -> None:
        self._size = 0
        self.seen: Times = np.empty(0, np.int64)
        self.time: Times = np.empty(0, np.int64)
        self.steps: Times = np.empty(0, np.int64)
        self.settled: Mask = np.empty(0, np.bool_)
        self.quarter: Times = np.empty(0, np.int64)
        self.quarter_steps: Times = np.empty(0, np.int64)
        self.measured: Times = np.empty(0, np.int64)
        self.estimated: Times = np.empty(0, np.int64)
        self.scale: Times = np.empty(0, np.int64)
        self._start: Times = np.empty(0, np.int64)
        self._end: Times = np.empty(0, np.int64)
        self._gap: Times = np.empty(0, np.int64)
        self._half: Times = np.empty(0, np.int64)
        self._per_ms: Values = np.empty(0, np.float64)
        self._quantum: Values = np.empty(0, np.float64)

    def __len__(self) -> int:
        return self._size

    def grow(self, size: int) -> None:
        """Room for points ``0 .. size - 1``."""
        if size <= self._size:
            return
        size = max(size, 2 * self._size, 64)
        for name, first in (("seen", NEVER), ("time", NEVER), ("quarter", NEVER)):
            self._extend(name, size, first)
        self._extend("_quantum", size, 1)
        for name in ("steps", "settled", "quarter_steps", "measured", "estimated"):
            self._extend(name, size, 0)
        for name in ("scale", "_start", "_end", "_gap", "_half", "_per_ms"):
            self._extend(name, size, 0)
        self._size = size

    def _extend(self, name: str, size: int, first: int) -> None:
        old: npt.NDArray[np.generic] = getattr(self, name)
        new = np.full(size, first, old.dtype)
        new[: len(old)] = old
        setattr(self, name, new)

    def place(self, point: int, tail: Tail | None, services: Sequence[Terms], scale: int) -> None:
        """``point`` stands where its account ended. The open quarter-hour must be empty, or of
        the same ``scale``."""
        self.settled[point] = tail is not None and not tail.pending
        if tail is None:
            self.time[point] = NEVER
            return
        terms = services[tail.service]
        self.time[point], self.steps[point], self.scale[point] = tail.time, tail.steps, scale
        self._start[point], self._end[point], self._gap[point] = terms.start, terms.end, terms.gap
        self._half[point], self._per_ms[point] = terms.modulus // 2, terms.per_ms
        self._quantum[point] = terms.quantum

    def limits(self, ids: Ids) -> Limits:
        """What bounds the counters ``ids``, all of which have an anchor."""
        return Limits(
            self._start[ids],
            self._end[ids],
            self._gap[ids],
            self._half[ids],
            self._per_ms[ids],
            self._quantum[ids],
        )

    def value(self, point: int) -> float:
        """What the register showed at the anchor."""
        return float(self.steps[point] * self._quantum[point])

    def behind(self, time: int) -> npt.NDArray[np.int64]:
        """Points whose anchor is older than ``time``."""
        return np.flatnonzero((self.time != NEVER) & (self.time < time))

    def take(
        self, point: Ids, time: Times, value: Values, quality: Qualities
    ) -> tuple[Quarters, Ids]:
        """Account what plainly follows. Rows sorted by point, then time, each once.

        Returns what went into which quarter-hours (group = point) and the points that were left
        to the caller.
        """
        if not len(point):
            return _nothing(), point
        head = np.flatnonzero(np.diff(point, prepend=point[:1] - 1))
        ids = point[head]
        slow = np.zeros(self._size, np.bool_)
        slow[ids] = (time[head] <= self.seen[ids]) | ~self.settled[ids]
        newest = time[np.append(head[1:], len(point)) - 1]
        self.seen[ids] = np.maximum(self.seen[ids], newest)

        sound = usable(value, quality)
        if not sound.all():
            point, time, value = point[sound], time[sound], value[sound]
        steps, possible = registers(value, self._quantum[point])
        came, advance = self._since(point, time, steps)
        follows = plain(advance, time - came, self._half[point], self._per_ms[point])
        follows &= possible & (time < self._end[point])
        slow[point[~follows]] = True
        left = ids[slow[ids]]
        if len(left):
            keep = ~slow[point]
            point, time, steps = point[keep], time[keep], steps[keep]
            came, advance = came[keep], advance[keep]
        if not len(point):
            return _nothing(), left
        last = np.append(np.flatnonzero(np.diff(point)), len(point) - 1)
        self.time[point[last]], self.steps[point[last]] = time[last], steps[last]
        wide = time - came > self._gap[point]
        return spread(point.astype(np.int64), came, time, advance, wide), left

    def _since(self, point: Ids, time: Times, steps: Times) -> tuple[Times, Times]:
        """Time of the reading before each, and the advance since; before the first of a point
        stands its anchor."""
        came, before = np.empty_like(time), np.empty_like(steps)
        came[1:], before[1:] = time[:-1], steps[:-1]
        head = np.flatnonzero(np.diff(point, prepend=point[:1] - 1))
        came[head], before[head] = self.time[point[head]], self.steps[point[head]]
        return came, steps - before

    def held(self, quarters: Quarters, closed: int) -> Quarters:
        """Put ``quarters`` (group = point) to what is held; returns what is now to be booked:
        everything but the newest quarter-hour of each point, and that too if it is before
        ``closed``."""
        if not len(quarters):
            return quarters
        ids = quarters.group[np.flatnonzero(np.diff(quarters.group, prepend=-1))]
        whole = together([self.release(ids), quarters])
        keep = np.append(whole.group[1:] != whole.group[:-1], True) & (whole.quarter >= closed)
        at = whole.group[keep]
        self.quarter[at], self.quarter_steps[at] = whole.quarter[keep], whole.steps[keep]
        self.measured[at], self.estimated[at] = whole.measured[keep], whole.estimated[keep]
        return whole.where(~keep)

    def release(self, ids: npt.NDArray[np.int64]) -> Quarters:
        """What is held of ``ids``, which then hold nothing."""
        ids = ids[self.quarter[ids] != NEVER]
        held = Quarters(
            ids, self.quarter[ids], self.quarter_steps[ids], self.measured[ids], self.estimated[ids]
        )
        self.quarter[ids] = NEVER
        return held

    def closing(self, closed: int) -> npt.NDArray[np.int64]:
        """Points whose open quarter-hour lies before ``closed``."""
        return np.flatnonzero((self.quarter != NEVER) & (self.quarter < closed))

    def save(self) -> bytes:
        """Everything that a restart needs (rows of ``SAVED``)."""
        ids = np.flatnonzero(self.seen != NEVER)
        rows = np.empty(len(ids), SAVED)
        rows["point"] = ids
        for name in SAVED.names or ():
            if name != "point":
                rows[name] = getattr(self, name)[ids]
        return rows.tobytes()

    def load(self, raw: bytes) -> list[tuple[int, Tail]]:
        """What ``save`` gave. Returns each point and its tail (service 0) for ``place``."""
        rows = np.frombuffer(raw, SAVED)
        if not len(rows):
            return []
        self.grow(int(rows["point"].max()) + 1)
        for name in SAVED.names or ():
            if name != "point":
                getattr(self, name)[rows["point"]] = rows[name]
        return [
            (point, Tail(0, time, steps, pending=not settled))
            for point, settled, time, steps in zip(
                rows["point"].tolist(),
                rows["settled"].tolist(),
                rows["time"].tolist(),
                rows["steps"].tolist(),
                strict=True,
            )
        ]


def _nothing() -> Quarters:
    return Quarters(*(np.empty(0, np.int64),) * 5)
