"""Times as other makers write them, as UTC milliseconds. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from adapters.sources.payload.clocks import DAY, RECENT
from adapters.sources.payload.formats import LINE_PROTOCOL, PER_SECOND, Format
from adapters.sources.payload.shape import shown
from collector.normalise import EARLIEST_MS, parse_time

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_KEPT: Final = 200
_YEAR: Final = 31_556_952_000
"""Milliseconds of a mean one."""
_LAST_YEAR: Final = 9998
_LONGEST: Final = 40
"""Characters of a time; digits too."""
MISSING: Final = object()
"""In the place of a time that is not there."""


class Times:
    """Reads the times of one gateway. ``zone``: its site's; ``unit``: of numbers, as the request
    says, where it is not the format's; ``saw`` is called with receipt and time where a clock has
    lost its time. Texts read lately are remembered, the rows of a message mostly share one.

    Numbers that in their unit are no time of this age are read as in another one by the rule of
    ``clocks.in_milliseconds``, and it is told. Of JSON in milliseconds the decoder does that.
    """

    def __init__(
        self, form: Format, zone: str, unit: str = "", saw: Callable[[int, int], None] | None = None
    ) -> None:
        self._zone = form.zone or zone
        self._format = form.time_format
        self._unit = unit or form.time_unit
        self._per_second = PER_SECOND[self._unit]
        self._as_json = self._unit == "ms" and form.syntax != LINE_PROTOCOL
        self._mend = "?precision=" if unit else "a mapping with time_unit = "
        self._saw = saw
        self._receipt = form.time_missing == "receipt"
        self._texts: dict[str, int] = {}

    def plain(self, written: int, received: int) -> int | None:
        """UTC milliseconds of a number that is a time of this age; None for any other."""
        time = written * 1000 // self._per_second
        return time if EARLIEST_MS <= time <= received + DAY else None

    def read(self, written: Any, received: int) -> tuple[int, str]:
        """UTC milliseconds, with what is below cut off, and what is to be told of it although it
        can be used. Raises ``ValueError`` that says to an electrician what is wrong."""
        if written is MISSING or written is None:
            if self._receipt:
                return received, ""
            raise ValueError("the reading has no time")
        match written:
            case bool() | list() | dict():
                pass
            case int() | float():
                return self._number(written, received)
            case str():
                if self._counts(written):
                    return self._number(int(written), received)
                found = self._texts.get(written)
                if found is None:
                    if len(self._texts) >= _KEPT:
                        self._texts.clear()
                    found = self._texts[written[:_LONGEST]] = self._text(written)
                return found, ""
        raise ValueError(f"time {shown(written)} is neither a number nor a text")

    def _counts(self, written: str) -> bool:
        return (
            not self._format
            and len(written) <= _LONGEST
            and written.isascii()
            and written.isdecimal()
        )

    def _number(self, written: float, received: int) -> tuple[int, str]:
        if abs(written) >= 10**20:  # beyond int64, so beyond any unit
            raise ValueError(f"time {shown(written)} is no time")
        if isinstance(written, int):
            time = written * 1000 // self._per_second
        else:
            # 1e-3 s is what such clocks tell
            time = int(written * (1000 / self._per_second) // 1)
        if self._as_json or EARLIEST_MS <= time <= received + DAY:
            return time, ""
        return self._odd(written, time, received)

    def _odd(self, written: float, time: int, received: int) -> tuple[int, str]:
        """A number that as ``time`` is none of this age."""
        year = 1970 + time // _YEAR
        told = f"time {shown(written)} as {self._unit} is of the year {year}"
        for unit, per_second in PER_SECOND.items():
            meant = int(written * 1000 // per_second)
            if max(EARLIEST_MS, received - RECENT) <= meant <= received + DAY:
                return meant, f"{told}; it was read as {unit}: send with {self._mend}{unit}"
            if EARLIEST_MS <= meant < received:
                when = datetime.fromtimestamp(meant // 1000, UTC).date()
                raise ValueError(f"{told}, as {unit} of {when}: send with {self._mend}{unit}")
        if 0 <= time < EARLIEST_MS:
            if self._saw is not None:
                self._saw(received, time)
            raise ValueError(f"{told}: has the gateway's clock lost its time?")
        if time < 0 or year > _LAST_YEAR:
            raise ValueError(told)
        return time, ""

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
        return parse_time(written, self._zone)
