"""deploy/gateway/send.py as a maker runs it: what it keeps, sends, forgets and says.

That it loses nothing while broker and collectors are killed is shown by tests/campaigns/push.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.ports import Urgency
from tests.adapters.mqtt.mqtt_box import Box
from tests.adapters.payload.pushed import T0, message, row
from tests.deploy.boxes import DEPLOY
from tests.intakes import CollectingIntake
from tests.programs import eventually
from tests.servers import Certificates, Mosquitto

pytestmark = pytest.mark.timeout(60)
SEND = DEPLOY / "gateway" / "send.py"


class Sender:
    """The program, its outbox, and what it said."""

    def __init__(self, folder: Path, port: int, *, scheme: str = "mqtt", **more: str) -> None:
        self.outbox = folder / "outbox.db"
        self.out, self.err = folder / "out", folder / "err"
        with self.out.open("a") as out, self.err.open("a") as err:
            self.process = subprocess.Popen(
                [sys.executable, str(SEND), "gw-print", f"{scheme}://localhost:{port}",
                 str(self.outbox)],
                stdin=subprocess.PIPE, stdout=out, stderr=err,
                env=os.environ | {"PATIENCE": "0.5"} | more)  # fmt: skip

    def say(self, *lines: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"".join(line + b"\n" for line in lines))
        self.process.stdin.flush()

    def kept(self, count: int) -> list[str]:
        """The ids that it printed, once it has printed so many."""
        eventually(lambda: len(self.out.read_text().splitlines()) >= count, f"{count} ids")
        return self.out.read_text().splitlines()

    def waiting(self) -> int:
        with contextlib.closing(sqlite3.connect(self.outbox, timeout=20)) as connection:
            return int(connection.execute("SELECT count(*) FROM message").fetchone()[0])

    def finish(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(30) == 0
        assert self.waiting() == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def sending(folder: Path, port: int, **more: str) -> Iterator[Sender]:
    sender = Sender(folder, port, **more)
    try:
        yield sender
    finally:
        sender.kill()


def numbered(count: int, start: int = 0) -> list[bytes]:
    return [message(row(time=T0 + n, values={"power.active": n})) for n in range(start, count)]


def times(intake: CollectingIntake) -> set[int]:
    return {time - T0 for time in intake.batch().time.tolist()}


async def test_what_it_reads_is_kept_sent_and_forgotten(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "b") as broker, CollectingIntake() as intake:
        async with Box(broker.port).running(intake):
            with sending(tmp_path, broker.port) as sender:
                sender.say(*numbered(50), b"", b"no message", b"[1]")
                sender.say(message(row("nobody"), id="own-1"), message(row(), id=7))
                sender.say(message(row(time=T0 // 1000), id="in-s"))
                sender.finish()
                ids = sender.kept(53)
    assert (len(ids), len(set(ids)), ids[-3:]) == (53, 53, ["own-1", "7", "in-s"])
    assert times(intake) == set(range(50))
    told = sender.err.read_text().splitlines()
    assert [line.startswith("not a message") for line in told] == [True, True, False, False]
    refused, remarked = json.loads(told[2]), json.loads(told[3])
    assert (refused["id"], refused["refused"][0]["reason"]) == ("own-1", "unknown-device")
    assert (remarked["id"], remarked["refused"]) == ("in-s", [])
    assert "seconds where milliseconds are meant" in remarked["remarks"][0]


async def test_what_it_kept_outlives_it(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "b") as broker, CollectingIntake() as intake:
        with sending(tmp_path, broker.port) as sender:  # nobody is there to take anything
            sender.say(*numbered(30))
            sender.kept(30)
            sender.kill()
        assert sender.waiting() == 30
        async with Box(broker.port).running(intake):
            with sending(tmp_path, broker.port) as again:
                again.finish()
    assert times(intake) == set(range(30))


async def test_it_waits_for_a_disk_that_is_full(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "b") as broker, CollectingIntake() as intake:
        async with Box(broker.port).running(intake):
            intake.refuse_below(Urgency.CONTROL)
            with sending(tmp_path, broker.port) as sender:
                sender.say(*numbered(3))
                sender.kept(3)
                await intake.until(lambda i: len(i.declined) > 0)
                assert sender.waiting() == 3
                intake.refuse_below(Urgency.BACKFILL)
                sender.finish()
    assert times(intake) == set(range(3))


async def test_a_line_that_is_said_twice_is_kept_once(tmp_path: Path) -> None:
    with sending(tmp_path, 1) as sender:
        sender.say(message(row(), id="a"), message(row(), id="a"))
        sender.kept(2)
        assert sender.waiting() == 1


async def test_what_could_never_get_a_receipt_is_not_kept(tmp_path: Path) -> None:
    with sending(tmp_path, 1) as sender:
        other = message(row(time=T0 + 1), id="a")
        bad = [
            message(row(values={"power.active": 1}), id="n").replace(b"1}", b"NaN}"),
            message(row(values={"power.active": 1}), id="i").replace(b"1}", b"1e400}"),
            message(row(), id="x" * 65),
            message(row(), id=1.5),
            message(row(), id=True),
        ]
        assert b"NaN" in bad[0]
        sender.say(message(row(), id="a"), other, *bad)
        sender.say(message(row(), id=None), message(row(time=T0 + 2), id=None))
        ids = sender.kept(3)
        assert (ids[0], len(set(ids))) == ("a", 3)
        assert sender.waiting() == 3
        told = sender.err.read_text()
        assert "another message waits under the id a" in told
        assert told.count("not a message, and not sent") == len(bad)
        eventually(lambda: "no connection to" in sender.err.read_text(), "why it waits")


async def test_messages_without_a_receipt_keep_nobody_else_waiting(tmp_path: Path) -> None:
    """Nobody answers the first twenty; the next ones get their turn all the same."""
    with (
        Mosquitto(tmp_path / "b") as broker,
        CollectingIntake() as intake,
        sending(tmp_path, broker.port, PATIENCE="0.02") as sender,
    ):
        sender.say(*numbered(25))
        sender.kept(25)
        many = "times, and no receipt yet"
        eventually(lambda: sender.err.read_text().count(many) >= 25, "all were sent")
        assert sender.err.read_text().count("is the gateway's id in its registry?") == 1
        assert sender.err.read_text().startswith("no receipt yet, sent again")
        async with Box(broker.port).running(intake):
            sender.finish()
    assert times(intake) == set(range(25))


async def test_with_tls_and_a_password(tmp_path: Path) -> None:
    made = Certificates.make(tmp_path / "certificates")
    users = {"gw-print": "secret", "meterwatch": "1"}
    with (
        Mosquitto(tmp_path / "b", certificates=made, users=users) as broker,
        CollectingIntake() as intake,
    ):
        box = Box(broker.port, tls=True, ca_file=str(made.ca), user="meterwatch", password="1")
        async with box.running(intake):
            login = {"MQTT_PASSWORD": "secret", "CA_FILE": str(made.ca)}
            with sending(tmp_path, broker.port, scheme="mqtts", **login) as sender:
                sender.say(*numbered(1))
                sender.finish()
    assert times(intake) == {0}


@pytest.mark.parametrize("url", ["localhost:1883", "127.0.0.1", "http://localhost", "mqtt://"])
def test_an_address_that_is_none_is_told(tmp_path: Path, url: str) -> None:
    command = [sys.executable, str(SEND), "gw-print", url, str(tmp_path / "outbox.db")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"{url}: write mqtt://HOST:PORT, or with TLS mqtts://HOST:PORT\n"


def test_a_wrong_password_is_told(tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path / "b", users={"gw-print": "secret"}) as broker,
        sending(tmp_path, broker.port, MQTT_PASSWORD="wrong") as sender,
    ):
        sender.say(*numbered(1))
        eventually(lambda: "does not let us in" in sender.err.read_text(), "it says why")
        assert sender.waiting() == 1
