"""Listens, lets in, and shows out: the connections of one listener.

A connection counts from the moment it is accepted, before its TLS handshake: who opens many and
says nothing uses up his own address's allowance, not the server. One loop, the listener's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import Counter
from email.utils import formatdate
from typing import Any, Final, cast

from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.server import ServerState

from adapters.sources.http.answers import Answer, fault
from adapters.sources.http.protocol import Connection, Phase
from adapters.sources.http.report import Report
from adapters.sources.http.settings import HttpSettings
from adapters.sources.http.tls import Certificates, common_name

_FULL: Final = fault(503, "too many connections", retry_after=5)
_SWEEPS: Final = 8
"""So many in the shortest of the timeouts, and one a second at least."""


class Server:
    """``open`` raises ``OSError`` when the port cannot be had. ``port``: where it listens."""

    def __init__(
        self, app: ASGIApp, settings: HttpSettings, certificates: Certificates, report: Report
    ) -> None:
        self.settings, self.certificates, self.report = settings, certificates, report
        self._config = Config(
            cast("Any", app),
            ws="none",
            interface="asgi3",
            lifespan="off",
            log_config=None,
            proxy_headers=False,
            timeout_keep_alive=cast("int", settings.keep_alive),  # any number will do
            h11_max_incomplete_event_size=settings.max_head,
        )
        self._config.load()
        self._state = ServerState()
        self._from: Counter[str] = Counter()
        self._gates: set[asyncio.Task[None]] = set()
        self._listening: asyncio.Server | None = None
        self.port = 0

    @property
    def connections(self) -> int:
        """How many are open, handshakes included."""
        return self._from.total()

    async def open(self) -> None:
        settings = self.settings
        self._listening = await asyncio.get_running_loop().create_server(
            lambda: _Gate(self), settings.host or None, settings.port, backlog=1024
        )
        self.port = int(self._listening.sockets[0].getsockname()[1])

    async def serve(self) -> None:
        """Look after the connections, until cancelled."""
        settings = self.settings
        shortest = min(settings.head_timeout, settings.keep_alive, settings.watch)
        while True:
            self.sweep()
            await asyncio.sleep(min(1.0, shortest / _SWEEPS))

    def sweep(self) -> None:
        """End what is overdue."""
        now = asyncio.get_running_loop().time()
        self._state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
        for one in cast("list[Connection]", list(self._state.connections)):
            phase = one.overdue(now)
            if phase is not None:
                if phase in {Phase.HEAD, Phase.BODY}:
                    self.report.slow(phase, one.client[0] if one.client else "")
                one.end(phase)
        self.report.connections(self.connections)

    def stop_listening(self) -> None:
        """No new connections; those that are idle end, the others end with their answer."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        for gate in self._gates:
            gate.cancel()
        for one in cast("list[Connection]", list(self._state.connections)):
            one.shutdown()

    async def finish(self, seconds: float) -> None:
        """Wait so long for the answers that are due, then end every connection."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._state.tasks:
                    await asyncio.wait(set(self._state.tasks))
                    await asyncio.sleep(0)  # an answered connection may bring a last request
        for one in cast("list[Connection]", list(self._state.connections)):
            if not one.transport.is_closing() or self._state.tasks:
                one.transport.abort()
        for task in self._state.tasks:
            task.cancel()
        await asyncio.gather(*self._state.tasks, *self._gates, return_exceptions=True)

    # --- letting in -------------------------------------------------------------------------

    def enter(self, address: str) -> str:
        """Count a connection from ``address``; which limit is in its way instead, if any."""
        if self.connections >= self.settings.connections:
            return "connections"
        if self._from[address] >= self.settings.per_address:
            return "per-address"
        self._from[address] += 1
        return ""

    def leave(self, address: str) -> None:
        self._from[address] -= 1
        if self._from[address] <= 0:
            del self._from[address]

    def connection(self, address: str, gateway: str) -> Connection:
        return Connection(
            self._config,
            self._state,
            self.settings,
            gateway,
            ended=lambda _: self.leave(address),
            spoiled=lambda status: self.report.answered(status, "no-http", address),
        )

    def handshake(self, gate: _Gate, address: str, context: ssl.SSLContext) -> None:
        task = asyncio.create_task(self._shake(gate, address, context))
        self._gates.add(task)
        task.add_done_callback(self._gates.discard)

    async def _shake(self, gate: _Gate, address: str, context: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        transport: asyncio.Transport | None = None
        try:
            transport = await loop.start_tls(
                gate.transport,
                gate,
                context,
                server_side=True,
                ssl_handshake_timeout=self.settings.head_timeout,
                ssl_shutdown_timeout=self.settings.head_timeout,
            )
        except (OSError, ssl.SSLError, ConnectionError) as failed:
            self.report.no_handshake(failed, address)
        finally:
            if transport is None or gate.lost:
                self.leave(address)
        if transport is None or gate.lost:
            return
        gateway = common_name(transport.get_extra_info("peercert"))
        inner = self.connection(address, gateway)
        transport.set_protocol(inner)
        inner.connection_made(transport)
        if gate.early:
            inner.data_received(bytes(gate.early))


class _Gate(asyncio.Protocol):
    """Stands at the door until it is known who serves the connection."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.transport: asyncio.Transport
        self.early = bytearray()
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        address = str(peer[0]) if peer else ""
        context = self._server.certificates.context
        limit = self._server.enter(address)
        if limit:
            self._server.report.turned_away(limit, address)
            if context is None:
                self.transport.write(_raw(_FULL))
                self.transport.close()
            else:
                self.transport.abort()
        elif context is None:
            inner = self._server.connection(address, "")
            self.transport.set_protocol(inner)
            inner.connection_made(self.transport)
        else:
            self.transport.pause_reading()
            self._server.handshake(self, address, context)

    def data_received(self, data: bytes) -> None:
        """Between the end of the handshake and our knowing of it."""
        self.early += data

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self.lost = True


def _raw(answer: Answer) -> bytes:
    headers = b"".join(b"%s: %s\r\n" % header for header in answer.headers)
    return b"HTTP/1.1 %d Unavailable\r\n%sconnection: close\r\ncontent-length: %d\r\n\r\n%s" % (
        answer.status,
        headers,
        len(answer.body),
        answer.body,
    )
