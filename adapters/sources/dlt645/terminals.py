"""Terminals that call us: one listening socket, many lines behind it.

A transparent terminal on a mobile network connects to the centre, says who it is (a text of its
own, often its telephone number, which the registry repeats as ``terminal``), and from then on
passes bytes through. It may say that text, or another, again and again as a sign of life: between
frames, that is noise. A terminal that says nothing is asked for the address of its meter.

Invariants: a connection belongs to one line, or to none and is then closed after ``patience``;
a line's newest connection counts, because a terminal that lost its network calls again before we
can see that the old connection is dead; as long as nobody is known, at most ``MOST_UNKNOWN``
connections and ``MOST_SAID`` bytes of each are kept. Who calls falsely gains nothing: a meter's
answer counts by the meter's address.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Final

from adapters.sources.dlt645 import message as messages
from adapters.sources.dlt645.address import Line
from adapters.sources.dlt645.frame import Frame, Reader, encode, matches
from adapters.sources.dlt645.wire import Hear, Lose, Stream
from collector.telemetry import Telemetry

MOST_UNKNOWN: Final = 256
MOST_SAID: Final = 512
ASKS: Final = 3
"""So often a terminal that says nothing is asked for its meter."""
_BETWEEN: Final = rb"(?<![A-Za-z0-9])%s(?![A-Za-z0-9])"


class TerminalWire:
    """The wire of a line whose terminal calls us. ``called`` is told of every new connection."""

    def __init__(self, line: Line, called: Callable[[], object]) -> None:
        self.line = line
        self._called = called
        self._stream: Stream | None = None
        self._next: Stream | None = None
        """Called, and not yet opened by the link."""

    @property
    def connected(self) -> bool:
        return self._stream is not None and self._stream.connected

    async def open(self, hear: Hear, lose: Lose) -> str:
        self.close()
        stream, self._next = self._next, None
        if stream is None or not stream.connected:
            return f"terminal {self.line.caller} has not called"
        stream.hear, stream.lose = hear, lose
        self._stream = stream
        return ""

    def send(self, data: bytes) -> None:
        if self._stream is not None:
            self._stream.send(data)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def take(self, stream: Stream) -> None:
        """The terminal called; whatever it was asked before is over."""
        if self._next is not None:
            self._next.close()
        self._next = stream
        stream.hear = stream.lose = _unasked
        if self._stream is not None:
            lose = self._stream.lose
            self.close()
            lose("the terminal called again")
        self._called()

    def end(self) -> None:
        """The line is no more."""
        self.close()
        if self._next is not None:
            self._next.close()


class Terminals:
    """One listening socket at ``host:port``. ``wires``: the lines whose terminals call there."""

    def __init__(self, host: str, port: int, patience: float, telemetry: Telemetry) -> None:
        self.host = host
        self.port = port
        self.wires: list[TerminalWire] = []
        self._patience = patience
        self._telemetry = telemetry
        self.closed = False
        self._server: asyncio.Server | None = None
        self._unknown: set[_Caller] = set()

    async def start(self) -> str:
        """Listen, unless it was closed; "" or why that cannot be."""
        if self._server is not None:
            return ""
        loop = asyncio.get_running_loop()
        try:
            server = await loop.create_server(self._caller, self.host, self.port)
        except OSError as fault:
            return f"cannot listen at {self.host}:{self.port}: {fault.strerror or fault}"
        if self.closed:  # meanwhile
            server.close()
            return ""
        self._server = server
        self.port = self._server.sockets[0].getsockname()[1]
        return ""

    def close(self) -> None:
        """Stop listening, for good; lines keep their connections."""
        self.closed = True
        if self._server is not None:
            self._server.close()
            self._server = None
        for caller in list(self._unknown):
            caller.end()

    def named(self, said: bytes) -> TerminalWire | None:
        """The line whose terminal says ``said``: its name stands in it, by itself."""
        for wire in self.wires:
            name = re.escape(wire.line.caller.encode())
            if wire.line.named and re.search(_BETWEEN % name, said):
                return wire
        return None

    def behind(self, meter: str) -> TerminalWire | None:
        """The line with ``meter``, of those whose terminals say nothing."""
        for wire in self.wires:
            if not wire.line.named and matches(wire.line.caller, meter):
                return wire
        return None

    def known(self, caller: _Caller, wire: TerminalWire) -> None:
        """It is known who called."""
        self._unknown.discard(caller)
        self._telemetry.event("terminal called", origin=wire.line.origin)
        wire.take(caller.stream)

    def stranger(self, caller: _Caller, said: bytes) -> None:
        """It cannot be told who called. What it says is told, so that it can be written down."""
        self._unknown.discard(caller)
        self._telemetry.count("dlt645_unknown_terminals")
        self._telemetry.event(
            "unknown terminal called",
            level="warning",
            listening=f"{self.host}:{self.port}",
            says=said[:64].decode("ascii", "backslashreplace"),
        )

    def _caller(self) -> Stream:
        caller = _Caller(self, self._patience)
        if len(self._unknown) >= MOST_UNKNOWN:
            next(iter(self._unknown)).end()
        self._unknown.add(caller)
        return caller.stream


class _Caller:
    """A connection of which it is not known yet whose it is."""

    def __init__(self, terminals: Terminals, patience: float) -> None:
        self._terminals = terminals
        self._patience = patience
        self._said = b""
        self._reader = Reader()
        self._asked = 0
        self.stream = _Fresh(self._hear, lambda _: self.end())
        self._timer = asyncio.get_running_loop().call_later(patience, self._ask)

    def _hear(self, data: bytes) -> None:
        self._said = (self._said + data)[:MOST_SAID]
        found = self._terminals.named(self._said)
        for event in self._reader.receive(data):
            if found is None and isinstance(event, Frame):
                found = self._terminals.behind(_sender(event))
        if found is not None:
            self._timer.cancel()
            self._terminals.known(self, found)

    def _ask(self) -> None:
        """It says nothing that is known: perhaps its meter does."""
        if self._asked == ASKS:
            self._terminals.stranger(self, self._said)
            self.end()
            return
        self._asked += 1
        self._reader.clear()
        self.stream.send(encode(messages.read_address()))
        self._timer = asyncio.get_running_loop().call_later(self._patience, self._ask)

    def end(self) -> None:
        """Give it up."""
        self._timer.cancel()
        self._terminals._unknown.discard(self)  # noqa: SLF001 of the same file
        self.stream.close()


class _Fresh(Stream):
    """A connection that somebody else opened."""


def _sender(frame: Frame) -> str:
    said = messages.understand(frame)
    return said.address if isinstance(said, messages.Address | messages.Answer) else ""


def _unasked(_: bytes | str) -> None:
    """Nobody waits for anything yet."""
