"""Is this the answer? Bytes from a connection, held against the one question that is open. Pure.

Promise: ``DATA`` only for a whole frame that carries the unit, the function and exactly the number
of bytes that were asked for, and the question's number (TCP framing) or a right checksum (RTU).
Everything else is said to be what it is, so that it can never become a value. Bytes may come in
any pieces: a reader says how many it has used up, and is called again with the rest and more.

RTU frames have no beginning of their own: noise before a frame (a transceiver that switches over,
the echo of our own question) is passed over, and so are whole frames of other units.
"""

from __future__ import annotations

import struct
from enum import Enum
from typing import Final, NamedTuple


class Kind(Enum):
    DATA = "data"
    EXCEPTION = "exception"
    STRAY = "a frame that answers something else"
    BROKEN = "no Modbus"


class Question(NamedTuple):
    """What is open. ``length``: bytes of data that its answer has; ``number`` as sent (TCP)."""

    unit: int
    function: int
    length: int
    number: int = 0


class Reply(NamedTuple):
    """What came. ``data`` of ``DATA``; ``code`` of ``EXCEPTION``. ``unit``, ``function`` and
    ``length`` as in the frame; ``number`` is 0 where there is none."""

    kind: Kind
    unit: int = 0
    function: int = 0
    length: int = 0
    number: int = 0
    code: int = 0
    data: bytes = b""


LONGEST: Final = 256
"""Bytes of the longest RTU frame (Modbus over serial line V1.02, clause 2.5.1)."""
_HEAD: Final = struct.Struct(">HHHBB")


def tcp(buffer: bytes, open_: Question | None) -> tuple[int, list[Reply]]:
    """Bytes used up, and the frames in them up to the one that ends the question."""
    used = 0
    found: list[Reply] = []
    while len(buffer) - used >= _HEAD.size:
        number, protocol, size, unit, function = _HEAD.unpack_from(buffer, used)
        if protocol != 0 or not 2 <= size <= LONGEST:
            return len(buffer), [*found, Reply(Kind.BROKEN)]
        if size == 2 and function & 0x80:
            size = 3  # some devices count one byte too few in their exceptions
        end = used + 6 + size
        if len(buffer) < end:
            break
        body = buffer[used + 8 : end]
        used = end
        reply = _told(unit, function, body, number, open_)
        found.append(reply)
        if open_ is not None and number in {open_.number, 0}:
            break
    return used, found


def rtu(buffer: bytes, open_: Question | None) -> tuple[int, list[Reply]]:
    """As :func:`tcp`. Nothing is used up before a whole frame has come."""
    used = at = 0
    found: list[Reply] = []
    end = len(buffer)
    while end - at >= 5:
        size = _size(buffer, at)
        if not size or at + size > end or not _checks(buffer, at, size):
            at += 1
            continue
        unit, function = buffer[at], buffer[at + 1]
        reply = _told(unit, function, buffer[at + 2 : at + size - 2], 0, open_)
        found.append(reply)
        used = at = at + size
        if open_ is not None and unit == open_.unit:
            break
    return used, found


def _size(buffer: bytes, at: int) -> int:
    """How long a frame would be that begins here; 0 when none does."""
    function = buffer[at + 1]
    if function & 0x80:
        return 5 if 1 <= function & 0x7F <= 4 else 0
    if not 1 <= function <= 4:
        return 0
    count = buffer[at + 2]
    return 5 + count if 1 <= count <= LONGEST - 5 else 0


def _told(unit: int, function: int, body: bytes, number: int, open_: Question | None) -> Reply:
    """``body`` is what follows the function, without a checksum."""
    length = len(body) - 1 if body and body[0] == len(body) - 1 else -1
    ours = (
        open_ is not None
        and unit == open_.unit
        and function & 0x7F == open_.function
        and number in {open_.number, 0}
    )
    if ours and function & 0x80 and len(body) == 1:
        return Reply(Kind.EXCEPTION, unit, function, 0, number, body[0])
    if ours and not function & 0x80 and open_ is not None and length == open_.length:
        return Reply(Kind.DATA, unit, function, length, number, 0, body[1:])
    return Reply(Kind.STRAY, unit, function, max(0, length), number)


def _checks(buffer: bytes, at: int, size: int) -> bool:
    end = at + size
    return crc16(buffer[at : end - 2]) == buffer[end - 2] | buffer[end - 1] << 8


def crc16(data: bytes) -> int:
    """CRC-16 of Modbus over serial line V1.02, clause 2.5.1.2; sent low byte first."""
    crc = 0xFFFF
    table = _TABLE
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc


def _entry(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ 0xA001 if byte & 1 else byte >> 1
    return byte


_TABLE: Final = tuple(_entry(byte) for byte in range(256))
