"""Questions as bytes (Modbus application protocol V1.1b3, clauses 6.1 to 6.4). Pure."""

from __future__ import annotations

import struct
from typing import Final

from adapters.sources.modbus.plan import Block
from adapters.sources.modbus.reply import crc16

LAST_NUMBER: Final = 0xFFFF
_ASKED: Final = 6
"""Bytes of unit, function, address and count."""
_TCP: Final = struct.Struct(">HHHBBHH")
_RTU: Final = struct.Struct(">BBHH")


def tcp(unit: int, block: Block, number: int) -> bytes:
    """With the header of Modbus TCP (Messaging on TCP/IP V1.0b, clause 3.1.3)."""
    return _TCP.pack(number, 0, _ASKED, unit, block.function, block.address, block.count)


def rtu(unit: int, block: Block) -> bytes:
    """With the checksum of a serial line, low byte first."""
    body = _RTU.pack(unit, block.function, block.address, block.count)
    return body + crc16(body).to_bytes(2, "little")
