"""What a counter showed when its meter was put in and when it was taken out. Pure.

``first_register`` and ``last_register`` of a device, in the quantity's own unit, as the meter
showed it (before ratios): a number for a device with one counter, else a table by quantity. To
the books they are readings at the first and the last moment of its service, so that nothing is
lost between the last reading of the old meter and the first of the new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from collector.quantities import quantities
from collector.sections import Section, near

KEYS: Final = ("first_register", "last_register")
_MOST: Final = 1e15


@dataclass(frozen=True, slots=True)
class Stated:
    """By quantity; ``""``: of its only counter, before that is known."""

    first: Mapping[str, float] = field(default_factory=dict)
    last: Mapping[str, float] = field(default_factory=dict)


def read_stated(section: Section) -> Stated:
    """As written; a register without the date to which it belongs is a fault."""
    first, last = (_read(section, key) for key in KEYS)
    for key, date in zip(KEYS, ("from", "to"), strict=True):
        if section.has(key) and not section.has(date):
            section.fault(key, f'{key} without "{date}"', f'say when it was: add "{date}"')
    return Stated(first, last)


def _read(section: Section, key: str) -> dict[str, float]:
    if isinstance(section.data.get(key), dict):
        return {
            quantity: section.check_number((key, quantity), value, 0.0, least=0, most=_MOST)
            for quantity, value in section.table(key).items()
        }
    if not section.has(key):
        return {}
    return {"": section.check_number((key,), section.data[key], 0.0, least=0, most=_MOST)}


def by_counter(section: Section, stated: Stated, brings: tuple[str, ...]) -> Stated:
    """``stated`` by quantity, of the counters among ``brings``; faults for all others."""
    if not brings:
        return Stated()
    return Stated(
        _by_counter(section, KEYS[0], stated.first, brings),
        _by_counter(section, KEYS[1], stated.last, brings),
    )


def _by_counter(
    section: Section, key: str, stated: Mapping[str, float], brings: tuple[str, ...]
) -> dict[str, float]:
    counters = [quantity for quantity in brings if quantities()[quantity].kind == "counter"]
    good: dict[str, float] = {}
    for quantity, value in stated.items():
        if not quantity and len(counters) == 1:
            good[counters[0]] = value
        elif not quantity:
            what = f"{key} is one number, and this device has {len(counters)} counters"
            example = f'write {key} = {{ "{counters[0]}" = {value!r} }}' if counters else ""
            section.fault(key, what, example or "take it out")
        elif quantity not in counters:
            what = f'{key} names "{quantity}", which is no counter of this device'
            section.fault((key, quantity), what, near(quantity, counters) or "take it out")
        else:
            good[quantity] = value
    return good
