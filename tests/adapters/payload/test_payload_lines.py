"""Line protocol is read as InfluxDB reads it: what its own client writes comes back exactly."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from influxdb_client import Point

from adapters.sources.payload import load_formats, parse_formats
from adapters.sources.payload.line_protocol import GrammarError, LineReader, number, parse, split
from adapters.sources.payload.shape import Row
from collector.model import Reason
from tests.adapters.payload.decoded import refused
from tests.adapters.payload.foreign import ENERGY, POWER, VOLTAGE, decode, rows
from tests.adapters.payload.pushed import T0, Fleet, topic

NS = T0 * 1_000_000
fleet = Fleet()

_letters = st.characters(categories=("L", "N", "P", "S")) | st.sampled_from(' ,=\\"#')
_names = st.text(_letters, min_size=1, max_size=8).filter(lambda name: not name.endswith("\\"))
_measurements = _names.filter(lambda name: not name.lstrip().startswith("#"))
_texts = st.text(_letters | st.sampled_from('\n"\\'), max_size=8)
_values = (
    st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(2**63), 2**63 - 1)
    | st.booleans()
    | _texts
)
_points = st.builds(
    lambda *parts: parts,
    _measurements,
    st.dictionaries(_names, _names, max_size=3),
    st.dictionaries(_names, _values, min_size=1, max_size=4),
    st.none() | st.integers(0, 2**63 - 1),
)
Told = tuple[str, dict[str, str], dict[str, Any], int | None]


def written(told: Told) -> str:
    name, tags, fields, time = told
    point = Point(name)
    for key, value in tags.items():
        point.tag(key, value)
    for key, held in fields.items():
        point.field(key, held)
    if time is not None:
        point.time(time)
    return str(point.to_line_protocol())


def read_back(value: str) -> Any:
    if value.startswith('"'):
        return value[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    return number(value)


@given(_points)
def test_what_the_client_writes_is_read_exactly(told: Told) -> None:
    name, tags, fields, time = told
    line = parse(written(told))
    assert (line.measurement, line.tags) == (name, tags)
    assert list(line.fields) == sorted(fields)
    assert line.time == ("" if time is None else str(time))
    for key, value in fields.items():
        if isinstance(value, str) and "\\" in value:
            assert line.fields[key].startswith('"')  # unescaped nowhere: it is no reading
        else:
            assert read_back(line.fields[key]) == (
                value if isinstance(value, str) else float(value)
            )


@given(st.lists(_points, max_size=5))
def test_lines_are_cut_where_the_client_ended_them(told: list[Told]) -> None:
    lines = [written(one) for one in told]
    assert [line for line in split("\n".join(lines)) if line] == lines


@given(st.lists(_points, max_size=4), st.integers(0, 3))
def test_plain_lines_are_read_quickly_and_with_care_alike(told: list[Told], again: int) -> None:
    text = "\n".join([written(one) for one in told] * (again + 1)).encode()
    form = load_formats()["line-protocol"]
    quick, careful = LineReader(form, [], "UTC"), LineReader(form, [], "UTC")
    careful._quick = lambda line, received: None  # type: ignore[method-assign]
    assert _plain(quick.read(text, T0)) == _plain(careful.read(text, T0))


def _plain(read: Any) -> Any:
    message, damages, numbers = read
    return [_tuple(one) for one in message.readings], damages, numbers


def _tuple(one: Row) -> Any:
    return one.device, one.time, one.values, one.units, one.flags


@given(st.text(_letters | st.sampled_from("\n\r tifu0.1-"), max_size=60))
@example('a b="')
@example('a b="\n"c" d="e\nf" 1')
@example("a\\ b c=1")
def test_any_text_is_accounted_for(text: str) -> None:
    decoded = fleet.decoder.decode_many([(topic(), text.encode(), T0)], "line-protocol")
    (one,) = decoded.receipts
    assert one.stored or one.refused
    assert Reason.PROGRAM_FAULT not in {part.reason for part in one.refused}


class TestGrammar:
    @pytest.mark.parametrize(
        ("line", "told"),
        [
            ("m f=1", ("m", {}, {"f": "1"}, "")),
            ("m f=1 5", ("m", {}, {"f": "1"}, "5")),
            ("  m,a=b  f=1   5  ", ("m", {"a": "b"}, {"f": "1"}, "5")),
            (r"m\ x\,y,a\=b=c\ d\,e f\ g\=h=1", ("m x,y", {"a=b": "c d,e"}, {"f g=h": "1"}, "")),
            (r"m\=x,a=b\c f\g=1", (r"m\=x", {"a": r"b\c"}, {r"f\g": "1"}, "")),
            (r'm,a="b" f="c d,e=f\" g" 1', ("m", {"a": '"b"'}, {"f": r'"c d,e=f\" g"'}, "1")),
            ("m=n f=1,f=2", ("m=n", {}, {"f": "2"}, "")),
            ("m f=1\r", ("m", {}, {"f": "1"}, "")),
            ("空气,地=秦 温度=1", ("空气", {"地": "秦"}, {"温度": "1"}, "")),
        ],
    )
    def test_good(self, line: str, told: Any) -> None:
        assert tuple(parse(line)) == told

    @pytest.mark.parametrize(
        "line", ["m", "m ", "m f", "m f=", "m =1", "m,a f=1", "m,a= f=1", "m,=b f=1", ",a=b f=1",
                 "m, f=1", "m f=1,", 'm f="a"b', "m f=1,,g=2", 'm f="a'],
    )  # fmt: skip
    def test_bad(self, line: str) -> None:
        if line == 'm f="a':
            assert parse(line).fields == {"f": '"a'}  # no text: refused as a value
            return
        with pytest.raises(GrammarError):
            parse(line)

    @pytest.mark.parametrize(
        ("written_", "value"),
        [
            ("1", 1.0), ("-1.5", -1.5), ("+2", 2.0), ("1.e+78", 1e78), (".5", 0.5), ("1E-3", 1e-3),
            ("1i", 1.0), ("-9223372036854775808i", -(2.0**63)), ("18446744073709551615u", 2.0**64),
            ("t", True), ("TRUE", True), ("True", True), ("f", False), ("False", False),
        ],
    )  # fmt: skip
    def test_values(self, written_: str, value: Any) -> None:
        assert number(written_) == value

    @pytest.mark.parametrize(
        "text", ["", "NaN", "inf", "1e999", "0x10", "1_000", "1,5", "tRUE", "nan", "1ii", "i",
                 "1.5i", "-1u", "9223372036854775808i", "18446744073709551616u", '"1"', "١",
                 "1" * 400 + "i"],
    )  # fmt: skip
    def test_no_values(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"number|integer"):
            number(text)


class TestReadings:
    def test_a_line_is_a_row(self) -> None:
        decoded = decode(
            "line-protocol",
            f"""# what the mill sends
meter,device=main-meter energy.active.import=123i,power.active=1.5 {NS}

meter,device=main-meter voltage.l1=230u,power.active=2 {NS + 1_999_999}
power.active,device=main-meter value=3 {NS + 2_000_000}
""".encode(),
        )
        assert rows(decoded) == [
            (ENERGY, 0, 123.0, 0), (POWER, 0, 1.5, 0), (VOLTAGE, 1, 230.0, 0), (POWER, 1, 2.0, 0),
            (POWER, 2, 3.0, 0),
        ]  # fmt: skip
        assert decoded.refusals == []

    def test_without_a_timestamp_it_is_the_time_of_receipt(self) -> None:
        assert (
            rows(decode("line-protocol", b"m,device=main-meter power.active=1\n" * 2))
            == [(POWER, 1000, 1.0, 0)] * 2
        )

    def test_without_a_device_it_is_the_gateways_only_one(self) -> None:
        assert len(decode("line-protocol", b"m power.active=1", gateway="gw-mill").batch) == 1
        assert refused(decode("line-protocol", b"m power.active=1")) == [(Reason.UNKNOWN_DEVICE, 1)]

    @pytest.mark.parametrize(
        ("unit", "per_ms"), [("ns", 10**6), ("us", 10**3), ("ms", 1), ("s", 1 / 1000)]
    )
    def test_precision(self, unit: str, per_ms: float) -> None:
        raw = f"m,device=main-meter power.active=1 {math.floor(T0 * per_ms)}".encode()
        for payload in (raw, raw + b"\n" + raw):
            decoded = fleet.decoder.decode_many([(topic(), payload, T0)], "line-protocol", unit)
            assert set(decoded.batch.time.tolist()) == {T0}

    def test_what_is_wrong_spoils_itself_only(self) -> None:
        decoded = decode(
            "line-protocol",
            f"""m,device=main-meter power.active="on",voltage.l1=230 {NS}
m,device=main-meter power.active {NS}
m,device=main-meter power.active=1 yesterday
m,device=main-meter power.active=1 99999999999999999999
m,device=nobody power.active=1 {NS}
m,device=main-meter power.actve=1,power.active=NaN {NS}
m,device=main-meter power.active=7 {NS}
""".encode(),
        )
        assert rows(decoded) == [(VOLTAGE, 0, 230.0, 0), (POWER, 0, 7.0, 0)]
        told = [(part.reason, part.count, part.rows) for part in decoded.receipts[0].refused]
        assert told == [
            (Reason.BAD_VALUE, 2, (0, 5)),
            (Reason.PAYLOAD, 1, (1,)),
            (Reason.BAD_TIME, 2, (2, 3)),
            (Reason.UNKNOWN_DEVICE, 1, (4,)),
            (Reason.UNKNOWN_QUANTITY, 1, (5,)),
        ]

    def test_an_escaped_equals_sign_is_none(self) -> None:
        line = rb"m,device=main-meter power.active=1,power.active\=2"
        decoded = decode("line-protocol", b"m,device=main-meter power.active=1\n" + line)
        assert refused(decoded) == [(Reason.PAYLOAD, 1)]

    def test_a_fleets_own_tag_and_names(self) -> None:
        own = """
            base = "line-protocol"
            time_unit = "ms"
            ignore = ["uptime"]
            [[form]]
            device = "meter"
            [[form]]
            device = "host"
            [tags]
            kw = "power.active"
            """
        raw = f"m,host=h,meter=main-meter kw=1,uptime=5i {T0}\nm,host=behind kw=2 {T0}".encode()
        assert rows(decode("mill", raw, own=own)) == [
            (POWER, 0, 1.0, 0), ("sub/power.active", 0, 80.0, 0)
        ]  # fmt: skip

    @pytest.mark.parametrize("raw", [b"", b"\n\n", b"# nothing", b"\xff"])
    def test_nothing_to_read(self, raw: bytes) -> None:
        assert refused(decode("line-protocol", raw))[0][0] == Reason.PAYLOAD

    def test_too_many_lines(self) -> None:
        raw = b"a b=1\n" * 150_000
        assert refused(decode("line-protocol", raw)) == [(Reason.TOO_LARGE, 1)]

    def test_its_refusals_can_be_read_again(self) -> None:
        from adapters.sources.payload import form_of

        raw = f"m,device=main-meter x=1 {T0}".encode()
        decoded = fleet.decoder.decode_many([(topic(), raw, T0)], "line-protocol", "ms")
        (kind,) = {one.kind for one in decoded.refusals}
        assert form_of(kind) == ("line-protocol", "ms")
        unknown = fleet.decoder.decode_many([(topic("gw-new"), raw, T0)], "line-protocol", "ms")
        assert unknown.refusals[0].kind == "line-protocol.ms:gw-new"
        assert form_of("line-protocol.ms:gw-new") == ("line-protocol", "ms")
        assert form_of("batch-record") is None

    def test_a_mapping_must_name_a_tag(self) -> None:
        formats = parse_formats({"x.toml": 'base = "line-protocol"'}, load_formats())
        assert formats["x"].forms[0].device == "device"


def test_json_samples_are_no_lines() -> None:
    raw = json.dumps({"readings": []}).encode()
    assert refused(decode("line-protocol", raw)) == [(Reason.PAYLOAD, 1)]


MANY = 1_000_000
HOSTILE = {
    # a lot of what a line may have there; to go back over it again and again takes hours
    "digits": "m,device=main-meter power.active=" + "9" * MANY + "x",
    "digits behind the point": "m,device=main-meter power.active=." + "9" * MANY + "x",
    "digits of an exponent": "m,device=main-meter power.active=1e" + "9" * MANY + "x",
    "digits of a time": "m,device=main-meter power.active=1 " + "9" * MANY + "x",
    "backslashes": "m,device=main-meter power.active=" + "\\" * MANY,
    "a name": "m" * MANY,
    "a name of backslashes": "\\" * MANY,
    "a name of a field": "m,device=main-meter " + "f\\=" * (MANY // 3),
    "blanks": "m,device=main-meter" + " " * MANY,
    "tags": "m" + ",a=b" * 90_000,
    "a text without end": 'm,device=main-meter power.active="' + '\\"' * (MANY // 2),
    "texts without end": 'm,device=main-meter x="' + '\\",x="\n' * 90_000,
    "lines with a quote": 'm "\n' * (MANY // 12),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_is_read_over_and_over_again(name: str) -> None:
    good = f"m,device=main-meter power.active=7 {NS}\n"
    decoded = decode("line-protocol", f"{good}{HOSTILE[name]}\n{good}".encode())
    (receipt,) = decoded.receipts
    assert receipt.stored >= 1
    assert receipt.refused
    assert Reason.PROGRAM_FAULT not in {part.reason for part in receipt.refused}
