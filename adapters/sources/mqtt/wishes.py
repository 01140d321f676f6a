"""Where and by what name a sender wishes to be answered: properties of a PUBLISH packet. Pure.

(MQTT 5.0, 2.2.2 properties, 3.3.2.3.5 Response Topic, 3.3.2.3.6 Correlation Data.) The others
change nothing here: a payload says itself whether it is packed and how it is to be read, and
neither its age nor what a user noted beside it is a reason to lose a reading.
"""

from __future__ import annotations

from typing import Final, NamedTuple

_RESPONSE_TOPIC: Final = 0x08
_CORRELATION: Final = 0x09
_SIZES: Final = {0x01: 1, 0x02: 4, 0x23: 2}
"""Of fixed length: payload format, message expiry, topic alias."""
_TEXTS: Final = {0x03: 1, _RESPONSE_TOPIC: 1, _CORRELATION: 1, 0x26: 2}
"""With their length before them, so many: content type, the two above, user property."""
_SUBSCRIPTION: Final = 0x0B  # a variable byte integer


class Wishes(NamedTuple):
    """Both empty where the sender wished nothing."""

    topic: bytes = b""
    correlation: bytes = b""


def wishes(properties: bytes) -> Wishes:
    """Of the properties of one message, without their length. What is not of the standard ends the
    reading: a broker has looked at it before us."""
    topic = correlation = b""
    at, end = 0, len(properties)
    while at < end:
        kind = properties[at]
        at += 1
        if kind in _SIZES:
            at += _SIZES[kind]
        elif kind == _SUBSCRIPTION:
            while at < end and properties[at] >= 128:
                at += 1
            at += 1
        elif kind in _TEXTS:
            for _ in range(_TEXTS[kind]):
                start = at + 2
                at = start + int.from_bytes(properties[at:start])
            if at > end:
                break
            if kind == _RESPONSE_TOPIC:
                topic = properties[start:at]
            elif kind == _CORRELATION:
                correlation = properties[start:at]
        else:
            break
    return Wishes(topic, correlation)


def correlating(data: bytes) -> bytes:
    """The property that gives a sender its own name for the message back."""
    return bytes([_CORRELATION]) + len(data).to_bytes(2) + data if data else b""
