"""Hours, days and months as people at a site count them. Pure.

A level is one of ``LEVELS``; its spans follow each other without a gap, ``[start, end)`` in UTC
milliseconds. A day begins at local midnight (at the first moment of the date where a clock
change swallows midnight), so it may last 23 or 25 hours; hours are counted from there in elapsed
time, so the hour that a clock change repeats is two; a month begins with its first day.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from collector.accounts.counters import QUARTER_MS
from collector.model import Times

HOUR_MS: Final = 3_600_000
LEVELS: Final = ("15m", "hour", "day", "month")


def edges(level: str, zone: str, start: int, end: int) -> Times:
    """Edges (UTC ms, ascending) of the spans that meet ``[start, end)``: n + 1 for n spans, the
    first at or before ``start``, the last at or after ``end``; just one where ``end <= start``.

    Raises ``ValueError`` for an unknown level, ``ZoneInfoNotFoundError`` for an unknown zone.
    """
    if level not in LEVELS:
        raise ValueError(f"{level!r} is not one of {', '.join(LEVELS)}")
    if end <= start:
        return np.array([start], np.int64)
    if level == "15m":
        return np.arange(start // QUARTER_MS, -(-end // QUARTER_MS) + 1) * QUARTER_MS
    out = np.fromiter(_EDGES[level](zone, start, end), np.int64)
    return out[np.searchsorted(out, start, "right") - 1 : np.searchsorted(out, end) + 1]


def midnight(zone: str, day: date) -> int:
    """UTC ms at which ``day`` begins in ``zone``."""
    return _midnight(zone, day.toordinal())


def local_day(zone: str, time: int) -> date:
    """The date in ``zone`` at ``time`` (UTC ms)."""
    return datetime.fromtimestamp(time // 1000, UTC).astimezone(ZoneInfo(zone)).date()


@lru_cache(maxsize=8192)
def _midnight(zone: str, ordinal: int) -> int:
    day = date.fromordinal(ordinal)
    return int(datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).timestamp()) * 1000


def _days(zone: str, start: int, end: int) -> Iterator[int]:
    day = local_day(zone, start)
    while (edge := midnight(zone, day)) < end:
        yield edge
        day += timedelta(days=1)
    yield edge


def _months(zone: str, start: int, end: int) -> Iterator[int]:
    day = local_day(zone, start).replace(day=1)
    while (edge := midnight(zone, day)) < end:
        yield edge
        day = (day + timedelta(days=31)).replace(day=1)
    yield edge


def _hours(zone: str, start: int, end: int) -> Iterator[int]:
    last = end
    for begin, last in pairwise(_days(zone, start, end)):
        yield from range(begin, last, HOUR_MS)
    yield last


_EDGES: Final = {"hour": _hours, "day": _days, "month": _months}
