"""Errors, by what the caller should do about them.

- ``ConfigurationError``: stop (or keep the old configuration); a person must edit a file.
  Carries *all* faults found, each with file, line, what is wrong and what to do.
- ``TemporaryError``: try again after ``retry_after`` seconds.
- ``RejectedError``: these rows will never be accepted, for these reasons; the rest may be.
- Anything else that travels is a bug.

A bad frame, an unknown device or an impossible value is none of these: it is a counted value
(see ``Refusal`` in :mod:`collector.model`) and never an exception.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One fault in a file that a person wrote. ``line`` counts from 1; 0 means the whole file."""

    file: str
    line: int
    what: str
    todo: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.what}" + (f" -> {self.todo}" if self.todo else "")


class MeterwatchError(Exception):
    """Base of every error that this program raises on purpose."""


class ConfigurationError(MeterwatchError):
    """A person must change a file; ``faults`` lists everything that was found at once."""

    def __init__(self, faults: Sequence[Fault] | Fault) -> None:
        self.faults: tuple[Fault, ...] = (faults,) if isinstance(faults, Fault) else tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class TemporaryError(MeterwatchError):
    """Nothing is wrong with what was asked; ask again after ``retry_after`` seconds."""

    def __init__(self, what: str, retry_after: float = 1.0) -> None:
        self.retry_after = retry_after
        super().__init__(what)


class JournalFullError(TemporaryError):
    """The journal's disk bound is near: this class of traffic is refused for now (law 10)."""


class RejectedError(MeterwatchError):
    """Rows that will never be accepted: ``reasons`` maps a row's index to why."""

    def __init__(self, reasons: dict[int, str]) -> None:
        self.reasons = reasons
        super().__init__("; ".join(f"row {row}: {why}" for row, why in sorted(reasons.items())))
