"""Readings checked on their way to the journal: stateless, columnar, pure.

What came is kept as it came; only its quality can get worse. A reading that its instrument or
gateway already called invalid keeps that reason (-200 for "no value" is no value, not an
impossible one); of a valid one:

- a value that is no number (NaN, infinite) is ``NO_VALUE``, and stored as NaN;
- a value outside its quantity's physical range is ``IMPLAUSIBLE``;
- a time more than a minute after receipt, or before the year 2000, is ``BAD_TIME``. The reading
  keeps that time: it is evidence, beside the valid series, and moves nothing.

Also here: times as instruments and gateways write them, as UTC milliseconds.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from collector.model import VALID_BELOW, Batch, Quality
from collector.registry import PointTable

AHEAD_MS: Final = 60_000
"""A clock may be so far ahead of ours."""
EARLIEST_MS: Final = 946_684_800_000
"""2000-01-01T00:00Z: a clock before that lost its battery."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS_END: Final = 100_000_000_000
"""Below: no milliseconds since 1973, but seconds up to the year 5138."""
_MILLISECONDS_END: Final = 100_000_000_000_000

_DATE: Final = re.compile(
    r"(\d{4})[-/.](\d\d?)[-/.](\d\d?)(?:[T ]+(\d\d?)(?::(\d\d?))?(?::(\d\d?))?.{0,12})?", re.ASCII
)
_DIGITS: Final = re.compile(
    r"(20\d\d)([01]\d)([0-3]\d)([0-2]\d)([0-5]\d)([0-5]\d)(?:\d{3})?", re.ASCII
)


def normalise(batch: Batch, table: PointTable) -> Batch:
    """``batch`` with the quality that range and time leave; itself when nothing changed.

    Columns are not written to; those that change are new. A point that ``table`` does not know
    (the registry changed while the batch was on its way) has no range.
    """
    rows = len(batch)
    if not rows:
        return batch
    value, time = batch.value, batch.time
    within = possible(batch, table)
    latest = batch.segments.received + AHEAD_MS
    limit = latest[0] if len(latest) == 1 else np.repeat(latest, batch.segments.sizes())
    timely = (time <= limit) & (time >= EARLIEST_MS)
    if within.all() and timely.all():
        return batch
    quality = batch.quality.copy()
    wrong = np.flatnonzero(~within)
    if len(wrong):
        finite = np.isfinite(value[wrong])
        verdict = np.where(finite, Quality.IMPLAUSIBLE, Quality.NO_VALUE).astype(np.uint8)
        told = quality[wrong]
        quality[wrong] = np.where(told < VALID_BELOW, verdict, told)
        endless = wrong[np.isinf(value[wrong])]
        if len(endless):
            value = value.copy()
            value[endless] = np.nan
    quality[~timely] = Quality.BAD_TIME  # the worst there is
    return Batch(batch.point, time, value, quality, batch.segments)


def possible(batch: Batch, table: PointTable) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Rows whose value is a number within the range of its point."""
    point, value = batch.point, batch.value
    if not len(table):
        return np.isfinite(value)
    low = table.low.take(point, mode="clip")
    high = table.high.take(point, mode="clip")
    possible = (value >= low) & (value <= high)  # not of NaN; ranges are finite, so not of inf
    if int(point.max()) >= len(table):
        possible = np.where(point < len(table), possible, np.isfinite(value))
    return possible


def parse_time(written: str | float, zone: str) -> int:
    """A time as UTC milliseconds: a whole number (milliseconds since 1970), or ISO 8601 text
    with date and time; without an offset it is local time in ``zone`` (of an hour that the
    clocks show twice, the first). Digits beyond milliseconds are cut off.

    Raises ``ValueError`` that says to an electrician what is wrong.
    """
    if isinstance(written, str):
        return _parse_text(written, zone)
    if isinstance(written, bool) or written != written // 1:  # True, NaN, inf, halves
        raise ValueError(f"time {written!r} is no whole number of milliseconds since 1970")
    if _SECONDS_END <= written < _MILLISECONDS_END:
        return int(written)
    if 0 < written < _SECONDS_END:
        raise ValueError(f"time {written!r} looks like seconds: send milliseconds, 1000 times that")
    if written >= _MILLISECONDS_END:
        raise ValueError(f"time {written!r} looks like micro- or nanoseconds: send milliseconds")
    raise ValueError(f"time {written!r} is before 1970")


def _parse_text(written: str, zone: str) -> int:
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        raise ValueError(_no_time(written)) from None
    if len(written) < 13 or written[4] != "-":
        raise ValueError(_no_time(written))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=_zone(zone))
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000


def _no_time(written: str) -> str:
    told = f"time {written if len(written) <= 40 else written[:40] + '...'!r}"
    found = _DATE.fullmatch(written.strip()) or _DIGITS.fullmatch(written.strip())
    if found is None:
        if written.strip().isdecimal():
            return f"{told} is a number in quotes: send it without, in milliseconds since 1970"
        return f"{told} is not ISO 8601: send 2026-11-22T08:00:00+08:00"
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups())
    try:
        when = datetime(year, month, day)  # noqa: DTZ001 - of a text
    except ValueError:
        return f"{told}: there is no such day"
    try:
        when = when.replace(hour=hour, minute=minute, second=second)
    except ValueError:
        return f"{told}: there is no such time of day"
    if found[4] is None:
        return f"{told} has no time of day: send {when:%Y-%m-%d}T08:00:00+08:00"
    return f"{told} is not ISO 8601: send {when.isoformat()}+08:00"


def date_in_digits(written: int) -> str:
    """The ISO 8601 text that is meant by a number such as 20261122080000 (HJ 212 writes so), which
    as milliseconds is of the years 2603 to 2635; empty for any other number."""
    found = _DIGITS.fullmatch(str(written))
    try:
        return f"{datetime(*map(int, found.groups())).isoformat()}+08:00" if found else ""  # type: ignore[arg-type] # noqa: DTZ001 - of a text
    except ValueError:
        return ""


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError) as error:  # OSError: the name of a folder of zones
        raise ValueError(f'unknown time zone "{name}"') from error
