"""Our own JSON (docs/gateway-protocol.md) -> rows, and what can be saved of a damaged one. Pure.

A payload that is JSON of the right shape costs one typed decode. One that is JSON with a fault
somewhere is gone through piece by piece, so that a value written as text spoils itself and not its
neighbours. One with keys that nobody knows is read again, to tell those that are nearly ours. What
is not JSON raises ``UnreadableError``.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from adapters.sources.payload.faults import no_json, no_row
from adapters.sources.payload.ids import own_id
from adapters.sources.payload.keys import misnamed
from adapters.sources.payload.looks import no_list, not_own
from adapters.sources.payload.shape import (
    Damage,
    KnownMessage,
    Message,
    Read,
    Row,
    UnreadableError,
    remark,
    usable,
    with_whole_time,
)
from adapters.sources.payload.tables import add_table, of_damaged

_known: Final = msgspec.json.Decoder(KnownMessage)
_typed: Final = msgspec.json.Decoder(Message)
_any: Final = msgspec.json.Decoder()


def read(payload: bytes, received: int = 0) -> Read:  # noqa: ARG001 - as every reader
    """The rows of ``payload`` and what of it is damaged. Raises ``UnreadableError``."""
    damages: list[Damage] = []
    try:
        message: Message = _known.decode(payload)
    except msgspec.ValidationError:
        whole = _json(payload)
        try:
            message = _typed.decode(payload)
        except msgspec.ValidationError:
            return _salvage(whole)
        damages += map(remark, misnamed(whole))
        if not (message.readings or message.tables) and (told := not_own(whole)):
            raise _no_form(told, whole) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise UnreadableError(no_json(payload, fault)) from fault
    if message.id is not None:
        message.id, wrong = own_id(message.id)
        if wrong:
            damages.append(remark(wrong))
    if not message.tables:
        return message, damages, None
    numbers = list(range(len(message.readings)))
    number = len(numbers)
    for table in message.tables:
        number = add_table(table, number, message.readings, numbers, damages)
    return message, damages, numbers


def _no_form(told: str, whole: Any) -> UnreadableError:
    """Nothing of this JSON can be used."""
    own, wrong = own_id(whole.get("id")) if isinstance(whole, dict) else (None, "")
    return UnreadableError(told, own, [*([wrong] if wrong else []), *misnamed(whole)])


def _json(payload: bytes) -> Any:
    try:
        return _any.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise UnreadableError(no_json(payload, fault)) from fault


def _salvage(whole: Any) -> Read:
    if not isinstance(whole, dict) or not any(
        isinstance(whole.get(key), list) for key in ("readings", "tables")
    ):
        told = not_own(whole) or 'a message is an object with a list "readings"'
        raise _no_form(told, whole)
    own, wrong = own_id(whole.get("id"))
    damages = [remark(told) for told in (wrong, *misnamed(whole)) if told]
    message = Message(backfill=whole.get("backfill") is True, id=own)
    if not isinstance(whole.get("backfill", False), bool):
        # A flag that cannot be read says nothing about the readings themselves.
        damages.append(Damage("", '"backfill" is neither true nor false; taken as false', 0))
    numbers: list[int] = []
    number = 0
    for raw in _list(whole, "readings", damages):
        row = _row(raw, number, damages)
        if row is not None:
            message.readings.append(row)
            numbers.append(number)
        number += 1
    for raw in _list(whole, "tables", damages):
        table = of_damaged(raw, number, damages)
        if table is None:
            number += 1
        else:
            number = add_table(table, number, message.readings, numbers, damages)
    return message, damages, numbers


def _list(whole: dict[str, Any], key: str, damages: list[Damage]) -> list[Any]:
    found = whole.get(key, [])
    if isinstance(found, list):
        return found
    damages.append(Damage("", no_list(key, found)))
    return []


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
    units = raw.get("units")
    if isinstance(units, dict) and len(values) < count:  # no word of units of what is refused
        lost = raw["values"].keys() - values.keys()
        raw = raw | {"units": {name: unit for name, unit in units.items() if name not in lost}}
    raw = with_whole_time(raw)
    try:
        return msgspec.convert(raw | {"values": values}, Row)
    except msgspec.ValidationError as fault:
        told = no_row(raw) or str(fault).replace("`$", "`reading")
        damages.append(Damage(named, told, count, number))
        return None
