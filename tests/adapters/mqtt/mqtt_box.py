"""Both ends of a broker: an MQTT source on an intake, and a gateway that hears what it is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from adapters.sources.mqtt import MqttSettings, MqttSource
from collector.telemetry import Telemetry
from meterwatch.clock import SystemClock
from tests.adapters.payload.pushed import Fleet, topic
from tests.intakes import CollectingIntake
from tests.servers import Mosquitto

VERSIONS = pytest.mark.parametrize("version", [4, 5], ids=["3.1.1", "5"])


class Box:
    """A source and what it needs; ``async with box.running(intake)`` runs it."""

    def __init__(self, port: int, **settings: Any) -> None:
        self.fleet = Fleet()
        self.telemetry = Telemetry()
        wanted = {"first_wait": 0.05, "longest_wait": 0.2, "finish": 0.3} | settings
        self.settings = MqttSettings("main", "127.0.0.1", port, **wanted)

    @contextlib.asynccontextmanager
    async def running(
        self, intake: CollectingIntake, *, until_up: bool = True
    ) -> AsyncIterator[MqttSource]:
        source = MqttSource(self.settings, self.fleet.decoder, SystemClock(), self.telemetry)
        task = asyncio.create_task(source.run(intake))
        try:
            if until_up:
                already = len(intake.states())
                await intake.until(lambda i: any(s.up for s in i.states()[already:]))
            yield source
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def metric(self, name: str) -> float:
        return self.telemetry.value(name, source="mqtt:main")

    async def until(self, name: str, least: float = 1) -> None:
        """Until this metric is ``least`` or more."""
        async with asyncio.timeout(60):
            while self.metric(name) < least:  # noqa: ASYNC110 - a metric tells nobody that it changed
                await asyncio.sleep(0.01)  # as above


class Sender:
    """A gateway that listens to all that is said to it, on ``listens``."""

    def __init__(
        self, broker: Mosquitto, version: int, listens: str, user: str = "", password: str = ""
    ) -> None:
        self.heard: queue.SimpleQueue[mqtt.MQTTMessage] = queue.SimpleQueue()
        self._client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTProtocolVersion(version)
        )
        self._ready = threading.Event()
        self._client.on_message = lambda _c, _u, heard: self.heard.put(heard)
        self._client.on_subscribe = lambda *_: self._ready.set()
        if user:
            self._client.username_pw_set(user, password)
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()
        self._client.subscribe(listens, 1)
        assert self._ready.wait(20)

    def send(self, payload: bytes, to: str = "gw-print", **properties: Any) -> None:
        told = Properties(PacketTypes.PUBLISH) if properties else None
        for name, value in properties.items():
            setattr(told, name, value)
        self._client.publish(topic(to), payload, 1, properties=told).wait_for_publish(20)

    def reply(self) -> mqtt.MQTTMessage:
        return self.heard.get(timeout=20)

    def told(self) -> dict[str, Any]:
        """The next reply."""
        found: dict[str, Any] = json.loads(self.reply().payload)
        return found

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@contextlib.contextmanager
def sender(
    broker: Mosquitto, version: int = 5, listens: str = "meterwatch/v1/+/replies/#", **login: str
) -> Iterator[Sender]:
    made = Sender(broker, version, listens, **login)
    try:
        yield made
    finally:
        made.close()
