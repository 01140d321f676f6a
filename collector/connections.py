"""How the registry names a polled device: which URLs are well formed, told with what is wrong.

    modbus+tcp://10.0.0.5:502?unit=3
    modbus+rtu-tcp://10.0.0.6:4001?unit=3
    modbus+serial:///dev/ttyS1?unit=3&baud=9600&parity=N&stop=1
    dlt645+tcp://10.0.0.6:4001?address=398192000337
    dlt645+serial:///dev/ttyS1?address=398192000337&baud=2400&parity=E&stop=1
    dlt645+listen://0.0.0.0:7645?terminal=13812345678&address=398192000337

Pure, and no protocol: what a URL means is the business of the source that opens it. Whatever
passes here, that source can read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from urllib.parse import SplitResult, parse_qsl, urlsplit

from collector.sections import NO_SECRETS, near, one_of

_HOST: Final = re.compile(
    r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*"
)


class Wrong(NamedTuple):
    """One thing that is wrong, and what to do."""

    what: str
    todo: str


@dataclass(frozen=True, slots=True)
class _Scheme:
    """``serial``: the path names a serial port; else host and port (``default`` where none is
    given; 0: it must be). ``options`` maps the name of a query option to the numbers (a range) or
    words it may be, or its form; ``who`` is the one that names the instrument, and ``unset`` what
    it is where it is left out ("": it must not be). ``line``: how a serial line is set up where
    the URL does not say."""

    example: str
    serial: bool
    options: Mapping[str, range | tuple[str, ...] | re.Pattern[str]] = field(default_factory=dict)
    default: int = 502
    who: str = "unit"
    unset: str = "1"
    line: tuple[tuple[str, str], ...] = (("baud", "9600"), ("parity", "N"), ("stop", "1"))


_METER: Final = re.compile(r"\d{1,12}|(?:AA){1,6}\d*", re.ASCII | re.IGNORECASE)
"""Digits as on the label, or 12 characters of which the first bytes are AA: any."""
_TERMINAL: Final = re.compile(r"[A-Za-z0-9._-]{1,32}")
_FORMS: Final = {
    _METER: "the number on the meter's label, up to 12 digits; with AA in front, 12 in all",
    _TERMINAL: "what the terminal says of itself: letters, digits and . _ -",
}

_SCHEMES: Final = {
    "modbus+tcp": _Scheme("modbus+tcp://10.0.0.5:502?unit=3", False, {"unit": range(256)}),
    "modbus+rtu-tcp": _Scheme(
        "modbus+rtu-tcp://10.0.0.6:4001?unit=3", False, {"unit": range(1, 248)}
    ),
    "modbus+serial": _Scheme(
        "modbus+serial:///dev/ttyS1?unit=3&baud=9600&parity=N&stop=1",
        True,
        {
            "unit": range(1, 248),
            "baud": range(300, 4_000_001),
            "parity": ("N", "E", "O"),
            "stop": range(1, 3),
        },
    ),
    "dlt645+tcp": _Scheme(
        "dlt645+tcp://10.0.0.6:4001?address=398192000337",
        False,
        {"address": _METER},
        default=0,
        who="address",
        unset="",
    ),
    "dlt645+serial": _Scheme(
        "dlt645+serial:///dev/ttyS1?address=398192000337&baud=2400&parity=E&stop=1",
        True,
        {
            "address": _METER,
            "baud": range(300, 4_000_001),
            "parity": ("N", "E", "O"),
            "stop": range(1, 3),
        },
        who="address",
        unset="",
        line=(("baud", "2400"), ("parity", "E"), ("stop", "1")),
    ),
    "dlt645+listen": _Scheme(
        "dlt645+listen://0.0.0.0:7645?terminal=13812345678&address=398192000337",
        False,
        {"address": _METER, "terminal": _TERMINAL},
        default=0,
        who="address",
        unset="",
    ),
}


@dataclass(frozen=True, slots=True)
class Connection:
    """What a URL means. ``instrument``: equal texts are the same one. ``port``: what can be
    opened once only, ``10.0.0.5:502`` or ``/dev/ttyS1``, and ``manner`` how it is spoken to there
    (framing, baud rate, parity, stop bits); both empty where they cannot be told."""

    instrument: str
    port: str = ""
    manner: tuple[str, ...] = ()
    wrong: tuple[Wrong, ...] = ()


def check_connection(url: str) -> Connection:
    """What ``url`` means, and everything that is wrong with it."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return _wrong(url, f'"{url}" is no URL: {error}', f"write {_example('modbus+tcp')}")
    if "@" in parts.netloc:
        secret = f"a connection holds a user or password: {NO_SECRETS}"
        return _wrong(url, secret, "take it out of the URL")
    scheme = _SCHEMES.get(parts.scheme)
    if scheme is None:
        todo = near(parts.scheme, _SCHEMES) or "write " + one_of(_SCHEMES)
        return _wrong(url, f'unknown kind of connection "{parts.scheme or url}"', todo)
    wrong = (*_where(parts, scheme, port), *_options(parts, scheme))
    given = dict(parse_qsl(parts.query))
    place = _port(parts, port)
    instrument = f"{place}?{scheme.who}={_plain(given.get(scheme.who, scheme.unset)).upper()}"
    if wrong:
        return Connection(instrument, wrong=wrong)
    line = [_plain(given.get(name, default)) for name, default in scheme.line]
    return Connection(instrument, place, (parts.scheme, *(line if scheme.serial else ())))


def protocol_of(url: str) -> str:
    """``modbus`` or ``dlt645``; "" for what is neither."""
    scheme = url.partition(":")[0]
    return scheme.partition("+")[0] if scheme in _SCHEMES else ""


def origin_of(url: str) -> str:
    """The origin of a polled device: ``modbus+tcp://h?unit=3`` -> ``modbus:h:502``. Terminals
    that call us share a port: each is an origin of its own."""
    parts = urlsplit(url)
    origin = f"{parts.scheme.partition('+')[0]}:{_port(parts, parts.port)}"
    if parts.scheme != "dlt645+listen":
        return origin
    given = dict(parse_qsl(parts.query))
    return f"{origin}/{given.get('terminal') or given.get('address', '').upper().rjust(12, '0')}"


def _port(parts: SplitResult, port: int | None) -> str:
    if not parts.hostname:
        return parts.path
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    scheme = _SCHEMES.get(parts.scheme)
    return f"{host}:{port or (scheme.default if scheme else 0)}"


def _plain(number: str) -> str:
    """``007`` is 7; what is no number, or one of a thousand digits, stays as written."""
    return number.lstrip("0") or "0" if number.isdecimal() else number


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
    if port == 0:
        wrong.append(Wrong("the connection has port 0", "a port is from 1 to 65535"))
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
    if not scheme.unset and scheme.who not in seen:
        wrong.append(Wrong(f"the connection names no {scheme.who}", f"write {scheme.example}"))
    if parts.fragment:
        wrong.append(Wrong(f'the connection ends in "#{parts.fragment}"', "take it out"))
    return wrong


def _example(scheme: str) -> str:
    return _SCHEMES[scheme].example
