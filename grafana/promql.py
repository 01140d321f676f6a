"""Queries as PromQL, for VictoriaMetrics. Pure.

* The n-th correction of a span stands n ms after its start. A window from one second before a
  quarter of an hour to one second before the next holds the span that begins there with its
  corrections and nothing else: its last value is the right one, told at the span's own start.
* PromQL tells a window by its end. A fixed step is told by its start here, as in InfluxQL, so its
  windows are moved.
* ``count_eq_over_time`` is MetricsQL: PromQL cannot count a value without sampling it anew.
"""

from __future__ import annotations

from typing import Final

from collector import schema
from grafana.query import (
    COUNT,
    INCREASE,
    LAST,
    MAX,
    MEAN,
    MIN,
    QUARTER,
    RATE,
    SPANNED,
    SUM,
    Query,
    Scope,
)

_SPAN: Final = "[15m] offset -899s"
_OVER_TIME: Final = {
    MEAN: "avg_over_time",
    MAX: "max_over_time",
    MIN: "min_over_time",
    LAST: "last_over_time",
    SUM: "sum_over_time",
    COUNT: "count_over_time",
    INCREASE: "increase",
}
_ACROSS: Final = {MEAN: "avg", MAX: "max", MIN: "min", SUM: "sum", COUNT: "count"}


def promql(query: Query, scope: Scope, language: str) -> str:
    """As Grafana's code mode takes it; tags that are not in ``by`` fall away."""
    by = [*query.by, *([f"{query.named}_{language}"] if query.named else [])]
    apart = f"by ({', '.join(by)})"
    value = _value(query, query.field, scope)
    if query.divided_by:
        below = _value(query, query.divided_by, scope)
        return f"sum {apart} ({value}) / (sum {apart} ({below}) > 0)"
    if query.keep:
        last = f"last_over_time({_selector(query, query.keep, scope)}[$__range]) > 0"
        value = f"({value} and {last})"
    return f"{_ACROSS[query.across or MAX]} {apart} ({value})"


def filtered(metric: str, filters: list[str]) -> str:
    """A selector; without braces where nothing is filtered."""
    return f"{metric}{{{', '.join(filters)}}}" if filters else metric


def narrowed(tag: str, variable: str) -> str:
    """A label as a variable of several values narrows it."""
    return f'{tag}=~"${variable}"'


def _value(query: Query, field: str, scope: Scope) -> str:
    """One value for each series and step."""
    selector = _selector(query, field, scope)
    if query.measurement in SPANNED:
        span = f"last_over_time({selector}{_SPAN})"
        return f"{_OVER_TIME[query.within]}({span}[$__range:{QUARTER}])" if query.total else span
    if query.within == RATE:
        return f"rate({selector}[$__rate_interval])"
    window = "[$__range]" if query.total else "[$__interval]"
    if query.every:
        window = f"[{query.every}] offset -{query.every}"
    if query.equals is not None:
        return f"(count_eq_over_time({selector}{window}, {query.equals}) > 0)"
    return f"{_OVER_TIME[query.within]}({selector}{window})"


def _selector(query: Query, field: str, scope: Scope) -> str:
    filters = [f'{tag}="{value}"' for tag, value in query.where]
    filters += [narrowed(tag, name) for tag, name in query.chosen(scope)]
    return filtered(schema.metric_of(query.measurement, field), filters)
