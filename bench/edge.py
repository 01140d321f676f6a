"""What the program costs where it is smallest: 20 meters at 10 s on one box.

Real Modbus TCP sockets (the meters in a process of their own), every room running, the shipped
rule catalogue in force. CPU and memory of the program as the kernel accounts them, after a
minute of settling in; nothing else is asked of it meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import shutil
import sys
import tempfile
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from adapters.profiles import load_profiles
from adapters.stores.archive_reader import ArchiveReader
from meterwatch.simulator.meters import Meter, MeterServer
from tests.programs import RunningProgram

METERS = 20
INTERVAL_S = 10
SETTINGS = '[program]\nlisten = "127.0.0.1:0"\n[[source]]\nkind = "modbus"\n'


def run(*, seconds: float = 120, settle: float = 30) -> dict[str, Any]:
    """The figures."""
    folder = Path(tempfile.mkdtemp(prefix="meterwatch-edge-"))
    ours, theirs = multiprocessing.Pipe()
    meters = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(theirs,), daemon=True
    )
    meters.start()
    try:
        _write_fleet(folder / "fleet", int(ours.recv()))
        with RunningProgram(folder / "fleet") as program:
            program.wait_for("running")
            process = psutil.Process(program.process.pid)
            threading.Event().wait(settle)
            before, started, rss = process.cpu_times(), time.monotonic(), []
            while time.monotonic() - started < seconds:
                threading.Event().wait(1)
                rss.append(process.memory_info().rss)
            after, took = process.cpu_times(), time.monotonic() - started
            stats = ArchiveReader(folder / "fleet" / "data" / "archive.db").stats()
            if program.stop() != 0:
                raise RuntimeError(program.tail())
        cpu = after.user + after.system - before.user - before.system
        return {
            "bench": "edge",
            "meters": METERS,
            "interval_s": INTERVAL_S,
            "points": stats.points,
            "seconds": round(took),
            "cpu_percent_of_a_core": round(100 * cpu / took, 2),
            "rss_mb": round(rss[-1] / 2**20, 1),
            "rss_peak_mb": round(max(rss) / 2**20, 1),
        }
    finally:
        meters.terminate()
        shutil.rmtree(folder, ignore_errors=True)


def _write_fleet(fleet: Path, port: int) -> None:
    (fleet / "registry").mkdir(parents=True)
    (fleet / "meterwatch.toml").write_text(SETTINGS, encoding="utf-8")
    site = '[site]\nid = "edge"\nname = "edge"\nname_zh = "edge"\n'
    parts = [f'{site}county = "620502"\nindustry = "C2319"\n']
    parts += [
        f'[[place]]\nid = "p{n}"\nname = "p{n}"\nname_zh = "p{n}"\n'
        f'[[device]]\nid = "m{n}"\nplace = "p{n}"\nprofile = "eastron-sdm630"\n'
        f'interval = "{INTERVAL_S}s"\nconnection = "modbus+tcp://127.0.0.1:{port}?unit={n}"\n'
        for n in range(1, METERS + 1)
    ]
    (fleet / "registry" / "edge.toml").write_text("\n".join(parts), encoding="utf-8")


def _serve(pipe: Connection) -> None:
    profile = load_profiles()["eastron-sdm630"]
    started = time.time()

    def values(now: int) -> dict[str, float]:
        grown = now / 1000 - started
        told = dict.fromkeys((register.quantity for register in profile.registers), 1.0)
        told |= {f"voltage.l{phase}": 230 + grown % 7 for phase in (1, 2, 3)}
        return told | {"frequency": 50.0, "energy.active.import": grown / 36}

    async def serve() -> None:
        meters = [Meter(unit, profile, values) for unit in range(1, METERS + 1)]
        async with MeterServer(meters, lambda: time.time_ns() // 10**6) as server:
            pipe.send(server.port)
            await asyncio.Event().wait()

    asyncio.run(serve())


if __name__ == "__main__":
    lasting = float(sys.argv[1]) if len(sys.argv) > 1 else 120
    print(json.dumps(run(seconds=lasting)))
