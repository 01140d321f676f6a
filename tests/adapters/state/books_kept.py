"""Books kept over a journal, the deliveries that reach them, and their comparison with the plain
reference.

A test file takes the fixture with ``world = books_kept.world``.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

from adapters.journals.sqlite import SqliteJournal
from adapters.state.books import Books, BooksReader
from collector.model import Batch, Entry, Revision, Tick
from collector.registry import COUNTER, FOREVER, GAUGE, Point, PointTable, Registry, Service, Site
from collector.telemetry import Telemetry
from tests.accounts_reference import QUARTER, Reading, lives, reference

ZONE = "Asia/Shanghai"
HOUR = 3_600_000
METER = Service("s/m", 0, FOREVER, resolution=0.01, modulus=10**6, max_rate=2000, interval=900)


class World:
    """A journal, and registries by the digest of their revision."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = SqliteJournal(folder / "journal.db", Telemetry(), synchronous="OFF")
        self.known: dict[str, tuple[Registry, PointTable]] = {}

    def registry(self, *points: Sequence[Service], gauges: int = 0) -> tuple[int, Entry]:
        """A journalled revision in which point ``i`` has the services ``points[i]``; the points
        after them are gauges."""
        made = [Point("s", f"p{i}", "energy", services=tuple(of)) for i, of in enumerate(points)]
        made += [Point("s", f"g{i}", "power") for i in range(gauges)]
        ids = {point.name: i for i, point in enumerate(made)}
        size = len(made)
        table = PointTable(
            known=np.ones(size, np.bool_),
            kind=np.array([COUNTER] * len(points) + [GAUGE] * gauges, np.uint8),
            low=np.full(size, -np.inf),
            high=np.full(size, np.inf),
            points=dict(enumerate(made)),
            ids=ids,
        )
        site = Site("s", "Site", "单位", "620502", "C2319", zone=ZONE)
        digest = str(len(self.known))
        self.known[digest] = (Registry({"s": site}, {}, {}, {}, {}, made), table)
        return self.entry(Revision(0, "registry", digest, {}))

    def books(self, history_days: int = 10**6, telemetry: Telemetry | None = None) -> Books:
        return Books(
            self.folder / "books.db",
            self.journal,
            lambda r: self.known[r.digest],
            history_days=history_days,
            telemetry=telemetry,
        )

    def reader(self) -> BooksReader:
        return BooksReader(self.folder / "books.db")

    def entry(self, entry: Entry) -> tuple[int, Entry]:
        """``entry`` as the journal gives it back, with its number."""
        return self.journal.append([entry]), entry

    def close(self) -> None:
        self.journal.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def batch(point: int, readings: Iterable[Reading]) -> Batch:
    return rows_of([(point, reading) for reading in readings])


def every_quarter(*values: float, first: int = 0) -> list[Reading]:
    return [((first + i) * QUARTER, v, 0) for i, v in enumerate(values)]


def rows_of(step: list[tuple[int, Reading]]) -> Batch:
    """Readings of several points, in this order."""
    return Batch.of(
        [point for point, _ in step],
        [row[0] for _, row in step],
        [row[1] for _, row in step],
        [row[2] for _, row in step],
    )


def compared(
    reader: BooksReader, point: int, readings: list[Reading], services, since: int | None = None
) -> None:
    """The books of ``point`` are the reference's, its anomalies those from ``since`` on."""
    expected = reference(readings, services)
    amounts: dict[int, list[float]] = {}
    for (scale, number), quarter in sorted(expected.quarters.items(), key=lambda q: q[0][::-1]):
        at = amounts.setdefault(number * QUARTER, [0.0, 0.0, 0.0])
        at[0] += quarter.steps * scale
        at[1] += quarter.measured / QUARTER
        at[2] += quarter.estimated / QUARTER
    times = [time for time, *_ in readings] or [0]
    found = reader.buckets(point, "15m", min(times), max(times) + 1)
    assert found.start.tolist() == list(amounts)
    for i, (amount, measured, estimated) in enumerate(amounts.values()):
        assert found.amount[i] == pytest.approx(amount, rel=1e-12, abs=1e-12)
        assert (found.measured[i], found.estimated[i]) == pytest.approx((measured, estimated))
    told = [(a.kind.name.lower(), a.time, a.since, a.until) for a in reader.anomalies(point)]
    early = -(2**63) if since is None else since
    told = [row for row in told if row[1] >= early]
    assert sorted(told) == sorted(row for row in expected.anomalies if row[1] >= early)


@st.composite
def journals(draw: st.DrawFn):
    """Meters with every fault at once, in any order."""
    points = draw(st.lists(lives(), min_size=1, max_size=3))
    chance = random.Random(draw(st.integers(0, 2**32)))
    return [services for _, services in points], scripted(points, chance)


def scripted(points, chance: random.Random) -> list[object]:
    """Readings of some points in the order of the journal, in batches, with ticks, commits,
    crashes and changes of the registry between them; some twice, some corrected."""
    rows = [(point, row) for point, (readings, _) in enumerate(points) for row in readings]
    rows.sort(key=lambda row: row[1][0])
    disorder = chance.choice([0, 0.02, 0.1, 1])
    for _ in range(int(len(rows) * min(disorder, 0.2))):
        at = chance.randrange(len(rows))
        point, (time, value, _) = rows[at]
        again = (point, (time, chance.choice([value, value + 1]), chance.choice([0, 0, 130])))
        rows.insert(at + chance.choice([1, 2, 5, 100]), again)
    for _ in range(int(len(rows) * disorder)):
        at = chance.randrange(len(rows))
        rows.insert(at + chance.choice([1, 2, 10, 200]), rows.pop(at))
    if disorder == 1:
        chance.shuffle(rows)
    script: list[object] = []
    # A change of the registry accounts everything anew, and so would hide what went wrong before.
    events = ["tick", "commit", "commit", "commit", chance.choice(["crash", "registry", ""]), ""]
    while rows:
        size = chance.choice([1, 3, 10, 40])
        script.append(rows[:size])
        del rows[:size]
        event = chance.choice(events)
        if event == "tick":
            script.append(Tick((rows[0][1][0] if rows else 0) + chance.choice([0, HOUR])))
        elif event:
            script.append(event)
    return script
