"""``completeness``: what each place should have brought in an hour, and what it did.

Promise: every hour is told ten minutes after its end, and again when readings came for it later;
the row with the highest revision says what the archive does. Nothing is counted before the archive
has taken in all that came before the moment of counting: its own ticks tell.

Late readings are gathered by the quarter-hour in which they came, and their hours counted again
when it is over. The **revision** is the number of quarter-hours between the end of the hour and
that one: who counts later, after whatever crash, has a higher revision or has counted the same
readings. So an hour that was told again has a higher revision also where that changed nothing.

A registry that changes its past changes no hour that was told. The state holds the hours still to
be counted again, with their points; of too many points the hour stands for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from adapters.projection.expected import HOUR_MS, Roll, counted, share
from adapters.projection.feeds import Known, Opened, State, numbers
from adapters.state.foldfile import open_reader
from adapters.stores.compaction import WIDE
from adapters.stores.series import SeriesStore
from collector.accounts.counters import QUARTER_MS
from collector.model import Ids, Times
from collector.schema import COMPLETENESS, Statement
from collector.telemetry import Telemetry

GRACE_MS: Final = 10 * 60_000
"""An hour is told so long after its end."""
BLOCK: Final = 24
"""Hours that are counted at once, when many are to be told."""
BACK_HOURS: Final = 400 * 24
"""So far back a new projection tells what the archive has."""
READINGS: Final = 400_000
"""About so many are counted in one go: a bound of memory, and of how long it takes."""
MAX_POINTS: Final = 2_000
"""Points that the state names before an hour stands for all of its points."""
MAX_HOURS: Final = 12_000
ALL: Final = None

Again = dict[str, list[Any]]
"""By hour and the quarter-hour in which readings came for it (``HOUR/QUARTER``): their points
(None: all), and up to which place they are counted again already."""


class Counting:
    """The archive, as far as it is counted here. Raises ``TemporaryError`` while there is none."""

    def __init__(self, path: Path) -> None:
        self._db = open_reader(path)
        self.series = SeriesStore(self._db)

    def names(self) -> dict[int, str]:
        return dict(self._db.execute("SELECT id, name FROM point").fetchall())

    def tick(self) -> int:
        """The newest that is in the archive, with everything before it; 0 before the first."""
        row = self._db.execute("SELECT value FROM meta WHERE key = 'tick'").fetchone()
        return int(row[0]) if row is not None else 0

    def oldest(self) -> int | None:
        """The time of the oldest reading, about."""
        (low,) = self._db.execute(
            "SELECT min(low) FROM (SELECT min(low) AS low FROM chunk WHERE point >= 0 "
            "UNION ALL SELECT min(low) FROM run WHERE grp >= 0 OR grp = ?)",
            (WIDE,),
        ).fetchone()
        return None if low is None else max(int(low), self.series.horizon())

    def close(self) -> None:
        self._db.close()


@dataclass(frozen=True, slots=True)
class _Work:
    """Hours ``[low, high)`` of ``places`` (numbers in the roll) to be counted."""

    low: int
    high: int
    places: list[int]
    revision: int


class CompletenessFeed:
    """See the module."""

    def __init__(self, path: Path, known: Known, telemetry: Telemetry | None) -> None:
        self._archive = Opened(path, Counting, telemetry)
        self._known = known
        self._telemetry = telemetry
        self._edition = ""
        self._roll = Roll(known.registry)
        self._touched: dict[int, set[int]] = {}

    def touched(self, points: Ids, times: Times) -> None:
        """Readings came. Those of hours that were told already will have them counted again, once
        the state that :meth:`noted` gave is committed: not later than the cursor that has them."""
        hour = times // HOUR_MS
        order = np.lexsort((points, hour))
        hour, point = hour[order], points[order]
        new = np.ones(len(hour), np.bool_)
        new[1:] = (np.diff(hour) != 0) | (np.diff(point) != 0)
        for one, of in zip(hour[new].tolist(), point[new].tolist(), strict=True):
            self._touched.setdefault(one, set()).add(of)

    def noted(self, now: int, state: State) -> State:
        """``state`` with what was touched since it was asked for last."""
        last = (now - GRACE_MS) // HOUR_MS  # hours before it are over, and may have been told
        fresh = {hour: points for hour, points in self._touched.items() if hour < last}
        self._touched = {}
        if not fresh:
            return state
        again: Again = dict(state.get("again", {}))
        for hour, points in fresh.items():
            key = f"{hour}/{now // QUARTER_MS}"
            known, _ = again.get(key, ((), ""))
            again[key] = [ALL if known is ALL else sorted(points.union(known)), ""]
        return {**state, "again": self._bounded(again)}

    def _bounded(self, again: Again) -> Again:
        named = {key: len(of[0]) for key, of in again.items() if of[0] is not ALL}
        for key in sorted(named, key=lambda key: -named[key]):
            if sum(named.values()) <= MAX_POINTS:
                break
            again[key] = [ALL, ""]
            del named[key]
        for key in sorted(again, key=_numbers)[: max(0, len(again) - MAX_HOURS)]:
            del again[key]
            if self._telemetry is not None:
                self._telemetry.count("projection_hours_not_counted_again")
        return again

    def due(self, now: int, state: State, room: int) -> tuple[list[Statement], State]:
        state = self.noted(now, state)
        if self._edition != self._known.edition:
            self._edition, self._roll = self._known.edition, Roll(self._known.registry)
        found = self._archive.ask(lambda archive: self._count(archive, now, dict(state), room))
        return ([], state) if found is None else found

    def _count(
        self, archive: Counting, now: int, state: State, room: int
    ) -> tuple[list[Statement], State]:
        clock = min(now, archive.tick())
        if not clock:
            return [], state  # nobody knows how late it is
        over = (clock - GRACE_MS) // HOUR_MS
        if "next" not in state:
            oldest, present = archive.oldest(), clock // HOUR_MS
            first = present if oldest is None else max(oldest // HOUR_MS, over - BACK_HOURS)
            state["next"] = min(first, present)  # never one before the archive began
        names = archive.names() if self._waits(state, clock, over) else {}
        ids = {name: number for number, name in names.items()}
        horizon = archive.series.horizon()
        rows: list[Statement] = []
        readings = 0.0
        while len(rows) < room and readings < READINGS:
            left = room - len(rows)
            work = self._next(state, over, left)
            work = work or self._again(state, clock, horizon, names, left)
            if work is None:
                break
            rows += self._said(archive, work, ids)
            readings = sum(row.fields["expected"] for row in rows)
        return rows, state

    def _waits(self, state: State, clock: int, over: int) -> bool:
        return "until" in state or state["next"] < over or any(_ready(state, clock))

    def _next(self, state: State, over: int, room: int) -> _Work | None:
        """The next part of the hours that were never told; ``state`` is moved behind it."""
        if state["next"] >= over and "until" not in state:
            return None
        low = state["next"]
        high = state.setdefault("until", min(over, low + BLOCK))
        places = self._part(state.get("after", ""), range(len(self._roll.places)), low, high, room)
        if places and places[-1] + 1 < len(self._roll.places):
            state["after"] = self._roll.places[places[-1]]
        else:
            state["next"] = state.pop("until")
            state.pop("after", None)
        return _Work(low, high, places, 0)

    def _again(
        self, state: State, clock: int, horizon: int, names: Mapping[int, str], room: int
    ) -> _Work | None:
        """The next part of the hours to be told again, likewise."""
        key = next(_ready(state, clock), None)
        if key is None:
            return None
        hour, quarter = _numbers(key)
        again: Again = dict(state["again"])
        points, after = again.pop(key)
        places: list[int] = []
        if horizon <= hour * HOUR_MS:  # else its readings are not kept any more
            known = range(len(self._roll.places)) if points is ALL else self._places(points, names)
            places = self._part(after, known, hour, hour + 1, room)
            if places and places[-1] != known[-1]:
                again[key] = [points, self._roll.places[places[-1]]]
        state["again"] = again
        return _Work(hour, hour + 1, places, quarter - (hour + 1) * HOUR_MS // QUARTER_MS + 1)

    def _places(self, points: list[int], names: Mapping[int, str]) -> list[int]:
        found = {self._roll.place_of(names.get(point, "")) for point in points}
        return sorted(place for place in found if place is not None)

    def _part(self, after: str, places: Any, low: int, high: int, room: int) -> list[int]:
        """Those of ``places`` behind ``after``, as many as may be counted at once."""
        rest = [place for place in places if self._roll.places[place] > after]
        readings = self._roll.expected(low, high).sum(axis=1)[rest].cumsum()
        most = int(np.searchsorted(readings, READINGS, "right"))
        return rest[: max(1, min(most, room // (high - low)))]

    def _said(self, archive: Counting, work: _Work, known: Mapping[str, int]) -> list[Statement]:
        if not work.places:
            return []
        low, high = work.low, work.high
        ids, place = self._roll.points(work.places, known)
        begin, end = (np.full(len(ids), hour * HOUR_MS) for hour in (low, high))
        rows = archive.series.read_many(ids, begin, end)
        valid, invalid = counted(rows, ids, place, len(work.places), low, high)
        expected = self._roll.expected(low, high)[work.places]
        return [
            self._statement(
                self._roll.places[work.places[row]],
                (low + column) * HOUR_MS,
                float(expected[row, column]),
                (int(valid[row, column]), int(invalid[row, column])),
                work.revision,
            )
            for row, column in np.argwhere(expected > 0).tolist()
        ]

    def _statement(
        self, key: str, time: int, expected: float, came: tuple[int, int], revision: int
    ) -> Statement:
        site, _, place = key.partition("/")
        valid, invalid = came
        return Statement(
            COMPLETENESS,
            {"county": self._known.county(site), "place": place, "site": site},
            numbers(expected=expected, valid=valid, invalid=invalid, share=share(valid, expected)),
            time,
            revision=revision,
        )

    def close(self) -> None:
        self._archive.close()


def _ready(state: State, clock: int) -> Iterator[str]:
    """The hours that may be counted again now, in order."""
    again: Again = state.get("again", {})
    for key in sorted(again, key=_numbers):
        if (_numbers(key)[1] + 1) * QUARTER_MS <= clock:
            yield key


def _numbers(key: str) -> tuple[int, int]:
    hour, _, quarter = key.partition("/")
    return int(hour), int(quarter)
