"""Grafana's part in tests: fills a dashboard's variables as Grafana does, and asks a real server.

``Asked(dashboard, database, start, end)`` runs every target, every variable's query and every
annotation of one dashboard (its JSON, read) and keeps the rows. A row is a dictionary: the tags
(or labels), ``time`` in ms and ``value``; of an InfluxQL answer each column under its name. What a
server refuses raises, with the query.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from tests.databases import Database, InfluxDb, VictoriaMetrics

Json = dict[str, Any]
Row = dict[str, Any]

ALL = ".*"
SCRAPE_MS = 60_000
"""``timeInterval`` of the provisioned data source."""
POINTS = 1000
"""How many a panel of usual width asks for."""
_STEPS = (60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
_UNITS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def panels_of(dashboard: Json) -> list[Json]:
    """Its panels, without the headings."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def duration_ms(text: str) -> int:
    """``31d``, ``15m``, ``60s``."""
    return int(text[:-1]) * _UNITS[text[-1]]


@dataclass
class Asked:
    """What one dashboard got. ``chosen``: values of variables (ids); all of a variable that is
    not named. ``panels``: by title, the rows of all targets, each with its ``ref``; ``variables``:
    by name, what people see and the value; ``marks``: by annotation."""

    dashboard: Json
    database: Database
    start: int
    end: int
    chosen: Mapping[str, Sequence[str]] = field(default_factory=dict)
    panels: dict[str, list[Row]] = field(default_factory=dict)
    variables: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    marks: dict[str, list[Row]] = field(default_factory=dict)
    queries: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for variable in self.dashboard["templating"]["list"]:
            if variable["type"] == "query":
                self.variables[variable["name"]] = self._choices(variable)
        for panel in panels_of(self.dashboard):
            rows = [row for target in panel["targets"] for row in self._target(panel, target)]
            assert panel["title"] not in self.panels, f"two panels are called {panel['title']}"
            self.panels[panel["title"]] = rows
        for annotation in self.dashboard["annotations"].get("list", []):
            if annotation["datasource"]["type"] == "grafana":
                continue  # Grafana's own notes
            self.marks[annotation["name"]] = self._annotation(annotation)

    def _fill(self, text: str, start: int, step: int) -> str:
        """Variables as Grafana writes them into a query."""
        influx = isinstance(self.database, InfluxDb)
        between = f"time >= {start}ms and time <= {self.end}ms"
        rate = max(step + SCRAPE_MS, 4 * SCRAPE_MS)
        known = {
            "timeFilter": between,
            "__interval": f"{step // 1000}s",
            "__range": f"{(self.end - start) // 1000}s",
            "__rate_interval": f"{rate // 1000}s",
        }

        def value(match: re.Match[str]) -> str:
            name = match[1] or match[2]
            if name.startswith("tag_"):
                return match[0]
            if name in known:
                return known[name]
            assert name in self.variables, f"${name} is no variable here: {text}"
            given = self.chosen.get(name)
            if given is None:
                return ALL
            escaped = [_influx_escape(one) if influx else _prom_escape(one) for one in given]
            return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"

        filled = re.sub(r"\$(\w+)|\$\{(\w+)\}", value, text)
        self.queries.append(filled)
        return filled

    def _step(self, panel: Json, target: Json, start: int) -> int:
        """In ms: the range over the points, rounded to one of Grafana's steps, or the least."""
        wanted = (self.end - start) / 1000 / panel.get("maxDataPoints", POINTS)
        least = target.get("interval") or panel.get("interval") or "60s"
        return max(_rounded(wanted), duration_ms(least), self._safe(start))

    def _safe(self, start: int) -> int:
        """Grafana never asks for much more than so many points, whatever a panel says."""
        return _rounded((self.end - start) / 1000 / 11_000)

    def _target(self, panel: Json, target: Json) -> list[Row]:
        start = self.start
        if "timeFrom" in panel:
            start = self.end - duration_ms(panel["timeFrom"])
        step = self._step(panel, target, start)
        text = self._fill(target.get("query") or target["expr"], start, step)
        rows = self._ask(text, start, step, instant=target.get("instant", False))
        return [{"ref": target["refId"], **row} for row in rows]

    def _ask(self, text: str, start: int, step: int, *, instant: bool) -> list[Row]:
        if isinstance(self.database, InfluxDb):
            return _influx(self.database, text)
        assert isinstance(self.database, VictoriaMetrics)
        if instant:
            return _prom(self.database, "query", {"query": text, "time": self.end / 1000})
        first, last = start // step * step / 1000, self.end // step * step / 1000
        form = {"query": text, "start": first, "end": last, "step": step // 1000}
        return _prom(self.database, "query_range", form)

    def _choices(self, variable: Json) -> list[tuple[str, str]]:
        self.variables[variable["name"]] = []
        query = variable["query"]
        if isinstance(query, str):
            series = _influx(self.database, self._fill(query, self.start, 60_000))
            # the second column: after the time, or after the tag's key
            found = [row["value"] if "value" in row else row["last"] for row in series]
        else:
            found = self._label_values(self._fill(query["query"], self.start, 60_000))
        parted = [_parted(one, variable.get("regex", "")) for one in dict.fromkeys(found)]
        return sorted(pair for pair in parted if pair is not None)

    def _label_values(self, text: str) -> list[str]:
        call = re.fullmatch(r"label_values\((.*), (\w+)\)", text)
        assert call, text
        form = {"match[]": call[1], "start": self.start / 1000, "end": self.end / 1000}
        path = f"/api/v1/label/{quote(call[2])}/values?{urlencode(form)}"
        status, body = self.database.request("GET", path)
        assert status == 200, (text, body)
        return list(json.loads(body)["data"])

    def _annotation(self, annotation: Json) -> list[Row]:
        target = annotation["target"]
        step = max(duration_ms(target.get("interval", "60s")), self._safe(self.start))
        text = self._fill(target.get("query") or target["expr"], self.start, step)
        rows = self._ask(text, self.start, step, instant=False)
        return [row for row in rows if "value" not in row or row["value"]]


def _rounded(seconds: float) -> int:
    """The nearest of Grafana's steps, in ms."""
    return min(_STEPS, key=lambda step: abs(step - seconds)) * 1000


def _parted(text: str, pattern: str) -> tuple[str, str] | None:
    """What people see and the value, by a variable's regular expression."""
    if not pattern:
        return text, text
    found = re.search(pattern.strip("/").replace("(?<", "(?P<"), text)
    return (found["text"], found["value"]) if found else None


def _influx_escape(text: str) -> str:
    return re.sub(r"[\\^$*+?.()|\[\]{}/]", lambda match: "\\" + match[0], text)


def _prom_escape(text: str) -> str:
    return re.sub(r"[$^*{}\[\]'+?.()|]", lambda match: "\\\\" + match[0], text)


def _influx(database: Database, text: str) -> list[Row]:
    assert isinstance(database, InfluxDb)
    return [
        {**series.get("tags", {}), **dict(zip(series["columns"], values, strict=True))}
        for series in database.query(text)
        for values in series["values"]
    ]


def _prom(database: Database, path: str, form: Mapping[str, object]) -> list[Row]:
    body = urlencode(form).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    status, text = database.request("POST", f"/api/v1/{path}", body, headers)
    assert status == 200, (form["query"], text)
    rows = []
    for series in json.loads(text)["data"]["result"]:
        samples = series["values"] if "values" in series else [series["value"]]
        for time, value in samples:
            rows.append({**series["metric"], "time": round(time * 1000), "value": float(value)})
    return rows
