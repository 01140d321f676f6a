"""Connections of DL/T 645 meters: what the registry lets pass, the source can read, under the same
origin; what is wrong is told by both."""

from __future__ import annotations

import pytest

from adapters.profiles import load_profiles
from adapters.sources.dlt645.address import Address, AddressError, Line, Way, parse_connection
from collector.connections import check_connection, origin_of, protocol_of
from collector.errors import ConfigurationError
from collector.profile import parse_profile

A = "398192000337"

GOOD = {
    f"dlt645+tcp://10.0.0.6:4001?address={A}": Address(Line(Way.TCP, "10.0.0.6", 4001), A),
    "dlt645+tcp://[fe80::1]:4001?address=337": Address(
        Line(Way.TCP, "fe80::1", 4001), "000000000337"
    ),
    "dlt645+serial:///dev/ttyS1?address=aaaaaaaa0337": Address(
        Line(Way.SERIAL, "/dev/ttyS1"), "AAAAAAAA0337"
    ),
    f"dlt645+serial:///dev/ttyS1?address={A}&baud=9600&parity=N&stop=2": Address(
        Line(Way.SERIAL, "/dev/ttyS1", baud=9600, parity="N", stop=2), A
    ),
    f"dlt645+listen://0.0.0.0:7645?terminal=13812345678&address={A}": Address(
        Line(Way.LISTEN, "0.0.0.0", 7645, "13812345678", named=True), A
    ),
    "dlt645+listen://0.0.0.0:7645?address=337": Address(
        Line(Way.LISTEN, "0.0.0.0", 7645, "000000000337"), "000000000337"
    ),
}
BAD = {
    "dlt645+tcp://10.0.0.6?address=1": "port",
    "dlt645+tcp://:4001?address=1": "host",
    "dlt645+tcp://10.0.0.6:4001": "address",
    "dlt645+tcp://10.0.0.6:4001?address=": "address",
    "dlt645+tcp://10.0.0.6:4001?address=1234567890123": "address",
    "dlt645+tcp://10.0.0.6:4001?address=AA337": "address",
    "dlt645+tcp://10.0.0.6:4001?address=1&baud=2400": "baud",
    "dlt645+serial:///?address=1": "serial port",
    "dlt645+serial:///dev/ttyS1?address=1&parity=M": "parity",
    "dlt645+serial:///dev/ttyS1?address=1&baud=1": "baud",
    "dlt645+listen://0.0.0.0:7645?terminal=a%20b&address=1": "terminal",
    "dlt645+udp://10.0.0.6:4001?address=1": "dlt645+",
}


@pytest.mark.parametrize("url", GOOD)
def test_what_the_registry_lets_pass_the_source_reads(url: str) -> None:
    checked = check_connection(url)
    assert checked.wrong == ()
    assert parse_connection(url) == GOOD[url]
    assert origin_of(url) == GOOD[url].line.origin
    assert protocol_of(url) == "dlt645"


@pytest.mark.parametrize(("url", "says"), BAD.items())
def test_what_is_wrong_is_told_by_both(url: str, says: str) -> None:
    assert any(says in f"{wrong.what} {wrong.todo}" for wrong in check_connection(url).wrong)
    with pytest.raises(AddressError) as caught:
        parse_connection(url)
    assert says in str(caught.value)


def test_one_meter_written_in_two_ways_is_one_instrument() -> None:
    urls = [f"dlt645+tcp://10.0.0.6:4001?address={one}" for one in ("337", "000337")]
    assert len({check_connection(url).instrument for url in urls}) == 1


# Profiles.

HEAD = 'name = "m"\nmaker = "m"\nmodel = "m"\nlabel = "m"\nlabel_zh = "m"\nsource = "m"\n'
ITEM = """\
[[item]]
quantity = "energy.active.import"
identifier = "00010000"
format = "XXXXXX.XX"
unit = "kWh"
ratio = true
"""


def test_an_item_says_its_step_and_where_it_rolls_over() -> None:
    profile = parse_profile(HEAD + ITEM.replace("kWh", "MWh"), "m.toml")
    measured = profile.measured["energy.active.import"]
    assert (measured.resolution, measured.modulus, measured.ratio) == (10.0, 1e8, True)
    assert profile.protocol == "dlt645"


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("energy.active.import", "enrgy.active.import", 8, "did you mean"),
        ("00010000", "0001FF00", 9, "block"),
        ("00010000", "10000", 9, "eight hexadecimal digits"),
        ("XXXXXX.XX", "XXXXX.XX", 10, "is no number"),
        ("kWh", "V", 11, "cannot become"),
        ("ratio = true", "ratoi = true", 12, "did you mean"),
        (ITEM, ITEM + ITEM, 14, "stands twice"),
        ('import"', 'import"\nscale = 2', 9, "unknown key"),
        (ITEM, ITEM + '[[register]]\nquantity = "frequency"\n', 7, "for each protocol"),
    ],
)
def test_a_fault_of_an_item_is_named_with_its_line(
    old: str, new: str, line: int, says: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_profile(HEAD + ITEM.replace(old, new), "m.toml")
    assert any(fault.line == line and says in str(fault) for fault in caught.value.faults), (
        caught.value.faults
    )


def test_profiles_that_come_along_are_those_of_the_standard() -> None:
    three = load_profiles()["dlt645-2007-three-phase"]
    by_quantity = {item.quantity: item for item in three.items}
    assert by_quantity["energy.active.import.valley"].identifier == 0x00010400
    assert by_quantity["power.active"].format.signed
