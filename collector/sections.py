"""One table of a TOML file read key by key, every fault collected with its line. Pure.

A getter answers with the value, or with the default when the key is absent *or wrong*: reading
goes on, and all faults of all files are told at once. ``close`` tells the keys nobody asked for.
What a getter returns after a fault is of the right type and means nothing.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, time
from ipaddress import IPv4Address
from types import MappingProxyType
from typing import Any, Final, TypeVar

from collector.errors import Fault
from collector.located import Located, Path

T = TypeVar("T")

ID: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_DIGITS_AND_DOTS: Final = re.compile(r"[0-9.]+")
NUMBERS: Final = "four numbers from 0 to 255, as 10.0.0.5"
PORTS: Final = "a port is from 1 to 65535"
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SECRET: Final = re.compile(
    r"(?:^|_)(?:pass|passwd|password|passphrase|pwd|secret|token|api_?key|access_?key)$"
)
NO_SECRETS: Final = "secrets come only from the environment or from a file of their own"


def near(word: str, choices: Iterable[str]) -> str:
    """``did you mean "x"?``, or empty when nothing is near."""
    found = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)
    return f'did you mean "{found[0]}"?' if found else ""


def one_of(choices: Collection[str], most: int = 8) -> str:
    """``one of a, b, c``, for few choices; else how many there are."""
    if len(choices) > most:
        return f"one of the {len(choices)} that exist"
    return "one of " + ", ".join(f'"{choice}"' for choice in choices)


def malformed_ipv4(host: str) -> bool:
    """Whether ``host`` was meant as an IPv4 address and is none: ``192.0.2.300``."""
    if not _DIGITS_AND_DOTS.fullmatch(host):
        return False
    try:
        IPv4Address(host)
    except ValueError:
        return True
    return False


def seconds_of(text: str) -> float | None:
    """A duration such as ``10s``, ``2m``, ``7d``, in seconds; None for any other text."""
    match = _DURATION.fullmatch(text.strip())
    return float(match[1]) * _SECONDS[match[2]] if match else None


def kind_of(value: object) -> str:
    """What a TOML value is, in words."""
    for types, word in (
        (bool, "true or false"),
        (str, "a text"),
        (int | float, "a number"),
        (datetime | date, "a date"),
        (time, "a time of day"),
        (list, "a list"),
        (dict, "a table"),
    ):
        if isinstance(value, types):
            return word
    return type(value).__name__


class Section:
    """A table at ``path`` of a document; faults are appended to ``faults``."""

    def __init__(
        self, located: Located, path: Path, data: Mapping[str, Any], faults: list[Fault]
    ) -> None:
        self.path = path
        self.data = data
        self.faults = faults
        self._located = located
        self._asked: dict[str, None] = {}

    @staticmethod
    def whole(located: Located, faults: list[Fault]) -> Section:
        """The document itself as a section."""
        return Section(located, (), located.data, faults)

    @property
    def file(self) -> str:
        return self._located.file

    def line(self, *path: str | int) -> int:
        return self._located.line(*self.path, *path)

    def fault(self, path: str | Path, what: str, todo: str = "") -> None:
        """A fault at ``path`` within this table (a key, or a path below it; ``()``: itself)."""
        below = (path,) if isinstance(path, str) else path
        self.faults.append(Fault(self.file, self.line(*below), what, todo))

    def has(self, key: str) -> bool:
        self._asked[key] = None
        return key in self.data

    def text(
        self,
        key: str,
        default: str = "",
        *,
        required: bool = False,
        choices: Collection[str] = (),
        pattern: re.Pattern[str] | None = None,
        form: str = "",
    ) -> str:
        """A text; of ``choices``, or matching ``pattern`` (told to people as ``form``)."""
        found = self._get(key, str, "a text in quotes", required)
        if found is None:
            return default
        if choices and not self.known(key, found, choices):
            return default
        if pattern is not None and not pattern.fullmatch(found):
            self.fault(key, f'{key} "{found}" is malformed', f"write {form}")
            return default
        if required and not found.strip():
            self.fault(key, f"{key} is empty", "fill it in")
            return default
        return found

    def id(self, key: str = "id", *, required: bool = True) -> str:
        """An identifier: ``[a-z0-9-]``, which also names files, topics and points."""
        form = 'lower-case letters and digits, joined by "-"'
        return self.text(key, required=required, pattern=ID, form=form)

    def flag(self, key: str, *, default: bool = False) -> bool:
        found = self._get(key, bool, "true or false")
        return default if found is None else found

    def number(self, key: str, default: float, *, above: float, most: float) -> float:
        """A finite number, ``above < number <= most``."""
        found = self._get(key, (int, float), "a number")
        if found is None:
            return default
        return self.check_number((key,), found, default, above=above, most=most)

    def whole_number(self, key: str, default: int, *, least: int, most: int) -> int:
        found = self._get(key, int, "a whole number")
        if found is None:
            return default
        if not least <= found <= most:
            self.fault(key, f"{key} is {found}", f"from {least} to {most}")
            return default
        return found

    def seconds(
        self, key: str, default: float, *, least: float = 0.001, most: float = 1e9
    ) -> float:
        """A duration such as ``10s``, ``2m``, ``1h``, in seconds."""
        found = self._get(key, str, 'a duration in quotes, such as "10s"')
        if found is None:
            return default
        seconds = seconds_of(found)
        if seconds is None:
            self.fault(key, f'{key} "{found}" is no duration', 'write "500ms", "10s", "2m", "1h"')
            return default
        if not least <= seconds <= most:
            self.fault(key, f'{key} "{found}" is impossible', f"from {least:g} s to {most:g} s")
            return default
        return seconds

    def texts(self, key: str) -> tuple[str, ...]:
        return self._list(key, str, "texts", lambda path, value: value)  # noqa: ARG005  # as numbers

    def numbers(self, key: str) -> tuple[float, ...]:
        def read(path: Path, value: float) -> float:
            return self.check_number(path, value, 0.0)

        return self._list(key, (int, float), "numbers", read)

    def table(self, key: str) -> Mapping[str, Any]:
        """A table whose keys are names, to be checked by the caller; empty when absent."""
        found = self._get(key, dict, "a table")
        return {} if found is None else found

    def section(self, key: str, *, required: bool = False) -> Section:
        """A table read key by key; an empty one when absent."""
        if required and key not in self.data:
            self.fault((), f"the table [{key}] is missing", f"add [{key}]")
        found = self._get(key, dict, f"a table [{key}]")
        return Section(self._located, (*self.path, key), found or {}, self.faults)

    def sections(self, key: str) -> list[Section]:
        """An array of tables, ``[[key]]``."""
        found = self._get(key, list, f"written as [[{key}]]")
        sections = []
        for index, data in enumerate(found or ()):
            if isinstance(data, dict):
                sections.append(Section(self._located, (*self.path, key, index), data, self.faults))
            else:
                self.fault((key, index), f"{key} holds {kind_of(data)}", f"write [[{key}]] tables")
        return sections

    def check_number(
        self,
        path: Path,
        value: Any,
        default: float,
        *,
        above: float = -math.inf,
        least: float = -math.inf,
        most: float = math.inf,
    ) -> float:
        """``value`` at ``path`` as a finite number in range, or ``default`` and a fault."""
        name = ".".join(str(part) for part in path if isinstance(part, str))
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.fault(path, f"{name} is {kind_of(value)}", "it must be a number")
            return default
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            self.fault(path, f"{name} is not a finite number", "write an ordinary number")
        elif number <= above:
            self.fault(path, f"{name} is {value}", f"it must be more than {above:g}")
        elif number < least:
            self.fault(path, f"{name} is {value}", f"it must be at least {least:g}")
        elif number > most:
            self.fault(path, f"{name} is {value}", f"it must be at most {most:g}")
        else:
            return number
        return default

    def known(self, key: str, name: str, choices: Collection[str], what: str = "") -> bool:
        """Whether ``name`` is one of ``choices``; a fault at ``key`` where it is not. ``what``
        the choices are, where ``key`` is not the word for it."""
        what = what or key
        if name in choices:
            return True
        todo = near(name, choices) or (one_of(choices) if choices else f"there is no {what} yet")
        self.fault(key, f'unknown {what} "{name}"', todo)
        return False

    def unknown(self) -> list[str]:
        """Keys that nobody has asked for."""
        return [key for key in self.data if key not in self._asked]

    def close(self, meant: Mapping[str, str] = MappingProxyType({})) -> None:
        """Everything has been asked for: what is left was not meant. ``meant``: what to do about
        keys that people write for others."""
        for key in self.unknown():
            if _SECRET.search(key.lower()):
                hint = f"{key}_env" in self._asked
                todo = f"use {key}_env or {key}_file" if hint else "take it out and change it"
                self.fault(key, f"{key} holds a secret: {NO_SECRETS}", todo)
            else:
                todo = meant.get(key) or near(key, self._asked) or "take it out"
                self.fault(key, f'unknown key "{key}"', todo)

    def _get(
        self,
        key: str,
        types: type[T] | tuple[type, ...],
        form: str,
        required: bool = False,
    ) -> T | Any | None:
        self._asked[key] = None
        if key not in self.data:
            if required:
                self.fault((), f'"{key}" is missing', f"add {key} = ...")
            return None
        value = self.data[key]
        if not isinstance(value, types) or (isinstance(value, bool) and types is not bool):
            self.fault(key, f"{key} is {kind_of(value)}", f"it must be {form}")
            return None
        return value

    def _list(
        self,
        key: str,
        types: type | tuple[type, ...],
        form: str,
        read: Callable[[Path, Any], T],
    ) -> tuple[T, ...]:
        found: Sequence[Any] = self._get(key, list, f"a list of {form}") or ()
        values = []
        for index, value in enumerate(found):
            if not isinstance(value, types) or isinstance(value, bool):
                self.fault((key, index), f"{key} holds {kind_of(value)}", f"it must hold {form}")
            else:
                values.append(read((key, index), value))
        return tuple(values)


_HOST_PORT: Final = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):(\d{1,5})")


def host_and_port(section: Section, listen: str, example: str) -> tuple[str, int]:
    """Host and port of what ``listen`` of ``section`` says; a fault and "", 0 where it is none."""
    match = _HOST_PORT.fullmatch(listen)
    if match is None:
        section.fault("listen", f'listen "{listen}" is not host:port', f'as "{example}"')
    elif int(match[2]) > 65535:
        section.fault("listen", f"listen has port {match[2]}", PORTS)
    elif malformed_ipv4(match[1]):
        section.fault("listen", f'"{match[1]}" is no IPv4 address', NUMBERS)
    else:
        return match[1].strip("[]"), int(match[2])
    return "", 0
