"""The words of the house as values: Quality, Batch, and what else a journal can hold.

Only these travel between rooms. A batch is columns (numpy), never an object per reading.
Everything here is immutable by agreement: a column handed on is not written to again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int32]
Times = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]
Qualities = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


class Quality(IntEnum):
    """How far a reading may be trusted. Ordered: a larger number is worse.

    The numbers are frozen, because archives hold them; the gaps are for what comes later.
    Everything below ``VALID_BELOW`` belongs to the valid series. The letters are those of
    HJ 212-2017, table 8.
    """

    GOOD = 0
    UNMARKED = 10
    UNCERTAIN = 20
    SUBSTITUTED = 30
    MANUAL = 40
    STOPPED = 100
    MAINTENANCE = 110
    CALIBRATION = 120
    FAULT = 130
    OVER_RANGE = 140
    NO_COMMUNICATION = 150
    NO_VALUE = 160
    UNKNOWN_FLAG = 170
    IMPLAUSIBLE = 180
    BAD_TIME = 200


VALID_BELOW: Final = 100
"""Qualities below this are valid readings; those at or above are kept beside them."""


@dataclass(frozen=True, slots=True)
class QualityUse:
    """Where readings of one quality may be used, and how HJ 212-2017 (table 8) marks them.

    ``sums``: books and totals. ``means``: statistics over time. ``limits``: rules that compare
    with a limit (a substituted value counts for mass, never for an exceedance).
    """

    letter: str | None
    sums: bool
    means: bool
    limits: bool
    zh: str
    en: str


QUALITY_USES: Final[dict[Quality, QualityUse]] = {
    Quality.GOOD: QualityUse("N", True, True, True, "正常", "good"),
    Quality.UNMARKED: QualityUse(None, True, True, True, "无标记", "unmarked"),
    Quality.UNCERTAIN: QualityUse(None, True, True, True, "存疑", "uncertain"),
    Quality.SUBSTITUTED: QualityUse(None, True, True, False, "替代", "substituted"),
    Quality.MANUAL: QualityUse("S", True, True, False, "手工设定", "set by hand"),
    Quality.STOPPED: QualityUse("F", False, False, False, "停运", "stopped"),
    Quality.MAINTENANCE: QualityUse("M", False, False, False, "维护", "maintenance"),
    Quality.CALIBRATION: QualityUse("C", False, False, False, "校准", "calibration"),
    Quality.FAULT: QualityUse("D", False, False, False, "故障", "instrument fault"),
    Quality.OVER_RANGE: QualityUse("T", False, False, False, "超量程", "over range"),
    Quality.NO_COMMUNICATION: QualityUse("B", False, False, False, "通讯异常", "no communication"),
    Quality.NO_VALUE: QualityUse(None, False, False, False, "无数值", "no value given"),
    Quality.UNKNOWN_FLAG: QualityUse(None, False, False, False, "未知标记", "unknown flag"),
    Quality.IMPLAUSIBLE: QualityUse(None, False, False, False, "不合理", "physically impossible"),
    Quality.BAD_TIME: QualityUse(None, False, False, False, "时间错误", "impossible time"),
}


def _usable(use: str) -> Mask:
    table = np.zeros(256, dtype=np.bool_)
    for quality, uses in QUALITY_USES.items():
        table[quality] = getattr(uses, use)
    return table


USABLE_IN_SUMS: Final = _usable("sums")
USABLE_IN_MEANS: Final = _usable("means")
USABLE_IN_LIMITS: Final = _usable("limits")
"""Masks of 256: ``batch.value[USABLE_IN_LIMITS[batch.quality]]`` are the values to compare."""

LETTERS: Final[dict[str, Quality]] = {
    uses.letter: quality for quality, uses in QUALITY_USES.items() if uses.letter is not None
}


@dataclass(frozen=True, slots=True)
class Segments:
    """Who brought which rows of a batch. One row per delivery, as columns.

    ``stop`` int64: first row *after* the segment (segments follow each other from row 0).
    ``origin`` int32: stable id of who brought it (see ``Journal.origin_ids``).
    ``received`` int64: UTC milliseconds when we had it.
    ``backfill`` bool: the sender said, or the newest time showed, that this is late data.
    It decides who is refused first when the disk is full, never how a reading is judged.
    """

    stop: Times
    origin: Ids
    received: Times
    backfill: Mask

    def __len__(self) -> int:
        return len(self.stop)

    def sizes(self) -> Times:
        """Rows of each segment."""
        return np.diff(self.stop, prepend=np.int64(0))

    def by_row(self, column: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """``column`` (one value per segment) repeated to one value per row."""
        return np.repeat(column, self.sizes())

    @staticmethod
    def one(rows: int, origin: int, received: int, backfill: bool = False) -> Segments:
        return Segments(
            np.array([rows], np.int64),
            np.array([origin], np.int32),
            np.array([received], np.int64),
            np.array([backfill], np.bool_),
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """Readings as columns of equal length; the only thing that travels through the program.

    ``point`` int32: stable id of the point, from the journal's dictionary, never re-used.
    ``time`` int64: UTC milliseconds, when it was measured.
    ``value`` float64: canonical unit of the quantity; a counter's register as the meter shows it.
    ``quality`` uint8: :class:`Quality`.
    """

    point: Ids
    time: Times
    value: Values
    quality: Qualities
    segments: Segments

    def __len__(self) -> int:
        return len(self.point)

    def received(self) -> Times:
        """Receipt per row, UTC milliseconds."""
        return np.repeat(self.segments.received, self.segments.sizes())

    def origin(self) -> Ids:
        """Origin id per row."""
        return np.repeat(self.segments.origin, self.segments.sizes())

    @staticmethod
    def empty() -> Batch:
        return Batch(
            np.empty(0, np.int32),
            np.empty(0, np.int64),
            np.empty(0, np.float64),
            np.empty(0, np.uint8),
            Segments(
                np.empty(0, np.int64),
                np.empty(0, np.int32),
                np.empty(0, np.int64),
                np.empty(0, np.bool_),
            ),
        )

    @staticmethod
    def of(
        point: Iterable[int],
        time: Iterable[int],
        value: Iterable[float],
        quality: Iterable[int] | None = None,
        *,
        origin: int = 0,
        received: int | None = None,
        backfill: bool = False,
    ) -> Batch:
        """A batch of one segment from plain sequences. ``received`` defaults to the newest time."""
        points = np.asarray(list(point), np.int32)
        times = np.asarray(list(time), np.int64)
        values = np.asarray(list(value), np.float64)
        qualities = (
            np.zeros(len(points), np.uint8)
            if quality is None
            else np.asarray(list(quality), np.uint8)
        )
        if received is None:
            received = int(times.max()) if len(times) else 0
        return Batch(
            points,
            times,
            values,
            qualities,
            Segments.one(len(points), origin, received, backfill),
        )


def concat(batches: Sequence[Batch]) -> Batch:
    """One batch with the rows and segments of ``batches`` in order."""
    if len(batches) == 1:
        return batches[0]
    if not batches:
        return Batch.empty()
    offsets = np.cumsum([0] + [len(b) for b in batches[:-1]])
    return Batch(
        np.concatenate([b.point for b in batches]),
        np.concatenate([b.time for b in batches]),
        np.concatenate([b.value for b in batches]),
        np.concatenate([b.quality for b in batches]),
        Segments(
            np.concatenate([b.segments.stop + at for b, at in zip(batches, offsets, strict=True)]),
            np.concatenate([b.segments.origin for b in batches]),
            np.concatenate([b.segments.received for b in batches]),
            np.concatenate([b.segments.backfill for b in batches]),
        ),
    )


# What a journal holds besides readings: everything a fold must know to be a function of the
# journal alone.


@dataclass(frozen=True, slots=True)
class Tick:
    """The clock said ``time`` (UTC ms). Folds have no other clock."""

    time: int


@dataclass(frozen=True, slots=True)
class SourceState:
    """``origin`` came up or went down at ``time``, and why; or is up, and this is to be mended. An
    origin is whatever can be silent as a whole: a source (``mqtt:main``), a bus
    (``modbus:10.0.0.5:502``), a gateway (``gateway:gw-1``, of whose clock it is told here), a
    device (``device:site/id``)."""

    time: int
    origin: int
    up: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Revision:
    """From here on, this registry (``kind="registry"``) or these rules (``kind="rules"``) hold.

    ``digest`` is the SHA-256 of ``files`` (relative path -> text) as the journal stores them.
    """

    time: int
    kind: str
    digest: str
    files: dict[str, str]


@dataclass(frozen=True, slots=True)
class Refusal:
    """What came and could not be used: kept with its reason within a bound, replayed later.

    ``reason`` is one word of :class:`Reason`; ``detail`` says it to an electrician; ``count``
    readings were affected; ``sample`` is the payload (cut to a bound) and ``kind`` names the
    decoder that can read it again (``mqtt-json``; ``mqtt-json:GATEWAY`` where ``origin`` does
    not tell who sent it).
    """

    time: int
    origin: int
    reason: str
    detail: str
    count: int = 1
    kind: str = ""
    sample: bytes = b""


@dataclass(frozen=True, slots=True)
class Mark:
    """A person or a program said something about ``subject`` over ``[start, end)`` (UTC ms):
    an alert acknowledged, a place in maintenance. ``who`` is evidence."""

    time: int
    kind: str
    subject: str
    start: int
    end: int
    who: str = ""
    note: str = ""


Entry = Batch | Tick | SourceState | Revision | Refusal | Mark
"""One journal record, decoded."""


class Reason:
    """Why something was refused: one word each, the same in logs, metrics and answers."""

    PAYLOAD = "unreadable-payload"
    UNKNOWN_GATEWAY = "unknown-gateway"
    UNKNOWN_DEVICE = "unknown-device"
    UNKNOWN_QUANTITY = "unknown-quantity"
    UNKNOWN_UNIT = "unknown-unit"
    WRONG_SERIAL = "wrong-serial"
    NOT_YOURS = "not-your-device"
    NOT_IN_SERVICE = "device-not-in-service"
    BAD_TIME = "bad-time"
    BAD_VALUE = "bad-value"
    TOO_LARGE = "too-large"
    PROGRAM_FAULT = "program-fault"
    REJECTED = "rejected-by-database"
    UNFIT = "unfit-for-database"
    """Of readings that are in the archive, and cannot be in an external database."""
