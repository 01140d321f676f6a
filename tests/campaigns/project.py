"""External databases under load: away, killed, emptied, hanging, their password changed, and the
program killed beside it. In the end both hold every reading once.

A steady load comes through a real broker while two real databases are fed at once. Each database
has its own list of faults, in a seeded order, and so has the program; they happen side by side.
``hold_mb`` is one megabyte, so that the journal is let go and history comes from the archive.
Then what each server holds is asked past the program and compared with what was sent, reading by
reading; alerts and books are compared with those of a program that had no database and was left
in peace.

Nothing here waits for time alone: what lasts, lasts until so many more messages were sent.
"""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from adapters.projection.verify import days, differences
from adapters.stores.archive_reader import ArchiveReader
from adapters.stores.external import Database, Target
from adapters.stores.influx import InfluxDatabase
from adapters.stores.line import names_of_point
from adapters.stores.victoria import VictoriaDatabase
from collector.errors import TemporaryError
from meterwatch.fleet import parse, read_files
from tests.campaigns import kill
from tests.campaigns.held import compare, held_by_influx, held_by_victoria, left, rss_mb, wanted_of
from tests.campaigns.sending import Sender
from tests.campaigns.traffic import Sent, Traffic, readings, write_fleet
from tests.databases import InfluxDb, VictoriaMetrics
from tests.programs import RunningProgram, eventually, health, meterwatch
from tests.servers import Mosquitto, free_port

PROJECTIONS: Final = """
[[projection]]
name = "vm"
kind = "victoria-metrics"
url = "{vm}"
hold_mb = 1
[[projection]]
name = "influx"
kind = "influxdb"
version = 1
url = "{influx}"
database = "meterwatch"
user = "writer"
password_file = "secret"
hold_mb = 1
"""
RSS_BOUND_MB: Final = 600
PATIENCE_S: Final = 300.0
"""For a database to be as far as it should be: how long until it counts as never."""


@dataclass(frozen=True)
class Size:
    """``rate``: messages a second. All others are seconds of load at that rate: ``away`` once for
    each database, ``pause`` of its process, ``between`` two of its faults and ``program_between``
    two of the program's. ``kills``: of each database in the middle of writes; ``program_kills``: of
    the program."""

    rate: int
    away: int
    pause: int
    between: int
    kills: int
    program_kills: int
    program_between: int
    longest: int
    lets_go: bool
    """Whether so much is missed that the journal must be let go at least once."""


FULL: Final = Size(
    rate=150,
    away=600,
    pause=75,
    between=8,
    kills=6,
    program_kills=8,
    program_between=80,
    longest=1_500,
    lets_go=True,
)
SMALL: Final = Size(
    rate=300,
    away=4,
    pause=1,
    between=1,
    kills=2,
    program_kills=2,
    program_between=3,
    longest=120,
    lets_go=False,
)


def campaign(folder: Path, seed: int, size: Size) -> dict[str, Any]:
    """Run it; the figures. Raises ``AssertionError`` when a promise is broken."""
    with (
        VictoriaMetrics(folder / "vm", retention="24") as vm,
        InfluxDb(folder / "influx", users={"admin": "first", "writer": "word-0"}) as influx,
        Mosquitto(folder / "broker-1") as broker,
    ):
        fleet = write_fleet(folder / "fed", broker.port)
        (fleet / "secret").write_text("word-0\n", encoding="utf-8")
        with (fleet / "meterwatch.toml").open("a", encoding="utf-8") as settings:
            settings.write(PROJECTIONS.format(vm=vm.url, influx=influx.url))
        kill.subscribe_once(fleet)
        bench = Bench(fleet, vm, influx, broker.port, size, seed)
        figures = bench.run()
        sent = bench.sent
        readings = kill.compare_archive(fleet, sent)
        wanted = wanted_of(sent)
        compare(wanted, held_by_victoria(vm), "VictoriaMetrics")
        compare(wanted, held_by_influx(influx, wanted), "InfluxDB")
    with Mosquitto(folder / "broker-2") as broker:
        calm = write_fleet(folder / "calm", broker.port)
        kill.undisturbed(calm, broker.port, sent)
    assert kill.alerts(fleet) == kill.alerts(calm), "alerts differ from the undisturbed run"
    assert kill.books(fleet) == kill.books(calm), "books differ from the undisturbed run"
    return {
        **figures,
        "messages_acknowledged": len(sent),
        "readings": readings,
        "alerts": len(kill.alerts(fleet)),
    }


@dataclass
class Bench:
    """The program, the load on it, and what is done to the databases."""

    fleet: Path
    vm: VictoriaMetrics
    influx: InfluxDb
    broker: int
    size: Size
    seed: int
    sent: list[Sent] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.program: RunningProgram | None = None
        self._port = free_port()
        # Held while the program is away on purpose, and by what needs it there.
        self._there = threading.Lock()
        self._faults: dict[str, int] = {}
        self._broken: list[BaseException] = []
        self._ended = threading.Event()
        self._most_rss = 0
        self._looks = 0
        self._unwell: list[str] = []
        self._log: list[str] = []
        self._words = 0

    def run(self) -> dict[str, Any]:
        """Load and faults; returns when both databases hold what the archive does."""
        chance = random.Random(self.seed)
        self._start()
        lists = [self._victoria_faults(), self._influx_faults(), self._program_faults()]
        for faults in lists:
            chance.shuffle(faults)
        threads = [threading.Thread(target=self._guarded, args=(self._load,), name="load")]
        threads.append(threading.Thread(target=self._guarded, args=(self._look,), name="look"))
        pace = self.size.between, self.size.between, self.size.program_between
        workers = [
            threading.Thread(
                target=self._guarded, args=(self._do, faults, chance.random(), between)
            )
            for faults, between in zip(lists, pace, strict=True)
        ]
        for thread in (*threads, *workers):
            thread.start()
        for thread in workers:
            thread.join()
        self._ended.set()
        for thread in threads:
            thread.join()
        if self._broken:
            raise self._broken[0]
        began = time.monotonic()
        self._settle()
        settled = time.monotonic() - began
        assert self.program is not None
        code = self.program.stop()
        assert code == 0, self.program.tail()
        self._log += self.program.log
        return self._figures(settled)

    def _figures(self, settled: float) -> dict[str, Any]:
        assert not self._unwell, f"was not well: {self._unwell[:5]}"
        assert self._most_rss < RSS_BOUND_MB, f"{self._most_rss} MB of memory"
        refused = self._refused()
        assert not refused, f"intake or a database refused: {refused}"
        log = "\n".join(self._log)
        assert "fold failed" not in log, next(line for line in self._log if "fold failed" in line)
        let_go = log.count("projection lets the journal go")
        assert let_go or not self.size.lets_go, "nothing came from the archive"
        return {
            "faults": dict(sorted(self._faults.items())),
            "journal_let_go": let_go,
            "restarts_seen": log.count("what it may have lost is sent again"),
            "looks": self._looks,
            "most_rss_mb": self._most_rss,
            "seconds_until_level": round(settled, 1),
        }

    # --- load

    def _load(self) -> None:
        """Messages at the rate, until the faults are over; all of them acknowledged."""
        most = self.size.rate * self.size.longest
        traffic = Traffic(self.seed, most)
        began = time.monotonic()
        with Sender(self.broker) as sender:
            while not self._ended.is_set():
                assert len(self.sent) < most, "the faults took longer than they may"
                group = [traffic.next() for _ in range(max(1, self.size.rate // 10))]
                sender.send(group)
                self.sent += group
                due = began + len(self.sent) / self.size.rate
                self._ended.wait(max(0.0, due - time.monotonic()))
            sender.wait_acknowledged()

    def _loaded(self, seconds: float) -> None:
        """Returns when so many seconds of load came in from now on."""
        goal = len(self.sent) + int(seconds * self.size.rate)
        eventually(
            lambda: len(self.sent) >= goal or self._broken, "the load goes on", 10 * PATIENCE_S
        )
        if self._broken:
            raise self._broken[0]

    # --- the program

    def _start(self) -> None:
        self.program = RunningProgram(self.fleet, "--listen", f"127.0.0.1:{self._port}")
        self.program.wait_for("source-up")

    def _program_faults(self) -> list[Callable[[], None]]:
        return [self._kill_program] * self.size.program_kills

    def _kill_program(self) -> None:
        with self._there:
            self._count("program killed")
            assert self.program is not None
            self.program.kill()
            self._log += self.program.log
            self._start()

    def _look(self) -> None:
        """Memory, health and trouble of the program, again and again."""
        while not self._ended.wait(0.25):
            assert self.program is not None
            self._most_rss = max(self._most_rss, rss_mb(self.program.process.pid))
            _, told = health(self._port)
            if not told:  # killed just now, or not there yet
                continue
            self._looks += 1
            ours = [name for name in told["folds"] if not name.startswith("project-")]
            bad = [name for name in ours if not told["folds"][name]["healthy"]]
            if told["status"] != "ok" or bad:
                self._unwell.append(json.dumps(told))
            if not told["journal"]["accepts"].startswith("backfill"):
                self._unwell.append(json.dumps(told["journal"]))

    def _refused(self) -> list[str]:
        with contextlib.closing(ArchiveReader(self.fleet / "data" / "archive.db")) as archive:
            return [f"{one.reason}: {one.readings}" for one in archive.refused_totals()]

    # --- faults of databases

    def _victoria_faults(self) -> list[Callable[[], None]]:
        return [
            lambda: self._away(self.vm),
            lambda: self._hang(self.vm),
            lambda: self._empty(self.vm, "vm"),
            *[lambda: self._killed(self.vm)] * self.size.kills,
        ]

    def _influx_faults(self) -> list[Callable[[], None]]:
        return [
            lambda: self._away(self.influx),
            lambda: self._hang(self.influx),
            lambda: self._empty(self.influx, "influx"),
            self._password,
            *[lambda: self._killed(self.influx)] * self.size.kills,
        ]

    def _do(self, faults: list[Callable[[], None]], seed: float, between: int) -> None:
        chance = random.Random(seed)
        for fault in faults:
            self._loaded(between * (0.5 + chance.random()))
            fault()
        self._loaded(between)

    def _away(self, server: VictoriaMetrics | InfluxDb) -> None:
        self._count(f"{_called(server)} away")
        server.stop()
        self._loaded(self.size.away)
        server.start()

    def _hang(self, server: VictoriaMetrics | InfluxDb) -> None:
        self._count(f"{_called(server)} paused")
        server.pause()
        self._loaded(self.size.pause)
        server.resume()

    def _killed(self, server: VictoriaMetrics | InfluxDb) -> None:
        self._count(f"{_called(server)} killed")
        server.kill()
        server.start()

    def _empty(self, server: VictoriaMetrics | InfluxDb, name: str) -> None:
        """Its disk is gone; a person has it fed again, while the program runs."""
        self._count(f"{_called(server)} emptied")
        server.kill()
        server.wipe()
        server.start()
        with self._there:  # else the command itself would take the rooms of a program that is away
            arguments = ("project", "rebuild", str(self.fleet), name)
            told = meterwatch(*arguments, timeout=PATIENCE_S * 4)
        assert told.returncode == 0, told.stderr
        assert "everything was fed" in told.stdout, told.stdout

    def _password(self) -> None:
        """Changed at the server; when that was noticed, in the file. Nobody restarts anything."""
        self._count("password changed")
        self._words += 1
        word = f"word-{self._words}"
        self.influx.query(f"SET PASSWORD FOR \"writer\" = '{word}'")
        self.influx.users["writer"] = word

        def trouble() -> str:
            _, told = health(self._port)
            return str(told["folds"]["project-influx"].get("trouble", "")) if told else ""

        eventually(lambda: "refuses our credentials" in trouble(), "it is told", PATIENCE_S)
        (self.fleet / "secret").write_text(f"{word}\n", encoding="utf-8")
        eventually(lambda: not trouble() and health(self._port)[1], "it works again", PATIENCE_S)

    def _count(self, what: str) -> None:
        self._faults[what] = self._faults.get(what, 0) + 1

    def _guarded(self, work: Callable[..., None], *arguments: Any) -> None:
        """A thread's work: what breaks in it ends all."""
        try:
            work(*arguments)
        except BaseException as fault:  # noqa: BLE001 raised by ``run``
            self._broken.append(fault)
            self._ended.set()

    # --- the end

    def _settle(self) -> None:
        """Everything was sent and is in the archive; then the databases come to the same."""
        expected = readings(self.sent)
        eventually(lambda: kill.stored(self.fleet) >= expected, "the archive holds all", PATIENCE_S)
        secret = (self.fleet / "secret").read_text(encoding="utf-8").strip()
        influx = Target("i", "influxdb", self.influx.url, version=1, bucket="meterwatch",
                        user="writer", password=secret)  # fmt: skip
        for name, database in (
            ("vm", VictoriaDatabase(Target("v", "victoria-metrics", self.vm.url))),
            ("influx", InfluxDatabase(influx)),
        ):
            with contextlib.closing(database):
                eventually(lambda: not left(self.fleet / "data" / f"project-{name}.db"),  # noqa: B023
                           f"{name} has nothing left to be fed", PATIENCE_S)  # fmt: skip
                eventually(lambda: not self._differences(database), f"{name} is level", PATIENCE_S)  # noqa: B023

    def _differences(self, database: Database) -> list[Any]:
        """As ``meterwatch project verify`` finds them."""
        if isinstance(database, VictoriaDatabase):
            self.vm.flush()
        fleet = parse(read_files(self.fleet))
        with contextlib.closing(ArchiveReader(self.fleet / "data" / "archive.db")) as archive:
            names = archive.point_names()
            found = {at: names_of_point(name, fleet.registry) for at, name in enumerate(names)}
            points = {at: one for at, one in found.items() if one is not None}
            high = max(at for one in self.sent[-10:] for _, at, _ in one.readings) + 1
            try:
                return [
                    each
                    for start, end in days(archive.oldest(), high)
                    for each in differences(archive, database, points, names, start, end)
                ]
            except TemporaryError as fault:
                return [fault]


def _called(server: VictoriaMetrics | InfluxDb) -> str:
    return "vm" if isinstance(server, VictoriaMetrics) else "influx"
