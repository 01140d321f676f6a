"""What senders are told over MQTT: receipts, on a topic of their own gateway. Pure; one thread.

Promises: a reply is made only for what a gateway of the registry sent and only once the journal has
synced it (or, as ``busy``, could not take it); it goes to the gateway's own topic for replies, or
to one just below it that the sender wished, and nowhere else. What waits is bounded; what has no
room is dropped and counted: the sender asks by sending again, and writing twice is writing once.

Nothing waits for a reply, not even where the broker forbids them (``trust.py``).

A reply is a PUBLISH with QoS 1, not retained. One that the broker had not acknowledged when the
connection ended goes out again on the next.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from adapters.sources.mqtt.trust import Trust
from adapters.sources.mqtt.wishes import correlating, wishes
from adapters.sources.mqttwire.frames import Publish, publish
from adapters.sources.payload import Receipt, answer, busy

REPLIES: Final = "replies"
"""The last level of a reply's topic, in the place of ``readings``."""
MOST: Final = 10_000
MOST_BYTES: Final = 4 << 20
"""So much waits at most, what is under way included."""
IN_FLIGHT: Final = 1_000
"""So many are with the broker at a time, if it allows that."""
_FIRST_MID: Final = 1_000  # paho numbers its SUBSCRIBEs from 1
_LAST_MID: Final = 65_535
_REFUSED: Final = 128  # reason codes of PUBACK from here on are failures (MQTT 5.0, 3.4.2.1)
_READINGS: Final = "/readings"
_BELOW: Final = re.compile(rb"/[A-Za-z0-9._-]{1,64}")
"""What a sender may add to its topic for replies: one level, so plain that no broker minds it."""
_WISHED: Final = b""
"""All wished topics are trusted or not as one: senders can invent as many as they like."""
_TOPICS: Final = 10_000


class Asked(NamedTuple):
    """A message whose sender will be told: by what topic it came, what it wished, its receipt."""

    topic: str
    properties: bytes
    receipt: Receipt


class Figures(NamedTuple):
    """Since the last look: taken by the broker, dropped; waiting now, with those under way.
    ``denied``: the broker does not let us publish them."""

    sent: int
    dropped: int
    waiting: int
    denied: bool


class _Reply(NamedTuple):
    own: bytes
    wished: bytes
    properties: bytes
    payload: bytes

    @property
    def size(self) -> int:
        return len(self.own) + len(self.wished) + len(self.properties) + len(self.payload)


class Replies:
    """``choose`` when messages were read, ``tell`` when it is known what became of them, then
    ``packets`` as the broker takes them. ``which``: see ``MqttSettings.replies``. ``now`` is
    monotonic seconds."""

    def __init__(self, version: int, which: str) -> None:
        self._v5 = version == 5
        self._which = which
        self._waiting: deque[_Reply] = deque()
        self._bytes = 0
        self._under_way: dict[int, _Reply] = {}
        self._mid = _LAST_MID
        self._most_under_way = self._largest = 0
        self._trust = Trust()
        self._topics: dict[str, bytes] = {}
        self._sent = self._dropped = 0
        self._denied = self._changed = False

    def connected(self, receive_maximum: int, largest: int) -> None:
        """A new connection: what the last one left unanswered is to be said again.
        ``receive_maximum`` and ``largest`` packet: what the broker takes (0: any)."""
        self._most_under_way = min(receive_maximum, IN_FLIGHT)
        self._largest = largest
        self._trust.connected()
        self._waiting.extendleft(reversed(self._under_way.values()))
        self._under_way.clear()

    def ended(self, now: float) -> None:
        """The connection did."""
        if self._trust.ended(now):
            self._denied = self._changed = True

    def prove(self) -> bool:
        """Whether a ping shall follow what ``packets`` gave; ``proven``: it was answered."""
        return self._trust.prove()

    def proven(self) -> None:
        self._trust.proven()

    def choose(
        self,
        topics: Sequence[str],
        packets: Sequence[Publish],
        receipts: Sequence[Receipt],
        knows: Callable[[str], bool],
    ) -> list[Asked]:
        """Of messages those whose sender is told; ``knows`` topics of the registry's gateways."""
        if self._which == "none":
            return []
        everything = self._which == "all"
        return [
            Asked(topic, packet.properties, receipt)
            for topic, packet, receipt in zip(topics, packets, receipts, strict=True)
            if (
                everything
                or receipt.refused
                or receipt.id is not None
                or receipt.remarks
                or (packet.properties and _asks(packet.properties))
            )
            and knows(topic)
        ]

    def tell(self, asked: Iterable[Asked], *, stored: bool, kept_aside: str = "") -> None:
        """The journal has synced what came with these; or, not ``stored``, it has no room yet.
        ``kept_aside``: see :class:`collector.ports.Delivery`."""
        for topic, properties, decoded in asked:
            receipt = decoded.kept_aside(kept_aside) if kept_aside else decoded
            own = self._topics.get(topic) or self._topic(topic)
            wished = echo = b""
            if properties:
                wish = wishes(properties)
                echo = correlating(wish.correlation)
                if wish.topic.startswith(own) and _BELOW.fullmatch(wish.topic[len(own) :]):
                    wished = wish.topic
            self._add(_Reply(own, wished, echo, answer(receipt if stored else busy(receipt))))

    def packets(self, now: float) -> bytes:
        """The next PUBLISH packets, as many as may be under way; perhaps none."""
        if not self._waiting:
            return b""
        trust, out = self._trust, list[bytes]()
        while self._waiting and len(self._under_way) < self._most_under_way:
            reply = self._waiting.popleft()
            wished = bool(reply.wished) and not trust.rests(_WISHED, now)
            mid = self._next_mid()
            told = reply.properties if self._v5 else None
            packet = publish(reply.wished if wished else reply.own, reply.payload, mid, told)
            key = _WISHED if wished else reply.own
            if trust.rests(key, now) or 0 < self._largest < len(packet):
                self._drop(reply)
                continue
            trust.published(key)
            self._under_way[mid] = reply
            out.append(packet)
        return b"".join(out)

    def taken(self, answers: Iterable[tuple[int, int]]) -> None:
        """PUBACKs of the broker: (packet id, reason code)."""
        for mid, code in answers:
            reply = self._under_way.pop(mid, None)
            if reply is None:
                continue
            if code >= _REFUSED:
                self._denied = True
                self._drop(reply)
                continue
            self._bytes -= reply.size
            self._sent += 1
            self._changed = True

    def figures(self) -> Figures | None:
        """For dashboards; None when there is no news."""
        if not self._changed:
            return None
        waiting = len(self._waiting) + len(self._under_way)
        found = Figures(self._sent, self._dropped, waiting, self._denied)
        self._sent = self._dropped = 0
        self._denied = self._changed = False
        return found

    def _add(self, reply: _Reply) -> None:
        self._changed = True
        self._bytes += reply.size
        if len(self._waiting) + len(self._under_way) >= MOST or self._bytes > MOST_BYTES:
            self._drop(reply)
        else:
            self._waiting.append(reply)

    def _drop(self, reply: _Reply) -> None:
        self._bytes -= reply.size
        self._dropped += 1
        self._changed = True

    def _next_mid(self) -> int:
        while True:
            self._mid = self._mid + 1 if self._mid < _LAST_MID else _FIRST_MID
            if self._mid not in self._under_way:
                return self._mid

    def _topic(self, topic: str) -> bytes:
        """Where the replies to messages of ``topic`` go."""
        if len(self._topics) >= _TOPICS:
            self._topics.clear()
        own = self._topics[topic] = f"{topic.removesuffix(_READINGS)}/{REPLIES}".encode()
        return own


def _asks(properties: bytes) -> bool:
    """MQTT 5 has its own way to say that an answer is wanted."""
    wish = wishes(properties)
    return bool(wish.topic or wish.correlation)
