"""(rule, point) pairs as arrays: what the stacks of rules have in common.

Pairs are sorted by point and then by rule, so that the pairs of a point lie side by side. What a
stack remembers is exported and taken back by rule fingerprint and point, so one mechanism serves
the snapshot and a revision of rules or registry.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from collector.model import Ids
from rules.lanes import LATE, LIVE, Rows
from rules.life import Step
from rules.ruleset import Rule

Picks = npt.NDArray[np.intp]
State = dict[str, npt.NDArray[Any]]


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


class Pairs:
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


def pack(pairs: Pairs, lane: int, idx: Picks, columns: Mapping[str, Any]) -> State:
    return {
        "lane": np.full(len(idx), lane, np.uint8),
        "rule": pairs.rule[idx],
        "point": pairs.point[idx],
        **{name: column[idx] for name, column in columns.items()},
    }


def keep(pairs: Pairs, parts: Sequence[State]) -> State:
    """Both lanes' remembered pairs as one table; ``prints`` are its rules' fingerprints."""
    state = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    state["prints"] = np.array([rule.fingerprint for rule in pairs.rules], "S16")
    return state


def places(pairs: Pairs, state: Mapping[str, Any]) -> Iterator[tuple[int, Picks, Picks]]:
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
