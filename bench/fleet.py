"""What a fleet costs: 10,000 meters of 40 registers every 10 s, over 200 connections, on one core.

    python -m bench.fleet [--meters 10000] [--connections 200] [--interval 10] [--seconds 60]

The meters run in another process (as a gateway with 50 slaves behind each connection would), on
another core; the source runs on one. Prints one JSON line: the interval that was achieved, how far
single intervals lie from it (jitter), the time from first to last reading of a round, and this
process's CPU as a part of the core.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np
import structlog

from adapters.sources.modbus import ModbusSource
from bench.modbus import GAUGES, NullIntake, origin_ids
from collector.ports import Delivery
from collector.profile import Profile, Register
from collector.registry import Device
from collector.telemetry import Telemetry
from meterwatch.clock import SystemClock
from meterwatch.simulator.meters import Meter, MeterServer

PROFILE = Profile(
    "fleet",
    "",
    "",
    "",
    "",
    "",
    tuple(Register(row.name, 3, 2 * n, "f32", row.unit) for n, row in enumerate(GAUGES[:20])),
    {},
)
WARM_S = 15.0


class TimedIntake(NullIntake):
    """Keeps when each device was read."""

    def __init__(self) -> None:
        super().__init__()
        self.points: list[np.ndarray[tuple[int], np.dtype[np.int32]]] = []
        self.times: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []

    def _take(self, delivery: Delivery) -> None:
        super()._take(delivery)
        if delivery.batch is not None:
            segments = delivery.batch.segments
            first = np.concatenate(([0], segments.stop[:-1]))
            self.points.append(delivery.batch.point[first])
            self.times.append(segments.received)

    def gaps(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Milliseconds between each reading of a device and its next one."""
        point, when = np.concatenate(self.points), np.concatenate(self.times)
        order = np.lexsort((when, point))
        point, when = point[order], when[order]
        return np.diff(when)[np.diff(point) == 0]


async def serve(connections: int, slaves: int) -> None:
    """The meters' process: prints their connections, ends when its input does."""
    values = dict.fromkeys((row.name for row in GAUGES), 42.5)
    servers = [
        MeterServer([Meter(n, PROFILE, lambda _: values) for n in range(1, slaves + 1)], lambda: 0)
        for _ in range(connections)
    ]
    for server in servers:
        await server.start()
    urls = [server.url(n) for server in servers for n in range(1, slaves + 1)]
    print(json.dumps(urls), flush=True)
    await asyncio.to_thread(sys.stdin.read)


async def poll(urls: Sequence[str], interval: float, seconds: float) -> dict[str, object]:
    devices = [
        Device("s", f"d{n}", f"p{n}", "fleet", connection=url, interval=interval)
        for n, url in enumerate(urls)
    ]
    width = len(PROFILE.registers)
    ids = {
        f"s/p{n}/{register.quantity}/raw": n * width + m
        for n in range(len(devices))
        for m, register in enumerate(PROFILE.registers)
    }
    intake, telemetry = TimedIntake(), Telemetry()
    source = ModbusSource(
        "fleet", devices, {"fleet": PROFILE}, ids, origin_ids, SystemClock(), telemetry
    )
    task = asyncio.create_task(source.run(intake))
    await asyncio.sleep(WARM_S)
    intake.points.clear()
    intake.times.clear()
    before, cpu, started = intake.polls, time.process_time(), time.monotonic()
    await asyncio.sleep(seconds)
    wall, cpu, polls = time.monotonic() - started, time.process_time() - cpu, intake.polls - before
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    gaps = intake.gaps()
    off = np.abs(gaps - interval * 1000)
    return {
        "polls": polls,
        "readings_per_s": round(polls * width / wall),
        "interval_s": round(float(gaps.mean()) / 1000, 3),
        "jitter_ms_p50": round(float(np.percentile(off, 50)), 1),
        "jitter_ms_p99": round(float(np.percentile(off, 99)), 1),
        "skipped": round(telemetry.value("modbus_polls_skipped")),
        "cpu_percent": round(100 * cpu / wall, 1),
        "cpu_us_per_poll": round(cpu / max(1, polls) * 1e6, 1),
        "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--meters", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--interval", type=float, default=10)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    slaves = given.meters // given.connections
    cores = sorted(os.sched_getaffinity(0))
    if given.serve:
        os.sched_setaffinity(0, cores[-1:])
        asyncio.run(serve(given.connections, slaves))
        return
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    command = [sys.executable, "-m", "bench.fleet", "--serve"]
    command += ["--connections", str(given.connections), "--meters", str(given.meters)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as meters:
        assert meters.stdin is not None
        assert meters.stdout is not None
        os.sched_setaffinity(0, cores[:1])
        urls = json.loads(meters.stdout.readline())
        figures = asyncio.run(poll(urls, given.interval, given.seconds))
        meters.stdin.close()
    print(
        json.dumps(
            {
                "bench": "fleet",
                "meters": len(urls),
                "connections": given.connections,
                "registers": 2 * len(PROFILE.registers),
                "asked_interval_s": given.interval,
                **figures,
            }
        )
    )


if __name__ == "__main__":
    main()
