"""What can go wrong around a running program: files damaged or taken away, a full disk, brokers
that die or never were, rubbish, clocks that are wrong. Acknowledged is kept, the rest goes on,
and somebody is told."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adapters.stores.archive_reader import ArchiveReader
from collector.model import Tick
from collector.telemetry import Telemetry
from meterwatch.app import Program
from meterwatch.clock import SystemClock
from tests import servers
from tests.campaigns import kill
from tests.campaigns.kill import stored
from tests.campaigns.sending import Sender, send
from tests.campaigns.traffic import Sent, messages, readings, write_fleet
from tests.e2e.operated import latest, listen
from tests.programs import RunningProgram, eventually, health
from tests.servers import Mosquitto, free_port

broker = servers.broker


def session(fleet: Path, port: int, sent: list[Sent], so_far: list[Sent]) -> RunningProgram:
    """Run once more: send, and wait until all that was ever sent is stored."""
    with RunningProgram(fleet) as program:
        program.wait_for("source-up")
        send(port, sent)
        so_far += sent
        eventually(lambda: stored(fleet) >= readings(so_far), f"all is stored\n{program.tail()}")
        assert program.stop() == 0, program.tail()
    return program


def names(fleet: Path) -> list[str]:
    reader = ArchiveReader(fleet / "data" / "archive.db")
    try:
        return reader.point_names()
    finally:
        reader.close()


def remove(fleet: Path, name: str) -> None:
    for path in (fleet / "data").glob(f"{name}*"):
        path.unlink()


def garble(path: Path) -> None:
    """The power went while the card was writing."""
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    path.write_bytes(random.Random(5).randbytes(path.stat().st_size))


# --- files, while it is stopped ----------------------------------------------------------------


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


# --- the disk -----------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 160 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", str(folder)],
        capture_output=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def fill(disk: Path, leave: int) -> Path:
    """Somebody else's file takes all but ``leave`` bytes."""
    path = disk / "somebody-elses"
    size = max(0, shutil.disk_usage(disk).free - leave)
    with path.open("wb") as file:
        chunk = b"\0" * (1 << 20)
        try:
            for _ in range(size >> 20):
                file.write(chunk)
            file.write(b"\0" * (size & 0xFFFFF))
        except OSError:
            assert leave == 0
    return path


@pytest.mark.parametrize("leave", [8 << 20, 0])
def test_a_disk_that_fills_up_stops_acknowledgements_and_loses_nothing(
    tmp_path: Path, broker: Mosquitto, small_disk: Path, leave: int
) -> None:
    fleet = write_fleet(small_disk / "fleet", broker.port)
    port = listen(fleet)
    sent = messages(3000)
    with RunningProgram(fleet) as program, Sender(broker.port) as sender:
        program.wait_for("source-up")
        sender.send(sent[:1000])
        sender.wait_acknowledged()
        eventually(lambda: stored(fleet) >= readings(sent[:1000]), "the first part is stored")
        somebodys = fill(small_disk, leave)
        eventually(lambda: health(port)[0] == 503, "it says so")
        before = stored(fleet)
        sender.send(sent[1000:2000])  # the broker takes them, and keeps them for us
        sender.wait_acknowledged()
        assert program.process.poll() is None
        assert health(port)[0] == 503
        assert stored(fleet) == before, "nothing was taken in"
        somebodys.unlink()
        eventually(lambda: stored(fleet) >= readings(sent[:2000]), "it goes on by itself")
        eventually(lambda: health(port)[0] == 200, "and is well")
        sender.send(sent[2000:])
        sender.wait_acknowledged()
        eventually(lambda: stored(fleet) >= readings(sent), "all is stored")
        assert program.stop() == 0, program.tail()
        assert not any("skips an entry" in line for line in program.log)
    assert kill.compare_archive(fleet, sent) == readings(sent)


# --- the process and the broker -----------------------------------------------------------------


def test_killed_at_any_moment_of_its_start_and_end(tmp_path: Path, broker: Mosquitto) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    fleet = write_fleet(tmp_path / "fleet", broker.port)
    for _ in range(8):
        with RunningProgram(fleet) as program:
            threading.Event().wait(chance.uniform(0.2, 1.2))  # the moment is what is tried
            program.kill()
    for _ in range(4):
        with RunningProgram(fleet) as program:
            program.wait_for("source-up")
            program.process.terminate()
            threading.Event().wait(chance.uniform(0, 0.3))  # as above
            program.kill()
    so_far: list[Sent] = []
    session(fleet, broker.port, messages(300), so_far)
    assert kill.compare_archive(fleet, so_far) == readings(so_far)


def test_a_broker_killed_under_load_and_one_that_comes_late(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path / "broker", persistent=True)
    fleet = write_fleet(tmp_path / "fleet", broker.port)
    sent = messages(900)
    with RunningProgram(fleet) as program:
        assert "127.0.0.1" in program.wait_for("source-down")
        with broker:
            program.wait_for("source-up")
            send(broker.port, sent[:600])
            broker.kill()
            broker.start()
            # What a killed broker had acknowledged and not written is its own loss; what is
            # sent again is taken once.
            eventually(lambda: sum("source-up" in line for line in program.log) == 2, "up again")
            send(broker.port, sent)
            eventually(lambda: stored(fleet) >= readings(sent), "all is stored")
            assert program.stop() == 0, program.tail()
    assert kill.compare_archive(fleet, sent) == readings(sent)


def test_a_broker_that_never_was_keeps_nobody_from_stopping(tmp_path: Path) -> None:
    fleet = write_fleet(tmp_path / "fleet", free_port())
    with RunningProgram(fleet) as program:
        program.wait_for("source-down")
        assert program.stop() == 0


# --- what comes in -------------------------------------------------------------------------------


def rubbish(chance: random.Random) -> Iterator[tuple[str, bytes]]:
    """Topics and payloads that nobody should send."""
    good = "meterwatch/v1/gw-0/readings"
    row = {"device": "meter-0", "time": 1, "values": {"energy.active.import": 1}}
    while True:
        yield good, chance.randbytes(chance.randrange(2000))
        yield good, b"[" * 100_000
        yield good, b'{"readings":' + b'[{"readings":' * 5000
        yield good, b'{"readings":[{"device":"meter-0","time":1e400,"values":{}}]}'
        yield good, json.dumps({"readings": [row | {"time": 10**30}]}).encode()
        yield good, json.dumps({"readings": [row | {"time": -(2**63)}]}).encode()
        yield good, json.dumps({"readings": [row | {"values": {"x" * 9000: 1}}]}).encode()
        yield good, json.dumps({"readings": [row | {"device": chance.random()}]}).encode()
        yield good, json.dumps({"readings": [row | {"device": f"d{chance.random()}"}]}).encode()
        yield good, b'{"readings":[{"device":"meter-0","time":1,"values":{"a":9' + b"9" * 4000
        yield good, b"\xff\xfe\x00" * 500
        yield good, b'{"readings":[]}'
        yield good, b"null"
        yield good, b"x" * (2 << 20)
        yield f"meterwatch/v1/{chance.random()}/readings", b'{"readings":[]}'
        yield "meterwatch/v1/" + "\u202e\u4e2d" * 200 + "/readings", json.dumps(row).encode()
        yield "meterwatch/v1//readings", b"{}"


def peak_rss(pid: int) -> int:
    """Bytes of memory that the process held at most so far."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise AssertionError("no VmHWM")


def test_rubbish_at_rate_is_bounded_and_harms_no_neighbour(
    tmp_path: Path, broker: Mosquitto
) -> None:
    fleet = write_fleet(tmp_path / "fleet", broker.port)
    sent = messages(900)
    source = rubbish(random.Random(3))
    bad = [Sent(*next(source), []) for _ in range(3000)]
    with RunningProgram(fleet) as program:
        program.wait_for("source-up")
        throwing = threading.Thread(target=send, args=(broker.port, bad))
        throwing.start()
        send(broker.port, sent)
        throwing.join()
        send(broker.port, after := messages(300, seed=8))
        eventually(lambda: stored(fleet) >= readings([*sent, *after]), "the good ones are stored")
        peak = peak_rss(program.process.pid)
        assert program.stop() == 0, program.tail()
        assert len(program.log) < 100, "not a line for each"
    assert peak < 300 << 20
    with sqlite3.connect(fleet / "data" / "archive.db") as archive:
        (pages,) = archive.execute("PRAGMA page_count").fetchone()
    archive.close()
    assert pages * 8192 < 64 << 20
    reader = ArchiveReader(fleet / "data" / "archive.db")
    assert sum(one.times for one in reader.refused_totals()) >= len(bad) * 0.8
    reader.close()


def test_readings_from_1970_and_2099_poison_nothing(tmp_path: Path, broker: Mosquitto) -> None:
    fleet = write_fleet(tmp_path / "fleet", broker.port)
    sent = messages(600)
    point = "plant-0/monitor-0/voc.nmhc.concentration/raw"

    def push(at: object, value: float) -> None:
        row = {"device": "monitor-0", "time": at, "values": {"voc.nmhc.concentration": value}}
        payload = json.dumps({"readings": [row]}).encode()
        send(broker.port, [Sent("meterwatch/v1/gw-0/readings", payload, [])])

    with RunningProgram(fleet) as program:
        program.wait_for("source-up")
        send(broker.port, sent[:300])
        for at in (0, 1, "1970-01-01T00:00:00Z", "2099-12-31T23:59:59Z", 4_102_444_799_000):
            push(at, 500.0)
        send(broker.port, sent[300:])
        eventually(lambda: stored(fleet) >= readings(sent), "all is stored")
        newest = max(at for message in sent for name, at, _ in message.readings if name == point)
        push(newest + 1000, 61.0)
        eventually(lambda: latest(fleet, point) == 61.0, "2099 is not the newest")
        assert program.stop() == 0, program.tail()
    strange = [row for row in kill.alerts(fleet) if row[5] > newest + 10_000]
    assert not strange, "no warning about what cannot be"
    calm = write_fleet(tmp_path / "calm", broker.port)
    shutil.copy(fleet / "meterwatch.toml", calm / "meterwatch.toml")
    settings = calm / "meterwatch.toml"
    settings.write_text(settings.read_text().replace("meterwatch-campaign", "another"))
    with RunningProgram(calm) as program:
        program.wait_for("source-up")
        send(broker.port, sent)
        push(newest + 1000, 61.0)
        eventually(lambda: stored(calm) >= readings(sent) + 1, "all is stored")
        assert program.stop() == 0
    assert kill.books(calm) == kill.books(fleet)
    assert {row[0] for row in kill.alerts(calm)} <= {row[0] for row in kill.alerts(fleet)}


# --- the journal's bound, and clocks -----------------------------------------------------------


def test_a_blocked_fold_fills_the_journal_to_its_bound_and_no_further(
    tmp_path: Path, broker: Mosquitto
) -> None:
    """Late data is refused first, then what is pushed; nothing is acknowledged that is not kept,
    and when the fold works again everything comes in."""
    fleet = write_fleet(tmp_path / "fleet", broker.port)
    settings = fleet / "meterwatch.toml"
    settings.write_text(settings.read_text() + "[journal]\nmax_mb = 16\n")
    port = listen(fleet)
    so_far: list[Sent] = []
    session(fleet, broker.port, messages(30), so_far)
    archive = fleet / "data" / "archive.db"
    copy = tmp_path / "copy.db"
    shutil.copy(archive, copy)
    garble(archive)
    big = [Sent("meterwatch/v1/gw-0/readings", _rows_nobody_knows(n), []) for n in range(5000)]
    seen: list[str] = []
    with RunningProgram(fleet) as program, Sender(broker.port) as sender:
        program.wait_for("source-up")
        sender.send(big)
        sender.wait_acknowledged()

        def refuses() -> bool:
            accepts = str(health(port)[1]["journal"]["accepts"])
            if accepts not in seen:
                seen.append(accepts)
            return accepts.startswith(("poll", "control"))

        eventually(refuses, f"pushed readings are refused: {seen}")
        so_far += (good := messages(300))
        sender.send(good)
        sender.wait_acknowledged()
        assert health(port)[0] == 503
        assert (fleet / "data" / "journal.db").stat().st_size < 20 << 20
        for suffix in ("-wal", "-shm"):
            Path(f"{archive}{suffix}").unlink(missing_ok=True)
        shutil.copy(copy, archive)
        program.wait_for("fold works again")
        eventually(lambda: health(port)[0] == 200, "all is well again")
        eventually(lambda: stored(fleet) >= readings(so_far), "what was refused comes again")
        assert program.stop() == 0, program.tail()
    assert kill.compare_archive(fleet, so_far) == readings(so_far)


def _rows_nobody_knows(number: int) -> bytes:
    """About 16 KB of readings of a device that is not in the registry."""
    row = {"device": f"nobody-{number}", "values": {"energy.active.import": 1.0}}
    return json.dumps({"readings": [row | {"time": at} for at in range(200)]}).encode()


class SteppingClock(SystemClock):
    """The machine's clock, which somebody sets."""

    def __init__(self) -> None:
        self.offset = 0

    def now(self) -> int:
        return super().now() + self.offset


@pytest.mark.parametrize("step", [-3_600_000, 3_600_000])
async def test_a_clock_that_is_set_keeps_ticking_and_keeps_everything(
    tmp_path: Path, broker: Mosquitto, step: int
) -> None:
    fleet = write_fleet(tmp_path / "fleet", broker.port)
    clock = SteppingClock()
    sent = messages(600)
    program = Program(fleet, clock, Telemetry())
    stopping = asyncio.Event()
    running = asyncio.create_task(program.run(stopping))
    await program.started.wait()

    async def later(condition: Callable[[], object], what: str) -> None:
        await asyncio.to_thread(eventually, condition, what)

    def ticks() -> list[int]:
        found = program.journal.read(max(0, program.journal.last() - 50))
        return [entry.time for _, entry in found if isinstance(entry, Tick)]

    await later(lambda: program.intake.sources, "the source is up")
    await asyncio.to_thread(send, broker.port, sent[:300])
    await later(lambda: stored(fleet) >= readings(sent[:300]), "the first half is stored")
    clock.offset = step
    await later(
        lambda: sum(abs(at - clock.now()) < 60_000 for at in ticks()) >= 3, "it goes on ticking"
    )
    if step > 0:  # set forward and back again
        clock.offset = 0
        await later(
            lambda: sum(abs(at - clock.now()) < 60_000 for at in ticks()[-3:]) == 3, "again"
        )
    await asyncio.to_thread(send, broker.port, sent[300:])
    await later(lambda: stored(fleet) >= readings(sent), "the second half is stored")
    assert all(fold.healthy for fold in program.folds.values())
    stopping.set()
    await running
    if step > 0:
        assert kill.compare_archive(fleet, sent) == readings(sent)
