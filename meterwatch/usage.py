"""``meterwatch books``: what every counter used, by span, with the share that was measured.

Reads the books' file; works while the program runs, and while it does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from rich.console import Console
from rich.text import Text

from adapters.state.books import BooksReader
from collector.quantities import quantities
from meterwatch.clock import moment
from meterwatch.fleet import kept
from meterwatch.in_force import in_force
from meterwatch.transfer import span

LEVELS: Final = {
    "15m": "%Y-%m-%d %H:%M",
    "hour": "%Y-%m-%d %H:%M",
    "day": "%Y-%m-%d",
    "month": "%Y-%m",
}
"""How a span's beginning is written."""
_MEASURED: Final = ("measured", "实测")
_NOTHING: Final = ("nothing is booked for this", "没有对应的用量记录")


def print_books(
    folder: Path, level: str, points: list[str], start: str | None, end: str | None, lang: str
) -> None:
    """One block per counter whose name begins with one of ``points`` (all when none are given):
    a line per span, then what was odd. Missing spans are missing, never zero."""
    fleet = in_force(folder, lang)
    low, high = span(fleet, start, end)
    zone = ZoneInfo(fleet.settings.program.zone)
    reader = BooksReader(kept(fleet, "books.db"))
    console = Console(highlight=False)
    told = False
    try:
        for number, name in sorted(reader.points().items(), key=lambda row: row[1]):
            if points and not name.startswith(tuple(points)):
                continue
            lines = [*_spans(reader, number, name, level, low, high, lang)]
            lines += [
                f"  {moment(odd.time, zone)}  {odd.words_zh if lang == 'zh' else odd.words}"
                for odd in reader.anomalies(number, low, high)
            ]
            if lines:
                told = True
                console.print(Text(_title(name, lang)), soft_wrap=True)
                for line in lines:
                    console.print(Text(line), soft_wrap=True)
        if not told:
            console.print(_NOTHING[lang == "zh"])
    finally:
        reader.close()


def _title(name: str, lang: str) -> str:
    site, place, quantity, _ = name.split("/")
    row = quantities().get(quantity)
    return f"{site}/{place}  {row.label(lang) if row is not None else quantity}"


def _spans(
    reader: BooksReader, number: int, name: str, level: str, low: int, high: int, lang: str
) -> Iterator[str]:
    row = quantities().get(name.split("/")[2])
    unit = row.unit if row is not None else ""
    rows = reader.buckets(number, level, low, high)
    zone = reader.zone(number)
    for at, amount, measured, estimated in zip(
        rows.start.tolist(),
        rows.amount.tolist(),
        rows.measured.tolist(),
        rows.estimated.tolist(),
        strict=True,
    ):
        if np.isnan(amount) or not measured + estimated:
            continue
        begin = datetime.fromtimestamp(at / 1000, zone).strftime(LEVELS[level])
        yield f"  {begin}  {amount:>14,.2f} {unit}  {_MEASURED[lang == 'zh']} {measured:.1%}"
