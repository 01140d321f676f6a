"""What the payload decoder gathers while it reads: columns of readings, notes of refusals. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np

from adapters.sources.payload.receipts import ROWS, RefusedRows
from adapters.sources.payload.shape import REMARK, WHOLE, Damage, Scalar
from collector.model import (
    LETTERS,
    VALID_BELOW,
    Batch,
    Qualities,
    Quality,
    Reason,
    Refusal,
    Segments,
    Values,
)

SAMPLE_BYTES: Final = 64 << 10
"""Of a refused payload so much is kept."""
_NAMED: Final = 8
"""So many refusals of one message name their device; the rest are told as a number."""
_REMARKS: Final = 8
"""So many remarks are told of one message."""
_DETAIL: Final = 400
"""Characters of one detail: names in it are the sender's to invent."""
_FURTHER: Final = "the same for further devices of this message"


class Plan(msgspec.Struct, gc=False, frozen=True):
    """What to do with a row of one device and one list of quantities."""

    ids: bytes
    """Point ids of the usable values, int32 one after another."""
    count: int
    start: int
    end: int
    """Readings with ``start <= time < end`` (UTC ms) are of a device in service."""
    kept: tuple[int, ...] | None = None
    """Positions of the usable values; None for all of them."""
    factors: tuple[Values, Values] | None = None
    """Scale and offset per value; None for 1 and 0."""
    no_value: tuple[float, ...] = ()
    refused: tuple[tuple[str, str, int], ...] = ()
    """Reason, detail, number of readings."""
    special: bool = False
    """It has factors or numbers for "no value": the finished columns are looked at again."""
    remarks: tuple[str, ...] = ()
    """What its sender should mend although it is stored."""
    device: str = ""


class Columns:
    """Columns of one call while they grow: per row its plan and time, per reading its value."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []
        self.times: list[int] = []
        self.values: list[Scalar] = []
        self.flags: list[tuple[int, Quality]] = []
        self.stops: list[int] = []
        self.origins: list[int] = []
        self.received: list[int] = []
        self.backfill: list[bool] = []

    def close(self, origin: int, received: int, backfill: bool) -> None:
        """A message ended that brought rows; it becomes a segment."""
        self.stops.append(len(self.values))
        self.origins.append(origin)
        self.received.append(received)
        self.backfill.append(backfill)

    def batch(self) -> Batch:
        if not self.values:
            return Batch.empty()
        value = np.array(self.values, np.float64)  # None becomes NaN; JSON has no other NaN
        quality = np.zeros(len(value), np.uint8)
        for at, flag in self.flags:
            quality[at] = flag
        quality[np.isnan(value) & (quality < VALID_BELOW)] = Quality.NO_VALUE
        counts = np.array([plan.count for plan in self.plans], np.int64)
        if True in [plan.special for plan in self.plans]:
            stops = np.cumsum(counts).tolist()
            for plan, stop in zip(self.plans, stops, strict=True):
                if plan.special:
                    rows = slice(stop - plan.count, stop)
                    _apply(plan, value[rows], quality[rows])
        return Batch(
            np.frombuffer(b"".join([plan.ids for plan in self.plans]), np.int32),
            np.repeat(np.array(self.times, np.int64), counts),
            value,
            quality,
            Segments(
                np.array(self.stops, np.int64),
                np.array(self.origins, np.int32),
                np.array(self.received, np.int64),
                np.array(self.backfill, np.bool_),
            ),
        )


def _apply(plan: Plan, value: Values, quality: Qualities) -> None:
    """Factors, and the numbers by which the device says "no value" (these stay as they came)."""
    none = None
    for number in plan.no_value:
        none = value == number if none is None else none | (value == number)
    if none is not None:
        quality[none & (quality < VALID_BELOW)] = Quality.NO_VALUE
    if plan.factors is None:
        return
    scale, offset = plan.factors
    if none is None:
        value *= scale
        value += offset
    else:
        np.copyto(value, value * scale + offset, where=~none)


def flagged(
    at: int, plan: Plan, values: Mapping[str, Scalar], flags: Mapping[str, str]
) -> Iterator[tuple[int, Quality]]:
    """(row, quality) for each flag of a reading whose rows begin at ``at``."""
    names = list(values)
    kept = range(len(names)) if plan.kept is None else plan.kept
    for row, position in enumerate(kept, at):
        letter = flags.get(names[position])
        if letter is not None:
            yield row, LETTERS.get(letter, Quality.UNKNOWN_FLAG)


class _Note:
    """Readings refused for one reason: the first details, how many, in which rows."""

    __slots__ = ("count", "detail", "rows")

    def __init__(self, detail: str) -> None:
        self.detail = _printable(detail[:_DETAIL])
        self.count = 0
        self.rows: list[int] = []

    def add(self, count: int, row: int) -> None:
        self.count += count
        rows = self.rows
        if row >= 0 and len(rows) < ROWS and (not rows or rows[-1] != row):
            rows.append(row)

    def also(self, detail: str) -> None:
        if len(self.detail) < _DETAIL:
            detail = _printable(detail[:_DETAIL])
            if detail not in self.detail:
                self.detail = f"{self.detail}; {detail}"[:_DETAIL]


def _printable(text: str) -> str:
    """What senders invent steers no terminal and breaks no line of a log."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)[:_DETAIL]


class Notes:
    """The refusals of one message: one per reason and device, however many readings."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], _Note] = {}
        self._unnamed: dict[str, _Note] = {}
        self._reasons: set[str] = set()
        self.remarks: set[str] = set()
        """What is to be told of readings that are stored."""

    def add(self, reason: str, device: str, detail: str, count: int, row: int = WHOLE) -> None:
        """``count`` readings of ``device`` (empty: not told) in row number ``row`` are refused."""
        key = (reason, device)
        note = self._found.get(key)
        if note is not None:
            note.also(detail)
        elif len(self._found) < _NAMED or reason not in self._reasons:
            note = self._found[key] = _Note(detail)
            self._reasons.add(reason)
        else:
            note = self._unnamed.get(reason)
            if note is None:
                note = self._unnamed[reason] = _Note(_FURTHER)
        note.add(count, row)

    def remark(self, told: str) -> None:
        """Something is to be told of readings that are stored; of many such things the first."""
        if len(self.remarks) < _REMARKS:
            self.remarks.add(_printable(told[:_DETAIL]))

    @staticmethod
    def of(reason: str, detail: str, count: int) -> Notes:
        """Notes with one refusal of a whole message."""
        notes = Notes()
        notes.add(reason, "", detail, count)
        return notes

    @staticmethod
    def of_damages(damages: Sequence[Damage], rows: int) -> Notes:
        """Notes of a message that is damaged in these parts, and of which so many rows are left."""
        notes = Notes()
        for part in damages:
            if part.reason == REMARK:
                notes.remark(part.detail)
            else:
                notes.add(part.reason, part.device, part.detail, part.readings, part.row)
        if not rows and not notes._found:
            notes.add(Reason.PAYLOAD, "", "the message holds no readings", 0)
        return notes

    def _all(self) -> Iterator[tuple[str, _Note]]:
        for (reason, _), note in self._found.items():
            yield reason, note
        yield from self._unnamed.items()

    def refused(self) -> tuple[RefusedRows, ...]:
        """For the sender's receipt."""
        return tuple(
            RefusedRows(reason, note.detail, note.count, tuple(note.rows))
            for reason, note in self._all()
        )

    def refusals(self, received: int, origin: int, kind: str, payload: bytes) -> Iterator[Refusal]:
        """As journal entries of ``kind``, each with the payload (cut to ``SAMPLE_BYTES``)."""
        sample = payload[:SAMPLE_BYTES]
        for reason, note in self._all():
            yield Refusal(received, origin, reason, note.detail, note.count, kind, sample)
