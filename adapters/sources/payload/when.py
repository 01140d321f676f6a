"""Times as other makers write them, as UTC milliseconds. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from adapters.sources.payload.formats import PER_SECOND, Format
from adapters.sources.payload.shape import shown
from collector.normalise import parse_time

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_KEPT: Final = 200
_LONGEST: Final = 40
"""Characters of a time; digits too."""
MISSING: Final = object()
"""In the place of a time that is not there."""


class Times:
    """Reads the times of one gateway. ``zone``: its site's. Texts read lately are remembered, the
    rows of a message mostly share one."""

    def __init__(self, form: Format, zone: str, unit: str = "") -> None:
        self._zone = form.zone or zone
        self._format = form.time_format
        self._per_second = PER_SECOND[unit or form.time_unit]
        self._receipt = form.time_missing == "receipt"
        self._texts: dict[str, int] = {}

    def read(self, written: Any, received: int) -> int:
        """UTC milliseconds, with what is below cut off. Raises ``ValueError`` that says to an
        electrician what is wrong."""
        if written is MISSING or written is None:
            if self._receipt:
                return received
            raise ValueError("the reading has no time")
        match written:
            case bool() | list() | dict():
                pass
            case int() | float():
                return self._number(written)
            case str():
                found = self._texts.get(written)
                if found is None:
                    if len(self._texts) >= _KEPT:
                        self._texts.clear()
                    found = self._texts[written[:_LONGEST]] = self._text(written)
                return found
        raise ValueError(f"time {shown(written)} is neither a number nor a text")

    def _number(self, written: float) -> int:
        if abs(written) >= 10**20:  # beyond int64, so beyond any unit
            raise ValueError(f"time {shown(written)} is no time")
        if isinstance(written, int):
            return written * 1000 // self._per_second
        return int(written * (1000 / self._per_second) // 1)  # 1e-3 s is what such clocks tell

    def _text(self, written: str) -> int:
        if len(written) > _LONGEST:
            raise ValueError(f"time {written[:_LONGEST]!r}... is no time")
        if self._format:
            try:
                moment = datetime.strptime(written, self._format)  # noqa: DTZ007 - below
            except ValueError:
                told = f"time {written!r} is not written as {self._format!r}"
                raise ValueError(told) from None
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=ZoneInfo(self._zone))
            since = moment - _EPOCH
            return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000
        if written.isascii() and written.isdecimal():
            return self._number(int(written))
        return parse_time(written, self._zone)
