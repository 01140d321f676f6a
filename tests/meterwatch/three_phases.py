"""A small honest model of a three-phase installation and of a meter in it.

Complex phasors: each load has a voltage to neutral and an angle; currents are what follows. A
``Wiring`` says which voltage and which current each of the meter's elements gets, and which way
round. The meter multiplies what it gets and knows nothing else: everything it shows follows from
the physics, nothing from the diagnosis under test.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

NOMINAL = 230.0


@dataclass(frozen=True)
class Load:
    """What flows in one phase: amperes and by how many degrees the current lags (leads: below 0;
    beyond 90: it feeds in)."""

    amps: float
    lag: float = 25.0


@dataclass(frozen=True)
class Wiring:
    """``voltages[k]`` and ``currents[k]``: the phase (0 to 2) that element k is connected to,
    None for none; ``reversed``: elements whose transformer is the wrong way round. ``neutral``:
    the phase that is on the neutral terminal, where it is exchanged with the neutral."""

    voltages: Sequence[int | None] = (0, 1, 2)
    currents: Sequence[int | None] = (0, 1, 2)
    reversed: Sequence[int] = ()
    neutral: int | None = None


@dataclass(frozen=True)
class Site:
    loads: tuple[Load, Load, Load]
    volts: tuple[float, float, float] = (NOMINAL, NOMINAL, NOMINAL)
    hertz: float = 50.0
    wiring: Wiring = field(default_factory=Wiring)
    reactive: bool = True
    """The meter tells reactive power of each phase."""
    factors: bool = True


def shown(site: Site) -> dict[str, float]:
    """What the meter shows, in canonical units."""
    turn = [cmath.rect(1, math.radians(-120 * k)) for k in range(3)]
    u = [volts * step for volts, step in zip(site.volts, turn, strict=True)]
    i = [
        load.amps * step * cmath.rect(1, math.radians(-load.lag))
        for load, step in zip(site.loads, turn, strict=True)
    ]
    wired = site.wiring
    values = {"frequency": site.hertz}
    total = 0j
    for k in range(3):
        volt, amp = _voltage(u, wired, k), 0j
        if (at := wired.currents[k]) is not None:
            amp = -i[at] if k in wired.reversed else i[at]
        power = volt * amp.conjugate() / 1000
        total += power
        name = f"l{k + 1}"
        apparent = abs(volt) * abs(amp) / 1000
        values[f"voltage.{name}"] = abs(volt)
        values[f"current.{name}"] = abs(amp)
        values[f"power.active.{name}"] = power.real
        if site.reactive:
            values[f"power.reactive.{name}"] = power.imag
        if site.factors:
            values[f"power.factor.{name}"] = power.real / apparent if apparent else 1.0
    return values | {"power.active": total.real, "power.reactive": total.imag}


def _voltage(u: Sequence[complex], wired: Wiring, element: int) -> complex:
    at = wired.voltages[element]
    if at is None:
        return 0j
    if wired.neutral is None:
        return u[at]
    # the neutral terminal is at a phase's potential, and that phase's terminal at the neutral's
    here = 0j if at == wired.neutral else u[at]
    return here - u[wired.neutral]
