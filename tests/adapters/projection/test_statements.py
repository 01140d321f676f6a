"""What projections say besides readings: right in the end whatever is interrupted, each once."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.alerts import CLOSED, FIRING, RESOLVED
from collector.model import Entry, Refusal, SourceState, Tick
from collector.schema import (
    ALERT_EVENTS,
    ALERTS,
    BOOKS,
    COMPLETENESS,
    PIPELINE,
    PIPELINE_FOLD,
    PLACE_INFO,
    REFUSED,
    SITE_INFO,
    STATEMENTS,
)
from tests.adapters.projection import stated
from tests.adapters.projection.stated import (
    FIRST,
    HOUR,
    MINUTE,
    PLACES,
    QUARTER,
    House,
    Projected,
    alerts_of,
    counted_in,
    of_books,
    reading,
    unfit,
)


def story(house: House, steps: list[tuple[int, int, int, int]]) -> list[Entry]:
    now = FIRST
    entries: list[Entry] = [SourceState(now, 0, up=True), Tick(now)]
    for on, place, late, value in steps:
        now += on * MINUTE
        if place > len(PLACES):
            entries.append(SourceState(now, 0, up=value > 10))
        elif place == len(PLACES):
            entries.append(Refusal(now, late % 2, "bad-value", "no number", value))
        else:
            entries += reading(house, place, now, late, value)
        if on:
            entries.append(Tick(now))
    return entries


steps = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 5, 15, 15, 15, 40, 95]),
        st.integers(0, len(PLACES) + 1),
        st.sampled_from([0, 0, 0, 2, 15, 30, 75, 200, 1600]),
        st.sampled_from([1, 2, 5, 13, 20, 70, 80, 200]),
    ),
    min_size=1,
    max_size=40,
)
doings = st.lists(
    st.sampled_from(
        ["account", "archive", "judge", "on", "kill", "read", "say", "say", "commit", "crash"]
    ),
    max_size=60,
)


@settings(max_examples=60)
@given(steps, doings, st.data())
def test_whatever_is_interrupted_the_last_word_is_what_the_readers_say(
    tmp_path_factory: pytest.TempPathFactory,
    told: list[tuple[int, int, int, int]],
    does: list[str],
    data: st.DataObject,
) -> None:
    house = House(tmp_path_factory.mktemp("house"))
    said = Projected(house, limit=data.draw(st.sampled_from([1, 3, 40, 5_000])))
    left = story(house, told)
    end = max(entry.time for entry in left if isinstance(entry, Tick))
    for doing in does:
        few = data.draw(st.integers(1, 8))
        match doing:
            case "on":
                house.journal.append(left[:few] or [Tick(end)])
                left = left[few:]
            case "kill":
                house.killed(data.draw(st.sampled_from(list(house.folds))))
            case "read":
                said.read(few)
            case "say":
                said.say()
            case "commit":
                said.commit()
            case "crash":
                said.crash()
            case fold:
                house.on([fold], few)
    house.journal.append([*left, Tick(end + MINUTE), Tick(end + QUARTER + 6 * MINUTE)])
    house.on(house.folds)
    said.catch_up()
    house.tell(Tick(end + 2 * QUARTER + 12 * MINUTE))
    said.catch_up()

    assert not [why for why in map(unfit, said.rows) if why]
    of_books(house, said)
    of_completeness(house, said)
    of_alerts(house, said)
    said.close()
    house.close()


def of_completeness(house: House, said: Projected) -> None:
    """Every hour since the first that was told in its turn; before it, where something came."""
    found = said.last(COMPLETENESS)
    for (_, place, _, hour), row in found.items():
        valid, invalid = counted_in(house, hour)[place]
        fields = {"expected": 8, "valid": valid, "invalid": invalid, "share": min(1, valid / 8)}
        assert row.fields == fields
    in_turn = {row.time for row in said.of(COMPLETENESS) if not row.revision}
    over = (said.now - 10 * MINUTE) // HOUR * HOUR
    for hour in range(min(in_turn, default=over), over, HOUR):
        assert {place for _, place, _, time in found if time == hour} == set(PLACES)


def of_alerts(house: House, said: Projected) -> None:
    reader = alerts_of(house)
    events = {
        (row.tags["rule"], row.tags["subject"], row.time, row.fields["state"])
        for row in said.of(ALERT_EVENTS)
    }
    assert events == {
        (
            one.data["rule"],
            one.data["subject"],
            one.time if one.to_state == FIRING else max(one.time, one.data["fired"] + 1),
            float(one.to_state == FIRING),
        )
        for one in reader.transitions()
        if one.to_state in {FIRING, RESOLVED, CLOSED}
    }
    last: dict[tuple[str, str], float] = {}
    for row in sorted(said.of(ALERTS), key=lambda row: row.time):
        last[row.tags["rule"], row.tags["subject"]] = row.fields["firing"]
    opened = {(one.rule, one.subject) for one in reader.alerts(active=True)}
    assert {key for key, firing in last.items() if firing} == opened
    reader.close()


house = stated.house


def test_every_statement_of_the_schema_but_marks_is_said(house: House) -> None:
    said = Projected(house)
    for quarter in range(6):
        now = FIRST + quarter * QUARTER
        house.tell(*reading(house, 0, now, 0, 100 + quarter), Tick(now))
    house.tell(Refusal(now, 1, "bad-value", "no number", 3), Tick(now + HOUR))
    said.catch_up()
    assert {row.measurement for row in said.rows} == set(STATEMENTS) - {"quality"}
    assert not [why for why in map(unfit, said.rows) if why]
    said.close()


def test_a_second_projection_says_all_that_the_first_said(house: House) -> None:
    first, second = Projected(house), Projected(house, limit=7)
    for quarter in range(120):
        now = FIRST + quarter * QUARTER
        late = reading(house, 1, now, 200, quarter) if quarter % 7 == 0 else []
        house.tell(*reading(house, 0, now, 0, quarter), *late, Tick(now))
        first.catch_up()
    house.tell(Tick(now + 2 * HOUR), Tick(now + 3 * HOUR))
    first.catch_up()
    second.catch_up()
    for measurement in (BOOKS, ALERT_EVENTS):
        assert second.last(measurement) == first.last(measurement)
    for key, row in second.last(COMPLETENESS).items():
        assert row.fields == first.last(COMPLETENESS)[key].fields
    assert {row.tags["span"] for row in second.of(BOOKS)} == {"15m", "1h", "1d"}
    first.close()
    second.close()


def test_minutes_that_nobody_asked_for_are_not_said_later(house: House) -> None:
    said = Projected(house)
    house.tell(*reading(house, 0, FIRST, 0, 90), Tick(FIRST))
    said.catch_up()
    house.tell(Tick(FIRST + 5 * HOUR))
    said.catch_up()
    high = [row.time for row in said.of(ALERTS) if row.tags["rule"] == "high"]
    assert high == [FIRST, FIRST + 5 * HOUR]
    assert [row.time for row in said.of(PIPELINE)] == high
    folds = {row.tags["fold"]: row.fields["healthy"] for row in said.of(PIPELINE_FOLD)}
    assert folds == {"archive": 1.0, "judge": 0.0}
    said.close()


def test_refused_are_running_totals_by_name(house: House) -> None:
    said = Projected(house)
    house.tell(Refusal(FIRST, 1, "bad-value", "no number", 3), Tick(FIRST))
    house.tell(Refusal(FIRST, 1, "bad-value", "another", 4), Tick(FIRST + MINUTE))
    said.catch_up()
    (row,) = said.of(REFUSED)
    assert row.tags == {"origin": "gateway:g", "reason": "bad-value"}
    assert row.fields == {"times": 2.0, "readings": 7.0}
    said.close()


def test_the_registry_is_told_at_the_start_when_it_changes_and_every_ten_minutes(
    house: House,
) -> None:
    said = Projected(house)
    now = FIRST + MINUTE
    house.tell(Tick(now))
    said.catch_up()
    said.statements.update(house.known)
    said.catch_up()  # of the same moment: waits for the next
    assert [row.time for row in said.of(SITE_INFO)] == [now]
    for minute in (2, 3, 9, 10):
        house.tell(Tick(FIRST + minute * MINUTE))
        said.catch_up()
    times = [FIRST + minute * MINUTE for minute in (1, 2, 10)]
    assert [row.time for row in said.of(SITE_INFO)] == times
    said.crash()
    house.tell(Tick(FIRST + 11 * MINUTE))
    said.catch_up()
    assert [row.time for row in said.of(SITE_INFO)] == [*times, FIRST + 11 * MINUTE]
    row, *_ = said.of(PLACE_INFO)
    assert row.tags == {"county": "620502", "outlet": "yes", "place": "a", "site": "s"}
    assert row.texts == {"label_zh": "a 号 [a]", "label_en": "Place a [a]"}
    assert row.fields == {"interval": 900.0}
    said.close()


def test_a_file_that_is_missing_or_damaged_costs_its_own_statements_only(house: House) -> None:
    said = Projected(house)
    for name in ("account", "judge"):
        house.folds[name].close()
    (house.folder / "alerts.db").unlink()
    for ending in ("", "-wal", "-shm"):
        (house.folder / f"books.db{ending}").unlink(missing_ok=True)
    (house.folder / "books.db").write_bytes(b"no database" * 1_000)
    house.journal.append([Refusal(FIRST, 1, "bad-value", "no number", 3), Tick(FIRST)])
    house.on(["archive"])
    said.catch_up()
    assert {row.measurement for row in said.rows} >= {REFUSED, SITE_INFO, PIPELINE}

    (house.folder / "books.db").unlink()
    for name in ("account", "judge"):
        house.folds[name] = house.opened(name)
    for quarter in range(3):
        now = FIRST + quarter * QUARTER
        house.tell(*reading(house, 0, now, 0, 100 + quarter), Tick(now))
    said.catch_up()
    assert said.of(BOOKS)
    assert said.of(ALERT_EVENTS)
    said.close()


def test_before_there_is_a_registry_or_a_tick_nothing_is_said(house: House) -> None:
    said = Projected(house)
    said.catch_up()
    assert not said.rows
    said.close()
