"""How much of a line's time each slave takes, and how much is left. Pure; milliseconds.

A slave that is due at ``at`` has until ``at + interval``, when it is due again. ``slack`` is how
long the line may be kept from now on without anybody's reading coming after that; ``load`` is the
part of the line's time that all polls take together. Both go by what polls took before.

A silent slave need not be waited for longer than it has ever taken to answer, and some: that is
``honest``, and the least that a question waits where the line has no more to spare.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

SURE: Final = 3
"""Answers after which we know how fast a slave is."""
MARGIN: Final = 1.25
MARGIN_MS: Final = 20.0
FORGETS: Final = 0.98
"""Of the longest answer, with each that is shorter."""
RISES, FALLS = 0.5, 0.1


class Pace:
    """How fast one slave is."""

    __slots__ = ("answers", "cost", "longest", "mean", "short")

    def __init__(self) -> None:
        self.cost = 0.0
        """One poll of it, all blocks; rather too long than too short: slack goes by it."""
        self.mean = 0.0
        """One poll of it, as it mostly is."""
        self.answers = 0
        self.longest = 0.0
        """The longest answer to one of its questions, lately."""
        self.short = 0.0
        """The longest answer to as short a question as there is; 0: it was never asked one."""

    def polled(self, took: float, longest: float) -> None:
        """A whole poll, and the longest answer in it."""
        change = took - self.cost
        if self.answers:
            self.cost += change * (RISES if change > 0 else FALLS)
            self.mean += (took - self.mean) * FALLS
        else:
            self.cost = self.mean = took
        self.answers += 1
        self.longest = max(longest, self.longest * FORGETS)

    def nudged(self, took: float) -> None:
        """An answer to the shortest question."""
        self.short = max(took, self.short * FORGETS)

    def honest(self, *, short: bool = False) -> float | None:
        """How long an answer may take at least; None: not known."""
        if short and self.short:
            return self.short * MARGIN + MARGIN_MS
        if self.answers < SURE:
            return None
        return self.longest * MARGIN + MARGIN_MS


Turn = tuple[float, float, float]
"""When it is due, when it must be done, and how long it takes."""


def slack(now: float, turns: Sequence[Turn]) -> float:
    """How long from ``now`` the line may be kept for something else."""
    found = float("inf")
    time, idle = now, 0.0
    for at, end, cost in sorted(turns):
        if at > time:
            idle += at - time
            time = at
        time += cost
        found = min(found, idle + end - time)
    return found


def load(costs: Sequence[tuple[float, float]]) -> float:
    """Of pairs of cost and interval: 1.0 is a line that has not a moment to spare."""
    return sum(cost / interval for cost, interval in costs)
