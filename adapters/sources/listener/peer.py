"""One connection: who it is, what it publishes, what it is told.

Promises: PUBACK is sent after the journal has synced what the message brought, or the reason of its
refusal, in the order of the messages (MQTT 5.0, 4.6), and a reply with it if the client subscribed
to its reply topic. A client that sends more than its share is not read for so long; TCP carries
that back to it, nothing is lost, and nobody else waits. While the disk is too full nothing is
acknowledged, and it is tried again.

A session lasts as long as its connection. What was not acknowledged, the client has still.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from adapters.sources.inlet.desk import GZIP_GAIN, Outcome
from adapters.sources.inlet.limits import Share
from adapters.sources.listener.dialogue import Dialogue, Goodbye, Ping, Said
from adapters.sources.mqttwire import packets
from adapters.sources.mqttwire.frames import Publish
from adapters.sources.mqttwire.packets import Connect, MalformedError, Subscribe, Unsubscribe
from adapters.sources.payload import Receipt, answer
from adapters.sources.payload.unpack import GZIP, MOST_BYTES
from collector.model import Reason

if TYPE_CHECKING:
    from adapters.sources.listener.server import Server

LINGER_BYTES: Final = 256 << 10
LINGER_SECONDS: Final = 2.0
_AGAIN_S: Final = 0.5
_ROOM_S: Final = 0.05
_MOST_UNSENT: Final = 256 << 10
_NEW_ID: Final = "meterwatch-{}"


@dataclass(slots=True, eq=False)
class _Owed:
    """A message that is not answered yet. ``size``: what it takes of the room."""

    message: Publish
    size: int
    wrong: str
    receipt: Receipt | None = None


class Peer(asyncio.Protocol):
    """``gateway``: what a client certificate proved, if any; after CONNECT who it is."""

    def __init__(self, server: Server, address: str, gateway: str) -> None:
        self.address, self.gateway = address, gateway
        self.client_id = self.token = ""
        self.in_session = False
        """CONNECT was accepted, and nothing has ended it."""
        self.transport: asyncio.Transport
        self._server, self._settings = server, server.settings
        self._loop = asyncio.get_running_loop()
        self._dialogue = Dialogue(server.settings.max_head, server.settings.max_message)
        self._share: Share | None = None
        self._owed: deque[_Owed] = deque()
        self._waiting: _Owed | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._answering = self._deaf = self._stuck = self._replies = self._reasons = False
        self._paused = False
        self._largest = 0
        self._topic = b""
        self._silence = server.settings.silence
        self._since = self._heard = self._loop.time()
        self._came = self._came_then = self._held = 0
        self._slow_since = self._since

    # --- asyncio's ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._server.came(self)

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        self._came += len(data)
        if self._deaf:
            if self._came > LINGER_BYTES:
                self.transport.abort()
            return
        self._dialogue.feed(data)
        self._go()

    def pause_writing(self) -> None:
        self._stuck = True
        self._since = self._loop.time()

    def resume_writing(self) -> None:
        self._stuck = False
        self._go()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self._deaf = True
        if self._timer is not None:
            self._timer.cancel()
        self._hold(0)
        if self._waiting is not None and self._share is not None:
            self._share.leave(self._waiting.size)
            self._waiting = None
        self._server.gone(self)

    # --- what it says -------------------------------------------------------------------------

    def _go(self) -> None:
        """Take what was read, as far as it may."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            while not self._deaf and self._may():
                said = self._dialogue.next()
                if said is None:
                    break
                self._slow_since, self._came_then = self._loop.time(), self._came
                self._hear(said)
        except MalformedError as fault:
            self._server.report.refused("no-mqtt", self.gateway or self.address, str(fault))
            self.end(fault.code, str(fault))
        if not self._deaf:
            self._hold(self._dialogue.held)

    def _may(self) -> bool:
        """Whether to go on; else it is not read until something calls ``_go`` again."""
        wait = -1.0
        if self._share is not None:
            if self._waiting is not None and not self._submit(self._waiting):
                wait = _ROOM_S
            elif self._server.stopping or self._stuck or len(self._owed) >= self._settings.window:
                wait = 0.0
            elif (denied := self._share.over(self._loop.time())) is not None:
                wait = denied.wait
                self._server.report.paused(denied.limit, self.gateway)
            elif self._server.desk.full():
                wait = _AGAIN_S
        self._read(wait < 0)
        if wait > 0:
            self._timer = self._loop.call_later(wait, self._go)
        return wait < 0

    def _read(self, wanted: bool) -> None:
        if wanted == self._paused and not self.transport.is_closing():
            self._paused = not wanted
            if wanted:
                self._heard = self._slow_since = self._loop.time()
                self._came_then = self._came
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    def _hold(self, size: int) -> None:
        """Bytes that were read and are no message yet count for all together."""
        self._server.held += size - self._held
        self._held = size
        if size and self._server.held > self._settings.in_flight:
            told = "more is under way than there is room for"
            self._server.report.refused("room", self.gateway or self.address, told)
            self.end(packets.QUOTA, told)

    def _hear(self, said: Said) -> None:
        if isinstance(said, Publish):
            self._message(said)
        elif isinstance(said, Connect):
            self._connect(said)
        else:
            self._aside(said)

    def _aside(self, said: Ping | Goodbye | Subscribe | Unsubscribe) -> None:
        """What is no message counts as one all the same."""
        assert self._share is not None
        self._share.enter(0)
        self._share.leave(0)
        if isinstance(said, Ping):
            self.transport.write(packets.PINGRESP)
        elif isinstance(said, Goodbye):
            self._hang_up()
        elif isinstance(said, Subscribe):
            codes = [self._subscribed(name) for name, _ in said.filters]
            self.transport.write(packets.suback(self._dialogue.version, said.mid, codes))
        else:
            codes = [0 if name == self.reply_topic else 0x11 for name in said.filters]
            self._replies = self._replies and 0 not in codes
            self.transport.write(packets.unsuback(self._dialogue.version, said.mid, codes))

    def _connect(self, said: Connect) -> None:
        """Let it in, or say why not."""
        version, settings = said.version, self._settings
        self._largest, self._reasons = said.largest, said.reasons
        code, why, who, told = self._server.admit(said, self.gateway, self.address)
        if code:
            self._server.report.refused(why, who, told)
            if self._server.is_often(self.address):
                self._server.report.late()
                self._deaf = True
                self._since = self._loop.time()
                self.transport.pause_reading()
                self._loop.call_later(settings.hesitation, self._refuse, version, code, told)
            else:
                self._refuse(version, code, told)
            return
        self.gateway, self.client_id = who, said.client_id
        self.token = (said.password or b"").decode(errors="replace")
        properties, assigned = b"", None
        if not said.client_id:
            assigned = self.client_id = _NEW_ID.format(self._server.number())
        self._silence = min(settings.silence, 1.5 * said.keepalive or settings.silence)
        if version == packets.V5:
            longest = int(min(settings.silence / 1.5, 65535))
            properties = packets.granted(
                largest=settings.max_message,
                keepalive=longest if not 0 < said.keepalive <= longest else None,
                client_id=assigned,
                ahead=settings.window,
            )
        self._share = self._server.share(self.gateway)
        self._server.begin(self)
        self.in_session = True
        self.transport.write(packets.connack(version, packets.SUCCESS, properties=properties))

    def _refuse(self, version: int, code: int, told: str) -> None:
        if self.transport.is_closing():
            return
        self.transport.write(packets.connack(version, code, reason=told, largest=self._largest))
        self._hang_up()

    @property
    def own_topic(self) -> str:
        return f"meterwatch/v1/{self.gateway}/readings"

    @property
    def reply_topic(self) -> str:
        return f"meterwatch/v1/{self.gateway}/replies"

    def _subscribed(self, name: str) -> int:
        """QoS granted for a filter, or why none is."""
        if name != self.reply_topic:
            told = f"filter {name!r:.120}: there is only {self.reply_topic}"
            self._server.report.refused("filter", self.gateway, told)
            return packets.NOT_AUTHORIZED
        self._replies = True
        return 0

    # --- messages -----------------------------------------------------------------------------

    def _message(self, message: Publish) -> None:
        assert self._share is not None
        self._server.report.message(1 if message.mid else 0)
        payload = message.payload
        size = len(payload)
        if payload[:2] == GZIP:
            size = min(MOST_BYTES, size * GZIP_GAIN)
        one = _Owed(message, size, self._wrong(message.topic))
        self._share.enter(size)
        self._share.used(size=message.size)
        self._owed.append(one)
        self._waiting = one
        self._submit(one)

    def _wrong(self, topic: bytes) -> str:
        """Why a message on this topic is not looked at; empty for a gateway's own."""
        if topic == self._topic and topic:
            return ""
        parts = topic.split(b"/")
        own = self.gateway.encode()
        if len(parts) >= 3 and parts[-3:] == [b"v1", own, b"readings"]:
            self._topic = topic
            return ""
        told = topic.decode(errors="replace")
        return f"topic {told!r:.120}: {self.gateway} publishes to {self.own_topic}"

    def _submit(self, one: _Owed) -> bool:
        """Hand it over, if there is room."""
        if not self._server.room.take_now(one.size):
            return False
        self._waiting = None
        self._bring(one)
        return True

    def _bring(self, one: _Owed) -> None:
        message = one.message
        outcome = self._server.desk.bring(
            ("", ""),
            self.own_topic,
            message.payload,
            gzip=message.payload[:2] == GZIP,
            excess=message.size if message.cut else 0,
            wrong=one.wrong,
        )
        outcome.add_done_callback(partial(self._settled, one))

    def _settled(self, one: _Owed, outcome: asyncio.Future[Outcome]) -> None:
        """The journal has it, or the disk is too full for it."""
        if outcome.cancelled():
            return
        assert self._share is not None
        receipt = outcome.result()
        if receipt is None and not (self._deaf or self._server.stopping):
            self._loop.call_later(_AGAIN_S, self._bring, one)
            return
        self._server.room.give(one.size)
        self._share.leave(one.size)
        if receipt is None:  # it has the message still
            self.end(packets.SHUTTING_DOWN, "meterwatch is shutting down")
            return
        self._share.used(readings=receipt.stored + sum([part.count for part in receipt.refused]))
        one.receipt = receipt
        if not self._answering:
            self._answering = True
            self._loop.call_soon(self._answer)

    def _answer(self) -> None:
        """What is due, in the order of the messages."""
        self._answering = False
        out = bytearray()
        version = self._dialogue.version
        while self._owed and (receipt := self._owed[0].receipt) is not None:
            one = self._owed.popleft()
            if self._replies:
                out += self._reply(receipt)
            if one.message.mid:
                code, told = _code(one, receipt)
                told = told if self._reasons else ""
                out += packets.puback(version, one.message.mid, code, told, self._largest)
        if out and not self._deaf:
            self.transport.write(out)
        if self._server.stopping and not self._owed:
            self.end(packets.SHUTTING_DOWN, "meterwatch is shutting down")
        else:
            self._go()

    def _reply(self, receipt: Receipt) -> bytes:
        packet = packets.publish(self._dialogue.version, self.reply_topic, answer(receipt))
        if len(packet) > self._largest or self.transport.get_write_buffer_size() > _MOST_UNSENT:
            self._server.report.no_reply()
            return b""
        return packet

    @property
    def owes(self) -> int:
        """Messages that are not answered."""
        return len(self._owed)

    # --- the end ------------------------------------------------------------------------------

    def end(self, code: int, told: str) -> None:
        """Tell why, where MQTT has words for it, and close."""
        if self._deaf:
            return
        version = self._dialogue.version
        if self.in_session:
            self.transport.write(packets.disconnected(version, code, told, self._largest))
        elif version or code == packets.UNSUPPORTED_VERSION:
            self.transport.write(packets.connack(version or packets.V311, code))
        self._hang_up()

    def _hang_up(self) -> None:
        """Read on for a moment without looking, so that the last word is not lost with a reset."""
        self._deaf = True
        self._server.over(self)
        self._since, self._came = self._loop.time(), 0
        self._hold(0)
        if self.transport.is_closing():
            return
        self._paused = False
        self.transport.resume_reading()
        try:
            if self.transport.can_write_eof():
                self.transport.write_eof()
            else:
                self.transport.close()
        except OSError:  # the other side has gone already
            self.transport.abort()

    def look(self, now: float) -> None:
        """End it if it is overdue."""
        settings = self._settings
        if self._deaf or self._stuck or self.transport.is_closing():
            if now - self._since >= LINGER_SECONDS * (1 if self._deaf else 5):
                self.transport.abort()
        elif not self.in_session:
            if now - self._since >= settings.head_timeout:
                self._server.report.refused("slow", self.address, "CONNECT did not come in time")
                self.transport.abort()
        elif self._paused:
            self._heard = now
        elif now - self._heard >= self._silence:
            told = "nothing came for one and a half times the keepalive"
            self.end(packets.KEEP_ALIVE, told)
        elif not self._held:
            self._slow_since, self._came_then = now, self._came
        elif (span := now - self._slow_since) >= settings.head_timeout:
            if self._came - self._came_then < settings.slowest * span:
                told = "a message came too slowly"
                self._server.report.refused("slow", self.gateway, told)
                self.end(packets.QUOTA, told)
            self._slow_since, self._came_then = now, self._came


def _code(one: _Owed, receipt: Receipt) -> tuple[int, str]:
    """A reason code of PUBACK (MQTT 5.0, 3.4.2.1), and its words: a refusal is one only where
    nothing of the message was stored."""
    if receipt.stored or not receipt.refused:
        return packets.SUCCESS, ""
    first = receipt.refused[0]
    told = f"{first.reason}: {first.detail}"
    if one.wrong:
        return packets.BAD_TOPIC, told
    return packets.BAD_PAYLOAD if first.reason == Reason.PAYLOAD else packets.REFUSED, told
