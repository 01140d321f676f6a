"""The left half of the way: deliveries of the sources into the journal.

    sources -> submit -> [merge -> normalise -> journal.append (synced)] -> answer the senders

One thread, the only writer of readings. While it syncs, deliveries gather; the next turn takes
them all, so a slow disk makes larger groups, not a longer queue.

Invariants: a delivery's ``synced`` is called after, never before, the append that holds it
returned. Deliveries reach the journal in the order of ``submit``. It never drops: it waits,
refuses (law 10) or keeps aside with a reason. A thread that ends by a bug says so through
``died``; nobody is left waiting for it unawares.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from collector.errors import TemporaryError
from collector.model import Batch, Entry, Reason, Refusal, SourceState, concat
from collector.ports import Delivery, Journal, Urgency
from collector.records import encode
from collector.telemetry import Telemetry

MAX_ROWS = 65_536
"""Readings in one journal record at most."""
MAX_SAID_BYTES = 1 << 20
"""Bytes of refusals and the like in one group, about: the journal's bound is looked at between
groups only."""
TOLD_AGAIN_S = 3600.0
"""Of each origin, one reason to refuse what it brings is told once in that time."""
BUSY_ROWS = 2_000
"""A turn this large means load: the next one lingers, so that folds get fewer, larger batches."""


class IntakeLoop:
    """Implements :class:`collector.ports.Intake`. ``normalise`` may be replaced at any time
    (a registry reload); ``linger`` seconds between two appends under load. ``sources``: the last
    that was said of each origin. ``died`` is called from the loop's thread if a bug ends it."""

    def __init__(
        self,
        journal: Journal,
        normalise: Callable[[Batch], Batch],
        telemetry: Telemetry,
        *,
        linger: float = 0.01,
        died: Callable[[BaseException], object] | None = None,
    ) -> None:
        self.normalise = normalise
        self.sources: dict[int, SourceState] = {}
        self._died = died
        self._journal = journal
        self._telemetry = telemetry
        self._linger = linger
        self._told: dict[tuple[int, str], float] = {}
        self._queue: deque[Delivery] = deque()
        self._ready = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._live, name="intake", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Append what was submitted, then end. What cannot be appended now stays unanswered:
        its senders have it still."""
        self._stopping.set()
        self._ready.set()
        self._thread.join()

    def submit(self, delivery: Delivery) -> None:
        self._queue.append(delivery)
        self._ready.set()

    async def deliver(self, delivery: Delivery) -> bool:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bool] = loop.create_future()

        def settle(kept: bool) -> None:
            if not answer.done():
                answer.set_result(kept)

        delivery.synced = lambda: loop.call_soon_threadsafe(settle, True)
        delivery.refused = lambda: loop.call_soon_threadsafe(settle, False)
        self.submit(delivery)
        return await answer

    def pressure(self) -> Urgency:
        return self._journal.pressure()

    def _live(self) -> None:
        try:
            self._run()
        except TemporaryError as fault:  # it was stopping already
            self._telemetry.event(
                "stopped with deliveries that could not be kept, their senders have them",
                level="warning",
                deliveries=len(self._queue) + 1,
                reason=str(fault),
            )
        except BaseException as bug:  # carried to whoever runs the program
            if self._died is None:
                raise
            self._died(bug)

    def _run(self) -> None:
        busy = False
        while True:
            if not self._stopping.is_set():  # it may have been set before what is cleared below
                self._ready.wait()
            if busy and not self._stopping.is_set():
                self._stopping.wait(self._linger)
            self._ready.clear()
            if not self._queue:
                if self._stopping.is_set():
                    return
                continue
            busy = self._turn() >= BUSY_ROWS
            if self._queue:
                self._ready.set()

    def _turn(self) -> int:
        """One group: admit, normalise, append, answer. Returns its readings."""
        lowest = self._journal.pressure()
        admitted: list[Delivery] = []
        rows = said = 0
        while self._queue and rows < MAX_ROWS and said < MAX_SAID_BYTES:
            delivery = self._queue.popleft()
            if delivery.urgency < lowest:
                self._refuse(delivery)
                continue
            admitted.append(delivery)
            for entry in delivery.entries:
                if isinstance(entry, Refusal):
                    said += len(entry.sample)
                    self._telemetry.count("readings_refused", entry.count)
                if isinstance(entry, SourceState):
                    self.sources[entry.origin] = entry
            rows += len(delivery.batch) if delivery.batch is not None else 0
        entries = self._entries(admitted)
        if entries:
            self._append(entries)
            self._tell_refused(entries)
        for delivery in admitted:
            if delivery.synced is not None:
                delivery.synced()
        return rows

    def _tell_refused(self, entries: Sequence[Entry]) -> None:
        """Here, where all ways meet: on some of them nobody else is told."""
        now = time.monotonic()
        names: list[str] = []
        for entry in entries:
            if not isinstance(entry, Refusal):
                continue
            what = (entry.origin, entry.reason)
            if now - self._told.get(what, -TOLD_AGAIN_S) < TOLD_AGAIN_S:
                continue
            self._told[what] = now
            names = names or self._journal.origin_names()
            self._telemetry.event(
                "refuses",
                level="warning",
                source=names[entry.origin] if entry.origin < len(names) else "",
                reason=entry.reason,
                detail=entry.detail,
                todo="see meterwatch refused; this is told once an hour",
            )

    def _refuse(self, delivery: Delivery) -> None:
        self._telemetry.count("intake_refused_full", urgency=delivery.urgency.name.lower())
        if delivery.refused is not None:
            delivery.refused()

    def _entries(self, deliveries: Sequence[Delivery]) -> list[Entry]:
        """Journal entries of a group. Readings merge into one batch as long as nothing that a
        fold must see in its place (a tick, a source's state, a revision) stands between."""
        entries: list[Entry] = []
        gathered: list[Delivery] = []
        for delivery in deliveries:
            for entry in delivery.entries:
                if gathered and not isinstance(entry, Refusal):
                    entries += self._normalised(gathered)
                    gathered = []
                entries.append(entry)
            if delivery.batch is not None and len(delivery.batch):
                gathered.append(delivery)
        entries += self._normalised(gathered)
        return entries

    def _normalised(self, deliveries: list[Delivery]) -> list[Entry]:
        if not deliveries:
            return []
        batches = [one.batch for one in deliveries if one.batch is not None]
        try:
            merged = self.normalise(concat(batches))
        except Exception as fault:  # noqa: BLE001 a bug in one delivery must not stop the others
            if len(deliveries) > 1:
                return [entry for one in deliveries for entry in self._normalised([one])]
            refusal = self._kept_aside(batches[0], fault)
            deliveries[0].kept_aside = refusal.detail
            return [refusal]
        self._telemetry.count("readings_received", len(merged))
        return [merged]

    def _kept_aside(self, batch: Batch, fault: Exception) -> Refusal:
        self._telemetry.event("normalise failed", level="error", fault=repr(fault))
        return Refusal(
            time=int(batch.segments.received[0]),
            origin=int(batch.segments.origin[0]),
            reason=Reason.PROGRAM_FAULT,
            detail=f"the program failed on these readings: {fault!r:.200}",
            count=len(batch),
            kind="batch-record",
            sample=encode(batch),
        )

    def _append(self, entries: Sequence[Entry]) -> None:
        """Append, for as long as it takes: nothing was answered yet, so nothing is lost."""
        started = time.monotonic()
        told = ""
        while True:
            try:
                self._journal.append(entries)
                break
            except TemporaryError as fault:
                self._telemetry.count("journal_append_failures")
                if str(fault) != told:
                    told = str(fault)
                    self._telemetry.event(
                        "journal append failed, nothing is acknowledged until it succeeds",
                        level="error",
                        reason=told,
                    )
                if self._stopping.wait(fault.retry_after):
                    raise
        if told:
            seconds = round(time.monotonic() - started, 1)
            self._telemetry.event("journal append succeeds again", after_seconds=seconds)
        self._telemetry.observe("journal_append_seconds", time.monotonic() - started)
