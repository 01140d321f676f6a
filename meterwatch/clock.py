"""The two clocks: the machine's, and one that runs the whole program in simulated time. And how
people read a time.

The simulated clock stands still while any task it woke is still working, and jumps to the
earliest sleeper when all of them sleep again. So half a year of polls over real sockets takes
as long as the sockets take, and the order of events is the same every time.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from datetime import datetime
from zoneinfo import ZoneInfo


def moment(ms: int, zone: ZoneInfo) -> str:
    """A time as people in ``zone`` read it, with the offset from UTC: who reads it may sit at a
    machine of another zone."""
    return datetime.fromtimestamp(ms // 1000, zone).isoformat(" ")


class SystemClock:
    """The machine's clock. ``now`` is UTC milliseconds."""

    def now(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, ms: int) -> None:
        await asyncio.sleep(max(0.0, ms / 1000))


class SimulatedClock:
    """Time that passes only while everybody sleeps.

    A task joins by its first ``sleep`` and leaves when it ends. Work that a sleeper
    started elsewhere (a thread, another task that never sleeps here) must be awaited by the
    sleeper before it sleeps again. ``run_until`` is the driver: until it is called, time stands.
    One asyncio loop; not for use from other threads, except ``now`` and ``monotonic``.
    """

    def __init__(self, start: int) -> None:
        self._now = start
        self._start = start
        self._order = itertools.count()
        self._sleepers: list[tuple[int, int, asyncio.Future[None], asyncio.Task[object]]] = []
        self._awake: set[asyncio.Task[object]] = set()
        self._limit: int | None = None
        self._arrived: asyncio.Future[None] | None = None

    def now(self) -> int:
        return self._now

    def monotonic(self) -> float:
        return (self._now - self._start) / 1000

    async def sleep(self, ms: int) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("sleep needs a task")
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + max(0, ms), next(self._order), woken, task))
        self._rest(task)
        await woken

    async def run_until(self, end: int, *, settle: int = 3) -> None:
        """Let time pass up to ``end``. Tasks that have not slept yet get ``settle`` turns of
        the loop to do so first."""
        for _ in range(settle):
            await asyncio.sleep(0)
        self._limit = end
        self._arrived = asyncio.get_running_loop().create_future()
        self._advance()
        await self._arrived
        self._limit = None

    def _rest(self, task: asyncio.Task[object]) -> None:
        self._awake.discard(task)
        self._advance()

    def _advance(self) -> None:
        if self._limit is None or self._awake or self._arrived is None or self._arrived.done():
            return
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)  # its task was cancelled while it slept
        if not self._sleepers or self._sleepers[0][0] > self._limit:
            self._now = max(self._now, self._limit)
            self._arrived.set_result(None)
            return
        at, _, woken, task = heapq.heappop(self._sleepers)
        self._now = at
        if task.done():
            self._advance()
            return
        self._awake.add(task)
        task.add_done_callback(self._rest)
        woken.set_result(None)
