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
from dataclasses import dataclass
from typing import Final

from collector.quantities import quantities
from collector.sections import Section
from collector.units import UnitError

_IDENTIFIER: Final = re.compile(r"[0-9A-Fa-f]{8}")
_AS: Final = 'eight hexadecimal digits, as "00010000"'
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


def read_items(top: Section) -> tuple[Item, ...]:
    """The ``[[item]]`` tables of a profile; whatever is wrong is told as its faults."""
    found: dict[str, Item] = {}
    for section in top.sections("item"):
        before = len(section.faults)
        item = _item(section)
        section.close()
        if len(section.faults) > before or item is None:
            continue
        if item.quantity in found:
            section.fault("quantity", f'"{item.quantity}" stands twice', "keep one of them")
        found[item.quantity] = item
    return tuple(found.values())


def _item(section: Section) -> Item | None:
    name = section.text("quantity", required=True)
    identifier = section.text("identifier", required=True, pattern=_IDENTIFIER, form=_AS)
    if "FF" in (identifier[at : at + 2].upper() for at in (2, 4, 6)):
        todo = "name each value by its own: blocks are found by the program"
        section.fault("identifier", f'identifier "{identifier}" is that of a block', todo)
    text = section.text("format", required=True)
    form = parse_format(text, signed=section.flag("signed"))
    if text and form is None:
        todo = 'as "XXXXXX.XX": an even number of digits, 16 at most'
        section.fault("format", f'format "{text}" is no number', todo)
    unit = section.text("unit", required=True)
    ratio = section.flag("ratio")
    if not (name and identifier and unit and section.known("quantity", name, quantities())):
        return None
    quantity = quantities()[name]
    try:
        offset = quantity.factor(unit).offset
    except UnitError as error:
        section.fault("unit", str(error))
        return None
    if quantity.kind == "counter" and offset:
        section.fault("unit", "a counter has no offset")
    if ratio and not quantity.scales:
        section.fault("ratio", f"{quantity.name} is not behind instrument transformers")
    return None if form is None else Item(name, int(identifier, 16), form, unit, ratio)


def resolution(item: Item) -> float:
    """Canonical units of one step of a counter."""
    return item.format.step * quantities()[item.quantity].factor(item.unit).scale
