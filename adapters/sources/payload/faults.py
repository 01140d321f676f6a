"""What is wrong with a message, in the words of those who make gateways. Pure.

A parser tells where it stumbled, in words of its own. Here what people do wrong is told with what
to send instead; only what nobody foresaw keeps the parser's words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from adapters.sources.payload.raw import excerpt, near, no_object, packed
from adapters.sources.payload.shape import shown

_AT: Final = re.compile(r"\(byte (\d+)\)")
_SECONDS: Final = range(10**8, 10**11)
"""Such numbers are seconds since 1970, if they are a time."""
_OBJECTS: Final[Mapping[str, str]] = {
    "units": '{"power.active": "W"}',
    "flags": '{"power.active": "D"}',
}


def no_json(payload: bytes, fault: Exception) -> str:
    """Why ``payload`` is no JSON, at which a parser failed with ``fault``."""
    if not payload.strip():
        return "the message is empty"
    told = packed(payload) or no_object(payload)
    if told:
        return told
    told = str(fault)
    at = _AT.search(told)
    place = int(at[1]) if at else 0
    foreseen = near(payload, place, told) if at else ""
    if foreseen:
        return foreseen
    if "truncated" in told:
        return "this is not JSON: it ends before its end"
    if "out of range" in told:
        return "this is not JSON: a number beyond float64"
    if isinstance(fault, RecursionError):
        return "this is not JSON: it is nested too deeply"
    return f"this is not JSON: {told}, near {excerpt(payload, place)}"


def no_row(raw: Mapping[str, Any], *, of_table: bool = False) -> str:
    """What is wrong with the fields of an entry (of a table: device and time may be columns) that
    stand beside its values; empty where that is not foreseen."""
    device, time, serial = raw.get("device"), raw.get("time"), raw.get("serial")
    for key in () if of_table else ("device", "time"):
        if raw.get(key) is None:
            return f'an entry has no "{key}"'
    if not isinstance(device, str | None):
        return f"device {shown(device)}: its id is a text"
    if isinstance(time, float):
        return _fraction(time)
    if isinstance(time, bool) or not isinstance(time, str | int | None):
        return f"time {shown(time)} is neither a number nor a text"
    if isinstance(serial, bool) or not isinstance(serial, str | int | None):
        return f"serial {shown(serial)} is neither a whole number nor a text"
    for key, example in _OBJECTS.items():
        held = raw.get(key)
        if held is not None and not isinstance(held, dict):
            return f"{key} is an object, as {example}"
        for name, text in (held or {}).items():
            if not isinstance(text, str):
                return f"{key} of {shown(name, 80)} is {shown(text)}: send a text, as {example}"
    return ""


def _fraction(time: float) -> str:
    whole = int(time)
    meant = round(time * 1000) if whole in _SECONDS else whole
    return f"time {time!r}: send whole milliseconds, {shown(meant)}"
