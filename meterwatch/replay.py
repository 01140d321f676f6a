"""Looking back: what today's registry makes of kept payloads, and today's rules of stored
readings."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from adapters.journals.sqlite import SqliteJournal
from adapters.sources.payload import PayloadDecoder, form_of
from adapters.stores.archive import REPLAYED
from adapters.stores.archive_reader import ArchiveReader
from collector.alerts import LEVEL_LABELS, Alert, Level
from collector.model import Batch, Entry, Mark, Quality, Segments, concat
from collector.normalise import normalise
from collector.records import CorruptRecordError, decode
from collector.registry import table
from collector.telemetry import Telemetry
from meterwatch.clock import moment
from meterwatch.decode import Numbering
from meterwatch.fleet import Fleet, kept, parse, read_files
from meterwatch.inspect import DAY_MS, EVERY, sender_of, shown, word
from meterwatch.transfer import span
from rules.replay import replay

AS_BATCH: Final = "batch-record"


def replay_refused(folder: Path) -> str:
    """Decode every kept payload again; what is usable now goes into the journal (with its old
    receipt, so it is judged as the late data it is), and its row is marked as replayed."""
    fleet = parse(read_files(folder))
    reader = ArchiveReader(kept(fleet, "archive.db"))
    journal = SqliteJournal(kept(fleet, "journal.db"), Telemetry())
    try:
        points = table(fleet.registry, journal.point_ids)
        decoder = PayloadDecoder(
            fleet.registry,
            points,
            journal.origin_ids,
            source="mqtt:replay",
            late_after_ms=fleet.settings.program.late_after_ms,
            retention_days=fleet.settings.archive.retention_days,
            profiles=fleet.profiles,
            formats=fleet.formats,
        )
        origins = reader.origin_names()
        rows = taken = 0
        for row in reader.refused(limit=EVERY):
            if row.replayed:
                continue
            samples = reader.refused_samples(row.id)
            if row.kind == AS_BATCH:
                batch = _batch(samples)
            else:
                batch = _decoded(decoder, row.kind, origins[row.origin], samples)
            if not len(batch):
                continue  # not mended yet: it stays as it is
            now = time.time_ns() // 1_000_000
            mark: Entry = Mark(now, REPLAYED, str(row.id), row.first, row.last)
            journal.append([normalise(batch, points), mark])
            rows += 1
            taken += len(batch)
    finally:
        reader.close()
        journal.close()
    return (
        f"{taken} readings of {rows} refusals taken in; what is left: meterwatch refused {folder}"
    )


def _decoded(
    decoder: PayloadDecoder, kind: str, origin: str, samples: Sequence[tuple[int, bytes]]
) -> Batch:
    """What payloads bring now; empty when anything of them is refused still."""
    gateway, form = sender_of(kind, origin), form_of(kind)
    if gateway is None or form is None:
        return Batch.empty()
    topic = f"meterwatch/v1/{gateway}/readings"
    decoded = decoder.decode_many([(topic, sample, at) for at, sample in samples], *form)
    return Batch.empty() if decoded.refusals else decoded.batch


def _batch(samples: Sequence[tuple[int, bytes]]) -> Batch:
    """Readings on which the program failed between source and journal, as they were kept; empty
    when one of them was too long to be kept whole."""
    try:
        found = [decode(sample) for _, sample in samples]
    except CorruptRecordError:
        return Batch.empty()
    return concat([entry for entry in found if isinstance(entry, Batch)])


def print_replay(folder: Path, start: str, end: str, lang: str) -> None:
    """What today's rules say of the readings stored in ``[start, end)``, as a centre that was
    always up would have seen them come (see ``rules.replay``)."""
    fleet = parse(read_files(folder))
    low, high = span(fleet, start, end)
    zone = ZoneInfo(fleet.settings.program.zone)
    grid = Table(
        *(word(key, lang) for key in ("level", "rule", "where", "since", "until", "worst"))
    )
    found = replayed(fleet, kept(fleet, "archive.db"), low, high)
    for alert in sorted(found, key=lambda one: (one.started, one.id)):
        rule = fleet.rules.rules.get(alert.rule)
        title = alert.rule
        if rule is not None:
            title = rule.title_zh if lang == "zh" else rule.title
        grid.add_row(
            LEVEL_LABELS[Level(alert.level)][0 if lang == "zh" else 1],
            title,
            alert.subject,
            moment(alert.started, zone),
            moment(alert.resolved, zone) if alert.resolved else "",
            f"{alert.worst:g}",
        )
    if found:
        shown(grid)
    else:
        Console().print(word("nothing", lang))


def replayed(fleet: Fleet, archive: Path, low: int, high: int) -> list[Alert]:
    """Alerts in the order they fired. A day of readings is read at a time."""
    reader = ArchiveReader(archive)
    try:
        points = Numbering(reader.point_names())
        wanted = points.known([one.name for one in fleet.registry.points])
        batches = _days(reader, wanted, low, high)
        return replay(fleet.rules, fleet.registry, points, batches).alerts
    finally:
        reader.close()


def _days(reader: ArchiveReader, points: list[int], low: int, high: int) -> Iterator[Batch]:
    """Stored readings, a day in each batch. An impossible time moves nothing, here as there."""
    newest = [reader.latest(point) for point in points]
    last = max((int(one.time[0]) for one in newest if len(one)), default=low - 1)
    first = [reader.after(point, low - 1, 1) for point in points]
    begin = min((int(one.time[0]) for one in first if len(one)), default=high)
    days = range(begin, min(high, last + 1), DAY_MS)
    for day in track(days, "replay", disable=not sys.stderr.isatty()):
        read = [(p, reader.read(p, day, min(day + DAY_MS, high))) for p in points]
        point = np.concatenate([np.full(len(s), p, np.int32) for p, s in read])
        quality = np.concatenate([series.quality for _, series in read])
        rows = quality != Quality.BAD_TIME
        time_ = np.concatenate([series.time for _, series in read])[rows]
        value = np.concatenate([series.value for _, series in read])[rows]
        if len(time_):
            received = Segments.one(len(time_), 0, int(time_.max()))
            yield Batch(point[rows], time_, value, quality[rows], received)
