"""A running program that feeds real databases, and what they hold, asked past the program.

A test file takes the fixture with ``house = fed_databases.house``.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.campaigns.held import compare, held_by_influx, held_by_victoria, wanted_of
from tests.campaigns.kill import stored
from tests.campaigns.traffic import Sent, write_fleet
from tests.databases import InfluxDb, VictoriaMetrics
from tests.programs import RunningProgram, health, meterwatch
from tests.servers import Mosquitto

VM = """
[[projection]]
name = "db"
kind = "victoria-metrics"
url = "{url}"
"""
INFLUX = """
[[projection]]
name = "db"
kind = "influxdb"
version = 1
url = "{url}"
database = "meterwatch"
"""
METERS = [f"plant-0/meter-{number}/energy.active.import/raw" for number in range(4)]
MONITORS = [f"plant-0/monitor-{number}/voc.nmhc.concentration/raw" for number in range(2)]
POINTS = METERS + MONITORS


@dataclass(frozen=True)
class House:
    """A fleet folder, its broker, and the databases that a test wants."""

    folder: Path
    fleet: Path
    broker: Mosquitto
    stack: ExitStack

    def victoria(self) -> VictoriaMetrics:
        """Fed, and keeps a month."""
        server = self.stack.enter_context(VictoriaMetrics(self.folder / "vm", retention="1"))
        self.add(VM.format(url=server.url))
        return server

    def influx(self, **options: Any) -> InfluxDb:
        """Fed, and keeps thirty days."""
        server = self.stack.enter_context(InfluxDb(self.folder / "influx", **options))
        server.query('ALTER RETENTION POLICY "autogen" ON "meterwatch" DURATION 30d')
        self.add(INFLUX.format(url=server.url))
        return server

    def add(self, text: str) -> None:
        with (self.fleet / "meterwatch.toml").open("a", encoding="utf-8") as settings:
            settings.write(text)

    def run(self, *arguments: str) -> RunningProgram:
        """Until it runs."""
        program = self.stack.enter_context(RunningProgram(self.fleet, *arguments))
        program.wait_for("running")
        return program

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return meterwatch(*words, str(self.fleet))

    def stored(self) -> int:
        return stored(self.fleet)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with ExitStack() as stack:
        broker = stack.enter_context(Mosquitto(tmp_path / "broker"))
        yield House(tmp_path, write_fleet(tmp_path / "fleet", broker.port), broker, stack)


def holds(server: VictoriaMetrics | InfluxDb, sent: list[Sent]) -> bool:
    """Whether the server holds these readings, each once, and no other."""
    wanted = wanted_of(sent)
    try:
        if isinstance(server, VictoriaMetrics):
            compare(wanted, held_by_victoria(server), "VictoriaMetrics")
        else:
            compare(wanted, held_by_influx(server, wanted), "InfluxDB")
    except AssertionError:
        return False
    return True


def trouble(port: int) -> str:
    """What the health page says of the database; empty while all is well."""
    _, told = health(port)
    return str(told["folds"]["project-db"].get("trouble", ""))
