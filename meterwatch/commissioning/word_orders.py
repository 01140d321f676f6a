"""In which order does a device send the bytes of a long number? Pure.

The standard says how 16 bits travel and nothing of 32 (Modbus application protocol V1.1b3,
clause 4.2), so makers differ, and one meter's menu may offer several. A profile's *turn* is what
has to be done to its orders: ``ABCD`` leaves them, ``CDAB`` reverses the words, ``BADC`` swaps
the two bytes of each word, ``DCBA`` does both. A device turns all its long numbers alike; numbers
of one register never turn.

The values decide, not the map: volts and hertz where a grid has them; nothing outside the table
of quantities; no number that is all but zero and yet not zero (what floats read the wrong way
usually are); counters that do not fall; and, seen over time, numbers that do not jump. A profile's
own order needs no proof: another one is named only where the own one has more against it. Where
two are equally good, both are named.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from collector.profile import ORDERS, TYPES, Profile, Register
from collector.quantities import quantities
from meterwatch.commissioning.plausible import (
    HERTZ,
    PHASE_VOLTAGES,
    VOLTS,
    Objection,
    Value,
    Verdict,
    judge,
    object_to,
)

OWN: Final = "ABCD"
"""The turn that leaves a profile as it is."""
SMALLEST: Final = 1e-10
"""A value nearer to 0, but not 0, was never measured."""
LARGEST_COUNTER: Final = 1e10
MOST_AGAINST: Final = 0.1
"""A fitting order has at most this share of its values against it."""
JUMPIER: Final = 4.0
"""Values that move this many times as much as under another order are read wrongly."""
NOTICEABLE: Final = 1e-3
"""Relative movement from which on it is compared at all."""

_USUAL: Final[dict[str, tuple[float, float]]] = {
    "temperature": (-60.0, 1600.0),
    "pressure": (-100.0, 40_000.0),
    "concentration": (0.0, 20_000.0),
    "thd": (0.0, 150.0),
}
"""Narrower than the table of quantities, by a part of the quantity's name."""


@dataclass(frozen=True, slots=True)
class Weight:
    """What speaks for and against one turn. ``telling``: values in a range that only the right
    order gives; ``movement``: how much the values jump between samples, relative, per value."""

    turn: str
    informative: int
    against: tuple[Objection, ...]
    telling: int
    movement: float

    @property
    def possible(self) -> bool:
        return self.informative > 0 and len(self.against) <= MOST_AGAINST * self.informative


@dataclass(frozen=True, slots=True)
class Choice:
    """``turns`` that fit, the likeliest first: one when it is clear, none when none fits (it is
    another profile, or nothing but zeros). ``own`` says whether the profile's order is among
    them."""

    turns: tuple[str, ...]
    weights: tuple[Weight, ...]

    @property
    def own(self) -> bool:
        return OWN in self.turns

    @property
    def other(self) -> str:
        """The one other turn that fits where the profile's own does not; else empty."""
        return self.turns[0] if len(self.turns) == 1 and not self.own else ""


def turned(order: str, turn: str) -> str:
    """``order`` after ``turn``: ``CDAB`` turned by ``CDAB`` is ``ABCD``."""
    return ORDERS[ORDERS.index(order) ^ ORDERS.index(turn)]


def reordered(profile: Profile, turn: str) -> Profile:
    """``profile`` with the order of every number of several registers turned."""
    return replace(profile, registers=tuple(_turned(one, turn) for one in profile.registers))


def _turned(register: Register, turn: str) -> Register:
    """With all of its parts."""
    return replace(
        register,
        order=turned(register.order, turn) if TYPES[register.type] > 1 else register.order,
        plus=_turned(register.plus, turn) if register.plus is not None else None,
        times=tuple(_turned(part, turn) for part in register.times),
        ten_to=_turned(register.ten_to, turn) if register.ten_to is not None else None,
    )


def long_numbers(profile: Profile) -> frozenset[str]:
    """Quantities whose numbers take several registers: only they have an order."""
    return frozenset(one.quantity for one in profile.registers if TYPES[one.type] > 1)


def named(profile: Profile, turn: str) -> str:
    """The order that the device then has, ``CDAB``; of a profile that mixes orders, all of them
    with a slash between."""
    found = {turned(one.order, turn) for one in profile.registers if TYPES[one.type] > 1}
    return "/".join(order for order in ORDERS if order in found)


def choose(
    decoded: Mapping[str, Sequence[Sequence[Value]]], quantities_of: Iterable[str]
) -> Choice:
    """``decoded``: for each turn the samples, each the device's values; ``quantities_of``: those
    of long numbers."""
    wanted = frozenset(quantities_of)
    seen = {
        value.quantity
        for samples in decoded.values()
        for sample in samples
        for value in sample
        if value.given and value.value != 0 and value.quantity in wanted
    }
    weights = [_weigh(turn, samples, seen) for turn, samples in decoded.items()]
    possible = [weight for weight in weights if weight.possible]
    if not possible:
        return Choice((), tuple(weights))
    fewest = min(len(weight.against) for weight in possible)
    best = [weight for weight in possible if len(weight.against) == fewest]
    most = max(weight.telling for weight in best)
    best = [weight for weight in best if weight.telling == most]
    calm = min(weight.movement for weight in best)
    if any(weight.movement > NOTICEABLE for weight in best):
        best = [one for one in best if one.movement <= max(JUMPIER * calm, NOTICEABLE)]
    best.sort(key=lambda weight: (weight.turn != OWN, weight.movement))
    return Choice(tuple(weight.turn for weight in best), tuple(weights))


def _weigh(
    turn: str, samples: Sequence[Sequence[Value]], seen: frozenset[str] | set[str]
) -> Weight:
    """``seen``: long numbers that have a value other than 0 under some turn."""
    series: dict[str, list[float]] = {name: [] for name in seen}
    against: dict[str, Objection] = {}
    telling = 0
    for sample in samples:
        long = [value for value in sample if value.quantity in seen]
        for value in long:
            series[value.quantity].append(value.value if value.given else math.nan)
        for objection in (*object_to(long), *_unusual(long)):
            against.setdefault(objection.quantity, objection)
        if judge(long) is Verdict.PLAUSIBLE:
            telling = max(telling, sum(_tells(value) for value in long))
    for name, numbers in series.items():
        bad = _falls(name, numbers)
        if bad is not None:
            against.setdefault(name, bad)
    moved = [_movement(numbers) for name, numbers in series.items() if name not in against]
    movement = sum(moved) / len(moved) if moved else 0.0
    return Weight(turn, len(seen), tuple(against.values()), telling - len(against), movement)


def _tells(value: Value) -> bool:
    """Voltages of higher grids are possible and tell nothing: there are so many of them that the
    bytes of a low one may well look like one."""
    if not value.given:
        return False
    low, high = HERTZ if value.quantity == "frequency" else VOLTS
    return (value.quantity == "frequency" or value.quantity in PHASE_VOLTAGES) and (
        low <= value.value <= high
    )


def _unusual(values: Iterable[Value]) -> Iterable[Objection]:
    """Possible by the table, but nothing that a meter shows."""
    for value in values:
        row = quantities()[value.quantity]
        low, high = row.low, LARGEST_COUNTER if row.kind == "counter" else row.high
        for part, usual in _USUAL.items():
            if part in value.quantity.split("."):
                low, high = max(low, usual[0]), min(high, usual[1])
        if not value.given:
            continue  # most such numbers are meant so, whatever another order makes of them
        if not low <= value.value <= high or 0 < abs(value.value) < SMALLEST:
            yield Objection(value.quantity, value.value, low, high, value.unit)


def _falls(name: str, numbers: Sequence[float]) -> Objection | None:
    """A counter that goes back while it is watched."""
    row = quantities()[name]
    if row.kind == "counter":
        for before, after in pairwise(numbers):
            if after < before:
                return Objection(name, after, before, row.high, row.unit)
    return None


def _movement(numbers: Sequence[float]) -> float:
    """Mean of the relative steps, 0 to 1 each."""
    steps = [
        abs(after - before) / scale
        for before, after in pairwise(numbers)
        if (scale := max(abs(before), abs(after))) > 0
    ]
    return sum(min(step, 1.0) for step in steps) / len(steps) if steps else 0.0
