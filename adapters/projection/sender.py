"""Readings of a batch to one database: named, encoded, delivered; what is not taken is refused.

Promise: when ``send`` returns, each row of the batch is in the database, is refused with a reason
that a person can act on, or is noted as a span that is fed later (a fenced point). It raises
``TemporaryError`` when the database takes nothing now; then the caller sends the same again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from adapters.projection.delivery import RejectedLine, deliver
from adapters.projection.fence import Fence
from adapters.stores.external import Database
from adapters.stores.line import NO_POINT, LineEncoder, PointNames, names_of_point
from collector.model import Batch, Mask, Reason, Refusal
from collector.ports import Journal
from collector.registry import Registry
from collector.schema import UNKNOWN_COUNTY
from collector.telemetry import Telemetry

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS named (point INTEGER PRIMARY KEY, names TEXT NOT NULL);
"""


class Sender:
    """See the module. ``connection``: of the projection's own file. ``feed``: called with spans
    (point, low, high) that the database lacks and would take now. ``origin``: the projection's own
    number, for refusals."""

    def __init__(
        self,
        name: str,
        connection: sqlite3.Connection,
        database: Database,
        journal: Journal,
        telemetry: Telemetry,
        *,
        feed: Callable[[int, int, int], object],
        origin: int = 0,
        max_series: int = 500_000,
    ) -> None:
        self._name = name
        self._db = connection
        self._database = database
        self._journal = journal
        self._telemetry = telemetry
        self._feed = feed
        self._origin = origin
        self._max_series = max_series
        self._fence = Fence(connection)
        self._refusals: dict[tuple[str, str], Refusal] = {}
        self._registry: Registry | None = None
        self._names: list[str] = []
        self._used: dict[int, str] = dict(
            connection.execute("SELECT point, names FROM named").fetchall()
        )
        self.encoder = LineEncoder({})

    # --- names

    def adopt(self, registry: Registry) -> list[int]:
        """This registry is in force. The points whose names are others than when they were last
        used: what the database has of them is under the old ones."""
        self._registry = registry
        self._name_points()
        return self._renamed()

    def _name_points(self) -> None:
        assert self._registry is not None
        self._names = self._journal.point_names()
        points: dict[int, PointNames] = {}
        for number, name in enumerate(self._names):
            names = names_of_point(name, self._registry)
            if names is not None:
                points[number] = self._as_before(number, names)
        unknown = NO_POINT
        if len(points) > self._max_series:
            unknown = f"is beyond max_series = {self._max_series} of the settings"
            self._telemetry.event(
                "projection leaves points out: the registry has more than max_series",
                level="error",
                projection=self._name,
                points=len(points),
                max_series=self._max_series,
            )
            points = dict(list(points.items())[: self._max_series])
        self.encoder = LineEncoder(points, unknown=unknown)
        self._telemetry.gauge("projection_series", self.encoder.series, projection=self._name)

    def _as_before(self, number: int, names: PointNames) -> PointNames:
        """A site that is in the registry no more stays where it was."""
        before = self._used.get(number)
        if names.county != UNKNOWN_COUNTY or before is None:
            return names
        as_it_was = replace(names, county=json.loads(before)[2])
        return as_it_was if _text(as_it_was) == before else names

    def _renamed(self) -> list[int]:
        """Compare with the names of last time, and keep those of now."""
        before = self._used
        now = {number: _text(names) for number, names in self.encoder.points.items()}
        changed = [number for number, text in now.items() if before.get(number) != text]
        renamed = [number for number in changed if number in before]
        self._db.executemany(
            "INSERT OR REPLACE INTO named VALUES (?, ?)",
            [(number, now[number]) for number in changed],
        )
        self._used = before | {number: now[number] for number in changed}
        if renamed:
            self._telemetry.event(
                "projection feeds renamed points anew; what the database has under the old names "
                "stays there until somebody deletes it",
                level="warning",
                projection=self._name,
                points=len(renamed),
                formerly=before[renamed[0]],
            )
        return renamed

    # --- readings

    def send(self, batch: Batch, limits: tuple[int, int], now: float, *, told: bool = True) -> None:
        """``limits``: the times that the database takes. ``now``: monotonic seconds. ``told``:
        whether rows outside those times are refusals, or known not to fit (old history)."""
        if len(batch) and int(batch.point.max()) >= len(self._names):
            self._name_points()
        barred = self._fence.barred(batch, now)
        encoded = self.encoder.encode(
            batch.point,
            batch.time,
            batch.value,
            batch.quality,
            low=limits[0],
            high=limits[1],
            barred=barred,
        )
        rejected = [line for part in encoded.parts for line in deliver(self._database, part)]
        if told:
            for reason, rows in encoded.refused.items():
                self._unfit(reason, batch, rows)
        if barred is not None:
            for rows in encoded.refused.values():  # told already
                barred[rows] = False
            self._refuse_barred(batch, barred)
        self._reject(rejected, batch, barred, now)
        count = self._telemetry.count
        count("projection_readings", encoded.rows - len(rejected), projection=self._name)
        count("projection_bytes", sum(map(len, encoded.parts)), projection=self._name)

    def send_lines(self, lines: bytes) -> None:
        """Statements. Raises ``TemporaryError``."""
        for line in deliver(self._database, lines):
            key = line.line.split(b" ", 1)[0].decode("utf-8", "replace")
            stamp = int(line.line.rpartition(b" ")[2])
            self._refuse(
                Reason.REJECTED, f"{self._name}: {key}: {line.reason}", stamp, 1, line.line
            )

    def refusals(self) -> list[Refusal]:
        """What was refused since the last call."""
        told = list(self._refusals.values())
        self._refusals = {}
        count = sum(refusal.count for refusal in told)
        if count:
            self._telemetry.count("projection_refused", count, projection=self._name)
        return told

    def _reject(
        self, rejected: Sequence[RejectedLine], batch: Batch, barred: Mask | None, now: float
    ) -> None:
        """The server's own reasons, and what follows for the points concerned."""
        why: dict[int, str] = {}
        for line in rejected:
            point = self.encoder.point_of(line.line)
            time = int(line.line.rpartition(b" ")[2])
            if point is not None:
                why[point] = line.reason
                self._fence.note(point, time, time + 1, line.reason)
            detail = f"{self._called(point)}: {line.reason}"
            self._refuse(Reason.REJECTED, detail, int(batch.segments.received.max()), 1, line.line)
        for point in self._fence.rejected(why, now):
            self._telemetry.event(
                "projection leaves a point out for a while, the database rejects it",
                level="warning",
                projection=self._name,
                point=self._called(point),
                reason=why[point],
            )
        if self._fence.busy:
            sent = batch.point if barred is None else batch.point[~barred]
            for span in self._fence.accepted(set(np.unique(sent).tolist()) - why.keys()):
                self._feed(*span)

    def _refuse_barred(self, batch: Batch, barred: Mask) -> None:
        point, times = np.unique(batch.point[barred], return_counts=True)
        received = int(batch.segments.received.max())
        for number, count in zip(point.tolist(), times.tolist(), strict=True):
            reason = self._fence.reasons.get(number, "")
            self._refuse(Reason.REJECTED, f"{self._called(number)}: {reason}", received, count, b"")

    def _unfit(self, reason: str, batch: Batch, rows: Any) -> None:
        """Rows that the database could not hold, by point."""
        point, first, times = np.unique(batch.point[rows], return_index=True, return_counts=True)
        received = int(batch.segments.received.max())
        for number, at, count in zip(point.tolist(), first.tolist(), times.tolist(), strict=True):
            row = int(rows[at])
            called = self._called(number)
            sample = f"{called} {batch.value[row]:.17g} {int(batch.time[row])}".encode()
            self._refuse(Reason.UNFIT, f"{called} {reason}", received, count, sample)

    def _called(self, point: int | None) -> str:
        if point is None or not 0 <= point < len(self._names):
            return f"{self._name}: point {point}"
        return f"{self._name}: {self._names[point]}"

    def _refuse(self, reason: str, detail: str, time: int, count: int, sample: bytes) -> None:
        held = self._refusals.get((reason, detail))
        if held is not None:
            count += held.count
            sample = held.sample or sample
        self._refusals[reason, detail] = Refusal(
            time, self._origin, reason, detail, count, "", sample
        )


def _text(names: PointNames) -> str:
    """Names as they are kept."""
    return json.dumps([names.measurement, names.field, *names.tags().values()])


def by_line(encoder: LineEncoder, batch: Batch) -> Batch:
    """The rows of ``batch`` in the order that makes the fewest lines: by place, time and field."""
    order = encoder.order(batch.point, batch.time)
    return Batch(
        batch.point[order],
        batch.time[order],
        batch.value[order],
        batch.quality[order],
        batch.segments,
    )
