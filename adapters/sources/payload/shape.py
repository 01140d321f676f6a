"""What every reader of messages makes of them: rows, and what of a message is damaged. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from adapters.sources.payload.ids import Id
from collector.model import Reason

Scalar = float | bool | None
Cell = float | bool | str | None


class Row(msgspec.Struct, gc=False):
    """One device at one time. ``time`` is epoch milliseconds or ISO 8601 text."""

    device: str
    time: int | str
    values: dict[str, Scalar]
    serial: str | int | None = None
    units: dict[str, str] | None = None
    flags: dict[str, str] | None = None


class Table(msgspec.Struct, gc=False):
    """The compact form. ``columns`` says what stands in each of ``rows``: ``device``, ``time``, and
    quantities. What is the same for all rows stands beside them; a row may end early."""

    columns: list[str]
    rows: list[list[Cell]]
    device: str | None = None
    time: int | str | None = None
    serial: str | int | None = None
    units: dict[str, str] | None = None
    flags: Any = None


class Message(msgspec.Struct, gc=False):
    """What one MQTT message (or one HTTP request) holds."""

    readings: list[Row] = []
    tables: list[Table] = []
    backfill: bool = False
    id: Id = None


WHOLE: Final = -1
"""In the place of a row's number: the message as a whole."""


class Damage(NamedTuple):
    """Part of a message that cannot be used: ``device`` is empty where it cannot be told, ``row``
    is the number of its row, from 0."""

    device: str
    detail: str
    readings: int = 1
    row: int = WHOLE
    reason: str = Reason.PAYLOAD


REMARK: Final = ""
"""In the place of a damage's reason: nothing is lost by it, and its sender should mend it."""


def remark(told: str, device: str = "") -> Damage:
    """What is to be told of readings that can be used."""
    return Damage(device, told, 0, WHOLE, REMARK)


class KnownRow(Row, forbid_unknown_fields=True):
    """A row without further fields."""


class KnownTable(Table, forbid_unknown_fields=True):
    """A table without further fields."""


class KnownMessage(Message, forbid_unknown_fields=True):
    """A message without further fields, which is the usual one."""

    readings: list[KnownRow] = []  # type: ignore[assignment] # a row all the same
    tables: list[KnownTable] = []  # type: ignore[assignment] # a table all the same


Read = tuple[Message, list[Damage], list[int] | None]
"""A message, what of it is damaged, and, where rows of it may be missing, the number that each of
those left had."""


Reader = Callable[[bytes, int], Read]
"""Reads a message (unpacked) that was received then. Raises ``UnreadableError``."""


class UnreadableError(ValueError):
    """Nothing of this payload can be used; the text says why, for an electrician. ``own``: its id,
    where that can be read; ``also``: what else is to be told."""

    def __init__(self, told: str, own: Id = None, also: Sequence[str] = ()) -> None:
        super().__init__(told)
        self.own, self.also = own, also


class OversizeError(UnreadableError):
    """It is more than one message may hold."""


_NUMBER: Final = re.compile(r"\s*+[-+]?(?:\d++\.?+\d*+|\.\d++)(?:[eE][-+]?\d{1,3})?\s*+", re.ASCII)
_LONGEST_NUMBER: Final = 64
_TOLD: Final = 8
"""So many names of one kind are told of a row: they are the sender's to invent."""


def shown(value: Any, most: int = 60) -> str:
    """Part of a message as it may stand in a detail: short; of what nests, only what it is."""
    match value:
        case str():
            return value[:most]
        case dict():
            return "an object"
        case list():
            return "a list"
        case int() if abs(value) >= 10**most:
            return f"a number of more than {most} digits"
        case _:
            return json.dumps(value)[:most]


def astray(units: Iterable[str], values: Container[str]) -> tuple[str, ...]:
    """What is to be told of ``units`` that are of none of ``values``: the number that was meant is
    taken in another unit, without a word."""
    lost = [name for name in units if name not in values][:_TOLD]
    return tuple(f"units names {shown(name, 80)}, which is not among the values" for name in lost)


def usable(
    device: str, values: dict[str, Any], number: int, damages: list[Damage]
) -> Iterator[tuple[str, Scalar]]:
    """Of ``values`` what can be one: a number, true, false or null."""
    for quantity, value in values.items():
        number_ = _number(value)
        if number_ is None and isinstance(value, int):
            told = f"{shown(quantity, 80)} = {shown(value)}: a number beyond float64"
            damages.append(Damage(device, told, 1, number, Reason.BAD_VALUE))
        elif number_ is None and value is not None:
            text = f'"{shown(value)}"' if isinstance(value, str) else shown(value)
            told = f"{shown(quantity, 80)} = {text}: a value is a number, true, false or null"
            damages.append(Damage(device, told, 1, number, Reason.BAD_VALUE))
        else:
            yield quantity, number_


def with_whole_time(raw: dict[str, Any]) -> dict[str, Any]:
    """``raw`` with a whole number for a time that is one: some languages know no other."""
    time = raw.get("time")
    return raw | {"time": int(time)} if isinstance(time, float) and time.is_integer() else raw


def number_of(value: Any) -> Any:
    """The number that is written in a text; anything else as it is."""
    if isinstance(value, str) and len(value) <= _LONGEST_NUMBER and _NUMBER.fullmatch(value):
        return float(value)
    return value


def _number(value: Any) -> float | None:
    """As float64; None for what is none, and for a whole number that float64 cannot hold."""
    try:
        return float(value) if isinstance(value, int | float) else None
    except OverflowError:
        return None
