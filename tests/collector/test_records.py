"""Journal records: back to the bit, and no damage passes unnoticed."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.model import Batch, Entry, Mark, Refusal, Revision, SourceState, Tick
from collector.records import VERSION, CorruptRecordError, decode, encode
from tests.entries import batches, entries, same


@given(entries)
def test_what_was_written_is_read_to_the_bit(entry: Entry) -> None:
    assert same(decode(encode(entry)), entry)


@given(entry=entries, data=st.data())
def test_every_flipped_byte_is_noticed(entry: Entry, data: st.DataObject) -> None:
    raw = bytearray(encode(entry))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CorruptRecordError):
        decode(bytes(raw))


@given(entry=entries, cut=st.integers(1, 40))
def test_a_cut_or_lengthened_record_is_noticed(entry: Entry, cut: int) -> None:
    raw = encode(entry)
    for wrong in (raw[:-cut], raw + b"\0" * cut):
        with pytest.raises(CorruptRecordError):
            decode(wrong)


@given(st.binary(max_size=200), st.integers(0, 8))
def test_a_body_of_rubbish_with_a_right_checksum_is_still_only_corrupt(
    body: bytes, kind: int
) -> None:
    head = struct.pack("<BBI", VERSION, kind, len(body))
    raw = b"MW" + head + struct.pack("<I", zlib.crc32(body, zlib.crc32(head))) + body
    try:
        decode(raw)
    except CorruptRecordError:
        return
    assert kind in {1, 2, 3, 4, 5, 6}, "only a body of a known kind may be read"


@given(batches())
def test_columns_keep_their_types_and_segments(batch: Batch) -> None:
    read = decode(encode(batch))
    assert isinstance(read, Batch)
    assert (read.point.dtype, read.time.dtype) == (np.int32, np.int64)
    assert (read.value.dtype, read.quality.dtype) == (np.float64, np.uint8)
    assert list(read.received()) == list(batch.received())
    assert list(read.segments.backfill) == list(batch.segments.backfill)


# Written by version 1 and kept here: a later version must still read them.
WRITTEN_BY_VERSION_1: list[tuple[str, Entry]] = [
    ("TVcBAgcAAAA9a53ZgaR0aW1lBQ==", Tick(5)),
    (
        "TVcBAxwAAAB4xysXhKR0aW1lAqZvcmlnaW4DonVww6ZyZWFzb26hcg==",
        SourceState(2, 3, up=True, reason="r"),
    ),
    (
        "TVcBBUkAAADWGkoXh6R0aW1lBaZvcmlnaW4GpnJlYXNvbqliYWQtdmFsdWWmZGV0YWlsoWSlY291bnQHpGtp"
        "bmSpbXF0dC1qc29upnNhbXBsZcQB/w==",
        Refusal(5, 6, "bad-value", "d", 7, "mqtt-json", b"\xff"),
    ),
    (
        "TVcBBCYAAAB4C4L6hKR0aW1lBKRraW5kpXJ1bGVzpmRpZ2VzdKFkpWZpbGVzgaFhoWI=",
        Revision(4, "rules", "d", {"a": "b"}),
    ),
    (
        "TVcBBjUAAAAOy1KIh6R0aW1lCKRraW5kpWNsb3Nlp3N1YmplY3ShYaVzdGFydAmjZW5kCqN3aG+hd6Rub3RloW4=",
        Mark(8, "close", "a", 9, 10, "w", "n"),
    ),
    (
        "TVcBAcAAAAA81LJUaAAAAJiTpHRpbWWjPGk4ApOldmFsdWWjPGY4ApOkc3RvcKM8aTgBk6hyZWNlaXZlZKM8"
        "aTgBk6Vwb2ludKM8aTQCk6ZvcmlnaW6jPGk0AZOncXVhbGl0eaN8dTECk6hiYWNrZmlsbKN8YjEBAAAAAAMA"
        "AAAAAAAABAAAAAAAAAAAAAAAAAAWQAAAAAAAAPh/AgAAAAAAAAAJAAAAAAAAAAEAAAACAAAABwAAAAAAAAAA"
        "oAAAAAAAAAAAAAAAAAAA",
        Batch.of([1, 2], [3, 4], [5.5, float("nan")], [0, 160], origin=7, received=9),
    ),
]


@pytest.mark.parametrize(("raw", "entry"), WRITTEN_BY_VERSION_1)
def test_records_of_version_1_stay_readable(raw: str, entry: Entry) -> None:
    assert same(decode(base64.b64decode(raw)), entry)


def test_nothing_is_lost_of_the_plain_entries() -> None:
    for entry in (
        Tick(1),
        SourceState(2, 3, up=True, reason="重新连接"),
        Revision(4, "rules", "d", {"rules/a.toml": "x = 1"}),
        Refusal(5, 6, "bad-value", "说明", 7, "mqtt-json", b"\xff\x00"),
        Mark(8, "acknowledge", "a1", 9, 10, "值班员", "看过"),
    ):
        assert decode(encode(entry)) == entry
