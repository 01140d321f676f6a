"""Every refusal that people meet is read in Chinese; names and numbers in it stay as they came."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.sources.payload import Clocks
from collector.model import Reason, Refusal
from meterwatch.refusal_nearest import with_nearest
from meterwatch.refusal_words import refusal
from tests.adapters.payload.hostile import ATTACKS
from tests.adapters.payload.pushed import T0, Fleet, message, row, topic

fleet = Fleet()


def refusals(payload: bytes, gateway: str = "gw-print", form: str = "") -> list[Refusal]:
    return fleet.decoder.decode_many([(topic(gateway), payload, T0 + 1000)], form).refusals


ODD: tuple[object, ...] = (1.5, True, [], {})
POWER = {"power.active": 1.0}
REFUSED: dict[str, tuple[str, list[Refusal]]] = {
    "gateway": (Reason.UNKNOWN_GATEWAY, refusals(message(row()), "gw-nowhere")),
    "device": (Reason.UNKNOWN_DEVICE, refusals(message(row("mian")))),
    "device, nothing near": (Reason.UNKNOWN_DEVICE, refusals(message(row("§§§")))),
    "serial": (Reason.WRONG_SERIAL, refusals(message(row(serial="99 999")))),
    "quantity": (Reason.UNKNOWN_QUANTITY, refusals(message(row(values={"power.activ": 1})))),
    "quantities": (
        Reason.UNKNOWN_QUANTITY,
        refusals(message(row(values={"power.activ": 1, "it's": 2, "x": 3}))),
    ),
    "unit": (
        Reason.UNKNOWN_UNIT,
        refusals(message(row(values=POWER, units={"power.active": "kWw"}))),
    ),
    "unit of something else": (
        Reason.UNKNOWN_UNIT,
        refusals(message(row(values=POWER, units={"power.active": "kWh"}))),
    ),
    **{
        f"time {time!r}": (Reason.BAD_TIME, refusals(message(row(time=time))))
        for time in (
            *(1_895_000_000, 2 * T0 * 1000, 0, 180_000, -1),
            *(str(T0), "yesterday", 400_000_000_000),
        )
    },
    "older than the archive keeps": (
        Reason.BAD_TIME,
        refusals(message(row(time=T0 - 401 * 86_400_000))),
    ),
    "no JSON": (Reason.PAYLOAD, refusals(b'{"readings": [')),
    "another shape": (Reason.PAYLOAD, refusals(b"[]")),
    "empty": (Reason.PAYLOAD, refusals(b'{"readings": []}')),
    "no values": (Reason.PAYLOAD, refusals(message(row(values={})))),
    "no object": (Reason.PAYLOAD, refusals(b'{"readings": [1]}')),
    "no device": (
        Reason.PAYLOAD,
        refusals(b'{"readings": [{"time": 1795000000000, "values": {"power.active": 1}}]}'),
    ),
    "value": (Reason.BAD_VALUE, refusals(message(row(values={"power.active": "1,5"})))),
    "topic": (
        Reason.PAYLOAD,
        fleet.decoder.decode_many([("other", message(row()), T0)]).refusals,
    ),
    **{
        f"attack: {name}": (reason, refusals(ATTACKS[name][0]))
        for name, reason in {
            "gzip that ends early": Reason.PAYLOAD,
            "gzip and something behind it": Reason.PAYLOAD,
            "a gzip bomb": Reason.TOO_LARGE,
            "a small gzip bomb": Reason.TOO_LARGE,
            "empty rows": Reason.TOO_LARGE,
        }.items()
    },
    **{
        f"table {number}": (reason, refusals(json.dumps({"tables": [table]}).encode()))
        for number, (reason, table) in enumerate(
            [
                (Reason.PAYLOAD, 7),
                (Reason.PAYLOAD, {"columns": ["device", "time", "time"], "rows": []}),
                (Reason.PAYLOAD, {"columns": ["device"], "device": "x", "time": 1, "rows": []}),
                (Reason.PAYLOAD, {"columns": ["time"], "rows": []}),
                (Reason.PAYLOAD, {"columns": ["device"], "time": 1, "rows": [["a", 2]]}),
                (Reason.PAYLOAD, {"columns": ["device"], "time": 1, "rows": [[]]}),
                (Reason.PAYLOAD, {"columns": ["device", "a"], "time": 1, "rows": [[1, 2]]}),
            ]
        )
    },
    "tables that are none": (Reason.PAYLOAD, refusals(b'{"readings":[],"tables":7}')),
    **{
        f"{form} {raw!r}": (reason, refusals(raw, form=form))
        for form, raw, reason in [
            ("neuron", b"[]", Reason.PAYLOAD),
            ("nonsense", b"[]", Reason.PAYLOAD),
            ("thingsboard", b'{"power.active":1}', Reason.UNKNOWN_DEVICE),
            ("neuron", b'{"values":{"a":1}}', Reason.UNKNOWN_DEVICE),
            ("neuron", b'{"node":"main-meter","values":{"a":1}}', Reason.BAD_TIME),
            ("neuron", b'{"node":"main-meter","values":{"a":1},"timestamp":[]}', Reason.BAD_TIME),
            ("neuron", b'{"node":"main-meter","tags":[{}],"timestamp":1}', Reason.PAYLOAD),
            ("line-protocol", b"m a=1", Reason.UNKNOWN_DEVICE),
            ("line-protocol", b"m,device=main-meter a=1 x", Reason.BAD_TIME),
            ("line-protocol", b"m,device=main-meter f=1e999", Reason.BAD_VALUE),
            ("line-protocol", b"m,device=main-meter f=99999999999999999999i", Reason.BAD_VALUE),
            ("line-protocol", b"m,device=main-meter", Reason.PAYLOAD),
            ("line-protocol", b"m,device=main-meter a", Reason.PAYLOAD),
            ("line-protocol", b"m,device a=1", Reason.PAYLOAD),
            ("line-protocol", b",x=1 a=1", Reason.PAYLOAD),
            ("line-protocol", b'm,x=1 f="1"2', Reason.PAYLOAD),
            ("line-protocol", b"m,x=1 f=", Reason.PAYLOAD),
            ("line-protocol", b"\xff", Reason.PAYLOAD),
            ("line-protocol", b"\n" * 100_000, Reason.TOO_LARGE),
        ]
    },
    **{
        f"no JSON, foreseen {raw!r:.40}": (Reason.PAYLOAD, refusals(raw))
        for raw in (
            *(
                b"",
                b" \n",
                b'{"id":1,"a":NaN}',
                b'{"a":-Infinity}',
                b'{"a":nan}',
                b"[1,]",
                b'{"a":1,}',
            ),
            *(b'{"a":"\xd6\xd0', b'{"a":1', b"[" * 5000),
            b'{"readings":[{"device":"main-meter","time":1,"values":{"power.active":1e400}}]}',
        )
    },
    **{
        f"entry {entry}": (Reason.PAYLOAD, refusals(json.dumps({"readings": [entry]}).encode()))
        for entry in (
            {"device": "m", "values": POWER},
            {"time": T0, "values": POWER},
            *({"device": one, "time": T0, "values": POWER} for one in ODD),
            *({"device": "m", "time": one, "values": POWER} for one in ODD),
            *(
                {"device": "m", "time": T0, "values": POWER} | more
                for more in (
                    {"serial": 1.5},
                    {"units": "W"},
                    {"flags": ["D"]},
                    {"units": {"power.active": 1}},
                    {"flags": {"power.active": None}},
                )
            ),
        )
    },
    "number": (Reason.BAD_VALUE, refusals(message(row(values={"power.active": 10**400})))),
    "no object of values": (Reason.PAYLOAD, refusals(b'{"readings": [{}]}')),
    "too large": (Reason.TOO_LARGE, [fleet.decoder.too_large(topic("gw-print"), b"", 9_999, T0)]),
}

ENGLISH = re.compile(
    r"\b(?:no|not|is|the|a|at|to|its|in|of|are|should|meant|known|brings|looks|before|send)\b"
)


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_is_read_in_chinese(name: str) -> None:
    reason, found = REFUSED[name]
    assert [one.reason for one in found] == [reason]
    said = refusal(found[0].detail, "zh")
    if name == "no JSON" or "xff" in name:
        said = said.partition("：")[0]  # where the parser stumbled is its own words
    said = re.sub(r"：'.*'$", "", said)  # the line itself
    assert re.search(r"[\u4e00-\u9fff]", said)
    assert not ENGLISH.search(said.replace("it's", "")), (found[0].detail, said)
    assert refusal(found[0].detail, "en") == found[0].detail


@pytest.mark.parametrize(
    ("offset", "samples"),
    [(0, "s"), (0, "ms"), (30, ""), (8 * 60, ""), (-8.5 * 60, ""), (-3, ""), (7, ""), (600_000, ""),
     (14_000_000, ""), (60, "")],
)  # fmt: skip
def test_what_is_told_of_clocks_is_read_in_chinese(offset: float, samples: str) -> None:
    clocks = Clocks()
    for minute in range(6):
        now = T0 + minute * 60_000
        clocks.of("gw").saw(now, now - int(offset * 60_000))
        if samples == "s":
            clocks.of("gw").saw_unit(now, "s")
    found = clocks.findings(T0)
    assert len(found) == (samples != "ms")
    for one in found:
        said = refusal(one.told, "zh")
        assert re.search(r"[\u4e00-\u9fff]", said)
        assert not re.search(r"[a-z]{3}", said.replace("min", "")), said


def test_names_and_numbers_stay() -> None:
    (wrong,) = refusals(message(row(serial="99 999")))
    said = refusal(wrong.detail, "zh")
    assert said.startswith("print/")
    assert "99 999" in said
    assert "请在台账中登记新表" in said
    (meant,) = refusals(message(row("mian-meter")))
    assert "没有表计 'mian-meter'" in refusal(meant.detail, "zh")


@given(st.text())
def test_what_is_not_known_stays(text: str) -> None:
    if not re.search(r"[:;?(]|time|known|readings|gateway|device", text):
        assert refusal(text, "zh") == text


def test_the_gateway_that_was_probably_meant_is_named_to_the_operator() -> None:
    detail = "no gateway 'gw-pint' in the registry: add it to its site's file"
    told = with_nearest(detail, ["gw-mill", "gw-print"])
    assert told == f'{detail}; did you mean "gw-print"?'
    assert '；是否应为 "gw-print"？' in refusal(told, "zh")
    for other, known in ((detail, ["mill"]), (detail, []), ("gw-pint", ["gw-print"])):
        assert with_nearest(other, known) == other
