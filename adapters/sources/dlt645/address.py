"""Where a DL/T 645 meter is, from the ``connection`` a person wrote. Pure.

    dlt645+serial:///dev/ttyS1?address=398192000337&baud=2400&parity=E&stop=1
    dlt645+tcp://10.0.0.6:4001?address=398192000337             a transparent serial server
    dlt645+listen://0.0.0.0:7645?terminal=13812345678&address=398192000337
                                                                a terminal that calls us

Meters with one ``Line`` share one connection and are asked one after another. A terminal that
calls says who it is with its first bytes (``terminal``); one that says nothing is known by the
address of its meter, and then has that one only. ``address`` is what the meter's label says; with
``AA`` for its highest bytes (or all) the one meter whose number ends so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

from adapters.sources.dlt645.frame import wire_address


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

    @property
    def place(self) -> str:
        """``10.0.0.6:4001``, ``/dev/ttyS1`` or ``0.0.0.0:7645/13812345678``."""
        if self.way is Way.SERIAL:
            return self.host
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" + (f"/{self.caller}" if self.caller else "")

    @property
    def origin(self) -> str:
        """Its name among origins."""
        return f"dlt645:{self.place}"


@dataclass(frozen=True, slots=True)
class Address:
    """A meter on a line; ``meter`` is 12 digits, or ``AA`` and digits."""

    line: Line
    meter: str


class AddressError(ValueError):
    """This is no DL/T 645 connection; the text says in which way."""


_ALLOWED: Final = {
    Way.SERIAL: {"address", "baud", "parity", "stop"},
    Way.TCP: {"address"},
    Way.LISTEN: {"address", "terminal"},
}
_TERMINAL: Final = re.compile(r"[A-Za-z0-9._-]{1,32}")


def parse_connection(text: str) -> Address:
    """The address in ``text``; :class:`AddressError` names the first thing that is wrong."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as fault:
        raise AddressError(f"{text!r} is no URL: {fault}") from fault
    way = {way.value: way for way in Way}.get(parts.scheme)
    if way is None:
        raise AddressError(f"{text!r} starts with none of {', '.join(one.value for one in Way)}")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(set(options) - _ALLOWED[way])
    if unknown:
        known = ", ".join(sorted(_ALLOWED[way]))
        raise AddressError(f"{text!r} has the unknown option {unknown[0]!r} (known: {known})")
    meter = _meter(text, options)
    if way is Way.SERIAL:
        return Address(_serial(text, parts, options), meter)
    if not parts.hostname or not port:
        raise AddressError(f"{text!r} names no host and port")
    if way is Way.TCP:
        return Address(Line(way, parts.hostname, port), meter)
    terminal = options.get("terminal", "")
    if terminal and not _TERMINAL.fullmatch(terminal):
        raise AddressError(f"{text!r}: terminal {terminal!r} is not letters, digits and . _ -")
    line = Line(way, parts.hostname, port, caller=terminal or meter, named=bool(terminal))
    return Address(line, meter)


def _meter(text: str, options: dict[str, str]) -> str:
    if not options.get("address"):
        raise AddressError(f"{text!r} names no meter: add ?address=, the number on its label")
    try:
        return wire_address(options["address"])[::-1].hex().upper()
    except ValueError as fault:
        raise AddressError(f"{text!r}: {fault}") from fault


def _serial(text: str, parts: SplitResult, options: dict[str, str]) -> Line:
    if parts.netloc or not parts.path.strip("/"):
        raise AddressError(f"{text!r} names no serial port, as in dlt645+serial:///dev/ttyS1")
    parity = options.get("parity", "E")
    if parity not in {"N", "E", "O"}:
        raise AddressError(f"{text!r}: parity {parity!r} is none of N, E, O")
    baud = _number(text, options, "baud", 2400, range(300, 4_000_001))
    stop = _number(text, options, "stop", 1, range(1, 3))
    return Line(Way.SERIAL, parts.path, baud=baud, parity=parity, stop=stop)


def _number(text: str, options: dict[str, str], name: str, default: int, bounds: range) -> int:
    given = options.get(name)
    if given is None:
        return default
    if not (given.isascii() and given.isdecimal()) or len(given) > 8 or int(given) not in bounds:
        wanted = f"a number from {bounds[0]} to {bounds[-1]}"
        raise AddressError(f"{text!r}: {name} {given!r} is not {wanted}")
    return int(given)
