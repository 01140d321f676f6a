"""Device models as data: every one loads, says where its map was read, and reads its image;
a bad one is refused with every fault and its line."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.profiles import load_profiles
from adapters.sources.modbus.plan import plan
from collector.errors import ConfigurationError
from collector.model import Quality
from collector.profile import PUSH, parse_profile
from collector.quantities import quantities
from collector.registry import Device

IMAGES = Path(__file__).parent / "images"
ALL = sorted(set(load_profiles()) - {PUSH})
PROFILES = [name for name in ALL if load_profiles()[name].registers]


def load(name: str) -> dict[str, Any]:
    return tomllib.loads((IMAGES / f"{name}.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", PROFILES)
def test_a_model_reads_its_register_image(name: str) -> None:
    """Words as they come over the wire -> readings in canonical units, for the whole map."""
    data = load(name)
    words = {
        (block["function"], block["address"] + n): bytes.fromhex(word)
        for block in data["block"]
        for n, word in enumerate(block["words"].split())
    }
    voltage, current = data.get("voltage_ratio", 1.0), data.get("current_ratio", 1.0)
    device = Device(
        "s",
        "d",
        "p",
        name,
        ratio=voltage * current,
        voltage_ratio=voltage,
        current_ratio=current,
    )
    profile = load_profiles()[name]
    ids = {f"s/p/{row.quantity}/raw": n for n, row in enumerate(profile.registers)}
    made = plan(device, profile, ids)
    image = b"".join(
        words[block.function, block.address + n]
        for block in made.blocks
        for n in range(block.count)
    )
    values, qualities = made.decode(image)
    by_id = {n: row.quantity for n, row in enumerate(profile.registers)}
    got = {by_id[n]: value for n, value in zip(made.points.tolist(), values, strict=True)}
    assert got.keys() == data["readings"].keys()
    for row in profile.registers:
        # half a step of a 32-bit float, or nothing: a total of 20 000 001.75 is not 20 000 001
        close = 1e-7 if row.type == "f32" else 1e-13
        expected = pytest.approx(data["readings"][row.quantity], rel=close, nan_ok=True)
        assert got[row.quantity] == expected, row.quantity
    assert ((qualities == Quality.NO_VALUE) == np.isnan(values)).all()


@pytest.mark.parametrize("name", ALL)
def test_a_model_can_be_read_by_a_newcomer(name: str) -> None:
    profile = load_profiles()[name]
    assert profile.source.startswith(("https://", "generic: "))
    assert profile.label
    assert profile.label_zh
    rows = (*profile.registers, *profile.items)
    assert set(profile.measured) == {row.quantity for row in rows}
    assert profile.evidence in {"verified", "recalled", "generic"}
    assert profile.source.startswith("generic: ") is (profile.evidence == "generic")
    assert bool(profile.doubt) is bool(profile.doubt_zh), "said in both languages or in none"


@pytest.mark.parametrize("name", PROFILES)
def test_an_image_says_where_it_is_from(name: str) -> None:
    text = (IMAGES / f"{name}.toml").read_text(encoding="utf-8")
    assert text.startswith(("# Composed", "# The sample answer"))


def test_integer_counters_bring_their_step_and_where_they_roll_over() -> None:
    profiles = load_profiles()
    generic = profiles["generic-counter"].measured["energy.active.import"]
    assert (generic.resolution, generic.modulus, generic.ratio) == (0.01, 2.0**32, True)
    acrel = profiles["acrel-dtsd1352"].measured
    assert acrel["energy.active.import"].modulus == 2.0**32
    assert acrel["power.active"].resolution == 0
    eastron = profiles["eastron-sdm630"].measured["energy.active.import"]
    assert (eastron.resolution, eastron.modulus, eastron.ratio) == (0, 0, False)


def test_push_is_built_in_and_has_no_registers() -> None:
    assert load_profiles()[PUSH].registers == ()


GOOD = """\
name = "m"
maker = "m"
model = "m"
label = "m"
label_zh = "m"
source = "m"
[[register]]
quantity = "energy.active.import"
function = 3
address = 1
type = "bcd32"
unit = "MWh"
scale = 0.001
"""


PART = """\
[part.f]
function = 3
address = 9
type = "f32"
"""


def test_resolution_follows_the_unit() -> None:
    measured = parse_profile(GOOD, "m.toml").measured["energy.active.import"]
    assert measured.resolution == pytest.approx(1.0)
    assert measured.modulus == 1e8


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ('quantity = "energy.active.import"', 'quantity = "enrgy.active.import"', 8, "unknown qu"),
        ("function = 3", "function = 6", 9, "function 6"),
        ("function = 3", "function = 1", 11, "reads bits"),
        ("function = 3", 'function = "3"', 9, "not a"),
        ("function = 3\n", "", 7, "no function"),
        ("address = 1", "address = 65535", 10, "address"),
        ("address = 1", "address = 1\norder = 'ABDC'", 11, "byte order"),
        ('type = "bcd32"', 'type = "u24"', 11, "u24"),
        ('unit = "MWh"', 'unit = "m3"', 12, "m3"),
        ("scale = 0.001", "scale = 0", 13, "scale"),
        ("scale = 0.001", "scael = 0.001", 13, "did you mean"),
        ("scale = 0.001", "modulus = -1", 13, "modulus"),
        ("scale = 0.001", "offset = 2", 13, "offset"),
        ("scale = 0.001", "no_value = ['x']", 13, "list of numbers"),
        ("scale = 0.001", "bit = 16", 13, "bit 16"),
        ('maker = "m"\n', "", 0, "has no maker"),
        ('source = "m"', 'source = "m"\nmax_block = 126', 7, "max_block"),
        ('source = "m"', 'source = "m', 6, "TOML"),
        ('source = "m"', 'source = "m"\nholes = [[0, 4]]', 11, "hole"),
        ('source = "m"', 'source = "m"\nholes = [[4, 3]]', 7, "no hole"),
        ('source = "m"', 'source = "m"\nmax_block = 1', 12, "max_block is 1"),
        ('source = "m"', 'source = "m"\nalone = 1', 7, "true or false"),
        ('source = "m"', 'source = "m"\nevidence = "sure"', 7, "evidence"),
        ('source = "m"', 'source = "m"\nconnection = {baud = 1}', 7, "baud"),
        ('source = "m"', 'source = "m"\nidentity = {serail = {}}', 7, "did you mean"),
        (
            'source = "m"',
            'source = "m"\nidentity = {serial = {address = 1, type = "u16"}}',
            7,
            "no fu",
        ),
        ("scale = 0.001", "plus = 'rest'", 13, "[part.rest]"),
        ("scale = 0.001", "times = [1]", 13, "names of parts"),
        ("scale = 0.001", "bits = 17", 13, "bits 0 to 16"),
        ("scale = 0.001", "ten_to = 'e'\n[part.e]\naddress = 9\ntype = 'i16'", 14, "no function"),
        ("scale = 0.001", f"plus = 'f'\n{PART}", 13, "does not lie beside"),
        ("scale = 0.001", f"modulus = 9\ntimes = ['f']\n{PART}", 13, "has no modulus"),
        ("scale = 0.001", f"ratio = true\ntimes = ['f']\n{PART}", 13, "by the meter's own"),
    ],
)
def test_a_fault_is_named_with_its_line(old: str, new: str, line: int, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_profile(GOOD.replace(old, new), "m.toml")
    assert [(fault.file, fault.line) for fault in caught.value.faults] == [("m.toml", line)]
    assert says in str(caught.value)


def test_all_faults_come_at_once() -> None:
    text = GOOD.replace("MWh", "m3").replace('label = "m"\n', "") + GOOD[GOOD.index("[[") :]
    with pytest.raises(ConfigurationError) as caught:
        parse_profile(text.replace("scale = 0.001", "ratio = 1"), "m.toml")
    assert len(caught.value.faults) >= 3


@pytest.mark.parametrize("kind", ["power.factor", "fluegas.o2"])
def test_what_is_not_behind_transformers_takes_no_ratio(kind: str) -> None:
    text = GOOD.replace("energy.active.import", kind).replace("scale = 0.001", "ratio = true")
    with pytest.raises(ConfigurationError, match="transformers"):
        parse_profile(text.replace("MWh", quantities()[kind].unit), "m.toml")


def test_a_total_in_two_numbers_has_no_step_and_never_rolls_over() -> None:
    heat = load_profiles()["tuf-2000m"].measured["heat.energy"]
    assert (heat.resolution, heat.modulus) == (0, 0)
    gas = load_profiles()["fuxin-gas"].measured["gas.volume"]
    assert (gas.resolution, gas.modulus) == (0.0001, 1e12)


def test_a_ratio_that_the_meter_applies_is_not_applied_by_the_registry_too() -> None:
    own = load_profiles()["acrel-adl400"].measured["energy.active.import"]
    assert (own.ratio, own.resolution, own.modulus) == (False, 0, 0)
    held = load_profiles()["acrel-dtsd1352"].measured["energy.active.import"]
    assert (held.ratio, held.resolution) == (True, 0.01)
