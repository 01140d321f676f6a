"""What a database holds and how a program fares, looked at past the program under test.

Readings are compared one by one: the same points, the same times, each once, the same values.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from collector.schema import metric_of, names_of
from tests.campaigns.traffic import Sent
from tests.databases import InfluxDb, VictoriaMetrics

Held = dict[str, dict[int, float]]
"""Value by point's name and time."""


def rss_mb(pid: int) -> int:
    """Resident memory of a process; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) >> 10 for line in lines if line.startswith("VmRSS")), 0)


def left(path: Path) -> int:
    """Spans that a projection still has to feed from the archive."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as db:
        (count,) = db.execute("SELECT count(*) FROM refeed").fetchone()
    return int(count)


# --- what the servers hold, past the program


def wanted_of(sent: list[Sent]) -> Held:
    """What was sent, by point."""
    wanted: Held = {}
    for message in sent:
        for name, at, value in message.readings:
            wanted.setdefault(name, {})[at] = value
    return wanted


def held_by_victoria(server: VictoriaMetrics) -> Held:
    names = {
        metric_of(*names_of(quantity)): quantity
        for quantity in ("energy.active.import", "voc.nmhc.concentration")
    }
    found: Held = {}
    for row in server.export('{__name__=~"electricity_.+|voc_.+"}'):
        labels = row["metric"]
        quantity = names[labels["__name__"]]
        name = f"{labels['site']}/{labels['place']}/{quantity}/{labels['statistic']}"
        assert name not in found, f"{name} is there as two series"
        assert len(set(row["timestamps"])) == len(row["timestamps"]), f"{name} holds a time twice"
        found[name] = dict(zip(row["timestamps"], row["values"], strict=True))
    return found


def held_by_influx(server: InfluxDb, wanted: Held) -> Held:
    found: Held = {}
    for name in wanted:
        site, place, quantity, statistic = name.split("/")
        measurement, column = names_of(quantity)
        series = server.query(
            f'SELECT "{column}" FROM "{measurement}" WHERE "site" = \'{site}\' AND '
            f"\"place\" = '{place}' AND \"statistic\" = '{statistic}' GROUP BY *"
        )
        assert len(series) <= 1, f"{name} is there as {len(series)} series"
        rows = series[0]["values"] if series else []
        found[name] = dict(rows)
        assert len(found[name]) == len(rows), f"{name} holds a time twice"
    (counts,) = [sum(_counts(server))]
    assert counts == sum(map(len, wanted.values())), "it counts otherwise than it answers"
    return found


def _counts(server: InfluxDb) -> Iterator[int]:
    for measurement in ("electricity", "voc"):
        for series in server.query(f'SELECT count(*) FROM "{measurement}"'):
            for row in series["values"]:
                yield sum(row[1:])


def compare(wanted: Held, found: Held, where: str) -> None:
    """The same points, the same times, the same values (to what a float64 printed with 15 digits
    can tell), and so the same count and sum of each day."""
    assert wanted.keys() == found.keys(), where
    for name, rows in wanted.items():
        there = found[name]
        missing, more = rows.keys() - there.keys(), there.keys() - rows.keys()
        assert not missing, f"{where}: {name} lacks {len(missing)}, first {min(missing)}"
        assert not more, f"{where}: {name} has {len(more)} that nobody sent"
        times = sorted(rows)
        here = np.array([rows[at] for at in times])
        np.testing.assert_allclose([there[at] for at in times], here, rtol=1e-14, err_msg=name)
