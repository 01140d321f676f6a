"""Threshold and rate rules with memory per point, as stacked arrays: all pairs at once.

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

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from collector.model import Ids, Mask, Times, Values
from rules.lanes import LATE, LIVE, Rows
from rules.life import FIRED, FIRING, IDLE, NEVER, PENDING, Life, Limit, Step
from rules.pairs import Event, Holding, Pairs, Picks, State, keep, pack, places
from rules.ruleset import Rule

_FOREVER: Final = 2**63 - 1
_SLACK: Final = 1e-12
"""Bounds on slopes are drawn this much tighter, because slope * per rounds differently from
limit / per. Only what lies between is looked at twice."""


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
        self._pairs = Pairs(watched, size)
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
            if limit.per:
                steps = [_moved(rows, at, step) for step in steps]
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
            pack(self._pairs, lane, lives.active, lives.columns())
            for lane, lives in enumerate(self._lives)
        ]
        return keep(self._pairs, parts)

    def take_back(self, state: Mapping[str, Any]) -> None:
        """Continue from ``kept`` where rule (by fingerprint) and point are still the same."""
        for lane, rows, pairs in places(self._pairs, state):
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


def _moved(rows: Rows, group: int, step: Step) -> Step:
    """A rate's step with the change between the two readings that fired it: a rate is per the
    rule's window, which may be much longer than what was seen."""
    if step.what != FIRED:
        return step
    own = rows.row[rows.start[group] : rows.stop[group]]
    at = int(rows.start[group]) + int(np.flatnonzero(own == step.row)[0])
    times, values = rows.previous()
    return step._replace(
        change=float(rows.value[at] - values[at]), elapsed=int(rows.time[at] - times[at])
    )


def _limit(rule: Rule) -> Limit:
    if not isinstance(rule.settings, Limit):
        raise TypeError(f"rule {rule.id} of kind {rule.kind} has no limit")
    return rule.settings
