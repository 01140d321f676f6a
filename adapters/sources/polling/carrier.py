"""From many polls to few deliveries: whatever finished since the last one goes together.

While one delivery waits for its sync, polls gather; the next takes them all. So there is at
most one unsynced delivery of readings, a slow disk makes larger ones, and a poll costs no task
and no future of its own. A bus waits for its polls before it sleeps, so that the program never
sleeps on readings that nobody has synced, and simulated time never runs past them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from collector.model import (
    Batch,
    Entry,
    Ids,
    Qualities,
    Refusal,
    Segments,
    SourceState,
    Values,
)
from collector.ports import Clock, Delivery, Intake, Urgency
from collector.telemetry import Telemetry

FULL_ROWS: Final = 50_000
"""Rows gathered while the intake stalls; then buses wait instead of polling on."""

LINGER_S: Final = 0.005
MANY: Final = 8
"""Polls in one round: then there is load, and the next one begins no sooner than ``LINGER_S`` after
it. Fewer and larger deliveries cost less; a single poll never waits."""

Identify = Callable[[Sequence[str]], Ids]


class Carrier:
    """Gathers polls and states and brings them to ``intake``. One loop; ``run`` is its task."""

    def __init__(
        self,
        name: str,
        intake: Intake,
        origin_ids: Identify,
        clock: Clock,
        telemetry: Telemetry,
        kind: str,
    ) -> None:
        self.wide = False
        """The journal nears its bound: poll less often (law 10)."""
        self.kind = kind
        """Of source: what its metrics are named by."""
        self._name = name
        self._intake = intake
        self._origin_ids = origin_ids
        self._clock = clock
        self._telemetry = telemetry
        self._ids: dict[str, int] = {}
        self._ready = asyncio.Event()
        self._round = Round()

    def origin(self, name: str) -> int:
        """The stable id of an origin; asked of the journal once."""
        found = self._ids.get(name)
        if found is None:
            found = self._ids[name] = int(self._origin_ids([name])[0])
        return found

    def readings(
        self, points: Ids, values: Values, qualities: Qualities, time: int, origin: int
    ) -> Round:
        """One poll, measured and received at ``time``; several travel in one round."""
        self._round.add(points, values, qualities, time, origin)
        self._ready.set()
        return self._round

    def state(self, origin: str, up: bool, reason: str = "") -> Round:
        """``origin`` came up or went down now."""
        entry = SourceState(self._clock.now(), self.origin(origin), up, reason)
        self._round.entries.append(entry)
        self._ready.set()
        self._telemetry.event(
            "source up" if up else "source down",
            level="info" if up else "warning",
            source=self._name,
            origin=origin,
            reason=reason,
        )
        return self._round

    def refusal(self, refusal: Refusal) -> Round:
        """What could not be used goes the same way, and is kept with its reason."""
        self._round.entries.append(refusal)
        self._ready.set()
        return self._round

    @property
    def full(self) -> bool:
        return self._round.rows >= FULL_ROWS

    async def run(self) -> None:
        """Deliver, round after round, until cancelled."""
        loop = asyncio.get_running_loop()
        begun, many = 0.0, False
        while True:
            await self._ready.wait()
            if many and (early := begun + LINGER_S - loop.time()) > 0:
                await asyncio.sleep(early)
            begun, many = loop.time(), len(self._round.sizes) >= MANY
            self._ready.clear()
            current, self._round = self._round, Round()
            try:
                await self._deliver(current)
            finally:
                current.settle()

    async def _deliver(self, current: Round) -> None:
        """States first: they are never refused, and a source is up before it brings."""
        if current.entries:
            await self._intake.deliver(Delivery(None, Urgency.CONTROL, current.entries))
        if current.rows:
            kept = await self._intake.deliver(Delivery(current.batch(), Urgency.POLL))
            self._telemetry.count(f"{self.kind}_polls", len(current.sizes), source=self._name)
            self._telemetry.count(
                f"{self.kind}_readings" if kept else f"{self.kind}_readings_refused",
                current.rows,
                source=self._name,
            )
        self.wide = self._intake.pressure() > Urgency.PUSH


class Round:
    """What was gathered for one delivery, as columns. ``settled`` once it is synced or refused."""

    __slots__ = (
        "_columns",
        "_origins",
        "_times",
        "_waiting",
        "entries",
        "rows",
        "settled",
        "sizes",
    )

    def __init__(self) -> None:
        self.settled = False
        self._waiting: list[asyncio.Future[None]] = []
        self.entries: list[Entry] = []
        self.rows = 0
        self.sizes: list[int] = []
        self._columns: list[tuple[Ids, Values, Qualities]] = []
        self._times: list[int] = []
        self._origins: list[int] = []

    async def wait(self) -> None:
        """Until it is settled."""
        if not self.settled:
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            await waiting

    def settle(self) -> None:
        """It is synced, or refused, or will never be delivered."""
        self.settled = True
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    def add(
        self, points: Ids, values: Values, qualities: Qualities, time: int, origin: int
    ) -> None:
        self._columns.append((points, values, qualities))
        self._times.append(time)
        self._origins.append(origin)
        self.sizes.append(len(points))
        self.rows += len(points)

    def batch(self) -> Batch:
        """One segment per poll: the origin is the device."""
        times = np.array(self._times, np.int64)
        sizes = np.array(self.sizes, np.int64)
        return Batch(
            np.concatenate([columns[0] for columns in self._columns]),
            np.repeat(times, sizes),
            np.concatenate([columns[1] for columns in self._columns]),
            np.concatenate([columns[2] for columns in self._columns]),
            Segments(
                np.cumsum(sizes),
                np.array(self._origins, np.int32),
                times,
                np.zeros(len(sizes), np.bool_),
            ),
        )
