"""One connection: who it is, what it says, and when it is over.

Promises: a client that sends more than its share is not read for so long; TCP carries that back to
it, nothing is lost, and nobody else waits. Before CONNECT little is held and not for long. The end
is told where MQTT has words for it, and what was said last reaches the other side.

A session lasts as long as its connection. What was not acknowledged, the client has still.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from adapters.sources.inlet.certificates import Proven
from adapters.sources.listener.dialogue import Dialogue, Goodbye, Ping, Said
from adapters.sources.listener.mail import GO, Mail, Session
from adapters.sources.mqttwire import packets
from adapters.sources.mqttwire.frames import Publish
from adapters.sources.mqttwire.packets import Connect, MalformedError, Subscribe, Unsubscribe

if TYPE_CHECKING:
    from adapters.sources.listener.server import Server

LINGER_BYTES: Final = 256 << 10
LINGER_SECONDS: Final = 2.0
STUCK_SECONDS: Final = 10.0
_MOST_UNSENT: Final = 256 << 10
_NO_SUBSCRIPTION: Final = 0x11


class Peer(asyncio.Protocol):
    """``proven``: by a client certificate. ``gateway``: what that was at first, if anything; after
    CONNECT who it is."""

    def __init__(self, server: Server, address: str, proven: Proven) -> None:
        self.address, self.proven, self.gateway = address, proven, proven()
        self.client_id = self.token = ""
        self.in_session = False
        """CONNECT was accepted, and nothing has ended it."""
        self.transport: asyncio.Transport
        self._server, self._settings = server, server.settings
        self._loop = asyncio.get_running_loop()
        self._dialogue = Dialogue(server.settings.max_head, server.settings.max_message)
        self._mail: Mail | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._paused = self._stuck = False
        self._filters: set[str] = set()
        """Subscribed to; each means the same."""
        self._deaf = False
        """Nothing more is heard or said."""
        self._silence = server.settings.silence
        self._since = self._heard = self._slow_since = self._loop.time()
        self._came = self._came_then = self._held = 0

    @property
    def owes(self) -> int:
        """Messages that are not answered."""
        return len(self._mail) if self._mail is not None else 0

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
        if self._mail is not None:
            self._mail.drop()
        self._server.gone(self)

    # --- reading ------------------------------------------------------------------------------

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
        wait = GO
        if self._mail is not None:
            closed = self._server.stopping or self._stuck
            wait = 0.0 if closed else self._mail.wait()
        self._read(wait == GO)
        if wait > 0:
            self._timer = self._loop.call_later(wait, self._go)
        return wait == GO

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

    # --- what it says -------------------------------------------------------------------------

    def _hear(self, said: Said) -> None:
        if isinstance(said, Connect):
            self._connect(said)
            return
        mail = self._mail
        assert mail is not None  # CONNECT comes first, and a refused one is the last
        if isinstance(said, Publish):
            mail.put(said)
        else:  # what is no message counts as one all the same
            mail.share.enter(0)
            mail.share.leave(0)
            self._aside(said, mail.session)

    def _aside(self, said: Ping | Goodbye | Subscribe | Unsubscribe, session: Session) -> None:
        if isinstance(said, Ping):
            self.transport.write(packets.PINGRESP)
        elif isinstance(said, Goodbye):
            self._hang_up()
        elif isinstance(said, Subscribe):
            codes = [self._subscribed(name, session) for name, _ in said.filters]
            self.transport.write(packets.suback(session.version, said.mid, codes))
        else:
            codes = [0 if name in self._filters else _NO_SUBSCRIPTION for name in said.filters]
            self._filters.difference_update(said.filters)
            self.transport.write(packets.unsuback(session.version, said.mid, codes))

    def _subscribed(self, name: str, session: Session) -> int:
        """QoS granted for a filter, or why none is."""
        if name not in session.filters:
            told = f"filter {name!r:.120}: there is only {session.replies}"
            self._server.report.refused("filter", self.gateway, told)
            return packets.NOT_AUTHORIZED
        self._filters.add(name)
        return 0

    def _connect(self, said: Connect) -> None:
        """Let it in, or say why not."""
        server = self._server
        code, why, who, told = server.admit(said, self.proven(), self.address)
        if code:
            server.report.refused(why, who, told)
            if server.is_often(self.address):
                server.report.late()
                self._deaf = True
                self._since = self._loop.time()
                self.transport.pause_reading()
                self._loop.call_later(self._settings.hesitation, self._refuse, said, code, told)
            else:
                self._refuse(said, code, told)
            return
        self.gateway, self.client_id = who, said.client_id or server.new_id()
        self.token = (said.password or b"").decode(errors="replace")
        self._mail = server.mail(Session(who, said.version, said.largest, said.reasons), self._due)
        server.begin(self)
        self.in_session = True
        self.transport.write(packets.connack(said.version, 0, properties=self._granted(said)))

    def _granted(self, said: Connect) -> bytes:
        """How long it may be silent, and what of this and all else it is told (MQTT 5)."""
        settings = self._settings
        self._silence = min(settings.silence, 1.5 * said.keepalive or settings.silence)
        longest = int(min(settings.silence / 1.5, 65535))
        return packets.granted(
            largest=settings.max_message,
            keepalive=longest if not 0 < said.keepalive <= longest else None,
            client_id=None if said.client_id else self.client_id,
            ahead=settings.window,
        )

    def _refuse(self, said: Connect, code: int, told: str) -> None:
        if not self.transport.is_closing():
            packet = packets.connack(said.version, code, reason=told, largest=said.largest)
            self.transport.write(packet)
            self._hang_up()

    def _due(self) -> None:
        """Answers are, or there is room for the next message."""
        if self._mail is None:
            return
        told = self.transport.get_write_buffer_size() < _MOST_UNSENT
        if self._filters and not told:
            self._server.report.no_reply()
        out = self._mail.answers(replies=bool(self._filters) and told)
        if out and not self._deaf:
            self.transport.write(out)
        if self._server.stopping and not self._mail:
            self.end(packets.SHUTTING_DOWN, "meterwatch is shutting down")
        else:
            self._go()

    # --- the end ------------------------------------------------------------------------------

    def end(self, code: int, told: str) -> None:
        """Tell why, where MQTT has words for it, and close."""
        if self._deaf:
            return
        version = self._dialogue.version
        if self._mail is not None:
            largest = self._mail.session.largest
            self.transport.write(packets.disconnected(version, code, told, largest))
        elif version or code == packets.UNSUPPORTED_VERSION:
            self.transport.write(packets.connack(version or packets.V311, code))
        self._hang_up()

    def _hang_up(self) -> None:
        """Read on for a moment without looking, so that the last word is not lost with a reset."""
        self._deaf = True
        self._server.over(self)
        self._since, self._came = self._loop.time(), 0
        self._hold(0)
        if self._mail is not None:
            self._mail.drop()
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
            if now - self._since >= (LINGER_SECONDS if self._deaf else STUCK_SECONDS):
                self.transport.abort()
        elif not self.in_session:
            if now - self._since >= settings.head_timeout:
                self._server.report.refused("slow", self.address, "CONNECT did not come in time")
                self.transport.abort()
        elif self._paused:
            self._heard = now
        elif now - self._heard >= self._silence:
            self.end(packets.KEEP_ALIVE, "nothing came for one and a half times the keepalive")
        elif not self._held:
            self._slow_since, self._came_then = now, self._came
        elif (span := now - self._slow_since) >= settings.head_timeout:
            if self._came - self._came_then < settings.slowest * span:
                told = "a message came too slowly"
                self._server.report.refused("slow", self.gateway, told)
                self.end(packets.QUOTA, told)
            self._slow_since, self._came_then = now, self._came
