"""The ledger of a place in the books: registers stated at an exchange, and places that do not
count. Checked with the whole fold, against readings that say the same."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.accounts.counters import Kind
from collector.model import Entry, Tick
from collector.registry import FOREVER, Service
from tests.accounts_reference import QUARTER, Reading
from tests.adapters.state import books_kept
from tests.adapters.state.books_kept import World, batch

HOUR = 4 * QUARTER
CHANGE = 10 * HOUR + 7 * 60_000
OLD = Service("s/old", 0, CHANGE, 0.01, 10**6, ratio=40, max_rate=4000, interval=900)
NEW = replace(OLD, device="s/new", start=CHANGE, end=FOREVER, ratio=60)
BEFORE: list[Reading] = [(i * QUARTER, 900.0 + i, 0) for i in range(41)]
AFTER: list[Reading] = [(11 * HOUR + i * QUARTER, 0.5 + i, 0) for i in range(9)]
STATED = (replace(OLD, last=940.75), replace(NEW, first=0.1))
WHOLE = 40.75 * 40 + 8.4 * 60
"""kWh: 900 to 940.75 through transformers of 40, 0.1 to 8.5 through 60."""
world = books_kept.world


def told(world: World, *entries: tuple[int, Entry]) -> float | None:
    """The total after ``entries``, in one commit each."""
    for entry in entries:
        books = world.books()
        books.apply([entry])
        books.commit()
        books.close()
    reader = world.reader()
    total = reader.total(0, 0, 100 * HOUR)
    reader.close()
    return total


def test_nothing_is_lost_between_two_meters_whose_registers_are_stated(world: World) -> None:
    lost = told(
        world,
        world.registry((OLD, NEW)),
        world.entry(batch(0, BEFORE)),
        world.entry(batch(0, AFTER)),
    )
    assert lost == pytest.approx(40 * 40 + 8 * 60)
    whole = told(world, world.registry(STATED), world.entry(Tick(12 * HOUR)))
    assert whole == pytest.approx(WHOLE)


def test_a_register_that_was_corrected_counts_as_corrected_and_one_taken_back_not(
    world: World,
) -> None:
    told(world, world.registry(STATED), world.entry(batch(0, [*BEFORE, *AFTER])))
    assert told(world, world.entry(Tick(14 * HOUR))) == pytest.approx(WHOLE)
    corrected = (replace(OLD, last=940.5), STATED[1])
    tick = world.entry(Tick(15 * HOUR))
    assert told(world, world.registry(corrected), tick) == pytest.approx(WHOLE - 0.25 * 40)
    tick = world.entry(Tick(16 * HOUR))
    assert told(world, world.registry((OLD, NEW)), tick) == pytest.approx(40 * 40 + 8 * 60)


def test_a_register_of_the_future_waits_for_its_moment(world: World) -> None:
    total = told(
        world,
        world.registry(STATED),
        world.entry(Tick(5 * HOUR)),
        world.entry(batch(0, BEFORE[:20])),
    )
    assert total == pytest.approx(19 * 40)
    reader = world.reader()
    assert [one.kind for one in reader.anomalies(0, 0, FOREVER)] == []
    reader.close()
    rest = world.entry(batch(0, [*BEFORE[20:], *AFTER]))
    assert told(world, rest, world.entry(Tick(14 * HOUR))) == pytest.approx(WHOLE)


def test_the_exchange_of_meters_is_told_once(world: World) -> None:
    told(world, world.registry(STATED), world.entry(batch(0, [*BEFORE, *AFTER])))
    told(world, world.entry(Tick(14 * HOUR)))
    reader = world.reader()
    (one,) = reader.anomalies(0, 0, FOREVER)
    assert (one.kind, one.before, one.after) == (Kind.REPLACEMENT, 940.75, 0.1)
    reader.close()


def test_new_transformers_at_the_same_meter_lose_nothing(world: World) -> None:
    """Two entries for one instrument, the register at the change stated on both sides."""
    services = (replace(OLD, last=940.5), replace(NEW, first=940.5))
    readings = [*BEFORE, *[(t, v + 941.0, q) for t, v, q in AFTER]]
    total = told(
        world,
        world.registry(services),
        world.entry(batch(0, readings)),
        world.entry(Tick(14 * HOUR)),
    )
    assert total == pytest.approx(40.5 * 40 + (941.0 + 8.5 - 940.5) * 60)


@settings(max_examples=60, deadline=None)
@given(
    order=st.permutations(range(6)),
    cuts=st.lists(st.booleans(), min_size=6, max_size=6),
)
def test_stated_registers_are_as_good_as_readings_in_whatever_order_things_come(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], cuts: list[bool]
) -> None:
    world = World(tmp_path_factory.mktemp("books"))
    readings = [*BEFORE, *AFTER]
    parts = [partial(world.entry, batch(0, readings[i::4])) for i in range(4)]
    parts += [partial(world.registry, STATED), partial(world.entry, Tick(9 * HOUR))]
    books = world.books()
    books.apply([world.registry((OLD, NEW))])
    for index, cut in zip(order, cuts, strict=True):
        books.apply([parts[index]()])
        if cut:
            books.commit()
            books.close()
            books = world.books()
    books.apply([world.entry(Tick(20 * HOUR))])
    books.commit()
    books.close()
    reader = world.reader()
    found = reader.total(0, 0, 100 * HOUR)
    reader.close()
    world.close()
    assert found == pytest.approx(WHOLE)


def counting(world: World, spans: tuple[tuple[int, int], ...]) -> tuple[int, Entry]:
    """A registry whose one place is in service only in ``spans``."""
    number, entry = world.registry((OLD, NEW))
    registry, table = world.known[str(len(world.known) - 1)]
    point = replace(registry.points[0], in_service=spans)
    digest = str(len(world.known) - 1)
    world.known[digest] = (replace(registry, points=[point]), replace(table, points={0: point}))
    return number, entry


def test_only_what_went_through_in_service_is_in_the_books(world: World) -> None:
    spans = ((2 * HOUR, 4 * HOUR), (6 * HOUR, FOREVER))
    total = told(world, counting(world, spans), world.entry(batch(0, BEFORE)))
    assert total == pytest.approx((7 + 16) * 40)  # up to the last reading before each end
    assert told(world, counting(world, ())) in {None, 0}
    everything = told(world, world.registry((OLD, NEW)))
    assert everything == pytest.approx(40 * 40)


def test_a_pause_in_service_is_no_exchange_of_meters(world: World) -> None:
    spans = ((2 * HOUR, 4 * HOUR), (6 * HOUR, FOREVER))
    told(world, counting(world, spans), world.entry(batch(0, BEFORE)))
    reader = world.reader()
    assert list(reader.anomalies(0, 0, FOREVER)) == []
    reader.close()
