"""What is between the socket and the journal: counted, bounded, and what to do when it is full.
Pure bookkeeping; one thread, except ``finished``, which any thread may call.

A ``Lot`` is one delivery with the packet ids to be acknowledged for it. It is *waiting* until the
intake answers; then it is done (its ids may be acknowledged, on the connection they came by and
on no other), or it was refused because the disk is nearly full, and is kept to be offered again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from adapters.sources.mqtt.replies import Asked
from adapters.sources.mqtt.session import Session
from collector.ports import Delivery, Urgency


@dataclass(slots=True, eq=False)
class Lot:
    """A delivery and what it answers for; handed over at ``since`` (monotonic seconds). ``asked``:
    its messages of which the sender is told. ``put_off``: it was refused before."""

    session: Session
    mids: list[int]
    rows: int
    size: int
    asked: list[Asked] = field(default_factory=list)
    since: float = 0.0
    put_off: bool = False
    delivery: Delivery = field(default_factory=lambda: Delivery(None, Urgency.PUSH))


class Window:
    """Lots that are not done. At most ``most_rows`` or ``most_bytes`` of them, and one turn."""

    def __init__(self, most_rows: int, most_bytes: int) -> None:
        self.lots = self.rows = self.size = 0
        self.deferred: deque[Lot] = deque()
        self._most_rows, self._most_bytes = most_rows, most_bytes
        self._deferred_rows = self._deferred_size = 0
        self._answers: deque[tuple[Lot, bool]] = deque()

    def add(self, lot: Lot) -> None:
        """It is handed to the intake."""
        self.lots += 1
        self.rows += lot.rows
        self.size += lot.size

    def finished(self, lot: Lot, *, synced: bool) -> None:
        """The intake answered. Any thread."""
        self._answers.append((lot, synced))

    def settle(self, session: Session | None) -> tuple[list[Lot], list[Lot]]:
        """Take in the answers: the lots of ``session`` that are done, and those that were refused
        for the first time, each in order."""
        done: list[Lot] = []
        put_off: list[Lot] = []
        while self._answers:
            lot, synced = self._answers.popleft()
            if not synced and lot.session is session:
                self.deferred.append(lot)
                self._deferred_rows += lot.rows
                self._deferred_size += lot.size
                if not lot.put_off:
                    lot.put_off = True
                    put_off.append(lot)
                continue
            # Of an earlier connection: the broker sends it again, whatever became of it here.
            self._drop(lot)
            if lot.session is session:
                done.append(lot)
        return done, put_off

    def offer_again(self, lowest: Urgency) -> list[Lot]:
        """The deferred lots that the intake would take now; they are waiting again."""
        again = [lot for lot in self.deferred if lot.delivery.urgency >= lowest]
        if again:
            self._keep([lot for lot in self.deferred if lot.delivery.urgency < lowest])
        return again

    def forget(self, session: Session) -> None:
        """The connection is gone: what was deferred on it will come again."""
        for lot in self.deferred:
            if lot.session is session:
                self._drop(lot)
        self._keep([lot for lot in self.deferred if lot.session is not session])

    @property
    def full(self) -> bool:
        """Stop reading. Also when half of the room is taken by what the disk refuses, or when
        it refuses even live readings: what is read now would only be kept in memory."""
        return (
            self.rows >= self._most_rows
            or self.size >= self._most_bytes
            or 2 * self._deferred_rows >= self._most_rows
            or 2 * self._deferred_size >= self._most_bytes
            or any(lot.delivery.urgency > Urgency.BACKFILL for lot in self.deferred)
        )

    def _drop(self, lot: Lot) -> None:
        self.lots -= 1
        self.rows -= lot.rows
        self.size -= lot.size

    def _keep(self, lots: list[Lot]) -> None:
        self.deferred = deque(lots)
        self._deferred_rows = sum(lot.rows for lot in lots)
        self._deferred_size = sum(lot.size for lot in lots)
