"""What line protocol costs by itself: ns of CPU a reading, as JSON lines on stdout.

    python -m bench.line [ROWS]

Wide: devices of ten quantities read together, as the fleet of ``bench.way`` sends them, one line
each. Narrow: every reading has a time of its own, one line each. Marked: wide, and every tenth
reading substituted, so that it also stands in ``quality``. History: wide rows by point, as they
come from the archive, put in order by place and time first. Best of several turns over the same
rows; nothing is sent.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from adapters.stores.line import LineEncoder, names_of_point
from bench.plan import COUNTERS, QUANTITIES, Plan
from collector.model import Qualities, Quality, Times
from collector.registry import Registry

ROWS: Final = 65_000
TURNS: Final = 15
T0: Final = 1_795_305_600_000
Turn = Callable[[], tuple[int, int]]
"""Encodes once; bytes and lines of it."""


def by_name(plan: Plan) -> list[int]:
    """The plan's numbers of the points in the order of their stable ids: a device's by name."""
    return [
        first + QUANTITIES.index(quantity)
        for first in range(0, plan.points, len(QUANTITIES))
        for quantity in sorted(QUANTITIES)
    ]


def encoder(plan: Plan) -> LineEncoder:
    """Of the fleet of ``plan``; the sites' counties are not known to it."""
    registry = Registry({}, {}, {}, {}, {}, ())
    named = (names_of_point(plan.point(number), registry) for number in by_name(plan))
    return LineEncoder({at: names for at, names in enumerate(named) if names is not None})


def measured(case: str, rows: int, turn: Turn) -> None:
    spent = []
    for _ in range(TURNS):
        begun = time.process_time()
        size, lines = turn()
        spent.append(time.process_time() - begun)
    figures = {
        "bench": "line",
        "case": case,
        "rows": rows,
        "ns_per_reading": round(min(spent) / rows * 1e9),
        "ns_per_reading_median": round(float(np.median(spent)) / rows * 1e9),
        "bytes_per_reading": round(size / rows, 1),
        "readings_per_line": round(rows / lines, 2),
    }
    print(json.dumps(figures), flush=True)


def main(arguments: list[str]) -> None:
    rows = int(arguments[0]) if arguments else ROWS
    plan, width = Plan(), len(QUANTITIES)
    rows -= rows % plan.per_message
    random = np.random.default_rng(7)
    point = (np.arange(rows) % plan.points).astype(np.int32)
    wide = T0 + np.arange(rows) // plan.per_message * 3
    value = np.round(random.uniform(40, 60, rows), 2)
    counter = np.arange(rows) % width >= width - len(COUNTERS)
    value[counter] = np.round(random.uniform(1e5, 2e5, rows), 2)[counter]
    good = np.zeros(rows, np.uint8)
    marked = np.where(np.arange(rows) % 10 == 0, Quality.SUBSTITUTED, Quality.GOOD).astype(np.uint8)
    of = encoder(plan)

    # As the sender's messages have them; the registry numbers a device's points by name.
    at = {plan.point(number): place for place, number in enumerate(by_name(plan))}
    point = np.array([at[plan.point(number)] for number in range(plan.points)], np.int32)[point]

    def case(time: Times, quality: Qualities, *, sort: bool = False) -> Turn:
        by_point = np.lexsort((time, point))

        def turn() -> tuple[int, int]:
            order: Any = slice(None)
            if sort:
                order = by_point[of.order(point[by_point], time[by_point])]
            parts = of.encode(point[order], time[order], value[order], quality[order]).parts
            return sum(map(len, parts)), sum(part.count(b"\n") for part in parts)

        return turn

    measured("wide", rows, case(wide, good))
    measured("narrow", rows, case(T0 + np.arange(rows), good))
    measured("marked", rows, case(wide, marked))
    measured("history", rows, case(wide, good, sort=True))


if __name__ == "__main__":
    main(sys.argv[1:])
