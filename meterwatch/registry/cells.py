"""One cell of a registry workbook understood: what is in it, as a TOML file would say it. Pure.

Forgiving where nothing can be mistaken (blanks around a word, full-width digits, a number typed as
text, a date in one of the usual ways); a :class:`CellError` where something can: a serial number
that became a date, digits that Excel has rounded away, a date whose month could be its day.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from typing import Any, Final

from meterwatch.registry.columns import Column, Kind

Value = Any
"""As ``tomllib`` gives it."""

_OUTER: Final = re.compile(r"^[\s\u200b\ufeff\u2060]+|[\s\u200b\ufeff\u2060]+$")
_NARROW: Final = {0xFF01 + at: 0x21 + at for at in range(94)} | {0x3000: 0x20}
"""Full-width ASCII, as Chinese keyboards type it, to ordinary."""
_NUMBER: Final = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:[eE][+-]?\d+)?")
_DATE: Final = re.compile(
    r"(?P<y>\d{4})(?:[-/.](?P<m>\d{1,2})[-/.](?P<d>\d{1,2})|(?P<m2>\d\d)(?P<d2>\d\d)"
    r"|年(?P<m3>\d{1,2})月(?P<d3>\d{1,2})日?)"
    r"(?:[T ]\s*(?P<H>\d{1,2}):(?P<M>\d\d)(?::(?P<S>\d\d(?:\.\d{1,6})?))?"
    r"(?P<zone>Z|[+-]\d\d:\d\d)?)?"
)
_EXCEL_DAY_0: Final = datetime(1899, 12, 30)  # noqa: DTZ001 a spreadsheet's dates have no zone
_SERIALS: Final = (25_569, 73_051)
"""1970 to 2099 as numbers of days."""
_MOST_DIGITS: Final = 10**15
_YES: Final = frozenset({"yes", "y", "true", "是", "对", "√", "1"})
_NO: Final = frozenset({"no", "n", "false", "否", "不", "×", "0"})
STATES_ZH: Final = {
    "待建": "planned",
    "调试": "commissioning",
    "试运行": "trial",
    "在用": "in-service",
    "停用": "out-of-service",
    "注销": "closed",
}


class CellError(Exception):
    """What is wrong with a cell, and what to do."""

    def __init__(self, what: str, todo: str) -> None:
        super().__init__(what)
        self.what, self.todo = what, todo


def trimmed(text: str) -> str:
    """Without the blanks that nobody sees: ordinary, full-width, zero-width."""
    return _OUTER.sub("", text)


def understood(column: Column, value: Any, number_format: str = "") -> Value | None:
    """The value of a cell of ``column``; None where it is empty. Raises :class:`CellError`."""
    if isinstance(value, str):
        value = trimmed(value)
    if value is None or value == "":
        return None
    if isinstance(value, str) and value[0] in "{[" and column.kind in _READERS_OF_JSON:
        return _json(value)
    return _READERS[column.kind](value, number_format)


def lost_zeros(column: Column, value: Any, number_format: str) -> bool:
    """Whether Excel may have dropped zeros in front of what looks like a number."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return column.digits and is_number and set(number_format) != {"0"}


def _json(text: str) -> Value:
    try:
        return json.loads(text)
    except ValueError as error:
        raise CellError(f"is not JSON: {error}", 'write it as name = value, with ";"') from error


def _text(value: Any, number_format: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        raise CellError("holds TRUE or FALSE", "format the cell as text and type it again")
    if isinstance(value, int | float):
        if abs(value) >= _MOST_DIGITS or value != value // 1:
            what = f"the number {value} is not what was typed: Excel keeps 15 digits"
            raise CellError(what, "format the cell as text and type it again")
        digits = str(int(value))
        return digits.zfill(len(number_format)) if set(number_format) == {"0"} else digits
    raise CellError("Excel has made a date of it", "format the cell as text and type it again")


def _code(value: Any, number_format: str) -> str:
    return trimmed(_text(value, number_format).translate(_NARROW))


def _flag(value: Any, _: str) -> bool:
    if isinstance(value, bool):
        return value
    word = _narrow(value).casefold()
    if word not in _YES | _NO:
        raise CellError(f'"{value}" is neither yes nor no', "write 是 or 否, yes or no")
    return word in _YES


def _number(value: Any, _: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise CellError(f"{_kind(value)} is no number", "format the cell as a number")
    if isinstance(value, str):
        text = _narrow(value)
        if not _NUMBER.fullmatch(text) or not any(map(str.isdigit, text)):
            raise CellError(f'"{value}" is no number', "write digits only, without a unit")
        text = text.replace(",", "")
        value = float(text)
        if text.lstrip("+-").isdecimal() and abs(value) < _MOST_DIGITS:
            return int(text)
    if not math.isfinite(value):
        raise CellError("is no finite number", "write an ordinary number")
    return int(value) if value == value // 1 and abs(value) < _MOST_DIGITS else float(value)


def _date(value: Any, _: str) -> date | datetime:
    if isinstance(value, datetime):
        return _day_or_time(_rounded(value))
    if isinstance(value, date):
        return value
    if isinstance(value, bool | time | timedelta):
        raise CellError(f"{_kind(value)} is no date", "write 2026-01-31 or 2026-01-31 08:30")
    if isinstance(value, int | float) and _SERIALS[0] <= value < _SERIALS[1]:
        return _day_or_time(_rounded(_EXCEL_DAY_0 + timedelta(days=float(value))))
    return _written_date(str(value))


def _written_date(text: str) -> date | datetime:
    found = _DATE.fullmatch(_narrow(text))
    if found is None:
        raise CellError(f'"{text}" is no date', "write 2026-01-31 or 2026-01-31 08:30, year first")
    year, month, day = (
        int(next(filter(None, (found[key], found[key + "2"], found[key + "3"]))))
        if key != "y"
        else int(found["y"])
        for key in ("y", "m", "d")
    )
    try:
        if found["H"] is None:
            return date(year, month, day)
        clock = f"{int(found['H']):02}:{found['M']}:{found['S'] or '00'}{found['zone'] or ''}"
        return datetime.fromisoformat(f"{year:04}-{month:02}-{day:02}T{clock}")
    except ValueError as error:
        raise CellError(f'"{text}" is no day of the calendar', "correct it") from error


def _rounded(value: datetime) -> datetime:
    """A spreadsheet keeps times as parts of a day, which are not exact."""
    return (value + timedelta(microseconds=500_000)).replace(microsecond=0)


def _day_or_time(value: datetime) -> date | datetime:
    return value.date() if value.time() == time() else value


def _duration(value: Any, number_format: str) -> str:
    if isinstance(value, str):
        text = _narrow(value).replace(" ", "")
        return f"{text}s" if _NUMBER.fullmatch(text) else text
    return f"{_number(value, number_format)}s"


def _split(value: str, by: str) -> list[str]:
    return [part for raw in re.split(by, _narrow(value)) if (part := trimmed(raw))]


def _numbers(value: Any, number_format: str) -> list[int | float]:
    parts = _split(value, r"[;,、\s]+") if isinstance(value, str) else [value]
    return [_number(part, number_format) for part in parts]


def _words(value: Any, number_format: str) -> list[str]:
    return _split(_text(value, number_format), r"[;,、\s]+")


def _pairs(value: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for part in _split(value, r"[;\n]+"):
        left, sign, right = part.rpartition("=") if "=" in part else part.rpartition(":")
        name = trimmed(left)
        if not sign or not name or not trimmed(right):
            raise CellError(f'"{part}" is no pair', "write name = value; name = value")
        if name in pairs:
            raise CellError(f'"{name}" stands twice', "keep one of them")
        pairs[name] = trimmed(right)
    return pairs


def _shares(value: Any, number_format: str) -> dict[str, int | float]:
    pairs = _pairs(_text(value, number_format))
    return {name: _number(number, number_format) for name, number in pairs.items()}


def _rates(value: Any, number_format: str) -> int | float | dict[str, int | float]:
    if isinstance(value, str) and "=" in _narrow(value):
        return _shares(value, number_format)
    return _number(value, number_format)


def _state(value: Any, number_format: str) -> str | dict[str, str]:
    text = _narrow(_text(value, number_format))
    if "=" not in text:
        return STATES_ZH.get(text, text)
    return {
        _written_date(day).isoformat(): STATES_ZH.get(word, word)
        for day, word in _pairs(text).items()
    }


def _names(value: Any, number_format: str) -> dict[str, list[str]]:
    pairs = _pairs(_text(value, number_format))
    return {quantity: _split(names, r"[,、\s]+") for quantity, names in pairs.items()}


def _narrow(value: Any) -> str:
    """Full-width digits, letters and signs as ordinary ones."""
    return trimmed(str(value).translate(_NARROW))


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "TRUE or FALSE"
    return "a time of day" if isinstance(value, time | timedelta) else "a date"


_READERS: Final[Mapping[Kind, Callable[[Any, str], Value]]] = {
    Kind.text: _text,
    Kind.code: _code,
    Kind.flag: _flag,
    Kind.number: _number,
    Kind.date: _date,
    Kind.duration: _duration,
    Kind.numbers: _numbers,
    Kind.words: _words,
    Kind.rates: _rates,
    Kind.shares: _shares,
    Kind.state: _state,
    Kind.names: _names,
}
_READERS_OF_JSON: Final = frozenset(
    {Kind.numbers, Kind.words, Kind.rates, Kind.shares, Kind.state, Kind.names}
)


def shown(kind: Kind, value: Value) -> Any:
    """What to put into a cell, so that :func:`understood` gives ``value`` again. Where the ways
    of people would lose something, JSON."""
    if isinstance(value, datetime) and (value.tzinfo is not None or value.microsecond):
        return value.isoformat()
    if isinstance(value, float) and float(f"{value:.15g}") != value:
        return repr(value)  # a number in a cell has 15 digits
    if not isinstance(value, dict | list):
        return value
    if isinstance(value, list):
        text = "; ".join(str(one) for one in value)
    elif kind is Kind.names:
        text = "; ".join(f"{name} = {', '.join(of)}" for name, of in value.items())
    else:
        text = "; ".join(f"{name} = {one}" for name, one in value.items())
    try:
        like_json = text.startswith(("{", "["))  # and would be read as such
        if not like_json and _READERS[kind](text, "") == value and trimmed(text) == text:
            return text
    except CellError:
        pass
    return json.dumps(value, ensure_ascii=False)
