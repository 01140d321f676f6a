"""What a Modbus poll costs: 200 connections, 50 registers each, into an intake that keeps nothing.

    python -m bench.modbus [--seconds 10] [--connections 200] [--rtu]

The meters run in another process, as fast as they are asked. Prints one JSON line: polls and
readings a second, our CPU microseconds per poll, and how many polls one delivery carried.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np
import structlog

from adapters.sources.modbus import ModbusSource
from collector.model import Ids
from collector.ports import Delivery, Urgency
from collector.profile import Profile, Register
from collector.quantities import quantities
from collector.registry import Device
from collector.telemetry import Telemetry
from meterwatch.clock import SystemClock
from meterwatch.simulator.meters import Meter, MeterServer

GAUGES = [row for row in quantities().values() if row.kind == "gauge"][:25]
PROFILE = Profile(
    "bench",
    "",
    "",
    "",
    "",
    "",
    tuple(Register(row.name, 3, 2 * n, "f32", row.unit) for n, row in enumerate(GAUGES)),
    {},
)


class NullIntake:
    """Counts and forgets; everything is synced at once."""

    def __init__(self) -> None:
        self.polls = 0
        self.readings = 0
        self.deliveries = 0

    def submit(self, delivery: Delivery) -> None:
        self._take(delivery)
        if delivery.synced is not None:
            delivery.synced()

    async def deliver(self, delivery: Delivery) -> bool:
        self._take(delivery)
        return True

    def pressure(self) -> Urgency:
        return Urgency.BACKFILL

    def _take(self, delivery: Delivery) -> None:
        if delivery.batch is not None:
            self.deliveries += 1
            self.polls += len(delivery.batch.segments)
            self.readings += len(delivery.batch)


async def serve(connections: int, rtu: bool) -> None:
    """The meters' process: prints their connections, ends when its input does."""
    values = dict.fromkeys((row.name for row in GAUGES), 42.5)
    servers = [
        MeterServer([Meter(1, PROFILE, lambda _: values)], lambda: 0, rtu=rtu)
        for _ in range(connections)
    ]
    for server in servers:
        await server.start()
    print(json.dumps([server.url(1) for server in servers]), flush=True)
    await asyncio.to_thread(sys.stdin.read)


def origin_ids(names: Sequence[str]) -> Ids:
    return np.arange(len(names), dtype=np.int32)


async def measure(urls: Sequence[str], seconds: float) -> dict[str, object]:
    devices = [
        Device("s", f"d{n}", f"p{n}", "bench", connection=url, interval=0.001)
        for n, url in enumerate(urls)
    ]
    ids = {
        f"s/{device.place}/{register.quantity}/raw": n * len(PROFILE.registers) + m
        for n, device in enumerate(devices)
        for m, register in enumerate(PROFILE.registers)
    }
    intake = NullIntake()
    source = ModbusSource(
        "bench", devices, {"bench": PROFILE}, ids, origin_ids, SystemClock(), Telemetry()
    )
    task = asyncio.create_task(source.run(intake))
    await asyncio.sleep(2)  # connecting, first polls
    polls, readings, deliveries = intake.polls, intake.readings, intake.deliveries
    cpu, started = time.process_time(), time.monotonic()
    await asyncio.sleep(seconds)
    cpu, wall = time.process_time() - cpu, time.monotonic() - started
    polls, readings = intake.polls - polls, intake.readings - readings
    deliveries = intake.deliveries - deliveries
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return {
        "polls_per_s": round(polls / wall),
        "readings_per_s": round(readings / wall),
        "cpu_us_per_poll": round(cpu / polls * 1e6, 1),
        "polls_per_delivery": round(polls / max(1, deliveries), 1),
        "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--rtu", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        asyncio.run(serve(given.connections, given.rtu))
        return
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    command = [sys.executable, "-m", "bench.modbus", "--serve"]
    command += ["--connections", str(given.connections)] + ["--rtu"] * given.rtu
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as meters:
        assert meters.stdin is not None
        assert meters.stdout is not None
        urls = json.loads(meters.stdout.readline())
        figures = asyncio.run(measure(urls, given.seconds))
        meters.stdin.close()
    print(
        json.dumps(
            {
                "bench": "modbus",
                "framing": "rtu-tcp" if given.rtu else "tcp",
                "connections": given.connections,
                "registers": 2 * len(PROFILE.registers),
                **figures,
            }
        )
    )


if __name__ == "__main__":
    main()
