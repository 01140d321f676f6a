"""kill -9 of collectors and broker while gateways push: who has a receipt can forget the message.

Gateways run ``deploy/gateway/send.py`` as makers would; two collectors share one subscription, each
with a journal and an archive of its own; the broker keeps nothing on disk, so that each kill of it
loses all that it had acknowledged, and every session. Collectors and broker are killed again and
again, each time after a few more journal records than there were. In the end every sender has
nothing left to send, and every reading stands in one archive at least, in each at most once, with
its value; and nothing else does.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from adapters.stores.archive_reader import ArchiveReader
from tests.campaigns.kill import journal_last
from tests.campaigns.traffic import GATEWAYS, Sent, Traffic, write_fleet
from tests.programs import POLL, ROOT, RunningProgram, eventually
from tests.servers import Mosquitto

SEND = ROOT / "deploy" / "gateway" / "send.py"
COLLECTORS = 2
MOST = 600_000
"""Messages there are at most: more than any run sends."""
DRAIN_S = 300.0
AHEAD = 300
"""Messages that wait in an outbox at most: what is left when the killing ends must be sent, too."""


WAITS = "no receipt yet, sent again: "
"""What a sender says once while nobody answers; all else means that something is wrong."""


class Gateway:
    """The sender of one gateway, fed for as long as the killing goes on."""

    def __init__(self, name: str, port: int, folder: Path) -> None:
        self.fed: list[Sent] = []
        self._outbox = folder / name
        self._errors = (folder / f"{name}.err").open("w+", encoding="utf-8")
        self.process = subprocess.Popen(
            [sys.executable, str(SEND), name, f"mqtt://127.0.0.1:{port}", str(folder / name)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            env=os.environ | {"PATIENCE": "2"},
        )

    def feed(self, message: Sent) -> None:
        """Blocks while the sender has enough."""
        assert self.process.stdin is not None
        self.process.stdin.write(message.payload + b"\n")
        self.process.stdin.flush()
        self.fed.append(message)

    def waiting(self) -> int:
        """Messages that have no receipt yet."""
        if not self._outbox.exists():
            return 0
        connection = sqlite3.connect(f"file:{self._outbox}?mode=ro", uri=True, timeout=30)
        try:
            return int(connection.execute("SELECT count(*) FROM message").fetchone()[0])
        except sqlite3.OperationalError:
            return 0  # its table is being made
        finally:
            connection.close()

    def finish(self) -> None:
        """No more: everything will have its receipt, then it ends."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(DRAIN_S) == 0
        self._errors.seek(0)
        told = [line for line in self._errors if not line.startswith(WAITS)]
        assert not told, "something was refused"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()
        self._errors.close()


class Feeder:
    """Feeds the gateways in turn until ``stop``; a thread of its own."""

    def __init__(self, gateways: list[Gateway], traffic: Traffic) -> None:
        self._gateways, self._traffic = gateways, traffic
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for number in range(MOST):
            if self._stopping.is_set():
                return
            gateway = self._gateways[number % GATEWAYS]
            while len(gateway.fed) % 50 == 0 and gateway.waiting() > AHEAD:
                if self._stopping.wait(POLL):
                    return
            gateway.feed(self._traffic.next())

    def stop(self) -> None:
        assert self._thread.is_alive(), "the load ended before the killing"
        self._stopping.set()
        self._thread.join()


def campaign(folder: Path, seed: int, *, kills: int, broker_kills: int) -> dict[str, Any]:
    """Run it; the figures. Raises ``AssertionError`` when a promise is broken."""
    chance = random.Random(seed)
    with ExitStack() as stack:
        broker = stack.enter_context(Mosquitto(folder / "broker"))
        fleets = [_fleet(folder / f"collector-{n}", broker.port, n) for n in range(COLLECTORS)]
        running = [RunningProgram(fleet) for fleet in fleets]
        stack.callback(lambda: [program.kill() for program in running])
        for program in running:
            program.wait_for("source-up")
        gateways = [
            stack.enter_context(Gateway(f"gw-{n}", broker.port, folder)) for n in range(GATEWAYS)
        ]
        feeder = Feeder(gateways, Traffic(seed, MOST))
        blows = ["collector"] * kills + ["broker"] * broker_kills
        chance.shuffle(blows)
        for blow in blows:
            victim = chance.randrange(COLLECTORS)
            _grown(fleets[victim], chance.randrange(1, 12))
            if blow == "broker":
                broker.kill()
                broker.start()
            else:
                running[victim].kill()
                running[victim] = RunningProgram(fleets[victim])
        feeder.stop()
        for gateway in gateways:
            gateway.finish()
        for program in running:
            program.wait_for("running")
            assert program.stop() == 0, program.tail()
        fed = [message for gateway in gateways for message in gateway.fed]
        figures = _compare(fleets, fed)
    return {"kills": kills, "broker_kills": broker_kills, "messages": len(fed)} | figures


def _fleet(folder: Path, port: int, number: int) -> Path:
    """One of the collectors: it shares the subscription, under a client id of its own."""
    write_fleet(folder, port)
    path = folder / "meterwatch.toml"
    text = path.read_text(encoding="utf-8")
    text = text.replace("meterwatch-campaign", f"meterwatch-campaign-{number}")
    path.write_text(text.replace('["', '["$share/campaign/'), encoding="utf-8")
    return folder


def _grown(fleet: Path, records: int) -> None:
    journal = fleet / "data" / "journal.db"
    goal = journal_last(journal) + records
    eventually(lambda: journal_last(journal) >= goal, "the journal grows")


def _compare(fleets: list[Path], fed: list[Sent]) -> dict[str, int]:
    """Every reading that was fed stands in one of the archives, with its value, and no other."""
    expected: dict[str, dict[int, float]] = {}
    for message in fed:
        for name, at, value in message.readings:
            expected.setdefault(name, {})[at] = value
    found: dict[str, dict[int, float]] = {name: {} for name in expected}
    stored = []
    for fleet in fleets:
        reader = ArchiveReader(fleet / "data" / "archive.db")
        count = 0
        names = reader.point_names()
        for point in reader.points():
            name = names[point]
            series = reader.read(point, 0, 2**62)
            times = series.time.tolist()
            assert len(times) == len(set(times)), f"{name} holds a time twice"
            rows = dict(zip(times, series.value.tolist(), strict=True))
            assert all(found[name].get(at, value) == value for at, value in rows.items())
            found[name] |= rows
            count += len(rows)
        reader.close()
        stored.append(count)
    assert found == expected, _difference(found, expected)
    readings = sum(len(rows) for rows in expected.values())
    return {
        "readings": readings,
        "stored_by_the_first": stored[0],
        "stored_by_the_second": stored[1],
        "stored_by_both": sum(stored) - readings,
    }


def _difference(found: dict[str, dict[int, float]], expected: dict[str, dict[int, float]]) -> str:
    lost = sum(len(rows.keys() - found[name].keys()) for name, rows in expected.items())
    invented = sum(len(rows.keys() - expected[name].keys()) for name, rows in found.items())
    return json.dumps({"lost": lost, "invented": invented})
