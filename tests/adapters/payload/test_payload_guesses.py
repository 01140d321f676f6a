"""What is nearly a message of the expected form is told as what it was meant to be, in both
languages; what resembles nothing stays ignored."""

from __future__ import annotations

import json
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
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
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
        assert remark.startswith("voltage.l1 of main-meter is -230 V, possible is 0 to ")
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
