"""What a sender is told: for each message in order, exactly what is stored and what is not."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given

from adapters.sources.payload import Receipt, RefusedRows, answer, busy
from adapters.sources.payload.receipts import BUSY, ROWS, TODO
from collector.model import Reason
from meterwatch.refusal_words import refusal
from tests.adapters.payload.any_messages import deliveries
from tests.adapters.payload.pushed import T0, Fleet, message, row, topic

fleet = Fleet()


def receipt(payload: bytes, gateway: str = "gw-print") -> Receipt:
    (one,) = fleet.decoder.decode_many([(topic(gateway), payload, T0)]).receipts
    return one


def told(one: Receipt) -> list[tuple[str, int, tuple[int, ...]]]:
    return [(part.reason, part.count, part.rows) for part in one.refused]


def test_of_a_good_message() -> None:
    assert receipt(message(row(), row(time=T0 + 1))) == Receipt(6)


def test_of_a_message_of_which_parts_are_refused() -> None:
    one = receipt(
        message(
            row(),
            row("nobody"),
            row(values={"power.active": 1, "power.actve": 2, "x": 3}),
            row("nobody", time=T0 + 1),
            row(serial="7"),
        )
    )
    assert one.stored == 3 + 1
    assert told(one) == [
        (Reason.UNKNOWN_DEVICE, 6, (1, 3)),
        (Reason.UNKNOWN_QUANTITY, 2, (2,)),
        (Reason.WRONG_SERIAL, 3, (4,)),
    ]


def test_rows_keep_their_numbers_when_others_are_damaged() -> None:
    one = receipt(message(7, row(values={"voltage.l1": "1"}), row(), row("nobody"), row(time=-1)))  # type: ignore[arg-type]
    assert one.stored == 3
    assert told(one) == [
        (Reason.PAYLOAD, 1, (0,)),
        (Reason.BAD_VALUE, 1, (1,)),
        (Reason.UNKNOWN_DEVICE, 3, (3,)),
        (Reason.BAD_TIME, 3, (4,)),
    ]


def test_of_many_refused_rows_the_first_are_numbered() -> None:
    one = receipt(message(row(), *(row("nobody", time=T0 + n) for n in range(100))))
    assert told(one) == [(Reason.UNKNOWN_DEVICE, 300, tuple(range(1, ROWS + 1)))]
    many = receipt(message(*(row(f"x{n}") for n in range(100))))
    assert sum(part.count for part in many.refused) == 300
    assert [part.rows for part in many.refused][-1] == tuple(range(8, 8 + ROWS))


@pytest.mark.parametrize("payload", [b"", b"x", b"[]", message()])
def test_a_message_refused_whole_names_no_row(payload: bytes) -> None:
    (part,) = receipt(payload).refused
    assert (part.reason, part.rows) == (Reason.PAYLOAD, ())


def test_of_an_unknown_gateway() -> None:
    one = receipt(message(row(), id=5), "gw-wrong")
    assert (one.stored, one.id, told(one)) == (0, 5, [(Reason.UNKNOWN_GATEWAY, 3, ())])


def test_of_a_message_too_large_to_be_taken_in() -> None:
    refusal_ = fleet.decoder.too_large(topic(), b"", 9_999_999, T0)
    one = Receipt.of_refusal(refusal_)
    assert (one.stored, told(one)) == (0, [(Reason.TOO_LARGE, 1, ())])


class TestId:
    @pytest.mark.parametrize("own", ["m-1", "", "x" * 64, 0, -5, 2**63, 10**63 - 1, None])
    def test_it_is_repeated(self, own: Any) -> None:
        assert receipt(message(row(), id=own)) == Receipt(3, (), own)

    def test_of_a_message_that_is_damaged_too(self) -> None:
        assert receipt(message(row(values={"power.active": "1"}), id="m")).id == "m"

    @pytest.mark.parametrize(
        ("own", "rule"),
        [
            ("x" * 65, "65 characters"),
            (10**64, "63 digits"),
            (True, "true or false"),
            (1.5, "fraction"),
            ([], "list"),
            ({"a": 1}, "object"),
        ],
    )
    def test_what_cannot_be_one_spoils_nothing_else(self, own: Any, rule: str) -> None:
        one = receipt(message(row(), id=own))
        assert (one.stored, one.id, one.refused) == (3, None, ())
        (remark,) = one.remarks
        assert rule in remark
        said = refusal(remark, "zh").replace('"id"', "")
        assert not any("a" <= letter <= "z" for letter in said), said

    @pytest.mark.parametrize("own", ["m-1", "", 0, 7, 2**70])
    def test_of_a_message_that_is_json_and_of_no_use(self, own: Any) -> None:
        rests: list[dict[str, Any]] = [{}, {"readings": 7}, {"data": [1]}, {"readings": []}]
        for rest in rests:
            one = receipt(json.dumps({"data": "x" * 300, "id": own} | rest).encode())
            assert (one.stored, one.id, len(one.refused)) == (0, own, 1)

    def test_of_a_message_on_a_wrong_topic(self) -> None:
        for where in ("other", "meterwatch/v1/gw-print/reading", topic("gw-wrong")):
            for payload in (message(row(), id="m"), b'{"id":"m","readings":7}', b'{"id":"m",'):
                (one,) = fleet.decoder.decode_many([(where, payload, T0)]).receipts
                assert (one.stored, one.id) == (0, "m")

    def test_who_sends_on_a_wrong_topic_is_told_the_right_one(self) -> None:
        (one,) = fleet.decoder.decode_many([("other", message(row()), T0)]).receipts
        (part,) = json.loads(answer(one))["refused"]
        assert part["todo"] == "publish to meterwatch/v1/GATEWAY/readings"
        (part,) = json.loads(answer(one, lambda text: refusal(text, "zh")))["refused"]
        assert part["todo"] == "请发布到 meterwatch/v1/GATEWAY/readings"

    @pytest.mark.parametrize(
        ("payload", "own"),
        [
            (b'{"id": 4, "readings": [{"values": {"a": NaN}}]}', 4),
            (b'{"id" :\n"a\\"b\\u4e00" ,}', 'a"b\u4e00'),
            (b'{"readings": [{"id": 5, "x": {}}], "id": 1e400, "id": -6, }', -6),
            (b'\xef\xbb\xbf{"id":8,"readings":[],}', 8),
            (b'{"readings": [{"id": 5}], ', None),
            (b'{"a": "\\"id\\": 5, ", ', None),
            (b'{"id": 12', None),
            (b'{"id": 1.5, ', None),
            (b'{"id": "' + b"x" * 65 + b'", ', None),
            (b'{"id": "\xff", ', None),
            (b"{" + b" " * 200 + b'"id": 5,', None),
            (b'"' * 5000, None),
        ],
    )
    def test_of_a_message_that_is_no_json(self, payload: bytes, own: Any) -> None:
        one = receipt(payload)
        assert (one.stored, one.id) == (0, own)
        large = Receipt.of_refusal(fleet.decoder.too_large(topic(), payload, 9_999_999, T0))
        assert large.id == own

    def test_of_a_message_that_holds_too_much(self) -> None:
        assert receipt(b'{"id":3,"readings":[' + b"{}," * 150_000 + b"{}]}").id == 3


@pytest.mark.parametrize(
    ("entry", "told_"),
    [
        ({"time": 1795795143.25}, "time 1795795143.25: send whole milliseconds, 1795795143250"),
        ({"time": T0 + 0.25}, f"time {T0}.25: send whole milliseconds, {T0}"),
        ({"time": None}, 'an entry has no "time"'),
        ({"device": 1}, "device 1: its id is a text"),
        ({"units": "W"}, 'units is an object, as {"power.active": "W"}'),
        ({"units": {"x": 1}}, 'units of x is 1: send a text, as {"power.active": "W"}'),
    ],
)
def test_an_entry_that_is_wrong_is_told_what_to_send(entry: dict[str, Any], told_: str) -> None:
    whole = {"device": "main-meter", "time": T0, "values": {"power.active": 1}} | entry
    (part,) = receipt(json.dumps({"readings": [whole]}).encode()).refused
    assert (part.detail, part.rows) == (told_, (0,))


@pytest.mark.parametrize(
    ("payload", "told_"),
    [
        (b"", "the message is empty"),
        (b'{"readings": [{"values": {"a": NaN}}]}', "NaN is not JSON: send null"),
        (b'{"readings": [{"values": {"a": -Infinity}}]}', "-Infinity is not JSON: send null"),
        (b'{"readings": [{"values": {"a": nan}}]}', "nan is not JSON: send null"),
        (
            b'{"readings": [{"device": "\xd6\xd0", "values": {}}]}',
            "the message is not UTF-8 (byte 26): is it GBK?",
        ),
        (b'{"inf":x}', "this is not JSON: JSON is malformed"),
        (b'["nan",x]', "this is not JSON: JSON is malformed"),
    ],
)
def test_what_is_no_json_is_told_what_to_send(payload: bytes, told_: str) -> None:
    (part,) = receipt(payload).refused
    assert part.detail.startswith(told_)


def test_the_time_of_a_table_may_be_written_with_a_point() -> None:
    table = {"columns": ["power.active"], "device": "main-meter", "time": float(T0), "rows": [[1]]}
    assert receipt(json.dumps({"tables": [table]}).encode()).stored == 1


HOUR = 3_600_000


class TestRemarks:
    @pytest.mark.parametrize(
        ("ahead", "told_"),
        [
            (60_000, ""),
            (61_000, "3 readings are 1 min in the future: they are kept and not used; set"),
            (8 * HOUR - 900, "3 readings are 8 h in the future: they are kept and not used; set"),
            (90 * 60_000, "3 readings are 1.5 h in the future"),
            (30 * 24 * HOUR, "3 readings are 30 d in the future"),
        ],
    )
    def test_of_the_future(self, ahead: int, told_: str) -> None:
        one = receipt(message(row(), row(time=T0 + ahead)))
        assert (one.stored, one.refused, len(one.remarks)) == (6, (), bool(told_))
        for remark in one.remarks:
            assert remark.startswith(told_)
            assert ("Z?" in remark) == (ahead >= HOUR)
            said = refusal(remark, "zh")
            assert not re.search(r"[a-z]{3}", said.replace("min", "")), said

    def test_of_the_future_is_told_as_text_and_late_too(self) -> None:
        local = row(time="2126-11-22T08:00:00Z", values={"power.active": 1})
        (remark,) = receipt(message(local, backfill=True)).remarks
        assert remark.startswith("1 reading is 36,5")
        assert "it is kept and not used" in remark

    @pytest.mark.parametrize("bad", [{}, {"voltage.l1": "x"}])
    def test_of_units_of_what_is_not_there(self, bad: dict[str, Any]) -> None:
        values = {"power.active": 81.2} | bad
        units = dict.fromkeys(("power", "power.activ"), "W") | dict.fromkeys(bad, "V")
        for _ in range(2):  # the second time by a plan that is there already
            one = receipt(message(row(values=values, units=units)))
            assert (one.stored, len(one.refused)) == (1, len(bad))
            assert one.remarks == (
                "units names power, which is not among the values",
                "units names power.activ, which is not among the values",
            )
            assert refusal(one.remarks[0], "zh") == "units 中的 power 不在 values 之内"

    def test_of_a_table_that_holds_what_is_of_no_use(self) -> None:
        table = {
            "columns": ["device", "power.active", "voltage.l1"],
            "time": T0,
            "rows": [["main-meter", 1], ["main-meter", 2, "x"], ["main-meter", 3, 230]],
            "units": {"power.active": "W", "voltage.l1": "V"},
        }
        whole = receipt(json.dumps({"tables": [table]}).encode())
        assert (whole.stored, whole.remarks) == (4, ())
        table |= {"units": {"power": "W"}, "flags": {"power.active": "D"}}
        one = receipt(json.dumps({"tables": [table]}).encode())
        assert one.stored == 4
        assert one.remarks == (
            '"flags" of a table is not used: send such readings as entries of "readings"',
            "units names power, which is not among the values",
        )
        assert [text for text in one.remarks if refusal(text, "zh") == text] == []

    def test_a_flag_without_a_value_is_none_of_them(self) -> None:
        one = receipt(message(row(values={"power.active": 1}, flags={"voltage.l1": "D"})))
        assert (one.stored, one.remarks) == (2, ())


class TestAnswer:
    def test_as_json(self) -> None:
        part = RefusedRows(Reason.BAD_TIME, "time 5 looks like seconds", 3, (0, 2))
        assert json.loads(answer(Receipt(50, (part,), "m-1"))) == {
            "id": "m-1",
            "stored": 50,
            "refused": [
                {
                    "rows": [0, 2],
                    "count": 3,
                    "reason": "bad-time",
                    "detail": "time 5 looks like seconds",
                    "todo": TODO[Reason.BAD_TIME],
                }
            ],
        }
        assert json.loads(answer(Receipt(1))) == {"id": None, "stored": 1, "refused": []}

    def test_what_finds_the_disk_full_is_to_be_kept_by_its_sender(self) -> None:
        whole = receipt(message(row(), row("nobody"), id=7))
        told_ = json.loads(answer(busy(whole)))
        assert (told_["id"], told_["stored"], told_["retry"]) == (7, 0, True)
        (part,) = told_["refused"]
        assert (part["reason"], part["count"], part["rows"]) == ("busy", 6, [])
        assert "retry" not in json.loads(answer(whole))
        assert not refusal(part["detail"], "zh").isascii()

    def test_in_chinese(self) -> None:
        one = receipt(message(row("mian-meter")))
        (part,) = json.loads(answer(one, lambda text: refusal(text, "zh")))["refused"]
        assert part["detail"].startswith("单位 'print' 没有表计 'mian-meter'")
        assert part["todo"] == "请在台账中登记该表计，或在发送端更正名称"

    def test_every_reason_has_a_remedy_in_both_languages(self) -> None:
        reasons = {value for name, value in vars(Reason).items() if name.isupper()}
        assert set(TODO) == reasons | {BUSY}
        assert [text for text in TODO.values() if refusal(text, "zh").isascii()] == []


@given(deliveries)
def test_receipts_tell_what_batch_and_refusals_hold(
    messages: list[tuple[str, bytes, int]],
) -> None:
    decoded = Fleet().decoder.decode_many(messages)
    assert len(decoded.receipts) == len(messages)
    assert sum(one.stored for one in decoded.receipts) == len(decoded.batch)
    stored = [one.stored for one in decoded.receipts if one.stored]
    assert stored == decoded.batch.segments.sizes().tolist()
    parts = [part for one in decoded.receipts for part in one.refused]
    assert [(part.reason, part.detail, part.count) for part in parts] == [
        (one.reason, one.detail, one.count) for one in decoded.refusals
    ]
