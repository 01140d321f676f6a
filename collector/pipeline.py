"""The whole way of a reading, in one page.

    sources -> submit -> [merge -> normalise -> journal.append (synced)] -> answer the senders
    journal -> [read -> merge -> fold.apply -> fold.commit] -> release

``IntakeLoop`` is the left bracket: one thread, the only writer of readings. While it syncs,
deliveries gather; the next turn takes them all, so a slow disk makes larger groups, not a
longer queue. ``FoldLoop`` is the right one: a thread per fold, each at its own pace.

Invariants: a delivery's ``synced`` is called after, never before, the append that holds it
returned. Deliveries reach the journal in the order of ``submit``. A fold sees every entry after
its cursor once, in order; when anything goes wrong it is built anew from its file and sees them
again. Neither loop ever drops: it waits, refuses (law 10) or keeps aside with a reason. A thread
that ends by a bug says so through ``died``; nobody is left waiting for it unawares.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from collector.errors import ConfigurationError, MeterwatchError, TemporaryError
from collector.model import Batch, Entry, Reason, Refusal, SourceState, Tick, concat
from collector.ports import Delivery, Fold, Journal, Restless, Urgency
from collector.records import encode
from collector.telemetry import Telemetry

MAX_ROWS = 65_536
"""Readings in one journal record at most."""
MAX_SAID_BYTES = 1 << 20
"""Bytes of refusals and the like in one group, about: the journal's bound is looked at between
groups only."""
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
        for delivery in admitted:
            if delivery.synced is not None:
                delivery.synced()
        return rows

    def _refuse(self, delivery: Delivery) -> None:
        self._telemetry.count("intake_refused_full", urgency=delivery.urgency.name.lower())
        if delivery.refused is not None:
            delivery.refused()

    def _entries(self, deliveries: Sequence[Delivery]) -> list[Entry]:
        """Journal entries of a group. Readings merge into one batch as long as nothing that a
        fold must see in its place (a tick, a source's state, a revision) stands between."""
        entries: list[Entry] = []
        gathered: list[Batch] = []
        for delivery in deliveries:
            for entry in delivery.entries:
                if gathered and not isinstance(entry, Refusal):
                    entries += self._normalised(gathered)
                    gathered = []
                entries.append(entry)
            if delivery.batch is not None and len(delivery.batch):
                gathered.append(delivery.batch)
        entries += self._normalised(gathered)
        return entries

    def _normalised(self, batches: list[Batch]) -> list[Entry]:
        if not batches:
            return []
        try:
            merged = self.normalise(concat(batches))
        except Exception as fault:  # noqa: BLE001 a bug in one delivery must not stop the others
            if len(batches) > 1:
                return [entry for batch in batches for entry in self._normalised([batch])]
            return [self._kept_aside(batches[0], fault)]
        self._telemetry.count("readings_received", len(merged))
        return [merged]

    def _kept_aside(self, batch: Batch, fault: Exception) -> Refusal:
        self._telemetry.event("normalise failed", level="error", fault=repr(fault))
        return Refusal(
            time=int(batch.segments.received[0]),
            origin=int(batch.segments.origin[0]),
            reason=Reason.PROGRAM_FAULT,
            detail=f"the program failed on these readings: {fault!r}",
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


def merged(entries: Sequence[tuple[int, Entry]]) -> list[tuple[int, Entry]]:
    """``entries`` with every run of batches made one batch, under the run's last number."""
    out: list[tuple[int, Entry]] = []
    run: list[Batch] = []
    last = 0
    for seq, entry in entries:
        if isinstance(entry, Batch):
            run.append(entry)
        else:
            if run:
                out.append((last, concat(run)))
                run = []
            out.append((seq, entry))
        last = seq
    if run:
        out.append((last, concat(run)))
    return out


def _newest(entries: Sequence[tuple[int, Entry]]) -> int:
    """When the last of them that says so was received or ticked; 0 when none says."""
    for _, entry in reversed(entries):
        if isinstance(entry, Tick):
            return entry.time
        if isinstance(entry, Batch) and len(entry.segments):
            return int(entry.segments.received[-1])
    return 0


class FoldLoop:
    """Drives one fold. ``build`` opens it from its file; ``linger`` seconds at least between
    two turns under load; every ``durable_every`` seconds it commits whole, and a thread of its
    own has that fsynced and released, so that no turn waits for the disk. ``changed`` is called,
    from the fold's thread, when it stops working (False, why) and when it works again."""

    RETRY_SECONDS = 0.5
    PATIENCE = 3
    """Failures at one place before the entries there are tried one by one."""

    def __init__(
        self,
        name: str,
        build: Callable[[], Fold],
        journal: Journal,
        telemetry: Telemetry,
        *,
        linger: float = 0.05,
        max_bytes: int = 4 << 20,
        durable_every: float = 2.0,
        changed: Callable[[bool, str], object] | None = None,
    ) -> None:
        self.name = name
        self.healthy = True
        self.seq = 0
        self.trouble = ""
        """Why it is not healthy."""
        self.newest = 0
        """UTC ms of the newest entry applied: a tick, or the receipt of readings."""
        self._moved_at = time.monotonic()
        self._failures = self._stumbles = 0
        self._skip: set[int] = set()
        self._build = build
        self._journal = journal
        self._telemetry = telemetry
        self._linger = linger
        self._max_bytes = max_bytes
        self._durable_every = durable_every
        self._changed = changed
        self._stopping = threading.Event()
        self._moved = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"fold-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Commit what was applied, then end. Call ``drain`` first to apply everything."""
        self._stopping.set()
        self._thread.join()

    def drain(self, timeout: float) -> bool:
        """Wait until this fold has applied all that is in the journal now."""
        goal = self._journal.last()
        with self._moved:
            return self._moved.wait_for(lambda: self.seq >= goal, timeout)

    def lag(self) -> int:
        """Journal entries not yet applied."""
        return max(0, self._journal.last() - self.seq)

    def stalled(self) -> float:
        """Seconds since it last moved or had nothing to do."""
        return time.monotonic() - self._moved_at

    def _run(self) -> None:
        while not self._stopping.is_set():
            fold: Fold | None = None
            try:
                fold = self._build()
                self._release(fold)
                self._advance(fold.cursor())
                if self._stumbles >= self.PATIENCE:
                    self._step_over(fold)
                self._consume_and_release(fold)
            except Exception as fault:  # noqa: BLE001 fenced off: the other folds go on, this one is built anew
                self._failed(fault)
                wait = self.RETRY_SECONDS * 2 ** min(self._failures, 10)
                self._stopping.wait(min(30.0, wait))
            finally:
                if fold is not None:
                    self._close(fold)

    def _failed(self, fault: Exception) -> None:
        """Count it, and say it once for as long as it stays the same."""
        waits = isinstance(fault, TemporaryError)
        self._failures += 1
        # No entry is to blame for what passes by itself.
        self._stumbles = 0 if waits else self._stumbles + 1
        self._telemetry.count("fold_failures", fold=self.name)
        told = str(fault) if isinstance(fault, MeterwatchError) else repr(fault)
        if told != self.trouble:
            self.trouble = told
            name = "fold waits" if waits else "fold failed, will be rebuilt"
            self._telemetry.event(name, level="error", fold=self.name, fault=told)
            if self._changed is not None:
                self._changed(False, told)
        self.healthy = False

    def _close(self, fold: Fold) -> None:
        try:
            fold.close()
        except Exception as fault:  # noqa: BLE001 it is given up anyway; the loop must go on
            self._telemetry.event(
                "fold failed to close", level="error", fold=self.name, fault=repr(fault)
            )

    def _consume_and_release(self, fold: Fold) -> None:
        ended = threading.Event()
        releaser = threading.Thread(
            target=self._keep_releasing, args=(fold, ended), name=f"sync-{self.name}", daemon=True
        )
        releaser.start()
        try:
            self._consume(fold)
        finally:
            ended.set()
            releaser.join()
        self._release(fold)

    def _consume(self, fold: Fold) -> None:
        whole_at, whole = time.monotonic(), self.seq
        restless = fold if isinstance(fold, Restless) else None
        more = False
        while not self._stopping.is_set():
            if self._journal.wait(self.seq, 0.0 if more else min(1.0, self._durable_every)):
                started = time.monotonic()
                entries = self._journal.read(self.seq, self._max_bytes)
                if entries:
                    fold.apply(merged(self._unskipped(entries)))
                    fold.commit()
                    self._recovered()
                    self.newest = _newest(entries) or self.newest
                    self._advance(entries[-1][0])
                self._tell(started)
                self._stopping.wait(max(0.0, self._linger - (time.monotonic() - started)))
            else:
                self._moved_at = time.monotonic()
            more = restless is not None and restless.idle()
            if self.seq > whole and time.monotonic() - whole_at >= self._durable_every:
                fold.commit(whole=True)
                whole_at, whole = time.monotonic(), self.seq
        fold.commit(whole=True)

    def _keep_releasing(self, fold: Fold, ended: threading.Event) -> None:
        while not ended.wait(self._durable_every):
            try:
                self._release(fold)
            except TemporaryError as fault:  # a full disk: the journal keeps what it has
                self._telemetry.event(
                    "fold cannot be synced now", level="error", fold=self.name, reason=str(fault)
                )

    def _release(self, fold: Fold) -> None:
        self._journal.release(self.name, fold.sync())

    def _step_over(self, fold: Fold) -> None:
        """The same place failed again and again: find the one entry that does it, and from now
        on go round it. It stays in the journal until released, and its number is in the log."""
        for seq, entry in self._unskipped(self._journal.read(fold.cursor(), self._max_bytes)):
            try:
                fold.apply([(seq, entry)])
                fold.commit()
            except (TemporaryError, ConfigurationError, OSError, MemoryError):
                raise  # the machine's fault, or the file's: this entry is as good as any
            except Exception as fault:  # raised again, after the entry was noted
                self._skip.add(seq)
                self._telemetry.count("fold_entries_skipped", fold=self.name)
                self._telemetry.event(
                    "fold skips an entry it cannot apply",
                    level="error",
                    fold=self.name,
                    seq=seq,
                    fault=repr(fault),
                )
                raise
            self._advance(seq)
        self._recovered()

    def _unskipped(self, entries: list[tuple[int, Entry]]) -> list[tuple[int, Entry]]:
        if not self._skip:
            return entries
        return [(seq, entry) for seq, entry in entries if seq not in self._skip]

    def _recovered(self) -> None:
        self._failures = self._stumbles = 0
        self.healthy = True
        if self.trouble:
            self._telemetry.event("fold works again", fold=self.name, after=self.trouble)
            self.trouble = ""
            if self._changed is not None:
                self._changed(True, "")

    def _advance(self, seq: int) -> None:
        with self._moved:
            self.seq = seq
            self._moved_at = time.monotonic()
            self._moved.notify_all()

    def _tell(self, started: float) -> None:
        self._telemetry.observe("fold_turn_seconds", time.monotonic() - started, fold=self.name)
        self._telemetry.gauge("fold_lag_entries", self.lag(), fold=self.name)
