"""What gateways send in our own form, decoded, for tests of the payload decoder."""

from __future__ import annotations

import re

from adapters.sources.payload import Decoded
from collector.model import Reason
from meterwatch.refusal_words import refusal
from tests.adapters.payload.pushed import T0, Fleet, topic

fleet = Fleet()
STRANGE = Fleet()
"""For invented names: a decoder has only so many hints to give, and other tests look for theirs."""


def decode(*payloads: bytes, received: int = T0 + 1000, gateway: str = "gw-print") -> Decoded:
    return fleet.decoder.decode_many([(topic(gateway), p, received) for p in payloads])


def rows(decoded: Decoded) -> list[tuple[str, int, float, int]]:
    """Place and quantity, time, value, quality."""
    b = decoded.batch
    names = {number: f"{p.place}/{p.quantity}" for number, p in fleet.table.points.items()}
    return [
        (names[p], t, v, q)
        for p, t, v, q in zip(
            b.point.tolist(), b.time.tolist(), b.value.tolist(), b.quality.tolist(), strict=True
        )
    ]


def refused(decoded: Decoded) -> list[tuple[str, int]]:
    """Reason, and how many readings."""
    return [(r.reason, r.count) for r in decoded.refusals]


def accounted(payload: bytes) -> None:
    """It is stored or refused, and the program does not fail on it."""
    decoded = STRANGE.decoder.decode_many([(topic(), payload, T0)])
    (one,) = decoded.receipts
    assert one.stored == len(decoded.batch)
    assert one.stored or one.refused
    assert Reason.PROGRAM_FAULT not in {refusal.reason for refusal in decoded.refusals}


ENGLISH = re.compile(
    r"\b(?:no|not|is|the|at|to|its|in|of|are|should|meant|known|brings|looks|before|send|this|"
    r"add|read|with|was|and|it|as|a|or|enter)\b"
)


def in_chinese(text: str) -> str:
    """``text`` in Chinese, without a word that was forgotten; names, samples and excerpts stay."""
    said = refusal(text, "zh")
    plain = re.sub(r"\"[^\"]*\"|'[^']*'|\{.*\}|（报文：.*?）", "", said)
    assert re.search(r"[\u4e00-\u9fff]", said), text
    assert not ENGLISH.search(plain), (text, said)
    assert not re.search(r"[\u4e00-\u9fff][;,]", said), said
    return said
