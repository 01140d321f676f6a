"""A DL/T 645 line, opened for a person who waits in front of it.

A serial port and a serial server are opened when asked; a terminal that calls us is waited for,
and of those that call and are not meant it is kept what they say. Silence closes nothing: a
search asks a hundred addresses that nobody has, and a terminal would have to call again each
time. Nothing is logged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from adapters.sources.dlt645.address import Line, Way
from adapters.sources.dlt645.link import Link
from adapters.sources.dlt645.terminals import Terminals, TerminalWire
from adapters.sources.dlt645.wire import SerialWire, TcpWire, Wire
from adapters.sources.polling import Failure, What
from collector.telemetry import Telemetry

CALL_S: Final = 180.0
"""A terminal that lost its connection calls again within this time: most do so every minute."""


class OpenLine:
    """``open`` as often as wanted; a line that is open stays so."""

    def __init__(self, line: Line, patience: float, *, call_s: float = CALL_S) -> None:
        self.place = line.place
        self._heard = _Listener()
        self._call_s = call_s
        self._called = asyncio.Event()
        self._terminals: Terminals | None = None
        self._wire = _WIRES[line.way](line, self._called.set)
        if isinstance(self._wire, TerminalWire):
            self._terminals = Terminals(line.host, line.port, patience, self._heard)
            self._terminals.wires.append(self._wire)
        self.link = Link(self._wire, self._heard, patience, silences=0)

    async def open(self) -> str:
        """ "" or why it cannot be opened."""
        if self.link.connected:
            return ""
        if self._terminals is not None:
            why = await self._terminals.start() or await self._until_called()
            if why:
                return why
        failure = await self.link.connect()
        return "" if failure is None else failure.detail

    async def who(self, pattern: str) -> str | Failure:
        """As ``Link.who``, asked twice; when everybody is meant in both ways, because not every
        meter knows both."""
        failures: list[Failure] = []
        for reading in (False, True):
            why = await self.open()
            if why:
                return Failure(What.CONNECT, why)
            answer = await self.ask(pattern, reading=reading)
            if isinstance(answer, str):
                return answer
            failures.append(answer)
        return max(failures, key=lambda one: one.what is What.GARBLED)

    async def ask(self, pattern: str, *, reading: bool = False) -> str | Failure:
        """As ``Link.who``; bytes beyond recognition are no silence to somebody who looks for
        whoever is there."""
        answer = await self.link.who(pattern, reading=reading)
        if isinstance(answer, Failure) and answer.what is What.SILENT and self.link.noisy:
            return Failure(What.GARBLED, f"{answer.detail}, but bytes come that are no frame")
        return answer

    def close(self) -> None:
        self.link.close()
        if self._terminals is not None:
            self._terminals.close()
        if isinstance(self._wire, TerminalWire):
            self._wire.end()

    async def _until_called(self) -> str:
        """ "" once the terminal has called, or why it has not."""
        try:
            async with asyncio.timeout(self._call_s):
                await self._called.wait()
        except TimeoutError:
            others = ", ".join(repr(one) for one in self._heard.strangers)
            told = f"; who called said {others}" if others else "; nobody called"
            return f"no terminal called {self.place} within {self._call_s:g} s{told}"
        self._called.clear()
        return ""


_WIRES: Final[Mapping[Way, Callable[[Line, Callable[[], None]], Wire]]] = {
    Way.SERIAL: lambda line, _: SerialWire(line),
    Way.TCP: lambda line, _: TcpWire(line),
    Way.LISTEN: TerminalWire,
}


class _Listener(Telemetry):
    """Keeps what terminals say that nobody knows; the rest is for no log."""

    def __init__(self) -> None:
        super().__init__()
        self.strangers: dict[str, None] = {}

    def event(self, name: str, /, level: str = "info", **fields: Any) -> None:  # noqa: ARG002
        if name == "unknown terminal called":
            self.strangers[fields["says"]] = None
