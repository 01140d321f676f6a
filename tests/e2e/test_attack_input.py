"""What can go wrong with what comes in and when: rubbish, impossible times, a clock that somebody
sets. It is bounded, and poisons nothing."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import sqlite3
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
from tests.campaigns.sending import send
from tests.campaigns.traffic import Sent, messages, readings, write_fleet
from tests.e2e.operated import latest
from tests.programs import RunningProgram, eventually
from tests.servers import Mosquitto

broker = servers.broker


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
