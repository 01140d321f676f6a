"""Writes the table of ``docs/profiles.md``: ``python -m tests.adapters.profiles.profiles_page``."""

from __future__ import annotations

from pathlib import Path

from adapters.profiles import load_profiles
from adapters.sources.modbus.plan import requests

PAGE = Path(__file__).resolve().parents[3] / "docs" / "profiles.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"


def table() -> str:
    """One line for each model that is read over Modbus, and the sum."""
    rows = ["| profile | model | map | values | requests | saved |", "|---|---|---|--:|--:|--:|"]
    values = asked = 0
    for name, profile in sorted(load_profiles().items()):
        if not profile.registers:
            continue
        own, several = len(requests(profile)), len(profile.registers)
        values, asked = values + several, asked + own
        model = f"{profile.maker} {profile.model}"
        rows.append(
            f"| `{name}` | {model} | {profile.evidence} | {several} | {own} | {several - own} |"
        )
    rows.append(f"| all, each once | | | {values} | {asked} | {values - asked} |")
    return "\n" + "\n".join(rows) + "\n\n"


def page(text: str) -> str:
    """``text`` with the table as it is now."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}{table()}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
