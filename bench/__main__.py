"""``python -m bench [--runs N] [--patience S] [NAME ...]``: what it costs, as JSON lines on stdout.

    way          all rooms, no external database, 400,000 readings/s offered for 30 s    40 s
    way-slow     the same with 20 ms added to each sync                                  45 s
    way-full     as much as it takes                                                    100 s
    vm           all rooms and a real VictoriaMetrics, 300,000/s offered for 20 s        30 s
    vm-full      as much as it takes                                                     60 s
    vm-only      without archive and account, 500,000/s offered for 20 s                 35 s
    influx       all rooms and a real InfluxDB 1, 150,000/s offered for 20 s             30 s
    influx-full  as much as it takes                                                     80 s
    both         all rooms and both, 100,000/s offered for 20 s                          30 s
    line         line protocol by itself                                                  5 s
    payload      what gateways push, decoded by itself, in each form                     10 s
    link         a month of pushing on a link paid by the byte: computed, not timed      10 s
    modbus modbus-rtu    polls a second over 200 connections, TCP and RTU over TCP       60 s
    fleet        10,000 meters every 10 s over 200 connections on one core                 80 s
    backfill     200 gateways live beside 20 with three days kept: each way               240 s
    flood        49 gateways beside one that sends all it can: broker, HTTP, listener    110 s
    edge         20 meters at 10 s: memory and CPU of the whole program                 150 s
    archive account judge    each room by itself                                         90 s

All of them once: about a quarter of an hour. ``--runs``: each so often. ``--patience``: seconds to
wait, before each, until nobody else uses the machine; how much others did use is in the figures.
``python -m bench.table FILE docs/performance.md`` makes the page's tables from what this prints.

Nothing here is asserted; machines differ. ``docs/performance.md`` keeps figures with the machine
they came from.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import psutil

from bench import edge
from bench.way import Way, run

VM: Final = Way(rate=300_000, seconds=20, project=("victoria-metrics",))
INFLUX: Final = Way(rate=150_000, seconds=20, project=("influxdb",))
ONLY: Final = ("intake", "project", "judge")
WAYS: Final[dict[str, Way]] = {
    "way": Way(),
    "way-slow": Way(sync_delay=0.02),
    "way-full": Way(rate=0),
    "vm": VM,
    "vm-full": replace(VM, rate=0, seconds=15),
    "vm-only": replace(VM, rate=500_000, only=ONLY),
    "influx": INFLUX,
    "influx-full": replace(INFLUX, rate=0, seconds=15),
    "both": Way(rate=100_000, seconds=20, project=("victoria-metrics", "influxdb")),
}
IDLE_PERCENT: Final = 10.0


def _child(*arguments: str) -> Callable[[], None]:
    def measure() -> None:
        subprocess.run([sys.executable, "-m", *arguments], check=True)

    return measure


def _shown(name: str, way: Way) -> Callable[[], None]:
    return lambda: print(json.dumps({"case": name} | run(way)), flush=True)


BENCHES: dict[str, Callable[[], None]] = {
    **{name: _shown(name, way) for name, way in WAYS.items()},
    "line": _child("bench.line"),
    "payload": _child("bench.payload"),
    "link": _child("bench.link"),
    "modbus": _child("bench.modbus"),
    "modbus-rtu": _child("bench.modbus", "--rtu"),
    "fleet": _child("bench.fleet"),
    "backfill": _child("bench.backfill"),
    "flood": _child("bench.flood", "--times", "0"),
    "edge": lambda: print(json.dumps(edge.run()), flush=True),
    "archive": _child("bench.archive"),
    "account": _child("bench.account"),
    "judge": _child("bench.judge"),
}


def _quiet(patience: float) -> None:
    """Wait until the machine has been idle for two seconds, or patience ends."""
    until = time.monotonic() + patience
    while time.monotonic() < until and psutil.cpu_percent(2) > IDLE_PERCENT:
        pass


def main() -> int:
    args = argparse.ArgumentParser(
        prog="bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    args.add_argument("--runs", type=int, default=1)
    args.add_argument("--patience", type=float, default=0)
    args.add_argument("names", nargs="*", metavar="NAME")
    told = args.parse_args()
    unknown = [name for name in told.names if name not in BENCHES]
    if unknown:
        print(f"no bench named {', '.join(unknown)}; there are: {', '.join(BENCHES)}")
        return 2
    machine = {
        "machine": platform.processor() or platform.machine(),
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "python": platform.python_version(),
        "month": time.strftime("%B %Y"),
    }
    print(json.dumps(machine), flush=True)
    for _ in range(told.runs):
        for name in told.names or BENCHES:
            _quiet(told.patience)
            BENCHES[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
