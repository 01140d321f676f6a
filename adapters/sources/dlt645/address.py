"""Where a DL/T 645 meter is, from the ``connection`` a person wrote. Pure.

Which texts there are, and what is wrong with one, says ``collector/connections.py``. Meters with
one ``Line`` share one connection and are asked one after another. A terminal that calls says who it
is with its first bytes (``terminal``); one that says nothing is known by the address of its meter,
and then has that one only. A meter's address is what its label says; with ``AA`` for its highest
bytes (or all) the one meter whose number ends so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from adapters.sources.polling.serial_port import settings
from collector.connections import AddressError, joined, open_connection

__all__ = ["Address", "AddressError", "Line", "Way", "parse_connection"]


class Way(Enum):
    """How a line is reached."""

    SERIAL = "dlt645+serial"
    TCP = "dlt645+tcp"
    LISTEN = "dlt645+listen"


@dataclass(frozen=True, slots=True)
class Line:
    """One line: a serial device file as ``host``, or a host and port; of a terminal that calls
    us, the address we listen at, and ``caller``: what it says, or the meter behind it."""

    way: Way
    host: str
    port: int = 0
    caller: str = ""
    named: bool = False
    """``caller`` is what the terminal says of itself."""
    baud: int = 2400
    parity: str = "E"
    stop: int = 1
    rs485: str = ""
    """``high`` or ``low``: the RTS line while sending; empty: the transceiver switches itself."""
    gap: float = 0.0
    """Seconds of silence before each question."""
    timeout: float = 0.0
    """Seconds for one answer; 0: as the program's settings say."""

    @property
    def place(self) -> str:
        """``10.0.0.6:4001``, ``/dev/ttyS1`` or ``0.0.0.0:7645/13812345678``."""
        return joined(self.host, self.port) + (f"/{self.caller}" if self.caller else "")

    @property
    def origin(self) -> str:
        """Its name among origins."""
        return f"dlt645:{self.place}"


@dataclass(frozen=True, slots=True)
class Address:
    """A meter on a line; ``meter`` is 12 digits, or ``AA`` and digits."""

    line: Line
    meter: str


def parse_connection(text: str) -> Address:
    """The address in ``text``; :class:`AddressError` names the first thing that is wrong."""
    found = open_connection(text, "dlt645")
    given = found.options
    line = Line(Way(found.scheme), found.host, found.number, **settings(given))
    if line.way is Way.LISTEN:
        terminal = given["terminal"]
        line = replace(line, caller=terminal or given["address"], named=bool(terminal))
    return Address(line, given["address"])
