"""Where a Modbus device is, from the ``connection`` a person wrote. Pure.

Which texts there are, and what is wrong with one, says ``collector/connections.py``. Several
devices with one ``Bus`` share one connection and are asked one after another.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from adapters.sources.polling.serial_port import settings
from collector.connections import AddressError, joined, open_connection

__all__ = ["Address", "AddressError", "Bus", "Framing", "parse_connection"]


class Framing(Enum):
    """How frames travel. Only ``TCP`` numbers its requests."""

    TCP = "modbus+tcp"
    RTU_TCP = "modbus+rtu-tcp"
    SERIAL = "modbus+serial"


@dataclass(frozen=True, slots=True)
class Bus:
    """One connection: a host and port, or (``port`` 0) a serial device file as ``host``."""

    framing: Framing
    host: str
    port: int = 0
    baud: int = 9600
    parity: str = "N"
    stop: int = 1
    rs485: str = ""
    """``high`` or ``low``: the RTS line while sending; empty: the transceiver switches itself."""
    gap: float = 0.0
    """Seconds of silence before each question, where more is needed than the standard's."""
    timeout: float = 0.0
    """Seconds for one answer; 0: as the program's settings say."""

    @property
    def place(self) -> str:
        """``10.0.0.5:502`` or ``/dev/ttyS1``: what can be opened once only."""
        return joined(self.host, self.port)

    @property
    def origin(self) -> str:
        """Its name among origins."""
        return f"modbus:{self.place}"


@dataclass(frozen=True, slots=True)
class Address:
    """A device on a bus; ``unit`` is its slave number."""

    bus: Bus
    unit: int


def parse_connection(text: str) -> Address:
    """The address in ``text``; :class:`AddressError` names the first thing that is wrong."""
    found = open_connection(text, "modbus")
    bus = Bus(Framing(found.scheme), found.host, found.number, **settings(found.options))
    return Address(bus, int(found.options["unit"]))
