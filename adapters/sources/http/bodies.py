"""Bodies as they were before they were compressed, within a bound. Pure."""

from __future__ import annotations

import zlib
from typing import Final

_GZIP: Final = 16 + zlib.MAX_WBITS
_MEMBERS: Final = 64
"""RFC 1952 lets a file be many members; a thousand empty ones are no message."""


class TooLargeError(ValueError):
    """There is more than the bound; ``head`` is what came before it."""

    def __init__(self, head: bytes) -> None:
        super().__init__("more than the bound")
        self.head = head


class BrokenError(ValueError):
    """It is not gzip, or not all of it."""


def gunzip(data: bytes, most: int) -> bytes:
    """``data`` unpacked (RFC 1952). Never holds more than ``most`` bytes and one, whatever it
    would unpack to. Raises ``TooLargeError`` and ``BrokenError``."""
    parts: list[bytes] = []
    size = 0
    for _ in range(_MEMBERS):
        unpack = zlib.decompressobj(_GZIP)
        try:
            part = unpack.decompress(data, most - size + 1)
        except zlib.error as fault:
            raise BrokenError(str(fault)) from fault
        parts.append(part)
        size += len(part)
        if size > most:
            raise TooLargeError(b"".join(parts))
        if not unpack.eof:
            raise BrokenError("it ends too early")
        data = unpack.unused_data
        if not data:
            return b"".join(parts)
    raise BrokenError(f"it has more than {_MEMBERS} parts")
