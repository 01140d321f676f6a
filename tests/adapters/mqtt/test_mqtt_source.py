"""What the MQTT source promises, against a real mosquitto."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from adapters.sources.mqtt import MqttSettings, MqttSource
from collector.model import Reason, SourceState
from collector.ports import Urgency
from collector.telemetry import Telemetry
from meterwatch.clock import SimulatedClock, SystemClock
from tests import intakes, servers
from tests.adapters.mqtt.mqtt_box import VERSIONS, Box
from tests.adapters.payload.pushed import T0, Fleet, message, row, topic
from tests.intakes import CollectingIntake
from tests.servers import Certificates, Mosquitto, free_port

pytestmark = pytest.mark.timeout(60)
broker, intake = servers.broker, intakes.intake


class Gateway:
    """Publishes messages at QoS 1 and waits until the broker has them."""

    def __init__(self, broker: Mosquitto, user: str = "", password: str = "") -> None:
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self._client.max_queued_messages_set(0)
        self._client.max_inflight_messages_set(1000)
        if user:
            self._client.username_pw_set(user, password)
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()

    def send(self, *payloads: bytes, qos: int = 1, to: str = "gw-print") -> None:
        for sent in [self._client.publish(topic(to), payload, qos) for payload in payloads]:
            sent.wait_for_publish(20)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@contextlib.contextmanager
def gateway(broker: Mosquitto, user: str = "", password: str = "") -> Iterator[Gateway]:
    sender = Gateway(broker, user, password)
    try:
        yield sender
    finally:
        sender.close()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.make(tmp_path_factory.mktemp("certificates"))


def numbered(count: int, start: int = 0) -> list[bytes]:
    """Messages of one reading each, each at a time of its own."""
    return [
        message(row(time=T0 + n, values={"power.active": n})) for n in range(start, start + count)
    ]


def times(intake: CollectingIntake) -> list[int]:
    return [time - T0 for time in intake.batch().time.tolist()]


def down(intake: CollectingIntake, says: str) -> bool:
    return any(not state.up and says in state.reason for state in intake.states())


def cut(intake: CollectingIntake) -> bool:
    """The connection has ended; the kernel tells a killed broker either as an end or as a reset."""
    return down(intake, "closed the connection") or down(intake, "was lost")


@VERSIONS
async def test_readings_arrive_with_origin_and_refusals(
    broker: Mosquitto, intake: CollectingIntake, version: int
) -> None:
    box = Box(broker.port, version=version)
    async with box.running(intake):
        with gateway(broker) as sender:
            sender.send(message(row()), b"garbage", message(row(serial="1"), row(time=T0 + 1)))
        await intake.until(lambda i: i.count() == 6 and len(i.refusals()) == 2)
    assert [r.reason for r in intake.refusals()] == [Reason.PAYLOAD, Reason.WRONG_SERIAL]
    assert set(intake.batch().origin().tolist()) == {box.fleet.origin("gateway:gw-print")}
    (state,) = intake.states()
    assert (state.up, state.origin) == (True, box.fleet.origin("mqtt:main"))


@VERSIONS
async def test_acknowledged_only_after_the_sync(broker: Mosquitto, version: int) -> None:
    """What was not synced when the program ends comes again; what was does not."""
    with CollectingIntake(held=True) as intake:
        async with Box(broker.port, version=version).running(intake):
            with gateway(broker) as sender:
                sender.send(*numbered(1))
                await intake.until(lambda i: i.count() == 1)
                sender.send(*numbered(1, 1))
                await intake.until(lambda i: i.count() == 2)
            intake.release_one()  # the source's state
            intake.release_one()  # message 0
    with CollectingIntake() as intake:
        async with Box(broker.port, version=version).running(intake):
            await intake.until(lambda i: i.count() == 1)
            with gateway(broker) as sender:
                sender.send(*numbered(1, 9))
            await intake.until(lambda i: i.count() == 2)
    assert times(intake) == [1, 9]


@VERSIONS
async def test_nothing_is_lost_while_we_are_away(broker: Mosquitto, version: int) -> None:
    with gateway(broker) as sender:
        with CollectingIntake() as intake:
            async with Box(broker.port, version=version).running(intake):
                sender.send(*numbered(10))
                await intake.until(lambda i: i.count() == 10)
        sender.send(*numbered(2000, 10))
        with CollectingIntake() as intake:
            async with Box(broker.port, version=version).running(intake):
                sender.send(*numbered(10, 2010))
                await intake.until(lambda i: i.count() == 2010)
    assert times(intake) == list(range(10, 2020))


@VERSIONS
async def test_a_broker_restart_loses_nothing_it_had_saved(
    tmp_path: Path, intake: CollectingIntake, version: int
) -> None:
    with Mosquitto(tmp_path / "b", persistent=True) as broker:
        async with Box(broker.port, version=version).running(intake):
            with gateway(broker) as sender:
                sender.send(*numbered(5))
            await intake.until(lambda i: i.count() == 5)
            intake.hold()
            with gateway(broker) as sender:
                sender.send(*numbered(5, 5))
            await intake.until(lambda i: i.count() == 10)
            broker.stop()
            await intake.until(cut)
            await intake.until(lambda i: down(i, "nobody listens"))
            intake.release()  # synced now, but these ids belong to a connection that is gone
            broker.start()
            await intake.until(lambda i: [s.up for s in i.states()][-1:] == [True])
            with gateway(broker) as sender:
                sender.send(*numbered(5, 10))
            await intake.until(lambda i: set(times(i)) == set(range(15)))
    # 5 .. 9 came twice: unacknowledged on the first connection, sent again on the second. Of the
    # first five the acknowledgements may have been under way when the broker stopped.
    came = [times(intake).count(number) for number in range(15)]
    assert came[5:] == [2] * 5 + [1] * 5
    assert set(came[:5]) <= {1, 2}


async def test_ids_of_an_old_connection_are_not_acknowledged_on_the_new_one(
    broker: Mosquitto,
) -> None:
    with CollectingIntake(held=True) as intake:
        box = Box(broker.port)
        with gateway(broker) as sender:
            async with box.running(intake):
                for n in range(3):
                    sender.send(*numbered(1, n))
                    await intake.until(lambda i, n=n: i.count() == n + 1)
                # Another client with our id throws us out: the connection changes, both live on.
                kick = mqtt.Client(
                    mqtt.CallbackAPIVersion.VERSION2,
                    box.settings.session_name,
                    protocol=mqtt.MQTTv5,
                )
                stay = Properties(PacketTypes.CONNECT)
                stay.SessionExpiryInterval = 60
                kick.connect("127.0.0.1", broker.port, clean_start=False, properties=stay)
                await intake.until(cut)
                await intake.until(lambda i: i.count() == 6)  # they came again
                for _ in range(4):
                    intake.release_one()  # the first "up", and what came by the old connection
            # None was acknowledged on the new one: they come a third time.
            with CollectingIntake() as after:
                async with box.running(after):
                    await after.until(lambda i: i.count() == 3)
                assert times(after) == [0, 1, 2]


@pytest.mark.parametrize(("user", "password"), [("mw", "wrong"), ("", "")])
@VERSIONS
async def test_a_wrong_password_is_told_in_one_line_and_tried_again(
    tmp_path: Path, intake: CollectingIntake, version: int, user: str, password: str
) -> None:
    with Mosquitto(tmp_path / "b", users={"mw": "right"}) as broker:
        box = Box(broker.port, version=version, user=user, password=password)
        async with box.running(intake, until_up=False):
            await intake.until(lambda i: down(i, "check user and password"))
        box = Box(broker.port, version=version, user="mw", password="right")
        async with box.running(intake):
            assert intake.states()[-1].up
    assert len(intake.entries(SourceState)) == 2
    assert "right" not in intake.states()[0].reason


async def test_nobody_listens(intake: CollectingIntake) -> None:
    async with Box(free_port()).running(intake, until_up=False):
        await intake.until(lambda i: down(i, "nobody listens"))


class TestTls:
    async def test_readings_over_tls(
        self, tmp_path: Path, certificates: Certificates, intake: CollectingIntake
    ) -> None:
        plain = free_port()
        with Mosquitto(
            tmp_path / "b",
            certificates=certificates,
            client_certificates=True,
            config=f"listener {plain} 127.0.0.1",
        ) as broker:
            box = Box(
                broker.port,
                tls=True,
                ca_file=str(certificates.ca),
                cert_file=str(certificates.client),
                key_file=str(certificates.client_key),
            )
            async with box.running(intake):
                broker.port = plain  # the gateway of this test speaks without
                with gateway(broker) as sender:
                    sender.send(*numbered(3000))
                await intake.until(lambda i: i.count() == 3000)
        assert times(intake) == list(range(3000))

    async def test_a_certificate_of_a_stranger(
        self, tmp_path: Path, certificates: Certificates, intake: CollectingIntake
    ) -> None:
        other = Certificates.make(tmp_path / "other")
        with Mosquitto(tmp_path / "b", certificates=certificates) as broker:
            box = Box(broker.port, tls=True, ca_file=str(other.ca))
            async with box.running(intake, until_up=False):
                await intake.until(lambda i: down(i, "must be signed by a CA in ca_file"))

    async def test_no_client_certificate(
        self, tmp_path: Path, certificates: Certificates, intake: CollectingIntake
    ) -> None:
        with Mosquitto(
            tmp_path / "b", certificates=certificates, client_certificates=True
        ) as broker:
            box = Box(broker.port, tls=True, ca_file=str(certificates.ca))
            async with box.running(intake, until_up=False):
                await intake.until(lambda i: down(i, "client certificate"))

    async def test_tls_to_a_plain_port(
        self, broker: Mosquitto, certificates: Certificates, intake: CollectingIntake
    ) -> None:
        box = Box(broker.port, tls=True, ca_file=str(certificates.ca))
        async with box.running(intake, until_up=False):
            await intake.until(lambda i: down(i, "TLS"))

    async def test_plain_to_a_tls_port(
        self, tmp_path: Path, certificates: Certificates, intake: CollectingIntake
    ) -> None:
        with Mosquitto(tmp_path / "b", certificates=certificates) as broker:
            async with Box(broker.port).running(intake, until_up=False):
                await intake.until(lambda i: down(i, "does this port expect TLS?"))


@VERSIONS
async def test_a_flood_is_bounded_while_the_disk_stands_still(
    broker: Mosquitto, version: int
) -> None:
    box = Box(
        broker.port, version=version, keepalive=1, max_unsynced_readings=1000,
        max_unsynced_bytes=200_000,
    )  # fmt: skip
    with CollectingIntake(held=True) as intake:
        async with box.running(intake):
            with gateway(broker) as sender:
                sender.send(*numbered(5_000))
            await box.until("mqtt_paused")
            bound = 1000 + 512 + 1
            assert intake.count() <= bound
            # Longer than the broker waits for a client that says nothing (1.5 x keepalive).
            await asyncio.to_thread(threading.Event().wait, 2)
            assert intake.count() <= bound
            assert all(state.up for state in intake.states())
            intake.release()
            await intake.until(lambda i: i.count() == 5_000)
            assert intake.most_unsynced_rows <= bound
        assert times(intake) == list(range(5_000))


async def test_readings_the_disk_refuses_are_offered_again(
    broker: Mosquitto, intake: CollectingIntake
) -> None:
    box = Box(broker.port)
    late = [message(row(time=T0 + n, values={"power.active": n}), backfill=True) for n in range(5)]
    async with box.running(intake):
        intake.refuse_below(Urgency.PUSH)
        with gateway(broker) as sender:
            sender.send(*late)
            await intake.until(lambda i: sum(len(d.batch or ()) for d in i.declined) >= 5)
            live = message(row(time=SystemClock().now(), values={"power.active": 1}))
            sender.send(live)
            await intake.until(lambda i: i.count() == 1)  # live readings pass all the same
            assert not box.metric("mqtt_paused")
            intake.refuse_below(Urgency.CONTROL)
            sender.send(live)
            await box.until("mqtt_paused")  # not even live ones: read no more
            intake.refuse_below(Urgency.BACKFILL)
            await intake.until(lambda i: i.count() == 7)
            sender.send(live)
            await intake.until(lambda i: i.count() == 8)
    with CollectingIntake() as after:  # all of it was acknowledged in the end
        async with box.running(after):
            with gateway(broker) as sender:
                sender.send(*numbered(1))
            await after.until(lambda i: i.count() == 1)
        assert times(after) == [0]


async def test_live_and_late_part_ways_when_the_disk_is_nearly_full(
    broker: Mosquitto,
) -> None:
    now = SystemClock().now()
    live = [message(row(time=now + n, values={"power.active": n})) for n in range(20)]
    with gateway(broker) as sender, CollectingIntake() as intake:
        box = Box(broker.port)
        async with box.running(intake):
            pass  # the broker keeps our session from here on
        for old, new in zip(numbered(20), live, strict=True):
            sender.send(old, new)  # what waits at the broker will be read in one turn
        intake.refuse_below(Urgency.PUSH)
        async with box.running(intake):
            await intake.until(lambda i: i.count() == 20)
            assert set(intake.batch().time.tolist()) == set(range(now, now + 20))
            intake.refuse_below(Urgency.BACKFILL)
            await intake.until(lambda i: i.count() == 40)


async def test_a_message_too_large_is_refused_and_does_not_come_again(
    broker: Mosquitto, intake: CollectingIntake
) -> None:
    box = Box(broker.port)
    async with box.running(intake):
        with gateway(broker) as sender:
            sender.send(bytes(5 << 20), *numbered(1))
        await intake.until(lambda i: i.count() == 1 and len(i.refusals()) == 1)
        (refusal,) = intake.refusals()
        assert refusal.reason == Reason.TOO_LARGE
        assert len(refusal.sample) == 64 << 10
    with CollectingIntake() as after:
        async with box.running(after):
            with gateway(broker) as sender:
                sender.send(*numbered(1))
            await after.until(lambda i: i.count() == 1)
        assert after.refusals() == []


async def test_a_broker_that_hangs_is_noticed(broker: Mosquitto, intake: CollectingIntake) -> None:
    async with Box(broker.port, keepalive=1).running(intake):
        broker.pause()
        await intake.until(lambda i: down(i, "does not answer any more"))
        broker.resume()
        await intake.until(lambda i: i.states()[-1].up)


async def test_the_registry_changes_while_running(
    broker: Mosquitto, intake: CollectingIntake
) -> None:
    box = Box(broker.port)
    async with box.running(intake) as source:
        with gateway(broker) as sender:
            sender.send(message(row("main-meter")), to="gw-print")
            await intake.until(lambda i: i.count() == 3)
            smaller = Fleet([d for d in box.fleet.registry.devices.values() if d.site == "mill"])
            source.update(smaller.decoder)
            sender.send(message(row("main-meter")), to="gw-print")
            await intake.until(lambda i: len(i.refusals()) == 1)
    assert intake.refusals()[0].reason == Reason.UNKNOWN_GATEWAY


async def test_unsafe_settings_of_a_broker_are_told(
    tmp_path: Path, intake: CollectingIntake
) -> None:
    with Mosquitto(tmp_path / "b", config="max_queued_messages 5") as broker:
        conf = str(tmp_path / "b" / "mosquitto.conf")
        box = Box(broker.port, broker_config=conf)
        async with box.running(intake):
            with gateway(broker) as sender:
                sender.send(*numbered(1), qos=0)
            await intake.until(lambda i: i.count() == 1)
    assert box.metric("mqtt_qos0_messages") == 1
    assert box.metric("mqtt_broker_risks") == 3  # persistence, queue, QoS 0


async def test_what_the_broker_drops_is_told(tmp_path: Path) -> None:
    config = "max_queued_messages 5\nsys_interval 1"
    with Mosquitto(tmp_path / "b", config=config) as broker, CollectingIntake(held=True) as intake:
        box = Box(broker.port, max_unsynced_readings=10)
        async with box.running(intake):
            with gateway(broker) as sender:
                while not any("being dropped" in line for line in broker.log):
                    sender.send(*[message(*[row()] * 50)] * 200)
            intake.release()
            await box.until("mqtt_broker_dropped")


async def test_under_a_simulated_clock_the_receipt_is_simulated(
    broker: Mosquitto, intake: CollectingIntake
) -> None:
    clock = SimulatedClock(T0 + 5)
    fleet = Fleet()
    settings = MqttSettings("main", "127.0.0.1", broker.port)
    source = MqttSource(settings, fleet.decoder, clock, Telemetry())
    task = asyncio.create_task(source.run(intake))
    await intake.until(lambda i: any(s.up for s in i.states()))
    with gateway(broker) as sender:
        sender.send(*numbered(1))
    await intake.until(lambda i: i.count() == 1)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert intake.batch().received().tolist() == [T0 + 5]
