"""From what a counter showed to what went through it. Pure.

The account of a point is a function of the *set* of its readings (of two with one time, the
later in the journal) and of the services in the registry, and of nothing else: not of the order
in which readings came, nor of how they were cut into batches, nor of how often they came.

**Units.** A register is a whole number of steps: ``rint(value / quantum)``, where the quantum
is the meter's resolution, or 1e-6 canonical units for a counter that has none. Steps are
subtracted as int64; ``scale = quantum x ratio`` turns an advance into canonical units, at the
very end.

**Which readings count.** Those of a quality usable in sums, finite, and within a service
(``start <= time < end``). The service decides to which device a reading belongs. Each service
is accounted by itself, in order of time:

1. The first reading only says where the register stands: the **anchor**.
2. ``x`` *follows* a reading ``a`` when the register advanced by ``d = x - a`` with
   ``0 <= d``, ``d <= half the modulus`` (if it has one) and ``d <= allowed``; or when it rolled
   over: ``d < 0``, the modulus is known, ``d + modulus <= half the modulus`` and
   ``d + modulus <= allowed``. ``allowed`` is what ``max_rate`` lets through in the time
   between the two plus ``SLACK_MS`` (stamps and the meter's own refresh are no better), plus one
   step. Without ``max_rate`` every advance is allowed, and a rollover must go from the last
   tenth of the register to the first.
3. A reading that follows the anchor is counted (``d``, or ``d + modulus``) and is the new
   anchor.
4. One that does not is held as **pending** until the next reading ``x`` decides:
   - ``x`` follows the anchor: the pending one was a **glitch** and never counts.
   - else ``x`` follows the pending one, which is thereby confirmed. A register that fell was
     **reset**: it counts from zero, so the advance is what it showed, if that is allowed (without
     ``max_rate``: if it is at most half of what it fell from); otherwise nothing is known, and
     nothing is counted. One that leapt was a **jump**: nothing is counted. In both cases ``x``
     then counts from the pending reading.
   - else the pending one was a glitch and ``x`` is pending in its place.
   A reading that is pending at the end of what is known counts nothing, yet.
5. From one device to the next nothing is counted: the new register starts at its own first
   reading (**replacement**). Where the old one's last reading and the new one's first meet at
   the moment of exchange (1 ms apart: the moment belongs to the new one), nothing is lost.

A reset that brings the register back to a level at or above the anchor's within one reading
looks like a glitch and is accounted as one.

An **anomaly** is kept for each of these. Between its ``since`` (the anchor) and its ``until``
(the reading that decided) the account was undecided; at every other counted reading it depends
on nothing but what came later. So the account may be taken up again at any such reading, which
is what makes it cheap to mend (``Account.settled``).

An advance over a time longer than ``Terms.gap`` is **estimated**: its amount is as exact as any,
but when it went through is not known. ``gap`` is a quarter of an hour, or one and a half times
the meter's interval if that is longer: one missed reading of a 15-minute meter shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from collector.model import USABLE_IN_SUMS, Mask, Qualities, Times, Values
from collector.registry import FOREVER, Service

_Any = TypeVar("_Any", bound=np.generic)
Steps = npt.NDArray[np.int64]

FINEST: Final = 1e-6
"""Quantum of counters without a resolution, canonical units."""
SLACK_MS: Final = 60_000
QUARTER_MS: Final = 900_000
LARGEST: Final = 1 << 61
"""Registers at or above this many steps are no registers (and would overflow)."""


class Kind(IntEnum):
    """Why an anomaly is kept. The numbers are stored, and are bits in a bucket's flags."""

    RESET = 1
    ROLLOVER = 2
    GLITCH = 4
    JUMP = 8
    REPLACEMENT = 16
    PENDING = 32


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Something other than an advance. Times UTC ms.

    ``time`` of the reading that is out of line; ``since`` of the last sound one before it;
    ``until`` of the one that decided (``FOREVER``, or the end of the service, while none has).
    ``before`` and ``after``: the register as the meter showed it before, and at ``time``,
    canonical units before the ratio. ``counted``: what the books count between the two,
    canonical units after the ratio; None where nothing can be known.
    """

    kind: Kind
    time: int
    since: int
    until: int
    before: float
    after: float
    counted: float | None


@dataclass(frozen=True, slots=True)
class Terms:
    """What a service says of its counter, in steps and milliseconds. ``modulus`` 0: never rolls
    over; ``per_ms`` 0: the greatest rate is not known; ``gap``: see the module."""

    start: int
    end: int
    device: str
    quantum: float
    scale: float
    modulus: int
    per_ms: float
    gap: int

    def allowed(self, elapsed: int) -> float:
        """The most steps in ``elapsed`` ms. Without ``max_rate``: infinite."""
        if not self.per_ms:
            return float("inf")
        return float(np.floor(self.per_ms * float(elapsed + SLACK_MS))) + 1.0

    def follows(self, before: int, after: int, elapsed: int) -> int | None:
        """The advance from register ``before`` to ``after``; None when it does not follow."""
        advance = after - before
        half = self.modulus // 2
        if advance >= 0:
            plausible = float(advance) <= self.allowed(elapsed) and (not half or advance <= half)
            return advance if plausible else None
        if not half:
            return None
        if not self.per_ms:
            rolled = before * 10 >= self.modulus * 9 and after * 10 <= self.modulus
        else:
            rolled = advance + self.modulus <= min(half, self.allowed(elapsed))
        return advance + self.modulus if rolled and 0 <= after < self.modulus else None

    def from_zero(self, before: int, after: int, elapsed: int) -> int | None:
        """What was counted by a register that fell from ``before`` and stands at ``after``."""
        limit = self.allowed(elapsed) if self.per_ms else before / 2
        return after if 0 <= after <= limit else None


def terms(service: Service) -> Terms:
    """``service`` in steps and milliseconds."""
    quantum = service.resolution if service.resolution > 0 else FINEST
    scale = quantum * service.ratio
    modulus = service.modulus if service.resolution > 0 else service.modulus / FINEST
    return Terms(
        start=service.start,
        end=service.end,
        device=service.device,
        quantum=quantum,
        scale=scale,
        modulus=int(modulus) if 0 < modulus < LARGEST else 0,
        per_ms=service.max_rate / scale / 3_600_000 if scale > 0 and service.max_rate > 0 else 0.0,
        gap=max(QUARTER_MS, int(service.interval * 1500)),
    )


def agreed(services: Iterable[Service]) -> tuple[Terms, ...]:
    """The terms of a point: in order of time; where two services overlap, the later holds."""
    ordered = sorted(services, key=lambda service: service.start)
    ends = [*(service.start for service in ordered[1:]), FOREVER][: len(ordered)]
    return tuple(
        terms(replace(service, end=min(service.end, end)))
        for service, end in zip(ordered, ends, strict=True)
        if service.start < min(service.end, end)
    )


def usable(value: Values, quality: Qualities) -> Mask:
    """Rows that may enter a sum: quality usable in sums, value finite."""
    return USABLE_IN_SUMS[quality] & np.isfinite(value)


def counting(time: Times, value: Values, quality: Qualities, services: Sequence[Terms]) -> Mask:
    """Rows that count at all: usable, and a possible register of the service they lie in."""
    sound = usable(value, quality)
    served = np.zeros(len(time), np.bool_)
    for of in services:
        low, high = np.searchsorted(time, (of.start, of.end))
        served[low:high] = registers(value[low:high], of.quantum)[1]
    return sound & served


def registers(value: Values, quantum: float | Values) -> tuple[Steps, Mask]:
    """Values as register steps, and which of them can be one at all."""
    steps = np.rint(value / quantum)
    sound = np.abs(steps) < LARGEST  # False for NaN
    return np.where(sound, steps, 0.0).astype(np.int64), sound


@dataclass(frozen=True, slots=True)
class Advances:
    """What went through, as columns in order of time; they never overlap.

    ``start end`` UTC ms of the two readings; ``steps`` int64; ``estimated`` bool; ``service``:
    index into the services, for the scale.
    """

    start: Times
    end: Times
    steps: Steps
    estimated: Mask
    service: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.start)


@dataclass(frozen=True, slots=True)
class Tail:
    """Where an account ends: the service, the anchor, and whether a reading is pending."""

    service: int
    time: int
    steps: int
    pending: bool


@dataclass(frozen=True, slots=True)
class Account:
    """The account of one point. ``settled``: times of the readings at which nothing earlier is
    undecided (anchors); ``tail`` None when no reading counts."""

    advances: Advances
    anomalies: tuple[Anomaly, ...]
    settled: Times
    tail: Tail | None


def account(time: Times, value: Values, quality: Qualities, services: Sequence[Terms]) -> Account:
    """The account of one point from its readings.

    ``time`` strictly ascending; ``value`` the register in canonical units before the ratio;
    ``services`` in order of time, not overlapping. Starting at a settled reading, everything
    after it is the same as if all earlier readings had been given too (except that the
    replacement of a device whose last reading is not among them is not told).
    """
    counted = counting(time, value, quality, services)
    time, value = time[counted], value[counted]
    walks: list[_Walk] = []
    for index, of in enumerate(services):
        low, high = np.searchsorted(time, (of.start, of.end))
        if low < high:
            steps, _ = registers(value[low:high], of.quantum)
            walks.append(_Walk(index, of, time[low:high], steps))
    anomalies: list[Anomaly] = []
    for at, walk in enumerate(walks):
        if at and walks[at - 1].terms.device != walk.terms.device:
            anomalies.append(_replacement(walks[at - 1], walk))
        anomalies += walk.anomalies
    last = walks[-1] if walks else None
    return Account(
        Advances(
            _joined([w.time[w.came] for w in walks], np.int64),
            _joined([w.time[w.went] for w in walks], np.int64),
            _joined([w.advance for w in walks], np.int64),
            _joined([w.time[w.went] - w.time[w.came] > w.terms.gap for w in walks], np.bool_),
            _joined([np.full(len(w.came), w.index, np.int32) for w in walks], np.int32),
        ),
        tuple(anomalies),
        _joined([w.time[w.settled] for w in walks], np.int64),
        None if last is None else last.tail(),
    )


def _joined(parts: list[npt.NDArray[_Any]], dtype: type[_Any]) -> npt.NDArray[_Any]:
    return np.concatenate(parts) if parts else np.empty(0, dtype)


def _replacement(old: _Walk, new: _Walk) -> Anomaly:
    since, first = old.tail(), int(new.time[0])
    return Anomaly(
        Kind.REPLACEMENT,
        first,
        since.time,
        first,
        since.steps * old.terms.quantum,
        int(new.steps[0]) * new.terms.quantum,
        None,
    )


_Odd = tuple[int, int, int]
"""An advance that is not plain: from row, to row, steps."""
_Told = tuple[Kind, int, int, int | None]
"""An anomaly by rows: kind, the row before, the row out of line, steps counted."""


class _Walk:
    """One service's readings, walked once: whole runs of sound ones at a stroke, and one at a
    time around those that are out of line."""

    def __init__(self, index: int, of: Terms, time: Times, steps: Steps) -> None:
        self.index, self.terms, self.time, self.steps = index, of, time, steps
        self.anomalies: list[Anomaly] = []
        self.pending = False
        elapsed, advance = np.diff(time), np.diff(steps)
        broken = np.flatnonzero(~plain(advance, elapsed, of.modulus // 2, of.per_ms))
        if not len(broken):
            self.anchor = len(time) - 1
            self.came = np.arange(self.anchor)
            self.went = self.came + 1
            self.advance = advance
            self.settled = np.arange(len(time))
            return
        runs: list[tuple[int, int]] = []
        odd: list[_Odd] = []
        at, n = 0, len(time)
        while not self.pending:
            found = np.searchsorted(broken, at)
            end = int(broken[found]) if found < len(broken) else n - 1
            runs.append((at, end))
            if end == n - 1:
                at = end
                break
            at = self._around(end, odd)
        self.anchor = at
        self._gather(runs, odd)

    def _gather(self, runs: list[tuple[int, int]], odd: list[_Odd]) -> None:
        came = np.concatenate([np.arange(a, b) for a, b in runs])
        pairs = np.array(odd, np.int64).reshape(-1, 3)
        came_all = np.concatenate([came, pairs[:, 0]])
        went_all = np.concatenate([came + 1, pairs[:, 1]])
        advance = np.concatenate([self.steps[came + 1] - self.steps[came], pairs[:, 2]])
        order = np.argsort(came_all, kind="stable")
        self.came, self.went, self.advance = came_all[order], went_all[order], advance[order]
        self.settled = np.concatenate([np.arange(a, b + 1) for a, b in runs])

    def _around(self, anchor: int, odd: list[_Odd]) -> int:
        """Past the readings after ``anchor`` that do not plainly follow; the next anchor.
        Advances that are counted on the way are added to ``odd``."""
        told: list[_Told] = []
        held = anchor + 1
        if self._count(anchor, held, odd, told):
            self._tell(anchor, held, told)
            return held
        for x in range(held + 1, len(self.time)):
            if self._follows(anchor, x) is not None:
                told.append((Kind.GLITCH, anchor, held, None))
                self._count(anchor, x, odd, told)
            elif self._follows(held, x) is not None:
                self._confirm(anchor, held, odd, told)
                self._count(held, x, odd, told)
            else:
                told.append((Kind.GLITCH, anchor, held, None))
                held = x
                continue
            self._tell(anchor, x, told)
            return x
        told.append((Kind.PENDING, anchor, held, None))
        self.pending = True
        self._tell(anchor, None, told)
        return anchor

    def _count(self, before: int, after: int, odd: list[_Odd], told: list[_Told]) -> bool:
        advance = self._follows(before, after)
        if advance is None:
            return False
        odd.append((before, after, advance))
        if self.steps[after] < self.steps[before]:
            told.append((Kind.ROLLOVER, before, after, advance))
        return True

    def _confirm(self, anchor: int, held: int, odd: list[_Odd], told: list[_Told]) -> None:
        before, after = int(self.steps[anchor]), int(self.steps[held])
        if after > before:
            told.append((Kind.JUMP, anchor, held, None))
            return
        counted = self.terms.from_zero(before, after, int(self.time[held] - self.time[anchor]))
        told.append((Kind.RESET, anchor, held, counted))
        if counted is not None:
            odd.append((anchor, held, counted))

    def _follows(self, before: int, after: int) -> int | None:
        elapsed = int(self.time[after] - self.time[before])
        return self.terms.follows(int(self.steps[before]), int(self.steps[after]), elapsed)

    def _tell(self, anchor: int, decided: int | None, told: list[_Told]) -> None:
        """What was told around ``anchor`` was one undecided stretch: all of it has its bounds."""
        until = self.terms.end if decided is None else int(self.time[decided])
        self.anomalies += [
            Anomaly(
                kind,
                int(self.time[after]),
                int(self.time[anchor]),
                until,
                int(self.steps[before]) * self.terms.quantum,
                int(self.steps[after]) * self.terms.quantum,
                None if counted is None else counted * self.terms.scale,
            )
            for kind, before, after, counted in told
        ]

    def tail(self) -> Tail:
        return Tail(
            self.index, int(self.time[self.anchor]), int(self.steps[self.anchor]), self.pending
        )


def plain(advance: Steps, elapsed: Times, half: Steps | int, per_ms: Values | float) -> Mask:
    """Which advances plainly follow: :meth:`Terms.follows` for columns, rollovers excepted.

    ``half``: half the modulus, 0 for none; ``per_ms``: 0 where the greatest rate is not known.
    """
    allowed = np.floor(per_ms * (elapsed + SLACK_MS).astype(np.float64)) + 1.0
    fast = (per_ms > 0) & (advance > allowed)
    far = (half > 0) & (advance > half)
    return np.asarray((advance >= 0) & ~fast & ~far, np.bool_)


__all__ = [
    "FOREVER",
    "Account",
    "Advances",
    "Anomaly",
    "Kind",
    "Tail",
    "Terms",
    "account",
    "agreed",
    "counting",
    "plain",
    "registers",
    "terms",
    "usable",
]
