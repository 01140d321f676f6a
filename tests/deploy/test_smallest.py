"""deploy/gateway/smallest.py as a maker copies it: only what a maker would change is changed."""

from __future__ import annotations

import ast
import contextlib
import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from adapters.stores.archive_reader import ArchiveReader
from collector.ports import Urgency
from tests.adapters.mqtt.mqtt_box import Box
from tests.adapters.payload.pushed import topic
from tests.deploy.boxes import DEPLOY, Client, rewritten
from tests.intakes import CollectingIntake
from tests.programs import ROOT, RunningProgram, eventually
from tests.servers import Certificates, Mosquitto

SMALLEST = (DEPLOY / "gateway" / "smallest.py").read_text("utf-8")
PAGE = (ROOT / "docs" / "gateway-protocol.md").read_text("utf-8")
WAIT = "(0, 20)"
MINUTE = "range(600)"
POINT = "print/main/energy.active.import/raw"


class Gateway:
    """A copy of the program in ``folder``, with its outbox; a message each tenth of a second."""

    def __init__(self, folder: Path, port: int, changes: dict[str, str] | None = None) -> None:
        folder.mkdir(exist_ok=True)
        usual = {'"127.0.0.1", 1883': f'"localhost", {port}', WAIT: "(0, 0.5)", MINUTE: "range(1)"}
        (folder / "smallest.py").write_text(rewritten(SMALLEST, usual | (changes or {})), "utf-8")
        self.outbox, self._out = folder / "outbox.db", folder / "out"
        with self._out.open("a") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-u", "smallest.py"], cwd=folder, stdout=out, stderr=out
            )

    def said(self) -> str:
        return self._out.read_text()

    def ask(self, query: str) -> list[tuple[str, ...]]:
        """What its outbox answers; nothing while it has no table yet."""
        with contextlib.closing(sqlite3.connect(self.outbox, timeout=20)) as connection:
            try:
                return connection.execute(query).fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" not in str(error):
                    raise
                return []

    def waiting(self) -> set[str]:
        """Ids of the messages that have no receipt."""
        return {own for (own,) in self.ask("SELECT id FROM kept")}

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def gateway(folder: Path, port: int, changes: dict[str, str] | None = None) -> Iterator[Gateway]:
    running = Gateway(folder, port, changes)
    try:
        yield running
    finally:
        running.kill()


def test_it_is_small() -> None:
    """Forty lines of code (docstrings and blank lines are none), for an old Python."""
    tree = ast.parse(SMALLEST, feature_version=(3, 9))
    told: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef) and ast.get_docstring(node):
            told |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    lines = list(enumerate(SMALLEST.splitlines(), 1))
    assert len([line for number, line in lines if line.strip() and number not in told]) <= 40
    assert max(len(line) for _, line in lines) <= 100
    imported = re.findall(r"^(?:import|from) ([\w.]+)", SMALLEST, re.MULTILINE)
    assert imported == ["json", "random", "sqlite3", "time", "paho.mqtt.client"]


def test_the_page_shows_it_whole() -> None:
    assert re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) == [SMALLEST]


async def test_what_it_measures_arrives_and_is_forgotten(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "b") as broker, CollectingIntake() as intake:
        async with Box(broker.port).running(intake):
            with gateway(tmp_path, broker.port, {MINUTE: MINUTE}) as running:
                await intake.until(lambda i: i.count() > 0)
                eventually(lambda: "'stored': 1" in running.said(), "the reply is shown")
                eventually(lambda: not running.waiting(), "it is forgotten")
    (_, time, value, _) = intake.rows()[0]
    assert value == time / 3.6e6


async def test_it_waits_for_a_broker_that_is_away(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path / "b")
    with (
        CollectingIntake() as intake,
        gateway(tmp_path, broker.port, {WAIT: "(0, 0.1)"}) as running,
    ):
        for count in (40, 5):
            already = tries(running)
            eventually(lambda n=count: len(running.waiting()) > n, "it measures all the same")
            eventually(lambda n=already: tries(running) > n + 1, "it tries again")
            assert tries(running) - already < 14, "each wait is longer than the last"
            kept = running.waiting()
            with broker:
                async with Box(broker.port).running(intake):
                    eventually(lambda ids=kept: not running.waiting() & ids, "all have a receipt")


def tries(running: Gateway) -> int:
    return running.said().count("no connection to localhost:")


async def test_a_message_that_must_be_kept_rests(tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path / "b") as broker,
        CollectingIntake() as intake,
        Client(broker.port) as witness,
    ):
        witness.subscribe(topic())
        async with Box(broker.port).running(intake):
            intake.refuse_below(Urgency.CONTROL)
            with gateway(tmp_path, broker.port) as running:
                eventually(lambda: "'retry': True" in running.said(), "the disk is full")
                own = re.findall(r"'id': '(\w+)'.*'retry': True", running.said())[0]
                # Each turn takes its tenth of a second: the usual wait has passed several times.
                eventually(lambda: len(running.waiting()) > 25, "it measures on")
                assert own in running.waiting()
                sent = [json.loads(payload)["id"] for _, payload in witness.messages]
                assert sent.count(own) == 1
                assert len(set(sent)) <= 20
                intake.refuse_below(Urgency.BACKFILL)
                eventually(lambda: own not in running.waiting(), "it is stored after all")


async def test_what_was_refused_is_told_and_forgotten(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "b") as broker, CollectingIntake() as intake:
        async with Box(broker.port).running(intake):
            with gateway(tmp_path, broker.port, {'"main-meter"': '"mian-meter"'}) as running:
                told = "no device 'mian-meter' at site 'print'; is 'main-meter' meant?"
                eventually(lambda: told in running.said(), "why")
                own = re.findall(r"'id': '(\w+)'", running.said())[0]
                eventually(lambda: own not in running.waiting(), "it is forgotten")


async def test_with_the_two_lines_for_a_password_and_tls(tmp_path: Path) -> None:
    made = Certificates.make(tmp_path / "certificates")
    users = {"gw-print": "secret", "meterwatch": "1"}
    more = re.findall(
        r"^    (client\.\w+\(.*\))$", ast.get_docstring(ast.parse(SMALLEST)) or "", re.MULTILINE
    )
    right = "\n".join(more).replace("its password", "secret").replace("ca.pem", str(made.ca))
    wired = "client.on_message = settle\n"
    with (
        Mosquitto(tmp_path / "b", certificates=made, users=users) as broker,
        CollectingIntake() as intake,
    ):
        box = Box(broker.port, tls=True, ca_file=str(made.ca), user="meterwatch", password="1")
        wrong = right.replace("secret", "wrong")
        with gateway(tmp_path, broker.port, {wired: f"{wired}{wrong}\n"}) as running:
            eventually(lambda: "connection: Not authorized" in running.said(), "why it waits")
        async with box.running(intake):
            with gateway(tmp_path, broker.port, {wired: f"{wired}{right}\n"}):
                await intake.until(lambda i: i.count() > 5)


def fleet_of_the_page(folder: Path, port: int) -> Path:
    """The two files that the page says belong to its samples."""
    section = PAGE.partition("\n## Try it\n")[2].partition("\n## ")[0]
    settings, site = re.findall(r"```toml\n(.*?)```", section, re.DOTALL)
    (folder / "registry").mkdir(parents=True)
    settings = rewritten(settings, {"127.0.0.1:1883": f"127.0.0.1:{port}"})
    (folder / "meterwatch.toml").write_text(settings, "utf-8")
    (folder / "registry" / "print.toml").write_text(site, "utf-8")
    return folder


def test_killed_in_turn_nothing_is_lost_and_all_stored_once(tmp_path: Path) -> None:
    """The broker keeps nothing on disk. What was ever kept is noted by the outbox itself."""
    broker = Mosquitto(tmp_path / "b")
    folder, fleet = tmp_path / "gateway", fleet_of_the_page(tmp_path / "fleet", broker.port)
    with gateway(folder, broker.port) as first:
        eventually(lambda: len(first.waiting()) > 2, "it measures")
    with contextlib.closing(sqlite3.connect(first.outbox)) as outbox:
        outbox.executescript(
            "CREATE TABLE noted AS SELECT id, body FROM kept; CREATE TRIGGER note AFTER INSERT ON"
            " kept BEGIN INSERT INTO noted VALUES (new.id, new.body); END"
        )

    def more(count: Callable[[], int], what: str) -> None:
        already = count()
        eventually(lambda: count() > already + 5, what)

    with broker:
        for _ in range(2):
            with RunningProgram(fleet):
                with gateway(folder, broker.port) as running:
                    more(lambda: first.said().count("'stored': 1"), "receipts")
                with gateway(folder, broker.port) as running:
                    more(lambda: first.said().count("'stored': 1"), "receipts after a kill")
            with gateway(folder, broker.port):  # the broker alone has what is sent now
                more(lambda: len(first.ask("SELECT id FROM noted")), "it measures on")
            broker.kill()
            broker.start()
        with RunningProgram(fleet) as program:
            with gateway(folder, broker.port, {MINUTE: MINUTE}) as running:
                eventually(lambda: not running.waiting(), "everything has its receipt")
            assert program.stop() == 0, program.tail()
    noted = [
        (reading["time"], reading["values"]["energy.active.import"])
        for (body,) in first.ask("SELECT body FROM noted")
        for reading in json.loads(body)["readings"]
    ]
    with contextlib.closing(ArchiveReader(fleet / "data" / "archive.db")) as reader:
        stored = reader.read(POINT, 0, 2**62)
    assert len(noted) > 30
    assert list(zip(stored.time.tolist(), stored.value.tolist(), strict=True)) == sorted(noted)
