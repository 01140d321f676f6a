"""What one client says: bytes in, packets out, in their order. Pure.

Invariants: any cutting of the bytes gives the same packets; the first is CONNECT, and no other is;
whatever the bytes, nothing is raised but ``MalformedError``. What is held is bounded: by the most
that a CONNECT may have, then by the largest message and one read.
"""

from __future__ import annotations

from typing import Final

from adapters.sources.inlet.mistaken import spoken
from adapters.sources.mqttwire import packets
from adapters.sources.mqttwire.frames import BrokenStreamError, Frames, Publish
from adapters.sources.mqttwire.packets import (
    Connect,
    MalformedError,
    Packet,
    Subscribe,
    Unsubscribe,
)


class Ping:
    """PINGREQ."""


class Goodbye:
    """DISCONNECT."""


Said = Connect | Publish | Subscribe | Unsubscribe | Ping | Goodbye
_LARGEST_REST: Final = 64 << 10
"""Bytes of a packet that is no message."""


class Dialogue:
    """``feed`` bytes, take what is said with ``next`` until it returns None."""

    def __init__(self, max_head: int, max_message: int) -> None:
        self.version = 0
        """Of MQTT, as packets write it; 0 before CONNECT."""
        self._max_head, self._max_message = max_head, max_message
        self._early = bytearray()
        self._frames: Frames | None = None
        self._rest = b""
        self._at = 0
        self._message: Publish | None = None

    @property
    def held(self) -> int:
        """Bytes that were fed and not taken, about."""
        if self._frames is None:
            return len(self._early)
        return self._frames.held + len(self._rest) - self._at

    def feed(self, data: bytes) -> None:
        if self._frames is None:
            self._early += data
        else:
            self._frames.feed(data)

    def next(self) -> Said | None:
        """The next packet; None when more bytes are needed. Raises ``MalformedError``."""
        if self._frames is None:
            return self._begin()
        if self._at >= len(self._rest) and self._message is None:
            self._take(self._frames)
        if self._at < len(self._rest):
            return self._other()
        message, self._message = self._message, None
        return message

    def _take(self, frames: Frames) -> None:
        """The next message, and the packets that came before it."""
        try:
            messages = frames.take(1)
        except BrokenStreamError as broken:
            raise MalformedError(str(broken)) from broken
        self._message = messages[0] if messages else None
        self._rest, self._at = bytes(frames.rest), 0
        frames.rest.clear()

    def _begin(self) -> Connect | None:
        early = self._early
        if early and early[0] != packets.CONNECT << 4:
            raise MalformedError(_no_connect(bytes(early[:16])), packets.PROTOCOL_ERROR)
        found = packets.cut(early, 0, self._max_head)
        if found is None:
            return None
        packet, stop = found
        told = packets.connect(packet.body)
        self.version = told.version
        self._frames = Frames(told.version, self._max_message)
        self._frames.feed(bytes(early[stop:]))
        self._early = bytearray()
        return told

    def _other(self) -> Said:
        found = packets.cut(self._rest, self._at, _LARGEST_REST)
        assert found is not None  # frames give whole packets
        packet, self._at = found
        return self._read(packet)

    def _read(self, packet: Packet) -> Said:
        match packet.kind:
            case packets.SUBSCRIBE:
                return packets.subscribe(packet, self.version)
            case packets.UNSUBSCRIBE:
                return packets.unsubscribe(packet, self.version)
            case packets.PINGREQ if not packet.body and not packet.flags:
                return Ping()
            case packets.DISCONNECT:
                packets.disconnect(packet, self.version)
                return Goodbye()
            case packets.PUBLISH if packet.flags & 6 == 4:
                raise MalformedError("QoS 2: set QoS 1 in the gateway", packets.QOS)
            case packets.CONNECT:
                raise MalformedError("a second CONNECT", packets.PROTOCOL_ERROR)
        told = f"a packet of kind {packet.kind} and flags {packet.flags} has no place here"
        raise MalformedError(told, packets.PROTOCOL_ERROR)


def _no_connect(first: bytes) -> str:
    """What began with these bytes."""
    match spoken(first):
        case "":
            return f"not CONNECT but {first.hex(' ')}"
        case "TLS":
            return "this is TLS, and here MQTT is spoken without TLS"
        case other:
            return f"this is {other}, and here MQTT is spoken"
