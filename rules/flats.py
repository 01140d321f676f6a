"""Flatline rules with memory per point, as stacked arrays.

A pair whose stretch simply goes on, or whose point moved before a stretch could have lasted, is
settled on columns; only the others walk their readings (``rules.kinds.flatline``). As with
limits, what is skipped is exactly what the walk would have done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from collector.model import Ids, Mask, Times
from rules.kinds.flatline import Flat, Stretch
from rules.lanes import LATE, LIVE, Rows
from rules.life import NEVER
from rules.pairs import Event, Holding, Pairs, Picks, State, keep, pack, places
from rules.ruleset import Rule


class _Stretches:
    """Where each pair of a flatline stack stands in one lane."""

    def __init__(self, pairs: int) -> None:
        self.since = np.full(pairs, NEVER, np.int64)
        self.anchor = np.zeros(pairs, np.float64)
        self.firing = np.zeros(pairs, np.bool_)

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        return {"since": self.since, "anchor": self.anchor, "firing": self.firing}


class FlatStack:
    """Flatline rules. ``gap`` gives, by point, the ms beyond which two readings do not belong
    to one stretch."""

    def __init__(
        self, watched: Sequence[tuple[Rule, Ids]], size: int, gap: Callable[[], Times]
    ) -> None:
        self.broken: dict[str, str] = {}
        self._pairs = Pairs(watched, size)
        self._flats = [_flat(rule) for rule, _ in watched]
        self._gap = gap
        self._lasting = np.array([one.lasting for one in self._flats], np.int64)[self._pairs.rule]
        self._tolerance = np.array([one.tolerance for one in self._flats])[self._pairs.rule]
        self._resting = np.array([one.ignore_zero for one in self._flats])[self._pairs.rule]
        self._lanes = [_Stretches(len(self._pairs)) for _ in (LIVE, LATE)]

    def __len__(self) -> int:
        return len(self._pairs)

    def judge(self, rows: Rows) -> list[Event]:
        """What happens in these rows, and the memory moved on."""
        known = rows.point < self._pairs.size
        watched = np.zeros(len(rows.point), np.bool_)
        watched[known] = self._pairs.count[rows.point[known]] > 0
        groups = np.flatnonzero(watched)
        if not len(groups):
            return []
        lane = self._lanes[rows.lane]
        pairs, group = self._pairs.of(groups, rows.point)
        before, was = rows.previous()
        breaks = rows.time > before + self._gap()[np.repeat(rows.point, rows.stop - rows.start)]
        if rows.anew is not None:
            breaks |= rows.anew
        # Where no tolerance is given, a stretch begins at the last row that differs from the
        # one before it: no need to walk the rows, unless one could have lasted long enough.
        differs = breaks | (rows.value != was)
        at = np.maximum.reduceat(np.where(differs, np.arange(len(rows)), -1), rows.start)[group]
        still = self._still(lane, rows, breaks, pairs, group)
        due = rows.last[group] >= lane.since[pairs] + self._lasting[pairs]
        resting = self._resting[pairs] & (np.abs(lane.anchor[pairs]) <= self._tolerance[pairs])
        quiet = still & (lane.firing[pairs] | ~due | resting)
        jumps = (at >= 0) & ~lane.firing[pairs] & (self._tolerance[pairs] == 0) & ~due
        jumps &= (lane.since[pairs] != NEVER) & ~quiet
        if rows.restarts is not None:  # time may have gone back: ``due`` says nothing
            jumps &= ~rows.restarts[group]
        lane.since[pairs[jumps]] = rows.time[at[jumps]]
        lane.anchor[pairs[jumps]] = rows.value[at[jumps]]
        exact = ~(quiet | jumps)
        return self._run(lane, rows, breaks, pairs[exact], group[exact])

    def _still(
        self, lane: _Stretches, rows: Rows, breaks: Mask, pairs: Picks, group: Picks
    ) -> Mask:
        """Pairs whose stretch simply goes on through all rows of their group."""
        broken = np.logical_or.reduceat(breaks, rows.start)[group]
        anchor, tolerance = lane.anchor[pairs], self._tolerance[pairs]
        near = (np.abs(rows.high[group] - anchor) <= tolerance) & (
            np.abs(rows.low[group] - anchor) <= tolerance
        )
        still: Mask = near & ~broken & (lane.since[pairs] != NEVER)
        return still

    def _run(
        self, lane: _Stretches, rows: Rows, breaks: Mask, pairs: Picks, group: Picks
    ) -> list[Event]:
        events: list[Event] = []
        for pair, at in zip(pairs.tolist(), group.tolist(), strict=True):
            rule = int(self._pairs.rule[pair])
            stretch = Stretch(
                int(lane.since[pair]), float(lane.anchor[pair]), bool(lane.firing[pair])
            )
            span = slice(rows.start[at], rows.stop[at])
            try:
                steps = stretch.run(
                    self._flats[rule],
                    rows.row[span].tolist(),
                    rows.time[span].tolist(),
                    rows.value[span].tolist(),
                    breaks[span].tolist(),
                    int(rows.before[at]),
                )
            except Exception as fault:  # noqa: BLE001 a broken rule harms no other
                self.broken[self._pairs.rules[rule].id] = repr(fault)
                continue
            point = int(self._pairs.point[pair])
            events += [Event(rows.lane, self._pairs.rules[rule], point, step) for step in steps]
            lane.since[pair] = stretch.since
            lane.anchor[pair] = stretch.anchor
            lane.firing[pair] = stretch.firing
        return events

    def holding(self, lane: int) -> Iterator[Holding]:
        """Pairs that are firing: a stretch that has not lasted yet is no news."""
        lanes = self._lanes[lane]
        for pair in np.flatnonzero(lanes.firing).tolist():
            yield Holding(
                self._pairs.rules[self._pairs.rule[pair]],
                int(self._pairs.point[pair]),
                True,
                int(lanes.since[pair]),
                float(lanes.anchor[pair]),
            )

    def kept(self) -> State:
        """All pairs that have seen a reading."""
        parts = [
            pack(self._pairs, lane, np.flatnonzero(one.since != NEVER), one.columns())
            for lane, one in enumerate(self._lanes)
        ]
        return keep(self._pairs, parts)

    def take_back(self, state: Mapping[str, Any]) -> None:
        """Continue from ``kept`` where rule (by fingerprint) and point are still the same."""
        for lane, rows, pairs in places(self._pairs, state):
            for name, column in self._lanes[lane].columns().items():
                column[pairs] = state[name][rows]


def _flat(rule: Rule) -> Flat:
    if not isinstance(rule.settings, Flat):
        raise TypeError(f"rule {rule.id} of kind {rule.kind} has no flatline settings")
    return rule.settings
