"""One connection to a broker: connect, subscribe, read, acknowledge, keep alive, close.

A new connection is a new ``Session``: packet ids of one never meet those of another. Driven by
one thread. Failure is a ``SessionError`` whose text a person can act on.

The keepalive is our own. paho's check (``loop_misc``) cannot know that we have stopped reading
on purpose while the journal is behind; it would take the unread answer for a dead broker.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Sequence
from typing import Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from adapters.sources.mqtt import words
from adapters.sources.mqtt.settings import MqttSettings
from adapters.sources.mqtt.sieve import Sieve, SievedClient
from adapters.sources.mqttwire.frames import PINGREQ, BrokenStreamError, Frames, Publish, pubacks

ANSWER_S: Final = 10.0
"""A broker that has not answered CONNECT and SUBSCRIBE by then is given up."""
RECEIVE_MAXIMUM: Final = 65535
"""Acknowledgements wait for a disk: let the broker send ahead as far as packet ids reach. Memory
is bounded by not reading, which works with any broker."""
SYS_VERSION: Final = "$SYS/broker/version"
SYS_DROPPED: Final = "$SYS/broker/publish/messages/dropped"


class SessionError(Exception):
    """This connection is over; the text says why and what to do."""


class Session:
    """``open``, then ``read`` / ``acknowledge`` / ``care`` in a loop, then ``close``."""

    def __init__(self, settings: MqttSettings, tls: ssl.SSLContext | None) -> None:
        self.up = False
        """Subscribed: messages may come."""
        self.present = False
        """The broker had kept our session."""
        self.granted: dict[str, Any] = {}
        """Properties of CONNACK, by their names in MQTT 5."""
        self.more = False
        self._settings = settings
        self._answered = False
        self._over = ""
        self._frames = Frames(settings.version, settings.max_message_bytes, answers=True)
        self._keepalive = float(settings.keepalive)
        self._wrote = self._heard = 0.0
        self._pinged = False
        self._pings = 0
        self._subscription = 0
        arguments: dict[str, Any] = {} if settings.version == 5 else {"clean_session": False}
        self._client = SievedClient(
            self._frames,
            client_id=settings.session_name,
            protocol=MQTTProtocolVersion(settings.version),
            manual_ack=True,
            reconnect_on_failure=False,
            **arguments,
        )
        if settings.user:
            self._client.username_pw_set(settings.user, settings.password)
        if tls is not None:
            self._client.tls_set_context(tls)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_disconnect = self._on_disconnect

    def open(self, now: float) -> None:
        """Connect (blocks, up to 5 s) and send CONNECT. ``now`` is monotonic seconds."""
        settings = self._settings
        more: dict[str, Any] = {}
        if settings.version == 5:
            wish = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho's
            wish.SessionExpiryInterval = settings.session_expiry
            wish.ReceiveMaximum = RECEIVE_MAXIMUM
            more = {"clean_start": False, "properties": wish}
        try:
            self._client.connect(settings.host, settings.port, settings.keepalive, **more)
            self._sieve.flush()
        except ConnectionResetError as fault:
            raise SessionError(words.closed(settings, answered=False)) from fault
        except (OSError, ValueError) as fault:
            raise SessionError(words.failed(fault, settings)) from fault
        self._wrote = self._heard = now

    def fileno(self) -> int:
        return self._sieve.fileno()

    @property
    def wants_write(self) -> bool:
        return self._sieve.unsent

    @property
    def receive_maximum(self) -> int:
        """So many messages of ours the broker takes before it has acknowledged one."""
        return int(self.granted.get("ReceiveMaximum", RECEIVE_MAXIMUM))

    @property
    def largest(self) -> int:
        """Bytes of the largest packet that the broker takes; 0 for any."""
        return int(self.granted.get("MaximumPacketSize", 0))

    def read(self, most: int, most_bytes: int, now: float) -> list[Publish]:
        """Messages that are there: up to ``most``, until they are ``most_bytes``; ``more`` then
        tells that there may be others already. Call ``check`` afterwards."""
        found: list[Publish] = []
        sieve, frames, size = self._sieve, self._frames, 0
        try:
            while True:
                got = frames.take(most - len(found))
                found += got
                size += sum([message.size for message in got])
                if frames.rest:
                    self._pass_on()
                self.more = len(found) >= most or size >= most_bytes
                if self.more or self._over or not sieve.fill():
                    break
                self._heard = now
                self._pinged = False
        except BrokenStreamError as fault:
            self._over = f"{self._settings.address} does not speak MQTT: {fault}"
        except OSError as fault:
            reset = isinstance(fault, ConnectionResetError) and not self._answered
            told = (
                words.closed(self._settings, answered=False)
                if reset
                else words.failed(fault, self._settings)
            )
            self._over = self._over or told
        if sieve.ended and not self._over:
            self._over = words.closed(self._settings, answered=self._answered)
        return found

    def check(self) -> None:
        """Raises if the connection is over."""
        if self._over:
            raise SessionError(self._over)

    def acknowledge(self, mids: list[int], now: float) -> None:
        """PUBACK for these, in this order. Raises."""
        self._sieve.write(pubacks(mids))
        self._wrote = now
        self.flush()

    def publish(self, packets: bytes, now: float) -> None:
        """PUBLISH packets of ours. Raises."""
        self._sieve.write(packets)
        self._wrote = now
        self.flush()

    def ping(self, now: float) -> int:
        """Ask whether the broker is still there; the number of this ping, which
        ``answered_pings`` reaches once it has taken all that was written before. Raises."""
        self._sieve.write(PINGREQ)
        self._pings += 1
        self._wrote, self._pinged = now, True
        self.flush()
        return self._pings

    @property
    def answered_pings(self) -> int:
        return self._frames.pongs

    def acknowledged(self) -> list[tuple[int, int]]:
        """What the broker answered since to what we published: packet ids and reason codes."""
        found = self._frames.acknowledged
        if found:
            self._frames.acknowledged = []
        return found

    def flush(self) -> None:
        """Send what the socket takes. Raises."""
        try:
            self._sieve.flush()
        except OSError as fault:
            raise SessionError(words.failed(fault, self._settings)) from fault

    def care(self, now: float, *, reading: bool) -> None:
        """Ping when it is time; give up a broker that does not answer. Raises. While not
        ``reading`` no answer can be seen, and none is expected."""
        if not self.up:
            if now - self._heard > ANSWER_S:
                raise SessionError(words.silent(self._settings))
            return
        if not self._keepalive:
            return
        if not reading:
            self._heard = now
        half = self._keepalive / 2
        if now - self._wrote >= half or (now - self._heard >= half and not self._pinged):
            self.ping(now)
        if self._pinged and now - self._heard >= 1.5 * self._keepalive:
            raise SessionError(words.silent(self._settings))

    def close(self) -> None:
        """DISCONNECT, which keeps the session, and close. What was not acknowledged will come
        again. Never raises."""
        if self._client.is_connected() and not self._over:
            self._client.disconnect()
        elif self._client.sieve is not None:
            with contextlib.suppress(OSError):
                self._client.sieve.close()

    @property
    def _sieve(self) -> Sieve:
        sieve = self._client.sieve
        if sieve is None:
            raise SessionError("paho has not opened a connection")
        return sieve

    def _pass_on(self) -> None:
        while self._frames.rest and not self._over:
            if self._client.loop_read() != mqtt.MQTT_ERR_SUCCESS and not self._over:
                self._over = words.closed(self._settings, answered=self._answered)
        if self._client.want_write():  # what a callback of ours asked for
            self._client.loop_write()
        if not self._over:
            self._sieve.flush()

    # Called by paho from within loop_read.

    def _on_connect(
        self,
        client: mqtt.Client,
        _data: Any,
        flags: mqtt.ConnectFlags,
        code: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self._answered = True
        if code.is_failure:
            self._over = words.refused(
                code.value, code.getName(), self._settings, _reason(properties)
            )
            return
        self.present = flags.session_present
        self.granted = {} if properties is None else dict(properties.json())  # type: ignore[no-untyped-call] # paho's
        self._keepalive = float(self.granted.get("ServerKeepAlive", self._keepalive))
        topics = [(topic, 1) for topic in self._settings.topics]
        self._subscription = client.subscribe(topics)[1] or 0
        client.subscribe([(topic, 0) for topic in (SYS_VERSION, SYS_DROPPED)])

    def _on_subscribe(
        self,
        _client: mqtt.Client,
        _data: Any,
        mid: int,
        codes: Sequence[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        if mid != self._subscription:
            return  # the broker's own figures: good to have
        for topic, code in zip(self._settings.topics, codes, strict=False):
            if code.value != 1:
                self._over = words.not_subscribed(topic, code.value, self._settings)
                return
        self.up = True

    def _on_disconnect(
        self,
        _client: mqtt.Client,
        _data: Any,
        flags: mqtt.DisconnectFlags,
        code: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if flags.is_disconnect_packet_from_server and not self._over:
            self._over = words.refused(
                code.value, code.getName(), self._settings, _reason(properties)
            )


def _reason(properties: Properties | None) -> str:
    """What the broker says about its reason, in its own words."""
    return str(getattr(properties, "ReasonString", ""))
