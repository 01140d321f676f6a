"""What external databases refuse while the program runs: readings that one will not take, all
of them while a password is wrong or it is gone. It is told, and costs nothing else. Real servers;
what they hold is asked past the program."""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from adapters.state.alerts import AlertsReader
from collector.errors import TemporaryError
from collector.model import Quality
from tests.campaigns.held import wanted_of
from tests.campaigns.sending import send
from tests.campaigns.traffic import Sent, messages, readings
from tests.databases import InfluxDb, VictoriaMetrics
from tests.e2e import fed_databases
from tests.e2e.fed_databases import METERS, MONITORS, POINTS, House, holds, trouble
from tests.programs import eventually, health
from tests.servers import free_port

DAY_MS = 86_400_000
NOW = time.time_ns() // 10**9 * 1000
"""Databases judge times by their own clock."""
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
house = fed_databases.house


def _row(name: str, at: int, value: float | None) -> dict[str, Any]:
    _, device, quantity, _ = name.split("/")
    return {"device": device, "time": at, "values": {quantity: value}}


def message(rows: list[tuple[str, int, float | None]]) -> Sent:
    """Rows of points of the first plant as one message of its gateway."""
    payload = json.dumps({"readings": [_row(*row) for row in rows]}).encode()
    return Sent("meterwatch/v1/gw-0/readings", payload, [row for row in rows if row[2] is not None])  # type: ignore[misc]


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
