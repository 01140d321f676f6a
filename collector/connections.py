"""How a polled device is named: URLs taken apart, with everything that is wrong with them.

    modbus+tcp://10.0.0.5:502?unit=3
    modbus+rtu-tcp://10.0.0.6:4001?unit=3            RTU frames through a serial converter
    modbus+serial:///dev/ttyS1?unit=3&baud=9600&parity=N&stop=1&rs485=high
    dlt645+tcp://10.0.0.6:4001?address=398192000337              a transparent serial server
    dlt645+serial:///dev/ttyS1?address=398192000337&baud=2400&parity=E&stop=1
    dlt645+listen://0.0.0.0:7645?terminal=13812345678&address=398192000337
                                                                 a terminal that calls us

``gap`` (milliseconds of silence before each question, where a slow converter or transceiver needs
more than the standard's 3.5 characters) and ``timeout`` (milliseconds for one answer) may stand in
all but the last. ``rs485=high`` or ``low``: the driver of a serial port switches the transceiver
by its RTS line, which is high (low) while it sends.

Pure, and no protocol: registry and sources read the same table, so that what the one lets pass the
other can open; what the parts mean is the business of the source.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from urllib.parse import SplitResult, parse_qsl, urlsplit

from collector.sections import NO_SECRETS, NUMBERS, PORTS, malformed_ipv4, near, one_of

_HOST: Final = re.compile(
    r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*"
)


class Wrong(NamedTuple):
    """One thing that is wrong, and what to do."""

    what: str
    todo: str


class AddressError(ValueError):
    """This is no such connection; the text says in which way."""


@dataclass(frozen=True, slots=True)
class _Scheme:
    """``serial``: the path names a serial port; else host and port (``default`` where none is
    given; 0: it must be). ``options`` maps the name of a query option to the numbers (a range) or
    words it may be, or its form; ``who`` is the one that names the instrument, ``unset`` what
    options are where they are left out (``who`` without one must be given)."""

    example: str
    serial: bool
    options: Mapping[str, range | tuple[str, ...] | re.Pattern[str]]
    unset: Mapping[str, str]
    default: int = 0
    who: str = "unit"


_METER: Final = re.compile(r"\d{1,12}|(?:AA){1,6}\d*", re.ASCII | re.IGNORECASE)
"""Digits as on the label, or 12 characters of which the first bytes are AA: any."""
_TERMINAL: Final = re.compile(r"[A-Za-z0-9._-]{1,32}")
_FORMS: Final = {
    _METER: "the number on the meter's label, up to 12 digits; with AA in front, 12 in all",
    _TERMINAL: "what the terminal says of itself: letters, digits and . _ -",
}

_Allowed = Mapping[str, range | tuple[str, ...] | re.Pattern[str]]
_WAITS: Final[_Allowed] = {"gap": range(5_001), "timeout": range(60_001)}
_PATIENT: Final = {"gap": "0", "timeout": "0"}
"""0: what the standard and the program's settings say."""
_PORT: Final[_Allowed] = {
    "baud": range(300, 4_000_001),
    "parity": ("N", "E", "O"),
    "stop": range(1, 3),
    "rs485": ("high", "low"),
}
_UNITS: Final = range(1, 248)
"""Of a serial line (Modbus over serial line V1.02, clause 2.2); a gateway may give others."""

_SCHEMES: Final = {
    "modbus+tcp": _Scheme(
        "modbus+tcp://10.0.0.5:502?unit=3",
        False,
        {"unit": range(256), **_WAITS},
        {"unit": "1", **_PATIENT},
        default=502,
    ),
    "modbus+rtu-tcp": _Scheme(
        "modbus+rtu-tcp://10.0.0.6:4001?unit=3",
        False,
        {"unit": _UNITS, **_WAITS},
        {"unit": "1", **_PATIENT},
        default=502,
    ),
    "modbus+serial": _Scheme(
        "modbus+serial:///dev/ttyS1?unit=3&baud=9600&parity=N&stop=1",
        True,
        {"unit": _UNITS, **_PORT, **_WAITS},
        {"unit": "1", "baud": "9600", "parity": "N", "stop": "1", "rs485": "", **_PATIENT},
    ),
    "dlt645+tcp": _Scheme(
        "dlt645+tcp://10.0.0.6:4001?address=398192000337",
        False,
        {"address": _METER, **_WAITS},
        _PATIENT,
        who="address",
    ),
    "dlt645+serial": _Scheme(
        "dlt645+serial:///dev/ttyS1?address=398192000337&baud=2400&parity=E&stop=1",
        True,
        {"address": _METER, **_PORT, **_WAITS},
        {"baud": "2400", "parity": "E", "stop": "1", "rs485": "", **_PATIENT},
        who="address",
    ),
    "dlt645+listen": _Scheme(
        "dlt645+listen://0.0.0.0:7645?terminal=13812345678&address=398192000337",
        False,
        {"address": _METER, "terminal": _TERMINAL, **_WAITS},
        {"terminal": "", **_PATIENT},
        who="address",
    ),
}


@dataclass(frozen=True, slots=True)
class Connection:
    """What a URL means. ``instrument``: equal texts are the same one. ``host`` and ``number`` of
    its port, or a serial device file and 0. ``options``: all that the scheme has, as given or by
    default, numbers without leading zeros. ``wrong``: then nothing but ``instrument`` counts."""

    instrument: str
    scheme: str = ""
    host: str = ""
    number: int = 0
    options: Mapping[str, str] = field(default_factory=dict)
    wrong: tuple[Wrong, ...] = ()

    @property
    def port(self) -> str:
        """What can be opened once only, ``10.0.0.5:502`` or ``/dev/ttyS1``; terminals that call us
        share a socket, each is a line of its own: ``0.0.0.0:7645/13812345678``. "" when wrong."""
        place = joined(self.host, self.number)
        if "terminal" not in self.options:
            return place
        return f"{place}/{self.options['terminal'] or self.options['address']}"

    @property
    def manner(self) -> tuple[str, ...]:
        """How its port is spoken to: framing, baud rate, parity, waits."""
        other = {name: text for name, text in self.options.items() if name != self.who}
        return (self.scheme, *(f"{name}={text}" for name, text in other.items()))

    @property
    def who(self) -> str:
        """The option that names the instrument."""
        return _SCHEMES[self.scheme].who if self.scheme else ""


def check_connection(url: str) -> Connection:
    """What ``url`` means, and everything that is wrong with it."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        if str(error).startswith("Port out of range"):
            return _wrong(url, f'"{url}" has no possible port', PORTS)
        return _wrong(url, f'"{url}" is no URL: {error}', f"write {_example('modbus+tcp')}")
    if "@" in parts.netloc:
        secret = f"a connection holds a user or password: {NO_SECRETS}"
        return _wrong(url, secret, "take it out of the URL")
    scheme = _SCHEMES.get(parts.scheme)
    if scheme is None:
        alike = [name for name, one in _SCHEMES.items() if one.serial is not bool(parts.netloc)]
        todo = near(parts.scheme, alike) or "write " + one_of(_SCHEMES)
        return _wrong(url, f'unknown kind of connection "{parts.scheme or url}"', todo)
    wrong = (*_where(parts, scheme, port), *_options(parts, scheme))
    options = {**scheme.unset, **dict(parse_qsl(parts.query))}
    who = _plain(options.get(scheme.who, "")).upper()
    instrument = f"{_port(parts, port)}?{scheme.who}={who}"
    if wrong:
        return Connection(instrument, wrong=wrong)
    host = parts.path if scheme.serial else parts.hostname or ""
    plain = {name: _as_used(scheme.options[name], text) for name, text in options.items()}
    number = 0 if scheme.serial else port or scheme.default
    return Connection(instrument, parts.scheme, host, number, plain)


def open_connection(url: str, protocol: str) -> Connection:
    """A connection of ``protocol``; raises ``AddressError`` with the first thing that is wrong."""
    found = check_connection(url)
    if found.wrong:
        what, todo = found.wrong[0]
        raise AddressError(f"{url!r}: {what}; {todo}")
    if protocol_of(url) != protocol:
        examples = [name for name in _SCHEMES if name.startswith(f"{protocol}+")]
        raise AddressError(f"{url!r} is no connection of {protocol}: {one_of(examples)}")
    return found


def protocol_of(url: str) -> str:
    """``modbus`` or ``dlt645``; "" for what is neither."""
    scheme = url.partition(":")[0]
    return scheme.partition("+")[0] if scheme in _SCHEMES else ""


def origin_of(url: str) -> str:
    """The origin of a polled device: ``modbus+tcp://h?unit=3`` -> ``modbus:h:502``."""
    return f"{protocol_of(url)}:{check_connection(url).port}"


def _port(parts: SplitResult, port: int | None) -> str:
    if not parts.hostname:
        return parts.path
    scheme = _SCHEMES.get(parts.scheme)
    return joined(parts.hostname, port or (scheme.default if scheme else 0), tcp=True)


def joined(host: str, number: int, *, tcp: bool = False) -> str:
    """``10.0.0.5:502``; a serial device file, with port 0, as it is (not so if it is ``tcp``)."""
    if not (number or tcp):
        return host
    return f"[{host}]:{number}" if ":" in host else f"{host}:{number}"


def _plain(number: str) -> str:
    """``007`` is 7; what is no number, or one of a thousand digits, stays as written."""
    return number.lstrip("0") or "0" if number.isdecimal() else number


def _as_used(allowed: object, text: str) -> str:
    """Numbers without leading zeros, a meter's address with all its 12 places."""
    if allowed is _METER:
        return text.upper().rjust(12, "0")
    return _plain(text) if isinstance(allowed, range) else text


def _wrong(url: str, what: str, todo: str) -> Connection:
    return Connection(url, wrong=(Wrong(what, todo),))


def _where(parts: SplitResult, scheme: _Scheme, port: int | None) -> list[Wrong]:
    example = f"write {scheme.example}"
    if scheme.serial:
        if parts.netloc or not parts.path.strip("/"):
            return [Wrong("the connection names no serial port", example)]
        return []
    wrong = []
    if not parts.hostname or not _HOST.fullmatch(parts.hostname):
        wrong.append(Wrong("the connection names no host", example))
    elif malformed_ipv4(parts.hostname):
        wrong.append(Wrong(f'"{parts.hostname}" is no IPv4 address', NUMBERS))
    if port == 0:
        wrong.append(Wrong("the connection has port 0", PORTS))
    elif not (port or scheme.default):
        wrong.append(Wrong("the connection names no port", example))
    if parts.path.strip("/"):
        wrong.append(Wrong(f'the connection has a path "{parts.path}"', example))
    return wrong


def _options(parts: SplitResult, scheme: _Scheme) -> list[Wrong]:
    wrong = []
    seen = set()
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        allowed = scheme.options.get(name)
        if allowed is None:
            todo = near(name, scheme.options) or one_of(scheme.options)
            wrong.append(Wrong(f'the connection has an unknown option "{name}"', todo))
        elif name in seen:
            wrong.append(Wrong(f'the connection names "{name}" twice', "keep one of them"))
        elif isinstance(allowed, tuple):
            if value not in allowed:
                wrong.append(Wrong(f'{name} is "{value}"', one_of(allowed)))
        elif isinstance(allowed, re.Pattern):
            if not allowed.fullmatch(value) or (value[:2] in {"AA", "aa"} and len(value) != 12):
                wrong.append(Wrong(f'{name} is "{value}"', _FORMS[allowed]))
        elif not (value.isascii() and value.isdecimal() and len(value) < 9) or (
            int(value) not in allowed
        ):
            todo = f"a number from {allowed[0]} to {allowed[-1]}"
            wrong.append(Wrong(f'{name} is "{value}"', todo))
        seen.add(name)
    if scheme.who not in scheme.unset and scheme.who not in seen:
        wrong.append(Wrong(f"the connection names no {scheme.who}", f"write {scheme.example}"))
    if parts.fragment:
        wrong.append(Wrong(f'the connection ends in "#{parts.fragment}"', "take it out"))
    return wrong


def _example(scheme: str) -> str:
    return _SCHEMES[scheme].example
