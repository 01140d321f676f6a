"""/metrics and /healthz on real sockets: right answers, and no harm from whoever connects."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.telemetry import Telemetry
from meterwatch.http_status import HttpStatus, Limits

WELL: tuple[bool, dict[str, Any]] = (
    True,
    {"folds": {"judge": {"lag": 0}}, "sources": {"mqtt:main": "up"}},
)
QUICK = Limits(head=1_024, seconds=0.3, connections=4)


@contextlib.asynccontextmanager
async def served(
    health: Any = lambda: WELL, limits: Limits | None = None, telemetry: Telemetry | None = None
) -> AsyncIterator[HttpStatus]:
    server = HttpStatus((telemetry or Telemetry()).exposition, health, limits)
    await server.start("127.0.0.1", 0)
    try:
        yield server
    finally:
        await server.close()


async def ask(
    server: HttpStatus, raw: bytes, *, end: bool = False
) -> tuple[int, dict[str, str], bytes]:
    """Send ``raw``, read until the server closes: status (0: no answer), headers, content."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    answer = b""
    with contextlib.suppress(ConnectionError):
        writer.write(raw)
        await writer.drain()
        if end:
            writer.write_eof()
        answer = await reader.read()
    writer.close()
    head, _, content = answer.partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in rest)
    return int(first.split(" ")[1]) if first else 0, headers, content


def get(path: str, method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


async def test_metrics_are_those_of_the_telemetry() -> None:
    telemetry = Telemetry()
    telemetry.count("readings", 42, origin="mqtt:main")
    async with served(telemetry=telemetry) as server:
        status, headers, content = await ask(server, get("/metrics?x=1"))
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    assert int(headers["content-length"]) == len(content)
    assert b'meterwatch_readings_total{origin="mqtt:main"} 42.0' in content


@pytest.mark.parametrize(("well", "code", "word"), [(True, 200, "ok"), (False, 503, "failing")])
async def test_health_says_whether_and_why(well: bool, code: int, word: str) -> None:
    async with served(lambda: (well, WELL[1])) as server:
        status, headers, content = await ask(server, get("/healthz"))
    assert status == code
    assert headers["content-type"] == "application/json"
    assert json.loads(content) == {"status": word, **WELL[1]}


async def test_head_is_get_without_the_content() -> None:
    async with served() as server:
        status, headers, content = await ask(server, get("/healthz", "HEAD"))
        _, _, full = await ask(server, get("/healthz"))
    assert (status, content) == (200, b"")
    assert int(headers["content-length"]) == len(full)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (get("/"), 404),
        (get("/metrics/../../etc/passwd"), 404),
        (get("/metrics", "POST"), 405),
        (get("/metrics", "get"), 405),
        (b"GET /metrics\r\n\r\n", 400),
        (b"GET  /metrics HTTP/1.1\r\n\r\n", 400),
        (b"GET http://x/metrics HTTP/1.1\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: " + b"x" * 3_000 + b"\r\n\r\n", 431),
        (b"x" * 3_000, 431),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n", 408),
        (b"", 408),
    ],
)
async def test_what_it_does_not_serve_is_told_so(raw: bytes, status: int) -> None:
    async with served(limits=QUICK) as server:
        assert (await ask(server, raw))[0] == status
        assert (await ask(server, get("/healthz")))[0] == 200


async def test_a_request_that_ends_early_is_told_so() -> None:
    async with served() as server:
        assert (await ask(server, b"GET /met", end=True))[0] == 400


async def test_a_request_with_a_body_still_gets_its_answer() -> None:
    async with served() as server:
        raw = b"POST /metrics HTTP/1.1\r\nContent-Length: 50000\r\n\r\n" + b"x" * 50_000
        assert (await ask(server, raw))[0] == 405


async def test_slow_clients_are_dropped_and_hold_up_nobody() -> None:
    async with served(limits=QUICK) as server:
        slow = [asyncio.create_task(ask(server, b"GET /m")) for _ in range(3)]
        assert (await ask(server, get("/healthz")))[0] == 200
        assert [status for status, _, _ in await asyncio.gather(*slow)] == [408, 408, 408]


async def test_a_client_that_never_reads_nor_closes_is_dropped() -> None:
    telemetry = Telemetry()
    for n in range(20_000):
        telemetry.gauge("filler", n, number=str(n))
    async with served(telemetry=telemetry, limits=QUICK) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1_024)
        writer.write(get("/metrics"))
        await until(lambda: server.connections == 1)
        await until(lambda: server.connections == 0)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await reader.read()


async def until(done: Callable[[], bool]) -> None:
    """Let the loop turn until ``done``."""
    while not done():  # noqa: ASYNC110 - turns of the loop, no time
        await asyncio.sleep(0)


async def test_more_connections_than_allowed_are_told_to_come_back() -> None:
    limits = Limits(seconds=30, connections=2)
    async with served(limits=limits) as server:
        held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
        await until(lambda: server.connections == 2)
        assert (await ask(server, get("/healthz")))[0] == 503
        for _, writer in held:
            writer.close()
        await until(lambda: server.connections == 0)
        assert (await ask(server, get("/healthz")))[0] == 200


async def test_a_fault_in_what_is_shown_is_one_500() -> None:
    answers = iter([ZeroDivisionError(), WELL])

    def health() -> Any:
        found = next(answers)
        if isinstance(found, Exception):
            raise found
        return found

    async with served(health) as server:
        assert (await ask(server, get("/healthz")))[0] == 500
        assert (await ask(server, get("/healthz")))[0] == 200


async def test_closing_drops_who_is_connected_and_frees_the_port() -> None:
    async with served() as server:
        port = server.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /")
        await until(lambda: server.connections == 1)
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    writer.close()
    again = HttpStatus(lambda: b"", lambda: WELL)
    await again.start("127.0.0.1", port)
    await again.close()


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=2_000))
def test_any_bytes_get_an_answer_or_are_dropped(raw: bytes) -> None:
    async def case() -> int:
        async with served(limits=QUICK) as server:
            status, _, _ = await ask(server, raw + b"\r\n\r\n")
            assert (await ask(server, get("/healthz")))[0] == 200
            return status

    assert asyncio.run(case()) in {0, 400, 404, 405, 431}
