"""How the registry names a polled device: which URLs are well formed, told with what is wrong.

    modbus+tcp://10.0.0.5:502?unit=3
    modbus+rtu-tcp://10.0.0.6:4001?unit=3
    modbus+serial:///dev/ttyS1?unit=3&baud=9600&parity=N&stop=1

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
    """``serial``: the path names a serial port; else host and port. ``options`` maps the name of
    a query option to the numbers (a range) or words it may be."""

    example: str
    serial: bool
    options: Mapping[str, range | tuple[str, ...]] = field(default_factory=dict)


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
}

_PORT: Final = 502
_LINE: Final = (("baud", "9600"), ("parity", "N"), ("stop", "1"))
"""Options of a serial line, and what holds where they are left out."""


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
    instrument = f"{place}?unit={_plain(given.get('unit', '1'))}"
    if wrong:
        return Connection(instrument, wrong=wrong)
    line = [_plain(given.get(name, default)) for name, default in _LINE] if scheme.serial else []
    return Connection(instrument, place, (parts.scheme, *line))


def origin_of(url: str) -> str:
    """The origin of a polled device: ``modbus+tcp://h?unit=3`` -> ``modbus:h:502``."""
    parts = urlsplit(url)
    return f"{parts.scheme.partition('+')[0]}:{_port(parts, parts.port)}"


def _port(parts: SplitResult, port: int | None) -> str:
    if not parts.hostname:
        return parts.path
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}:{port or _PORT}"


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
        elif not (value.isascii() and value.isdecimal() and len(value) < 9) or (
            int(value) not in allowed
        ):
            todo = f"a number from {allowed[0]} to {allowed[-1]}"
            wrong.append(Wrong(f'{name} is "{value}"', todo))
        seen.add(name)
    if parts.fragment:
        wrong.append(Wrong(f'the connection ends in "#{parts.fragment}"', "take it out"))
    return wrong


def _example(scheme: str) -> str:
    return _SCHEMES[scheme].example
