"""Which blocks to read from a device, and what the bytes then mean. Pure.

``blocks`` covers registers with few reads; a ``Plan`` is that for one device, with the decoder
compiled, the unit factors and the device's ratio resolved, and the stable ids of its points.

Invariants: every register lies whole within exactly one block of its function, and with it the
parts that adjoin it (a total and its fraction must be of one moment); no block is longer than
``max_block``; no more than ``max_gap`` unwanted registers are read between two wanted ones, and
none that lies in a hole; blocks do not overlap unless registers do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from adapters.sources.modbus.codec import Decoder, Field
from adapters.sources.modbus.lack import NOTHING, Lack, Span
from collector.model import Ids, Qualities, Values
from collector.profile import Profile, Register, canonical
from collector.registry import Device


@dataclass(frozen=True, slots=True, order=True)
class Block:
    """``count`` registers (coils for functions 1 and 2) from wire address ``address``."""

    function: int
    address: int
    count: int


def width(register: Register) -> int:
    """Registers (or coils) that one value takes."""
    return register.width


def blocks(
    registers: Sequence[Register],
    max_gap: int,
    max_block: int,
    holes: Sequence[tuple[int, int]] = (),
    *,
    alone: bool = False,
    lack: Lack = NOTHING,
) -> tuple[Block, ...]:
    """The fewest blocks, left to right, that keep the bounds. ``holes`` (first and last address)
    are never read over; ``alone``: what is not one value is not read at once; ``lack``: what a
    device was found to refuse."""
    found: list[Block] = []
    for function, start, end in spans(registers):
        if lack.has(function, start, end):
            continue
        if found and found[-1].function == function:
            last = found[-1]
            reach = last.address + last.count
            bound = last.count if alone else max_block
            if (
                start - reach <= max_gap
                and max(end, reach) - last.address <= bound
                and not any(first < start and reach <= after for first, after in holes)
                and (start < reach or lack.joins(function, reach, start))
            ):
                found[-1] = Block(function, last.address, max(end, reach) - last.address)
                continue
        found.append(Block(function, start, end - start))
    return tuple(found)


def spans(registers: Sequence[Register]) -> list[Span]:
    """What must be read whole, left to right: each value, and its parts that lie elsewhere."""
    found = [(register.function, *register.span) for register in registers]
    found += [(part.function, *part.span) for register in registers for part in register.parts]
    return sorted(found, key=lambda span: (span[0], span[1], -span[2]))


def requests(profile: Profile) -> tuple[Block, ...]:
    """What one poll of everything that a model brings asks for."""
    return blocks(
        profile.registers,
        profile.max_gap,
        profile.max_block,
        profile.holes,
        alone=profile.alone,
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """How one device is read. ``decode(image)`` takes the answers to ``blocks`` one after
    another (two bytes a register, and two bytes, 0 or 1, a coil) and gives a value and a
    quality for each of ``points`` (stable ids, int32)."""

    blocks: tuple[Block, ...]
    points: Ids
    decoder: Decoder
    registers: tuple[Register, ...]

    def decode(self, image: bytes) -> tuple[Values, Qualities]:
        return self.decoder.decode(image)


def plan(
    device: Device,
    profile: Profile,
    ids: Mapping[str, int],
    *,
    strict: bool = False,
    without: Collection[Block] = (),
    lack: Lack = NOTHING,
    only: Sequence[Block] | None = None,
) -> Plan:
    """The plan of ``device``. ``ids`` maps ``site/place/quantity/raw`` to stable ids; what it
    does not name is not read. ``strict`` reads over no gap; ``without`` leaves blocks out;
    ``lack``: what the device was found to refuse; ``only``: just these blocks were read."""
    wanted = [
        (register, ids[name])
        for register in profile.registers
        if not device.quantities or register.quantity in device.quantities
        if (name := f"{device.site}/{device.place}/{register.quantity}/raw") in ids
        if not any(lack.has(*span) for span in spans([register]))
    ]
    found: Sequence[Block] | None = only
    if found is None:
        found = blocks(
            [register for register, _ in wanted],
            0 if strict else profile.max_gap,
            profile.max_block,
            profile.holes,
            alone=profile.alone,
            lack=lack,
        )
        found = [block for block in found if block not in without]
    starts = np.cumsum([0] + [2 * block.count for block in found]).tolist()
    fields: list[Field] = []
    points: list[int] = []
    for register, point in wanted:
        at = _place(register, found, starts)
        parts = [_place(part, found, starts) for part in register.parts]
        whole = tuple(part for part in parts if part is not None)
        if at is not None and len(whole) == len(parts):
            fields.append(_field(register, at, whole, device))
            points.append(point)
    ordered = sorted(range(len(fields)), key=lambda i: fields[i].at)
    return Plan(
        tuple(found),
        np.array([points[i] for i in ordered], np.int32),
        Decoder([fields[i] for i in ordered], starts[-1]),
        tuple(fields[i].register for i in ordered),
    )


def _place(register: Register, found: Sequence[Block], starts: Sequence[int]) -> int | None:
    for block, start in zip(found, starts, strict=False):
        offset = register.address - block.address
        if (
            block.function == register.function
            and offset >= 0
            and offset + width(register) <= block.count
        ):
            return start + 2 * offset
    return None


def _field(register: Register, at: int, parts: tuple[int, ...], device: Device) -> Field:
    """Counters stay as the meter shows them; only gauges take the device's ratio here."""
    unit = canonical(register)
    ratio = 1.0
    if register.ratio and not unit.counter:
        ratio = {"voltage": device.voltage_ratio, "current": device.current_ratio}.get(
            unit.scales, device.ratio
        )
    shown = [
        round((number - register.offset) / register.scale, 6)
        for number in device.no_value
        if register.scale != 0
    ]
    return Field(
        register,
        at,
        gain=register.scale * unit.scale * ratio,
        shift=(register.offset * unit.scale + unit.offset) * ratio,
        no_value=(*device.no_value, *shown),
        parts=parts,
    )
