"""What a dashboard is, before it is Grafana's: panels, targets, boards as plain values.

Boards (``grafana/boards``) are made of these, in both languages at once; ``grafana/render.py``
makes Grafana's JSON of them, one language of people and one of queries at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from grafana.query import Query
from grafana.words import Text

LINES, STEPS, STACKED, STATES = "lines", "steps", "stacked", "states"
STAT, TABLE, EVENTS, AGE = "stat", "table", "events", "age"
SERIES: Final = (LINES, STEPS, STACKED, STATES)
"""Kinds with time from left to right; the others show numbers or rows."""

Mappings = tuple[tuple[str, Text, str], ...]
"""Value -> what people read instead, and its colour or ""."""


@dataclass(frozen=True, slots=True)
class Target:
    """A query and the name of its series: ``{tag}`` in ``legend`` is the series' own."""

    query: Query
    legend: Text


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. ``field``: a tag, a named text, or the letter of a target."""

    field: str
    title: Text
    unit: str = "text"
    mappings: Mappings = ()
    titles: str = ""
    """``rules`` or ``sites``: ids of them, which people see by title or name where it is known."""
    steps: tuple[tuple[float, str], ...] = ()
    """Colours of the value from a number on."""
    limits: tuple[str, ...] = ()
    """Quantities whose rules colour it instead."""
    link: str = ""
    """The board that a click opens, at this row's site."""
    width: int = 0


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. ``about``: what it shows, where it comes from, what to do. ``empty``: why there
    may be nothing. ``limits``: quantities whose rules are drawn as lines. ``steps`` and
    ``mappings``: colours and words for values. ``back``: how far it looks instead of the
    dashboard's range (``31d``). ``sort``: the column by which rows are ordered, the largest value
    first; with ``ascending`` the smallest."""

    kind: str
    title: Text
    about: Text
    empty: Text
    unit: str
    width: int
    height: int
    targets: tuple[Target, ...] = ()
    columns: tuple[Column, ...] = ()
    limits: tuple[str, ...] = ()
    steps: tuple[tuple[float, str], ...] = ()
    mappings: Mappings = ()
    colours: tuple[tuple[Text, str], ...] = ()
    """Colour of a series by its name."""
    back: str = ""
    sort: str = ""
    ascending: bool = False
    gap_s: int = 3600
    """Lines are broken where nothing came for so long."""
    decimals: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A heading with panels below it."""

    title: Text
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice above the panels. ``tag``: what it narrows. ``named``: the measurement whose label
    people see, else the ids themselves. ``after``: tags that earlier variables narrow it by.
    ``where``: fixed tags."""

    name: str
    label: Text
    tag: str
    measurement: str
    field: str
    named: bool = False
    after: tuple[str, ...] = ()
    where: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Board:
    """A dashboard. Of variables of one tag, the first narrows queries, unless these say else."""

    id: str
    title: Text
    about: Text
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...] = ()
    back: str = "24h"
    refresh: str = "1m"
    annotated: bool = True
