"""The compact form of our own JSON -> rows: what is the same for many readings is said once. Pure.

    {"columns": ["device", "energy.active.import"], "time": 1795305600000, "rows": [["m1", 12.5]]}

A cell that cannot be used spoils itself, a row its row, and only what is wrong with the columns the
table. ``null`` says that there is no value, as in the long form; what a device does not bring, its
row leaves out at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from adapters.sources.payload.faults import no_row
from adapters.sources.payload.shape import (
    Cell,
    Damage,
    Row,
    Scalar,
    Table,
    astray,
    remark,
    shown,
    usable,
    with_whole_time,
)

_NUMBERS: Final = {float, bool, type(None)}


def of_damaged(raw: Any, number: int, damages: list[Damage]) -> Table | None:
    """``raw``, in which something is no cell, with its rows as they are; None where it is no table
    at all."""
    if not isinstance(raw, dict) or not isinstance(raw.get("rows"), list):
        damages.append(Damage("", 'an entry of tables has no list "rows"', 1, number))
        return None
    raw = with_whole_time(raw)
    if not isinstance(raw.get("columns"), list):
        told = 'an entry of tables has no list "columns"'
        damages.append(Damage("", told, len(raw["rows"]), number))
        return None
    try:
        table = msgspec.convert(raw | {"rows": []}, Table)
    except msgspec.ValidationError as fault:
        told = no_row(raw, of_table=True) or str(fault).replace("`$", "`table")
        damages.append(Damage("", told, len(raw["rows"]), number))
        return None
    table.rows = raw["rows"]
    return table


def add_table(
    table: Table, number: int, readings: list[Row], numbers: list[int], damages: list[Damage]
) -> int:
    """Append the rows of ``table``, of which the first has this ``number``; the number after its
    last one."""
    after = number + len(table.rows)
    columns = table.columns
    told = _wrong(table)
    if told:
        damages.append(Damage(table.device or "", told, len(table.rows), number))
        return after
    device_at = columns.index("device") if table.device is None else -1
    time_at = columns.index("time") if table.time is None else -1
    damages += [remark(told, table.device or "") for told in _unused(table)]
    for at, cells in enumerate(table.rows, number):
        device, time = table.device, table.time
        if type(cells) is not list:  # of a damaged table they are anything
            damages.append(Damage(device or "", f"a row is a list, not {shown(cells)}", 1, at))
            continue
        if len(cells) > len(columns):
            damages.append(Damage(device or "", "a row has more cells than columns", 1, at))
            continue
        if len(cells) <= max(device_at, time_at):
            damages.append(Damage(device or "", "a row ends before its device and time", 1, at))
            continue
        values: dict[str, Any] = dict(zip(columns, cells, strict=False))
        if device is None:
            device = _device(values.pop("device"))
        if time is None:
            time = _time(values.pop("time"))
        if device is None or time is None:
            told = "a row's device is a text, its time whole milliseconds or a text"
            damages.append(Damage(device or "", told, len(values), at))
            continue
        held: dict[str, Scalar] = values
        if not set(map(type, values.values())) <= _NUMBERS:
            held = dict(usable(device, values, at, damages))
            if not held:
                continue
        units = table.units
        if units:  # a row that ends early needs no word of the units of what it leaves out
            units = {name: unit for name, unit in units.items() if name in held}
        readings.append(Row(device, time, held, table.serial, units))
        numbers.append(at)
    return after


def _wrong(table: Table) -> str:
    """What is wrong with the table as a whole; empty for nothing."""
    columns = table.columns
    for key, given in (("device", table.device), ("time", table.time)):
        if (given is None) == (key not in columns):
            where = "neither a column nor beside the rows" if given is None else "given twice"
            return f'"{key}" of a table is {where}'
    if len(set(columns)) < len(columns):
        return f"column {shown(max(columns, key=columns.count), 80)} of a table is there twice"
    return ""


def _unused(table: Table) -> Iterator[str]:
    """What stands beside the rows and is of no use."""
    if table.units:
        yield from astray(table.units, table.columns)
    if table.flags:
        yield '"flags" of a table is not used: send such readings as entries of "readings"'


def _device(cell: Any) -> str | None:
    return cell if isinstance(cell, str) else None


def _time(cell: Cell) -> int | str | None:
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int | float) and not isinstance(cell, bool) and cell == cell // 1:
        return int(cell)
    return None
