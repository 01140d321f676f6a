"""What a DL/T 645 meter says of itself: numbers, ratios, clock. A question each.

Identifiers: 04000101 date and weekday, 04000102 time, 04000306 and 04000307 transformer ratios,
04000402 meter number (600888/dlt645, GitHub, @783b91d); 04000403 asset number, 32 letters, and
0400040B model, 10 letters, are recalled, nobody's text was read for them.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from adapters.sources.dlt645 import data
from collector.items import Format
from meterwatch.commissioning.contact.ports import Clock, Identified

DATE: Final = 0x04000101
TIME: Final = 0x04000102
CURRENT_RATIO: Final = 0x04000306
VOLTAGE_RATIO: Final = 0x04000307
NUMBER: Final = 0x04000402
ASSET: Final = 0x04000403
MODEL: Final = 0x0400040B
_RATIO: Final = Format(6, 0)
_MIDNIGHT: Final = timedelta(seconds=30)

Ask = Callable[[int], Awaitable[object]]
"""Bytes where the meter has it, anything else where not."""


async def identified(ask: Ask, meter: str, clock: Clock, zone: str) -> Identified:
    """``meter``: the address by which it answers, its serial number where it says no other;
    ``zone``: where its clock was set."""
    told: dict[int, bytes] = {}
    for identifier in (NUMBER, ASSET, MODEL, CURRENT_RATIO, VOLTAGE_RATIO):
        answer = await ask(identifier)
        if isinstance(answer, bytes):
            told[identifier] = answer
    shown, off = await _clock(ask, clock, zone)
    number = data.digits(told.get(NUMBER, b"")) or ""
    also = {
        "address": meter,
        "asset": letters(told.get(ASSET, b"")),
        "model": letters(told.get(MODEL, b"")),
    }
    return Identified(
        number if number.strip("0") else meter,
        _ratio(told, VOLTAGE_RATIO),
        _ratio(told, CURRENT_RATIO),
        tuple((what, text) for what, text in also.items() if text),
        shown,
        off,
    )


def letters(raw: bytes) -> str:
    """Printable letters, the last one first on the wire, without what fills up."""
    kept = "".join(chr(byte) for byte in reversed(raw) if 0x20 <= byte < 0x7F).strip()
    return kept if kept.strip("0") else ""


def _ratio(told: Mapping[int, bytes], identifier: int) -> float:
    found = data.number(_RATIO, told.get(identifier, b""))
    return found or math.nan


async def _clock(ask: Ask, clock: Clock, zone: str) -> tuple[datetime | None, float]:
    """What the clock shows, and the seconds by which it is ahead. Date and time are two answers:
    at midnight the date is asked for again."""
    shown: datetime | None = None
    now = datetime.now(UTC)
    for _ in range(2):
        date = await ask(DATE)
        before = clock.now()
        time = await ask(TIME) if isinstance(date, bytes) else None
        now = datetime.fromtimestamp((before + clock.now()) / 2000, UTC)
        if not isinstance(date, bytes) or not isinstance(time, bytes):
            return None, math.nan
        shown = data.clock(date, time)
        if shown is None:
            return None, math.nan
        if shown - shown.replace(hour=0, minute=0, second=0) > _MIDNIGHT:
            break
    if shown is None:
        return None, math.nan
    here = now.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    return shown, (shown - here).total_seconds()
