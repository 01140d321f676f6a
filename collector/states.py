"""In which state a place is, and since when: what counts, and what is only kept. Pure.

Readings of a place are taken in and stored in every state. Only while it is **in service** do
they count: in the books, in what is expected of it, and in the rules that warn. So a meter that
is being set up alarms nobody, and a trial run is in no bill.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from typing import Final
from zoneinfo import ZoneInfo

from collector.sections import Section, kind_of, near, one_of

IN_SERVICE: Final = "in-service"
STATES: Final = ("planned", "commissioning", "trial", IN_SERVICE, "out-of-service", "closed")
"""In the order in which a place goes through them."""
SAME: Final = {"suspended": "out-of-service"}
"""Words of earlier registries, which the journal still holds."""
END: Final = 2**62
"""Of a state that still holds, UTC ms; as ``registry.FOREVER``."""
ALWAYS: Final = ((0, END),)

States = tuple[tuple[int, str], ...]
"""Since when (UTC ms) which state, ascending; the first since 0."""
Spans = tuple[tuple[int, int], ...]
"""From (UTC ms) to (exclusive), ascending, apart from each other."""


def spans_of(states: States) -> Spans:
    """When a place is in service."""
    spans: list[tuple[int, int]] = []
    ends = [since for since, _ in states[1:]] + [END]
    for (since, state), end in zip(states, ends, strict=True):
        if state != IN_SERVICE:
            continue
        if spans and spans[-1][1] == since:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((since, end))
    return tuple(spans)


def within(spans: Spans, at: int) -> bool:
    """Whether ``at`` (UTC ms) lies in one of them."""
    return any(start <= at < end for start, end in spans)


def parts(spans: Spans, start: int, end: int) -> list[tuple[int, int]]:
    """What of ``start .. end`` lies in them."""
    cut = ((max(start, low), min(end, high)) for low, high in spans)
    return [(low, high) for low, high in cut if low < high]


def changes(every: Sequence[Spans], after: int) -> int:
    """The next moment after ``after`` at which any of them begins or ends; END: none."""
    edges = (edge for spans in every for span in spans for edge in span)
    return min((edge for edge in edges if edge > after), default=END)


def read_states(section: Section, zone: ZoneInfo) -> States:
    """``state`` of a place: one word, or words by the date from which they hold (before the first
    of them it is planned)."""
    if not isinstance(section.data.get("state"), dict):
        word = section.text("state", IN_SERVICE, choices=(*STATES, *SAME))
        return ((0, SAME.get(word, word)),)
    found: dict[int, str] = {}
    table = section.table("state")
    if not table:
        section.fault("state", "state is empty", 'write state = { 2026-01-31 = "in-service" }')
    for written, word in table.items():
        since = _since(written, zone)
        if since is None:
            what = f'"{written}" in state is no date'
            section.fault(("state", written), what, 'write { 2026-01-31 = "in-service" }')
        elif not isinstance(word, str):
            what = f"state is {kind_of(word)}"
            section.fault(("state", written), what, "it must be a text in quotes")
        elif word not in STATES and word not in SAME:
            todo = near(word, STATES) or one_of(STATES)
            section.fault(("state", written), f'unknown state "{word}"', todo)
        elif since in found:
            section.fault(("state", written), f"two states since {written}", "keep one of them")
        else:
            found[since] = SAME.get(word, word)
    if 0 not in found:
        found[0] = "planned" if found else IN_SERVICE
    return tuple(sorted(found.items()))


def _since(written: str, zone: ZoneInfo) -> int | None:
    """UTC ms of a date (its first instant in ``zone``) or a date with time, from 1970 on."""
    try:
        day = date.fromisoformat(written)
    except ValueError:
        try:
            at = datetime.fromisoformat(written)
        except ValueError:
            return None
    else:
        at = datetime.combine(day, time())
    if at.tzinfo is None:
        at = at.replace(tzinfo=zone)
    try:
        passed = at - datetime(1970, 1, 1, tzinfo=UTC)
    except OverflowError:
        return None
    ms = (passed.days * 86_400 + passed.seconds) * 1000 + passed.microseconds // 1000
    return ms if ms >= 0 else None
