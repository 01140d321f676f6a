"""Journal records as bytes: checksummed, versioned, self-describing. Pure.

    magic "MW" | version u8 | kind u8 | length u32 | crc32 u32 | body[length]

All integers are little-endian; the CRC-32 covers version, kind, length and body, so a record
whose head was damaged is as corrupt as one whose body was. The body of readings is a msgpack
map naming each column, its dtype and its row count, then the columns one after another, each
padded to eight bytes; every other body is a msgpack map of the record's fields. A reader of
version 1 therefore needs nothing but the record itself.

Invariant: ``decode(encode(e))`` equals ``e`` to the bit, NaN included. ``decode`` never raises
anything but :class:`CorruptRecordError`, whatever the bytes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

import msgspec
import numpy as np

from collector.model import (
    Batch,
    Entry,
    Mark,
    Refusal,
    Revision,
    Segments,
    SourceState,
    Tick,
)

VERSION: Final = 1
_HEAD: Final = struct.Struct("<2sBBII")
_MAGIC: Final = b"MW"
_READINGS: Final = 1
_PLAIN: Final[dict[int, type[Tick | SourceState | Revision | Refusal | Mark]]] = {
    2: Tick,
    3: SourceState,
    4: Revision,
    5: Refusal,
    6: Mark,
}
_KIND_OF: Final = {cls: kind for kind, cls in _PLAIN.items()}

_COLUMNS: Final[tuple[tuple[str, str], ...]] = (
    ("time", "<i8"),
    ("value", "<f8"),
    ("stop", "<i8"),
    ("received", "<i8"),
    ("point", "<i4"),
    ("origin", "<i4"),
    ("quality", "|u1"),
    ("backfill", "|b1"),
)


class CorruptRecordError(Exception):
    """These bytes are not a record that this version wrote; the text says in which way."""


def encode(entry: Entry) -> bytes:
    """One entry as bytes."""
    if isinstance(entry, Batch):
        return _frame(_READINGS, _readings_body(entry))
    body = msgspec.msgpack.encode(asdict(entry))
    return _frame(_KIND_OF[type(entry)], body)


def decode(raw: bytes | memoryview) -> Entry:
    """The entry in ``raw`` (exactly one record). Columns are read-only views into ``raw``."""
    view = memoryview(raw)
    if len(view) < _HEAD.size:
        raise CorruptRecordError(f"{len(view)} bytes are shorter than a record's head")
    magic, version, kind, length, crc = _HEAD.unpack_from(view)
    if magic != _MAGIC:
        raise CorruptRecordError(f"starts with {bytes(magic)!r}, not {_MAGIC!r}")
    if length != len(view) - _HEAD.size:
        raise CorruptRecordError(f"says {length} bytes, has {len(view) - _HEAD.size}")
    body = view[_HEAD.size :]
    if _crc(version, kind, length, body) != crc:
        raise CorruptRecordError("checksum does not match")
    reader = _READERS.get((version, kind))
    if reader is None:
        raise CorruptRecordError(f"version {version}, kind {kind} is not known to this program")
    try:
        return reader(kind, body)
    except (msgspec.MsgspecError, ValueError, TypeError, KeyError, struct.error) as fault:
        raise CorruptRecordError(f"body cannot be read: {fault}") from fault


def _frame(kind: int, body: bytes) -> bytes:
    crc = _crc(VERSION, kind, len(body), body)
    return _HEAD.pack(_MAGIC, VERSION, kind, len(body), crc) + body


def _crc(version: int, kind: int, length: int, body: bytes | memoryview) -> int:
    return zlib.crc32(body, zlib.crc32(struct.pack("<BBI", version, kind, length)))


def _readings_body(batch: Batch) -> bytes:
    segments = batch.segments
    arrays: dict[str, np.ndarray[Any, Any]] = {
        "time": batch.time,
        "value": batch.value,
        "stop": segments.stop,
        "received": segments.received,
        "point": batch.point,
        "origin": segments.origin,
        "quality": batch.quality,
        "backfill": segments.backfill,
    }
    described = [[name, dtype, len(arrays[name])] for name, dtype in _COLUMNS]
    head = msgspec.msgpack.encode(described)
    parts: list[bytes] = [struct.pack("<I", len(head)), head, b"\0" * (-(len(head) + 4) % 8)]
    for name, dtype in _COLUMNS:
        column = np.ascontiguousarray(arrays[name], dtype=np.dtype(dtype)).tobytes()
        parts.append(column)
        parts.append(b"\0" * (-len(column) % 8))
    return b"".join(parts)


def _read_readings(_kind: int, body: memoryview) -> Batch:
    (head_length,) = struct.unpack_from("<I", body)
    described = msgspec.msgpack.decode(body[4 : 4 + head_length], type=list[tuple[str, str, int]])
    at = 4 + head_length
    at += -at % 8
    found: dict[str, np.ndarray[Any, Any]] = {}
    for name, dtype_name, count in described:
        dtype = np.dtype(dtype_name)
        found[name] = np.frombuffer(body, dtype, count, at)
        at += count * dtype.itemsize
        at += -at % 8
    rows = len(found["point"])
    if any(len(found[name]) != rows for name in ("time", "value", "quality")):
        raise ValueError("columns differ in length")
    stop = found["stop"]
    if rows and (not len(stop) or stop[-1] != rows):
        raise ValueError("segments do not cover the rows")
    return Batch(
        found["point"],
        found["time"],
        found["value"],
        found["quality"],
        Segments(stop, found["origin"], found["received"], found["backfill"]),
    )


def _read_plain(kind: int, body: memoryview) -> Entry:
    return msgspec.msgpack.decode(body, type=_PLAIN[kind])


_READERS: Final[dict[tuple[int, int], Callable[[int, memoryview], Entry]]] = {
    (1, _READINGS): _read_readings,
    **dict.fromkeys(((1, kind) for kind in _PLAIN), _read_plain),
}
