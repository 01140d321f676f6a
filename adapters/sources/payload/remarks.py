"""What a sender should mend although its readings are stored, in words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from adapters.sources.payload.columns import Plan
from collector.normalise import AHEAD_MS

_MINUTE: Final = 60_000
_ZONE: Final = 30 * _MINUTE
"""So far ahead is a clock that shows local time and says UTC, at the least."""


def ahead(plans: Sequence[Plan], times: Sequence[int], received: int) -> str:
    """Of rows of which some are of the future (UTC ms): how many readings, and by how much."""
    latest = received + AHEAD_MS
    count = sum(plan.count for plan, time in zip(plans, times, strict=True) if time > latest)
    by = max(times) - received
    many = "1 reading is" if count == 1 else f"{count:,} readings are"
    kept = "it is kept and not used" if count == 1 else "they are kept and not used"
    zone = " (is local time written with Z?)" if by >= _ZONE else ""
    return f"{many} {_span(by)} in the future: {kept}; set the clock{zone}"


def _span(ms: int) -> str:
    minutes = round(ms / _MINUTE)
    if minutes < 60:
        return f"{minutes} min"
    hours = minutes / 60
    return f"{hours:.1f} h".replace(".0 ", " ") if hours < 48 else f"{hours / 24:,.0f} d"
