"""TOML with line numbers, so that a fault can say where it stands. Pure.

``tomllib`` reads the values and judges the syntax; a second, small pass over the same text (by
then known to be valid) notes on which line each key path begins. A path is the keys from the
top, with the index of an element where there is an array: ``("device", 2, "serial")``.

Invariant: ``parse`` returns or raises :class:`ConfigurationError`, whatever the text.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from collector.errors import ConfigurationError, Fault

Path = tuple[str | int, ...]

_SKIP: Final = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_STRING: Final = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:\\.|[^"\\])*"'
    r"|'[^']*'",
    re.DOTALL,
)
_SCALAR: Final = re.compile(r"[^,\]}#\n]+")
_WHERE: Final = re.compile(r"\s*\(at (?:line (\d+), column \d+|end of document)\)")

_ASCII: Final = dict(zip("“”„＂‘’＇＝，【】［］＃．", '""""\'\'\'=,[][]#.', strict=True))
"""What an input method or an office program writes for the signs of TOML."""
_WIDE: Final = re.compile(f"[{''.join(_ASCII)}]")
_HEADER: Final = re.compile(r"\s*\[{1,2}\s*([\w.-]+)\s*\]{1,2}\s*(?:#.*)?")
_TWICE: Final = re.compile(r"Cannot (?:declare|overwrite|mutate)")


@dataclass(frozen=True, slots=True)
class Located:
    """A parsed document: ``data`` as ``tomllib`` gives it, ``lines`` by path, from 1."""

    file: str
    data: Mapping[str, Any]
    lines: Mapping[Path, int]

    def line(self, *path: str | int) -> int:
        """Where ``path`` begins; of a key that is not there, where its nearest parent does."""
        for length in range(len(path), 0, -1):
            found = self.lines.get(path[:length])
            if found is not None:
                return found
        return 0


def parse(text: str, file: str) -> Located:
    """The document in ``text``. Raises ``ConfigurationError`` with the one fault of syntax
    that ``tomllib`` found, on its line, or with every whole number of more than 64 bits."""
    try:
        data = tomllib.loads(text)
        lines = _Scanner(text).document()
    except ValueError as error:  # TOMLDecodeError, or an integer of too many digits
        raise ConfigurationError(_syntax(str(error), text, file)) from error
    except RecursionError as error:
        fault = Fault(file, 0, "tables or lists lie too deep in each other", "write it flatter")
        raise ConfigurationError(fault) from error
    faults = [
        Fault(
            file, lines.get(path, 0), "a whole number of more than 64 bits", "write a smaller one"
        )
        for path in _too_large((), data)
    ]
    if faults:
        raise ConfigurationError(faults)
    return Located(file, data, lines)


def _too_large(path: Path, value: Any) -> Iterator[Path]:
    """Where whole numbers stand that TOML 1.0 does not have: they are no float64, and Python
    refuses to show those of a thousand hexadecimal digits."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _too_large((*path, key), inner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _too_large((*path, index), inner)
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        yield path


def _syntax(message: str, text: str, file: str) -> Fault:
    if text.startswith("\ufeff"):
        return Fault(file, 1, "begins with a byte order mark", "save it as UTF-8 without BOM")
    where = _WHERE.search(message)
    line = 0
    if where is not None:
        line = int(where[1]) if where[1] else text.rstrip().count("\n") + 1
        message = message[: where.start()]
    written = _STRING.sub("", text.split("\n")[line - 1]) if line else ""
    if found := _WIDE.search(written):
        ascii_ = _ASCII[found[0]]
        return Fault(file, line, f"is not TOML: it has {found[0]}", f"write {ascii_} in its place")
    header = _HEADER.fullmatch(written)
    if header is not None and _TWICE.match(message):
        what = f"the table [{header[1]}] stands twice"
        return Fault(file, line, what, f"write [[{header[1]}]] for each, or keep one of them")
    what = f"is not TOML: {message[:1].lower()}{message[1:]}"
    return Fault(file, line, what, 'text stands in "quotes", each key once, one key per line')


class _Scanner:
    """Walks a valid document once and notes the line on which each path begins."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._counted = 0
        self._lines: dict[Path, int] = {}
        self._last: dict[Path, int] = {}  # array of tables -> index of its newest element

    def document(self) -> dict[Path, int]:
        table: Path = ()
        while self._skip():
            if self._text.startswith("[", self._at):
                table = self._header()
            else:
                self._pair(table)
        return self._lines

    def _header(self) -> Path:
        array = self._text.startswith("[[", self._at)
        self._at += 2 if array else 1
        keys = self._keys("]")
        self._at += 1 if array else 0
        path: Path = ()
        for key in keys[:-1]:
            path = self._note((*path, key))
            if path in self._last:
                path = (*path, self._last[path])
        path = self._note((*path, keys[-1]))
        if array:
            self._last[path] = self._last.get(path, -1) + 1
            path = self._note((*path, self._last[path]))
        return path

    def _pair(self, table: Path) -> None:
        for key in self._keys("="):
            table = self._note((*table, key))
        self._value(table)

    def _keys(self, end: str) -> list[str]:
        """A dotted key up to and including ``end``."""
        keys = []
        while True:
            self._skip()
            keys.append(self._key())
            self._skip()
            stop = self._text[self._at]
            self._at += 1
            if stop == end:
                return keys

    def _key(self) -> str:
        match = _BARE.match(self._text, self._at) or _STRING.match(self._text, self._at)
        assert match is not None, "tomllib accepted a key that is neither bare nor quoted"
        self._at = match.end()
        raw = match[0]
        if raw[0] == '"' and "\\" in raw:
            return str(tomllib.loads(f"key = {raw}")["key"])
        return raw[1:-1] if raw[0] in "\"'" else raw

    def _value(self, path: Path) -> None:
        self._skip()
        first = self._text[self._at]
        if first == "[":
            self._at += 1
            self._array(path)
        elif first == "{":
            self._at += 1
            self._inline(path)
        else:
            pattern = _STRING if first in "\"'" else _SCALAR
            match = pattern.match(self._text, self._at)
            assert match is not None, "tomllib accepted a value that does not begin"
            self._at = match.end()

    def _array(self, path: Path) -> None:
        index = 0
        while self._skip() and self._text[self._at] != "]":
            self._value(self._note((*path, index)))
            index += 1
            self._comma()
        self._at += 1

    def _inline(self, path: Path) -> None:
        while self._skip() and self._text[self._at] != "}":
            self._pair(path)
            self._comma()
        self._at += 1

    def _comma(self) -> None:
        if self._skip() and self._text[self._at] == ",":
            self._at += 1

    def _skip(self) -> bool:
        """Over blanks, line ends and comments; whether anything is left."""
        match = _SKIP.match(self._text, self._at)
        assert match is not None, "the pattern matches the empty text"
        self._at = match.end()
        return self._at < len(self._text)

    def _note(self, path: Path) -> Path:
        if path not in self._lines:
            self._line += self._text.count("\n", self._counted, self._at)
            self._counted = self._at
            self._lines[path] = self._line
        return path
