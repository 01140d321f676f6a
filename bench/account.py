"""What a counter reading costs the account: JSON lines on stdout.

    python -m bench.account [COUNTERS] [ROWS]

In order: batches of ROWS readings of COUNTERS counters, ten seconds apart, one commit a batch,
as the fold's loop drives it. Late: every tenth batch comes after the nine that follow it. One
late: of each batch a poll was withheld and comes ten batches later; only these commits are
counted. Again: each batch comes twice; only the second is counted.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from adapters.journals.sqlite import SqliteJournal
from adapters.state.books import Books
from collector.model import Batch, Revision, Segments, Tick
from collector.registry import COUNTER, FOREVER, Point, PointTable, Registry, Service, Site
from collector.telemetry import Telemetry

STEP_MS = 10_000
BATCHES = 150


def registry(counters: int) -> tuple[Registry, PointTable]:
    service = Service("s/m", 0, FOREVER, resolution=0.01, modulus=2**32, max_rate=9e4, interval=10)
    points = [Point("s", f"p{i}", "energy", services=(service,)) for i in range(counters)]
    unbounded = np.full(counters, np.inf)
    table = PointTable(
        np.ones(counters, np.bool_),
        np.full(counters, COUNTER, np.uint8),
        -unbounded,
        unbounded,
        dict(enumerate(points)),
        {point.name: i for i, point in enumerate(points)},
    )
    site = Site("s", "Site", "", "620502", "C2319")
    return Registry({"s": site}, {}, {}, {}, {}, points), table


def batches(counters: int, rows: int) -> list[Batch]:
    """Polls of all counters, one after another, cut into batches of ``rows``."""
    random = np.random.default_rng(7)
    polls = -(-rows * BATCHES // counters)
    steps = np.cumsum(random.integers(0, 30, (polls, counters)), axis=0) + 10_000
    point = np.tile(np.arange(counters, dtype=np.int32), polls)
    at = 1_700_000_000_000 + np.repeat(np.arange(polls) * STEP_MS, counters)
    value = np.asarray(steps.reshape(-1) * 0.01, np.float64)
    good = np.zeros(rows, np.uint8)
    return [
        Batch(
            point[low : low + rows],
            at[low : low + rows],
            value[low : low + rows],
            good,
            Segments.one(rows, 0, int(at[low])),
        )
        for low in range(0, rows * BATCHES, rows)
    ]


def part(of: Batch, low: int, high: int) -> Batch:
    at = slice(low, high)
    return Batch(
        of.point[at],
        of.time[at],
        of.value[at],
        of.quality[at],
        Segments.one(high - low, 0, int(of.time[low])),
    )


def measured(name: str, counters: int, made: Iterable[Batch], every: int = 1) -> None:
    """Drive the fold; the last of ``every`` so many batches is counted."""
    with tempfile.TemporaryDirectory() as folder:
        journal = SqliteJournal(Path(folder) / "journal.db", Telemetry())
        revision = Revision(0, "registry", "", {})
        seq = journal.append([revision])
        books = Books(Path(folder) / "books.db", journal, lambda _: registry(counters))
        books.apply([(seq, revision)])
        rows = spent = cpu = 0.0
        commits = []
        for i, batch in enumerate(made):
            begun, begun_cpu = time.perf_counter(), time.process_time()
            books.apply([(seq + i, batch), (seq + i, Tick(int(batch.time[-1])))])
            books.commit()
            if (
                i >= 5 * every and i % every == every - 1
            ):  # the first ones meet every point for the first time
                rows += len(batch)
                commits.append(time.perf_counter() - begun)
                spent += commits[-1]
                cpu += time.process_time() - begun_cpu
        books.commit()
        books.sync()
        size = (Path(folder) / "books.db").stat().st_size
        books.close()
        journal.close()
    print(
        json.dumps(
            {
                "bench": "account",
                "case": name,
                "counters": counters,
                "batch_rows": len(batch),
                "us_per_reading": round(1e6 * spent / rows, 3),
                "cpu_us_per_reading": round(1e6 * cpu / rows, 3),
                "turn_ms_p50": round(1e3 * float(np.median(commits)), 2),
                "turn_ms_p99": round(1e3 * float(np.quantile(commits, 0.99)), 2),
                "file_bytes_per_reading": round(size / rows, 1),
                "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            }
        ),
        flush=True,
    )


def main(arguments: list[str]) -> None:
    counters = int(arguments[0]) if arguments else 1000
    rows = int(arguments[1]) if len(arguments) > 1 else 20_000
    made = batches(counters, rows)
    measured("in order", counters, made)
    again = [batch for batch in made for _ in range(2)]
    measured("again", counters, again, 2)
    withheld = []
    for batch, old in zip(made[10:], made, strict=False):
        withheld += [part(batch, counters, rows), part(old, 0, counters)]
    measured("one late", counters, withheld, 2)
    late = [made[i] for low in range(0, len(made), 10) for i in [*range(low + 1, low + 10), low]]
    measured("a tenth late", counters, late)


if __name__ == "__main__":
    main(sys.argv[1:])
