"""What a full DL/T 645 line promises when a meter on it dies, in simulated time at 2400 baud."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Sequence

import numpy as np
import pytest

from adapters.profiles import load_profiles
from adapters.sources.dlt645 import Dlt645Source
from collector.model import Entry, Ids, SourceState
from collector.ports import Delivery, Urgency
from collector.registry import Device
from collector.telemetry import Telemetry
from meterwatch.simulator.faults import Line
from tests.adapters.dlt645.dlt645_line import Shown, SimLine, SimMeter
from tests.simulated_loop import LoopClock, simulate

START = 1_795_000_000_000 // 900_000 * 900_000
METERS = 32
PROFILE = "dlt645-2007-single-phase"
QUANTITIES = ("energy.active.export", "voltage.l1", "frequency")
LINE = Line(2400)
QUESTION, ANSWER = 20, 22
"""Bytes of a question with its preamble, and of an answer of four bytes of data, at most."""
INTERVAL = math.ceil(
    METERS * len(QUANTITIES) * (LINE.seconds(QUESTION) + LINE.turnaround + LINE.seconds(ANSWER))
)
"""Seconds in which the line can just ask them all."""


class Kept:
    """An intake that remembers when each meter was read, and that what came was its own."""

    def __init__(self, clock: LoopClock) -> None:
        self.clock = clock
        self.times: dict[int, list[int]] = {n: [] for n in range(METERS)}
        self.wrong: list[tuple[int, float]] = []
        self.states: list[Entry] = []

    def submit(self, delivery: Delivery) -> None:
        raise NotImplementedError

    async def deliver(self, delivery: Delivery) -> bool:
        self.states += delivery.entries
        if delivery.batch is None:
            return True
        for point, time, value in zip(
            delivery.batch.point.tolist(),
            delivery.batch.time.tolist(),
            delivery.batch.value.tolist(),
            strict=True,
        ):
            meter, quantity = divmod(point, len(QUANTITIES))
            if quantity == 0:
                self.times[meter].append(time)
                shown = [energy(meter, time - ago) for ago in range(0, INTERVAL * 1000, 1000)]
                if not any(math.isclose(value, one) for one in shown):
                    self.wrong.append((meter, value))
        return True

    def pressure(self) -> Urgency:
        return Urgency.BACKFILL


def energy(meter: int, now: int) -> float:
    """Whose it is, and of which second."""
    return meter * 10_000 + (now - START) // 1000 / 100


def shows(meter: int, clock: LoopClock) -> Shown:
    return {
        "00020000": f"{round(energy(meter, clock.now()) * 100):08d}",
        "02010100": "2301",
        "02800002": "5000",
        "04000102": "120000",
    }


@pytest.mark.parametrize("seed", range(2))
def test_a_dead_meter_on_a_full_line_costs_the_others_no_poll(seed: int) -> None:
    async def work() -> None:
        clock, chance = LoopClock(START), random.Random(seed)
        addresses = [f"{n:012d}" for n in chance.sample(range(10**12), METERS)]
        meters = [
            SimMeter(address, lambda n=n: shows(n, clock)) for n, address in enumerate(addresses)
        ]
        async with SimLine(*meters, line=LINE) as line:
            devices = [
                Device("s", f"d{n}", f"p{n}", PROFILE, interval=INTERVAL, quantities=QUANTITIES,
                       connection=f"dlt645+tcp://127.0.0.1:{line.port}?address={address}")
                for n, address in enumerate(addresses)
            ]  # fmt: skip
            ids = {
                f"s/p{n}/{quantity}/raw": n * len(QUANTITIES) + m
                for n in range(METERS)
                for m, quantity in enumerate(QUANTITIES)
            }
            origins: list[str] = []

            def origin_ids(names: Sequence[str]) -> Ids:
                origins.extend(name for name in names if name not in origins)
                return np.array([origins.index(name) for name in names], np.int32)

            kept, telemetry = Kept(clock), Telemetry()
            source = Dlt645Source(
                "dlt645", devices, load_profiles(), ids, origin_ids, clock, telemetry
            )
            running = asyncio.create_task(source.run(kept))
            await asyncio.sleep(4 * INTERVAL)
            dead = chance.randrange(METERS)
            meters[dead].silent = True
            begin = clock.now()
            await asyncio.sleep(30 * INTERVAL)
            end = clock.now()
            meters[dead].silent = False
            await asyncio.sleep(10 * INTERVAL)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        slot = INTERVAL * 1000
        for n in set(range(METERS)) - {dead}:
            seen = {time // slot for time in kept.times[n]}
            missed = [at for at in range(-(-begin // slot), end // slot) if at not in seen]
            assert not missed, f"meter {dead} is dead, {n} missed {len(missed)} polls"
        assert not kept.wrong
        assert not telemetry.value("dlt645_bus_faults", source="dlt645")
        down = [one for one in kept.states if isinstance(one, SourceState) and not one.up]
        assert [origins[one.origin] for one in down] == [f"device:s/d{dead}"]
        assert max(kept.times[dead]) > end, "it was given up"

    simulate(work())
