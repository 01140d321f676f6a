"""InfluxDB 1.x, 2 and 3: lines in, InfluxQL out.

Version 1 is written through ``/write``, 2 and 3 through ``/api/v2/write``; all three answer
InfluxQL on ``/query``. It replaces a value of the same series and time, and what it acknowledged
is in its write-ahead log: nothing has to be sent again after its crash.
"""

# ruff: noqa: S608 InfluxQL has no parameters for names; all are quoted here

from __future__ import annotations

import base64
from typing import Any, Final

import numpy as np

from adapters.stores.external import Advice, Condition, Held, Http, Sums, Target
from adapters.stores.line import Dialect, PointNames
from collector.errors import TemporaryError
from collector.schema import QUALITY

RETENTION_MARGIN_MS: Final = 60_000
"""Rows this close to the end of retention are not sent: they would be gone on arrival."""
HALF_A_YEAR_S: Final = 183 * 86_400
_UNITS_S: Final = {"h": 3600, "m": 60, "s": 1}


class InfluxDatabase:
    """Implements :class:`adapters.stores.external.Database`."""

    dialect = Dialect.INFLUX
    settle_ms = 0
    replaces = True

    def __init__(self, target: Target) -> None:
        self._target = target
        headers = {}
        if target.version == 1:
            if target.user:
                secret = base64.b64encode(f"{target.user}:{target.password}".encode()).decode()
                headers["Authorization"] = f"Basic {secret}"
            self._path = "/write"
            self._query = {"db": target.bucket, "precision": "ms"}
            if target.policy:
                self._query["rp"] = target.policy
        else:
            if target.token:
                headers["Authorization"] = f"Token {target.token}"
            self._path = "/api/v2/write"
            self._query = {"bucket": target.bucket, "precision": "ms"}
            if target.org:
                self._query["org"] = target.org
        self._http = Http(target, headers)

    def write(self, lines: bytes) -> None:
        self._http.post_lines(self._path, self._query, lines)

    def condition(self) -> Condition:
        """Times older than the retention would be refused (1.x) or dropped."""
        kept = self._retention_s()
        if kept is None:
            return Condition()
        advice: tuple[Advice, ...] = ()
        if kept < HALF_A_YEAR_S:
            what = f"InfluxDB keeps {kept // 86_400} days"
            todo = "give it a longer retention, or accept that it shows no more"
            advice = (Advice(what, todo),)
        return Condition(keeps=1000 * kept - RETENTION_MARGIN_MS, advice=advice)

    def _retention_s(self) -> int | None:
        """Seconds that it keeps a row; None for ever, or where it does not tell."""
        if self._target.version == 1:
            for row in self._rows(f"SHOW RETENTION POLICIES ON {_quoted(self._target.bucket)}"):
                chosen = (
                    row["name"] == self._target.policy if self._target.policy else row["default"]
                )
                if chosen:
                    return _seconds(str(row["duration"])) or None
            return None
        if self._target.version == 2:
            query = {"name": self._target.bucket, "org": self._target.org}
            told = self._http.ask_json("GET", "/api/v2/buckets", query)
            for bucket in told.get("buckets", []):
                for rule in bucket.get("retentionRules", []):
                    return int(rule.get("everySeconds", 0)) or None
        return None

    def held(self, names: PointNames, start: int, end: int) -> Held:
        where = " AND ".join(
            f"{_quoted(tag)} = {_text(text)}" for tag, text in names.tags().items()
        )
        span = f"time >= {start}ms AND time <= {end - 1}ms"
        values = self._rows(
            f"SELECT {_quoted(names.field)} AS v FROM {_quoted(names.measurement)} "
            f"WHERE {where} AND {span} ORDER BY time"
        )
        marks = self._rows(
            f'SELECT "code", "value" FROM {_quoted(QUALITY)} WHERE {where} '
            f'AND "quantity" = {_text(names.quantity)} AND {span} ORDER BY time'
        )
        told = [row for row in values if row["v"] is not None]
        return Held(
            np.array([row["time"] for row in told], np.int64),
            np.array([row["v"] for row in told], np.float64),
            np.array([row["time"] for row in marks], np.int64),
            np.array([row["code"] for row in marks], np.uint8),
            np.array(
                [np.nan if row.get("value") is None else row["value"] for row in marks], np.float64
            ),
        )

    def sums(self, measurement: str, start: int, end: int) -> Sums:
        found: dict[tuple[str, str, str, str, str], tuple[int, float]] = {}
        for series in self._series(
            f"SELECT count(*), sum(*) FROM {_quoted(measurement)} "
            f"WHERE time >= {start}ms AND time <= {end - 1}ms "
            'GROUP BY "site", "place", "statistic"'
        ):
            tags = series["tags"]
            row = dict(zip(series["columns"], series["values"][0], strict=True))
            for column, count in row.items():
                if column.startswith("count_") and count:
                    field = column.removeprefix("count_")
                    key = (measurement, tags["site"], tags["place"], tags["statistic"], field)
                    found[key] = (int(count), float(row[f"sum_{field}"]))
        return found

    def close(self) -> None:
        self._http.close()

    def _rows(self, statement: str) -> list[dict[str, Any]]:
        return [
            dict(zip(series["columns"], row, strict=True))
            for series in self._series(statement)
            for row in series.get("values", [])
        ]

    def _series(self, statement: str) -> list[dict[str, Any]]:
        query = {"q": statement, "db": self._target.bucket, "epoch": "ms"}
        if self._target.policy:
            query["rp"] = self._target.policy
        told = self._http.ask_json("POST", "/query", query)
        try:
            (result,) = told["results"]
        except (ValueError, TypeError, KeyError) as fault:
            raise TemporaryError(f"{self._http.where}/query: no answer in InfluxQL") from fault
        if "error" in result:
            raise TemporaryError(f"{self._http.where}/query: {result['error']}", 30.0)
        found: list[dict[str, Any]] = result.get("series", [])
        return found


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _seconds(duration: str) -> int:
    """Of InfluxDB 1's form ``720h0m0s``; 0 is for ever."""
    total, number = 0, ""
    for letter in duration:
        if letter.isdigit():
            number += letter
        else:
            total += int(number or 0) * _UNITS_S.get(letter, 0)
            number = ""
    return total
