"""How much of the server each gateway may have, and how much all of them together. Pure, except
that ``Room`` makes whoever finds it full wait in line.

A bucket may be overdrawn once: what is asked is only whether anything is left, then what was
really used is taken. So a message larger than the whole burst still passes, and is paid for by
the wait after it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Final, NamedTuple

_STRANGERS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Rates:
    """Of one gateway, per second; ``burst``: seconds' worth that may come at once."""

    requests: float
    readings: float
    size: float
    burst: float = 10.0


class Bucket:
    """``rate`` a second, ``most`` at once. ``now`` is monotonic seconds, as everywhere here."""

    __slots__ = ("_at", "_level", "_most", "_rate")

    def __init__(self, rate: float, most: float, now: float) -> None:
        self._rate, self._most = rate, max(most, 1.0)
        self._level, self._at = self._most, now

    def wait(self, now: float) -> float:
        """Seconds until something may be taken; 0 at present."""
        self._level = min(self._most, self._level + (now - self._at) * self._rate)
        self._at = now
        return 0.0 if self._level > 0 else (1e-9 - self._level) / self._rate

    def take(self, amount: float) -> None:
        """More than there is leaves a debt."""
        self._level -= amount


class Denied(NamedTuple):
    """Which limit says no, and in how many seconds to ask again."""

    limit: str
    wait: float


class Share:
    """What one gateway uses of its share."""

    __slots__ = ("_buckets", "_most_requests", "_most_size", "denials", "requests", "size")

    def __init__(self, rates: Rates, now: float, most_requests: int, most_size: int) -> None:
        self._buckets = {
            "requests": Bucket(rates.requests, rates.requests * rates.burst, now),
            "readings": Bucket(rates.readings, rates.readings * rates.burst, now),
            "bytes": Bucket(rates.size, rates.size * rates.burst, now),
        }
        self._most_requests, self._most_size = most_requests, most_size
        self.requests = self.size = 0
        """Being served now, and their bytes."""
        self.denials = Bucket(DENIALS, 2 * DENIALS, now)

    def over(self, now: float) -> Denied | None:
        """Whether it has used up its rates for now."""
        waits = {name: bucket.wait(now) for name, bucket in self._buckets.items()}
        limit = max(waits, key=waits.__getitem__)
        return Denied(limit, waits[limit]) if waits[limit] > 0 else None

    def denied(self, size: int, now: float) -> Denied | None:
        """Whether a request with a body of ``size`` may not come in now."""
        over = self.over(now)
        if over is not None:
            return over
        if self.requests >= self._most_requests or (
            self.requests and self.size + size > self._most_size
        ):
            return Denied("concurrent", 1.0)
        return None

    def enter(self, size: int) -> None:
        """A request comes in."""
        self._buckets["requests"].take(1)
        self.requests += 1
        self.size += size

    def leave(self, size: int) -> None:
        """It is answered."""
        self.requests -= 1
        self.size -= size

    def used(self, *, readings: int = 0, size: int = 0) -> None:
        """What it brought, once that is known."""
        self._buckets["readings"].take(readings)
        self._buckets["bytes"].take(size)


DENIALS: Final = 10.0
"""A second, that one gateway or address is told no at once; further ones are told late."""


class Strangers:
    """How often each address was told no. As many are remembered as matter."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Bucket] = OrderedDict()

    def bucket(self, address: str, now: float) -> Bucket:
        found = self._known.get(address)
        if found is None:
            found = self._known[address] = Bucket(DENIALS, 2 * DENIALS, now)
            if len(self._known) > _STRANGERS:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(address)
        return found


class Room:
    """Bytes that may be under way at once, from the first of a body until it is synced. Who comes
    when it is full waits in line, with its socket unread. One loop."""

    def __init__(self, most: int) -> None:
        self.used = 0
        self._most = most
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()

    def take_now(self, size: int) -> bool:
        """``size`` bytes of it, if they are free and nobody waits."""
        free = not self._line and self._fits(size)
        self.used += size if free else 0
        return free

    async def take(self, size: int, patience: float) -> bool:
        """``size`` bytes of it; False when there was no room for so many seconds. A ``size`` of
        more than all of it gets in alone."""
        if not self._line and self._fits(size):
            self.used += size
            return True
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append((size, turn))
        try:
            async with asyncio.timeout(patience):
                await turn
        except BaseException as ended:
            if turn.done() and not turn.cancelled():
                self.give(size)  # it got in at the last moment
            else:
                # Room that was given in the same turn has passed it over and taken it out already.
                with contextlib.suppress(ValueError):
                    self._line.remove((size, turn))
                self._admit()
            if isinstance(ended, TimeoutError):
                return False
            raise
        return True

    def give(self, size: int) -> None:
        """Back."""
        self.used -= size
        self._admit()

    def _fits(self, size: int) -> bool:
        return not self.used or self.used + size <= self._most

    def _admit(self) -> None:
        while self._line and (self._line[0][1].done() or self._fits(self._line[0][0])):
            size, turn = self._line.popleft()
            if not turn.done():
                self.used += size
                turn.set_result(None)
