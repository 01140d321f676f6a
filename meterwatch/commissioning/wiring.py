"""What an electrician connected wrongly, from what the meter shows. Pure.

``diagnose`` takes samples of a minute (or one) and says what is wrong, what may be, and what
cannot be told, each with the numbers it was seen by. Three levels, and the line between them:

- FAULT: no working installation shows this.
- DOUBT: most likely wrong, but some working installation shows it, too; what to look at is said.
- NOTE: cannot be told, and what would make it possible.

A power below zero is a fault only where somebody said that nothing feeds in. Phases that carry
too little are not judged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise, permutations
from typing import Final

from meterwatch.commissioning.connections import causes
from meterwatch.commissioning.findings import Check, Diagnosis, Finding, Installed, Kind, Level
from meterwatch.commissioning.plausible import HERTZ, VOLTS, grid_voltage
from meterwatch.commissioning.three_phase import NAN, Phase, Values, middle, reduced, series

ABSENT_SHARE: Final = 0.1
"""A voltage below this share of the highest is absent."""
UNLIKE_VOLTS: Final = 1.25
"""Highest over lowest voltage: both within 10 % of nominal come to 1.22 at most (GB/T 12325 and
EN 50160 allow less)."""
SQRT3_TOLERANCE: Final = 0.06
GRID_HERTZ: Final = (49.0, 51.0)
LEAST_AMPS: Final = 0.1
"""Of a phase whose angle is judged, on the meter's side of the transformers: 2 % of 5 A."""
NO_AMPS: Final = 0.01
"""Of the largest current: what is below it is none."""
MOST_SECONDARY_AMPS: Final = 7.5
"""Transformers give 5 A (or 1 A) at their nominal current; half as much again is an overload."""
MOST_SECONDARY_VOLTS: Final = 150.0
"""Voltage transformers give 100 V between phases, some 110 or 120."""
POWER_TOLERANCE: Final = 0.1
FACTOR_TOLERANCE: Final = 0.06
LEAST_FACTOR: Final = 0.3
"""Below this power factor its own rounding is too large to reckon with."""
BACKWARDS: Final = -0.03
"""A cosine below this is power backwards, above it an angle of about 90 degrees."""
MIXED: Final = (0.2, 0.8)
STEPS_SEEN: Final = 10
COUNTER_TOLERANCE: Final = 0.25
ODD_ANGLE: Final = 60.0
ODD_SPREAD: Final = 90.0
SAME_SPREAD: Final = 15.0


def diagnose(
    samples: Sequence[Values], installed: Installed, times: Sequence[float] = ()
) -> Diagnosis:
    """``samples`` on the primary side, one after another; ``times`` in seconds, where counters
    are to be compared with power."""
    phases = reduced(samples)
    hertz = middle(series(samples, "frequency"))
    elements = phases[:1] if installed.single_phase else phases
    findings = [*_voltages(elements, installed), *_frequency(hertz)]
    looked = set()
    if any(phase.volts >= 0 for phase in elements):
        looked.add(Check.VOLTAGE)
    if not math.isnan(hertz):
        looked.add(Check.FREQUENCY)
    currents = _currents(elements, installed)
    findings += currents
    if any(phase.amps >= 0 for phase in elements):
        looked.add(Check.CURRENT)
    loaded = [phase for phase in elements if _judged(phase, installed)]
    powers = [] if installed.three_wire else _powers(loaded, samples)
    findings += powers
    if any(not math.isnan(_quotient(phase)) for phase in loaded):
        looked.add(Check.POWER)
    scaled = any(finding.kind is Kind.POWER_SCALE for finding in powers)
    directions = _directions(elements, loaded, installed, scaled=scaled)
    findings += directions
    if loaded and not installed.three_wire and all(phase.angles() for phase in loaded):
        looked.add(Check.DIRECTION)
    findings += _ratios(elements, installed)
    if not math.isnan(_clamped(installed)):
        looked.add(Check.RATIO)
    counters = _counters(samples, times)
    findings += counters
    if len(series(samples, "energy.active.import")) > 1:
        looked.add(Check.COUNTER)
    findings.sort(key=lambda finding: -finding.level)
    return Diagnosis(tuple(findings), frozenset(looked), phases)


def _voltages(elements: Sequence[Phase], installed: Installed) -> list[Finding]:
    known = [phase for phase in elements if not math.isnan(phase.volts)]
    if not known:
        return []
    top = max(phase.volts for phase in known)
    if top / installed.voltage_ratio < VOLTS[0] * ABSENT_SHARE * 2:
        return [Finding(Kind.NO_VOLTAGE, Level.FAULT, (), {"volts": top})]
    absent = [phase for phase in known if phase.volts < ABSENT_SHARE * top]
    present = [phase for phase in known if phase not in absent]
    most = max((phase.amps for phase in known if phase.amps >= 0), default=0.0)
    if len(absent) == 2 and not any(phase.amps > NO_AMPS * most for phase in absent):
        # Also what a meter with one phase connected on purpose shows.
        names = tuple(phase.number for phase in absent)
        return [Finding(Kind.SINGLE_PHASE, Level.DOUBT, names, {"volts": top})]
    found: list[Finding] = []
    for phase in absent:
        carries = phase.amps > NO_AMPS * most and phase.amps / installed.current_ratio > LEAST_AMPS
        kind = Kind.VOLTAGE_LEAD if carries else Kind.PHASE_MISSING
        numbers = {"volts": phase.volts, "others": top, "amps": phase.amps}
        found.append(Finding(kind, Level.FAULT, (phase.number,), numbers))
    return found + _heights(present, installed)


def _heights(present: Sequence[Phase], installed: Installed) -> list[Finding]:
    """Of phases that have a voltage: is it one that a grid has, and are they alike?"""
    low, high = min(present, key=lambda p: p.volts), max(present, key=lambda p: p.volts)
    numbers = {"low": low.volts, "high": high.volts}
    if len(present) == 3 and not installed.three_wire:
        upper = sorted(phase.volts for phase in present)[1:]
        steps = [volts / low.volts / math.sqrt(3) for volts in upper]
        if all(abs(step - 1) < SQRT3_TOLERANCE for step in steps):
            return [Finding(Kind.NEUTRAL_CROSSED, Level.FAULT, (low.number,), numbers)]
    odd = [p for p in present if not grid_voltage(p.volts / installed.voltage_ratio)]
    if odd:
        worst = max(odd, key=lambda phase: abs(math.log(phase.volts / 230)))
        shown = {"volts": worst.volts, "low": VOLTS[0], "high": VOLTS[1]}
        return [Finding(Kind.VOLTAGE_ODD, Level.FAULT, tuple(p.number for p in odd), shown)]
    if high.volts > UNLIKE_VOLTS * low.volts:
        names = (low.number, high.number)
        return [Finding(Kind.VOLTAGES_UNLIKE, Level.DOUBT, names, numbers)]
    if 340 <= low.volts <= 460 and installed.voltage_ratio == 1 and not installed.three_wire:
        return [Finding(Kind.LINE_VOLTAGE, Level.DOUBT, (), numbers)]
    return []


def _frequency(hertz: float) -> list[Finding]:
    if math.isnan(hertz):
        return []
    for (low, high), kind, level in (
        (HERTZ, Kind.FREQUENCY_IMPOSSIBLE, Level.FAULT),
        (GRID_HERTZ, Kind.FREQUENCY_ODD, Level.DOUBT),
    ):
        if not low <= hertz <= high:
            return [Finding(kind, level, (), {"hertz": hertz, "low": low, "high": high})]
    return []


def _currents(elements: Sequence[Phase], installed: Installed) -> list[Finding]:
    """A phase without any current while others carry is a question, never a fault: there may be
    nothing switched on."""
    known = [phase for phase in elements if not math.isnan(phase.amps)]
    if not known:
        return []
    most = max(phase.amps for phase in known)
    if most / installed.current_ratio < LEAST_AMPS:
        return [Finding(Kind.NO_LOAD, Level.NOTE, (), {"amps": most})]
    none = [
        p
        for p in known
        if not p.volts < VOLTS[0] * installed.voltage_ratio * 0.5
        and p.amps <= NO_AMPS * most
        and p.amps / installed.current_ratio < LEAST_AMPS / 2
    ]
    if installed.three_wire:  # two elements: the middle phase has no transformer
        none = [phase for phase in none if phase.number != 2]
    return [
        Finding(Kind.NO_CURRENT, Level.DOUBT, (p.number,), {"amps": p.amps, "others": most})
        for p in none
    ]


def _judged(phase: Phase, installed: Installed) -> bool:
    """Whether a phase carries enough for its angle to mean something."""
    secondary = phase.amps / installed.current_ratio
    return secondary >= LEAST_AMPS and phase.volts / installed.voltage_ratio >= VOLTS[0]


def _quotient(phase: Phase) -> float:
    """The power shown over the power that U, I and power factor make; NaN where not known. A
    meter without factors still cannot show more power than U x I."""
    if phase.factor >= LEAST_FACTOR:
        return phase.magnitude / (phase.apparent * phase.factor)
    if math.isnan(phase.factor) and abs(phase.cosine) > 1:
        return phase.magnitude / phase.apparent
    return NAN


def _powers(loaded: Sequence[Phase], samples: Sequence[Values]) -> list[Finding]:
    quotients = {p.number: q for p in loaded if not math.isnan(q := _quotient(p))}
    wrong = {n: q for n, q in quotients.items() if abs(q - 1) > POWER_TOLERANCE}
    found: list[Finding] = []
    if wrong:
        factors = list(quotients.values())
        numbers = _seen(next(p for p in loaded if p.number in wrong))
        if max(factors) <= min(factors) * (1 + POWER_TOLERANCE):
            scale = {"factor": middle(factors), **numbers}
            found.append(Finding(Kind.POWER_SCALE, Level.FAULT, tuple(quotients), scale))
        elif (order := _elsewhere(loaded)) is not None:
            found.append(Finding(Kind.POWER_ELSEWHERE, Level.FAULT, order, numbers))
        else:
            found.append(Finding(Kind.POWER_UNLIKE, Level.DOUBT, tuple(wrong), numbers))
    total = middle(series(samples, "power.active"))
    powers = [middle(series(samples, f"power.active.l{n}")) for n in (1, 2, 3)]
    apparent = sum(phase.apparent for phase in loaded)
    if loaded and not any(math.isnan(value) for value in (total, *powers)):
        added = sum(powers)
        if abs(abs(total) - abs(added)) > POWER_TOLERANCE * max(apparent, abs(total)):
            both = {"total": total, "added": added}
            found.append(Finding(Kind.TOTAL_UNLIKE, Level.DOUBT, (), both))
    return found


def _seen(phase: Phase) -> dict[str, float]:
    return {
        "phase": float(phase.number),
        "power": phase.power,
        "volts": phase.volts,
        "amps": phase.amps,
        "cosine": phase.factor,
        "reckoned": phase.apparent * (1.0 if math.isnan(phase.factor) else phase.factor),
    }


def _elsewhere(loaded: Sequence[Phase]) -> tuple[int, ...] | None:
    """The order of phases in which the powers belong to the currents, when there is one."""
    expected = [phase.apparent * phase.factor for phase in loaded]
    for order in permutations(range(len(loaded))):
        if all(
            abs(loaded[k].magnitude / expected[j] - 1) <= POWER_TOLERANCE
            for k, j in enumerate(order)
        ):
            return tuple(loaded[j].number for j in order)
    return None


def _directions(
    elements: Sequence[Phase], loaded: Sequence[Phase], installed: Installed, *, scaled: bool
) -> list[Finding]:
    """Which way power flows, and whether each voltage meets its own current."""
    if installed.three_wire:
        return [Finding(Kind.THREE_WIRE, Level.NOTE)]
    found: list[Finding] = []
    idle = [p for p in elements if p not in loaded and p.volts > 0 and not math.isnan(p.amps)]
    if idle and any(p.amps >= 0 for p in elements):
        least = LEAST_AMPS * installed.current_ratio
        names = tuple(phase.number for phase in idle)
        found.append(Finding(Kind.LOW_LOAD, Level.NOTE, names, {"least": least}))
    if not loaded:
        return found
    angles = {phase.number: phase.angles() for phase in loaded}
    if not all(angles.values()) or (scaled and any(len(one) > 1 for one in angles.values())):
        return [*found, Finding(Kind.NO_POWERS, Level.NOTE)]
    turning = tuple(p.number for p in loaded if MIXED[0] < p.negative < MIXED[1])
    if turning:
        return [*found, Finding(Kind.CHANGING, Level.NOTE, turning)]
    back = [phase for phase in loaded if _direction(phase) < BACKWARDS]
    if back:
        return [*found, _backwards(back, angles, installed)]
    odd = _odd(loaded, angles)
    return [*found, odd] if odd is not None else found


def _direction(phase: Phase) -> float:
    """The cosine of its angle, from reactive power where that is known."""
    return math.cos(math.radians(phase.angles()[0]))


def _backwards(
    back: Sequence[Phase], angles: Mapping[int, Sequence[float]], installed: Installed
) -> Finding:
    names = tuple(phase.number for phase in back)
    numbers = {f"power{phase.number}": phase.power for phase in back}
    if installed.feeds_in:
        return Finding(Kind.FEEDS_IN, Level.NOTE, names, numbers)
    level = Level.FAULT if installed.feeds_in is False else Level.DOUBT
    explained = tuple(causes(angles))
    kind = Kind.CONNECTED_WRONGLY if explained else Kind.BACKWARDS
    shown = {f"angle{n}": abs(one[0]) if len(one) > 1 else one[0] for n, one in angles.items()}
    return Finding(kind, level, names, {**numbers, **shown}, explained)


def _odd(loaded: Sequence[Phase], angles: Mapping[int, Sequence[float]]) -> Finding | None:
    """All power flows forwards, and yet another connection would explain the angles better: a
    question, because capacitors alone look like that too."""
    if len(loaded) < 2 or any(len(one) > 1 for one in angles.values()):
        return None
    shown = [one[0] for one in angles.values()]
    strange = all(abs(angle) > ODD_ANGLE for angle in shown)
    if not strange and max(shown) - min(shown) <= ODD_SPREAD:
        return None
    better = [c for c in causes(angles) if (c.crossed or c.reversed) and c.spread <= SAME_SPREAD]
    if not better:
        return None
    numbers = {f"angle{n}": one[0] for n, one in angles.items()}
    return Finding(Kind.ODD_ANGLES, Level.DOUBT, tuple(angles), numbers, tuple(better))


def _clamped(installed: Installed) -> float:
    return next((amps for amps in installed.clamp if amps > 0), NAN)


def _ratios(elements: Sequence[Phase], installed: Installed) -> list[Finding]:
    found: list[Finding] = []
    amps = max((phase.amps for phase in elements if phase.amps >= 0), default=NAN)
    ratio = installed.current_ratio
    if ratio > 1 and amps / ratio > MOST_SECONDARY_AMPS:
        numbers = {"secondary": amps / ratio, "ratio": ratio, "amps": amps}
        found.append(Finding(Kind.RATIO_TWICE, Level.FAULT, (), numbers))
    volts = max((phase.volts for phase in elements if phase.volts >= 0), default=NAN)
    if installed.voltage_ratio > 1 and volts / installed.voltage_ratio > MOST_SECONDARY_VOLTS:
        shown = volts / installed.voltage_ratio
        numbers = {"secondary": shown, "ratio": installed.voltage_ratio, "volts": volts}
        found.append(Finding(Kind.VOLTAGE_RATIO_TWICE, Level.FAULT, (), numbers))
    for phase in elements:
        clamp = installed.clamp[phase.number - 1]
        if clamp > 0 and phase.amps >= 0 and abs(phase.amps / clamp - 1) > POWER_TOLERANCE:
            numbers = {"amps": phase.amps, "clamp": clamp, "factor": phase.amps / clamp}
            numbers["ratio"] = ratio
            found.append(Finding(Kind.RATIO_WRONG, Level.FAULT, (phase.number,), numbers))
    if not found and math.isnan(_clamped(installed)):
        found.append(Finding(Kind.RATIO_UNSEEN, Level.NOTE, (), {"ratio": ratio}))
    return found


def _counters(samples: Sequence[Values], times: Sequence[float]) -> list[Finding]:
    """Counters never fall; and where one moved often enough, by what the power brought."""
    for name in sorted({name for sample in samples for name in sample}):
        if not name.startswith("energy."):
            continue
        for before, after in pairwise(series(samples, name)):
            if after < before:
                return [
                    Finding(Kind.COUNTER_BACK, Level.FAULT, (), {"before": before, "after": after})
                ]
    pairs = [
        (time, sample["energy.active.import"], sample["power.active"])
        for time, sample in zip(times, samples, strict=False)
        if not math.isnan(sample.get("energy.active.import", NAN) + sample.get("power.active", NAN))
    ]
    if len(pairs) < 2:
        return []
    counted = pairs[-1][1] - pairs[0][1]
    steps = sum(b[1] > a[1] for a, b in pairwise(pairs))
    brought = sum((b[0] - a[0]) / 3600 * (a[2] + b[2]) / 2 for a, b in pairwise(pairs))
    if steps < STEPS_SEEN or brought <= 0 or any(power <= 0 for _, _, power in pairs):
        return [Finding(Kind.COUNTER_STILL, Level.NOTE, (), {"steps": float(steps)})]
    if abs(counted / brought - 1) <= COUNTER_TOLERANCE:
        return []
    numbers = {"counted": counted, "brought": brought, "factor": counted / brought}
    return [Finding(Kind.COUNTER_RATE, Level.DOUBT, (), numbers)]
