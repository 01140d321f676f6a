"""Writes the tables of ``docs/quantities.md``: ``python -m tests.collector.quantities_page``."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from collector.quantities import quantities
from collector.units import convertible

PAGE = Path(__file__).resolve().parents[2] / "docs" / "quantities.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"


def tables() -> str:
    """One for each group of quantities, and one of the units."""
    lines: list[str] = []
    for group, rows in groupby(quantities().values(), lambda row: row.group):
        lines += [
            "",
            f"## {group}",
            "",
            "| name | unit | kind | | |",
            "| --- | --- | --- | --- | --- |",
        ]
        lines += [
            f"| `{row.name}` | {row.unit} | {row.kind} | {row.en} | {row.zh} |" for row in rows
        ]
    lines += ["", "## Units", "", "| canonical | also taken |", "| --- | --- |"]
    for unit in dict.fromkeys(row.unit for row in quantities().values()):
        others = " ".join(f"`{one}`" for one in convertible(unit) if one != unit)
        lines.append(f"| `{unit}` | {others} |")
    return "\n".join(lines) + "\n\n"


def page(text: str) -> str:
    """``text`` with the tables as they are now."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}{tables()}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
