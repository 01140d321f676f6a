"""What the archive costs: JSON lines on stdout.

    python -m bench.archive [ingest|codecs|all] [SECONDS] [ROWS_PER_COMMIT]

``ingest``: 5,000 points (half counters in steps of 0.01, half voltages in steps of 0.1, times
with some jitter, one value in a thousand invalid) through ``Archive.apply`` and ``commit``,
compaction included, ``SECONDS`` commits of ``ROWS_PER_COMMIT``; then reads, with a month of
10-second data of one point among them. ``codecs``: what a chunk of 2,048 readings costs and
weighs, ours against the alternatives.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import zstandard

from adapters.journals.sqlite import SqliteJournal
from adapters.stores import chunks
from adapters.stores.archive import Archive
from adapters.stores.archive_reader import ArchiveReader
from collector.model import Batch, Segments
from collector.telemetry import Telemetry

POINTS = 5_000
START = 1_795_305_600_000
MONTH_ROWS = 30 * 8640


def traffic(seconds: int, rows: int) -> Iterator[Batch]:
    """One batch a second; each point is read ``rows / POINTS`` times in it."""
    random = np.random.default_rng(7)
    polls = rows // POINTS
    register = random.integers(10_000, 90_000_000, POINTS)
    for second in range(seconds):
        register = register + random.integers(0, 3, (polls, POINTS)).cumsum(axis=0)
        voltage = np.rint(2300 + 15 * random.standard_normal((polls, POINTS))) / 10
        value = np.where(np.arange(POINTS) % 2, register / 100, voltage).reshape(-1)
        register = register[-1]
        time_ms = START + second * 1000 + np.repeat(np.arange(polls) * (1000 // polls), POINTS)
        quality = np.zeros(polls * POINTS, np.uint8)
        bad = random.integers(0, len(quality), len(quality) // 1000)
        value[bad], quality[bad] = np.nan, 160
        yield Batch(
            np.tile(np.arange(POINTS, dtype=np.int32), polls),
            time_ms + random.integers(0, 3, len(time_ms)),
            value,
            quality,
            Segments.one(len(value), 0, START + second * 1000),
        )


def month() -> Batch:
    """One voltage every ten seconds for thirty days, point ``POINTS``."""
    random = np.random.default_rng(8)
    value = np.rint(2300 + 15 * random.standard_normal(MONTH_ROWS)) / 10
    times = START + 10_000 * np.arange(MONTH_ROWS)
    return Batch(
        np.full(MONTH_ROWS, POINTS, np.int32),
        times,
        value,
        np.zeros(MONTH_ROWS, np.uint8),
        Segments.one(MONTH_ROWS, 0, int(times[-1])),
    )


def best_ms(ask: Callable[[], object], times: int = 7) -> float:
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        ask()
        taken.append(time.perf_counter() - begun)
    return round(min(taken) * 1e3, 3)


def ingest(seconds: int, rows: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        journal = SqliteJournal(path / "journal.db", Telemetry())
        journal.point_ids([f"s/p{n}/voltage.l1/raw" for n in range(POINTS + 1)])
        journal.origin_ids(["mqtt:bench"])
        archive = Archive(path / "archive.db", journal, Telemetry())
        cpu = wall = longest = 0.0
        written = 0
        for seq, batch in enumerate(traffic(seconds, rows), 1):
            used, begun = time.process_time(), time.perf_counter()
            archive.apply([(seq, batch)])
            archive.commit(durable=seq % 2 == 0)
            taken = time.perf_counter() - begun
            cpu += time.process_time() - used
            wall, longest, written = wall + taken, max(longest, taken), written + len(batch)
        held = archive._series.stored()  # noqa: SLF001 - before the month is added
        peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        file_bytes = (path / "archive.db").stat().st_size
        archive.apply([(seconds + 1, month())])
        archive.commit()
        reader = ArchiveReader(path / "archive.db")
        now, hour = START + seconds * 1000, 3_600_000
        print(
            json.dumps(
                {
                    "bench": "archive-ingest",
                    "points": POINTS,
                    "rows": written,
                    "rows_per_commit": rows,
                    "rows_per_second": round(written / wall),
                    "cpu_us_per_row": round(cpu / written * 1e6, 3),
                    "longest_commit_ms": round(longest * 1e3),
                    "bytes_per_row_sealed": round(held.sealed_bytes / max(held.sealed_rows, 1), 2),
                    "bytes_per_row_in_runs": round(held.run_bytes / max(held.run_rows, 1), 2),
                    "share_sealed": round(held.sealed_rows / written, 3),
                    "file_bytes_per_row": round(file_bytes / written, 2),
                    "hour_means_of_a_month_ms": best_ms(
                        lambda: reader.buckets(POINTS, START, START + 720 * hour, hour)
                    ),
                    "last_ten_seconds_ms": best_ms(lambda: reader.read(7, now - 10_000, now)),
                    "latest_ms": best_ms(lambda: reader.latest(7)),
                    "before_ms": best_ms(lambda: reader.before(7, now - 5_000, 2)),
                    "peak_rss_mb": round(peak_kib / 1024),
                }
            )
        )
        reader.close()
        archive.close()
        journal.close()


def codecs() -> None:
    random = np.random.default_rng(9)
    rows = 2048
    walk = 80 + np.cumsum(random.standard_normal(rows))
    steps = random.integers(0, 30, rows)
    values = {
        "counter 0.01": (5_211_997 + np.cumsum(steps)) / 100,
        "counter *0.01": (5_211_997 + np.cumsum(steps)) * 0.01,
        "voltage 0.1": np.rint(2300 + 15 * random.standard_normal(rows)) / 10,
        "power float32": walk.astype(np.float32).astype(np.float64),
        "noise float64": random.standard_normal(rows),
    }
    regular = START + 10_000 * np.arange(rows)
    good = np.zeros(rows, np.uint8)
    for name, value in values.items():
        for jitter in (0, 40):
            at = regular + random.integers(0, jitter + 1, rows)
            plain = at.tobytes() + value.tobytes() + good.tobytes()
            shuffled = b"".join(
                (
                    np.diff(at, prepend=at[:1]).view(np.uint8).reshape(-1, 8).T.tobytes(),
                    value.view(np.uint8).reshape(-1, 8).T.tobytes(),
                    good.tobytes(),
                )
            )
            candidates: dict[str, Callable[[], bytes]] = {
                "ours": lambda at=at, value=value: chunks.encode_chunk(at, value, good),
                "plain zlib 1": lambda raw=plain: zlib.compress(raw, 1),
                "plain zstd 1": lambda raw=plain: zstandard.compress(raw, 1),
                "shuffled zlib 1": lambda raw=shuffled: zlib.compress(raw, 1),
                "shuffled zstd 1": lambda raw=shuffled: zstandard.compress(raw, 1),
                "shuffled zstd 3": lambda raw=shuffled: zstandard.compress(raw, 3),
                "shuffled zstd 9": lambda raw=shuffled: zstandard.compress(raw, 9),
            }
            sealed = chunks.encode_chunk(at, value, good)
            print(
                json.dumps(
                    {
                        "bench": "archive-codecs",
                        "values": name,
                        "jitter_ms": jitter,
                        "bytes_per_row": {
                            codec: round(len(run()) / rows, 2) for codec, run in candidates.items()
                        },
                        "encode_ns_per_row": {
                            codec: round(best_ms(run, 15) * 1e6 / rows)
                            for codec, run in candidates.items()
                        },
                        "decode_ns_per_row": round(
                            best_ms(lambda raw=sealed: chunks.decode_chunk(raw), 15) * 1e6 / rows
                        ),
                    }
                )
            )


def main(which: str = "all", seconds: str = "60", rows: str = "200000") -> None:
    if which in {"ingest", "all"}:
        ingest(int(seconds), int(rows))
    if which in {"codecs", "all"}:
        codecs()


if __name__ == "__main__":
    main(*sys.argv[1:])
