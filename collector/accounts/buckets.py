"""Quarter-hours: the grain in which books are kept. Pure.

A quarter-hour is numbered ``floor(UTC ms / 900000)``; every time zone in use is a whole number
of them from UTC, so hours, days and months of any place are sums of quarter-hours.

An advance between two readings is laid linearly over the quarter-hours between them: each edge
gets the register as a meter that counts whole steps would have shown it, so parts are whole
steps and add up to the advance exactly, whatever is added in whatever order. Where readings sit
on the edges, nothing is interpolated.

Beside its steps a quarter-hour keeps the milliseconds of it that were **measured** (covered by
advances between readings close enough together) and **estimated** (by advances over a wider
gap). Time that no advance covers is in neither: a quarter-hour of which nothing is known does
not exist, and is never a zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from collector.accounts.counters import QUARTER_MS, Steps
from collector.model import Mask, Times

Groups = npt.NDArray[np.int64]
_EXACT: Final = 1 << 31
"""Products of two times below this fit int64 (24 days); longer gaps go by Python's integers."""


@dataclass(frozen=True, slots=True)
class Quarters:
    """What fell into quarter-hours: one row per group and quarter-hour, in that order.

    ``group`` int64: whatever the caller keeps apart (a point, a scale); ``quarter`` int64
    number; ``steps`` int64; ``measured estimated`` int64 ms of 900,000.
    """

    group: Groups
    quarter: Times
    steps: Steps
    measured: Times
    estimated: Times

    def __len__(self) -> int:
        return len(self.group)

    def where(self, keep: Mask) -> Quarters:
        """The rows that ``keep`` selects."""
        return Quarters(
            self.group[keep],
            self.quarter[keep],
            self.steps[keep],
            self.measured[keep],
            self.estimated[keep],
        )


def spread(group: Groups, start: Times, end: Times, steps: Steps, estimated: Mask) -> Quarters:
    """Advances over quarter-hours. Columns of equal length, ``start < end`` (UTC ms), in order
    of group and, within it, of time, not overlapping there."""
    first = start // QUARTER_MS
    spans = (end - 1) // QUARTER_MS - first + 1
    if not len(spans) or int(spans.max()) == 1:
        return _added(group, first, steps, end - start, estimated)
    row = np.repeat(np.arange(len(spans)), spans)
    nth = np.arange(len(row)) - np.repeat(np.cumsum(spans) - spans, spans)
    quarter = first[row] + nth
    begin, length, advance = start[row], (end - start)[row], steps[row]
    shown = _shown(advance, np.minimum((quarter + 1) * QUARTER_MS, end[row]) - begin, length)
    shown_before = _shown(advance, np.maximum(quarter * QUARTER_MS - begin, 0), length)
    covered = np.minimum((quarter + 1) * QUARTER_MS, end[row]) - np.maximum(
        quarter * QUARTER_MS, begin
    )
    return _added(group[row], quarter, shown - shown_before, covered, estimated[row])


def _shown(advance: Steps, elapsed: Times, length: Times) -> Steps:
    """floor(advance x elapsed / length), exactly; ``0 <= elapsed <= length``."""
    whole, rest = np.divmod(advance, length)
    if int(length.max()) < _EXACT:
        return np.asarray(whole * elapsed + rest * elapsed // length, np.int64)
    exact = [
        w * e + r * e // n
        for w, r, e, n in zip(
            whole.tolist(), rest.tolist(), elapsed.tolist(), length.tolist(), strict=True
        )
    ]
    return np.array(exact, np.int64)


def _added(group: Groups, quarter: Times, steps: Steps, ms: Times, estimated: Mask) -> Quarters:
    """Rows of one group and quarter-hour, which stand side by side, as one."""
    if not len(group):
        return Quarters(group, quarter, steps, ms, ms)
    at = _heads(group, quarter)
    covered = np.add.reduceat(ms, at)
    guessed = np.add.reduceat(np.where(estimated, ms, 0), at) if estimated.any() else covered * 0
    return Quarters(group[at], quarter[at], np.add.reduceat(steps, at), covered - guessed, guessed)


def together(parts: Sequence[Quarters]) -> Quarters:
    """Rows of ``parts``, in any order, as one: sorted, and added up where they meet."""
    group = np.concatenate([part.group for part in parts])
    quarter = np.concatenate([part.quarter for part in parts])
    steps = np.concatenate([part.steps for part in parts])
    measured = np.concatenate([part.measured for part in parts])
    estimated = np.concatenate([part.estimated for part in parts])
    order = np.lexsort((quarter, group))
    group, quarter = group[order], quarter[order]
    at = _heads(group, quarter)
    if not len(at):
        return Quarters(group, quarter, steps, measured, estimated)
    return Quarters(
        group[at],
        quarter[at],
        np.add.reduceat(steps[order], at),
        np.add.reduceat(measured[order], at),
        np.add.reduceat(estimated[order], at),
    )


def _heads(group: Groups, quarter: Times) -> npt.NDArray[np.intp]:
    """The first row of each group and quarter-hour, in sorted rows."""
    if not len(group):
        return np.empty(0, np.intp)
    new = np.empty(len(group), np.bool_)
    new[0] = True
    np.not_equal(quarter[1:], quarter[:-1], out=new[1:])
    new[1:] |= group[1:] != group[:-1]
    return np.flatnonzero(new)
