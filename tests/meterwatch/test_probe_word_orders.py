"""A device that sends its long numbers in another order is caught: the order is named, and never
one that is no better than the profile's own."""

from __future__ import annotations

import asyncio
import itertools
import math
import struct
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.profiles import load_profiles
from adapters.sources.modbus.codec import decode_one, encode
from collector.profile import ORDERS, TYPES, Profile, Register
from collector.quantities import quantities
from meterwatch.clock import SimulatedClock
from meterwatch.commissioning.plausible import Value, Verdict
from meterwatch.commissioning.probe import Report, probe
from meterwatch.commissioning.probe_words import render
from meterwatch.commissioning.word_orders import choose, long_numbers, named, reordered, turned
from meterwatch.simulator.meters import Meter, MeterServer

IMAGES = Path(__file__).parents[1] / "adapters" / "profiles" / "images"
OTHER = [order for order in ORDERS if order != "ABCD"]
FLOAT = sorted(
    name
    for name, profile in load_profiles().items()
    if any(row.type in {"f32", "f64"} for row in profile.registers)
)
START = 1_767_225_600_000


def readings(name: str) -> dict[str, float]:
    """What the register image of the profile means, on the meter's side of its transformers."""
    data = tomllib.loads((IMAGES / f"{name}.toml").read_text(encoding="utf-8"))
    voltage, current = data.get("voltage_ratio", 1.0), data.get("current_ratio", 1.0)
    by = {"both": voltage * current, "voltage": voltage, "current": current}
    profile = load_profiles()[name]
    found = {}
    for row in profile.registers:
        value = data["readings"].get(row.quantity, math.nan)
        quantity = quantities()[row.quantity]
        gauge = quantity.kind != "counter"
        found[row.quantity] = value / (by.get(quantity.scales, 1.0) if row.ratio and gauge else 1.0)
    return found


def meter(profile: Profile, values: Mapping[str, float], turn: str = "ABCD") -> Meter:
    """A meter with this map, its long numbers turned, whose values move a little: gauges by some
    per mille to and fro, counters forwards."""

    def now(time: int) -> dict[str, float]:
        seconds = (time - START) / 1000
        return {
            name: value + 0.004 * seconds
            if quantities()[name].kind == "counter"
            else value * (1 + 0.003 * math.sin(seconds + n))
            for n, (name, value) in enumerate(values.items())
        }

    # parts (fractions, factors) have no place in the simulator: the map is its plain numbers
    return Meter(3, reordered(profile, turn), now)


def plain(name: str) -> Profile:
    """The profile without registers that are put together of several."""
    profile = load_profiles()[name]
    return replace(profile, registers=tuple(r for r in profile.registers if not r.parts))


async def watched(profile: Profile, one: Meter, watch: float = 10) -> Report:
    clock = SimulatedClock(START)
    async with MeterServer([one], clock.now) as server:
        going = asyncio.create_task(probe(server.url(3), profile, watch=watch, clock=clock))
        going.add_done_callback(lambda _: None)
        while not going.done():
            await clock.run_until(clock.now() + 1000)
            await asyncio.sleep(0)
        return await going


@pytest.mark.parametrize("turn", OTHER)
@pytest.mark.parametrize("name", FLOAT)
async def test_another_order_is_named_on_every_profile_with_floats(name: str, turn: str) -> None:
    profile = plain(name)
    report = await watched(profile, meter(profile, readings(name), turn))
    first = report.attempts[0]
    assert first.verdict is Verdict.IMPLAUSIBLE
    assert (first.turn, first.order) == (turn, named(profile, turn))
    shown = {value.quantity: value.value for value in first.values if value.given}
    for quantity in long_numbers(profile):
        if not math.isnan(readings(name)[quantity]):
            assert shown[quantity] == pytest.approx(readings(name)[quantity], rel=0.01, abs=0.1)
    assert first.order in render(report, "en")
    assert "顺序" in render(report, "zh")


@pytest.mark.parametrize("name", FLOAT)
async def test_its_own_order_is_never_doubted(name: str) -> None:
    profile = plain(name)
    report = await watched(profile, meter(profile, readings(name)))
    first = report.attempts[0]
    assert first.verdict in {Verdict.PLAUSIBLE, Verdict.UNDECIDED}
    assert not first.turn


@pytest.mark.parametrize("turn", OTHER)
@pytest.mark.parametrize("name", ["gavazzi-em24", "abb-b-series"])
async def test_whole_numbers_are_told_too_when_they_are_watched(name: str, turn: str) -> None:
    """230.7 V in tenths is 77.7 V with its bytes swapped: at one moment nothing tells them."""
    profile = plain(name)
    report = await watched(profile, meter(profile, readings(name), turn))
    assert report.attempts[0].turn == turn


async def test_one_reading_is_enough_where_there_are_volts() -> None:
    profile = plain("eastron-sdm630")
    one = meter(profile, readings("eastron-sdm630"), "CDAB")
    report = await watched(profile, one, watch=0)
    assert report.attempts[0].order == "CDAB"
    assert "CDAB" in render(report, "en")
    assert len(report.samples) == 1


async def test_without_being_told_the_profile_the_order_is_found_too() -> None:
    profile = plain("eastron-sdm630")
    one = meter(profile, readings("eastron-sdm630"), "CDAB")
    async with MeterServer([one], lambda: START) as server:
        report = await probe(server.url(3))
    assert report.best is None
    assert (report.attempts[0].profile, report.attempts[0].order) == ("eastron-sdm630", "CDAB")


async def test_a_meter_of_zeros_has_no_order() -> None:
    profile = plain("generic-nmhc")
    one = Meter(3, profile, lambda _: dict.fromkeys(long_numbers(profile), 0.0))
    report = await watched(profile, one)
    assert not report.attempts[0].turn


def test_turns_are_a_group() -> None:
    for a, b, c in itertools.product(ORDERS, repeat=3):
        assert turned(turned(a, b), c) == turned(a, turned(b, c))
        assert turned(turned(a, b), b) == a
    assert turned("CDAB", "BADC") == "DCBA"


def test_short_numbers_never_turn() -> None:
    profile = load_profiles()["acrel-dtsd1352"]
    for before, after in zip(profile.registers, reordered(profile, "DCBA").registers, strict=True):
        assert (after.order != before.order) == (TYPES[before.type] > 1)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(OTHER),
    st.lists(st.floats(90, 280), min_size=3, max_size=3),
    st.floats(49.5, 50.5),
    st.lists(st.floats(0.05, 900), min_size=3, max_size=3),
    st.just(0.0) | st.floats(0.01, 900_000),
)
def test_whatever_volts_and_hertz(
    turn: str, volts: list[float], hertz: float, amps: list[float], energy: float
) -> None:
    """From the words alone, without a socket: any grid's values tell the order at once."""
    shown = {f"voltage.l{n}": volts[n - 1] for n in (1, 2, 3)}
    shown |= {f"current.l{n}": amps[n - 1] for n in (1, 2, 3)}
    shown |= {"frequency": hertz, "energy.active.import": energy}

    def under(by: str) -> list[Value]:
        """Sent in ``turn``, read in ``by``."""
        found = []
        for name, value in shown.items():
            a, b, c, d = struct.pack(">f", value)
            places = {"ABCD": (a, b, c, d), "CDAB": (c, d, a, b)}
            places |= {"BADC": (b, a, d, c), "DCBA": (d, c, b, a)}
            number = struct.unpack(">f", bytes(places[turned(turn, by)]))[0]
            quality = 0 if math.isfinite(number) else 160
            found.append(Value(name, number, quantities()[name].unit, quality))
        return found

    choice = choose({by: [under(by)] for by in ORDERS}, shown)
    assert choice.turns == (turn,)
    assert choice.other == turn


def read_in(by: str, sent_in: str, quantity: str, number: float) -> list[Value]:
    """One value of two registers, sent in one order and read in another."""
    words = encode(Register(quantity, 3, 0, "f32", "", sent_in), number)
    raw = decode_one(Register(quantity, 3, 0, "f32", "", by), words)
    return [Value(quantity, raw, quantities()[quantity].unit, 160 if math.isnan(raw) else 0)]


def chosen(sent_in: str, quantity: str, numbers: list[float]) -> tuple[str, ...]:
    decoded = {by: [read_in(by, sent_in, quantity, n) for n in numbers] for by in ORDERS}
    return choose(decoded, [quantity]).turns


def test_where_only_movement_tells_both_are_named_until_it_moves() -> None:
    """12.3 mg/m3 with its bytes swapped is 775: as possible, but not steady."""
    assert set(chosen("BADC", "voc.nmhc.concentration", [12.3])) == {"ABCD", "BADC"}
    assert chosen("BADC", "voc.nmhc.concentration", [12.3, 12.31, 12.33]) == ("BADC",)
    assert chosen("ABCD", "voc.nmhc.concentration", [12.3, 12.31, 12.33]) == ("ABCD",)


def test_a_number_that_is_all_but_zero_was_never_measured() -> None:
    assert "ABCD" not in chosen("CDAB", "current.l1", [12.5])
    assert "CDAB" in chosen("CDAB", "current.l1", [12.5])


def test_a_counter_that_goes_back_is_misread() -> None:
    def read(*numbers: float) -> list[list[Value]]:
        return [[Value("energy.active.import", number, "kWh", 0)] for number in numbers]

    decoded = {"ABCD": read(100.0, 99.99), "CDAB": read(50.0, 50.01)}
    assert choose(decoded, ["energy.active.import"]).turns == ("CDAB",)
