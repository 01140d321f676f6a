"""A device model as data: which quantities it brings and how its registers are read. Pure.

One TOML per model in ``adapters/profiles``; text in, ``Profile`` or all faults out.

    name, maker, model, label, label_zh    who it is; also = [...] what else its label may say
    source, evidence                       where its map was read, and how sure it is
    doubt, doubt_zh                        what to look at before its readings are believed
    max_gap = 16, max_block = 125          how it likes to be read; holes = [[0x10, 0x1F]] are
                                           addresses never read across, alone = true reads each
                                           value by itself
    [connection]                           baud, parity, stop, unit, tcp: as it is delivered
    [identity]                             serial, voltage_ratio, current_ratio: what it says of
                                           itself, to be compared with the registry
    [defaults]                             any key of a register that is the same for all
    [part.NAME]                            a register that is no reading itself
    [[register]]                           one row per value, keys as in ``Register``
    quantity = "power.active"
    address = 0x0034
    unit = "W"
    [[item]]                               instead of registers: of DL/T 645 meters, see ``items``

Units are checked and resolved here, so that nothing that reads a meter can fail on one later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from collector import items
from collector.errors import ConfigurationError, Fault
from collector.items import Item
from collector.located import Path, parse
from collector.quantities import quantities
from collector.register_map import (
    ORDERS,
    TYPES,
    Canonical,
    Register,
    canonical,
    modulus,
    resolution,
)
from collector.register_map_reader import Bounds, MapReader
from collector.sections import Section

__all__ = [
    "EVIDENCE",
    "ORDERS",
    "PUSH",
    "TYPES",
    "Canonical",
    "Connection",
    "Identity",
    "Measured",
    "Profile",
    "Register",
    "Text",
    "canonical",
    "modulus",
    "parse_profile",
    "push_profile",
    "resolution",
]

PUSH: Final = "push"
"""The built-in model without registers: its quantities are named in the registry."""
EVIDENCE: Final = ("verified", "recalled", "generic", "own")
"""``verified``: the map was read in the source named (which is not to say that a device was at
hand); ``recalled``: from memory, no source found; ``generic``: of no maker; ``own``: not said."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What account needs to know of a quantity that a model brings: see ``registry.Service``.
    ``resolution`` is in the quantity's canonical unit."""

    resolution: float = 0.0
    modulus: float = 0.0
    ratio: bool = False


@dataclass(frozen=True, slots=True)
class Connection:
    """As a model is delivered, to be tried first; ``tcp``: it can be had with Modbus TCP."""

    baud: int = 9600
    parity: str = "N"
    stop: int = 1
    unit: int = 1
    tcp: bool = False
    serial: bool = True
    evidence: str = "recalled"


@dataclass(frozen=True, slots=True)
class Text:
    """Letters in ``words`` registers, two in each; ``BADC``: the second one first."""

    function: int
    address: int
    words: int
    order: str = "ABCD"


@dataclass(frozen=True, slots=True)
class Identity:
    """Where a model says what it is and how it was set up, as far as it does."""

    serial: Register | Text | None = None
    voltage_ratio: Register | None = None
    current_ratio: Register | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """A device model. ``source`` links to where its map was read; ``max_gap`` registers may be
    read over between two wanted ones but none of ``holes`` (first and last address), ``max_block``
    at once; ``alone``: each value by itself. ``registers`` is empty for a model that is only
    pushed; ``measured`` holds every quantity it brings."""

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
    holes: tuple[tuple[int, int], ...] = ()
    alone: bool = False
    also: tuple[str, ...] = ()
    """What else may stand on its label."""
    evidence: str = "own"
    doubt: str = ""
    doubt_zh: str = ""
    connection: Connection | None = None
    identity: Identity = Identity()
    items: tuple[Item, ...] = ()
    """What a DL/T 645 meter is asked for; then it has no registers."""

    @property
    def protocol(self) -> str:
        """The first half of a connection's scheme that reads it; "" for one that is pushed."""
        return "modbus" if self.registers else "dlt645" if self.items else ""


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
    located = parse(text, file)
    faults: list[Fault] = []
    top = Section.whole(located, faults)
    bounds = Bounds(
        top.whole_number("max_gap", 16, least=0, most=125),
        top.whole_number("max_block", 125, least=1, most=125),
        _holes(top),
    )
    rows = MapReader(located, faults, bounds)
    found = items.read_items(top)
    registers = () if "item" in top.data else rows.registers()
    if "item" in top.data and top.has("register"):
        top.fault("item", "both [[item]] and [[register]] are given", "a file for each protocol")
    profile = Profile(
        name=_text(top, "name"),
        maker=_text(top, "maker"),
        model=_text(top, "model"),
        label=_text(top, "label"),
        label_zh=_text(top, "label_zh"),
        source=_text(top, "source"),
        registers=registers,
        measured={} if faults else _all_measured(registers, found),
        max_gap=bounds.max_gap,
        max_block=bounds.max_block,
        holes=bounds.holes,
        alone=top.flag("alone"),
        also=top.texts("also"),
        evidence=top.text("evidence", "own", choices=EVIDENCE),
        doubt=top.text("doubt"),
        doubt_zh=top.text("doubt_zh"),
        connection=_connection(top),
        identity=_identity(top, rows),
        items=found,
    )
    for key in ("defaults", "part", "register"):
        top.has(key)
    top.close()
    if faults:
        raise ConfigurationError(sorted(faults))
    return profile


def _text(top: Section, key: str) -> str:
    """A text that every profile has."""
    found = top.text(key)
    if not found.strip():
        top.fault(key, f"has no {key}", f'{key} = "..."')
    return found


def _holes(top: Section) -> tuple[tuple[int, int], ...]:
    if not top.has("holes"):
        return ()
    rows = top.data["holes"]
    if not isinstance(rows, list):
        top.fault("holes", "holes is not a list", "holes = [[first, last], ...]")
        return ()
    found: list[tuple[int, int]] = []
    for index, row in enumerate(rows):
        match row:
            case [int(first), int(last)] if 0 <= first <= last <= 0xFFFF:
                found.append((first, last))
            case _:
                path: Path = ("holes", index)
                top.fault(path, f"{row!r} is no hole", "[first, last], 0-based wire addresses")
    return tuple(found)


def _connection(top: Section) -> Connection | None:
    if not top.has("connection"):
        return None
    section = top.section("connection")
    made = Connection(
        section.whole_number("baud", 9600, least=300, most=4_000_000),
        section.text("parity", "N", choices=("N", "E", "O")),
        section.whole_number("stop", 1, least=1, most=2),
        section.whole_number("unit", 1, least=0, most=255),
        tcp=section.flag("tcp"),
        serial=section.flag("serial", default=True),
        evidence=section.text("evidence", "recalled", choices=EVIDENCE),
    )
    section.close()
    return made


def _identity(top: Section, rows: MapReader) -> Identity:
    section = top.section("identity")
    if not section.data:
        return Identity()
    serial: Register | Text | None = None
    row = section.data.get("serial")
    if section.has("serial") and isinstance(row, dict) and row.get("type") == "ascii":
        serial = _letters(section.section("serial"))
    elif row is not None:
        serial = rows.part(("identity", "serial"), row)
    ratios = [
        rows.part(("identity", key), section.data[key]) if section.has(key) else None
        for key in ("voltage_ratio", "current_ratio")
    ]
    section.close()
    return Identity(serial, *ratios)


def _letters(section: Section) -> Text:
    section.text("type")
    made = Text(
        section.whole_number("function", 3, least=3, most=4),
        section.whole_number("address", 0, least=0, most=0xFFFF),
        section.whole_number("words", 1, least=1, most=60),
        section.text("order", "ABCD", choices=("ABCD", "BADC")),
    )
    section.close()
    return made


def _all_measured(registers: Iterable[Register], found: Iterable[Item]) -> dict[str, Measured]:
    rows: tuple[Register | Item, ...] = (*registers, *found)
    return {row.quantity: _measured(row) for row in rows}


def _measured(row: Register | Item) -> Measured:
    quantity = quantities()[row.quantity]
    if quantity.kind != "counter":
        return Measured(ratio=row.ratio)
    if isinstance(row, Item):
        return Measured(items.resolution(row), row.format.modulus, row.ratio)
    return Measured(resolution(row), modulus(row), row.ratio)
