"""What a device refuses to be read, found by halving. Pure.

A block that is answered "no such register" is read in two halves from then on, and so are those,
until single values are left: what is refused then is *bad* and left out. Halves that are both
answered had something bad between them (or were too long together): there the *cut* stays.
``Search`` asks nothing itself; it is told of refusals, and says what to read instead.

Invariants: every value that the device gives by itself is read in the end; a block is refused at
most once for each value in it; each search that was settled makes fewer blocks or keeps them, and
either names something bad or confirms a cut, so that searching ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

Span = tuple[int, int, int]
"""Function, first address, address after the last: what is read whole."""


@dataclass(frozen=True, slots=True)
class Lack:
    """What is not read (``bad``), and addresses at which a block must begin (``cuts``)."""

    bad: frozenset[Span] = frozenset()
    cuts: frozenset[tuple[int, int]] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.bad or self.cuts)

    def has(self, function: int, start: int, end: int) -> bool:
        """Is any of this bad?"""
        return any(f == function and s < end and start < e for f, s, e in self.bad)

    def joins(self, function: int, reach: int, start: int) -> bool:
        """May one block hold what ends at ``reach`` and what begins at ``start``?"""
        return (function, start) not in self.cuts and not self.has(function, reach, start)


NOTHING: Final = Lack()
ILLEGAL_FUNCTION: Final = 1


class Search:
    """What is known of one device, while it is being found out."""

    def __init__(self) -> None:
        self._bad: set[Span] = set()
        self._cuts: set[tuple[int, int]] = set()
        self._trials: list[tuple[Span, tuple[int, int]]] = []

    @property
    def lack(self) -> Lack:
        return Lack(frozenset(self._bad), frozenset(self._cuts))

    @property
    def open(self) -> bool:
        """Is there a cut of which nobody knows yet whether it is needed?"""
        return bool(self._trials)

    def refused(self, block: Span, wanted: Sequence[Span], code: int = 2) -> list[Span]:
        """``block`` was refused with exception ``code``: what to read instead of it. ``wanted``:
        all that the device is read for, as ``plan.spans`` gives it."""
        function, first, end = block
        if code == ILLEGAL_FUNCTION:  # halves of it will not be read by this function either
            self._bad.add(block)
            return []
        groups = _groups([s for s in wanted if s[0] == function and first <= s[1] and s[2] <= end])
        if len(groups) < 2:
            self._bad.add(block)
            return []
        half = len(groups) // 2
        cut = (function, groups[half][1])
        self._cuts.add(cut)
        self._trials.append((block, cut))
        return [
            (function, groups[0][1], groups[half - 1][2]),
            (function, groups[half][1], groups[-1][2]),
        ]

    def settle(self) -> None:
        """Everything was read, or found bad. Cuts that only led to something bad, or to a cut
        further in, were not needed for anything else: what lies beside it may be read at once
        again; where it may not, that is found out by the next refusal."""
        kept: set[tuple[int, int]] = set()
        for (function, first, end), cut in reversed(self._trials):
            explained = any(f == function and s < end and first < e for f, s, e in self._bad)
            if explained or any(f == function and first < at < end for f, at in kept):
                self._cuts.discard(cut)
            else:
                kept.add(cut)
        self._trials.clear()


def _groups(spans: Sequence[Span]) -> list[Span]:
    """What overlaps cannot be read apart."""
    found: list[Span] = []
    for function, start, end in spans:
        if found and start < found[-1][2]:
            found[-1] = (function, found[-1][1], max(end, found[-1][2]))
        else:
            found.append((function, start, end))
    return found
