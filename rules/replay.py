"""Rules over stored history: what they would have said, had they been there. Pure.

The same engine as on the live way, given a journal made up from the store: readings in order of
time, received the moment they were measured (a store does not keep when), a tick in every
``tick`` ms, no source ever down. So nothing is late, and a pause in the data is silence: absence
rules say what a centre that was always up would have seen. A hole of years costs no more than one
of days: its ticks are left out but for the first two days and the last one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from collector.alerts import Alert, Pending, Transition
from collector.model import Batch, Revision, Segments, Tick
from collector.registry import Identify, Registry
from rules.engine import Engine
from rules.ruleset import RuleSet

_NEVER_LATE: Final = 2**60
_HOLE_MS: Final = 2 * 86_400_000


@dataclass(frozen=True, slots=True)
class Replayed:
    """``alerts`` in the order they fired, as they were at the end; every ``transitions``; what
    was still ``pending``."""

    alerts: list[Alert]
    transitions: list[Transition]
    pending: list[Pending]


def replay(
    rules: RuleSet,
    registry: Registry,
    identify: Identify,
    batches: Iterable[Batch],
    *,
    tick: int = 60_000,
) -> Replayed:
    """Run ``rules`` over ``batches``: each may hold any points in any order, but none may reach
    back before the end of the one before it. ``identify`` names the ids used in them."""
    engine = Engine(
        lambda _files: registry,
        lambda _files, _registry: rules,
        identify,
        lambda: ["replay"],
        late_after=_NEVER_LATE,
        pause=_NEVER_LATE,
    )
    for kind in ("registry", "rules"):
        engine.apply(0, Revision(0, kind, "", {}))
    alerts: dict[str, Alert] = {}
    transitions: list[Transition] = []
    for seq, entry in enumerate(_journal(batches, tick), 1):
        engine.apply(seq, entry)
        changes = engine.changes()
        alerts.update(changes.alerts)
        transitions += changes.transitions
    for name, worst in engine.worsts().items():
        alerts[name].worst = worst
    found = sorted(alerts.values(), key=lambda alert: (alert.fired, alert.id))
    return Replayed(found, transitions, engine.pending())


def _journal(batches: Iterable[Batch], tick: int) -> Iterator[Batch | Tick]:
    """The batches cut at every multiple of ``tick``, with a tick there."""
    due: int | None = None
    newest = 0
    for batch in batches:
        if not len(batch):
            continue
        order = np.argsort(batch.time, kind="stable")
        time = batch.time[order]
        if due is None:
            due = (int(time[0]) // tick + 1) * tick
            yield Tick(due - tick)
        start = 0
        while start < len(time):
            while due <= int(time[start]):
                yield Tick(due)
                due += tick
                if due > newest + _HOLE_MS:
                    due = max(due, int(time[start]) // tick * tick)
            stop = int(np.searchsorted(time, due))
            rows = order[start:stop]
            newest = int(time[stop - 1])
            yield Batch(
                batch.point[rows],
                batch.time[rows],
                batch.value[rows],
                batch.quality[rows],
                Segments.one(stop - start, 0, newest),
            )
            start = stop
    if due is not None:
        yield Tick(due)
