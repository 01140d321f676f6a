"""The connections of one listener: watched while they are open, and shown out."""

from __future__ import annotations

import asyncio
import contextlib
from email.utils import formatdate
from typing import Any, Final, cast

from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.server import ServerState

from adapters.sources.http.answers import Answer, fault
from adapters.sources.http.protocol import LINGER_RATE, Connection, Phase
from adapters.sources.http.taking import Service
from adapters.sources.inlet.certificates import Certificates, Proven
from adapters.sources.inlet.door import Door
from adapters.sources.inlet.limits import Bucket

_FULL: Final = fault(503, "too many connections", retry_after=5)
_SWEEPS: Final = 8
"""So many in the shortest of the timeouts, and one a second at least."""


class Server:
    """See :class:`adapters.sources.inlet.source.Server`."""

    def __init__(self, app: ASGIApp, service: Service, certificates: Certificates) -> None:
        self._service = service
        settings = self._settings = service.settings
        report = self._report = service.report
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
        self._unwanted = Bucket(LINGER_RATE, LINGER_RATE, service.time())
        self._door = Door(
            settings,
            certificates,
            service.credentials,
            report,
            self._connection,
            full=_raw(_FULL),
        )

    @property
    def port(self) -> int:
        return self._door.port

    @property
    def connections(self) -> int:
        return self._door.connections

    async def open(self) -> None:
        await self._door.open()

    async def serve(self) -> None:
        """Look after the connections, until cancelled."""
        settings = self._settings
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
                    self._report.slow(phase, one.client[0] if one.client else "")
                one.end(phase)
        self._report.connections(self.connections)

    def stop_listening(self) -> None:
        """No new connections; those that are idle end, the others end with their answer."""
        self._service.stopping = True
        self._door.close()
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
        await asyncio.gather(*self._state.tasks, self._door.closed(), return_exceptions=True)

    def _connection(self, address: str, proven: Proven) -> Connection:
        return Connection(
            self._config,
            self._state,
            self._settings,
            proven,
            self._unwanted,
            ended=lambda _: self._door.leave(address),
            spoiled=lambda status, told: self._report.answered(status, "no-http", address, told),
        )


def _raw(answer: Answer) -> bytes:
    headers = b"".join(b"%s: %s\r\n" % header for header in answer.headers)
    return b"HTTP/1.1 %d Unavailable\r\n%sconnection: close\r\ncontent-length: %d\r\n\r\n%s" % (
        answer.status,
        headers,
        len(answer.body),
        answer.body,
    )
