"""``python -m bench [NAME ...]``: what it costs, as JSON lines on stdout.

    way        the whole way at 400,000 readings a second offered, for 30 s
    way-slow   the same with 20 ms added to each sync
    way-full   as much as it takes
    modbus     polls a second over 200 connections, TCP and RTU over TCP
    edge       20 meters at 10 s: memory and CPU of the whole program
    archive account judge    each room by itself

Nothing here is asserted; machines differ. ``docs/performance.md`` keeps figures with the machine
they came from.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Callable

import psutil

from bench import edge
from bench.way import Way, run


def _child(*arguments: str) -> Callable[[], None]:
    def run() -> None:
        subprocess.run([sys.executable, "-m", *arguments], check=True)

    return run


def _shown(measure: Callable[[], object]) -> Callable[[], None]:
    return lambda: print(json.dumps(measure()), flush=True)


BENCHES: dict[str, Callable[[], None]] = {
    "way": _shown(lambda: run(Way())),
    "way-slow": _shown(lambda: run(Way(sync_delay=0.02))),
    "way-full": _shown(lambda: run(Way(rate=0))),
    "modbus": _child("bench.modbus"),
    "modbus-rtu": _child("bench.modbus", "--rtu"),
    "edge": _shown(edge.run),
    "archive": _child("bench.archive"),
    "account": _child("bench.account"),
    "judge": _child("bench.judge"),
}


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        print(f"no bench named {', '.join(unknown)}; there are: {', '.join(BENCHES)}")
        return 2
    machine = {
        "machine": platform.processor() or platform.machine(),
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "python": platform.python_version(),
    }
    print(json.dumps(machine), flush=True)
    for name in names or BENCHES:
        BENCHES[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
