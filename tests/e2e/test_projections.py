"""External databases beside the running program, as an operator meets them: compared and fed again,
switched off and on, in a process of their own. Real servers; what they hold is asked past the
program."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.campaigns import kill
from tests.campaigns.sending import send
from tests.campaigns.traffic import messages, readings
from tests.databases import InfluxDb, VictoriaMetrics
from tests.e2e import fed_databases
from tests.e2e.fed_databases import METERS, POINTS, VM, House, holds, trouble
from tests.programs import eventually, health, meterwatch
from tests.servers import free_port

house = fed_databases.house
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
