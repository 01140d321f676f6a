"""What the feeds of statements share: their port, the registry in force, and files of other folds.

A feed is a function of the files it reads, of the journal's time and of the state it gave last; it
remembers nothing else that a crash may not lose.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from math import isfinite
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, Generic, Protocol, TypeVar

from collector.errors import ConfigurationError, TemporaryError
from collector.registry import Registry
from collector.schema import UNKNOWN_COUNTY, Statement
from collector.telemetry import Telemetry

MINUTE_MS: Final = 60_000
NONE: Final = "-"
"""The tag of what is about no site, no place, no industry."""

State = dict[str, Any]
"""JSON-able; ``{}`` at first. Never changed in place: who was given it may still need it."""


class Feed(Protocol):
    """One kind of statements."""

    def due(self, now: int, state: State, room: int) -> tuple[list[Statement], State]:
        """What is to be said at ``now`` (the journal's time, UTC ms), about ``room`` rows of it,
        and the state to go on from once they are written. No row and the same state: nothing."""

    def close(self) -> None: ...


class Known:
    """The registry in force. ``edition`` differs with each one, and from start to start."""

    def __init__(self) -> None:
        self.registry = Registry({}, {}, {}, {}, {}, ())
        self.edition = ""
        """Empty until there is a registry at all."""

    def update(self, registry: Registry) -> None:
        self.registry = registry
        self.edition = token_hex(8)

    def county(self, site: str) -> str:
        """The county of a site (by its id), as a tag."""
        found = self.registry.sites.get(site)
        return (found.county if found is not None else "") or UNKNOWN_COUNTY


R = TypeVar("R")


class Reading(Protocol):
    def close(self) -> None: ...


T = TypeVar("T", bound=Reading)


class Opened(Generic[T]):
    """A reader of another fold's file, opened when there is one and anew when it is another file.

    Whatever is wrong with that file is no fault of who asks: there is no answer then, and a person
    is told once (but not that it is not there yet, or busy).
    """

    def __init__(
        self, path: Path, opening: Callable[[Path], T], telemetry: Telemetry | None
    ) -> None:
        self._path = path
        self._opening = opening
        self._telemetry = telemetry
        self._reader: T | None = None
        self._file = (0, 0)
        self._told = False

    def ask(self, question: Callable[[T], R]) -> R | None:
        """The answer; None while there is none to be had."""
        try:
            answer = question(self._current())
        except (FileNotFoundError, TemporaryError):
            self.close()
            return None
        except (ConfigurationError, sqlite3.DatabaseError) as fault:
            # Of SQLite's own: the file is busy, damaged, or without the tables that are meant.
            if isinstance(fault, sqlite3.ProgrammingError | sqlite3.IntegrityError):
                raise
            self._tell(fault)
            self.close()
            return None
        self._told = False
        return answer

    def _current(self) -> T:
        found = self._path.stat()
        file = (found.st_dev, found.st_ino)
        if self._reader is not None and file != self._file:
            self.close()
        if self._reader is None:
            self._reader = self._opening(self._path)
            self._file = file
        return self._reader

    def _tell(self, fault: Exception) -> None:
        if not self._told and self._telemetry is not None:
            self._telemetry.event(
                "a projection cannot read what it should say",
                level="warning",
                file=str(self._path),
                fault=str(fault),
            )
        self._told = True

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def numbers(**fields: float | None) -> Mapping[str, float]:
    """Fields of a statement: what is a finite number."""
    return {
        name: float(value)
        for name, value in fields.items()
        if value is not None and isfinite(value)
    }
