"""A connection is an address or says what is wrong with it, whatever a person wrote."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.sources.modbus.address import (
    Address,
    AddressError,
    Bus,
    Framing,
    parse_connection,
)
from collector.connections import check_connection


@pytest.mark.parametrize(
    ("text", "address", "origin"),
    [
        (
            "modbus+tcp://10.0.0.5:1502?unit=3",
            Address(Bus(Framing.TCP, "10.0.0.5", 1502), 3),
            "modbus:10.0.0.5:1502",
        ),
        (
            "modbus+tcp://meter.local",
            Address(Bus(Framing.TCP, "meter.local", 502), 1),
            "modbus:meter.local:502",
        ),
        (
            "modbus+rtu-tcp://[::1]:4001?unit=247",
            Address(Bus(Framing.RTU_TCP, "::1", 4001), 247),
            "modbus:[::1]:4001",
        ),
        (
            "modbus+serial:///dev/ttyS1?unit=3&baud=19200&parity=E&stop=2",
            Address(Bus(Framing.SERIAL, "/dev/ttyS1", 0, 19200, "E", 2), 3),
            "modbus:/dev/ttyS1",
        ),
    ],
)
def test_an_address_is_read(text: str, address: Address, origin: str) -> None:
    assert parse_connection(text) == address
    assert address.bus.origin == origin


OPTIONS = (
    *("unit=1", "unit=256", "unit=x", "unit=", "unit=999999999"),
    *("baud=9600", "baud=1", "parity=X", "parity=O", "stop=2", "stop=3", "colour=blue"),
)
URLS = st.builds(
    "{}://{}{}?{}".format,
    st.sampled_from(["modbus+tcp", "modbus+rtu-tcp", "modbus+serial", "modbus", "mqtt"]),
    st.sampled_from(["", "10.0.0.5", "10.0.0.5:502", "h:0", "h:70000", "[::1", "[::1]:502", "h:x"]),
    st.sampled_from(["", "/dev/ttyS1", "/"]),
    st.lists(st.sampled_from(OPTIONS), max_size=3).map("&".join),
)


@given(URLS | st.text())
def test_any_text_is_an_address_or_a_fault(text: str) -> None:
    with contextlib.suppress(AddressError):
        address = parse_connection(text)
        assert 0 <= address.unit <= 255
        assert address.bus.origin.startswith("modbus:")


def test_a_number_of_any_length_is_a_fault() -> None:
    with pytest.raises(AddressError):
        parse_connection("modbus+tcp://h?unit=" + "9" * 5000)


@given(URLS)
def test_what_the_registry_lets_pass_the_source_can_open(text: str) -> None:
    found = check_connection(text)
    if not found.wrong:
        assert parse_connection(text).bus.place == found.port
