"""Readings as bytes: the two layouts of the archive. Pure.

A **run** holds what one commit brought for a group of points, sorted by point and time, in a
form that costs little to write. A **chunk** holds a stretch of one point, sealed: small, and
rarely touched again. Both carry a version, their row count and a CRC-32.

Invariant: decoding gives back every column to the bit, NaN payloads and -0.0 included. Whatever
the bytes, a decoder raises nothing but :class:`CorruptChunkError`.

How a chunk gets small: every column becomes integers (a value that is a decimal of a fixed
number of places becomes that decimal without its point; others their IEEE bits), integers become
offsets from their minimum or differences, whichever needs fewer bytes, then the bytes of equal
weight are laid side by side and squeezed with zstd. What does not fit the form that the others
have (a NaN among decimals) is kept beside it, as position and bits.
"""

from __future__ import annotations

import struct
import threading
import zlib
from typing import Final

import numpy as np
import numpy.typing as npt
import zstandard

from adapters.stores.columns import EMPTY, Columns, Rows
from collector.model import Ids, Qualities, Times, Values

VERSION: Final = 1
LEVEL: Final = 1
"""zstd level: higher ones cost five times as much for a few percent (docs/decisions/0010)."""

_HEAD: Final = struct.Struct("<BBHIII")  # version, layout, spare, rows, raw length, crc32
_CHUNK, _RUN = 1, 2
_SQUEEZED: Final = 0x80

_INTS: Final = struct.Struct("<BBqq")  # mode, width, first, base
_PLAIN, _DELTA, _STEP = 0, 1, 2
_VALUES: Final = struct.Struct("<BBI")  # form, places, patches
_BITS64, _BITS32, _DIVIDED, _MULTIPLIED = 0, 1, 2, 3
_QUALITY: Final = struct.Struct("<BB")  # constant?, quality
_RUN_HEAD: Final = struct.Struct("<IBBBq")  # points, time width, constant?, quality, low

_PLACES: Final = 10.0 ** np.arange(5)
_FRACTIONS: Final = np.array([1.0, 0.1, 0.01, 0.001, 0.0001])
_EXACT: Final = float(1 << 53)
_SAMPLE: Final = 64
_PATCHES: Final = 8
"""A form is taken when at most one value in this many has to be kept beside it."""

_UNREADABLE: Final = (struct.error, ValueError, IndexError, OverflowError)

Bytes = npt.NDArray[np.uint8]


class CorruptChunkError(Exception):
    """These bytes are not what this program wrote; the text says in which way."""


def encode_chunk(time: Times, value: Values, quality: Qualities) -> bytes:
    """One point's readings, in order of time, as a sealed chunk."""
    times, times_body = _pack(np.ascontiguousarray(time, np.int64))
    values, values_body = _pack_values(np.ascontiguousarray(value, np.float64))
    constant = not len(quality) or bool((quality == quality[0]).all())
    first = int(quality[0]) if len(quality) else 0
    head = times + values + _QUALITY.pack(constant, first)
    tail = b"" if constant else quality.tobytes()
    return _seal(_CHUNK, len(time), b"".join((head, times_body, values_body, tail)), squeeze=True)


def decode_chunk(raw: bytes) -> Columns:
    """The readings in ``raw``. Raises :class:`CorruptChunkError`."""
    rows, body = _open(_CHUNK, raw)
    try:
        return _read_chunk(rows, body)
    except _UNREADABLE as fault:
        raise CorruptChunkError(f"body cannot be read: {fault}") from fault


def encode_run(rows: Rows, *, squeeze: bool) -> bytes:
    """Readings sorted by point and time; ``squeeze`` for runs that will be kept for long."""
    point, time, value, quality = rows
    starts = rows.heads()
    counts = np.diff(starts, append=len(point)).astype(np.uint32)
    low = int(time.min()) if len(time) else 0
    width = _width(int(time.max()) - low) if len(time) else 1
    offsets = (time - np.int64(low)).view(np.uint64).astype(f"<u{width}")
    constant = not len(quality) or bool((quality == quality[0]).all())
    head = _RUN_HEAD.pack(len(starts), width, constant, int(quality[0]) if len(quality) else 0, low)
    values = np.ascontiguousarray(value, "<f8")
    parts = [
        head,
        point[starts].astype("<i4").tobytes(),
        counts.astype("<u4").tobytes(),
        _shuffled(offsets) if squeeze else offsets.tobytes(),
        _shuffled(values) if squeeze else values.tobytes(),
        b"" if constant else quality.tobytes(),
    ]
    return _seal(_RUN, len(point), b"".join(parts), squeeze=squeeze)


def decode_run(raw: bytes) -> Rows:
    """All rows of a run. Raises :class:`CorruptChunkError`."""
    rows, body = _open(_RUN, raw)
    try:
        points, counts, columns = _read_run(rows, body, squeezed=bool(raw[1] & _SQUEEZED))
        return Rows(np.repeat(points, counts), *columns)
    except _UNREADABLE as fault:
        raise CorruptChunkError(f"body cannot be read: {fault}") from fault


def slice_run(raw: bytes, point: int) -> Columns:
    """One point's rows of a run (views). Raises :class:`CorruptChunkError`."""
    rows, body = _open(_RUN, raw)
    try:
        points, counts, columns = _read_run(rows, body, squeezed=bool(raw[1] & _SQUEEZED))
    except _UNREADABLE as fault:
        raise CorruptChunkError(f"body cannot be read: {fault}") from fault
    at = int(np.searchsorted(points, point))
    if at == len(points) or points[at] != point:
        return EMPTY
    begin = int(counts[:at].sum())
    part = slice(begin, begin + int(counts[at]))
    return columns.take(part)


# --- the frame both share


class _Tools(threading.local):
    """zstd contexts are not for two threads at once."""

    def __init__(self) -> None:
        self.squeezer = zstandard.ZstdCompressor(
            level=LEVEL, write_checksum=False, write_content_size=True
        )
        self.opener = zstandard.ZstdDecompressor()


_TOOLS: Final = _Tools()


def _seal(layout: int, rows: int, body: bytes, *, squeeze: bool) -> bytes:
    length = len(body)
    if squeeze:
        layout |= _SQUEEZED
        body = _TOOLS.squeezer.compress(body)
    head = struct.pack("<BBHII", VERSION, layout, 0, rows, length)
    return head + struct.pack("<I", zlib.crc32(body, zlib.crc32(head))) + body


def _open(layout: int, raw: bytes) -> tuple[int, memoryview]:
    if len(raw) < _HEAD.size:
        raise CorruptChunkError(f"{len(raw)} bytes are shorter than a head")
    version, found, _spare, rows, length, crc = _HEAD.unpack_from(raw)
    if version != VERSION or found & ~_SQUEEZED != layout:
        raise CorruptChunkError(f"version {version}, layout {found} is not known here")
    body = memoryview(raw)[_HEAD.size :]
    if zlib.crc32(body, zlib.crc32(raw[: _HEAD.size - 4])) != crc:
        raise CorruptChunkError("checksum does not match")
    if found & _SQUEEZED:
        try:
            body = memoryview(_TOOLS.opener.decompress(body, max_output_size=length))
        except zstandard.ZstdError as fault:
            raise CorruptChunkError(f"cannot be decompressed: {fault}") from fault
    if len(body) != length:
        raise CorruptChunkError(f"body has {len(body)} bytes, says {length}")
    return rows, body


def _width(span: int) -> int:
    """Bytes of an unsigned integer that holds ``span``."""
    return 1 if span < 1 << 8 else 2 if span < 1 << 16 else 4 if span < 1 << 32 else 8


def _shuffled(column: npt.NDArray[np.generic]) -> bytes:
    """Bytes of equal weight side by side."""
    width = column.dtype.itemsize
    if width == 1:
        return column.tobytes()
    return column.view(np.uint8).reshape(-1, width).T.tobytes()


def _unshuffled(body: memoryview, rows: int, width: int, at: int) -> Bytes:
    planes = np.frombuffer(body, np.uint8, rows * width, at).reshape(width, rows)
    return np.ascontiguousarray(planes.T)


# --- integers


def _pack(column: Times) -> tuple[bytes, bytes]:
    """An int64 column as description and body. Differences wrap around, so any value goes."""
    if not len(column):
        return _INTS.pack(_STEP, 0, 0, 0), b""
    first = int(column[0])
    steps = np.diff(column)
    step_low, step_span = _range(steps)
    if not step_span:
        return _INTS.pack(_STEP, 0, first, step_low), b""
    low, span = _range(column)
    mode, base, numbers = _DELTA, step_low, steps
    if _width(span) < _width(step_span) or (
        _width(span) == _width(step_span) and float(column.std()) < float(steps.std())
    ):
        mode, base, numbers = _PLAIN, low, column
    width = _width(span if mode == _PLAIN else step_span)
    small = (numbers - np.int64(base)).view(np.uint64).astype(f"<u{width}")
    return _INTS.pack(mode, width, first, base), _shuffled(small)


def _range(column: Times) -> tuple[int, int]:
    """Smallest number and the distance to the largest."""
    if not len(column):
        return 0, 0
    low = int(column.min())
    return low, int(column.max()) - low


def _unpack(described: tuple[int, int, int, int], rows: int, body: memoryview, at: int) -> Times:
    mode, width, first, base = described
    if mode == _STEP:
        return np.int64(first) + np.arange(rows, dtype=np.int64) * np.int64(base)
    if width not in (1, 2, 4, 8) or mode not in (_PLAIN, _DELTA):
        raise ValueError(f"mode {mode}, width {width}")
    count = _body_rows(mode, rows)
    small = _unshuffled(body, count, width, at).view(f"<u{width}").reshape(count)
    numbers = small.astype(np.uint64).view(np.int64) + np.int64(base)
    if mode == _PLAIN:
        return numbers
    column = np.empty(rows, np.int64)
    column[0] = first
    np.cumsum(numbers, out=column[1:])
    column[1:] += np.int64(first)
    return column


def _body_rows(mode: int, rows: int) -> int:
    return 0 if mode == _STEP else rows if mode == _PLAIN else rows - 1


# --- values


def _pack_values(value: Values) -> tuple[bytes, bytes]:
    form, places = _form(value)
    numbers, patches = _as_numbers(value, form, places)
    if len(patches) * _PATCHES > len(value):
        form, places = _BITS64, 0
        numbers, patches = _as_numbers(value, form, places)
    described, body = _pack(numbers)
    head = _VALUES.pack(form, places, len(patches)) + described
    if len(patches):
        kept = value[patches].view("<u8").tobytes()
        body = b"".join((body, patches.astype("<u4").tobytes(), kept))
    return head, body


def _form(value: Values) -> tuple[int, int]:
    """The form that a sample of the values has: decimals of few places, 32-bit floats, any."""
    sample = value[:: max(1, len(value) // _SAMPLE)]
    sample = sample[np.isfinite(sample)]
    if not len(sample):
        return _BITS64, 0
    enough = len(sample) * (1 - 1 / _PATCHES)
    if float(np.abs(sample).max()) * _PLACES[-1] < _EXACT:
        whole = np.rint(sample * _PLACES[:, None])
        for form, fits in (
            (_DIVIDED, (whole / _PLACES[:, None] == sample).sum(axis=1)),
            (_MULTIPLIED, (whole * _FRACTIONS[:, None] == sample).sum(axis=1)),
        ):
            places = int(np.argmax(fits >= enough))
            if fits[places] >= enough:
                return form, places
    with np.errstate(over="ignore"):
        if int((sample.astype(np.float32) == sample).sum()) >= enough:
            return _BITS32, 0
    return _BITS64, 0


def _as_numbers(value: Values, form: int, places: int) -> tuple[Times, npt.NDArray[np.intp]]:
    """The values as integers of this form, and the positions where it does not hold."""
    bits = value.view(np.int64)
    if form == _BITS64:
        return bits, np.empty(0, np.intp)
    if form == _BITS32:
        with np.errstate(over="ignore", invalid="ignore"):
            numbers = value.astype(np.float32).view(np.uint32).astype(np.int64)
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            whole = np.rint(value * _PLACES[places])
            whole[~(np.abs(whole) < _EXACT)] = 0  # also NaN
        numbers = whole.astype(np.int64)
    patches = np.flatnonzero(_as_values(numbers, form, places).view(np.int64) != bits)
    if len(patches) and len(patches) * _PATCHES <= len(value):
        numbers[patches] = _neighbours(numbers, patches)
    return numbers, patches


def _neighbours(numbers: Times, patches: npt.NDArray[np.intp]) -> Times:
    """For each patched position the number of the last good one, so that it costs nothing."""
    good = np.arange(len(numbers))
    good[patches] = -1
    good = np.maximum.accumulate(good)
    good[good < 0] = int(np.argmax(good >= 0))
    return numbers[good[patches]]


def _as_values(numbers: Times, form: int, places: int) -> Values:
    if form == _BITS64:
        return numbers.view(np.float64)
    if form == _BITS32:
        with np.errstate(invalid="ignore"):
            return numbers.astype(np.uint32).view(np.float32).astype(np.float64)
    if form == _DIVIDED:
        divided: Values = numbers / _PLACES[places]
        return divided
    if form == _MULTIPLIED:
        multiplied: Values = numbers * _FRACTIONS[places]
        return multiplied
    raise ValueError(f"form {form}")


# --- reading


def _read_chunk(rows: int, body: memoryview) -> Columns:
    at = 0
    times = _INTS.unpack_from(body, at)
    at += _INTS.size
    form, places, patched = _VALUES.unpack_from(body, at)
    at += _VALUES.size
    numbers = _INTS.unpack_from(body, at)
    at += _INTS.size
    constant, quality = _QUALITY.unpack_from(body, at)
    at += _QUALITY.size
    if form in (_DIVIDED, _MULTIPLIED) and places >= len(_PLACES):
        raise ValueError(f"{places} places")
    time = _unpack(times, rows, body, at)
    at += _body_rows(times[0], rows) * times[1]
    value = _as_values(_unpack(numbers, rows, body, at), form, places)
    at += _body_rows(numbers[0], rows) * numbers[1]
    if patched:
        where = np.frombuffer(body, "<u4", patched, at)
        at += 4 * patched
        if int(where.max()) >= rows:
            raise ValueError("a patch lies outside")
        value[where] = np.frombuffer(body, "<f8", patched, at)
        at += 8 * patched
    if constant:
        return Columns(time, value, np.full(rows, quality, np.uint8))
    return Columns(time, value, np.frombuffer(body, np.uint8, rows, at))


def _read_run(rows: int, body: memoryview, *, squeezed: bool) -> tuple[Ids, Ids, Columns]:
    points, width, constant, quality, low = _RUN_HEAD.unpack_from(body)
    if width not in (1, 2, 4, 8):
        raise ValueError(f"width {width}")
    at = _RUN_HEAD.size
    ids = np.frombuffer(body, "<i4", points, at)
    at += 4 * points
    counts = np.frombuffer(body, "<u4", points, at).astype(np.int32)
    at += 4 * points
    if int(counts.sum()) != rows:
        raise ValueError("counts do not add up")
    if squeezed:
        offsets = _unshuffled(body, rows, width, at).view(f"<u{width}").reshape(rows)
        value = _unshuffled(body, rows, 8, at + width * rows).view("<f8").reshape(rows)
    else:
        offsets = np.frombuffer(body, f"<u{width}", rows, at)
        value = np.frombuffer(body, "<f8", rows, at + width * rows)
    at += (width + 8) * rows
    time = offsets.astype(np.uint64).view(np.int64) + np.int64(low)
    if constant:
        qualities = np.full(rows, quality, np.uint8)
    else:
        qualities = np.frombuffer(body, np.uint8, rows, at)
    return ids, counts, Columns(time, value, qualities)
