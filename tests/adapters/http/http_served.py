"""An HTTP source that really listens, and clients of the plainest kind, for its tests.

    with CollectingIntake() as intake, Served(intake) as served:
        assert served.post(message(row())).status == 200

The source runs in a thread with a loop of its own, as beside a program; ``Wire`` is a raw socket.
Known tokens are ``token-of-GATEWAY``.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import select
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from adapters.sources.http import HttpSettings, HttpSource
from adapters.sources.inlet.source import InletSource
from adapters.sources.payload import PayloadDecoder
from collector.ports import Clock, Intake
from collector.telemetry import Telemetry
from meterwatch.clock import SystemClock
from tests.adapters.payload.pushed import T0, Fleet

PATIENCE = 20.0
READINGS = "/v1/readings"
WRITE = "/api/v2/write"


class At:
    """A clock that stands still for whoever asks the time of day: readings of T0 are not late."""

    def __init__(self, now: int = T0) -> None:
        self.time = now

    def now(self) -> int:
        return self.time

    def monotonic(self) -> float:
        return SystemClock().monotonic()

    async def sleep(self, ms: int) -> None:
        raise NotImplementedError


class Tokens:
    """Credentials of ``token-of-GATEWAY``, for these gateways; counts how often it is asked.
    ``certificates`` by their DER."""

    def __init__(self, *gateways: str) -> None:
        self.known = {f"token-of-{gateway}": gateway for gateway in gateways}
        self.certificates: dict[bytes, str] = {}
        self.asked = 0

    def gateway_of(self, token: str) -> str | None:
        self.asked += 1
        return self.known.get(token)

    def gateway_of_certificate(self, der: bytes) -> str | None:
        return self.certificates.get(der)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Served:
    """See the module. ``port`` 0 takes a free one; ``settings`` are those of ``HttpSettings``."""

    intake: Intake
    decoder: PayloadDecoder | None = None
    tokens: Tokens = field(default_factory=lambda: Tokens("gw-print", "gw-mill", "gw-gone"))
    settings: Mapping[str, Any] = field(default_factory=dict)
    clock: Clock = field(default_factory=At)
    trust: ssl.SSLContext | None = None
    port: int = 0

    def __enter__(self) -> Self:
        self.telemetry = Telemetry()
        chosen = {"name": "main", "port": self.port, "first_wait": 0.02, "longest_wait": 0.05}
        self.source = self._made(chosen | dict(self.settings))
        self._up = threading.Event()
        self._ended: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._up.wait(PATIENCE), "the source does not listen"
        if self._ended is not None:
            raise self._ended
        self.port = self.source.port
        return self

    def _made(self, settings: dict[str, Any]) -> InletSource:
        decoder = self.decoder or Fleet(source="http:main").decoder
        return HttpSource(
            HttpSettings(**settings), decoder, self.tokens, self.clock, self.telemetry
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as ended:  # noqa: BLE001 - raised where the test stops it
            self._ended = ended
            self._up.set()

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        task = asyncio.create_task(self.source.run(self.intake))
        stopped = asyncio.create_task(self._stop.wait())
        while not (self.source.port or task.done()):  # noqa: ASYNC110 - set in another thread
            await asyncio.sleep(0.002)
        self._up.set()
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    def begin_stop(self) -> None:
        """Cancel the source, without waiting for its end."""
        if self._thread.is_alive() and self._ended is None:
            self._loop.call_soon_threadsafe(self._stop.set)

    def stop(self) -> None:
        self.begin_stop()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the source does not end"
        if self._ended is not None:
            raise self._ended

    # --- clients --------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"{'https' if self.trust else 'http'}://localhost:{self.port}"

    def connect(self, timeout: float = PATIENCE) -> http.client.HTTPConnection:
        if self.trust is not None:
            return http.client.HTTPSConnection(
                "localhost", self.port, timeout=timeout, context=self.trust
            )
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def post(
        self,
        body: bytes,
        path: str = READINGS,
        *,
        gateway: str = "gw-print",
        over: http.client.HTTPConnection | None = None,
        **headers: str,
    ) -> Answer:
        """One request; ``Content_Encoding="gzip"`` is a header. ``gateway`` "" sends no token."""
        given = {"Content-Type": "application/json"} if path == READINGS else {}
        if gateway:
            given["Authorization"] = f"Bearer token-of-{gateway}"
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask("POST", path, body, given, over=over)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        over: http.client.HTTPConnection | None = None,
    ) -> Answer:
        link = over or self.connect()
        try:
            link.request(method, path, body, dict(headers or {}))
            found = link.getresponse()
            headers = {name.lower(): value for name, value in found.headers.items()}
            return Answer(found.status, headers, found.read())
        finally:
            if over is None:
                link.close()

    def count(self, name: str, **labels: str) -> float:
        return self.telemetry.value(name, source=self.source.name, **labels)


class Wire:
    """A raw socket to a source: what a client that means ill, or badly, can send."""

    def __init__(self, served: Served, *, receive: int = 0) -> None:
        self.socket = socket.socket()
        if receive:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(("127.0.0.1", served.port))

    def send(self, data: bytes | str) -> None:
        self.socket.sendall(data if isinstance(data, bytes) else data.encode("latin-1"))

    def answer(self) -> Answer:
        """The next answer; its body by Content-Length."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            piece = self.socket.recv(1)
            if not piece:
                raise ConnectionError(f"closed after {head!r}")
            head += piece
        lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        headers = {name.lower(): value for name, value in headers.items()}
        body = b""
        while left := int(headers.get("content-length", 0)) - len(body):
            body += self.socket.recv(left)
        return Answer(int(lines[0].split()[1]), headers, body)

    def readable(self, seconds: float) -> bool:
        """Whether it says something, or has closed, within so many seconds."""
        return bool(select.select([self.socket], [], [], seconds)[0])

    def closed(self) -> bytes:
        """Wait for the other side to close; what it said before."""
        said = b""
        try:
            while piece := self.socket.recv(65536):
                said += piece
        except ConnectionResetError:
            pass
        return said

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def head(
    path: str = READINGS, *, token: str = "token-of-gw-print", method: str = "POST", **headers: Any
) -> str:
    """A request's header; ``Content_Length=5`` is one of its lines."""
    given = {"Host": "localhost", "Content-Type": "application/json"}
    if token:
        given["Authorization"] = f"Bearer {token}"
    given |= {name.replace("_", "-"): str(value) for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n"
