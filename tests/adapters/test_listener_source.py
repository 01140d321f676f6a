"""Gateways publish to us directly: acknowledged after the sync, told what became of it, one at the
cost of none of the others."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import random
import socket
import ssl
import struct
import subprocess
import threading
from pathlib import Path
from typing import Any, Self

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from adapters.sources.inlet.limits import Rates
from adapters.sources.mqttwire import packets
from adapters.sources.payload import remedy
from collector.model import Reason
from collector.ports import Urgency
from meterwatch.refusal_words import refusal
from tests.adapters.listener_served import Raw, ServedListener, connect, packet, publish, subscribe
from tests.adapters.pushed import T0, Fleet, message, row, topic
from tests.adapters.test_http_source import Papers
from tests.intakes import CollectingIntake
from tests.programs import eventually
from tests.servers import program

pytestmark = pytest.mark.timeout(60)
BODY = message(row())
REPLIES = "meterwatch/v1/gw-print/replies"
VERSIONS = (4, 5)


class Paho:
    """paho's client, as a gateway would use it."""

    def __init__(self, served: ServedListener, version: int, gateway: str = "gw-print") -> None:
        self.acked: list[tuple[int, int]] = []
        self.replies: list[Any] = []
        self.ended: list[Any] = []
        self.granted: Any = None
        self._up, self._on = threading.Event(), threading.Event()
        self.client = paho.Client(
            CallbackAPIVersion.VERSION2, "paho", protocol=MQTTProtocolVersion(version)
        )
        self.client.username_pw_set(gateway, f"token-of-{gateway}")
        self.client.on_connect = self._connected
        self.client.on_subscribe = self._subscribed
        self.client.on_publish = lambda _c, _d, mid, code, _p: self.acked.append((mid, code.value))
        self.client.on_message = lambda _c, _d, found: self.replies.append(
            json.loads(found.payload)
        )
        self.client.on_disconnect = lambda _c, _d, _f, code, _p: self.ended.append(code)
        self.client.connect("127.0.0.1", served.port)
        self.client.loop_start()
        assert self._up.wait(20)

    def _connected(self, _c: Any, _d: Any, flags: Any, code: Any, properties: Any) -> None:
        assert not code.is_failure, code
        assert not flags.session_present
        self.granted = properties
        self._up.set()

    def _subscribed(self, _c: Any, _d: Any, _mid: int, codes: Any, _p: Any) -> None:
        self.subscribed = [code.value for code in codes]
        self._on.set()

    def subscribe(self, name: str) -> list[int]:
        self._on.clear()
        self.client.subscribe(name, 1)
        assert self._on.wait(20)
        return self.subscribed

    def publish(self, body: bytes, name: str = "") -> paho.MQTTMessageInfo:
        return self.client.publish(name or topic(), body, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_message_is_acknowledged_after_the_sync_and_not_before(version: int) -> None:
    with CollectingIntake(held=True) as intake, ServedListener(intake) as served:
        with Paho(served, version) as gateway:
            sent = gateway.publish(BODY)
            intake.wait_until(lambda i: i.unsynced() == 3)
            assert gateway.acked == []
            intake.release()
            sent.wait_for_publish(20)
            assert gateway.acked == [(sent.mid, 0)]
        fleet = Fleet(source="mqtt-listener:main")
        expected = fleet.decoder.decode_many([(topic(), BODY, T0)])
        rows = zip(expected.batch.point, expected.batch.time, expected.batch.value, strict=True)
        assert [found[:3] for found in intake.rows()] == list(rows)
        assert set(intake.batch().segments.origin.tolist()) == {fleet.origin("gateway:gw-print")}


def test_readings_on_which_the_program_failed_are_not_called_stored() -> None:
    with CollectingIntake() as intake, ServedListener(intake) as served:
        intake.aside = "the program failed on these readings: KeyError(7)"
        with Paho(served, 5) as gateway:
            gateway.subscribe(REPLIES)
            sent = gateway.publish(BODY)
            sent.wait_for_publish(20)
            eventually(lambda: bool(gateway.replies), "a reply")
            assert gateway.acked == [(sent.mid, packets.REFUSED)]
    (found,) = gateway.replies
    assert found["stored"] == 0
    assert [part["reason"] for part in found["refused"]] == [Reason.PROGRAM_FAULT]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_gateway_that_listens_is_told_what_became_of_each_message(version: int) -> None:
    with (
        CollectingIntake() as intake,
        ServedListener(intake) as served,
        Paho(served, version) as gateway,
    ):
        assert gateway.subscribe(REPLIES) == [0]
        gateway.publish(message(row(), row("nobody"), id="a-1"))
        gateway.publish(b"{")
        eventually(lambda: len(gateway.replies) == 2 and len(gateway.acked) == 2, "told")
    good, bad = gateway.replies
    assert (good["id"], good["stored"]) == ("a-1", 3)
    assert good["refused"][0]["reason"] == Reason.UNKNOWN_DEVICE
    assert good["refused"][0]["rows"] == [1]
    assert bad["refused"][0]["reason"] == Reason.PAYLOAD
    # A refusal can be told in a PUBACK of MQTT 5 only; the message is dealt with in both.
    assert [code for _, code in gateway.acked] == [0, packets.BAD_PAYLOAD if version == 5 else 0]
    assert [refusal.reason for refusal in intake.refusals()] == [
        Reason.UNKNOWN_DEVICE,
        Reason.PAYLOAD,
    ]


def test_mqtt_5_is_told_at_once_what_there_is_not() -> None:
    settings = {"window": 7, "max_message": 300_000, "silence": 90.0}
    with CollectingIntake() as intake, ServedListener(intake, settings=settings) as served:
        with Paho(served, 5) as gateway:
            told = gateway.granted.json()
            assert told["ReceiveMaximum"] == 7
            assert told["MaximumPacketSize"] == 300_000
            assert (told["MaximumQoS"], told["SessionExpiryInterval"]) == (1, 0)
            assert "ServerKeepAlive" not in told  # paho's 60 s are within what is borne
            assert gateway.subscribe("#") == [packets.NOT_AUTHORIZED]
            assert gateway.subscribe("meterwatch/v1/gw-mill/replies") == [packets.NOT_AUTHORIZED]
        with Raw(served) as raw:
            body = raw.connect(version=5, keepalive=0, client="")
            assert b"\x13" + struct.pack("!H", 60) in body  # then we say how often
            assert b"\x12\x00" in body  # and who it is


@pytest.mark.parametrize("version", VERSIONS)
def test_mosquitto_pub_publishes(version: int) -> None:
    words = ["-h", "127.0.0.1", "-q", "1", "-t", topic(), "-u", "gw-print", "-P"]
    words += ["token-of-gw-print", "-V", {4: "311", 5: "5"}[version]]
    with CollectingIntake() as intake, ServedListener(intake) as served:
        many = [program("mosquitto_pub"), "-p", str(served.port), *words]
        subprocess.run([*many, "-m", BODY.decode()], check=True, timeout=20)
        lines = "\n".join(message(row(time=T0 + n)).decode() for n in range(1, 50))
        subprocess.run([*many, "-l"], input=lines.encode(), check=True, timeout=20)
        intake.wait_until(lambda i: i.count() == 150)
        assert len(set(intake.rows())) == 150


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
        assert served.count("listener_refused", limit="unauthorized") + served.count(
            "listener_refused", limit="forbidden"
        ) + served.count("listener_refused", limit="client-id") + served.count(
            "listener_refused", limit="no-mqtt"
        ) == 1  # fmt: skip


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


def test_qos_0_and_gzip_and_what_is_too_large() -> None:
    settings = {"max_message": 300_000}
    with (
        CollectingIntake() as intake,
        ServedListener(intake, settings=settings) as served,
        Raw(served) as raw,
    ):
        raw.connect(version=5)
        raw.publish(BODY, qos=0, version=5)
        raw.publish(gzip.compress(message(row(time=T0 + 1))), 2, version=5)
        assert raw.packet() == (4, b"\0\2")
        assert intake.count() == 6
        assert served.count("listener_messages", qos="0") == 1
        raw.publish(b"[" * 400_000, 3, version=5)
        kind, body = raw.packet()
        assert (kind, body[:3]) == (4, b"\0\3" + bytes([packets.REFUSED]))
        assert intake.refusals()[0].reason == Reason.TOO_LARGE
        raw.publish(gzip.compress(b" " * (5 << 20)), 4, version=5)
        assert raw.packet()[1][:2] == b"\0\4"
        assert served.source.under_way == 0


def test_acknowledgements_come_in_the_order_of_the_messages() -> None:
    with (
        CollectingIntake(held=True) as intake,
        ServedListener(intake) as served,
        Raw(served) as raw,
    ):
        raw.connect()
        for mid in (7, 3, 9, 1, 8):
            raw.publish(b"{" if mid % 3 == 0 else message(row(time=T0 + mid)), mid)
        intake.wait_until(lambda i: i.unsynced() == 9 and len(i.refusals()) == 2)
        assert raw.silent()
        intake.release()
        assert [raw.packet()[1][1] for _ in range(5)] == [7, 3, 9, 1, 8]


def test_only_so_many_wait_and_the_rest_is_not_read() -> None:
    settings = {"window": 4}
    with CollectingIntake(held=True) as intake, ServedListener(intake, settings=settings) as served:
        with Raw(served) as raw, Raw(served) as other:
            raw.connect(keepalive=1)
            for mid in range(1, 21):
                raw.publish(message(row(time=T0 + mid)), mid)
            intake.wait_until(lambda i: i.unsynced() == 12)
            other.connect("gw-mill")
            other.publish(BODY, 1)
            intake.wait_until(lambda i: i.unsynced() == 15)  # who waits is one alone
            intake.release()
            assert [raw.packet()[1][1] for _ in range(20)] == list(range(1, 21))
            assert other.packet() == (4, b"\0\1")
        assert intake.count() == 63
        assert intake.most_unsynced_rows == 15


def test_who_sends_more_than_its_share_is_slowed_down_and_nobody_else() -> None:
    settings = {"rates": Rates(requests=10, readings=1e6, size=1e9, burst=1.0)}
    with CollectingIntake() as intake, ServedListener(intake, settings=settings) as served:
        with Raw(served) as flood, Raw(served) as other:
            flood.connect()
            other.connect("gw-mill")
            for mid in range(1, 31):
                flood.publish(message(row(time=T0 + mid)), mid)
            eventually(
                lambda: served.count("listener_refused", limit="paused-requests"), "it is paused"
            )
            before = intake.count()
            other.publish(BODY, 1)
            assert other.packet() == (4, b"\0\1")
            assert intake.count() < 93, "the flooder is not through"
            assert [flood.packet()[1][1] for _ in range(30)] == list(range(1, 31))
            assert before < 90
        assert intake.count() == 93  # nothing of it was lost


@pytest.mark.parametrize(
    ("rates", "limit"),
    [
        (Rates(requests=1e6, readings=1e6, size=2 * len(BODY), burst=1.0), "bytes"),
        (Rates(requests=1e6, readings=6, size=1e9, burst=1.0), "readings"),
    ],
)
def test_bytes_and_readings_have_their_share_too(rates: Rates, limit: str) -> None:
    settings = {"rates": rates, "window": 1}
    with (
        CollectingIntake() as intake,
        ServedListener(intake, settings=settings) as served,
        Raw(served) as raw,
    ):
        raw.connect()
        for mid in range(1, 7):
            raw.publish(message(row(time=T0 + mid)), mid)
        assert [raw.packet()[1][1] for _ in range(6)] == list(range(1, 7))
        assert served.count("listener_refused", limit=f"paused-{limit}") > 0


def test_connections_of_one_gateway_share_its_share() -> None:
    settings = {"rates": Rates(requests=5, readings=1e6, size=1e9, burst=1.0)}
    with (
        CollectingIntake() as intake,
        ServedListener(intake, settings=settings) as served,
        Raw(served) as one,
        Raw(served) as two,
    ):
        one.connect(client="1")
        two.connect(client="2")
        for mid in range(1, 7):
            one.publish(message(row(time=T0 + mid)), mid)
        for mid in range(1, 7):
            assert one.packet()[1] == bytes([0, mid])
        two.publish(BODY)
        eventually(
            lambda: served.count("listener_refused", limit="paused-requests") > 1, "both wait"
        )
        assert two.packet() == (4, b"\0\1")


def test_packets_that_are_no_messages_count_too() -> None:
    settings = {"rates": Rates(requests=5, readings=1e6, size=1e9, burst=1.0)}
    with (
        CollectingIntake() as intake,
        ServedListener(intake, settings=settings) as served,
        Raw(served) as raw,
    ):
        raw.connect()
        raw.send(b"\xc0\0" * 8)
        assert [raw.packet() for _ in range(8)] == [(13, b"")] * 8
        assert served.count("listener_refused", limit="paused-requests") > 0


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_no_mqtt_ends_the_connection_with_the_reason(version: int) -> None:
    with CollectingIntake() as intake, ServedListener(intake) as served, Raw(served) as raw:
        raw.connect(version=version)
        raw.publish(BODY, 1, version=version)
        assert raw.packet() == (4, b"\0\1")
        raw.send(publish(BODY, 2, version=version, qos=2))
        said = raw.closed()
        if version == 5:
            assert (said[0], said[2]) == (0xE0, packets.QOS)
            assert b"set QoS 1 in the gateway" in said
        else:
            assert said == b""  # 3.1.1 has no word for it
        assert served.count("listener_refused", limit="no-mqtt") == 1
        assert intake.count() == 3


def test_a_second_connection_with_a_client_id_takes_over_and_a_session_never_lasts() -> None:
    with (
        CollectingIntake(held=True) as intake,
        ServedListener(intake) as served,
        Raw(served) as first,
        Raw(served) as second,
        Raw(served) as stranger,
    ):
        assert first.connect(version=5, clean=False)[:2] == b"\0\0"
        first.publish(BODY, 1, version=5)
        intake.wait_until(lambda i: i.unsynced() == 3)
        assert stranger.connect("gw-mill")[:2] == b"\0\0"  # another gateway's "c"
        assert second.connect(version=5, clean=False)[:2] == b"\0\0"  # no session present
        kind, body = first.packet()
        assert (kind, body[0]) == (14, packets.TAKEN_OVER)
        assert first.closed() == b""
        intake.release()
        second.publish(BODY, 1, version=5)
        assert second.packet() == (4, b"\0\1")
        stranger.send(b"\xc0\0")
        assert stranger.packet() == (13, b"")


def test_a_gateway_has_only_so_many_connections() -> None:
    settings = {"per_gateway": 2}
    with (
        CollectingIntake() as intake,
        ServedListener(intake, settings=settings) as served,
        Raw(served) as one,
        Raw(served) as two,
        Raw(served) as three,
        Raw(served) as again,
    ):
        one.connect(client="1")
        two.connect(client="2")
        assert three.connect(client="3", version=5)[1] == packets.QUOTA
        one.send(packet(0xE0, b""))
        assert one.closed() == b""
        assert again.connect(client="3")[1] == 0


def test_who_does_not_hang_up_is_hung_up_on() -> None:
    with CollectingIntake() as intake, ServedListener(intake) as served, Raw(served) as raw:
        raw.connect(version=5)
        raw.send(publish(BODY, version=5, qos=2))
        assert raw.packet()[1][0] == packets.QOS
        eventually(lambda: served.source.connections == 0, "it is gone, though we keep it open")


def test_who_says_nothing_is_shown_out() -> None:
    settings = {"head_timeout": 0.2, "silence": 0.3}
    with (
        CollectingIntake() as intake,
        ServedListener(intake, settings=settings) as served,
        Raw(served) as mute,
        Raw(served) as half,
        Raw(served) as idle,
    ):
        half.send(connect()[:9])
        idle.connect(version=5, client="idle", keepalive=0)
        assert mute.closed() == b""
        assert half.closed() == b""
        assert idle.packet()[1][0] == packets.KEEP_ALIVE


def test_a_message_that_comes_too_slowly_ends_its_connection() -> None:
    settings = {"head_timeout": 0.2}
    with (
        CollectingIntake() as intake,
        ServedListener(intake, settings=settings) as served,
        Raw(served) as slow,
        Raw(served) as idle,
    ):
        idle.connect(client="idle")
        slow.connect(version=5, client="slow")
        slow.send(publish(BODY, version=5)[:20])
        kind, body = slow.packet()
        assert (kind, body[0]) == (14, packets.QUOTA)
        assert b"too slowly" in body
        idle.publish(BODY)  # who says nothing at all is not slow
        assert idle.packet() == (4, b"\0\1")


def test_so_many_from_one_address_and_so_many_at_all() -> None:
    for settings, limit in (
        ({"per_address": 2}, "per-address"),
        ({"connections": 2}, "connections"),
    ):
        with (
            CollectingIntake() as intake,
            ServedListener(intake, settings=settings) as served,
            Raw(served) as one,
            Raw(served) as two,
            Raw(served) as three,
        ):
            one.connect(client="1")
            two.connect(client="2")
            assert three.closed() == b""
            assert served.count("listener_refused", limit=limit) == 1


def _publish_for_ever(raw: Raw, body: bytes) -> None:
    for mid in itertools.cycle(range(1, 60_000)):
        raw.publish(body, mid)


def test_a_client_that_never_reads_costs_itself_only() -> None:
    settings = {"rates": Rates(requests=1e6, readings=1e9, size=1e9, burst=10)}
    with (
        CollectingIntake() as intake,
        ServedListener(intake, settings=settings) as served,
        Raw(served, receive=4096) as deaf,
        Raw(served) as other,
    ):
        deaf.connect()
        deaf.send(subscribe(REPLIES))
        body = message(*[row(f"nobody-{n}") for n in range(40)])
        deaf.socket.settimeout(0.5)
        with pytest.raises((TimeoutError, ConnectionError)):
            _publish_for_ever(deaf, body)
        other.connect("gw-mill")
        other.publish(BODY)
        assert other.packet() == (4, b"\0\1")


def test_while_the_disk_is_full_nothing_is_acknowledged_and_nothing_is_lost() -> None:
    with CollectingIntake() as intake, ServedListener(intake) as served, Raw(served) as raw:
        raw.connect()
        intake.refuse_below(Urgency.POLL)
        raw.publish(BODY, 1)
        raw.publish(message(row(time=T0 + 1)), 2)
        assert raw.silent()
        intake.refuse_below(Urgency.BACKFILL)
        assert [raw.packet()[1][1] for _ in range(2)] == [1, 2]
        assert intake.count() == 6


def test_who_leaves_while_the_disk_is_full_takes_no_room() -> None:
    with CollectingIntake() as intake, ServedListener(intake) as served:
        intake.refuse_below(Urgency.POLL)
        with Raw(served) as raw:
            raw.connect()
            intake.refuse_below(Urgency.PUSH)
            raw.publish(message(row(time=T0 - 7_200_000)), 1)
            intake.wait_until(lambda i: len(i.declined) >= 1)
            assert served.source.under_way > 0
        eventually(lambda: served.source.under_way == 0, "nothing is under way")
        assert intake.count() == 0


def test_late_data_waits_for_the_disk_and_keeps_its_place() -> None:
    with CollectingIntake() as intake, ServedListener(intake) as served, Raw(served) as raw:
        raw.connect()
        intake.refuse_below(Urgency.PUSH)
        raw.publish(message(row(time=T0 - 7_200_000)), 1)
        raw.publish(BODY, 2)
        intake.wait_until(lambda i: len(i.declined) >= 1 and i.count() == 3)
        assert raw.silent()  # the second is stored, and told in its turn
        intake.refuse_below(Urgency.BACKFILL)
        assert [raw.packet()[1][1] for _ in range(2)] == [1, 2]
        assert intake.count() == 6


def test_at_the_end_what_is_under_way_is_acknowledged() -> None:
    with (
        CollectingIntake(held=True) as intake,
        ServedListener(intake) as served,
        Raw(served) as raw,
        Raw(served) as idle,
    ):
        raw.connect(version=5, client="1")
        idle.connect(version=5, client="2")
        raw.publish(BODY, 1, version=5)
        intake.wait_until(lambda i: i.unsynced() == 3)
        served.begin_stop()
        assert idle.packet()[1][0] == packets.SHUTTING_DOWN
        assert raw.silent()
        intake.release()
        assert raw.packet() == (4, b"\0\1")
        assert raw.packet()[1][0] == packets.SHUTTING_DOWN
        raw.socket.close()
        idle.socket.close()
        served.stop()


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


def test_partial_messages_of_all_together_are_bounded() -> None:
    settings = {"in_flight": 1 << 20, "max_message": 1 << 20}
    with CollectingIntake() as intake, ServedListener(intake, settings=settings) as served:
        raws = [Raw(served) for _ in range(4)]
        try:
            for number, raw in enumerate(raws):
                raw.connect(version=5, client=str(number))
                raw.send(publish(b" " * 900_000, version=5)[:600_000])
            eventually(lambda: served.count("listener_refused", limit="room") >= 1, "one is ended")
            ended = [raw for raw in raws if not raw.silent()]
            assert 1 <= len(ended) < 4
            for raw in ended:
                assert raw.packet()[1][0] == packets.QUOTA
        finally:
            for raw in raws:
                raw.socket.close()
        eventually(lambda: served.source.connections == 0, "all gone")


def test_a_client_that_resets_in_the_middle_harms_nobody() -> None:
    with CollectingIntake(held=True) as intake, ServedListener(intake) as served:
        for mid in range(1, 6):
            with Raw(served) as raw:
                raw.connect()
                raw.publish(message(row(time=T0 + mid)), mid)
                intake.wait_until(lambda i, mid=mid: i.unsynced() == 3 * mid)
                raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        intake.release()
        eventually(lambda: served.source.connections == 0, "all gone")
        eventually(lambda: served.source.under_way == 0, "nothing is under way")
        assert intake.count() == 15


def test_garbage_from_many_ends_their_connections_and_no_others() -> None:
    chance = random.Random(7)
    with (
        CollectingIntake() as intake,
        ServedListener(intake, settings={"hesitation": 0.01}) as served,
        Raw(served) as steady,
    ):
        steady.connect(client="steady")
        for number in range(1, 151):
            with Raw(served) as raw, contextlib.suppress(OSError):
                good = connect(client="x", version=chance.choice(VERSIONS))
                stream = bytearray(chance.choice((b"", good)) + chance.randbytes(200))
                if number % 3 == 0:
                    stream = bytearray(good + publish(BODY, 1) * 3)
                    stream[chance.randrange(len(stream))] ^= 1 << chance.randrange(8)
                raw.send(bytes(stream))
                raw.socket.shutdown(socket.SHUT_WR)
                raw.closed()
            if number % 50 == 0:
                steady.publish(message(row(time=T0 + number)), number)
                assert steady.packet() == (4, struct.pack("!H", number))
        eventually(lambda: served.source.connections == 1, "all others are gone")
        eventually(lambda: served.source.under_way == 0, "nothing is under way")
