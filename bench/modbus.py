"""What a Modbus poll costs: 200 connections with four slaves of 50 registers behind each, asked
without a pause, into an intake that keeps nothing.

    python -m bench.modbus [--seconds 24] [--connections 200] [--slaves 4] [--rtu]

The meters run in another process, as fast as they are asked. Prints one JSON line: polls and
readings a second, our CPU microseconds per poll, how many polls one delivery carried, and beside
it what pymodbus costs alone (a bare client per connection, answers thrown away) on the same
meters: measured in turns with ours, so that a busy machine harms both alike.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import logging
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import structlog
from pymodbus import FramerType
from pymodbus.client import AsyncModbusTcpClient

from adapters.sources.modbus import ModbusSource
from adapters.sources.modbus.address import Framing, parse_connection
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

TURNS = 4
WARM = 20
"""Polls of each device before anything is counted."""


class NullIntake:
    """Counts and forgets; everything is synced at once."""

    def __init__(self) -> None:
        self.polls = 0
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


async def serve(connections: int, slaves: int, rtu: bool) -> None:
    """The meters' process: prints their connections, ends when its input does."""
    values = dict.fromkeys((row.name for row in GAUGES), 42.5)
    servers = [
        MeterServer(
            [Meter(unit, PROFILE, lambda _: values) for unit in range(1, slaves + 1)],
            lambda: 0,
            rtu=rtu,
        )
        for _ in range(connections)
    ]
    for server in servers:
        await server.start()
    urls = [[server.url(unit) for unit in range(1, slaves + 1)] for server in servers]
    print(json.dumps(urls), flush=True)
    await asyncio.to_thread(sys.stdin.read)


def origin_ids(names: Sequence[str]) -> Ids:
    return np.arange(len(names), dtype=np.int32)


class Meterings:
    """Sums of several turns: polls, seconds of this process, seconds of the wall."""

    def __init__(self) -> None:
        self.polls = 0
        self.cpu = self.wall = 0.0

    @contextlib.contextmanager
    def turn(self, polls: Callable[[], int]) -> Iterator[None]:
        before, cpu, started = polls(), time.process_time(), time.monotonic()
        yield
        self.polls += polls() - before
        self.cpu += time.process_time() - cpu
        self.wall += time.monotonic() - started

    def figures(self) -> dict[str, object]:
        return {
            "polls_per_s": round(self.polls / self.wall),
            "cpu_us_per_poll": round(self.cpu / max(1, self.polls) * 1e6, 1),
        }


async def ours(
    urls: Sequence[Sequence[str]], seconds: float, metering: Meterings, intake: NullIntake
) -> None:
    every = [url for behind in urls for url in behind]
    devices = [
        Device("s", f"d{n}", f"p{n}", "bench", connection=url, interval=0.001)
        for n, url in enumerate(every)
    ]
    ids = {
        f"s/{device.place}/{register.quantity}/raw": n * len(PROFILE.registers) + m
        for n, device in enumerate(devices)
        for m, register in enumerate(PROFILE.registers)
    }
    source = ModbusSource(
        "bench", devices, {"bench": PROFILE}, ids, origin_ids, SystemClock(), Telemetry()
    )
    task = asyncio.create_task(source.run(intake))
    first = intake.polls
    while intake.polls < first + WARM * len(devices):  # noqa: ASYNC110 nobody sets an event
        await asyncio.sleep(0.1)
    with metering.turn(lambda: intake.polls):
        await asyncio.sleep(seconds)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def bare(urls: Sequence[Sequence[str]], seconds: float, metering: Meterings) -> None:
    """pymodbus as its documentation uses it: ask, throw away, ask again.

    Stopped by a flag: until Python 3.12 its clients forget a cancellation that comes with an
    answer."""
    polls = 0
    ending = False

    async def ask(behind: Sequence[str]) -> None:
        nonlocal polls
        bus = parse_connection(behind[0]).bus
        units = itertools.cycle([parse_connection(url).unit for url in behind])
        framer = FramerType.SOCKET if bus.framing is Framing.TCP else FramerType.RTU
        client = AsyncModbusTcpClient(bus.host, port=bus.port, framer=framer)
        await client.connect()
        try:
            while not ending:
                await client.read_holding_registers(0, count=2 * len(GAUGES), device_id=next(units))
                polls += 1
        finally:
            client.close()

    tasks = [asyncio.create_task(ask(url)) for url in urls]
    while polls < WARM * len(urls):  # noqa: ASYNC110 nobody sets an event
        await asyncio.sleep(0.1)
    with metering.turn(lambda: polls):
        await asyncio.sleep(seconds)
    ending = True
    await asyncio.gather(*tasks)


def measure(urls: Sequence[Sequence[str]], seconds: float) -> dict[str, object]:
    own, alone, intake = Meterings(), Meterings(), NullIntake()
    for _ in range(TURNS):
        asyncio.run(ours(urls, seconds / TURNS, own, intake))
        asyncio.run(bare(urls, seconds / TURNS, alone))
    return {
        **own.figures(),
        "readings_per_s": round(own.polls * len(PROFILE.registers) / own.wall),
        "polls_per_delivery": round(intake.polls / max(1, intake.deliveries), 1),
        "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "pymodbus_alone": alone.figures(),
        "of_pymodbus": round(own.polls / own.wall / (alone.polls / alone.wall), 2),
        "of_pymodbus_by_cpu": round(alone.cpu / alone.polls / (own.cpu / own.polls), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=24)
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--slaves", type=int, default=4)
    parser.add_argument("--rtu", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        asyncio.run(serve(given.connections, given.slaves, given.rtu))
        return
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL + 1)
    command = [sys.executable, "-m", "bench.modbus", "--serve"]
    command += ["--connections", str(given.connections), "--slaves", str(given.slaves)]
    command += ["--rtu"] * given.rtu
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as meters:
        assert meters.stdin is not None
        assert meters.stdout is not None
        urls = json.loads(meters.stdout.readline())
        figures = measure(urls, given.seconds)
        meters.stdin.close()
    print(
        json.dumps(
            {
                "bench": "modbus",
                "framing": "rtu-tcp" if given.rtu else "tcp",
                "connections": given.connections,
                "slaves": given.slaves,
                "registers": 2 * len(PROFILE.registers),
                **figures,
            }
        )
    )


if __name__ == "__main__":
    main()
