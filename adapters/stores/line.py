"""Readings and statements as line protocol, for InfluxDB and VictoriaMetrics. Pure: bytes out.

Promises: what a row says is what the line says (shortest text that reads back as the same float64,
milliseconds); quantities of one place and time share a line; within one call a later row of the
same (point, time) stands later. A row that the database could not hold is never sent: it is
counted with its reason. Names follow ``collector/schema.py``.

Why not numpy to the end: text is built from pieces that are made once for each point, joined in
one pass; see ``docs/decisions/0014``. The pieces live as long as the call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from collector.model import VALID_BELOW, Ids, Mask, Qualities, Quality, Times, Values
from collector.registry import Registry
from collector.schema import QUALITY, UNKNOWN_COUNTY, Statement, names_of

FIRST_TIME: Final = -9_223_372_036_854
LAST_TIME: Final = 9_223_372_036_854
"""What fits into InfluxDB's 64 bit of nanoseconds, in ms."""
MAX_KEY_BYTES: Final = 16_000
"""Measurement and tags of one line: InfluxDB refuses 64 KiB, VictoriaMetrics cuts 16 KiB."""
DENSE_IDS: Final = 1 << 22
NO_POINT: Final = "is no point of the registry, nor a name of four parts"
TOO_EARLY: Final = "is older than the database keeps"
TOO_LATE: Final = "is further in the future than the database takes"

_TAG: Final = str.maketrans({",": "\\,", "=": "\\=", " ": "\\ ", "\n": "_", "\r": "_", "\\": "/"})
_encode: Final = msgspec.json.Encoder().encode


class Dialect(Enum):
    """What differs in what is sent: where texts go, and how a correction is told."""

    INFLUX = "influxdb"
    VICTORIA = "victoria-metrics"


@dataclass(frozen=True, slots=True)
class PointNames:
    """One point in the words of an external database."""

    measurement: str
    field: str
    county: str
    place: str
    quantity: str
    site: str
    statistic: str

    def tags(self) -> dict[str, str]:
        """Of its valid readings."""
        return {
            "county": self.county,
            "place": self.place,
            "site": self.site,
            "statistic": self.statistic,
        }

    def quality_tags(self) -> dict[str, str]:
        """Of its rows in ``quality``."""
        return {
            "county": self.county,
            "place": self.place,
            "quantity": self.quantity,
            "site": self.site,
            "statistic": self.statistic,
        }


def names_of_point(name: str, registry: Registry) -> PointNames | None:
    """Of a point by its name ``site/place/quantity/statistic``, also one that the registry does
    not have any more; None where nothing can be made of it."""
    parts = name.split("/")
    if len(parts) != 4:
        return None
    site, place, quantity, statistic = parts
    known = registry.sites.get(site)
    try:
        measurement, field = names_of(quantity)
    except KeyError:
        return None
    county = known.county if known is not None and known.county else UNKNOWN_COUNTY
    return PointNames(measurement, field, county, place, quantity, site, statistic)


@dataclass(frozen=True, slots=True)
class Encoded:
    """``parts``: lines, each part at most about the size asked for. ``rows``: readings in them.
    ``refused``: why rows are not, with the indices of those rows."""

    parts: Sequence[bytes]
    rows: int
    refused: Mapping[str, npt.NDArray[np.intp]]


class LineEncoder:
    """Encodes readings of the points given at construction. ``points``: by stable id. Points whose
    names make too long a key are refused with that reason, row by row; ``unknown`` is the reason
    for those that are not among them."""

    def __init__(self, points: Mapping[int, PointNames], *, unknown: str = NO_POINT) -> None:
        ids = np.array(sorted(points), np.int64)
        names = [points[number] for number in ids.tolist()]
        self.points = points
        self._unknown = unknown
        self._ids = ids
        keys = [_key(one.measurement, one.tags()) for one in names]
        fields = [one.field.encode() for one in names]
        self._line = _numbered(keys)
        self._bit = _bits(self._line)
        heads = [key + b" " + field + b"=" for key, field in zip(keys, fields, strict=True)]
        self._heads = np.array([*heads, *(b"," + field + b"=" for field in fields)], np.object_)
        self._quality = [_key(QUALITY, one.quality_tags()) for one in names]
        self._long = np.array([len(key) > MAX_KEY_BYTES for key in self._quality], np.bool_)
        self._slots = self._table()
        self._by_head: dict[bytes, int] | None = None

    @property
    def series(self) -> int:
        """Series that the valid readings make at most: one for each point."""
        return len(self._ids)

    def order(self, point: Ids, time: Times) -> npt.NDArray[np.intp]:
        """The order of rows that makes the fewest lines: by place, time and field."""
        slot = self._slot(point)
        line = self._line[slot] if len(self._ids) else slot
        return np.lexsort((slot, time, line))

    def point_of(self, line: bytes) -> int | None:
        """The point of a line with a single field that this encoder made; None if it did not."""
        if self._by_head is None:
            count = len(self._ids)
            heads = self._heads[:count].tolist()
            self._by_head = dict(zip(heads, self._ids.tolist(), strict=True))
            self._by_head |= dict(zip(self._quality, self._ids.tolist(), strict=True))
        head, _, _ = line.rpartition(b" ")
        name, _, _ = head.rpartition(b"=")
        found = self._by_head.get(name + b"=")
        return self._by_head.get(_key_of(line)) if found is None else found

    def encode(
        self,
        point: Ids,
        time: Times,
        value: Values,
        quality: Qualities,
        *,
        low: int = FIRST_TIME,
        high: int = LAST_TIME,
        part_bytes: int = 1 << 21,
        barred: Mask | None = None,
    ) -> Encoded:
        """Lines of these rows. ``low`` and ``high``: times (ms, inclusive) that the database
        takes. ``barred``: rows that must not be sent, refused by the caller."""
        slot = self._slot(point)
        refused: dict[str, npt.NDArray[np.intp]] = {}
        fit = self._fit(slot, time, max(low, FIRST_TIME), min(high, LAST_TIME), refused)
        if barred is not None:
            fit &= ~barred
        finite = np.isfinite(value)
        valid = fit & finite & (quality < VALID_BELOW)
        marked = fit & ((quality != Quality.GOOD) | ~finite)
        pieces: list[bytes] = []
        self._readings(*_chosen(valid, slot, time, value), pieces)
        if marked.any():
            self._marks(*_chosen(marked, slot, time, value), quality[marked], pieces)
        return Encoded(_parts(pieces, part_bytes), int(np.count_nonzero(fit)), refused)

    def _table(self) -> npt.NDArray[np.int32] | None:
        """Slot by id, where ids are dense enough for a table."""
        if not len(self._ids) or self._ids[-1] >= DENSE_IDS:
            return None
        table = np.full(int(self._ids[-1]) + 2, -1, np.int32)
        table[self._ids] = np.arange(len(self._ids), dtype=np.int32)
        return table

    def _slot(self, point: Ids) -> npt.NDArray[np.int32]:
        """Place of each row's point in the tables here; -1 for one that is not known."""
        if not len(self._ids):
            return np.full(len(point), -1, np.int32)
        if self._slots is not None:
            inside = (point >= 0) & (point < len(self._slots) - 1)
            # The last entry of the table is -1: that of all ids beyond it.
            return self._slots[np.where(inside, point, len(self._slots) - 1)]
        at = np.minimum(np.searchsorted(self._ids, point), len(self._ids) - 1)
        return np.where(self._ids[at] == point, at, -1).astype(np.int32)

    def _fit(
        self,
        slot: npt.NDArray[np.int32],
        time: Times,
        low: int,
        high: int,
        refused: dict[str, npt.NDArray[np.intp]],
    ) -> Mask:
        known = slot >= 0
        long = known & self._long[slot] if self._long.any() else np.zeros(len(slot), np.bool_)
        fit = np.ones(len(slot), np.bool_)
        for reason, bad in (
            (self._unknown, ~known),
            (f"has names of more than {MAX_KEY_BYTES} bytes", long),
            (TOO_EARLY, time < low),
            (TOO_LATE, time > high),
        ):
            now = bad & fit
            if now.any():
                refused[reason] = np.flatnonzero(now)
                fit &= ~bad
        return fit

    def _readings(
        self, slot: npt.NDArray[np.int32], time: Times, value: Values, out: list[bytes]
    ) -> None:
        """Rows that follow each other in one place and time share a line. Where one of them would
        have a field twice, or more than can be told apart, only while their fields ascend."""
        count = len(slot)
        if not count:
            return
        line = self._line[slot]
        starts = np.empty(count, np.bool_)
        starts[0] = True
        np.logical_or(line[1:] != line[:-1], time[1:] != time[:-1], out=starts[1:])
        if not self._all_differ(slot, np.flatnonzero(starts)):
            starts[1:] |= slot[1:] <= slot[:-1]
        ends = np.append(np.flatnonzero(starts)[1:] - 1, count - 1)
        pieces = [b""] * (2 * count)
        # Taken out of an array of objects: a third of what a lookup for each costs.
        pieces[0::2] = self._heads[np.where(starts, slot, slot + len(self._ids))].tolist()
        texts = _texts(value)
        for at, stamp in zip(ends.tolist(), _texts(time[ends]), strict=True):
            texts[at] = b"%b %b\n" % (texts[at], stamp)
        pieces[1::2] = texts
        out += pieces

    def _all_differ(self, slot: npt.NDArray[np.int32], starts: npt.NDArray[np.intp]) -> bool:
        """Whether no field stands twice in any of the lines that begin at ``starts``."""
        fields = np.bitwise_or.reduceat(self._bit[slot], starts)
        lengths = np.diff(starts, append=len(slot))
        return bool((np.bitwise_count(fields) == lengths).all())

    def _marks(
        self,
        slot: npt.NDArray[np.int32],
        time: Times,
        value: Values,
        quality: Qualities,
        out: list[bytes],
    ) -> None:
        """Rows of ``quality``; the value only where it is finite and in no valid series."""
        told = np.isfinite(value) & (quality >= VALID_BELOW)
        values = _texts(np.where(told, value, 0.0))
        for at, code, stamp, tells, number in zip(
            slot.tolist(), quality.tolist(), _texts(time), told.tolist(), values, strict=True
        ):
            beside = b",value=" + number if tells else b""
            out.append(b"%b code=%d%b %b\n" % (self._quality[at], code, beside, stamp))


def statement_line(statement: Statement, dialect: Dialect) -> bytes:
    """One statement as a line with its end. VictoriaMetrics gets the texts as labels, and the
    n-th correction n milliseconds later, because it cannot replace a value."""
    tags, time = dict(statement.tags), statement.time
    fields = [
        _name(name) + b"=" + _encode(float(value)) for name, value in statement.fields.items()
    ]
    if dialect is Dialect.VICTORIA:
        tags |= statement.texts
        time += statement.revision
    else:
        fields += [_name(name) + b"=" + _quoted(text) for name, text in statement.texts.items()]
    key = _key(statement.measurement, dict(sorted(tags.items())))
    return key + b" " + b",".join(fields) + b" %d\n" % time


def narrowed(line: bytes) -> list[bytes]:
    """A line of readings with several fields as lines of one field each, so that one bad field
    costs the others nothing. A line with texts stays as it is."""
    body, _, stamp = line.rstrip(b"\n").rpartition(b" ")
    key = _key_of(line)
    fields = body[len(key) + 1 :]
    if b'"' in fields or key.startswith(QUALITY.encode() + b","):
        return [line]
    return [key + b" " + field + b" " + stamp + b"\n" for field in fields.split(b",")]


def _key_of(line: bytes) -> bytes:
    """Measurement and tags: up to the first blank that is not escaped."""
    at = line.find(b" ")
    while at > 0 and line[at - 1] == 0x5C:
        at = line.find(b" ", at + 1)
    return line[:at]


def _key(measurement: str, tags: Mapping[str, str]) -> bytes:
    return b",".join(
        [
            _name(measurement),
            *(_name(name) + b"=" + _name(text or "-") for name, text in tags.items()),
        ]
    )


def _name(text: str) -> bytes:
    return text.translate(_TAG).encode()


def _quoted(text: str) -> bytes:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ").replace("\r", " ")
    return b'"' + escaped.encode() + b'"'


def _texts(column: npt.NDArray[np.generic]) -> list[bytes]:
    """Shortest exact text of each number."""
    return _encode(column.tolist())[1:-1].split(b",") if len(column) else []


def _numbered(keys: Sequence[bytes]) -> npt.NDArray[np.int32]:
    """Equal keys, equal numbers."""
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int32)


def _bits(line: npt.NDArray[np.int32]) -> npt.NDArray[np.uint64]:
    """A bit for each point, its own among those of its line; all beyond the 63rd have one."""
    seen: dict[int, int] = {}
    bits = np.empty(len(line), np.uint64)
    for at, number in enumerate(line.tolist()):
        nth = seen.get(number, 0)
        bits[at] = 1 << min(nth, 63)
        seen[number] = nth + 1
    return bits


def _chosen(
    mask: Mask, slot: npt.NDArray[np.int32], time: Times, value: Values
) -> tuple[npt.NDArray[np.int32], Times, Values]:
    return (slot, time, value) if mask.all() else (slot[mask], time[mask], value[mask])


def _parts(pieces: list[bytes], part_bytes: int) -> list[bytes]:
    """The lines in parts of about ``part_bytes``, cut between lines."""
    whole = b"".join(pieces)
    parts: list[bytes] = []
    start = 0
    while start < len(whole):
        end = len(whole)
        if end - start > part_bytes:
            end = whole.rfind(b"\n", start, start + part_bytes) + 1
            if end == 0:  # one line longer than a part
                end = whole.index(b"\n", start) + 1
        parts.append(whole[start:end])
        start = end
    return parts
