"""A Modbus source that polls the simulator's meters in simulated time, for its tests.

The meters' protocol code is their own; they do everything that a well-behaved server cannot.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence

import pytest

from adapters.profiles import load_profiles
from adapters.sources.modbus import ModbusSource
from collector.ports import Clock
from collector.profile import Profile, Register
from collector.registry import Device
from meterwatch.simulator.meters import Meter
from tests.adapters.polling import polled
from tests.adapters.polling.polled import SECOND, START
from tests.intakes import CollectingIntake

TIMEOUT = 0.05
PAIR = Profile(
    "pair",
    "",
    "",
    "",
    "",
    "",
    (
        Register("voltage.l1", 3, 0, "f32", "V"),
        Register("energy.active.import", 3, 200, "u32", "kWh", scale=0.01),
    ),
    {},
)
"""Two blocks whose answers look alike: a late one for the first fits the second."""
PROFILES = {**load_profiles(), "pair": PAIR}


class World(polled.World):
    name, kind = "modbus", ModbusSource
    profiles = PROFILES

    def states(self) -> list[tuple[str, bool]]:
        return [(self.origins[state.origin], state.up) for state in self.intake.states()]


def polling(
    devices: Sequence[Device],
    clock: Clock,
    intake: CollectingIntake,
    patience: float = TIMEOUT,
) -> contextlib.AbstractAsyncContextManager[World]:
    return World(clock, intake).polls(devices, patience)


def device(url: str, id_: str = "d", profile: str = "pair", interval: float = 10.0) -> Device:
    """A device whose place has its own name."""
    return Device("s", id_, id_, profile, connection=url, interval=interval)


def steady(now: int) -> Mapping[str, float]:
    """A voltage below 1000 and a counter above it, both moving: no one is the other."""
    seconds = (now - START) / SECOND
    return {"voltage.l1": 200 + seconds % 60, "energy.active.import": 5000 + seconds // 10}


def meter(unit: int = 1, values: Callable[[int], Mapping[str, float]] = steady) -> Meter:
    return Meter(unit, PAIR, values)


def believable(world: World, id_: str = "d") -> None:
    """Every stored reading is what the meter said at that moment."""
    for quantity in ("voltage.l1", "energy.active.import"):
        for time, value in world.series(id_, quantity):
            assert value == pytest.approx(steady(time)[quantity], rel=1e-6), (quantity, time)
