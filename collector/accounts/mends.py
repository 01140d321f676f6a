"""Late readings of many points, accounted in one go where that is plain. Pure.

A **stretch** is some readings of one point that come late, together with the readings around
them. Taking them in changes the account only from the settled reading before them (``since``) to
the one after them that is settled with and without them (``until``): what is to be added to the
books is the account of that stretch with them less the account without. Where every reading of a
stretch, before and after, plainly follows the one before it, within one service, both are plain
differences, for all stretches at once. Any other stretch is left to the caller, untouched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from collector.accounts.buckets import Quarters, spread, together
from collector.accounts.counters import Steps, plain, registers, usable
from collector.accounts.standing import Limits
from collector.model import Mask, Qualities, Times, Values

Index = npt.NDArray[np.int64]


class Read(NamedTuple):
    """Readings of several stretches, sorted by stretch (numbered from 0), then time."""

    stretch: Index
    time: Times
    value: Values
    quality: Qualities


@dataclass(frozen=True, slots=True)
class Mended:
    """By stretch: ``done``, and, where the late readings are the newest, the new anchor (``last``
    is true there). ``quarters``: what is to be added (group = stretch), maybe negative."""

    done: Mask
    quarters: Quarters
    last: Mask
    time: Times
    steps: Steps


def mended(
    before: Read, after: Read, first: Times, last: Times, whole: Mask, limits: Limits
) -> Mended:
    """Stretches without (``before``) and with (``after``) the late readings, which are from
    ``first`` to ``last``. ``whole``: nothing newer exists than what is in them. By stretch."""
    old, new = _sound(before, limits), _sound(after, limits)
    done = old.plain & new.plain
    low, high = _bounds(new, first, last)
    done &= (low >= new.begin) & ((high < new.end) | whole)
    newest = high == new.end
    low_old, high_old = _bounds(old, first, last)
    added = _advances(new, low, np.minimum(high, new.end - 1), done, limits.gap)
    removed = _advances(old, low_old, np.minimum(high_old, old.end - 1), done, limits.gap)
    quarters = together([added, _negative(removed)])
    changed = (quarters.steps != 0) | (quarters.measured != 0) | (quarters.estimated != 0)
    tail = np.maximum(new.end - 1, 0)
    if not len(new.time):
        tail_time = tail_steps = np.zeros(len(first), np.int64)
    else:
        tail_time, tail_steps = new.time[tail], new.steps[tail]
    return Mended(done, quarters.where(changed), newest & done, tail_time, tail_steps)


class _Sound(NamedTuple):
    """Counting readings; ``begin end`` where each stretch lies in them, ``plain`` by stretch."""

    stretch: Index
    time: Times
    steps: Steps
    begin: Index
    end: Index
    plain: Mask


def _sound(read: Read, limits: Limits) -> _Sound:
    of = read.stretch
    steps, possible = registers(read.value, limits.quantum[of])
    keep = usable(read.value, read.quality)
    served = (read.time >= limits.start[of]) & (read.time < limits.end[of])
    plainly = np.ones(len(limits.start), np.bool_)
    plainly[of[keep & ~served]] = False
    keep &= possible & served
    of, time, steps = of[keep], read.time[keep], steps[keep]
    elapsed, advance, to = np.diff(time), np.diff(steps), of[1:]
    follows = plain(advance, elapsed, limits.half[to], limits.per_ms[to])
    plainly[to[~follows & (to == of[:-1])]] = False
    numbers = np.arange(len(plainly))
    begin, end = np.searchsorted(of, numbers), np.searchsorted(of, numbers, "right")
    return _Sound(of, time, steps, begin, end, plainly)


def _bounds(rows: _Sound, first: Times, last: Times) -> tuple[Index, Index]:
    """Rows of ``since`` (before ``begin`` where there is none) and ``until`` (``end``: none)."""
    size = len(first)
    earlier = np.bincount(rows.stretch[rows.time < first[rows.stretch]], minlength=size)
    later = np.bincount(rows.stretch[rows.time > last[rows.stretch]], minlength=size)
    return rows.begin + earlier - 1, rows.end - later


def _advances(rows: _Sound, low: Index, high: Index, done: Mask, gap: Times) -> Quarters:
    at = np.arange(len(rows.time))
    of = rows.stretch
    came = np.flatnonzero(done[of] & (at >= low[of]) & (at < high[of]))
    start, end = rows.time[came], rows.time[came + 1]
    steps = rows.steps[came + 1] - rows.steps[came]
    return spread(of[came], start, end, steps, end - start > gap[of[came]])


def _negative(of: Quarters) -> Quarters:
    return Quarters(of.group, of.quarter, -of.steps, -of.measured, -of.estimated)
