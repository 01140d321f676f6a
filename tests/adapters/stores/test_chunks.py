"""Chunks and runs give back every bit, stay small, and never pass damage on as readings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.stores.chunks import (
    CorruptChunkError,
    decode_chunk,
    decode_run,
    encode_chunk,
    encode_run,
    slice_run,
)
from adapters.stores.columns import EMPTY, Columns, Rows

int64 = st.integers(-(2**63), 2**63 - 1)
bits = st.integers(0, 2**64 - 1)
decimals = st.integers(-(10**9), 10**9)


@st.composite
def columns(draw: st.DrawFn) -> Columns:
    """Any times in order, any qualities, values of one of the kinds that meters bring, with
    some of any bits among them."""
    times = sorted(draw(st.lists(int64, unique=True, max_size=40)))
    if times and draw(st.booleans()):
        step = draw(st.integers(1, 10**6))
        times = [i * step for i in range(len(times))]
    rows = len(times)
    kind = draw(st.sampled_from(["bits", "divided", "multiplied", "float32", "constant"]))
    numbers = np.array(draw(st.lists(decimals, min_size=rows, max_size=rows)), np.int64)
    places = draw(st.integers(0, 4))
    value = {
        "bits": lambda: (
            np.array(draw(st.lists(bits, min_size=rows, max_size=rows)), np.uint64)
            .view(np.float64)
            .copy()
        ),
        "divided": lambda: numbers / 10.0**places,
        "multiplied": lambda: numbers * float(f"1e-{places}"),
        "float32": lambda: (numbers / 7).astype(np.float32).astype(np.float64),
        "constant": lambda: np.full(rows, draw(st.floats())),
    }[kind]()
    for _ in range(draw(st.integers(0, 3)) if rows else 0):
        at = draw(st.integers(0, rows - 1))
        value[at : at + 1] = np.array([draw(bits)], np.uint64).view(np.float64)
    quality = np.array(draw(st.lists(st.integers(0, 255), min_size=rows, max_size=rows)), np.uint8)
    if draw(st.booleans()):
        quality[:] = draw(st.integers(0, 255))
    return Columns(np.array(times, np.int64), value, quality)


def same(one: Columns | Rows, other: Columns | Rows) -> bool:
    """Equal to the bit, dtypes included."""
    return all(
        a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True)
    )


@given(columns())
def test_a_chunk_gives_back_every_bit(given_columns: Columns) -> None:
    assert same(decode_chunk(encode_chunk(*given_columns)), given_columns)


def test_rare_bits_among_decimals_come_back() -> None:
    rare = [-0.0, np.nan, -np.nan, np.inf, 5e-324, 1e300, 0.1 + 0.2]
    payload = np.array([0x7FF8_0000_0000_BEEF], np.uint64).view(np.float64)
    value = np.concatenate([np.arange(200) / 100, rare, payload, np.arange(200) / 10])
    columns = Columns(np.arange(len(value)), value, np.zeros(len(value), np.uint8))
    assert same(decode_chunk(encode_chunk(*columns)), columns)


@given(st.dictionaries(st.integers(-(2**31), 2**31 - 1), columns(), max_size=5), st.booleans())
def test_a_run_gives_back_every_bit_of_each_point(
    by_point: dict[int, Columns], squeeze: bool
) -> None:
    parts = [(point, by_point[point]) for point in sorted(by_point)]
    points = [np.full(len(c.time), p, np.int32) for p, c in parts]
    rows = Rows(
        np.concatenate([*points, np.empty(0, np.int32)]),
        np.concatenate([c.time for _, c in parts] + [EMPTY.time]),
        np.concatenate([c.value for _, c in parts] + [EMPTY.value]),
        np.concatenate([c.quality for _, c in parts] + [EMPTY.quality]),
    )
    raw = encode_run(rows, squeeze=squeeze)
    assert same(decode_run(raw), rows)
    for point in [*by_point, 77]:
        assert same(slice_run(raw, point), by_point.get(point, EMPTY))


def meter(rows: int = 2048) -> Columns:
    """A counter of 0.01 kWh every 10 s, one reading in a hundred missing."""
    steps = np.random.default_rng(7).integers(0, 30, rows)
    value = (5_211_997 + np.cumsum(steps)) / 100
    value[50::100] = np.nan
    quality = np.zeros(rows, np.uint8)
    quality[50::100] = 160
    return Columns(1_700_000_000_000 + 10_000 * np.arange(rows), value, quality)


def test_missing_readings_do_not_spoil_how_small_a_counter_gets() -> None:
    assert len(encode_chunk(*meter())) < 1.2 * len(meter().time)


@pytest.mark.parametrize(
    ("kind", "at_most"),
    [
        ("voltage 0.1", 1.0),
        ("float32 power", 4.0),
        ("jittered times", 2.2),
        ("state", 0.2),
        ("noise", 8.3),
    ],
)
def test_a_chunk_is_small(kind: str, at_most: float) -> None:
    rng = np.random.default_rng(3)
    rows = 2048
    time, good = 1_700_000_000_000 + 10_000 * np.arange(rows), np.zeros(rows, np.uint8)
    walk = 80 + np.cumsum(rng.standard_normal(rows))
    value = {
        "voltage 0.1": np.rint(2300 + 10 * rng.standard_normal(rows)) * 0.1,
        "float32 power": walk.astype(np.float32).astype(np.float64),
        "jittered times": np.rint(walk * 10) / 10,
        "state": (np.arange(rows) // 300 % 2).astype(np.float64),
        "noise": rng.standard_normal(rows),
    }[kind]
    if kind == "jittered times":
        time = time + rng.integers(-60, 60, rows)
    assert len(encode_chunk(time, value, good)) / rows <= at_most


def test_every_damaged_byte_is_noticed() -> None:
    columns = Columns(*(column[:64] for column in meter()))
    rows = Rows(np.repeat(np.array([3, 9], np.int32), 32), *columns)
    for raw, decode in (
        (encode_chunk(*columns), decode_chunk),
        (encode_run(rows, squeeze=False), decode_run),
        (encode_run(rows, squeeze=True), decode_run),
    ):
        for at in range(len(raw)):
            damaged = bytearray(raw)
            damaged[at] ^= 1 << at % 8
            with pytest.raises(CorruptChunkError):
                decode(bytes(damaged))
            with pytest.raises(CorruptChunkError):
                decode(raw[:at])


def test_what_another_version_wrote_is_refused_by_name() -> None:
    raw = bytearray(encode_chunk(*meter(10)))
    raw[0] = 9
    with pytest.raises(CorruptChunkError, match="version 9"):
        decode_chunk(bytes(raw))
    with pytest.raises(CorruptChunkError, match="layout"):
        decode_run(encode_chunk(*meter(10)))
