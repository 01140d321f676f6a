"""Meters of DL/T 645-2007 on a simulated line, over real sockets, with everything that goes wrong.

The protocol is written here a second time, by the standard's frame and apart from the program's own
codec, so that one mistake is not made twice.
"""

from __future__ import annotations


def spoken(address: str, control: int, data: bytes = b"", wake: int = 4) -> bytes:
    """A frame on the wire."""
    low_first = bytes.fromhex(address)[::-1]
    inside = bytes((byte + 0x33) % 256 for byte in data)
    body = b"\x68" + low_first + b"\x68" + bytes([control, len(data)]) + inside
    return b"\xfe" * wake + body + bytes([sum(body) % 256, 0x16])


def behind(identifier: str, value: str = "") -> bytes:
    """An identifier and digits as people write them, as they go over the wire: low byte first.
    Several values are apart by blanks."""
    return bytes.fromhex(identifier)[::-1] + b"".join(
        bytes.fromhex(one)[::-1] for one in value.split()
    )
