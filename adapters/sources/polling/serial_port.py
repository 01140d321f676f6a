"""What serial ports need whatever is spoken on them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def settings(options: Mapping[str, str]) -> dict[str, Any]:
    """Of a connection's ``options`` those that every protocol has: ``gap`` and ``timeout`` (s); of
    a serial port ``baud``, ``parity``, ``stop`` and ``rs485`` as well."""
    found: dict[str, Any] = {name: int(options[name]) / 1000 for name in ("gap", "timeout")}
    if "baud" in options:
        found |= {name: int(options[name]) for name in ("baud", "stop")}
        found |= {name: options[name] for name in ("parity", "rs485")}
    return found


def drive(port: Any, level: str) -> None:
    """Have the driver of an open ``serial.Serial`` switch the transceiver to sending and back, by
    its RTS line: ``level`` (``high`` or ``low``) while it sends. Raises ``ValueError`` or
    ``OSError`` where the driver cannot do it."""
    from serial.rs485 import RS485Settings  # noqa: PLC0415 only who has a line needs the library

    port.rs485_mode = RS485Settings(
        rts_level_for_tx=level == "high",
        rts_level_for_rx=level != "high",
        delay_before_tx=None,
        delay_before_rx=None,
    )


def why_closed(path: str, *, rs485: bool) -> str:
    """Why a serial port cannot be opened, as far as that can be seen."""
    if not Path(path).exists():
        return "there is no such serial port"
    if not os.access(path, os.R_OK | os.W_OK):
        return "no permission to read and write it"
    if rs485:
        return "in use, not a serial port, or its driver cannot do rs485 (leave that out then)"
    return "in use, or not a serial port"
