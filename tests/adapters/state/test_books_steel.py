"""A steel plant's real half year through a meter that rolls over, is reset and is replaced, read
twice over and out of order: the books equal the file, in total and for each day."""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from adapters.state.books import Books
from adapters.state.books_reader import BooksReader
from collector.accounts.counters import Kind
from collector.model import Batch, Tick
from collector.registry import FOREVER, Service
from tests.accounts_reference import Reading
from tests.adapters.state.books_kept import ZONE, World

FILE = Path(__file__).resolve().parents[3].parent / "shared/data/steel-plant-2018-h1.csv"
pytestmark = pytest.mark.skipif(
    not FILE.exists(), reason="the measured half year is not beside this checkout"
)


@dataclass(frozen=True)
class Plant:
    """The file, and the readings of the meters that stood for it."""

    readings: list[Reading]
    services: tuple[Service, ...]
    days: dict[int, int]
    """Hundredths of a kWh by the local midnight (UTC ms) at which the day began."""
    start: int
    end: int


def plant(modulus: int) -> Plant:
    """Integer 0.01 kWh registers of ``modulus`` steps read every 15 minutes. The first begins
    40 kWh before its end, so it rolls over at once; in March it is reset, just after a reading;
    in May another meter takes over: both are read at the exchange."""
    zone = ZoneInfo(ZONE)
    with FILE.open(encoding="utf-8", newline="") as file:
        rows = [
            (
                datetime.fromisoformat(row["interval_end"]),
                round(100 * float(row["active_energy_kwh"])),
            )
            for row in csv.DictReader(file)
        ]
    first = int((rows[0][0] - timedelta(minutes=15)).replace(tzinfo=zone).timestamp()) * 1000
    reset, exchange = len(rows) * 3 // 7, len(rows) * 5 // 7
    register = modulus - 4_000
    readings: list[Reading] = [(first, register / 100, 0)]
    days: dict[int, int] = defaultdict(int)
    switch = 0
    for i, (end, steps) in enumerate(rows):
        begin = (end - timedelta(minutes=15)).replace(tzinfo=zone)
        midnight = begin.replace(hour=0, minute=0)
        days[int(midnight.timestamp()) * 1000] += steps
        if i == reset:
            register = 0
        register = (register + steps) % modulus
        time = int(end.replace(tzinfo=zone).timestamp()) * 1000
        if i == exchange:
            switch = time
            readings.append((time - 1, register / 100, 0))
            register = 123_456
        readings.append((time, register / 100, 0))
    old = Service(
        "steel/old", 0, switch, resolution=0.01, modulus=modulus, max_rate=2000, interval=900
    )
    new = Service(
        "steel/new", switch, FOREVER, resolution=0.01, modulus=modulus, max_rate=2000, interval=900
    )
    last = int(rows[-1][0].replace(tzinfo=zone).timestamp()) * 1000
    return Plant(readings, (old, new), dict(days), first, last)


def compared(reader: BooksReader, of: Plant) -> None:
    total = reader.total(0, of.start, of.end)
    assert total == pytest.approx(521_199.76, abs=0.001)
    days = reader.buckets(0, "day", of.start, of.end)
    assert days.start.tolist() == sorted(of.days)
    assert len(days) == 181
    for start, amount, measured in zip(days.start, days.amount, days.measured, strict=True):
        # The millisecond of the exchange belongs to neither meter, and lost nothing.
        assert amount == pytest.approx(of.days[int(start)] / 100, abs=0.001)
        assert measured == pytest.approx(1, abs=1e-7)
    assert not days.estimated.any()
    months = reader.buckets(0, "month", of.start, of.end)
    assert len(months) == 6
    assert months.amount.sum() == pytest.approx(521_199.76, abs=0.001)
    kinds = [oddity.kind for oddity in reader.anomalies(0)]
    assert kinds.count(Kind.RESET) == 1
    assert kinds.count(Kind.REPLACEMENT) == 1
    assert set(kinds) == {Kind.ROLLOVER, Kind.RESET, Kind.REPLACEMENT}


@pytest.mark.parametrize("modulus", [10**6, 2**32])
def test_in_order(tmp_path: Path, modulus: int) -> None:
    of = plant(modulus)
    world = World(tmp_path)
    books = world.books()
    books.apply([world.registry(of.services)])
    for low in range(0, len(of.readings), 500):
        books.apply([world.entry(delivery(of.readings[low : low + 500]))])
        books.apply([world.entry(Tick(of.readings[low][0]))])
        books.commit()
    compared(world.reader(), of)
    books.close()
    world.close()


def test_shuffled_and_delivered_again_in_cuts_of_any_size(tmp_path: Path) -> None:
    of = plant(10**6)
    chance = random.Random(2018)
    rows = of.readings + chance.sample(of.readings, len(of.readings) // 5)
    chance.shuffle(rows)
    world = World(tmp_path)
    books: Books = world.books()
    books.apply([world.registry(of.services)])
    while rows:
        size = min(len(rows), chance.choice([1, 10, 300, 2000]))
        books.apply([world.entry(delivery(rows[:size]))])
        del rows[:size]
        if chance.random() < 0.5:
            books.commit()
        if chance.random() < 0.1:
            books.close()  # as a crash does: what was not committed comes again
            books = world.books()
            books.apply(world.journal.read(books.cursor()))
    books.commit(whole=True)
    compared(world.reader(), of)
    books.close()
    world.close()


def delivery(rows: list[Reading]) -> Batch:
    return Batch.of([0] * len(rows), *zip(*rows, strict=True))
