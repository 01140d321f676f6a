"""Line protocol, read back by a parser of the tests' own that knows nothing of the encoder.

It follows InfluxDB's description of the protocol: commas, blanks and equals signs of keys behind a
backslash; quotes and backslashes of a string behind one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    measurement: str
    tags: Mapping[str, str]
    fields: Mapping[str, float | str]
    time: int


def parsed(text: bytes) -> list[Line]:
    """All lines; raises ``ValueError`` for what the protocol does not allow."""
    whole = text.decode("utf-8")
    if whole and not whole.endswith("\n"):
        raise ValueError("the last line does not end")
    return [_line(one) for one in whole.split("\n")[:-1]]


def _line(text: str) -> Line:
    key, rest = _until(text, " ")
    fields, stamp = _fields(rest)
    measurement, *tags = _split(key, ",")
    if not measurement or measurement.startswith("#"):
        raise ValueError(f"no measurement: {text!r}")
    found: dict[str, str] = {}
    for tag in tags:
        name, value = _split(tag, "=")
        _put(found, _plain(name), _plain(value))
    return Line(_plain(measurement), found, fields, int(stamp))


def _fields(rest: str) -> tuple[dict[str, float | str], str]:
    """Fields, and what stands behind them."""
    found: dict[str, float | str] = {}
    while True:
        name, rest = _until(rest, "=")
        if rest.startswith('"'):
            end = 1
            while rest[end] != '"':
                end += 2 if rest[end] == "\\" and rest[end + 1] in '"\\' else 1
            value: float | str = rest[1:end].replace('\\"', '"').replace("\\\\", "\\")
            rest = rest[end + 1 :]
        else:
            end = min(rest.find(mark) for mark in ", " if mark in rest)
            value, rest = float(rest[:end]), rest[end:]
        _put(found, _plain(name), value)
        if rest[0] == " ":
            return found, rest[1:]
        rest = rest[1:]


def _put(found: dict, name: str, value: float | str) -> None:
    if not name or value == "" or name in found:
        raise ValueError(f"{name!r} is empty or stands twice")
    found[name] = value


def _until(text: str, mark: str) -> tuple[str, str]:
    at = 0
    while text[at] != mark:
        at += 2 if text[at] == "\\" else 1
    return text[:at], text[at + 1 :]


def _split(text: str, mark: str) -> list[str]:
    parts, start, at = [], 0, 0
    while at < len(text):
        if text[at] == mark:
            parts.append(text[start:at])
            start = at + 1
        at += 2 if text[at] == "\\" else 1
    return [*parts, text[start:]]


def _plain(text: str) -> str:
    for mark in ", =":
        text = text.replace("\\" + mark, mark)
    return text


def replaced(name: str) -> str:
    """What a name becomes that no line can carry as it is."""
    for old, new in (("\n", "_"), ("\r", "_"), ("\\", "/")):
        name = name.replace(old, new)
    return name or "-"
