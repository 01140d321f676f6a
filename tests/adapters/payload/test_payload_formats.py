"""Other makers' JSON, as their documentation shows it, becomes readings; what a mapping file says
wrongly is told at once, with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.sources.payload import PayloadDecoder, form_of, load_formats, parse_formats
from collector.errors import ConfigurationError
from collector.model import Quality, Reason
from tests.adapters.payload.any_messages import anything, names, plain
from tests.adapters.payload.decoded import refused
from tests.adapters.payload.foreign import ENERGY, POWER, VOLTAGE, decode, fleet, rows
from tests.adapters.payload.pushed import DEVICES, T0, Fleet, topic


class TestNeuron:
    NAMED: ClassVar[dict[str, Any]] = {"node": "main-meter", "group": "grp", "timestamp": T0}

    def test_values_format(self) -> None:
        told = self.NAMED | {
            "values": {"energy.active.import": 123, "power.active": 1.5},
            "errors": {"voltage.l1": 2014},
            "metas": {},
        }
        decoded = decode("neuron", told)
        assert rows(decoded) == [
            (ENERGY, 0, 123.0, 0),
            (POWER, 0, 1.5, 0),
            (VOLTAGE, 0, None, Quality.NO_VALUE),
        ]
        assert decoded.refusals == []

    def test_tags_format(self) -> None:
        tags = [
            {"name": "energy.active.import", "value": 123},
            {"name": "power.active", "error": 2014},
            {"name": "voltage.l1", "value": 230.1, "error": 0},
        ]
        decoded = decode("neuron", self.NAMED | {"tags": tags})
        assert rows(decoded) == [
            (ENERGY, 0, 123.0, 0),
            (POWER, 0, None, Quality.NO_VALUE),
            (VOLTAGE, 0, 230.1, 0),
        ]

    def test_ecp_format(self) -> None:
        tags = [
            {"name": "energy.active.import", "value": 123, "type": 2},
            {"name": "power.active", "value": 81.5, "type": 3},
            {"name": "voltage.l1", "value": "off", "type": 4},
        ]
        decoded = decode("neuron", self.NAMED | {"tags": tags})
        assert rows(decoded) == [(ENERGY, 0, 123.0, 0), (POWER, 0, 81.5, 0)]
        assert refused(decoded) == [(Reason.BAD_VALUE, 1)]

    def test_an_unknown_tag_spoils_no_other(self) -> None:
        values = {"power.active": 1.5, "power.actve": 2, "x": 3}
        decoded = decode("neuron", self.NAMED | {"values": values})
        assert rows(decoded) == [(POWER, 0, 1.5, 0)]
        assert refused(decoded) == [(Reason.UNKNOWN_QUANTITY, 2)]
        assert "is 'power.active' meant?" in decoded.refusals[0].detail

    OWN = """
        base = "neuron"
        ignore = ["heartbeat"]
        [tags]
        kWh = "energy.active.import"
        P = { quantity = "power.active", unit = "W" }
        mill_kWh = { quantity = "energy.active.import", device = "behind" }
        [devices]
        "modbus 1" = "main-meter"
        [flags]
        3002 = "B"
        """

    def test_a_fleets_own_names(self) -> None:
        told = self.NAMED | {
            "node": "modbus 1",
            "values": {"P": 81500, "kWh": 5, "mill_kWh": 7, "heartbeat": 1, "p": 1},
            "errors": {"voltage.l1": 3002},
        }
        decoded = decode("mill", told, own=self.OWN)
        assert rows(decoded) == [
            (POWER, 0, 81.5, 0),
            (ENERGY, 0, 5.0, 0),
            (VOLTAGE, 0, None, Quality.NO_COMMUNICATION),
            ("sub/energy.active.import", 0, 7.0, 0),
        ]
        assert refused(decoded) == [(Reason.UNKNOWN_QUANTITY, 1)]
        assert "is 'P' meant" not in decoded.refusals[0].detail  # nothing near enough

    def test_an_error_is_told_as_a_mark_in_each_form(self) -> None:
        tag = {"name": "voltage.l1", "value": 7, "error": 3002}
        for told in ({"tags": [tag]}, {"values": {}, "errors": {"voltage.l1": 3002}}):
            decoded = decode("mill", self.NAMED | told, own=self.OWN)
            assert rows(decoded) == [(VOLTAGE, 0, None, Quality.NO_COMMUNICATION)]

    def test_the_nearest_of_the_makers_names_is_told(self) -> None:
        told = self.NAMED | {"values": {"mill_kwh": 1}}
        (one,) = decode("mill", told, own=self.OWN).refusals
        assert "is 'mill_kWh' meant?" in one.detail

    def test_two_names_for_one_quantity(self) -> None:
        told = self.NAMED | {"values": {"kWh": 1, "energy.active.import": 2}}
        decoded = decode("mill", told, own=self.OWN)
        assert rows(decoded) == [(ENERGY, 0, 1.0, 0)]
        assert refused(decoded) == [(Reason.BAD_VALUE, 1)]


class TestThingsBoard:
    def test_gateway_api(self) -> None:
        told = {
            "main-meter": [
                {"ts": T0, "values": {"power.active": 42, "voltage.l1": 230}},
                {"ts": T0 + 1000, "values": {"power.active": 43}},
            ],
            "behind": [{"ts": T0, "values": {"energy.active.import": 5}}],
            "nobody": [{"ts": T0, "values": {"power.active": 1}}],
        }
        decoded = decode("thingsboard", told)
        assert rows(decoded) == [
            (POWER, 0, 42.0, 0),
            (VOLTAGE, 0, 230.0, 0),
            (POWER, 1000, 43.0, 0),
            ("sub/energy.active.import", 0, 5.0, 0),
        ]
        assert refused(decoded) == [(Reason.UNKNOWN_DEVICE, 1)]
        assert [part.rows for part in decoded.receipts[0].refused] == [(3,)]

    def test_without_a_time_it_is_that_of_receipt(self) -> None:
        for told in (
            {"main-meter": [{"values": {"power.active": 42}}]},
            {"main-meter": [{"power.active": 42}]},
        ):
            assert rows(decode("thingsboard", told)) == [(POWER, 1000, 42.0, 0)]

    @pytest.mark.parametrize(
        ("told", "when"),
        [
            ({"ts": T0, "values": {"power.active": 42}}, [0]),
            ([{"ts": T0, "values": {"power.active": 42}},
              {"ts": T0 + 5, "values": {"power.active": 42}}], [0, 5]),
            ({"power.active": 42}, [1000]),
            ([{"power.active": 42}, {"power.active": 42}], [1000, 1000]),
        ],
    )  # fmt: skip
    def test_device_api_of_a_gateway_with_one_device(self, told: Any, when: list[int]) -> None:
        decoded = decode("thingsboard", told, gateway="gw-mill")
        assert [time for _, time, _, _ in rows(decoded)] == when
        assert decoded.refusals == []

    def test_device_api_of_a_gateway_with_several(self) -> None:
        decoded = decode("thingsboard", {"ts": T0, "values": {"power.active": 42}})
        assert refused(decoded) == [(Reason.UNKNOWN_DEVICE, 1)]


FLAT = """
    time_format = "%Y/%m/%d %H:%M:%S"
    device_by = "serial"
    text_values = true
    ignore = ["rssi", "fw"]
    [[form]]
    device = "sn"
    time = "t"
    [tags]
    kwh = "energy.active.import"
    p = { quantity = "power.active", unit = "W" }
    """
ENVELOPE = """
    time_unit = "s"
    [[form]]
    rows = "data.list"
    device = "/gw.meter"
    time = "at"
    name = "k"
    value = "v"
    quality = "q"
    unit = "u"
    [flags]
    0 = "N"
    5 = "D"
    """


class TestOthers:
    def test_a_flat_one(self) -> None:
        told = {
            "sn": 21030001, "t": "2026/11/22 08:00:00", "kwh": "12345.67", "p": 81500,
            "rssi": -70, "fw": "1.2",
        }  # fmt: skip
        decoded = decode("acme", told, [told | {"t": "2026/11/22 08:00:01"}], own=FLAT)
        assert rows(decoded) == [
            (ENERGY, 0, 12345.67, 0), (POWER, 0, 81.5, 0),
            (ENERGY, 1000, 12345.67, 0), (POWER, 1000, 81.5, 0),
        ]  # fmt: skip
        assert decoded.refusals == []

    def test_an_envelope_with_a_list_of_values(self) -> None:
        entries = [
            {"k": "power.active", "v": 1.5, "q": 0, "u": "MW", "at": T0 // 1000},
            {"k": "voltage.l1", "v": 230, "q": 5, "at": T0 // 1000 + 1},
            {"k": "voltage.l1", "v": 231, "q": 77, "at": T0 / 1000 + 2.5},
        ]
        told = {"gw": {"meter": "main-meter"}, "data": {"list": entries}}
        decoded = decode("acme", told, own=ENVELOPE)
        assert rows(decoded) == [
            (POWER, 0, 1500.0, 0),
            (VOLTAGE, 1000, 230.0, Quality.FAULT),
            (VOLTAGE, 2500, 231.0, Quality.UNKNOWN_FLAG),
        ]

    @pytest.mark.parametrize(
        ("told", "reason", "says"),
        [
            ({"t": "2026/11/22 08:00:00", "kwh": 1}, Reason.UNKNOWN_DEVICE, '"sn"'),
            ({"sn": "21030001", "kwh": 1}, Reason.BAD_TIME, "no time"),
            ({"sn": "21030001", "t": "22.11.2026", "kwh": 1}, Reason.BAD_TIME, "%Y/%m/%d"),
            ({"sn": "21030001", "t": [], "kwh": 1}, Reason.BAD_TIME, "a list"),
            ({"sn": "21030001", "t": 1e300, "kwh": 1}, Reason.BAD_TIME, "no time"),
            ({"sn": "21030001", "t": T0, "kwh": "12,5"}, Reason.BAD_VALUE, "12,5"),
            ({"sn": "21030001", "t": T0, "kwh": {}}, Reason.BAD_VALUE, "an object"),
            ({"sn": "4711", "t": T0, "kwh": 1}, Reason.UNKNOWN_DEVICE, "4711"),
            ([7, {"sn": "21030001", "t": T0, "kwh": 1}], Reason.PAYLOAD, "no message"),
            ("x", Reason.PAYLOAD, "no message"),
            (b"[[", Reason.PAYLOAD, "JSON"),
        ],
    )
    def test_what_is_wrong_is_told(self, told: Any, reason: str, says: str) -> None:
        decoded = decode("acme", told, own=FLAT)
        assert [one.reason for one in decoded.refusals] == [reason]
        assert says in decoded.refusals[0].detail

    def test_a_row_of_another_form_spoils_no_other(self) -> None:
        good = {"sn": "21030001", "t": T0, "kwh": 1}
        decoded = decode("acme", [good, 7, good | {"t": T0 + 1}], own=FLAT)
        assert [time for _, time, _, _ in rows(decoded)] == [0, 1]
        assert [part.rows for part in decoded.receipts[0].refused] == [(1,)]


def test_the_registry_says_which_format_a_gateway_speaks() -> None:
    from dataclasses import replace

    made = Fleet(DEVICES)
    gateways = {one.id: replace(one, format="neuron") for one in made.registry.gateways.values()}
    decoder = PayloadDecoder(
        replace(made.registry, gateways=gateways), made.table, made.origins.ids,
        source="mqtt:main", late_after_ms=600_000, profiles={},
    )  # fmt: skip
    told = {"node": "main-meter", "timestamp": T0, "values": {"power.active": 1, "x": 2}}
    decoded = decoder.decode_many([(topic(), plain(told), T0)])
    assert len(decoded.batch) == 1
    assert [(one.kind, form_of(one.kind)) for one in decoded.refusals] == [("mqtt-json", ("", ""))]


def test_a_format_that_is_not_known() -> None:
    decoded = decode("nonsense", {})
    assert [one.detail for one in decoded.refusals] == ["there is no format 'nonsense'"]


class TestFiles:
    def test_the_shipped_ones_name_their_source(self) -> None:
        formats = load_formats()
        assert set(formats) == {"neuron", "thingsboard", "line-protocol"}
        for one in formats.values():
            assert one.label
            assert one.label_zh
            assert one.source.startswith("https://")

    FAULTS = """\
lable = "x"
time_unit = "min"
zone = "Asia/Tianshui"
time_format = "%H:%M"
device_by = "name"
[[form]]
device = "*"
error = "e"
[[form]]
vales = "x"
[tags]
a = "power.actve"
b = { quantity = "power.active", unit = "kWh" }
c = 7
d = { quantity = "power.active", devise = "x" }
e = { quantity = "power.active", device = "Main Meter" }
[devices]
x = "Main Meter"
[flags]
3002 = "Q"
"""

    def test_all_faults_are_told_at_once_with_their_lines(self) -> None:
        with pytest.raises(ConfigurationError) as caught:
            parse_formats({"m/acme.toml": self.FAULTS, "m/other.toml": "x = ", "m/B A.toml": ""})
        told = {(fault.file, fault.line) for fault in caught.value.faults}
        lines = {1, 2, 3, 4, 5, 7, 8, 10, 12, 13, 14, 15, 16, 18, 20}
        assert {line for file, line in told if file == "m/acme.toml"} == lines
        assert ("m/other.toml", 1) in told
        assert ("m/B A.toml", 0) in told
        assert all(fault.todo for fault in caught.value.faults)

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ('base = "nuron"', 'did you mean "neuron"?'),
            ('time_unit = "s"', "no [[form]]"),
            ('syntax = "line-protocol"\n[[form]]\nvalues = "x"', '"device" is missing'),
        ],
    )
    def test_single_faults(self, text: str, says: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            parse_formats({"acme.toml": text}, load_formats())
        assert says in str(caught.value)

    def test_check_tells_them_with_the_gateway_that_names_no_format(self, tmp_path: Path) -> None:
        from meterwatch.fleet import parse, read_files

        registry = tmp_path / "registry"
        registry.mkdir()
        (tmp_path / "meterwatch.toml").write_text("")
        (registry / "s.toml").write_text(
            '[site]\nid = "s"\nname = "S"\ncounty = "620502"\nindustry = "C2319"\n'
            '[[gateway]]\nid = "gw"\nformat = "neurn"\n'
        )
        with pytest.raises(ConfigurationError) as caught:
            parse(read_files(tmp_path))
        assert 's.toml:8: unknown format "neurn" -> did you mean "neuron"?' in str(caught.value)
        (tmp_path / "mappings").mkdir()
        (tmp_path / "mappings" / "neurn.toml").write_text('base = "neuron"\n')
        assert parse(read_files(tmp_path)).formats["neurn"].forms


_KEYS = [
    "node",
    "timestamp",
    "values",
    "tags",
    "errors",
    "ts",
    "name",
    "value",
    "main-meter",
    "sn",
    "t",
    "kwh",
]


@given(anything | st.dictionaries(st.sampled_from(_KEYS), anything | names, max_size=6))
def test_any_json_in_any_format_is_accounted_for(told: Any) -> None:
    for form in ("neuron", "thingsboard", "line-protocol"):
        decoded = fleet.decoder.decode_many([(topic(), plain(told), T0)], form)
        (one,) = decoded.receipts
        assert one.stored == len(decoded.batch)
        assert one.stored or one.refused
        assert Reason.PROGRAM_FAULT not in {part.reason for part in one.refused}
