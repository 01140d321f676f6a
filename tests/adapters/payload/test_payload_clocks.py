"""Wrong clocks are told and nothing is moved on a guess; only what is certain is read as meant."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.sources.payload import Clocks, PayloadDecoder, answer
from adapters.sources.payload.clocks import in_milliseconds
from collector.model import Reason
from collector.telemetry import Telemetry
from tests.adapters.payload.decoded import in_chinese
from tests.adapters.payload.pushed import DEVICES, METER, T0, Fleet, message, row, topic

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


def kinds(clocks: Clocks, now: int = T0) -> list[str]:
    return [found.kind for found in clocks.findings(now)]


def fed(offsets: Iterable[int], every: int = MINUTE) -> Clocks:
    """One gateway's messages, whose newest times are so far ahead of receipt."""
    clocks = Clocks()
    for number, offset in enumerate(offsets):
        received = T0 + number * every
        clocks.of("gw").saw(received, received + offset)
    return clocks


def noise(number: int, width: int = 5_000) -> list[int]:
    """What the way costs: always late, never early."""
    rng = random.Random(3)
    return [-rng.randrange(width) for _ in range(number)]


class TestVerdict:
    @pytest.mark.parametrize(
        ("offset", "kind", "says"),
        [
            (0, "", ""),
            (-50_000, "", ""),
            (-100_000, "", ""),
            (50_000, "", ""),
            (8 * HOUR, "zone", "8 h ahead"),
            (-8 * HOUR, "zone", "8 h behind"),
            (int(-5.5 * HOUR), "zone", "5.5 h behind"),
            (-HOUR, "zone", "period began"),
            (13 * HOUR, "zone", "13 h ahead"),
            (14 * HOUR, "ahead", "14 h ahead"),
            (7 * MINUTE, "ahead", "ahead"),
            (-7 * MINUTE, "behind", "7 min"),
            (-40 * DAY, "behind", "40 d"),
            (-T0, "lost", "battery"),
            (946_684_800_000 - T0, "lost", "battery"),
        ],
    )
    def test_of_a_steady_difference(self, offset: int, kind: str, says: str) -> None:
        clocks = fed(offset + late for late in noise(20))
        assert kinds(clocks) == [kind] * bool(kind)
        for found in clocks.findings(T0):
            assert says in found.told
            assert abs(found.offset_ms - offset) <= 5_000

    def test_a_quarter_hourly_gateway_is_judged_within_an_hour(self) -> None:
        assert kinds(fed([8 * HOUR] * 5, every=15 * MINUTE)) == ["zone"]

    def test_a_backlog_is_no_wrong_clock(self) -> None:
        draining = [-10 * HOUR + n * 11 * MINUTE for n in range(50)]
        assert [kinds(fed(draining[:n])) for n in range(50)] == [[]] * 50

    def test_a_backlog_beside_live_readings_is_no_wrong_clock(self) -> None:
        clocks = Clocks()
        for second in range(600):
            received = T0 + second * 1000
            clocks.of("gw").saw(received, received - 8 * HOUR)
            clocks.of("gw").saw(received, received - 500)
        assert kinds(clocks) == []

    def test_a_few_messages_tell_nothing(self) -> None:
        assert kinds(fed([-8 * HOUR] * 3)) == []
        assert kinds(fed([5 * MINUTE])) == []

    def test_a_clock_that_was_set_is_right(self) -> None:
        clocks = fed([8 * HOUR] * 10 + [0] * 10)
        assert kinds(clocks) == []

    def test_what_is_told_of_each_is_nothing_until_enough_came(self) -> None:
        clocks = fed([-8 * HOUR] * 3)
        clocks.of("right")
        clocks.of("unit").saw_unit(T0, "s")
        assert list(clocks.told(T0)) == ["unit"]
        assert list(clocks.told(T0 + 2 * HOUR).values()) == [""]
        for minute in range(3, 6):
            now = T0 + minute * MINUTE
            clocks.of("gw").saw(now, now - 8 * HOUR)
        for minute in range(4):
            clocks.of("right").saw(T0 + minute * MINUTE, T0 + minute * MINUTE)
        clocks.of("gw").saw_unit(T0, "s")
        told = clocks.told(T0)
        assert (list(told), told["right"]) == (["gw", "right", "unit"], "")
        assert told["gw"] == (
            "its times are seconds where milliseconds are meant: they were taken as such; "
            "let it send milliseconds; its clock is steadily 8 h behind: is its zone wrong?"
        )

    @given(st.lists(st.integers(-200 * DAY, AHEAD := 60_000), max_size=40))
    def test_what_comes_late_without_order_is_never_called_a_zone(self, offsets: list[int]) -> None:
        spread = [sorted(offsets[n : n + 4]) for n in range(max(0, len(offsets) - 3))]
        if all(some[-1] - some[0] > MINUTE for some in spread):
            assert kinds(fed(offsets)) == []


class TestUnits:
    @pytest.mark.parametrize(
        ("written", "meant"),
        [
            (T0, (T0, "")),
            (T0 // 1000, (T0, "s")),
            (T0 * 1000, (T0, "us")),
            (T0 * 10**6, (T0, "ns")),
            (T0 * 1000 + 999, (T0, "us")),
            (T0 // 1000 - 60 * 86_400, (T0 - 60 * DAY, "s")),
            (T0 // 1000 - 60 * 86_400 - 1, (T0 // 1000 - 60 * 86_400 - 1, "")),
            ((T0 - 60 * DAY) * 1000 - 1, ((T0 - 60 * DAY) * 1000 - 1, "")),
            ((T0 - 60 * DAY) * 10**6 - 1, ((T0 - 60 * DAY) * 10**6 - 1, "")),
            (946_684_800, (946_684_800, "")),
            (946_684_800_000_000, (946_684_800_000_000, "")),
            (0, (0, "")),
            (-5, (-5, "")),
            (180_000, (180_000, "")),
            (T0 // 1000 + 86_401, (T0 // 1000 + 86_401, "")),
            (10**25, (10**25, "")),
            (10**400, (10**400, "")),
        ],
    )
    def test_numbers(self, written: int, meant: tuple[int, str]) -> None:
        assert in_milliseconds(written, T0) == meant

    def test_nothing_before_2000_is_made_even_where_our_own_clock_is_lost(self) -> None:
        assert in_milliseconds(946_684_799, 946_684_800_000) == (946_684_799, "")
        assert in_milliseconds(946_684_800, 946_684_800_000) == (946_684_800_000, "s")

    @given(st.integers(-(2**70), 2**70))
    def test_only_what_cannot_be_milliseconds_is_changed(self, written: int) -> None:
        time, unit = in_milliseconds(written, T0)
        if unit:
            assert T0 - 60 * DAY <= time <= T0 + DAY
            assert not 10**11 <= written < 10**14
        else:
            assert time == written


class TestDecoder:
    def test_seconds_are_read_told_and_remembered(self) -> None:
        fleet = Fleet()
        told = message(row(time=T0 // 1000), row(time=T0 * 1000 + 5), id=1)
        decoded = fleet.decoder.decode_many([(topic(), told, T0)])
        assert set(decoded.batch.time.tolist()) == {T0}
        assert set(decoded.batch.quality.tolist()) == {0}
        assert decoded.refusals == []
        (one,) = decoded.receipts
        assert (one.stored, one.refused, len(one.remarks)) == (6, (), 2)
        assert "seconds" in json.loads(answer(one))["remarks"][1]
        assert kinds(fleet.decoder.clocks) == ["unit"]
        assert kinds(fleet.decoder.clocks, T0 + 2 * HOUR) == []

    @pytest.mark.parametrize("time", [180_000, 500, "1970-01-01T08:03:00", "1999-12-31T00:00:00"])
    def test_a_clock_of_1970_is_told_and_its_readings_are_refused(self, time: Any) -> None:
        fleet = Fleet()
        for minute in range(6):
            now = T0 + minute * MINUTE
            then = time + minute * MINUTE if isinstance(time, int) else time[:14] + f"0{minute}:00"
            decoded = fleet.decoder.decode_many([(topic(), message(row(time=then)), now)])
            assert [one.reason for one in decoded.refusals] == [Reason.BAD_TIME]
        assert kinds(fleet.decoder.clocks) == ["lost"]

    @pytest.mark.parametrize("days", [0, 1, 11, 15, 20, 22, 300, 400, 5_000])
    def test_milliseconds_since_a_start_are_never_stored(self, days: int) -> None:
        fleet = Fleet()
        for minute in range(6):
            told = message(row(time=days * DAY + minute * MINUTE))
            decoded = fleet.decoder.decode_many([(topic(), told, T0 + minute * MINUTE)])
            assert len(decoded.batch) == 0
            assert [one.reason for one in decoded.refusals] == [Reason.BAD_TIME]
        assert kinds(fleet.decoder.clocks) == ["lost"]

    def test_a_zone_is_told_and_nothing_moved(self) -> None:
        fleet = Fleet()
        for minute in range(6):
            now = T0 + minute * MINUTE
            told = message(row(time=now - 8 * HOUR))
            decoded = fleet.decoder.decode_many([(topic(), told, now)])
            assert set(decoded.batch.time.tolist()) == {now - 8 * HOUR}
        (found,) = fleet.decoder.clocks.findings(T0)
        assert (found.gateway, found.kind, found.offset_ms) == ("gw-print", "zone", -8 * HOUR)

    def test_the_sender_is_told_of_its_clock_as_soon_as_it_is_certain(self) -> None:
        fleet = Fleet()
        told = []
        for minute in range(6):
            now = T0 + minute * MINUTE
            live = fleet.decoder.decode_many([(topic(), message(row(time=now - 8 * HOUR)), now)])
            late = message(row(time=now - 9 * HOUR), backfill=True)
            assert fleet.decoder.decode_many([(topic(), late, now)]).receipts[0].remarks == ()
            told.append(live.receipts[0].remarks)
        zone = ("its clock is steadily 8 h behind: is its zone wrong?",)
        assert told == [(), (), (), zone, zone, zone]

    @pytest.mark.parametrize(
        ("hours", "first"),
        [(-8, ()), (8, ("3 readings are 8 h in the future: they are kept and not used; set the "
                        "clock (without an offset it is read as Asia/Shanghai)",))],
    )  # fmt: skip
    def test_a_text_without_an_offset_is_told_how_it_is_read(
        self, hours: int, first: tuple[str, ...]
    ) -> None:
        fleet = Fleet()
        for minute in range(5):
            now = T0 + minute * MINUTE
            local = f"2026-11-22T{8 + hours:02}:{minute:02}:00"
            (one,) = fleet.decoder.decode_many([(topic(), message(row(time=local)), now)]).receipts
            assert one.remarks[: len(first)] == first
            assert all(map(in_chinese, one.remarks))
        assert one.remarks[-1].endswith(
            "Its times have no offset and are read as Asia/Shanghai: send one, as +08:00"
        )
        right = message(row(time=f"2026-11-22T{8 + hours:02}:09:00+08:00"))
        (one,) = fleet.decoder.decode_many([(topic(), right, T0 + 9 * MINUTE)]).receipts
        assert "without an offset" not in "".join(one.remarks)

    def test_what_calls_itself_late_says_nothing_of_the_clock(self) -> None:
        fleet = Fleet()
        for minute in range(6):
            now = T0 + minute * MINUTE
            told = message(row(time=now - 8 * HOUR), backfill=True)
            fleet.decoder.decode_many([(topic(), told, now)])
        assert kinds(fleet.decoder.clocks) == []

    def test_the_metric_and_the_log(self) -> None:
        made, telemetry = Fleet(DEVICES), Telemetry()
        decoder = PayloadDecoder(
            made.registry, made.table, made.origins.ids, source="mqtt:main", late_after_ms=600_000,
            profiles={METER.name: METER}, clocks=Clocks(telemetry),
        )  # fmt: skip
        for minute in range(6):
            now = T0 + minute * MINUTE
            decoder.decode_many([(topic(), message(row(time=now + HOUR)), now)])
        assert telemetry.value("gateway_clock_offset_seconds", gateway="gw-print") == 3600


class TestRetention:
    """What the archive would delete at once is not told as stored."""

    OLDEST = T0 - 400 * DAY

    @pytest.mark.parametrize("written", [OLDEST - 1, "2025-10-18T07:59:59+08:00"])
    @pytest.mark.parametrize("backfill", [False, True])
    def test_older_than_the_archive_keeps_is_refused(self, written: Any, backfill: bool) -> None:
        told = message(row(time=written), row(time=self.OLDEST), backfill=backfill)
        (one,) = Fleet().decoder.decode_many([(topic(), told, T0)]).receipts
        assert one.stored == 3
        ((reason, count, rows),) = [(part.reason, part.count, part.rows) for part in one.refused]
        assert (reason, count, rows) == (Reason.BAD_TIME, 3, (0,))
        (part,) = json.loads(answer(one))["refused"]
        assert "main-meter measured at 2025-10-1" in part["detail"]
        assert "older than 400 days, which the archive keeps" in part["detail"]
        assert part["todo"] == "raise retention_days first, or do not send it"

    def test_it_is_usable_once_the_retention_is_raised(self) -> None:
        told = (topic(), message(row(time=self.OLDEST - DAY)), T0)
        assert len(Fleet(retention_days=401).decoder.decode_many([told]).batch) == 3

    def test_a_clock_that_is_years_back_is_found_by_it(self) -> None:
        fleet = Fleet()
        for minute in range(6):
            now = T0 + minute * MINUTE
            told = message(row(time=now - 2_000 * DAY))
            assert fleet.decoder.decode_many([(topic(), told, now)]).receipts[0].stored == 0
        assert kinds(fleet.decoder.clocks) == ["behind"]

    def test_late_data_says_nothing_of_a_clock(self) -> None:
        fleet = Fleet()
        for minute in range(6):
            now = T0 + minute * MINUTE
            told = message(row(time=now - 2_000 * DAY), backfill=True)
            assert fleet.decoder.decode_many([(topic(), told, now)]).receipts[0].stored == 0
        assert kinds(fleet.decoder.clocks) == []
