"""Readings out of the archive and into the journal as CSV: ``point,time,value,quality``.

``time`` is ISO 8601 in UTC with milliseconds; ``quality`` a word of :class:`Quality`. What was
exported imports to the same readings, to the bit. An import goes through the journal like every
other reading, so that books and warnings learn of it; each bad line is named, the good ones are
taken in.
"""

from __future__ import annotations

import csv
import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TextIO

from rich.progress import track

from adapters.journals.sqlite import SqliteJournal
from adapters.stores.archive_reader import ArchiveReader
from collector.errors import ConfigurationError, Fault
from collector.model import Batch, Quality
from collector.normalise import normalise, parse_time
from collector.registry import PointTable, table
from collector.telemetry import Telemetry
from meterwatch.fleet import Fleet, kept, parse, read_files
from meterwatch.in_force import in_force

HEADER: Final = ("point", "time", "value", "quality")
BATCH_ROWS: Final = 50_000
MOST_FAULTS: Final = 1_000
QUALITY_WORDS: Final = {quality.name.lower().replace("_", "-"): quality for quality in Quality}
WORD_OF: Final = {int(quality): text for text, quality in QUALITY_WORDS.items()}


def export_csv(
    folder: Path, out: Path, points: Sequence[str], start: str | None, end: str | None
) -> str:
    """Write readings of the points whose name begins with one of ``points`` (all when none are
    given); what was written, in words."""
    fleet = in_force(folder)
    low, high = span(fleet, start, end)
    reader = ArchiveReader(kept(fleet, "archive.db"))
    try:
        names = [
            name
            for name in sorted(filter(None, reader.point_names()))
            if not points or name.startswith(tuple(points))
        ]
        with _writing(out) as file:
            writer = csv.writer(file)
            writer.writerow(HEADER)
            rows = 0
            for name in track(names, "export", disable=not sys.stderr.isatty()):
                found = reader.read(name, low, high)
                rows += len(found)
                writer.writerows(
                    (name, _iso(at), "" if math.isnan(value) else repr(value), WORD_OF[quality])
                    for at, value, quality in zip(
                        found.time.tolist(),
                        found.value.tolist(),
                        found.quality.tolist(),
                        strict=True,
                    )
                )
    finally:
        reader.close()
    return f"{rows:,} readings of {len(names)} points -> {out}"


@contextmanager
def _writing(out: Path) -> Iterator[TextIO]:
    try:
        with out.open("w", newline="", encoding="utf-8") as file:
            yield file
    except OSError as fault:
        what = f"cannot be written: {fault.strerror}"
        raise ConfigurationError(Fault(str(out), 0, what, "name another file")) from fault


@dataclass
class _Lines:
    """Good rows gathered, bad lines named."""

    file: str
    zone: str
    ids: PointTable
    point: list[int] = field(default_factory=list)
    time: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    quality: list[int] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    bad: int = 0

    def take(self, number: int, row: dict[str, str] | str) -> None:
        """One line of the file."""
        try:
            point, at, value, quality = self._read(row)
        except (ValueError, TypeError) as fault:
            self.bad += 1
            if len(self.faults) < MOST_FAULTS:
                self.faults.append(Fault(self.file, number, str(fault)))
            return
        self.point.append(point)
        self.time.append(at)
        self.value.append(value)
        self.quality.append(quality)

    def _read(self, row: dict[str, str] | str) -> tuple[int, int, float, int]:
        if isinstance(row, str):
            raise ValueError(row)  # noqa: TRY004 a bad line like any other
        point = self.ids.ids.get(row["point"] or "")
        if point is None:
            raise ValueError(f"point {row['point']!r} is not in the registry")
        written = row["time"] or ""
        at = parse_time(int(written) if written.isdecimal() else written, self.zone)
        try:
            value = float(row["value"]) if row["value"] else math.nan
        except ValueError as fault:
            raise ValueError(f"value {row['value']!r} is not a number") from fault
        named = row.get("quality") or "good"
        if named not in QUALITY_WORDS:
            raise ValueError(f"quality {named!r} is not known")
        return point, at, value, QUALITY_WORDS[named]

    def batch(self, origin: int, received: int) -> Batch:
        made = Batch.of(
            self.point,
            self.time,
            self.value,
            self.quality,
            origin=origin,
            received=received,
            backfill=True,
        )
        for column in (self.point, self.time, self.value, self.quality):
            column.clear()
        return made


def import_csv(folder: Path, file: Path) -> int:
    """Take in a CSV file; prints faults and a summary. Exit code 0, or 1 with bad lines."""
    fleet = parse(read_files(folder))
    journal = SqliteJournal(
        folder / fleet.settings.program.data / "journal.db",
        Telemetry(),
        max_bytes=fleet.settings.journal.max_bytes,
    )
    try:
        points = table(fleet.registry, journal.point_ids)
        (origin,) = journal.origin_ids(["import:csv"])
        lines = _Lines(str(file), fleet.settings.program.zone, points)
        taken = 0
        for number, row in _rows(file):
            lines.take(number, row)
            if len(lines.point) >= BATCH_ROWS:
                taken += _append(journal, lines, int(origin), points)
        taken += _append(journal, lines, int(origin), points)
    finally:
        journal.close()
    for fault in lines.faults:
        print(fault, file=sys.stderr)  # noqa: T201 a command's output
    told = f"{taken:,} readings taken in, {lines.bad:,} lines refused"
    print(told)  # noqa: T201 a command's output
    return 1 if lines.bad else 0


def _append(journal: SqliteJournal, lines: _Lines, origin: int, points: PointTable) -> int:
    rows = len(lines.point)
    if rows:
        received = time.time_ns() // 1_000_000
        journal.append([normalise(lines.batch(origin, received), points)])
    return rows


def _rows(file: Path) -> Iterator[tuple[int, dict[str, str] | str]]:
    """Number and fields of each line, or what is wrong with it."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened)
            missing = [name for name in HEADER[:3] if name not in (reader.fieldnames or ())]
            if missing:
                raise ConfigurationError(
                    Fault(
                        str(file),
                        1,
                        f"has no column {', '.join(missing)}",
                        f"its first line must be {','.join(HEADER)}",
                    )
                )
            while True:
                try:
                    row = next(reader)
                except StopIteration:
                    return
                except csv.Error as fault:  # a field without end
                    yield reader.line_num + 1, str(fault)
                else:
                    yield reader.line_num, row
    except OSError as fault:
        raise ConfigurationError(
            Fault(str(file), 0, f"cannot be read: {fault.strerror}")
        ) from fault
    except UnicodeDecodeError as fault:
        raise ConfigurationError(Fault(str(file), 0, "is not UTF-8")) from fault
    except csv.Error as fault:
        raise ConfigurationError(Fault(str(file), 1, f"is no CSV: {fault}")) from fault


def span(fleet: Fleet, start: str | None, end: str | None) -> tuple[int, int]:
    """Two times a person wrote (a date is its midnight) as UTC ms; open ends without them."""
    zone = fleet.settings.program.zone
    faults: list[Fault] = []
    bounds = [0, 2**62]
    for place, written in enumerate((start, end)):
        if written is None:
            continue
        text = f"{written}T00:00" if len(written) == 10 else written
        try:
            bounds[place] = parse_time(text, zone)
        except ValueError as fault:
            faults.append(Fault("--start" if place == 0 else "--end", 0, str(fault)))
    if faults:
        raise ConfigurationError(faults)
    return bounds[0], bounds[1]


def _iso(ms: int) -> str:
    seconds, rest = divmod(ms, 1000)
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return str(ms)  # an impossible time that was kept as evidence
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:03d}Z"
