"""A message's bytes as they were before they were packed, within bounds. Pure.

What is larger than the bound is never held: a gzip bomb is given up one byte after it (while it
grows there are two copies). And what has room for more values than a message should bring is
refused before anything is made of it, because a value of two bytes becomes an object of a hundred.
"""

from __future__ import annotations

import zlib
from typing import Final

from adapters.sources.payload.shape import OversizeError, UnreadableError

GZIP: Final = b"\x1f\x8b"
MOST_BYTES: Final = 4 << 20
"""Of a message, unpacked."""
MOST_RATIO: Final = 100
"""So many times its size a message may become; readings of meters become 5 to 40 times."""
_ALWAYS: Final = 64 << 10
"""So much any message may become, whatever its own size."""
MOST_ITEMS: Final = 100_000
"""Values of one message; commas are counted, so it is a bound and no exact number."""
_BOM: Final = b"\xef\xbb\xbf"


def unpack(payload: bytes, most: int = MOST_BYTES) -> bytes:
    """``payload``, unpacked if it is gzip (RFC 1952, one member), without a byte order mark.

    Raises ``OversizeError`` for what is too much, ``UnreadableError`` for what is no gzip though it
    begins so.
    """
    if payload[:2] == GZIP:
        payload = _inflate(payload, most)
    elif len(payload) > most:
        raise OversizeError(f"the message has {len(payload):,} bytes, {most:,} are the most")
    if len(payload) > MOST_ITEMS:
        commas = payload.count(b",")
        if commas >= MOST_ITEMS:
            raise OversizeError(f"the message holds {commas:,} values, {MOST_ITEMS:,} are the most")
    return payload[3:] if payload[:3] == _BOM else payload


def _inflate(packed: bytes, most: int) -> bytes:
    bound = min(most, max(_ALWAYS, MOST_RATIO * len(packed)))
    inflater = zlib.decompressobj(wbits=31)
    try:
        payload = inflater.decompress(packed, bound + 1)
    except zlib.error as fault:
        raise UnreadableError(f"this is not gzip: {fault}") from fault
    if len(payload) > bound:
        told = f"more than {most:,} bytes" if bound == most else f"{MOST_RATIO} times its size"
        raise OversizeError(f"the message becomes {told} when it is unpacked")
    if not inflater.eof:
        raise UnreadableError("this is not gzip: it ends before its end")
    if inflater.unused_data:
        raise UnreadableError("this is not gzip: something follows its end")
    return payload
