"""Warnings as projections say them: every event, the present minute, and an end for each."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from collector.model import SourceState, Tick
from collector.schema import ALERT_EVENTS, ALERTS
from tests.adapters.projection import stated
from tests.adapters.projection.stated import FIRST, MINUTE, NMHC, House, Projected, reading

house = stated.house


def test_a_warning_is_an_event_a_line_of_minutes_and_one_end(house: House) -> None:
    said = Projected(house)
    for minute, value in enumerate((10, 70, 90, 80, 10, 10)):
        now = FIRST + minute * MINUTE
        house.tell(*reading(house, 0, now, 0, value), Tick(now))
        said.catch_up()
    begun, over = said.of(ALERT_EVENTS)
    assert begun.tags == {
        "county": "620502",
        "level": "red",
        "place": "a",
        "rule": "high",
        "site": "s",
        "subject": f"s/a/{NMHC}/raw",
    }
    assert begun.texts == {"title_zh": "高", "title_en": "High"}
    assert (begun.time, begun.fields) == (FIRST + MINUTE, {"state": 1.0, "value": 70.0})
    assert (over.time, over.fields["state"]) == (FIRST + 4 * MINUTE, 0.0)
    minutes = [(row.time, row.fields["firing"]) for row in said.of(ALERTS)]
    assert minutes == [(FIRST + n * MINUTE, float(n < 4)) for n in (1, 2, 3, 4)]
    said.close()


def test_events_that_do_not_fit_into_one_call_come_with_the_next(house: House) -> None:
    said = Projected(house, limit=1)
    for minute, value in enumerate((70, 10, 70, 10)):
        now = FIRST + minute * MINUTE
        house.tell(*reading(house, 0, now, 0, value), Tick(now))
    said.catch_up()
    assert [row.fields["state"] for row in said.of(ALERT_EVENTS)] == [1, 0, 1, 0]
    said.close()


def test_an_end_is_later_than_its_beginning_also_within_one_millisecond(house: House) -> None:
    said = Projected(house)
    now = FIRST + 2 * MINUTE
    house.tell(SourceState(FIRST, 0, up=False), Tick(FIRST), Tick(now))
    house.tell(SourceState(now, 0, up=True), Tick(now))
    said.catch_up()
    found = [(row.time, row.fields["state"]) for row in said.of(ALERT_EVENTS)]
    assert found == [(now, 1), (now + 1, 0)]
    said.close()


def test_a_judge_that_begins_again_from_an_earlier_moment_leaves_no_ghost(house: House) -> None:
    said = Projected(house)
    house.tell(*reading(house, 0, FIRST, 0, 90), Tick(FIRST))
    house.tell(*reading(house, 0, FIRST + MINUTE, 0, 10), Tick(FIRST + MINUTE))
    said.catch_up()
    # As after a crash, while the journal is read again: open once more, and no new transition.
    with closing(sqlite3.connect(house.folder / "alerts.db")) as file, file:
        file.execute("UPDATE alert SET state = 'firing'")
    house.journal.append([Tick(FIRST + 2 * MINUTE)])
    said.catch_up()
    with closing(sqlite3.connect(house.folder / "alerts.db")) as file, file:
        file.execute("UPDATE alert SET state = 'resolved'")
    house.journal.append([Tick(FIRST + 3 * MINUTE)])
    said.catch_up()
    assert [row.fields["firing"] for row in said.of(ALERTS)][-2:] == [1, 0]
    said.close()


def test_a_minute_of_which_no_state_was_kept_still_gets_its_end(house: House) -> None:
    said = Projected(house)
    house.tell(Tick(FIRST))
    said.catch_up()
    house.tell(*reading(house, 0, FIRST + MINUTE, 0, 90), Tick(FIRST + MINUTE))
    said.read()
    said.say()
    said.crash()
    house.tell(*reading(house, 0, FIRST + 2 * MINUTE, 0, 10), Tick(FIRST + 2 * MINUTE))
    said.catch_up()
    assert [row.fields["firing"] for row in said.of(ALERTS)] == [1, 0]
    said.close()


def test_a_warning_about_no_place_has_dashes_and_one_language_stands_for_both(
    house: House,
) -> None:
    said = Projected(house)
    house.tell(SourceState(FIRST, 0, up=False), Tick(FIRST), Tick(FIRST + 2 * MINUTE))
    said.catch_up()
    (row,) = said.of(ALERT_EVENTS)
    assert (row.tags["rule"], row.tags["subject"]) == ("down", "mqtt:main")
    assert {row.tags[name] for name in ("county", "site", "place")} == {"-"}
    assert row.texts == {"title_zh": "Down", "title_en": "Down"}
    said.close()
