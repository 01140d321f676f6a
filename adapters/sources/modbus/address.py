"""Where a Modbus device is, from the ``connection`` a person wrote. Pure.

    modbus+tcp://10.0.0.5:502?unit=3
    modbus+rtu-tcp://10.0.0.6:4001?unit=3            RTU frames through a serial converter
    modbus+serial:///dev/ttyS1?unit=3&baud=9600&parity=N&stop=1&rs485=high

``gap`` (milliseconds of silence before each question, where a slow converter or transceiver needs
more than the standard's 3.5 characters) and ``timeout`` (milliseconds for one answer) may stand in
all three. ``rs485=high`` or ``low``: the driver of the port switches the transceiver by its RTS
line, which is high (low) while it sends.

Several devices with one ``Bus`` share one connection and are asked one after another.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlsplit


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
        if self.framing is Framing.SERIAL:
            return self.host
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Its name among origins."""
        return f"modbus:{self.place}"


@dataclass(frozen=True, slots=True)
class Address:
    """A device on a bus; ``unit`` is its slave number."""

    bus: Bus
    unit: int


class AddressError(ValueError):
    """This is no Modbus connection; the text says in which way."""


_ALLOWED: Final = {
    Framing.TCP: {"unit", "gap", "timeout"},
    Framing.RTU_TCP: {"unit", "gap", "timeout"},
    Framing.SERIAL: {"unit", "gap", "timeout", "baud", "parity", "stop", "rs485"},
}


def parse_connection(text: str) -> Address:
    """The address in ``text``; :class:`AddressError` names the first thing that is wrong."""
    try:
        parts = urlsplit(text)
    except ValueError as fault:
        raise AddressError(f"{text!r} is no URL: {fault}") from fault
    framings = {framing.value: framing for framing in Framing}
    framing = framings.get(parts.scheme)
    if framing is None:
        raise AddressError(f"{text!r} starts with none of {', '.join(framings)}")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(set(options) - _ALLOWED[framing])
    if unknown:
        raise AddressError(
            f"{text!r} has the unknown option {unknown[0]!r}"
            f" (known: {', '.join(sorted(_ALLOWED[framing]))})"
        )
    unit = _number(text, options, "unit", 1, range(256))
    if framing is Framing.SERIAL:
        return Address(_serial(text, parts, options), unit)
    if not parts.hostname:
        raise AddressError(f"{text!r} names no host")
    try:
        port = 502 if parts.port is None else parts.port
    except ValueError:
        raise AddressError(f"{text!r} has no port number from 1 to 65535") from None
    if port == 0:
        raise AddressError(f"{text!r} has no port number from 1 to 65535")
    gap, timeout = _waits(text, options)
    return Address(Bus(framing, parts.hostname, port, gap=gap, timeout=timeout), unit)


def _serial(text: str, parts: SplitResult, options: dict[str, str]) -> Bus:
    if parts.netloc or not parts.path.strip("/"):
        raise AddressError(f"{text!r} names no serial port, as in modbus+serial:///dev/ttyS1")
    parity = options.get("parity", "N")
    if parity not in {"N", "E", "O"}:
        raise AddressError(f"{text!r}: parity {parity!r} is none of N, E, O")
    rs485 = options.get("rs485", "")
    if rs485 not in {"", "high", "low"}:
        raise AddressError(f"{text!r}: rs485 {rs485!r} is none of high, low")
    gap, timeout = _waits(text, options)
    return Bus(
        Framing.SERIAL,
        parts.path,
        baud=_number(text, options, "baud", 9600, range(300, 4_000_001)),
        parity=parity,
        stop=_number(text, options, "stop", 1, range(1, 3)),
        rs485=rs485,
        gap=gap,
        timeout=timeout,
    )


def _waits(text: str, options: dict[str, str]) -> tuple[float, float]:
    """``gap`` and ``timeout`` in seconds."""
    gap = _number(text, options, "gap", 0, range(5_001))
    timeout = _number(text, options, "timeout", 0, range(60_001))
    return gap / 1000, timeout / 1000


def _number(text: str, options: dict[str, str], name: str, default: int, bounds: range) -> int:
    given = options.get(name)
    if given is None:
        return default
    if not given.isdecimal() or len(given) > 8 or int(given) not in bounds:
        raise AddressError(
            f"{text!r}: {name} {given!r} is no number from {bounds[0]} to {bounds[-1]}"
        )
    return int(given)
