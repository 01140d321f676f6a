"""By what a message calls itself: a reply names it, so that its sender may forget it. Pure.

A sender that waits for its own id and gets none sends the same message for ever; so the id is found
wherever it can be told for certain, in a message of which nothing else can be used too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

LONGEST_ID: Final = 64
"""Characters of a message's own id."""

Id = str | int | None

_HEAD: Final = 200
"""So many bytes of what is no JSON are looked through for an id."""
_TEXT: Final = rb'"(?:[^"\\]|\\.)*"'
_TOKEN: Final = re.compile(
    rb'"id"\s*:\s*(' + _TEXT + rb"|-?\d+)(?=[\s,}])|" + _TEXT + rb"|[{}\[\]]", re.DOTALL
)
_NOT_REPEATED: Final = "; it is not repeated"


def own_id(written: Any) -> tuple[Id, str]:
    """The id that is ``written``, and, where it cannot be one, why not."""
    match written:
        case None:
            return None, ""
        case bool():
            pass
        case int() if abs(written) < 10 ** (LONGEST_ID - 1):
            return written, ""
        case str() if len(written) <= LONGEST_ID:
            return written, ""
        case str():
            told = f'"id" has {len(written)} characters, {LONGEST_ID} are the most'
            return None, told + _NOT_REPEATED
        case int():
            return None, f'"id" is a number of more than {LONGEST_ID - 1} digits{_NOT_REPEATED}'
    kind = _KINDS.get(type(written), "an object")
    return None, f'"id" is {kind}, neither a text nor a whole number{_NOT_REPEATED}'


_KINDS: Final[Mapping[type, str]] = {
    bool: "true or false", float: "a number with a fraction", list: "a list",
}  # fmt: skip


def id_in(payload: bytes) -> Id:
    """The id of a message that is no JSON: of the outermost object, if it stands in the first
    bytes; an id of anything inside is not the message's."""
    depth = 0
    for token in _TOKEN.finditer(payload[:_HEAD]):
        found = token.group(1)
        if found is not None:
            if depth == 1:
                return own_id(_value(found))[0]
        elif token.group() in (b"{", b"["):
            depth += 1
        elif token.group() in (b"}", b"]"):
            depth -= 1
    return None


def _value(written: bytes) -> Id:
    if written[:1] != b'"':
        return int(written)
    try:
        return str(msgspec.json.decode(written))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
