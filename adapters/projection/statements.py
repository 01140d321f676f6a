"""Everything besides readings that a projection writes into its database.

Promises. What is said is read from the files of the other folds, never asked of them: a file that
is not there, busy or damaged costs its own statements and no others. Where it stands is in a state
that the owner keeps: whatever is lost before that is committed is said again, which changes
nothing. Events, books and completeness are all said, however long it took; of what is only the
state of a minute (open alerts, totals, the program itself) the present minute is. One call says
about ``LIMIT`` rows. One thread. Time is that of the journal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from adapters.projection.alerts_feed import AlertsFeed, EventsFeed
from adapters.projection.books_feed import BooksFeed
from adapters.projection.completeness import CompletenessFeed
from adapters.projection.feeds import Feed, Known
from adapters.projection.fleet_feed import FleetFeed
from adapters.projection.program_feed import (
    FoldState,
    PipelineFeed,
    PipelineState,
    RefusedFeed,
)
from collector.model import Ids, Times
from collector.registry import Registry
from collector.schema import Statement
from collector.telemetry import Telemetry

LIMIT: Final = 5_000


class Statements:
    """See the module. ``data``: the folder of the folds' files. ``instance``: this machine's name.
    ``pipeline``: how the program is now (None: cannot say); without it, nothing is said of that.
    Until a registry came by :meth:`update`, nothing is said at all."""

    def __init__(
        self,
        data: Path,
        instance: str,
        *,
        pipeline: Callable[[], PipelineState | None] | None = None,
        telemetry: Telemetry | None = None,
        limit: int = LIMIT,
    ) -> None:
        self._known = Known()
        self._limit = limit
        alerts, archive = data / "alerts.db", data / "archive.db"
        self._completeness = CompletenessFeed(archive, self._known, telemetry)
        # What people wait for first; what has most rows last.
        self._feeds: Mapping[str, Feed] = {
            "events": EventsFeed(alerts, self._known, telemetry),
            "alerts": AlertsFeed(alerts, self._known, telemetry),
            "pipeline": PipelineFeed(instance, pipeline or _nothing),
            "refused": RefusedFeed(archive, telemetry),
            "fleet": FleetFeed(self._known),
            "completeness": self._completeness,
            "books": BooksFeed(data / "books.db", self._known, telemetry),
        }

    def update(self, registry: Registry) -> None:
        """Another registry is in force."""
        self._known.update(registry)

    def touched(self, points: Ids, times: Times) -> None:
        """Readings came (stable ids and times), at least those that are older than an hour."""
        self._completeness.touched(points, times)

    def noted(self, now: int, state: dict[str, Any]) -> dict[str, Any]:
        """``state`` with what was touched in it, the same object when nothing was: to be committed
        together with the cursor behind those readings, or before it."""
        before = state.get("completeness", {})
        after = self._completeness.noted(now, before)
        return state if after is before else {**state, "completeness": after}

    def due(self, now: int, state: dict[str, Any]) -> tuple[list[Statement], dict[str, Any]]:
        """What is to be written now, and the state to commit once it is written. ``now``: the
        journal's time (UTC ms); ``state``: the last one, ``{}`` at first; JSON-able. Call again
        while something comes."""
        if now <= 0 or not self._known.edition:
            return [], state
        rows: list[Statement] = []
        after = dict(state)
        for name, feed in self._feeds.items():
            room = self._limit - len(rows)
            if room <= 0:
                break
            said, after[name] = feed.due(now, after.get(name, {}), room)
            rows += said
        return rows, after

    def close(self) -> None:
        """Give all files back."""
        for feed in self._feeds.values():
            feed.close()


def _nothing() -> None:
    return None


__all__ = ["FoldState", "PipelineState", "Statements"]
