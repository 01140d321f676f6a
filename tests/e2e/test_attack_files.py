"""What can go wrong with the program's files: damaged or taken away while it is stopped, or under
it. Acknowledged is kept, the rest goes on, and somebody is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from adapters.stores.archive_reader import ArchiveReader
from tests import servers
from tests.campaigns import kill
from tests.campaigns.kill import stored
from tests.campaigns.sending import send
from tests.campaigns.traffic import Sent, messages, readings, write_fleet
from tests.e2e.operated import garble, listen, session
from tests.programs import RunningProgram, eventually, health
from tests.servers import Mosquitto

broker = servers.broker


def names(fleet: Path) -> list[str]:
    reader = ArchiveReader(fleet / "data" / "archive.db")
    try:
        return reader.point_names()
    finally:
        reader.close()


def remove(fleet: Path, name: str) -> None:
    for path in (fleet / "data").glob(f"{name}*"):
        path.unlink()


@pytest.mark.parametrize("how", ["deleted", "garbage", "truncated"])
def test_a_journal_lost_while_stopped_keeps_the_ids_and_the_rest(
    tmp_path: Path, broker: Mosquitto, how: str
) -> None:
    fleet = write_fleet(tmp_path / "fleet", broker.port)
    everything = messages(900)
    so_far: list[Sent] = []
    session(fleet, broker.port, everything[:300], so_far)
    before = names(fleet)
    # A device that sorts before all others: ids given anew would be other ones.
    site = fleet / "registry" / "plant-0.toml"
    site.write_text(site.read_text().replace("meter-3", "a-meter"))
    journal = fleet / "data" / "journal.db"
    if how == "deleted":
        remove(fleet, "journal.db")
    elif how == "garbage":
        garble(journal)
    else:
        with journal.open("r+b") as file:
            file.truncate(journal.stat().st_size // 2)
    program = session(fleet, broker.port, _without(everything[300:600]), so_far)
    assert names(fleet)[: len(before)] == before
    if how != "deleted":
        assert any("kept aside, a new one begun" in line for line in program.log)
    kill.compare_archive(fleet, so_far)
    session(fleet, broker.port, _without(everything[600:]), so_far)
    kill.compare_archive(fleet, so_far)


def _without(sent: list[Sent]) -> list[Sent]:
    """The same messages, without the meter that went."""
    found = []
    for message in sent:
        rows = [
            row for row in json.loads(message.payload)["readings"] if row["device"] != "meter-3"
        ]
        kept = [one for one in message.readings if "/meter-3/" not in one[0]]
        found.append(Sent(message.topic, json.dumps({"readings": rows}).encode(), kept))
    return found


def test_an_archive_that_is_garbage_is_told_and_the_rest_goes_on(
    tmp_path: Path, broker: Mosquitto
) -> None:
    fleet = write_fleet(tmp_path / "fleet", broker.port)
    port = listen(fleet)
    sent = messages(900)
    so_far: list[Sent] = []
    session(fleet, broker.port, sent[:300], so_far)
    archive = fleet / "data" / "archive.db"
    copy = tmp_path / "copy.db"
    shutil.copy(archive, copy)
    garble(archive)
    with RunningProgram(fleet) as program:
        line = program.wait_for("fold failed, will be rebuilt")
        assert "archive.db: cannot be opened or read as a database" in line
        assert "bring back a copy" in line
        program.wait_for("source-up")
        send(broker.port, sent[300:])
        so_far += sent[300:]
        total = {name for message in so_far for name, _, _ in message.readings}
        assert total
        eventually(lambda: len(kill.books(fleet)) == 12, "the account goes on")
        status, told = health(port)
        assert status == 503
        assert not told["folds"]["archive"]["healthy"]
        assert told["folds"]["judge"]["healthy"]
        assert "archive.db" in told["folds"]["archive"]["trouble"]
        assert program.stop() == 0
    for suffix in ("-wal", "-shm"):
        Path(f"{archive}{suffix}").unlink(missing_ok=True)
    shutil.copy(copy, archive)  # as the log says
    session(fleet, broker.port, [], so_far)
    assert kill.compare_archive(fleet, so_far) == readings(so_far), "the journal had kept the rest"


@pytest.mark.parametrize("name", ["books.db", "alerts.db", "archive.db"])
def test_a_folds_file_deleted_while_stopped_is_begun_anew_and_told(
    tmp_path: Path, broker: Mosquitto, name: str
) -> None:
    fleet = write_fleet(tmp_path / "fleet", broker.port)
    sent = messages(600)
    so_far: list[Sent] = []
    session(fleet, broker.port, sent[:300], so_far)
    session(fleet, broker.port, [], so_far)  # so that what was released is forgotten
    remove(fleet, name)
    if name == "archive.db":
        so_far.clear()
    with RunningProgram(fleet) as program:
        program.wait_for("source-up")
        send(broker.port, sent[300:])
        so_far += sent[300:]
        eventually(lambda: stored(fleet) >= readings(so_far), "all is stored")
        line = program.wait_for("fold begins where the journal does")
        assert {"books.db": "account", "alerts.db": "judge"}.get(name, "archive") in line
        assert program.stop() == 0, program.tail()
    assert kill.books(fleet)
    assert kill.alerts(fleet)


def test_a_journal_deleted_under_the_program_ends_it_with_words(
    tmp_path: Path, broker: Mosquitto
) -> None:
    fleet = write_fleet(tmp_path / "fleet", broker.port)
    sent = messages(600)
    with RunningProgram(fleet) as program:
        program.wait_for("source-up")
        send(broker.port, sent[:300])
        eventually(lambda: stored(fleet) >= readings(sent[:300]), "all is stored")
        (fleet / "data" / "journal.db").unlink()
        send(broker.port, sent[300:])
        assert program.process.wait(60) == 3
        assert "moved or deleted while in use" in program.tail()
        assert "Traceback" not in program.tail()
    session(fleet, broker.port, [], so_far := list(sent))
    assert kill.compare_archive(fleet, so_far) == readings(so_far), "nothing was acknowledged"
