"""What a meter says of itself against the registry: another serial number is another instrument,
another ratio is told; silence and empty registers object to nothing."""

from __future__ import annotations

import struct

import pytest

from adapters.profiles import load_profiles
from adapters.sources.modbus.identity import block, objections, questions, told_serial
from adapters.sources.modbus.plan import Block
from collector.model import Reason
from collector.profile import Profile, Text, parse_profile
from collector.registry import Device

ABB = load_profiles()["abb-b-series"]
ACREL = load_profiles()["acrel-dtsd1352"]
SERIAL = Block(3, 0x8900, 2)
PT, CT = Block(3, 0x8D, 1), Block(3, 0x8E, 1)


def device(serial: str = "", voltage: float = 1.0, current: float = 1.0) -> Device:
    return Device(
        "s",
        "d",
        "p",
        "m",
        serial=serial,
        ratio=voltage * current,
        voltage_ratio=voltage,
        current_ratio=current,
    )


def test_only_what_the_registry_knows_is_asked() -> None:
    assert questions(ABB, device("123")) == (SERIAL,)
    assert questions(ABB, device()) == ()
    assert questions(ACREL, device("123")) == (PT, CT)
    assert questions(load_profiles()["chint-dtsu666"], device("123")) == ()


@pytest.mark.parametrize("serial", ["1234567", "01234567", " 123 4567 "])
def test_the_same_number_however_it_is_written_is_no_objection(serial: str) -> None:
    assert objections(ABB, device(serial), {SERIAL: struct.pack(">i", 1234567)}) == ()


def test_another_number_is_another_instrument() -> None:
    (one,) = objections(ABB, device("1234567"), {SERIAL: struct.pack(">i", 7654321)})
    assert one.refuse
    assert one.reason == Reason.WRONG_SERIAL
    for told in ("1234567", "7654321", "replaced", "registry"):
        assert told in one.detail


@pytest.mark.parametrize("raw", [b"", b"\0", b"\0\0\0\0", b"\x7f\xff\xff\xff"])
def test_a_meter_that_does_not_say_it_is_believed(raw: bytes) -> None:
    assert objections(ABB, device("1234567"), {SERIAL: raw}) == ()
    assert objections(ABB, device("1234567"), {}) == ()


def test_a_ratio_that_differs_is_told_and_refuses_nothing() -> None:
    answers = {PT: struct.pack(">H", 1), CT: struct.pack(">H", 40)}
    assert objections(ACREL, device(current=40), answers) == ()
    (one,) = objections(ACREL, device(current=30), answers)
    assert not one.refuse
    assert "30 in the registry and 40 in the meter" in one.detail
    unset = {PT: struct.pack(">H", 0), CT: struct.pack(">H", 0xFFFF)}
    assert objections(ACREL, device(current=30), unset) == ()


LETTERS = """
name = "m"
maker = "m"
model = "m"
label = "m"
label_zh = "m"
source = "m"
identity = { serial = { function = 3, address = 0x100, type = "ascii", words = 6, order = "%s" } }
[[register]]
quantity = "frequency"
function = 3
address = 1
type = "u16"
unit = "Hz"
"""


def lettered(order: str) -> tuple[Profile, Block]:
    profile = parse_profile(LETTERS % order, "m.toml")
    assert isinstance(profile.identity.serial, Text)
    return profile, block(profile.identity.serial)


@pytest.mark.parametrize(
    ("order", "raw", "told"),
    [
        ("ABCD", b"SN-0042A\0\0\0\0", "SN-0042A"),
        ("ABCD", b"SN-0042A    ", "SN-0042A"),
        ("BADC", b"NS0-40A2\0\0\0\0", "SN-0042A"),
        ("ABCD", b"\xff" * 12, ""),
        ("ABCD", b"\0" * 12, ""),
        ("ABCD", b"SN-0042A\xff\x01\x02\x03", "SN-0042A"),
    ],
)
def test_a_serial_number_in_letters(order: str, raw: bytes, told: str) -> None:
    profile, where = lettered(order)
    assert where == Block(3, 0x100, 6)
    assert profile.identity.serial is not None
    assert told_serial(profile.identity.serial, {where: raw}) == told
    assert objections(profile, device("sn-0042a"), {where: raw}) == ()
    assert bool(objections(profile, device("SN-0042B"), {where: raw})) is bool(told)
