"""The pure parts of a bus: halving what is refused, reading bytes in pieces, counting slack."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu.bit_message import ReadCoilsRequest, ReadDiscreteInputsRequest
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

from adapters.sources.modbus import request
from adapters.sources.modbus.lack import Search
from adapters.sources.modbus.owed import DOUBT_S, KEPT_S, Owed
from adapters.sources.modbus.plan import Block, blocks, spans
from adapters.sources.modbus.reply import Kind, Question, Reply, crc16, rtu, tcp
from adapters.sources.polling.pace import slack
from collector.profile import Register

ADDRESSES = st.sets(st.integers(0, 120), min_size=1, max_size=40)


def polls(registers: list[Register], refused: set[int]) -> tuple[set[int], int, int]:
    """Poll a device that refuses every block with one of ``refused`` in it until nothing changes:
    what is read, questions of the last poll, all refusals."""
    search, refusals = Search(), 0
    for _ in range(100):
        left = list(blocks(registers, 16, 125, lack=search.lack))
        questions, read, before = 0, set(), refusals
        while left:
            block = left.pop()
            questions += 1
            inside = range(block.address, block.address + block.count)
            if refused.isdisjoint(inside):
                read |= set(inside)
                continue
            refusals += 1
            span = (block.function, block.address, block.address + block.count)
            left += [Block(f, a, e - a) for f, a, e in search.refused(span, spans(registers))]
        search.settle()
        if refusals == before:
            return read, questions, refusals
    raise AssertionError("it never ends")


@given(wanted=ADDRESSES, refused=ADDRESSES)
def test_halving_reads_all_there_is_and_ends(wanted: set[int], refused: set[int]) -> None:
    registers = [Register("frequency", 3, address, "u16", "Hz") for address in sorted(wanted)]
    read, questions, refusals = polls(registers, refused)
    assert read & wanted == wanted - refused
    assert questions <= len(blocks(registers, 16, 125)) + 2 * len(refused)
    assert refusals <= 16 * len(refused)


def test_a_function_that_a_device_does_not_know_is_not_searched_in_halves() -> None:
    registers = [Register("frequency", 4, address, "u16", "Hz") for address in range(40)]
    search = Search()
    assert search.refused((4, 0, 40), spans(registers), code=1) == []
    assert not blocks(registers, 16, 125, lack=search.lack)
    assert blocks([Register("frequency", 3, 0, "u16", "Hz")], 16, 125, lack=search.lack)


def test_one_missing_register_of_forty_costs_one_more_question() -> None:
    registers = [Register("frequency", 3, address, "u16", "Hz") for address in range(40)]
    read, questions, refusals = polls(registers, {17})
    assert (len(read), questions) == (39, 2)
    assert refusals <= 7


def framed(body: bytes) -> bytes:
    return body + struct.pack("<H", crc16(body))


ASKED = Question(5, 3, 8, 77)
BODY = bytes((5, 3, 8)) + b"12345678"
TCP = struct.pack(">HHH", 77, 0, len(BODY)) + BODY


def fed(reader: object, wire: bytes, cuts: list[int]) -> list[Reply]:
    """What a reader finds in ``wire`` when it comes in pieces."""
    found: list[Reply] = []
    buffer = b""
    places = sorted({cut % (len(wire) + 1) for cut in cuts} | {0, len(wire)})
    for start, end in itertools.pairwise(places):
        buffer += wire[start:end]
        used, replies = reader(buffer, ASKED)  # type: ignore[operator]
        buffer = buffer[used:]
        found += replies
    return found


@given(cuts=st.lists(st.integers(0, 40)), noise=st.binary(max_size=3))
def test_an_answer_is_found_in_any_pieces(cuts: list[int], noise: bytes) -> None:
    (one,) = fed(tcp, TCP, cuts)
    assert (one.kind, one.data) == (Kind.DATA, b"12345678")
    other = fed(rtu, noise + framed(BODY), cuts)[-1]
    assert (other.kind, other.data) == (Kind.DATA, b"12345678")


@given(place=st.integers(0, 12), bit=st.integers(0, 7))
def test_a_flipped_bit_on_a_line_is_no_answer(place: int, bit: int) -> None:
    wire = bytearray(framed(BODY))
    wire[place] ^= 1 << bit
    assert not [reply for reply in rtu(bytes(wire), ASKED)[1] if reply.kind is Kind.DATA]


@pytest.mark.parametrize(
    "body",
    [
        bytes((6, 3, 8)) + b"12345678",
        bytes((5, 4, 8)) + b"12345678",
        bytes((5, 3, 6)) + b"123456",
        bytes((5, 3, 9)) + b"12345678",
    ],
)
def test_another_unit_function_or_count_is_no_answer(body: bytes) -> None:
    for replies in (
        rtu(framed(body), ASKED)[1],
        tcp(struct.pack(">HHH", 77, 0, len(body)) + body, ASKED)[1],
    ):
        assert Kind.DATA not in {reply.kind for reply in replies}
    other = struct.pack(">HHH", 76, 0, len(BODY)) + BODY
    assert tcp(other, ASKED)[1][0].kind is Kind.STRAY


def test_what_is_owed_ends_when_it_came_or_is_too_old() -> None:
    owed = Owed()
    owed.add(1, 3, 8, 0, 100.0)
    assert owed.alike(1, 3, 8, 101.0)
    assert not owed.alike(1, 3, 6, 101.0)
    assert not owed.alike(2, 3, 8, 101.0)
    assert owed.came(1, 3, 8)
    assert not owed.alike(1, 3, 8, 101.0)
    owed.add(1, 3, 8, 0, 100.0)
    assert not owed.alike(1, 3, 8, 100.0 + KEPT_S)
    owed.add(1, 3, 8, 0, 100.0)
    owed.clear(1, 110.0)
    assert owed.doubtful(1, 3, 8, 111.0)
    assert not owed.doubtful(1, 3, 8, 110.0 + DOUBT_S)


def test_slack_is_what_nobody_misses() -> None:
    full = [(0.0, 100.0, 30.0), (0.0, 100.0, 30.0), (0.0, 100.0, 30.0)]
    assert slack(0, full) == 10
    assert slack(0, [(50.0, 150.0, 30.0)]) == 120, "idle until 50, then 70 to spare"
    assert slack(0, [(0.0, 10.0, 30.0)]) == -20


@given(
    unit=st.integers(0, 255),
    function=st.integers(1, 4),
    address=st.integers(0, 0xFFFF),
    count=st.integers(1, 125),
    number=st.integers(1, 0xFFFF),
)
def test_a_question_is_what_another_make_asks(
    unit: int, function: int, address: int, count: int, number: int
) -> None:
    kinds = {1: ReadCoilsRequest, 2: ReadDiscreteInputsRequest}
    kinds |= {3: ReadHoldingRegistersRequest, 4: ReadInputRegistersRequest}
    theirs = kinds[function](address=address, count=count, dev_id=unit, transaction_id=number)
    block = Block(function, address, count)
    assert request.tcp(unit, block, number) == FramerSocket(None).buildFrame(theirs)
    assert request.rtu(unit, block) == FramerRTU(None).buildFrame(theirs)
