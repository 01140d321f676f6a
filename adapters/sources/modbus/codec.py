"""Registers <-> numbers, pure: bytes of a device's blocks in, columns of values out.

A ``Decoder`` is compiled once per device: where each value's bytes lie, in which order they
come, by what they are multiplied, which numbers mean "no value". Decoding is then one gather,
one ``struct.unpack`` and a handful of column operations, whatever the device.

Invariants: the order of values is that of the fields; a value that the device did not give
(NaN, infinity, all ones, a digit above 9 in BCD, a number the profile or the registry names)
is NaN with quality ``NO_VALUE``, never 0; any bytes of the right length decode to something.

Byte orders generalise the usual four names of a 32-bit number to any number of 16-bit words:
``ABCD`` as on the wire, high word first; ``CDAB`` words reversed; ``BADC`` the two bytes of
each word swapped; ``DCBA`` both.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from collector.model import Qualities, Quality, Values
from collector.profile import Register


@dataclass(frozen=True, slots=True)
class Kind:
    """How a register type is laid out: 16-bit words, big-endian ``struct`` code, whether it
    counts in integers, and the raw numbers that are "all ones" for it."""

    words: int
    code: str
    integral: bool
    unset: tuple[float, ...] = ()
    bcd: bool = False


def _unsigned(words: int, code: str) -> Kind:
    return Kind(words, code, True, (float(2 ** (16 * words) - 1),))


def _signed(words: int, code: str) -> Kind:
    # 0xFFFF is -1 in a signed register and an honest number; makers use the two extremes.
    half = 2 ** (16 * words - 1)
    return Kind(words, code, True, (float(half - 1), float(-half)))


KINDS: Final[dict[str, Kind]] = {
    "u16": _unsigned(1, "H"),
    "i16": _signed(1, "h"),
    "u32": _unsigned(2, "I"),
    "i32": _signed(2, "i"),
    "u64": _unsigned(4, "Q"),
    "i64": _signed(4, "q"),
    "f32": Kind(2, "f", False),
    "f64": Kind(4, "d", False),
    "bit": Kind(1, "H", False),
    "bcd16": Kind(1, "H", True, bcd=True),
    "bcd32": Kind(2, "I", True, bcd=True),
    "bcd48": Kind(3, "6s", True, bcd=True),
    "bcd64": Kind(4, "Q", True, bcd=True),
}
"""Every register type a profile may name."""


@dataclass(frozen=True, slots=True)
class Field:
    """One wanted value: ``at`` is the byte offset of its first register in the image (all
    blocks of a device one after another); the reading is ``number * gain + shift``."""

    register: Register
    at: int
    gain: float = 1.0
    shift: float = 0.0
    no_value: tuple[float, ...] = ()
    """Raw numbers that mean "no value", beside those of the register."""


def byte_order(words: int, order: str) -> tuple[int, ...]:
    """Offsets of a number's bytes, most significant first."""
    places = range(words)
    if order in {"CDAB", "DCBA"}:
        places = range(words - 1, -1, -1)
    high, low = (1, 0) if order in {"BADC", "DCBA"} else (0, 1)
    return tuple(2 * word + byte for word in places for byte in (high, low))


class Decoder:
    """Decodes images of ``size`` bytes into one value and one quality per field."""

    def __init__(self, fields: Sequence[Field], size: int) -> None:
        self.size = size
        kinds = [KINDS[field.register.type] for field in fields]
        picks = [
            field.at + offset
            for field, kind in zip(fields, kinds, strict=True)
            for offset in byte_order(kind.words, field.register.order)
        ]
        codes = [kind.code for kind in kinds]
        self._gather: np.ndarray[tuple[int], np.dtype[np.intp]] | None = None
        if picks == sorted(set(picks)):  # as they lie: step over what is not wanted
            self._struct = struct.Struct(">" + _stepping(fields, kinds, size))
        else:
            self._gather = np.array(picks, np.intp)
            self._struct = struct.Struct(">" + "".join(codes))
        self._special = [
            (index, field.register)
            for index, (field, kind) in enumerate(zip(fields, kinds, strict=True))
            if kind.bcd or field.register.type == "bit"
        ]
        self._gain = np.array([field.gain for field in fields], np.float64)
        self._shift = np.array([field.shift for field in fields], np.float64)
        self._unset = _unset_table(fields, kinds)

    def decode(self, image: bytes) -> tuple[Values, Qualities]:
        """Values (canonical units) and qualities, one per field. ``image`` has ``size`` bytes."""
        if self._gather is not None:
            image = np.frombuffer(image, np.uint8)[self._gather].tobytes()
        raw: Sequence[float] = self._struct.unpack(image)
        if self._special:
            raw = list(raw)
            for index, register in self._special:
                raw[index] = _special(raw[index], register)
        numbers = np.array(raw, np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            values = numbers * self._gain + self._shift
        missing = ~np.isfinite(values)
        for unset in self._unset:
            missing |= numbers == unset
        qualities = np.zeros(len(values), np.uint8)
        if np.count_nonzero(missing):  # a fraction of what any() takes
            values[missing] = np.nan
            qualities[missing] = Quality.NO_VALUE
        return values, qualities


def decode_one(register: Register, words: Sequence[int]) -> float:
    """The raw number (before scale) that one register's words hold; NaN for "no value"."""
    kind = KINDS[register.type]
    image = struct.pack(f">{len(words)}H", *words)
    values, _ = Decoder([Field(register, 0)], 2 * kind.words).decode(image)
    return float(values[0])


def encode(register: Register, number: float) -> tuple[int, ...]:
    """Words that decode to the raw ``number`` (before scale): what a meter would answer.

    NaN becomes the type's "no value". Integers wrap round at the width of the type, as a
    counter does; BCD at its number of digits.
    """
    kind = KINDS[register.type]
    if register.type == "bit":
        raw = (int(bool(number)) << register.bit).to_bytes(2, "big")
    elif not kind.integral:
        raw = struct.pack(">" + kind.code, number)
    elif kind.bcd:
        raw = _to_bcd(number, kind.words)
    elif math.isnan(number):
        raw = (b"\x7f" if kind.code.islower() else b"\xff") + b"\xff" * (2 * kind.words - 1)
    else:
        raw = (round(number) % 2 ** (16 * kind.words)).to_bytes(2 * kind.words, "big")
    wire = bytearray(len(raw))
    for place, byte in zip(byte_order(kind.words, register.order), raw, strict=True):
        wire[place] = byte
    return struct.unpack(f">{kind.words}H", wire)


def _stepping(fields: Sequence[Field], kinds: Sequence[Kind], size: int) -> str:
    """A struct format over the whole image that skips what lies between the fields."""
    parts: list[str] = []
    at = 0
    for field, kind in zip(fields, kinds, strict=True):
        if field.at > at:
            parts.append(f"{field.at - at}x")
        parts.append(kind.code)
        at = field.at + 2 * kind.words
    parts.append(f"{size - at}x")
    return "".join(parts)


def _unset_table(fields: Sequence[Field], kinds: Sequence[Kind]) -> list[Values]:
    """Rows of raw numbers that mean "no value", one column per field (NaN: none)."""
    lists = [
        [*kind.unset, *(_as_read(field.register, n) for n in named)]
        for field, kind in zip(fields, kinds, strict=True)
        for named in [(*field.register.no_value, *field.no_value)]
    ]
    depth = max((len(one) for one in lists), default=0)
    table = [one + [math.nan] * (depth - len(one)) for one in lists]
    return [np.array([one[row] for one in table], np.float64) for row in range(depth)]


def _as_read(register: Register, number: float) -> float:
    """``number`` with the precision in which the register can hold it."""
    return float(np.float32(number)) if register.type == "f32" else float(number)


def _special(raw: float | bytes, register: Register) -> float:
    if register.type == "bit":
        return float((int(raw) >> register.bit) & 1)
    digits = raw.hex() if isinstance(raw, bytes) else f"{int(raw):x}"
    return float(digits) if digits.isdecimal() else math.nan


def _to_bcd(number: float, words: int) -> bytes:
    if math.isnan(number):
        return b"\xff" * (2 * words)
    digits = 4 * words
    return bytes.fromhex(str(round(number) % 10**digits).zfill(digits))
