"""External databases beside the running program, as an operator meets them: what one will not take,
a password that changed, one that is gone, one that lacks something, one that is switched off, and
their room in a process of its own. Real servers; what they hold is asked past the program."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from adapters.state.alerts import AlertsReader
from collector.errors import TemporaryError
from collector.model import Quality
from tests.campaigns import kill
from tests.campaigns.held import compare, held_by_influx, held_by_victoria, wanted_of
from tests.campaigns.traffic import Sent, write_fleet
from tests.databases import InfluxDb, VictoriaMetrics
from tests.e2e.test_running import health, messages, meterwatch, readings, send, stored
from tests.programs import RunningProgram, eventually
from tests.servers import Mosquitto, free_port

DAY_MS = 86_400_000
VM = """
[[projection]]
name = "db"
kind = "victoria-metrics"
url = "{url}"
"""
INFLUX = """
[[projection]]
name = "db"
kind = "influxdb"
version = 1
url = "{url}"
database = "meterwatch"
"""
WITH_PASSWORD = 'user = "writer"\npassword_file = "secret"\n'
GONE = """
[[rule]]
id = "database-gone"
kind = "absence"
target = "database"
for = "1s"
level = "yellow"
title = "gone"
title_zh = "不在"
"""


@dataclass(frozen=True)
class House:
    """A fleet folder, its broker, and the databases that a test wants."""

    folder: Path
    fleet: Path
    broker: Mosquitto
    stack: ExitStack

    def victoria(self) -> VictoriaMetrics:
        """Fed, and keeps a month."""
        server = self.stack.enter_context(VictoriaMetrics(self.folder / "vm", retention="1"))
        self.add(VM.format(url=server.url))
        return server

    def influx(self, **options: Any) -> InfluxDb:
        """Fed, and keeps thirty days."""
        server = self.stack.enter_context(InfluxDb(self.folder / "influx", **options))
        server.query('ALTER RETENTION POLICY "autogen" ON "meterwatch" DURATION 30d')
        self.add(INFLUX.format(url=server.url))
        return server

    def add(self, text: str) -> None:
        with (self.fleet / "meterwatch.toml").open("a", encoding="utf-8") as settings:
            settings.write(text)

    def run(self, *arguments: str) -> RunningProgram:
        """With its health page on ``port``."""
        program = self.stack.enter_context(RunningProgram(self.fleet, *arguments))
        program.wait_for("running")
        return program

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return meterwatch(*words, str(self.fleet))

    def stored(self) -> int:
        return stored(self.fleet)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with ExitStack() as stack:
        broker = stack.enter_context(Mosquitto(tmp_path / "broker"))
        yield House(tmp_path, write_fleet(tmp_path / "fleet", broker.port), broker, stack)


def holds(server: VictoriaMetrics | InfluxDb, sent: list[Sent]) -> bool:
    """Whether the server holds these readings, each once, and no other."""
    wanted = wanted_of(sent)
    try:
        if isinstance(server, VictoriaMetrics):
            compare(wanted, held_by_victoria(server), "VictoriaMetrics")
        else:
            compare(wanted, held_by_influx(server, wanted), "InfluxDB")
    except AssertionError:
        return False
    return True


def trouble(port: int) -> str:
    """What the health page says of the database; empty while all is well."""
    _, told = health(port)
    return str(told["folds"]["project-db"].get("trouble", ""))


def _row(name: str, at: int, value: float | None) -> dict[str, Any]:
    _, device, quantity, _ = name.split("/")
    return {"device": device, "time": at, "values": {quantity: value}}


def message(rows: list[tuple[str, int, float | None]]) -> Sent:
    """Rows of points of the first plant as one message of its gateway."""
    payload = json.dumps({"readings": [_row(*row) for row in rows]}).encode()
    return Sent("meterwatch/v1/gw-0/readings", payload, [row for row in rows if row[2] is not None])  # type: ignore[misc]


METERS = [f"plant-0/meter-{number}/energy.active.import/raw" for number in range(4)]
MONITORS = [f"plant-0/monitor-{number}/voc.nmhc.concentration/raw" for number in range(2)]
POINTS = METERS + MONITORS
NOW = time.time_ns() // 10**9 * 1000
"""Databases judge times by their own clock."""


# --- what a database will not take


@pytest.mark.parametrize("kind", ["victoria", "influx"])
def test_a_bad_reading_in_any_position_costs_the_others_nothing_and_is_listed(
    house: House, kind: str
) -> None:
    """Bad by its time: older than the database keeps. One message for each position."""
    server: VictoriaMetrics | InfluxDb = getattr(house, kind)()
    fit: list[Sent] = []
    with house.run() as program:
        program.wait_for("source-up")
        for bad in range(len(POINTS)):
            rows: list[tuple[str, int, float | None]] = [
                (name, NOW - 60_000 + bad * 1000, float(bad * 10 + at))
                for at, name in enumerate(POINTS)
            ]
            name, at, value = rows[bad]
            rows[bad] = (name, at - 60 * DAY_MS, value)
            send(house.broker.port, [message(rows)])
            fit.append(message([row for number, row in enumerate(rows) if number != bad]))
        eventually(lambda: house.stored() == len(POINTS) ** 2, "the archive holds all of it")
        eventually(lambda: holds(server, fit), "the others are there")

        def listed() -> str:
            told = house.command("refused")
            assert told.returncode == 0, told.stderr
            return told.stdout

        eventually(lambda: listed().count("unfit-for-database") == len(POINTS), "all are listed")
        shown = listed()
        for name in POINTS:
            assert f"db: {name} is older than the database keeps" in shown
        assert shown.count("projection:db  1 reading\n") == len(POINTS)
        assert program.stop() == 0
        assert not [line for line in program.log if "fold waits" in line or "fold failed" in line]


@pytest.mark.parametrize("kind", ["victoria", "influx"])
def test_a_reading_without_a_value_stands_beside_in_any_position(house: House, kind: str) -> None:
    server: VictoriaMetrics | InfluxDb = getattr(house, kind)()
    fit: list[Sent] = []
    with house.run() as program:
        program.wait_for("source-up")
        for bad in range(len(POINTS)):
            rows: list[tuple[str, int, float | None]] = [
                (name, NOW - 60_000 + bad * 1000, None if at == bad else at + 0.5)
                for at, name in enumerate(POINTS)
            ]
            send(house.broker.port, [message(rows)])
            fit.append(message([row for row in rows if row[2] is not None]))
        eventually(lambda: holds(server, fit), "the others are there")
        eventually(lambda: len(codes(server)) == len(POINTS), "and those without a value beside")
        assert codes(server) == {
            (name.split("/")[1], NOW - 60_000 + bad * 1000): Quality.NO_VALUE
            for bad, name in enumerate(POINTS)
        }
        assert "database" not in house.command("refused").stdout
        assert program.stop() == 0


def codes(server: VictoriaMetrics | InfluxDb) -> dict[tuple[str, int], float]:
    """Codes in ``quality``, by place and time."""
    if isinstance(server, InfluxDb):
        return {
            (one["tags"]["place"], at): code
            for one in server.query('SELECT "code" FROM "quality" GROUP BY *')
            for at, code in one["values"]
        }
    return {
        (one["metric"]["place"], at): code
        for one in server.export('{__name__="quality_code"}')
        for at, code in zip(one["timestamps"], one["values"], strict=True)
    }


def test_a_field_of_another_type_is_told_and_costs_no_other_field(house: House) -> None:
    server = house.influx()
    line = f'electricity,site=other energy_active_import="text" {NOW}'.encode()
    assert server.request("POST", "/write?db=meterwatch&precision=ms", line)[0] == 204
    sent = [
        message([(name, NOW - 10_000 + step * 1000, float(step)) for name in POINTS])
        for step in range(5)
    ]
    with house.run() as program:
        program.wait_for("source-up")
        send(house.broker.port, sent)
        taken = [
            message([row for row in one.readings if row[0] in MONITORS])  # type: ignore[misc]
            for one in sent
        ]
        wanted = wanted_of(taken)

        def others() -> bool:
            found = held_by_influx_of(server, "voc", "nmhc_concentration")
            return found == sum(map(len, wanted.values()))

        eventually(others, "the monitors' readings are there")
        eventually(
            lambda: house.command("refused").stdout.count("rejected-by-database") >= len(METERS),
            "the meters' are listed",
        )
        shown = house.command("refused").stdout
        for name in METERS:
            assert f"db: {name}: 400: partial write: field type conflict" in shown
        shown_zh = house.command("refused", "--lang", "zh").stdout
        assert "外部库拒绝写入（本地库已保存）" in shown_zh
        assert program.stop() == 0


def held_by_influx_of(server: InfluxDb, measurement: str, field: str) -> int:
    """How many values of ``field`` there are."""
    found = server.query(f'SELECT count("{field}") FROM "{measurement}"')
    return int(found[0]["values"][0][1]) if found else 0


# --- a database that takes nothing


def test_a_password_that_changed_is_told_and_the_new_one_read_from_its_file(house: House) -> None:
    server = house.influx(users={"admin": "first", "writer": "old-word"})
    house.add(WITH_PASSWORD)
    secret = house.fleet / "secret"
    secret.write_text("old-word\n", encoding="utf-8")
    sent = messages(900)
    port = free_port()
    with house.run("--listen", f"127.0.0.1:{port}") as program:
        program.wait_for("source-up")
        send(house.broker.port, sent[:300])
        eventually(lambda: holds(server, sent[:300]), "the first are there")
        server.query("SET PASSWORD FOR \"writer\" = 'new-word'")
        send(house.broker.port, sent[300:600])
        eventually(lambda: "refuses our credentials (401" in trouble(port), "it is told")
        assert "put a new token or password where the settings say" in trouble(port)
        assert health(port)[0] == 200, "a restart would not mend it"
        eventually(lambda: house.stored() == readings(sent[:600]), "intake goes on")
        secret.write_text("new-word\n", encoding="utf-8")
        eventually(lambda: holds(server, sent[:600]), "what came meanwhile is there")
        eventually(lambda: not trouble(port), "nothing is wrong any more")
        send(house.broker.port, sent[600:])
        eventually(lambda: holds(server, sent), "all is there")
        assert program.stop() == 0
        log = "\n".join(program.log)
    for word in ("old-word", "new-word"):
        assert word not in log, "no secret in the log"
    assert "refused" not in house.command("refused").stdout


@pytest.mark.parametrize("kind", ["victoria", "influx"])
def test_a_database_that_is_gone_is_told_everywhere_and_costs_nothing(
    house: House, kind: str
) -> None:
    server: VictoriaMetrics | InfluxDb = getattr(house, kind)()
    (house.fleet / "rules" / "gone.toml").write_text(GONE, encoding="utf-8")
    sent = messages(900)
    port = free_port()
    with house.run("--listen", f"127.0.0.1:{port}") as program:
        program.wait_for("source-up")
        send(house.broker.port, sent[:300])
        eventually(lambda: holds(server, sent[:300]), "the first are there")
        assert "project-db" in house.command("status").stdout
        server.stop()
        send(house.broker.port, sent[300:])
        eventually(lambda: "cannot be reached" in trouble(port), "the health page says so")
        status, told = health(port)
        assert (status, told["status"]) == (200, "ok"), "a restart of ours would not mend it"
        assert told["folds"]["project-db"]["healthy"] is False
        assert server.url in told["folds"]["project-db"]["trouble"]
        eventually(
            lambda: "projection:db" in health(port)[1]["sources"]["which"], "and that it is down"
        )
        assert all(told["folds"][name]["healthy"] for name in ("archive", "account", "judge"))
        eventually(lambda: house.stored() == readings(sent), "intake and archive go on")
        eventually(lambda: warned(house.fleet) == {"projection:db"}, "there is a warning")
        shown = house.command("status").stdout
        assert "project-db" in shown
        assert "projection:db" in shown
        assert "down" in shown
        server.start()
        eventually(lambda: holds(server, sent), "all is there")
        eventually(lambda: not warned(house.fleet), "the warning is over")
        eventually(lambda: not trouble(port), "nothing is wrong any more")
        assert health(port)[1]["folds"]["project-db"]["healthy"]
        assert program.stop() == 0


def warned(fleet: Path) -> set[str]:
    """What the test's rule warns of now."""
    try:
        reader = AlertsReader(fleet / "data" / "alerts.db")
    except TemporaryError:
        return set()
    with closing(reader):
        return {one.subject for one in reader.alerts(active=True) if one.rule == "database-gone"}


# --- compared and fed again


MISSING = 'DELETE FROM "electricity" WHERE "site" = \'plant-0\' AND "place" = \'meter-1\''


def missing(server: InfluxDb) -> None:
    server.query(MISSING)


def changed(server: InfluxDb) -> None:
    """One value is another; there are as many as before."""
    where = "\"site\" = 'plant-0' AND \"place\" = 'meter-1'"
    query = f'SELECT first("energy_active_import") FROM "electricity" WHERE {where} GROUP BY *'
    (series,) = server.query(query)
    tags = ",".join(f"{name}={text}" for name, text in series["tags"].items())
    at, value = series["values"][0]
    line = f"electricity,{tags} energy_active_import={value + 1} {at}".encode()
    assert server.request("POST", "/write?db=meterwatch&precision=ms", line)[0] == 204


@pytest.mark.parametrize("harm", [missing, changed])
@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_verify_finds_a_difference_and_rebuild_mends_it(
    house: House, harm: Callable[[InfluxDb], None], running: bool
) -> None:
    server = house.influx()
    sent = messages(300)
    program = house.run()
    program.wait_for("source-up")
    send(house.broker.port, sent)
    eventually(lambda: holds(server, sent), "all is there")
    if not running:
        assert program.stop() == 0
    told = meterwatch("project", "verify", str(house.fleet))
    assert (told.returncode, told.stdout) == (0, "db: holds what the archive holds\n"), told.stderr
    harm(server)
    assert not holds(server, sent)
    told = meterwatch("project", "verify", str(house.fleet), "db")
    assert told.returncode == 1
    assert "differ from the archive" in told.stdout
    assert METERS[1] in told.stdout
    assert not [name for name in POINTS if name != METERS[1] and name in told.stdout]
    assert "project rebuild" in told.stdout
    told = meterwatch("project", "rebuild", str(house.fleet), "db")
    assert told.returncode == 0, told.stderr
    assert "db: everything was fed" in told.stdout
    assert holds(server, sent)
    told = meterwatch("project", "verify", str(house.fleet))
    assert (told.returncode, told.stdout) == (0, "db: holds what the archive holds\n"), told.stderr
    if running:
        assert program.stop() == 0


# --- switched off, taken out


def oldest(fleet: Path) -> int:
    """The oldest record that the journal still has."""
    path = fleet / "data" / "journal.db"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as db:
        (first,) = db.execute("SELECT min(seq) FROM record").fetchone()
    return int(first or 0)


def consumers(fleet: Path) -> set[str]:
    path = fleet / "data" / "journal.db"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as db:
        return {name for (name,) in db.execute("SELECT name FROM consumer")}


@pytest.mark.parametrize("how", ["switched off", "taken out"])
def test_what_is_no_more_fed_holds_no_journal(house: House, how: str) -> None:
    settings = house.fleet / "meterwatch.toml"
    before = settings.read_text(encoding="utf-8")
    section = VM.format(url=f"http://127.0.0.1:{free_port()}")  # nobody is there
    house.add(section)
    sent = messages(900)
    with house.run() as program:
        program.wait_for("source-up")
        send(house.broker.port, sent[:300])
        eventually(lambda: house.stored() == readings(sent[:300]), "all is stored")
        eventually(lambda: "project-db" in consumers(house.fleet), "it is known to the journal")
        assert program.stop() == 0
    held = oldest(house.fleet)
    with house.run() as program:
        program.wait_for("source-up")
        send(house.broker.port, sent[300:600])
        eventually(lambda: house.stored() == readings(sent[:600]), "all is stored")
        assert oldest(house.fleet) == held, "the journal waits for it"
        assert program.stop() == 0
    settings.write_text(
        before + (section + "enabled = false\n" if how == "switched off" else ""), "utf-8"
    )
    with house.run() as program:
        program.wait_for("source-up")
        eventually(lambda: "project-db" not in consumers(house.fleet), "it is forgotten")
        send(house.broker.port, sent[600:])
        eventually(lambda: house.stored() == readings(sent), "all is stored")
        eventually(lambda: oldest(house.fleet) > held, "the journal is trimmed")
        assert "project-db" not in house.command("status").stdout
        assert program.stop() == 0


@pytest.mark.parametrize("kind", ["victoria", "influx"])
def test_what_was_switched_off_catches_up_when_it_is_on_again(house: House, kind: str) -> None:
    settings = house.fleet / "meterwatch.toml"
    before = settings.read_text(encoding="utf-8")
    server: VictoriaMetrics | InfluxDb = getattr(house, kind)()
    on = settings.read_text(encoding="utf-8")
    sent = messages(900)
    for text, part in ((on, sent[:300]), (before, sent[300:600]), (on, sent[600:])):
        settings.write_text(text, encoding="utf-8")
        with house.run() as program:
            program.wait_for("source-up")
            send(house.broker.port, part)
            known = sent[: sent.index(part[-1]) + 1]
            eventually(lambda: house.stored() == readings(known), "all is stored")  # noqa: B023
            if text == before:
                seen = kill.journal_last(house.fleet / "data" / "journal.db")
                eventually(lambda: oldest(house.fleet) >= seen, "what it did not see is forgotten")  # noqa: B023
            else:
                eventually(lambda: holds(server, known), "all is there")  # noqa: B023
            assert program.stop() == 0


# --- a process of its own


@pytest.mark.parametrize("kind", ["victoria", "influx"])
def test_projections_in_a_process_of_their_own(house: House, kind: str) -> None:
    server: VictoriaMetrics | InfluxDb = getattr(house, kind)()
    sent = messages(900)
    ports = free_port(), free_port()
    rest = [word for room in ("intake", "archive", "account", "judge") for word in ("--only", room)]
    with house.run(*rest, "--listen", f"127.0.0.1:{ports[0]}") as intake:
        intake.wait_for("source-up")
        send(house.broker.port, sent[:300])
        listen = ("--only", "project", "--listen", f"127.0.0.1:{ports[1]}")
        with house.run(*listen) as project:
            eventually(lambda: holds(server, sent[:300]), "the first are there")
            assert set(health(ports[1])[1]["folds"]) == {"project-db"}
            assert set(health(ports[0])[1]["folds"]) == {"archive", "account", "judge"}
            project.kill()
        send(house.broker.port, sent[300:600])
        eventually(lambda: house.stored() == readings(sent[:600]), "intake and archive go on")
        with house.run(*listen) as project:
            eventually(lambda: holds(server, sent[:600]), "what came meanwhile is there")
            server.kill()
            send(house.broker.port, sent[600:])
            eventually(lambda: "cannot be reached" in trouble(ports[1]), "it is told")
            assert health(ports[0])[0] == 200
            server.start()
            eventually(lambda: holds(server, sent), "all is there")
            told = meterwatch("project", "rebuild", str(house.fleet))
            assert told.returncode == 0, told.stderr
            assert holds(server, sent)
            assert project.stop() == 0, project.tail()
        assert intake.stop() == 0, intake.tail()
        assert not [line for line in (*intake.log, *project.log) if "fold failed" in line]
