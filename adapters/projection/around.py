"""What a projection works with, handed in by whoever runs the program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from adapters.stores.archive_reader import ArchiveReader
from collector.model import Ids, Refusal, Revision, Times
from collector.ports import Journal
from collector.registry import Registry
from collector.schema import Statement
from collector.telemetry import Telemetry


class Beside(Protocol):
    """What is written besides readings (see ``adapters.projection.statements``)."""

    def update(self, registry: Registry) -> None: ...

    def touched(self, points: Ids, times: Times) -> None: ...

    def noted(self, now: int, state: dict[str, Any]) -> dict[str, Any]: ...

    def due(self, now: int, state: dict[str, Any]) -> tuple[list[Statement], dict[str, Any]]: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Around:
    """What a projection works with.

    ``first``: oldest entry that the journal still has. ``parse``: the registry of a revision.
    ``archive``: opens a reader of it, ``TemporaryError`` where there is none. ``beside``: begins to
    say what goes beside readings. ``refuse``: where refusals go. ``held_bytes``: about how much of
    the journal waits for who needs it from a sequence number on. ``origin``: the projection's own
    number, for refusals.
    """

    journal: Journal
    first: Callable[[], int]
    parse: Callable[[Revision | None], Registry]
    archive: Callable[[], ArchiveReader]
    refuse: Callable[[Sequence[Refusal]], object]
    held_bytes: Callable[[int], int]
    telemetry: Telemetry
    beside: Callable[[], Beside] | None = None
    origin: int = 0
