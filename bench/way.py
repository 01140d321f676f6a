"""The whole way under load: broker, sender, program and database on this machine, for real.

A sender in a process of its own publishes 50 readings a message at QoS 1 through a real
mosquitto; the program (all rooms: intake, journal, archive, account, judge with 100 rules of 500
points) keeps them, judges them and raises alerts. Nothing is read from inside the program: its
CPU and memory come from the kernel, its alerts and readings from the files it leaves.

``rate`` readings per second are offered for ``seconds``; ``sync_delay`` seconds are added to
every fdatasync (by strace) to stand for a slow flash card.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from adapters.stores.archive_reader import ArchiveReader
from bench.plan import COUNTERS, QUANTITIES, Plan
from tests.programs import RunningProgram
from tests.servers import Mosquitto, free_port

RULES_PER_QUANTITY = 10
ABOVE, CLEAR, HOLD_MS = 100, 95, 100
NEVER = 1_000_000_000
"""No register gets that far: rules on counters judge and raise nothing."""
SETTINGS = """
[program]
listen = "127.0.0.1:{metrics}"
late_after = "10m"
tick = "5s"
[[source]]
kind = "mqtt"
name = "main"
url = "mqtt://127.0.0.1:{port}"
client_id = "meterwatch-bench"
version = 5
topics = ["meterwatch/v1/+/readings"]
"""
RULE = """
[[rule]]
id = "r-{name}-{number}"
kind = "threshold"
quantity = "{quantity}"
above = {above}
clear = {clear}
for = "{hold}"
level = "{level}"
title = "{quantity} above {above}"
title_zh = "{quantity} 高于 {above}"
"""


def rules() -> str:
    """100 rules, 10 for each of the 10 quantities: each watches 500 of the 5,000 points, so
    each reading gets 10 verdicts. Half of them wait (``for``) before they fire."""
    return "".join(
        RULE.format(
            name=quantity.replace(".", "-"),
            quantity=quantity,
            number=number,
            above=(NEVER if quantity in COUNTERS else ABOVE) + number,
            clear=(NEVER if quantity in COUNTERS else CLEAR) + number,
            hold="0s" if number % 2 else f"{HOLD_MS}ms",
            level=("blue", "yellow", "orange", "red")[number % 4],
        )
        for quantity in QUANTITIES
        for number in range(RULES_PER_QUANTITY)
    )


@dataclass
class Watcher:
    """Looks at the program from outside while it works: memory, CPU, alerts as they appear."""

    process: psutil.Process
    alerts: Path
    rss: list[tuple[float, int]] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    fired: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _opened(self) -> sqlite3.Connection | None:
        """The alerts' file, once the program has made its tables."""
        if not self.alerts.exists():
            return None
        connection = sqlite3.connect(f"file:{self.alerts}?mode=ro", uri=True)
        try:
            connection.execute("SELECT 1 FROM transition").fetchone()
        except sqlite3.OperationalError:
            connection.close()
            return None
        return connection

    def _run(self) -> None:
        last = 0
        connection: sqlite3.Connection | None = None
        turn = 0
        while True:
            ending = self._stop.wait(0.02)
            turn += 1
            if turn % 25 == 1 and self.process.is_running():
                self.rss.append((time.monotonic(), self.process.memory_info().rss))
            if connection is None:
                connection = self._opened()
                if connection is None:
                    continue
            rows = connection.execute(
                "SELECT rowid, time FROM transition WHERE rowid > ? AND to_state = 'firing'"
                " AND alert IN (SELECT id FROM alert WHERE kind = 'threshold')",
                (last,),
            ).fetchall()
            now = time.time() * 1000
            for rowid, at in rows:
                last = max(last, rowid)
                self.fired += 1
                self.delays.append(now - at)
            if ending:
                return


def run(
    *, rate: float = 400_000, seconds: float = 30, sync_delay: float = 0, plan: Plan | None = None
) -> dict[str, Any]:
    """One run; the figures."""
    plan = plan or Plan()
    folder = Path(tempfile.mkdtemp(prefix="meterwatch-bench-"))
    try:
        with Mosquitto(folder / "broker") as broker:
            return _run(plan, folder / "fleet", broker.port, rate, seconds, sync_delay)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(
    plan: Plan, folder: Path, port: int, rate: float, seconds: float, sync_delay: float
) -> dict[str, Any]:
    metrics = _write_fleet(plan, folder, port)
    before: list[str] = []
    if sync_delay:
        before = ["strace", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null"]
        before += ["-e", "trace=fdatasync,fsync"]
        before += ["-e", f"inject=fdatasync,fsync:delay_exit={int(sync_delay * 1e6)}"]
    with RunningProgram(folder, before=before) as program:
        program.wait_for("running")
        program.wait_for("source-up")
        process = psutil.Process(program.process.pid)
        if before:
            (process,) = process.children()
        watcher = Watcher(process, folder / "data" / "alerts.db")
        watcher.start()
        cpu = _cpu(process)
        started = time.monotonic()
        sent = _send(plan, port, rate, seconds)
        reader = ArchiveReader(folder / "data" / "archive.db")
        while (rows := _rows(reader)) < sent["readings"]:
            if time.monotonic() - started > 4 * seconds + 60:
                raise RuntimeError(f"{rows} of {sent['readings']}:\n{program.tail()}")
            threading.Event().wait(0.2)
        took = time.monotonic() - started
        cpu = _cpu(process) - cpu
        syncs = _histogram(metrics, "meterwatch_mqtt_receipt_to_sync_seconds_bucket")
        if program.stop(pid=process.pid) != 0:  # drains the folds
            raise RuntimeError(program.tail())
        watcher.stop()
    figures = _figures(plan, folder, sent, watcher, took, cpu, rate, sync_delay)
    return figures | {
        "receipt_to_ack_ms_p50": _quantile(syncs, 0.50),
        "receipt_to_ack_ms_p99": _quantile(syncs, 0.99),
    }


def _write_fleet(plan: Plan, folder: Path, port: int) -> int:
    (folder / "registry").mkdir(parents=True)
    (folder / "rules").mkdir()
    for name, text in plan.registry().items():
        (folder / "registry" / name).write_text(text, encoding="utf-8")
    (folder / "rules" / "bench.toml").write_text(rules(), encoding="utf-8")
    metrics = free_port()
    settings = SETTINGS.format(port=port, metrics=metrics)
    (folder / "meterwatch.toml").write_text(settings, encoding="utf-8")
    return metrics


def _send(plan: Plan, port: int, rate: float, seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.sender", "--port", str(port)]
    command += ["--seconds", str(seconds), "--rate", str(rate), "--points", str(plan.points)]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _rows(reader: ArchiveReader) -> int:
    """Readings stored; nothing is sent twice, so rows not yet merged are readings too."""
    stored = reader.stats().stored
    return stored.sealed_rows + stored.run_rows


def _histogram(port: int, name: str) -> list[tuple[float, float]]:
    """Upper bound (s) and cumulated count of a histogram that the program publishes."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    rows = re.findall(rf'^{name}{{.*le="([^"]+)".*}} (\S+)$', text, re.MULTILINE)
    return [(float(bound), float(count)) for bound, count in rows]


def _quantile(histogram: list[tuple[float, float]], which: float) -> float | None:
    """Milliseconds, linear within the histogram's bucket."""
    low, before = 0.0, 0.0
    for bound, count in histogram:
        wanted = which * histogram[-1][1]
        if count >= wanted and count > before:
            share = (wanted - before) / (count - before)
            return round(1000 * (low + (min(bound, 60.0) - low) * share), 1)
        low, before = bound, count
    return None


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _figures(
    plan: Plan,
    folder: Path,
    sent: dict[str, Any],
    watcher: Watcher,
    took: float,
    cpu: float,
    rate: float,
    sync_delay: float,
) -> dict[str, Any]:
    readings = sent["readings"]
    steady = [rss for at, rss in watcher.rss if at - watcher.rss[0][0] > 10]
    stats = ArchiveReader(folder / "data" / "archive.db").stats()
    verdicts = RULES_PER_QUANTITY * readings
    return {
        "bench": "way",
        "sync_delay_ms": sync_delay * 1000,
        "offered_per_s": rate,
        "points": plan.points,
        "counter_share": sent["counter_share"],
        "rules": RULES_PER_QUANTITY * len(QUANTITIES),
        "readings": readings,
        "readings_per_s": round(readings / took),
        "sent_in_s": sent["seconds"],
        "stored_in_s": round(took, 2),
        "cpu_us_per_reading": round(cpu / readings * 1e6, 3),
        "verdicts_per_s": round(verdicts / took),
        "broker_ack_ms_p50": sent["ack_ms_p50"],
        "broker_ack_ms_p99": sent["ack_ms_p99"],
        "alerts": watcher.fired,
        "alerts_counted_independently": count_alerts(plan, folder / "data" / "archive.db"),
        "publish_to_alert_ms_p50": _percentile(watcher.delays, 50),
        "publish_to_alert_ms_p99": _percentile(watcher.delays, 99),
        "rss_peak_mb": round(max(rss for _, rss in watcher.rss) / 2**20, 1),
        "rss_growth_mb": round((steady[-1] - steady[0]) / 2**20, 1) if steady else None,
        "archive_bytes_per_reading": round(stats.file_bytes / readings, 2),
        "disk_bytes_per_reading": round(
            sum(file.stat().st_size for file in (folder / "data").iterdir()) / readings, 2
        ),
    }


def count_alerts(plan: Plan, archive: Path) -> int:
    """How many alerts the rules should have raised: a plain count, one reading at a time, over
    what the archive holds of the points that ever cross a limit (no other can raise any)."""
    reader = ArchiveReader(archive)
    alerts = 0
    for number in plan.crossers:
        found = reader.read(plan.point(number), 0, 2**62)
        readings = list(zip(found.time.tolist(), found.value.tolist(), strict=True))
        alerts += sum(_rises(readings, rule) for rule in range(RULES_PER_QUANTITY))
    reader.close()
    return alerts


def _rises(readings: list[tuple[int, float]], rule: int) -> int:
    above, clear = ABOVE + rule, CLEAR + rule
    hold = 0 if rule % 2 else HOLD_MS
    fired = 0
    since: int | None = None
    firing = False
    for at, value in readings:
        if firing:
            if value <= clear:
                firing, since = False, None
            continue
        if value > above:
            since = at if since is None else since
        elif value <= clear:
            since = None
        if since is not None and at - since >= hold:
            firing = True
            fired += 1
    return fired


def _percentile(values: list[float], which: float) -> float | None:
    return round(float(np.percentile(values, which)), 1) if values else None


if __name__ == "__main__":
    offered = float(sys.argv[1]) if len(sys.argv) > 1 else 400_000
    lasting = float(sys.argv[2]) if len(sys.argv) > 2 else 30
    delay = float(sys.argv[3]) if len(sys.argv) > 3 else 0
    print(json.dumps(run(rate=offered, seconds=lasting, sync_delay=delay)))
