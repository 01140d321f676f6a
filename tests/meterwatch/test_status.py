"""``meterwatch status``: what it says of a program that runs, and of one that does not any more."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from adapters.state.roomlock import RoomLock, holder
from adapters.stores.archive_reader import ArchiveReader
from collector.errors import TemporaryError
from meterwatch.cli import app
from tests.campaigns.sending import Sender
from tests.campaigns.traffic import Sent, messages, write_fleet
from tests.programs import RunningProgram, eventually
from tests.servers import Mosquitto, free_port

STOPPED = "the program does not run; its last sign of life was "


def status(fleet: Path, *more: str, columns: int = 200) -> Result:
    return CliRunner(env={"COLUMNS": str(columns)}).invoke(app, ["status", str(fleet), *more])


def up_since(told: str, state: str = "up") -> str:
    """Since when mqtt:main is so; empty while it is not."""
    found = re.search(rf"mqtt:main\s*│ {state}\s*│ (\S+ \S+)", told)
    return found[1] if found else ""


@pytest.mark.parametrize("killed", [False, True])
def test_what_a_program_said_that_is_gone_is_told_as_it_was(tmp_path: Path, killed: bool) -> None:
    with Mosquitto(tmp_path / "broker") as broker:
        fleet = write_fleet(tmp_path / "fleet", broker.port)
        with RunningProgram(fleet) as program:
            program.wait_for("source-up")
            eventually(lambda: up_since(status(fleet).stdout), "it is up")
            told = status(fleet)
            assert told.exit_code == 0
            assert told.stdout.startswith(f"the program runs: process {program.process.pid}, since")
            assert "在线" in status(fleet, "--lang", "zh").stdout
            if killed:
                program.kill()
            else:
                assert program.stop() == 0
        told = status(fleet)
        assert told.exit_code == 3, "for whoever asks with a script"
        assert told.stdout.startswith(STOPPED)
        first = up_since(told.stdout, "was up")
        assert first
        assert not up_since(told.stdout)
        assert re.search(r"was \S+ \S+\+08:00 \(\d+ \w+ ago\)", told.stdout.splitlines()[0])
        chinese = status(fleet, "--lang", "zh").stdout
        assert chinese.startswith("程序未运行")
        assert "曾在线" in chinese
        with RunningProgram(fleet) as program:
            program.wait_for("source-up")
            eventually(lambda: up_since(status(fleet).stdout), "it is up again")
            assert up_since(status(fleet).stdout) > first, "and no longer than this run"
            assert program.stop() == 0


def test_a_source_says_why_it_is_down(tmp_path: Path) -> None:
    lonely = write_fleet(tmp_path / "fleet", free_port())
    with RunningProgram(lonely) as program:
        program.wait_for("source-down")
        eventually(lambda: "nobody listens" in status(lonely).stdout, "it shows")
        assert re.search(r"mqtt:main\s*│ down", status(lonely).stdout)
        assert program.stop() == 0


def test_a_process_without_a_sign_of_life_is_not_taken_for_well(tmp_path: Path) -> None:
    fleet = write_fleet(tmp_path / "fleet", free_port())
    with RunningProgram(fleet) as program:
        program.wait_for("running")
        eventually(lambda: "of the program: 2" in status(fleet).stdout, "a tick")
        assert program.stop() == 0
    archive = fleet / "data" / "archive.db"
    with closing(ArchiveReader(archive)) as reader:
        ticked = reader.tick()
    with closing(sqlite3.connect(archive)) as db:
        db.execute("UPDATE meta SET value = ? WHERE key = 'tick'", (ticked - 3 * 3_600_000,))
        db.commit()
    with RoomLock(fleet / "data", ["intake"]):
        assert status(fleet).exit_code == 0, "it has only just begun"
        hours_ago = time.time() - 2 * 3600
        os.utime(fleet / "data" / "intake.lock", (hours_ago, hours_ago))
        told = status(fleet)
    assert told.exit_code == 3
    assert "is there, but its last sign of life was" in told.stdout.splitlines()[0]
    assert "(3 h ago)" in told.stdout


def test_who_looks_for_the_holder_of_a_lock_keeps_nobody_out(tmp_path: Path) -> None:
    assert holder(tmp_path, "intake") is None
    with RoomLock(tmp_path, ["intake"]):
        one = holder(tmp_path, "intake")
        assert one is not None
        assert abs(one.since - time.time() * 1000) < 60_000
        with pytest.raises(TemporaryError, match=f"process {one.process} runs this folder already"):
            RoomLock(tmp_path, ["intake"])
    assert holder(tmp_path, "intake") is None
    RoomLock(tmp_path, ["intake"]).close()


def test_what_is_refused_shows_at_its_gateway_and_its_device_and_nothing_is_cut(
    tmp_path: Path,
) -> None:
    now = time.time_ns() // 10**6
    rows = [
        {"device": "meter-0", "time": now, "values": {"humidity": 1}},
        {"device": "nobody", "time": now, "values": {"power.active": 1}},
    ]
    bad = [
        Sent("meterwatch/v1/gw-0/readings", json.dumps({"readings": [row]}).encode(), [])
        for row in rows
    ]
    slow = {"device": "meter-0", "time": now // 1000, "values": {"energy.active.import": 5}}
    seconds = Sent("meterwatch/v1/gw-1/readings", json.dumps({"readings": [slow]}).encode(), [])
    with Mosquitto(tmp_path / "broker") as broker:
        fleet = write_fleet(tmp_path / "fleet", broker.port)
        with RunningProgram(fleet) as program, Sender(broker.port) as sender:
            program.wait_for("source-up")
            sender.send([*messages(30, seed=3), *bad, seconds])
            sender.wait_acknowledged()
            eventually(
                lambda: "请改发毫秒" in status(fleet, "--lang", "zh").stdout, "the clock is told"
            )
            told = status(fleet).stdout
            line = rf"^refused: 2 since .*: meterwatch refused {fleet}$"
            assert re.search(line, told, re.MULTILINE)
            assert re.search(r"^│ gw-0 +│ [-+:\d ]+ │ 2 since ", told, re.MULTILINE)
            assert re.search(r"^│ gw-2 +│ [-+:\d ]+ │ +│", told, re.MULTILINE)
            assert re.search(r"^│ plant-0/meter-0 .* │ 1 since ", told, re.MULTILINE)
            for columns in (60, 140):
                narrow = status(fleet, "--lang", "zh", columns=columns).stdout
                assert "；已按此换算：请改发毫秒" in narrow
                assert "…" not in narrow
            assert program.stop() == 0


def test_a_fault_in_the_files_keeps_nobody_from_looking(tmp_path: Path) -> None:
    """The program goes on with what it took over last, and so do the commands that look."""
    commands = (
        ["status"], ["refused"], ["alerts", "list"], ["books"], ["gateway", "list"],
        ["export", "--out", str(tmp_path / "out.csv")],
    )  # fmt: skip
    fleet = write_fleet(tmp_path / "fleet", free_port())
    site, rules = fleet / "registry" / "plant-0.toml", fleet / "rules" / "own.toml"
    with RunningProgram(fleet) as program:
        program.wait_for("source-down")
        eventually(lambda: "mqtt:main" in status(fleet).stdout, "the archive is there")
        site.write_bytes(site.read_bytes() + '[[place]]\nid = "x"\nname_zh = "电'.encode("gbk"))
        rules.write_text("[[rule]]\nid = 5\n", "utf-8")
        for command in commands:
            done = CliRunner(env={"COLUMNS": "200"}).invoke(app, [*command, str(fleet)])
            assert done.exit_code == 0, (command, done.output)
            assert done.stderr.startswith("the edited files have"), command
            assert f"meterwatch check {fleet}" in done.stderr
        assert "plant-0/meter-0" in status(fleet).stdout
        assert status(fleet, "--lang", "zh").stderr.startswith("改过的文件有")
        assert program.stop() == 0
    settings = fleet / "meterwatch.toml"
    settings.write_text(settings.read_text("utf-8") + "[program]\n", "utf-8")
    assert status(fleet).exit_code == 1, "nobody knows where to look"
