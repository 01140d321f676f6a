"""The three plants of the park: what every metering place shows at any moment. Pure.

A place is a table quantity -> function of time, in canonical units, as the place really is
(primary values; a meter behind transformers shows less, which is the meter's affair). Everything
that can be changed from outside, a press, the power of a treatment unit, hangs on a ``Timeline``
in ``Plant.settings``; everything else follows from the time of day and the seed.

The figures are those of mid-sized plants of their kind; they belong to nobody. The analyser and
the furnace answer within seconds instead of minutes, so that a minute's demo shows them.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from meterwatch.simulator.curves import (
    MINUTE,
    SECOND,
    Counter,
    Flow,
    Knots,
    Load,
    Switched,
    Timeline,
    Total,
    wander,
)

Measures = Mapping[str, Callable[[int], float]]
"""Quantity -> its value at a time (UTC ms), in the quantity's canonical unit."""

COOLING_S: Final = 2.5
"""Seconds in which two thirds of a furnace's effect are gone (in reality: minutes)."""


PHASES: Final = {1: 1.04 / 3, 2: 0.99 / 3, 3: 0.97 / 3}
"""How a load spreads over the phases."""


@dataclass
class Plant:
    """One site: its places, the settings that the script turns, the counters it may reset."""

    opened: int
    seed: int
    settings: dict[str, Timeline] = field(default_factory=dict)
    counters: dict[tuple[str, str], Counter] = field(default_factory=dict)
    places: dict[str, dict[str, Callable[[int], float]]] = field(default_factory=dict)

    def setting(self, name: str) -> Timeline:
        return self.settings.setdefault(name, Timeline())

    def electric(
        self, place: str, flow: Flow, *, factor: float = 0.92, volts: float = 230.0
    ) -> None:
        """A place where electricity is metered: three phases, ``flow`` in kW, power factor."""
        seed = self._seed(place)
        tangent = math.tan(math.acos(factor))
        start = 20_000 + 1_000 * (seed % 400) + (seed % 97) / 100

        def phases(name: str, value: Callable[[int, int], float]) -> None:
            for phase in PHASES:
                self.measured(place, {f"{name}.l{phase}": partial(value, phase)})

        def volt(phase: int, t: int) -> float:
            return volts * (1 + 0.012 * wander(self.seed + phase, t, 3 * MINUTE))

        def quality(t: int) -> float:
            return factor + 0.01 * wander(seed, t, MINUTE)

        phases("voltage", volt)
        phases("voltage.thd", lambda phase, t: 2 + 0.4 * wander(seed + phase, t, 2 * MINUTE))
        phases("current", lambda p, t: 1000 * flow.at(t) * PHASES[p] / (volt(p, t) * factor))
        phases("power.active", lambda phase, t: flow.at(t) * PHASES[phase])
        phases("power.reactive", lambda phase, t: flow.at(t) * PHASES[phase] * tangent)
        phases("power.apparent", lambda phase, t: flow.at(t) * PHASES[phase] / factor)
        phases("power.factor", lambda _, t: quality(t))
        self.measured(
            place,
            {
                "power.active": flow.at,
                "power.reactive": lambda t: flow.at(t) * tangent,
                "power.apparent": lambda t: flow.at(t) / factor,
                "power.factor": quality,
                "frequency": lambda t: 50 + 0.03 * wander(self.seed + 9, t, 20 * SECOND),
                "energy.active.export": lambda _: 0.0,
                "energy.reactive.export": lambda _: 0.0,
            },
        )
        for total in ("import", "total"):
            self.counted(place, f"energy.active.{total}", flow, start)
            self.counted(place, f"energy.reactive.{total}", flow, start * tangent, tangent)
        for phase, share in PHASES.items():
            self.counted(place, f"energy.active.import.l{phase}", flow, start * share, share)

    def counted(
        self, place: str, quantity: str, flow: Flow, start: float, per: float = 1.0
    ) -> None:
        counter = self.counters[place, quantity] = Counter(flow, self.opened, start, per)
        self.measured(place, {quantity: counter.at})

    def measured(self, place: str, measures: Measures) -> None:
        self.places.setdefault(place, {}).update(measures)

    def load(self, place: str, *knots: tuple[float, float], unsteady: float = 0.08) -> Load:
        """A course for every day of the week."""
        return Load(knots, unsteady=unsteady, seed=self._seed(place))

    def shift(self, place: str, idle: float, full: float, unsteady: float = 0.1) -> Load:
        """Work from 7:30 to 20:30 with a meal between; idle at night and at the weekend."""
        before_noon = (0, idle), (7.5, idle), (8, full), (11.9, full), (12.1, 0.3 * full)
        after_noon = (12.9, full), (18, 0.96 * full), (20, 0.9 * full), (20.5, idle), (24, idle)
        day: Knots = (*before_noon, *after_noon)
        rest: Knots = (0, idle), (24, idle)
        return Load(day, rest, unsteady=unsteady, seed=self._seed(place))

    def _seed(self, place: str) -> int:
        return zlib.crc32(place.encode(), self.seed) % 100_003


def printing(opened: int, seed: int) -> Plant:
    """Two gravure presses, a thermal oxidiser (RTO) on their exhaust, one stack.

    The stack: solvent in the exhaust follows what the presses draw; the oxidiser destroys 97 %
    of it while hot, and it is hot while it has power.
    """
    plant = Plant(opened, seed)
    rto = plant.setting("rto")
    press_1 = Switched(plant.shift("press-1", 4, 86), plant.setting("press-1"))
    press_2 = Switched(plant.shift("press-2", 3, 64), plant.setting("press-2"))
    treatment = Switched(plant.shift("rto", 3, 27, unsteady=0.04), rto)
    air = plant.shift("compressor", 2, 18, unsteady=0.3)
    fans = plant.shift("ventilation", 5, 15, unsteady=0.03)
    light = plant.load("main", (0, 3), (7, 3), (8, 9), (18, 12), (22, 4), (24, 3))
    for place, flow in (
        ("press-1", press_1),
        ("press-2", press_2),
        ("rto", treatment),
        ("compressor", air),
        ("ventilation", fans),
    ):
        plant.electric(place, flow)
    behind: tuple[Flow, ...] = (press_1, press_2, treatment, air, fans, light)
    plant.electric("main", Total(tuple((1.012, flow) for flow in behind)), factor=0.94)

    def nmhc(t: int) -> float:
        before = 2.0 + 5.6 * (press_1.at(t) + press_2.at(t))
        destroyed = 0.97 * rto.followed(t, COOLING_S)
        return before * (1 - destroyed) * (1 + 0.04 * wander(seed + 3, t, 5 * SECOND))

    def exhaust(t: int) -> float:
        return 900 * fans.at(t) * (1 + 0.02 * wander(seed + 4, t, 30 * SECOND))

    plant.measured(
        "stack",
        {
            "voc.nmhc.concentration": nmhc,
            "voc.methane.concentration": lambda t: 1.6 + 0.004 * nmhc(t),
            "voc.thc.concentration": lambda t: 1.6 + 1.004 * nmhc(t),
            "voc.benzene.concentration": lambda t: 0.0011 * nmhc(t),
            "voc.toluene.concentration": lambda t: 0.019 * nmhc(t),
            "voc.xylene.concentration": lambda t: 0.012 * nmhc(t),
            "fluegas.flow": exhaust,
            "fluegas.temperature": lambda t: 35 + 60 * rto.followed(t, 4 * COOLING_S),
            "fluegas.o2": lambda t: 20.4 - 1.1 * rto.followed(t, COOLING_S),
            "fluegas.humidity": lambda t: 3.1 + 0.2 * wander(seed + 5, t, MINUTE),
            "fluegas.pressure": lambda t: -0.12 + 0.02 * wander(seed + 6, t, 20 * SECOND),
            "fluegas.velocity": lambda t: exhaust(t) / 3600 / 0.5,
            "treatment.running": lambda t: float(rto.at(t) > 0),
            "process.running": lambda t: float(press_1.at(t) + press_2.at(t) > 20),
        },
    )
    return plant


def cement(opened: int, seed: int) -> Plant:
    """Two mills that work mostly at night, when power is cheap; packing and dispatch by day."""
    plant = Plant(opened, seed)

    def mill(place: str, full: float, by_day: float) -> Switched:
        night = ((0, full), (7.8, full), (8.2, by_day), (21.8, by_day), (22.2, full), (24, full))
        return Switched(plant.load(place, *night, unsteady=0.06), plant.setting(place))

    mill_1 = mill("mill-1", 1260, 1180)
    mill_2 = mill("mill-2", 940, 620)
    press = mill("roller-press", 610, 430)
    classifier = mill("classifier", 118, 90)
    fan = plant.load("dust-fan", (0, 210), (8, 205), (9, 180), (21, 180), (22, 210), (24, 210))
    packing = plant.shift("packing", 2, 74, unsteady=0.25)
    air = plant.load("compressor", (0, 96), (8, 120), (18, 132), (24, 96), unsteady=0.2)
    office = plant.load("office", (0, 3), (7.5, 4), (8.5, 22), (17, 20), (18.5, 6), (24, 3))
    flows: dict[str, Flow] = {
        "mill-1": mill_1,
        "mill-2": mill_2,
        "roller-press": press,
        "classifier": classifier,
        "dust-fan": fan,
        "packing": packing,
        "compressor": air,
        "office": office,
    }
    for place, flow in flows.items():
        plant.electric(place, flow, factor=0.86 if place.startswith("mill") else 0.9)
    plant.electric("main", Total(tuple((1.015, flow) for flow in flows.values())), factor=0.95)

    normal = Total(((6.4, air),))  # normal cubic metres from a kilowatt hour
    plant.counted("air", "air.volume", normal, 1_284_000)
    plant.measured(
        "air",
        {
            "air.flow": normal.at,
            "air.pressure": lambda t: 690 + 25 * wander(seed + 11, t, 40 * SECOND),
        },
    )
    water = Total(((0.004, mill_1), (0.003, mill_2), (0.05, office)))
    plant.counted("water", "water.volume", water, 48_210)
    plant.measured("water", {"water.flow": water.at})
    plant.measured(
        "dust-stack",
        {
            "fluegas.pm": lambda t: 6.5 + 1.2 * wander(seed + 12, t, 15 * SECOND),
            "fluegas.temperature": lambda t: 71 + 4 * wander(seed + 13, t, MINUTE),
            "fluegas.flow": lambda t: 520 * fan.at(t),
        },
    )
    return plant


def hospital(opened: int, seed: int) -> Plant:
    """A boiler house for heat, hot water and sterilisers, and the house it serves."""
    plant = Plant(opened, seed)
    heat = plant.load("heat", (0, 1900), (5, 2600), (8, 3100), (14, 2300), (19, 2800), (24, 1900))
    lead = Switched(heat, plant.setting("boilers"))
    flows: dict[str, Flow] = {
        "boiler-house": plant.load("boiler-house", (0, 31), (8, 46), (20, 44), (24, 31)),
        "pumps": plant.load("pumps", (0, 52), (6, 66), (22, 64), (24, 52), unsteady=0.03),
        "ward-block": plant.load("ward-block", (0, 140), (7, 210), (19, 240), (24, 140)),
        "outpatients": plant.shift("outpatients", 18, 160),
        "laundry": plant.load("laundry", (0, 2), (6, 4), (7, 58), (16, 52), (17, 4), (24, 2)),
        "kitchen": plant.load("kitchen", (0, 3), (4.5, 48), (12, 66), (18, 50), (20, 5), (24, 3)),
    }
    for place, flow in flows.items():
        plant.electric(place, flow, factor=0.93)
    plant.electric("main", Total(tuple((1.01, flow) for flow in flows.values())), factor=0.96)

    gas = Total(((1 / 9.3, lead),))  # m3 from a kilowatt hour of heat, boiler losses included
    steam = Total(((1.43 / 1000, lead),))  # tonnes from a kilowatt hour
    water = Total(((1.06 * 1.43 / 1000, lead), (0.012, flows["ward-block"])))
    for place, fuel, flow, start in (
        ("gas", "gas.volume", gas, 912_440.0),
        ("steam", "steam.mass", steam, 15_870.0),
        ("water", "water.volume", water, 204_318.0),
    ):
        plant.counted(place, fuel, flow, start)
        plant.measured(place, {f"{fuel.partition('.')[0]}.flow": flow.at})
    plant.measured(
        "steam",
        {
            "steam.pressure": lambda t: 780 + 15 * wander(seed + 21, t, 30 * SECOND),
            "steam.temperature": lambda t: 174 + 1.5 * wander(seed + 21, t, 30 * SECOND),
        },
    )
    for boiler, share in (("boiler-1", 0.6), ("boiler-2", 0.4)):
        damper = plant.setting(f"{boiler}-air")
        plant.measured(boiler, _flue(lead, share, damper, seed + ord(boiler[-1])))
    return plant


def _flue(heat: Flow, share: float, damper: Timeline, seed: int) -> Measures:
    """A gas boiler's flue: the lower its load, the more excess air; none without the damper."""

    def oxygen(t: int) -> float:
        excess = 5.2 - heat.at(t) / 2200 + 0.25 * wander(seed, t, 20 * SECOND)
        return excess * damper.followed(t, 0.4)

    return {
        "fluegas.o2": oxygen,
        "fluegas.temperature": lambda t: 92 + heat.at(t) / 80 + wander(seed + 1, t, MINUTE),
        "fluegas.nox": lambda t: 26 + 3 * wander(seed + 2, t, 45 * SECOND),
        "fluegas.flow": lambda t: share * heat.at(t) * 1.35,
    }


PLANTS: Final[Mapping[str, Callable[[int, int], Plant]]] = {
    "print": printing,
    "cement": cement,
    "hospital": hospital,
}
