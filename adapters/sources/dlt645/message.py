"""What DL/T 645-2007 frames say: questions to send, answers understood. Pure.

A question has a control code; the answer the same with bit 7, with bit 5 as well when more
follows, with bit 6 when the meter refuses. Reading a value:

    11 identifier              -> 91 identifier data
                               -> B1 identifier data        more follows: then
    12 identifier, number      -> 92 identifier data, number    (B2: still more)
    13 (address AA..)          -> 93 address
    D1 / D2, one byte of error bits; some meters put the identifier before it

Any frame becomes exactly one message and nothing here raises. What is not of this protocol version
is told as what it seems to be: meters of 1997 are still in use and answer with other codes.

Facts: control codes and error bits 600888/dlt645 (GitHub, @783b91d) python/src/protocol; that the
number of a following frame stands last, in question and answer, is recalled, nobody's text was
read for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from adapters.sources.dlt645.frame import ANY, EVERYBODY, Frame

READ: Final = 0x11
FOLLOW: Final = 0x12
READ_ADDRESS: Final = 0x13
SET_TIME: Final = 0x08
ANSWER: Final = 0x80
REFUSED: Final = 0x40
MORE: Final = 0x20

ERRORS: Final = (
    "another error",
    "no such data",
    "wrong password or no authority",
    "the baud rate cannot be changed",
    "too many yearly zones",
    "too many daily periods",
    "too many tariffs",
    "bit 7, which the standard keeps in reserve",
)
"""What each bit of the error byte says, lowest first."""
NO_SUCH: Final = 0x02
"""The bit for data that this meter does not have."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Data behind an identifier, as it came: low byte first. ``more``: another frame follows.
    ``number`` of a following frame; the first has none."""

    address: str
    identifier: int
    data: bytes
    more: bool = False
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """A meter says who it is; ``address`` from the data, ``sender`` from the head."""

    address: str
    sender: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A meter does not do what ``control`` asked. ``identifier`` where it says so, else None."""

    address: str
    control: int
    errors: int
    identifier: int | None = None

    @property
    def no_such(self) -> bool:
        """Asking again will not help."""
        return bool(self.errors & NO_SUCH)

    def __str__(self) -> str:
        named = [text for bit, text in enumerate(ERRORS) if self.errors >> bit & 1]
        return ", ".join(named) or "no reason given"


@dataclass(frozen=True, slots=True)
class Question:
    """A frame of one who asks: our own, echoed by the adapter, or another reader on this line."""

    address: str
    control: int


@dataclass(frozen=True, slots=True)
class Other:
    """A whole frame that says nothing that was asked; ``text`` what it seems to be."""

    address: str
    control: int
    text: str


Message = Answer | Address | Refusal | Question | Other


def read(address: str, identifier: int) -> Frame:
    """Ask for the data behind ``identifier``."""
    return Frame(address, READ, _identifier(identifier))


def follow(address: str, identifier: int, number: int) -> Frame:
    """Ask for the following frame ``number``, counted from 1."""
    return Frame(address, FOLLOW, _identifier(identifier) + bytes([number & 0xFF]))


def read_address(pattern: str = ANY) -> Frame:
    """Ask who is there. With one meter on the line it answers; several talk at once."""
    return Frame(pattern, READ_ADDRESS, b"")


def set_time(when: datetime) -> Frame:
    """Tell every meter the time (local, as its display shows it). Nobody answers."""
    digits = f"{when:%S%M%H%d%m%y}"
    return Frame(EVERYBODY, SET_TIME, bytes.fromhex(digits))


def understand(frame: Frame) -> Message:
    """What ``frame`` says."""
    control, data = frame.control, frame.data
    if not control & ANSWER:
        return Question(frame.address, control)
    asked = control & 0x1F
    if control & REFUSED:
        return _refusal(frame, asked)
    more = bool(control & MORE)
    if asked == READ and len(data) >= 4:
        return Answer(frame.address, _number(data), data[4:], more)
    if asked == FOLLOW and len(data) >= 5:
        return Answer(frame.address, _number(data), data[4:-1], more, data[-1])
    if asked == READ_ADDRESS and len(data) == 6 and not more:
        address = data[::-1].hex().upper()
        if address.isdecimal():
            return Address(address, frame.address)
    return Other(frame.address, control, _seems(control))


def _refusal(frame: Frame, asked: int) -> Refusal | Other:
    data = frame.data
    if len(data) == 5:
        return Refusal(frame.address, asked, data[4], _number(data))
    if data:
        return Refusal(frame.address, asked, data[0])
    return Other(frame.address, frame.control, "a refusal without a reason")


def _seems(control: int) -> str:
    if control & 0x1F in {0x01, 0x02, 0x03}:
        return "an answer of DL/T 645-1997: this meter speaks the older version"
    return f"an answer {control:02X} that nobody asked for, or of a wrong length"


def _identifier(identifier: int) -> bytes:
    return identifier.to_bytes(4, "little")


def _number(data: bytes) -> int:
    return int.from_bytes(data[:4], "little")
