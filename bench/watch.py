"""A program looked at from outside while it works: memory, CPU, its alerts as they appear, and
what it publishes about itself."""

from __future__ import annotations

import re
import sqlite3
import threading
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil


@dataclass
class Watcher:
    """The memory of ``process``, and the alerts in its file ``alerts`` (when it comes)."""

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
        connection: sqlite3.Connection | None = None
        last = turn = 0
        ending = False
        while not ending:
            ending = self._stop.wait(0.02)
            turn += 1
            if turn % 25 == 1 and self.process.is_running():
                self.rss.append((time.monotonic(), self.process.memory_info().rss))
            connection = connection or self._opened()
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


def cpu_seconds(process: psutil.Process) -> float:
    """CPU that a process has used, in it and in the kernel."""
    times = process.cpu_times()
    return float(times.user + times.system)


class Usage:
    """CPU from now on of the ``processes`` that belong to a run, and of all others on the machine
    (``others``; the sender, which has ended when this is asked, is among them)."""

    def __init__(self, processes: Mapping[str, psutil.Process]) -> None:
        self._processes = processes
        self._before = self._now()

    def seconds(self) -> dict[str, float]:
        after = self._now()
        return {name: used - self._before[name] for name, used in after.items()}

    def _now(self) -> dict[str, float]:
        times = psutil.cpu_times()
        busy = sum(times[:3]) + sum(getattr(times, name, 0.0) for name in ("irq", "softirq"))
        used = {name: cpu_seconds(process) for name, process in self._processes.items()}
        return used | {"others": busy - sum(used.values())}


class Exposition:
    """What the program publishes on its ``/metrics``."""

    def __init__(self, port: int) -> None:
        self._port = port

    def value(self, name: str, labels: str = "") -> float:
        """Of one metric whose labels contain ``labels``; 0 where there is none yet."""
        found = re.search(rf"^{name}(?:{{.*{labels}.*}})? (\S+)$", self._text(), re.MULTILINE)
        return float(found[1]) if found else 0.0

    def quantiles(self, name: str, *which: float) -> list[float | None]:
        """Milliseconds, linear within the histogram's buckets."""
        rows = re.findall(rf'^{name}_bucket{{.*le="([^"]+)".*}} (\S+)$', self._text(), re.MULTILINE)
        histogram = [(float(bound), float(count)) for bound, count in rows]
        return [_quantile(histogram, one) for one in which]

    def _text(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics") as answer:
            text: str = answer.read().decode()
        return text


def _quantile(histogram: list[tuple[float, float]], which: float) -> float | None:
    low, before = 0.0, 0.0
    for bound, count in histogram:
        wanted = which * histogram[-1][1]
        if count >= wanted and count > before:
            share = (wanted - before) / (count - before)
            return round(1000 * (low + (min(bound, 60.0) - low) * share), 1)
        low, before = bound, count
    return None


def percentile(values: list[float], which: float) -> float | None:
    return round(float(np.percentile(values, which)), 1) if values else None
