"""What JSON that is no message of the expected form probably is, and what to do. Pure."""

from __future__ import annotations

from typing import Any, Final

from adapters.sources.payload.shape import shown
from collector.quantities import quantities

_ONE: Final = '{"readings": [{"device": ..., "time": ..., "values": {...}}]}'
_TOLD: Final = "the gateway's format in the registry decides: enter"


def not_own(whole: Any) -> str:
    """Of ``whole``, which has no list of readings or tables; empty where nothing is foreseen."""
    if isinstance(whole, dict):
        for key in ("readings", "tables"):
            if whole.get(key) is not None and not isinstance(whole[key], list):
                return no_list(key, whole[key])
        for key, held in whole.items():
            if isinstance(held, dict):
                for name in ("readings", "tables"):
                    if name in held:
                        return f'"{name}" lies within "{shown(key, 40)}": send it at the top'
        if isinstance(whole.get("values"), dict) and "device" in whole:
            return 'this is one reading: send it in a list, {"readings": [{...}]}'
    elif isinstance(whole, list):
        if whole and isinstance(whole[0], dict) and "readings" in whole[0]:
            return "this is a list of messages: send each by itself"
        if whole and isinstance(whole[0], dict) and {"device", "values"} <= whole[0].keys():
            return 'this is a list of readings: send {"readings": [...]}'
    found = _foreign(whole)
    if found in ("neuron", "thingsboard"):
        return f'this looks like {found}; {_TOLD} format = "{found}"'
    if found:
        return (
            f"this looks like {found}; {_TOLD} a format of your own (a file in mappings/), or "
            f"send {_ONE}"
        )
    if isinstance(whole, dict) and not quantities().keys().isdisjoint(whole):
        return f"these are values by themselves: send {_ONE}"
    return ""


def no_list(key: str, held: Any) -> str:
    """``held`` stands where a list of readings or tables is expected."""
    if isinstance(held, dict):
        return f'"{key}" is a list, not an object: put [ ] around it'
    return f'"{key}" is a list, not {shown(held)}'


def is_own(whole: Any) -> bool:
    """Whether ``whole`` is a message of our own form."""
    if not isinstance(whole, dict):
        return False
    readings = whole.get("readings")
    if isinstance(readings, list) and readings and isinstance(readings[0], dict):
        return {"device", "values"} <= readings[0].keys()
    tables = whole.get("tables")
    return (
        isinstance(tables, list)
        and bool(tables)
        and isinstance(tables[0], dict)
        and {"columns", "rows"} <= tables[0].keys()
    )


def is_neuron(whole: Any) -> bool:
    """Whether ``whole`` is a message of EMQX Neuron."""
    return (
        isinstance(whole, dict)
        and "node" in whole
        and (isinstance(whole.get("values"), dict) or isinstance(whole.get("tags"), list))
    )


def not_of(form: str, whole: Any) -> str:
    """Of ``whole``, which is no message of the format ``form`` that the registry names."""
    told = f"this is no message of the format {form}"
    found = "meterwatch" if is_own(whole) else _foreign(whole)
    if found == "meterwatch":
        return f'{told}; it looks like our own form: {_TOLD} none, or send that of "{form}"'
    if found in ("neuron", "thingsboard") and found != form:
        return f'{told}; it looks like {found}: {_TOLD} format = "{found}"'
    return told


def _foreign(whole: Any) -> str:
    """Whose form it looks like."""
    first = whole[0] if isinstance(whole, list) and whole else whole
    if not isinstance(first, dict):
        return ""
    if is_neuron(first):
        return "neuron"
    metrics = first.get("metrics")
    if isinstance(metrics, list):
        return "Sparkplug"
    if "ts" in first and isinstance(first.get("values"), dict):
        return "thingsboard"
    for rows in first.values():
        if isinstance(rows, list) and rows and isinstance(rows[0], dict) and "ts" in rows[0]:
            return "thingsboard"
    return ""
