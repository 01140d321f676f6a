"""The outbox on real files, through apprise, to a real HTTP server, in simulated time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from adapters.notifiers.apprise import AppriseNotifier
from adapters.state import outbox_memory
from adapters.state.foldfile import FoldFile
from adapters.state.outbox import OUTBOX_SCHEMA, Channel, Outbox, Watch, enqueue
from adapters.state.outbox_plan import Policy
from collector.alerts import FIRING, RESOLVED, Transition
from collector.errors import TemporaryError
from collector.telemetry import Telemetry
from meterwatch.clock import SimulatedClock
from rules.messages import wording
from tests.http_server import Answer, HttpServer, Request

START = 1_795_000_000_000
ROOT = Path(__file__).resolve().parents[3]


def move(
    alert: str, state: str = FIRING, *, level: int = 2, root: str = "", step: int = 1
) -> Transition:
    data = {"title": f"meter {alert} is off", "site_name": "Longnan Road", "started": START}
    return Transition(
        f"{alert}/{step}", alert, step, state, START, level, root or alert, True, data
    )


def judge(path: Path, rows: Iterable[Transition]) -> None:
    """Commit ``rows`` as the judge does."""
    file = FoldFile(path, "journal", OUTBOX_SCHEMA)
    with contextlib.closing(file), file.transaction() as connection:
        enqueue(connection, rows)


def ids(requests: Iterable[Request]) -> list[str]:
    return [re.findall(r"MW-[A-Z2-7]{12}", one.json()["message"])[-1] for one in requests]


def texts(server: HttpServer) -> str:
    return "\n".join(f"{one.json()['title']}\n{one.json()['message']}" for one in server.requests)


@dataclass
class Bench:
    """An outbox with its files, its clock and what it told the watch."""

    folder: Path
    clock: SimulatedClock = field(default_factory=lambda: SimulatedClock(START))
    telemetry: Telemetry = field(default_factory=Telemetry)
    health: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def alerts(self) -> Path:
        return self.folder / "alerts.db"

    def say(self, *rows: Transition) -> None:
        judge(self.alerts, rows)

    def lose_the_judges_file(self) -> None:
        """What is said next numbers anew, as when it is made again from the journal."""
        for end in ("", "-wal", "-shm"):
            Path(f"{self.alerts}{end}").unlink(missing_ok=True)

    @contextlib.asynccontextmanager
    async def running(self, *channels: Channel) -> AsyncIterator[Outbox]:
        watch = Watch(
            lambda channel, _since, error: self.health.append((channel, "trouble", error)),
            lambda channel, _time: self.health.append((channel, "recovered", "")),
        )
        outbox = Outbox(
            self.alerts,
            self.folder / "outbox.db",
            channels,
            self.clock,
            self.telemetry,
            watch,
            poll_ms=5_000,
        )
        task = asyncio.create_task(outbox.run())
        try:
            yield outbox
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            outbox.close()

    async def pass_time(self, seconds: float) -> None:
        await self.clock.run_until(self.clock.now() + round(seconds * 1000))


def channel(server: HttpServer | str, name: str = "ops", **policy: Any) -> Channel:
    url = server if isinstance(server, str) else server.url
    address = url.replace("http", "json", 1)
    return Channel(AppriseNotifier(name, address, timeout=0.2), wording("en"), Policy(**policy))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer() as server:
        yield server


async def test_a_silent_gateway_with_twenty_devices_is_one_message(
    bench: Bench, server: HttpServer
) -> None:
    async with bench.running(channel(server)):
        bench.say(move("gw", level=3), *(move(f"d{n}", root="gw") for n in range(20)))
        await bench.pass_time(60)
        bench.say(move("gw", RESOLVED, level=3, step=2))
        await bench.pass_time(60)
    assert len(server.requests) == 2
    assert "[Severe] Warning: meter gw is off" in server.requests[0].json()["title"]
    assert "21 in all" in server.requests[0].json()["title"]
    assert "Warning over" in server.requests[1].json()["title"]


async def test_saying_it_again_tells_nobody_twice(bench: Bench, server: HttpServer) -> None:
    async with bench.running(channel(server)):
        for _ in range(3):
            bench.say(move("a"), move("b"))
            await bench.pass_time(30)
    assert len(server.requests) == 2
    bench.lose_the_judges_file()
    bench.say(move("b"), move("a"), move("c"))
    async with bench.running(channel(server)):
        await bench.pass_time(30)
        bench.say(move("d"))
        await bench.pass_time(30)
    assert len(server.requests) == 4
    assert "meter c" in texts(server)
    assert "meter d" in texts(server)


async def test_a_judges_file_made_anew_beside_a_running_outbox_is_read(
    bench: Bench, server: HttpServer
) -> None:
    async with bench.running(channel(server)):
        bench.say(move("a"))
        await bench.pass_time(30)
        bench.lose_the_judges_file()
        bench.say(move("a"), move("b"))
        await bench.pass_time(30)
    assert len(server.requests) == 2
    assert "meter b" in texts(server)


@pytest.mark.parametrize("asked", ["9" * 400, "86400000", "soon"])
async def test_whatever_wait_the_other_side_asks_for_has_a_bound(
    bench: Bench, server: HttpServer, asked: str
) -> None:
    server.then(Answer(503, "", {"Retry-After": asked}))
    async with bench.running(channel(server)):
        bench.say(move("a"))
        await bench.pass_time(3_700)
    assert len(server.requests) == 2


async def test_a_watch_that_cannot_note_it_now_is_told_again(
    bench: Bench, server: HttpServer
) -> None:
    server.answer = Answer(500)
    told: list[str] = []

    def trouble(name: str, _since: int, _error: str) -> None:
        told.append(name)
        if len(told) == 1:
            raise TemporaryError("the journal's disk is full")

    watch = Watch(trouble, failures=2)
    outbox = Outbox(
        bench.alerts,
        bench.folder / "outbox.db",
        [channel(server)],
        bench.clock,
        bench.telemetry,
        watch,
    )
    task = asyncio.create_task(outbox.run())
    bench.say(move("a"))
    await bench.pass_time(60)
    assert not task.done()
    assert told == ["ops", "ops"]
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    outbox.close()


async def test_every_failure_passes_and_everything_arrives(
    bench: Bench, server: HttpServer
) -> None:
    server.then(*[Answer(500)] * 3, Answer(hang=True), Answer(drop=True), Answer(429))
    async with bench.running(channel(server)) as outbox:
        bench.say(*(move(f"a{n}") for n in range(8)))
        await bench.pass_time(20)
        assert outbox.status()[0].failing_since
        assert outbox.status()[0].error
        await bench.pass_time(600)
        (status,) = outbox.status()
    assert (status.waiting, status.pending, status.error) == (0, 0, "")
    sent = Counter(ids(server.requests))
    assert len(sent) == 8
    assert sum(sent.values()) == 8 + 6
    for n in range(8):
        assert f"meter a{n} " in texts(server)
    assert [what for _, what, _ in bench.health] == ["trouble", "recovered"]


async def test_connection_refused_is_waited_out_longer_and_longer(bench: Bench) -> None:
    first = HttpServer().start()
    port = first.port
    first.stop()
    async with bench.running(channel(f"http://127.0.0.1:{port}")):
        bench.say(move("a"))
        await bench.pass_time(3_600)
        # 1, 2, 4 ... 256 s, then at most three times 300 s: not thousands of attempts.
        assert bench.telemetry.value("messages", channel="ops", outcome="failed") < 20
        with HttpServer(port) as second:
            await bench.pass_time(901)
            assert len(second.requests) == 1
    assert bench.health[0] == ("ops", "trouble", "cannot be reached, or hung up")
    assert bench.health[1][:2] == ("ops", "recovered")


async def test_the_wait_survives_a_restart(bench: Bench, server: HttpServer) -> None:
    server.answer = Answer(503, "", {"Retry-After": "600"})
    async with bench.running(channel(server)):
        bench.say(move("a"))
        await bench.pass_time(10)
    async with bench.running(channel(server)):
        await bench.pass_time(500)
        assert len(server.requests) == 1
        server.answer = Answer()
        await bench.pass_time(200)
    first, second = ids(server.requests)
    assert first == second


async def test_what_is_refused_for_good_is_kept_with_its_reason_and_not_repeated(
    bench: Bench, server: HttpServer
) -> None:
    server.then(Answer(422, "title too odd"))
    async with bench.running(channel(server)):
        bench.say(move("a"))
        await bench.pass_time(3_600)
        assert len(server.requests) == 1
        assert bench.health == [("ops", "trouble", "row 0: HTTP 422: title too odd")]
        bench.say(move("b"))
        await bench.pass_time(60)
        assert bench.health[1:] == [("ops", "recovered", "")]
    with contextlib.closing(sqlite3.connect(bench.folder / "outbox.db")) as db:
        kept = db.execute("SELECT reason, body FROM message WHERE state = 'rejected'").fetchall()
    assert len(kept) == 1
    assert "title too odd" in kept[0][0]
    async with bench.running(channel(server)) as outbox:
        assert outbox.revive("ops") == 1
        await bench.pass_time(60)
    assert ids(server.requests)[0] == ids(server.requests)[-1]


async def test_one_message_that_always_fails_holds_up_nobody_and_is_given_up(
    bench: Bench, server: HttpServer
) -> None:
    class Picky(HttpServer):
        def took(self, request: Request) -> Answer:
            super().took(request)
            return Answer(500 if b"meter bad" in request.body else 200)

    with Picky() as picky:
        async with bench.running(channel(picky)):
            bench.say(move("bad", level=4), *(move(f"a{n}", level=3) for n in range(5)))
            await bench.pass_time(120)
            for n in range(5):
                assert f"meter a{n} " in texts(picky)
            for n in range(30):
                bench.say(move(f"b{n}"))
                await bench.pass_time(600)
            tried = texts(picky).count("meter bad")
            assert tried == 10
            assert any("given up" in error for _, _, error in bench.health)


async def test_a_hanging_channel_holds_up_no_other(bench: Bench, server: HttpServer) -> None:
    with HttpServer() as hung:
        hung.answer = Answer(hang=True)
        async with bench.running(channel(hung, "hung"), channel(server, "well")):
            bench.say(*(move(f"a{n}") for n in range(3)))
            await bench.pass_time(30)
    assert len(server.requests) == 3
    assert {name for name, _, _ in bench.health} <= {"hung"}


async def test_levels_and_languages_are_the_channels_own(bench: Bench, server: HttpServer) -> None:
    with HttpServer() as chief:
        red = Channel(
            AppriseNotifier("chief", chief.url.replace("http", "json", 1)),
            wording("zh"),
            Policy(at_least=4),
        )
        async with bench.running(channel(server), red):
            bench.say(move("y"), move("r", level=4))
            await bench.pass_time(30)
        assert len(server.requests) == 2
        (only,) = chief.requests
        assert only.json()["title"].startswith("【紧急】预警：meter r is off")


async def test_the_budget_holds_through_a_restart_and_nothing_is_lost(
    bench: Bench, server: HttpServer
) -> None:
    times: list[int] = []
    server.on_request = lambda _request: times.append(bench.clock.now())
    async with bench.running(channel(server)):
        bench.say(*(move(f"y{n}") for n in range(100)), *(move(f"r{n}", level=4) for n in range(3)))
        await bench.pass_time(10)
    async with bench.running(channel(server)) as outbox:
        bench.say(*(move(f"z{n}") for n in range(50)))
        await bench.pass_time(300)
        (status,) = outbox.status()
        assert (status.waiting, status.pending) == (0, 0)
    for at in times:
        assert sum(at <= other < at + 60_000 for other in times) <= 20
    assert [f"meter r{n}" in server.requests[n].json()["title"] for n in range(3)] == [True] * 3
    assert "warnings in one message" in texts(server)


async def test_a_channel_that_is_new_begins_with_what_is_open(
    bench: Bench, server: HttpServer
) -> None:
    bench.say(move("old"), move("old", RESOLVED, step=2), move("open"))
    async with bench.running(channel(server)):
        await bench.pass_time(30)
        bench.say(move("open", RESOLVED, step=2))
        await bench.pass_time(30)
    assert len(server.requests) == 2
    assert "meter old" not in texts(server)


async def test_when_far_too_many_wait_the_least_severe_are_let_go_and_counted(
    bench: Bench, server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_memory, "MAX_WAITING", 10)
    server.answer = Answer(500)
    async with bench.running(channel(server)):
        bench.say(*(move(f"y{n}") for n in range(50)), *(move(f"r{n}", level=4) for n in range(5)))
        await bench.pass_time(30)
        server.answer = Answer()
        await bench.pass_time(300)
    assert bench.telemetry.value("outbox_let_go", channel="ops") == 45
    for n in range(5):
        assert f"meter r{n}" in texts(server)


async def test_words_that_fail_do_not_silence_the_warning(bench: Bench, server: HttpServer) -> None:
    def broken(_draft: object) -> Any:
        raise ZeroDivisionError

    notifier = AppriseNotifier("ops", server.url.replace("http", "json", 1))
    async with bench.running(Channel(notifier, broken)):
        bench.say(move("a"))
        await bench.pass_time(30)
    assert "Warning a" in server.requests[0].json()["title"]


# -- killed at any moment ------------------------------------------------------------------------


def start(folder: Path, server: HttpServer) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.adapters.state.outbox_child", str(folder)]
    return subprocess.Popen([*command, server.url.replace("http", "json", 1)], cwd=ROOT)


def test_killed_between_sending_and_noting_it_sends_the_same_again(
    tmp_path: Path, server: HttpServer
) -> None:
    begun = Bench(tmp_path)
    _begin(begun)
    begun.say(move("a", level=4), move("b"), move("c"))
    child: list[subprocess.Popen[bytes]] = []
    killed = 0

    def kill(_request: Request) -> None:
        nonlocal killed
        if killed < 2:
            killed += 1
            os.kill(child[-1].pid, signal.SIGKILL)

    server.on_request = kill
    for _ in range(3):
        child.append(start(tmp_path, server))
        if len(child) < 3:
            child[-1].wait()
    _until(lambda: _settled(tmp_path) == 3, child[-1])
    os.kill(child[-1].pid, signal.SIGKILL)
    child[-1].wait()
    counted = Counter(ids(server.requests))
    assert len(counted) == 3
    assert sum(counted.values()) == 3 + 2
    words: dict[str, set[bytes]] = {}
    for id_, request in zip(ids(server.requests), server.requests, strict=True):
        words.setdefault(id_, set()).add(request.body)
    assert all(len(bodies) == 1 for bodies in words.values())


def _begin(bench: Bench) -> None:
    """The channel exists before the judge says anything."""
    args = (bench.clock, bench.telemetry)
    Outbox(bench.alerts, bench.folder / "outbox.db", [channel("http://x")], *args).close()


def _settled(folder: Path) -> int:
    with contextlib.closing(sqlite3.connect(folder / "outbox.db", timeout=10)) as db:
        return int(db.execute("SELECT count(*) FROM message WHERE state = 'sent'").fetchone()[0])


def _until(done: Callable[[], bool], child: subprocess.Popen[bytes]) -> None:
    """Until ``done``, looking whenever the child may have moved; a dead child is a failure."""
    for _ in range(600):
        if done():
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = child.wait(0.05)
            raise AssertionError(f"the child ended with {code}")
    raise AssertionError("not done in 30 s")
