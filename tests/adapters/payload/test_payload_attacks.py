"""Hostile messages: each ends as a refusal with its reason, within bounded time and memory, and
harms no neighbour. Sizes are those of the largest message that comes in (1 MiB)."""

from __future__ import annotations

import gzip
import random
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.sources.payload import Decoded
from adapters.sources.payload.plan import _HINTS as HINTS
from adapters.sources.payload.unpack import MOST_BYTES, MOST_RATIO
from collector.model import Reason
from tests.adapters.payload.any_messages import anything, names, plain
from tests.adapters.payload.decoded import accounted
from tests.adapters.payload.hostile import ATTACKS, MIB
from tests.adapters.payload.pushed import T0, Fleet, message, row, topic


def decode(*payloads: bytes, fleet: Fleet | None = None) -> Decoded:
    decoder = (fleet or Fleet()).decoder
    return decoder.decode_many([(topic(), payload, T0) for payload in payloads])


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


@given(anything)
def test_any_json_is_accounted_for(value: Any) -> None:
    accounted(plain(value))


@given(st.lists(st.dictionaries(names, anything, max_size=6), max_size=3))
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
