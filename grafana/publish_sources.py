"""The data sources that the dashboards ask: what Grafana is told of them. Pure.

Each has a fixed uid, by which the dashboards name it. Only what is asked for is put in place:
the query language always, and what somebody gave (a URL, a database, a user). The rest is set
when the data source is made and is a person's from then on: its name, whether it is the default,
every other option. A digest of what was published stands beside it (``jsonData`` is a free-form
object, and Grafana's own editor keeps keys that it does not know), so that a change by hand is told
from a change of ours. Secrets stand apart: Grafana takes them and never gives them back, it only
says which are set.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

INFLUXDB: Final = "influxdb"
VICTORIA_METRICS: Final = "victoria-metrics"
DIALECTS: Final[Mapping[str, str]] = {INFLUXDB: "influxql", VICTORIA_METRICS: "promql"}
"""Kind of database -> the query language of its dashboards."""

_DIGEST: Final = "meterwatchDigest"
_FIELDS: Final = ("type", "access", "url", "user", "basicAuth", "basicAuthUser")
_OPTIONS: Final = ("version", "dbName", "httpHeaderName1")
"""What may be published of a data source: fields of its own, and options in ``jsonData``."""
_KEPT: Final = ("uid", "name", "isDefault", "withCredentials", "database", "version")
_HEADER: Final = "httpHeaderName1"


@dataclass(frozen=True, slots=True)
class Source:
    """A data source as it should be. ``fields`` and ``options`` (of ``jsonData``) are put in
    place; ``first`` and ``first_options`` only where there is nothing yet."""

    uid: str
    name: str
    fields: Mapping[str, Any]
    options: Mapping[str, str]
    secrets: Mapping[str, str] = field(repr=False)
    first: Mapping[str, Any]
    first_options: Mapping[str, str] = field(default_factory=dict)

    def new(self) -> dict[str, Any]:
        """What creates it, without secrets."""
        return self.over({"uid": self.uid, "name": self.name, "isDefault": False})

    def over(self, there: Mapping[str, Any]) -> dict[str, Any]:
        """What is ``there`` with what is asked for in its place, without secrets."""
        found = there.get("jsonData") or {}
        options = {**self.first_options, **found, **self.options}
        told = {key: there[key] for key in _KEPT if key in there}
        told |= {key: there.get(key) or self.first.get(key, "") for key in _FIELDS}
        told |= {"basicAuth": bool(there.get("basicAuth"))}
        told |= self.fields
        return {**told, "jsonData": {**options, _DIGEST: _digest(told, options)}}

    def differs(self, there: Mapping[str, Any]) -> list[str]:
        """Names of what is asked for and not so on the server."""
        options = there.get("jsonData") or {}
        found = [key for key, value in self.fields.items() if there.get(key) != value]
        return found + [key for key, value in self.options.items() if options.get(key) != value]

    def touched(self, there: Mapping[str, Any]) -> bool:
        """Whether somebody else changed what may be published since it was."""
        options = there.get("jsonData") or {}
        return bool(options.get(_DIGEST) != _digest(there, options))

    def unset(self, there: Mapping[str, Any]) -> list[str]:
        """Names of given secrets that the server does not have yet."""
        known = there.get("secureJsonFields") or {}
        return [key for key in self.secrets if not known.get(key)]


def _digest(told: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    rows = [told.get(key) or "" for key in _FIELDS], [options.get(key) or "" for key in _OPTIONS]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def influxdb(
    *, url: str = "", database: str = "", version: int = 2, user: str = "", secret: str = ""
) -> Source:
    """InfluxDB asked in InfluxQL, which all of 1.x, 2 and 3 answer. ``secret``: the password of
    ``user`` (1.x), or a token (2 and 3). What is empty is left as it is."""
    fields = {"type": "influxdb", **_given(url=url)}
    options = {"version": "InfluxQL", **_given(dbName=database)}
    secrets = {}
    if version == 1:
        fields |= _given(user=user)
        secrets = _given(password=secret)
    elif secret:
        options[_HEADER] = "Authorization"
        secrets = {"httpHeaderValue1": f"Token {secret}"}
    first = {"url": "http://localhost:8086", "access": "proxy"}
    # POST: an InfluxQL query over many places does not fit into a URL.
    first_options = {"dbName": "meterwatch", "httpMode": "POST"}
    name = "meterwatch InfluxDB"
    return Source("meterwatch-influxdb", name, fields, options, secrets, first, first_options)


def victoria_metrics(*, url: str = "", user: str = "", secret: str = "") -> Source:
    """VictoriaMetrics as the Prometheus that it can play. ``secret``: the password of ``user``,
    or without one a bearer token. What is empty is left as it is."""
    fields: dict[str, Any] = {"type": "prometheus", **_given(url=url)}
    options = {}
    secrets = {}
    if user:
        fields |= {"basicAuth": True, "basicAuthUser": user}
        secrets = _given(basicAuthPassword=secret)
    elif secret:
        options[_HEADER] = "Authorization"
        secrets = {"httpHeaderValue1": f"Bearer {secret}"}
    first = {"url": "http://localhost:8428", "access": "proxy"}
    name, uid = "meterwatch VictoriaMetrics", "meterwatch-victoriametrics"
    # timeInterval: how often the program writes about itself.
    first_options = {"httpMode": "POST", "prometheusType": "Prometheus", "timeInterval": "1m"}
    return Source(uid, name, fields, options, secrets, first, first_options)


def _given(**values: str) -> dict[str, str]:
    return {key: value for key, value in values.items() if value}
