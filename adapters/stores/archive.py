"""The archive: every reading by point and time, what was refused, who is up. The store of record.

As a fold it is a function of the journal: readings, refusals, names and cursor change in one
transaction; retention follows the journal's ticks, not the clock of the machine. The file
stands alone: it holds the names of its points and origins, so that it can be read without the
journal, and a new journal can be given the same stable ids (``ArchiveReader.point_names`` ->
``seed_points``; then open with ``reset``).

Each commit also does a share of the housekeeping, proportional to the rows it wrote, so that
neither the files nor the time of one commit grow without bound. Readings go to many threads and
processes through :class:`ArchiveReader`; the fold itself belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from adapters.state.foldfile import FoldFile
from adapters.stores import refused, series, states
from adapters.stores.refused import RefusedStore
from adapters.stores.series import SeriesStore
from collector.model import Batch, Entry, Mark, Refusal, Revision, SourceState, Tick, concat
from collector.ports import Buckets, Journal, Series
from collector.telemetry import Telemetry

VERSION: Final = 1
PAGE_BYTES: Final = 8192
MAX_ROWS: Final = 1 << 18
"""Readings held back at most between two commits."""
DAY_MS: Final = 86_400_000
STRIDE_MS: Final = 7 * DAY_MS
"""Retention deletes at most so much history in a day, so that a clock gone wrong for a day
cannot empty the archive."""
EXPIRED_CHUNKS: Final = 256
"""Chunks that one commit deletes at most, so that no commit is long."""
COMPACT_LEAST: Final = 1 << 15
REPLAYED: Final = "refused-replayed"
"""A ``Mark`` of this kind says that the refused row ``subject`` was replayed."""

SCHEMA: Final = f"""
{series.SCHEMA}
{refused.SCHEMA}
{states.SCHEMA}
CREATE TABLE IF NOT EXISTS point (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS point_by_name ON point (name);
CREATE TABLE IF NOT EXISTS origin (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
"""


class Archive:
    """Implements :class:`collector.ports.Fold` and :class:`collector.ports.ReadingStore`.

    ``retention_days``: readings older than this at the newest tick may be deleted. ``reset``:
    the file may have followed another journal, see :class:`FoldFile`.
    Raises ``ConfigurationError`` for a file that is not this journal's archive.
    """

    name = "archive"

    def __init__(
        self,
        path: Path,
        journal: Journal,
        telemetry: Telemetry,
        *,
        retention_days: int = 400,
        reset: bool = False,
        max_rows: int = MAX_ROWS,
        max_refused_rows: int = refused.MAX_GROUPS,
        max_refused_bytes: int = refused.MAX_SAMPLE_BYTES,
    ) -> None:
        self._file = FoldFile(
            path, journal.identity, SCHEMA, version=VERSION, reset=reset, page_size=PAGE_BYTES
        )
        self._journal = journal
        self._telemetry = telemetry
        self._retention = retention_days * DAY_MS
        self._max_rows = max_rows
        self._series = SeriesStore(self._file.connection)
        self._refused = RefusedStore(
            self._file.connection, max_groups=max_refused_rows, max_bytes=max_refused_bytes
        )
        self._applied = self._file.cursor
        self._named_points = self._named_origins = -1
        self._newest_point = self._newest_origin = -1
        self._expiring = True
        self._told_of: object = None
        self._begin()

    def _begin(self) -> None:
        self._batches: list[Batch] = []
        self._rows = 0
        self._said: list[Refusal | Mark] = []
        self._states: list[SourceState] = []
        self._tick: int | None = None
        self._renamed = False

    # --- the fold

    def cursor(self) -> int:
        """The last sequence number whose effect is committed."""
        return self._file.cursor

    def apply(self, entries: Sequence[tuple[int, Entry]]) -> None:
        """Take these entries; commits by itself when many readings have gathered. Entries up to
        the last one taken are passed over, so a call may be repeated."""
        for seq, entry in entries:
            if seq <= self._applied:
                continue
            self._applied = seq
            if isinstance(entry, Batch):
                self._batches.append(entry)
                self._rows += len(entry)
            elif isinstance(entry, Refusal | Mark):
                self._said.append(entry)
            elif isinstance(entry, SourceState):
                self._states.append(entry)
            elif isinstance(entry, Tick):
                self._tick = max(entry.time, self._tick or entry.time)
            elif isinstance(entry, Revision):
                self._renamed = True
            if self._rows >= self._max_rows:
                self.commit()

    def commit(self, *, whole: bool = False) -> None:  # noqa: ARG002 every commit is whole
        """Commit everything applied so far with its cursor. ``TemporaryError``: nothing was
        committed, what was applied is still held, call again."""
        if self._applied == self._file.cursor:
            self._file.commit()
            return
        rows = self._rows
        with self._file.transaction():
            expired = self._write(self._batches)
            self._keep_said()
            self._keep_names()
            if self._states:
                names = self._journal.origin_names()
                states.keep(self._file.connection, self._states, names)
            if self._tick is not None:
                self._file.set("tick", self._tick)
                self._retain(self._tick)
            self._series.compact(max(2 * rows, COMPACT_LEAST))
            self._file.set_cursor(self._applied)
        self._begin()
        self._tell(rows, expired)

    def sync(self) -> int:
        """Fsync what was committed; its cursor. From a thread of its own."""
        return self._file.sync()

    def close(self) -> None:
        """Give the file back. What was not committed comes again from the journal."""
        self._file.close()

    def _write(self, batches: Sequence[Batch]) -> int:
        batch = concat(batches)
        if not len(batch):
            return 0
        self._newest_point = max(self._newest_point, int(batch.point.max()))
        self._newest_origin = max(self._newest_origin, int(batch.segments.origin.max()))
        return self._series.write(batch.point, batch.time, batch.value, batch.quality)

    def _keep_names(self) -> None:
        """The journal's dictionaries, whole, when an id came that has no name here yet or when
        names may have changed: they are small, and a rename may be anywhere."""
        run = self._file.connection
        if self._renamed or self._newest_point > self._named_points:
            names = self._journal.point_names()
            run.execute("DELETE FROM point")
            run.executemany("INSERT INTO point VALUES (?, ?)", _named(names))
            self._named_points = len(names) - 1
        if self._newest_origin > self._named_origins:
            names = self._journal.origin_names()
            run.execute("DELETE FROM origin")
            run.executemany("INSERT INTO origin VALUES (?, ?)", _named(names))
            self._named_origins = len(names) - 1

    def _keep_said(self) -> None:
        refusals: list[Refusal] = []
        for entry in self._said:
            if isinstance(entry, Refusal):
                refusals.append(entry)
                self._newest_origin = max(self._newest_origin, entry.origin)
            elif entry.kind == REPLAYED and entry.subject.isdecimal():
                self._refused.add(refusals)
                refusals = []
                self._refused.replayed(int(entry.subject), entry.time)
        self._refused.add(refusals)

    def _retain(self, now: int) -> None:
        """Once a day of the journal's time, and on until nothing expired is left."""
        day = now // DAY_MS
        if self._file.get("retained_day") != day:
            self._file.set("retained_day", day)
            self._file.set("retain_before", self._horizon(day * DAY_MS - self._retention))
            self._expiring = True
        if self._expiring:
            before = int(str(self._file.get("retain_before")))
            self._expiring = self._series.retain(before, EXPIRED_CHUNKS) > 0

    def _horizon(self, wished: int) -> int:
        """At most a stride further than the horizon, or the oldest reading, was."""
        oldest = self._series.oldest()
        if oldest is None:
            return wished
        return min(wished, max(oldest, self._series.horizon()) + STRIDE_MS)

    def _tell(self, rows: int, expired: int) -> None:
        self._telemetry.count("archive_readings", rows)
        if expired:
            self._telemetry.count("archive_expired_on_arrival", expired)
        if expired and self._told_of != (day := self._file.get("retained_day")):
            self._told_of = day
            self._telemetry.event(
                "readings older than the retention came, they will be deleted",
                level="warning",
                readings=expired,
            )

    # --- the store, for the fold's own thread

    def write(self, batch: Batch) -> None:
        """Upsert at once, inside the open transaction; ``commit`` makes it durable."""
        self._file.begin()
        self._write([batch])

    def read(self, point: int, start: int, end: int) -> Series:
        """As :meth:`SeriesStore.read`; what is applied but not committed is not seen."""
        return self._series.read(point, start, end)

    def buckets(self, point: int, start: int, end: int, width: int) -> Buckets:
        return self._series.buckets(point, start, end, width)

    def latest(self, point: int) -> Series:
        return self._series.latest(point)


def _named(names: Sequence[str]) -> list[tuple[int, str]]:
    """Ids and names; a number that was never given has none."""
    return [(number, name) for number, name in enumerate(names) if name]
