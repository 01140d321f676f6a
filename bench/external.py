"""Real external databases under the bench: started, fed by the program, and asked themselves.

How long a reading takes is measured in two ways. *Acknowledged*: at moments a tenth of a second
apart, the age of the oldest reading that was published and that the database has not acknowledged.
*Visible*: a marker, published by a connection of its own among the flood at a known time, until a
query shows it (asked every 50 ms). VictoriaMetrics shows new rows after its own flush of about a
second.
"""

from __future__ import annotations

import bisect
import json
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlencode

import psutil

from bench.limits import Readings
from bench.plan import QUANTITIES
from bench.sender import connect, publish
from bench.watch import Exposition, cpu_seconds, percentile
from collector.schema import metric_of, names_of
from tests.databases import Database, InfluxDb, VictoriaMetrics

MARKER_SITE: Final = "bench-marker"
MARKER_GATEWAY: Final = "gw-marker"
MARKER_QUANTITY: Final = "frequency"
MARKER_SECONDS: Final = 0.2
ASK_SECONDS: Final = 0.05
DEADLINE: Final = 60.0
WARM_SECONDS: Final = 2.0
"""At the beginning of a run, not looked at."""
MARKER_REGISTRY: Final = f"""
[site]
id = "{MARKER_SITE}"
name = "marker"
name_zh = "marker"
county = "620502"
industry = "C2319"
[[gateway]]
id = "{MARKER_GATEWAY}"
name = "marker"
[[place]]
id = "marker"
name = "marker"
name_zh = "marker"
[[device]]
id = "marker"
place = "marker"
profile = "push"
gateway = "{MARKER_GATEWAY}"
interval = "10s"
quantities = ["{MARKER_QUANTITY}"]
"""


class Asked(Protocol):
    """An external database as the bench needs it."""

    server: Database
    settings: str

    def count(self, quantity: str) -> int:
        """Readings of ``quantity`` that it holds now, all that it acknowledged included."""

    def total(self, quantity: str) -> float:
        """Their sum."""

    def markers(self, since: int) -> list[int]:
        """Times (UTC ms) of the markers from ``since`` on that a query shows now."""

    def stored(self, point: str) -> Readings:
        """Readings of one point by its name."""


class Victoria:
    """Implements ``Asked``. A window of an hour holds every run."""

    settings = 'kind = "victoria-metrics"\n'

    def __init__(self, folder: Path) -> None:
        self.server = VictoriaMetrics(folder)

    def count(self, quantity: str) -> int:
        return int(self._over("count", quantity))

    def total(self, quantity: str) -> float:
        return self._over("sum", quantity)

    def _over(self, what: str, quantity: str) -> float:
        self.server.flush()
        metric = metric_of(*names_of(quantity))
        query = {"query": f"sum({what}_over_time({metric}[1h]))", "time": int(time.time()) + 5}
        _, body = self.server.request("GET", f"/api/v1/query?{urlencode(query)}")
        found = json.loads(body)["data"]["result"]
        return float(found[0]["value"][1]) if found else 0.0

    def markers(self, since: int) -> list[int]:
        metric = metric_of(*names_of(MARKER_QUANTITY))
        rows = self._export(f'{metric}{{site="{MARKER_SITE}"}}', since)
        return [at for row in rows for at in row["timestamps"]]

    def stored(self, point: str) -> Readings:
        site, place, quantity, _ = point.split("/")
        metric = metric_of(*names_of(quantity))
        rows = self._export(f'{metric}{{site="{site}",place="{place}"}}', 0)
        return sorted(pair for row in rows for pair in zip(row["timestamps"], row["values"]))  # noqa: B905

    def _export(self, selector: str, since: int) -> list[dict[str, Any]]:
        query = {"match[]": selector, "start": since / 1000, "reduce_mem_usage": 0}
        _, body = self.server.request("GET", f"/api/v1/export?{urlencode(query)}")
        return [json.loads(line) for line in body.splitlines()]


class Influx:
    """Implements ``Asked``: version 1, whose server there is."""

    settings = 'kind = "influxdb"\nversion = 1\ndatabase = "meterwatch"\n'

    def __init__(self, folder: Path) -> None:
        self.server = self._server = InfluxDb(folder)

    def count(self, quantity: str) -> int:
        return int(self._over("count", quantity))

    def total(self, quantity: str) -> float:
        return self._over("sum", quantity)

    def _over(self, what: str, quantity: str) -> float:
        measurement, field = names_of(quantity)
        found = self._server.query(f'SELECT {what}("{field}") FROM "{measurement}"')
        return float(found[0]["values"][0][1]) if found else 0.0

    def markers(self, since: int) -> list[int]:
        return [at for at, _ in self._rows(MARKER_SITE, "marker", MARKER_QUANTITY, since)]

    def stored(self, point: str) -> Readings:
        site, place, quantity, _ = point.split("/")
        return self._rows(site, place, quantity, 0)

    def _rows(self, site: str, place: str, quantity: str, since: int) -> Readings:
        measurement, field = names_of(quantity)
        found = self._server.query(
            f'SELECT "{field}" FROM "{measurement}" WHERE "site" = \'{site}\' '
            f"AND \"place\" = '{place}' AND time >= {since}ms"
        )
        return [(int(at), float(value)) for row in found for at, value in row["values"]]


ASKED: Final[Mapping[str, type[Victoria | Influx]]] = {
    "victoria-metrics": Victoria,
    "influxdb": Influx,
}


class Markers:
    """Publishes markers until stopped. ``times``: of those that were (UTC ms)."""

    def __init__(self, port: int) -> None:
        self.times: list[int] = []
        self._link: socket.socket = connect("127.0.0.1", port, "bench-marker", "", "")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        self._link.close()

    def _run(self) -> None:
        topic = f"meterwatch/v1/{MARKER_GATEWAY}/readings"
        while not self._stopping.wait(MARKER_SECONDS):
            now = time.time_ns() // 1_000_000
            values = {MARKER_QUANTITY: 50.0}
            reading = {"device": "marker", "time": now, "values": values}
            publish(self._link, topic, json.dumps({"readings": [reading]}).encode())
            self.times.append(now)


class Observer:
    """One database and the projection that feeds it, looked at while they work."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.asked: Asked = ASKED[kind](folder)
        self.asked.server.start()
        process = self.asked.server._process  # noqa: SLF001 its number is nobody's business else
        assert process is not None
        self.process = psutil.Process(process.pid)
        self.delays: dict[int, float] = {}
        self._samples: list[tuple[float, float]] = []
        self._rss = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def settings(self) -> str:
        """Its part of ``meterwatch.toml``."""
        where = f'name = "{self.kind}"\nurl = "{self.asked.server.url}"\n'
        return f"[[projection]]\n{where}{self.asked.settings}"

    def start(self, program: Exposition) -> None:
        """Begin to look, once the projection has brought a first marker into the database."""
        self._program = program
        until = time.monotonic() + DEADLINE
        while not self.acknowledged():
            if time.monotonic() > until:
                raise TimeoutError(f"nothing comes into {self.kind}")
            self._stopping.wait(ASK_SECONDS)
        self._started = time.time()
        self._cpu = cpu_seconds(self.process)
        self._thread.start()

    def acknowledged(self) -> float:
        """Readings that the database has acknowledged, as the program counts them."""
        name = "meterwatch_projection_readings_total"
        return self._program.value(name, f'projection="{self.kind}"')

    def wait(self, readings: int, until: float) -> float:
        """Ask the database until it holds all; monotonic seconds then, or ``until``."""
        last, each = QUANTITIES[-1], readings // len(QUANTITIES)
        while self.asked.count(last) < each and time.monotonic() < until:
            self._stopping.wait(0.1)
        return time.monotonic()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        self._cpu = cpu_seconds(self.process) - self._cpu

    def close(self) -> None:
        self.asked.server.kill()

    def _run(self) -> None:
        first, turn = int(self._started * 1000), 0
        while not self._stopping.wait(ASK_SECONDS):
            turn += 1
            if turn % 2:
                self._samples.append((time.time() * 1000, self.acknowledged()))
                self._rss = max(self._rss, self.process.memory_info().rss)
            for at in self.asked.markers(first):
                first = max(first, at + 1)
                self.delays[at] = time.time() * 1000 - at

    def figures(self, sent: Mapping[str, Any], curve: list[tuple[int, int]]) -> dict[str, Any]:
        """After ``stop``. ``sent``: what the sender told; ``curve``: when how many messages."""
        readings = sent["readings"]
        counts = {quantity: self.asked.count(quantity) for quantity in QUANTITIES}
        wrong = {
            quantity: total - told
            for quantity, told in sent["sums"].items()
            if abs((total := self.asked.total(quantity)) - told) > 1e-9 * abs(told)
        }
        ages = self._ages(curve, readings // sent["messages"])
        lag = self._lag(curve, sent)
        seen = [
            delay for at, delay in self.delays.items() if at > curve[0][0] + 1000 * WARM_SECONDS
        ]
        sizes = self._program.value("meterwatch_projection_bytes_total", f'"{self.kind}"')
        return {
            "lost": readings - sum(counts.values()),
            "wrong_sums": wrong,
            "cpu_us_per_reading": round(self._cpu / readings * 1e6, 3),
            "rss_peak_mb": round(self._rss / 2**20, 1),
            "bytes_sent_per_reading": round(sizes / readings, 1),
            "lag_readings_at_end_of_sending": lag,
            "publish_to_acknowledged_ms_p50": percentile(ages, 50),
            "publish_to_acknowledged_ms_p99": percentile(ages, 99),
            "publish_to_visible_ms_p50": percentile(seen, 50),
            "publish_to_visible_ms_p99": percentile(seen, 99),
            "markers": len(seen),
        }

    def _ages(self, curve: list[tuple[int, int]], per_message: int) -> list[float]:
        """At each look while sending: the age of the oldest reading not yet acknowledged."""
        ages = []
        for now, readings in self._samples:
            if curve[0][0] + 1000 * WARM_SECONDS <= now <= curve[-1][0]:
                at = bisect.bisect_right(curve, readings / per_message, key=lambda one: one[1])
                ages.append(max(0.0, now - curve[max(0, at - 1)][0]))
        return ages

    def _lag(self, curve: list[tuple[int, int]], sent: Mapping[str, Any]) -> int:
        """Readings sent and not yet acknowledged at the last look before the end of sending."""
        looked = [readings for now, readings in self._samples if now <= curve[-1][0]]
        return max(0, round(sent["readings"] - (looked[-1] if looked else 0)))
