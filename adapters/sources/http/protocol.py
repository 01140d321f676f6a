"""One connection: uvicorn's HTTP/1.1 with the bounds that it lacks.

- Time: the header of a request, a body that comes too slowly, an answer that is not fetched.
  ``overdue`` says so, and a sweep over all connections asks (uvicorn itself ends idle ones).
- Work: h11 parses in Python. Headers, and chunked bodies, are given to it in small pieces, so
  that neither ten thousand headers nor a body in chunks of one byte hold up the others.
- Answers that come before the body was read: the rest is read and let go, for a client that
  looks at no answer before it has sent everything (Python's own does) would else see a reset
  instead. Only so much of it, for so long and no more slowly than any body; then it ends. And of
  all connections together only so much a second, so that a flood of them costs nobody else.

What is not HTTP is answered with JSON as everything else is.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from enum import Enum
from typing import Any, Final, cast

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from adapters.sources.http.answers import CODES, Answer, fault, message_of
from adapters.sources.http.settings import HttpSettings
from adapters.sources.inlet.certificates import Proven
from adapters.sources.inlet.limits import Bucket
from adapters.sources.inlet.mistaken import spoken

LINGER_BYTES: Final = 16 << 20
"""What is read and let go behind an answer, beyond the largest body that is taken."""
LINGER_RATE: Final = 16 << 20
"""Bytes a second of all connections together."""
LINGER_SECONDS: Final = 30.0
QUIET_SECONDS: Final = 2.0
_THIN: Final = 4
"""A chunked body must be at least one part in so many of what carries it."""
_SMALLEST: Final = 1024
_OTHERS: Final = {
    "MQTT": "this is MQTT, and here HTTP is spoken: take the port of the MQTT listener",
    "TLS": "this is TLS, and here HTTP is spoken without TLS",
}
_LOG: Final = logging.getLogger("meterwatch.http")
_LOG.setLevel(logging.CRITICAL + 1)  # of what is no HTTP, and of bugs, the report tells


class Phase(Enum):
    HEAD = "the header of the request did not come in time"
    BODY = "the body came too slowly"
    REST = "the rest of the body was not wanted"
    STUCK = "the answer is not fetched"
    CLOSING = "the connection does not close"
    IDLE = "between requests"
    BUSY = "being served"


class _Parting:
    """A transport as uvicorn closes it behind an answer: not before ``early`` says no."""

    def __init__(self, transport: asyncio.BaseTransport, early: Callable[[], bool]) -> None:
        self._transport, self._early = transport, early

    def close(self) -> None:
        if not self._early():
            self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Connection(H11Protocol):
    """``unwanted``: what all connections together may read and let go. ``ended`` is called once,
    when the connection is gone. ``spoiled``: what came was not HTTP (or not in time) and was
    answered with this status and message."""

    def __init__(
        self,
        config: Config,
        state: ServerState,
        settings: HttpSettings,
        proven: Proven,
        unwanted: Bucket,
        *,
        ended: Callable[[Connection], object],
        spoiled: Callable[[int, str], object],
    ) -> None:
        super().__init__(config, state, {"proven": proven})
        self.logger, self.access_log = _LOG, False
        self._settings = settings
        self._ended, self._spoiled = ended, spoiled
        self._unwanted = unwanted
        self._unread = bytearray()
        self._first = b""
        self._deaf = False
        self._most_unwanted = settings.max_body + LINGER_BYTES
        self._answered = 0.0
        self._came = self._served = 0
        self._key: tuple[Phase, int] = (Phase.HEAD, 0)
        self._since = self.loop.time()
        self._came_then = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", _Parting(transport, self._early)))

    # --- bytes in ---------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._first = self._first if self._came else data[:16]
        self._came += len(data)
        if self._phase() is Phase.REST:
            self._let_go(len(data))
        if self._deaf:
            if self._came > self._most_unwanted:
                self.transport.abort()
        elif not self._unread and len(data) <= self._settings.max_head and not self._complete:
            self._parse(data)
        else:
            self._unread += data
            self._feed()

    def _let_go(self, size: int) -> None:
        """Bytes that nobody wants: read on when it is their turn."""
        self._unwanted.take(size)
        wait = self._unwanted.wait(self.loop.time())
        if wait > 0:
            self.flow.pause_reading()
            self.loop.call_later(wait, self.flow.resume_reading)

    def _feed(self) -> None:
        """As much of what came as is its turn: nothing beyond the request that is being served."""
        while self._unread and not self._deaf and not self.transport.is_closing():
            if self._complete:
                self.flow.pause_reading()
                return
            size = len(self._unread) if self._sized else self._settings.max_head
            piece = bytes(self._unread[:size])
            del self._unread[:size]
            self._parse(piece)

    def _parse(self, piece: bytes) -> None:
        cycle, chunked = self.cycle, self.conn.their_state is h11.SEND_BODY and not self._sized
        before = len(cycle.body) if chunked else 0
        super().data_received(piece)
        thin = chunked and (len(cycle.body) - before) * _THIN < len(piece) and cycle.more_body
        if thin and len(piece) >= _SMALLEST and not self.transport.is_closing():
            self._refuse(fault(400, "the chunks of the body are too small"))

    @property
    def _complete(self) -> bool:
        """A request is here whole, and not answered."""
        return self.conn.their_state in {h11.DONE, h11.MUST_CLOSE, h11.CLOSED}

    @property
    def _sized(self) -> bool:
        """The body that is coming has a length."""
        return self.conn.their_state is h11.SEND_BODY and self._length is not None

    @property
    def _length(self) -> int | None:
        for name, value in self.headers:
            if name == b"transfer-encoding":
                return None
            if name == b"content-length":
                return int(value)
        return 0

    # --- answers ----------------------------------------------------------------------------

    def _early(self) -> bool:
        """An answer is complete, and closing now would lose it: the body is not here whole."""
        answered = self.cycle is not None and self.cycle.response_complete
        return answered and not self._deaf and self.conn.their_state is h11.SEND_BODY

    def on_response_complete(self) -> None:
        self._served += 1
        self._answered = self.loop.time()
        if self.conn.their_state is h11.SEND_BODY and not self.transport.is_closing():
            length = self._length
            ended = self.conn.our_state is h11.CLOSED
            if ended or length is None or length > self._most_unwanted:
                self._unset_keepalive_if_required()
                self._hang_up()
                return
        super().on_response_complete()
        if self._unread:
            self.loop.call_soon(self._feed)

    def _hang_up(self) -> None:
        """Read on for a moment without looking, so that the answer is not lost with a reset."""
        self._deaf = True
        self._answered = self.loop.time()
        self._came = 0
        self._unread.clear()
        self.flow.resume_reading()
        try:
            if self.transport.can_write_eof():
                self.transport.write_eof()
        except OSError:  # the other side has gone already
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the base's name
        """Called by uvicorn where h11 found a fault: which one is the exception being handled."""
        found = sys.exception()
        status = getattr(found, "error_status_hint", 400)
        waiting = self.cycle is not None and not self.cycle.response_complete
        if waiting and not self.cycle.more_body:
            self._deaf = True  # what follows a whole request is no business of its answer
            self.flow.pause_reading()
            return
        told = f"this is not HTTP/1.1: {found}"[:200]
        told = told if self._served else _OTHERS.get(spoken(self._first), told)
        if status == 431:
            most = self._settings.max_head
            told = f"the header is too large: {most:,} bytes are the most"
        self._refuse(fault(status if status in CODES else 400, told))

    def _refuse(self, answer: Answer) -> None:
        """Answer in place of the application, and end the connection."""
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._spoiled(answer.status, message_of(answer))
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self.transport.close()
            return
        headers = [*answer.headers, (b"content-length", b"%d" % len(answer.body))]
        headers.append((b"connection", b"close"))
        events: tuple[Any, ...] = (
            h11.Response(status_code=answer.status, headers=headers),
            h11.Data(data=answer.body),
            h11.EndOfMessage(),
        )
        self.transport.write(b"".join([self.conn.send(event) or b"" for event in events]))
        self._hang_up()

    # --- time -------------------------------------------------------------------------------

    def overdue(self, now: float) -> Phase | None:
        """What the connection has been too slow at, by ``now`` (seconds of the loop)."""
        phase = self._phase()
        if phase is Phase.REST and now - self._answered >= LINGER_SECONDS:
            return phase
        # A body that we do not read, or have not yet asked for, is not slow.
        ours = (phase in {Phase.BODY, Phase.REST} and self.flow.read_paused) or (
            phase is Phase.BODY and self.cycle.waiting_for_100_continue
        )
        if (phase, self._served) != self._key or ours:
            self._key = (phase, self._served)
            self._restart(now)
            return None
        span = now - self._since
        if phase is Phase.HEAD:
            return phase if span >= self._settings.head_timeout else None
        if phase is Phase.BODY:
            if span < self._settings.head_timeout:
                return None
            if self._came - self._came_then < self._settings.slowest * span:
                return phase
            self._restart(now)
        elif phase in {Phase.REST, Phase.STUCK, Phase.CLOSING} and span >= QUIET_SECONDS:
            slow = self._came - self._came_then < self._settings.slowest * span
            if slow or phase is not Phase.REST:
                return phase
            self._restart(now)
        return None

    def end(self, phase: Phase) -> None:
        """It was overdue. Only a header is answered: Telegraf, for one, drops what it sent when
        it is told 408, and sends it again when the connection breaks."""
        if phase is Phase.HEAD and self._came:
            self._refuse(fault(408, phase.value))
        else:
            self.transport.abort()

    def _restart(self, now: float) -> None:
        self._since, self._came_then = now, self._came

    def _phase(self) -> Phase:
        if self.transport.is_closing():
            return Phase.CLOSING
        cycle = self.cycle
        if self._deaf and (cycle is None or cycle.response_complete or cycle.disconnected):
            return Phase.REST
        if self.flow.write_paused:
            return Phase.STUCK
        if self.conn.their_state is h11.SEND_BODY:
            return Phase.REST if self.cycle.response_complete else Phase.BODY
        if self.conn.their_state is h11.IDLE:
            return Phase.IDLE if self.idle and self._served else Phase.HEAD
        return Phase.BUSY

    @property
    def idle(self) -> bool:
        """Nothing of a request is here."""
        return self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._ended(self)
