"""Queries as InfluxQL, for InfluxDB 1, 2 and 3. Pure.

InfluxQL tells series apart only by the tags in GROUP BY: where series are to be taken together, an
inner query keeps them apart first. A corrected span has replaced the old one, so that each quarter
holds one value of each series.
"""
# ruff: noqa: S608 -- queries are what this makes, and only of names in our own tables

from __future__ import annotations

from typing import Final

from grafana.query import COUNT, INCREASE, LAST, MAX, MIN, QUARTER, RATE, SPANNED, SUM, Query, Scope

_DIRECT: Final = ((MAX, MAX), (MIN, MIN), (SUM, SUM), (COUNT, SUM))
"""Where it makes no difference whether series are kept apart first."""


def influxql(query: Query, scope: Scope, column: str, language: str) -> str:
    """As Grafana's raw mode takes it; the value's column is called ``column``."""
    source = f'FROM "{query.measurement}" WHERE {_where(query, scope)}'
    every = QUARTER if query.measurement in SPANNED else query.every or "$__interval"
    step = "" if query.total else f"time({every})"
    fill = "" if query.total else " fill(none)"
    outer = _grouped(step, quoted(query.by)) + fill
    apart = quoted(query.tags)
    if query.divided_by:
        value = f'sum("{query.field}") / sum("{query.divided_by}")'
        return f'SELECT {value} AS "{column}" {source} AND "{query.divided_by}" > 0{outer}'
    value = _value(query)
    if query.keep:
        across = f'{query.across}("v")' if query.across else '"v"'
        kept = "" if (query.field, query.within) == (query.keep, LAST) else "kept"
        last = f', last("{query.keep}") AS "kept"' if kept else ""
        inner = f'SELECT {value} AS "v"{last} {source} GROUP BY {apart}'
        return f'SELECT {across} AS "{column}" FROM ({inner}) WHERE "{kept or "v"}" > 0{outer}'
    if query.within == INCREASE:
        inner = f'SELECT {value} AS "v" {source} GROUP BY {apart}'
        return f'SELECT sum("v") AS "{column}" FROM ({inner}){outer}'
    if query.across and (query.within, query.across) not in _DIRECT:
        inner = f'SELECT {value} AS "v" {source}{_grouped(step, apart)}{fill}'
        time = "" if query.total else " WHERE $timeFilter"
        return f'SELECT {query.across}("v") AS "{column}" FROM ({inner}){time}{outer}'
    text = f"{query.named}_{language}"
    named = f', last("{text}") AS "{text}"' if query.named else ""
    return f'SELECT {value} AS "{column}"{named} {source}{outer}'


def narrowed(tag: str, variable: str) -> str:
    """A tag as a variable of several values narrows it."""
    return f'"{tag}" =~ /^${variable}$/'


def quoted(names: tuple[str, ...]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _value(query: Query) -> str:
    if query.within == RATE:
        return f'non_negative_derivative(max("{query.field}"), 1s)'
    if query.within == INCREASE:
        return f'non_negative_difference("{query.field}")'
    return f'{query.within}("{query.field}")'


def _where(query: Query, scope: Scope) -> str:
    parts = [f"\"{tag}\" = '{value}'" for tag, value in query.where]
    parts += [narrowed(tag, name) for tag, name in query.chosen(scope)]
    if query.equals is not None:
        parts.append(f'"{query.field}" = {query.equals}')
    return " AND ".join([*parts, "$timeFilter"])


def _grouped(*parts: str) -> str:
    given = ", ".join(part for part in parts if part)
    return f" GROUP BY {given}" if given else ""
