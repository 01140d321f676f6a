"""Completeness as projections say it: counted once the archive has everything, and again for late
readings."""

from __future__ import annotations

import pytest

from collector.model import Tick
from collector.schema import COMPLETENESS
from tests.adapters.projection import stated
from tests.adapters.projection.stated import FIRST, HOUR, MINUTE, QUARTER, House, Projected, reading

house = stated.house


def test_an_hour_is_told_ten_minutes_after_its_end_and_again_for_late_readings(
    house: House,
) -> None:
    said = Projected(house)
    house.tell(*reading(house, 0, FIRST, 0, 1), *reading(house, 1, FIRST, 0, 13), Tick(FIRST))
    house.tell(Tick(FIRST + HOUR + 9 * MINUTE))
    said.catch_up()
    assert not said.of(COMPLETENESS)
    house.tell(Tick(FIRST + HOUR + 10 * MINUTE))
    said.catch_up()
    rows = {row.tags["place"]: row for row in said.of(COMPLETENESS)}
    assert rows["a"].fields == {"expected": 8.0, "valid": 2.0, "invalid": 0.0, "share": 0.25}
    assert rows["b"].fields == {"expected": 8.0, "valid": 0.0, "invalid": 2.0, "share": 0.0}
    assert rows["c"].fields["share"] == 0
    said.rows.clear()

    house.tell(*reading(house, 2, FIRST + HOUR + 12 * MINUTE, 40, 5))
    said.catch_up()
    assert not said.of(COMPLETENESS)  # more may come within the same quarter-hour
    house.tell(Tick(FIRST + HOUR + 15 * MINUTE))
    said.catch_up()
    (row,) = said.of(COMPLETENESS)
    assert (row.tags["place"], row.time, row.revision) == ("c", FIRST, 1)
    assert row.fields["valid"] == 2
    said.close()


def test_an_archive_that_lags_is_not_counted_before_it_has_everything(house: House) -> None:
    said = Projected(house)
    house.tell(*reading(house, 0, FIRST, 0, 1), Tick(FIRST))
    now = FIRST + 30 * MINUTE
    house.journal.append([*reading(house, 0, now, 0, 2), Tick(now), Tick(FIRST + 2 * HOUR)])
    said.catch_up()
    assert not said.of(COMPLETENESS)
    house.on(["archive"])
    said.catch_up()
    row = said.last(COMPLETENESS)["620502", "a", "s", FIRST]
    assert (row.fields["valid"], row.revision) == (4, 0)
    said.close()


@pytest.mark.parametrize("limit", [1, 5_000])
def test_late_readings_of_one_quarter_hour_are_counted_together(house: House, limit: int) -> None:
    said = Projected(house, limit)
    now = FIRST + 3 * HOUR
    house.tell(Tick(FIRST), Tick(now))
    said.catch_up()
    said.rows.clear()
    for place in range(3):
        house.tell(*reading(house, place, now, 170, 5))
        said.catch_up()
    house.tell(Tick(now + QUARTER))
    said.catch_up()
    rows = [row for row in said.of(COMPLETENESS) if row.time == FIRST]
    found = [(row.tags["place"], row.fields["valid"]) for row in rows]
    assert found == [("a", 2), ("b", 2), ("c", 2)]
    said.close()


@pytest.mark.parametrize("limit", [1, 5_000])
def test_of_too_many_late_points_the_state_names_hours_only(
    house: House, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr("adapters.projection.completeness.MAX_POINTS", 3)
    said = Projected(house, limit)
    now = FIRST + 3 * HOUR
    house.tell(Tick(FIRST), Tick(now))
    said.catch_up()
    said.rows.clear()
    house.tell(*reading(house, 0, now, 170, 5), *reading(house, 1, now, 170, 5))
    house.tell(*reading(house, 2, now, 100, 5))
    said.read()
    again = said.state["completeness"]["again"]
    assert sorted(points is None for points, _ in again.values()) == [False, True]
    house.tell(Tick(now + QUARTER))
    said.catch_up()
    found = {(row.tags["place"], row.time): row.fields["valid"] for row in said.of(COMPLETENESS)}
    assert {key: valid for key, valid in found.items() if valid} == {
        ("a", FIRST): 2,
        ("b", FIRST): 2,
        ("c", FIRST + HOUR): 2,
    }
    said.close()


def test_an_archive_without_a_tick_counts_no_hours(house: House) -> None:
    said = Projected(house)
    house.journal.append([*reading(house, 0, FIRST, 0, 1), Tick(FIRST)])
    house.on(["archive"], 3)
    said.catch_up()
    house.tell(Tick(FIRST + 2 * HOUR))
    said.catch_up()
    assert min(row.time for row in said.of(COMPLETENESS)) == FIRST
    said.close()
