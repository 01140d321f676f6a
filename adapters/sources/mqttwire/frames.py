"""MQTT packets in a stream of bytes: the messages for us, all else for somebody else. Pure.

Why this exists: paho takes 20 to 50 us of CPU for each received message (one property object,
one message object, four reads of the socket); here it is 5. paho keeps what it is good at,
connecting, TLS, MQTT 5 properties, subscriptions: every packet but PUBLISH, and PUBACKs to what we
published, passes on to it unseen. A listener of ours has the same messages at the other end of a
connection. See docs/decisions for the figures.

Invariants: any cutting of the stream gives the same messages and the same rest; bytes held are
bounded by the largest message plus one read. A message larger than the bound is not held: its
first bytes are kept as evidence, the rest is let go as it comes. (MQTT 3.1.1 and 5.0, chapters
2.1 fixed header, 3.3 PUBLISH, 3.4 PUBACK.)
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

SAMPLE_BYTES: Final = 64 << 10
_PREFIX: Final = 200 << 10  # holds the longest topic (64 KiB), usual properties and a sample
_LONGEST_HEAD: Final = 5
_NEED_MORE: Final = -1
_PUBACK: Final = 0x40
_PINGRESP: Final = 0xD0


class Publish(NamedTuple):
    """One message. ``mid`` 0 for QoS 0. ``size`` of the whole packet; larger than the payload
    by more than the head when the payload was cut. ``properties`` of MQTT 5, as they came."""

    mid: int
    topic: bytes
    payload: bytes
    size: int
    cut: bool = False
    properties: bytes = b""


class BrokenStreamError(Exception):
    """What came is not MQTT."""


class Frames:
    """Feed bytes, take messages. ``rest`` gathers the other packets: after a ``take`` those that
    came before the last message it returned. With ``answers`` PUBACKs are no such packets:
    ``acknowledged`` gathers their packet ids and reason codes. ``pongs`` counts answers to pings,
    which stand in ``rest``, too."""

    def __init__(self, version: int, max_message_bytes: int, *, answers: bool = False) -> None:
        self.rest = bytearray()
        self.acknowledged: list[tuple[int, int]] = []
        self.pongs = 0
        self._answers = answers
        self._v5 = version == 5
        self._largest = max(max_message_bytes, _PREFIX)
        self._buffer = b""
        self._at = 0
        self._more = bytearray()
        self._need = 0
        self._let_go = 0
        self._cut: Publish | None = None

    @property
    def held(self) -> int:
        """Bytes that are no whole message yet."""
        return len(self._more) or len(self._buffer) - self._at

    def feed(self, data: bytes) -> None:
        """More of the stream. Call when ``take`` has returned fewer than it was asked for."""
        if self._more:
            data = self._gather(data)
        elif self._at < len(self._buffer):
            if len(self._buffer) - self._at + len(data) >= self._need:
                data = self._buffer[self._at :] + data
                self._need = 0
            else:
                self._more += self._buffer[self._at :]
                data = self._gather(data)
        self._buffer = data
        self._at = 0

    def _gather(self, data: bytes) -> bytes:
        """Keep a piece of a packet. It is put together once, when all of it is here: a copy for
        each segment would cost the square of its length. What ``take`` is to look at."""
        self._more += data
        if len(self._more) < self._need:
            return bytes(self._more[:_LONGEST_HEAD])  # enough to see that it is not all
        whole = bytes(self._more)
        self._more, self._need = bytearray(), 0
        return whole

    def take(self, most: int) -> list[Publish]:
        """Up to ``most`` whole messages, in order; fewer only when more bytes are needed.
        Raises ``BrokenStreamError``."""
        out: list[Publish] = []
        while len(out) < most:
            if self._let_go or self._cut is not None:
                if not self._skip():
                    break
                if self._cut is not None:
                    out.append(self._cut)
                    self._cut = None
            elif not self._step(out, most):
                break
        return out

    def _step(self, out: list[Publish], most: int) -> bool:
        """The whole packets in the buffer, until ``most``; whether to go on."""
        buffer, at, end, v5 = self._buffer, self._at, len(self._buffer), self._v5
        try:
            while len(out) < most:
                if end - at < 2:
                    return False
                kind = buffer[at]
                length = buffer[at + 1]
                body = at + 2
                if length >= 128:
                    length, body = _varint(buffer, at + 1, end)
                    if body == _NEED_MORE:
                        return False
                stop = body + length
                # PUBLISH with QoS 0 or 1; QoS 2 cannot come, nobody subscribed to it.
                if kind & 0xF4 != 0x30:
                    if length > self._largest:
                        raise BrokenStreamError(f"a packet of kind {kind >> 4} has {length} bytes")
                    if stop > end:
                        self._need = stop - at
                        return False
                    if kind == _PUBACK and self._answers:
                        self.acknowledged.append(_puback(buffer, body, stop))
                    else:
                        self.pongs += kind == _PINGRESP
                        self.rest += buffer[at:stop]
                    at = stop
                    continue
                if length > self._largest:
                    if end - at < _PREFIX:
                        self._need = _PREFIX
                        return False
                    self._cut = _publish(buffer, kind, body, at + _PREFIX, v5, length, cut=True)
                    self._let_go = stop - at
                    return True
                if stop > end:
                    self._need = stop - at
                    return False
                out.append(_publish(buffer, kind, body, stop, v5, length))
                at = stop
        finally:
            self._at = at
        return True

    def _skip(self) -> bool:
        """Let go of a message that is too large; whether all of it is gone."""
        gone = min(self._let_go, len(self._buffer) - self._at)
        self._at += gone
        self._let_go -= gone
        return not self._let_go


def _publish(
    buffer: bytes, kind: int, body: int, stop: int, v5: bool, size: int, *, cut: bool = False
) -> Publish:
    """The message whose body is ``buffer[body:stop]``, or, ``cut``, only begins there."""
    name = body + 2
    at = name + (buffer[body] << 8 | buffer[body + 1]) if stop >= name else stop + 1
    mid = 0
    end_of_topic = at
    told = b""
    if kind & 0x02:
        at += 2
        if at <= stop:
            mid = buffer[at - 2] << 8 | buffer[at - 1]
    if v5 and at < stop:
        properties = buffer[at]
        at += 1
        if properties >= 128:
            properties, at = _varint(buffer, at - 1, stop)
            if at == _NEED_MORE:
                at = stop + 1
        if properties:
            told = buffer[at : at + properties]
            at += properties
    if cut:
        sample = buffer[at:stop][:SAMPLE_BYTES]
        return Publish(mid, buffer[name:end_of_topic], sample, size, True, told)
    if at > stop:
        raise BrokenStreamError("a PUBLISH packet is shorter than its own parts")
    return Publish(mid, buffer[name:end_of_topic], buffer[at:stop], size, False, told)


def _puback(buffer: bytes, body: int, stop: int) -> tuple[int, int]:
    """Packet id and reason code (MQTT 5.0, 3.4.2; left out where it is 0)."""
    if stop - body < 2:
        raise BrokenStreamError("a PUBACK packet is shorter than its own parts")
    return buffer[body] << 8 | buffer[body + 1], buffer[body + 2] if stop - body > 2 else 0


def _varint(buffer: bytes, at: int, end: int) -> tuple[int, int]:
    """A variable byte integer (MQTT 5.0, 1.5.5) and where it ends, or ``_NEED_MORE``."""
    value = shift = 0
    for position in range(at, min(at + 4, end)):
        byte = buffer[position]
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position + 1
        shift += 7
    if end - at >= 4:
        raise BrokenStreamError("a length of more than four bytes")
    return 0, _NEED_MORE


def pubacks(mids: list[int]) -> bytes:
    """PUBACK packets for ``mids``, in this order; the same bytes in MQTT 3.1.1 and 5."""
    packets = np.empty((len(mids), 2), ">u2")
    packets[:, 0] = 0x4002
    packets[:, 1] = mids
    return packets.tobytes()


def publish(topic: bytes, payload: bytes, mid: int, properties: bytes | None) -> bytes:
    """A PUBLISH packet with QoS 1; ``properties`` None in MQTT 3.1.1."""
    told = b"" if properties is None else _length(len(properties)) + properties
    head = len(topic).to_bytes(2) + topic + mid.to_bytes(2) + told
    return b"\x32" + _length(len(head) + len(payload)) + head + payload


def _length(value: int) -> bytes:
    """As a variable byte integer."""
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


PINGREQ: Final = b"\xc0\x00"
