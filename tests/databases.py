"""Real time-series databases for tests, on free loopback ports: VictoriaMetrics and InfluxDB 1.

Each keeps its folder and port over ``stop``, ``kill`` and ``start``; ``wipe`` takes its disk away.
Both are asked directly here, past the program under test, so that a test can tell what a
database really holds.
"""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

from tests.servers import Server, free_port, program

START_S = 30.0
POLL = 0.02


class Database(Server):
    """What both have in common: a process, its folder, an HTTP port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Start, on the same port and folder every time; returns when it answers."""
        log = (self.folder / "server.log").open("ab")
        with log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log)
        until = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                self.kill()
                tail = (self.folder / "server.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{type(self).__name__} did not start:\n{tail}")
            time.sleep(POLL)
        self._started()
        return self

    def wipe(self) -> None:
        """An empty disk, while it does not run."""
        assert self._process is None
        shutil.rmtree(self.folder / "data", ignore_errors=True)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, str]:
        """Status and body of one request of its own connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def _answers(self) -> bool:
        try:
            return self.request("GET", self._health())[0] < 300
        except (OSError, http.client.HTTPException):
            return False

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _health(self) -> str:
        raise NotImplementedError

    def _started(self) -> None:
        """What is to be done after each start."""


class VictoriaMetrics(Database):
    """Started with ``flags`` beside those that a projection needs; ``retention`` as its flag takes
    it (``24`` months); ``dedup`` empty leaves the flag away."""

    def __init__(
        self, folder: Path, *flags: str, retention: str = "1200", dedup: str = "1ms"
    ) -> None:
        super().__init__(folder)
        self._flags = (f"-retentionPeriod={retention}", *flags)
        if dedup:
            self._flags += (f"-dedup.minScrapeInterval={dedup}",)

    def _command(self) -> list[str]:
        return [
            program("victoria-metrics"),
            f"-storageDataPath={self.folder / 'data'}",
            f"-httpListenAddr=127.0.0.1:{self.port}",
            "-memory.allowedBytes=512MB",
            "-search.latencyOffset=0s",
            "-search.disableCache",
            "-search.maxStalenessInterval=0",
            *self._flags,
        ]

    def _health(self) -> str:
        return "/health"

    def flush(self) -> None:
        """Make everything that was written visible to queries."""
        self.request("GET", "/internal/force_flush")

    def export(self, match: str = '{__name__!=""}') -> list[dict[str, Any]]:
        """Every series with its values and timestamps (ms), deduplicated as queries see it."""
        self.flush()
        form = urlencode({"match[]": match, "reduce_mem_usage": "0"}).encode()
        status, body = self.request(
            "POST",
            "/api/v1/export",
            form,
            {"Content-Type": "application/x-www-form-urlencoded"},
        )
        assert status == 200, body
        # Not splitlines: what else Unicode calls an end of line may stand in a label.
        return [json.loads(line) for line in body.split("\n") if line]

    def metrics(self) -> dict[str, float]:
        """Its own counters by name, labels included."""
        _, body = self.request("GET", "/metrics")
        found = (line.rpartition(" ") for line in body.splitlines() if line[:1] != "#")
        return {name: float(value) for name, _, value in found if name}


class InfluxDb(Database):
    """InfluxDB 1.x. ``users``: switches authentication on; the first is the administrator."""

    def __init__(
        self, folder: Path, *, users: dict[str, str] | None = None, database: str = "meterwatch"
    ) -> None:
        super().__init__(folder)
        self.database = database
        self.users = users or {}
        self._rpc = free_port()

    def _command(self) -> list[str]:
        config = self.folder / "influxdb.conf"
        data = self.folder / "data"
        config.write_text(f"""
reporting-enabled = false
bind-address = "127.0.0.1:{self._rpc}"
[meta]
dir = "{data}/meta"
[data]
dir = "{data}/data"
wal-dir = "{data}/wal"
index-version = "tsi1"
max-series-per-database = 0
max-values-per-tag = 0
query-log-enabled = false
[monitor]
store-enabled = false
[http]
bind-address = "127.0.0.1:{self.port}"
auth-enabled = {"true" if self.users else "false"}
log-enabled = false
max-body-size = 0
""")
        return [program("influxd"), "-config", str(config)]

    def _health(self) -> str:
        return "/ping"

    def _started(self) -> None:
        for at, (user, password) in enumerate(self.users.items()):
            rights = " WITH ALL PRIVILEGES" if at == 0 else ""
            self._statement(f"CREATE USER \"{user}\" WITH PASSWORD '{password}'{rights}")
        self._statement(f'CREATE DATABASE "{self.database}"')
        for user in list(self.users)[1:]:
            self._statement(f'GRANT ALL ON "{self.database}" TO "{user}"')

    def query(self, influxql: str) -> list[dict[str, Any]]:
        """The series of one statement's answer; times in ms. Raises on any error."""
        return self._statement(influxql).get("series", [])  # type: ignore[no-any-return]

    def _statement(self, influxql: str) -> dict[str, Any]:
        form = urlencode({"q": influxql, "db": self.database, "epoch": "ms"}).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if self.users:
            user, password = next(iter(self.users.items()))
            token = base64.b64encode(f"{user}:{password}".encode()).decode()
            headers["Authorization"] = f"Basic {token}"
        status, body = self.request("POST", "/query", form, headers)
        answer: dict[str, Any] = json.loads(body)
        assert status == 200, body
        (result,) = answer["results"]
        assert "error" not in result, (influxql, result)
        return result  # type: ignore[no-any-return]
