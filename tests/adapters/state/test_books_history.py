"""Books whose history is cut: what is older is told and changes nothing, and the rest equals a
plain reference."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from collector.model import Tick
from collector.telemetry import Telemetry
from tests.accounts_reference import Cut, Reading, calm_life
from tests.adapters.state import books_kept
from tests.adapters.state.books_kept import (
    HOUR,
    METER,
    World,
    batch,
    compared,
    journals,
    rows_of,
    scripted,
)

world = books_kept.world


def test_what_is_older_than_the_history_is_told_and_changes_nothing(world: World) -> None:
    telemetry = Telemetry()
    books = world.books(2, telemetry)
    rows: list[Reading] = [(hour * HOUR, hour, 0) for hour in range(0, 240, 5)]
    books.apply([world.registry([METER]), world.entry(batch(0, rows))])
    books.apply([world.entry(Tick(240 * HOUR))])
    books.commit()
    before = world.reader().buckets(0, "15m", 0, 240 * HOUR).amount.tolist()
    # Before the horizon (hour 192), and between it and the first reading behind it (hour 195).
    books.apply([world.entry(batch(0, [(100 * HOUR + 1, 0, 0), (193 * HOUR, 194, 0)]))])
    books.apply([world.entry(Tick(264 * HOUR))])
    books.commit()
    assert world.reader().buckets(0, "15m", 0, 240 * HOUR).amount.tolist() == before
    assert telemetry.value("books_beyond_history") == 2
    books.apply([world.entry(batch(0, [(231 * HOUR, 234, 0)]))])
    books.commit()
    reader = world.reader()
    assert reader.buckets(0, "15m", 0, 240 * HOUR).amount.tolist() != before
    assert reader.total(0, 0, 240 * HOUR) == pytest.approx(235)
    books.close()


@pytest.mark.parametrize("together", [False, True])
def test_after_a_long_silence_commits_make_no_difference(world: World, together: bool) -> None:
    books = world.books(1)
    books.apply([world.registry([METER]), world.entry(batch(0, [(0, 0, 0), (HOUR, 1, 0)]))])
    books.apply([world.entry(Tick(5 * 24 * HOUR))])
    for hour, value in ((102, 90), (99, 80)):
        books.apply([world.entry(batch(0, [(hour * HOUR, value, 0)]))])
        if not together:
            books.commit()
    books.commit()
    # The first to come closes the silence; the one before it came too late.
    assert world.reader().total(0, 0, 99 * HOUR) == pytest.approx(1 + 89 * 98 / 101, abs=0.01)
    books.close()


@given(journals(), st.sampled_from([1, 2, 20]))
@settings(max_examples=30, deadline=None, phases=[Phase.generate])
def test_equals_a_plain_reference_of_what_a_cut_history_lets_in(journal, days) -> None:
    points, script = journal
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        try:
            played_and_cut(world, points, [step for step in script if step != "registry"], days)
        finally:
            world.close()


@given(st.integers(0, 2**32), st.sampled_from([1, 2, 5]))
@settings(max_examples=16, deadline=None, phases=[Phase.generate])
def test_a_cut_history_lets_in_what_a_plain_reference_does_for_meters_read_seldom(
    seed: int, days: int
) -> None:
    chance = random.Random(seed)
    made = [calm_life(chance, (4 * HOUR, 7 * HOUR, 20 * HOUR)) for _ in range(2)]
    points = [(readings[:50], services) for readings, services in made]
    script = scripted(points, chance)
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        try:
            services = [services for _, services in points]
            played_and_cut(world, services, [step for step in script if step != "registry"], days)
        finally:
            world.close()


def played_and_cut(world: World, points, script, days: int) -> None:
    cuts = [Cut(services, days) for services in points]
    books = world.books(days)
    books.apply([world.registry(*[cut.services for cut in cuts])])
    books.commit()
    for step in script:
        match step:
            case "commit":
                books.commit()
            case "crash":
                books.close()
                books = world.books(days)
                for entry in world.journal.read(books.cursor()):
                    books.apply([entry])
            case Tick():
                books.commit()
                frozen = old_books(world, cuts)
                books.apply([world.entry(step)])
                books.commit()
                assert old_books(world, cuts) == frozen
                for cut in cuts:
                    cut.tick(step.time)
            case _:
                for point, cut in enumerate(cuts):
                    cut.deliver([row for of, row in step if of == point])
                books.apply([world.entry(rows_of(step))])
    books.commit()
    reader = world.reader()
    for point, cut in enumerate(cuts):
        compared(reader, point, cut.counted, cut.services, cut.horizon)
    reader.close()
    books.close()


def old_books(world: World, cuts: list[Cut]) -> list[list[object]]:
    """All days of all points: a tick changes none, whatever is forgotten with it."""
    reader = world.reader()
    found = [reader.buckets(point, "day", 0, 400 * 24 * HOUR) for point in range(len(cuts))]
    reader.close()
    return [[of.start.tolist(), of.amount.tolist(), of.measured.tolist()] for of in found]
