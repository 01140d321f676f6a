"""A DL/T 645 source that polls simulated meters in simulated time, for its tests.

The meters are those of ``dlt645_line.py``, with protocol code of their own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import pytest

from adapters.profiles import load_profiles
from adapters.sources.dlt645 import Dlt645Source
from collector.model import Quality
from collector.registry import Device
from meterwatch.clock import SimulatedClock
from tests.adapters.dlt645.dlt645_line import Shown, SimLine
from tests.adapters.polling import polled
from tests.adapters.polling.polled import SECOND, START
from tests.intakes import CollectingIntake

PATIENT = 5.0
"""A timeout that a busy machine does not reach."""
SHORT = 0.05
"""One that is reached on purpose: then only what is right is asked, not how much."""
THREE, ONE = "dlt645-2007-three-phase", "dlt645-2007-single-phase"
A, B = "398192000337", "201500000016"
PROFILES = load_profiles()
FULL: Shown = {
    "0001FF00": "00123456 00011111 00022222 00033333 00056789",
    "00020000": "00000100",
    "00030000": "00004000",
    "00040000": "80000007",
    "01010000": "2611200815" + "012345",
    "02800004": "004321",
    "0201FF00": "2201 2202 2203",
    "0202FF00": "001001 801002 001003",
    "02800001": "000004",
    "0203FF00": "012000 003000 004000 805000",
    "0204FF00": "800100 000200 000300 000400",
    "0205FF00": "012100 004000 004000 004100",
    "0206FF00": "0991 0992 0993 8994",
    "02800002": "5001",
}
"""What a three-phase meter shows. The demand's number comes first on the wire, its minute after."""
MEANT = {
    "energy.active.import": 1234.56,
    "energy.active.import.sharp": 111.11,
    "energy.active.import.peak": 222.22,
    "energy.active.import.flat": 333.33,
    "energy.active.import.valley": 567.89,
    "energy.active.export": 1.0,
    "energy.reactive.import": 40.0,
    "energy.reactive.export": -0.07,
    "power.active.demand.max": 1.2345,
    "power.active.demand": 0.4321,
    "voltage.l1": 220.1,
    "voltage.l2": 220.2,
    "voltage.l3": 220.3,
    "current.l1": 1.001,
    "current.l2": -1.002,
    "current.l3": 1.003,
    "current.neutral": 0.004,
    "power.active": 1.2,
    "power.active.l1": 0.3,
    "power.active.l2": 0.4,
    "power.active.l3": -0.5,
    "power.reactive": -0.01,
    "power.reactive.l1": 0.02,
    "power.reactive.l2": 0.03,
    "power.reactive.l3": 0.04,
    "power.apparent": 1.21,
    "power.apparent.l1": 0.4,
    "power.apparent.l2": 0.4,
    "power.apparent.l3": 0.41,
    "power.factor": 0.991,
    "power.factor.l1": 0.992,
    "power.factor.l2": 0.993,
    "power.factor.l3": -0.994,
    "frequency": 50.01,
}


class World(polled.World):
    name, kind = "dlt645", Dlt645Source
    profiles = PROFILES

    def states(self, origin: str) -> list[tuple[bool, str]]:
        return [
            (state.up, state.reason)
            for state in self.intake.states()
            if self.origins[state.origin] == origin
        ]

    def newest(self, device: str) -> dict[str, float]:
        """The last valid value of each quantity."""
        names = {id_: name for name, id_ in self.points.items()}
        found: dict[str, float] = {}
        for id_, _, value, quality in self.intake.rows():
            _, place, quantity, _ = names[id_].split("/")
            if place == device and quality == Quality.GOOD:
                found[quantity] = value
        return found


def polling(
    devices: Sequence[Device],
    clock: SimulatedClock,
    intake: CollectingIntake,
    patience: float = PATIENT,
) -> contextlib.AbstractAsyncContextManager[World]:
    return World(clock, intake).polls(devices, patience)


def device(
    url: str, id_: str = "d", profile: str = ONE, interval: float = 60.0, **more: float
) -> Device:
    """A device whose place has its own name."""
    return Device("s", id_, id_, profile, connection=url, interval=interval, **more)  # type: ignore[arg-type]


def full() -> Shown:
    return FULL


class Moving:
    """A single-phase meter whose energy and voltage say when they were read."""

    def __init__(self, clock: SimulatedClock) -> None:
        self.clock = clock

    def __call__(self) -> Shown:
        seconds = (self.clock.now() - START) // SECOND
        tariffs = " ".join(f"{100_000 * n + seconds:08d}" for n in range(5, 0, -1))
        return {
            "0001FF00": tariffs,
            "00020000": f"{700_000 + seconds:08d}",
            "02010100": f"{2000 + seconds % 1000:04d}",
            "02020100": "001000",
            "02030000": "002200",
            "02060000": "0990",
            "02800002": "5000",
            "04000102": "120000",
        }


def believable(world: World, id_: str = "d") -> int:
    """Every stored reading is what the meter showed at that moment. How many there are."""
    count = 0
    wanted = {"energy.active.import": 5000.0, "energy.active.import.valley": 1000.0,
              "energy.active.export": 7000.0}  # fmt: skip
    for quantity, base in wanted.items():
        for time, value in world.series(id_, quantity):
            count += 1
            assert value == pytest.approx(base + (time - START) / SECOND / 100), (quantity, time)
    for time, value in world.series(id_, "voltage.l1"):
        assert value == pytest.approx(200 + (time - START) / SECOND % 1000 / 10), time
    return count


def tcp(line: SimLine, address: str = A) -> str:
    return f"dlt645+tcp://127.0.0.1:{line.port}?address={address}"
