"""What can go wrong between a meter and whoever asks it, each to be switched on by itself. Pure.

A ``Trouble`` is a meter's own (``Meter.trouble``); a ``Line`` says how long bytes take on the two
wires; ``Gateway`` says how a box before the line treats answers that come too late. The server
(``meters.py``) does what is said here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Trouble(Enum):
    """What can be wrong with a simulated meter."""

    DEAD = "never answers"
    SLOW = "answers after Meter.delay, and keeps its line so long"
    LATE = "answers after Meter.delay, when its line has long gone on"
    EXCEPTION = "answers exception Meter.exception"
    DROPS = "the connection is closed instead of an answer"
    SHORT = "answers with one register too few"
    GARBAGE = "answers with bytes that are no frame"
    WRONG = "values as after Meter.distort"
    FOREIGN = "answers under the number of another unit"
    OTHER = "answers another function than was asked"
    TRUNCATED = "the end of its answer is missing"
    NOISY = "a bit of its answer is flipped, and a glitch stands before it"
    TWICE = "says every answer twice"


class Gateway(Enum):
    """What the box before a line does with an answer that nobody waits for any more."""

    HONEST = "passes it on as what it is"
    HASTY = "passes it on as the answer to whatever it was asked last"
    """It stamps the newest question's number and unit on it, and the answer to that question on
    the next one: it serialises badly."""


@dataclass(frozen=True, slots=True)
class Line:
    """A serial line: 11 bits a character; a slave thinks for ``turnaround`` s before it speaks."""

    baud: int = 9600
    turnaround: float = 0.02

    def seconds(self, size: int) -> float:
        """``size`` bytes on the wire, with the silence that ends a frame."""
        return (size + 3.5) * 11 / self.baud


GLITCH: Final = b"\x00"


def spoilt_body(trouble: Trouble | None, body: bytes) -> bytes:
    """``body`` is unit, function and data, before it is framed."""
    if trouble is Trouble.FOREIGN:
        return bytes((body[0] % 247 + 1,)) + body[1:]
    if trouble is Trouble.OTHER and body[1] < 0x80:
        return body[:1] + bytes((7 - body[1] if body[1] > 2 else 3 - body[1],)) + body[2:]
    return body


def spoilt_wire(trouble: Trouble | None, wire: bytes, *, checked: bool) -> bytes:
    """``wire`` is a whole frame. ``checked``: it carries a checksum (RTU); where it does not, a
    gateway stands in between, which lets no damaged answer through."""
    if trouble is Trouble.TRUNCATED:
        return wire[:-3] if checked else b""
    if trouble is Trouble.NOISY:
        middle = len(wire) // 2
        flipped = wire[:middle] + bytes((wire[middle] ^ 0x10,)) + wire[middle + 1 :]
        return GLITCH + flipped if checked else b""
    if trouble is Trouble.TWICE:
        return wire + wire
    return wire
