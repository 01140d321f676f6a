"""How every model is read: each point once, no bound broken, nothing torn, and a value is the same
whatever is read with it. By property, over the models that come with the program and over maps
that nobody made."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.profiles import load_profiles
from adapters.sources.modbus.plan import Block, Plan, blocks, plan, requests
from collector.profile import TYPES, Profile, Register
from collector.quantities import quantities
from collector.registry import Device

MODELS = [one for _, one in sorted(load_profiles().items()) if one.registers]
NAMES = sorted(quantities())


def addresses(register: Register) -> set[tuple[int, int]]:
    return {(register.function, register.address + n) for n in range(register.width)}


def within(block: Block) -> set[tuple[int, int]]:
    return {(block.function, block.address + n) for n in range(block.count)}


def keeps_the_bounds(found: Sequence[Block], wanted: Sequence[Register], profile: Profile) -> None:
    """Judged register by register, not by the planner's own arithmetic."""
    needed = set().union(*(addresses(p) for one in wanted for p in (one, *one.parts)))
    for block in found:
        inside = within(block)
        assert block.count <= profile.max_block
        assert not any(
            first <= address <= last for first, last in profile.holes for _, address in inside
        ), "reads a hole"
        assert {min(inside), max(inside)} <= needed, "begins or ends with what nobody wants"
        idle = 0
        for address in sorted(inside):
            idle = 0 if address in needed else idle + 1
            assert idle <= profile.max_gap, "reads over too much that nobody wants"
    for one in (p for register in wanted for p in (register, *register.parts)):
        holding = [block for block in found if addresses(one) <= within(block)]
        assert len(holding) == 1, f"{one} is read {len(holding)} times"
    for one in wanted:
        if one.plus is not None:
            together = addresses(one) | addresses(one.plus)
            assert any(together <= within(block) for block in found), "a total is torn"
    if profile.alone:
        for block in found:
            assert len({one.span for one in wanted if addresses(one) & within(block)}) <= 1


def planned(profile: Profile, wanted: Sequence[Register], *, strict: bool = False) -> Plan:
    ids = {f"s/p/{one.quantity}/raw": n for n, one in enumerate(wanted)}
    return plan(Device("s", "d", "p", profile.name), profile, ids, strict=strict)


def read(made: Plan, memory: dict[tuple[int, int], int]) -> dict[int, float]:
    image = b"".join(
        struct.pack(">H", memory[block.function, block.address + n])
        for block in made.blocks
        for n in range(block.count)
    )
    values, _ = made.decode(image)
    return dict(zip(made.points.tolist(), values.tolist(), strict=True))


class Memory(dict[tuple[int, int], int]):
    """A device of which every register holds something, small so that exponents are some."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def __missing__(self, key: tuple[int, int]) -> int:
        self[key] = self._random.choice((0, 1, 2, 0x4366, 0x199A, 0x1234, 0xFFFF, 0x7FC0))
        return self[key]


@given(st.sampled_from(MODELS), st.data())
@settings(max_examples=300, deadline=None)
def test_any_choice_of_a_models_values_is_read_once_each_within_its_bounds(
    profile: Profile, data: st.DataObject
) -> None:
    wanted = data.draw(
        st.lists(st.sampled_from(profile.registers), min_size=1, unique_by=lambda r: r.quantity)
    )
    strict = data.draw(st.booleans())
    made = planned(profile, wanted, strict=strict)
    assert sorted(made.points.tolist()) == list(range(len(wanted)))
    bounds = replace(profile, max_gap=0) if strict else profile
    keeps_the_bounds(made.blocks, wanted, bounds)
    memory = Memory(data.draw(st.integers(0, 1000)))
    got = read(made, memory)
    for n, one in enumerate(wanted):
        (alone,) = read(planned(profile, [one]), memory).values()
        np.testing.assert_equal(got[n], alone)


@st.composite
def maps(draw: st.DrawFn) -> Profile:
    """A map that nobody made: values of any width, fractions beside them, ratios elsewhere,
    holes between them, and bounds that hold the widest."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=25, unique=True))
    ratio = Register("", 3, draw(st.integers(2000, 2100)), "u16", "1")
    rows: list[Register] = []
    holes: list[tuple[int, int]] = []
    address = 0
    for name in names:
        hole = draw(st.integers(0, 3))
        address += draw(st.integers(0, 8))
        if hole:
            holes.append((address, address + hole - 1))
            address += hole
        kind = draw(st.sampled_from([kind for kind in TYPES if kind != "bit"]))
        one = Register(name, 3, address, kind, quantities()[name].unit)
        address += one.width
        if draw(st.integers(0, 3)) == 0:
            one = replace(one, plus=Register("", 3, address, "f32", "1"))
            address += 2
        if draw(st.integers(0, 3)) == 0:
            one = replace(one, times=(ratio,))
        rows.append(one)
    return Profile(
        *("m",) * 6,
        tuple(draw(st.permutations(rows))),
        {},
        max_gap=draw(st.integers(0, 20)),
        max_block=draw(st.integers(6, 125)),
        holes=tuple(holes),
        alone=draw(st.booleans()),
    )


@given(maps())
@settings(max_examples=300, deadline=None)
def test_any_map_is_read_once_each_within_its_bounds(profile: Profile) -> None:
    keeps_the_bounds(requests(profile), profile.registers, profile)
    made = planned(profile, profile.registers)
    assert made.blocks == requests(profile)
    assert sorted(made.points.tolist()) == list(range(len(profile.registers)))


@given(maps())
@settings(max_examples=100, deadline=None)
def test_wider_bounds_never_cost_more_requests(profile: Profile) -> None:
    least = len(requests(replace(profile, max_gap=125, max_block=125, holes=(), alone=False)))
    found = len(requests(profile))
    most = len(requests(replace(profile, alone=True)))
    assert least <= found <= most


@pytest.mark.parametrize("profile", MODELS, ids=lambda one: one.name)
def test_no_model_needs_more_requests_than_it_has_values(profile: Profile) -> None:
    found = requests(profile)
    assert len(found) <= len(profile.registers)
    keeps_the_bounds(found, profile.registers, profile)


def test_values_that_are_read_alone_share_a_request_only_where_they_share_registers() -> None:
    low = Register("process.running", 3, 4, "bit", "1")
    high = Register("treatment.running", 3, 4, "bit", "1", bit=8)
    beside = Register("process.load", 3, 5, "u16", "%")
    found = blocks([low, high, beside], 16, 125, alone=True)
    assert found == (Block(3, 4, 1), Block(3, 5, 1))


def test_what_a_value_needs_and_cannot_have_leaves_the_value_out() -> None:
    """Its ratio was refused: no number is better than one that lacks a factor."""
    profile = load_profiles()["acrel-adl400"]
    (ratios,) = [
        block
        for block in requests(replace(profile, max_gap=0))
        if block.address <= 0x8D < block.address + block.count
    ]
    ids = {f"s/p/{one.quantity}/raw": n for n, one in enumerate(profile.registers)}
    made = plan(Device("s", "d", "p", profile.name), profile, ids, strict=True, without={ratios})
    assert {one.quantity for one in made.registers} == {
        "frequency",
        "power.factor",
        "power.factor.l1",
        "power.factor.l2",
        "power.factor.l3",
    }
