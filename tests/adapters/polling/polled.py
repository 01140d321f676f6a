"""A source that polls over real sockets while simulated time passes, and what it brought: what the
tests of all polled protocols share.

An hour of polls takes as long as its sockets do. A test file takes the fixtures with
``clock, intake = polled.clock, intakes.intake``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
import pytest

from collector.model import Ids, Quality
from collector.ports import Clock
from collector.profile import Profile
from collector.registry import Device
from collector.telemetry import Telemetry
from meterwatch.clock import SimulatedClock
from tests.intakes import CollectingIntake

START = 1_795_000_000_000 // 900_000 * 900_000
"""A whole quarter of an hour."""
SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(START)


class World:
    """A source on an intake, with everything that names things. A protocol's own says which
    source, and which profiles there are."""

    name: str
    kind: Any
    profiles: Mapping[str, Profile]
    source: Any

    def __init__(self, clock: Clock, intake: CollectingIntake) -> None:
        self.clock = clock
        self.intake = intake
        self.telemetry = Telemetry()
        self.origins: list[str] = []
        self.points: dict[str, int] = {}

    def origin_ids(self, names: Sequence[str]) -> Ids:
        self.origins += [name for name in names if name not in self.origins]
        return np.array([self.origins.index(name) for name in names], np.int32)

    def ids(self, devices: Sequence[Device]) -> Mapping[str, int]:
        for device in devices:
            profile = self.profiles[device.profile]
            for asked in (*profile.registers, *profile.items):
                name = f"{device.site}/{device.place}/{asked.quantity}/raw"
                self.points.setdefault(name, len(self.points))
        return self.points

    def series(self, device: str, quantity: str = "voltage.l1") -> list[tuple[int, float]]:
        """Valid readings of a device's point, in order of arrival."""
        point = self.points[f"s/{device}/{quantity}/raw"]
        return [
            (time, value)
            for id_, time, value, quality in self.intake.rows()
            if id_ == point and quality == Quality.GOOD
        ]

    def update(self, devices: Sequence[Device]) -> None:
        self.source.update(devices, self.profiles, self.ids(devices))

    @contextlib.asynccontextmanager
    async def polls(self, devices: Sequence[Device], patience: float) -> AsyncIterator[Self]:
        """``devices`` are polled; an answer may take ``patience`` seconds."""
        self.source = self.kind(
            self.name,
            devices,
            self.profiles,
            self.ids(devices),
            self.origin_ids,
            self.clock,
            self.telemetry,
            patience,
        )
        task = asyncio.create_task(self.source.run(self.intake))
        try:
            yield self
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
