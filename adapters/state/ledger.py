"""The tables of the books: quarter-hours, anomalies, scales, and where each account begins.

``quarter`` holds whole register steps; an amount is steps x the value of its ``scale``. A row
without any measured or estimated time stands for a quarter-hour that was known, was closed, and
is known no more. ``reopened`` counts how often a closed one was changed, ``closed`` is where the
clock stood (as a quarter-hour) when it last was; rows are never deleted. So what changed while the
clock went from one quarter-hour to another can be asked for at any time, without a list of changes
(see :mod:`adapters.state.books_changes`). Works inside the owner's transaction.
"""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from collector.accounts.buckets import Quarters, spread, together
from collector.accounts.counters import Account
from collector.accounts.standing import NEVER

SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS scale (id INTEGER PRIMARY KEY, value REAL NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS quarter (
    point INTEGER NOT NULL, quarter INTEGER NOT NULL, scale INTEGER NOT NULL,
    steps INTEGER NOT NULL, measured INTEGER NOT NULL, estimated INTEGER NOT NULL,
    reopened INTEGER NOT NULL, closed INTEGER NOT NULL,
    PRIMARY KEY (point, quarter, scale)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS quarter_reopened ON quarter (point, closed) WHERE closed > {NEVER};
CREATE TABLE IF NOT EXISTS anomaly (
    point INTEGER NOT NULL, since INTEGER NOT NULL, time INTEGER NOT NULL, kind INTEGER NOT NULL,
    until INTEGER NOT NULL, before REAL NOT NULL, after REAL NOT NULL, counted REAL,
    PRIMARY KEY (point, since, time, kind)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS began (point INTEGER PRIMARY KEY, time INTEGER NOT NULL);
"""

_ADD: Final = """
INSERT INTO quarter VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (point, quarter, scale) DO UPDATE SET
    steps = steps + excluded.steps, measured = measured + excluded.measured,
    estimated = estimated + excluded.estimated,
    reopened = reopened + (excluded.closed > closed), closed = max(closed, excluded.closed)
"""


class Ledger:
    """See the module. ``closed``: quarter-hours before this number are closed."""

    def __init__(self, connection: sqlite3.Connection, closed: int) -> None:
        self.closed = closed
        self._db = connection
        self._scales: dict[float, int] = {
            value: id_ for id_, value in connection.execute("SELECT id, value FROM scale")
        }

    def scale(self, value: float) -> int:
        """The number of a scale, given on first sight."""
        if value not in self._scales:
            (id_,) = self._db.execute(
                "INSERT INTO scale (value) VALUES (?) RETURNING id", (value,)
            ).fetchone()
            self._scales[value] = id_
        return self._scales[value]

    def add(self, quarters: Quarters, scales: npt.NDArray[np.int64]) -> None:
        """Add to what is there; group = point, ``scales`` by row."""
        if not len(quarters):
            return
        late = quarters.quarter < self.closed
        self._db.executemany(
            _ADD,
            zip(
                quarters.group.tolist(),
                quarters.quarter.tolist(),
                scales.tolist(),
                quarters.steps.tolist(),
                quarters.measured.tolist(),
                quarters.estimated.tolist(),
                late.astype(int).tolist(),
                np.where(late, self.closed, NEVER).tolist(),
                strict=True,
            ),
        )

    def undecided(self, point: int, start: int, end: int) -> list[tuple[int, int]]:
        """Stretches ``(since, until)`` that meet ``(start, end)`` and strictly within which the
        account of ``point``, as it is in the tables, was not settled."""
        return self._db.execute(
            "SELECT DISTINCT since, until FROM anomaly WHERE point = ? AND since < ? AND until > ?",
            (point, end, start),
        ).fetchall()

    def replace(
        self,
        point: int,
        of: Account,
        scales: list[int],
        quarters: tuple[int, int],
        anomalies: tuple[int, int],
    ) -> None:
        """What ``of`` says of the quarter-hours ``[low, high)``, and of the anomalies whose
        ``since`` is in ``[low, high)``, replaces what the tables say of them. ``scales`` by
        index of the service."""
        self.replace_anomalies(point, of, *anomalies)
        a = of.advances
        found = spread(a.service.astype(np.int64), a.start, a.end, a.steps, a.estimated)
        low, high = quarters
        found = found.where((found.quarter >= low) & (found.quarter < high))
        if len(found):
            found = replace(found, group=np.array(scales, np.int64)[found.group])
            if len(scales) > 1:
                found = together([found])
        self._replace_quarters(point, found, low, high)

    def replace_anomalies(self, point: int, of: Account, low: int, high: int) -> None:
        """Those of ``of`` whose ``since`` is in ``[low, high)`` replace what the table has."""
        self._db.execute(
            "DELETE FROM anomaly WHERE point = ? AND since >= ? AND since < ?", (point, low, high)
        )
        self._db.executemany(
            "INSERT INTO anomaly VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (point, a.since, a.time, int(a.kind), a.until, a.before, a.after, a.counted)
                for a in of.anomalies
                if low <= a.since < high
            ],
        )

    def forget_undecided(self, point: int, time: int) -> None:
        """Anomalies that were not decided at ``time`` are none."""
        self._db.execute(
            "DELETE FROM anomaly WHERE point = ? AND since < ? AND until > ?", (point, time, time)
        )

    def _replace_quarters(self, point: int, quarters: Quarters, low: int, high: int) -> None:
        """Rows (group = scale) that replace those of ``[low, high)``; only changes are written."""
        old: dict[tuple[int, int], list[int]] = {
            (quarter, scale): row
            for quarter, scale, *row in self._db.execute(
                "SELECT quarter, scale, steps, measured, estimated, reopened, closed FROM quarter "
                "WHERE point = ? AND quarter >= ? AND quarter < ?",
                (point, low, high),
            )
        }
        write: list[tuple[int, ...]] = []
        for quarter, scale, *amounts in zip(
            quarters.quarter.tolist(),
            quarters.group.tolist(),
            quarters.steps.tolist(),
            quarters.measured.tolist(),
            quarters.estimated.tolist(),
            strict=True,
        ):
            before = old.pop((quarter, scale), None)
            if before is None or before[:3] != amounts:
                write.append((point, quarter, scale, *amounts, *self._touched(quarter, before)))
        for (quarter, scale), before in old.items():
            if before[:3] != [0, 0, 0]:
                write.append((point, quarter, scale, 0, 0, 0, *self._touched(quarter, before)))
        self._db.executemany(
            "INSERT OR REPLACE INTO quarter VALUES (?, ?, ?, ?, ?, ?, ?, ?)", write
        )

    def _touched(self, quarter: int, before: list[int] | None) -> tuple[int, int]:
        """``reopened`` and ``closed`` of a quarter-hour that changes now."""
        reopened, closed = (0, NEVER) if before is None else (before[3], before[4])
        if quarter >= self.closed or closed == self.closed:
            return reopened, closed
        return reopened + 1, self.closed
