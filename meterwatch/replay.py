"""Looking back: what today's registry makes of kept payloads, and today's rules of stored
readings."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from adapters.journals.sqlite import SqliteJournal
from adapters.sources.payload import PayloadDecoder
from adapters.stores.archive import REPLAYED
from adapters.stores.archive_reader import ArchiveReader
from collector.model import Entry, Mark
from collector.normalise import normalise
from collector.registry import table
from collector.telemetry import Telemetry
from meterwatch.fleet import parse, read_files

REPLAYABLE: Final = "mqtt-json"


def replay_refused(folder: Path) -> str:
    """Decode every kept payload again; what is usable now goes into the journal (with its old
    receipt, so it is judged as the late data it is), and its row is marked as replayed."""
    fleet = parse(read_files(folder))
    data = folder / fleet.settings.program.data
    reader = ArchiveReader(data / "archive.db")
    journal = SqliteJournal(data / "journal.db", Telemetry())
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
    return f"{taken} readings of {rows} refusals taken in; see what is left with: refused"


def _gateway(kind: str, origin: str) -> str | None:
    """Which gateway sent a refused payload: its origin, or, for one that was not known then,
    what stands behind the colon of ``kind``."""
    decoder, _, named = kind.partition(":")
    if decoder != REPLAYABLE:
        return None
    if origin.startswith("gateway:"):
        return origin.removeprefix("gateway:")
    return named or None
