"""What several boards are made of: queries for readings, variables, words for ids."""

from __future__ import annotations

from typing import Final

from collector import schema
from collector.alerts import LEVEL_LABELS, Level
from collector.quantities import quantities
from grafana import words
from grafana.limits import COLOURS
from grafana.model import Mappings, Target, Variable
from grafana.query import MEAN, Query
from grafana.units import written
from grafana.words import Text, same

DAY_GAP: Final = 36 * 3600
"""Between days: one is missing."""
BY_PLACE: Final = ("site", "place")
NAME_OF_PLACE: Final = same("{site}/{place}")

COUNTY: Final = Variable("county", words.COUNTY, "county", schema.SITE_INFO, "places")
SITE: Final = Variable(
    "site", words.SITE, "site", schema.SITE_INFO, "places", named=True, after=("county",)
)
PLACE: Final = Variable(
    "place", words.PLACE, "place", schema.PLACE_INFO, "interval", named=True,
    after=("county", "site"),
)  # fmt: skip

LEVELS: Final[Mappings] = tuple(
    (level.word, Text(*LEVEL_LABELS[level]), COLOURS[level]) for level in sorted(Level)[::-1]
)
STATES: Final[Mappings] = (
    ("1", Text("发生", "fired"), "red"),
    ("0", Text("解除", "over"), "green"),
)


def reading(
    quantity: str,
    by: tuple[str, ...] = BY_PLACE,
    *,
    within: str = MEAN,
    across: str = "",
    every: str = "",
    total: bool = False,
    through: tuple[tuple[str, str], ...] = (),
) -> Query:
    """Valid readings of a quantity, as they came."""
    measurement, field = schema.names_of(quantity)
    raw = (("statistic", "raw"),)
    return Query(
        measurement, field, by, raw, within, across, every=every, total=total, through=through
    )


def amount(quantity: str, span: str, by: tuple[str, ...] = BY_PLACE, *, across: str = "") -> Query:
    """What went through a counter in each span, from the books."""
    where = (("quantity", quantity), ("span", span))
    return Query(schema.BOOKS, "amount", by, where, "last", across)


def label(quantity: str) -> Text:
    row = quantities()[quantity]
    return Text(row.zh, row.en)


def unit(quantity: str) -> str:
    return quantities()[quantity].unit


def each(
    names: tuple[str, ...], *, within: str = MEAN, through: tuple[tuple[str, str], ...] = ()
) -> tuple[Target, ...]:
    """A target for each quantity, its series named by place and quantity."""
    return tuple(
        Target(
            reading(name, within=within, through=through),
            Text(f"{{site}}/{{place}} {label(name).zh}", f"{{site}}/{{place}} {label(name).en}"),
        )
        for name in names
    )


def quantity_titles(kind: str = "") -> Mappings:
    """Quantities' names as people read them, with the unit; of one kind, or all."""
    found = []
    for name, row in quantities().items():
        if kind in {"", row.kind}:
            shown = f" ({written(row.unit)})" if written(row.unit) else ""
            found.append((name, Text(row.zh + shown, row.en + shown), ""))
    return tuple(found)
