"""Tables of ``docs/performance.md`` from the JSON lines that ``python -m bench`` printed.

    python -m bench.table FILE [PAGE]

Of several runs of a case the median, and in brackets the least and the most. With PAGE, the part
between ``<!-- bench NAME -->`` and ``<!-- end -->`` is replaced; without, all tables are printed.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

Runs = Mapping[str, Sequence[Mapping[str, Any]]]
"""Figures of each run, by case."""

_WAY: Final = {
    "readings stored per second": "readings_per_s",
    "all stored after, s": "stored_in_s",
    "sent within, s": "sent_in_s",
    "program: CPU per reading, us": "cpu_us_per_reading",
    "receipt to acknowledgement, p50, ms": "receipt_to_ack_ms_p50",
    "receipt to acknowledgement, p99, ms": "receipt_to_ack_ms_p99",
    "publish to alert, p50, ms": "publish_to_alert_ms_p50",
    "publish to alert, p99, ms": "publish_to_alert_ms_p99",
    "alerts raised": "alerts",
    "alerts counted independently": "alerts_counted_independently",
    "program: peak RSS, MB": "rss_peak_mb",
    "sender: CPU per reading, us": "sender_cpu_us_per_reading",
    "broker: CPU per reading, us": "broker_cpu_us_per_reading",
    "others on the machine, cores": "others_cores",
}
_ARCHIVE: Final = {
    "archive, bytes per reading at the end": "archive_bytes_per_reading",
    "all files, bytes per reading at the end": "disk_bytes_per_reading",
}
_DATABASE: Final = {
    "all in the database after, s": "all_in_after_s",
    "readings lost": "lost",
    "quantities whose sum is not what was sent": "wrong_sums",
    "behind when sending ended, readings": "lag_readings_at_end_of_sending",
    "publish to acknowledged by the database, p50, ms": "publish_to_acknowledged_ms_p50",
    "publish to acknowledged by the database, p99, ms": "publish_to_acknowledged_ms_p99",
    "publish to visible in a query, p50, ms": "publish_to_visible_ms_p50",
    "publish to visible in a query, p99, ms": "publish_to_visible_ms_p99",
    "bytes sent per reading": "bytes_sent_per_reading",
    "database: CPU per reading, us": "cpu_us_per_reading",
    "database: peak RSS, MB": "rss_peak_mb",
}
_FLOOD: Final = {
    "others, before: sent to stored, p50, ms": ("before", "stored_ms_p50"),
    "others, before: p99, ms": ("before", "stored_ms_p99"),
    "others, meanwhile: sent to stored, p50, ms": ("during", "stored_ms_p50"),
    "others, meanwhile: p99, ms": ("during", "stored_ms_p99"),
    "others, after: sent to stored, p50, ms": ("after", "stored_ms_p50"),
    "others, after: p99, ms": ("after", "stored_ms_p99"),
    "others, meanwhile: sent to acknowledged, p50, ms": ("during", "answered_ms_p50"),
    "others, meanwhile: p99 of it, ms": ("during", "answered_ms_p99"),
    "others: acknowledged, not stored 1 s after the end": ("others_not_stored",),
    "flooder: sent per second": ("flooder_sent_per_s",),
    "flooder: stored per second, meanwhile": ("flooder_stored_per_s",),
    "program: cores, meanwhile": ("program_cores_during",),
    "program: peak RSS, MB": ("program_rss_peak_mb",),
    "broker: cores, meanwhile": ("broker_cores_during",),
    "broker: peak RSS, MB": ("broker_rss_peak_mb",),
    "load average of the machine": ("load_average",),
}
_BACKFILL: Final = {
    "late readings": "late_readings",
    "all late ones stored after, s": "late_stored_in_s",
    "all late ones answered after, s": "late_answered_in_s",
    "live, before: sent to stored, p50, ms": "live_stored_ms_before_p50",
    "live, before: p99, ms": "live_stored_ms_before_p99",
    "live, meanwhile: sent to stored, p50, ms": "live_stored_ms_meanwhile_p50",
    "live, meanwhile: p99, ms": "live_stored_ms_meanwhile_p99",
    "readings that the archive lacks, or has too many": "lacking",
    "program: peak RSS, MB": "program_rss_peak_mb",
    "broker: peak RSS, MB": "broker_rss_peak_mb",
    "load average of the machine": "load_average",
}
_LINE: Final = {
    "ns of CPU per reading, best": "ns_per_reading",
    "ns of CPU per reading, median": "ns_per_reading_median",
    "bytes per reading": "bytes_per_reading",
    "readings per line": "readings_per_line",
}
_TITLES: Final = {
    "way": "400,000/s offered, 30 s",
    "way-slow": "the same, 20 ms added to each sync",
    "way-full": "as much as it takes",
    "vm": "VictoriaMetrics, 300,000/s offered",
    "vm-full": "VictoriaMetrics, as much as it takes",
    "vm-only": "VictoriaMetrics, no archive, no account, 500,000/s offered",
    "influx": "InfluxDB 1, 150,000/s offered",
    "influx-full": "InfluxDB 1, as much as it takes",
    "both": "both, 100,000/s offered",
}
DATABASES: Final = ("victoria-metrics", "influxdb")


def read(lines: Sequence[str]) -> Runs:
    """A case is told by the figures, or is the bench itself and its own case."""
    runs: dict[str, list[Mapping[str, Any]]] = {}
    for figures in map(json.loads, lines):
        if "bench" in figures:
            name = figures["case"] if figures["bench"] == "way" else None
            runs.setdefault(name or f"{figures['bench']} {figures.get('case', '')}", []).append(
                figures
            )
        else:
            runs.setdefault("machine", []).append(figures)
    return runs


def tables(runs: Runs) -> dict[str, str]:
    """By name, those for which there are figures."""
    ways = [case for case in ("way", "way-slow", "way-full") if case in runs]
    databases = [case for case in _TITLES if case in runs and case not in ways]
    lines = [case for case in runs if case.startswith("line ")]
    floods = [case for case in runs if case.startswith("flood ") and not case.endswith(" full")]
    found = {}
    if "machine" in runs:
        of = runs["machine"][-1]
        found["machine"] = (
            f"{of['cores']} cores ({of['machine']}), {of['memory_gb']} GB, Python {of['python']}, "
            f"{of['month']}; runs of a case: {max(map(len, runs.values()))}."
        )
    if ways:
        found["way"] = _table(
            runs, ways, [(name, (key,)) for name, key in (_WAY | _ARCHIVE).items()]
        )
    if databases:
        rows = [(name, (key,)) for name, key in _WAY.items()]
        for kind in DATABASES:
            of_kind = [(f"{kind}: {name}", (kind, key)) for name, key in _DATABASE.items()]
            rows += of_kind
        found["databases"] = _table(runs, databases, rows)
    if lines:
        found["line"] = _table(runs, lines, [(name, (key,)) for name, key in _LINE.items()])
    late = [case for case in runs if case.startswith("backfill ")]
    if late:
        found["backfill"] = _table(runs, late, [(name, (key,)) for name, key in _BACKFILL.items()])
    if floods:
        found["flood"] = _table(runs, floods, list(_FLOOD.items()))
    return found


def _table(runs: Runs, cases: Sequence[str], rows: Sequence[tuple[str, tuple[str, ...]]]) -> str:
    titles = [_TITLES.get(case, re.sub("^(line|flood|backfill) ", "", case)) for case in cases]
    out = ["| | " + " | ".join(titles) + " |", "| --- |" + " --- |" * len(cases)]
    for name, path in rows:
        cells = [_cell([_at(run, path) for run in runs[case]]) for case in cases]
        if any(cells):
            out.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(out)


def _at(figures: Mapping[str, Any], path: Sequence[str]) -> float | None:
    found: Any = figures
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return len(found) if isinstance(found, Mapping) else found


def _cell(values: Sequence[float | None]) -> str:
    told = [value for value in values if value is not None]
    if not told:
        return ""
    middle, least, most = statistics.median(told), min(told), max(told)
    return _text(middle) if least == most else f"{_text(middle)} ({_text(least)}-{_text(most)})"


def _text(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 1000 else f"{value:g}"


def filled(page: str, made: Mapping[str, str]) -> str:
    """``page`` with its tables replaced, those for which there are none left as they are."""

    def part(match: re.Match[str]) -> str:
        name = match[1]
        inner = f"\n{made[name]}\n" if name in made else match[2]
        return f"<!-- bench {name} -->{inner}<!-- end -->"

    return re.sub(r"<!-- bench (\w+) -->(.*?)<!-- end -->", part, page, flags=re.DOTALL)


def main(arguments: list[str]) -> None:
    lines = Path(arguments[0]).read_text(encoding="utf-8").splitlines()
    made = tables(read([line for line in lines if line.startswith("{")]))
    if len(arguments) > 1:
        page = Path(arguments[1])
        page.write_text(filled(page.read_text(encoding="utf-8"), made), encoding="utf-8")
    else:
        print("\n\n".join(f"{name}\n\n{text}" for name, text in made.items()))


if __name__ == "__main__":
    main(sys.argv[1:])
