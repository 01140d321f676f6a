"""How many readings places should have brought, and how many they did, by hour. Pure but for names.

Hours are those of UTC, numbered ``floor(UTC ms / 3600000)``. Expected are, for each raw point of a
place, the parts of the hour in which a device served it and it was in service, each over that
device's interval.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from adapters.stores.columns import Rows
from collector.model import USABLE_IN_MEANS, Ids, Times, Values
from collector.registry import Registry

HOUR_MS: Final = 3_600_000
Index = npt.NDArray[np.intp]


class Roll:
    """The places of one registry that have points, in order of their keys, and who serves them."""

    def __init__(self, registry: Registry) -> None:
        raw = [point for point in registry.points if point.statistic == "raw" and point.services]
        raw.sort(key=lambda point: (f"{point.site}/{point.place}", point.name))
        self.places: list[str] = sorted({f"{point.site}/{point.place}" for point in raw})
        """Keys, ``site/place``."""
        self.number: Mapping[str, int] = {key: i for i, key in enumerate(self.places)}
        self._names = [point.name for point in raw]
        self._at = _ints(self.number[f"{point.site}/{point.place}"] for point in raw)
        served = [
            (self.number[f"{point.site}/{point.place}"], one.start, one.end, one.interval)
            for point in raw
            for one in point.counted()
        ]
        self._place = _ints(row[0] for row in served)
        self._start = _ints(row[1] for row in served)
        self._end = _ints(row[2] for row in served)
        self._interval = np.array([1000 * row[3] for row in served], np.float64)

    def expected(self, low: int, high: int) -> npt.NDArray[np.float64]:
        """Readings by place (rows) and hour ``low .. high - 1`` (columns)."""
        found = np.empty((len(self.places), high - low))
        for column, hour in enumerate(range(low, high)):
            begin = np.maximum(self._start, hour * HOUR_MS)
            span = np.maximum(np.minimum(self._end, (hour + 1) * HOUR_MS) - begin, 0)
            found[:, column] = np.bincount(self._place, span / self._interval, len(self.places))
        return found

    def points(self, places: Sequence[int], ids: Mapping[str, int]) -> tuple[Ids, Index]:
        """The points (ascending) of some places, as far as ``ids`` knows them; and by point which
        of ``places`` it is of."""
        nth = np.full(len(self.places), -1, np.intp)
        nth[list(places)] = np.arange(len(places))
        wanted = np.flatnonzero(nth[self._at] >= 0).tolist()
        known = sorted(
            (ids[self._names[row]], int(nth[self._at[row]]))
            for row in wanted
            if self._names[row] in ids
        )
        return np.array([one[0] for one in known], np.int32), _ints(one[1] for one in known)

    def place_of(self, name: str) -> int | None:
        """The number of the place of a point."""
        return self.number.get("/".join(name.split("/", 2)[:2]))


def counted(
    rows: Rows, ids: Ids, place: Index, places: int, low: int, high: int
) -> tuple[Times, Times]:
    """Valid readings and those beside them, as ``Buckets`` counts them, by place and hour. ``rows``
    of the points ``ids`` (ascending), whose places are ``place``."""
    hours = high - low
    cell = place[np.searchsorted(ids, rows.point)] * hours + (rows.time // HOUR_MS - low)
    valid = USABLE_IN_MEANS[rows.quality] & ~np.isnan(rows.value)
    all_ = np.bincount(cell, minlength=places * hours)
    good = np.bincount(cell[valid], minlength=places * hours)
    return good.reshape(places, hours), (all_ - good).reshape(places, hours)


def share(valid: int, expected: Values | float) -> float:
    """Valid of expected, 1 at most: a device may report more often than it should."""
    return min(1.0, valid / float(expected))


def _ints(values: Iterable[int]) -> npt.NDArray[np.int64]:
    return np.fromiter(values, np.int64)
