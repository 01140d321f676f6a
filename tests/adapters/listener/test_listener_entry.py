"""Which gateways a listener lets in, by token or certificate, and for whom each may publish."""

from __future__ import annotations

import io
import json
import ssl
from pathlib import Path

import pytest
import structlog

from adapters.sources.mqttwire import packets
from adapters.sources.payload import remedy
from collector.model import Reason
from meterwatch import logs
from meterwatch.refusal_words import refusal
from tests.adapters.inlet.papers import Papers
from tests.adapters.listener.listener_served import Raw, ServedListener, connect, packet, publish
from tests.adapters.payload.pushed import BODY, T0, Fleet, message, row, topic
from tests.intakes import CollectingIntake
from tests.programs import eventually

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize(
    ("hello", "code"),
    [
        (connect(token="wrong"), 4),
        (connect(token=""), 4),
        (connect(user="", token=""), 4),
        (connect(user="gw-mill", token="token-of-gw-print"), 5),
        (connect(client="", clean=False), 2),
        (packet(0x10, b"\0\6MQIsdp\3\2\0\0\0\1c"), 1),
        (connect(version=5, token="wrong"), packets.BAD_CREDENTIALS),
        (connect(version=5, user="gw-mill", token="token-of-gw-print"), packets.NOT_AUTHORIZED),
    ],
)
def test_who_may_not_come_in_is_told_why(hello: bytes, code: int) -> None:
    with CollectingIntake() as intake, ServedListener(intake) as served, Raw(served) as raw:
        raw.send(hello + publish(BODY))
        kind, body = raw.packet()
        assert (kind, body[:2]) == (2, bytes([0, code]))
        if len(body) > 2:
            assert b"user" in body  # the reason, in words
        assert raw.closed() == b""
        assert intake.count() == 0
        limits = ("unauthorized", "no-user", "no-password", "forbidden", "client-id", "no-mqtt")
        assert sum(served.count("listener_refused", limit=one) for one in limits) == 1


@pytest.mark.parametrize(
    ("hello", "limit", "told"),
    [
        (connect(user="", token=""), "no-user", "no user and no password came"),
        (connect(token=""), "no-password", "user 'gw-print' came without a password"),
        (connect(token="x"), "unauthorized", "user 'gw-print', and as password something else"),
        (connect(token="$TOKEN"), "unauthorized", "the shell did not put the token in"),
        (connect(token='"x"'), "unauthorized", "without quotes"),
        (connect(user="mw_0123abcd_geheim", token="x"), "unauthorized", "user 'mw_0123abcd_***'"),
    ],
)
def test_the_log_says_who_came_without_what(hello: bytes, limit: str, told: str) -> None:
    """Through the filter of secrets, which must not take our own words for any."""
    out = io.StringIO()
    logs.configure(out)
    try:
        with CollectingIntake() as intake, ServedListener(intake) as served, Raw(served) as raw:
            raw.send(hello)
            raw.closed()
    finally:
        structlog.reset_defaults()
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    (line,) = [one for one in lines if one["event"] == f"listener-{limit}"]
    assert told in line["message"]
    assert ("***" in line["message"]) == ("***" in told)


@pytest.mark.parametrize("user", ["gw-print", "gw-print~2", ""])
def test_a_gateway_is_known_by_its_token_and_the_names_that_go_with_it(user: str) -> None:
    hello = connect(user=user) if user else connect(version=5, user="")
    with CollectingIntake() as intake, ServedListener(intake) as served, Raw(served) as raw:
        raw.send(hello)
        assert raw.packet()[1][1] == 0


def test_who_is_refused_again_and_again_is_told_late() -> None:
    settings = {"hesitation": 0.05}
    with CollectingIntake() as intake, ServedListener(intake, settings=settings) as served:
        for _ in range(30):
            with Raw(served) as raw:
                assert raw.connect(token="wrong") == b"\0\4"
        assert served.count("listener_told_late") > 0
        with Raw(served) as raw:
            assert raw.connect() == b"\0\0"


@pytest.mark.parametrize(
    ("name", "reason", "code"),
    [
        (topic("gw-mill"), Reason.NOT_YOURS, packets.NOT_AUTHORIZED),
        (topic("gw-nobody"), Reason.NOT_YOURS, packets.NOT_AUTHORIZED),
        ("meterwatch/v1/gw-print/status", Reason.PAYLOAD, packets.BAD_TOPIC),
        ("", Reason.PAYLOAD, packets.BAD_TOPIC),
        ("x/" * 3000, Reason.PAYLOAD, packets.BAD_TOPIC),
        ("v1/gw-print/reading\0", Reason.PAYLOAD, packets.BAD_TOPIC),
    ],
)
def test_nobody_publishes_for_another_and_what_tries_is_kept(
    name: str, reason: str, code: int
) -> None:
    with CollectingIntake() as intake, ServedListener(intake) as served, Raw(served) as raw:
        raw.connect(version=5)
        raw.publish(BODY, 3, version=5, name=name)
        kind, body = raw.packet()
        assert (kind, body[:3]) == (4, b"\0\3" + bytes([code]))
        assert b"gw-print publishes to meterwatch/v1/gw-print/readings" in body
        (kept,) = intake.refusals()
        assert (kept.reason, kept.sample) == (reason, BODY)
        assert remedy(kept.reason, kept.detail).startswith("publish to ")
        assert refusal(kept.detail, "zh").endswith(
            "gw-print 应发布到 meterwatch/v1/gw-print/readings"
        )
        assert kept.origin == Fleet(source="mqtt-listener:main").origin("gateway:gw-print")
        assert intake.count() == 0
        raw.publish(BODY, 4, version=5)  # and the connection goes on
        assert raw.packet() == (4, b"\0\4")


def test_a_token_that_is_taken_away_ends_the_session() -> None:
    settings = {"head_timeout": 0.2}
    with (
        CollectingIntake() as intake,
        ServedListener(intake, settings=settings) as served,
        Raw(served) as raw,
        Raw(served) as other,
    ):
        raw.connect(version=5)
        other.connect("gw-mill", version=5)
        del served.tokens.known["token-of-gw-print"]
        kind, body = raw.packet()
        assert (kind, body[0]) == (14, packets.NOT_AUTHORIZED)
        other.send(b"\xc0\0")
        assert other.packet() == (13, b"")


def test_tls_and_what_a_certificate_proves(tmp_path: Path) -> None:
    papers = Papers(tmp_path / "papers")
    settings = {
        "cert_file": str(papers.folder / "server.pem"),
        "key_file": str(papers.folder / "server.key"),
        "client_ca_file": papers.ca,
    }
    issued = papers.authority.gateway("gw-print", papers.now)
    cert, key = papers.write("gw", issued)
    anonymous = ssl.create_default_context(cafile=papers.ca)
    proven = ssl.create_default_context(cafile=papers.ca)
    proven.load_cert_chain(cert, key)
    with CollectingIntake() as intake, ServedListener(intake, settings=settings) as served:
        served.tokens.certificates[issued.der] = "gw-print"
        with Raw(served, tls=anonymous) as raw:
            assert raw.connect()[1] == 0
            raw.publish(BODY)
            assert raw.packet() == (4, b"\0\1")
        with Raw(served, tls=anonymous) as raw:
            assert raw.connect(user="", token="")[1] == 4
        with Raw(served, tls=proven) as raw:
            assert raw.connect(user="", token="")[1] == 0
            raw.publish(message(row(time=T0 + 1)))
            assert raw.packet() == (4, b"\0\1")
        with Raw(served, tls=proven) as raw:
            assert raw.connect("gw-mill", version=5)[1] == packets.NOT_AUTHORIZED
            assert raw.closed() == b""
        with Raw(served) as raw:
            raw.send(connect())
            raw.closed()
        eventually(lambda: served.count("listener_refused", limit="tls"), "no TLS is told")
        with Raw(served, tls=proven) as raw, Raw(served, tls=proven) as late:
            assert raw.connect(user="", token="", version=5, client="a")[1] == 0
            served.tokens.certificates[issued.der] = ""
            kind, body = raw.packet()
            assert (kind, body[0]) == (14, packets.NOT_AUTHORIZED), "its session is ended"
            assert late.connect(user="", token="", client="b")[1] == 4, "handshake or not"
        with Raw(served, tls=proven) as raw:
            assert raw.connect(user="", token="")[1] == 4
        assert intake.count() == 6
