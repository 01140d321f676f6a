"""An intake that keeps what it is given, for tests of sources.

Implements the ``Intake`` port with everything in memory: deliveries are kept in order, and the
test decides when they count as synced. It can hold ``synced`` back (a slow disk), and refuse by
urgency (a disk that is nearly full). Callbacks run on a thread of the intake's own, never on the
submitter's, because that is how the real one calls them. Usable from any thread and any loop.
A test file takes the fixture with ``intake = intakes.intake``.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self, TypeVar

import pytest

from collector.model import Batch, Entry, Refusal, SourceState, concat
from collector.ports import Delivery, Urgency

Found = TypeVar("Found", bound=Entry)


class CollectingIntake:
    """Keeps deliveries. ``with CollectingIntake() as intake:`` or call ``close``.

    ``held=True`` starts with ``synced`` held back; ``release()`` lets all of it go, and what
    comes after it too, until ``hold()``.
    """

    def __init__(self, *, held: bool = False) -> None:
        self.deliveries: list[Delivery] = []
        """Everything accepted, in order."""
        self.declined: list[Delivery] = []
        """Everything refused, in order."""
        self.aside = ""
        """With what the program fails on readings that come: they are kept aside."""
        self.most_unsynced_rows = 0
        """The largest number of rows that were accepted and not yet synced at one time."""
        self._unsynced_rows = 0
        self._waiting: list[Delivery] = []
        self._held = held
        self._lowest = Urgency.BACKFILL
        self._changed = threading.Condition()
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)
        self._thread.start()

    # The port.

    def submit(self, delivery: Delivery) -> None:
        """As the port says: any thread, never blocks."""
        with self._changed:
            if delivery.urgency < self._lowest:
                self.declined.append(delivery)
                if delivery.refused is not None:
                    self._calls.put(delivery.refused)
            else:
                self.deliveries.append(delivery)
                self._unsynced_rows += _rows(delivery)
                self.most_unsynced_rows = max(self.most_unsynced_rows, self._unsynced_rows)
                if self._held:
                    self._waiting.append(delivery)
                else:
                    self._sync(delivery)
            self._changed.notify_all()

    async def deliver(self, delivery: Delivery) -> bool:
        """As the port says: True once synced, False when refused."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bool] = loop.create_future()

        def settle(value: bool) -> None:
            if not answer.done():
                answer.set_result(value)

        def tell(value: bool, also: Callable[[], None] | None) -> None:
            if also is not None:
                also()
            with contextlib.suppress(RuntimeError):  # the loop of the test is gone already
                loop.call_soon_threadsafe(settle, value)

        self.submit(
            Delivery(
                delivery.batch,
                delivery.urgency,
                delivery.entries,
                synced=lambda: tell(True, delivery.synced),
                refused=lambda: tell(False, delivery.refused),
            )
        )
        return await answer

    def pressure(self) -> Urgency:
        """The lowest urgency accepted at present."""
        return self._lowest

    # What a test does to it.

    def hold(self) -> None:
        """From now on ``synced`` waits for ``release``."""
        with self._changed:
            self._held = True

    def release(self) -> None:
        """Everything held back is synced now, and what comes later at once."""
        with self._changed:
            self._held = False
            self._release(len(self._waiting))

    def release_one(self) -> None:
        """The oldest delivery held back is synced; the rest waits on."""
        with self._changed:
            self._release(1)

    def refuse_below(self, urgency: Urgency) -> None:
        """Refuse every later delivery whose urgency is lower (``BACKFILL``: refuse nothing)."""
        with self._changed:
            self._lowest = urgency

    # What a test asks it.

    def batch(self) -> Batch:
        """All accepted rows, in order of arrival, with their segments."""
        with self._changed:
            return concat([d.batch for d in self.deliveries if d.batch is not None])

    def rows(self) -> list[tuple[int, int, float, int]]:
        """``batch()`` as (point, time, value, quality) tuples."""
        batch = self.batch()
        return list(
            zip(
                batch.point.tolist(),
                batch.time.tolist(),
                batch.value.tolist(),
                batch.quality.tolist(),
                strict=True,
            )
        )

    def count(self) -> int:
        """Rows accepted so far."""
        with self._changed:
            return sum(_rows(delivery) for delivery in self.deliveries)

    def unsynced(self) -> int:
        """Rows accepted and not yet synced."""
        with self._changed:
            return self._unsynced_rows

    def entries(self, kind: type[Found]) -> list[Found]:
        """Control entries of one kind, in order: ``entries(SourceState)``."""
        with self._changed:
            return [e for d in self.deliveries for e in d.entries if isinstance(e, kind)]

    def refusals(self) -> list[Refusal]:
        """Every refusal that came with a delivery."""
        return self.entries(Refusal)

    def states(self) -> list[SourceState]:
        """Every source that was told up or down."""
        return self.entries(SourceState)

    def wait_until(self, holds: Callable[[CollectingIntake], bool], patience: float = 60.0) -> None:
        """Block until ``holds(self)``; looked at after every change. TimeoutError if never."""
        limit = time.monotonic() + patience
        with self._changed:
            while not holds(self):
                left = limit - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    if holds(self):
                        return
                    raise TimeoutError(f"not within {patience:g} s; {self._summary()}")

    async def until(
        self, holds: Callable[[CollectingIntake], bool], patience: float = 60.0
    ) -> None:
        """``wait_until`` for a test that shares its loop with the source."""
        await asyncio.to_thread(self.wait_until, holds, patience)

    def close(self) -> None:
        """Finish the calls already due and end the thread."""
        self._calls.put(None)
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # Inside. ``_changed`` is held (its lock is re-entrant).

    def _release(self, number: int) -> None:
        due, self._waiting = self._waiting[:number], self._waiting[number:]
        for delivery in due:
            self._sync(delivery)
        self._changed.notify_all()

    def _sync(self, delivery: Delivery) -> None:
        self._unsynced_rows -= _rows(delivery)
        if _rows(delivery):
            delivery.kept_aside = self.aside
        if delivery.synced is not None:
            self._calls.put(delivery.synced)

    def _summary(self) -> str:
        states = [(s.up, s.reason) for s in self.states()]
        return (
            f"{len(self.deliveries)} deliveries, {self.count()} rows, {self._unsynced_rows} "
            f"unsynced, {len(self.declined)} declined, states {states}, "
            f"refusals {[(r.reason, r.count) for r in self.refusals()][:10]}"
        )

    def _run(self) -> None:
        for call in self._due():
            call()

    def _due(self) -> Iterator[Callable[[], None]]:
        while (call := self._calls.get()) is not None:
            yield call


@pytest.fixture
def intake() -> Iterator[CollectingIntake]:
    """One that syncs at once."""
    with CollectingIntake() as one:
        yield one


def _rows(delivery: Delivery) -> int:
    return 0 if delivery.batch is None else len(delivery.batch)
