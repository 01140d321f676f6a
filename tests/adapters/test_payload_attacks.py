"""Hostile messages: each ends as a refusal with its reason, within bounded time and memory, and
harms no neighbour. Sizes are those of the largest message that comes in (1 MiB)."""

from __future__ import annotations

import gzip
import itertools
import json
import math
import random
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.sources.payload import Decoded
from adapters.sources.payload.plan import _HINTS as HINTS
from adapters.sources.payload.unpack import MOST_BYTES, MOST_ITEMS, MOST_RATIO
from collector.model import Reason
from tests.adapters.pushed import T0, Fleet, message, row, topic

MIB = 1 << 20
WHOLE = [Reason.PAYLOAD]


def decode(*payloads: bytes, fleet: Fleet | None = None) -> Decoded:
    decoder = (fleet or Fleet()).decoder
    return decoder.decode_many([(topic(), payload, T0) for payload in payloads])


def with_value(text: bytes) -> bytes:
    """A message in which ``power.active`` is written so."""
    raw = message(row(values={"power.active": 0, "voltage.l1": 230.1}))
    return raw.replace(b'"power.active": 0', b'"power.active": ' + text)


def filled(head: bytes, one: Callable[[int], bytes], tail: bytes, size: int = MIB) -> bytes:
    """As many of ``one`` as fit, below the bound of values."""
    parts: list[bytes] = []
    length, commas = len(head) + len(tail), 0
    for number in itertools.count():
        part = one(number)
        length += len(part) + 1
        commas += part.count(b",") + 1
        if length > size or commas >= MOST_ITEMS:
            return head + b",".join(parts) + tail
        parts.append(part)
    raise AssertionError


def rows_of(one: Callable[[int], bytes]) -> bytes:
    return filled(b'{"readings":[', one, b"]}")


def values_of(one: Callable[[int], bytes], more: bytes = b"") -> bytes:
    head = b'{"readings":[{"device":"main-meter","time":%d,%s"values":{' % (T0, more)
    return filled(head, one, b"}}]}")


def main_meter(time: bytes, values: bytes, more: bytes = b"") -> bytes:
    return b'{"device":"main-meter","time":%s,"values":{%s}%s}' % (time, values, more)


NOW = b"%d" % T0
PACKED = gzip.compress(message(row()))
ATTACKS: dict[str, tuple[bytes, set[str], int]] = {
    # name: payload, its reasons, readings that are stored all the same
    "lists in lists": (b"[" * MIB, {Reason.PAYLOAD}, 0),
    "lists in lists, closed": (b"[" * (MIB // 2) + b"]" * (MIB // 2), {Reason.PAYLOAD}, 0),
    "lists in readings": (b'{"readings":' + b"[" * MIB, {Reason.PAYLOAD}, 0),
    "objects in objects": (b'{"a":' * (MIB // 5), {Reason.PAYLOAD}, 0),
    "lists in a field that is ignored": (
        b'{"x":' + b"[" * 500_000 + b"]" * 500_000 + b',"readings":[]}',
        {Reason.PAYLOAD},
        0,
    ),
    "lists in a value, as deep as can be read": (
        with_value(b"[" * 400 + b"]" * 400),
        {Reason.BAD_VALUE},
        1,
    ),
    "empty rows": (b'{"readings":[' + b"{}," * 349_000 + b"{}]}", {Reason.TOO_LARGE}, 0),
    "numbers for rows": (b'{"readings":[' + b"1," * 520_000 + b"1]}", {Reason.TOO_LARGE}, 0),
    "empty rows below the bound": (rows_of(lambda _: b"{}"), {Reason.PAYLOAD}, 0),
    "rows without values": (rows_of(lambda _: main_meter(NOW, b"")), {Reason.PAYLOAD}, 0),
    "rows of invented devices": (
        rows_of(lambda n: b'{"device":"d%d","time":1,"values":{"a":1}}' % n),
        {Reason.UNKNOWN_DEVICE},
        0,
    ),
    "invented quantities, a row each": (
        rows_of(lambda n: main_meter(NOW, b'"q%d":1' % n)),
        {Reason.UNKNOWN_QUANTITY},
        0,
    ),
    "invented quantities in one row": (
        values_of(lambda n: b'"q%d":1' % n),
        {Reason.UNKNOWN_QUANTITY},
        0,
    ),
    "texts for values": (values_of(lambda n: b'"q%d":""' % n), {Reason.BAD_VALUE}, 0),
    "invented units": (
        rows_of(
            lambda n: main_meter(NOW, b'"power.active":1', b',"units":{"power.active":"k%d"}' % n)
        ),
        {Reason.UNKNOWN_UNIT},
        0,
    ),
    "invented serial numbers": (
        rows_of(lambda n: main_meter(NOW, b'"power.active":1', b',"serial":%d' % n)),
        {Reason.WRONG_SERIAL},
        0,
    ),
    "impossible times": (
        rows_of(lambda n: main_meter(b'"%x"' % n, b'"power.active":1')),
        {Reason.BAD_TIME},
        0,
    ),
    "invented flags": (
        filled(
            b'{"readings":[{"device":"main-meter","time":%d,"values":{},"flags":{' % T0,
            lambda n: b'"q%d":""' % n,
            b"}}]}",
        ),
        {Reason.UNKNOWN_QUANTITY},
        0,
    ),
    "100,000 digits": (with_value(b"1" * 100_000), {Reason.PAYLOAD}, 0),
    "100,000 digits behind the point": (with_value(b"0." + b"9" * 100_000), set(), 2),
    "100,000 digits for a time": (
        b'{"readings":[' + main_meter(b"9" * 100_000, b'"power.active":1') + b"]}",
        {Reason.PAYLOAD},
        0,
    ),
    "100,000 digits for an id": (
        message(row(), id=0).replace(b'"id": 0', b'"id": ' + b"9" * 100_000),
        {Reason.PAYLOAD},
        0,
    ),
    "an integer beyond float64": (with_value(b"1" * 400), {Reason.BAD_VALUE}, 1),
    "a number beyond float64": (with_value(b"1e999"), {Reason.PAYLOAD}, 0),
    "an exponent of 1,000 digits": (with_value(b"1e" + b"9" * 1000), {Reason.PAYLOAD}, 0),
    "a number that is nearly nothing": (with_value(b"1e-999"), set(), 2),
    "NaN": (message(row(values={"power.active": math.nan})), {Reason.PAYLOAD}, 0),
    "Infinity": (message(row(values={"power.active": -math.inf})), {Reason.PAYLOAD}, 0),
    "no UTF-8": (b'{"readings":[{"device":"\xff","time":1,"values":{}}]}', {Reason.PAYLOAD}, 0),
    "half of a surrogate pair": (
        b'{"readings":[{"device":"\\ud800","time":1,"values":{}}]}',
        {Reason.PAYLOAD},
        0,
    ),
    "UTF-16": (message(row()).decode().encode("utf-16"), {Reason.PAYLOAD}, 0),
    "zeros": (b"\0" * MIB, {Reason.PAYLOAD}, 0),
    "blanks": (b" " * MIB, {Reason.PAYLOAD}, 0),
    "a text": (b'"' + b"\\u0061" * (MIB // 6) + b'"', {Reason.PAYLOAD}, 0),
    "no gzip though it begins so": (b"\x1f\x8b" + b"\x08" * 1000, {Reason.PAYLOAD}, 0),
    "gzip of gzip": (gzip.compress(gzip.compress(message(row()))), {Reason.PAYLOAD}, 0),
    "gzip that ends early": (gzip.compress(message(row()))[:-1], {Reason.PAYLOAD}, 0),
    "gzip and something behind it": (gzip.compress(message(row())) + b"x", {Reason.PAYLOAD}, 0),
    "gzip with a wrong checksum": (
        PACKED[:-8] + b"\0\0\0\0" + PACKED[-4:],
        {Reason.PAYLOAD},
        0,
    ),
    "a gzip bomb": (gzip.compress(b"[" * (64 * MIB), 1), {Reason.TOO_LARGE}, 0),
    "a small gzip bomb": (gzip.compress(message(row()) + b" " * MIB), {Reason.TOO_LARGE}, 0),
    "gzip of too many values": (
        gzip.compress(b'{"readings":[' + random.Random(1).randbytes(20_000).hex().encode()
                      + b"," * MOST_ITEMS + b"]}"),
        {Reason.TOO_LARGE},
        0,
    ),
}  # fmt: skip


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.usefixtures("traced")
def test_it_is_refused_with_its_reason(name: str) -> None:
    payload, reasons, stored = ATTACKS[name]
    good, fleet = message(row()), Fleet()
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    decoded = decode(good, payload, good, fleet=fleet)
    _, peak = tracemalloc.get_traced_memory()
    assert peak - before < 48 * MIB
    assert {refusal.reason for refusal in decoded.refusals} == reasons
    assert len(decoded.refusals) < 20
    assert all(len(refusal.detail) <= 400 for refusal in decoded.refusals)
    assert [one.stored for one in decoded.receipts] == [3, stored, 3]


def test_a_bomb_is_never_held(traced: None) -> None:
    bomb = ATTACKS["a gzip bomb"][0]
    fleet = Fleet()
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    decode(bomb, fleet=fleet)
    assert (
        tracemalloc.get_traced_memory()[1] - before < 2 * MOST_BYTES + MIB
    )  # zlib grows by copying


class TestGzip:
    def test_a_packed_message_is_the_same_message(self) -> None:
        plain = message(row(), row("nobody"), id="m-1")
        one, other = decode(plain), decode(gzip.compress(plain))
        assert one.receipts == other.receipts
        assert one.batch.value.tolist() == other.batch.value.tolist()
        assert other.refusals[0].sample == gzip.compress(plain)

    def test_a_message_may_be_larger_than_it_came(self) -> None:
        rng = random.Random(7)
        many = [
            row(time=T0 + n, values={"power.active": rng.randint(0, 9999) / 10})
            for n in range(30_000)
        ]
        packed = gzip.compress(message(*many))
        assert len(packed) < MIB < len(message(*many)) < MOST_BYTES
        assert decode(packed).receipts[0].stored == 30_000

    def test_the_bound_is_the_callers(self) -> None:
        fleet = Fleet()
        decoder = type(fleet.decoder)(
            fleet.registry, fleet.table, fleet.origins.ids, source="mqtt:main",
            late_after_ms=600_000, profiles={}, max_bytes=1000,
        )  # fmt: skip
        big = message(*[row()] * 20)
        found = decoder.decode_many([(topic(), raw, T0) for raw in (big, gzip.compress(big))])
        assert [r.reason for r in found.refusals] == [Reason.TOO_LARGE] * 2
        assert all("1,000" in r.detail for r in found.refusals)

    def test_what_readings_become_is_far_from_the_ratio(self) -> None:
        still = [row(time=T0 + 900_000 * n) for n in range(96)]
        assert len(message(*still)) / len(gzip.compress(message(*still))) < MOST_RATIO / 3


def test_of_a_name_given_twice_the_last_counts() -> None:
    """One object, so one point at one time: of two readings the later one holds, as anywhere."""
    raw = b'{"readings":[{"device":"x","device":"main-meter","time":%d,"values":{%s}}]}'
    decoded = decode(raw % (T0, b'"power.active":1,"power.active":2'))
    assert decoded.batch.value.tolist() == [2.0]


def test_a_byte_order_mark_is_no_fault() -> None:
    assert decode(b"\xef\xbb\xbf" + message(row())).receipts[0].stored == 3


def test_invented_names_cost_no_search_for_the_nearest_for_ever() -> None:
    fleet = Fleet()
    for number in range(HINTS + 5):
        decode(message(row(f"mian-meter{number}")), fleet=fleet)
    (last,) = decode(message(row("mian-meter")), fleet=fleet).refusals
    assert last.detail == "no device 'mian-meter' at site 'print'"


@pytest.mark.parametrize("name", ["\x1b[31mred", "two\nlines", "\u202eright", "\x00"])
def test_nothing_that_steers_a_terminal_is_told(name: str) -> None:
    told = [
        row(name), row(serial=name), row(time=name), row(units={"power.active": name}),
        row(values={name: 1}), row(values={name: "1"}), row(values={"power.active": name}),
    ]  # fmt: skip
    decoded = decode(*(message(one) for one in told))
    assert len(decoded.refusals) == len(told)
    assert all(refusal.detail.isprintable() for refusal in decoded.refusals)


# Properties.

_names = st.sampled_from(
    ["readings", "tables", "columns", "rows", "device", "time", "values", "units", "flags",
     "serial", "backfill", "id", "main-meter", "power.active", "W", "N", ""]
)  # fmt: skip
_scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | _names | st.text(max_size=5)
    | st.just(T0)
)  # fmt: skip
_json = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_names, inner, max_size=5),
    max_leaves=25,
)


def plain(value: Any) -> bytes:
    return json.dumps(value).encode()


def accounted(payload: bytes) -> None:
    decoded = decode(payload, fleet=FLEET)
    (one,) = decoded.receipts
    assert one.stored == len(decoded.batch)
    assert one.stored or one.refused
    assert Reason.PROGRAM_FAULT not in {refusal.reason for refusal in decoded.refusals}


FLEET = Fleet()


@given(_json)
def test_any_json_is_accounted_for(value: Any) -> None:
    accounted(plain(value))


@given(st.lists(st.dictionaries(_names, _json, max_size=6), max_size=3))
def test_any_rows_are_accounted_for(rows: list[Any]) -> None:
    accounted(plain({"readings": rows}))


@given(st.binary(max_size=200))
def test_any_bytes_are_accounted_for(raw: bytes) -> None:
    for payload in (raw, gzip.compress(raw), b"\x1f\x8b" + raw):
        accounted(payload)


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_any_flipped_byte_of_a_packed_message(at: int, flip: int) -> None:
    raw = bytearray(gzip.compress(message(row()), mtime=0))
    raw[at % len(raw)] ^= flip
    accounted(bytes(raw))
