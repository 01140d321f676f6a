"""An MQTT listener that really listens, and a client on a bare socket, for its tests.

    with CollectingIntake() as intake, ServedListener(intake) as served, Raw(served) as raw:
        raw.connect()
        raw.publish(message(row()), mid=1)
        assert raw.packet() == (4, b"\\0\\1")

Packets are written here by hand, with nothing of what is tested. Known tokens are
``token-of-GATEWAY``.
"""

from __future__ import annotations

import socket
import ssl
import struct
from typing import Any, Self

from adapters.sources.inlet.source import InletSource
from adapters.sources.listener import ListenerSettings, ListenerSource
from tests.adapters.http.http_served import PATIENCE, Served
from tests.adapters.payload.pushed import Fleet, topic

VERSIONS = (4, 5)
"""Of MQTT: 3.1.1 and 5, as they stand in CONNECT."""


class ServedListener(Served):
    def _made(self, settings: dict[str, Any]) -> InletSource:
        decoder = self.decoder or Fleet(source="mqtt-listener:main").decoder
        return ListenerSource(
            ListenerSettings(**settings), decoder, self.tokens, self.clock, self.telemetry
        )


def packet(first: int, body: bytes) -> bytes:
    left, out = len(body), bytearray([first])
    while True:
        left, low = divmod(left, 128)
        out.append(low | (128 if left else 0))
        if not left:
            return bytes(out) + body


def text(value: str | bytes) -> bytes:
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("!H", len(data)) + data


def connect(
    gateway: str = "gw-print",
    *,
    version: int = 4,
    client: str = "c",
    user: str | None = None,
    token: str | None = None,
    keepalive: int = 60,
    clean: bool = True,
    properties: bytes = b"",
) -> bytes:
    user = gateway if user is None else user
    token = f"token-of-{gateway}" if token is None else token
    flags = 2 * clean | (0x80 if user else 0) | (0x40 if token else 0)
    body = text("MQTT") + bytes([version, flags]) + struct.pack("!H", keepalive)
    if version == 5:
        body += bytes([len(properties)]) + properties
    body += text(client)
    body += (text(user) if user else b"") + (text(token) if token else b"")
    return packet(0x10, body)


def publish(
    payload: bytes, mid: int = 1, *, version: int = 4, name: str | None = None, qos: int = 1
) -> bytes:
    body = text(topic() if name is None else name)
    body += struct.pack("!H", mid) if qos else b""
    body += b"\0" if version == 5 else b""
    return packet(0x30 | qos << 1, body + payload)


def subscribe(name: str, mid: int = 1, *, version: int = 4) -> bytes:
    return packet(
        0x82, struct.pack("!H", mid) + (b"\0" if version == 5 else b"") + text(name) + b"\1"
    )


class Raw:
    """A raw socket to a listener, TLS with a context."""

    def __init__(
        self, served: ServedListener, *, receive: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        plain = socket.socket()
        if receive:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        plain.settimeout(PATIENCE)
        plain.connect(("127.0.0.1", served.port))
        self.gateway = "gw-print"
        self.socket = tls.wrap_socket(plain, server_hostname="localhost") if tls else plain

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def connect(self, gateway: str = "gw-print", **more: Any) -> bytes:
        """CONNECT; the body of CONNACK."""
        self.gateway = gateway
        self.send(connect(gateway, **more))
        kind, body = self.packet()
        assert kind == 2
        return body

    def publish(self, payload: bytes, mid: int = 1, **more: Any) -> None:
        """On the topic of the gateway that connected, or on ``name``."""
        self.send(publish(payload, mid, **({"name": topic(self.gateway)} | more)))

    def packet(self) -> tuple[int, bytes]:
        """The next packet's kind and body; raises ``ConnectionError`` at the end."""
        first = self._exactly(1)[0]
        size = shift = 0
        while True:
            byte = self._exactly(1)[0]
            size |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return first >> 4, self._exactly(size)

    def silent(self) -> bool:
        """Nothing is there at this moment."""
        self.socket.setblocking(False)
        try:
            self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        finally:
            self.socket.settimeout(PATIENCE)
        return False

    def closed(self) -> bytes:
        """Wait for the other side to close; what it said before."""
        said = b""
        try:
            while piece := self.socket.recv(65536):
                said += piece
        except ConnectionResetError:
            pass
        return said

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self.socket.recv(size - len(data))
            if not piece:
                raise ConnectionError(f"closed after {data!r}")
            data += piece
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
