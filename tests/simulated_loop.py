"""An event loop in which time passes only while nothing happens, with a network of its own.

``simulate(work())`` runs a coroutine in it: sleeps and timeouts take no time at all, in the order
in which they would have ended; ``create_server`` and ``create_connection`` join protocols by
memory, so that no byte is ever under way unseen. Ten minutes of a serial line at 9600 baud, with
real timeouts on it, take as long as the computing takes, and are the same every time.

``LoopClock`` is a ``Clock`` by this loop's time. No threads, no real sockets in here.
"""

from __future__ import annotations

import asyncio
import itertools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

Result = TypeVar("Result")
Factory = Callable[[], asyncio.BaseProtocol]
FIRST_PORT: Final = 10_000


def simulate(work: Coroutine[Any, Any, Result]) -> Result:
    """What ``work`` returns, its tasks ended."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(work)


class LoopClock:
    """UTC milliseconds that begin with ``start`` when the loop does."""

    def __init__(self, start: int) -> None:
        self._start = start

    def now(self) -> int:
        return self._start + round(self.monotonic() * 1000)

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, ms: int) -> None:
        await asyncio.sleep(max(0.0, ms / 1000))


class SimulatedLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._passed = 0.0
        super().__init__(_Patience(self))
        self._ports = itertools.count(FIRST_PORT)
        self._servers: dict[int, _Server] = {}

    def time(self) -> float:
        return self._passed

    def pass_time(self, seconds: float) -> None:
        self._passed += seconds

    async def create_server(  # type: ignore[override]
        self, factory: Factory, host: object = None, port: int = 0, **_: object
    ) -> _Server:
        port = port or next(self._ports)
        server = self._servers[port] = _Server(self._servers, port, factory)
        return server

    async def create_connection(  # type: ignore[override]
        self, factory: Factory, host: object = None, port: int = 0, **_: object
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        server = self._servers.get(port)
        if server is None:
            raise ConnectionRefusedError(f"nobody listens on {port}")
        ours, theirs = factory(), server.factory()
        one, other = _End(self, ours), _End(self, theirs)
        one.peer, other.peer = other, one
        theirs.connection_made(other)
        ours.connection_made(one)
        return one, ours


class _Patience(selectors.SelectSelector):
    """Where a loop waits for sockets, time passes instead."""

    def __init__(self, loop: SimulatedLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everybody waits for something that will never happen")
        if timeout > 0:
            self._loop.pass_time(timeout)
        return []


class _Server:
    def __init__(self, servers: dict[int, _Server], port: int, factory: Factory) -> None:
        self._servers = servers
        self._port = port
        self.factory = factory
        self.sockets = (self,)

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", self._port

    def close(self) -> None:
        self._servers.pop(self._port, None)

    async def wait_closed(self) -> None:
        pass


class _Options:
    """What a socket lets itself be told; there is none."""

    def setsockopt(self, *_: object) -> None:
        pass


class _End(asyncio.Transport):
    """One end of a connection."""

    peer: _End

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: Any) -> None:
        super().__init__({"socket": _Options()})
        self._loop = loop
        self._protocol = protocol
        self._closing = False
        self._lost = False

    def write(self, data: Any) -> None:
        if not self._closing:
            self._loop.call_soon(self.peer.deliver, bytes(data))

    def deliver(self, data: bytes) -> None:
        if not self._closing:
            self._protocol.data_received(data)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self.lose)
            self._loop.call_soon(self.peer.lose)

    abort = close

    def lose(self) -> None:
        self._closing = True
        if not self._lost:
            self._lost = True
            self._protocol.connection_lost(None)
