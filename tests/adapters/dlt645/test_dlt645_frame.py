"""Frames of DL/T 645-2007: the real ones read, however they are cut and whatever lies around them;
nothing altered is taken for one; no bytes at all make the reader raise."""

from __future__ import annotations

import itertools
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.sources.dlt645.frame import (
    ANY,
    LONGEST,
    Event,
    Frame,
    Noise,
    Reader,
    Why,
    encode,
    matches,
    wire_address,
)
from adapters.sources.dlt645.message import (
    Address,
    Answer,
    Other,
    Question,
    Refusal,
    follow,
    read,
    read_address,
    set_time,
    understand,
)
from tests.adapters.dlt645.dlt645_line import behind, spoken
from tests.campaigns.dlt645 import anything

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "dlt645_frames.json").read_text(encoding="utf-8")
)
"""Frames that public programs and their documents show; some with a wrong sum there."""
GOOD = [one for one in VECTORS if one["cs_ok"]]


def wire(vector: dict[str, Any]) -> bytes:
    return bytes.fromhex(vector["frame"])


def all_of(data: bytes, *cuts: int) -> list[Event]:
    """Every event, with the bytes cut at ``cuts`` and silence at the end."""
    reader = Reader()
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    found = [event for a, b in itertools.pairwise(edges) for event in reader.receive(data[a:b])]
    return found + reader.idle()


def frames(events: list[Event]) -> list[Frame]:
    return [event for event in events if isinstance(event, Frame)]


def is_as_documented(frame: Frame, vector: dict[str, Any]) -> bool:
    """The vector names its identifier and value high first, as people read them."""
    split = 2 if vector["ctrl"] == "81" else 4  # 1997: two bytes of identifier
    return (
        frame.address.lower() == vector["addr"]
        and frame.control == int(vector["ctrl"], 16)
        and frame.data[:split][::-1].hex() == vector["di"].lower()
        and frame.data[split:][::-1].hex() == vector["data"].lower()
    )


@pytest.mark.parametrize("vector", VECTORS, ids=lambda one: one["frame"][:40])
def test_a_real_frame_is_read_and_one_with_a_wrong_sum_is_not(vector: dict[str, Any]) -> None:
    events = all_of(wire(vector))
    if vector["cs_ok"]:
        assert is_as_documented(*frames(events), vector)
        assert len(events) == 1
    else:
        assert frames(events) == []
        assert events[0] == Noise(b"\x68", Why.SUM)


@pytest.mark.parametrize("vector", GOOD, ids=lambda one: one["frame"][:40])
def test_a_real_frame_is_read_byte_by_byte_and_where_its_last_byte_is(
    vector: dict[str, Any],
) -> None:
    reader = Reader()
    data = b"\xfe\xfe\xfe\xfe" + wire(vector)
    for byte in data[:-1]:
        assert reader.receive(bytes([byte])) == []
    assert is_as_documented(*frames(reader.receive(data[-1:])), vector)
    assert not reader.pending


@pytest.mark.parametrize("vector", GOOD, ids=lambda one: one["frame"][:40])
def test_what_we_encode_is_what_is_on_the_wire(vector: dict[str, Any]) -> None:
    (frame,) = frames(all_of(wire(vector)))
    assert encode(frame, wake=0) == wire(vector)
    assert encode(frame) == b"\xfe" * 4 + wire(vector)


def test_frames_back_to_back_are_all_read() -> None:
    stream = b"".join(wire(one) for one in GOOD)
    found = frames(all_of(stream))
    assert len(found) == len(GOOD)
    assert all(is_as_documented(*pair) for pair in zip(found, GOOD, strict=True))


@pytest.mark.parametrize("vector", GOOD, ids=lambda one: one["frame"][:40])
def test_one_altered_byte_is_always_seen(vector: dict[str, Any]) -> None:
    """Every byte, every other value it may take; the bytes after it are looked at too."""
    right = wire(vector)
    for at in range(len(right)):
        for other in range(256):
            if other != right[at]:
                altered = right[:at] + bytes([other]) + right[at + 1 :]
                assert frames(all_of(altered)) == [], altered.hex(" ")


@pytest.mark.parametrize("vector", GOOD, ids=lambda one: one["frame"][:40])
def test_a_frame_that_lost_a_byte_is_none_and_does_not_cost_the_next(
    vector: dict[str, Any],
) -> None:
    right = wire(vector)
    for at in range(len(right)):
        damaged = right[:at] + right[at + 1 :]
        found = frames(all_of(damaged + b"\xfe\xfe" + right))
        assert found == frames(all_of(right)), at


_vector = st.sampled_from(GOOD).map(wire)


def test_an_address_that_is_no_number_is_none_even_with_a_right_sum() -> None:
    assert all_of(spoken("3981920003B7", 0x91, behind("00010000"), wake=0))[0] == Noise(
        b"\x68", Why.ADDRESS
    )


@given(st.binary(max_size=60), _vector, st.lists(st.integers(0, 10_000), max_size=5))
def test_a_frame_behind_noise_is_read_wherever_it_is_cut(
    noise: bytes, frame: bytes, cuts: list[int]
) -> None:
    """Noise may hold a beginning (68) whose length covers the true frame: silence ends that."""
    found = frames(all_of(noise + frame, *cuts))
    assert frames(all_of(frame))[0] in found


@given(
    st.lists(st.one_of(st.binary(max_size=30), _vector), max_size=6),
    st.lists(st.integers(0, 10_000)),
)
def test_how_the_bytes_were_cut_changes_no_frame(parts: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(parts)
    reader = Reader()
    whole = frames(reader.receive(stream)) + frames(reader.idle())
    assert frames(all_of(stream, *cuts)) == whole


@given(st.binary(max_size=600))
def test_every_byte_is_accounted_for(stream: bytes) -> None:
    """In a frame, in noise, or one of FE before a frame or the end."""
    silent = stream.replace(b"\xfe", b"")
    size = sum(
        len(event.data.replace(b"\xfe", b"")) if isinstance(event, Noise)
        else len(encode(event, wake=0).replace(b"\xfe", b""))
        for event in all_of(stream)
    )  # fmt: skip
    assert size == len(silent)


def test_what_is_waited_on_is_bounded() -> None:
    reader = Reader()
    for _ in range(2_000):
        reader.receive(b"\x68\x11\x22\x33\x44\x55\x66\x68\x91\xc8")
        assert len(reader._buffer) < LONGEST


def test_nothing_makes_the_reader_raise() -> None:
    """The campaign's inputs, 20 000 of them; `make prove dlt645` takes a million."""
    assert anything(seed=645, inputs=20_000)["inputs"] == 20_000


def test_a_cleared_reader_knows_nothing_of_what_was() -> None:
    reader = Reader()
    right = wire(GOOD[0])
    reader.receive(right[:9])
    reader.clear()
    assert frames(reader.receive(right[9:]) + reader.idle()) == []


# What frames say.


def said(address: str, control: int, data: bytes) -> object:
    (frame,) = frames(all_of(spoken(address, control, data)))
    return understand(frame)


METER = "398192000337"


def test_an_answer_has_its_identifier_its_data_and_whether_more_follows() -> None:
    data = behind("00010000", "00000004")
    assert said(METER, 0x91, data) == Answer(METER, 0x00010000, bytes.fromhex("04000000"))
    assert said(METER, 0xB1, data) == Answer(METER, 0x00010000, bytes.fromhex("04000000"), True)
    following = Answer(METER, 0x00010000, bytes.fromhex("04000000"), False, 3)
    assert said(METER, 0x92, data + b"\x03") == following
    assert said(METER, 0xB2, data + b"\x03") == Answer(METER, 0x10000, following.data, True, 3)
    assert said(METER, 0x91, data[:4]) == Answer(METER, 0x00010000, b"")


def test_a_meter_says_who_it_is() -> None:
    assert said(METER, 0x93, bytes.fromhex(METER)[::-1]) == Address(METER, METER)
    assert isinstance(said(METER, 0x93, b"\xab" * 6), Other)
    assert isinstance(said(METER, 0x93, b"\x12" * 5), Other)


@pytest.mark.parametrize(
    ("errors", "text", "no_such"),
    [
        (0x01, "another error", False),
        (0x02, "no such data", True),
        (0x04, "wrong password or no authority", False),
        (0x08, "the baud rate cannot be changed", False),
        (0x10, "too many yearly zones", False),
        (0x20, "too many daily periods", False),
        (0x40, "too many tariffs", False),
        (0x06, "no such data, wrong password or no authority", True),
        (0x00, "no reason given", False),
    ],
)
def test_a_refusal_says_why_in_plain_words(errors: int, text: str, no_such: bool) -> None:
    refusal = said(METER, 0xD1, bytes([errors]))
    assert isinstance(refusal, Refusal)
    assert (str(refusal), refusal.no_such, refusal.identifier) == (text, no_such, None)
    with_identifier = said(METER, 0xD2, behind("00010000") + bytes([errors]))
    assert with_identifier == Refusal(METER, 0x12, errors, 0x00010000)


def test_a_meter_of_1997_is_recognised_for_what_it_is() -> None:
    vector = next(one for one in GOOD if one["ctrl"] == "81")
    (frame,) = frames(all_of(wire(vector)))
    message = understand(frame)
    assert isinstance(message, Other)
    assert "1997" in message.text


def test_who_asks_is_no_answer() -> None:
    assert said(METER, 0x11, behind("00010000")) == Question(METER, 0x11)


def test_every_frame_says_something() -> None:
    for control in range(256):
        for data in (b"", b"\x00", b"\xff" * 4, b"\x12" * 5, b"\x99" * 6, b"\x00" * 200):
            understand(Frame(METER, control, data))


def test_questions_are_asked_as_real_ones_are() -> None:
    assert encode(read(METER, 0x00010000), wake=0) == wire(VECTORS[0])
    assert encode(read("1", 0x00010000), wake=0) == wire(VECTORS[4])
    assert encode(read(ANY, 0x00010000), wake=0) == wire(VECTORS[5])
    assert encode(read("201500000016", 0x02030000), wake=0) == wire(VECTORS[7])
    assert encode(follow(METER, 0x00010000, 2)) == spoken(METER, 0x12, behind("00010000") + b"\x02")
    assert encode(read_address()) == spoken("AA" * 6, 0x13)


def test_the_time_is_told_to_everybody() -> None:
    told = encode(set_time(datetime.fromisoformat("2026-11-22T16:05:09")), wake=0)
    assert told == spoken("999999999999", 0x08, bytes.fromhex("090516221126"), wake=0)


@pytest.mark.parametrize(
    ("text", "low_first"),
    [
        ("398192000337", "37 03 00 92 81 39"),
        ("337", "37 03 00 00 00 00"),
        ("AAAAAAAA0337", "37 03 aa aa aa aa"),
        ("aaaaaaaaaaaa", "aa aa aa aa aa aa"),
    ],
)
def test_addresses_are_written_as_on_the_label(text: str, low_first: str) -> None:
    assert wire_address(text).hex(" ") == low_first


@pytest.mark.parametrize("text", ["1234567890123", "12A4", "03AAAA000337", "AA0337", "1２", "12 3"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no meter address"):
        wire_address(text)


def test_an_abbreviated_address_means_every_meter_that_ends_so() -> None:
    assert matches("AAAAAAAA0337", METER)
    assert matches(ANY, METER)
    assert matches(METER, METER)
    assert not matches("AAAAAAAA0338", METER)


def test_what_cannot_be_a_frame_is_not_encoded() -> None:
    with pytest.raises(ValueError, match="201 bytes"):
        encode(Frame(METER, 0x11, b"\x00" * 201))
    with pytest.raises(ValueError, match="no byte"):
        encode(Frame(METER, 0x111, b""))
