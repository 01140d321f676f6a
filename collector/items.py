"""What a meter of DL/T 645-2007 has behind a data identifier, as profiles write it. Pure.

    [[item]]
    quantity = "energy.active.import"
    identifier = "00010000"             eight hexadecimal digits, as the standard's tables have it
    format = "XXXXXX.XX"                as there: decimal digits, and where the point stands
    unit = "kWh"
    signed = true                       the highest bit is the sign
    ratio = true                        the meter shows secondary values

So that a profile is copied from the meter's own document, and the account knows the step and
where the register rolls over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from collector.quantities import quantities
from collector.sections import near
from collector.units import UnitError

_IDENTIFIER: Final = re.compile(r"[0-9A-Fa-f]{8}")
_FORMAT: Final = re.compile(r"X+(\.X+)?")
LONGEST: Final = 16
"""Digits of the longest number: more would not be exact as a float."""


@dataclass(frozen=True, slots=True)
class Format:
    """A decimal number of ``digits`` digits, ``decimals`` of them after the point, two to a
    byte; ``signed``: the highest bit is set for a negative one."""

    digits: int
    decimals: int
    signed: bool = False

    @property
    def size(self) -> int:
        """Bytes on the wire."""
        return self.digits // 2

    @property
    def step(self) -> float:
        """The smallest difference, in the item's unit."""
        return float(f"1e-{self.decimals}")

    @property
    def modulus(self) -> float:
        """Steps at which a counter rolls over; the sign takes the highest bit of the highest
        digit, so seven is the most that can stand there."""
        return (8.0 if self.signed else 10.0) * 10.0 ** (self.digits - 1)


@dataclass(frozen=True, slots=True)
class Item:
    """One value behind a data identifier (of one value, not of a block)."""

    quantity: str
    identifier: int
    format: Format
    unit: str
    ratio: bool = False


def parse_format(text: str, *, signed: bool = False) -> Format | None:
    """``XXXXXX.XX`` as a value; None for what is none, or does not fill whole bytes."""
    digits = text.count("X")
    if not _FORMAT.fullmatch(text) or digits % 2 or digits > LONGEST:
        return None
    return Format(digits, len(text.partition(".")[2]), signed)


KEYS: Final[Mapping[str, type]] = {
    "quantity": str,
    "identifier": str,
    "format": str,
    "unit": str,
    "signed": bool,
    "ratio": bool,
}
_REQUIRED: Final = ("quantity", "identifier", "format", "unit")
Tell = Callable[[str, str, str], None]
"""Takes a fault: the key it is about (or ""), what is wrong, what to do."""


def read_item(row: Mapping[str, Any], tell: Tell) -> Item | None:
    """The item that ``row`` says; None, and every fault told, when it says none."""
    faults = 0

    def fault(key: str, what: str, todo: str = "") -> None:
        nonlocal faults
        faults += 1
        tell(key, what, todo)

    for key, value in row.items():
        if key not in KEYS:
            fault(key, f'unknown key "{key}"', near(key, KEYS))
        elif not isinstance(value, KEYS[key]):
            fault(key, f"{key} = {value!r} is not a {KEYS[key].__name__}")
    for key in _REQUIRED:
        if key not in row:
            fault("", f"an [[item]] has no {key}")
    if faults:
        return None
    text = row["identifier"]
    if not _IDENTIFIER.fullmatch(text):
        fault("identifier", f'identifier "{text}" is not eight hexadecimal digits', 'as "00010000"')
    elif "FF" in (text[2:4].upper(), text[4:6].upper(), text[6:8].upper()):
        todo = "name each value by its own; blocks are found by the program"
        fault("identifier", f'identifier "{text}" is that of a block', todo)
    form = parse_format(row["format"], signed=row.get("signed", False))
    if form is None:
        todo = 'as "XXXXXX.XX": an even number of digits, 16 at most'
        fault("format", f'format "{row["format"]}" is no number', todo)
    _check_quantity(row, fault)
    if faults or form is None:
        return None
    ratio = row.get("ratio", False)
    return Item(row["quantity"], int(text, 16), form, row["unit"], ratio)


def _check_quantity(row: Mapping[str, Any], fault: Callable[..., None]) -> None:
    quantity = quantities().get(row["quantity"])
    if quantity is None:
        todo = near(row["quantity"], quantities()) or "see collector/quantities.toml"
        fault("quantity", f'unknown quantity "{row["quantity"]}"', todo)
        return
    try:
        factor = quantity.factor(row["unit"])
    except UnitError as error:
        fault("unit", str(error))
    else:
        if quantity.kind == "counter" and factor.offset:
            fault("unit", "a counter has no offset")
    if row.get("ratio") and not quantity.scales:
        fault("ratio", f"{quantity.name} is not behind instrument transformers")
