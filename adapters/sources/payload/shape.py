"""The shape of a gateway's JSON message, and what can be saved of one that breaks it. Pure.

``read`` gives the rows of a message. A payload that is JSON of the right shape costs one typed
decode. One that is JSON with a fault somewhere is gone through piece by piece, so that a value
written as text spoils itself and not its neighbours. What is not JSON raises ``UnreadableError``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import msgspec

from adapters.sources.payload.receipts import LONGEST_ID, Id
from collector.model import Reason

Scalar = float | bool | None


class Row(msgspec.Struct, gc=False):
    """One device at one time. ``time`` is epoch milliseconds or ISO 8601 text."""

    device: str
    time: int | str
    values: dict[str, Scalar]
    serial: str | int | None = None
    units: dict[str, str] | None = None
    flags: dict[str, str] | None = None


class Message(msgspec.Struct, gc=False):
    """What one MQTT message (or one HTTP request) holds."""

    readings: list[Row]
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


Read = tuple[Message, list[Damage], list[int] | None]
"""A message, what of it is damaged, and, where rows of it may be missing, the number that each of
those left had."""


class UnreadableError(ValueError):
    """Nothing of this payload can be used; the text says why, for an electrician."""


class OversizeError(UnreadableError):
    """It is more than one message may hold."""


_typed: Final = msgspec.json.Decoder(Message)
_any: Final = msgspec.json.Decoder()
_NUMBER: Final = re.compile(r"\s*[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?\s*", re.ASCII)
_LONGEST_NUMBER: Final = 64


Reader = Callable[[bytes, int], Read]
"""Reads a message (unpacked) that was received then. Raises ``UnreadableError``."""


def read(payload: bytes, received: int = 0) -> Read:  # noqa: ARG001 - as every reader
    """The rows of ``payload`` and what of it is damaged. Raises ``UnreadableError``."""
    try:
        message = _typed.decode(payload)
    except msgspec.ValidationError:
        return _salvage(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise UnreadableError(f"this is not JSON: {fault}") from fault
    damages: list[Damage] = []
    if message.id is not None:
        message.id = own_id(message.id, damages)
    return message, damages, None


def own_id(written: Any, damages: list[Damage]) -> Id:
    """By what a message calls itself; None for what cannot be that."""
    match written:
        case None:
            return None
        case bool():
            pass
        case int() if abs(written) < 10 ** (LONGEST_ID - 1):
            return written
        case str() if len(written) <= LONGEST_ID:
            return written
    told = f'"id" is neither a text nor a whole number of {LONGEST_ID} characters at most'
    damages.append(Damage("", f"{told}; it is not repeated", 0))
    return None


def _salvage(payload: bytes) -> Read:
    try:
        whole = _any.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise UnreadableError(f"this is not JSON: {fault}") from fault
    if not isinstance(whole, dict) or not isinstance(whole.get("readings"), list):
        raise UnreadableError('a message is an object with a list "readings"')
    damages: list[Damage] = []
    message = Message([], whole.get("backfill") is True, own_id(whole.get("id"), damages))
    if not isinstance(whole.get("backfill", False), bool):
        # A flag that cannot be read says nothing about the readings themselves.
        damages.append(Damage("", '"backfill" is neither true nor false; taken as false', 0))
    numbers: list[int] = []
    for number, raw in enumerate(whole["readings"]):
        row = _row(raw, number, damages)
        if row is not None:
            message.readings.append(row)
            numbers.append(number)
    return message, damages, numbers


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


def _row(raw: Any, number: int, damages: list[Damage]) -> Row | None:
    if not isinstance(raw, dict):
        damages.append(Damage("", "an entry of readings is not an object", 1, number))
        return None
    device = raw.get("device")
    named = device if isinstance(device, str) else ""
    values = raw.get("values")
    if not isinstance(values, dict):
        damages.append(Damage(named, 'an entry of readings has no object "values"', 1, number))
        return None
    count = len(values)
    values = dict(usable(named, values, number, damages))
    if not values and count:
        return None
    try:
        return msgspec.convert(raw | {"values": values}, Row)
    except msgspec.ValidationError as fault:
        told = str(fault).replace("`$", "`reading")
        damages.append(Damage(named, told, count, number))
        return None


def usable(
    device: str, values: dict[str, Any], number: int, damages: list[Damage]
) -> Iterator[tuple[str, Scalar]]:
    """Of ``values`` what can be one: a number, true, false or null."""
    for quantity, value in values.items():
        number_ = _number(value)
        if number_ is None and value is not None:
            text = f'"{shown(value)}"' if isinstance(value, str) else shown(value)
            told = f"{shown(quantity, 80)} = {text}: a value is a number, true, false or null"
            damages.append(Damage(device, told, 1, number, Reason.BAD_VALUE))
        else:
            yield quantity, number_


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
