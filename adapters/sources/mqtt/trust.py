"""Which topics the broker lets us publish to, found out without letting anything else wait. Pure.

mosquitto ends the connection of whoever publishes without the right to, in MQTT 3.1.1 without a
word (MQTT 3.1.1, 3.3.5: it may). The readings that come by the same connection would come to a
standstill over it. So a ping follows what was published, one at a time: its answer proves that the
broker minded none of it. A topic over which two connections ended without that proof rests for
a while; where three ended without any proof, everything does.

Invariants: a topic that is proven in between never rests, however often the broker crashes; one
that is forbidden costs at most so many connections for each ``REST_S``.
"""

from __future__ import annotations

from typing import Final

REST_S: Final = 600.0
_STRIKES: Final = 2
_ENDS: Final = 3


class Trust:
    """``now`` is monotonic seconds; topics are any keys."""

    def __init__(self) -> None:
        self._published: set[bytes] = set()
        self._proving: set[bytes] = set()
        self._strikes: dict[bytes, int] = {}
        self._ends = 0
        self._rests: dict[bytes, float] = {}
        self._all_rest = 0.0

    def rests(self, topic: bytes, now: float) -> bool:
        """Nothing is to be published to it."""
        return now < self._all_rest or now < self._rests.get(topic, 0.0)

    def connected(self) -> None:
        """A new connection: what was open on the last one is settled."""
        self._published.clear()
        self._proving.clear()

    def published(self, topic: bytes) -> None:
        self._published.add(topic)

    def prove(self) -> bool:
        """Whether a ping shall follow what was published so far; call before it is sent."""
        if self._proving or not self._published:
            return False
        self._proving, self._published = self._published, set()
        return True

    def proven(self) -> None:
        """That ping was answered."""
        for topic in self._proving:
            self._strikes.pop(topic, None)
        self._proving.clear()
        self._ends = 0

    def ended(self, now: float) -> bool:
        """The connection did; whether something rests because of that."""
        suspects = self._published | self._proving
        self.connected()
        if not suspects:
            return False
        self._ends += 1
        if self._ends >= _ENDS:
            self._all_rest = now + REST_S
            self._ends = 0
            self._strikes.clear()
            return True
        guilty = [topic for topic in suspects if self._strikes.get(topic, 0) + 1 >= _STRIKES]
        for topic in suspects:
            self._strikes[topic] = self._strikes.get(topic, 0) + 1
        for topic in guilty:
            del self._strikes[topic]
            self._rests[topic] = now + REST_S
        return bool(guilty)
