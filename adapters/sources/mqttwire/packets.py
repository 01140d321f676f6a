"""The packets that a server of MQTT 3.1.1 and 5.0 gets and gives, but for PUBLISH. Pure.

Read: CONNECT, SUBSCRIBE, UNSUBSCRIBE, DISCONNECT (PUBLISH is read by ``frames.py``). Written:
CONNACK, PUBACK, SUBACK, UNSUBACK, PINGRESP, PUBLISH at QoS 0, DISCONNECT. Anything else is told by
``kind`` and refused by whoever talks.

Invariant: whatever the bytes, nothing is raised but ``MalformedError``, and nothing is read beyond
the packet. Chapters in brackets are those of MQTT 5.0; 3.1.1 has the same numbers but where said.
"""

from __future__ import annotations

import struct
from collections.abc import Sized
from typing import Final, NamedTuple

CONNECT, PUBLISH, SUBSCRIBE, UNSUBSCRIBE, PINGREQ, DISCONNECT = 1, 3, 8, 10, 12, 14
V311, V5 = 4, 5

# Reason codes (2.4) that we give; those of 3.1.1 where it has others stand in CONNACK_311.
SUCCESS: Final = 0x00
MALFORMED: Final = 0x81
PROTOCOL_ERROR: Final = 0x82
UNSUPPORTED_VERSION: Final = 0x84
BAD_CLIENT_ID: Final = 0x85
BAD_CREDENTIALS: Final = 0x86
NOT_AUTHORIZED: Final = 0x87
UNAVAILABLE: Final = 0x88
SHUTTING_DOWN: Final = 0x8B
AUTH_METHOD: Final = 0x8C
REFUSED: Final = 0x83
KEEP_ALIVE: Final = 0x8D
TAKEN_OVER: Final = 0x8E
BAD_FILTER: Final = 0x8F
BAD_TOPIC: Final = 0x90
TOO_LARGE: Final = 0x95
QUOTA: Final = 0x97
BAD_PAYLOAD: Final = 0x99
QOS: Final = 0x9B

CONNACK_311: Final = {
    SUCCESS: 0,
    UNSUPPORTED_VERSION: 1,
    BAD_CLIENT_ID: 2,
    UNAVAILABLE: 3,
    QUOTA: 3,
    BAD_CREDENTIALS: 4,
    NOT_AUTHORIZED: 5,
}
"""Return codes of CONNACK (3.1.1, 3.2.2.3). What has none is not answered there."""


class MalformedError(Exception):
    """This is not MQTT as we speak it; ``code`` is the reason code of MQTT 5."""

    def __init__(self, what: str, code: int = MALFORMED) -> None:
        super().__init__(what)
        self.code = code


class Connect(NamedTuple):
    """Who wants in. ``largest``: bytes of a packet that it takes; ``reasons``: it wants to be told
    why in words (MQTT 5). What its will is, is read and left out."""

    version: int
    client_id: str
    clean: bool
    keepalive: int
    user: str | None
    password: bytes | None
    will: bool
    largest: int
    reasons: bool


class Subscribe(NamedTuple):
    """``filters`` as they were given, with the QoS asked for."""

    mid: int
    filters: tuple[tuple[str, int], ...]


class Unsubscribe(NamedTuple):
    mid: int
    filters: tuple[str, ...]


class Packet(NamedTuple):
    """``flags``: the low half of its first byte."""

    kind: int
    flags: int
    body: bytes


def cut(buffer: bytes | bytearray, at: int, most: int) -> tuple[Packet, int] | None:
    """The packet that begins at ``at``, and where it ends; None while it is not here whole.
    Raises ``MalformedError``, also for one of more than ``most`` bytes."""
    length = shift = 0
    for position in range(at + 1, min(at + 5, len(buffer))):
        byte = buffer[position]
        length |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            if length > most:
                raise MalformedError(f"a packet of {length:,} bytes", TOO_LARGE)
            stop = position + 1 + length
            if stop > len(buffer):
                return None
            body = bytes(buffer[position + 1 : stop])
            return Packet(buffer[at] >> 4, buffer[at] & 15, body), stop
    if len(buffer) - at >= 5:
        raise MalformedError("a length of more than four bytes")
    return None


class _Reader:
    """The fields of one packet, one after the other."""

    def __init__(self, body: bytes) -> None:
        self._body, self._at = body, 0

    @property
    def left(self) -> int:
        return len(self._body) - self._at

    def raw(self, size: int) -> bytes:
        if size > self.left:
            raise MalformedError("a packet is shorter than its own parts")
        self._at += size
        return self._body[self._at - size : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.raw(size), "big")

    def binary(self) -> bytes:
        return self.raw(self.number(2))

    def text(self) -> str:
        """UTF-8 without NUL (1.5.4)."""
        try:
            found = self.binary().decode()
        except UnicodeDecodeError as fault:
            raise MalformedError("a text is not UTF-8") from fault
        if "\0" in found:
            raise MalformedError("a text holds NUL")
        return found

    def varint(self) -> int:
        value = 0
        for shift in (0, 7, 14, 21):
            byte = self.number(1)
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise MalformedError("a length of more than four bytes")

    def properties(self, allowed: frozenset[int]) -> dict[int, int]:
        """Those with a number (2.2.2); texts and pairs are read and left out."""
        inner = _Reader(self.raw(self.varint()))
        found: dict[int, int] = {}
        while inner.left:
            name = inner.varint()
            if name not in allowed:
                raise MalformedError(f"property {name} has no place here", PROTOCOL_ERROR)
            if name in found and name != _USER:
                raise MalformedError(f"property {name} stands twice", PROTOCOL_ERROR)
            found[name] = 0
            if name in _NUMBERS:
                found[name] = inner.number(_NUMBERS[name])
            elif name == _SUBSCRIPTION:
                found[name] = inner.varint()
            elif name in _BINARY:
                inner.binary()
            else:
                inner.text()
                if name == _USER:
                    inner.text()
        return found


# Properties (2.2.2.2): bytes of those that are numbers; binary ones; all others are texts.
_SUBSCRIPTION: Final = 11
_METHOD: Final = 21
_REASONS: Final = 23
_USER: Final = 38
_LARGEST: Final = 39
_NUMBERS: Final = {1: 1, 2: 4, 17: 4, _REASONS: 1, 24: 4, 25: 1, 33: 2, 34: 2, _LARGEST: 4}
_BINARY: Final = frozenset({9, 22})
_ONE_OR_MORE: Final = (33, _LARGEST)
_OF_CONNECT: Final = frozenset({17, _METHOD, 22, _REASONS, 25, 33, 34, _USER, _LARGEST})
_OF_WILL: Final = frozenset({1, 2, 3, 8, 9, 24, _USER})
_OF_SUBSCRIBE: Final = frozenset({_SUBSCRIPTION, _USER})
_OF_UNSUBSCRIBE: Final = frozenset({_USER})
_OF_DISCONNECT: Final = frozenset({17, 28, 31, _USER})

_UNLIMITED: Final = 2**28 + 4
MOST_FILTERS: Final = 100


def connect(body: bytes) -> Connect:
    """CONNECT (3.1). Raises ``MalformedError``, with ``UNSUPPORTED_VERSION`` for what is neither
    3.1.1 nor 5."""
    read = _Reader(body)
    name, version, flags = read.binary(), read.number(1), read.number(1)
    if name != b"MQTT" or version not in {V311, V5}:
        what = "3.1" if name == b"MQIsdp" else f"protocol {name!r:.20} {version}"
        raise MalformedError(f"{what}: set MQTT 3.1.1 or 5 in the gateway", UNSUPPORTED_VERSION)
    will, will_qos = bool(flags & 0x04), flags >> 3 & 3
    if flags & 1 or will_qos == 3 or (flags & 0x38 and not will):
        raise MalformedError("the flags of CONNECT contradict each other")
    has_user, has_password = bool(flags & 0x80), bool(flags & 0x40)
    if version == V311 and has_password and not has_user:
        raise MalformedError("a password without a user")
    keepalive = read.number(2)
    told = read.properties(_OF_CONNECT) if version == V5 else {}
    if any(told.get(one) == 0 for one in _ONE_OR_MORE):
        raise MalformedError("a maximum of 0", PROTOCOL_ERROR)
    if _METHOD in told:
        raise MalformedError("an authentication method of its own", AUTH_METHOD)
    client_id = read.text()
    if will:
        if version == V5:
            read.properties(_OF_WILL)
        read.text()
        read.binary()
    user = read.text() if has_user else None
    password = read.binary() if has_password else None
    if read.left:
        raise MalformedError("something follows the end of CONNECT")
    largest = told.get(_LARGEST, _UNLIMITED)
    clean = bool(flags & 2)
    reasons = told.get(_REASONS, 1) != 0
    return Connect(version, client_id, clean, keepalive, user, password, will, largest, reasons)


def subscribe(packet: Packet, version: int) -> Subscribe:
    """SUBSCRIBE (3.8)."""
    read = _flagged(packet)
    mid = _mid(read)
    if version == V5:
        read.properties(_OF_SUBSCRIBE)
    filters: list[tuple[str, int]] = []
    while read.left:
        _not_too_many(filters)
        name, options = read.text(), read.number(1)
        if options & 3 == 3 or (version == V311 and options > 2) or options & 0xC0:
            raise MalformedError("the options of a subscription are none")
        filters.append((name, options & 3))
    if not filters:
        raise MalformedError("a SUBSCRIBE without a filter", PROTOCOL_ERROR)
    return Subscribe(mid, tuple(filters))


def unsubscribe(packet: Packet, version: int) -> Unsubscribe:
    """UNSUBSCRIBE (3.10)."""
    read = _flagged(packet)
    mid = _mid(read)
    if version == V5:
        read.properties(_OF_UNSUBSCRIBE)
    filters: list[str] = []
    while read.left:
        _not_too_many(filters)
        filters.append(read.text())
    if not filters:
        raise MalformedError("an UNSUBSCRIBE without a filter", PROTOCOL_ERROR)
    return Unsubscribe(mid, tuple(filters))


def disconnect(packet: Packet, version: int) -> int:
    """DISCONNECT (3.14): its reason code, 0 in 3.1.1."""
    if packet.flags:
        raise MalformedError("the flags of DISCONNECT are none")
    read = _Reader(packet.body)
    if not packet.body:
        return SUCCESS
    if version == V311:
        raise MalformedError("a DISCONNECT with a body")
    code = read.number(1)
    if read.left:
        read.properties(_OF_DISCONNECT)
    if read.left:
        raise MalformedError("something follows the end of DISCONNECT")
    return code


def _flagged(packet: Packet) -> _Reader:
    """Of a packet whose flags are 0010 (2.1.3)."""
    if packet.flags != 2:
        raise MalformedError(f"the flags of a packet of kind {packet.kind} are not 2")
    return _Reader(packet.body)


def _not_too_many(filters: Sized) -> None:
    if len(filters) >= MOST_FILTERS:
        raise MalformedError(f"more than {MOST_FILTERS} filters in one packet", QUOTA)


def _mid(read: _Reader) -> int:
    mid = read.number(2)
    if not mid:
        raise MalformedError("packet id 0", PROTOCOL_ERROR)
    return mid


# --- what is written -------------------------------------------------------------------------

PINGRESP: Final = b"\xd0\x00"


def connack(
    version: int, code: int, *, properties: bytes = b"", reason: str = "", largest: int = _UNLIMITED
) -> bytes:
    """CONNACK without a session (3.2). Empty where 3.1.1 has no word for ``code``."""
    if version == V311:
        told = CONNACK_311.get(code)
        return b"" if told is None else b"\x20\x02\x00" + bytes([told])
    body = b"\x00" + bytes([code])
    return _reasoned(0x20, body, properties, reason, largest)


def granted(*, largest: int, keepalive: int | None, client_id: str | None, ahead: int) -> bytes:
    """Properties of a CONNACK that lets in (3.2.2.3): no lasting session, QoS 1, nothing retained,
    no wildcards, identifiers or shares in subscriptions, packets of ``largest`` bytes, ``ahead``
    messages unacknowledged."""
    found = struct.pack("!BI BH BB BB BI", 17, 0, 33, ahead, 36, 1, 37, 0, 39, largest)
    found += bytes([40, 0, 41, 0, 42, 0])
    if keepalive is not None:
        found += struct.pack("!BH", 19, keepalive)
    if client_id is not None:
        found += b"\x12" + _text(client_id)
    return found


def suback(version: int, mid: int, codes: list[int]) -> bytes:
    """SUBACK (3.9); in 3.1.1 every refusal is 0x80."""
    if version == V311:
        codes = [min(code, 0x80) for code in codes]
    return _acknowledged(0x90, version, mid, bytes(codes))


def unsuback(version: int, mid: int, codes: list[int]) -> bytes:
    """UNSUBACK (3.11); in 3.1.1 it has no codes."""
    return _acknowledged(0xB0, version, mid, bytes(codes) if version == V5 else b"")


def puback(version: int, mid: int, code: int, reason: str, largest: int) -> bytes:
    """PUBACK (3.4): a refusal can be told in MQTT 5 only."""
    if version == V311 or code == SUCCESS:
        return b"\x40\x02" + struct.pack("!H", mid)
    return _reasoned(0x40, struct.pack("!HB", mid, code), b"", reason, largest)


def publish(version: int, topic: str, payload: bytes) -> bytes:
    """PUBLISH at QoS 0."""
    return _packet(0x30, _text(topic) + (b"\x00" if version == V5 else b"") + payload)


def disconnected(version: int, code: int, reason: str, largest: int = _UNLIMITED) -> bytes:
    """DISCONNECT by the server; empty in 3.1.1, which has none."""
    if version == V311:
        return b""
    return _reasoned(0xE0, bytes([code]), b"", reason, largest)


def _reasoned(kind: int, body: bytes, properties: bytes, reason: str, largest: int) -> bytes:
    """With the reason in words, unless the packet would then be larger than the other side takes
    (3.2.2.3.9)."""
    told = properties + (b"\x1f" + _text(reason) if reason else b"")
    whole = _packet(kind, body + varint(len(told)) + told)
    return (
        whole
        if len(whole) <= largest
        else _packet(kind, body + varint(len(properties)) + properties)
    )


def _acknowledged(kind: int, version: int, mid: int, codes: bytes) -> bytes:
    return _packet(kind, struct.pack("!H", mid) + (b"\x00" if version == V5 else b"") + codes)


def _packet(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + varint(len(body)) + body


def _text(text: str) -> bytes:
    data = text.encode()[:65535]
    return struct.pack("!H", len(data)) + data


def varint(value: int) -> bytes:
    """A variable byte integer (1.5.5)."""
    out = bytearray()
    while True:
        value, low = divmod(value, 128)
        out.append(low | (128 if value else 0))
        if not value:
            return bytes(out)
