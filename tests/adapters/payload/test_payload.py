"""What the payload decoder promises: exact rows, precise refusals, nothing lost, nothing raised."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.sources.payload import PayloadDecoder
from collector.model import Quality, Reason, concat
from tests.adapters.payload.any_messages import deliveries
from tests.adapters.payload.decoded import decode, fleet, refused, rows
from tests.adapters.payload.pushed import PUSHED, T0, Fleet, message, row, topic


class TestRows:
    def test_a_message_becomes_rows_with_its_origin_and_receipt(self) -> None:
        decoded = decode(message(row(), row(time=T0 + 10_000)))
        assert rows(decoded) == [
            ("main/energy.active.import", T0, 12345.67, 0),
            ("main/power.active", T0, 81.5, 0),
            ("main/voltage.l1", T0, 230.1, 0),
            ("main/energy.active.import", T0 + 10_000, 12345.67, 0),
            ("main/power.active", T0 + 10_000, 81.5, 0),
            ("main/voltage.l1", T0 + 10_000, 230.1, 0),
        ]
        segments = decoded.batch.segments
        assert segments.stop.tolist() == [6]
        assert segments.origin.tolist() == [fleet.origin("gateway:gw-print")]
        assert segments.received.tolist() == [T0 + 1000]
        assert (decoded.refusals, decoded.backfill) == ([], False)

    def test_a_whole_number_with_a_point_is_a_time_too(self) -> None:
        whole = decode(message(row(), row(time=T0 + 10_000)))
        pointed = decode(message(row(time=float(T0)), row(time=float(T0 + 10_000))))
        assert rows(pointed) == rows(whole)
        assert refused(decode(message(row(time=T0 + 0.5)))) == [(Reason.PAYLOAD, 3)]

    def test_each_message_is_a_segment_of_its_own_gateway(self) -> None:
        decoded = fleet.decoder.decode_many(
            [(topic(), message(row()), T0), (topic("gw-mill"), message(row()), T0 + 5)]
        )
        assert decoded.batch.segments.stop.tolist() == [3, 6]
        assert decoded.batch.segments.received.tolist() == [T0, T0 + 5]
        assert decoded.batch.segments.origin.tolist() == [
            fleet.origin("gateway:gw-print"),
            fleet.origin("gateway:gw-mill"),
        ]
        assert decoded.batch.point[0] == fleet.point("print/main/energy.active.import")
        assert decoded.batch.point[3] == fleet.point("mill/main/energy.active.import")

    @pytest.mark.parametrize(
        "time",
        [
            T0,
            "2026-11-22T08:00:00+08:00",
            "2026-11-22T00:00:00Z",
            "2026-11-22T08:00:00",
            "2026-11-22 08:00:00.000",
        ],
    )
    def test_times_with_and_without_a_zone(self, time: int | str) -> None:
        assert set(decode(message(row(time=time))).batch.time.tolist()) == {T0}

    def test_whole_numbers_and_truth_values_are_numbers(self) -> None:
        decoded = decode(message(row(values={"power.active": 81, "voltage.l1": True})))
        assert [value for _, _, value, _ in rows(decoded)] == [81.0, 1.0]

    def test_units_become_canonical(self) -> None:
        decoded = decode(
            message(
                row(
                    values={"power.active": 81_500, "energy.active.import": 1.5},
                    units={"power.active": "W", "energy.active.import": "MWh"},
                )
            )
        )
        assert [value for _, _, value, _ in rows(decoded)] == [81.5, 1500.0]

    def test_a_unit_with_an_offset(self) -> None:
        told = row(
            "stack", values={"fluegas.temperature": 293.15}, units={"fluegas.temperature": "K"}
        )
        assert rows(decode(message(told)))[0][2] == pytest.approx(20.0)

    def test_the_ratio_multiplies_gauges_that_are_secondary_and_no_counter(self) -> None:
        decoded = decode(message(row("behind")))
        assert [value for _, _, value, _ in rows(decoded)] == [12345.67, 81.5 * 40, 230.1]


class TestQuality:
    def test_null_is_a_reading_without_a_value(self) -> None:
        ((_, _, value, quality),) = rows(decode(message(row(values={"power.active": None}))))
        assert math.isnan(value)
        assert quality == Quality.NO_VALUE

    def test_the_number_that_means_no_value_is_kept_beside_its_mark(self) -> None:
        told = row("stack", values={"voc.nmhc.concentration": -200, "fluegas.temperature": 150})
        assert [(v, q) for _, _, v, q in rows(decode(message(told)))] == [
            (-200.0, Quality.NO_VALUE),
            (150.0, Quality.GOOD),
        ]

    def test_the_number_that_means_no_value_is_not_scaled(self) -> None:
        told = row(
            "stack",
            values={"voc.nmhc.concentration": -200},
            units={"voc.nmhc.concentration": "ug/m3"},
        )
        assert rows(decode(message(told)))[0][2:] == (-200.0, Quality.NO_VALUE)

    @pytest.mark.parametrize(
        ("letter", "quality"),
        [("N", Quality.GOOD), ("D", Quality.FAULT), ("C", Quality.CALIBRATION),
         ("T", Quality.OVER_RANGE), ("x", Quality.UNKNOWN_FLAG), ("", Quality.UNKNOWN_FLAG)],
    )  # fmt: skip
    def test_flags(self, letter: str, quality: Quality) -> None:
        decoded = decode(message(row(flags={"power.active": letter})))
        assert [q for _, _, _, q in rows(decoded)] == [0, quality, 0]

    def test_a_flag_without_a_value_is_kept(self) -> None:
        decoded = decode(message(row(values={"power.active": 1}, flags={"voltage.l1": "B"})))
        assert [(n, q) for n, _, _, q in rows(decoded)] == [
            ("main/power.active", 0),
            ("main/voltage.l1", Quality.NO_COMMUNICATION),
        ]

    def test_a_good_flag_does_not_make_a_missing_value_good(self) -> None:
        told = row(values={"power.active": None}, flags={"power.active": "N"})
        assert rows(decode(message(told)))[0][3] == Quality.NO_VALUE

    def test_flags_stay_with_their_quantity_when_another_one_is_refused(self) -> None:
        told = row(
            values={"nonsense": 1, "power.active": 2, "voltage.l1": 3},
            flags={"voltage.l1": "D", "nonsense": "M"},
        )
        decoded = decode(message(told))
        assert [(v, q) for _, _, v, q in rows(decoded)] == [(2.0, 0), (3.0, Quality.FAULT)]
        assert refused(decoded) == [(Reason.UNKNOWN_QUANTITY, 1)]


class TestRefusals:
    """Each refuses exactly what is wrong; the rest of the message is stored."""

    @pytest.mark.parametrize(
        ("bad", "reason", "count", "says"),
        [
            (row("main-metre"), Reason.UNKNOWN_DEVICE, 3, "'main-meter' meant"),
            (row("polled"), Reason.NOT_YOURS, 3, "connection of its own"),
            (row(serial="999"), Reason.WRONG_SERIAL, 3, "21030001"),
            (row("old"), Reason.NOT_IN_SERVICE, 3, "ended"),
            (row("young", time=T0 - 1), Reason.NOT_IN_SERVICE, 3, "began"),
            (row(time="yesterday"), Reason.BAD_TIME, 3, "yesterday"),
            (row(time=T0 // 500), Reason.BAD_TIME, 3, "seconds"),
            (row(time=180_000), Reason.BAD_TIME, 3, "1970"),
            (row(time=2**70), Reason.BAD_TIME, 3, "milliseconds"),
            (row(time="0001-01-01T00:00:00+14:00"), Reason.BAD_TIME, 3, "2000"),
            (row(values={"power.actve": 1}), Reason.UNKNOWN_QUANTITY, 1, "'power.active' meant"),
            (row(values={"wastewater.cod": 1}), Reason.UNKNOWN_QUANTITY, 1, "brings no"),
            (row(units={"power.active": "bananas"}), Reason.UNKNOWN_UNIT, 1, "bananas"),
            (row(units={"power.active": "kWh"}), Reason.UNKNOWN_UNIT, 1, "kWh"),
            (row(values={"power.active": "81.2"}), Reason.BAD_VALUE, 1, "power.active"),
            (row(values={"power.active": [1]}), Reason.BAD_VALUE, 1, "number"),
            (row(values={}), Reason.PAYLOAD, 0, "no values"),
            (row(values=7), Reason.PAYLOAD, 1, "values"),
            (row() | {"time": 1.5}, Reason.PAYLOAD, 3, "time"),
            ({"time": T0, "values": {"power.active": 1}}, Reason.PAYLOAD, 1, "device"),
            (7, Reason.PAYLOAD, 1, "object"),
        ],
    )  # fmt: skip
    def test_one_bad_part(self, bad: Any, reason: str, count: int, says: str) -> None:
        raw = message(row(), bad, row("stack", values={"fluegas.temperature": 1}))
        decoded = decode(raw)
        assert refused(decoded) == [(reason, count)]
        (refusal,) = decoded.refusals
        assert says in refusal.detail
        assert (refusal.kind, refusal.sample, refusal.time) == ("mqtt-json", raw, T0 + 1000)
        assert refusal.origin == fleet.origin("gateway:gw-print")
        kept = [name for name, *_ in rows(decoded)]
        assert kept[:3] == [f"main/{q}" for q in PUSHED]
        assert kept[-1] == "outlet/fluegas.temperature"

    @pytest.mark.parametrize(
        "raw",
        [
            b"",
            b"garbage",
            b"\xff\xfe",
            b"[]",
            b"7",
            b"{}",
            b'{"readings":{}}',
            b'{"readings":[]}',
            message(row(values={"power.active": math.nan})),
            message(row(values={"power.active": math.inf})),
            b"[" * 100_000,
            b'{"readings":' + b"[" * 100_000,
            b'{"readings":[{"device":"\xff","time":1,"values":{}}]}',
            b'{"readings":[{"device":"main-meter","time":1,"values":{"power.active":1e999}}]}',
        ],
    )
    def test_unreadable_payloads_are_refused_whole(self, raw: bytes) -> None:
        decoded = decode(raw)
        assert len(decoded.batch) == 0
        assert [r.reason for r in decoded.refusals] == [Reason.PAYLOAD]
        assert decoded.refusals[0].sample == raw[: 64 << 10]

    def test_an_unknown_gateway_is_told_by_the_source(self) -> None:
        decoded = decode(message(row(), row("nobody")), gateway="gw-wrong")
        assert refused(decoded) == [(Reason.UNKNOWN_GATEWAY, 6)]
        assert decoded.refusals[0].origin == fleet.origin("mqtt:main")
        assert "gateway:gw-wrong" not in fleet.origins.names

    def test_what_a_gateway_sent_before_it_was_registered_can_be_replayed(self) -> None:
        late, early = topic("gw-late"), message(row())
        before = Fleet().decoder.decode_many([(late, early, T0)])
        assert [(r.kind, r.sample) for r in before.refusals] == [("mqtt-json:gw-late", early)]
        long = Fleet().decoder.decode_many([(topic("g" * 500), early, T0)])
        assert [r.kind for r in long.refusals] == ["mqtt-json"]

    @pytest.mark.parametrize("digits", [20, 309, 4000])
    def test_a_number_of_many_digits_spoils_itself_only(self, digits: int) -> None:
        raw = message(row(values={"power.active": 0, "voltage.l1": 230.1}))
        raw = raw.replace(b'"power.active": 0', b'"power.active": 1' + b"0" * digits)
        decoded = decode(raw)
        assert rows(decoded)[-1] == ("main/voltage.l1", T0, 230.1, 0)
        assert len(decoded.batch) + sum(r.count for r in decoded.refusals) == 2

    @pytest.mark.parametrize(
        "told",
        [
            row(units={"power.active": "kW" * 50_000}),
            row(values={"x" * 100_000: 1}),
            row(values={"x" * 100_000: "1"}),
            row("d" * 100_000),
            row(serial="9" * 100_000),
            row(time="9" * 100_000),
        ],
    )
    def test_what_is_told_of_a_refusal_is_bounded(self, told: dict[str, Any]) -> None:
        refusals = decode(message(told)).refusals
        assert refusals
        assert all(len(refusal.detail) <= 400 for refusal in refusals)

    def test_a_message_at_which_the_program_fails_is_refused_and_no_other(self) -> None:
        broken = Fleet()
        ids = dict(broken.table.ids)
        ids["print/outlet/voc.nmhc.concentration/raw"] = 10**6  # a table that contradicts itself
        table = dataclasses.replace(broken.table, ids=ids)
        decoder = PayloadDecoder(
            broken.registry,
            table,
            broken.origins.ids,
            source="mqtt:main",
            late_after_ms=600_000,
            profiles={},
        )
        poison = message(row("stack", values={"voc.nmhc.concentration": 1}))
        decoded = decoder.decode_many(
            [(topic(), message(row()), T0), (topic(), poison, T0), (topic(), message(row()), T0)]
        )
        assert len(decoded.batch) == 6
        assert decoded.batch.segments.stop.tolist() == [3, 6]
        ((reason, sample),) = [(r.reason, r.sample) for r in decoded.refusals]
        assert (reason, sample) == (Reason.PROGRAM_FAULT, poison)

    @pytest.mark.parametrize("other", ["meterwatch/v2/gw-print/readings", "readings", "a/b/c/d"])
    def test_a_topic_that_is_not_ours(self, other: str) -> None:
        decoded = fleet.decoder.decode_many([(other, message(row()), T0)])
        assert refused(decoded) == [(Reason.PAYLOAD, 1)]

    def test_another_sites_gateway_cannot_write_here(self) -> None:
        decoded = decode(message(row("stack")), gateway="gw-mill")
        assert refused(decoded) == [(Reason.UNKNOWN_DEVICE, 3)]

    def test_refusals_are_one_per_message_reason_and_device(self) -> None:
        bad = [row(serial="9", time=T0 + n) for n in range(20)]
        assert refused(decode(message(*bad, row("nobody")), message(*bad))) == [
            (Reason.WRONG_SERIAL, 60),
            (Reason.UNKNOWN_DEVICE, 3),
            (Reason.WRONG_SERIAL, 60),
        ]

    def test_a_message_of_invented_devices_gives_a_bounded_number_of_refusals(self) -> None:
        decoded = decode(message(*(row(f"x{n}") for n in range(1000))))
        assert len(decoded.refusals) <= 10
        assert sum(r.count for r in decoded.refusals) == 3000

    def test_the_sample_is_cut(self) -> None:
        decoded = decode(b"x" * (1 << 20))
        assert len(decoded.refusals[0].sample) == 64 << 10

    def test_a_time_in_the_future_is_left_to_normalise(self) -> None:
        decoded = decode(message(row(time=T0 + 10**9)))
        assert (len(decoded.batch), decoded.refusals) == (3, [])

    def test_serial_numbers_may_be_written_as_numbers(self) -> None:
        assert len(decode(message(row(serial=21030001))).batch) == 3


class TestBackfill:
    def test_the_sender_says_so(self) -> None:
        assert decode(message(row(), backfill=True)).backfill

    def test_old_readings_are_late_without_saying(self) -> None:
        assert decode(message(row()), received=T0 + 600_001).backfill
        assert not decode(message(row()), received=T0 + 600_000).backfill

    def test_one_live_message_makes_the_delivery_live(self) -> None:
        decoded = decode(message(row(), backfill=True), message(row()))
        assert not decoded.backfill
        assert decoded.batch.segments.backfill.tolist() == [True, False]


# Properties.


@given(deliveries, st.lists(st.integers(0, 8), max_size=3))
def test_any_cutting_into_calls_gives_the_same(
    messages: list[tuple[str, bytes, int]], cuts: list[int]
) -> None:
    whole = Fleet().decoder.decode_many(messages)
    decoder = Fleet().decoder
    edges = [0, *sorted(cuts), len(messages)]
    parts = [decoder.decode_many(messages[a:b]) for a, b in itertools.pairwise(edges)]
    joined = concat([part.batch for part in parts])
    for name in ("point", "time", "value", "quality"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole.batch, name))
    for name in ("stop", "origin", "received", "backfill"):
        np.testing.assert_array_equal(
            getattr(joined.segments, name), getattr(whole.batch.segments, name)
        )
    assert [r for part in parts for r in part.refusals] == whole.refusals


@given(deliveries)
def test_every_reading_becomes_a_row_or_a_refusal(messages: list[tuple[str, bytes, int]]) -> None:
    decoded = Fleet().decoder.decode_many(messages)
    given_readings = 0
    for name, payload, _ in messages:
        try:
            told = json.loads(payload)["readings"]
        except (ValueError, TypeError, KeyError, UnicodeDecodeError):
            continue
        # A flag without a value is a reading too; of an unknown gateway it is not looked at.
        flags = "flags" if "none" not in name else ""
        given_readings += sum(len({**t.get(flags, {}), **t["values"]}) for t in told)
    unreadable = sum(
        r.count for r in decoded.refusals if r.reason == Reason.PAYLOAD or not _is_json(r.sample)
    )
    empty_unknown = sum(
        1
        for r in decoded.refusals
        if r.reason == Reason.UNKNOWN_GATEWAY and _is_json(r.sample) and not _count(r.sample)
    )
    counted = len(decoded.batch) + sum(r.count for r in decoded.refusals)
    assert counted - unreadable - empty_unknown == given_readings


def _is_json(raw: bytes) -> bool:
    try:
        return isinstance(json.loads(raw), dict)
    except (ValueError, UnicodeDecodeError):
        return False


def _count(raw: bytes) -> int:
    return sum(len(told["values"]) for told in json.loads(raw)["readings"])


def test_ten_thousand_mutations_raise_nothing_and_each_is_accounted_for() -> None:
    rng = random.Random(20261122)
    seeds = [
        message(row(), row("stack", flags={"voc.nmhc.concentration": "D"}), backfill=True),
        message(row(serial="21030001", units={"power.active": "W"}), row("nobody")),
    ]
    decoder: PayloadDecoder = Fleet().decoder
    for _ in range(10_000):
        raw = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(raw))
            match rng.randrange(4):
                case 0:
                    raw[at] ^= 1 << rng.randrange(8)
                case 1:
                    del raw[at : at + rng.randint(1, 12)]
                case 2:
                    raw[at:at] = rng.choice(
                        [b"null", b"{", b'"', b"1e400", b"-", b"\xff", b",", b"1" + b"0" * 400]
                    )
                case _:
                    raw[at : at + 1] = bytes([rng.randrange(256)])
            raw = raw or bytearray(b" ")
        decoded = decoder.decode_many([(topic(), bytes(raw), T0)])
        assert len(decoded.batch) or decoded.refusals, bytes(raw)
