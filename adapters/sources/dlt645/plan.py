"""Which identifiers to ask a meter for, and what the answers then mean. Pure.

Where a profile wants several values of one block (total and tariffs, three phases), the block is
asked for: one question at 2400 baud instead of five. A meter that does not have the block is asked
for each value; what it does not have at all is left out.

Invariants: every wanted value comes from exactly one question; a value that an answer does not
reach (a block ends where the meter's tariffs or phases end) is left out; one whose digits are none,
or that comes in an answer of another length than the standard's tables say, is NaN with quality
``NO_VALUE``, never 0 and never a number of other digits. Counters stay as the meter shows them;
only gauges take the device's transformer ratio.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from adapters.sources.dlt645.data import element, meaning, number
from collector.items import Item
from collector.model import Ids, Qualities, Quality, Values
from collector.profile import Profile
from collector.quantities import quantities
from collector.registry import Device, ratio_of


@dataclass(frozen=True, slots=True)
class Field:
    """One wanted value: ``size`` bytes, ``at`` bytes into the answer (of a block, else the whole
    answer); the reading is what the meter shows ``* gain + shift``. ``no_value``: shown numbers
    that mean none."""

    item: Item
    point: int
    size: int
    at: int = 0
    block: bool = False
    gain: float = 1.0
    shift: float = 0.0
    no_value: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """How one meter is read: fields by the identifier asked for, in that order."""

    questions: Mapping[int, tuple[Field, ...]]

    @property
    def points(self) -> tuple[int, ...]:
        return tuple(field.point for fields in self.questions.values() for field in fields)

    def decode(self, answers: Mapping[int, bytes]) -> tuple[Ids, Values, Qualities]:
        """Columns of what ``answers`` (data by identifier asked for) say."""
        points: list[int] = []
        values: list[float] = []
        for identifier, fields in self.questions.items():
            data = answers.get(identifier, b"")
            for field in fields:
                if field.at < len(data) or not field.block:
                    points.append(field.point)
                    values.append(_value(field, data))
        column = np.array(values, np.float64)
        qualities = np.where(np.isnan(column), Quality.NO_VALUE, Quality.GOOD).astype(np.uint8)
        return np.array(points, np.int32), column, qualities


def plan(
    device: Device,
    profile: Profile,
    ids: Mapping[str, int],
    without: Collection[int] = (),
) -> Plan:
    """The plan of ``device``. ``ids`` maps ``site/place/quantity/raw`` to stable ids; what it
    does not name is not read. ``without``: identifiers, of blocks or single values, that the
    meter refused."""
    wanted = [
        (item, ids[name])
        for item in profile.items
        if not device.quantities or item.quantity in device.quantities
        if (name := f"{device.site}/{device.place}/{item.quantity}/raw") in ids
    ]
    together: defaultdict[int, int] = defaultdict(int)
    for item, _ in wanted:
        together[block_of(item)] += 1
    questions: dict[int, list[Field]] = {}
    for item, point in wanted:
        block = block_of(item)
        if together[block] > 1 and block not in without:
            questions.setdefault(block, []).append(_field(device, profile, item, point, block))
        elif item.identifier not in without:
            single = _field(device, profile, item, point, item.identifier)
            questions.setdefault(item.identifier, []).append(single)
    return Plan({asked: tuple(fields) for asked, fields in questions.items()})


def block_of(item: Item) -> int:
    """The block that holds ``item`` too, or its own identifier: where the standard's tables know
    none, or the profile has its number in a format of its own."""
    block = item.identifier & 0xFFFF00FF | 0xFF00
    whole, single = meaning(block), meaning(item.identifier)
    if whole is None or single is None or not whole.block or single.format is None:
        return item.identifier
    return block if single.format.size == item.format.size else item.identifier


def _field(device: Device, profile: Profile, item: Item, point: int, asked: int) -> Field:
    quantity = quantities()[item.quantity]
    factor = quantity.factor(item.unit)
    ratio = 1.0 if quantity.kind == "counter" else ratio_of(device, item.quantity, profile)
    known = meaning(asked)
    fits = known is not None and known.format is not None and known.format.size == item.format.size
    size = known.size if known is not None and fits else item.format.size
    block = asked != item.identifier
    return Field(
        item,
        point,
        size,
        at=(item.identifier - element(asked, 0) >> 8) * size if block else 0,
        block=block,
        gain=factor.scale * ratio,
        shift=factor.offset * ratio,
        no_value=device.no_value,
    )


def _value(field: Field, data: bytes) -> float:
    rest = len(data) % field.size if field.block else len(data) - field.size
    shown = None if rest else number(field.item.format, data[field.at :])
    if shown is None or shown in field.no_value:
        return math.nan
    return shown * field.gain + field.shift
