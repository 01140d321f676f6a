"""A real HTTP server on a free loopback port that records what it is sent and fails on order.

    with HttpServer() as server:
        server.answer = Answer(500)          # every request, until changed
        server.then(Answer(429), Answer())   # the next two, in this order, before ``answer``
        ...
        server.wait_for(3)                   # until three requests have come

``Answer(hang=True)`` takes the request and never answers (until the server stops);
``Answer(drop=True)`` closes the connection without a word. ``on_request`` is called with each
request before it is answered: a test can kill the sender there.
"""

from __future__ import annotations

import json
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: str = "{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    hang: bool = False
    drop: bool = False


class HttpServer:
    """See the module. ``url`` is ``http://127.0.0.1:PORT``; ``requests`` all that came."""

    def __init__(self, port: int = 0) -> None:
        self.answer = Answer()
        self.on_request: Callable[[Request], None] = lambda _request: None
        self.requests: list[Request] = []
        self._next: deque[Answer] = deque()
        self._came = threading.Condition()
        self._stopping = threading.Event()
        self._http = _Threads(("127.0.0.1", port), _handler(self))
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)

    @property
    def port(self) -> int:
        return int(self._http.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def then(self, *answers: Answer) -> None:
        """Answer the next requests so, one each."""
        self._next.extend(answers)

    def wait_for(self, count: int, timeout: float = 20) -> list[Request]:
        """Until ``count`` requests have come; all of them."""
        with self._came:
            if not self._came.wait_for(lambda: len(self.requests) >= count, timeout):
                raise AssertionError(f"{len(self.requests)} of {count} requests in {timeout} s")
            return list(self.requests)

    def start(self) -> Self:
        self._thread.start()
        return self

    def stop(self) -> None:
        """Free the port; requests that hang are dropped."""
        self._stopping.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def took(self, request: Request) -> Answer:
        """A handler's thread brings a request; how to answer it."""
        with self._came:
            answer = self._next.popleft() if self._next else self.answer
            self.requests.append(request)
            self._came.notify_all()
        self.on_request(request)
        if answer.hang:
            self._stopping.wait()
        return answer


class _Threads(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed or gave up is what these tests are about."""


def _handler(server: HttpServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            request = Request(self.command, self.path, dict(self.headers.items()), body)
            answer = server.took(request)
            if answer.hang or answer.drop:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            content = answer.body.encode()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST  # noqa: N815 - the names that http.server calls

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
            """The tests read ``requests``."""

    return Handler
