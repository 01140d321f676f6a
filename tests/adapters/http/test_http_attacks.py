"""Clients that mean ill, or badly: each harms itself, and is told so where it can be."""

from __future__ import annotations

import contextlib
import gzip
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from adapters.sources.http import Rates, server
from adapters.sources.http.protocol import LINGER_SECONDS
from tests.adapters.http.http_served import READINGS, Served, Wire, head
from tests.adapters.inlet.papers import Papers
from tests.adapters.payload.pushed import BODY, T0, message, row
from tests.intakes import CollectingIntake
from tests.programs import eventually

pytestmark = pytest.mark.timeout(60)
SHORT = {"head_timeout": 0.2, "keep_alive": 0.2, "slowest": 1000}
GOOD = head(Content_Length=len(BODY)).encode() + BODY


@contextlib.contextmanager
def served(gone_s: float = 10, **settings: Any) -> Iterator[tuple[CollectingIntake, Served]]:
    with CollectingIntake() as intake, Served(intake, settings=settings) as one:
        yield intake, one
        assert one.post(BODY).status == 200, "it serves others as before"
        # Whatever was done to it, nobody stays behind.
        eventually(lambda: one.source.connections == 0, "all connections are gone", gone_s)


# --- time ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", ["", "POST /v1/rea", "POST /v1/readings HTTP/1.1\r\nHost: x\r\n"])
def test_a_header_that_does_not_end_is_ended(said: str) -> None:
    with served(**SHORT) as (_, one), Wire(one) as wire:
        wire.send(said)
        answer = wire.closed()
        assert answer.startswith(b"HTTP/1.1 408 ") == bool(said)


def test_a_header_that_drips_is_ended_however_often_it_drips() -> None:
    with served(**SHORT) as (_, one), Wire(one) as wire:
        begun = time.monotonic()
        with contextlib.suppress(ConnectionError):
            for letter in "GET /healthz HTTP/1.1\r\n" + "x-slow: 1\r\n" * 1000:
                wire.send(letter)
                if wire.readable(0.02):
                    break
        assert b"408" in wire.closed()
        assert time.monotonic() - begun < 10


def test_a_body_that_drips_is_ended_without_a_word() -> None:
    with served(**SHORT) as (intake, one), Wire(one) as wire:
        wire.send(head(Content_Length=1 << 20))
        with contextlib.suppress(ConnectionError):
            while not wire.readable(0.02):
                wire.send(b"[")
        assert wire.closed() == b""
        assert one.count("http_refused", limit="slow") == 1
        assert intake.count() == 0


def test_a_body_as_slow_as_is_allowed_is_taken() -> None:
    body = message(row(serial=" " * 1000))
    with served(head_timeout=0.2, slowest=100) as (_, one), Wire(one) as wire:
        wire.send(head(Content_Length=len(body)))
        for at in range(0, len(body), 40):
            assert not wire.readable(0.02)  # 2,000 bytes a second
            wire.send(body[at : at + 40])
        assert wire.answer().status == 422


def test_a_body_that_we_do_not_read_is_not_called_slow() -> None:
    large = message(*([row()] * 2000))
    with CollectingIntake(held=True) as intake:
        settings = SHORT | {"in_flight": len(large) + 10, "max_body": len(large), "patience": 20}
        with Served(intake, settings=settings) as one, Wire(one) as first, Wire(one) as second:
            first.send(head(Content_Length=len(large)).encode() + large)
            intake.wait_until(lambda i: i.unsynced() == 6000)
            sender = threading.Thread(
                target=second.send,
                args=(
                    head(
                        "/v1/readings", token="token-of-gw-mill", Content_Length=len(large)
                    ).encode()
                    + large,
                ),
            )
            sender.start()
            assert not second.readable(1.0)  # five times what a slow body would be given
            assert intake.count() == 6000, "there is room for one only"
            intake.release()
            assert first.answer().status == 200
            assert second.answer().status == 200
            sender.join()


def test_an_idle_connection_is_ended() -> None:
    with served(**SHORT) as (_, one), Wire(one) as wire:
        wire.send(GOOD)
        assert wire.answer().status == 200
        assert wire.closed() == b""


def test_an_answer_that_nobody_fetches_frees_its_connection() -> None:
    with served(**SHORT) as (_, one), Wire(one, receive=4096) as wire:
        wire.socket.setblocking(False)
        asked = head("/openapi.json", method="GET").encode()
        with contextlib.suppress(OSError):
            while True:
                wire.socket.send(asked)
        eventually(lambda: one.source.connections == 0, "it is ended", 15)


# --- size ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_head",
    [
        "GET /" + "a" * 20_000 + " HTTP/1.1\r\n",
        "GET /healthz HTTP/1.1\r\nx: " + "a" * 20_000 + "\r\n",
        "GET /healthz HTTP/1.1\r\n" + "x: y\r\n" * 5_000,
        "GET /healthz HTTP/1.1\r\nHost: x\r\n" + "x: y\r\n" * 4_000 + "\r\n",
    ],
    ids=["line", "header", "headers", "whole"],
)
def test_a_large_header_is_refused(request_head: str) -> None:
    with served() as (_, one), Wire(one) as wire:
        with contextlib.suppress(ConnectionError):
            wire.send(request_head)
        answer = wire.answer()
        assert answer.status == 431
        assert answer.json()["message"] == "the header is too large: 8,192 bytes are the most"


def test_a_large_header_behind_a_request_is_refused_too() -> None:
    with served() as (_, one), Wire(one) as wire:
        with contextlib.suppress(ConnectionError):
            wire.send(
                GOOD + b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"x: y\r\n" * 4_000 + b"\r\n"
            )
        assert wire.answer().status == 200
        assert wire.answer().status == 431


def test_a_body_said_to_be_too_large_is_not_read() -> None:
    with served(max_body=1000) as (intake, one), Wire(one) as wire:
        wire.send(head(Content_Length=1 << 40))
        assert wire.answer().status == 413
        assert intake.refusals()[0].reason == "too-large"


def test_a_bomb_is_refused_before_it_goes_off() -> None:
    with served(max_body=1 << 20) as (intake, one):
        bomb = gzip.compress(b"\0" * (1 << 29))
        before = _memory()
        assert one.post(bomb, Content_Encoding="gzip").status == 413
        assert _memory() - before < 64 << 20
        assert len(intake.refusals()[0].sample) <= 64 << 10


def test_gzip_of_a_thousand_parts_is_refused() -> None:
    with served() as (_, one):
        assert one.post(gzip.compress(b"") * 1000, Content_Encoding="gzip").status == 400


def test_chunks_of_one_byte_are_refused() -> None:
    with served() as (_, one), Wire(one) as wire:
        with contextlib.suppress(ConnectionError):
            wire.send(head(Transfer_Encoding="chunked").encode() + b"1\r\n[\r\n" * 50_000)
        assert wire.answer().status == 400


def test_the_rest_of_an_unwanted_body_is_read_so_far_that_the_answer_arrives() -> None:
    with served(max_body=1000) as (_, one):
        with Wire(one) as wire:  # a small rest: the connection stays
            wire.send(head(Content_Length=2000).encode() + b"[" * 2000)
            assert wire.answer().status == 413
            wire.send(GOOD)
            assert wire.answer().status == 200
        with Wire(one) as wire:  # a large one: so much that the answer arrives
            wire.send(head(token="", Content_Length=1 << 30))
            assert wire.answer().status == 401
            for _ in range(3):
                wire.send(b"[" * 50_000)
                assert one.ask("GET", "/healthz").status == 200  # it has been read
            assert wire.socket.recv(1) == b""
            with pytest.raises(ConnectionError):
                wire.send(b"[" * (64 << 20))


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("form", ["sized", "chunked"])
@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (READINGS, {}, 413),
        (READINGS, {"Authorization": "Bearer x"}, 401),
        (READINGS, {"Content-Type": "text/csv"}, 415),
        ("/v1/nothing", {}, 404),
    ],
)
def test_who_looks_at_the_answer_only_after_its_body_sees_it(
    tmp_path: Path, path: str, headers: dict[str, str], status: int, form: str, secure: bool
) -> None:
    """As Python's own clients do, with a connection that they keep and one that they do not."""
    papers = Papers(tmp_path) if secure else None
    large = b"[" * (5 << 20)
    given = {"Authorization": "Bearer token-of-gw-print", "Content-Type": "application/json"}
    given |= headers

    def body() -> Any:
        return large if form == "sized" else iter([large])

    settings, trust = (papers.settings(), papers.trust()) if papers else ({}, None)
    with CollectingIntake() as intake, Served(intake, settings=settings, trust=trust) as one:
        for more in ({}, {"Connection": "close"}):
            assert one.ask("POST", path, body(), given | more).status == status
        with contextlib.closing(one.connect()) as link:
            assert one.ask("POST", path, body(), given, over=link).status == status
            if form == "sized":
                assert one.post(BODY, over=link).status == 200, "the connection stays"


def test_unwanted_bodies_are_read_only_so_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all connections together: a flood of them is none for others."""
    monkeypatch.setattr(server, "LINGER_RATE", 64 << 10)
    large = 16 << 20
    # What it had sent when it left is read first, as slowly as the rest; within its time.
    with served(gone_s=LINGER_SECONDS + 10) as (_, one), Wire(one) as wire:
        wire.send(head(token="", Content_Length=large))
        assert wire.answer().status == 401
        wire.socket.setblocking(False)
        sent = 0
        for _ in range(100):
            with contextlib.suppress(BlockingIOError):
                sent += wire.socket.send(b"[" * min(1 << 20, large - sent))
            assert one.ask("GET", "/healthz").status == 200
        assert sent < large
        # It leaves with a reset: what it has sent is not read for long.
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_an_unwanted_body_that_drips_or_stops_is_ended() -> None:
    with served(slowest=1 << 20) as (_, one), Wire(one) as wire:
        wire.send(head(token="", Content_Length=1 << 20))
        assert wire.answer().status == 401
        assert wire.closed() == b""


# --- form ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        b"\0\1\2\3\r\n\r\n",
        b"GET /healthz\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"POST /v1/readings HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        b"POST /v1/readings HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/readings HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /v1/readings HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost : x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n",
    ],
)
def test_what_is_no_http_is_told_so(said: bytes) -> None:
    with served() as (_, one), Wire(one) as wire:
        wire.send(said)
        answer = wire.answer()
        assert answer.status in {400, 404}
        assert set(answer.json()) == {"code", "message", "reasons"}
        assert "this is HTTP" not in answer.json()["message"]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"\x10\x0d\0\4MQTT\4\2\0<\0\1c", "this is MQTT, and here HTTP is spoken"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "this is TLS, and here HTTP is spoken"),
    ],
)
def test_another_language_is_named_in_the_answer_and_in_the_log(said: bytes, told: str) -> None:
    with capture_logs() as logs, served() as (_, one), Wire(one) as wire:
        wire.send(said)
        assert wire.answer().json()["message"].startswith(told)
    assert [line["message"][: len(told)] for line in logs if line["event"] == "http-no-http"] == [
        told
    ]


def test_chunks_that_break_off_and_chunks_that_are_none() -> None:
    with served() as (intake, one):
        with Wire(one) as wire:
            wire.send(head(Transfer_Encoding="chunked") + "zz\r\n")
            assert wire.answer().status == 400
        with Wire(one) as wire:
            wire.send(head(Transfer_Encoding="chunked") + "5\r\nabc")
        with Wire(one) as wire:
            wire.send(head(Content_Length=100) + "{")
        assert intake.count() == 0


def test_a_request_that_ends_in_junk_is_served_and_the_junk_is_not() -> None:
    with served() as (intake, one), Wire(one) as wire:
        wire.send(head(Content_Length=len(BODY), Connection="close").encode() + BODY + b"\0junk")
        assert wire.answer().status == 200
        wire.closed()
        assert intake.count() == 3


def test_requests_in_a_row_are_answered_in_their_order() -> None:
    with served() as (_, one), Wire(one) as wire:
        asked = [message(row(time=T0 + n), id=n) for n in range(40)]
        wire.send(b"".join(head(Content_Length=len(b)).encode() + b for b in asked))
        ids = [wire.answer().json()["id"] for _ in range(40)]
        assert ids == list(range(40))


# --- many ---------------------------------------------------------------------------------------


def test_connections_are_bounded_by_address_and_in_total() -> None:
    for limit in ({"connections": 4}, {"per_address": 4}):
        with served(**limit) as (_, one):
            wires = [Wire(one) for _ in range(4)]
            eventually(lambda: one.source.connections == 4, "they are counted")
            with Wire(one) as more:
                assert more.closed().startswith(b"HTTP/1.1 503 ")
            wires[0].socket.close()
            eventually(lambda: one.source.connections == 3, "one has left")
            assert one.post(BODY).status == 200
            for wire in wires:
                wire.socket.close()


def test_what_is_under_way_is_bounded_and_who_waits_too_long_is_told() -> None:
    with CollectingIntake(held=True) as intake:
        settings = {"in_flight": 10_000, "max_body": 10_000, "patience": 0.1}
        with Served(intake, settings=settings) as one, Wire(one) as first:
            first.send(head(Transfer_Encoding="chunked"))  # of unknown length: all of the room
            eventually(lambda: one.source.under_way == 10_000, "it has its room")
            answer = one.post(BODY, gateway="gw-mill")
            assert (answer.status, answer.json()["code"]) == (503, "unavailable")
            first.send(b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY))
            intake.release()
            assert first.answer().status == 200
            eventually(lambda: one.source.under_way == 0, "it has left")
            assert one.post(BODY, gateway="gw-mill").status == 200


def test_a_client_that_leaves_frees_its_room() -> None:
    with served(in_flight=10_000, max_body=10_000) as (_, one):
        with Wire(one) as wire:
            wire.send(head(Content_Length=9_000) + "[")
            eventually(lambda: one.source.under_way == 9_000, "it has its room")
        eventually(lambda: one.source.under_way == 0, "it has left")


def test_a_gateway_may_have_so_much_and_is_told_when_to_come_again() -> None:
    for rates, first in (
        (Rates(1, 1e9, 1e9, burst=5), 5),
        (Rates(1e9, 1, 1e9, burst=5), 2),
        (Rates(1e9, 1e9, 1, burst=len(BODY) + 5), 2),
    ):
        with CollectingIntake() as intake, Served(intake, settings={"rates": rates}) as one:
            answers = [one.post(BODY) for _ in range(first)]
            assert {answer.status for answer in answers} == {200}
            while (answer := one.post(BODY)).status == 200:  # a request as a second passed
                assert rates.requests == 1
            assert (answer.status, answer.json()["code"]) == (429, "too many requests")
            again = answer.headers["retry-after"]
            assert 1 <= int(again) <= len(BODY)
            assert answer.json()["message"].endswith(f" in meterwatch.toml: again in {again} s")
            assert ", rate_" in answer.json()["message"]
            assert one.post(BODY, gateway="gw-mill").status == 200, "it is no matter of others"
            assert one.count("http_refused", limit="rate") == 1


def test_a_flood_is_refused_by_its_header_and_then_ever_later() -> None:
    rates = Rates(0.01, 1e9, 1e9, burst=100)
    with (
        CollectingIntake() as intake,
        Served(intake, settings={"rates": rates, "hesitation": 0.1}) as one,
    ):
        with contextlib.closing(one.connect()) as link:
            while not one.count("http_told_late"):
                assert one.post(BODY, over=link).status in {200, 429}
        assert one.count("http_requests", code="429") > 20
        assert intake.count() == 3 * one.count("http_requests", code="200") <= 6
        assert one.post(BODY, gateway="gw-mill").status == 200, "it is no matter of others"


def _memory() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)
