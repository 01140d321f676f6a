"""Listens, and lets connections in: the door of one listener.

A connection counts from the moment it is accepted, before its TLS handshake: who opens many and
says nothing uses up his own address's allowance, not the server. One loop, the listener's own.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable
from typing import cast

from adapters.sources.inlet.certificates import Certificates, Proven, nobody, prover
from adapters.sources.inlet.report import Report
from adapters.sources.inlet.settings import ListenSettings
from collector.ports import Credentials

Admit = Callable[[str, Proven], asyncio.Protocol]
"""Address, and what a client certificate proves: who serves it. Whoever it is asks for the latter
again as time passes, and calls ``Door.leave`` when the connection is gone."""


class Door:
    """``open`` raises ``OSError`` when the port cannot be had. ``port``: where it listens.
    ``full``: what is said, without TLS, to whom there is no room for."""

    def __init__(
        self,
        settings: ListenSettings,
        certificates: Certificates,
        credentials: Credentials,
        report: Report,
        admit: Admit,
        *,
        full: bytes = b"",
    ) -> None:
        self.settings, self.certificates, self.report = settings, certificates, report
        self.credentials = credentials
        self.admit, self.full = admit, full
        self.port = 0
        self._from: Counter[str] = Counter()
        self._gates: set[asyncio.Task[None]] = set()
        self._listening: asyncio.Server | None = None

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

    def close(self) -> None:
        """No new connections; handshakes are given up."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        for gate in self._gates:
            gate.cancel()

    async def closed(self) -> None:
        """Until the handshakes that were given up are gone."""
        await asyncio.gather(*self._gates, return_exceptions=True)

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
        link = transport.get_extra_info("ssl_object")
        inner = self.admit(address, prover(link, self.settings, self.credentials))
        transport.set_protocol(inner)
        inner.connection_made(transport)
        if gate.early:
            inner.data_received(bytes(gate.early))


class _Gate(asyncio.Protocol):
    """Stands at the door until it is known who serves the connection."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self.transport: asyncio.Transport
        self.early = bytearray()
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        door = self._door
        peer = transport.get_extra_info("peername")
        address = str(peer[0]) if peer else ""
        context = door.certificates.context
        limit = door.enter(address)
        if limit:
            door.report.turned_away(limit, address)
            if context is None:
                self.transport.write(door.full)
                self.transport.close()
            else:
                self.transport.abort()
        elif context is None:
            inner = door.admit(address, nobody)
            self.transport.set_protocol(inner)
            inner.connection_made(self.transport)
        else:
            self.transport.pause_reading()
            door.handshake(self, address, context)

    def data_received(self, data: bytes) -> None:
        """Between the end of the handshake and our knowing of it."""
        self.early += data

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self.lost = True
