"""What is nearly a message of the expected form is told as what it was meant to be, in both
languages; what resembles nothing stays ignored."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from typing import Any

import pytest

from adapters.sources.payload import answer
from tests.adapters.payload.decoded import in_chinese
from tests.adapters.payload.pushed import T0, Fleet, message, row, topic

POWER = row(values={"power.active": 81_200})

NEURON = {"node": "main-meter", "timestamp": T0, "values": {"power.active": 1}}
BOARD = {"main-meter": [{"ts": T0, "values": {"power.active": 1}}]}


def asked(payload: Any, form: str = "", unit: str = "", received: int = T0) -> dict[str, Any]:
    """What a sender is told, each text of it in Chinese too."""
    raw = payload if isinstance(payload, bytes | bytearray) else json.dumps(payload).encode()
    (one,) = Fleet().decoder.decode_many([(topic(), raw, received)], form, unit).receipts
    told: dict[str, Any] = json.loads(answer(one))
    refused = [text for part in told["refused"] for text in (part["detail"], part["todo"])]
    for text in (*refused, *told.get("remarks", ())):
        in_chinese(text)
    return told


class TestKeys:
    @pytest.mark.parametrize(
        ("told", "meant"),
        [
            ({"readings": [POWER | {"unit": "W"}]}, ["'unit' is not known: is 'units' meant?"]),
            ({"readings": [POWER | {"Units": {}}]}, ["'Units' is not known: is 'units' meant?"]),
            (
                {"readings": [POWER, POWER | {"serialNumber": "1", "flag": "D"}]},
                [
                    "'flag' is not known: is 'flags' meant?",
                    "'serialNumber' is not known: is 'serial' meant?",
                ],
            ),
            ({"readings": [POWER], "msgId": 1}, ["'msgId' is not known: is 'id' meant?"]),
            (
                {"tables": [{"device": "main-meter", "Time": 1, "columns": ["time", "power.active"],
                             "rows": [[T0, 1]], "unit": {}}]},
                [
                    "'Time' is not known: is 'time' meant?",
                    "'unit' is not known: is 'units' meant?",
                ],
            ),
        ],
    )  # fmt: skip
    def test_a_key_that_is_nearly_ours_is_told_beside_what_is_stored(
        self, told: dict[str, Any], meant: list[str]
    ) -> None:
        found = asked(told)
        assert found["stored"] >= 1
        assert (found["refused"], found["remarks"]) == ([], meant)

    def test_so_it_is_where_nothing_can_be_used(self) -> None:
        assert asked({"Readings": [POWER]})["remarks"] == [
            "'Readings' is not known: is 'readings' meant?"
        ]
        entry = {"deviceId": "main-meter", "timestamp": T0, "values": {"power.active": 1}}
        assert asked({"readings": [entry]})["remarks"] == [
            "'deviceId' is not known: is 'device' meant?",
            "'timestamp' is not known: is 'time' meant?",
        ]

    def test_what_resembles_nothing_is_ignored(self) -> None:
        more = {"rssi": -70, "site": "x", "quality": "good", "v": 2, "timestamp": T0, "sn": "7"}
        raw = message(POWER | more | {"serial": "21030001"}, **more)
        assert "remarks" not in asked(raw)

    def test_invented_keys_are_told_within_bounds(self) -> None:
        rows_ = [POWER | {f"unit{'_' * n}": 1 for n in range(50)} for _ in range(50)]
        assert len(asked({"readings": rows_})["remarks"]) == 8


class TestForms:
    @pytest.mark.parametrize(
        ("told", "detail"),
        [
            ({"id": 1, "tables": {}}, '"tables" is a list, not an object: put [ ] around it'),
            ({"readings": 5}, '"readings" is a list, not 5'),
            (
                {"data": {"readings": [POWER]}},
                '"readings" lies within "data": send it at the top',
            ),
            (POWER, "this is one reading: send it in a list"),
            ([POWER], "this is a list of readings: send"),
            ([{"readings": [POWER]}], "this is a list of messages: send each by itself"),
            ({"power.active": 81.2}, "these are values by themselves: send"),
        ],
    )
    def test_our_own_nearly(self, told: Any, detail: str) -> None:
        (part,) = asked(told)["refused"]
        assert part["detail"].startswith(detail)

    @pytest.mark.parametrize(
        ("told", "form", "looks", "enter"),
        [
            (NEURON, "", "like neuron", 'enter format = "neuron"'),
            (BOARD, "", "like thingsboard", 'enter format = "thingsboard"'),
            (BOARD, "neuron", "like thingsboard", 'enter format = "thingsboard"'),
            ({"ts": T0, "values": {}}, "", "like thingsboard", 'enter format = "thingsboard"'),
            (NEURON, "thingsboard", "like neuron", 'enter format = "neuron"'),
            ({"metrics": [{"name": "a"}]}, "", "like Sparkplug", "a format of your own"),
            ({"readings": [POWER]}, "thingsboard", "like our own form", "enter none"),
            ({"tables": [{"columns": [], "rows": []}]}, "neuron", "our own form", "enter none"),
        ],
    )
    def test_of_another_format_the_registry_decides(
        self, told: Any, form: str, looks: str, enter: str
    ) -> None:
        found = asked(told, form)
        (part,) = found["refused"]
        assert found["stored"] == 0
        assert looks in part["detail"]
        assert enter in part["detail"]
        assert part["todo"].startswith("correct the gateway's format in the registry")


class TestImplausible:
    def test_a_value_that_cannot_be_is_stored_and_told(self) -> None:
        told = asked(message(row(values={"voltage.l1": -230, "power.active": 81.2})))
        assert told["stored"] == 2
        (remark,) = told["remarks"]
        assert remark.startswith("voltage.l1 of main-meter is -230 V, possible is 0 to 1,200,000: ")
        assert remark.endswith("it is kept as implausible and not used; is its unit right?")

    def test_each_message_is_told_of_its_own(self) -> None:
        wrong = message(row("nobody"), *(row(values={"voltage.l1": 1e30}) for _ in range(5)))
        bodies = [message(row()), b"no", wrong, message(row(values={"voltage.l1": None})),
                  message(row("stack", values={"fluegas.temperature": -999}))]  # fmt: skip
        made = Fleet().decoder.decode_many([(topic(), body, T0) for body in bodies])
        told = [one.remarks for one in made.receipts]
        assert [len(remarks) for remarks in told] == [0, 0, 4, 0, 1]
        assert told[2][-1] == "2 further values are as implausible"
        assert told[4][0].startswith("fluegas.temperature of stack is -999 degC")

    def test_what_its_instrument_calls_invalid_is_not_told_again(self) -> None:
        flagged = row("stack", values={"voc.nmhc.concentration": -200, "fluegas.temperature": -999},
                      flags={"fluegas.temperature": "D"})  # fmt: skip
        assert "remarks" not in asked(message(flagged))


def line(written: int) -> bytes:
    return f"m,device=main-meter power.active=1 {written}".encode()


class TestPrecision:
    """Of line protocol the request says the unit, so it is that which is told."""

    @pytest.mark.parametrize(
        ("unit", "written", "told"),
        [
            ("ns", T0 // 1000, "time 1795305600 as ns is of the year 1970; it was read as s: send "
                               "with ?precision=s"),
            ("ns", T0, "as ns is of the year 1970; it was read as ms: send with ?precision=ms"),
            ("s", T0, "as s is of the year 58860; it was read as ms: send with ?precision=ms"),
            ("s", T0 * 10**6, "it was read as ns: send with ?precision=ns"),
            ("ms", T0 // 1000, "time 1795305600 as ms is of the year 1970; it was read as s"),
            ("", T0, "it was read as ms: send with a mapping with time_unit = ms"),
        ],
    )  # fmt: skip
    def test_another_one_is_read_and_told_once(self, unit: str, written: int, told: str) -> None:
        raw = line(written) + b"\n" + line(written + 1)
        found = asked(raw, "line-protocol", unit)
        assert (found["stored"], found["refused"]) == (2, [])
        (remark,) = found["remarks"]
        assert told in remark

    @pytest.mark.parametrize(
        ("unit", "written", "told"),
        [
            ("ns", T0 // 1000 - 90 * 86_400, "time 1787529600 as ns is of the year 1970, as s of "
                                             "2026-08-24: send with ?precision=s"),
            ("ns", 60 * 10**9, "time 60000000000 as ns is of the year 1970: has the gateway's "
                               "clock lost its time?"),
            ("ns", -5, "time -5 as ns is of the year 1969"),
            ("s", 10**12, "time 1000000000000 as s is of the year 33658, as ms of 2001-09-09"),
        ],
    )  # fmt: skip
    def test_what_is_uncertain_is_refused_by_the_number_that_was_sent(
        self, unit: str, written: int, told: str
    ) -> None:
        found = asked(line(written), "line-protocol", unit)
        (part,) = found["refused"]
        assert (found["stored"], part["reason"]) == (0, "bad-time")
        assert part["detail"].startswith(told)

    def test_a_clock_that_lost_its_time_is_found(self) -> None:
        fleet = Fleet()
        for minute in range(6):
            now, since = T0 + minute * 60_000, (minute + 1) * 60 * 10**9
            fleet.decoder.decode_many([(topic(), line(since), now)], "line-protocol", "ns")
        assert [one.kind for one in fleet.decoder.clocks.findings(T0)] == ["lost"]


RAW = message(row(values={"power.active": 1}))
END = b'"power.active": 1}'


def with_end(end: bytes) -> bytes:
    assert END in RAW
    return RAW.replace(END, end)


class TestNoJson:
    @pytest.mark.parametrize(
        ("payload", "told"),
        [
            (line(T0 * 10**6), 'this looks like line-protocol; the gateway\'s format in the '
                               'registry decides: enter format = "line-protocol"'),
            (b"device,time,power\nmain-meter,1,2\n", "this looks like CSV: it begins with 'device"),
            (b"<r><a/></r>", "this looks like XML: it begins with '<r><a/></r>'"),
            (b"##0101QN=2026", "this looks like HJ 212: it begins with '##0101QN=2026'"),
            (base64.b64encode(RAW), "this looks like base64: send what was encoded"),
            (b"hello\x1b[2J", "this is not text: it begins with 68 65"),
            (b"hello " * 99, "this is not JSON: it begins with 'hello hello"),
            (str(json.loads(RAW)).encode(), "keys and texts need double quotes (byte 1): is this "
                                            "Python's print of a dict?"),
            (RAW + RAW, "these are two messages in one (byte "),
            (RAW + b"\n" + RAW, "these are two messages in one (byte "),
            (with_end(b'"power.active": 81,2}'), "81,2 is not JSON: is it a decimal comma? Send "
                                                 "81.2"),
            (with_end(b'"power.active": None}'), "None is not JSON: send null"),
            (with_end(b'"power.active": True}'), "True is not JSON: send true"),
            (RAW.decode().encode("utf-16"), "this is UTF-16: send UTF-8"),
            (RAW.decode().encode("utf-16-be"), "this is UTF-16: send UTF-8"),
            (gzip.compress(gzip.compress(RAW)), "this is gzip within gzip: pack it once"),
            (zlib.compress(RAW), "this is zlib or deflate: pack it with gzip, or not at all"),
            (zlib.compress(RAW)[2:-4], "this is zlib or deflate: pack it with gzip"),
            (b"\xa1hreadings\x81", "this looks like CBOR or MessagePack: send JSON"),
            (b'{"a": "\xd6\xd0"}', "the message is not UTF-8 (byte 7): is it GBK?"),
            (b'{"id": 1, readings: []}', "this is not JSON: JSON is malformed: object keys must be "
                                "strings (byte 10), near '{\"id\": 1, readings: []}'"),
            (b'{"a": 1 "b": 2}', "this is not JSON: JSON is malformed: expected ',' or '}'"),
        ],
    )  # fmt: skip
    def test_is_told_as_what_it_is(self, payload: bytes, told: str) -> None:
        for raw in (payload, bytearray(payload)):  # as HTTP brings it
            (part,) = asked(raw)["refused"]
            assert part["detail"].startswith(told)
            assert "bytearray" not in part["detail"]


class TestLines:
    def test_the_line_is_named_and_shown(self) -> None:
        raw = line(T0 * 10**6) + b"\n\nm,device=main-meter power.active\n"
        found = asked(raw, "line-protocol")
        assert found["stored"] == 1
        assert found["refused"][0]["detail"] == (
            "line 3 cannot be read: a field has no name and value joined by =: "
            "'m,device=main-meter power.active'"
        )

    def test_a_line_without_a_device_is_told_how_to_name_one(self) -> None:
        (part,) = asked(b"m power.active=1", "line-protocol")["refused"]
        assert part["detail"] == (
            'line 1 has no tag "device", and its gateway has not just one device: add '
            ",device=... behind the measurement (known: behind, main-meter, old, stack, young)"
        )
        assert part["todo"] == "add the tag, or correct its name"

    def test_a_text_is_told_to_be_left_out(self) -> None:
        (part,) = asked(b'm,device=main-meter power.active="on"', "line-protocol")["refused"]
        assert part["reason"] == "bad-value"
        assert part["todo"] == "leave it out, or list it under ignore of a mapping"
        (part,) = asked(b"m,device=main-meter power.active=null", "line-protocol")["refused"]
        assert part["detail"].endswith("without one leave the field out")

    def test_json_among_lines_is_told(self) -> None:
        (part,) = asked(RAW, "line-protocol")["refused"]
        assert part["detail"].startswith("this looks like JSON, where line protocol is expected")


class TestTimesAndNames:
    @pytest.mark.parametrize(
        ("more", "reason", "told"),
        [
            ({"time": T0 // 1000 - 90 * 86_400}, "bad-time", "time 1787529600 is of 1970, and as "
             "seconds of 2026-08-24: older readings send in milliseconds"),
            ({"time": "20261127182000"}, "bad-time", "send 2026-11-27T18:20:00+08:00"),
            ({"time": "2026-02-31T08:00:00"}, "bad-time", "there is no such day"),
            ({"time": "2026-11-22T25:00:00"}, "bad-time", "there is no such time of day"),
            ({"time": "2026-11-22"}, "bad-time", "has no time of day: send"),
            ({"units": {"power.active": "qq"}}, "unknown-unit", '"qq" (known: W, kW, '),
            ({"serial": ""}, "wrong-serial", "the message has an empty one"),
        ],
    )  # fmt: skip
    def test_are_told_with_what_to_send(self, more: dict[str, Any], reason: str, told: str) -> None:
        (part,) = asked(message(row(values={"power.active": 1}, **more)))["refused"]
        assert part["reason"] == reason
        assert told in part["detail"]

    def test_a_date_in_digits_is_no_time_of_the_future(self) -> None:
        (remark,) = asked(message(row(time=20_261_127_182_000)))["remarks"]
        assert remark == (
            "time 20261127182000 was read as milliseconds since 1970: "
            "send 2026-11-27T18:20:00+08:00"
        )

    def test_chinese_reads_as_chinese(self) -> None:
        told = 'print/m, power.active: "V" (voltage) cannot become "kW" (power)'
        assert in_chinese(told) == 'print/m 的 power.active："V"（电压）不能换算为 "kW"（功率）'
        assert in_chinese("its clock is steadily 8 h ahead: is its zone wrong?") == (
            "网关时钟持续偏快 8 小时：时区是否有误？"
        )
        both = "no device 'a; b' at site 'c'; no device 'd' at site 'c' (known: e, f)"
        assert in_chinese(both) == "单位 'c' 没有表计 'a; b'；单位 'c' 没有表计 'd'（已知：e、f）"
