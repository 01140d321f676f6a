"""``/metrics`` for Prometheus and ``/healthz`` for whoever restarts things: a tiny HTTP server.

Promises: it answers GET and HEAD, closes every connection after one answer, and can be harmed
by nobody who reaches its port: a request's head is bounded in bytes, the whole exchange in
time, open connections in number; what is garbage is told so and dropped. A fault in what it is
asked to show is a 500 for that one request.

``/healthz`` is 200 when all is well and 503 when not, with the same JSON either way.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import msgspec
import structlog

Health = Callable[[], tuple[bool, Mapping[str, Any]]]
"""Is all well, and what is there to say. Called in a thread."""

_METRICS: Final = "text/plain; version=0.0.4; charset=utf-8"
_TEXT: Final = "text/plain; charset=utf-8"
_JSON: Final = "application/json"
_END: Final = b"\r\n\r\n"
_REST: Final = 65_536


@dataclass(frozen=True, slots=True)
class Limits:
    """``head`` bytes of a request, ``seconds`` for the whole exchange, ``connections`` at once (as
    many again are told that there are too many, more are dropped)."""

    head: int = 8_192
    seconds: float = 5.0
    connections: int = 32


@dataclass(frozen=True, slots=True)
class _Answer:
    status: HTTPStatus
    content: bytes = b""
    type: str = _TEXT
    allow: bool = False

    def head(self) -> bytes:
        lines = [
            f"HTTP/1.1 {self.status.value} {self.status.phrase}",
            f"Content-Type: {self.type}",
            f"Content-Length: {len(self.content)}",
            "Cache-Control: no-store",
            "Connection: close",
        ]
        if self.allow:
            lines.append("Allow: GET, HEAD")
        return "\r\n".join(lines).encode() + _END


class HttpStatus:
    """``exposition`` gives the metrics' text; both it and ``health`` are called in a thread."""

    def __init__(
        self, exposition: Callable[[], bytes], health: Health, limits: Limits | None = None
    ) -> None:
        self._exposition = exposition
        self._health = health
        self._limits = limits or Limits()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[Any]] = set()

    async def start(self, host: str, port: int) -> None:
        """Listen; port 0 takes a free one. Raises ``OSError`` when the port is taken."""
        self._server = await asyncio.start_server(
            self._accept, host.strip("[]") or None, port, limit=self._limits.head
        )

    @property
    def port(self) -> int:
        """Where it listens; 0 while it does not."""
        sockets = self._server.sockets if self._server is not None else ()
        return int(sockets[0].getsockname()[1]) if sockets else 0

    async def close(self) -> None:
        """Stop listening and drop whoever is still connected."""
        if self._server is None:
            return
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._open)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= 2 * self._limits.connections:
            writer.transport.abort()
            return
        full = len(self._open) >= self._limits.connections
        task = asyncio.create_task(self._serve(reader, writer, full=full))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, full: bool
    ) -> None:
        try:
            # What is in the way of one client is its own: it is dropped, and nothing is said.
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(self._limits.seconds):
                    await self._exchange(reader, writer, full=full)
                    writer.close()
        finally:
            if not writer.is_closing():
                writer.transport.abort()

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, full: bool
    ) -> None:
        head_only, answer = (
            False,
            _Answer(HTTPStatus.SERVICE_UNAVAILABLE, b"too many connections\n"),
        )
        if not full:
            head_only, answer = await self._read_and_answer(reader)
        writer.write(answer.head() + (b"" if head_only else answer.content))
        await writer.drain()
        # Closing on unread bytes would reset the connection and lose the answer on its way.
        writer.write_eof()
        left = _REST
        while left > 0 and (rest := await reader.read(left)):
            left -= len(rest)

    async def _read_and_answer(self, reader: asyncio.StreamReader) -> tuple[bool, _Answer]:
        try:
            async with asyncio.timeout(self._limits.seconds * 0.8):
                head = await reader.readuntil(_END)
        except TimeoutError:
            return False, _Answer(HTTPStatus.REQUEST_TIMEOUT, b"the request did not end in time\n")
        except asyncio.LimitOverrunError:
            too_large = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            return False, _Answer(too_large, b"the request is too long\n")
        except asyncio.IncompleteReadError:
            return False, _Answer(HTTPStatus.BAD_REQUEST, b"the request is not complete\n")
        method, path = _request_line(head)
        if not path:
            return False, _Answer(HTTPStatus.BAD_REQUEST, b"this is not HTTP/1\n")
        if method not in {"GET", "HEAD"}:
            return False, _Answer(HTTPStatus.METHOD_NOT_ALLOWED, b"GET or HEAD\n", allow=True)
        return method == "HEAD", await asyncio.to_thread(self._answer, path)

    def _answer(self, path: str) -> _Answer:
        try:
            if path == "/metrics":
                return _Answer(HTTPStatus.OK, self._exposition(), _METRICS)
            if path == "/healthz":
                well, told = self._health()
                status = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
                body = {"status": "ok" if well else "failing", **told}
                return _Answer(status, msgspec.json.encode(body) + b"\n", _JSON)
        except Exception as bug:  # noqa: BLE001 - what cannot be shown must not end the server
            structlog.get_logger("meterwatch").error("status-page-failed", path=path, exc_info=bug)
            return _Answer(
                HTTPStatus.INTERNAL_SERVER_ERROR, b"it could not be shown: see the log\n"
            )
        return _Answer(HTTPStatus.NOT_FOUND, b"here are /metrics and /healthz\n")


def _request_line(head: bytes) -> tuple[str, str]:
    """Method and path of a request; empty when it is none."""
    parts = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1.") or not parts[1].startswith("/"):
        return "", ""
    return parts[0], parts[1].partition("?")[0]
