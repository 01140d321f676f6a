"""Queries, variables and annotations as Grafana's two data source types take them.

A :class:`Dialect` is one of them. The foundation SDK has a model for Prometheus; for InfluxDB in
InfluxQL mode it has none, so that :class:`InfluxQuery` says what Grafana's own editor stores.
"""

# ruff: noqa: S608 -- queries are what this makes, and only of names in our own tables

from __future__ import annotations

from typing import Any, Final, Protocol

from grafana_foundation_sdk.cog import variants
from grafana_foundation_sdk.models import dashboard, prometheus

from collector import schema
from grafana import influxql, promql
from grafana.model import Variable
from grafana.query import RATE, Query, Scope
from grafana.words import Language

INFLUXDB_UID: Final = "meterwatch-influxdb"
VICTORIAMETRICS_UID: Final = "meterwatch-victoriametrics"
"""Stable names of the data sources that ``grafana/provisioning`` makes."""

SOURCE_VARIABLE: Final = "source"
EVENT_TAGS: Final = ("level", "rule", "site", "place", "subject")
"""Columns of a warning's rows, beside its time, state and title."""
MINUTE: Final = "1m"
_EVENTS: Final = Query(schema.ALERT_EVENTS, "state")


class Dialect(Protocol):
    """How one kind of database is asked."""

    name: str
    kind: str
    """Grafana's data source type."""
    uid: str
    age_field: str
    """Where :meth:`newest` has its time."""

    def series(self, query: Query, scope: Scope, ref: str, legend: str) -> variants.Dataquery: ...

    def rows(
        self, query: Query, scope: Scope, ref: str, language: Language, column: str
    ) -> variants.Dataquery:
        """A table whose value is called ``column``, see :func:`value_of`."""

    def events(self, scope: Scope, language: Language) -> variants.Dataquery:
        """Warnings that fired or were over, a row each: time, state, title, tags."""

    def newest(self, measurement: str, field: str) -> variants.Dataquery:
        """When something was last written, in a form for the unit ``age``."""

    def choices(self, variable: Variable, scope: Scope, language: Language) -> Any:
        """The query of a variable, as a dashboard stores it."""

    def marks(self, scope: Scope, language: Language, *, fired: bool) -> dict[str, object]:
        """What an annotation stores beside its name and colour."""


def refer(dialect: Dialect) -> dashboard.DataSourceRef:
    """The data source that the board's first variable chooses."""
    return dashboard.DataSourceRef(type_val=dialect.kind, uid=f"${{{SOURCE_VARIABLE}}}")


class InfluxQuery(variants.Dataquery):
    """A raw InfluxQL query. ``alias`` names the series; a table has none."""

    def __init__(self, query: str, ref: str, alias: str = "", *, table: bool = False) -> None:
        self.json: dict[str, object] = {"query": query, "rawQuery": True, "refId": ref}
        self.json["resultFormat"] = "table" if table else "time_series"
        if not table:
            self.json["alias"] = alias

    def to_json(self) -> dict[str, object]:
        return self.json


class Influxql:
    """InfluxDB 1, 2 and 3, asked in InfluxQL."""

    name: str = "influxql"
    kind: str = "influxdb"
    uid: str = INFLUXDB_UID
    age_field: str = "Time"

    def series(self, query: Query, scope: Scope, ref: str, legend: str) -> variants.Dataquery:
        alias = _legend(legend, query, "$tag_{}")
        return InfluxQuery(influxql.influxql(query, scope, "value", "en"), ref, alias)

    def rows(
        self, query: Query, scope: Scope, ref: str, language: Language, column: str
    ) -> variants.Dataquery:
        return InfluxQuery(influxql.influxql(query, scope, column, language), ref, table=True)

    def events(self, scope: Scope, language: Language) -> variants.Dataquery:
        names = influxql.quoted(EVENT_TAGS)
        where = " AND ".join([*_event_filters(scope), "$timeFilter"])
        return InfluxQuery(
            f'SELECT "state" AS "Value", "title_{language}", {names} '
            f'FROM "{schema.ALERT_EVENTS}" WHERE {where} ORDER BY time DESC LIMIT 1000',
            "A",
            table=True,
        )

    def newest(self, measurement: str, field: str) -> variants.Dataquery:
        text = f'SELECT last("{field}") FROM "{measurement}" WHERE $timeFilter'
        return InfluxQuery(text, "A", table=True)

    def choices(self, variable: Variable, scope: Scope, language: Language) -> Any:
        table, tag = variable.measurement, variable.tag
        if not variable.named:
            return f'SHOW TAG VALUES FROM "{table}" WITH KEY = "{tag}"'
        where = [f"\"{one}\" = '{value}'" for one, value in variable.where]
        where += [influxql.narrowed(one, scope[one]) for one in variable.after]
        by = influxql.quoted(tuple(dict.fromkeys(("site", tag))))
        return (
            f'SELECT last("label_{language}") FROM "{table}" '
            f"WHERE {' AND '.join([*where, '$timeFilter'])} GROUP BY {by}"
        )

    def marks(self, scope: Scope, language: Language, *, fired: bool) -> dict[str, object]:
        where = [f'"state" = {int(fired)}', *_event_filters(scope), "$timeFilter"]
        text = (
            f'SELECT "title_{language}", "level", "site", "place" '
            f'FROM "{schema.ALERT_EVENTS}" WHERE {" AND ".join(where)} ORDER BY time DESC LIMIT 200'
        )
        target = {
            "refId": "Anno",
            "rawQuery": True,
            "fromAnnotations": True,
            "query": text,
            "textColumn": f"title_{language}",
            "titleColumn": "",
            "tagsColumn": "level,site,place",
        }
        return {"target": target}


class Promql:
    """VictoriaMetrics, asked through Grafana's Prometheus data source."""

    name: str = "promql"
    kind: str = "prometheus"
    uid: str = VICTORIAMETRICS_UID
    age_field: str = "Value"

    def series(self, query: Query, scope: Scope, ref: str, legend: str) -> variants.Dataquery:
        text = promql.promql(query, scope, "en")
        named = _legend(legend, query, "{{{{{}}}}}")
        # Grafana makes $__rate_interval four times this, or a step and this.
        every = MINUTE if query.within == RATE else None
        return _prom(text, ref, legend=named, instant=query.total, interval=every)

    def rows(
        self,
        query: Query,
        scope: Scope,
        ref: str,
        language: Language,
        column: str,  # noqa: ARG002 -- Grafana names it so itself
    ) -> variants.Dataquery:
        return _prom(promql.promql(query, scope, language), ref, instant=True, table=True)

    def events(self, scope: Scope, language: Language) -> variants.Dataquery:
        names = ", ".join([*EVENT_TAGS, f"title_{language}"])
        text = f"max by ({names}) (last_over_time({_event_states(scope)}[$__interval]))"
        return _prom(text, "A", table=True, interval=MINUTE)

    def newest(self, measurement: str, field: str) -> variants.Dataquery:
        metric = schema.metric_of(measurement, field)
        text = f"1000 * max(max_over_time(timestamp({metric})[$__range:1m]))"
        return _prom(text, "A", instant=True, table=True)

    def choices(self, variable: Variable, scope: Scope, language: Language) -> Any:
        metric = schema.metric_of(variable.measurement, variable.field)
        label = f"label_{language}" if variable.named else variable.tag
        where = [f'{one}="{value}"' for one, value in variable.where]
        where += [promql.narrowed(one, scope[one]) for one in variable.after]
        text = f"label_values({promql.filtered(metric, where)}, {label})"
        return {"qryType": 1, "query": text, "refId": f"choices-{variable.name}"}

    def marks(self, scope: Scope, language: Language, *, fired: bool) -> dict[str, object]:
        # Grafana makes a mark of each step whose value is not 0.
        text = f"last_over_time({_event_states(scope)}[$__interval]) == bool {int(fired)}"
        return {
            "target": {"refId": "Anno", "expr": text, "interval": MINUTE, "range": True},
            "step": MINUTE,
            "titleFormat": f"{{{{title_{language}}}}}",
            "textFormat": "{{site}} {{place}}",
            "tagKeys": "level,site,place",
        }


DIALECTS: Final[tuple[Dialect, ...]] = (Influxql(), Promql())


def value_of(ref: str, many: bool) -> str:
    """The name that Grafana gives a Prometheus table's value, taken over for InfluxQL."""
    return f"Value #{ref}" if many else "Value"


def _event_filters(scope: Scope) -> list[str]:
    return [influxql.narrowed(tag, name) for tag, name in _EVENTS.chosen(scope)]


def _event_states(scope: Scope) -> str:
    filters = [promql.narrowed(tag, name) for tag, name in _EVENTS.chosen(scope)]
    return promql.filtered(schema.metric_of(_EVENTS.measurement, _EVENTS.field), filters)


def _legend(legend: str, query: Query, form: str) -> str:
    for tag in query.by:
        legend = legend.replace(f"{{{tag}}}", form.format(tag))
    return legend


def _prom(
    text: str,
    ref: str,
    *,
    legend: str = "",
    instant: bool = False,
    table: bool = False,
    interval: str | None = None,
) -> prometheus.Dataquery:
    shape = prometheus.PromQueryFormat
    return prometheus.Dataquery(
        expr=text,
        instant=instant,
        range_val=not instant,
        editor_mode=prometheus.QueryEditorMode.CODE,
        format_val=shape.TABLE if table else shape.TIME_SERIES,
        legend_format=legend or None,
        ref_id=ref,
        interval=interval,
    )
