"""Whether a database holds what the archive does: count and sum of each point and day, compared.

Read-only. A day's valid readings are counted on both sides; sums may differ by the order in which
they were added, and in VictoriaMetrics by its rounding of values to about 15 digits, no more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from adapters.projection.refeed import DAY_MS, POINTS_AT_ONCE
from adapters.stores.archive_reader import ArchiveReader
from adapters.stores.external import Database, Sums
from adapters.stores.line import PointNames
from collector.model import VALID_BELOW

RELATIVE: Final = 1e-9
"""Of the sum of absolute values: what adding in another order may do to a sum."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A point and day (UTC ms of its start) of which the database holds something else."""

    point: str
    day: int
    archive_count: int
    archive_sum: float
    count: int
    sum: float


def days(low: int, high: int) -> Iterator[tuple[int, int]]:
    """UTC days, cut to ``[low, high)`` (UTC ms), the newest first."""
    for day in range((high - 1) // DAY_MS, low // DAY_MS - 1, -1):
        yield max(low, day * DAY_MS), min(high, (day + 1) * DAY_MS)


def differences(
    archive: ArchiveReader,
    database: Database,
    points: Mapping[int, PointNames],
    names: Sequence[str],
    start: int,
    end: int,
) -> list[Difference]:
    """Points of which the database holds other readings with ``start <= time < end`` (UTC ms, at
    most a day). ``names`` by stable id. Raises ``TemporaryError``."""
    held: dict[tuple[str, str, str, str, str], tuple[int, float]] = {}
    for measurement in sorted({one.measurement for one in points.values()}):
        held |= database.sums(measurement, start, end)
    found = []
    for number, (count, total, size) in _archived(archive, sorted(points), start, end).items():
        there, sum_there = _of(held, points[number])
        if there != count or abs(sum_there - total) > RELATIVE * size:
            found.append(Difference(names[number], start, count, total, there, sum_there))
    return found


def _of(held: Sums, names: PointNames) -> tuple[int, float]:
    key = (names.measurement, names.site, names.place, names.statistic, names.field)
    return held.get(key, (0, 0.0))


def _archived(
    archive: ArchiveReader, points: Sequence[int], start: int, end: int
) -> dict[int, tuple[int, float, float]]:
    """Count, sum, and sum of absolute values of the valid readings, by point."""
    found = dict.fromkeys(points, (0, 0.0, 0.0))
    for at in range(0, len(points), POINTS_AT_ONCE):
        ids = np.array(points[at : at + POINTS_AT_ONCE], np.int32)
        width = len(ids)
        rows = archive.read_many(ids, np.full(width, start), np.full(width, end))
        valid = (rows.quality < VALID_BELOW) & np.isfinite(rows.value)
        point, value = rows.point[valid], rows.value[valid]
        heads = np.flatnonzero(np.diff(point, prepend=-1))
        if not len(heads):
            continue
        counts = np.diff(heads, append=len(point))
        sums = np.add.reduceat(value, heads)
        sizes = np.add.reduceat(np.abs(value), heads)
        for number, count, total, size in zip(
            point[heads].tolist(), counts.tolist(), sums.tolist(), sizes.tolist(), strict=True
        ):
            found[number] = (count, total, size)
    return found
