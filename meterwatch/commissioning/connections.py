"""Which exchange of wires would explain the angles that a meter shows? Pure.

The measuring element of phase k gets the voltage of k and, when all is well, the current of k.
With the current of j it sees 120 degrees more for each step from k to j; with the voltage of j as
much less; with a current transformer the wrong way round, 180 more. What is left when that is
taken off must be angles that loads have, and loads of one installation have about the same. Every
exchange of currents, every exchange of two voltages and every reversal is tried (72 of them) and
scored by how much had to go wrong and how unlike the loads would then be.

The supply's phases are supposed to follow each other L1, L2, L3. Where they do not (a meter that
is connected rightly works all the same), exchanged currents look like exchanged voltages and the
other way round. A shift of all three is the same on either side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import Final

LOAD_ANGLES: Final = (-50.0, 75.0)
"""Loads lie between power factors of 0.64 leading and 0.26 lagging when nothing else is known."""
SPREAD_PER_FAULT: Final = 30.0
"""Loads whose angles differ by this much are as unlikely as one more fault."""
MARGIN: Final = 0.75
"""A cause is alone when the next one is less likely by this."""


@dataclass(frozen=True, slots=True)
class Cause:
    """``gets`` names for each element the phase whose current (with ``voltages``: whose voltage)
    it gets; ``reversed`` the elements whose current flows backwards. ``spread``: how unlike the
    loads then are, degrees."""

    gets: Mapping[int, int]
    reversed: tuple[int, ...]
    score: float
    spread: float
    voltages: bool = False

    @property
    def crossed(self) -> tuple[int, ...]:
        """The elements with another phase's current or voltage."""
        return tuple(element for element, phase in self.gets.items() if element != phase)


def causes(angles: Mapping[int, Sequence[float]]) -> list[Cause]:
    """All that explain ``angles`` (of each element that carries a load, the angles that its values
    allow), the likeliest first, down to those as good as it. With no fault among them as a cause
    without ``crossed`` and ``reversed``."""
    elements = sorted(angles)
    found: list[Cause] = []
    for phases, voltages in product(permutations(elements), (False, True)):
        gets = dict(zip(elements, phases, strict=True))
        if voltages and sum(element != phase for element, phase in gets.items()) != 2:
            continue  # nothing exchanged, or all shifted: the same as with currents
        for signs in product((False, True), repeat=len(elements)):
            spread = _spread(elements, phases, signs, angles, -1 if voltages else 1)
            if spread is None:
                continue
            turned = tuple(e for e, sign in zip(elements, signs, strict=True) if sign)
            score = _effort(gets, turned) + spread / SPREAD_PER_FAULT
            found.append(Cause(gets, turned, score, spread, voltages))
    found.sort(key=lambda cause: cause.score)
    return [cause for cause in found if cause.score < found[0].score + MARGIN]


def _effort(gets: Mapping[int, int], turned: Sequence[int]) -> float:
    """How much had to go wrong. All transformers the same wrong way round is one mistake and a
    half, and so are two exchanged wires."""
    crossed = sum(element != phase for element, phase in gets.items())
    exchange = {0: 0.0, 2: 1.5, 3: 2.0}[crossed]
    everywhere = len(turned) == len(gets) > 1
    return exchange + (1.5 if everywhere else float(len(turned)))


def _spread(
    elements: Sequence[int],
    phases: Sequence[int],
    signs: Sequence[bool],
    angles: Mapping[int, Sequence[float]],
    side: int,
) -> float | None:
    """The least difference between the loads' angles, None where one cannot be a load's."""
    options: list[list[float]] = []
    for element, phase, sign in zip(elements, phases, signs, strict=True):
        shift = side * 120.0 * (phase - element) + (180.0 if sign else 0.0)
        loads = [wrapped(angle - shift) for angle in angles[element]]
        loads = [load for load in loads if LOAD_ANGLES[0] <= load <= LOAD_ANGLES[1]]
        if not loads:
            return None
        options.append(loads)
    return min((max(chosen) - min(chosen) for chosen in product(*options)), default=None)


def wrapped(angle: float) -> float:
    """Into -180 to 180."""
    return math.remainder(angle, 360.0)
