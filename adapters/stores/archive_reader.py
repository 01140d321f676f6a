"""The archive's readings, for any other thread or process, while the fold goes on writing.

Read-only. Every answer is of one moment: what the fold had committed when the question came.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from adapters.state.foldfile import open_reader
from adapters.stores.columns import Rows
from adapters.stores.refused import Refused, RefusedStore, RefusedTotal
from adapters.stores.series import SeriesStore, Stored
from adapters.stores.states import OriginState, states
from collector.model import USABLE_IN_MEANS, Ids, Times
from collector.ports import Buckets, Series

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ArchiveStats:
    """``cursor``: the last journal entry in it. ``file_bytes``: with its write-ahead log."""

    cursor: int
    stored: Stored
    points: int
    file_bytes: int


class ArchiveReader:
    """See the module. A point is given by its stable id or its name; a name that the archive
    does not know is a ``KeyError``. Raises ``TemporaryError`` while there is no file."""

    def __init__(self, path: Path) -> None:
        self._path = Path(path)
        self._db = open_reader(self._path)
        self._lock = threading.Lock()
        self._series = SeriesStore(self._db)
        self._refused = RefusedStore(self._db)

    def read(self, point: int | str, start: int, end: int) -> Series:
        """Readings with ``start <= time < end`` (UTC ms), whatever their quality."""
        return self._asked(lambda: self._series.read(self._id(point), start, end))

    def buckets(self, point: int | str, start: int, end: int, width: int) -> Buckets:
        """Statistics per ``width`` ms from ``start``; see ``Buckets``."""
        return self._asked(lambda: self._series.buckets(self._id(point), start, end, width))

    def latest(self, point: int | str) -> Series:
        """The newest reading that has a possible time."""
        return self._asked(lambda: self._series.latest(self._id(point)))

    def before(self, point: int | str, time: int, n: int) -> Series:
        """See :meth:`SeriesStore.before`."""
        return self._asked(lambda: self._series.before(self._id(point), time, n))

    def after(self, point: int | str, time: int, n: int) -> Series:
        """See :meth:`SeriesStore.after`."""
        return self._asked(lambda: self._series.after(self._id(point), time, n))

    def count_and_sum(self, point: int | str, start: int, end: int) -> tuple[int, float]:
        """Number and sum of the valid readings (as ``Buckets`` counts them)."""
        found = self.read(point, start, end)
        value = found.value[USABLE_IN_MEANS[found.quality] & ~np.isnan(found.value)]
        return len(value), float(value.sum())

    def read_many(self, point: Ids, start: Times, end: Times) -> Rows:
        """See :meth:`SeriesStore.read_many`."""
        return self._asked(lambda: self._series.read_many(point, start, end))

    def points_after(self, point: int, n: int) -> list[int]:
        """The next ``n`` stable ids after ``point`` that have a name, whether or not they have
        readings."""
        query = "SELECT id FROM point WHERE id > ? ORDER BY id LIMIT ?"
        return [
            number
            for (number,) in self._asked(lambda: self._db.execute(query, (point, n)).fetchall())
        ]

    def cursor(self) -> int:
        """The last journal entry in it."""
        query = "SELECT value FROM meta WHERE key = 'cursor'"
        (value,) = self._asked(lambda: self._db.execute(query).fetchone())
        return int(value)

    def oldest(self) -> int:
        """No usable reading is older than this (UTC ms); 0 when there is none."""
        return self._asked(self._series.oldest_reading)

    def points(self) -> list[int]:
        """Ids of the points that have readings."""
        return self._asked(self._series.points)

    def point_names(self) -> list[str]:
        """Names of all points by stable id, for those without readings too; "" where a number
        was never given."""
        return self._names("SELECT id, name FROM point ORDER BY id")

    def origin_names(self) -> list[str]:
        """Names of origins by stable id."""
        return self._names("SELECT id, name FROM origin ORDER BY id")

    def _names(self, query: str) -> list[str]:
        rows = self._asked(lambda: self._db.execute(query).fetchall())
        names = [""] * (rows[-1][0] + 1 if rows else 0)
        for number, name in rows:
            names[number] = name
        return names

    def refused(
        self,
        *,
        origin: int | None = None,
        reason: str | None = None,
        since: int = 0,
        limit: int = 100,
    ) -> list[Refused]:
        """What was refused and is held, of ``since`` then (UTC ms) or later, the newest first."""
        return self._asked(
            lambda: self._refused.newest(origin=origin, reason=reason, since=since, limit=limit)
        )

    def refused_samples(self, refused: int) -> list[tuple[int, bytes]]:
        """Time and payload of the samples held of one refused row."""
        return self._asked(lambda: self._refused.samples(refused))

    def refused_totals(self) -> list[RefusedTotal]:
        """Everything that was ever refused, by origin and reason."""
        return self._asked(self._refused.totals)

    def states(self) -> Mapping[str, OriginState]:
        """Who said that it is up or down, by origin; what was said last."""
        return self._asked(lambda: states(self._db))

    def tick(self) -> int:
        """The newest tick (UTC ms), the program's last sign of life; 0 before the first."""
        row = self._asked(
            lambda: self._db.execute("SELECT value FROM meta WHERE key = 'tick'").fetchone()
        )
        return int(row[0]) if row is not None else 0

    def stats(self) -> ArchiveStats:
        """What is in it. Looks at every blob's head: for people, not for every second."""

        def ask() -> ArchiveStats:
            (cursor,) = self._db.execute("SELECT value FROM meta WHERE key = 'cursor'").fetchone()
            (points,) = self._db.execute("SELECT count(*) FROM point").fetchone()
            return ArchiveStats(int(cursor), self._series.stored(), points, self._size())

        return self._asked(ask)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _id(self, point: int | str) -> int:
        if isinstance(point, int):
            return point
        row = self._db.execute("SELECT id FROM point WHERE name = ?", (point,)).fetchone()
        if row is None:
            raise KeyError(point)
        return int(row[0])

    def _asked(self, question: Callable[[], T]) -> T:
        with self._lock:
            self._db.execute("BEGIN")
            try:
                return question()
            finally:
                self._db.execute("COMMIT")

    def _size(self) -> int:
        files = (self._path, self._path.with_name(self._path.name + "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())
