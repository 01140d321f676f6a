"""Replies and what a broker makes of them: one that is slow, forbids, goes away, or shares a
subscription among collectors. Readings arrive all the same."""

from __future__ import annotations

import json
import select
import socket
import threading
from pathlib import Path

import pytest

from adapters.sources.mqtt import replies
from adapters.sources.mqtt.sieve import Sieve
from adapters.sources.mqttwire.frames import Frames
from tests import intakes, servers
from tests.adapters.mqtt.mqtt_box import VERSIONS, Box, sender
from tests.adapters.payload.pushed import REPLIES, T0, message, row
from tests.intakes import CollectingIntake
from tests.servers import Mosquitto

pytestmark = pytest.mark.timeout(60)
FORBIDDEN = "user meterwatch\ntopic read meterwatch/v1/+/readings\n"
GATEWAYS = "pattern readwrite meterwatch/v1/%u/#\n"
SHARED = ("$share/collectors/meterwatch/v1/+/readings",)
broker, intake = servers.broker, intakes.intake


@VERSIONS
async def test_a_broker_with_a_small_window_gets_all_replies_in_the_end(
    tmp_path: Path, intake: CollectingIntake, version: int
) -> None:
    config = "max_inflight_messages 3"  # with MQTT 5 the Receive Maximum that it grants
    with Mosquitto(tmp_path / "b", config=config) as broker:
        box = Box(broker.port, version=version)
        async with box.running(intake):
            with sender(broker, version) as gateway:
                for number in range(100):
                    gateway.send(message(row(time=T0 + number), id=number))
                assert [gateway.told()["id"] for _ in range(100)] == list(range(100))
            assert all(state.up for state in intake.states())


@VERSIONS
async def test_where_the_broker_forbids_replies_readings_arrive_all_the_same(
    tmp_path: Path, intake: CollectingIntake, version: int
) -> None:
    acl = tmp_path / "acl"
    acl.write_text(FORBIDDEN + GATEWAYS)
    users = {"meterwatch": "1", "gw-print": "2"}
    with Mosquitto(tmp_path / "b", users=users, config=f"acl_file {acl}") as broker:
        box = Box(broker.port, version=version, user="meterwatch", password="1")
        async with box.running(intake):
            with sender(broker, version, user="gw-print", password="2") as gateway:
                for number in range(50):
                    gateway.send(message(row(time=T0 + number), id=number))
                await intake.until(lambda i: i.count() >= 150)
                await box.until("mqtt_broker_risks")
                ends = len(intake.states())
                assert ends <= 1 + 2 * 3  # up, and at most three connections ended over it
                for number in range(50, 100):
                    gateway.send(message(row(time=T0 + number), id=number))
                await intake.until(lambda i: len(set(i.batch().time.tolist())) == 100)
            assert len(intake.states()) <= ends + 1  # and then no more
            await box.until("mqtt_replies_dropped", 50)


async def test_where_it_forbids_a_wished_topic_the_usual_one_is_taken(
    tmp_path: Path, intake: CollectingIntake
) -> None:
    acl = tmp_path / "acl"
    acl.write_text(FORBIDDEN + "topic write meterwatch/v1/+/replies\n" + GATEWAYS)
    users = {"meterwatch": "1", "gw-print": "2"}
    with Mosquitto(tmp_path / "b", users=users, config=f"acl_file {acl}") as broker:
        async with Box(broker.port, user="meterwatch", password="1").running(intake):
            login = {"user": "gw-print", "password": "2"}
            with sender(broker, listens="meterwatch/v1/gw-print/replies/#", **login) as gateway:
                for number in range(5):
                    gateway.send(message(row(), id=number), ResponseTopic=f"{REPLIES}/{number}")
                heard = [gateway.reply() for _ in range(5)]
    assert {reply.topic for reply in heard} == {REPLIES}
    assert {json.loads(reply.payload)["id"] for reply in heard} == set(range(5))


async def test_what_the_broker_had_not_taken_is_said_again_on_the_next_connection(
    tmp_path: Path, intake: CollectingIntake
) -> None:
    with Mosquitto(tmp_path / "b") as broker:
        box = Box(broker.port)
        async with box.running(intake):
            with sender(broker) as gateway:
                intake.hold()
                gateway.send(message(row(), id=1))
                await intake.until(lambda i: i.count() == 3)
                broker.pause()
                intake.release()  # synced and answered, into a socket that nobody reads
                await box.until("mqtt_replies_waiting")
            broker.kill()
            await intake.until(lambda i: not i.states()[-1].up)
            broker.start()
            with sender(broker) as gateway:
                await intake.until(lambda i: i.states()[-1].up)
                assert gateway.told() == {"id": 1, "stored": 3, "refused": []}
            await box.until("mqtt_replies")
            assert box.metric("mqtt_replies_dropped") == 0


async def test_replies_that_nobody_takes_never_stop_the_intake(
    broker: Mosquitto, intake: CollectingIntake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replies, "IN_FLIGHT", 0)  # as if the broker never acknowledged one
    monkeypatch.setattr(replies, "MOST", 10)
    box = Box(broker.port)
    async with box.running(intake):
        with sender(broker) as gateway:
            for number in range(30):
                gateway.send(message(row(time=T0 + number), id=number))
        await intake.until(lambda i: i.count() == 90)
        await box.until("mqtt_replies_dropped", 20)
        assert box.metric("mqtt_replies_waiting") == 10


@VERSIONS
async def test_two_collectors_share_a_subscription(broker: Mosquitto, version: int) -> None:
    with CollectingIntake() as one, CollectingIntake() as other:
        boxes = [Box(broker.port, version=version, topics=SHARED, client_id=n) for n in ("a", "b")]
        async with boxes[0].running(one), boxes[1].running(other):
            with sender(broker, version) as gateway:
                for number in range(40):
                    gateway.send(message(row(time=T0 + number), id=number))
                assert {gateway.told()["id"] for _ in range(40)} == set(range(40))
    shares = [intake.batch().time.tolist() for intake in (one, other)]
    assert min(len(share) for share in shares) > 0
    assert sorted(shares[0] + shares[1]) == sorted([T0 + n for n in range(40)] * 3)


@VERSIONS
async def test_of_two_collectors_the_broker_keeps_the_share_of_one_that_is_away(
    broker: Mosquitto, version: int
) -> None:
    with CollectingIntake() as one, CollectingIntake() as other:
        boxes = [Box(broker.port, version=version, topics=SHARED, client_id=n) for n in ("a", "b")]
        async with boxes[0].running(one):
            async with boxes[1].running(other):
                pass
            with sender(broker, version) as gateway:
                for number in range(40):
                    gateway.send(message(row(time=T0 + number), id=number))
                await one.until(lambda i: i.count() >= 20 * 3)
                async with boxes[1].running(other):  # it is back, and gets what was kept
                    assert {gateway.told()["id"] for _ in range(40)} == set(range(40))
    assert one.count() + other.count() == 40 * 3
    assert other.count() > 0


async def test_what_a_broker_says_when_it_ends_the_connection_is_told(
    intake: CollectingIntake,
) -> None:
    said = "maintenance at 03:00\x1b[2J"
    reason = b"\x1f" + len(said).to_bytes(2) + said.encode()
    farewell = b"\x8b" + bytes([len(reason)]) + reason  # 139: server shutting down
    connack = b"\x20\x03\x00\x00\x00"
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def play() -> None:
            link, _ = listening.accept()
            with link:
                link.recv(1000)
                link.sendall(connack + b"\xe0" + bytes([len(farewell)]) + farewell)

        playing = threading.Thread(target=play)
        playing.start()
        async with Box(listening.getsockname()[1]).running(intake, until_up=False):
            await intake.until(
                lambda i: any('it says "maintenance' in s.reason for s in i.states())
            )
        playing.join()
    assert all(state.reason.isprintable() for state in intake.states())


def test_our_last_words_are_read_though_we_leave_something_unread() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname())
        theirs, _ = listening.accept()
        with theirs:
            theirs.sendall(b"PUBACKs that nobody will read")
            assert select.select([ours], [], [], 20)[0]
            sieve = Sieve(ours, Frames(5, 1 << 20, answers=True))
            sieve.write(b"our last acknowledgements")
            leaving = threading.Thread(target=sieve.close)
            leaving.start()
            leaving.join(0.3)  # a close that does not wait for the broker has happened by then
            # A broker that sees the connection reset reads no further.
            assert theirs.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
            assert theirs.recv(100) == b"our last acknowledgements"
            assert theirs.recv(100) == b""
        leaving.join()
