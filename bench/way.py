"""The whole way under load: broker, sender, program and databases on this machine, for real.

A sender in a process of its own publishes 50 readings a message at QoS 1 through a real
mosquitto; the program (all rooms, or those named: intake, journal, archive, account, judge with 100
rules of 500 points, projections to real databases) keeps them, judges them, raises alerts and
feeds the databases. CPU and memory come from the kernel, alerts and readings from the files and the
databases it leaves; what the program tells about itself is used where the figures say so.

``rate`` readings per second are offered for ``seconds``; ``sync_delay`` seconds are added to
every fdatasync (by strace) to stand for a slow flash card.

    python -m bench.way --rate 300000 --project victoria-metrics
    python -m bench.way --rate 0 --only intake --only project --only judge --project influxdb
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from adapters.stores.archive_reader import ArchiveReader
from bench.external import ASKED, MARKER_REGISTRY, Markers, Observer
from bench.limits import RULES_PER_QUANTITY, Readings, count_alerts, rules
from bench.plan import QUANTITIES, Plan
from bench.watch import Exposition, Usage, Watcher, percentile
from tests.programs import RunningProgram
from tests.servers import Mosquitto, free_port

SETTINGS = """
[program]
listen = "127.0.0.1:{metrics}"
late_after = "10m"
tick = "5s"
[journal]
max_mb = 8192
[[source]]
kind = "mqtt"
name = "main"
url = "mqtt://127.0.0.1:{port}"
client_id = "meterwatch-bench"
version = 5
topics = ["meterwatch/v1/+/readings"]
{projections}
"""


@dataclass(frozen=True)
class Way:
    """What is run. ``only``: rooms, all when empty. ``project``: kinds of external databases."""

    rate: float = 400_000
    seconds: float = 30
    sync_delay: float = 0
    project: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    plan: Plan = field(default_factory=Plan)

    def has(self, room: str) -> bool:
        return not self.only or room in self.only


def run(way: Way) -> dict[str, Any]:
    """One run; the figures."""
    folder = Path(tempfile.mkdtemp(prefix="meterwatch-bench-"))
    try:
        with ExitStack() as stack:
            broker = stack.enter_context(Mosquitto(folder / "broker"))
            observers = [Observer(kind, folder / kind) for kind in way.project]
            for observer in observers:
                stack.callback(observer.close)
            return _run(way, folder / "fleet", broker, observers)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(way: Way, folder: Path, broker: Mosquitto, observers: list[Observer]) -> dict[str, Any]:
    told = _write_fleet(way, folder, broker.port, observers)
    before: list[str] = []
    if way.sync_delay:
        before = ["strace", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null"]
        before += ["-e", "trace=fdatasync,fsync"]
        before += ["-e", f"inject=fdatasync,fsync:delay_exit={int(way.sync_delay * 1e6)}"]
    rooms = [word for room in way.only for word in ("--only", room)]
    with RunningProgram(folder, *rooms, before=before) as program:
        program.wait_for("running")
        program.wait_for("source-up")
        process = psutil.Process(program.process.pid)
        if before:
            (process,) = process.children()
        watcher = Watcher(process, folder / "data" / "alerts.db")
        watcher.start()
        markers = Markers(broker.port) if observers else None
        for observer in observers:
            observer.start(told)
        ours = {"program": process, "broker": _child_named("mosquitto"), "bench": psutil.Process()}
        ours |= {observer.kind: observer.process for observer in observers}
        usage, started = Usage(ours), time.monotonic()
        sent = _send(way, broker.port, folder)
        if markers is not None:
            markers.stop()
        try:
            took = _all_in(way, folder, sent["readings"], observers, told, started)
        except TimeoutError as fault:
            raise RuntimeError(f"{fault}:\n{program.tail()}") from None
        cpu = usage.seconds()
        for observer in observers:
            observer.stop()
        curve = json.loads((folder / "curve.json").read_text(encoding="utf-8"))
        projected = {one.kind: one.figures(sent, curve) for one in observers}
        receipt = told.quantiles("meterwatch_mqtt_receipt_to_sync_seconds", 0.50, 0.99)
        if program.stop(pid=process.pid) != 0:  # drains the folds
            raise RuntimeError(program.tail())
        watcher.stop()
    cpu["others"] -= sent["cpu_us_per_message"] * sent["messages"] / 1e6
    figures = _figures(way, sent, watcher, max(took.values()), cpu)
    if way.has("archive"):
        figures |= _archived(folder, sent["readings"])
    if way.has("judge"):
        figures |= _judged(way, folder, watcher, observers)
    for kind, found in projected.items():
        figures[kind] = {"all_in_after_s": round(took[kind], 2)} | found
    return figures | {"receipt_to_ack_ms_p50": receipt[0], "receipt_to_ack_ms_p99": receipt[1]}


def _child_named(name: str) -> psutil.Process:
    return next(one for one in psutil.Process().children() if one.name() == name)


def _write_fleet(way: Way, folder: Path, port: int, observers: list[Observer]) -> Exposition:
    (folder / "registry").mkdir(parents=True)
    (folder / "rules").mkdir()
    registry = way.plan.registry()
    if observers:
        registry["marker.toml"] = MARKER_REGISTRY
    for name, text in registry.items():
        (folder / "registry" / name).write_text(text, encoding="utf-8")
    (folder / "rules" / "bench.toml").write_text(rules(), encoding="utf-8")
    metrics = free_port()
    projections = "\n".join(observer.settings() for observer in observers)
    settings = SETTINGS.format(port=port, metrics=metrics, projections=projections)
    (folder / "meterwatch.toml").write_text(settings, encoding="utf-8")
    return Exposition(metrics)


def _send(way: Way, port: int, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.sender", "--port", str(port)]
    command += ["--seconds", str(way.seconds), "--rate", str(way.rate)]
    command += ["--points", str(way.plan.points), "--curve", str(folder / "curve.json")]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _all_in(
    way: Way,
    folder: Path,
    readings: int,
    observers: list[Observer],
    told: Exposition,
    started: float,
) -> dict[str, float]:
    """Seconds until all readings were in each of those who keep them, and until the program says
    that its other rooms are through; they are asked side by side."""
    until = time.monotonic() + 4 * way.seconds + 60
    asked: dict[str, Callable[[], float]] = {
        one.kind: lambda one=one: one.wait(readings, until)  # type: ignore[misc]
        for one in observers
    }
    if way.has("archive"):
        asked["archive"] = lambda: _archive_full(folder, readings, until)
    for room in ("account", "judge"):
        if way.has(room):
            asked[room] = lambda room=room: _through(told, room, until)  # type: ignore[misc]
    with ThreadPoolExecutor() as threads:
        waiting = {name: threads.submit(ask) for name, ask in asked.items()}
        took = {name: one.result() - started for name, one in waiting.items()}
    late = [name for name, seconds in took.items() if started + seconds >= until]
    if late:
        raise TimeoutError(f"not all {readings} readings came to {', '.join(late)}")
    return took


def _archive_full(folder: Path, readings: int, until: float) -> float:
    """Nothing is sent twice, so rows not yet merged are readings too."""
    reader = ArchiveReader(folder / "data" / "archive.db")
    while time.monotonic() < until:
        stored = reader.stats().stored
        if stored.sealed_rows + stored.run_rows >= readings:
            break
        threading.Event().wait(0.2)
    reader.close()
    return time.monotonic()


def _through(told: Exposition, room: str, until: float) -> float:
    while told.value("meterwatch_fold_lag_entries", f'"{room}"') and time.monotonic() < until:
        threading.Event().wait(0.1)
    return time.monotonic()


def _figures(
    way: Way, sent: dict[str, Any], watcher: Watcher, took: float, cpu: dict[str, float]
) -> dict[str, Any]:
    readings = sent["readings"]
    steady = [rss for at, rss in watcher.rss if at - watcher.rss[0][0] > 10]
    return {
        "bench": "way",
        "sync_delay_ms": way.sync_delay * 1000,
        "only": list(way.only),
        "project": list(way.project),
        "offered_per_s": way.rate,
        "points": way.plan.points,
        "counter_share": sent["counter_share"],
        "rules": RULES_PER_QUANTITY * len(QUANTITIES) if way.has("judge") else 0,
        "readings": readings,
        "readings_per_s": round(readings / took),
        "sent_in_s": sent["seconds"],
        "stored_in_s": round(took, 2),
        "cpu_us_per_reading": round(cpu["program"] / readings * 1e6, 3),
        "broker_cpu_us_per_reading": round(cpu["broker"] / readings * 1e6, 3),
        "bench_cpu_us_per_reading": round(cpu["bench"] / readings * 1e6, 3),
        "others_cores": round(max(0.0, cpu["others"]) / took, 2),
        "sender_cpu_us_per_reading": round(
            sent["cpu_us_per_message"] * sent["messages"] / readings, 3
        ),
        "broker_ack_ms_p50": sent["ack_ms_p50"],
        "broker_ack_ms_p99": sent["ack_ms_p99"],
        "rss_peak_mb": round(max(rss for _, rss in watcher.rss) / 2**20, 1),
        "rss_growth_mb": round((steady[-1] - steady[0]) / 2**20, 1) if steady else None,
    }


def _archived(folder: Path, readings: int) -> dict[str, Any]:
    """Of the files, once the program has ended."""
    stats = ArchiveReader(folder / "data" / "archive.db").stats()
    return {
        "archive_bytes_per_reading": round(stats.file_bytes / readings, 2),
        "disk_bytes_per_reading": round(
            sum(file.stat().st_size for file in (folder / "data").iterdir()) / readings, 2
        ),
    }


def _judged(way: Way, folder: Path, watcher: Watcher, observers: list[Observer]) -> dict[str, Any]:
    if way.has("archive"):
        reader = ArchiveReader(folder / "data" / "archive.db")

        def stored(point: str) -> Readings:
            found = reader.read(point, 0, 2**62)
            return list(zip(found.time.tolist(), found.value.tolist(), strict=True))
    else:
        stored = observers[0].asked.stored
    return {
        "alerts": watcher.fired,
        "alerts_counted_independently": count_alerts(way.plan, stored),
        "publish_to_alert_ms_p50": percentile(watcher.delays, 50),
        "publish_to_alert_ms_p99": percentile(watcher.delays, 99),
    }


def _arguments() -> Way:
    args = argparse.ArgumentParser(prog="bench.way", description=__doc__)
    args.add_argument("--rate", type=float, default=400_000, help="readings/s; 0: all it takes")
    args.add_argument("--seconds", type=float, default=30)
    args.add_argument("--sync-delay", type=float, default=0, help="seconds added to each sync")
    args.add_argument("--project", action="append", default=[], choices=list(ASKED))
    args.add_argument("--only", action="append", default=[], help="a room; repeat for several")
    told = args.parse_args()
    if told.only and "archive" not in told.only and not told.project:
        args.error("without the archive, name a database with --project: somebody must keep them")
    return Way(told.rate, told.seconds, told.sync_delay, tuple(told.project), tuple(told.only))


if __name__ == "__main__":
    print(json.dumps(run(_arguments())))
