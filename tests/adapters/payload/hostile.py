"""Hostile messages, what each is refused for, and how many of its readings are stored all the same.

Sizes are those of the largest message that comes in (1 MiB).
"""

from __future__ import annotations

import gzip
import itertools
import math
import random
from collections.abc import Callable

from adapters.sources.payload.unpack import MOST_ITEMS
from collector.model import Reason
from tests.adapters.payload.pushed import T0, message, row

MIB = 1 << 20


def with_value(text: bytes) -> bytes:
    """A message in which ``power.active`` is written so."""
    raw = message(row(values={"power.active": 0, "voltage.l1": 230.1}))
    return raw.replace(b'"power.active": 0', b'"power.active": ' + text)


def filled(head: bytes, one: Callable[[int], bytes], tail: bytes, size: int = MIB) -> bytes:
    """As many of ``one`` as fit, below the bound of values."""
    parts: list[bytes] = []
    length, commas = len(head) + len(tail), 0
    for number in itertools.count():
        part = one(number)
        length += len(part) + 1
        commas += part.count(b",") + 1
        if length > size or commas >= MOST_ITEMS:
            return head + b",".join(parts) + tail
        parts.append(part)
    raise AssertionError


def rows_of(one: Callable[[int], bytes]) -> bytes:
    return filled(b'{"readings":[', one, b"]}")


def values_of(one: Callable[[int], bytes], more: bytes = b"") -> bytes:
    head = b'{"readings":[{"device":"main-meter","time":%d,%s"values":{' % (T0, more)
    return filled(head, one, b"}}]}")


def main_meter(time: bytes, values: bytes, more: bytes = b"") -> bytes:
    return b'{"device":"main-meter","time":%s,"values":{%s}%s}' % (time, values, more)


NOW = b"%d" % T0
PACKED = gzip.compress(message(row()))
ATTACKS: dict[str, tuple[bytes, set[str], int]] = {
    # name: payload, its reasons, readings that are stored all the same
    "lists in lists": (b"[" * MIB, {Reason.PAYLOAD}, 0),
    "lists in lists, closed": (b"[" * (MIB // 2) + b"]" * (MIB // 2), {Reason.PAYLOAD}, 0),
    "lists in readings": (b'{"readings":' + b"[" * MIB, {Reason.PAYLOAD}, 0),
    "objects in objects": (b'{"a":' * (MIB // 5), {Reason.PAYLOAD}, 0),
    "lists in a field that is ignored": (
        b'{"x":' + b"[" * 500_000 + b"]" * 500_000 + b',"readings":[]}',
        {Reason.PAYLOAD},
        0,
    ),
    "lists in a value, as deep as can be read": (
        with_value(b"[" * 400 + b"]" * 400),
        {Reason.BAD_VALUE},
        1,
    ),
    "empty rows": (b'{"readings":[' + b"{}," * 349_000 + b"{}]}", {Reason.TOO_LARGE}, 0),
    "numbers for rows": (b'{"readings":[' + b"1," * 520_000 + b"1]}", {Reason.TOO_LARGE}, 0),
    "empty rows below the bound": (rows_of(lambda _: b"{}"), {Reason.PAYLOAD}, 0),
    "rows without values": (rows_of(lambda _: main_meter(NOW, b"")), {Reason.PAYLOAD}, 0),
    "rows of invented devices": (
        rows_of(lambda n: b'{"device":"d%d","time":1,"values":{"a":1}}' % n),
        {Reason.UNKNOWN_DEVICE},
        0,
    ),
    "invented quantities, a row each": (
        rows_of(lambda n: main_meter(NOW, b'"q%d":1' % n)),
        {Reason.UNKNOWN_QUANTITY},
        0,
    ),
    "invented quantities in one row": (
        values_of(lambda n: b'"q%d":1' % n),
        {Reason.UNKNOWN_QUANTITY},
        0,
    ),
    "texts for values": (values_of(lambda n: b'"q%d":""' % n), {Reason.BAD_VALUE}, 0),
    "invented units": (
        rows_of(
            lambda n: main_meter(NOW, b'"power.active":1', b',"units":{"power.active":"k%d"}' % n)
        ),
        {Reason.UNKNOWN_UNIT},
        0,
    ),
    "invented serial numbers": (
        rows_of(lambda n: main_meter(NOW, b'"power.active":1', b',"serial":%d' % n)),
        {Reason.WRONG_SERIAL},
        0,
    ),
    "impossible times": (
        rows_of(lambda n: main_meter(b'"%x"' % n, b'"power.active":1')),
        {Reason.BAD_TIME},
        0,
    ),
    "invented flags": (
        filled(
            b'{"readings":[{"device":"main-meter","time":%d,"values":{},"flags":{' % T0,
            lambda n: b'"q%d":""' % n,
            b"}}]}",
        ),
        {Reason.UNKNOWN_QUANTITY},
        0,
    ),
    "100,000 digits": (with_value(b"1" * 100_000), {Reason.PAYLOAD}, 0),
    "100,000 digits behind the point": (with_value(b"0." + b"9" * 100_000), set(), 2),
    "100,000 digits for a time": (
        b'{"readings":[' + main_meter(b"9" * 100_000, b'"power.active":1') + b"]}",
        {Reason.PAYLOAD},
        0,
    ),
    "100,000 digits for an id": (
        message(row(), id=0).replace(b'"id": 0', b'"id": ' + b"9" * 100_000),
        {Reason.PAYLOAD},
        0,
    ),
    "an integer beyond float64": (with_value(b"1" * 400), {Reason.BAD_VALUE}, 1),
    "a number beyond float64": (with_value(b"1e999"), {Reason.PAYLOAD}, 0),
    "an exponent of 1,000 digits": (with_value(b"1e" + b"9" * 1000), {Reason.PAYLOAD}, 0),
    "a number that is nearly nothing": (with_value(b"1e-999"), set(), 2),
    "NaN": (message(row(values={"power.active": math.nan})), {Reason.PAYLOAD}, 0),
    "Infinity": (message(row(values={"power.active": -math.inf})), {Reason.PAYLOAD}, 0),
    "no UTF-8": (b'{"readings":[{"device":"\xff","time":1,"values":{}}]}', {Reason.PAYLOAD}, 0),
    "half of a surrogate pair": (
        b'{"readings":[{"device":"\\ud800","time":1,"values":{}}]}',
        {Reason.PAYLOAD},
        0,
    ),
    "UTF-16": (message(row()).decode().encode("utf-16"), {Reason.PAYLOAD}, 0),
    "zeros": (b"\0" * MIB, {Reason.PAYLOAD}, 0),
    "blanks": (b" " * MIB, {Reason.PAYLOAD}, 0),
    "a text": (b'"' + b"\\u0061" * (MIB // 6) + b'"', {Reason.PAYLOAD}, 0),
    "no gzip though it begins so": (b"\x1f\x8b" + b"\x08" * 1000, {Reason.PAYLOAD}, 0),
    "gzip of gzip": (gzip.compress(gzip.compress(message(row()))), {Reason.PAYLOAD}, 0),
    "gzip that ends early": (gzip.compress(message(row()))[:-1], {Reason.PAYLOAD}, 0),
    "gzip and something behind it": (gzip.compress(message(row())) + b"x", {Reason.PAYLOAD}, 0),
    "gzip with a wrong checksum": (
        PACKED[:-8] + b"\0\0\0\0" + PACKED[-4:],
        {Reason.PAYLOAD},
        0,
    ),
    "a gzip bomb": (gzip.compress(b"[" * (64 * MIB), 1), {Reason.TOO_LARGE}, 0),
    "a small gzip bomb": (gzip.compress(message(row()) + b" " * MIB), {Reason.TOO_LARGE}, 0),
    "gzip of too many values": (
        gzip.compress(b'{"readings":[' + random.Random(1).randbytes(20_000).hex().encode()
                      + b"," * MOST_ITEMS + b"]}"),
        {Reason.TOO_LARGE},
        0,
    ),
}  # fmt: skip
