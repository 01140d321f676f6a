"""The table of what is measured: one row per quantity, from ``quantities.toml``. Pure data.

Loaded once and cached. A fault in the table is ours, not the user's: it raises at first use and
the tests read every row.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any, Final

from collector.units import Factor, factor

KINDS: Final = ("counter", "gauge", "state")
"""In the order of ``registry.COUNTER``, ``GAUGE``, ``STATE``."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """What is measured. ``unit`` is canonical; ``low`` to ``high`` (inclusive, in ``unit``) is
    what is physically possible, of a counter for its register before any ratio.

    ``scales``: which instrument transformers multiply it, ``both``, ``voltage``, ``current`` or
    empty. ``hj212``: factor code of HJ 212-2017, appendix B, and ``hj212_unit`` its unit there.
    """

    name: str
    group: str
    unit: str
    kind: str
    low: float
    high: float
    en: str
    zh: str
    scales: str = ""
    hj212: str = ""
    hj212_unit: str = ""

    def factor(self, unit: str) -> Factor:
        """From ``unit`` to this quantity's; raises :class:`collector.units.UnitError`."""
        return factor(unit, self.unit)

    def label(self, language: str) -> str:
        """``zh`` or, for any other language, English."""
        return self.zh if language == "zh" else self.en


@cache
def quantities() -> Mapping[str, Quantity]:
    """Every quantity by name, in the table's order."""
    text = resources.files("collector").joinpath("quantities.toml").read_text(encoding="utf-8")
    rows: dict[str, Quantity] = {}
    for group, members in tomllib.loads(text).items():
        for name, row in members.items():
            if name in rows:
                raise ValueError(f"quantities.toml: {name} stands in two groups")
            rows[name] = _row(group, name, row)
    return MappingProxyType(rows)


@cache
def by_hj212() -> Mapping[str, Quantity]:
    """Quantities that have a factor code, by code."""
    return MappingProxyType({row.hj212: row for row in quantities().values() if row.hj212})


def _row(group: str, name: str, row: dict[str, Any]) -> Quantity:
    quantity = Quantity(name, group, **row)
    factor(quantity.unit, quantity.unit)  # a unit of our own table
    if quantity.kind not in KINDS:
        raise ValueError(f"quantities.toml: {name} is of unknown kind {quantity.kind!r}")
    if not (math.isfinite(quantity.low) and quantity.low < quantity.high < math.inf):
        raise ValueError(f"quantities.toml: {name} has no range")
    return quantity
