"""Replies that wait: bounded, numbered apart, and never lost without being counted. No broker."""

from __future__ import annotations

import pytest

from adapters.sources.mqtt import replies
from adapters.sources.mqtt.replies import Replies
from adapters.sources.mqttwire.frames import Frames, Publish
from adapters.sources.payload import Receipt, RefusedRows
from tests.adapters.payload.pushed import REPLIES, topic


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
