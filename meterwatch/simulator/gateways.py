"""Simulated gateways: boxes that read their devices and push the readings to a real broker.

As a good gateway does: QoS 1, one message in flight, and whatever the broker has not
acknowledged is kept, within a bound, and sent later as backfill. As a bad one does, when told to:
it goes silent, shows another serial number, sends garbage, sends twice, sends out of order.

What it measures depends on the clock alone, so that a run can be counted: ``measured`` readings
were taken, ``acknowledged`` of them are the broker's, ``len(gateway.kept)`` still here, ``lost``
dropped because the box was full.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from collector.ports import Clock

Values = Mapping[str, float | None]
_ANSWER_S: Final = 5.0
_ROWS_A_MESSAGE: Final = 50
_LATE_MS: Final = 60_000


@dataclass(frozen=True)
class PushedDevice:
    """A device as its gateway sees it. ``read(time)`` gives what it shows at a time (UTC ms), by
    quantity; ``serial()`` the number on its plate; ``units`` and ``flags`` go along as they are."""

    id: str
    read: Callable[[int], Values]
    serial: Callable[[], str] = str
    units: Mapping[str, str] = field(default_factory=dict)
    flags: Callable[[int], Mapping[str, str]] = lambda _time: {}


@dataclass
class Faults:
    """What is wrong with a gateway at present; change it at any time."""

    silent: bool = False
    """No network; it measures on and keeps what it has."""
    wrong_serial: Mapping[str, str] = field(default_factory=dict)
    """Device id -> the serial number it says instead."""
    garbage: int = 0
    """So many of the next messages are accompanied by one that is no JSON."""
    duplicate: bool = False
    """Every message is sent twice."""
    shuffled: bool = False
    """The readings of a message, and the messages that were kept, come in any order."""


@dataclass(frozen=True)
class _Row:
    time: int
    device: str
    fields: dict[str, Any]

    @property
    def readings(self) -> int:
        return len(self.fields["values"])


class SimulatedGateway:
    """One gateway. ``run`` until cancelled; or ``measure`` and ``deliver`` by hand.

    ``online`` is asked before every message, beside ``faults.silent``. ``keep``: rows it has room
    for. ``version`` 4 (MQTT 3.1.1, which every broker speaks) or 5.
    """

    def __init__(
        self,
        name: str,
        devices: Sequence[PushedDevice],
        clock: Clock,
        port: int,
        *,
        host: str = "127.0.0.1",
        user: str = "",
        password: str = "",
        interval_ms: int = 10_000,
        online: Callable[[], bool] = lambda: True,
        keep: int = 100_000,
        version: int = 4,
        seed: int = 1,
    ) -> None:
        self.name = name
        self.faults = Faults()
        self.kept: deque[_Row] = deque()
        """Rows that the broker has not acknowledged, in order of time."""
        self.measured = self.acknowledged = self.lost = self.garbage = 0
        self._devices, self._clock, self._interval = devices, clock, interval_ms
        self._address = (host, port)
        self._login = (user, password)
        self._online, self._keep, self._version = online, keep, version
        self._dice = random.Random(f"{seed}/{name}")  # noqa: S311 - faults, not secrets
        self._topic = f"meterwatch/v1/{name}/readings"
        self._link: _Link | None = None
        self._fresh_from = 0

    async def run(self) -> None:
        """Measure and send at each full interval of the clock, for ever. A busy machine makes it
        late, and leaves no gap; a clock that was set does."""
        due = self._clock.now() // self._interval * self._interval
        try:
            while True:
                now = self._clock.now()
                due += self._interval
                if abs(now - due) > _LATE_MS + self._interval:
                    due = (now // self._interval + 1) * self._interval
                await self._clock.sleep(due - now)
                self.measure(due)
                await self.deliver()
        finally:
            self.close()

    def measure(self, time: int) -> None:
        """Read every device at ``time`` (UTC ms) and keep it."""
        self._fresh_from = time
        for device in self._devices:
            row = _Row(time, device.id, self._fields(device, time))
            self.kept.append(row)
            self.measured += row.readings
        while len(self.kept) > self._keep:
            self.lost += self.kept.popleft().readings

    async def deliver(self) -> bool:
        """Send what is kept, oldest first; False when some of it has to stay."""
        while self.kept:
            if self.faults.silent or not self._online():
                self.close()
                return False
            rows = [self.kept[n] for n in range(min(_ROWS_A_MESSAGE, len(self.kept)))]
            if not await self._send(rows):
                self.close()
                return False
            for row in rows:
                self.kept.popleft()
                self.acknowledged += row.readings
        return True

    def close(self) -> None:
        """Leave the broker."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def _fields(self, device: PushedDevice, time: int) -> dict[str, Any]:
        fields: dict[str, Any] = {"values": dict(device.read(time))}
        serial = self.faults.wrong_serial.get(device.id) or device.serial()
        optional = {"serial": serial, "units": dict(device.units), "flags": device.flags(time)}
        return fields | {name: told for name, told in optional.items() if told}

    async def _send(self, rows: list[_Row]) -> bool:
        backfill = rows[0].time < self._fresh_from
        told = [{"device": row.device, "time": row.time} | row.fields for row in rows]
        if self.faults.shuffled:
            self._dice.shuffle(told)
        payload = json.dumps({"readings": told, "backfill": backfill}).encode()
        payloads = [payload, payload] if self.faults.duplicate else [payload]
        if self.faults.garbage:
            self.faults.garbage -= 1
            payloads.append(payload[: len(payload) // 2])
        try:
            if self._link is None:
                self._link = await self._connect()
            for each in payloads:
                await self._link.publish(self._topic, each)
        except (OSError, TimeoutError):
            return False
        if len(payloads) > 1 and payloads[-1] is not payload:
            self.garbage += 1
        return True

    async def _connect(self) -> _Link:
        link = _Link(f"simulated-{self.name}", self._version, *self._login)
        await link.open(*self._address)
        return link


class _Link:
    """A paho client and its thread, seen from asyncio. One connection; TimeoutError, OSError."""

    def __init__(self, name: str, version: int, user: str, password: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._connected: asyncio.Future[None] = self._loop.create_future()
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            name,
            protocol=MQTTProtocolVersion(version),
            reconnect_on_failure=False,
        )
        if user:
            self._client.username_pw_set(user, password)
        self._client.on_connect = lambda _c, _u, _f, code, _p: self._call(
            self._settle, self._connected, str(code) if code.is_failure else ""
        )
        self._client.on_publish = lambda _c, _u, mid, _code, _p: self._call(self._acked, mid)
        self._client.on_disconnect = lambda _c, _u, _f, code, _p: self._call(self._lost, str(code))

    async def open(self, host: str, port: int) -> None:
        await asyncio.to_thread(self._client.connect, host, port, 30)
        self._client.loop_start()
        try:
            async with asyncio.timeout(_ANSWER_S):
                await asyncio.shield(self._connected)
        except (OSError, TimeoutError):
            self.close()
            raise

    async def publish(self, topic: str, payload: bytes) -> None:
        """Returns when the broker has acknowledged it."""
        sent = self._client.publish(topic, payload, 1)
        if sent.rc != mqtt.MQTT_ERR_SUCCESS:
            raise ConnectionError(mqtt.error_string(sent.rc))
        waiting = self._waiting[sent.mid] = self._loop.create_future()
        if sent.is_published():
            self._acked(sent.mid)
        try:
            async with asyncio.timeout(_ANSWER_S):
                await waiting
        finally:
            self._waiting.pop(sent.mid, None)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        if self._connected.done() and not self._connected.cancelled():
            self._connected.exception()  # told already

    def _call(self, action: Callable[..., None], *arguments: object) -> None:
        """From paho's thread into the loop; nobody waits once the loop is closed."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(action, *arguments)

    def _acked(self, mid: int) -> None:
        if (waiting := self._waiting.get(mid)) is not None:
            self._settle(waiting, "")

    def _lost(self, reason: str) -> None:
        for waiting in [self._connected, *self._waiting.values()]:
            self._settle(waiting, reason)

    @staticmethod
    def _settle(waiting: asyncio.Future[None], fault: str) -> None:
        if waiting.done():
            return
        if fault:
            waiting.set_exception(ConnectionError(fault))
        else:
            waiting.set_result(None)
