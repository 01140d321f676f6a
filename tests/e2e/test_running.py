"""The running program as its operator meets it: rooms in processes of their own, files edited
under it, a second one started by mistake, commands beside it, its health page, its stop."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from adapters.state.alerts import AlertsReader
from adapters.stores.archive_reader import ArchiveReader
from collector.errors import TemporaryError
from collector.telemetry import Telemetry
from meterwatch.app import Program
from meterwatch.clock import SystemClock
from tests.campaigns import kill
from tests.campaigns.kill import stored
from tests.campaigns.sending import send
from tests.campaigns.traffic import Sent, Traffic, messages, readings, write_fleet
from tests.e2e.operated import latest, listen
from tests.programs import RunningProgram, eventually, health, meterwatch
from tests.servers import Mosquitto, free_port

ROOMS = ("intake", "archive", "account", "judge")


def test_four_processes_come_to_the_same_as_one(tmp_path: Path) -> None:
    """Each room in a process of its own; the folds are started last, one of them when its
    records would long have been forgotten, had nobody kept them for it."""
    sent = messages(3000)
    half = len(sent) // 2
    with Mosquitto(tmp_path / "broker-1") as broker:
        fleet = write_fleet(tmp_path / "four", broker.port)
        with ExitStack() as stack:
            running = {}
            ports = {room: free_port() for room in ROOMS}

            def start(room: str) -> None:
                arguments = ("--only", room, "--listen", f"127.0.0.1:{ports[room]}")
                program = RunningProgram(fleet, *arguments)
                running[room] = stack.enter_context(program)

            start("intake")
            running["intake"].wait_for("source-up")
            start("archive")
            send(broker.port, sent[:half])
            eventually(lambda: stored(fleet) >= readings(sent[:half]), "the first half is stored")
            start("account")
            start("judge")
            send(broker.port, sent[half:])
            eventually(lambda: stored(fleet) >= readings(sent), "all is stored")
            for room in ROOMS:
                running[room].wait_for("running")
                status, told = health(ports[room])
                assert (status, list(told["folds"])) == (200, [room] if room != "intake" else [])
                assert running[room].stop() == 0, running[room].tail()
                assert not [line for line in running[room].log if "rror" in line]
    with Mosquitto(tmp_path / "broker-2") as broker:
        one = write_fleet(tmp_path / "one", broker.port)
        with RunningProgram(one) as program:
            program.wait_for("source-up")
            send(broker.port, sent)
            eventually(lambda: stored(one) >= readings(sent), "all is stored")
            assert program.stop() == 0
    assert kill.compare_archive(fleet, sent) == readings(sent)
    assert kill.alerts(fleet) == kill.alerts(one)
    assert kill.alerts(one), "or it proves little"
    assert kill.books(fleet) == kill.books(one)


NEW_DEVICE = """
[[place]]
id = "late"
name = "late"
name_zh = "late"
[[device]]
id = "late"
place = "late"
profile = "push"
gateway = "gw-0"
interval = "1s"
quantities = ["voc.nmhc.concentration"]
"""


def test_edited_files_are_taken_over_and_bad_ones_refused(tmp_path: Path) -> None:
    fleet_of = "plant-0/late/voc.nmhc.concentration/raw"
    with Mosquitto(tmp_path / "broker") as broker:
        fleet = write_fleet(tmp_path / "fleet", broker.port)
        site = fleet / "registry" / "plant-0.toml"
        good = site.read_text(encoding="utf-8")
        at = Traffic(1, 0).next().readings[0][1]

        def push(value: float) -> None:
            nonlocal at
            at += 1000
            row = {"device": "late", "time": at, "values": {"voc.nmhc.concentration": value}}
            send(broker.port, [Sent("meterwatch/v1/gw-0/readings", _json(row), [])])

        with RunningProgram(fleet) as program:
            program.wait_for("source-up")
            push(1.0)  # refused: nobody knows it yet

            site.write_text(good + NEW_DEVICE.replace('profile = "push"', 'profile = "pusch"'))
            line = program.wait_for("edited files refused")
            wrong = good.count("\n") + NEW_DEVICE.split("profile", maxsplit=1)[0].count("\n") + 1
            assert f"plant-0.toml:{wrong}: unknown profile" in line
            program.process.send_signal(signal.SIGHUP)
            eventually(lambda: _count(program, "edited files refused") == 2, "told when asked")

            site.write_text(good + NEW_DEVICE)
            program.wait_for("registry and rules reloaded")
            push(150.0)
            eventually(lambda: latest(fleet, fleet_of) == 150.0, "the new device's reading is kept")
            reader = AlertsReader(fleet / "data" / "alerts.db")
            eventually(lambda: _rules_firing(reader, fleet_of) == {"campaign-spike"}, "judged")

            rules = fleet / "rules" / "campaign.toml"
            rules.write_text(rules.read_text().replace("above = 130", "above = 200"))
            program.process.send_signal(signal.SIGHUP)
            eventually(lambda: _count(program, "registry and rules reloaded") == 2, "the rule")
            push(160.0)
            eventually(lambda: not _rules_firing(reader, fleet_of), "no spike any more")
            push(210.0)
            eventually(lambda: "campaign-spike" in _rules_firing(reader, fleet_of), "a spike again")
            reader.close()

            settings = fleet / "meterwatch.toml"
            settings.write_text(settings.read_text().replace('tick = "1s"', 'tick = "2s"'))
            program.wait_for("meterwatch.toml changed: restart to use it")
            assert program.stop() == 0, program.tail()
    told = meterwatch("refused", str(fleet), "--replay")
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("1 readings of 1 refusals"), "what came too early is not lost"


def _json(row: dict[str, Any]) -> bytes:
    return json.dumps({"readings": [row]}).encode()


def _count(program: RunningProgram, text: str) -> int:
    return sum(text in line for line in program.log)


def _rules_firing(reader: AlertsReader, point: str) -> set[str]:
    return {one.rule for one in reader.alerts(active=True) if one.subject == point}


def test_a_second_program_on_one_folder_is_refused_and_commands_are_not(tmp_path: Path) -> None:
    sent = messages(600)
    with Mosquitto(tmp_path / "broker") as broker:
        fleet = write_fleet(tmp_path / "fleet", broker.port)
        with RunningProgram(fleet) as program:
            program.wait_for("source-up")
            for rooms in ([], ["--only", "judge"], ["--only", "intake"]):
                second = meterwatch("run", str(fleet), *rooms)
                assert second.returncode == 3
                assert f"process {program.process.pid} runs this folder already" in second.stderr
                assert "Traceback" not in second.stderr
            send(broker.port, sent)
            eventually(lambda: stored(fleet) >= readings(sent), "all is stored")
            reader = AlertsReader(fleet / "data" / "alerts.db")
            over = reader.alerts()
            told = meterwatch("alerts", "acknowledge", str(fleet), over[-1].id, "--who", "Li")
            assert told.returncode == 1, "nothing would come of it"
            assert "is over" in told.stderr
            name, at, _ = sent[-1].readings[-1]
            row = {"device": name.split("/")[1], "time": at + 3_000}
            high = row | {"values": {"voc.nmhc.concentration": 240.0}}
            send(broker.port, [Sent(sent[-1].topic, _json(high), [])])
            some = eventually(lambda: reader.alerts(active=True), "a warning")
            assert isinstance(some, list)
            told = meterwatch("alerts", "acknowledge", str(fleet), some[0].id, "--who", "Li")
            assert told.returncode == 0, told.stderr
            eventually(lambda: (one := reader.alert(some[0].id)) and one.acknowledged, "the mark")
            reader.close()
            name = sent[0].readings[0][0]
            (tmp_path / "in.csv").write_text(f"point,time,value\n{name},2026-01-01T00:00:00Z,5\n")
            told = meterwatch("import", str(fleet), str(tmp_path / "in.csv"))
            assert told.returncode == 0, told.stderr
            eventually(lambda: stored(fleet) == readings(sent) + 2, "the import is stored")
            assert meterwatch("refused", str(fleet), "--replay").returncode == 0
            assert meterwatch("status", str(fleet)).returncode == 0
            program.kill()
        with RunningProgram(fleet) as program:  # a killed one leaves nothing in the way
            program.wait_for("running")
            assert program.stop() == 0


def test_health_tells_folds_journal_and_sources(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker:
        fleet = write_fleet(tmp_path / "fleet", broker.port)
        port = listen(fleet)
        with RunningProgram(fleet) as program:
            program.wait_for("source-up")
            eventually(lambda: health(port)[1].get("sources", {}).get("up") == 1, "it is up")
            status, told = health(port)
            assert status == 200
            assert told["sources"] == {"up": 1, "down": 0, "which": {}}
            assert set(told["folds"]) == {"archive", "account", "judge"}
            assert all(fold["healthy"] for fold in told["folds"].values())
            assert told["journal"]["accepts"] == "backfill and above"
            assert told["clocks"] == {}
            row = {"device": "meter-0", "time": int(time.time())}
            row |= {"values": {"energy.active.import": 1.0}}
            send(broker.port, [Sent("meterwatch/v1/gw-1/readings", _json(row), [])])
            eventually(lambda: health(port)[1]["clocks"], "what is wrong with a clock")
            told = health(port)[1]
            assert list(told["clocks"]) == ["gw-1"]
            assert told["clocks"]["gw-1"].startswith("its times are seconds")
            assert told["sources"]["up"] == 1, "a gateway is none"
            broker.kill()
            eventually(lambda: health(port)[1]["sources"]["down"] == 1, "it is down")
            status, told = health(port)
            assert status == 200, "a restart of ours would not bring the broker back"
            assert "127.0.0.1" in told["sources"]["which"]["mqtt:main"]["reason"]
            assert program.stop() == 0


@asynccontextmanager
async def in_process(fleet: Path) -> AsyncIterator[Program]:
    program, stopping = Program(fleet, SystemClock(), Telemetry()), asyncio.Event()
    running = asyncio.create_task(program.run(stopping))
    await program.started.wait()
    try:
        yield program
    finally:
        stopping.set()
        await running


def clocks_in_archive(fleet: Path) -> dict[str, str]:
    try:
        with closing(ArchiveReader(fleet / "data" / "archive.db")) as reader:
            said = reader.states().values()
    except TemporaryError:  # it is being made
        return {}
    return {one.name: one.reason for one in said if one.name.startswith("gateway:")}


async def test_status_says_what_is_wrong_with_a_clock_until_it_is_known_to_be_right(
    tmp_path: Path,
) -> None:
    fleet = write_fleet(tmp_path / "fleet", free_port())
    now, minute = SystemClock().now(), 60_000

    def send(program: Program, ahead: int) -> None:
        for at in range(now, now + 5 * minute, minute):
            program.clocks.of("gw-0").saw(at, at + ahead)
            program.clocks.of("gw-1").saw(at, at)

    async def in_the_archive(told: dict[str, str]) -> None:
        found = partial(clocks_in_archive, fleet)
        await asyncio.to_thread(eventually, lambda: found() == told, f"{told}")

    wrong = "its clock is steadily 8 h ahead: is its zone wrong?"
    async with in_process(fleet) as program:
        send(program, 480 * minute)
        await in_the_archive({"gateway:gw-0": wrong, "gateway:gw-1": ""})
    async with in_process(fleet) as program:  # which has heard of nobody yet
        assert program.health()[1]["clocks"] == {"gw-0": wrong}
        told = await asyncio.to_thread(meterwatch, "status", str(fleet))
        assert told.returncode == 0
        assert re.search(
            r"gw-0 .*│ its clock is steadily 8 h ahead: is its zone wrong\?", told.stdout
        )
        assert told.stdout.count("its clock is") == 1
        told = await asyncio.to_thread(meterwatch, "status", str(fleet), "--lang", "zh")
        assert "网关时钟持续偏快 8 小时" in told.stdout
        send(program, 0)
        await in_the_archive({"gateway:gw-0": "", "gateway:gw-1": ""})
        assert program.health()[1]["clocks"] == {}
        told = await asyncio.to_thread(meterwatch, "status", str(fleet))
        assert "its clock is" not in told.stdout
    reader = AlertsReader(fleet / "data" / "alerts.db")
    assert [one for one in reader.alerts() if one.subject.startswith("gateway:")] == []
    reader.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_stops_at_once(tmp_path: Path, number: signal.Signals) -> None:
    """Whatever the graceful end waits for; here for a judge that stands still."""
    fleet = write_fleet(tmp_path / "fleet", free_port())  # a broker that was never there
    with RunningProgram(fleet) as program:
        program.wait_for("source-down")
        for _ in range(200):
            os.kill(program.process.pid, number)
            if program.process.poll() is not None:
                break
        assert program.process.wait(30) in {128 + number, 0}
    with RunningProgram(fleet) as program:
        program.wait_for("running")
        assert program.stop() == 0
