"""Whatever a DL/T 645 line says, the codec gives its own events and raises nothing.

Inputs are random bytes, true frames cut, altered and glued together, and bytes made mostly of
those that mean something (68, FE, 16, AA): pure chance hardly ever gets past the first mark.
Every frame that comes out is understood, its data decoded, and encoded again to the bytes it was.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

from adapters.sources.dlt645.data import values
from adapters.sources.dlt645.frame import Frame, Noise, Reader, encode
from adapters.sources.dlt645.message import Answer, understand

TELLING = bytes([0x68, 0x68, 0x68, 0xFE, 0x16, 0xAA, 0x91, 0x33, 0x00, 0x01, 0x04, 0xC8])
IDENTIFIERS = (0x00010000, 0x0001FF00, 0x0101FF00, 0x02010100, 0x0201FF00, 0x0203FF00, 0x02800002,
               0x04000101, 0x04000402, 0x00000000, 0x12345678)  # fmt: skip


def campaign(folder: Path, seed: int, inputs: int) -> dict[str, Any]:
    """In the form in which campaigns are run."""
    return anything(seed, inputs)


def anything(seed: int, inputs: int) -> dict[str, Any]:
    """Feed ``inputs`` random inputs; counts of what came out."""
    dice = random.Random(seed)
    seen: Counter[str] = Counter()
    reader = Reader()
    for _ in range(inputs):
        data = _input(dice)
        cut = dice.randrange(len(data) + 1)
        events = [*reader.receive(data[:cut]), *reader.receive(data[cut:])]
        if dice.random() < 0.5:
            events += reader.idle()
        for event in events:
            assert isinstance(event, Frame | Noise)
            if isinstance(event, Noise):
                seen[event.why.name] += 1
                continue
            message = understand(event)
            seen[type(message).__name__] += 1
            if isinstance(message, Answer):
                list(values(message.identifier, message.data))
            again = Reader().receive(encode(event))
            assert again == [event]
    return {"inputs": inputs, "events": dict(sorted(seen.items()))}


def _input(dice: random.Random) -> bytes:
    kind = dice.random()
    if kind < 0.25:
        return dice.randbytes(dice.randrange(40))
    if kind < 0.5:
        return bytes(dice.choices(TELLING, k=dice.randrange(40)))
    frames = bytearray().join(_frame(dice) for _ in range(dice.randrange(1, 3)))
    for _ in range(dice.randrange(3)):
        at = dice.randrange(len(frames))
        frames[at : at + dice.randrange(3)] = dice.randbytes(dice.randrange(3))
        frames = frames or bytearray(b"\x68")
    return bytes(frames)


def _frame(dice: random.Random) -> bytes:
    data = b""
    if dice.random() < 0.8:
        data = dice.choice(IDENTIFIERS).to_bytes(4, "little") + dice.randbytes(dice.randrange(24))
    address = "".join(dice.choices("0123456789", k=12))
    control = dice.choice(
        (0x11, 0x91, 0xB1, 0xD1, 0x12, 0x92, 0xB2, 0xD2, 0x13, 0x93, dice.randrange(256))
    )
    return encode(Frame(address, control, data), wake=dice.randrange(5))
