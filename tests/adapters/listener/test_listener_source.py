"""Gateways publish to us directly: acknowledged after the sync, in their order, and told what
became of it; whatever the disk does, nothing is lost."""

from __future__ import annotations

import contextlib
import gzip
import json
import shlex
import struct
import subprocess
import threading
from pathlib import Path
from typing import Any, Self

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from structlog.testing import capture_logs

from adapters.sources.mqttwire import packets
from collector.model import Reason
from collector.ports import Urgency
from tests.adapters.inlet.papers import Papers
from tests.adapters.listener.listener_served import VERSIONS, Raw, ServedListener
from tests.adapters.payload.pushed import BODY, REPLIES, T0, Fleet, message, row, topic
from tests.intakes import CollectingIntake
from tests.programs import ROOT, eventually
from tests.servers import program

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def papers(tmp_path: Path) -> Papers:
    return Papers(tmp_path / "tls")


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
@pytest.mark.parametrize("name", [REPLIES, f"{REPLIES}/#"])  # as an access list grants them
def test_a_gateway_that_listens_is_told_what_became_of_each_message(
    version: int, name: str
) -> None:
    with (
        CollectingIntake() as intake,
        ServedListener(intake) as served,
        Paho(served, version) as gateway,
    ):
        assert gateway.subscribe(name) == [0]
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


def test_the_command_of_the_page_works(papers: Papers) -> None:
    page = (
        (ROOT / "docs" / "gateway-protocol.md")
        .read_text("utf-8")
        .partition("## Without a broker")[2]
    )
    line = next(line for line in page.splitlines() if line.startswith("mosquitto_rr "))
    with CollectingIntake() as intake, ServedListener(intake, settings=papers.settings()) as served:
        here = {"meters.example": "localhost", "8883": str(served.port), "ca.pem": papers.ca}
        here["$TOKEN"] = "token-of-gw-print"
        words = [here.get(word, word) for word in shlex.split(line)]
        words[0] = program(words[0])
        done = subprocess.run(words, check=True, timeout=20, stdout=subprocess.PIPE)
        assert json.loads(done.stdout) == {"id": "a-1", "stored": 1, "refused": []}
        assert intake.count() == 1


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


def test_two_that_throw_each_other_out_are_told() -> None:
    """MQTT 3.1.1 has no word for it: only our log can say why the connections end."""
    with (
        CollectingIntake() as intake,
        ServedListener(intake) as served,
        contextlib.ExitStack() as s,
        capture_logs() as logs,
    ):
        for _ in range(4):
            last = s.enter_context(Raw(served))
            assert last.connect(client="twin")[1] == 0
        last.send(b"\xc0\0")
        assert last.packet() == (13, b"")
        assert served.count("listener_refused", limit="taken-over") == 3
    (told,) = [line for line in logs if line["event"] == "listener-taken-over"]
    assert told["who"] == "gw-print"
    assert "client id 'twin' came again, from 127.0.0.1" in told["message"]


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
