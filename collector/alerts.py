"""What the judge says, as values: alerts, transitions, found-late entries, and the port it fills.

The rules make these, the alerts' file keeps them, the outbox and the pages read them. Every id
is derived from what it names, never from a counter or a clock, so that saying the same thing
twice is saying it once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, Protocol

from collector.model import Entry, Revision


class Level(IntEnum):
    """How urgent. Ordered; the numbers are those of :class:`collector.ports.Notice`."""

    BLUE = 1
    YELLOW = 2
    ORANGE = 3
    RED = 4

    @property
    def word(self) -> str:
        return self.name.lower()


LEVEL_LABELS: Final[dict[Level, tuple[str, str]]] = {
    Level.BLUE: ("一般", "minor"),
    Level.YELLOW: ("较重", "serious"),
    Level.ORANGE: ("严重", "severe"),
    Level.RED: ("紧急", "urgent"),
}
"""Chinese and English, as people read them."""

FIRING: Final = "firing"
RESOLVED: Final = "resolved"
CLOSED: Final = "closed"
ACKNOWLEDGED: Final = "acknowledged"
ATTACHED: Final = "attached"
"""An alert got (or lost) a root cause: the alert in ``root`` stands for it from now on."""
FOUND_LATE: Final = "found-late"
"""Late data of one origin would have warned; one notice for all of it."""


@dataclass(slots=True)
class Alert:
    """One warning's life. Times are UTC ms, 0 = has not happened.

    ``subject``: a point's name, or the origin that is silent (``device:site/id``,
    ``gateway:id``, ``mqtt:main``), or ``rule:id`` for a broken rule. ``started``: since when it
    held (first exceeding reading, last sign of life); ``fired``: when ``for`` was over;
    ``resolved``: when it cleared, or was closed. ``state``: firing, resolved or closed.
    ``value``: the one it fired with, in the quantity's unit (absence: seconds of silence).
    ``worst``: the furthest beyond the limit so far. ``cause``: id of the alert that stands for
    this one, or "". ``steps``: transitions so far. ``silenced``: no page before (UTC ms).
    """

    id: str
    rule: str
    kind: str
    level: int
    subject: str
    site: str
    place: str
    started: int
    fired: int
    value: float
    worst: float
    state: str = FIRING
    resolved: int = 0
    cause: str = ""
    acknowledged: int = 0
    acknowledged_by: str = ""
    closed_by: str = ""
    reason: str = ""
    silenced: int = 0
    steps: int = 0


@dataclass(frozen=True, slots=True)
class Transition:
    """A step in an alert's life, kept once by ``id``: what the outbox turns into messages.

    ``to_state``: one of the words above. ``seq``: the journal entry that caused it. ``time``:
    UTC ms of the reading or tick. ``root``: id of the alert that stands for this one, its own
    id when none does: one message per root. ``page``: whether people are to be told at all
    (not when another alert stands for it, nor while silenced). ``data``: what a message needs,
    JSON-ready; see ``rules.told`` for its keys.
    """

    id: str
    alert: str
    seq: int
    to_state: str
    time: int
    level: int
    root: str
    page: bool
    data: Mapping[str, Any]


@dataclass(slots=True)
class FoundLate:
    """What late data would have warned of: listed, never paged. Kept once by ``id``.

    ``start``: first exceeding reading; ``end``: newest reading that still held; ``worst`` as in
    an alert; ``origin``: who brought the data; ``found``: receipt (UTC ms) of the reading that
    showed it.
    """

    id: str
    rule: str
    level: int
    subject: str
    site: str
    place: str
    start: int
    end: int
    worst: float
    origin: str
    found: int


@dataclass(frozen=True, slots=True)
class Pending:
    """A rule's condition holds since ``started``, not yet for as long as its ``for``."""

    rule: str
    level: int
    subject: str
    started: int
    worst: float


@dataclass(slots=True)
class Changes:
    """What the judge said since it was last asked: alerts and found-late entries as they are
    now (upsert by id), transitions in the order they happened (insert, ignore known ids)."""

    alerts: dict[str, Alert] = field(default_factory=dict)
    transitions: list[Transition] = field(default_factory=list)
    late: dict[str, FoundLate] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.alerts or self.transitions or self.late)


class JudgeEngine(Protocol):
    """Rules with memory: a function of the journal entries it was given, in order."""

    def apply(self, seq: int, entry: Entry) -> None:
        """Take the entry with journal number ``seq``."""

    def changes(self) -> Changes:
        """What was said since the last call."""

    def pending(self) -> list[Pending]:
        """What holds now but has not fired."""

    def worsts(self) -> dict[str, float]:
        """``worst`` by alert id, of alerts whose worst moved since they were last handed out."""

    def counts(self) -> Mapping[str, int]:
        """What was counted since the start: readings, verdicts, late, faults ..."""

    def snapshot(self) -> bytes:
        """All memory as bytes; :meth:`restore` on a new engine continues from there."""

    def restore(self, state: bytes, registry: Revision | None, rules: Revision | None) -> None:
        """Continue from a snapshot, with the revisions that were in force at its moment."""
