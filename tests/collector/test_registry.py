"""A registry says what its files say, or every fault in them, each with file and line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.sources.modbus.address import parse_connection
from adapters.sources.modbus.source import gather
from collector.connections import check_connection, origin_of
from collector.errors import ConfigurationError
from collector.model import Ids
from collector.register_map import Register
from collector.registry import COUNTER, FOREVER, GAUGE, STATE, Device, renames, table
from collector.registry_text import parse_registry, read_registry
from tests.collector.fleet import PRIMARY, PROFILES, SITE, faults, parsed, texts


def ms(iso: str) -> int:
    return int(datetime.fromisoformat(iso).timestamp() * 1000)


def test_a_sound_registry_is_read_as_written() -> None:
    registry = parsed()
    site = registry.sites["print"]
    assert (site.county, site.industry, site.zone) == ("620502", "C2319", "Asia/Shanghai")
    assert site.name_zh == "陇南路印刷厂"
    assert site.permitted_t == {"voc": 12.5}
    assert registry.sites["hospital"].name_zh == "First People's Hospital"  # what there is
    assert registry.lines["print/rto"].treatment
    assert registry.lines["print/rto"].serves == "press-1"
    assert not registry.lines["print/press-1"].treatment
    assert registry.places["print/stack"].outlet
    assert registry.places["print/stack"].permit_no == "DA001"
    assert registry.gateways["gw-print"].site == "print"
    meter = registry.devices["print/meter-b"]
    assert (meter.voltage_ratio, meter.current_ratio, meter.ratio) == (100, 60, 6000)
    assert (meter.serial, meter.interval, meter.max_rate) == ("21030002", 60, 900)
    lines = texts("fleet")[meter.file].splitlines()
    assert lines[meter.line - 1 : meter.line + 1] == ["[[device]]", 'id = "meter-b"']
    nmhc = registry.devices["print/nmhc"]
    assert nmhc.no_value == (-200, 9999.99)
    assert nmhc.start == ms("2026-01-01T08:30:00+08:00")
    assert nmhc.end == FOREVER


def test_points_follow_from_devices_with_their_services_in_order() -> None:
    points = {point.name: point for point in parsed().points}
    assert list(points) == sorted(points)
    energy = points["print/main/energy.active.import/raw"]
    a, b = energy.services
    change = ms("2026-05-01T00:00:00+08:00")
    assert (a.device, a.start, a.end) == ("print/meter-a", 0, change)
    assert (b.device, b.start, b.end) == ("print/meter-b", change, FOREVER)
    assert (a.resolution, a.modulus, a.ratio) == (0.01, 2**32, 40)
    assert b.ratio == 6000
    assert (a.max_rate, b.max_rate) == (2000, 900)
    assert (a.interval, b.interval) == (10, 60)
    assert energy.formerly == ("print/old-main/energy.active.import/raw",)
    assert points["print/main/frequency/raw"].services[1].ratio == 1
    assert points["print/main/voltage.l1/raw"].services[1].ratio == 100


def test_what_a_push_device_brings_takes_the_ratio_of_its_kind() -> None:
    points = {point.quantity: point for point in parsed().points if point.site == "hospital"}
    ratios = {quantity: point.services[0].ratio for quantity, point in points.items()}
    assert ratios == {
        "heat.energy": 1,
        "power.active": 300,
        "voltage.l1": 10,
        "current.l1": 30,
    }


def test_dates_are_of_the_sites_zone() -> None:
    heat = parsed().devices["hospital/heat"]
    assert heat.start == ms("2026-03-01T00:00:00+06:00")
    timed = texts("fleet")
    name = "registry/hospital.toml"
    timed[name] = timed[name].replace("2026-03-01", "2026-03-01T12:00:00")
    heat = parse_registry(timed, PROFILES).devices["hospital/heat"]
    assert heat.start == ms("2026-03-01T12:00:00+06:00")


def test_places_in_service_without_a_device_are_told() -> None:
    registry = parsed()
    now = ms("2026-06-01T00:00:00+08:00")
    assert [place.key for place in registry.unserved(now)] == ["print/fence"]
    before = ms("2025-12-31T00:00:00+08:00")
    assert {place.key for place in registry.unserved(before)} == {
        *("print/stack", "print/fence", "hospital/boiler-house"),
    }


def test_the_point_table_lies_over_stable_ids() -> None:
    registry = parsed()
    given: dict[str, int] = {}

    def identify(names: Sequence[str]) -> Ids:
        for name in names:
            given.setdefault(name, 3 * len(given) + 2)  # others have the ids between
        return np.array([given[name] for name in names], np.int32)

    points = table(registry, identify)
    assert len(points) == max(given.values()) + 1
    assert points.ids == given
    assert set(np.flatnonzero(points.known)) == set(given.values())
    for name, number in given.items():
        assert points.points[number].name == name
    energy = given["print/main/energy.active.import/raw"]
    running = given["print/stack/treatment.running/raw"]
    o2 = given["print/stack/fluegas.o2/raw"]
    assert [points.kind[i] for i in (energy, running, o2)] == [COUNTER, STATE, GAUGE]
    assert (points.low[o2], points.high[o2]) == (0, 25)
    assert np.isfinite(points.low).all()
    assert np.isfinite(points.high).all()
    again = table(registry, identify)
    assert again.ids == points.ids


def test_a_registry_without_points_has_an_empty_table() -> None:
    def refuse(_names: Sequence[str]) -> Ids:
        raise AssertionError("nothing to identify")

    assert len(table(parse_registry({}, {}), refuse)) == 0


def test_former_names_are_renames() -> None:
    assert renames(parsed()) == [
        ("print/old-main/energy.active.import/raw", "print/main/energy.active.import/raw")
    ]


DEVICE = """[[device]]
id = "d"
place = "p"
profile = "meter"
connection = "modbus+tcp://10.0.0.5:502?unit=3"
"""
PUSHED = """[[device]]
id = "e"
place = "q"
profile = "push"
gateway = "g"
quantities = ["power.active"]
"""


def test_the_site_that_faults_are_added_to_is_sound() -> None:
    assert faults(DEVICE + PUSHED) == []


@pytest.mark.parametrize(
    ("addition", "line", "what", "todo"),
    [
        # identifiers and references
        ('[[place]]\nid = "p"\n', 2, 'place "s/p" stands twice, first at s.toml:9', ""),
        ('[[treatment]]\nid = "l"\n', 2, '"s/l" stands twice', ""),
        ('[[gateway]]\nid = "g"\n', 2, 'gateway "g" stands twice', ""),
        (DEVICE + DEVICE, 7, 'device "s/d" stands twice', ""),
        ('[[place]]\nid = "A b"\n', 2, 'id "A b" is malformed', "lower-case"),
        ("[[place]]\nname = 'x'\n", 1, '"id" is missing', ""),
        ('[[place]]\nid = "r"\nline = "ll"\n', 3, 'unknown line "ll"', 'did you mean "l"?'),
        ('[[treatment]]\nid = "t"\nserves = "x"\n', 3, 'unknown line "x"', 'one of "l"'),
        (
            '[[treatment]]\nid = "t"\nserves = "l"\n[[treatment]]\nid = "u"\nserves = "t"\n',
            *(6, 'unknown line "t"', ""),
        ),
        (DEVICE.replace('"p"', '"pq"'), 3, 'unknown place "pq"', ""),
        (DEVICE.replace('"meter"', '"metre"'), 4, 'unknown profile "metre"', '"meter"'),
        (PUSHED.replace('"g"', '"h"'), 5, 'unknown gateway "h"', 'one of "g"'),
        # how it is reached
        (DEVICE + 'gateway = "g"\n', 6, "both connection and gateway", ""),
        (DEVICE.replace("connection", "#"), 1, "neither connection nor gateway", ""),
        (DEVICE.replace("modbus+tcp", "modbus"), 5, 'kind of connection "modbus"', "modbus+tcp"),
        (DEVICE.replace("10.0.0.5:502", ""), 5, "names no host", "modbus+tcp://"),
        (DEVICE.replace(":502", ":99999"), 5, "no possible port", "from 1 to 65535"),
        (DEVICE.replace(":502", ":0"), 5, "port 0", ""),
        (DEVICE.replace("10.0.0.5", "192.0.2.300"), 5, '"192.0.2.300" is no IPv4', "0 to 255"),
        (
            DEVICE.replace("modbus+tcp://10.0.0.5:502", "modbus+rtu:///dev/ttyUSB0"),
            *(5, 'connection "modbus+rtu"', 'did you mean "modbus+serial"?'),
        ),
        (
            DEVICE.replace("modbus+tcp:", "modbus+rtu:"),
            *(5, 'connection "modbus+rtu"', 'did you mean "modbus+rtu-tcp"?'),
        ),
        # keys that people write for others
        (DEVICE.replace("connection", "address"), 5, 'key "address"', "write it as connection ="),
        (DEVICE + "unit = 1\n", 6, 'key "unit"', "?unit=3"),
        (DEVICE + 'ct = "400/5"\n', 6, 'key "ct"', "write current_ratio = 80"),
        (DEVICE + "pt = 100\n", 6, 'key "pt"', "write voltage_ratio ="),
        (DEVICE + 'address = "398192000337"\n', 6, 'key "address"', "?address=N"),
        (DEVICE.replace('"meter"', '"DTSU666"'), 4, "profile", "see: meterwatch profiles DTSU666"),
        (
            '[[gateway]]\nid = "GW-1"\n' + PUSHED.replace('"g"', '"gw-1"'),
            *(2, 'id "GW-1" is malformed', "lower-case"),
        ),
        (DEVICE.replace("unit=3", "unit=256"), 5, 'unit is "256"', "from 0 to 255"),
        (DEVICE.replace("unit=3", "unti=3"), 5, 'unknown option "unti"', '"unit"'),
        (DEVICE.replace("unit=3", "unit=3&unit=4"), 5, 'names "unit" twice', ""),
        (DEVICE.replace("10.0", "admin:pw@10.0"), 5, "user or password: secrets", ""),
        (
            DEVICE.replace("modbus+tcp://10.0.0.5:502?", "modbus+serial:///dev/ttyS1?parity=X&"),
            *(5, 'parity is "X"', '"N", "E", "O"'),
        ),
        (DEVICE.replace("modbus+tcp://", "modbus+serial://"), 5, "no serial port", ""),
        (DEVICE.replace("unit=3", "unit=" + "9" * 5000), 5, "unit is ", "a number from 0"),
        (PUSHED + 'token = "x"\n', 7, "token holds a secret", ""),
        # what is measured
        (PUSHED.replace("power.active", "power.activ"), 6, '"power.activ"', '"power.active"'),
        (PUSHED.replace('ve"]', 've", "power.active"]'), 6, "stands twice", ""),
        (PUSHED.replace('"power.active"', ""), 6, "quantities is empty", ""),
        (PUSHED.replace('"power.active"', "7"), 6, "quantities holds a number", "texts"),
        (PUSHED.replace("quantities", "#"), 1, '"push" does not say what is measured', ""),
        (DEVICE + 'quantities = ["gas.flow"]\n', 6, 'no register for "gas.flow"', ""),
        (DEVICE.replace('"meter"', '"push"'), 4, '"push" has no registers', "gateway"),
        # numbers and dates
        (DEVICE + "current_ratio = 0\n", 6, "current_ratio is 0", "more than 0"),
        (DEVICE + "voltage_ratio = nan\n", 6, "not a finite number", ""),
        (DEVICE + "current_ratio = true\n", 6, "current_ratio is true or false", "a number"),
        (
            DEVICE.replace('"meter"', '"primary"') + "current_ratio = 40\n",
            *(6, 'nothing that profile "primary" brings takes a ratio', ""),
        ),
        (DEVICE + 'interval = "10 sec"\n', 6, '"10 sec" is no duration', '"10s"'),
        (DEVICE + 'interval = "0s"\n', 6, '"0s" is impossible', ""),
        (DEVICE + "interval = 10\n", 6, "interval is a number", 'such as "10s"'),
        (DEVICE + "max_rate = -1\n", 6, "max_rate is -1", ""),
        (DEVICE + 'max_rate = { "gas.volume" = 1 }\n', 6, "does not bring", ""),
        (DEVICE + 'max_rate = { "power.active" = 1 }\n', 6, "no counter", ""),
        (DEVICE + 'max_rate = { "energy.active.import" = 0 }\n', 6, "is 0", "more than 0"),
        (DEVICE + 'no_value = [1, "x"]\n', 6, "no_value holds a text", "numbers"),
        (DEVICE + "serial = 21030001\n", 6, "serial is a number", "text in quotes"),
        (DEVICE + 'from = "2025-01-01"\n', 6, '"from" is no date', "without quotes"),
        (DEVICE + "from = 08:00:00\n", 6, '"from" is no date', ""),
        (DEVICE + "from = 1950-01-01\n", 6, "before 1970", ""),
        (DEVICE + "from = 2025-01-01\nto = 2025-01-01\n", 7, '"to" is not after "from"', ""),
        # what places and the site say
        ('[[place]]\nid = "r"\noutlet = 1\n', 3, "outlet is a number", "true or false"),
        ('[[place]]\nid = "r"\nstate = "gone"\n', 3, 'unknown state "gone"', "in-service"),
        ('[[place]]\nid = "r"\nformerly = { "gas.flow" = ["a"] }\n', 3, "no device brings", ""),
        ('[[place]]\nid = "r"\nformerly = { "gas.flow" = "a" }\n', 3, "no list of names", ""),
        ("[[sites]]\nid = 'x'\n", 1, 'unknown key "sites"', 'did you mean "site"?'),
        ('[device.x]\nid = "d"\n', 1, "device is a table", "[[device]]"),
    ],
)
def test_one_fault_is_told_once_on_its_line(addition: str, line: int, what: str, todo: str) -> None:
    (fault,) = faults(addition)
    assert fault.file == "s.toml"
    assert fault.line == line
    assert what in fault.what
    assert todo in fault.todo
    assert fault.todo


@pytest.mark.parametrize(
    ("old", "new", "line", "what"),
    [
        ('county = "620502"', 'county = "6205"', 4, 'county "6205" is malformed'),
        ('county = "620502"\n', "", 1, '"county" is missing'),
        ('industry = "C2319"', 'industry = "2319"', 5, 'industry "2319" is malformed'),
        ('name = "Site"', 'zone = "Mars/Base"\nname = "Site"', 3, 'time zone "Mars/Base"'),
        ('name = "Site"', 'zone = "Asia"\nname = "Site"', 3, 'time zone "Asia"'),
        ('name = "Site"', 'zone = "../etc"\nname = "Site"', 3, 'time zone "../etc"'),
        ('name = "Site"', 'name = " "', 3, "name is empty"),
        ('name = "Site"', 'name = "S"\npermitted_t = { voc = -1 }', 4, "permitted_t.voc is -1"),
        ("[site]", "[[site]]", 1, "site is a list"),
    ],
)
def test_one_fault_of_the_site_is_told_once(old: str, new: str, line: int, what: str) -> None:
    site = SITE.replace(old, new)
    found = faults("", site)
    assert [fault.line + site.count("\n") for fault in found] == [line]
    assert what in found[0].what


SECOND = DEVICE.replace('"d"', '"d2"').replace("unit=3", "unit=4")


def test_two_devices_at_one_point_at_one_time_are_a_fault() -> None:
    (fault,) = faults(DEVICE + SECOND)
    assert fault.line == 6
    assert 'device "s/d" (s.toml:14) and "s/d2" both' in fault.what
    assert "serve s/p with energy.active.import, power.active, voltage.l1 and 1 more" in fault.what
    assert fault.todo.startswith("give one a place of its own")


def test_an_overlap_is_told_with_its_days() -> None:
    (fault,) = faults(f"{DEVICE}to = 2025-03-01\n{SECOND}from = 2025-02-01\n")
    assert "from 2025-02-01 00:00 to 2025-03-01 00:00" in fault.what


def test_one_device_after_the_other_is_none_in_whatever_order_they_stand() -> None:
    text = f"{SITE}{SECOND}from = 2025-02-01\n{DEVICE}to = 2025-02-01\n"
    for point in parse_registry({"s.toml": text}, PROFILES).points:
        assert [service.device for service in point.services] == ["s/d", "s/d2"]


def test_two_devices_at_one_place_may_bring_different_quantities() -> None:
    assert (
        faults(DEVICE + 'quantities = ["power.active"]\n' + SECOND + 'quantities = ["frequency"]\n')
        == []
    )


def test_a_long_service_hides_no_later_overlap() -> None:
    third = DEVICE.replace('"d"', '"d3"').replace("unit=3", "unit=5")
    found = faults(
        f"{DEVICE}{SECOND}from = 2025-01-01\nto = 2025-02-01\n{third}from = 2025-03-01\n"
    )
    assert [fault.line for fault in found] == [6, 13]
    found = faults(
        f"{DEVICE}to = 2025-02-01\n{SECOND}from = 2025-01-01\nto = 2025-04-01\n"
        f"{third}from = 2025-03-01\n"
    )
    assert [fault.line for fault in found] == [7, 14]


def test_one_instrument_cannot_be_at_two_places_at_once() -> None:
    one = DEVICE + 'serial = "1"\n'
    other = SECOND.replace('"p"', '"q"') + 'serial = "1"\n'
    (fault,) = faults(one + other)
    assert fault.line == 12
    assert "serial number 1" in fault.what
    assert faults(one + "to = 2025-01-01\n" + other + "from = 2025-01-01\n") == []


def test_one_address_cannot_be_two_instruments() -> None:
    copied = DEVICE.replace('"d"', '"d2"').replace('"p"', '"q"')
    (fault,) = faults(DEVICE + copied)
    assert fault.line == 10
    assert "are read at modbus+tcp://10.0.0.5:502?unit=3" in fault.what


def test_one_address_is_one_instrument_whatever_the_profiles() -> None:
    other = DEVICE.replace('"d"', '"d2"').replace('"p"', '"q"').replace('"meter"', '"%s"')
    (fault,) = faults(DEVICE + other % "primary")
    assert "both are read at" in fault.what
    channel = replace(
        PRIMARY, name="channel", registers=(Register("power.active", 3, 99, "i32", "W"),)
    )
    stranger = replace(channel, name="stranger", maker="Other")
    profiles = {**PROFILES, "channel": channel, "stranger": stranger}
    parse_registry({"s.toml": SITE + DEVICE + other % "channel"}, profiles)
    with pytest.raises(ConfigurationError, match="both are read at"):
        parse_registry({"s.toml": SITE + DEVICE + other % "stranger"}, profiles)


def test_a_gateway_of_another_site_is_not_taken() -> None:
    other = SITE.replace('"s"', '"t"').replace('"g"', '"h"')
    device = PUSHED.replace('"g"', '"h"')
    with pytest.raises(ConfigurationError) as caught:
        parse_registry({"s.toml": SITE + device, "t.toml": other}, PROFILES)
    (fault,) = caught.value.faults
    assert (fault.file, fault.line) == ("s.toml", 18)
    assert "of another site" in fault.what


FORMER = """formerly = { "power.active" = ["s/old/power.active/raw", %s] }
[[device]]
id = "e"
place = "r"
profile = "push"
gateway = "g"
quantities = ["power.active"]
"""


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("s/r/power.active/raw", "point of today"),
        ("s/old/power.active/raw", "given to two points"),
        ("power.active", "no name of a point"),
    ],
)
def test_a_former_name_belongs_to_one_point(name: str, what: str) -> None:
    (fault,) = faults('[[place]]\nid = "r"\n' + FORMER % f'"{name}"')
    assert fault.line == 3
    assert what in fault.what


def test_a_file_that_is_not_toml_hides_no_other() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_registry({"a.toml": "[site\n", "b.toml": SITE + "x = 1\n"}, PROFILES)
    assert [(f.file, f.line) for f in caught.value.faults] == [("a.toml", 1), ("b.toml", 14)]


def test_a_file_without_a_site_is_a_fault() -> None:
    with pytest.raises(ConfigurationError, match=r"\[site\] is missing"):
        parse_registry({"a.toml": ""}, {})


def test_what_could_be_read_is_there_beside_the_faults() -> None:
    registry, found = read_registry({"s.toml": SITE + DEVICE + "x = 1\n"}, PROFILES)
    assert len(found) == 1
    assert set(registry.devices) == {"s/d"}


PIECES = [
    "modbus+tcp",
    "modbus+serial",
    "modbus+rtu-tcp",
    "://",
    "10.0.0.5",
    ":",
    "502",
    "/dev/tty",
]
PIECES += [
    "?",
    "unit=",
    "3",
    "&",
    "parity=",
    "E",
    "baud=9600",
    "stop=",
    "[::1]",
    "@",
    "#",
    "a b",
    "é",
]


@given(st.lists(st.sampled_from(PIECES), max_size=9).map("".join) | st.text(max_size=20))
def test_what_passes_here_the_modbus_source_can_read(url: str) -> None:
    found = check_connection(url)
    if not found.wrong:
        bus = parse_connection(url).bus
        assert found.port == bus.place
        assert origin_of(url) == bus.origin


def test_equal_instruments_have_equal_names() -> None:
    def instrument(url: str) -> str:
        return check_connection(url).instrument

    assert instrument("modbus+tcp://HOST?unit=03") == instrument("modbus+tcp://host:502?unit=3")
    assert instrument("modbus+tcp://host?unit=3") != instrument("modbus+tcp://host?unit=4")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("modbus+tcp://h?unit=1", "modbus+rtu-tcp://H:502?unit=2"),
        ("modbus+serial:///dev/ttyS1?unit=1", "modbus+serial:///dev/ttyS1?unit=2&baud=19200"),
        ("modbus+serial:///dev/ttyS1?unit=1&parity=E", "modbus+serial:///dev/ttyS1?unit=2"),
        ("modbus+serial:///dev/ttyS1?unit=1", "modbus+serial:///dev/ttyS1?unit=2&stop=2"),
        ("modbus+tcp://h?unit=1", "modbus+tcp://h:502?unit=2"),
        ("modbus+serial:///dev/ttyS1?unit=1", "modbus+serial:///dev/ttyS1?unit=2&baud=09600"),
        ("modbus+tcp://h?unit=1", "modbus+rtu-tcp://h:503?unit=2"),
    ],
)
def test_what_the_source_would_refuse_at_its_start_is_a_fault_here(one: str, other: str) -> None:
    first = DEVICE.replace("modbus+tcp://10.0.0.5:502?unit=3", one)
    second = DEVICE.replace("modbus+tcp://10.0.0.5:502?unit=3", other)
    second = second.replace('"d"', '"d2"').replace('"p"', '"q"')
    devices = [
        Device("s", name, "p", "meter", connection=url) for name, url in (("d", one), ("d2", other))
    ]
    told = faults(first + second)
    try:
        gather(devices, PROFILES, {})
    except ConfigurationError:
        assert [(fault.line, fault.todo[:11]) for fault in told] == [(10, "one framing")]
    else:
        assert told == []
