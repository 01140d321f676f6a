"""Dashboards as code: rules in, Grafana's JSON out; the same input gives the same text.

``build(rules)`` makes every dashboard in each query language (``influxql`` for the InfluxDB
family, ``promql`` for VictoriaMetrics) and each language of people (``zh``, ``en``), with the
limits of the rules given: the catalogue's, or a fleet's own. ``write(folder, dashboards)`` puts
them below a folder and tells what changed. ``python -m grafana.build`` writes the set that comes
with the program, below ``grafana/dashboards``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from collector.registry import Registry
from grafana.boards import BOARDS
from grafana.render import Fleet, dashboard_json
from grafana.targets import DIALECTS
from grafana.words import LANGUAGES
from rules.ruleset import RuleSet, parse_rules

DASHBOARDS = Path(__file__).parent / "dashboards"
"""Where the set that comes with the program stands: ``DIALECT/LANGUAGE/BOARD.json``."""


def catalogue() -> RuleSet:
    """The rules that come with the program."""
    files = sorted(resources.files("rules.catalogue").iterdir(), key=lambda entry: entry.name)
    return parse_rules(
        {
            entry.name: entry.read_text(encoding="utf-8")
            for entry in files
            if entry.name.endswith(".toml")
        }
    )


def build(
    rules: RuleSet, *, zone: str = "browser", registry: Registry | None = None
) -> dict[str, str]:
    """Every dashboard: relative path (``promql/zh/overview.json``) -> JSON text.

    ``zone``: the time zone in which Grafana shows times, an IANA name or ``browser``.
    ``registry``: a fleet's own; tables then show its sites by name. Without it they show ids, as
    in the set that comes with the program; variables always show names, from the database.
    """
    fleet = Fleet(rules, zone, registry)
    return {
        f"{dialect.name}/{language}/{board.id}.json": dashboard_json(
            board, BOARDS, dialect, language, fleet
        )
        for dialect in DIALECTS
        for language in LANGUAGES
        for board in BOARDS
    }


def write(folder: Path, dashboards: Mapping[str, str]) -> list[Path]:
    """Write what differs below ``folder``; the paths that changed. Nothing is deleted."""
    changed = []
    for name, text in sorted(dashboards.items()):
        path = folder / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        changed.append(path)
    return changed


def main() -> None:
    """Write the set that comes with the program and name what changed."""
    for path in write(DASHBOARDS, build(catalogue())):
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
