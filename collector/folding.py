"""The right half of the way: what the journal holds into one fold.

    journal -> [read -> merge -> fold.apply -> fold.commit] -> release

A thread for each fold, at its own pace, and one more that has its commits synced. A fold sees
every entry after its cursor once, in order; when anything goes wrong it is built anew from its
file and sees them again. Nothing is dropped: an entry that a fold cannot apply, tried alone, is
gone round and told.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from collector.errors import ConfigurationError, MeterwatchError, TemporaryError
from collector.model import Batch, Entry, Tick, concat
from collector.ports import Fold, Journal, Restless
from collector.telemetry import Telemetry


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
        self._journal.rouse()
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
