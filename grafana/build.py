"""Dashboards as code: rules in, Grafana's JSON out; the same input gives the same text.

``build(rules)`` makes every dashboard in each query language (``influxql`` for the InfluxDB
family, ``promql`` for VictoriaMetrics) and each language of people (``zh``, ``en``), with the
limits of the rules given: the catalogue's, or a fleet's own. ``write(folder, dashboards)`` puts
them below a folder and tells what changed. ``python -m grafana.build`` writes the set that comes
with the program, below ``grafana/dashboards``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rules.ruleset import RuleSet

DASHBOARDS = Path(__file__).parent / "dashboards"
"""Where the set that comes with the program stands: ``DIALECT/LANGUAGE/BOARD.json``."""


def catalogue() -> RuleSet:
    """The rules that come with the program."""
    raise NotImplementedError


def build(rules: RuleSet, *, zone: str = "browser") -> dict[str, str]:
    """Every dashboard: relative path (``promql/zh/overview.json``) -> JSON text.

    ``zone``: the time zone in which Grafana shows times, an IANA name or ``browser``.
    """
    raise NotImplementedError


def write(folder: Path, dashboards: Mapping[str, str]) -> list[Path]:
    """Write what differs below ``folder``; the paths that changed. Nothing is deleted."""
    raise NotImplementedError
