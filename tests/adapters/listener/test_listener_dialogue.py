"""What a client of the MQTT listener says: any cutting is the same, and no bytes break it."""

from __future__ import annotations

import contextlib
import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from adapters.sources.listener.dialogue import Dialogue, Goodbye, Ping, Said
from adapters.sources.mqttwire import packets
from adapters.sources.mqttwire.frames import Publish
from adapters.sources.mqttwire.packets import Connect, MalformedError, Subscribe, Unsubscribe
from tests.adapters.listener.listener_served import (
    VERSIONS,
    connect,
    packet,
    publish,
    subscribe,
    text,
)

HEAD, MESSAGE = 1024, 256 << 10


def said(stream: bytes, cuts: list[int] | None = None) -> list[Said]:
    dialogue = Dialogue(HEAD, MESSAGE)
    found: list[Said] = []
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts or []), len(stream)]
    for start, stop in pairwise(edges):
        dialogue.feed(stream[start:stop])
        while (one := dialogue.next()) is not None:
            found.append(one)
    assert dialogue.held >= 0
    return found


def shown(found: list[Said]) -> list[object]:
    return [type(one) if isinstance(one, Ping | Goodbye) else one for one in found]


def unsubscribe(version: int) -> bytes:
    return packet(0xA2, b"\0\7" + (b"\0" if version == 5 else b"") + text("a"))


def conversation(version: int) -> bytes:
    return b"".join(
        [
            connect(version=version),
            publish(b"one", 1, version=version),
            packet(0xC0, b""),
            subscribe("a/b", 9, version=version),
            publish(b"", 0, version=version, qos=0),
            unsubscribe(version),
            publish(b"x" * 300, 65535, version=version),
            packet(0xE0, b""),
        ]
    )


@given(st.sampled_from(VERSIONS), st.lists(st.integers(0, 1 << 20), max_size=12))
def test_any_cutting_gives_the_same_packets_in_their_order(version: int, cuts: list[int]) -> None:
    found = said(conversation(version), cuts)
    told, *rest = shown(found)
    assert isinstance(told, Connect)
    assert (told.version, told.client_id, told.user, told.password, told.keepalive) == (
        version, "c", "gw-print", b"token-of-gw-print", 60
    )  # fmt: skip
    name = b"meterwatch/v1/gw-print/readings"
    payloads = [one.payload for one in rest if isinstance(one, Publish)]
    assert payloads == [b"one", b"", b"x" * 300]
    others = [(one.mid, one.topic) if isinstance(one, Publish) else one for one in rest]
    assert others == [
        (1, name), Ping, Subscribe(9, (("a/b", 1),)), (0, name), Unsubscribe(7, ("a",)),
        (65535, name), Goodbye,
    ]  # fmt: skip


@given(st.binary(max_size=400), st.sampled_from((b"", *(connect(version=v) for v in VERSIONS))))
def test_any_bytes_raise_nothing_but_the_codecs_own_error(data: bytes, before: bytes) -> None:
    with contextlib.suppress(MalformedError):
        said(before + data)


@given(st.sampled_from(VERSIONS), st.data())
def test_a_changed_byte_raises_nothing_but_the_codecs_own_error(
    version: int, data: st.DataObject
) -> None:
    stream = bytearray(conversation(version))
    at = data.draw(st.integers(0, len(stream) - 1))
    stream[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(MalformedError):
        said(bytes(stream))


@given(
    st.sampled_from((0x82, 0xA2, 0xE0, 0x10)),
    st.binary(max_size=200),
    st.sampled_from(VERSIONS),
)
def test_any_body_of_a_packet_raises_nothing_else(first: int, body: bytes, version: int) -> None:
    before = b"" if first == 0x10 else connect(version=version)
    with contextlib.suppress(MalformedError):
        said(before + packet(first, body))


HELLO = text("MQTT") + b"\5\xc2\0\0"
FLAT = text("MQTT") + b"\4"
VERSION = packets.UNSUPPORTED_VERSION


@pytest.mark.parametrize(
    ("stream", "code", "why"),
    [
        (publish(b""), packets.PROTOCOL_ERROR, "not CONNECT"),
        (b"GET / HTTP/1.1\r\n", packets.PROTOCOL_ERROR, "this is HTTP, and here MQTT is spoken"),
        (b"\x16\x03\x01\x02\x00", packets.PROTOCOL_ERROR, "here MQTT is spoken without TLS"),
        (packet(0x10, text("MQIsdp") + b"\3\2\0\0" + text("c")), VERSION, "3.1:"),
        (packet(0x10, text("MQTT") + b"\6\2\0\0" + text("c")), VERSION, "6"),
        (packet(0x10, b"x" * 1025), packets.TOO_LARGE, "1,025 bytes"),
        (b"\x10\xff\xff\xff\xff\x01", packets.MALFORMED, "more than four bytes"),
        (packet(0x10, FLAT + b"\3\0\0" + text("c")), packets.MALFORMED, "flags"),
        (packet(0x10, FLAT + b"\x40\0\0" + text("c") + text("p")), packets.MALFORMED, "user"),
        (packet(0x10, FLAT + b"\2\0\0" + text("c") + b"x"), packets.MALFORMED, "follows"),
        (packet(0x10, FLAT + b"\2\0\0" + text(b"\xff")), packets.MALFORMED, "UTF-8"),
        (packet(0x10, FLAT + b"\2\0\0" + text("a\0")), packets.MALFORMED, "NUL"),
        (packet(0x10, HELLO + b"\2\x24\1"), packets.PROTOCOL_ERROR, "property 36"),
        (packet(0x10, HELLO + b"\6\x21\0\1\x21\0\1"), packets.PROTOCOL_ERROR, "twice"),
        (packet(0x10, HELLO + b"\3\x21\0\0"), packets.PROTOCOL_ERROR, "maximum of 0"),
        (packet(0x10, HELLO + b"\4\x15\0\1x" + text("c")), packets.AUTH_METHOD, "authentication"),
        (connect() + connect(), packets.PROTOCOL_ERROR, "second CONNECT"),
        (connect() + publish(b"", qos=2), packets.QOS, "QoS 2"),
        (connect() + publish(b"", qos=3), packets.PROTOCOL_ERROR, "kind 3"),
        (connect() + packet(0xC1, b""), packets.PROTOCOL_ERROR, "kind 12"),
        (connect() + packet(0x40, b"\0\1"), packets.PROTOCOL_ERROR, "kind 4"),
        (connect() + packet(0xF0, b""), packets.PROTOCOL_ERROR, "kind 15"),
        (connect() + packet(0x80, b"\0\1" + text("a") + b"\0"), packets.MALFORMED, "flags"),
        (connect() + packet(0x82, b"\0\0" + text("a") + b"\0"), packets.PROTOCOL_ERROR, "id 0"),
        (connect() + packet(0x82, b"\0\1"), packets.PROTOCOL_ERROR, "without a filter"),
        (connect() + packet(0x82, b"\0\1" + text("a") + b"\3"), packets.MALFORMED, "options"),
        (connect() + packet(0x82, b"\0\1" + b"\0\1a\0" * 101), packets.QUOTA, "100 filters"),
        (connect() + packet(0x82, b"\0\1" + b"x" * (65 << 10)), packets.TOO_LARGE, "bytes"),
        (connect() + packet(0xE0, b"\0"), packets.MALFORMED, "body"),
        (connect() + packet(0x30, b"\xff\xff"), packets.MALFORMED, "shorter"),
    ],
)  # fmt: skip
def test_what_is_not_spoken_here_is_told_with_its_reason(
    stream: bytes, code: int, why: str
) -> None:
    with pytest.raises(MalformedError, match=why) as caught:
        said(stream)
    assert caught.value.code == code


def test_a_connect_with_everything_is_read() -> None:
    will = b"\0" + text("will/topic") + text("gone")
    told = b"\x11\0\0\0\x3c\x21\0\x14\x27\0\0\x10\0\x17\0\x26" + text("k") + text("v")
    body = text("MQTT") + b"\5\xee\0\x1e" + bytes([len(told)]) + told
    body += text("id") + will + text("user") + text("word")
    (found,) = said(packet(0x10, body))
    assert found == Connect(5, "id", True, 30, "user", b"word", True, 4096, False)


def test_what_is_written_is_what_paho_reads() -> None:
    told = packets.granted(largest=4096, keepalive=600, client_id="new", ahead=64)
    found = Properties(PacketTypes.CONNACK)
    found.unpack(packets.varint(len(told)) + told)
    assert found.json() == {
        "SessionExpiryInterval": 0, "AssignedClientIdentifier": "new", "ServerKeepAlive": 600,
        "ReceiveMaximum": 64, "MaximumQoS": 1, "RetainAvailable": 0, "MaximumPacketSize": 4096,
        "WildcardSubscriptionAvailable": 0, "SubscriptionIdentifierAvailable": 0,
        "SharedSubscriptionAvailable": 0,
    }  # fmt: skip
    ack = packets.puback(5, 7, packets.BAD_PAYLOAD, "no JSON", 1000)
    assert ack[2:5] == struct.pack("!HB", 7, packets.BAD_PAYLOAD)
    found = Properties(PacketTypes.PUBACK)
    found.unpack(ack[5:])
    assert found.json() == {"ReasonString": "no JSON"}
    assert packets.puback(5, 7, packets.BAD_PAYLOAD, "no JSON", 8) == b"\x40\4\0\7\x99\0"
    assert packets.puback(4, 7, packets.BAD_PAYLOAD, "no JSON", 1000) == b"\x40\2\0\7"
    for kind, codes in (
        (PacketTypes.PUBACK, (packets.BAD_PAYLOAD, packets.BAD_TOPIC, packets.REFUSED)),
        (PacketTypes.SUBACK, (packets.NOT_AUTHORIZED,)),
        (
            PacketTypes.CONNACK,
            (packets.UNSUPPORTED_VERSION, packets.BAD_CLIENT_ID, packets.BAD_CREDENTIALS,
             packets.NOT_AUTHORIZED, packets.UNAVAILABLE, packets.QUOTA, packets.MALFORMED,
             packets.AUTH_METHOD),
        ),
        (
            PacketTypes.DISCONNECT,
            (packets.MALFORMED, packets.PROTOCOL_ERROR, packets.SHUTTING_DOWN, packets.KEEP_ALIVE,
             packets.TAKEN_OVER, packets.TOO_LARGE, packets.QUOTA, packets.QOS,
             packets.NOT_AUTHORIZED),
        ),
    ):  # fmt: skip
        for code in codes:
            assert ReasonCode(kind, identifier=code).getName()


def test_a_message_that_is_too_large_is_not_held() -> None:
    dialogue = Dialogue(HEAD, 0)
    dialogue.feed(connect())
    assert isinstance(dialogue.next(), Connect)
    most = 0
    stream = publish(b"[" * (3 << 20), 5)
    found = None
    for at in range(0, len(stream), 65536):
        dialogue.feed(stream[at : at + 65536])
        found = dialogue.next() or found
        most = max(most, dialogue.held)
    assert isinstance(found, Publish)
    assert (found.mid, found.cut, found.size) == (5, True, len(stream) - 5)
    assert most < 400 << 10
