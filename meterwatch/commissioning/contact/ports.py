"""What a probe and a scan need of a protocol, and the values that pass between them.

A ``Contact`` is one device, a ``Reading`` is that device read with one profile, a ``Search`` finds
who is on a line. All only ever ask. What goes wrong on the wire comes back as a ``Trouble``; only
a URL that is none is raised, as a ``ValueError`` by whoever makes a contact or a search of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final, Protocol

from collector.profile import Profile
from meterwatch.commissioning.plausible import Value


class Ending(Enum):
    """How it ended, by what a person should look at."""

    UNREACHED = "unreached"
    """No connection, no such port: nothing was asked."""
    SILENT = "silent"
    """Connected, and nobody answers. Another profile will not wake it."""
    GARBLED = "garbled"
    """Something comes that answers nothing."""
    BROKEN = "broken"
    """It answered, and then did not: another profile may do better."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why there is nothing to judge. ``other``: who answers instead on the same line, else
    empty."""

    what: Ending
    detail: str
    other: str = ""


@dataclass(frozen=True, slots=True)
class Identified:
    """What a device says of itself; empty and NaN where it, or its profile, does not. ``also``:
    further numbers that may stand on its label, each with what it is (``address``, ``asset``,
    ``model``). ``clock``: what its clock shows, local time; ``clock_off``: seconds by which that
    is ahead."""

    serial: str = ""
    voltage_ratio: float = math.nan
    current_ratio: float = math.nan
    also: tuple[tuple[str, str], ...] = ()
    clock: datetime | None = None
    clock_off: float = math.nan


NOTHING_SAID: Final = Identified()
UNANSWERED: Final = "stays unanswered"
"""Why something was left out: the device says nothing to it, and answers everything else."""


class Taken(Protocol):
    """What a device answered at one moment."""

    def values(self, turn: str = "ABCD") -> tuple[Value, ...]:
        """As the meter shows them, before any ratio; with the orders of bytes turned, where the
        protocol leaves them open. Empty when all of it was refused."""


class Reading(Protocol):
    """One device read with one profile, as often as wanted."""

    @property
    def profile(self) -> Profile: ...

    @property
    def refused(self) -> tuple[str, ...]:
        """What was left out because the device refused it, in its own words."""

    @property
    def lacking(self) -> tuple[tuple[str, str], ...]:
        """Quantities that the device does not give, each with why."""

    async def read(self) -> Taken | Trouble:
        """Ask for everything once."""


class Contact(Protocol):
    """One device. ``url`` is what the registry gets as its ``connection``: once it is open, with
    the address that the device says is its own."""

    @property
    def url(self) -> str: ...

    @property
    def protocol(self) -> str:
        """As ``Profile.protocol``: profiles of others are not tried."""

    async def open(self) -> Trouble | None:
        """Connect, and find the device where the URL does not say which it is."""

    def reading(self, profile: Profile) -> Reading: ...

    async def identify(self, profile: Profile) -> Identified:
        """Ask for what it says of itself; a refusal is an answer, too."""

    def close(self) -> None: ...


Progress = Callable[[int, int, int], None]
"""Told after each question: questions asked, of how many, and how many devices answer so far."""


class Note(Enum):
    """What a person should know of a search, beside who answered."""

    NO_SHORT_ADDRESSES = "no-short-addresses"
    """Somebody answers when everybody is asked, nobody to the end of an address."""
    SAME_ADDRESS = "same-address"
    """Several answer to one whole address, or one that is disturbed."""
    NOISE = "noise"
    """Whatever is asked, garbled bytes come: it was given up."""
    DISTURBED = "disturbed"
    """Garbled answers that were none when asked again."""


@dataclass(frozen=True, slots=True)
class Heard:
    """Who answered, as options of a URL name them, in the order of a search; ``failure``: why
    the line cannot be asked at all, or could not any more. ``notes`` with what they are about."""

    found: tuple[str, ...]
    asked: int
    failure: str = ""
    notes: tuple[tuple[Note, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whom to ask: ``first`` and ``last`` unit number, or ``addresses`` as typed, ``N`` or
    ``N-M``. What is left out is everybody. ``thorough``: do not trust an answer to be the only
    one because it came through undisturbed."""

    first: int | None = None
    last: int | None = None
    addresses: Sequence[str] = ()
    thorough: bool = False


class Search(Protocol):
    """Who is on a line. ``questions`` and ``longest`` (seconds): of a search in which nobody
    answers; ``scope``: whom it asks, as words for each language."""

    @property
    def place(self) -> str: ...

    @property
    def questions(self) -> int: ...

    @property
    def longest(self) -> float: ...

    @property
    def protocol(self) -> str: ...

    @property
    def scope(self) -> Scope: ...

    async def run(self, progress: Progress) -> Heard: ...

    def contact(self, who: str) -> Contact:
        """One of those found, on the line that is open."""

    def close(self) -> None: ...


class Kind(Enum):
    """What is asked in turn."""

    UNITS = "units"
    ENDINGS = "endings"
    ADDRESSES = "addresses"


@dataclass(frozen=True, slots=True)
class Scope:
    """``first`` to ``last`` of a kind."""

    kind: Kind
    first: str
    last: str


class Clock(Protocol):
    """What of :mod:`meterwatch.clock` commissioning needs."""

    def now(self) -> int: ...

    async def sleep(self, ms: int) -> None: ...
