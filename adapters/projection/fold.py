"""A projection: the fold that feeds one external database with every reading, and what goes beside.

Promises. Every reading that the database can hold is in it in the end, whatever happened between:
while it takes nothing, the journal is held for it (up to a bound; what comes after is noted, point
by point and day by day, and fed from the archive later); what it acknowledged and may have lost
with its process is sent again; what it rejects is refused with its own reason and costs no other
reading anything. It never stops a warning and never fills the journal. The archive stays the store
of record: a projection may be emptied and fed again at any time.

State (cursor, what is still to be fed, what was said) is in a file of its own and changes in one
transaction, after the database answered: sending twice is harmless. One thread drives; ``sync`` is
called from another.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeGuard

from adapters.projection import fence, refeed, sender
from adapters.projection.around import Around
from adapters.projection.history import MAX_ROWS, History
from adapters.projection.refeed import ALL
from adapters.projection.sender import Sender
from adapters.projection.watch import Checkpoint, RestartedError, Watch
from adapters.state.foldfile import FoldFile
from adapters.stores.external import Database
from adapters.stores.line import statement_line
from collector.errors import TemporaryError
from collector.model import (
    Batch,
    Entry,
    Mark,
    Revision,
    Tick,
    concat,
)

VERSION: Final = 1
RETRY_SECONDS: Final = 10.0
"""How often it is tried while what comes is only noted."""
STATEMENT_SECONDS: Final = 2.0
MOST_SAID: Final = 20
"""Groups of statements in one turn."""
HOUR_MS: Final = 3_600_000
REBUILD: Final = "project-rebuild"
"""A ``Mark`` of this kind asks for everything between its ``start`` and ``end`` (0: all there is)
to be fed again, by the projection that is its ``subject``, or by all when that is empty."""
SCHEMA: Final = refeed.SCHEMA + fence.SCHEMA + sender.SCHEMA


class Projection:
    """Implements :class:`collector.ports.Fold`, with work of its own between entries (``idle``).

    ``hold_bytes``: of journal, while the database takes nothing. Whatever is wrong with the
    database is a ``TemporaryError``: whoever drives builds it anew from its file and goes on.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        database: Database,
        around: Around,
        *,
        hold_bytes: int = 128 << 20,
        max_series: int = 500_000,
        reset: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = f"project-{name}"
        self._name = name
        self._around = around
        self._database = database
        self._hold_bytes = hold_bytes
        self._monotonic = monotonic
        self._file = FoldFile(path, around.journal.identity, SCHEMA, version=VERSION, reset=reset)
        self._history = History(self._file.connection, around.archive, monotonic)
        self._sender = Sender(
            name,
            self._file.connection,
            database,
            around.journal,
            around.telemetry,
            feed=self._history.spans.add_span,
            origin=around.origin,
            max_series=max_series,
        )
        started = int(str(self._file.get("started", 0)))
        self._watch = Watch(name, database, around.telemetry, started=started)
        self._seq = self._file.cursor
        self._settled = min(int(str(self._file.get("settled", self._seq))), self._seq)
        self._said: dict[str, Any] = json.loads(str(self._file.get("said", "{}")))
        self._checkpoint = int(str(self._file.get("checkpoint", 0)))
        self._now = int(str(self._file.get("now", 0)))
        self._noting_until = 0.0
        self._say_at = 0.0
        self._batches: list[Batch] = []
        self._rows = 0
        self._digest = ""
        self._beside = around.beside() if around.beside is not None else None
        self._catch_gap()
        with self._file.transaction():
            self._adopt()

    def _catch_gap(self) -> None:
        """The journal forgot what this never saw: all of it comes from the archive."""
        first = self._around.first() or self._around.journal.last() + 1
        if self._seq + 1 >= first:
            return
        self._around.telemetry.event(
            "projection begins where the journal does, the rest comes from the archive",
            projection=self._name,
            had=self._seq,
            journal_begins_at=first,
        )
        with self._file.transaction():
            self._history.want(ALL, 0, 0, self._now)
            self._seq = self._settled = first - 1
            self._keep()

    # --- the fold

    def cursor(self) -> int:
        """The last sequence number whose effect is committed."""
        return self._file.cursor

    def apply(self, entries: Sequence[tuple[int, Entry]]) -> None:
        """Take these entries; sends by itself when many readings have gathered."""
        self._catch_gap()
        for seq, entry in entries:
            if seq <= self._seq:
                continue
            if isinstance(entry, Batch):
                self._gather(entry)
            elif isinstance(entry, Tick):
                self._now = max(self._now, entry.time)
            elif isinstance(entry, Revision) and entry.kind == "registry":
                self._send()
                self._file.begin()
                self._adopt()
            elif self._asks_rebuild(entry):
                self._rebuild(entry)
            self._seq = seq
            if self._rows >= MAX_ROWS:
                self._send()
                self._keep()

    def _asks_rebuild(self, entry: Entry) -> TypeGuard[Mark]:
        mine = {"", self._name}
        return isinstance(entry, Mark) and entry.kind == REBUILD and entry.subject in mine

    def _rebuild(self, wish: Mark) -> None:
        """All readings come from the archive, and everything beside them is said anew."""
        self._file.begin()
        self._history.want(ALL, wish.start, wish.end, self._now)
        self._said = {}
        if self._beside is not None and self._around.beside is not None:
            self._beside.close()
            self._beside = self._around.beside()
            self._digest = ""
            self._adopt()

    def _gather(self, batch: Batch) -> None:
        self._batches.append(batch)
        self._rows += len(batch)
        if len(batch.segments):
            self._now = max(self._now, int(batch.segments.received.max()))

    def commit(self, *, whole: bool = False) -> None:  # noqa: ARG002 every commit is whole
        """Send what was gathered, then commit the cursor."""
        self._send()
        if self._seq > self._file.cursor:
            self._keep()
        self._file.commit()
        refusals = self._sender.refusals()
        if refusals:
            self._around.refuse(refusals)
        if not self._noting():
            self._look()
            self._say()

    def sync(self) -> int:
        """Have what was committed fsynced; up to where the journal may forget: what the
        database may still lose is kept."""
        return min(self._file.sync(), self._settled)

    def close(self) -> None:
        """Give the file and the connection back."""
        self._history.close()
        if self._beside is not None:
            self._beside.close()
        self._database.close()
        self._file.close()

    def idle(self) -> bool:
        """Nothing new in the journal: say what is due, feed a share of what is to come from the
        archive. Whether there is more to do at once."""
        if self._noting():
            return False
        self._look()
        self._say()
        return self._history.pending and self._feed()

    def _keep(self) -> None:
        """Cursor and what belongs to it, in the open transaction."""
        self._file.set_cursor(self._seq)
        if self._beside is not None:
            self._said = self._beside.noted(self._now, self._said)
        if not self._database.settle_ms:
            self._settled = self._seq
        for key, value in (
            ("settled", self._settled),
            ("said", json.dumps(self._said)),
            ("checkpoint", self._checkpoint),
            ("now", self._now),
        ):
            self._file.set(key, value)

    def _adopt(self) -> None:
        """The newest registry, whatever the journal is at: names are those of today. What has
        other names now comes again under them."""
        revision = self._around.journal.revision("registry")
        digest = revision.digest if revision is not None else "none"
        if digest == self._digest:
            return
        self._digest = digest
        registry = self._around.parse(revision)
        if self._beside is not None:
            self._beside.update(registry)
        for point in self._sender.adopt(registry):
            self._history.want(point, 0, 0, self._now)

    # --- live readings

    def _send(self) -> None:
        """What was gathered goes to the database; or is noted, while too much waits for it."""
        if not self._batches:
            return
        batch = concat(self._batches)
        self._batches, self._rows = [], 0
        self._tell_late(batch)
        if self._noting():
            self._file.begin()
            self._history.spans.add(batch)
            return
        if self._around.held_bytes(self._file.cursor) >= self._hold_bytes:
            self._note(batch, "it takes less than comes in")
            return
        try:
            self._look()
            self._file.begin()
            limits = self._watch.condition.limits(self._now)
            self._sender.send(batch, limits, self._monotonic())
        except RestartedError:
            raise
        except TemporaryError as fault:
            if self._around.held_bytes(self._settled) < self._hold_bytes:
                raise
            self._note(batch, str(fault))
            return
        self._noting_until = 0.0

    def _tell_late(self, batch: Batch) -> None:
        """What is said of hours that are over may change."""
        late = batch.time < self._now // HOUR_MS * HOUR_MS
        if self._beside is not None and late.any():
            self._beside.touched(batch.point[late], batch.time[late])

    def _noting(self) -> bool:
        return self._monotonic() < self._noting_until

    def _note(self, batch: Batch, why: str) -> None:
        """More of the journal waits than may: it is let go, and the archive takes its place."""
        if not self._noting_until:
            self._around.telemetry.event(
                "projection lets the journal go, what comes now is fed from the archive later",
                level="warning",
                projection=self._name,
                held_mb=self._hold_bytes >> 20,
                reason=why,
            )
        self._noting_until = self._monotonic() + RETRY_SECONDS
        self._settled = self._seq
        self._file.begin()
        self._history.spans.add(batch)

    # --- how the database stands

    def _look(self) -> None:
        """See ``Watch``. After a restart, what is not settled is sent again: from the journal, and
        from the archive what came from there."""
        clock = self._monotonic()
        if not self._now or not self._watch.due(clock):
            return
        self._checkpoint += 1
        now = Checkpoint(self._checkpoint, self._file.cursor, json.dumps(self._said))
        try:
            settled = self._watch.look(clock, now)
        except RestartedError:
            self._send_again()
            raise
        with self._file.transaction():
            self._file.set("started", self._watch.started)
            if settled is not None:
                self._settled = max(self._settled, settled.seq)
                self._file.set("said_settled", settled.said)
                self._history.spans.settled(settled.number)

    def _send_again(self) -> None:
        self._around.telemetry.event(
            "database was restarted, what it may have lost is sent again",
            level="warning",
            projection=self._name,
            entries=self._file.cursor - self._settled,
        )
        self._file.rollback()
        with self._file.transaction():
            self._seq = self._settled
            self._said = json.loads(str(self._file.get("said_settled", "{}")))
            self._history.spans.again()
            self._file.set("started", self._watch.started)
            self._keep()

    # --- history, from the archive

    def _feed(self) -> bool:
        """One share. Whether there is more."""
        if not self._history.ready(self._file.cursor):
            return False
        checkpoint = self._checkpoint + 1 if self._database.settle_ms else None
        limits = self._watch.condition.limits(self._now)
        self._file.begin()
        rows = self._history.feed(self._sender, limits, self._now, checkpoint)
        self._file.commit()
        self._around.telemetry.count("projection_fed_from_archive", rows, projection=self._name)
        return self._history.pending

    # --- beside readings

    def _say(self) -> None:
        """What is due besides readings. Kept as said when the database took it."""
        beside = self._beside
        if beside is None or self._monotonic() < self._say_at:
            return
        self._say_at = self._monotonic() + STATEMENT_SECONDS
        low, high = self._watch.condition.limits(self._now)
        for _ in range(MOST_SAID):
            told, said = beside.due(self._now, self._said)
            lines = [
                statement_line(one, self._database.dialect)
                for one in told
                if low <= one.time <= high
            ]
            if lines:
                self._sender.send_lines(b"".join(lines))
            if said != self._said:
                self._said = said
                with self._file.transaction():
                    self._file.set("said", json.dumps(said))
            if not told:
                return
        self._say_at = 0.0
