"""Advances over quarter-hours: nothing is lost, nothing is invented, missing is never zero."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.accounts.buckets import Quarters, spread
from tests.accounts_reference import QUARTER


def laid(*advances: tuple[int, int, int, int, bool]) -> Quarters:
    """(group, start, end, steps, estimated) ..."""
    columns = list(zip(*advances, strict=True)) if advances else [()] * 5
    return spread(
        *(np.array(column, np.int64) for column in columns[:4]), np.array(columns[4], np.bool_)
    )


def test_readings_on_the_edges_leave_nothing_to_interpolate() -> None:
    of = laid((0, 0, QUARTER, 317, False), (0, QUARTER, 2 * QUARTER, 400, False))
    assert of.quarter.tolist() == [0, 1]
    assert of.steps.tolist() == [317, 400]
    assert of.measured.tolist() == [QUARTER, QUARTER]
    assert of.estimated.tolist() == [0, 0]


def test_an_edge_gets_what_the_register_would_have_shown() -> None:
    of = laid((0, QUARTER - 1000, QUARTER + 2000, 10, False))
    assert of.steps.tolist() == [3, 7]
    assert of.measured.tolist() == [1000, 2000]


def test_a_gap_is_estimated_and_still_adds_up() -> None:
    of = laid((0, 0, 4 * QUARTER, 10, True))
    assert of.steps.tolist() == [2, 3, 2, 3]
    assert of.measured.tolist() == [0] * 4
    assert of.estimated.tolist() == [QUARTER] * 4


def test_what_no_advance_covers_does_not_exist() -> None:
    of = laid((0, 0, QUARTER, 5, False), (0, 9 * QUARTER, 10 * QUARTER, 0, False))
    assert of.quarter.tolist() == [0, 9]
    assert of.steps.tolist() == [5, 0]
    assert len(laid()) == 0


def test_groups_are_kept_apart() -> None:
    of = laid((1, 0, 60_000, 5, False), (2, 0, 60_000, 7, False), (2, 60_000, 120_000, 1, True))
    assert of.group.tolist() == [1, 2]
    assert of.steps.tolist() == [5, 8]
    assert of.measured.tolist() == [60_000, 60_000]
    assert of.estimated.tolist() == [0, 60_000]


def test_a_gap_of_months_with_a_huge_register_is_exact() -> None:
    half_year = 183 * 96 * QUARTER
    of = laid((0, 1, half_year, 2**60 + 7, True))
    assert sum(of.steps.tolist()) == 2**60 + 7
    assert int(of.steps.min()) >= 0


advances = st.lists(
    st.tuples(
        st.integers(1, 3 * QUARTER) | st.integers(1, 40 * 86_400_000),
        st.integers(0, 2**20) | st.integers(0, 2**60),
        st.booleans(),
        st.booleans(),
    ),
    max_size=12,
)


@given(advances, st.integers(-(2**40), 2**41))
@settings(max_examples=150, deadline=None)
def test_steps_and_time_are_conserved(drawn, start) -> None:
    rows = []
    for length, steps, estimated, skip in drawn:
        if not skip:
            rows.append((0, start, start + length, steps, estimated))
        start += length
    of = laid(*rows)
    assert sum(of.steps.tolist()) == sum(row[3] for row in rows)
    assert int(of.measured.sum()) == sum(row[2] - row[1] for row in rows if not row[4])
    assert int(of.estimated.sum()) == sum(row[2] - row[1] for row in rows if row[4])
    assert all(0 < m + e <= QUARTER for m, e in zip(of.measured, of.estimated, strict=True))
    assert np.all(np.diff(of.quarter) > 0)
