"""Rows of a registry workbook as the TOML files of a registry, and back. Pure.

Each cell becomes one line of its own, so that a fault that the kernel finds at a file and line is
one of a sheet and cell. There are no other checks than those of ``meterwatch check``, but for what
only a workbook can get wrong: a row of a site that is not there.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from collector.errors import Fault
from collector.sections import near, one_of
from meterwatch.registry.cells import Value
from meterwatch.registry.columns import SHEETS, TREATMENT, Sheet
from meterwatch.registry.workbook import Book, Row

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_MISSING: Final = re.compile(r'"(\w+)" is missing')
_DATED: Final = ("from", "to")


@dataclass(slots=True)
class Written:
    """Texts by file name, and which row (and key; "": its heading) each line came from."""

    texts: dict[str, str] = field(default_factory=dict)
    origin: dict[tuple[str, int], tuple[Row, str]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)


def written(book: Book, names: Mapping[str, str]) -> Written:
    """The files that ``book`` says; ``names``: of the file of each site that has one."""
    result = Written()
    sites = {str(row.values.get("id", "")): row for row in reversed(book.of("sites"))}
    rows = _by_site(book, sites, result.faults)
    taken = set(names.values())
    for site in book.of("sites"):
        key = str(site.values.get("id", ""))
        name = names.get(key, "") if sites[key] is site else ""
        name = name or _free(key or f"row-{site.number}", taken)
        taken.add(name)
        lines: list[str] = []
        for row in (site, *(rows[key] if sites[key] is site else ())):
            _write(row, name, lines, result.origin)
        result.texts[name] = "\n".join(lines) + "\n"
    return result


def _free(key: str, taken: set[str]) -> str:
    name = f"{key}.toml"
    number = 2
    while name in taken:
        name, number = f"{key}-{number}.toml", number + 1
    return name


def _by_site(
    book: Book, sites: Mapping[str, Row], faults: list[Fault]
) -> Mapping[str, Sequence[Row]]:
    """The rows of each site. One with a misspelt site goes to the nearest, so that its other
    faults are told, too; the only site need not be named."""
    rows: dict[str, list[Row]] = defaultdict(list)
    unclear = [key for key, row in sites.items() if "id" in row.bad]
    for row in book.rows:
        if row.sheet.key == "sites":
            continue
        site = str(row.values.get("site", ""))
        if "site" in row.bad:
            continue
        if not site and len(sites) == 1:
            site = next(iter(sites))
        elif site not in sites or not site:
            what = f'unknown site "{site}"' if site else '"site" is missing'
            todo = near(site, sites) or (one_of(sites) if sites else "add it to the sheet of sites")
            if not unclear:
                faults.append(Fault(row.at("site"), 0, what, todo if site else "fill it in"))
            guess = re.search(r'"(.+)"', near(site, sites))
            site = guess[1] if guess else next(iter(unclear), "")
        if site in sites:
            rows[site].append(row)
    return rows


def _write(
    row: Row, name: str, lines: list[str], origin: dict[tuple[str, int], tuple[Row, str]]
) -> None:
    table = row.sheet.table
    values = {key: value for key, value in row.values.items() if key != "site"}
    if table == "line" and (values.pop(TREATMENT, False) is True):
        table = TREATMENT
    if lines:
        lines.append("")
    lines.append(f"[{table}]" if table == "site" else f"[[{table}]]")
    origin[name, len(lines)] = (row, "")
    for column in row.sheet.columns:
        if column.key in values:
            lines.append(f"{column.key} = {literal(values[column.key])}")
            origin[name, len(lines)] = (row, column.key)


def literal(value: Value) -> str:
    """``value`` as TOML writes it, on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, date):  # datetime is one, too
        return value.isoformat()
    if isinstance(value, list):
        return f"[{', '.join(literal(one) for one in value)}]"
    if isinstance(value, dict):
        pairs = (
            f"{key if _BARE.fullmatch(key) else literal(key)} = {literal(one)}"
            for key, one in value.items()
        )
        return f"{{ {', '.join(pairs)} }}" if value else "{}"
    return repr(value)


# --- faults by cell


def by_cell(faults: Iterable[Fault], of: Written) -> list[Fault]:
    """What the kernel found wrong in ``of``, named by cell; what only follows from a cell that
    could not be understood is left out."""
    return [told for fault in faults if (told := _by_cell(fault, of)) is not None]


def _by_cell(fault: Fault, of: Written) -> Fault | None:
    row, key = of.origin.get((fault.file, fault.line), (None, ""))
    if row is None:
        return fault  # of a file that the workbook does not touch
    concerned = [row]

    def cell(found: re.Match[str]) -> str:
        other, at = of.origin.get((found[1], int(found[2])), (None, ""))
        if other is None:
            return found[0]
        concerned.append(other)
        return other.at(at or "id")

    what = re.sub(r"([^\s()]+\.toml):(\d+)", cell, fault.what)
    missing = _MISSING.fullmatch(fault.what)
    if missing is not None:
        key = missing[1]
        if key in row.bad:
            return None
    elif not key and "neither connection nor gateway" in what:
        key = "connection"
        if row.bad & {"connection", "gateway"}:
            return None
    elif not key and "does not say what is measured" in what:
        key = "quantities"
        if key in row.bad:
            return None
    elif not key and " both serve " in what:
        key = "from"
    if " both " in what and any(one.bad & {*_DATED} for one in concerned):
        return None
    return Fault(row.at(key or "id"), 0, what, _todo(fault.todo))


def _todo(todo: str) -> str:
    """Advice for those who write cells, not TOML."""
    if re.fullmatch(r"add \w+ = .*", todo):
        return "fill it in"
    if todo == "add [site]":
        return "add a row to the sheet of sites"
    return todo.replace(" in quotes", "").replace(", without quotes", "")


# --- back


def rows_of(texts: Mapping[str, str]) -> dict[str, list[dict[str, Any]]]:
    """By sheet, what sound registry files say: one mapping for each row."""
    rows: dict[str, list[dict[str, Any]]] = {sheet.key: [] for sheet in SHEETS}
    for text in (texts[name] for name in sorted(texts)):
        data = tomllib.loads(text)
        site = data["site"]["id"]
        for sheet in SHEETS:
            rows[sheet.key] += [
                {"site": site, **entry} if sheet.table != "site" else entry
                for entry in _entries(sheet, data)
            ]
    return rows


def _entries(sheet: Sheet, data: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = data.get(sheet.table, [])
    entries = [found] if isinstance(found, dict) else list(found)
    if sheet.table == "line":
        entries += [{**entry, TREATMENT: True} for entry in data.get(TREATMENT, [])]
    return entries
