"""What a sender should mend although its readings are stored, in words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from adapters.sources.payload.columns import Plan
from collector.model import VALID_BELOW, Batch
from collector.normalise import AHEAD_MS, date_in_digits, possible
from collector.quantities import quantities
from collector.registry import PointTable

_MINUTE: Final = 60_000
_NAMED: Final = 3
"""Of one message so many values are told."""
_ZONE: Final = 30 * _MINUTE
"""So far ahead is a clock that shows local time and says UTC, at the least."""


def ahead(plans: Sequence[Plan], times: Sequence[int], received: int, local: str = "") -> str:
    """Of rows of which some are of the future (UTC ms): how many readings, and by how much.
    ``local``: the zone in which texts without an offset were read, if there were any."""
    latest = received + AHEAD_MS
    count = sum(plan.count for plan, time in zip(plans, times, strict=True) if time > latest)
    by = max(times) - received
    meant = date_in_digits(max(times))
    if meant:
        return f"time {max(times)} was read as milliseconds since 1970: send {meant}"
    many = "1 reading is" if count == 1 else f"{count:,} readings are"
    kept = "it is kept and not used" if count == 1 else "they are kept and not used"
    zone = ""
    if by >= _ZONE:
        why = (
            f"without an offset it is read as {local}" if local else "is local time written with Z?"
        )
        zone = f" ({why})"
    return f"{many} {_span(by)} in the future: {kept}; set the clock{zone}"


def implausible(batch: Batch, table: PointTable, plans: Sequence[Plan]) -> dict[int, list[str]]:
    """What is to be told of values that are none of their quantity's, by number of the segment
    (one message). ``plans``: of the batch's rows, each of ``count`` readings."""
    wrong = np.flatnonzero(~possible(batch, table) & (batch.quality < VALID_BELOW))
    if not len(wrong):
        return {}
    found: dict[int, list[int]] = {}
    segments = np.searchsorted(batch.segments.stop, wrong, side="right")
    for row, segment in zip(wrong.tolist(), segments.tolist(), strict=True):
        found.setdefault(segment, []).append(row)
    stops = np.cumsum([plan.count for plan in plans])
    told: dict[int, list[str]] = {}
    for segment, rows in found.items():
        devices = [plans[at].device for at in np.searchsorted(stops, rows[:_NAMED], side="right")]
        told[segment] = [
            _implausible(device, batch, table, row)
            for device, row in zip(devices, rows, strict=False)
        ]
        if len(rows) > _NAMED:
            told[segment].append(f"{len(rows) - _NAMED:,} further values are as implausible")
    return told


def _implausible(device: str, batch: Batch, table: PointTable, row: int) -> str:
    point = int(batch.point[row])
    quantity = quantities()[table.points[point].quantity]
    return (
        f"{quantity.name} of {device} is {batch.value[row]:,.10g} {quantity.unit}, possible is "
        f"{table.low[point]:,.10g} to {table.high[point]:,.10g}: "
        "it is kept as implausible and not used; is its unit right?"
    )


def _span(ms: int) -> str:
    minutes = round(ms / _MINUTE)
    if minutes < 60:
        return f"{minutes} min"
    hours = minutes / 60
    return f"{hours:.1f} h".replace(".0 ", " ") if hours < 48 else f"{hours / 24:,.0f} d"
