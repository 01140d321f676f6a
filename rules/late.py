"""Found late: what late data would have warned of, listed and never paged.

Promises: an entry's id is derived from (rule, subject, start). What a live alert of the same rule
and subject covers, or an entry of earlier late data, is not listed again; so data that comes
twice says nothing twice. One notice for each origin, when its late data has come to rest.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from collector.alerts import FOUND_LATE, FoundLate, Transition
from rules.life import Step
from rules.ruleset import Rule

EPISODES: Final = 8
"""Live alerts per (rule, point) remembered to recognise what late data repeats."""
NOTICE_QUIET_MS: Final = 60_000
"""A found-late notice waits until its origin brought no more late exceedances for this long,"""
NOTICE_LATEST_MS: Final = 900_000
"""but not longer than this."""
Key = tuple[str, str]
"""Rule and subject."""
Spans = dict[Key, deque[list[int]]]
"""The newest episodes of each: start and end, UTC ms."""


def stable_id(*parts: object) -> str:
    """A short id that depends on ``parts`` alone."""
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:20]


@dataclass(slots=True)
class _Burst:
    """Found-late entries of one origin since its last notice; times UTC ms of ticks."""

    first: int
    newest: int
    count: int
    level: int
    start: int
    end: int
    entry: str
    subjects: list[str]


class Late:
    """Memory of found-late entries. ``live``: the live alerts' episodes, shared with the book."""

    def __init__(self, describe: Callable[[str], Mapping[str, Any]], live: Spans) -> None:
        self._describe = describe
        self._live = live
        self._open: dict[Key, FoundLate] = {}
        self._found: Spans = {}
        self._bursts: dict[str, _Burst] = {}
        self._entries: dict[str, FoundLate] = {}
        self._notices: list[Transition] = []

    def changes(self) -> tuple[dict[str, FoundLate], list[Transition]]:
        """Entries and notices since the last call."""
        said = self._entries, self._notices
        self._entries, self._notices = {}, []
        return said

    def fire(self, rule: Rule, subject: str, step: Step, origin: str, found: int) -> None:
        """Late data would have fired."""
        if self._covered(rule.id, subject, step.since, step.time):
            return
        self._enter(rule, subject, step.since, step.time, step.worst, origin, found)

    def end(self, rule: Rule, subject: str, step: Step, origin: str, found: int) -> None:
        """An episode in late data is over, at ``step.time``."""
        self._to(rule, subject, step.since, step.time, step.worst, origin, found)
        self._open.pop((rule.id, subject), None)

    def goes_on(self, rule: Rule, subject: str, since: int, end: int, worst: float) -> None:
        """An episode in late data was still firing at its newest reading."""
        self._to(rule, subject, since, end, worst, "", 0)

    def _to(
        self, rule: Rule, subject: str, since: int, end: int, worst: float, origin: str, found: int
    ) -> None:
        entry = self._open.get((rule.id, subject))
        if entry is not None and entry.start == since:
            if end > entry.end or worst != entry.worst:
                entry.end, entry.worst = max(end, entry.end), worst
                self._found[rule.id, subject][-1][1] = entry.end
                self._entries[entry.id] = entry
        elif origin and not self._covered(rule.id, subject, since, end):
            self._enter(rule, subject, since, end, worst, origin, found)

    def _covered(self, rule: str, subject: str, start: int, end: int) -> bool:
        """Whether an alert, or an entry of earlier late data, already says so."""
        key = rule, subject
        past = (*self._live.get(key, ()), *self._found.get(key, ()))
        return any(began <= start and end <= over for began, over in past)

    def _enter(
        self, rule: Rule, subject: str, start: int, end: int, worst: float, origin: str, found: int
    ) -> None:
        told = self._describe(subject)
        entry = FoundLate(
            id=stable_id("late", rule.id, subject, start),
            rule=rule.id,
            level=int(rule.level),
            subject=subject,
            site=told.get("site", ""),
            place=told.get("place", ""),
            start=start,
            end=end,
            worst=worst,
            origin=origin,
            found=found,
        )
        self._open[rule.id, subject] = entry
        self._found.setdefault((rule.id, subject), deque(maxlen=EPISODES)).append([start, end])
        self._entries[entry.id] = entry
        burst = self._bursts.get(origin)
        if burst is None:
            burst = _Burst(found, found, 0, 1, start, end, entry.id, [])
            self._bursts[origin] = burst
        burst.newest = max(burst.newest, found)
        burst.count += 1
        burst.level = max(burst.level, entry.level)
        burst.start, burst.end = min(burst.start, start), max(burst.end, end)
        if subject not in burst.subjects and len(burst.subjects) < 20:
            burst.subjects.append(subject)

    def notices(self, seq: int, time: int) -> None:
        """At a tick: one notice per origin whose late data has come to rest."""
        for origin, burst in list(self._bursts.items()):
            rested = time - burst.newest >= NOTICE_QUIET_MS
            if not rested and time - burst.first < NOTICE_LATEST_MS:
                continue
            del self._bursts[origin]
            name = stable_id("found-late", origin, burst.entry)
            data = {
                **self._describe(origin),
                "origin": origin,
                "count": burst.count,
                "start": burst.start,
                "end": burst.end,
                "subjects": burst.subjects,
            }
            self._notices.append(
                Transition(name + "/1", name, seq, FOUND_LATE, time, burst.level, name, True, data)
            )

    def rename(self, old: str, new: str) -> None:
        """A point is called differently now."""
        rename(self._found, old, new)
        rename(self._open, old, new)

    def kept(self) -> dict[str, Any]:
        """Memory, as values that msgspec writes."""
        return {
            "found": listed(self._found),
            "open": list(self._open.values()),
            "bursts": self._bursts,
        }

    def take_back(self, state: Mapping[str, Any]) -> None:
        """Continue from ``kept``."""
        self._found = spans(state["found"])
        entries = [FoundLate(**row) for row in state["open"]]
        self._open = {(entry.rule, entry.subject): entry for entry in entries}
        self._bursts = {origin: _Burst(**row) for origin, row in state["bursts"].items()}


def listed(table: Spans) -> list[list[Any]]:
    """``Spans`` as plain values."""
    return [[*key, list(past)] for key, past in table.items()]


def spans(rows: Sequence[Any]) -> dict[tuple[str, str], deque[list[int]]]:
    return {
        (rule, subject): deque((list(span) for span in past), EPISODES)
        for rule, subject, past in rows
    }


def rename(table: dict[tuple[str, str], Any], old: str, new: str) -> None:
    """Give the rows of one subject another name."""
    for rule, subject in [key for key in table if key[1] == old]:
        table[rule, new] = table.pop((rule, subject))
