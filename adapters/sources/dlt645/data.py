"""What stands behind the data identifiers of DL/T 645-2007: numbers, dates, names. Pure.

An identifier has four bytes, written high first: ``00 01 02 00`` is class 00 (energy), item 01
(active, forward), tariff 02, billing day 00 (now). FF in the third byte asks for the block of all.

Numbers are decimal digits, two to a byte, low byte first. They become whole steps (123456 steps of
0.01 kWh), so nothing is rounded; digits that are none (FF where a meter has no value) are no
number. The highest bit is the sign only where the standard says so.

Facts: identifiers, formats and units 600888/dlt645 (GitHub, @783b91d) config; which numbers are
signed as quoted from notes 1, 2, 3 and 6 of the standard's tables A.1 to A.3 in public programs.
Entries marked R are recalled; nobody's text was read for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from collector.items import Format

BLOCK: Final = 0xFF
TARIFFS: Final = ("total", "sharp (tariff 1)", "peak (tariff 2)", "flat (tariff 3)",
                  "valley (tariff 4)")  # fmt: skip
"""The usual order of tariffs; which is which is set in the meter."""

_ENERGY = Format(8, 2)
_ENERGY_SIGNED = Format(8, 2, signed=True)
_DEMAND = Format(6, 4)
_POWER = Format(6, 4, signed=True)
_CURRENT = Format(6, 3, signed=True)
_FACTOR = Format(4, 3, signed=True)
_TENTHS = Format(4, 1)
_HUNDREDTHS = Format(4, 2)


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an identifier stands for. ``dated``: each number is followed by the minute at which
    it was reached. ``format`` None: not a number (``unit`` says what). ``block``: as many
    values as the meter has, one after another."""

    name: str
    unit: str
    format: Format | None
    dated: bool = False
    block: bool = False

    @property
    def size(self) -> int:
        """Bytes of one value."""
        if self.format is None:
            return _SIZES[self.unit]
        return self.format.size + (_MINUTE if self.dated else 0)


_MINUTE: Final = 5
"""Bytes of YYMMDDhhmm."""
_SIZES: Final = {"date": 4, "time": 3, "digits": 6}

_ENERGIES: Final = {
    0x00: ("combined active energy", "kWh", True),
    0x01: ("forward active energy", "kWh", False),
    0x02: ("reverse active energy", "kWh", False),
    0x03: ("combined reactive energy 1", "kvarh", True),
    0x04: ("combined reactive energy 2", "kvarh", True),
    0x05: ("reactive energy, quadrant I", "kvarh", False),
    0x06: ("reactive energy, quadrant II", "kvarh", False),
    0x07: ("reactive energy, quadrant III", "kvarh", False),
    0x08: ("reactive energy, quadrant IV", "kvarh", False),
    0x09: ("forward apparent energy", "kVAh", False),  # R
    0x0A: ("reverse apparent energy", "kVAh", False),  # R
    0x15: ("forward active energy, phase A", "kWh", False),  # R
    0x16: ("reverse active energy, phase A", "kWh", False),  # R
    0x29: ("forward active energy, phase B", "kWh", False),  # R
    0x2A: ("reverse active energy, phase B", "kWh", False),  # R
    0x3D: ("forward active energy, phase C", "kWh", False),  # R
    0x3E: ("reverse active energy, phase C", "kWh", False),  # R
}
_DEMANDS: Final = {
    0x01: ("forward active", "kW", False),
    0x02: ("reverse active", "kW", False),
    0x03: ("combined reactive 1", "kvar", True),
    0x04: ("combined reactive 2", "kvar", True),
    0x05: ("reactive quadrant I", "kvar", False),
    0x06: ("reactive quadrant II", "kvar", False),
    0x07: ("reactive quadrant III", "kvar", False),
    0x08: ("reactive quadrant IV", "kvar", False),
    0x09: ("forward apparent", "kVA", False),  # R
    0x0A: ("reverse apparent", "kVA", False),  # R
}
# item: (name, unit, format, whether 0 is the total; else the first phase is 1)
_MOMENTS: Final = {
    0x01: ("voltage", "V", _TENTHS, False),
    0x02: ("current", "A", _CURRENT, False),
    0x03: ("active power", "kW", _POWER, True),
    0x04: ("reactive power", "kvar", _POWER, True),
    0x05: ("apparent power", "kVA", _POWER, True),
    0x06: ("power factor", "1", _FACTOR, True),
    0x07: ("phase angle", "deg", _TENTHS, False),
    0x08: ("voltage distortion", "%", _HUNDREDTHS, False),
    0x09: ("current distortion", "%", _HUNDREDTHS, False),
}
_SINGLE: Final = {
    0x02800001: Meaning("neutral current", "A", _CURRENT),
    0x02800002: Meaning("frequency", "Hz", _HUNDREDTHS),
    0x02800003: Meaning("active power, mean of a minute", "kW", Format(6, 4)),  # R
    0x02800004: Meaning("active power demand now", "kW", _POWER),
    0x02800005: Meaning("reactive power demand now", "kvar", _POWER),
    0x02800006: Meaning("apparent power demand now", "kVA", _POWER),
    0x02800007: Meaning("temperature inside", "degC", Format(4, 1, signed=True)),
    0x02800008: Meaning("voltage of the clock's battery", "V", _HUNDREDTHS),
    0x02800009: Meaning("voltage of the battery for reading without mains", "V", _HUNDREDTHS),
    0x0280000A: Meaning("minutes on the battery", "min", Format(8, 0)),
    0x04000101: Meaning("date and weekday", "date", None),
    0x04000102: Meaning("time", "time", None),
    0x04000306: Meaning("current transformer ratio", "1", Format(6, 0)),
    0x04000307: Meaning("voltage transformer ratio", "1", Format(6, 0)),
    0x04000401: Meaning("communication address", "digits", None),
    0x04000402: Meaning("meter number", "digits", None),
}
_PHASES: Final = ("", "A", "B", "C")


def meaning(identifier: int) -> Meaning | None:
    """What ``identifier`` stands for; None where it is not known here."""
    if identifier in _SINGLE:
        return _SINGLE[identifier]
    group, item, part, last = identifier.to_bytes(4, "big")
    if group in {0x00, 0x01} and last <= 0x0C:
        return _counted(group, item, part, last)
    if group == 0x02 and item in _MOMENTS and last == 0:
        name, unit, form, has_total = _MOMENTS[item]
        if part == BLOCK:
            return Meaning(f"{name}, all phases", unit, form, block=True)
        if part <= 3 and (part or has_total):
            phase = f", phase {_PHASES[part]}" if part else ", total"
            return Meaning(name + phase, unit, form)
    return None


def _counted(group: int, item: int, part: int, last: int) -> Meaning | None:
    """Energies and maximum demands, by tariff and billing day."""
    known = (_ENERGIES if group == 0 else _DEMANDS).get(item)
    if known is None or (part > 0x3F and part != BLOCK):
        return None
    name, unit, signed = known
    if group == 1:
        name = f"maximum demand, {name}"
    if part == BLOCK:
        name += ", total and all tariffs"
    else:
        name += ", " + (TARIFFS[part] if part < len(TARIFFS) else f"tariff {part}")
    if last:
        name += f", {last} billing days ago"
    form = _ENERGY_SIGNED if signed else _ENERGY
    if group == 1:
        form = _POWER if signed else _DEMAND
    return Meaning(name, unit, form, dated=group == 1, block=part == BLOCK)


def steps(form: Format, data: bytes) -> int | None:
    """Whole steps that ``data`` says (its first ``form.size`` bytes, low first); None where
    these are no digits, or too few."""
    if len(data) < form.size:
        return None
    digits = bytearray(data[form.size - 1 :: -1])
    negative = form.signed and bool(digits[0] & 0x80)
    if negative:
        digits[0] &= 0x7F
    text = digits.hex()
    if not text.isdecimal():
        return None
    number = int(text)
    return -number if negative else number


def number(form: Format, data: bytes) -> float | None:
    """As :func:`steps`, in the unit of the item: the float nearest to the decimal number."""
    whole = steps(form, data)
    return None if whole is None else whole / 10**form.decimals


def digits_of(form: Format, whole: int) -> bytes:
    """The bytes that say ``whole`` steps; it wraps as the register does."""
    text = str(abs(whole) % round(form.modulus)).zfill(form.digits)
    low_first = bytearray(bytes.fromhex(text)[::-1])
    if form.signed and whole < 0:
        low_first[-1] |= 0x80
    return bytes(low_first)


def minute(data: bytes) -> datetime | None:
    """YYMMDDhhmm, low byte first, without a zone: the meter's own clock. None where it is no
    date: a meter that has reached no maximum yet says zeros."""
    if len(data) < _MINUTE:
        return None
    return _moment(data[_MINUTE - 1 :: -1].hex() + "00")


def clock(date: bytes, time: bytes) -> datetime | None:
    """The meter's clock from 04000101 (YYMMDDWW) and 04000102 (hhmmss)."""
    if len(date) < _SIZES["date"] or len(time) < _SIZES["time"]:
        return None
    return _moment(date[3:0:-1].hex() + time[2::-1].hex())


def digits(data: bytes) -> str | None:
    """Six bytes of a meter's number or address, high first."""
    text = data[5::-1].hex() if len(data) >= 6 else ""
    return text if text.isdecimal() else None


def _moment(text: str) -> datetime | None:
    if not text.isdecimal() or len(text) != 12:
        return None
    year, *rest = (int(text[at : at + 2]) for at in range(0, 12, 2))
    try:
        return datetime(2000 + year, *rest)  # type: ignore[arg-type]  # five numbers, checked above  # noqa: DTZ001 no zone known
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Value:
    """One value of an answer, for people: ``steps`` None where the meter gives none; ``text``
    for what is no number."""

    identifier: int
    name: str
    unit: str
    steps: int | None = None
    decimals: int = 0
    text: str = ""
    reached: datetime | None = None

    @property
    def number(self) -> float | None:
        return None if self.steps is None else self.steps / 10**self.decimals


def values(identifier: int, data: bytes) -> Sequence[Value]:
    """Everything in the data behind a known identifier; of a block, each value under its own.
    Empty for an unknown one; what does not fill a value is left."""
    found = meaning(identifier)
    if found is None:
        return ()
    if not found.block:
        return (_value(identifier, found, data),)
    first = element(identifier, 0)
    singles = (first + (n << 8) for n in range(len(data) // found.size))
    return [
        _value(single, meaning(single) or found, data[at : at + found.size])
        for single, at in zip(singles, range(0, len(data), found.size), strict=False)
    ]


def element(block: int, index: int) -> int:
    """The identifier of one value in a block: phases count from 1, tariffs from the total."""
    moment = _MOMENTS.get(block >> 16 & 0xFF) if block >> 24 == 2 else None
    begin = 1 if moment is not None and not moment[3] else 0
    return (block & 0xFFFF00FF) | (begin + index) << 8


def _value(identifier: int, found: Meaning, data: bytes) -> Value:
    if found.format is None:
        return Value(identifier, found.name, found.unit, text=data[::-1].hex())
    reached = minute(data[found.format.size :]) if found.dated else None
    return Value(
        identifier,
        found.name,
        found.unit,
        steps(found.format, data),
        found.format.decimals,
        reached=reached,
    )
