"""Which names a query asks for, read back from its text and compared with our tables. Pure.

Not a parser of either language: it takes a query apart into words, knows what each may be, and
finds fault with the rest. What it cannot tell is a fault too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Final

from collector import schema
from collector.quantities import quantities
from grafana.query import fields_of, tags_of

_IDS: Final = {"county", "site", "place", "subject", "instance", "origin", "industry", "rule"}
"""Tags whose values belong to a fleet: a query may not name one."""
_WORDS: Final = {
    "by", "and", "or", "on", "bool", "offset", "avg_over_time", "max_over_time", "min_over_time",
    "last_over_time", "sum_over_time", "count_over_time", "count_eq_over_time", "increase", "rate",
    "avg", "max", "min", "sum", "count", "timestamp", "label_values",
}  # fmt: skip
_SPAN: Final = re.compile(r"\[[^\]]*\]|offset -?\w+")


def faults(query: str) -> list[str]:
    """Names that are in no table, and values that only one fleet has."""
    check = _influx_faults if _is_influxql(query) else _prom_faults
    return [*check(query)] if query else ["asks nothing"]


def quantities_of(query: str) -> set[str]:
    """Quantities whose readings (not their books) it shows."""
    if _is_influxql(query):
        measurement = re.search(r'FROM "(\w+)"', query)
        prefix = measurement[1] if measurement else ""
        asked = {f"{prefix}_{name}" for name in re.findall(r'"(\w+)"', query)}
    else:
        asked = set(re.findall(r"[a-z]\w+", query))
    return {name for name in quantities() if schema.metric_of(*schema.names_of(name)) in asked}


def _is_influxql(query: str) -> bool:
    return query.startswith(("SELECT", "SHOW"))


def _influx_faults(query: str) -> Iterator[str]:
    named = re.findall(r'FROM "([^"]*)"', query)
    if len(named) != 1:
        yield f"asks {len(named)} measurements"
        return
    (measurement,) = named
    fields, tags = fields_of(measurement), tags_of(measurement)
    if not fields:
        yield f'there is no measurement "{measurement}"'
        return
    made = set(re.findall(r'AS "([^"]*)"', query))
    for name in dict.fromkeys(re.findall(r'"([^"]*)"', query)):
        if name not in {measurement, *fields, *tags, *made}:
            yield f'"{measurement}" has neither field nor tag "{name}"'
    for tag, value in re.findall(r"\"(\w+)\" (?:=|!=) '([^']*)'", query):
        yield from _fixed(tag, value)
    for tag, value in re.findall(r'"(\w+)" (?:=~|!~) /([^/]*)/', query):
        if not re.fullmatch(r"\^\$\w+\$", value):
            yield from _fixed(tag, value)
    yield from _readings(measurement, query)


def _prom_faults(query: str) -> Iterator[str]:
    labels = set()
    for inside in re.findall(r"\{([^}]*)\}", query):
        for label, operator, value in re.findall(r'(\w+)(=~|!~|!=|=)"([^"]*)"', inside):
            labels.add(label)
            if "~" not in operator or not re.fullmatch(r"\$\w+", value):
                yield from _fixed(label, value)
    labels |= {name for inside in re.findall(r"by \(([^)]*)\)", query)
               for name in re.findall(r"\w+", inside)}  # fmt: skip
    bare = _SPAN.sub("", re.sub(r"\{[^}]*\}|by \([^)]*\)", "", query))
    call = re.fullmatch(r"label_values\((\w+), (\w+)\)", bare)
    if call:
        labels.add(call[2])
        bare = call[1]
    metrics = {word for word in re.findall(r"[a-zA-Z_]\w*", bare) if word not in _WORDS}
    known = _metrics()
    for metric in sorted(metrics):
        if metric not in known:
            yield f"there is no metric {metric}"
            continue
        measurement = known[metric]
        texts = schema.STATEMENTS[measurement].texts if measurement in schema.STATEMENTS else ()
        for label in sorted(labels - {*tags_of(measurement), *texts}):
            yield f"{metric} has no label {label}"
        yield from _readings(measurement, query)
    if not metrics:
        yield "asks for no metric"


def _readings(measurement: str, query: str) -> Iterator[str]:
    """Readings and means of them stand in one measurement: a query says which it wants."""
    if measurement not in schema.STATEMENTS and "statistic" not in query:
        yield f"{measurement} is asked for without its statistic"


def _fixed(tag: str, value: str) -> Iterator[str]:
    if tag in _IDS:
        yield f'names one {tag}: "{value}"'


@cache
def _metrics() -> dict[str, str]:
    """Every metric's measurement."""
    found = {
        schema.metric_of(one.name, name): one.name
        for one in schema.STATEMENTS.values()
        for name in one.fields
    }
    for name in quantities():
        measurement, field = schema.names_of(name)
        found[schema.metric_of(measurement, field)] = measurement
    return found
