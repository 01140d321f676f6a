"""Rules with memory per point, as stacked arrays: all (rule, point) pairs of a kind at once.

A batch is judged in three steps, each on far fewer items than the one before:

1. per point: its highest, lowest and newest reading against three bounds, kept so that a point
   within them cannot change anything (*quiet*). One comparison settles every reading and every
   rule of that point;
2. per pair of the restless points: the same comparison with the pair's own limit;
3. per reading of the restless pairs: the life itself (``rules.life``), exactly.

Promise: what step 1 and 2 skip is what step 3 would have left unchanged (but for ``worst``,
which is kept up here); so the outcome does not depend on how readings are cut into batches.
Each pair is fenced: a fault in step 3 removes its rule (``broken``) and no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from collector.model import Ids, Mask, Times, Values
from rules.kinds.flatline import Flat, Stretch
from rules.lanes import LATE, LIVE, Rows
from rules.life import FIRED, FIRING, IDLE, NEVER, PENDING, Life, Limit, Step
from rules.ruleset import Rule

Picks = npt.NDArray[np.intp]
_FOREVER: Final = 2**63 - 1
_SLACK: Final = 1e-12
"""Bounds on slopes are drawn this much tighter, because slope * per rounds differently from
limit / per. Only what lies between is looked at twice."""
State = dict[str, npt.NDArray[Any]]
Key = tuple[str, int]


class Event(NamedTuple):
    """A step of one pair in one lane."""

    lane: int
    rule: Rule
    point: int
    step: Step


class Holding(NamedTuple):
    """A pair that is pending or firing in a lane."""

    rule: Rule
    point: int
    firing: bool
    since: int
    worst: float


class Stack(Protocol):
    """What the engine needs of a stack."""

    broken: dict[str, str]

    def __len__(self) -> int: ...

    def judge(self, rows: Rows) -> list[Event]: ...

    def holding(self, lane: int) -> Iterator[Holding]: ...

    def kept(self) -> State: ...

    def take_back(self, state: Mapping[str, Any]) -> None: ...


class _Pairs:
    """The pairs of a stack, by point and then by rule, and where each point's begin."""

    def __init__(self, watched: Sequence[tuple[Rule, Ids]], size: int) -> None:
        self.rules = [rule for rule, _ in watched]
        counts = [len(points) for _, points in watched]
        rule = np.repeat(np.arange(len(watched), dtype=np.int32), counts)
        point = np.concatenate([np.empty(0, np.int32), *(points for _, points in watched)])
        order = np.lexsort((rule, point))
        self.rule = rule[order]
        self.point = point[order].astype(np.int32)
        self.size = max([size, *(int(points.max()) + 1 for _, points in watched if len(points))])
        self.count = np.bincount(self.point, minlength=self.size).astype(np.int64)
        self.first = np.cumsum(self.count) - self.count

    def __len__(self) -> int:
        return len(self.point)

    def of(self, groups: Picks, point: Ids) -> tuple[Picks, Picks]:
        """Pairs of the points ``point[groups]``, and the group of each pair."""
        points = point[groups]
        counts = self.count[points]
        ends = np.cumsum(counts)
        start = np.repeat(self.first[points] - (ends - counts), counts)
        return start + np.arange(len(start)), np.repeat(groups, counts)

    def find(self, rule: int, points: Ids) -> Picks:
        """Pairs of one rule and these points; -1 where there is none."""
        mine = np.flatnonzero(self.rule == rule)
        if not len(mine):
            return np.full(len(points), -1)
        at = np.minimum(np.searchsorted(self.point[mine], points), len(mine) - 1)
        return np.where(self.point[mine[at]] == points, mine[at], -1)


def _pack(pairs: _Pairs, lane: int, idx: Picks, columns: Mapping[str, Any]) -> State:
    return {
        "lane": np.full(len(idx), lane, np.uint8),
        "rule": pairs.rule[idx],
        "point": pairs.point[idx],
        **{name: column[idx] for name, column in columns.items()},
    }


def _kept(pairs: _Pairs, parts: Sequence[State]) -> State:
    """Both lanes' remembered pairs as one table; ``prints`` are its rules' fingerprints."""
    state = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    state["prints"] = np.array([rule.fingerprint for rule in pairs.rules], "S16")
    return state


def _places(pairs: _Pairs, state: Mapping[str, Any]) -> Iterator[tuple[int, Picks, Picks]]:
    """(lane, rows of ``state``, pairs they belong to now), of rules that are still the same."""
    index = {rule.fingerprint.encode(): at for at, rule in enumerate(pairs.rules)}
    for number, fingerprint in enumerate(state["prints"].tolist()):
        rule = index.get(fingerprint)
        if rule is None:
            continue
        for lane in (LIVE, LATE):
            rows = np.flatnonzero((state["rule"] == number) & (state["lane"] == lane))
            found = pairs.find(rule, state["point"][rows])
            yield lane, rows[found >= 0], found[found >= 0]


class _Lives:
    """Where each pair stands in one lane, and the bounds within which a point is quiet."""

    def __init__(self, pairs: int, size: int) -> None:
        self.state = np.zeros(pairs, np.uint8)
        self.since = np.zeros(pairs, np.int64)
        self.clearing = np.full(pairs, NEVER, np.int64)
        self.worst = np.zeros(pairs, np.float64)
        self.ceiling = np.full(size, np.inf)
        self.floor = np.full(size, -np.inf)
        self.deadline = np.full(size, _FOREVER)
        self.active: Picks = np.empty(0, np.intp)
        self.moved = False

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        return {
            "state": self.state,
            "since": self.since,
            "clearing": self.clearing,
            "worst": self.worst,
        }


@dataclass(frozen=True, slots=True)
class _Terms:
    """Limits of every pair, turned so that larger is worse; ``per`` 1.0 for plain values."""

    above: Values
    under: Values
    lasting: Times
    per: Values


class LimitStack:
    """Threshold rules, or rate rules, of one direction.

    ``rate``: it looks at slopes. ``sign`` -1: at values turned upside down.
    """

    def __init__(
        self, watched: Sequence[tuple[Rule, Ids]], size: int, sign: int, *, rate: bool
    ) -> None:
        self.broken: dict[str, str] = {}
        self._pairs = _Pairs(watched, size)
        self._sign = sign
        self._rate = rate
        self._limits = [_limit(rule) for rule, _ in watched]
        columns = np.array(
            [(one.above, one.under, one.lasting, one.per or 1) for one in self._limits], np.float64
        ).reshape(-1, 4)[self._pairs.rule]
        above, under, lasting, per = columns.T.copy()
        self._terms = _Terms(above, under, lasting.astype(np.int64), per)
        self._lives = [_Lives(len(self._pairs), self._pairs.size) for _ in (LIVE, LATE)]
        for lives in self._lives:
            self._rebound(lives, np.flatnonzero(self._pairs.count))

    def __len__(self) -> int:
        return len(self._pairs)

    def judge(self, rows: Rows) -> list[Event]:
        """What happens in these rows, and the memory moved on."""
        lives = self._lives[rows.lane]
        high, low = self._extremes(rows)
        point = rows.point
        if int(point[-1]) >= self._pairs.size:
            point = np.where(point < self._pairs.size, point, -1)  # of no registry: no pairs
            inside = np.flatnonzero(point >= 0)
            groups = inside[self._restless(lives, rows, high, low, inside)]
        else:
            groups = np.flatnonzero(self._restless(lives, rows, high, low, slice(None)))
        if len(lives.active):
            self._worsen(lives, rows, high, groups)
        return self._exactly(lives, rows, high, low, groups) if len(groups) else []

    def _extremes(self, rows: Rows) -> tuple[Values, Values]:
        high, low = rows.slopes()[1:] if self._rate else (rows.high, rows.low)
        return (high, low) if self._sign > 0 else (-low, -high)

    @staticmethod
    def _restless(
        lives: _Lives, rows: Rows, high: Values, low: Values, groups: Picks | slice
    ) -> Mask:
        point = rows.point[groups]
        restless: Mask = high[groups] > lives.ceiling[point]
        if len(lives.active):
            # Written so that a NaN (no slope in the group) is restless where anything is active.
            floor = lives.floor[point]
            restless |= ~(low[groups] > floor) & (floor > -np.inf)
            restless |= rows.last[groups] >= lives.deadline[point]
            if rows.restarts is not None:
                restless |= rows.restarts[groups] & (floor > -np.inf)
        return restless

    def _worsen(self, lives: _Lives, rows: Rows, high: Values, groups: Picks) -> None:
        """``worst`` of active pairs whose point is quiet (the others are judged exactly)."""
        active = lives.active
        point = self._pairs.point[active]
        at = np.minimum(np.searchsorted(rows.point, point), len(rows.point) - 1)
        quiet = np.ones(len(rows.point), np.bool_)
        quiet[groups] = False
        here = (rows.point[at] == point) & quiet[at]
        pairs, at = active[here], at[here]
        lives.worst[pairs] = np.fmax(lives.worst[pairs], high[at] * self._terms.per[pairs])
        lives.moved = lives.moved or bool(len(pairs))

    def _exactly(
        self, lives: _Lives, rows: Rows, high: Values, low: Values, groups: Picks
    ) -> list[Event]:
        pairs, group = self._pairs.of(groups, rows.point)
        terms = self._terms
        idle = lives.state[pairs] == IDLE
        top = high[group] * terms.per[pairs]
        bottom = low[group] * terms.per[pairs]
        quiet = np.where(
            idle,
            ~(top > terms.above[pairs]),
            (bottom > terms.under[pairs])
            & (lives.clearing[pairs] == NEVER)
            & (
                (lives.state[pairs] == FIRING)
                | (rows.last[group] < lives.since[pairs] + terms.lasting[pairs])
            ),
        )
        if rows.restarts is not None:
            quiet &= idle | ~rows.restarts[group]
        going = quiet & ~idle
        lives.worst[pairs[going]] = np.fmax(lives.worst[pairs[going]], top[going])
        lives.moved = lives.moved or bool(going.any())
        events = self._run(lives, rows, pairs[~quiet], group[~quiet])
        self._rebound(lives, self._pairs.point[pairs[~quiet]])
        return events

    def _run(self, lives: _Lives, rows: Rows, pairs: Picks, group: Picks) -> list[Event]:
        events: list[Event] = []
        columns = tuple(
            column[pairs].tolist()
            for column in (lives.state, lives.since, lives.clearing, lives.worst)
        )
        names = self._pairs.rule[pairs].tolist()
        points = self._pairs.point[pairs].tolist()
        lifes = [Life(*row) for row in zip(*columns, strict=True)]
        current, cells = -1, _Cells([], [], [], None, NEVER)
        for life, at, rule, point in zip(lifes, group.tolist(), names, points, strict=True):
            if at != current:
                current, cells = at, self._cells(rows, at)
            limit = self._limits[rule]
            values = cells.values
            try:
                if limit.per:
                    values = [value * limit.per for value in values]
                steps = life.run(limit, cells.rows, cells.times, values, cells.anew, cells.before)
            except Exception as fault:  # noqa: BLE001 a broken rule harms no other
                self.broken[self._pairs.rules[rule].id] = repr(fault)
                continue
            events += [Event(rows.lane, self._pairs.rules[rule], point, step) for step in steps]
        lives.state[pairs] = [life.state for life in lifes]
        lives.since[pairs] = [life.since for life in lifes]
        lives.clearing[pairs] = [life.clearing for life in lifes]
        lives.worst[pairs] = [life.worst for life in lifes]
        lives.moved = True
        return events

    def _cells(self, rows: Rows, group: int) -> _Cells:
        """The rows of a group as plain lists, turned."""
        span = slice(rows.start[group], rows.stop[group])
        values = rows.slopes()[0][span] if self._rate else rows.value[span]
        if self._sign < 0:
            values = -values
        anew = None if rows.anew is None else rows.anew[span].tolist()
        return _Cells(
            rows.row[span].tolist(),
            rows.time[span].tolist(),
            values.tolist(),
            anew,
            int(rows.before[group]),
        )

    def _rebound(self, lives: _Lives, points: npt.NDArray[Any]) -> None:
        """Draw the bounds of ``points`` anew from where their pairs stand."""
        points = np.unique(points)
        points = points[self._pairs.count[points] > 0]
        if len(points):
            pairs, _ = self._pairs.of(np.arange(len(points)), points.astype(np.int32))
            counts = self._pairs.count[points]
            start = np.cumsum(counts) - counts
            terms, state = self._terms, lives.state[pairs]
            idle = state == IDLE
            per = terms.per[pairs]
            slack = _SLACK if self._rate else 0.0
            ceiling = terms.above[pairs] / per
            ceiling = np.where(idle, ceiling - np.abs(ceiling) * slack, np.inf)
            floor = terms.under[pairs] / per
            floor += np.abs(floor) * slack
            floor = np.where(lives.clearing[pairs] == NEVER, floor, np.inf)
            floor = np.where(idle, -np.inf, floor)
            due = np.where(state == PENDING, lives.since[pairs] + terms.lasting[pairs], _FOREVER)
            lives.ceiling[points] = np.minimum.reduceat(ceiling, start)
            lives.floor[points] = np.maximum.reduceat(floor, start)
            lives.deadline[points] = np.minimum.reduceat(due, start)
        lives.active = np.flatnonzero(lives.state)

    def holding(self, lane: int) -> Iterator[Holding]:
        """Pairs that are pending or firing."""
        lives = self._lives[lane]
        for pair in lives.active.tolist():
            yield Holding(
                self._pairs.rules[self._pairs.rule[pair]],
                int(self._pairs.point[pair]),
                bool(lives.state[pair] == FIRING),
                int(lives.since[pair]),
                self._sign * float(lives.worst[pair]),
            )

    def kept(self) -> State:
        """All pairs that are not idle."""
        parts = [
            _pack(self._pairs, lane, lives.active, lives.columns())
            for lane, lives in enumerate(self._lives)
        ]
        return _kept(self._pairs, parts)

    def take_back(self, state: Mapping[str, Any]) -> None:
        """Continue from ``kept`` where rule (by fingerprint) and point are still the same."""
        for lane, rows, pairs in _places(self._pairs, state):
            for name, column in self._lives[lane].columns().items():
                column[pairs] = state[name][rows]
        for lives in self._lives:
            self._rebound(lives, self._pairs.point[np.flatnonzero(lives.state)])


class _Cells(NamedTuple):
    """One group's readings as lists."""

    rows: list[int]
    times: list[int]
    values: list[float]
    anew: list[bool] | None
    before: int


def _limit(rule: Rule) -> Limit:
    if not isinstance(rule.settings, Limit):
        raise TypeError(f"rule {rule.id} of kind {rule.kind} has no limit")
    return rule.settings


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
        self._pairs = _Pairs(watched, size)
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
            _pack(self._pairs, lane, np.flatnonzero(one.since != NEVER), one.columns())
            for lane, one in enumerate(self._lanes)
        ]
        return _kept(self._pairs, parts)

    def take_back(self, state: Mapping[str, Any]) -> None:
        """Continue from ``kept`` where rule (by fingerprint) and point are still the same."""
        for lane, rows, pairs in _places(self._pairs, state):
            for name, column in self._lanes[lane].columns().items():
                column[pairs] = state[name][rows]


def _flat(rule: Rule) -> Flat:
    if not isinstance(rule.settings, Flat):
        raise TypeError(f"rule {rule.id} of kind {rule.kind} has no flatline settings")
    return rule.settings


__all__ = ["FIRED", "Event", "FlatStack", "Holding", "LimitStack", "Stack"]
