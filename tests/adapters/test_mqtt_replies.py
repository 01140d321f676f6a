"""Senders are told what became of their messages, over a real mosquitto with MQTT 3.1.1 and 5."""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from adapters.sources.mqtt import replies
from adapters.sources.mqtt.replies import Replies
from adapters.sources.mqtt.sieve import Sieve
from adapters.sources.mqttwire.frames import Frames, Publish
from adapters.sources.payload import Receipt, RefusedRows
from collector.model import Reason
from collector.ports import Urgency
from meterwatch.clock import SystemClock
from tests import intakes, servers
from tests.adapters.pushed import T0, message, row, topic
from tests.adapters.test_mqtt_source import VERSIONS, Box
from tests.intakes import CollectingIntake
from tests.servers import Mosquitto

pytestmark = pytest.mark.timeout(60)
REPLIES = "meterwatch/v1/gw-print/replies"
broker, intake = servers.broker, intakes.intake


class Sender:
    """A gateway that listens to all that is said to it, on ``listens``."""

    def __init__(
        self, broker: Mosquitto, version: int, listens: str, user: str = "", password: str = ""
    ) -> None:
        self.heard: queue.SimpleQueue[mqtt.MQTTMessage] = queue.SimpleQueue()
        self._client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTProtocolVersion(version)
        )
        self._ready = threading.Event()
        self._client.on_message = lambda _c, _u, heard: self.heard.put(heard)
        self._client.on_subscribe = lambda *_: self._ready.set()
        if user:
            self._client.username_pw_set(user, password)
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()
        self._client.subscribe(listens, 1)
        assert self._ready.wait(20)

    def send(self, payload: bytes, to: str = "gw-print", **properties: Any) -> None:
        told = Properties(PacketTypes.PUBLISH) if properties else None
        for name, value in properties.items():
            setattr(told, name, value)
        self._client.publish(topic(to), payload, 1, properties=told).wait_for_publish(20)

    def reply(self) -> mqtt.MQTTMessage:
        return self.heard.get(timeout=20)

    def told(self) -> dict[str, Any]:
        """The next reply."""
        found: dict[str, Any] = json.loads(self.reply().payload)
        return found

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@contextlib.contextmanager
def sender(
    broker: Mosquitto, version: int = 5, listens: str = "meterwatch/v1/+/replies/#", **login: str
) -> Iterator[Sender]:
    made = Sender(broker, version, listens, **login)
    try:
        yield made
    finally:
        made.close()


@VERSIONS
async def test_a_message_with_an_id_is_answered_with_what_became_of_it(
    broker: Mosquitto, intake: CollectingIntake, version: int
) -> None:
    box = Box(broker.port, version=version)
    async with box.running(intake):
        with sender(broker, version) as gateway:
            gateway.send(message(row(), row("nobody"), id="m-1"))
            reply = gateway.reply()
            gateway.send(message(row(), id=2))
            assert gateway.told() == {"id": 2, "stored": 3, "refused": []}
        async with asyncio.timeout(20):
            while box.metric("mqtt_replies") < 2:  # noqa: ASYNC110 - as Box.until
                await asyncio.sleep(0.01)
    assert (reply.topic, reply.qos, reply.retain) == (REPLIES, 1, False)
    told = json.loads(reply.payload)
    assert (told["id"], told["stored"]) == ("m-1", 3)
    assert [(part["reason"], part["rows"]) for part in told["refused"]] == [("unknown-device", [1])]
    assert box.metric("mqtt_replies_dropped") == box.metric("mqtt_replies_waiting") == 0


async def test_readings_on_which_the_program_failed_are_not_called_stored(
    broker: Mosquitto, intake: CollectingIntake
) -> None:
    intake.aside = "the program failed on these readings: KeyError(7)"
    async with Box(broker.port).running(intake):
        with sender(broker) as gateway:
            gateway.send(message(row(), row("nobody"), id=1))
            found = gateway.told()
    assert (found["id"], found["stored"]) == (1, 0)
    assert [(part["reason"], part["count"]) for part in found["refused"]] == [
        (Reason.UNKNOWN_DEVICE, 3),
        (Reason.PROGRAM_FAULT, 3),
    ]


@VERSIONS
@pytest.mark.parametrize("which", ["needed", "all", "none"])
async def test_who_is_told_is_set(
    broker: Mosquitto, intake: CollectingIntake, version: int, which: str
) -> None:
    told: list[Any] = []
    with sender(broker, version) as gateway:
        async with Box(broker.port, version=version, replies=which).running(intake):
            gateway.send(message(row()))
            gateway.send(b"garbage")
            gateway.send(message(row(), id=1))
            await intake.until(lambda i: i.count() == 6)
        # The end waits for acknowledgements, and replies go before them: this one comes last.
        async with Box(broker.port, version=version).running(intake):
            gateway.send(message(row(), id="last"))
            while (reply := gateway.told())["id"] != "last":
                told.append(reply["stored"])
    assert told == {"needed": [0, 3], "all": [3, 0, 3], "none": []}[which]


async def test_only_after_the_sync(broker: Mosquitto) -> None:
    with CollectingIntake(held=True) as intake, sender(broker) as gateway:
        box = Box(broker.port)
        async with box.running(intake):
            for number in (1, 2):
                gateway.send(message(row(), id=number))
                await intake.until(lambda i, number=number: i.count() == 3 * number)
            intake.release_one()  # the source's state
            intake.release_one()  # the first message
            assert gateway.told()["id"] == 1
            await box.until("mqtt_replies")
            assert box.metric("mqtt_replies") + box.metric("mqtt_replies_waiting") == 1
            intake.release()
            gateway.send(message(row(), id=3))
            assert [gateway.told()["id"] for _ in range(2)] == [2, 3]


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


@VERSIONS
async def test_a_gateway_that_nobody_entered_is_told_nothing(
    broker: Mosquitto, intake: CollectingIntake, version: int
) -> None:
    async with Box(broker.port, version=version, replies="all").running(intake):
        with sender(broker, version) as gateway:
            gateway.send(message(row(), id=1), to="gw-unknown")
            gateway.send(bytes(5 << 20), to="gw-unknown")
            gateway.send(message(row(), id=2))
            assert gateway.told()["id"] == 2
    assert [r.reason for r in intake.refusals()] == [Reason.UNKNOWN_GATEWAY, Reason.TOO_LARGE]


async def test_a_message_too_large_is_answered(broker: Mosquitto, intake: CollectingIntake) -> None:
    async with Box(broker.port).running(intake):
        with sender(broker) as gateway:
            gateway.send(bytes(5 << 20), CorrelationData=b"big")
            reply = gateway.reply()
    assert json.loads(reply.payload)["refused"][0]["reason"] == Reason.TOO_LARGE
    assert reply.properties is not None
    assert reply.properties.CorrelationData == b"big"


class TestWishes:
    """Response Topic and Correlation Data of MQTT 5."""

    async def test_both_are_honoured(self, broker: Mosquitto, intake: CollectingIntake) -> None:
        async with Box(broker.port).running(intake):
            with sender(broker) as gateway:
                to = f"{REPLIES}/session-7"
                gateway.send(message(row()), ResponseTopic=to, CorrelationData=b"\x00\xff")
                reply = gateway.reply()
        assert (reply.topic, json.loads(reply.payload)["stored"]) == (to, 3)
        assert reply.properties is not None
        assert reply.properties.CorrelationData == b"\x00\xff"

    @pytest.mark.parametrize(
        "to",
        [
            "meterwatch/v1/gw-mill/replies",  # another's
            "meterwatch/v1/gw-print",
            "meterwatch/v1/gw-print/",
            "meterwatch/v1/gw-print-2/replies",
            topic(),  # it would be read as readings, and answered
            "meterwatch/v1/gw-print/x/v1/gw-mill/readings",
            "elsewhere",
            f"{REPLIES}/a/b",
            f"{REPLIES}/",
            f"{REPLIES}-x",
        ],
    )
    async def test_a_topic_that_is_not_the_gateways_own_is_not(
        self, broker: Mosquitto, intake: CollectingIntake, to: str
    ) -> None:
        async with Box(broker.port).running(intake):
            with sender(broker, listens="#") as gateway:
                gateway.send(message(row()), ResponseTopic=to, CorrelationData=b"1")
                heard = [gateway.reply().topic for _ in range(2)]
        assert sorted(heard) == sorted([topic(), REPLIES])

    async def test_a_response_topic_alone_asks(
        self, broker: Mosquitto, intake: CollectingIntake
    ) -> None:
        async with Box(broker.port).running(intake):
            with sender(broker) as gateway:
                gateway.send(message(row()), ResponseTopic=REPLIES)
                assert gateway.told() == {"id": None, "stored": 3, "refused": []}

    async def test_other_properties_change_nothing(
        self, broker: Mosquitto, intake: CollectingIntake
    ) -> None:
        async with Box(broker.port).running(intake):
            with sender(broker) as gateway:
                now = SystemClock().now()
                gateway.send(
                    message(row(time=now)),
                    PayloadFormatIndicator=0,
                    ContentType="text/plain",
                    UserProperty=("backfill", "true"),
                    MessageExpiryInterval=60,
                    TopicAlias=1,  # between gateway and broker: we see the topic
                )
                gateway.send(message(row(time=now), id=1))
                assert gateway.told()["id"] == 1
        assert intake.refusals() == []
        assert not intake.batch().segments.backfill.any()


async def test_a_full_disk_is_told_and_then_the_receipt(
    broker: Mosquitto, intake: CollectingIntake
) -> None:
    async with Box(broker.port).running(intake):
        intake.refuse_below(Urgency.PUSH)
        with sender(broker) as gateway:
            gateway.send(message(row(), id="late", backfill=True))
            told = gateway.told()
            intake.refuse_below(Urgency.BACKFILL)
            receipt = gateway.told()
    assert (told["id"], told["stored"], told["retry"]) == ("late", 0, True)
    assert [part["reason"] for part in told["refused"]] == ["busy"]
    assert receipt == {"id": "late", "stored": 3, "refused": []}


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


FORBIDDEN = "user meterwatch\ntopic read meterwatch/v1/+/readings\n"
GATEWAYS = "pattern readwrite meterwatch/v1/%u/#\n"


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
            assert box.metric("mqtt_replies_dropped") >= 50


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
        async with asyncio.timeout(20):
            while box.metric("mqtt_replies_dropped") < 20:  # noqa: ASYNC110 - as Box.until
                await asyncio.sleep(0.01)
        assert box.metric("mqtt_replies_waiting") == 10


SHARED = ("$share/collectors/meterwatch/v1/+/readings",)


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


class TestQueue:
    """What is waiting is bounded, numbered apart, and never lost without being counted."""

    def made(self, window: int = 65535, largest: int = 0) -> Replies:
        made = Replies(5, "needed")
        made.connected(window, largest)
        return made

    def told(self, made: Replies, count: int, detail: str = "") -> None:
        part = RefusedRows("bad-value", detail, 1)
        packets = [Publish(n, b"", b"", 0) for n in range(count)]
        receipts = [Receipt(1, (part,), n) for n in range(count)]
        asked = made.choose([topic()] * count, packets, receipts, lambda _: True)
        made.tell(asked, stored=True)

    def test_bytes_are_bounded_with_those_under_way(self) -> None:
        made = self.made(window=5)
        for _ in range(100):
            self.told(made, 100, "x" * 2_000)
            made.packets(0)
        figures = made.figures()
        assert figures is not None
        assert figures.waiting * 2_000 < replies.MOST_BYTES
        assert figures.dropped == 10_000 - figures.waiting
        assert made.figures() is None

    def test_no_more_are_under_way_than_the_broker_takes(self) -> None:
        made = self.made(window=3)
        self.told(made, 10)
        first = _packets(made.packets(0))
        assert (len(first), made.packets(0)) == (3, b"")
        made.taken([(first[1].mid, 0)])
        assert len(_packets(made.packets(0))) == 1

    def test_packet_ids_in_use_are_not_given_again(self) -> None:
        made = self.made(window=2)
        self.told(made, 1)
        (first,) = _packets(made.packets(0))
        for _ in range(70_000):
            self.told(made, 1)
            (other,) = _packets(made.packets(0))
            assert other.mid not in {first.mid, 0}
            assert other.mid >= 1_000  # lower ones are paho's
            made.taken([(other.mid, 0)])

    def test_a_reply_larger_than_the_broker_takes_is_dropped_and_the_next_is_not(self) -> None:
        made = self.made(largest=300)
        self.told(made, 1, "x" * 300)
        self.told(made, 1)
        assert len(_packets(made.packets(0))) == 1
        figures = made.figures()
        assert figures is not None
        assert (figures.dropped, figures.waiting) == (1, 1)

    def test_a_foreign_acknowledgement_changes_nothing(self) -> None:
        made = self.made()
        made.taken([(7, 0)])
        assert made.figures() is None

    @pytest.mark.parametrize("below", ["+", "#", "a/b", "", "é", "a" * 65])
    def test_what_is_no_plain_level_is_not_wished(self, below: str) -> None:
        made = self.made()
        to = f"{REPLIES}/{below}".encode()
        properties = b"\x08" + len(to).to_bytes(2) + to
        wish = Publish(1, b"", b"", 0, False, properties)
        made.tell(made.choose([topic()], [wish], [Receipt(1)], lambda _: True), stored=True)
        assert {packet.topic for packet in _packets(made.packets(0))} == {REPLIES.encode()}


def _packets(stream: bytes) -> list[Publish]:
    frames = Frames(5, 1 << 20, answers=True)
    frames.feed(stream)
    return frames.take(1_000)
