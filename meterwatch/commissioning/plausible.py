"""Can a meter on a grid show these values? Pure.

A profile is *plausible* when phase voltages (or an unconnected phase at 0) and the frequency
are, and nothing is physically impossible; *undecided* when it has neither to go by. A map that
merely answers proves nothing: most meters answer any address.

All values are as the meter shows them, before any ratio.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final

from collector.model import Quality
from collector.quantities import quantities

VOLTS: Final = (45.0, 300.0)
"""A phase voltage at a meter: from a 57.7 V voltage transformer at its low end to 277 V."""
PRIMARY_VOLTS: Final = (400.0, 1_905.0, 3_464.0, 5_774.0, 11_547.0, 20_207.0, 63_509.0)
"""Phase voltages of higher grids (0.69, 3.3, 6, 10, 20, 35, 110 kV between phases), as a meter
shows them that was told its voltage transformers."""
PRIMARY_TOLERANCE: Final = 0.1
"""Higher grids keep 7 % (GB/T 12325); a wider band would be met by chance too often."""
HERTZ: Final = (45.0, 55.0)
UNCONNECTED: Final = 1.0
"""A phase voltage below this is a phase that is not wired, not a wrong map."""
PHASE_VOLTAGES: Final = ("voltage.l1", "voltage.l2", "voltage.l3")


class Phases(Enum):
    """How a profile's phases compare with the device's."""

    ALIKE = "alike"
    """Or it cannot be told."""
    FEWER = "fewer"
    """The device has fewer than the profile names."""
    MORE = "more"
    """The device has more: another profile, of the same values, reads them."""


class Verdict(IntEnum):
    """How well a profile fits; larger is better."""

    NO_ANSWER = 0
    IMPLAUSIBLE = 1
    UNDECIDED = 2
    PLAUSIBLE = 3


@dataclass(frozen=True, slots=True)
class Value:
    """One value in its canonical unit; NaN with quality ``NO_VALUE`` where it has none."""

    quantity: str
    value: float
    unit: str
    quality: int

    @property
    def given(self) -> bool:
        return self.quality == Quality.GOOD and not math.isnan(self.value)


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a value cannot be: ``value`` lies outside ``low`` to ``high`` (canonical unit)."""

    quantity: str
    value: float
    low: float
    high: float
    unit: str


def grid_voltage(volts: float) -> bool:
    """Whether a phase of some grid has this voltage."""
    low, high = VOLTS
    return low <= volts <= high or any(
        abs(volts - nominal) <= PRIMARY_TOLERANCE * nominal for nominal in PRIMARY_VOLTS
    )


def object_to(values: Iterable[Value]) -> Iterable[Objection]:
    """Values that cannot be, given that a meter on a grid shows them."""
    for value in values:
        if not value.given:
            continue
        row = quantities()[value.quantity]
        low, high = row.low, row.high
        if value.quantity == "frequency":
            low, high = HERTZ
        elif value.quantity in PHASE_VOLTAGES and value.value >= UNCONNECTED:
            if grid_voltage(value.value):
                continue
            low, high = VOLTS
        if not low <= value.value <= high:
            yield Objection(value.quantity, value.value, low, high, value.unit)


def judge(values: Sequence[Value]) -> Verdict:
    """Of values to which there is no objection."""
    telling = [
        value
        for value in values
        if value.given and (value.quantity == "frequency" or value.quantity in PHASE_VOLTAGES)
    ]
    if any(value.value >= UNCONNECTED for value in telling):
        return Verdict.PLAUSIBLE
    return Verdict.IMPLAUSIBLE if telling else Verdict.UNDECIDED


def phases(values: Iterable[Value], named: Collection[str]) -> Phases:
    """Whether the device has the phases that a profile names (its quantities). A meter with two
    elements lacks one of the three, one with a single phase both others."""
    shown = {value.quantity for value in values}.intersection(PHASE_VOLTAGES)
    wanted = set(named).intersection(PHASE_VOLTAGES)
    return Phases.FEWER if len(shown) == 1 and len(wanted) == 3 else Phases.ALIKE
