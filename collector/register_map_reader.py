"""The ``[defaults]``, ``[part.NAME]`` and ``[[register]]`` tables of a profile. Pure.

Rows in, ``Register`` values out; everything that is wrong is told with its line, all at once, so
that nothing that reads a meter can fail on its map later.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from collector.errors import Fault
from collector.located import Located, Path
from collector.quantities import Quantity, quantities
from collector.register_map import ORDERS, TYPES, Register
from collector.sections import near
from collector.units import UnitError

_KEYS: Final[dict[str, tuple[type, ...]]] = {
    "function": (int,),
    "address": (int,),
    "type": (str,),
    "order": (str,),
    "scale": (int, float),
    "offset": (int, float),
    "bit": (int,),
    "bits": (int,),
    "no_value": (list,),
}
"""Keys of any register, and what TOML may give for them."""
_READING: Final[dict[str, tuple[type, ...]]] = _KEYS | {
    "quantity": (str,),
    "unit": (str,),
    "ratio": (bool,),
    "modulus": (int, float),
    "plus": (str,),
    "times": (list,),
    "ten_to": (str,),
}
"""Keys of a ``[[register]]`` and of ``[defaults]``."""
_WANTED: Final = ("function", "address", "type")


@dataclass(frozen=True, slots=True)
class Bounds:
    """How a device likes to be read: at most ``max_block`` registers at once, at most ``max_gap``
    unwanted ones between two wanted, never across ``holes`` (first and last address)."""

    max_gap: int
    max_block: int
    holes: tuple[tuple[int, int], ...] = ()


class MapReader:
    """Reads the rows of one file; faults are appended to ``faults``."""

    def __init__(self, located: Located, faults: list[Fault], bounds: Bounds) -> None:
        self._located = located
        self._faults = faults
        self._bounds = bounds
        self._defaults = self._table(("defaults",), _READING)
        named = located.data.get("part", {})
        self._parts: dict[str, Register] = {}
        if not isinstance(named, dict):
            self._fault(("part",), "part is not a table", "write [part.NAME] tables")
            return
        for name in named:
            part = self.part(("part", name), named[name])
            if part is not None:
                self._parts[name] = part

    def part(self, where: Path, row: object) -> Register | None:
        """A register that is no reading itself; its type and function may come from defaults."""
        if not isinstance(row, dict):
            self._fault(where, f"{where[-1]} is not a table", "{ address = ..., type = ... }")
            return None
        faults = len(self._faults)
        self._keys(where, row, _KEYS)
        whole = {k: v for k, v in self._defaults.items() if k in _KEYS} | row
        self._missing(where, whole, _WANTED)
        if len(self._faults) > faults:
            return None
        register = Register("", unit="1", **_plain(whole))
        self._check(where, register)
        return register if len(self._faults) == faults else None

    def registers(self) -> tuple[Register, ...]:
        rows = self._located.data.get("register", [])
        if not isinstance(rows, list) or not rows or not all(isinstance(r, dict) for r in rows):
            self._fault(("register",), "has no [[register]]", "add one per value it brings")
            return ()
        found: dict[str, Register] = {}
        for index, row in enumerate(rows):
            where = ("register", index)
            faults = len(self._faults)
            self._keys(where, row, _READING)
            whole = self._defaults | row
            self._missing(where, whole, ("quantity", *_WANTED, "unit"))
            name = whole.get("quantity")
            if isinstance(name, str) and name in found:
                self._fault((*where, "quantity"), f'"{name}" stands twice', "keep one of them")
            if len(self._faults) > faults:
                continue
            register = Register(**_plain(whole), **self._joined(where, whole))
            found[register.quantity] = register
            self._check(where, register)
            self._check_quantity(where, register)
            self._check_parts(where, register)
        return tuple(found.values())

    def _joined(self, where: Path, row: Mapping[str, Any]) -> dict[str, Any]:
        """Its parts, by name."""
        joined: dict[str, Any] = {}
        for key in ("plus", "ten_to"):
            if key in row:
                joined[key] = self._named((*where, key), row[key])
        if "times" in row:
            times = [self._named((*where, "times"), name) for name in row["times"]]
            joined["times"] = tuple(part for part in times if part is not None)
        return joined

    def _named(self, where: Path, name: object) -> Register | None:
        part = self._parts.get(str(name))
        if part is None and str(name) not in self._located.data.get("part", {}):
            self._fault(where, f'no [part.{name}] is "{name}"', near(str(name), self._parts))
        return part

    def _table(self, where: Path, keys: Mapping[str, tuple[type, ...]]) -> dict[str, Any]:
        found = self._located.data.get(str(where[0]), {})
        if not isinstance(found, dict):
            self._fault(where, f"{where[0]} is not a table")
            return {}
        faults = len(self._faults)
        self._keys(where, found, keys)
        return found if len(self._faults) == faults else {}

    def _missing(self, where: Path, row: Mapping[str, Any], wanted: tuple[str, ...]) -> None:
        what = f"[[register]] {int(where[1]) + 1}" if where[0] == "register" else str(where[-1])
        for key in wanted:
            if key not in row:
                self._fault(where, f"{what} has no {key}")

    def _keys(self, where: Path, row: dict[str, Any], known: Mapping[str, Any]) -> None:
        for key, value in row.items():
            types = known.get(key)
            if types is None:
                self._fault((*where, key), f'unknown key "{key}"', near(key, known))
            elif not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
                wanted = "a number" if float in types else f"a {types[0].__name__}"
                self._fault((*where, key), f"{key} = {value!r} is not {wanted}")
            elif key == "times" and not all(isinstance(n, str) for n in value):
                self._fault((*where, key), f"{key} = {value!r} is not a list of names of parts")
            elif key == "no_value" and not all(
                isinstance(n, int | float) and not isinstance(n, bool) for n in value
            ):
                self._fault((*where, key), f"{key} = {value!r} is not a list of numbers")

    def _check(self, where: Path, register: Register) -> None:
        for key, what, todo in _oddities(register, self._bounds):
            self._fault((*where, key), what, todo)

    def _check_quantity(self, where: Path, register: Register) -> None:
        quantity = quantities().get(register.quantity)
        if quantity is None:
            self._fault(
                (*where, "quantity"),
                f'unknown quantity "{register.quantity}"',
                near(register.quantity, quantities()) or "see collector/quantities.toml",
            )
            return
        try:
            factor = quantity.factor(register.unit)
        except UnitError as fault:
            self._fault((*where, "unit"), str(fault))
        else:
            if quantity.kind == "counter" and (register.offset or factor.offset):
                self._fault((*where, "offset"), "a counter has no offset")
        for key, what in _unfit(register, quantity):
            self._fault((*where, key), what)

    def _check_parts(self, where: Path, register: Register) -> None:
        if register.type not in TYPES or any(p.type not in TYPES for p in register.parts):
            return
        start, end = register.span
        if register.parts and end - start > self._bounds.max_block:
            what = f"takes {end - start} registers, max_block is {self._bounds.max_block}"
            self._fault(where, what, "read in two it would be of two moments: raise max_block")
        plus = register.plus
        if plus is not None and not (
            plus.function == register.function
            and start <= plus.address
            and plus.address + plus.width <= end
        ):
            what = "what is added does not lie beside the register"
            self._fault((*where, "plus"), what, "read apart, the two would be of two moments")

    def _fault(self, path: Path, what: str, todo: str = "") -> None:
        self._faults.append(Fault(self._located.file, self._located.line(*path), what, todo))


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """What goes into a ``Register`` as it stands."""
    plain = {key: row[key] for key in row if key not in {"plus", "times", "ten_to"}}
    plain["no_value"] = tuple(float(n) for n in row.get("no_value", ()))
    return plain


def _unfit(register: Register, quantity: Quantity) -> Iterator[tuple[str, str]]:
    """What the register says of itself and its quantity does not bear."""
    if register.ratio and not quantity.scales:
        yield "ratio", f"{quantity.name} is not behind instrument transformers"
    if register.ratio and register.times and quantity.scales:
        yield "ratio", "is multiplied by the registry's ratio and by the meter's own: take one"
    if register.modulus and quantity.kind != "counter":
        yield "modulus", f"{quantity.name} is not a counter"
    if register.modulus and register.parts:
        yield "modulus", "what is put together of several registers has no modulus"


def _oddities(register: Register, bounds: Bounds) -> Iterator[tuple[str, str, str]]:
    """What the types do not say: key, what is wrong, what to do."""
    coil = register.function in {1, 2}
    words = 1 if coil else TYPES.get(register.type, 1)
    first, last = register.address, register.address + words - 1
    if register.function not in {1, 2, 3, 4}:
        todo = "1 coils, 2 inputs, 3 holding registers, 4 input registers"
        yield "function", f"function {register.function} reads nothing", todo
    if register.type not in TYPES:
        yield "type", f'unknown type "{register.type}"', f"one of {', '.join(TYPES)}"
    elif coil and register.type != "bit":
        what = f'function {register.function} reads bits, not "{register.type}"'
        yield "type", what, 'type = "bit"'
    if not 0 <= first <= last <= 0xFFFF:
        todo = "0-based wire address: document number minus 40001, 30001 or 1"
        yield "address", f"address {first:#x} does not fit 16 bits", todo
    if any(first <= end and start <= last for start, end in bounds.holes):
        yield "address", f"address {first:#x} lies in a hole", "one of the two is wrong"
    if words > bounds.max_block:
        what = f"{register.type} takes {words} registers, max_block is {bounds.max_block}"
        yield "type", what, "read in two it would be of two moments: raise max_block"
    if register.order not in ORDERS:
        yield "order", f'unknown byte order "{register.order}"', f"one of {', '.join(ORDERS)}"
    if not (register.bit >= 0 and 1 <= register.bits <= (1 if coil else 16) - register.bit):
        several = f"bits {register.bit} to {register.bit + register.bits - 1} are"
        told = several if register.bits > 1 else f"bit {register.bit} is"
        yield (
            "bits" if register.bits > 1 else "bit",
            f"{told} not in a {'coil' if coil else 'register'}",
            "",
        )
    if not math.isfinite(register.scale) or register.scale == 0:
        yield "scale", f"scale {register.scale} loses every value", ""
    if register.modulus < 0 or register.modulus != int(register.modulus):
        yield "modulus", f"modulus {register.modulus} is not a number of register steps", ""
