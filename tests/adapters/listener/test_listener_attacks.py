"""Clients that mean a listener ill, or badly: no MQTT, silence, slowness, garbage, sockets that are
never read. Each costs itself only."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import struct

import pytest

from adapters.sources.inlet.limits import Rates
from adapters.sources.mqttwire import packets
from tests.adapters.listener.listener_served import (
    VERSIONS,
    Raw,
    ServedListener,
    connect,
    publish,
    subscribe,
)
from tests.adapters.payload.pushed import BODY, REPLIES, T0, message, row
from tests.intakes import CollectingIntake
from tests.programs import eventually

pytestmark = pytest.mark.timeout(60)


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
