"""Points whose readings a database keeps rejecting, fenced off: they cost the others nothing.

A point that was rejected ``STRIKES`` times in a row is not sent any more for a while; what it would
have sent is kept as a span, so that it can come from the archive once the database takes it again.
One rejection after that fences it anew. Spans are in a table of the projection's file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np

from collector.model import Batch, Mask

STRIKES: Final = 3
WAIT_S: Final = 60.0

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS fenced (
    point INTEGER PRIMARY KEY, low INTEGER NOT NULL, high INTEGER NOT NULL, reason TEXT NOT NULL);
"""


class Fence:
    """See the module. ``connection`` as in ``Refeed``; ``monotonic`` seconds are handed in."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._strikes: dict[int, int] = {}
        self._until: dict[int, float] = {}
        self.reasons: dict[int, str] = {}
        """Why, by point: of those with a span in the table."""
        for point, reason in connection.execute("SELECT point, reason FROM fenced"):
            self._strikes[point] = STRIKES - 1
            self.reasons[point] = reason

    @property
    def busy(self) -> bool:
        """Whether any point was rejected and not yet taken again."""
        return bool(self._strikes)

    def barred(self, batch: Batch, now: float) -> Mask | None:
        """Rows that must not be sent now, their spans noted; None for none."""
        shut = [point for point, until in self._until.items() if now < until]
        if not shut:
            return None
        mask: Mask = np.isin(batch.point, shut)
        for point in np.unique(batch.point[mask]).tolist():
            time = batch.time[batch.point == point]
            self.note(point, int(time.min()), int(time.max()) + 1, self.reasons.get(point, ""))
        return mask if mask.any() else None

    def note(self, point: int, low: int, high: int, reason: str) -> None:
        """``point`` lacks ``low <= time < high`` (UTC ms)."""
        self.reasons[point] = reason
        self._db.execute(
            "INSERT INTO fenced VALUES (?, ?, ?, ?) ON CONFLICT (point) DO UPDATE SET "
            "low = min(low, excluded.low), high = max(high, excluded.high), "
            "reason = excluded.reason",
            (point, low, high, reason),
        )

    def rejected(self, points: Mapping[int, str], now: float) -> list[int]:
        """The database rejected readings of these, and why; those that are fenced by it."""
        shut = []
        for point in points:
            self._strikes[point] = self._strikes.get(point, 0) + 1
            if self._strikes[point] >= STRIKES:
                self._until[point] = now + WAIT_S
                shut.append(point)
        return shut

    def accepted(self, points: Iterable[int]) -> list[tuple[int, int, int]]:
        """The database took readings of these: the spans (point, low, high) that they lack."""
        if not self._strikes:
            return []
        found = []
        for point in set(points) & self._strikes.keys():
            del self._strikes[point]
            self._until.pop(point, None)
            if self.reasons.pop(point, None) is not None:
                found += self._db.execute(
                    "DELETE FROM fenced WHERE point = ? RETURNING point, low, high", (point,)
                ).fetchall()
        return found
