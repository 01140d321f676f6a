"""What the codec and the planner promise: any order, any type, nothing invented, every register
once and no bound broken. Pure, so mostly by property."""

from __future__ import annotations

import itertools
import math
import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.sources.modbus.codec import (
    KINDS,
    Decoder,
    Field,
    byte_order,
    decode_one,
    encode,
    spread,
)
from adapters.sources.modbus.plan import Block, blocks, plan, width
from collector.model import Quality
from collector.profile import ORDERS, TYPES, Profile, Register, parse_profile
from collector.registry import Device


def register(kind: str, order: str = "ABCD", **more: object) -> Register:
    return Register("process.load", 3, 0, kind, "%", order=order, **more)  # type: ignore[arg-type]


def words(text: str) -> list[int]:
    raw = bytes.fromhex(text)
    return list(struct.unpack(f">{len(raw) // 2}H", raw))


@pytest.mark.parametrize(
    ("kind", "order", "wire", "number"),
    [
        # From the field: an ultrasonic heat meter (low word first), a gas corrector (BCD and
        # floats), a supply voltage.
        ("f32", "CDAB", "806B4212", 36.6254),
        ("f32", "ABCD", "4B3C6156", 12345686.0),
        ("f32", "ABCD", "449B6392", 1243.1116),
        ("f32", "ABCD", "40220C4A", 2.532),
        ("f32", "ABCD", "40200000", 2.5),
        ("f32", "ABCD", "41AD3127", 21.649),
        ("f32", "ABCD", "42CC6C8B", 102.212),
        ("f32", "ABCD", "4366199A", 230.1),
        ("bcd48", "ABCD", "000012431116", 12431116),
        # One number in all four orders.
        ("u32", "ABCD", "01020304", 0x01020304),
        ("u32", "CDAB", "03040102", 0x01020304),
        ("u32", "BADC", "02010403", 0x01020304),
        ("u32", "DCBA", "04030201", 0x01020304),
        ("u64", "CDAB", "0708050603040102", 0x0102030405060708),
        ("u64", "DCBA", "0807060504030201", 0x0102030405060708),
        ("u64", "BADC", "0201040306050807", 0x0102030405060708),
        ("bcd48", "CDAB", "111612430000", 12431116),
        ("u16", "ABCD", "0102", 0x0102),
        ("u16", "BADC", "0201", 0x0102),
        ("u16", "CDAB", "0102", 0x0102),
        ("i16", "ABCD", "FFFF", -1),
        ("i32", "ABCD", "FFFFFFFF", -1),
        ("i64", "ABCD", "FFFFFFFFFFFFFFFF", -1),
        ("i32", "CDAB", "FFFEFFFF", -2),
        ("f64", "ABCD", "4009 21FB 5444 2D18", math.pi),
        ("f64", "CDAB", "2D18 5444 21FB 4009", math.pi),
        ("u48", "ABCD", "010203040506", 0x010203040506),
        ("u48", "CDAB", "050603040102", 0x010203040506),
        ("i48", "DCBA", "FEFFFFFFFFFF", -2),
        ("bcd16", "ABCD", "9876", 9876),
        ("bcd32", "DCBA", "78563412", 12345678),
        ("bcd64", "ABCD", "1234567890123456", 1234567890123456),
    ],
)
def test_decodes_what_is_on_the_wire(kind: str, order: str, wire: str, number: float) -> None:
    assert decode_one(register(kind, order), words(wire)) == pytest.approx(number, rel=1e-6)


@pytest.mark.parametrize(
    ("kind", "wire"),
    [
        ("u16", "FFFF"),
        ("u32", "FFFFFFFF"),
        ("u64", "FFFFFFFFFFFFFFFF"),
        ("i16", "7FFF"),
        ("i16", "8000"),
        ("i32", "7FFFFFFF"),
        ("u48", "FFFFFFFFFFFF"),
        ("i48", "800000000000"),
        ("i64", "7FFFFFFFFFFFFFFF"),
        ("f32", "7FC00000"),
        ("f32", "FFFFFFFF"),
        ("f32", "7F800000"),  # infinity
        ("f64", "7FF8000000000000"),
        ("bcd16", "FFFF"),
        ("bcd32", "0000 00A0"),  # no decimal digit
        ("bcd48", "FFFFFFFFFFFF"),
        ("bcd64", "12345678901234E6"),  # reads like 1.2e19 where digits are not checked
    ],
)
def test_what_the_device_does_not_give_is_no_value_and_never_zero(kind: str, wire: str) -> None:
    decoder = Decoder([Field(register(kind), 0)], 2 * KINDS[kind].words)
    values, qualities = decoder.decode(bytes.fromhex(wire))
    assert np.isnan(values).all()
    assert qualities.tolist() == [Quality.NO_VALUE]


@pytest.mark.parametrize(
    ("kind", "named", "wire"),
    [("i16", -200.0, "FF38"), ("f32", 9999.99, struct.pack(">f", 9999.99).hex())],
)
def test_a_number_that_the_profile_names_is_no_value(kind: str, named: float, wire: str) -> None:
    """Compared as the register can hold it: 9999.99 is no 32-bit float."""
    decoder = Decoder([Field(register(kind, no_value=(named,)), 0)], 2 * KINDS[kind].words)
    values, qualities = decoder.decode(bytes.fromhex(wire))
    assert math.isnan(values[0])
    assert qualities[0] == Quality.NO_VALUE


def numbers(kind: str) -> st.SearchStrategy[float]:
    """Raw numbers that the type can hold and that mean something."""
    if kind == "bit":
        return st.sampled_from([0.0, 1.0])
    if kind == "f32":
        return st.floats(width=32, allow_nan=False, allow_infinity=False)
    if kind == "f64":
        return st.floats(-1e300, 1e300)
    bits = 16 * TYPES[kind]
    if kind.startswith("bcd"):
        # the largest 16 digits are no float64: it would round up to a 17th
        most = min(10 ** (bits // 4) - 1, 2**53)
        return st.integers(0, most).map(float)
    if kind.startswith("u"):
        return st.integers(0, 2**bits - 2).filter(lambda n: float(n) < 2**bits - 1).map(float)
    half = 2 ** (bits - 1)
    return st.integers(-half + 1, half - 2).filter(lambda n: -half < float(n) < half - 1).map(float)


@st.composite
def layouts(draw: st.DrawFn) -> list[tuple[Register, float]]:
    """Registers of any types and orders, with gaps, in any order, and a number for each."""
    found: list[tuple[Register, float]] = []
    address = 0
    for _ in range(draw(st.integers(1, 12))):
        address += draw(st.integers(0, 5))
        kind = draw(st.sampled_from(sorted(TYPES)))
        one = Register(
            "process.load",
            3,
            address,
            kind,
            "%",
            order=draw(st.sampled_from(ORDERS)),
            bit=draw(st.integers(0, 15)) if kind == "bit" else 0,
        )
        found.append((one, draw(numbers(kind))))
        address += TYPES[kind]
    return draw(st.permutations(found))


@given(layouts(), st.floats(-100, 100).filter(lambda x: x == 0 or abs(x) > 1e-6))
def test_decoding_undoes_encoding(layout: list[tuple[Register, float]], shift: float) -> None:
    image: dict[int, int] = {}
    for one, number in layout:
        for n, word in enumerate(encode(one, number)):
            image[one.address + n] = word
    size = max(image) + 1
    raw = struct.pack(f">{size}H", *(image.get(n, 0xA5A5) for n in range(size)))
    fields = [Field(one, 2 * one.address, gain=2.0, shift=shift) for one, _ in layout]
    values, qualities = Decoder(fields, len(raw)).decode(raw)
    assert values.tolist() == [number * 2.0 + shift for _, number in layout]
    assert not qualities.any()


@given(st.binary(min_size=26, max_size=26), st.sampled_from(ORDERS))
def test_any_bytes_decode_to_something_finite_or_to_no_value(raw: bytes, order: str) -> None:
    fields = [
        Field(register(kind, order), at)
        for kind in sorted(TYPES)
        for at in range(0, 26 - 2 * TYPES[kind] + 1, 7)
    ]
    values, qualities = Decoder(fields, 26).decode(raw)
    assert ((qualities == Quality.NO_VALUE) == np.isnan(values)).all()
    assert np.isfinite(values[qualities == Quality.GOOD]).all()


@pytest.mark.parametrize(
    ("bit", "bits", "wire", "number"),
    [(0, 8, "5A5C", 0x5C), (8, 8, "5A5C", 0x5A), (4, 3, "0070", 7), (15, 1, "8000", 1)],
)
def test_bits_of_a_register_are_a_number(bit: int, bits: int, wire: str, number: int) -> None:
    one = register("bit", bit=bit, bits=bits)
    assert decode_one(one, words(wire)) == number
    assert decode_one(one, encode(one, number)) == number


def part(address: int, kind: str, **more: object) -> Register:
    return Register("", 3, address, kind, "1", **more)  # type: ignore[arg-type]


def read_whole(one: Register, wire: dict[int, tuple[int, ...]]) -> tuple[float, int]:
    """What a register with parts gives, of the words at each address."""
    held = {at + n: word for at, several in wire.items() for n, word in enumerate(several)}
    size = max(held) + 1
    raw = struct.pack(f">{size}H", *(held.get(n, 0xA5A5) for n in range(size)))
    field = Field(one, 2 * one.address, parts=tuple(2 * p.address for p in one.parts))
    values, qualities = Decoder([field], len(raw)).decode(raw)
    return float(values[0]), int(qualities[0])


FRACTION = part(2, "f32", order="CDAB")
PT, CT = part(4, "u16", scale=0.1), part(5, "u16")
TENS = part(6, "i16")
WHOLE = replace(register("i32", "CDAB"), plus=FRACTION)
SCALED = replace(register("u32"), times=(PT, CT))
MANTISSA = replace(register("i32"), ten_to=TENS)


@pytest.mark.parametrize(
    ("one", "wire", "number"),
    [
        # an ultrasonic heat meter's total: 20 000 001 and 0.75, low words first
        (WHOLE, {0: (0x2D01, 0x0131), 2: (0x0000, 0x3F40)}, 20000001.75),
        (SCALED, {0: (0x000F, 0x4240), 4: (1000, 60)}, 1000000 * 100.0 * 60),
        (MANTISSA, {0: (0x0001, 0x86A1), 6: (0xFFFD,)}, 100.001),
        (MANTISSA, {0: (0xFFFF, 0xFFFF), 6: (3,)}, -1000.0),
    ],
)
def test_a_value_is_put_together_of_its_parts(
    one: Register, wire: dict[int, tuple[int, ...]], number: float
) -> None:
    assert read_whole(one, wire) == (number, Quality.GOOD)


@pytest.mark.parametrize(
    ("one", "wire"),
    [
        (WHOLE, {0: (0x2D01, 0x0131), 2: (0x0000, 0x7FC0)}),  # the fraction is no number
        (WHOLE, {0: (0xFFFF, 0x7FFF), 2: (0x0000, 0x3F40)}),  # the whole is none
        (SCALED, {0: (0, 5), 4: (0, 60)}),  # a ratio of 0 would make a reading of 0
        (SCALED, {0: (0, 5), 4: (1000, 0xFFFF)}),  # a ratio that was never set
        (MANTISSA, {0: (0, 5), 6: (0x8000,)}),  # an exponent that says "none"
        (MANTISSA, {0: (0, 5), 6: (300,)}),  # no exponent but a wrong map
    ],
)
def test_a_part_without_a_value_leaves_none(
    one: Register, wire: dict[int, tuple[int, ...]]
) -> None:
    value, quality = read_whole(one, wire)
    assert math.isnan(value)
    assert quality == Quality.NO_VALUE


def test_a_ratio_that_many_values_share_is_decoded_once() -> None:
    fields = [Field(SCALED, 0, parts=(8, 10)), Field(replace(SCALED, address=2), 4, parts=(8, 10))]
    raw = struct.pack(">IIHH", 7, 9, 10, 3)
    assert Decoder(fields, len(raw)).decode(raw)[0].tolist() == [21.0, 27.0]


@given(
    st.integers(0, 2**31 - 2),
    st.integers(0, 99),
    st.integers(1, 400),
    st.integers(-6, 6),
)
def test_a_simulated_meter_keeps_a_number_as_its_parts_do(
    whole: int, hundredths: int, ratio: int, exponent: int
) -> None:
    for one, held in ((WHOLE, {}), (SCALED, {CT: float(ratio)}), (MANTISSA, {TENS: exponent})):
        number = whole * math.prod(held.values() if one is SCALED else (1,))
        number = number / 10 if one is SCALED else number  # PT 1, kept in tenths
        if one is MANTISSA:
            number = float(whole) * 10.0**exponent
        number += hundredths / 100 if one is WHOLE else 0
        kept = {p.address: encode(p, raw) for p, raw in spread(one, number, held)}
        assert read_whole(one, kept)[0] == pytest.approx(number, rel=1e-9, abs=1e-7)


def test_counters_wrap_as_registers_do() -> None:
    assert encode(register("u32"), 2**32 + 5) == (0, 5)
    assert encode(register("bcd16"), 12345) == (0x2345,)
    assert decode_one(register("i16"), encode(register("i16"), -5)) == -5


@pytest.mark.parametrize("kind", sorted(set(TYPES) - {"bit"}))
def test_a_simulated_meter_without_a_value_says_so(kind: str) -> None:
    assert math.isnan(decode_one(register(kind), encode(register(kind), math.nan)))


def test_the_codec_knows_every_type_a_profile_may_name() -> None:
    assert {name: kind.words for name, kind in KINDS.items()} == TYPES
    assert byte_order(2, "CDAB") == (2, 3, 0, 1)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([1, 2, 3, 4]), st.integers(0, 300), st.sampled_from(sorted(TYPES))
        ),
        min_size=1,
        max_size=40,
    ),
    st.integers(0, 30),
    st.integers(4, 125),
)
def test_blocks_cover_every_register_once_and_keep_the_bounds(
    wanted: list[tuple[int, int, str]], max_gap: int, max_block: int
) -> None:
    registers = [
        Register("process.load", function, address, "bit" if function < 3 else kind, "%")
        for function, address, kind in wanted
    ]
    found = blocks(registers, max_gap, max_block)
    assert all(1 <= block.count <= max_block for block in found)
    for one in registers:
        own = [
            block
            for block in found
            if block.function == one.function
            and block.address <= one.address
            and one.address + width(one) <= block.address + block.count
        ]
        assert own, f"{one} is in no block"
    for block in found:
        used = sorted(
            (one.address, one.address + width(one))
            for one in registers
            if one.function == block.function
            and block.address <= one.address
            and one.address + width(one) <= block.address + block.count
        )
        reach = block.address
        assert used[0][0] == block.address
        for start, end in used:
            assert start - reach <= max_gap, "a gap was read over that is too wide"
            reach = max(reach, end)
        assert reach == block.address + block.count, "reads past the last wanted register"
    spans = {(function, n) for function, address, _ in wanted for n in range(address, address + 1)}
    distinct = len({(b.function, b.address) for b in found})
    assert distinct == len(found) <= len(spans)


@given(st.lists(st.integers(0, 400), min_size=1, max_size=30, unique=True), st.integers(0, 30))
def test_blocks_do_not_overlap_and_are_as_few_as_the_bounds_allow(
    addresses: list[int], max_gap: int
) -> None:
    """Single registers: a sweep from the left is the least, so compare with the plain count."""
    registers = [Register("process.load", 3, address, "u16", "%") for address in addresses]
    found = blocks(registers, max_gap, 50)
    count, start, last = 0, -1000, -1000
    for address in sorted(addresses):
        if address - last - 1 > max_gap or address - start >= 50:
            count, start = count + 1, address
        last = address
    assert len(found) == count
    for one, two in itertools.pairwise(found):
        assert one.address + one.count <= two.address


MIXED = parse_profile(
    """
name = "mixed"
maker = "test"
model = "mixed"
label = "mixed"
label_zh = "混合"
source = "test"
max_gap = 4
[defaults]
function = 3
type = "u16"
[[register]]
quantity = "energy.active.import"
address = 0x10
type = "u32"
unit = "Wh"
scale = 10
ratio = true
[[register]]
quantity = "power.active"
address = 0x14
unit = "W"
ratio = true
[[register]]
quantity = "voltage.l1"
address = 0x00
unit = "V"
scale = 0.1
ratio = true
[[register]]
quantity = "current.l1"
address = 0x01
unit = "A"
scale = 0.01
ratio = true
[[register]]
quantity = "fluegas.temperature"
address = 0x02
unit = "K"
no_value = [0]
[[register]]
quantity = "process.running"
address = 0x05
function = 2
type = "bit"
unit = "1"
""",
    "mixed.toml",
)
DEVICE = Device(
    "s", "d", "p", "mixed", ratio=300.0, voltage_ratio=10.0, current_ratio=30.0, no_value=(999,)
)
IDS = {f"s/p/{row.quantity}/raw": n for n, row in enumerate(MIXED.registers)}


def image(read: dict[tuple[int, int], int], found: tuple[Block, ...]) -> bytes:
    return b"".join(
        struct.pack(">H", read.get((block.function, block.address + n), 0))
        for block in found
        for n in range(block.count)
    )


def test_a_plan_brings_every_value_into_its_unit_and_leaves_counters_as_shown() -> None:
    made = plan(DEVICE, MIXED, IDS)
    assert made.blocks == (Block(2, 5, 1), Block(3, 0, 3), Block(3, 16, 5))
    read = {
        (3, 0x10): 1,
        (3, 0x11): 0,
        (3, 0x14): 1500,
        (3, 0x00): 2301,
        (3, 0x01): 123,
        (3, 0x02): 300,
        (2, 0x05): 1,
    }
    values, qualities = made.decode(image(read, made.blocks))
    got = dict(zip(made.points.tolist(), values.tolist(), strict=True))
    assert got == pytest.approx(
        {
            0: 655.36,  # 65536 * 10 Wh, the ratio not applied
            1: 450.0,  # 1500 W * 300
            2: 2301.0,  # 230.1 V * 10, not * 300
            3: 36.9,  # 1.23 A * 30
            4: 26.85,  # 300 K
            5: 1.0,
        }
    )
    assert not qualities.any()


def test_the_registry_names_no_value_as_shown_or_as_in_the_register() -> None:
    made = plan(DEVICE, MIXED, IDS)
    for raw, missing in ((9990, True), (999, True), (2301, False), (0, False)):
        values, qualities = made.decode(image({(3, 0x00): raw, (3, 0x02): 1}, made.blocks))
        at = made.points.tolist().index(2)
        assert math.isnan(values[at]) is missing
        assert bool(qualities[at] == Quality.NO_VALUE) is missing


def test_only_what_has_an_id_and_is_wanted_is_read() -> None:
    assert plan(DEVICE, MIXED, {"s/p/voltage.l1/raw": 7}).blocks == (Block(3, 0, 1),)
    only = Device("s", "d", "p", "mixed", quantities=("power.active",))
    assert plan(only, MIXED, IDS).points.tolist() == [1]
    assert plan(DEVICE, MIXED, {}).blocks == ()


def test_a_strict_device_is_read_over_no_gap_and_without_what_it_refused() -> None:
    strict = plan(DEVICE, MIXED, IDS, strict=True)
    assert strict.blocks == (Block(2, 5, 1), Block(3, 0, 3), Block(3, 16, 2), Block(3, 20, 1))
    less = plan(DEVICE, MIXED, IDS, strict=True, without={Block(3, 16, 2), Block(2, 5, 1)})
    assert sorted(less.points.tolist()) == [1, 2, 3, 4]
    values, _ = less.decode(image({(3, 20): 2}, less.blocks))
    assert values[less.points.tolist().index(1)] == pytest.approx(0.6)


def profile_of(*registers: Register) -> Profile:
    return Profile("t", "", "", "", "", "", registers, {})


def test_coils_and_registers_that_share_an_address_are_both_read() -> None:
    shared = profile_of(
        Register("process.running", 3, 4, "bit", "1", bit=0),
        Register("treatment.running", 3, 4, "bit", "1", bit=9),
        Register("process.load", 3, 4, "u16", "%"),
    )
    ids = {f"s/p/{row.quantity}/raw": n for n, row in enumerate(shared.registers)}
    made = plan(Device("s", "d", "p", "t"), shared, ids)
    assert made.blocks == (Block(3, 4, 1),)
    values, _ = made.decode(struct.pack(">H", 0x0200))
    assert dict(zip(made.points.tolist(), values.tolist(), strict=True)) == {0: 0, 1: 1, 2: 512}
