"""kill -9 under load: everything acknowledged is in the archive, once; alerts and books equal
those of a run that nobody disturbed.

A sender counts what the broker acknowledged. The program is killed again and again, each time
after a few more journal records than it had (so at any phase: before its first append, between
append and acknowledgement, between two commits of a fold), and started anew. Then the same
messages go through a second program that is left in peace, and the two are compared.
"""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from adapters.state.books import BooksReader
from adapters.stores.archive_reader import ArchiveReader
from collector.errors import TemporaryError
from tests.campaigns import traffic
from tests.campaigns.sending import Sender
from tests.campaigns.traffic import Sent, write_fleet
from tests.programs import RunningProgram, eventually
from tests.servers import Mosquitto

DAY_MS = 86_400_000


def campaign(folder: Path, seed: int, *, kills: int, messages: int) -> dict[str, Any]:
    """Run it; the figures. Raises ``AssertionError`` when a promise is broken."""
    sent = traffic.messages(messages, seed)
    with Mosquitto(folder / "broker-1") as broker:
        fleet = write_fleet(folder / "killed", broker.port)
        done = _disturbed(fleet, broker.port, sent, kills, random.Random(seed))
    with Mosquitto(folder / "broker-2") as broker:
        calm = write_fleet(folder / "calm", broker.port)
        undisturbed(calm, broker.port, sent)
    readings = compare_archive(fleet, sent)
    assert alerts(fleet) == alerts(calm), "alerts differ from the undisturbed run"
    assert books(fleet) == books(calm), "books differ from the undisturbed run"
    return {
        "kills": done,
        "messages_acknowledged": len(sent),
        "readings": readings,
        "alerts": len(alerts(fleet)),
        "buckets": sum(len(rows) for rows in books(fleet).values()),
    }


def _disturbed(fleet: Path, port: int, sent: list[Sent], kills: int, chance: random.Random) -> int:
    journal = fleet / "data" / "journal.db"
    subscribe_once(fleet)
    with Sender(port) as sender:
        sending = threading.Thread(target=sender.send, args=(sent,))
        sending.start()
        done = 0
        while done < kills:
            with RunningProgram(fleet) as program:
                goal = journal_last(journal) + chance.randrange(1, 12)
                eventually(lambda goal=goal: journal_last(journal) >= goal, "the journal grows")
                program.kill()
                done += 1
        with RunningProgram(fleet) as program:
            sending.join()
            sender.wait_acknowledged()
            assert len(sender.acknowledged) == len(sent)
            _settle(program, fleet, sent)
    return done


def undisturbed(fleet: Path, port: int, sent: list[Sent]) -> None:
    with RunningProgram(fleet) as program, Sender(port) as sender:
        program.wait_for("source-up")
        sender.send(sent)
        sender.wait_acknowledged()
        _settle(program, fleet, sent)


def subscribe_once(fleet: Path) -> None:
    """The broker keeps for us only what comes after our first subscription."""
    with RunningProgram(fleet) as program:
        program.wait_for("source-up")
        assert program.stop() == 0


def _settle(program: RunningProgram, fleet: Path, sent: list[Sent]) -> None:
    expected = traffic.readings(sent)
    eventually(lambda: stored(fleet) >= expected, "the archive holds everything")
    program.wait_for("running")
    assert program.stop() == 0, program.tail()


def stored(fleet: Path) -> int:
    """Readings in the archive, each (point, time) once; 0 while it is being made."""
    try:
        with closing(ArchiveReader(fleet / "data" / "archive.db")) as reader:
            return sum(len(reader.read(point, 0, 2**62)) for point in reader.points())
    except TemporaryError:
        return 0


def journal_last(path: Path) -> int:
    """Newest record's number, read from outside; 0 while there is no journal."""
    if not path.exists():
        return 0
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
    try:
        row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'record'").fetchone()
    except sqlite3.OperationalError:
        return 0  # its tables are being made
    finally:
        connection.close()
    return int(row[0]) if row else 0


def compare_archive(fleet: Path, sent: list[Sent]) -> int:
    """Every reading that was sent is stored once with its value, and nothing else."""
    expected: dict[str, dict[int, float]] = {}
    for message in sent:
        for name, at, value in message.readings:
            expected.setdefault(name, {})[at] = value
    reader = ArchiveReader(fleet / "data" / "archive.db")
    for name, rows in expected.items():
        series = reader.read(name, 0, 2**62)
        times = series.time.tolist()
        assert len(times) == len(set(times)), f"{name} holds a time twice"
        assert dict(zip(times, series.value.tolist(), strict=True)) == rows, name
    return sum(len(rows) for rows in expected.values())


def alerts(fleet: Path) -> list[tuple[Any, ...]]:
    """The campaign's own alerts with their whole life."""
    connection = sqlite3.connect(f"file:{fleet / 'data' / 'alerts.db'}?mode=ro", uri=True)
    rows = connection.execute(
        "SELECT id, rule, level, subject, started, fired, resolved, state, value, worst"
        " FROM alert WHERE rule LIKE 'campaign-%' ORDER BY id"
    ).fetchall()
    connection.close()
    return rows


def books(fleet: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every counter's quarter-hours: start, amount, share measured."""
    reader = BooksReader(fleet / "data" / "books.db")
    found = {}
    now = time.time_ns() // 10**6
    now -= now % DAY_MS
    for point, name in reader.points().items():
        rows = reader.buckets(point, "15m", now - 8 * DAY_MS, now + 2 * DAY_MS)
        columns = (rows.start, rows.end, rows.amount, rows.measured, rows.estimated, rows.flags)
        found[name] = list(zip(*(column.tolist() for column in columns), strict=True))
    reader.close()
    return found
