"""A small fleet whose journal is read by the real folds, and what projections say of it.

A test file takes the fixture with ``house = stated.house``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import isfinite
from pathlib import Path
from typing import Any

import pytest

from adapters.journals.sqlite import SqliteJournal
from adapters.projection.statements import FoldState, PipelineState, Statements
from adapters.state.alerts import AlertsReader, Judge
from adapters.state.books import Books, BooksReader
from adapters.stores.archive import Archive
from adapters.stores.archive_reader import ArchiveReader
from collector.model import Batch, Entry, Quality, Tick
from collector.registry import Registry, table
from collector.schema import BOOKS, STATEMENTS, Statement
from collector.telemetry import Telemetry
from rules.engine import Engine
from rules.ruleset import parse_rules
from tests.rules.fleet import T0, Fleet, device, registry

ENERGY, NMHC = "energy.active.import", "voc.nmhc.concentration"
MINUTE, QUARTER, HOUR = 60_000, 900_000, 3_600_000
RULES = f"""
[[rule]]
id = "high"
kind = "threshold"
quantity = "{NMHC}"
above = 60
clear = 50
level = "red"
title = "High"
title_zh = "高"
[[rule]]
id = "silent"
kind = "absence"
target = "device"
window = "50m"
level = "yellow"
title = "Silent"
[[rule]]
id = "down"
kind = "absence"
target = "source"
for = "1m"
level = "orange"
title = "Down"
"""
PLACES = ("a", "b", "c")
PIPELINE = PipelineState(
    1, 2, 3, 4, 5, 6, 7, {"archive": FoldState(8, 9, True), "judge": FoldState(0, 0, False)}
)
FIRST = T0 // HOUR * HOUR


def fleet(interval: float = 900.0) -> Registry:
    return registry({device(one, gateway="g", interval=interval): [ENERGY, NMHC] for one in PLACES})


class House:
    """A journal, the folds that read it, and their files, all in one folder."""

    def __init__(self, folder: Path, known: Registry | None = None) -> None:
        self.folder = folder
        self.journal = SqliteJournal(folder / "journal.db", Telemetry(), synchronous="OFF")
        self.known = known or fleet()
        names = [point.name for point in self.known.points]
        self.points = dict(zip(names, self.journal.point_ids(names).tolist(), strict=True))
        self.journal.origin_ids(["mqtt:main", "gateway:g"])
        self.journal.append(Fleet(self.known, RULES).revisions)
        self.folds: dict[str, Books | Archive | Judge] = {
            name: self.opened(name) for name in ("account", "archive", "judge")
        }

    def opened(self, name: str) -> Books | Archive | Judge:
        if name == "account":
            both = self.known, table(self.known, self.journal.point_ids)
            return Books(self.folder / "books.db", self.journal, lambda _: both)
        if name == "archive":
            return Archive(self.folder / "archive.db", self.journal, Telemetry())
        return Judge(self.folder / "alerts.db", self.journal, self._engine)

    def _engine(self) -> Engine:
        return Engine(
            lambda _: self.known, parse_rules, self.journal.point_ids, self.journal.origin_names
        )

    def killed(self, name: str) -> None:
        """What was not committed is gone."""
        self.folds[name].close()
        self.folds[name] = self.opened(name)

    def on(self, names: Iterable[str], entries: int = 1 << 30) -> None:
        """These folds take the next entries, and commit."""
        for name in names:
            fold = self.folds[name]
            fold.apply(self.journal.read(fold.cursor(), 1 << 30)[:entries])
            fold.commit(whole=True)

    def point(self, place: str, quantity: str = ENERGY) -> int:
        return self.points[f"s/{place}/{quantity}/raw"]

    def tell(self, *entries: Entry) -> None:
        """Into the journal, and through all folds."""
        self.journal.append(list(entries))
        self.on(self.folds)

    def close(self) -> None:
        for fold in self.folds.values():
            fold.close()
        self.journal.close()


class Projected:
    """What one projection said, as whoever drives it does it: entries from the journal, then what
    is due, then (or not) the state committed. ``rows``: everything that was ever said."""

    def __init__(self, house: House, limit: int = 5_000) -> None:
        self.house = house
        self.limit = limit
        self.rows: list[Statement] = []
        self._committed: tuple[int, dict[str, Any]] = (0, {})
        self._open()

    def _open(self) -> None:
        self.statements = Statements(
            self.house.folder, "box", pipeline=lambda: PIPELINE, limit=self.limit
        )
        self.statements.update(self.house.known)
        self.seq, self.state = self._committed
        self.now = 0

    def read(self, entries: int = 1 << 30) -> None:
        for seq, entry in self.house.journal.read(self.seq, 1 << 30)[:entries]:
            if isinstance(entry, Batch):
                self.statements.touched(entry.point, entry.time)
            elif isinstance(entry, Tick):
                self.now = max(self.now, entry.time)
            self.seq = seq
        self.state = self.statements.noted(self.now, self.state)

    def say(self) -> int:
        """One call; how many rows came."""
        found, self.state = self.statements.due(self.now, self.state)
        self.rows += found
        return len(found)

    def commit(self) -> None:
        self._committed = (self.seq, self.state)

    def crash(self) -> None:
        self.statements.close()
        self._open()

    def catch_up(self) -> None:
        self.read()
        while self.say():
            self.commit()
        self.commit()

    def close(self) -> None:
        self.statements.close()

    def of(self, measurement: str) -> list[Statement]:
        return [row for row in self.rows if row.measurement == measurement]

    def last(self, measurement: str) -> dict[tuple[Any, ...], Statement]:
        """By tags and time, what has the highest revision; of one revision what was said last."""
        found: dict[tuple[Any, ...], Statement] = {}
        for row in self.of(measurement):
            key = (*row.tags.values(), row.time)
            if key not in found or row.revision >= found[key].revision:
                found[key] = row
        return found


def reading(house: House, place: int, now: int, late: int, value: int) -> list[Entry]:
    """A register and a concentration of one place, measured ``late`` minutes ago."""
    time = now - late * MINUTE
    points = [house.point(PLACES[place]), house.point(PLACES[place], NMHC)]
    quality = Quality.FAULT if value == 13 else Quality.GOOD
    return [Batch.of(points, [time, time], [value, value], [quality] * 2, origin=1, received=now)]


def unfit(row: Statement) -> str:
    """What is wrong with a row, by ``docs/schema.md``; "" for nothing."""
    shape = STATEMENTS[row.measurement]
    if tuple(sorted(row.tags)) != shape.tags or not set(row.fields) <= set(shape.fields):
        return f"{row} is not of the shape {shape}"
    if not row.fields or set(row.texts) != set(shape.texts):
        return f"{row} has no fields, or other texts than {shape.texts}"
    words = [*row.tags.values(), *row.texts.values()]
    if not all(isinstance(word, str) and word for word in words):
        return f"{row} has an empty tag or text"
    if not all(type(value) is float and isfinite(value) for value in row.fields.values()):
        return f"{row} has a field that is no finite float"
    return "" if row.revision >= 0 and row.time > 0 else f"{row} has no time or revision"


def books_in(house: House, end: int) -> dict[tuple[Any, ...], tuple[float, ...]]:
    """Every span that ends at or before ``end``, as the books' reader has it."""
    reader = BooksReader(house.folder / "books.db")
    found: dict[tuple[Any, ...], tuple[float, ...]] = {}
    for point, name in reader.points().items():
        site, place, quantity, _ = name.split("/")
        for level, span in (("15m", "15m"), ("hour", "1h"), ("day", "1d")):
            of = reader.buckets(point, level, 0, 1 << 60)
            columns = (of.start, of.end, of.amount, of.measured, of.estimated)
            for start, stop, *amounts in zip(*(one.tolist() for one in columns), strict=True):
                if stop <= end:
                    found["620502", place, quantity, site, span, start] = tuple(amounts)
    reader.close()
    return found


def counted_in(house: House, hour: int) -> dict[str, tuple[int, int]]:
    """Valid and invalid readings by place in the hour that begins at ``hour``."""
    reader = ArchiveReader(house.folder / "archive.db")
    found = dict.fromkeys(PLACES, (0, 0))
    for name, point in house.points.items():
        of = reader.buckets(point, hour, hour + HOUR, HOUR)
        place = name.split("/")[1]
        valid, invalid = found[place]
        found[place] = valid + int(of.count.sum()), invalid + int(of.invalid.sum())
    reader.close()
    return found


def alerts_of(house: House) -> AlertsReader:
    return AlertsReader(house.folder / "alerts.db")


def of_books(house: House, said: Projected) -> None:
    """Strictly: one revision of a span is one amount, and the last one is what the books say."""
    once: dict[Any, Any] = {}
    for row in said.of(BOOKS):
        key = (*row.tags.values(), row.time, row.revision)
        assert once.setdefault(key, row.fields) == row.fields
    closed = (said.now - 5 * MINUTE) // QUARTER * QUARTER
    found = {
        key: tuple(row.fields[name] for name in ("amount", "measured", "estimated"))
        for key, row in said.last(BOOKS).items()
        if row.fields["measured"] + row.fields["estimated"]
    }
    assert found == books_in(house, closed)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.close()
