"""What judging costs: 5,000 points, 100 rules of 500 points each, 10 verdicts a reading.

    python -m bench.judge [--batches 60] [--rows 40000]

One JSON line on stdout. Thresholds with hysteresis and ``for``; 1 % of the points cross at any
moment, and every fifth batch others do. The engine's alerts are compared with an independent
count (``expected``). ``engine_us`` is the engine alone, ``fold_us`` with alerts.db behind it, both
microseconds per reading; ``quiet_us`` without any crossing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from adapters.state.alerts import AlertsReader, Judge
from collector.model import Batch, Entry, Ids, Revision, Segments
from collector.registry import Place, Point, Registry, Service, Site
from rules.engine import Engine
from rules.ruleset import RuleSet, parse_rules

POINTS, RULES, PER_RULE = 5_000, 100, 500
T0 = 1_800_000_000_000
STEP = 1_000
WAVE = 5
"""Batches for which the same points exceed."""


def fleet() -> Registry:
    """5,000 points of one site."""
    names = [f"p{at}" for at in range(POINTS)]
    return Registry(
        sites={"s": Site("s", "s", "s", "620502", "C2319")},
        lines={},
        places={f"s/{name}": Place("s", name, name, name) for name in names},
        devices={},
        gateways={},
        points=[
            Point("s", name, "power.active", services=(Service("s/d", 0, 2**62),)) for name in names
        ],
    )


def rules() -> RuleSet:
    """Rule r watches points with at % 10 == r % 10: 500 each, 10 rules on every point."""
    tables = []
    for number in range(RULES):
        points = ", ".join(f'"s/p{at}/power.active"' for at in range(number % 10, POINTS, 10))
        tables.append(
            f'[[rule]]\nid = "r{number}"\nkind = "threshold"\nlevel = "red"\ntitle = "t"\n'
            f'above = {100 + number // 10}\nclear = 90\nfor = "2s"\npoints = [{points}]'
        )
    return parse_rules({"bench.toml": "\n".join(tables)})


def load(batches: int, rows: int, *, crossing: bool) -> tuple[list[Batch], int]:
    """Batches in arrival order (a message holds 50 points), and the alerts that must fire."""
    rng = np.random.default_rng(7)
    each = rows // POINTS
    found, fired = [], 0
    cross = np.zeros(POINTS, np.bool_)
    for number in range(batches):
        if crossing and number % WAVE == 0:
            before, cross = cross, np.zeros(POINTS, np.bool_)
            cross[rng.choice(POINTS, POINTS // 100, replace=False)] = True
            # All ten rules of a point fire once; one that exceeded already goes on firing.
            fired += 10 * int((cross & ~before).sum())
        value = rng.uniform(20, 89, (each, POINTS))
        value[:, cross] = rng.uniform(111, 150, (each, int(cross.sum())))
        point = np.tile(np.arange(POINTS, dtype=np.int32), each)
        times = T0 + (number * each + np.arange(each)) * STEP
        stop = np.arange(50, each * POINTS + 1, 50)
        found.append(
            Batch(
                point,
                np.repeat(times, POINTS),
                value.ravel(),
                np.zeros(each * POINTS, np.uint8),
                Segments(
                    stop,
                    np.arange(len(stop), dtype=np.int32) % 20,
                    np.repeat(times, POINTS // 50),
                    np.zeros(len(stop), np.bool_),
                ),
            )
        )
    return found, fired


class OneJournal:
    """Just enough of a journal for the fold: identity and revisions."""

    identity = "bench"

    def revision(self, _kind: str, _seq: int | None = None) -> None:
        return None


def engine(registry: Registry, ruleset: RuleSet) -> Engine:
    ids = {point.name: at for at, point in enumerate(registry.points)}

    def identify(names: Sequence[str]) -> Ids:
        return np.array([ids[name] for name in names], np.int32)

    made = Engine(
        lambda _files: registry,
        lambda _files, _registry: ruleset,
        identify,
        lambda: [f"gateway:g{at}" for at in range(20)],
    )
    made.apply(0, Revision(T0, "registry", "", {}))
    made.apply(0, Revision(T0, "rules", "", {}))
    return made


def timed(batches: Sequence[Batch], apply: Callable[[int, Entry], None]) -> float:
    """Microseconds of CPU per reading."""
    start = time.process_time()
    for seq, batch in enumerate(batches, 1):
        apply(seq, batch)
    return (time.process_time() - start) * 1e6 / sum(map(len, batches))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batches", type=int, default=60)
    parser.add_argument("--rows", type=int, default=40_000)
    options = parser.parse_args()
    registry, ruleset = fleet(), rules()
    crossing, expected = load(options.batches, options.rows, crossing=True)
    calm, _ = load(options.batches, options.rows, crossing=False)
    quiet_us = timed(calm, engine(registry, ruleset).apply)
    alone = engine(registry, ruleset)
    engine_us = timed(crossing, alone.apply)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "alerts.db"
        judge = Judge(path, OneJournal(), lambda: engine(registry, ruleset))  # type: ignore[arg-type]  # one

        def turn(seq: int, entry: Entry) -> None:
            judge.apply([(seq, entry)])
            judge.commit()

        fold_us = timed(crossing, turn)
        judge.commit(durable=True)
        judge.close()
        counts = AlertsReader(path).counts()
    fired = sum(counts.get(state, 0) for state in ("firing", "resolved"))
    print(
        json.dumps(
            {
                "bench": "judge",
                "rows_per_batch": len(crossing[0]),
                "readings": sum(map(len, crossing)),
                "verdicts_per_reading": RULES * PER_RULE // POINTS,
                "quiet_us": round(quiet_us, 4),
                "engine_us": round(engine_us, 4),
                "fold_us": round(fold_us, 4),
                "engine_ns_per_verdict": round(engine_us * 1000 / 10, 2),
                "fold_ns_per_verdict": round(fold_us * 1000 / 10, 2),
                "alerts": fired,
                "expected": expected,
            }
        )
    )


if __name__ == "__main__":
    main()
