"""The vocabulary of a diagnosis: what can be found, how sure it is, by which check. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Final

from meterwatch.commissioning.connections import Cause
from meterwatch.commissioning.three_phase import NAN, Phase


class Level(IntEnum):
    NOTE = 1
    DOUBT = 2
    FAULT = 3


class Check(StrEnum):
    """What is looked at, in the order of the sheet."""

    VOLTAGE = "voltage"
    FREQUENCY = "frequency"
    CURRENT = "current"
    POWER = "power"
    DIRECTION = "direction"
    RATIO = "ratio"
    COUNTER = "counter"


class Kind(StrEnum):
    """What can be found; ``CHECK_OF`` says by which check."""

    PHASE_MISSING = "phase-missing"
    VOLTAGE_LEAD = "voltage-lead"
    SINGLE_PHASE = "single-phase"
    VOLTAGE_ODD = "voltage-odd"
    VOLTAGES_UNLIKE = "voltages-unlike"
    NEUTRAL_CROSSED = "neutral-crossed"
    LINE_VOLTAGE = "line-voltage"
    NO_VOLTAGE = "no-voltage"
    FREQUENCY_IMPOSSIBLE = "frequency-impossible"
    FREQUENCY_ODD = "frequency-odd"
    NO_CURRENT = "no-current"
    NO_LOAD = "no-load"
    LOW_LOAD = "low-load"
    POWER_SCALE = "power-scale"
    POWER_ELSEWHERE = "power-elsewhere"
    POWER_UNLIKE = "power-unlike"
    TOTAL_UNLIKE = "total-unlike"
    CONNECTED_WRONGLY = "connected-wrongly"
    BACKWARDS = "backwards"
    FEEDS_IN = "feeds-in"
    ODD_ANGLES = "odd-angles"
    CHANGING = "changing"
    THREE_WIRE = "three-wire"
    NO_POWERS = "no-powers"
    RATIO_TWICE = "ratio-twice"
    VOLTAGE_RATIO_TWICE = "voltage-ratio-twice"
    RATIO_WRONG = "ratio-wrong"
    RATIO_UNSEEN = "ratio-unseen"
    COUNTER_BACK = "counter-back"
    COUNTER_RATE = "counter-rate"
    COUNTER_STILL = "counter-still"


CHECK_OF: Final[Mapping[Kind, Check]] = {
    **dict.fromkeys(
        (
            Kind.PHASE_MISSING,
            Kind.VOLTAGE_LEAD,
            Kind.SINGLE_PHASE,
            Kind.VOLTAGE_ODD,
            Kind.VOLTAGES_UNLIKE,
            Kind.NEUTRAL_CROSSED,
            Kind.LINE_VOLTAGE,
            Kind.NO_VOLTAGE,
        ),
        Check.VOLTAGE,
    ),
    **dict.fromkeys((Kind.FREQUENCY_IMPOSSIBLE, Kind.FREQUENCY_ODD), Check.FREQUENCY),
    **dict.fromkeys((Kind.NO_CURRENT, Kind.NO_LOAD), Check.CURRENT),
    **dict.fromkeys(
        (Kind.POWER_SCALE, Kind.POWER_ELSEWHERE, Kind.POWER_UNLIKE, Kind.TOTAL_UNLIKE),
        Check.POWER,
    ),
    **dict.fromkeys(
        (
            Kind.LOW_LOAD,
            Kind.CONNECTED_WRONGLY,
            Kind.BACKWARDS,
            Kind.FEEDS_IN,
            Kind.ODD_ANGLES,
            Kind.CHANGING,
            Kind.THREE_WIRE,
            Kind.NO_POWERS,
        ),
        Check.DIRECTION,
    ),
    **dict.fromkeys(
        (Kind.RATIO_TWICE, Kind.VOLTAGE_RATIO_TWICE, Kind.RATIO_WRONG, Kind.RATIO_UNSEEN),
        Check.RATIO,
    ),
    **dict.fromkeys((Kind.COUNTER_BACK, Kind.COUNTER_RATE, Kind.COUNTER_STILL), Check.COUNTER),
}


@dataclass(frozen=True, slots=True)
class Installed:
    """What is known of the installation. ``voltage_ratio``, ``current_ratio``: what values were
    multiplied by (1 where the meter shows primary values). ``feeds_in``: whether anything
    (photovoltaics, a generator) can feed in; None: nobody said. ``clamp``: amperes in each phase's
    conductor by a clamp meter, NaN where not measured."""

    voltage_ratio: float = 1.0
    current_ratio: float = 1.0
    feeds_in: bool | None = None
    three_wire: bool = False
    single_phase: bool = False
    clamp: tuple[float, float, float] = (NAN, NAN, NAN)


@dataclass(frozen=True, slots=True)
class Finding:
    """``phases`` it is about (1 to 3), ``numbers`` it was seen by; ``causes`` what explains it,
    where that is a question of which wire is where."""

    kind: Kind
    level: Level
    phases: tuple[int, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)
    causes: tuple[Cause, ...] = ()

    @property
    def check(self) -> Check:
        return CHECK_OF[self.kind]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """``findings``, the gravest first; ``looked_at``: the checks for which there were values."""

    findings: tuple[Finding, ...]
    looked_at: frozenset[Check]
    phases: tuple[Phase, Phase, Phase]

    def level(self, check: Check) -> Level | None:
        """The gravest finding of ``check``; None when it is in order. A check for which there
        were no values is a note."""
        found = [one.level for one in self.findings if one.check is check]
        if found:
            return max(found)
        return None if check in self.looked_at else Level.NOTE

    @property
    def worst(self) -> Level | None:
        return max((one.level for one in self.findings), default=None)
