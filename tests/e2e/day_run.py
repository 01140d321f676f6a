"""The program lives through the day of ``tests/e2e/day.py``, and feeds both databases meanwhile.

Meters hang on a bus of real sockets, a gateway publishes to a real broker, the clock is simulated:
it stands still while somebody works, at each quarter-hour for the gateway's messages, and at each
minute of the last quarter, and before what is late or refused comes, until both projections have
said all that was due.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from adapters.projection import fold
from adapters.state.foldfile import open_reader
from collector.errors import TemporaryError
from collector.model import Tick
from collector.ports import Delivery, Urgency
from collector.telemetry import Telemetry
from meterwatch.app import FOLDS, Options, Program
from meterwatch.clock import SimulatedClock
from meterwatch.simulator.meters import MeterServer, Trouble
from tests.campaigns.sending import Sender
from tests.campaigns.traffic import Sent
from tests.databases import Database, InfluxDb, VictoriaMetrics
from tests.e2e import day
from tests.e2e.day import MINUTE, QUARTER, Meters
from tests.programs import DEADLINE, eventually
from tests.servers import Mosquitto

SETTINGS: Final = """
[program]
listen = ""
zone = "Asia/Shanghai"
tick = "1m"
[[source]]
kind = "modbus"
timeout = "30s"
[[source]]
kind = "mqtt"
name = "main"
url = "mqtt://127.0.0.1:{broker}"
client_id = "day"
[[projection]]
name = "vm"
kind = "victoria-metrics"
url = "{victoria}"
[[projection]]
name = "influx"
kind = "influxdb"
url = "{influx}"
version = 1
database = "meterwatch"
"""
PROJECTIONS: Final = ("project-vm", "project-influx")
SLOWLY: Final = day.END - QUARTER
"""From here on every minute is said."""
GARBAGE: Final = (day.hour(7), day.hour(15), day.END - QUARTER)
"""When a message comes that is none, and one of a device that nobody entered."""
HISTORY: Final = day.AWAY[1] + QUARTER
"""When the gateway sends what it kept; what it was thought to be is said before."""
BY_HAND: Final = day.hour(20)
"""A reading of ``paper/main`` is marked as set by hand."""
TOPIC: Final = "meterwatch/v1/gw-paper/readings"


@dataclass
class LivedDay:
    """The day when it is over. ``end``: the last minute that was said everywhere."""

    folder: Path
    influx: InfluxDb
    victoria: VictoriaMetrics
    meters: Meters = field(default_factory=Meters)
    end: int = 0

    @property
    def databases(self) -> dict[str, Database]:
        """By query language."""
        return {"influxql": self.influx, "promql": self.victoria}


@contextlib.contextmanager
def lived(folder: Path) -> Iterator[LivedDay]:
    """Both databases, fed by the program that lived through the day. VictoriaMetrics with its
    cache, as in service."""
    with (
        InfluxDb(folder / "influx") as influx,
        VictoriaMetrics(folder / "vm", "-search.disableCache=false") as victoria,
        Mosquitto(folder / "broker") as broker,
        Sender(broker.port) as sender,
        pytest.MonkeyPatch.context() as patch,
    ):
        # In service it is looked every two seconds what is to be said; here those are an hour.
        patch.setattr(fold, "STATEMENT_SECONDS", 0.0)
        made = LivedDay(folder / "fleet", influx, victoria)
        asyncio.run(_Living(made, broker.port, sender).live())
        victoria.flush()
        yield made


class _Living:
    """Drives the clock, the broker's sender and the troubles of the meters."""

    def __init__(self, made: LivedDay, broker: int, sender: Sender) -> None:
        self._made = made
        self._broker = broker
        self._sender = sender
        self._telemetry = Telemetry()
        self._clock = SimulatedClock(day.START)
        self._sent = 0

    async def live(self) -> None:
        made, clock = self._made, self._clock
        async with MeterServer(list(made.meters.meters.values()), clock.now) as server:
            settings = SETTINGS.format(
                broker=self._broker, victoria=made.victoria.url, influx=made.influx.url
            )
            day.write_fleet(made.folder, settings, server.port)
            options = Options(linger=dict.fromkeys((*FOLDS, *PROJECTIONS), 0.1))
            self._program = program = Program(made.folder, clock, self._telemetry, options)
            stopping = asyncio.Event()
            running = asyncio.create_task(program.run(stopping))
            await program.started.wait()
            await self._until(lambda: program.health()[1]["sources"]["up"], "the broker is reached")
            for now in range(day.START + QUARTER, day.END + 1, QUARTER):
                await self._pass(now)
                self._trouble(now)
                await self._publish(now)
            made.end = clock.now()
            for _ in range(2):  # what a minute says last, it says before the next
                await self._minute(clock.now() + MINUTE)
            stopping.set()
            await running

    async def _pass(self, until: int) -> None:
        """Time up to ``until``."""
        told = until - 3 * MINUTE if until in {GARBAGE[0], HISTORY} else until
        slow = until - QUARTER if until > SLOWLY else told
        if self._clock.now() < slow:
            await self._clock.run_until(slow)
        for now in range(self._clock.now() + MINUTE, until + 1, MINUTE):
            await self._minute(now)

    async def _minute(self, now: int) -> None:
        """One minute, said by both projections after every fold took the one before it."""
        await self._drain()
        await self._clock.run_until(now)
        await self._drain()
        for name in PROJECTIONS:
            path = self._made.folder / "data" / f"{name}.db"
            await self._until(lambda path=path: _said(path) >= now // MINUTE, f"{name} said it")

    async def _drain(self) -> None:
        for one in self._program.folds.values():
            assert await asyncio.to_thread(one.drain, DEADLINE), one.name

    async def _until(self, condition: Any, what: str) -> None:
        await asyncio.to_thread(eventually, condition, what)

    def _trouble(self, now: int) -> None:
        """The yard's station refuses to answer for a while."""
        start, end = day.SILENT
        if now in {start, end}:
            station = self._made.meters.meters["hospital", "yard"]
            station.trouble = Trouble.EXCEPTION if now == start else None

    async def _publish(self, now: int) -> None:
        """What comes over MQTT at this moment, in the journal before time goes on."""
        messages = list(_messages(now))
        await asyncio.to_thread(self._sender.send, messages)
        self._sent += len(messages)
        taken = self._telemetry.value
        await self._until(
            lambda: taken("mqtt_messages", source="mqtt:main") >= self._sent, "messages are taken"
        )
        await self._program.intake.deliver(
            Delivery(None, Urgency.CONTROL, entries=[Tick(self._clock.now())])
        )


def _messages(now: int) -> Iterator[Sent]:
    left, back = day.AWAY
    if not left < now < back:
        flags = {"power.active": "S"} if now == BY_HAND else {}
        yield _message([_reading("main-meter", now, flags)])
    if now == HISTORY:
        kept = range(left + QUARTER, back, QUARTER)
        yield _message([_reading("main-meter", at, {}) for at in kept], backfill=True)
    if now in GARBAGE:
        yield Sent(TOPIC, b"\x00 no JSON", [])
        yield _message([_reading("nobody", now, {})])


def _message(readings: list[dict[str, object]], *, backfill: bool = False) -> Sent:
    return Sent(TOPIC, json.dumps({"readings": readings, "backfill": backfill}).encode(), [])


def _reading(device: str, at: int, flags: dict[str, str]) -> dict[str, object]:
    values = {name: day.shown("paper", "main", name, at) for name in day.PUSHED}
    return {"device": device, "time": at, "values": values, "flags": flags}


def _said(path: Path) -> int:
    """The last minute of which a projection has said how the program is: what it says first."""
    try:
        with contextlib.closing(open_reader(path)) as db:
            row = db.execute("SELECT value FROM meta WHERE key = 'said'").fetchone()
    except TemporaryError:
        return 0
    told: dict[str, Any] = json.loads(row[0]) if row is not None else {}
    return int(told.get("pipeline", {}).get("minute", 0))
