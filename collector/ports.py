"""What an adapter must do. One protocol per port; one contract suite per port in tests/contracts.

Threads: a source runs in the asyncio loop (or a thread of its own) and hands over deliveries;
one intake thread owns the journal's writing end; each fold runs in a thread of its own. Only
methods that say so may be called from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol, runtime_checkable

from collector.model import Batch, Entry, Ids, Qualities, Revision, Times, Values


class Clock(Protocol):
    """Time is an argument. ``now`` is UTC milliseconds; ``monotonic`` seconds, never stepping
    back; ``sleep`` takes milliseconds, and whoever sets the clock meanwhile does not make them more
    or fewer: a moment of the day is not waited for. A simulated clock jumps when all sleep."""

    def now(self) -> int: ...

    def monotonic(self) -> float: ...

    async def sleep(self, ms: int) -> None: ...


class Urgency(IntEnum):
    """Who is refused first when the journal nears its disk bound (law 10): lowest first."""

    BACKFILL = 0
    PUSH = 1
    POLL = 2
    CONTROL = 3
    """Ticks, source states, revisions: never refused."""


@dataclass(slots=True)
class Delivery:
    """What a source hands to the intake: readings (not yet normalised) or control entries.

    ``batch``: canonical units, stable point ids, received time set. ``entries``: journal entries
    that belong to the same receipt (refusals, source states), written before the readings in the
    same transaction. ``synced`` is called, from the intake thread, once an fdatasync covers all
    of it; ``refused`` instead when the journal is too full for this ``urgency`` (nothing of the
    delivery was kept). Both must return at once. ``kept_aside``: set before ``synced`` when the
    program failed on ``batch``: what is kept of it is a refusal, ``program-fault``, with this
    detail, and none of its readings is stored.
    """

    batch: Batch | None
    urgency: Urgency
    entries: Sequence[Entry] = ()
    synced: Callable[[], object] | None = None
    refused: Callable[[], object] | None = None
    kept_aside: str = field(default="", init=False)


class Intake(Protocol):
    """Where sources bring what they read."""

    def submit(self, delivery: Delivery) -> None:
        """Queue a delivery. Any thread; never blocks. Bounded by the callers: a source keeps
        at most a fixed number of unsynced deliveries."""

    async def deliver(self, delivery: Delivery) -> bool:
        """Submit and wait: True once synced, False when refused."""

    def pressure(self) -> Urgency:
        """The lowest urgency that is accepted at present (``BACKFILL`` = everything).
        Polled sources widen their interval while it is above ``PUSH``. Any thread."""


class Source(Protocol):
    """Brings readings. ``run`` returns only when cancelled: whatever goes wrong outside is
    retried with a growing wait and told through ``SourceState`` entries."""

    name: str

    async def run(self, intake: Intake) -> None: ...


class Credentials(Protocol):
    """Who a gateway is, for sources that gateways themselves connect to."""

    def gateway_of(self, token: str) -> str | None:
        """The id of the gateway whose token this is; None for anything else. Asked at each
        request: it must cost microseconds, and never raise. Any thread."""

    def gateway_of_certificate(self, der: bytes) -> str | None:
        """The id of the gateway whose certificate this is (DER), which a TLS handshake has checked;
        "" where it is known and has ended, None where it is not known. Asked as often, likewise."""


class Journal(Protocol):
    """The durable, ordered log between those who bring and those who use.

    Sequence numbers start at 1 and grow; they are never re-used. An ``append`` that returned
    is covered by an fdatasync. One process writes readings; any number read and release.
    """

    identity: str
    """A random name given at creation; folds keep it beside their cursor."""

    def append(self, entries: Sequence[Entry]) -> int:
        """All entries in one transaction, synced; the last sequence number."""

    def read(self, after: int, max_bytes: int = 8 << 20) -> list[tuple[int, Entry]]:
        """Entries with sequence > ``after``, in order, about ``max_bytes`` of them (at least
        one if there is any). Corrupt records are skipped, counted and kept aside."""

    def last(self) -> int:
        """Newest sequence number, 0 when nothing was ever written."""

    def wait(self, after: int, timeout: float) -> bool:
        """Block until something after ``after`` is there, or ``timeout`` seconds; whether it is.
        Any thread."""

    def rouse(self) -> None:
        """Whoever waits now waits no longer. Any thread."""

    def release(self, consumer: str, seq: int) -> None:
        """``consumer`` has durably done with everything up to ``seq``. A hint: what every
        consumer released may be deleted. Any thread."""

    def point_ids(self, names: Sequence[str]) -> Ids:
        """Stable ids of points by name, given on first sight, never re-used. Any thread."""

    def point_names(self) -> list[str]:
        """Name of every point by id. Any thread."""

    def origin_ids(self, names: Sequence[str]) -> Ids:
        """Stable ids of origins by name. Any thread."""

    def origin_names(self) -> list[str]: ...

    def rename_point(self, old: str, new: str) -> None:
        """A point's name changed (``formerly``): the id stays."""

    def revision(self, kind: str, seq: int | None = None) -> Revision | None:
        """The revision of ``kind`` in force at ``seq`` (default: the newest). Any thread."""

    def pressure(self) -> Urgency:
        """The lowest urgency the disk bound still admits. Any thread."""

    def close(self) -> None: ...


class Fold(Protocol):
    """A consumer with memory: a function of the journal alone.

    It commits its state, its output and its cursor in one transaction of its own file, so that
    a crash at any moment changes nothing. Driven by one thread (but see ``sync``).
    """

    name: str

    def cursor(self) -> int:
        """The last sequence number whose effect is committed."""

    def apply(self, entries: Sequence[tuple[int, Entry]]) -> None:
        """Take these entries, in order. May commit, or hold the effect until ``commit``."""

    def commit(self, *, whole: bool = False) -> None:
        """Commit what was applied. Memory and cursor may wait for a commit that is ``whole``, as
        long as applying the entries since again would change nothing."""

    def sync(self) -> int:
        """Fsync what was committed, so that the journal may forget it; its cursor. Called from
        a thread of its own, beside the one that drives."""

    def close(self) -> None: ...


@runtime_checkable
class Restless(Protocol):
    """A fold that has work of its own beside the journal's entries (a projection: history)."""

    def idle(self) -> bool:
        """Do a share of it, a fraction of a second's worth. Called after each turn, by the thread
        that drives. Whether there is more to do at once."""


@dataclass(frozen=True, slots=True)
class Series:
    """Readings of one point in order of time, one per time. Columns as in ``Batch``."""

    time: Times
    value: Values
    quality: Qualities

    def __len__(self) -> int:
        return len(self.time)


@dataclass(frozen=True, slots=True)
class Buckets:
    """Statistics of one point over consecutive spans of equal width, columns of equal length.

    ``start`` UTC ms of each span that holds any reading; ``count`` of valid readings (quality
    usable in means and value not NaN); ``low high mean first last`` over those (NaN where count
    is 0); ``invalid``: the readings beside them.
    """

    start: Times
    count: Times
    low: Values
    high: Values
    mean: Values
    first: Values
    last: Values
    invalid: Times


class ReadingStore(Protocol):
    """A store of readings by point and time: the archive, and what projects it."""

    def write(self, batch: Batch) -> None:
        """Upsert by (point, time); within the batch, and against what is there, the later
        wins. Visible to reads after the call; durable after the owner's commit."""

    def read(self, point: int, start: int, end: int) -> Series:
        """Readings with ``start <= time < end`` (UTC ms), whatever their quality."""

    def buckets(self, point: int, start: int, end: int, width: int) -> Buckets:
        """Statistics per span of ``width`` ms, spans counted from ``start``."""

    def latest(self, point: int) -> Series:
        """The newest reading (by time), or an empty series."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One message to people: ``id`` is stable, so that a second delivery can be recognised.

    ``level`` 1 blue .. 4 red; ``title`` and ``body`` already in the reader's language.
    """

    id: str
    level: int
    title: str
    body: str
    tags: dict[str, str] = field(default_factory=dict)


class Notifier(Protocol):
    """Carries a notice to people. Raises ``TemporaryError`` when it should be tried again,
    ``RejectedError`` when it never will succeed as it is."""

    name: str

    def send(self, notice: Notice) -> None: ...
