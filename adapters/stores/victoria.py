"""VictoriaMetrics: lines in, its export and PromQL out.

What it is not, and what is done about it: it holds samples, so a correction of one cannot be relied
on; it answers 204 to lines it drops (what it would drop is refused before it is sent, and its
counters are compared after); it doubles what is written twice unless it runs with
``-dedup.minScrapeInterval=1ms``; and its process keeps the last seconds in memory only (what was
sent within ``settle_ms`` of its end is sent again).
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any, Final

import numpy as np

from adapters.stores.external import Advice, Condition, Held, Http, Sums, Target
from adapters.stores.line import Dialect, PointNames
from collector.errors import TemporaryError
from collector.schema import QUALITY, metric_of

DAY_MS: Final = 86_400_000
HALF_A_YEAR_MS: Final = 183 * DAY_MS
AHEAD_MS: Final = 2 * DAY_MS - 60_000
"""It ignores samples more than two days ahead."""
MARGIN_MS: Final = 3_600_000
_METRIC: Final = re.compile(r"^(?P<name>[a-zA-Z_:]+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_RETENTION: Final = re.compile(r"(\d+(?:\.\d+)?)([hdwy]?)")
_UNIT_MS: Final = {
    "": 31 * DAY_MS,
    "h": 3_600_000,
    "d": DAY_MS,
    "w": 7 * DAY_MS,
    "y": 365 * DAY_MS,
}
_DROPPED: Final = (
    "vm_rows_invalid_total",
    "vm_rows_ignored_total",
    "vm_too_long_label_values_total",
)


class VictoriaDatabase:
    """Implements :class:`adapters.stores.external.Database`."""

    dialect = Dialect.VICTORIA
    settle_ms = 30_000
    replaces = False

    def __init__(self, target: Target) -> None:
        headers = {}
        if target.token:
            headers["Authorization"] = f"Bearer {target.token}"
        elif target.user:
            secret = base64.b64encode(f"{target.user}:{target.password}".encode()).decode()
            headers["Authorization"] = f"Basic {secret}"
        self._http = Http(target, headers)
        self._acknowledged = 0
        self._inserted: int | None = None
        self._lives = 0

    def write(self, lines: bytes) -> None:
        self._http.post_lines("/api/v2/write", {"precision": "ms"}, lines)
        self._acknowledged += lines.count(b"\n")

    def condition(self) -> Condition:
        started, inserted, retention, dedup = 0, 0, "", ""
        dropped: dict[str, int] = {}
        for line in self._http.ask("GET", "/metrics", {}).splitlines():
            match = _METRIC.match(line)
            if match is None:
                continue
            name, labels = match["name"], dict(_LABEL.findall(match["labels"] or ""))
            if name == "vm_app_start_timestamp":
                started = int(float(match["value"]))
            elif name == "vm_rows_inserted_total" and labels.get("type") == "influx":
                inserted = int(float(match["value"]))
            elif name == "flag" and labels.get("name") == "retentionPeriod":
                retention = labels.get("value", "")
            elif name == "flag" and labels.get("name") == "dedup.minScrapeInterval":
                dedup = labels.get("value", "")
            elif name in _DROPPED and labels.get("type", "influx") == "influx":
                why = " ".join((name, *labels.values()))
                dropped[why] = dropped.get(why, 0) + int(float(match["value"]))
        kept = _milliseconds(retention)
        return Condition(
            self._life(started, inserted),
            first=1,  # nothing before 1970, and it takes 0 for "now"
            keeps=None if kept is None else kept - MARGIN_MS,
            ahead=AHEAD_MS,
            dropped=dropped,
            advice=tuple(_advice(dedup, retention, kept)),
        )

    def _life(self, started: int, inserted: int) -> int:
        """Its start as it tells it, in whole seconds, told apart from a restart within the same
        one: its counter then lacks rows that it had acknowledged to us."""
        if self._inserted is not None and inserted < self._inserted + self._acknowledged:
            self._lives += 1
        self._inserted, self._acknowledged = inserted, 0
        return started * 1000 + self._lives % 1000

    def held(self, names: PointNames, start: int, end: int) -> Held:
        value = self._samples(metric_of(names.measurement, names.field), names.tags(), start, end)
        marks = names.quality_tags()
        code = self._samples(metric_of(QUALITY, "code"), marks, start, end)
        beside = self._samples(metric_of(QUALITY, "value"), marks, start, end)
        times = np.array(sorted(value), np.int64)
        mark_times = np.array(sorted(code), np.int64)
        return Held(
            times,
            np.array([value[time] for time in times.tolist()], np.float64),
            mark_times,
            np.array([code[time] for time in mark_times.tolist()], np.uint8),
            np.array([beside.get(time, np.nan) for time in mark_times.tolist()], np.float64),
        )

    def sums(self, measurement: str, start: int, end: int) -> Sums:
        found: dict[tuple[str, str, str, str, str], tuple[int, float]] = {}
        prefix = metric_of(measurement, "")
        selector = f'{{__name__=~"{re.escape(prefix)}.+",statistic!=""}}'
        for row in self._export(selector, start, end):
            labels = row["metric"]
            field = labels["__name__"].removeprefix(prefix)
            key = (measurement, labels["site"], labels["place"], labels["statistic"], field)
            found[key] = (len(row["values"]), float(np.sum(row["values"])))
        return found

    def close(self) -> None:
        self._http.close()

    def _samples(
        self, metric: str, labels: dict[str, str], start: int, end: int
    ) -> dict[int, float]:
        match = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
        found: dict[int, float] = {}
        for row in self._export(f"{metric}{{{match}}}", start, end):
            found |= dict(zip(row["timestamps"], row["values"], strict=True))
        return found

    def _export(self, selector: str, start: int, end: int) -> list[dict[str, Any]]:
        if end <= start:
            return []
        query = {"match[]": selector, "start": _stamp(start), "end": _stamp(end - 1)}
        body = self._http.ask("POST", "/api/v1/export", query)
        # Not splitlines: what else Unicode calls an end of line may stand in a label.
        try:
            return [json.loads(line) for line in body.split("\n") if line]
        except ValueError as fault:
            what = f"{self._http.where}/api/v1/export: no answer in JSON"
            raise TemporaryError(f"{what}; see what stands there, or between", 10.0) from fault


def _advice(dedup: str, retention: str, kept: int | None) -> list[Advice]:
    advice = []
    todo = "start it with -dedup.minScrapeInterval=1ms"
    if not retention and not dedup:
        what = "VictoriaMetrics does not show its flags: deduplication cannot be checked"
        advice.append(Advice(what, f"see yourself that it runs so; {todo}"))
    elif dedup in {"", "0", "0s"}:
        what = "VictoriaMetrics runs without deduplication: what is sent twice counts twice"
        advice.append(Advice(what, todo, wrong=True))
    elif dedup != "1ms":
        what = f"VictoriaMetrics runs with -dedup.minScrapeInterval={dedup}: readings closer"
        advice.append(Advice(f"{what} together than that are dropped", todo, wrong=True))
    if kept is not None and kept < HALF_A_YEAR_MS:
        what = f"VictoriaMetrics keeps {kept // DAY_MS} days (-retentionPeriod={retention})"
        todo = "start it with -retentionPeriod=24 for two years, or accept that it shows no more"
        advice.append(Advice(what, todo))
    return advice


def _milliseconds(retention: str) -> int | None:
    """Of ``-retentionPeriod``: a number of months, or with h, d, w, y; None where not told."""
    match = _RETENTION.fullmatch(retention)
    return None if match is None else int(float(match[1]) * _UNIT_MS[match[2]])


def _stamp(time: int) -> str:
    """UTC ms as seconds, exactly."""
    return f"{time // 1000}.{time % 1000:03d}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
