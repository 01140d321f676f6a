"""A projection's database as a store of readings: what was written, read back.

What verifies a projection asks through this, and the contract suite of stores runs on it. Readings
are of the points of one encoder; times outside what the database holds are simply not there.
"""

from __future__ import annotations

import numpy as np

from adapters.projection.delivery import RejectedLine, deliver
from adapters.stores.columns import bucketed
from adapters.stores.external import Database, Held
from adapters.stores.line import FIRST_TIME, LAST_TIME, LineEncoder
from collector.errors import RejectedError
from collector.model import Batch, Quality
from collector.ports import Buckets, Series


class ProjectedStore:
    """Implements :class:`collector.ports.ReadingStore` on an external database. ``now``: UTC ms,
    by which the database's limits of time are meant."""

    def __init__(self, database: Database, encoder: LineEncoder, now: int) -> None:
        self._database = database
        self._encoder = encoder
        self._low, self._high = database.condition().limits(now)

    def write(self, batch: Batch) -> None:
        """Upsert, as far as the database can replace. Raises ``RejectedError`` for rows that it
        does not take; all others are stored then."""
        encoded = self._encoder.encode(
            batch.point,
            batch.time,
            batch.value,
            batch.quality,
            low=self._low,
            high=self._high,
        )
        refused = {int(row): why for why, rows in encoded.refused.items() for row in rows}
        for part in encoded.parts:
            for line in deliver(self._database, part):
                refused |= self._rows(batch, line)
        if refused:
            raise RejectedError(refused)

    def read(self, point: int, start: int, end: int) -> Series:
        names = self._encoder.points.get(point)
        first, last = max(start, FIRST_TIME), min(end, LAST_TIME + 1)
        if names is None or last <= first:
            return _series(_NOTHING)
        return _series(self._database.held(names, first, last))

    def buckets(self, point: int, start: int, end: int, width: int) -> Buckets:
        return bucketed(self.read(point, start, end), start, width)

    def latest(self, point: int) -> Series:
        found = self.read(point, FIRST_TIME, LAST_TIME)
        likely = np.flatnonzero(found.quality != Quality.BAD_TIME)[-1:]
        return Series(found.time[likely], found.value[likely], found.quality[likely])

    def _rows(self, batch: Batch, rejected: RejectedLine) -> dict[int, str]:
        point = self._encoder.point_of(rejected.line)
        time = int(rejected.line.rpartition(b" ")[2])
        rows = np.flatnonzero((batch.point == point) & (batch.time == time))
        return dict.fromkeys(rows.tolist(), rejected.reason)


_NOTHING = Held(
    np.empty(0, np.int64),
    np.empty(0, np.float64),
    np.empty(0, np.int64),
    np.empty(0, np.uint8),
    np.empty(0, np.float64),
)


def _series(held: Held) -> Series:
    """The valid series and the marks as one: a mark says the quality of the reading at its time,
    and brings one of its own where there is none."""
    at = np.searchsorted(held.time, held.mark_time)
    inside = at < len(held.time)
    beside = np.zeros(len(at), np.bool_)
    beside[inside] = held.time[at[inside]] == held.mark_time[inside]
    quality = np.zeros(len(held.time), np.uint8)
    quality[at[beside]] = held.code[beside]
    time = np.concatenate([held.time, held.mark_time[~beside]])
    order = np.argsort(time, kind="stable")
    return Series(
        time[order],
        np.concatenate([held.value, held.mark_value[~beside]])[order],
        np.concatenate([quality, held.code[~beside]])[order],
    )
