"""One value in a device's Modbus map, and what its numbers mean. Pure values, no bytes.

A reading is ``(register + plus) * times * 10^ten_to * scale + offset`` in ``unit``; what stands in
``plus``, ``times`` and ``ten_to`` are registers too, read with it, that are no readings themselves:
the fraction of a total, the transformer ratio that the meter keeps, an exponent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from collector.quantities import quantities

TYPES: Final[dict[str, int]] = {
    **dict.fromkeys(("bit", "u16", "i16", "bcd16"), 1),
    **dict.fromkeys(("u32", "i32", "f32", "bcd32"), 2),
    **dict.fromkeys(("u48", "i48", "bcd48"), 3),
    **dict.fromkeys(("u64", "i64", "f64", "bcd64"), 4),
}
"""Register types and the 16-bit registers each takes."""
ORDERS: Final = ("ABCD", "CDAB", "BADC", "DCBA")


@dataclass(frozen=True, slots=True)
class Register:
    """One value in a device's map.

    ``function`` Modbus function code that reads it (1, 2, 3 or 4); ``address`` 0-based wire
    address; ``type`` one of :data:`TYPES`; ``order`` the order in which the bytes of a big-endian
    number arrive: ``ABCD`` (high word first), ``CDAB`` (low word first), ``BADC``, ``DCBA``;
    ``bit`` the lowest and ``bits`` the number of bits for type ``bit`` from a register.
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
    """The device's ratio (PT x CT, from the registry) multiplies it."""
    modulus: float = 0.0
    """Counters: register steps at which it rolls over; 0 for what its type says, if integral."""
    no_value: tuple[float, ...] = ()
    """Raw numbers by which the device says "no value" (compared before scaling)."""
    bits: int = 1
    plus: Register | None = None
    """Added to it: the fraction of a total that the meter keeps in two numbers."""
    times: tuple[Register, ...] = ()
    """Multiply it: transformer ratios or factors that the meter itself keeps."""
    ten_to: Register | None = None
    """The exponent of a mantissa, or a scale register: 10 to the power of it multiplies."""

    @property
    def parts(self) -> tuple[Register, ...]:
        """Registers that it needs beside itself: ``plus``, ``times``, ``ten_to``."""
        first = () if self.plus is None else (self.plus,)
        last = () if self.ten_to is None else (self.ten_to,)
        return (*first, *self.times, *last)

    @property
    def width(self) -> int:
        """Registers, or coils, that it takes."""
        return 1 if self.function in {1, 2} else TYPES[self.type]

    @property
    def span(self) -> tuple[int, int]:
        """First address and the one after the last of what must come in one answer: itself and
        the parts that lie directly beside it. Read apart, a total and its fraction may be of two
        moments."""
        start, end = self.address, self.address + self.width
        near = [part for part in self.parts if part.function == self.function]
        for _ in near:
            for part in near:
                if part.address == end:
                    end += part.width
                elif part.address + part.width == start:
                    start = part.address
        return start, end


@dataclass(frozen=True, slots=True)
class Canonical:
    """How a register's unit becomes its quantity's: ``value * scale + offset``."""

    scale: float
    offset: float
    counter: bool
    scales: str
    """Which instrument transformers multiply it: both, voltage, current or none ("")."""


def canonical(register: Register) -> Canonical:
    """From the register's unit to the canonical one; raises ``UnitError`` or ``KeyError`` for
    a register that did not come through ``profile.parse_profile``."""
    quantity = quantities()[register.quantity]
    factor = quantity.factor(register.unit)
    return Canonical(factor.scale, factor.offset, quantity.kind == "counter", quantity.scales)


def resolution(register: Register) -> float:
    """Canonical units of one step of a counter's register; 0 when it is not integral, or when
    what a step is worth stands in the meter."""
    if register.type in {"f32", "f64", "bit"} or register.parts:
        return 0.0
    return abs(register.scale) * canonical(register).scale


def modulus(register: Register) -> float:
    """Steps at which a counter rolls over: what the profile says, else what the type can hold;
    0 (never) for floats, signed and 64-bit integers, and for numbers put together of several."""
    if register.modulus:
        return register.modulus
    if register.parts:
        return 0.0
    if register.type in {"u16", "u32", "u48"}:
        return 2.0 ** (16 * TYPES[register.type])
    if register.type.startswith("bcd"):
        return 10.0 ** (4 * TYPES[register.type])
    return 0.0
