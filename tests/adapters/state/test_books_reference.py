"""The books' file equals a plain reference, whatever the order, the cuts, the crashes."""

from __future__ import annotations

import itertools
import random
import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from collector.model import Quality, Tick
from collector.registry import Service
from tests.accounts_reference import Reading, calm_life
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


def test_late_beside_what_the_books_took_for_a_glitch(world: World) -> None:
    """100 .. 90 101: 90 was a glitch. With a 95 between the two it was a reset."""
    meter = replace(METER, modulus=0)
    rows: list[Reading] = [(0, 100, 0), (HOUR, 90, 0), (HOUR + 60_000, 101, 0), (2 * HOUR, 102, 0)]
    one_by_one(world, meter, [*rows, (HOUR + 30_000, 95, 0)])


def test_late_beside_a_reset_is_when_it_was_decided(world: World) -> None:
    rows: list[Reading] = [(0, 100, 0), (HOUR, 2, 0), (HOUR + 60_000, 3, 0), (2 * HOUR, 4, 0)]
    one_by_one(world, METER, [*rows, (HOUR + 30_000, 2.5, 0)])


def test_late_in_a_service_of_which_nothing_counts_yet(world: World) -> None:
    old, new = replace(METER, end=HOUR), replace(METER, start=HOUR, device="s/new")
    fault = (HOUR + 60_000, 0, int(Quality.FAULT))
    late = (HOUR + 30_000, 7, 0)
    after = (HOUR + 90_000, 8, 0)
    one_by_one(world, old, [(0, 1, 0), (HOUR - 5_000, 2, 0), fault, late, after], new)


def one_by_one(world: World, meter: Service, rows: list[Reading], *later: Service) -> None:
    services = (meter, *later)
    books = world.books()
    books.apply([world.registry(services)])
    for i, row in enumerate(rows):
        books.apply([world.entry(batch(0, [row]))])
        books.commit()
        reader = world.reader()
        compared(reader, 0, rows[: i + 1], services)
        reader.close()
    books.close()


@given(journals())
@settings(max_examples=50, deadline=None, phases=[Phase.generate])
def test_equals_a_plain_reference_for_any_journal(journal) -> None:
    points, script = journal
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        try:
            played(world, points, script)
        finally:
            world.close()


@given(st.integers(0, 2**32))
@settings(max_examples=40, deadline=None, phases=[Phase.generate])
def test_equals_a_plain_reference_for_meters_as_most_are(seed) -> None:
    chance = random.Random(seed)
    points = [calm_life(chance) for _ in range(3)]
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        try:
            played(world, [services for _, services in points], scripted(points, chance))
        finally:
            world.close()


def played(world: World, points, script) -> None:
    # The registry changes between one in which each point has its last service only, and all.
    registries = itertools.cycle([[services[-1:] for services in points], points])
    changes = "registry" in script
    books = world.books()
    books.apply([world.registry(*(next(registries) if changes else points))])
    books.commit()
    delivered: list[list[Reading]] = [[] for _ in points]
    for step in script:
        match step:
            case "commit":
                books.commit()
            case "crash":
                books.close()
                books = world.books()
                for entry in world.journal.read(books.cursor()):
                    books.apply([entry])
            case "registry":
                books.apply([world.registry(*next(registries))])
            case Tick():
                books.apply([world.entry(step)])
            case _:
                for point, row in step:
                    delivered[point].append(row)
                books.apply([world.entry(rows_of(step))])
    if changes:
        books.apply([world.registry(*points)])
    books.commit()
    reader = world.reader()
    for point, services in enumerate(points):
        compared(reader, point, delivered[point], services)
    reader.close()
    books.close()
