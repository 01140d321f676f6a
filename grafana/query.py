"""A question to a database, said once; ``influxql.py`` and ``promql.py`` put it into words.

A :class:`Query` names measurement, field and tags of ``collector/schema.py``, how the samples of
one series become one value for each step of time (``within``), and how series become one
(``across``). Pure data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from collector import schema
from collector.quantities import quantities

QUARTER: Final = "15m"
"""Every span of the books, and of completeness, begins on a quarter of an hour in UTC too:
there is no time zone that is off by less."""
SPANNED: Final = (schema.BOOKS, schema.COMPLETENESS)
"""Measurements whose rows are spans, told by their start, and corrected when data comes late."""

MEAN, MAX, MIN, LAST, SUM, COUNT = "mean", "max", "min", "last", "sum", "count"
RATE, INCREASE = "rate", "increase"

Scope = Mapping[str, str]
"""Tag -> the dashboard variable that chooses its values."""


@dataclass(frozen=True, slots=True)
class Query:
    """One question. ``by``: tags that stay apart. ``where``: tags with a fixed value.

    ``every``: "" for Grafana's own step, else a fixed one, told by its start. ``total``: one row
    for the whole range instead of a series. ``equals``: only samples with this value (with COUNT).
    ``divided_by``: a field of the same measurement; then sum by sum. ``keep``: of totals, only
    series whose last value of this field is above 0. ``named``: also the measurement's text in
    the dashboard's language (``label`` for ``label_zh``). ``through``: tags that another variable
    than the board's own narrows, or none ("").
    """

    measurement: str
    field: str
    by: tuple[str, ...] = ()
    where: tuple[tuple[str, str], ...] = ()
    within: str = MEAN
    across: str = ""
    every: str = ""
    total: bool = False
    equals: int | None = None
    divided_by: str = ""
    keep: str = ""
    named: str = ""
    through: tuple[tuple[str, str], ...] = ()

    @property
    def tags(self) -> tuple[str, ...]:
        return tags_of(self.measurement)

    def chosen(self, scope: Scope) -> list[tuple[str, str]]:
        """Tags that variables narrow, each with its variable."""
        fixed = {tag for tag, _ in self.where}
        by = {**scope, **dict(self.through)}
        return [(tag, by[tag]) for tag in self.tags if by.get(tag) and tag not in fixed]


def tags_of(measurement: str) -> tuple[str, ...]:
    """Tags of a statement's measurement, or of a group of readings."""
    known = schema.STATEMENTS.get(measurement)
    return known.tags if known else schema.READING_TAGS


def fields_of(measurement: str) -> tuple[str, ...]:
    """Fields and texts that a measurement can have; none of what is no measurement."""
    known = schema.STATEMENTS.get(measurement)
    if known:
        return known.fields + known.texts
    names = (schema.names_of(name) for name in quantities())
    return tuple(field for group, field in names if group == measurement)
