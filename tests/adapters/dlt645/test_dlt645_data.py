"""What stands behind identifiers of DL/T 645-2007: exact steps, the sign where there is one, and no
number where the meter has none."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.sources.dlt645.data import (
    clock,
    digits,
    digits_of,
    element,
    meaning,
    minute,
    number,
    steps,
    values,
)
from collector.items import Format, parse_format
from collector.quantities import quantities
from collector.units import known


def wire(shown: str) -> bytes:
    """Digits as the display has them -> bytes as they come, low first."""
    return bytes.fromhex(shown)[::-1]


@pytest.mark.parametrize(
    ("identifier", "shown", "value", "unit"),
    [
        (0x00000000, "00000007", 0.07, "kWh"),
        (0x00000000, "80000007", -0.07, "kWh"),
        (0x00000000, "F9999999", -799999.99, "kWh"),
        (0x00010000, "00000004", 0.04, "kWh"),
        (0x00010000, "99999999", 999999.99, "kWh"),
        (0x00010000, "12345678", 123456.78, "kWh"),
        (0x00010400, "00004711", 47.11, "kWh"),
        (0x00020000, "87654321", 876543.21, "kWh"),
        (0x00030000, "80012345", -123.45, "kvarh"),
        (0x00080000, "00012345", 123.45, "kvarh"),
        (0x00090000, "00012345", 123.45, "kVAh"),
        (0x02010100, "2394", 239.4, "V"),
        (0x02020300, "005123", 5.123, "A"),
        (0x02020300, "805123", -5.123, "A"),
        (0x02030000, "123456", 12.3456, "kW"),
        (0x02030200, "923456", -12.3456, "kW"),
        (0x02040000, "800001", -0.0001, "kvar"),
        (0x02050000, "799999", 79.9999, "kVA"),
        (0x02060000, "1000", 1.0, "1"),
        (0x02060100, "8999", -0.999, "1"),
        (0x02800001, "800100", -0.1, "A"),
        (0x02800002, "5001", 50.01, "Hz"),
        (0x02800004, "012345", 1.2345, "kW"),
        (0x02800007, "8105", -10.5, "degC"),
        (0x04000306, "000040", 40, "1"),
    ],
)
def test_a_number_is_what_the_display_shows(
    identifier: int, shown: str, value: float, unit: str
) -> None:
    (found,) = values(identifier, wire(shown))
    assert (found.number, found.unit) == (value, unit)
    assert known(unit)


@pytest.mark.parametrize("identifier", [0x00010000, 0x00000000, 0x02010100, 0x02030000, 0x02060000])
@pytest.mark.parametrize("filler", ["FF", "EE", "0A"])
def test_what_a_meter_has_no_value_for_is_no_number(identifier: int, filler: str) -> None:
    found = meaning(identifier)
    assert found is not None
    (value,) = values(identifier, bytes.fromhex(filler) * found.size)
    assert value.steps is None
    assert value.number is None


@pytest.mark.parametrize("identifier", [0x00010000, 0x01010000, 0x02010100, 0x04000101])
def test_too_few_bytes_are_no_number(identifier: int) -> None:
    for size in range(2):
        (value,) = values(identifier, b"\x00" * size)
        assert value.steps is None


def test_a_block_is_total_and_tariffs_each_under_its_own_identifier() -> None:
    data = b"".join(map(wire, ("00100000", "00010000", "00020000", "00030000", "00040000")))
    found = values(0x0001FF00, data)
    assert [value.number for value in found] == [1000, 100, 200, 300, 400]
    assert [f"{value.identifier:08X}" for value in found] == [
        "00010000", "00010100", "00010200", "00010300", "00010400"]  # fmt: skip
    assert found[0].name == "forward active energy, total"
    assert found[4].name == "forward active energy, valley (tariff 4)"
    assert [value.number for value in values(0x0001FF00, data[:9])] == [1000, 100]
    assert values(0x0001FF00, b"") == []


def test_phases_count_from_one_and_powers_from_the_total() -> None:
    voltages = values(0x0201FF00, wire("2201") + wire("2202") + wire("FFFF"))
    assert [(f"{v.identifier:08X}", v.number) for v in voltages] == [
        ("02010100", 220.1), ("02010200", 220.2), ("02010300", None)]  # fmt: skip
    powers = values(0x0203FF00, wire("000300") + wire("000100"))
    assert [(f"{v.identifier:08X}", v.name) for v in powers] == [
        ("02030000", "active power, total"), ("02030100", "active power, phase A")]  # fmt: skip
    assert element(0x02030000 | 0xFF00, 3) == 0x02030300


def test_a_demand_has_the_minute_when_it_was_reached() -> None:
    (found,) = values(0x01010000, wire("012345") + wire("2611220815"))
    assert (found.number, found.unit) == (1.2345, "kW")
    assert found.reached == datetime.fromisoformat("2026-11-22T08:15:00")
    (none_yet,) = values(0x01010000, wire("000000") + wire("0000000000"))
    assert (none_yet.number, none_yet.reached) == (0, None)
    demands = values(0x0101FF00, (wire("012345") + wire("2611220815")) * 2)
    assert [value.identifier for value in demands] == [0x01010000, 0x01010100]


def test_a_meter_has_a_clock_and_a_number() -> None:
    assert clock(wire("26112207"), wire("160509")) == datetime.fromisoformat("2026-11-22T16:05:09")
    assert clock(wire("26133207"), wire("160509")) is None
    assert clock(wire("FFFFFFFF"), wire("160509")) is None
    assert clock(b"", b"") is None
    assert minute(wire("2611222460")) is None
    assert digits(wire("398192000337")) == "398192000337"
    assert digits(b"\xff" * 6) is None
    (address,) = values(0x04000401, wire("398192000337"))
    assert (address.text, address.number) == ("398192000337", None)


def test_what_is_unknown_says_nothing() -> None:
    for identifier in (
        0x12345678,
        0x000B0000,
        0x00010001 + 0x0C,
        0x02010000,
        0x02010400,
        0x02070000,
    ):
        assert meaning(identifier) is None, f"{identifier:08X}"
        assert values(identifier, b"\x00" * 8) == ()


def test_energies_of_billing_days_are_not_those_of_now() -> None:
    found = meaning(0x0001000C)
    assert found is not None
    assert found.name == "forward active energy, total, 12 billing days ago"


_formats = st.builds(
    Format, st.sampled_from([2, 4, 6, 8, 12, 16]), st.integers(0, 4), signed=st.booleans()
)


@given(_formats, st.data())
def test_every_number_that_fits_comes_back(form: Format, data: st.DataObject) -> None:
    most = round(form.modulus) - 1
    whole = data.draw(st.integers(-most if form.signed else 0, most))
    assert steps(form, digits_of(form, whole)) == whole


@given(_formats, st.binary(max_size=10))
def test_any_bytes_are_a_number_in_range_or_none(form: Format, data: bytes) -> None:
    whole = steps(form, data)
    assert whole is None or abs(whole) < 10**form.digits
    assert whole is None or number(form, data) == whole / 10**form.decimals


def test_a_format_is_written_as_in_the_standard() -> None:
    assert parse_format("XXXXXX.XX") == Format(8, 2)
    assert parse_format("XX.XXXX", signed=True) == Format(6, 4, signed=True)
    assert parse_format("XXXXXX") == Format(6, 0)
    for wrong in ("", "XXX", "X.X.X", "NN.NN", ".XX", "XXXX.", "X" * 18):
        assert parse_format(wrong) is None, wrong


def test_a_register_rolls_over_where_its_digits_end() -> None:
    assert (Format(8, 2).modulus, Format(8, 2).step) == (1e8, 0.01)
    assert Format(8, 2, signed=True).modulus == 8e7
    assert digits_of(Format(8, 2), 123_456_789) == wire("23456789")


def test_every_known_number_has_a_unit_that_quantities_can_take() -> None:
    units = {quantity.unit for quantity in quantities().values()}
    for identifier in (0x00010000, 0x00030000, 0x00090000, 0x02030000, 0x02040000, 0x02050000,
                       0x02010100, 0x02020100, 0x02800002, 0x02080100):  # fmt: skip
        found = meaning(identifier)
        assert found is not None
        assert found.unit in units
