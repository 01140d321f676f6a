"""What carries bytes to and from a line: a serial port, or a transparent serial server over TCP.

A wire is opened by its link as often as needed. It gives what it hears to the link at once and
keeps nothing; what goes wrong is told as words for an electrician, never raised. A terminal that
calls us is a wire too: see ``terminals.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import termios
from collections.abc import Callable
from typing import Any, Final, Protocol

from adapters.sources.dlt645.address import Line
from adapters.sources.polling.serial_port import drive, why_closed

CONNECT_S: Final = 5.0
Hear = Callable[[bytes], None]
Lose = Callable[[str], None]


class Wire(Protocol):
    """``open`` gives "" or why it cannot be opened; from then on ``hear`` gets every piece of
    bytes, and ``lose`` is called once when the other side is gone (not after ``close``)."""

    @property
    def connected(self) -> bool: ...

    async def open(self, hear: Hear, lose: Lose) -> str: ...

    def send(self, data: bytes) -> None: ...

    def close(self) -> None: ...


class Stream(asyncio.Protocol):
    """A TCP connection that tells what it hears."""

    def __init__(self, hear: Hear, lose: Lose) -> None:
        self.hear, self.lose = hear, lose
        self.transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream's is one
        line = transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        self.hear(data)

    def connection_lost(self, fault: Exception | None) -> None:
        if self.transport is not None:
            self.transport = None
            self.lose(str(fault) if fault else "the other side closed the connection")

    @property
    def connected(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    def send(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def close(self) -> None:
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.abort()


class TcpWire:
    """We connect to a transparent serial server."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._stream: Stream | None = None

    @property
    def connected(self) -> bool:
        return self._stream is not None and self._stream.connected

    async def open(self, hear: Hear, lose: Lose) -> str:
        self.close()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_S):
                _, self._stream = await loop.create_connection(
                    lambda: Stream(hear, lose), self._line.host, self._line.port
                )
        except TimeoutError:
            return f"{self._line.place} does not answer within {CONNECT_S:g} s"
        except OSError as fault:
            return f"cannot connect to {self._line.place}: {fault.strerror or fault}"
        return ""

    def send(self, data: bytes) -> None:
        if self._stream is not None:
            self._stream.send(data)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


class SerialWire:
    """A serial port of this machine, ours alone while it is open."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._port: Any = None  # serial.Serial
        self._hear: Hear
        self._lose: Lose

    @property
    def connected(self) -> bool:
        return self._port is not None

    async def open(self, hear: Hear, lose: Lose) -> str:
        import serial  # noqa: PLC0415  only who has a serial line needs the library

        self.close()
        line = self._line
        try:
            self._port = serial.Serial(
                line.host,
                line.baud,
                parity=line.parity,
                stopbits=line.stop,
                timeout=0,
                write_timeout=0,
                exclusive=True,
            )
            if line.rs485:
                drive(self._port, line.rs485)
        except (serial.SerialException, OSError, ValueError, termios.error):
            self.close()
            return f"cannot open {line.host}: {why_closed(line.host, rs485=bool(line.rs485))}"
        self._hear, self._lose = hear, lose
        asyncio.get_running_loop().add_reader(self._port.fileno(), self._readable)
        return ""

    def send(self, data: bytes) -> None:
        try:
            if self._port is not None:
                self._port.write(data)
        except (OSError, termios.error) as fault:
            self._gone(fault)

    def close(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            asyncio.get_running_loop().remove_reader(port.fileno())
            with contextlib.suppress(OSError, termios.error):
                port.close()

    def _readable(self) -> None:
        try:
            data: bytes = os.read(self._port.fileno(), 4096)
        except BlockingIOError:
            return
        except OSError as fault:
            self._gone(fault)
            return
        if data:
            self._hear(data)
        else:
            self._gone(None)

    def _gone(self, fault: Exception | None) -> None:
        """The adapter was pulled out."""
        self.close()
        self._lose(str(fault) if fault else f"{self._line.host} is gone")
