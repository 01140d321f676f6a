"""What a database is still to be given from the archive: asked for, read, sent, share by share.

A share is read only when the archive is as far as the database was fed from the journal: else
something older could take the place of something newer.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Final

from adapters.projection.refeed import DAY_MS, Refeed
from adapters.projection.sender import Sender, by_line
from adapters.stores.archive_reader import ArchiveReader
from collector.errors import TemporaryError
from collector.model import Batch, Segments

MAX_ROWS: Final = 1 << 16
"""Readings sent in one go, about."""
ARCHIVE_WAIT_SECONDS: Final = 2.0
MOST_DAYS: Final = 20_000
USUAL_DAYS: Final = 401


class History:
    """See the module. ``archive`` opens a reader of it, ``TemporaryError`` where there is none.
    Changes belong to the transaction of whoever owns ``connection``."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        archive: Callable[[], ArchiveReader],
        monotonic: Callable[[], float],
    ) -> None:
        self.spans = Refeed(connection)
        self._open = archive
        self._monotonic = monotonic
        self._archive: ArchiveReader | None = None

    @property
    def pending(self) -> bool:
        """Whether anything is left to feed."""
        return self.spans.pending

    def want(self, point: int, low: int, high: int, now: int) -> None:
        """Ask for ``[low, high)`` (UTC ms) of ``point``; 0: as far as the archive reaches at
        ``now``. An archive that cannot be looked at now reaches as far as archives usually do."""
        archive = self._opened()
        high = high or max(now, archive.tick() if archive is not None else 0) + DAY_MS
        low = low or (archive.oldest() if archive is not None else high - USUAL_DAYS * DAY_MS)
        if 0 < low < high:
            self.spans.add_span(point, max(low, high - MOST_DAYS * DAY_MS), high)

    def ready(self, cursor: int) -> bool:
        """Whether there is an archive that has what the journal said up to ``cursor``; waits for
        it a little."""
        archive = self._opened()
        if archive is None:
            return False
        until = self._monotonic() + ARCHIVE_WAIT_SECONDS
        while archive.cursor() < cursor:
            if self._monotonic() >= until:
                return False
            time.sleep(0.02)  # the archive's own pace; nothing tells us of its commits
        return True

    def feed(
        self, sender: Sender, limits: tuple[int, int], now: int, checkpoint: int | None
    ) -> int:
        """Send one share, as of ``now``; its readings. ``checkpoint``: see ``Refeed.finish``."""
        archive = self._opened()
        share = self.spans.next(archive) if archive is not None else None
        if share is None:
            return 0
        rows = len(share.rows.point)
        whole = Batch(*share.rows, Segments.one(rows, 0, now, backfill=True))
        batch = by_line(sender.encoder, whole)
        for at in range(0, rows, MAX_ROWS):
            part = slice(at, at + MAX_ROWS)
            count = len(batch.point[part])
            sender.send(
                Batch(
                    batch.point[part],
                    batch.time[part],
                    batch.value[part],
                    batch.quality[part],
                    Segments.one(count, 0, now, backfill=True),
                ),
                limits,
                self._monotonic(),
                told=False,
            )
        self.spans.finish(share, checkpoint)
        return rows

    def close(self) -> None:
        """Give the archive back."""
        if self._archive is not None:
            self._archive.close()

    def _opened(self) -> ArchiveReader | None:
        if self._archive is None:
            try:
                self._archive = self._open()
            except TemporaryError:
                return None
        return self._archive
