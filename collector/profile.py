"""A device model as data: which quantities it brings and how its registers are read. Pure.

One TOML per model in ``adapters/profiles``; text in, ``Profile`` or all faults out.

    name, maker, model, label, label_zh, source     who it is and where its map was read
    max_gap = 16, max_block = 125                   how it likes to be read
    [defaults]                                      any key of a register that is the same for all
    [[register]]                                    one row per value, keys as in ``Register``
    quantity = "power.active"
    address = 0x0034
    unit = "W"

Units are checked and resolved here, so that nothing that reads a meter can fail on one later.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from collector.errors import ConfigurationError, Fault
from collector.located import parse
from collector.quantities import Quantity, quantities
from collector.sections import near
from collector.units import UnitError

TYPES: Final[dict[str, int]] = {
    **dict.fromkeys(("bit", "u16", "i16", "bcd16"), 1),
    **dict.fromkeys(("u32", "i32", "f32", "bcd32"), 2),
    "bcd48": 3,
    **dict.fromkeys(("u64", "i64", "f64", "bcd64"), 4),
}
"""Register types and the 16-bit registers each takes."""
ORDERS: Final = ("ABCD", "CDAB", "BADC", "DCBA")
PUSH: Final = "push"
"""The built-in model without registers: its quantities are named in the registry."""


@dataclass(frozen=True, slots=True)
class Register:
    """One value in a device's map.

    ``function`` Modbus function code that reads it (1, 2, 3 or 4); ``address`` 0-based wire
    address; ``type`` one of u16 i16 u32 i32 u64 i64 f32 f64 bit bcd16 bcd32 bcd48 bcd64;
    ``order`` the order in which the bytes of a big-endian number arrive: ``ABCD`` (high word
    first), ``CDAB`` (low word first), ``BADC``, ``DCBA``; ``bit`` the bit within a u16 for type
    ``bit`` from a register. The reading is ``register * scale + offset`` in ``unit``.
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
    a register that did not come through :func:`parse_profile`."""
    quantity = quantities()[register.quantity]
    factor = quantity.factor(register.unit)
    return Canonical(factor.scale, factor.offset, quantity.kind == "counter", quantity.scales)


def resolution(register: Register) -> float:
    """Canonical units of one step of a counter's register; 0 when it is not integral."""
    if register.type in {"f32", "f64", "bit"}:
        return 0.0
    return abs(register.scale) * canonical(register).scale


def modulus(register: Register) -> float:
    """Steps at which a counter rolls over: what the profile says, else what the type can hold;
    0 (never) for floats, signed and 64-bit integers."""
    if register.modulus:
        return register.modulus
    if register.type in {"u16", "u32"}:
        return 2.0 ** (16 * TYPES[register.type])
    if register.type.startswith("bcd"):
        return 10.0 ** (4 * TYPES[register.type])
    return 0.0


def push_profile() -> Profile:
    """The built-in model ``push``."""
    return Profile(
        name=PUSH,
        maker="",
        model="",
        label="Pushed values, quantities as the registry names them",
        label_zh="推送数据，指标以台账为准",
        source="",
        registers=(),
        measured={},
    )


def parse_profile(text: str, file: str) -> Profile:
    """The profile in ``text``. Raises ``ConfigurationError`` with every fault in it."""
    return _Reader(text, file).profile()


_TEXTS: Final = ("name", "maker", "model", "label", "label_zh", "source")
_KEYS: Final[dict[str, tuple[type, ...]]] = {
    "quantity": (str,),
    "function": (int,),
    "address": (int,),
    "type": (str,),
    "unit": (str,),
    "order": (str,),
    "scale": (int, float),
    "offset": (int, float),
    "bit": (int,),
    "ratio": (bool,),
    "modulus": (int, float),
    "no_value": (list,),
}
"""Keys of a register (and of ``[defaults]``) and what TOML may give for them."""
_REQUIRED: Final = ("quantity", "function", "address", "type", "unit")


class _Reader:
    """Reads one file and gathers its faults."""

    def __init__(self, text: str, file: str) -> None:
        self._located = parse(text, file)
        self._data = self._located.data
        self._faults: list[Fault] = []

    def profile(self) -> Profile:
        data = self._data
        known = {*_TEXTS, "max_gap", "max_block", "defaults", "register"}
        for key in data:
            if key not in known:
                self._fault((key,), f'unknown key "{key}"', near(key, known))
        texts = {key: self._text(key) for key in _TEXTS}
        max_gap = self._whole("max_gap", 16, range(126))
        max_block = self._whole("max_block", 125, range(4, 126))
        registers = self._registers()
        if self._faults:
            raise ConfigurationError(sorted(self._faults))
        return Profile(
            **texts,
            registers=registers,
            measured={register.quantity: _measured(register) for register in registers},
            max_gap=max_gap,
            max_block=max_block,
        )

    def _registers(self) -> tuple[Register, ...]:
        rows = self._data.get("register", [])
        defaults = self._data.get("defaults", {})
        if not isinstance(rows, list) or not rows or not all(isinstance(r, dict) for r in rows):
            self._fault(("register",), "has no [[register]]", "add one per value it brings")
            return ()
        if not isinstance(defaults, dict):
            self._fault(("defaults",), "defaults is not a table")
            return ()
        self._keys(("defaults",), defaults)
        found: list[Register] = []
        seen: dict[str, int] = {}
        for index, row in enumerate(rows):
            where = ("register", index)
            faults = len(self._faults)
            self._keys(where, row)
            whole = {**defaults, **row}
            for key in _REQUIRED:
                if key not in whole:
                    self._fault(where, f"[[register]] {index + 1} has no {key}")
            name = whole.get("quantity")
            if isinstance(name, str) and name in seen:
                self._fault((*where, "quantity"), f'"{name}" stands twice', "keep one of them")
            if len(self._faults) == faults:
                whole["no_value"] = tuple(float(n) for n in whole.get("no_value", ()))
                register = Register(**whole)
                seen[register.quantity] = index
                self._check(where, register)
                found.append(register)
        return tuple(found)

    def _keys(self, where: tuple[str | int, ...], row: dict[str, Any]) -> None:
        for key, value in row.items():
            types = _KEYS.get(key)
            if types is None:
                self._fault((*where, key), f'unknown key "{key}"', near(key, _KEYS))
            elif not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
                wanted = "a number" if float in types else f"a {types[0].__name__}"
                self._fault((*where, key), f"{key} = {value!r} is not {wanted}")
            elif isinstance(value, list) and not all(
                isinstance(n, int | float) and not isinstance(n, bool) for n in value
            ):
                self._fault((*where, key), f"{key} = {value!r} is not a list of numbers")

    def _check(self, where: tuple[str | int, ...], register: Register) -> None:
        """What the types do not say."""
        words = TYPES.get(register.type)
        coil = register.function in {1, 2}
        for bad, key, what, todo in (
            (
                register.function not in {1, 2, 3, 4},
                "function",
                f"function {register.function} reads nothing",
                "1 coils, 2 inputs, 3 holding registers, 4 input registers",
            ),
            (
                words is None,
                "type",
                f'unknown type "{register.type}"',
                f"one of {', '.join(TYPES)}",
            ),
            (
                coil and register.type != "bit",
                "type",
                f'function {register.function} reads bits, not "{register.type}"',
                'type = "bit"',
            ),
            (
                not 0 <= register.address <= 0x10000 - (words or 1),
                "address",
                f"address {register.address:#x} does not fit 16 bits",
                "0-based wire address: document number minus 40001, 30001 or 1",
            ),
            (
                register.order not in ORDERS,
                "order",
                f'unknown byte order "{register.order}"',
                f"one of {', '.join(ORDERS)}",
            ),
            (
                not 0 <= register.bit <= (0 if coil else 15),
                "bit",
                f"bit {register.bit} is not in a {'coil' if coil else 'register'}",
                "",
            ),
            (
                not math.isfinite(register.scale) or register.scale == 0,
                "scale",
                f"scale {register.scale} loses every value",
                "",
            ),
            (
                register.modulus < 0 or register.modulus != int(register.modulus),
                "modulus",
                f"modulus {register.modulus} is not a number of register steps",
                "",
            ),
        ):
            if bad:
                self._fault((*where, key), what, todo)
        quantity = quantities().get(register.quantity)
        if quantity is None:
            self._fault(
                (*where, "quantity"),
                f'unknown quantity "{register.quantity}"',
                near(register.quantity, quantities()) or "see collector/quantities.toml",
            )
            return
        self._check_quantity(where, register, quantity)

    def _check_quantity(
        self, where: tuple[str | int, ...], register: Register, quantity: Quantity
    ) -> None:
        try:
            factor = quantity.factor(register.unit)
        except UnitError as fault:
            self._fault((*where, "unit"), str(fault))
        else:
            if quantity.kind == "counter" and (register.offset or factor.offset):
                self._fault((*where, "offset"), "a counter has no offset")
        if register.ratio and not quantity.scales:
            self._fault((*where, "ratio"), f"{quantity.name} is not behind instrument transformers")
        if register.modulus and quantity.kind != "counter":
            self._fault((*where, "modulus"), f"{quantity.name} is not a counter")

    def _text(self, key: str) -> str:
        value = self._data.get(key, "")
        if not isinstance(value, str) or not value.strip():
            self._fault((key,), f"has no {key}", f'{key} = "..."')
            return ""
        return value

    def _whole(self, key: str, default: int, bounds: range) -> int:
        value = self._data.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value not in bounds:
            self._fault((key,), f"{key} = {value!r} is not from {bounds[0]} to {bounds[-1]}")
            return default
        return value

    def _fault(self, path: tuple[str | int, ...], what: str, todo: str = "") -> None:
        line = self._located.line(*path)
        self._faults.append(Fault(self._located.file, line, what, todo))


def _measured(register: Register) -> Measured:
    quantity = quantities()[register.quantity]
    if quantity.kind != "counter":
        return Measured(ratio=register.ratio)
    return Measured(resolution(register), modulus(register), register.ratio)
