"""Looking back: what today's registry makes of kept payloads, and today's rules of stored
readings."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from rich.console import Console
from rich.table import Table

from adapters.journals.sqlite import SqliteJournal
from adapters.sources.payload import PayloadDecoder
from adapters.stores.archive import REPLAYED
from adapters.stores.archive_reader import ArchiveReader
from collector.alerts import LEVEL_LABELS, Alert, Level
from collector.model import Batch, Entry, Mark, Segments, Times
from collector.normalise import normalise
from collector.registry import table
from collector.telemetry import Telemetry
from meterwatch.decode import Numbering
from meterwatch.fleet import Fleet, kept, parse, read_files, registry_of, rules_of
from meterwatch.inspect import DAY_MS, moment, word
from meterwatch.transfer import span
from rules.engine import Engine

REPLAYABLE: Final = "mqtt-json"


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
            profiles=fleet.profiles,
        )
        origins = reader.origin_names()
        rows = taken = 0
        for row in reader.refused(limit=100_000):
            gateway = _gateway(row.kind, origins[row.origin])
            if row.replayed or gateway is None:
                continue
            topic = f"meterwatch/v1/{gateway}/readings"
            messages = [(topic, sample, at) for at, sample in reader.refused_samples(row.id)]
            decoded = decoder.decode_many(messages)
            if decoded.refusals or not len(decoded.batch):
                continue  # not mended yet: it stays as it is
            now = time.time_ns() // 1_000_000
            mark: Entry = Mark(now, REPLAYED, str(row.id), row.first, row.last)
            journal.append([normalise(decoded.batch, points), mark])
            rows += 1
            taken += len(decoded.batch)
    finally:
        reader.close()
        journal.close()
    return (
        f"{taken} readings of {rows} refusals taken in; what is left: meterwatch refused {folder}"
    )


def _gateway(kind: str, origin: str) -> str | None:
    """Which gateway sent a refused payload: its origin, or, for one that was not known then,
    what stands behind the colon of ``kind``."""
    decoder, _, named = kind.partition(":")
    if decoder != REPLAYABLE:
        return None
    if origin.startswith("gateway:"):
        return origin.removeprefix("gateway:")
    return named or None


def print_replay(folder: Path, start: str, end: str, lang: str) -> None:
    """What today's rules say of the readings stored in ``[start, end)``. Silence cannot be
    replayed, because the archive does not hold when a reading was received: rules of the kind
    ``absence`` say nothing here."""
    fleet = parse(read_files(folder))
    low, high = span(fleet, start, end)
    zone = ZoneInfo(fleet.settings.program.zone)
    grid = Table(
        *(word(key, lang) for key in ("level", "rule", "where", "since", "until", "worst"))
    )
    found = replayed(fleet, kept(fleet, "archive.db"), low, high)
    for alert in sorted(found.values(), key=lambda one: (one.started, one.id)):
        rule = fleet.rules.rules[alert.rule]
        grid.add_row(
            LEVEL_LABELS[Level(alert.level)][0 if lang == "zh" else 1],
            rule.title_zh if lang == "zh" else rule.title,
            alert.subject,
            moment(alert.started, zone),
            moment(alert.resolved, zone) if alert.resolved else "",
            f"{alert.worst:g}",
        )
    Console().print(grid if found else word("nothing", lang))


def replayed(fleet: Fleet, archive: Path, low: int, high: int) -> dict[str, Alert]:
    """Alerts by id. A day of readings is judged at a time."""
    reader = ArchiveReader(archive)
    try:
        names = reader.point_names()
        ids = {name: number for number, name in enumerate(names) if name}
        points = Numbering()
        points(names)
        engine = Engine(registry_of, rules_of, points, lambda: ["replay"])
        engine.apply(1, fleet.files.registry_revision(low))
        engine.apply(2, fleet.files.rules_revision(low))
        found: dict[str, Alert] = {}
        wanted = [ids[one.name] for one in fleet.registry.points if one.name in ids]
        for seq, batch in enumerate(_days(reader, wanted, low, high), start=3):
            engine.apply(seq, batch)
            found |= engine.changes().alerts
        return found
    finally:
        reader.close()


def _days(reader: ArchiveReader, points: list[int], low: int, high: int) -> Iterator[Batch]:
    """Stored readings, a day in each batch, in order of time, as if received when measured."""
    newest = [reader.latest(point) for point in points]
    last = max((int(one.time[0]) for one in newest if len(one)), default=low - 1)
    first = [reader.after(point, low - 1, 1) for point in points]
    begin = min((int(one.time[0]) for one in first if len(one)), default=high)
    for day in range(begin, min(high, last + 1), DAY_MS):
        parts = [(p, reader.read(p, day, min(day + DAY_MS, high))) for p in points]
        parts = [(p, series) for p, series in parts if len(series)]
        if not parts:
            continue
        time_ = np.concatenate([series.time for _, series in parts])
        order = np.argsort(time_, kind="stable")
        yield Batch(
            np.concatenate([np.full(len(s), p, np.int32) for p, s in parts])[order],
            time_[order],
            np.concatenate([series.value for _, series in parts])[order],
            np.concatenate([series.quality for _, series in parts])[order],
            _timely(time_[order]),
        )


def _timely(times: Times) -> Segments:
    """Segments by which no row is late and none is ahead of its receipt: half a minute each,
    received with its newest row."""
    stop = np.append(np.flatnonzero(np.diff(times // 30_000)) + 1, len(times)).astype(np.int64)
    none = np.zeros(len(stop), np.int32)
    return Segments(stop, none, times[stop - 1], none.astype(np.bool_))
