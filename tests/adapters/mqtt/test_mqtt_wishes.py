"""Properties of MQTT 5 by which a sender says where and how it wishes to be answered. Pure.

paho writes the properties here: what it makes of the standard and what we do are compared.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from adapters.sources.mqtt.wishes import Wishes, correlating, wishes

_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
_topic = st.text("abc/-", min_size=1, max_size=60)
_wish = {
    "PayloadFormatIndicator": st.integers(0, 1),
    "MessageExpiryInterval": st.integers(0, 2**32 - 1),
    "ContentType": _text,
    "ResponseTopic": _topic,
    "CorrelationData": st.binary(min_size=1, max_size=300),
    "SubscriptionIdentifier": st.lists(st.integers(1, 268_435_455), min_size=1, max_size=3),
    "TopicAlias": st.integers(1, 65535),
    "UserProperty": st.lists(st.tuples(_text, _text), min_size=1, max_size=3),
}


def packed(**wanted: object) -> bytes:
    """The properties as they stand in a packet, without their length."""
    made = Properties(PacketTypes.PUBLISH)
    for name, value in wanted.items():
        setattr(made, name, value)
    data = made.pack()
    at = next(n for n, byte in enumerate(data) if byte < 128)
    return data[at + 1 :]


@given(st.fixed_dictionaries({}, optional=_wish))
def test_both_are_found_among_any_others(wanted: dict[str, object]) -> None:
    topic = str(wanted.get("ResponseTopic", "")).encode()
    assert wishes(packed(**wanted)) == Wishes(topic, wanted.get("CorrelationData", b""))


@given(st.binary(max_size=80))
def test_any_bytes_are_read_to_an_end(properties: bytes) -> None:
    wishes(properties)


@given(st.binary(max_size=300))
def test_what_correlates_is_given_back(data: bytes) -> None:
    assert wishes(correlating(data)).correlation == data
