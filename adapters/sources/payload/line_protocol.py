"""InfluxDB line protocol -> rows, exactly. Pure.

``measurement[,tag=value ...] field=value[,field=value ...] [timestamp]``, a line each, as InfluxDB
1 and 2 read it: a backslash escapes a comma, a space and (in tags and names of fields) an equals
sign that follows it, and is itself in front of anything else; quotes are letters except around the
text of a field, where a line may end too. Numbers are floats, ``i`` and ``u`` mark integers of 64
bits; ``t f true false`` (also ``T``, ``True``, ``TRUE`` ...) are truth values. ``#`` begins a
comment.

A text is no reading: ``bad-value``. A line that breaks the grammar spoils itself only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from math import inf
from typing import Final, NamedTuple

import msgspec

from adapters.sources.payload.foreign import Gathered, Names
from adapters.sources.payload.formats import Format
from adapters.sources.payload.raw import packed
from adapters.sources.payload.shape import (
    Damage,
    Message,
    OversizeError,
    Read,
    Row,
    Scalar,
    UnreadableError,
    shown,
)
from adapters.sources.payload.unpack import MOST_ITEMS
from adapters.sources.payload.when import MISSING, Times
from collector.model import Reason
from collector.registry import Device

_JSON: Final = "send it to /v1/readings, or correct the gateway's format in the registry"
_HEADS: Final = 10_000
_TEXTLESS: Final = "leave it out, or list it under ignore of a mapping"
_KNOWN: Final = 12
_SHOWN: Final = 40
"""Characters of a line that are repeated to its sender."""
_LONGEST_HEAD: Final = 512
"""Of those that are remembered; tags are the sender's to invent."""
_NAME: Final = re.compile(r"(?:\\[, ]|[^, \n])+")
_KEY: Final = re.compile(r"(?:\\[,= ]|[^,= \n])+")
_TEXT: Final = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_FIELDS: Final = re.compile(r"(?:\\[,= ]|[^ \n])++ +")
_FIELD: Final = re.compile(r"(?:\\[,= ]|[^,= \n])++=")
_VALUE: Final = re.compile(r"[^, \r\n]+")
_TIME: Final = re.compile(r"-?\d{1,19}", re.ASCII)
# Digits are never given back: where they may be, a long line of them costs its length squared.
_FLOAT: Final = re.compile(r"[-+]?(?:\d++\.?+\d*+|\.\d++)(?:[eE][-+]?\d++)?+", re.ASCII)
_INTEGER: Final = re.compile(r"([-+]?\d{1,20})([iu])", re.ASCII)
_TRUTH: Final = {"t": True, "T": True, "true": True, "True": True, "TRUE": True} | {
    "f": False, "F": False, "false": False, "False": False, "FALSE": False
}  # fmt: skip
_UNESCAPE_NAME: Final = re.compile(r"\\([, ])")
_UNESCAPE_KEY: Final = re.compile(r"\\([,= ])")


class Line(NamedTuple):
    """One line. ``fields``: name -> value as written (texts with their quotes). ``time``: as
    written, empty where there is none."""

    measurement: str
    tags: dict[str, str]
    fields: dict[str, str]
    time: str


class GrammarError(ValueError):
    """A line is not of the protocol; the text says where."""


def split(text: str) -> Iterator[str]:
    """The lines of ``text``: a quoted text of a field may hold the end of a line."""
    if '"' not in text:
        yield from text.split("\n")
        return
    at = 0
    while at < len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        if '"' in text[at:end]:
            end = _end(text, at, end)
        yield text[at:end]
        at = end + 1


def _end(text: str, at: int, end: int) -> int:
    """Where the line at ``at`` ends, which has a quote before its first line end ``end``."""
    if text[at:end].lstrip().startswith("#"):
        return end
    found = _FIELDS.match(text, at)
    if found is None:
        return end  # no fields: the grammar will tell
    at = found.end()
    while key := _FIELD.match(text, at):
        at = key.end()
        value = _TEXT.match(text, at) or _VALUE.match(text, at)
        if value is None:
            break
        at = value.end()
        if text[at : at + 1] != ",":
            break
        at += 1
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def parse(line: str) -> Line:
    """One line, no comment and not empty. Raises ``GrammarError``."""
    measurement, tags, at = _head(line)
    fields: dict[str, str] = {}
    while True:
        key = _KEY.match(line, at)
        if key is None or line[key.end() : key.end() + 1] != "=":
            raise GrammarError("a field has no name and value joined by =")
        at = key.end() + 1
        value = _TEXT.match(line, at) or _VALUE.match(line, at)
        if value is None:
            raise GrammarError(f"field {shown(key[0])} has no value")
        fields[_UNESCAPE_KEY.sub(r"\1", key[0])] = value[0]
        at = value.end()
        if line[at : at + 1] != ",":
            break
        at += 1
    rest = line[at:]
    if rest and rest[0] not in " \r":
        raise GrammarError(f"something follows the value of field {shown(key[0])}")
    return Line(measurement, tags, fields, rest.strip(" \r"))


def _head(line: str) -> tuple[str, dict[str, str], int]:
    """Measurement, tags, and where the fields begin."""
    start = len(line) - len(line.lstrip(" "))
    name = _NAME.match(line, start)
    if name is None:
        raise GrammarError("a line begins with its measurement")
    tags: dict[str, str] = {}
    at = name.end()
    while line[at : at + 1] == ",":
        key = _KEY.match(line, at + 1)
        value = _KEY.match(line, key.end() + 1) if key else None
        if key is None or value is None or line[key.end()] != "=":
            raise GrammarError("a tag has no name and value joined by =")
        tags[_UNESCAPE_KEY.sub(r"\1", key[0])] = _UNESCAPE_KEY.sub(r"\1", value[0])
        at = value.end()
    blanks = len(line) - at - len(line[at:].lstrip(" "))
    if not blanks:
        raise GrammarError("no blank stands between measurement with tags and the fields")
    return _UNESCAPE_NAME.sub(r"\1", name[0]), tags, at + blanks


def number(written: str) -> Scalar:
    """A field's value. Raises ``ValueError`` for a text and for what is no number."""
    if _FLOAT.fullmatch(written):
        value = float(written)
        if value - value == 0:  # neither infinite nor NaN
            return value
        raise ValueError("a number beyond float64")
    if (truth := _TRUTH.get(written)) is not None:
        return truth
    integer = _INTEGER.fullmatch(written)
    if integer is None:
        raise ValueError("a value is a number, true or false; without one leave the field out")
    whole = int(integer[1])
    low, high = (-(2**63), 2**63) if integer[2] == "i" else (0, 2**64)
    if not low <= whole < high:
        raise ValueError("an integer of more than 64 bits")
    return float(whole)


class LineReader:
    """Reads the messages of one gateway that speaks ``form``. ``unit``: of its timestamps, where
    it is not the format's; ``saw``: as of ``Times``."""

    def __init__(
        self,
        form: Format,
        devices: Iterable[Device],
        zone: str,
        unit: str = "",
        saw: Callable[[int, int], None] | None = None,
    ) -> None:
        self._format = form
        self._names = Names(form, devices)
        self._times = Times(form, zone, unit, saw)
        self._timeless = form.time_missing == "receipt"
        self._tags = [one.device for one in form.forms]
        self._heads: dict[str, tuple[str, str]] = {}

    def read(self, payload: bytes, received: int) -> Read:
        """A row for each line. Raises ``UnreadableError``."""
        try:
            text = payload.decode()
        except UnicodeDecodeError as fault:
            raise UnreadableError(packed(payload)) from fault
        if text.count("\n") >= MOST_ITEMS:
            raise OversizeError(f"the message holds more than {MOST_ITEMS:,} lines")
        readings: list[Row] = []
        damages: list[Damage] = []
        numbers: list[int] = []
        remarks: set[str] = set()
        for row, line in enumerate(split(text)):
            found = self._quick(line, received) if line else None
            if found is not None:
                readings.append(found)
                numbers.append(row)
            elif (start := line.lstrip(" \r")) and start[0] != "#":
                before = len(readings)
                self._careful(line, row, received, readings, damages, remarks)
                numbers.extend([row] * (len(readings) - before))
        if not readings and _is_json(text):
            raise UnreadableError(f"this looks like JSON, where line protocol is expected: {_JSON}")
        return Message(readings), damages, numbers

    def _quick(self, line: str, received: int) -> Row | None:
        """The row of a plain line: nothing escaped, no text, no name that means another one, only
        floats. None where it is anything else."""
        head, _, rest = line.partition(" ")
        known = self._heads.get(head)
        if known is None or self._format.tags or self._format.ignore:
            return None
        device, measurement = known
        written, _, time = rest.partition(" ")
        if "\\" in written or not (_TIME.fullmatch(time) if time else self._timeless):
            return None
        values: dict[str, Scalar] = {}
        for part in written.split(","):
            key, _, value = part.partition("=")
            if not key or not _FLOAT.fullmatch(value):
                return None
            values[measurement if key == "value" else key] = float(value)
        if len(values) <= written.count(",") or inf in values.values() or -inf in values.values():
            return None
        at = self._times.plain(int(time), received) if time else received
        return None if at is None else Row(device, at, values)

    def _careful(
        self,
        line: str,
        number_: int,
        received: int,
        rows: list[Row],
        damages: list[Damage],
        remarks: set[str],
    ) -> None:
        try:
            found = parse(line)
        except GrammarError as fault:
            told = f"line {number_ + 1} cannot be read: {fault}: {line[:_SHOWN]!r}"
            damages.append(Damage("", told, 1, number_))
            return
        device = self._device(line, found)
        gathered = Gathered(self._format, device, number_, damages)
        for name, written in found.fields.items():
            name = found.measurement if name == "value" else name  # noqa: PLW2901 - its real name
            if name in self._format.ignore:
                continue
            try:
                gathered.add(name, number(written))
            except ValueError as fault:
                told = f"{shown(name, 80)} = {shown(written)}: {fault}"
                if written[:1] == '"':
                    told = f"{shown(name, 80)} = {shown(written)} is a text: {_TEXTLESS}"
                gathered.damage(told, Reason.BAD_VALUE)
        known = ", ".join(self._names.known[:_KNOWN])
        told = (
            f'line {number_ + 1} has no tag "{self._tags[0]}", and its gateway has not just one '
            f"device: add ,{self._tags[0]}=... behind the measurement (known: {known})"
        )
        gathered.lose("", told, Reason.UNKNOWN_DEVICE)
        try:
            time, told = self._time(found.time, received)
        except ValueError as fault:
            for one in list(gathered.rows):
                gathered.lose(one, str(fault), Reason.BAD_TIME)
            return
        kind = told.partition("; ")[2]
        if kind and kind not in remarks:  # of many such lines the first
            remarks.add(kind)
            gathered.remark(told)
        for row in gathered.rows.values():
            row.time = time
            rows.append(row)

    def _time(self, written: str, received: int) -> tuple[int, str]:
        if not written:
            return self._times.read(MISSING, received)
        if not _TIME.fullmatch(written):
            raise ValueError(f"time {shown(written)} is no whole number")
        return self._times.read(int(written), received)

    def _device(self, line: str, found: Line) -> str:
        tag = next((tag for tag in self._tags if tag in found.tags), None)
        device = self._names.device(MISSING if tag is None else found.tags[tag])
        head = line.partition(" ")[0]
        if device and head and len(head) <= _LONGEST_HEAD and "\\" not in head:
            if len(self._heads) >= _HEADS:
                self._heads.clear()
            self._heads[head] = device, found.measurement
        return device


def _is_json(text: str) -> bool:
    """A measurement may begin with a brace, too."""
    if text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
