"""The stream of MQTT packets: any cutting gives the same, and a huge message is never held."""

from __future__ import annotations

import contextlib
import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.sources.mqttwire import frames as packets
from adapters.sources.mqttwire.frames import BrokenStreamError, Frames, Publish, pubacks

LARGEST = 256 << 10


def length(value: int) -> bytes:
    out = bytearray()
    while True:
        value, low = divmod(value, 128)
        out.append(low | (128 if value else 0))
        if not value:
            return bytes(out)


def publish(
    topic: bytes, payload: bytes, mid: int = 1, *, version: int = 5, properties: bytes = b""
) -> bytes:
    body = struct.pack("!H", len(topic)) + topic
    if mid:
        body += struct.pack("!H", mid)
    if version == 5:
        body += length(len(properties)) + properties
    body += payload
    return bytes([0x32 if mid else 0x30]) + length(len(body)) + body


def run(frames: Frames, stream: bytes, cuts: list[int], most: int = 512) -> list[Publish]:
    found: list[Publish] = []
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    for start, stop in itertools.pairwise(edges):
        frames.feed(stream[start:stop])
        while True:
            got = frames.take(most)
            found += got
            if len(got) < most:
                break
    return found


_packet = st.one_of(
    st.tuples(
        st.just("publish"),
        st.binary(min_size=1, max_size=20),
        st.binary(max_size=300),
        st.integers(0, 65535),
        st.binary(max_size=150),
    ),
    st.tuples(st.just("other"), st.sampled_from([0x20, 0x90, 0xD0, 0xE0]), st.binary(max_size=9)),
    st.tuples(st.just("puback"), st.integers(1, 65535), st.sampled_from([b"", b"\0", b"\x87\0"])),
)


@given(
    st.lists(_packet, max_size=12),
    st.lists(st.integers(0, 5000), max_size=12),
    st.sampled_from([4, 5]),
    st.integers(1, 5),
)
def test_any_cutting_gives_the_same_messages_and_the_same_rest(
    packets: list[tuple[object, ...]], cuts: list[int], version: int, most: int
) -> None:
    stream, expected, rest, taken = b"", [], b"", []
    for packet in packets:
        match packet:
            case ("publish", bytes(topic), bytes(payload), int(mid), bytes(properties)):
                stream += publish(topic, payload, mid, version=version, properties=properties)
                expected.append((mid, topic, payload, properties if version == 5 else b""))
            case ("puback", int(mid), bytes(more)):
                stream += b"\x40" + length(2 + len(more)) + struct.pack("!H", mid) + more
                taken.append((mid, more[0] if more else 0))
            case (_, int(kind), bytes(body)):
                other = bytes([kind]) + length(len(body)) + body
                stream += other
                rest += other
            case _:
                raise AssertionError(packet)
    frames = Frames(version, LARGEST, answers=True)
    found = run(frames, stream, cuts, most)
    assert [(m.mid, m.topic, m.payload, m.properties) for m in found] == expected
    assert bytes(frames.rest) == rest
    assert frames.acknowledged == taken


@given(
    st.binary(min_size=1, max_size=200),
    st.binary(max_size=40_000),
    st.integers(1, 65535),
    st.one_of(st.none(), st.binary(max_size=20_000)),
)
def test_what_is_published_reads_as_it_was_meant(
    topic: bytes, payload: bytes, mid: int, properties: bytes | None
) -> None:
    packet = packets.publish(topic, payload, mid, properties)
    (found,) = run(Frames(4 if properties is None else 5, LARGEST), packet, [])
    assert packet[0] == 0x32  # QoS 1, not retained, not a duplicate
    assert (found.mid, found.topic, found.payload) == (mid, topic, payload)
    assert found.properties == (properties or b"")


@given(st.lists(st.integers(0, 3_000_000), max_size=6))
def test_a_message_too_large_is_let_go_and_what_follows_is_not_lost(cuts: list[int]) -> None:
    huge = bytes(range(256)) * 8192
    stream = publish(b"a", b"1", 1) + publish(b"big", huge, 2) + publish(b"a", b"3", 3)
    found = run(Frames(5, LARGEST), stream, cuts)
    assert [(m.mid, m.topic, m.cut) for m in found] == [
        (1, b"a", False),
        (2, b"big", True),
        (3, b"a", False),
    ]
    assert found[1].payload == huge[: 64 << 10]
    assert found[1].size > len(huge)


def test_what_is_held_of_a_message_too_large_is_bounded() -> None:
    frames = Frames(5, LARGEST)
    stream = publish(b"big", bytes(64 << 20), 7)
    for at in range(0, len(stream), 256 << 10):
        frames.feed(stream[at : at + (256 << 10)])
        found = frames.take(10)
        assert frames.held <= 512 << 10
    assert [m.mid for m in found] == [7]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", [0x32, 0x90])
def test_a_large_message_in_crumbs_is_put_together_once(kind: int) -> None:
    stream = publish(b"big", bytes(3_000_000), 7)
    stream = bytes([kind]) + stream[1:]
    frames = Frames(5, 4_000_000)
    found: list[Publish] = []
    for at in range(0, len(stream), 3):
        assert frames.held == at  # nothing is taken before all of it is here
        frames.feed(stream[at : at + 3])
        found += frames.take(512)
    assert frames.held == 0
    assert [m.mid for m in found] == [7] * (kind == 0x32)
    assert len(frames.rest) == (0 if kind == 0x32 else len(stream))


@given(st.lists(st.integers(0, 3_000), max_size=30), st.integers(1, 3))
def test_held_is_what_came_and_was_not_taken(cuts: list[int], most: int) -> None:
    stream = publish(b"a", bytes(900), 1) + b"\xd0\0" + publish(b"b", bytes(70), 2) * 20
    frames = Frames(5, LARGEST)
    came = gone = 0
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    for start, stop in itertools.pairwise(edges):
        frames.feed(stream[start:stop])
        came += stop - start
        found = frames.take(most)
        while True:
            gone += sum(len(publish(m.topic, m.payload, m.mid)) for m in found)
            gone += len(frames.rest)
            frames.rest.clear()
            assert frames.held == came - gone
            if len(found) < most:
                break
            found = frames.take(most)
    assert frames.held == 0


def test_feeding_before_all_is_taken_loses_nothing() -> None:
    frames = Frames(5, LARGEST)
    one = publish(b"a", bytes(1000), 1)
    frames.feed(one[:500])
    assert frames.take(1) == []
    frames.feed(one[500:] + one + one[:9])
    assert len(frames.take(1)) == 1
    frames.feed(one[9:])
    assert len(frames.take(9)) == 2


@pytest.mark.parametrize(
    "stream",
    [
        b"\x32\xff\xff\xff\xff\xff",  # a length of five bytes
        b"\x32\x03\x00\x09a",  # a topic longer than the packet
        b"\x32\x00",
        b"\x32\x04\x00\x01a\x00",  # no room for the packet id
        b"\x32\x06\x00\x01a\x00\x01\x7f",  # properties longer than the packet
        b"\x20\xff\xff\xff\x7f",  # a CONNACK of 256 MiB
        b"\x40\x01\x00",  # a PUBACK without its packet id
    ],
)
def test_what_is_not_mqtt_is_told(stream: bytes) -> None:
    with pytest.raises(BrokenStreamError):
        run(Frames(5, LARGEST, answers=True), stream, [])


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_any_bytes_give_messages_or_that_error(stream: bytes, cuts: list[int]) -> None:
    with contextlib.suppress(BrokenStreamError):
        run(Frames(5, LARGEST), stream, cuts)


def test_acknowledgements_are_in_the_order_given() -> None:
    assert pubacks([1, 65535, 258]) == b"\x40\x02\x00\x01\x40\x02\xff\xff\x40\x02\x01\x02"
    assert pubacks([]) == b""
