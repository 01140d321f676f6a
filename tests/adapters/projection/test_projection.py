"""The projection against real databases: whatever goes wrong between, in the end every reading that
the database can hold is in it once.

The journal and the archive are real; the loop that drives a projection is the program's own. What
the database holds is asked past the program.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from adapters.journals.sqlite import SqliteJournal
from adapters.projection.around import Around
from adapters.projection.fold import REBUILD, Projection
from adapters.stores.archive import Archive
from adapters.stores.archive_reader import ArchiveReader
from adapters.stores.external import Database, Target
from adapters.stores.influx import InfluxDatabase
from adapters.stores.victoria import VictoriaDatabase
from collector.folding import FoldLoop
from collector.model import Batch, Mark, Quality, Refusal, Revision, Tick
from collector.registry import Registry, Site
from collector.telemetry import Telemetry
from tests.databases import InfluxDb, VictoriaMetrics
from tests.programs import DEADLINE, eventually

SITES = ("steel", "paper")
NAMES = [
    f"{site}/main/{quantity}/raw"
    for site in SITES
    for quantity in ("power.active", "voltage.l1", "energy.active.import")
]
NOW = int(time.time()) * 1000 // 1000 * 1000
"""Databases judge times by their own clock."""
STEP = 1_000


def soon(condition: Callable[[], object], timeout: float = DEADLINE) -> None:
    eventually(condition, "what the database should hold", timeout)


def registry(county: str = "chengguan") -> Registry:
    sites = {one: Site(one, one, one, county, "C31") for one in SITES}
    return Registry(sites, {}, {}, {}, {}, ())


@dataclass
class House:
    """A journal, an archive that follows it, and a projection into ``database``."""

    folder: Path
    connect: Callable[[], Database]
    hold_bytes: int = 128 << 20
    max_series: int = 1000
    county: str = "chengguan"
    telemetry: Telemetry = field(default_factory=Telemetry)
    refused: list[Refusal] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.journal = SqliteJournal(self.folder / "journal.db", self.telemetry)
        self.ids = self.journal.point_ids(NAMES)
        self.at = NOW - 3_600_000
        self.sent: dict[tuple[int, int], float] = {}
        self.loops: dict[str, FoldLoop] = {}
        if self.journal.last() == 0:
            self.revise()

    def revise(self) -> None:
        self.journal.append([Revision(self.at, "registry", self.county, {"county": self.county})])

    def bring(self, batches: int = 5) -> None:
        """So many seconds of readings of every point, in the journal."""
        for _ in range(batches):
            self.at += STEP
            wave = np.sin(np.arange(len(self.ids)) + self.at / 7_000) * 100
            value = np.round(wave, 6)  # VictoriaMetrics keeps 12 digits, not every bit
            self.sent |= {
                (int(point), self.at): float(one)
                for point, one in zip(self.ids, value, strict=True)
            }
            self.journal.append(
                [
                    Batch.of(self.ids, [self.at] * len(self.ids), value, received=self.at),
                    Tick(self.at),
                ]
            )

    def start(self, *folds: str) -> None:
        """Drive these folds, all when none are named."""
        for name, build in (("archive", self.archive), ("project-db", self.projection)):
            if not folds or name in folds:
                loop = FoldLoop(name, build, self.journal, self.telemetry, linger=0.0)
                loop.RETRY_SECONDS = 0.01
                self.loops[name] = loop
                loop.start()

    def stop(self, *folds: str) -> None:
        for name in folds or tuple(self.loops):
            self.loops.pop(name).stop()

    def archive(self) -> Archive:
        return Archive(self.folder / "archive.db", self.journal, self.telemetry)

    def projection(self) -> Projection:
        around = Around(
            journal=self.journal,
            first=self.journal.first,
            parse=lambda revision: registry(
                revision.files["county"] if revision is not None else self.county
            ),
            archive=lambda: ArchiveReader(self.folder / "archive.db"),
            refuse=self.refused.extend,
            held_bytes=self.journal.held_bytes,
            telemetry=self.telemetry,
        )
        return Projection(
            self.folder / "project-db.db",
            "db",
            self.connect(),
            around,
            hold_bytes=self.hold_bytes,
            max_series=self.max_series,
        )

    def close(self) -> None:
        self.stop()
        self.journal.close()


@dataclass(frozen=True)
class Server:
    """A real database and how it is asked: value by (point's name, time)."""

    real: VictoriaMetrics | InfluxDb
    connect: Callable[[], Database]
    ask: Callable[[], dict[tuple[str, int], list[float]]]


def victoria(folder: Path, retention: str = "24") -> Server:
    real = VictoriaMetrics(folder / "vm", retention=retention).start()

    def ask() -> dict[tuple[str, int], list[float]]:
        found: dict[tuple[str, int], list[float]] = {}
        for row in real.export('{__name__=~"electricity_.+"}'):
            labels = row["metric"]
            name = labels["__name__"].removeprefix("electricity_")
            for at, value in zip(row["timestamps"], row["values"], strict=True):
                found.setdefault((f"{labels['site']}/{labels['county']}/{name}", at), []).append(
                    value
                )
        return found

    return Server(real, lambda: VictoriaDatabase(Target("db", "victoria-metrics", real.url)), ask)


def influx(folder: Path) -> Server:
    real = InfluxDb(folder / "influx").start()
    where = Target("db", "influxdb", real.url, version=1, bucket="meterwatch")

    def ask() -> dict[tuple[str, int], list[float]]:
        found: dict[tuple[str, int], list[float]] = {}
        for series in real.query('SELECT * FROM "electricity" GROUP BY "site", "county"'):
            tags = series["tags"]
            fields = [
                name for name in series["columns"] if name not in {"time", "place", "statistic"}
            ]
            for row in series["values"]:
                told = dict(zip(series["columns"], row, strict=True))
                for name in fields:
                    if told[name] is not None:
                        key = (f"{tags['site']}/{tags['county']}/{name}", told["time"])
                        found.setdefault(key, []).append(told[name])
        return found

    return Server(real, lambda: InfluxDatabase(where), ask)


@contextlib.contextmanager
def stopping(server: Server) -> Iterator[None]:
    try:
        yield
    finally:
        server.real.kill()


@pytest.fixture(params=[victoria, influx], ids=["victoria-metrics", "influxdb"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    made = request.param(tmp_path)
    with stopping(made):
        yield made


@pytest.fixture
def house(server: Server, tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path, server.connect)
    yield made
    made.close()


def wanted(house: House, county: str = "chengguan") -> dict[tuple[str, int], float]:
    """What was brought, as a database names it."""
    names = {}
    for number, name in zip(house.ids.tolist(), NAMES, strict=True):
        site, _, quantity, _ = name.split("/")
        names[number] = f"{site}/{county}/{quantity.replace('.', '_')}"
    return {(names[point], at): value for (point, at), value in house.sent.items()}


def held_once(server: Server, expected: dict[tuple[str, int], float]) -> bool:
    """Every reading, once, with its value; and nothing else."""
    found = server.ask()
    assert all(len(values) == 1 for values in found.values())
    if found.keys() != expected.keys():
        return False
    for key, value in expected.items():
        assert found[key][0] == pytest.approx(value, rel=1e-12), key
    return True


def test_every_reading_is_there_once(house: House, server: Server) -> None:
    house.bring()
    house.start()
    house.bring()
    soon(lambda: held_once(server, wanted(house)))


def test_a_projection_that_was_away_goes_on_where_it_was(house: House, server: Server) -> None:
    house.start()
    house.bring()
    soon(lambda: held_once(server, wanted(house)))
    house.stop("project-db")
    house.bring()
    house.start("project-db")
    soon(lambda: held_once(server, wanted(house)))


def test_a_database_that_is_away_is_waited_for(house: House, server: Server) -> None:
    house.start()
    house.bring()
    soon(lambda: held_once(server, wanted(house)))
    server.real.stop()
    house.bring()
    soon(lambda: "cannot be reached" in house.loops["project-db"].trouble)
    assert not house.loops["project-db"].healthy
    server.real.start()
    soon(lambda: held_once(server, wanted(house)))
    soon(lambda: house.loops["project-db"].healthy)


def test_what_it_lost_when_it_was_killed_is_sent_again(house: House, server: Server) -> None:
    house.start()
    for _ in range(3):
        house.bring(20)
        house.loops["project-db"].drain(30)
        server.real.kill()
        server.real.start()
    house.bring(1)
    soon(lambda: held_once(server, wanted(house)))


def test_the_journal_is_let_go_and_the_archive_takes_its_place(
    house: House, server: Server
) -> None:
    house.hold_bytes = 0
    house.start()
    house.bring()
    soon(lambda: held_once(server, wanted(house)))
    server.real.stop()
    house.bring(50)
    assert house.loops["project-db"].drain(30)  # it goes on without the database
    server.real.start()
    soon(lambda: held_once(server, wanted(house)), 90)


def test_an_empty_disk_is_filled_again_from_the_archive(house: House, server: Server) -> None:
    house.start()
    house.bring(30)
    soon(lambda: held_once(server, wanted(house)))
    server.real.kill()
    server.real.wipe()
    server.real.start()
    house.journal.append([Mark(house.at, REBUILD, "db", 0, 0, "somebody")])
    soon(lambda: held_once(server, wanted(house)), 90)


def test_a_new_projection_gets_what_the_journal_forgot(house: House, server: Server) -> None:
    house.start("archive")
    house.bring(30)
    assert house.loops["archive"].drain(30)
    soon(lambda: house.journal.consumers().get("archive", 0) >= house.journal.last() - 1)
    house.bring(2)
    soon(lambda: house.journal.first() > 10)
    house.start("project-db")
    soon(lambda: held_once(server, wanted(house)), 90)


def test_a_site_that_moves_to_another_county_is_fed_anew(house: House, server: Server) -> None:
    house.start()
    house.bring()
    soon(lambda: held_once(server, wanted(house)))
    before = wanted(house)
    house.county = "anning"
    house.revise()
    house.bring()
    new = wanted(house, "anning")
    soon(lambda: held_once(server, {**before, **new}), 90)


def test_what_is_invalid_is_beside_and_counts_nowhere(house: House, server: Server) -> None:
    house.start()
    point = int(house.ids[0])
    at = house.at
    house.journal.append(
        [
            Batch.of(
                [point] * 4,
                [at, at + 1, at + 2, at + 3],
                [7.0, -200.0, np.nan, 8.0],
                [Quality.GOOD, Quality.FAULT, Quality.NO_VALUE, Quality.SUBSTITUTED],
                received=at,
            )
        ]
    )
    name = "steel/chengguan/power_active"
    soon(lambda: held_once(server, {(name, at): 7.0, (name, at + 3): 8.0}))
    if isinstance(server.real, InfluxDb):
        (series,) = server.real.query('SELECT "code", "value" FROM "quality"')
        assert series["values"] == [
            [at + 1, Quality.FAULT, -200],
            [at + 2, Quality.NO_VALUE, None],
            [at + 3, Quality.SUBSTITUTED, None],
        ]
    else:
        codes = {
            row["metric"]["__name__"]: dict(zip(row["timestamps"], row["values"], strict=True))
            for row in server.real.export('{__name__=~"quality_.+"}')
        }
        assert codes["quality_code"] == {at + 1: 130, at + 2: 160, at + 3: 30}
        assert codes["quality_value"] == {at + 1: -200}


def batch_with(house: House, bad: int, rows: int) -> tuple[Batch, int]:
    """A batch of which row ``bad`` has a time that no database takes."""
    ids = np.resize(house.ids, rows)
    times = [house.at + 10 + row // len(house.ids) for row in range(rows)]
    times[bad] = NOW + 400 * 86_400_000 * 1000
    return Batch.of(ids, times, range(rows), received=house.at), bad


@pytest.mark.parametrize("bad", range(7))
def test_one_bad_row_in_any_position_costs_the_others_nothing(
    house: House, server: Server, bad: int
) -> None:
    batch, _ = batch_with(house, bad, 7)
    house.journal.append([batch])
    house.start()
    soon(lambda: len(server.ask()) == 6 and house.refused)
    (refusal,) = house.refused
    assert (refusal.reason, refusal.count) == ("unfit-for-database", 1)
    name = house.journal.point_names()[int(batch.point[bad])]
    assert name in refusal.detail
    assert "future" in refusal.detail


@pytest.mark.parametrize("kind", ["victoria-metrics", "influxdb"])
def test_a_reading_older_than_the_database_keeps_is_told(tmp_path: Path, kind: str) -> None:
    server = influx(tmp_path) if kind == "influxdb" else victoria(tmp_path, retention="1")
    if isinstance(server.real, InfluxDb):
        policy = (
            'CREATE RETENTION POLICY "month" ON "meterwatch" DURATION 30d REPLICATION 1 DEFAULT'
        )
        server.real.query(policy)
    house = House(tmp_path, server.connect)
    with stopping(server), contextlib.closing(house):
        old, fresh = NOW - 60 * 86_400_000, NOW - 3_600_000
        house.journal.append([Batch.of(house.ids[:2], [old, fresh], [1.0, 2.0], received=NOW)])
        house.start()
        soon(lambda: len(server.ask()) == 1 and house.refused)
        (refusal,) = house.refused
        assert "older than the database keeps" in refusal.detail


def test_a_conflict_of_types_costs_only_the_field_that_has_it(tmp_path: Path) -> None:
    server = influx(tmp_path)
    house = House(tmp_path, server.connect)
    with stopping(server), contextlib.closing(house):
        # Types are those of a shard: the text must be where the numbers will come.
        line = f'electricity,x=y voltage_l1="a" {house.at}'.encode()
        status, said = server.real.request("POST", "/write?db=meterwatch&precision=ms", line)
        assert status == 204, said
        house.start()
        house.bring(10)
        right = {key: value for key, value in wanted(house).items() if "voltage" not in key[0]}

        def rest() -> bool:
            return {key for key in server.ask() if key[0].endswith(("active", "import"))} == set(
                right
            )

        soon(rest)

        def told() -> list[Refusal]:
            point = "steel/main/voltage.l1/raw"
            return [refusal for refusal in house.refused if point in refusal.detail]

        soon(lambda: sum(refusal.count for refusal in told()) == 10)
        assert {refusal.reason for refusal in house.refused} == {"rejected-by-database"}
        assert "field type conflict" in told()[0].detail
