"""A device model as data: which quantities it brings and how its registers are read. Pure.

One TOML per model in ``adapters/profiles``; text in, ``Profile`` or all faults out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Register:
    """One value in a device's map.

    ``function`` Modbus function code that reads it (1, 2, 3 or 4); ``address`` 0-based wire
    address; ``type`` one of u16 i16 u32 i32 u64 i64 f32 f64 bit bcd16 bcd32 bcd48 bcd64; ``order`` the
    order in which the bytes of a big-endian number arrive: ``ABCD`` (high word first),
    ``CDAB`` (low word first), ``BADC``, ``DCBA``; ``bit`` the bit within a u16 for type ``bit``
    from a register. The reading is ``register * scale + offset`` in ``unit``.
    """

    quantity: str
    function: int
    address: int
    type: str
    unit: str
    order: str = "ABCD"
    scale: float = 1.0
    offset: float = 0.0
    bit: int = 0
    ratio: bool = False
    """The device's ratio (PT x CT) multiplies it."""
    modulus: float = 0.0
    """Counters: register steps at which it rolls over; 0 for what its type says, if integral."""
    no_value: tuple[float, ...] = ()
    """Raw numbers by which the device says "no value" (compared before scaling)."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What account needs to know of a quantity that a model brings: see ``registry.Service``.
    ``resolution`` is in the quantity's canonical unit."""

    resolution: float = 0.0
    modulus: float = 0.0
    ratio: bool = False


@dataclass(frozen=True, slots=True)
class Profile:
    """A device model. ``source`` links to where its map was read; ``max_gap`` registers may be
    read over between two wanted ones, ``max_block`` at once. ``registers`` is empty for a model
    that is only pushed; ``measured`` holds every quantity it brings."""

    name: str
    maker: str
    model: str
    label: str
    label_zh: str
    source: str
    registers: tuple[Register, ...]
    measured: Mapping[str, Measured]
    max_gap: int = 16
    max_block: int = 125
