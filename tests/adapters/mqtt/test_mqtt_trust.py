"""Replies that a broker forbids cost a few connections; what it allows never rests. Pure."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.sources.mqtt.trust import REST_S, Trust

TOPICS = [b"a", b"b", b"c", b"d", b"e"]


class Broker:
    """Ends the connection at the first forbidden topic, without answering what follows; crashes
    when it likes."""

    def __init__(self, trust: Trust, forbidden: set[bytes], seed: int) -> None:
        self.trust, self.forbidden = trust, forbidden
        self.chance = random.Random(seed)
        self.now = 0.0
        self.ended = self.crashed = 0

    def publish(self, topics: list[bytes]) -> None:
        sent = [topic for topic in topics if not self.trust.rests(topic, self.now)]
        for topic in sent:
            self.trust.published(topic)
        self.trust.prove()
        if self.forbidden & set(sent):
            self.ended += 1
            self.trust.ended(self.now)
        else:
            self.trust.proven()

    def crash(self, topics: list[bytes]) -> None:
        """Between what was published and its proof."""
        for topic in topics:
            self.trust.published(topic)
        self.trust.prove()
        self.crashed += 1
        self.trust.ended(self.now)


@given(st.sets(st.sampled_from(TOPICS), max_size=4), st.integers(0, 10**6))
def test_a_forbidden_topic_costs_few_connections(forbidden: set[bytes], seed: int) -> None:
    broker = Broker(Trust(), forbidden, seed)
    for _ in range(200):
        broker.publish(broker.chance.sample(TOPICS, broker.chance.randint(1, 3)))
    assert broker.ended <= 2 * len(forbidden) + 3
    ended, broker.now = broker.ended, REST_S  # then it is tried again
    for _ in range(200):
        broker.publish(broker.chance.sample(TOPICS, broker.chance.randint(1, 3)))
    assert broker.ended <= ended + 2 * len(forbidden) + 3


@given(st.integers(0, 10**6))
def test_a_broker_that_crashes_between_proofs_silences_nobody(seed: int) -> None:
    broker = Broker(Trust(), set(), seed)
    for _ in range(100):
        some = broker.chance.sample(TOPICS, 3)
        broker.crash(some)
        broker.publish(some)
    assert [topic for topic in TOPICS if broker.trust.rests(topic, broker.now)] == []


def test_where_nothing_is_allowed_everything_rests_before_each_was_tried() -> None:
    broker = Broker(Trust(), {b"%d" % n for n in range(1000)}, 0)
    for number in range(1000):
        broker.publish([b"%d" % number])
    assert broker.ended == 3


def test_an_end_with_nothing_open_is_nobodys_fault() -> None:
    trust = Trust()
    assert not any(trust.ended(0.0) for _ in range(10))
    assert not trust.rests(b"a", 0.0)


def test_one_ping_at_a_time() -> None:
    trust = Trust()
    assert not trust.prove()
    trust.published(b"a")
    assert trust.prove()
    trust.published(b"b")
    assert not trust.prove()  # the ping under way does not cover it
    trust.proven()
    assert trust.prove()
    assert trust.ended(0.0) is False
    trust.published(b"b")
    assert trust.ended(0.0)
    assert trust.rests(b"b", 0.0)
    assert not trust.rests(b"a", 0.0)
    assert trust.rests(b"b", REST_S - 1) == (trust.rests(b"b", REST_S) is False)


@pytest.mark.parametrize("connections", [1, 5])
def test_what_was_open_when_we_ended_it_ourselves_is_forgotten(connections: int) -> None:
    trust = Trust()
    for _ in range(connections):
        trust.published(b"a")
        trust.prove()
        trust.connected()
    assert not trust.ended(0.0)
