"""What a device says of itself, held against the registry: serial number and ratios. Pure.

``questions`` are asked once for each connection, before readings count; ``objections`` says what
does not agree. A wrong serial number means another instrument: its readings belong to nobody yet
(``Reason.WRONG_SERIAL``, as for pushed devices). A ratio that differs from the registry's is told
and changes nothing, because the bill follows the registry.

Invariant: what the device did not answer, or answers as "no value", is never an objection.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from adapters.sources.modbus.codec import decode_one
from adapters.sources.modbus.plan import Block
from collector.model import Reason
from collector.profile import Profile, Register, Text
from collector.registry import Device

_RATIOS: Final = ("voltage_ratio", "current_ratio")
_TOLERANCE: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Objection:
    """``refuse``: its readings may not be taken for this device's. ``reason``: a word of
    ``Reason`` for refusals, else empty; ``detail`` says to people what to do."""

    refuse: bool
    reason: str
    detail: str


def questions(profile: Profile, device: Device) -> tuple[Block, ...]:
    """Blocks to read, each by itself, so that one that a device lacks hides no other."""
    found = [profile.identity.serial] if device.serial else []
    if any(register.ratio for register in profile.registers):
        found += [getattr(profile.identity, key) for key in _RATIOS]
    return tuple(block(one) for one in found if one is not None)


def block(one: Register | Text) -> Block:
    """Where one of them lies."""
    words = one.words if isinstance(one, Text) else one.width
    return Block(one.function, one.address, words)


def objections(
    profile: Profile, device: Device, answers: Mapping[Block, bytes]
) -> tuple[Objection, ...]:
    """What does not agree, of what was answered."""
    found: list[Objection] = []
    serial = profile.identity.serial
    if serial is not None and device.serial:
        told = told_serial(serial, answers)
        if told and plain_serial(told) != plain_serial(device.serial):
            found.append(
                Objection(
                    True,
                    Reason.WRONG_SERIAL,
                    f"{device.key} should have serial number {device.serial}, the meter says "
                    f"{told:.40}: was the instrument replaced, or is another one at this "
                    "address? Enter the one that is there in the registry",
                )
            )
    for key in _RATIOS:
        register = getattr(profile.identity, key)
        if register is None or block(register) not in questions(profile, device):
            continue
        ratio = _number(register, answers) * register.scale + register.offset
        wanted: float = getattr(device, key)
        if ratio > 0 and not math.isclose(ratio, wanted, rel_tol=_TOLERANCE):
            found.append(
                Objection(
                    False,
                    "",
                    f"{device.key}: {key} is {wanted:g} in the registry and {ratio:g} in the "
                    "meter. The registry's is used: look at the transformers, and make both alike",
                )
            )
    return tuple(found)


def told_serial(one: Register | Text, answers: Mapping[Block, bytes]) -> str:
    """The serial number as the meter says it; empty where it does not."""
    if isinstance(one, Text):
        return _letters(one, answers.get(block(one), b""))
    number = _number(one, answers)
    # an instrument that was given no number says 0
    return str(int(number)) if math.isfinite(number) and number > 0 else ""


def plain_serial(text: str) -> str:
    """As it is compared: a label has leading zeros and blanks that a register has not."""
    return "".join(text.split()).casefold().lstrip("0")


def _number(register: Register, answers: Mapping[Block, bytes]) -> float:
    raw = answers.get(block(register), b"")
    if len(raw) != 2 * register.width:
        return math.nan
    return decode_one(register, struct.unpack(f">{register.width}H", raw))


def _letters(one: Text, raw: bytes) -> str:
    """Printable letters up to the first byte that is none: 00 and FF fill up what is not used."""
    if one.order == "BADC":
        raw = b"".join(raw[n + 1 : n + 2] + raw[n : n + 1] for n in range(0, len(raw), 2))
    kept = bytearray()
    for byte in raw:
        if not 0x20 <= byte < 0x7F:
            break
        kept.append(byte)
    return kept.decode("ascii").strip()
