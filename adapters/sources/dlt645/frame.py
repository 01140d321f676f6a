"""DL/T 645-2007 frames, pure: bytes in, events out; a frame to send, as bytes.

    68 | address, 6 bytes, low byte first | 68 | control | length | data, each byte + 33H | sum | 16

A meter sends up to four FE before it. The sum is over everything before it, modulo 256: no more
than one altered byte is sure to be seen, so whoever uses a frame also compares its address, its
control code and its data identifier with what was asked.

Invariants of :class:`Reader`: it never raises, whatever comes; every byte is in exactly one event,
or was one of FE before a frame, or is still waited on (fewer than ``LONGEST``); a frame that it
gives has both start marks, an address of decimal digits (or the wildcard AA), a right sum and the
end mark; how the bytes were cut when they came changes no frame.

Facts: 600888/dlt645 (GitHub, @783b91d) python/src/protocol; the longest data field, the wildcard
and the pauses are quoted from the standard (clauses 5.2 and 5.3.3) in several public programs.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

START: Final = 0x68
END: Final = 0x16
WAKE: Final = 0xFE
OFFSET: Final = 0x33
HEAD: Final = 10
"""Bytes before the data: two start marks, address, control code, length."""
MOST_DATA: Final = 200
LONGEST: Final = HEAD + MOST_DATA + 2
GAP_S: Final = 0.5
"""Between two bytes of a frame passes no more (clause 5.3.3); the first comes no later either."""
ANY: Final = "A" * 12
"""The address that every meter answers to."""
EVERYBODY: Final = "9" * 12
"""The address of a broadcast; nobody answers."""


@dataclass(frozen=True, slots=True)
class Frame:
    """``address`` as people write it: 12 digits, high first, ``AA`` for a byte left open.
    ``data`` without the offset of 33H."""

    address: str
    control: int
    data: bytes


class Why(Enum):
    """Why bytes are no frame."""

    STRAY = "bytes between frames"
    ADDRESS = "an address that is no decimal number"
    LENGTH = "a length beyond 200"
    SUM = "a wrong sum"
    END = "no end mark"
    SHORT = "a frame that breaks off"


@dataclass(frozen=True, slots=True)
class Noise:
    """Bytes that are no frame. Where a frame began, it is its first byte only: the rest is looked
    at again, since a lost byte must not cost the next frame."""

    data: bytes
    why: Why


Event = Frame | Noise


def encode(frame: Frame, wake: int = 4) -> bytes:
    """What to send: ``wake`` times FE, then the frame. ``ValueError`` for what cannot be one."""
    if len(frame.data) > MOST_DATA:
        raise ValueError(f"{len(frame.data)} bytes of data, {MOST_DATA} at most")
    address = wire_address(frame.address)
    if not 0 <= frame.control <= 0xFF:
        raise ValueError(f"control code {frame.control} is no byte")
    body = (START, *address, START, frame.control, len(frame.data), *map(_offset, frame.data))
    return bytes([WAKE] * wake) + bytes([*body, sum(body) & 0xFF, END])


def wire_address(text: str) -> bytes:
    """Six bytes, low first, of an address as people write it; shorter ones are filled with zeros
    in front. ``AA`` may stand for the highest bytes."""
    whole = text.upper().rjust(12, "0")
    if len(whole) != 12 or not whole.isascii() or not is_address(whole):
        raise ValueError(f'"{text}" is no meter address: up to 12 digits, AA for high bytes')
    return bytes.fromhex(whole)[::-1]


def is_address(whole: str) -> bool:
    """12 characters: digits, or ``AA`` for the highest bytes and digits after them."""
    low = whole
    while low.startswith("AA"):
        low = low[2:]
    return len(whole) == 12 and (not low or (low.isascii() and low.isdecimal()))


def matches(pattern: str, address: str) -> bool:
    """Whether a meter with ``address`` is meant by ``pattern``: AA is any byte."""
    pairs = zip(pattern[::2], pattern[1::2], address[::2], address[1::2], strict=True)
    return all(a + b in {"AA", c + d} for a, b, c, d in pairs)


class Reader:
    """Cuts frames out of what a line says. :meth:`receive` after every piece of bytes;
    :meth:`idle` once the line was silent for longer than ``GAP_S``."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def pending(self) -> bool:
        """Whether a frame has begun and not ended."""
        return bool(self._buffer)

    def receive(self, data: bytes) -> list[Event]:
        """What has become complete with ``data``."""
        self._buffer += data
        return self._scan(more=True)

    def idle(self) -> list[Event]:
        """Nothing more comes: what looked like the beginning of a frame was none. What it
        seemed to hold may be a frame itself."""
        return self._scan(more=False)

    def clear(self) -> None:
        """Forget what came; it has nothing to do with what comes next."""
        self._buffer.clear()

    def _scan(self, *, more: bool) -> list[Event]:
        found: list[Event] = []
        stray = bytearray()
        buffer, at = self._buffer, 0

        def end_stray() -> None:
            if stray:
                found.append(Noise(bytes(stray), Why.STRAY))
                stray.clear()

        while at < len(buffer):
            begin = buffer.find(START, at)
            if begin < 0:
                stray += _spoken(buffer[at:])
                at = len(buffer)
                break
            stray += _spoken(buffer[at:begin])
            what = _look(buffer, begin)
            if what is None and more:
                at = begin
                break
            if isinstance(what, Frame):
                end_stray()
                found.append(what)
                at = begin + HEAD + len(what.data) + 2
            elif what is Why.STRAY:
                stray.append(START)
                at = begin + 1
            else:
                end_stray()
                found.append(Noise(bytes([START]), what or Why.SHORT))
                at = begin + 1
        end_stray()
        del buffer[:at]
        return found


def _look(buffer: bytearray, at: int) -> Frame | Why | None:
    """The frame that begins at ``at``, or why none does; None: too early to say."""
    have = len(buffer) - at
    if have < 8:
        return None
    if buffer[at + 7] != START:
        return Why.STRAY
    address = bytes(buffer[at + 1 : at + 7])[::-1].hex().upper()
    if not is_address(address):
        return Why.ADDRESS
    if have < HEAD:
        return None
    length = buffer[at + 9]
    if length > MOST_DATA:
        return Why.LENGTH
    end = at + HEAD + length + 1
    if end >= len(buffer):
        return None
    if buffer[end] != END:
        return Why.END
    if sum(buffer[at : end - 1]) & 0xFF != buffer[end - 1]:
        return Why.SUM
    data = bytes((byte - OFFSET) & 0xFF for byte in buffer[at + HEAD : end - 1])
    return Frame(address, buffer[at + 8], data)


def _spoken(data: bytearray) -> bytearray:
    """Without the FE that end it: they announce a frame."""
    return data.rstrip(bytes([WAKE]))


def _offset(byte: int) -> int:
    return (byte + OFFSET) & 0xFF
