"""``refused``, ``pipeline`` and ``pipeline_fold``: the program about itself, each minute.

Running totals and present states: what a missed minute would have said is not said later. A minute
said again after a crash says how it is now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from adapters.projection.feeds import MINUTE_MS, Opened, State, numbers
from adapters.stores.archive_reader import ArchiveReader
from collector.schema import PIPELINE, PIPELINE_FOLD, REFUSED, Statement
from collector.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class FoldState:
    """Of a fold: journal entries and milliseconds it is behind, and whether it works."""

    lag_entries: int
    behind_ms: int
    healthy: bool


@dataclass(frozen=True, slots=True)
class PipelineState:
    """What the program knows of itself now. ``readings refused``: running totals."""

    journal_bytes: int
    journal_max_bytes: int
    readings: int
    refused: int
    sources_up: int
    sources_down: int
    open_alerts: int
    folds: Mapping[str, FoldState] = field(default_factory=dict)


class RefusedFeed:
    """See the module. Of more origins and reasons than a call has room for, those with the most
    refused readings. A total that is new since the minute told last was 0 then, and that is told
    too: who asks for what a total grew by would not see its first refusals otherwise."""

    def __init__(self, path: Path, telemetry: Telemetry | None) -> None:
        self._archive = Opened(path, ArchiveReader, telemetry)

    def due(self, now: int, state: State, room: int) -> tuple[list[Statement], State]:
        minute = now // MINUTE_MS
        if state.get("minute") == minute:
            return [], state
        found = self._archive.ask(lambda archive: _refused(archive, minute * MINUTE_MS, room))
        if found is None:
            return [], state
        known = state.get("known")
        zeros = [] if known is None else _zeros(found, known, state["minute"] * MINUTE_MS)
        told: set[str] = {_key(row) for row in found}.union(known or ())
        return zeros + found, {"minute": minute, "known": sorted(told)}

    def close(self) -> None:
        self._archive.close()


def _key(row: Statement) -> str:
    return f"{row.tags['reason']} {row.tags['origin']}"


def _zeros(rows: list[Statement], known: list[str], time: int) -> list[Statement]:
    """At ``time`` there was nothing yet of what is not ``known``."""
    nothing = numbers(times=0, readings=0)
    fresh = set(map(_key, rows)).difference(known)
    return [Statement(REFUSED, row.tags, nothing, time) for row in rows if _key(row) in fresh]


def _refused(archive: ArchiveReader, time: int, room: int) -> list[Statement]:
    names = dict(enumerate(archive.origin_names()))
    totals = sorted(archive.refused_totals(), key=lambda total: -total.readings)
    return [
        Statement(
            REFUSED,
            {"origin": names.get(one.origin) or f"origin-{one.origin}", "reason": one.reason},
            numbers(times=one.times, readings=one.readings),
            time,
        )
        for one in totals[:room]
    ]


class PipelineFeed:
    """See the module. ``asked`` says how the program is, or None while it cannot."""

    def __init__(self, instance: str, asked: Callable[[], PipelineState | None]) -> None:
        self._instance = instance
        self._asked = asked

    def due(self, now: int, state: State, room: int) -> tuple[list[Statement], State]:  # noqa: ARG002 a handful
        minute = now // MINUTE_MS
        if state.get("minute") == minute or (told := self._asked()) is None:
            return [], state
        return self._said(told, minute * MINUTE_MS), {"minute": minute}

    def _said(self, told: PipelineState, time: int) -> list[Statement]:
        fields = numbers(
            journal_bytes=told.journal_bytes,
            journal_max_bytes=told.journal_max_bytes,
            readings=told.readings,
            refused=told.refused,
            sources_up=told.sources_up,
            sources_down=told.sources_down,
            open_alerts=told.open_alerts,
        )
        return [Statement(PIPELINE, {"instance": self._instance}, fields, time)] + [
            Statement(
                PIPELINE_FOLD,
                {"fold": name, "instance": self._instance},
                numbers(
                    lag_entries=fold.lag_entries,
                    behind_ms=fold.behind_ms,
                    healthy=fold.healthy,
                ),
                time,
            )
            for name, fold in told.folds.items()
        ]

    def close(self) -> None:
        """Nothing is open."""
