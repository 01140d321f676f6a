"""What a meter showed over a while, reduced to what a diagnosis of its wiring needs. Pure.

Angles come from sums over the whole while (of power, reactive power and U x I), so that an hour
of strong load says more than a moment of weak one. Units: V, A, kW, kvar, kVA, degrees.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

NAN: Final = math.nan
Values = Mapping[str, float]
"""By quantity, in canonical units, on the primary side; what is not known is missing or NaN."""


@dataclass(frozen=True, slots=True)
class Phase:
    """One measuring element. NaN: not known. ``volts``, ``amps``: medians; ``power``,
    ``reactive``: means of what was shown; ``apparent``: mean of U x I; ``factor``: mean power
    factor as the meter shows it, without its sign; ``negative``: share of samples in which the
    power was below 0."""

    number: int
    volts: float
    amps: float
    power: float
    reactive: float
    apparent: float
    factor: float
    negative: float
    magnitude: float
    """Mean of the power without its sign."""

    @property
    def cosine(self) -> float:
        """Power over U x I; beyond 1 where the two do not belong together."""
        return self.power / self.apparent if self.apparent > 0 else NAN

    def angles(self) -> tuple[float, ...]:
        """By how much the current lags its voltage, -180 to 180. One angle where the meter tells
        reactive power, else the two that its power allows; none where neither is known."""
        if math.isnan(self.power):
            return ()
        if not math.isnan(self.reactive) and (self.power or self.reactive):
            return (math.degrees(math.atan2(self.reactive, self.power)),)
        if math.isnan(self.cosine):
            return ()
        angle = math.degrees(math.acos(max(-1.0, min(1.0, self.cosine))))
        return (angle, -angle)


def reduced(samples: Sequence[Values]) -> tuple[Phase, Phase, Phase]:
    """The three elements over all samples."""
    return _phase(samples, 1), _phase(samples, 2), _phase(samples, 3)


def series(samples: Sequence[Values], quantity: str) -> list[float]:
    """The known values of one quantity, in order."""
    found = (sample.get(quantity, NAN) for sample in samples)
    return [value for value in found if not math.isnan(value)]


def middle(numbers: Sequence[float]) -> float:
    return median(numbers) if numbers else NAN


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers) if numbers else NAN


def _phase(samples: Sequence[Values], number: int) -> Phase:
    name = f"l{number}"
    volts = series(samples, f"voltage.{name}")
    amps = [abs(value) for value in series(samples, f"current.{name}")]
    power = series(samples, f"power.active.{name}")
    factor = [abs(value) for value in series(samples, f"power.factor.{name}")]
    products = [
        product / 1000 for sample in samples if not math.isnan(product := _product(sample, name))
    ]
    apparent = _mean(products)
    if not power and factor:  # a meter that shows only the factor of a phase
        power = [
            sample.get(f"power.factor.{name}", NAN) * _product(sample, name) / 1000
            for sample in samples
        ]
        power = [value for value in power if not math.isnan(value)]
    return Phase(
        number,
        middle(volts),
        middle(amps),
        _mean(power),
        _mean(series(samples, f"power.reactive.{name}")),
        apparent,
        _mean(factor),
        sum(value < 0 for value in power) / len(power) if power else NAN,
        _mean([abs(value) for value in power]),
    )


def _product(sample: Values, name: str) -> float:
    return sample.get(f"voltage.{name}", NAN) * abs(sample.get(f"current.{name}", NAN))
