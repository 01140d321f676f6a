"""Books as projections say them: final before they are said, corrected under higher revisions."""

from __future__ import annotations

from dataclasses import replace

from collector.model import Tick
from collector.schema import BOOKS
from tests.adapters.projection import stated
from tests.adapters.projection.stated import (
    ENERGY,
    FIRST,
    HOUR,
    MINUTE,
    QUARTER,
    House,
    Projected,
    of_books,
    reading,
)

house = stated.house


def test_late_data_gives_a_higher_revision_of_what_it_changed_and_of_nothing_else(
    house: House,
) -> None:
    said = Projected(house)
    for quarter in (0, 1, 2, 4, 5, 6, 7, 8):
        now = FIRST + quarter * QUARTER
        house.tell(*reading(house, 0, now, 0, 10 + 4 * quarter), Tick(now))
    said.catch_up()
    before = said.last(BOOKS)
    assert {row.revision for row in before.values()} == {0}
    said.rows.clear()

    # Of a register that rose by four each quarter-hour, 25 instead of 22 in the middle of it.
    house.tell(*reading(house, 0, now, 75, 25))
    said.catch_up()
    assert not said.rows  # may change again within the same quarter-hour of the clock
    house.tell(Tick(now + QUARTER + 5 * MINUTE))
    said.catch_up()
    again = {key: row for key, row in said.last(BOOKS).items() if row.revision}
    changed = {key: row.fields["amount"] for key, row in again.items()}
    place = ("620502", "a", ENERGY, "s")
    assert changed == {
        (*place, "15m", FIRST + 2 * QUARTER): 7.0,
        (*place, "15m", FIRST + 3 * QUARTER): 1.0,
        (*place, "1h", FIRST): 16.0,
    }
    assert all(row.revision > before[key].revision for key, row in again.items())
    said.close()


def test_what_may_still_change_under_the_same_revision_waits(house: House) -> None:
    said = Projected(house)
    for quarter in (0, 1, 2, 4):
        now = FIRST + quarter * QUARTER
        house.tell(*reading(house, 0, now, 0, 10 + 4 * quarter), Tick(now))
    house.tell(Tick(now + 5 * MINUTE))  # the hour is over, and was not told yet
    for value in (19, 20):
        house.tell(*reading(house, 0, now, 15, value))
        said.catch_up()
        assert {row.tags["span"] for row in said.of(BOOKS)} == {"15m"}
    house.tell(Tick(now + 20 * MINUTE))
    said.catch_up()
    of_books(house, said)
    said.close()


def test_a_changed_ratio_changes_what_was_told(house: House) -> None:
    said = Projected(house)
    for quarter in range(5):
        now = FIRST + quarter * QUARTER
        house.tell(*reading(house, 0, now, 0, 20 + quarter), Tick(now + 5 * MINUTE))
    said.catch_up()
    twice = [
        replace(point, services=tuple(replace(one, ratio=2.0) for one in point.services))
        for point in house.known.points
    ]
    house.known = replace(house.known, points=twice)
    house.killed("account")
    house.tell(Tick(now + 20 * MINUTE))
    said.catch_up()
    hours = [(row.fields["amount"], row.revision) for row in said.of(BOOKS) if row.time == FIRST]
    assert hours[:2] == [(1.0, 0), (4.0, 0)]
    assert [amount for amount, _ in hours[2:]] == [2.0, 8.0]
    of_books(house, said)
    said.close()


def test_books_that_move_on_while_they_are_told_are_told_whole(house: House) -> None:
    said = Projected(house, limit=1)
    for quarter in range(12):
        now = FIRST + quarter * QUARTER
        for place in range(3):
            house.tell(*reading(house, place, now, 0, quarter))
        house.tell(Tick(now + 5 * MINUTE))
        said.read()
        for _ in range(9):
            said.say()
    said.catch_up()
    of_books(house, said)
    said.close()


def test_the_day_of_a_counter_that_fell_silent_is_told_however_late(house: House) -> None:
    said = Projected(house)
    for quarter in range(3):
        now = FIRST + quarter * QUARTER
        house.tell(*reading(house, 0, now, 0, quarter), Tick(now))
    house.tell(Tick(now + HOUR))
    said.catch_up()
    assert {row.tags["span"] for row in said.of(BOOKS)} == {"15m", "1h"}
    house.tell(Tick(now + 50 * HOUR))
    said.catch_up()
    assert [row.fields["amount"] for row in said.of(BOOKS) if row.tags["span"] == "1d"] == [2.0]
    of_books(house, said)
    said.close()


def test_an_open_span_is_not_told(house: House) -> None:
    said = Projected(house)
    house.tell(*reading(house, 0, FIRST, 0, 10), Tick(FIRST))
    now = FIRST + QUARTER + 4 * MINUTE
    house.tell(*reading(house, 0, now, 0, 20), Tick(now))
    said.catch_up()
    assert not said.of(BOOKS)
    house.tell(Tick(now + MINUTE))
    said.catch_up()
    assert [row.tags["span"] for row in said.of(BOOKS)] == ["15m"]
    said.close()
