"""Grafana's HTTP API on a loopback port, as documented: see :mod:`tests.grafana.contract_store`.

Real sockets, so that what is tested is what runs: the client library, its URLs, its headers.
``requests`` are the requests that came; ``then`` answers the next ones with something else. A test
file takes the fixture with ``served = contract_server.served``.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from tests.grafana.contract_store import Account, Grafana, Refusal
from tests.servers import Certificates

Json = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """One answer out of turn. ``drop``: close the connection without one."""

    status: int = 200
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    drop: bool = False


@dataclass(frozen=True)
class Call:
    """A request that came."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    body: Any
    token: str

    @property
    def writes(self) -> bool:
        return self.method != "GET"


class GrafanaServer:
    """``prefix``: serve below a path, as behind a proxy. ``certificates``: speak TLS."""

    def __init__(self, *, prefix: str = "", certificates: Certificates | None = None) -> None:
        self.grafana = Grafana()
        self.version: str | None = "12.4.0"
        self.database = "ok"
        self.requests: list[Call] = []
        self.prefix = prefix
        self._scheme = "https" if certificates else "http"
        self._next: deque[tuple[str, Answer | Callable[[], None]]] = deque()
        self._lock = threading.Lock()
        self._http = _Threads(("127.0.0.1", 0), _handler(self))
        if certificates:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificates.server, certificates.server_key)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._http.server_address[1]}{self.prefix}"

    def then(self, path: str, what: Answer | Callable[[], None]) -> None:
        """For the next request below ``/api`` whose ``METHOD path`` matches this pattern: answer
        so, or do that first and answer as usual."""
        self._next.append((path, what))

    def writes(self) -> list[Call]:
        """Requests that could have changed something."""
        return [one for one in self.requests if one.writes]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def answer(self, call: Call) -> Answer:
        """One request at a time."""
        with self._lock:
            self.requests.append(call)
            for number, (pattern, what) in enumerate(self._next):
                if re.search(pattern, f"{call.method} {call.path}"):
                    del self._next[number]
                    if isinstance(what, Answer):
                        return what
                    what()
                    break
            try:
                return _json(200, self._route(call))
            except Refusal as refusal:
                return _json(refusal.code, refusal.body)
            except Exception:  # noqa: BLE001 - a fault of these tests must be seen in them
                return _json(500, {"message": traceback.format_exc()[-1500:]})

    def _route(self, call: Call) -> Any:
        if call.path == "/health":
            told = {"commit": "abc", "database": self.database, "version": self.version}
            return {key: value for key, value in told.items() if value is not None}
        who = self.grafana.accounts.get(call.token)
        if who is None:
            raise Refusal(401, "Invalid API key" if call.token else "Unauthorized")
        for method, pattern, act in _ROUTES:
            match = re.fullmatch(pattern, call.path)
            if match and method == call.method:
                return act(self.grafana, who, call, *(unquote(part) for part in match.groups()))
        raise Refusal(404, "Not found")


def _org(_: Grafana, who: Account, __: Call) -> Json:
    who.need("orgs:read")
    return {"id": 1, "name": "Main Org."}


_UID = r"([^/]+)"
_ROUTES: tuple[tuple[str, str, Callable[..., Any]], ...] = (
    ("GET", "/org", _org),
    ("GET", "/search", lambda g, who, c: g.search_folders(who, c.query.get("query", [""])[0])),
    ("GET", f"/folders/{_UID}", lambda g, who, c, uid: g.get_folder(who, uid)),
    ("POST", "/folders", lambda g, who, c: g.create_folder(who, c.body)),
    ("GET", f"/datasources/uid/{_UID}", lambda g, who, c, uid: g.get_source(who, uid=uid)),
    ("GET", f"/datasources/name/{_UID}", lambda g, who, c, name: g.get_source(who, name=name)),
    ("POST", "/datasources", lambda g, who, c: g.create_source(who, c.body)),
    ("PUT", f"/datasources/uid/{_UID}", lambda g, who, c, uid: g.update_source(who, uid, c.body)),
    ("GET", f"/dashboards/uid/{_UID}", lambda g, who, c, uid: g.get_dashboard(who, uid)),
    (
        "GET",
        f"/dashboards/uid/{_UID}/versions",
        lambda g, who, c, uid: g.get_versions(who, uid, int(c.query.get("limit", ["1000"])[0])),
    ),
    ("POST", "/dashboards/db", lambda g, who, c: g.save_dashboard(who, c.body)),
    ("GET", "/annotations", lambda g, who, c: g.find_annotations(who, c.query)),
    ("POST", "/annotations", lambda g, who, c: g.add_annotation(who, c.body)),
    (
        "PUT",
        r"/annotations/(\d+)",
        lambda g, who, c, number: g.update_annotation(who, int(number), c.body),
    ),
)


def _json(status: int, body: Any) -> Answer:
    return Answer(status, json.dumps(body), {"Content-Type": "application/json; charset=UTF-8"})


class _Threads(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that does not trust our certificate goes away in the middle."""


def _handler(server: GrafanaServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet: each alone waits for an acknowledgement

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = urlsplit(self.path)
            root = f"{server.prefix}/api"
            if not parts.path.startswith(f"{root}/"):
                self._send(Answer(404, "<html>not here</html>", {"Content-Type": "text/html"}))
                return
            path = parts.path.removeprefix(root)
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            told = json.loads(body) if body else None
            call = Call(self.command, path, parse_qs(parts.query), told, token)
            self._send(server.answer(call))

        do_POST = do_PUT = do_PATCH = do_GET  # noqa: N815 - the names that http.server calls

        def _send(self, answer: Answer) -> None:
            if answer.drop:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            content = answer.body.encode()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
            """The tests read ``requests``."""

    return Handler


@pytest.fixture
def served() -> Iterator[GrafanaServer]:
    with GrafanaServer() as server:
        yield server
