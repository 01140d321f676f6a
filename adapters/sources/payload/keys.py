"""Keys that are nearly ones of our own form: what was probably meant. Pure.

A key that nobody knows is ignored, so that a sender may add what it likes. But ``"unit"`` beside a
value in watts is no addition: what was meant by it is lost without a word, and the value is stored
as kilowatts. So a key that resembles one which is not there is told.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from adapters.sources.payload.shape import Message, Row, Table

_ALSO: Final[Mapping[str, frozenset[str]]] = {
    name: frozenset(others.split())
    for name, others in {
        "id": "msgid messageid mid",
        "device": "deviceid devid dev",
        "time": "timestamp ts datetime",
        "values": "data fields",
        "serial": "serialnumber serialno sn",
        "units": "uom",
        "rows": "row data values",
        "columns": "header",
    }.items()
}
"""As others call them, in small letters and joined."""
_OF_MESSAGE, _OF_ROW, _OF_TABLE = (tuple(form.__struct_fields__) for form in (Message, Row, Table))
_ALIKE: Final = 0.8
_SHORTEST: Final = 4
"""Shorter names resemble too much by chance."""
_LONGEST: Final = 40
_SHAPES, _KEYS = 8, 16
"""So many kinds of entries, and keys of each, are looked at: they are the sender's to invent."""


def misnamed(whole: Any) -> list[str]:
    """What is to be told of the keys of a message (as its JSON was read), and of its entries."""
    if not isinstance(whole, dict):
        return []
    told = dict.fromkeys(_of(whole, _OF_MESSAGE))
    for key, known in (("readings", _OF_ROW), ("tables", _OF_TABLE)):
        entries = whole.get(key)
        seen: set[frozenset[str]] = set()
        for entry in entries if isinstance(entries, list) else ():
            if not isinstance(entry, dict) or (keys := frozenset(entry)) in seen:
                continue
            if len(seen) >= _SHAPES:
                break
            seen.add(keys)
            told |= dict.fromkeys(_of(entry, known))
    return list(told)


def _of(held: Mapping[str, Any], known: tuple[str, ...]) -> Iterator[str]:
    unknown = sorted(held.keys() - set(known))[:_KEYS]
    lacking = tuple(name for name in known if name not in held)
    for key in unknown:
        meant = _meant(key[:_LONGEST], lacking)
        if meant:
            yield f"{key[:_LONGEST]!r} is not known: is {meant!r} meant?"


@lru_cache(maxsize=1024)
def _meant(key: str, names: tuple[str, ...]) -> str:
    plain = key.casefold().translate(_JOINED)
    for name in names:
        if plain == name or plain in _ALSO.get(name, ()):
            return name
    long = [name for name in names if len(name) >= _SHORTEST]
    close = difflib.get_close_matches(plain, long, n=1, cutoff=_ALIKE)
    return close[0] if close and len(plain) >= _SHORTEST else ""


_JOINED: Final = str.maketrans(dict.fromkeys("_- "))
