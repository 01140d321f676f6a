"""What a projection says when something is there for the first time: nothing of the time before,
and where a total began."""

from __future__ import annotations

import pytest

from collector.model import Refusal, Tick
from collector.schema import COMPLETENESS, REFUSED
from tests.adapters.projection import stated
from tests.adapters.projection.stated import FIRST, HOUR, MINUTE, House, Projected, reading

house = stated.house


@pytest.mark.parametrize("before", [True, False], ids=["a tick", "a reading"])
def test_no_hour_before_the_first_reading_is_told_as_incomplete(house: House, before: bool) -> None:
    said = Projected(house)
    now = FIRST + MINUTE
    house.tell(*([] if before else reading(house, 0, now, 0, 1)), Tick(now))
    said.catch_up()
    house.tell(*reading(house, 0, now + MINUTE, 0, 2), Tick(FIRST + 2 * HOUR + 10 * MINUTE))
    said.catch_up()
    assert sorted({row.time for row in said.of(COMPLETENESS)}) == [FIRST, FIRST + HOUR]
    said.close()


def test_a_total_that_is_new_was_nothing_before(house: House) -> None:
    """Else what it grew by, over any range, would not have its first refusals in it."""
    said = Projected(house)
    house.tell(Refusal(FIRST, 1, "bad-value", "no number", 3), Tick(FIRST))
    said.catch_up()
    house.tell(Refusal(FIRST, 1, "bad-time", "early", 5), Tick(FIRST + 7 * MINUTE))
    said.catch_up()
    house.tell(Tick(FIRST + 8 * MINUTE))
    said.catch_up()
    told = [(row.tags["reason"], row.time, row.fields["readings"]) for row in said.of(REFUSED)]
    assert sorted(told) == [
        ("bad-time", FIRST, 0),
        ("bad-time", FIRST + 7 * MINUTE, 5),
        ("bad-time", FIRST + 8 * MINUTE, 5),
        ("bad-value", FIRST, 3),  # of a total that was there before this projection: no beginning
        ("bad-value", FIRST + 7 * MINUTE, 3),
        ("bad-value", FIRST + 8 * MINUTE, 3),
    ]
    said.close()
