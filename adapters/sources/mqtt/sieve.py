"""The socket that paho holds: messages stay with us, the other packets pass through.

To paho it is a non-blocking socket (``recv send close fileno setblocking``); on our side
``fill`` reads the real one, and ``write`` and ``flush`` send. What paho and we write goes through
one buffer, so that packets never mix.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from typing import Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from adapters.sources.mqttwire.frames import Frames

_READ: Final = 256 << 10
_LAST_WORDS_S: Final = 1.0
_LATER: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Sieve:
    """Wraps a connected socket, TLS or not."""

    def __init__(self, link: socket.socket, frames: Frames) -> None:
        self.frames = frames
        self.ended = False
        """The broker closed the connection."""
        self._link = link
        self._out = bytearray()

    # For paho.

    def recv(self, size: int) -> bytes:
        rest = self.frames.rest
        if not rest:
            if self.ended:
                return b""
            raise BlockingIOError
        data = bytes(rest[:size])
        del rest[:size]
        return data

    def send(self, data: bytes | bytearray) -> int:
        self._out += data
        return len(data)

    def close(self) -> None:
        """Send what is still to be sent, let the broker read it, for a second each at most, and
        close. Closed with something unread, the kernel would reset the connection, and mosquitto
        reads no further then: our last acknowledgements would be lost."""
        with contextlib.suppress(OSError):
            if self._out and not self.ended:
                self._link.settimeout(_LAST_WORDS_S)
                self._link.sendall(self._out)
                self._link.shutdown(socket.SHUT_WR)
                until = time.monotonic() + _LAST_WORDS_S
                while time.monotonic() < until and self._link.recv(_READ):
                    pass
        self._link.close()

    def fileno(self) -> int:
        return self._link.fileno()

    def setblocking(self, flag: bool) -> None:
        self._link.setblocking(flag)

    # For us.

    def fill(self) -> bool:
        """Read once what is there into the frames; False when nothing was. Raises OSError."""
        try:
            data = self._link.recv(_READ)
        except _LATER:
            return False
        if not data:
            self.ended = True
            return False
        self.frames.feed(data)
        return True

    def write(self, data: bytes) -> None:
        self._out += data

    @property
    def unsent(self) -> bool:
        return bool(self._out)

    def flush(self) -> None:
        """Send what the socket takes. Raises OSError."""
        while self._out:
            try:
                sent = self._link.send(self._out)
            except _LATER:
                return
            del self._out[:sent]


class SievedClient(mqtt.Client):
    """paho's client on a :class:`Sieve`. One connection; make a new one for the next."""

    def __init__(self, frames: Frames, **arguments: Any) -> None:
        super().__init__(CallbackAPIVersion.VERSION2, **arguments)
        self._frames = frames
        self.sieve: Sieve | None = None

    def _create_socket(self) -> Any:
        # paho's only seam between connecting and reading; private, hence the pin to paho 2.2 and
        # a test that would fail on a paho that no longer calls it.
        link: Any = super()._create_socket()
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sieve = Sieve(link, self._frames)
        return self.sieve
