"""Registers <-> numbers, pure: bytes of a device's blocks in, columns of values out.

A ``Decoder`` is compiled once per device: where each value's bytes lie, in which order they
come, by what they are multiplied, which numbers mean "no value". Decoding is then one gather,
one ``struct.unpack`` and a handful of column operations, whatever the device.

Invariants: the order of values is that of the fields; a value that the device did not give
(NaN, infinity, all ones, a digit above 9 in BCD, a number the profile or the registry names)
is NaN with quality ``NO_VALUE``, never 0; a value that is put together of several registers (a
fraction, a ratio, an exponent: ``Register.parts``) has none when one of them has none, or when
a factor is 0 or less; any bytes of the right length decode to something.

Byte orders generalise the usual four names of a 32-bit number to any number of 16-bit words:
``ABCD`` as on the wire, high word first; ``CDAB`` words reversed; ``BADC`` the two bytes of
each word swapped; ``DCBA`` both.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
    signed: bool = False

    @property
    def special(self) -> bool:
        """Whether ``struct`` alone does not bring the number."""
        return self.bcd or self.words == 3


def _unsigned(words: int, code: str) -> Kind:
    return Kind(words, code, True, (float(2 ** (16 * words) - 1),))


def _signed(words: int, code: str) -> Kind:
    # 0xFFFF is -1 in a signed register and an honest number; makers use the two extremes.
    half = 2 ** (16 * words - 1)
    return Kind(words, code, True, (float(half - 1), float(-half)), signed=True)


KINDS: Final[dict[str, Kind]] = {
    "u16": _unsigned(1, "H"),
    "i16": _signed(1, "h"),
    "u32": _unsigned(2, "I"),
    "i32": _signed(2, "i"),
    "u48": _unsigned(3, "6s"),
    "i48": _signed(3, "6s"),
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
SAFE_GAIN: Final = 1e200
EXPONENT_MOST: Final = 30
"""An exponent beyond it is no exponent but a wrong map."""


@dataclass(frozen=True, slots=True)
class Field:
    """One wanted value: ``at`` is the byte offset of its first register in the image (all
    blocks of a device one after another), ``parts`` are those of ``register.parts``; the reading
    is ``number * gain + shift``."""

    register: Register
    at: int
    gain: float = 1.0
    shift: float = 0.0
    no_value: tuple[float, ...] = ()
    """Raw numbers that mean "no value", beside those of the register."""
    parts: tuple[int, ...] = ()


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
        self._count = len(fields)
        self._joins, parts = _joins(fields)
        columns = [*fields, *parts]
        kinds = [KINDS[column.register.type] for column in columns]
        picks = [
            column.at + offset
            for column, kind in zip(columns, kinds, strict=True)
            for offset in byte_order(kind.words, column.register.order)
        ]
        codes = [kind.code for kind in kinds]
        self._gather: np.ndarray[tuple[int], np.dtype[np.intp]] | None = None
        if picks == sorted(set(picks)):  # as they lie: step over what is not wanted
            self._struct = struct.Struct(">" + _stepping(columns, kinds, size))
        else:
            self._gather = np.array(picks, np.intp)
            self._struct = struct.Struct(">" + "".join(codes))
        self._special = [
            (index, column.register)
            for index, (column, kind) in enumerate(zip(columns, kinds, strict=True))
            if kind.special or column.register.type == "bit"
        ]
        self._gain = np.array([field.gain for field in fields], np.float64)
        self._shift = np.array([field.shift for field in fields], np.float64)
        self._unset = _unset_table(columns, kinds)
        self._plain = all(field.gain == 1.0 and field.shift == 0.0 for field in fields)
        self._safe = not self._joins and all(
            kind.words < 4 and abs(field.gain) < SAFE_GAIN
            for field, kind in zip(fields, kinds, strict=False)
        )
        """No number of these types can overflow: it need not be asked, which takes its time."""

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
        if self._joins:
            numbers = self._joined(numbers)
        if self._plain:
            values = numbers
        elif self._safe:
            values = numbers * self._gain + self._shift
        else:
            with np.errstate(over="ignore", invalid="ignore"):
                values = numbers * self._gain + self._shift
        missing = ~np.isfinite(values)
        if not self._joins:
            for unset in self._unset:
                missing |= numbers == unset
        qualities = np.zeros(len(values), np.uint8)
        if np.count_nonzero(missing):  # a fraction of what any() takes
            values[missing] = np.nan
            qualities[missing] = Quality.NO_VALUE
        return values, qualities

    def _joined(self, numbers: Values) -> Values:
        """Raw numbers of fields and parts -> those of the fields, put together; NaN for none."""
        for unset in self._unset:
            numbers[numbers == unset] = np.nan
        raw: list[float] = numbers.tolist()
        whole = raw[: self._count]
        for index, register, places in self._joins:
            whole[index] = joined(register, raw[index], [raw[place] for place in places])
        return np.array(whole, np.float64)


def joined(register: Register, number: float, parts: Sequence[float]) -> float:
    """``(number + plus) * times * 10^ten_to`` of raw numbers, the parts in the order of
    ``register.parts``; NaN when one of them is none."""
    shown = [n * part.scale + part.offset for n, part in zip(parts, register.parts, strict=True)]
    if register.plus is not None:
        number += shown.pop(0)
    exponent = 0.0 if register.ten_to is None else shown.pop()
    if any(not factor > 0 for factor in shown):
        return math.nan
    if not (exponent.is_integer() and abs(exponent) <= EXPONENT_MOST):
        return math.nan
    number = math.prod((number, *shown))
    # dividing by a power of ten rounds once, multiplying by a tenth of it twice
    power = math.pow(10.0, abs(exponent))
    return number / power if exponent < 0 else number * power


def decode_one(register: Register, words: Sequence[int]) -> float:
    """The raw number (before scale) that one register's words hold; NaN for "no value"."""
    kind = KINDS[register.type]
    image = struct.pack(f">{len(words)}H", *words)
    alone = replace(register, plus=None, times=(), ten_to=None)
    values, _ = Decoder([Field(alone, 0)], 2 * kind.words).decode(image)
    return float(values[0])


def encode(register: Register, number: float) -> tuple[int, ...]:
    """Words that decode to the raw ``number`` (before scale): what a meter would answer.

    NaN becomes the type's "no value". Integers wrap round at the width of the type, as a
    counter does; BCD at its number of digits.
    """
    kind = KINDS[register.type]
    if register.type == "bit":
        held = 0 if math.isnan(number) else round(number) & (1 << register.bits) - 1
        raw = (held << register.bit).to_bytes(2, "big")
    elif not kind.integral:
        raw = struct.pack(">" + kind.code, number)
    elif kind.bcd:
        raw = _to_bcd(number, kind.words)
    elif math.isnan(number):
        raw = (b"\x7f" if kind.signed else b"\xff") + b"\xff" * (2 * kind.words - 1)
    else:
        raw = (round(number) % 2 ** (16 * kind.words)).to_bytes(2 * kind.words, "big")
    wire = bytearray(len(raw))
    for place, byte in zip(byte_order(kind.words, register.order), raw, strict=True):
        wire[place] = byte
    return struct.unpack(f">{kind.words}H", wire)


def spread(
    register: Register, number: float, held: Mapping[Register, float]
) -> list[tuple[Register, float]]:
    """``number`` as a meter keeps it that has parts: itself and each part, with its raw number.

    ``held`` gives the factors and exponents that the meter is set to (raw; 1 and 0 where it says
    nothing); what is added is what is left behind the point.
    """
    factors = [(part, held.get(part, 1.0)) for part in register.times]
    last = register.ten_to
    exponent = 0.0 if last is None else held.get(last, 0.0)
    for part, raw in factors:
        number /= raw * part.scale + part.offset
    if last is not None:
        number /= math.pow(10.0, exponent * last.scale + last.offset)
    parts = factors if last is None else [*factors, (last, exponent)]
    if register.plus is None or math.isnan(number):
        return [(register, number), *parts]
    part = register.plus
    added = (number - math.trunc(number) - part.offset) / part.scale
    return [(register, float(math.trunc(number))), (part, added), *parts]


def _joins(
    fields: Sequence[Field],
) -> tuple[list[tuple[int, Register, tuple[int, ...]]], list[Field]]:
    """Fields that have parts (index, register, columns of its parts), and those parts, each
    once however many fields it multiplies: their columns come after those of the fields."""
    places: dict[tuple[Register, int], int] = {}
    found: list[tuple[int, Register, tuple[int, ...]]] = []
    for index, field in enumerate(fields):
        named = zip(field.register.parts, field.parts, strict=True)
        own = tuple(places.setdefault(one, len(fields) + len(places)) for one in named)
        if own:
            found.append((index, field.register, own))
    return found, [Field(part, at) for part, at in places]


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
    """The number of what ``struct`` alone does not bring."""
    if register.type == "bit":
        return float(int(raw) >> register.bit & (1 << register.bits) - 1)
    kind = KINDS[register.type]
    if isinstance(raw, bytes) and not kind.bcd:
        return float(int.from_bytes(raw, "big", signed=kind.signed))
    digits = raw.hex() if isinstance(raw, bytes) else f"{int(raw):x}"
    return float(digits) if digits.isdecimal() else math.nan


def _to_bcd(number: float, words: int) -> bytes:
    if math.isnan(number):
        return b"\xff" * (2 * words)
    digits = 4 * words
    return bytes.fromhex(str(round(number) % 10**digits).zfill(digits))
