"""What came and could not be used: kept with its reason, within a bound, fairly.

Refusals that say the same (origin, reason, detail) within a window are one row that counts;
their samples are kept beside it, equal bytes once, so that all can be replayed when the cause
is mended. When a bound is reached, the origin that holds the most loses its oldest, so a
flood from one gateway pushes out only its own. Totals per origin and reason are never dropped,
and say how much was.

Works inside the transaction of whoever owns the connection.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from collector.model import Refusal

WINDOW_MS: Final = 3_600_000
MAX_GROUPS: Final = 20_000
MAX_SAMPLE_BYTES: Final = 64 << 20
DETAIL_CHARS: Final = 400
SAMPLE_BYTES: Final = 256 << 10
"""A longer sample is cut: it can be looked at, but not replayed."""
_STEP: Final = 32
_ROW_BYTES: Final = 64
"""What a sample costs besides its bytes, so that a flood of tiny ones is bounded too."""

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS refused (
    id INTEGER PRIMARY KEY AUTOINCREMENT, origin INTEGER NOT NULL, reason TEXT NOT NULL,
    detail TEXT NOT NULL, kind TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    times INTEGER NOT NULL, readings INTEGER NOT NULL, replayed INTEGER);
CREATE INDEX IF NOT EXISTS refused_alike ON refused (origin, reason, detail, kind, first);
CREATE TABLE IF NOT EXISTS refused_sample (
    id INTEGER PRIMARY KEY, refused INTEGER NOT NULL, origin INTEGER NOT NULL,
    time INTEGER NOT NULL, digest BLOB NOT NULL, sample BLOB NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS refused_sample_once ON refused_sample (refused, digest);
CREATE INDEX IF NOT EXISTS refused_sample_of ON refused_sample (origin, id);
CREATE TABLE IF NOT EXISTS refused_held (
    origin INTEGER PRIMARY KEY, entries INTEGER NOT NULL, bytes INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS refused_total (
    origin INTEGER NOT NULL, reason TEXT NOT NULL, times INTEGER NOT NULL,
    readings INTEGER NOT NULL, dropped INTEGER NOT NULL DEFAULT 0,
    samples_dropped INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (origin, reason)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Refused:
    """Equal refusals within a window: ``times`` deliveries, ``readings`` in them, between
    ``first`` and ``last`` (UTC ms); ``samples`` are held; ``replayed`` says when, if at all."""

    id: int
    origin: int
    reason: str
    detail: str
    kind: str
    first: int
    last: int
    times: int
    readings: int
    samples: int
    replayed: int | None


@dataclass(frozen=True, slots=True)
class RefusedTotal:
    """All that was ever refused of one origin for one reason. ``dropped``: of ``times``, those
    whose row had to go for the bound; ``samples_dropped`` likewise."""

    origin: int
    reason: str
    times: int
    readings: int
    dropped: int
    samples_dropped: int


class RefusedStore:
    """See the module. The reading methods work on a read-only connection too."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        max_groups: int = MAX_GROUPS,
        max_bytes: int = MAX_SAMPLE_BYTES,
    ) -> None:
        self._db = connection
        self._max_groups = max_groups
        self._max_bytes = max_bytes

    def add(self, refusals: Sequence[Refusal]) -> None:
        """Keep these, in order."""
        for refusal in refusals:
            self._add(refusal)
        if refusals:
            self._bound()

    def replayed(self, refused: int, time: int) -> None:
        """The cause was mended and the samples were given to the intake again at ``time``:
        they are not needed any more, the row stays as evidence."""
        self._db.execute("UPDATE refused SET replayed = ? WHERE id = ?", (time, refused))
        self._forget("SELECT id FROM refused_sample WHERE refused = ?", refused)

    def _add(self, refusal: Refusal) -> None:
        detail = refusal.detail[:DETAIL_CHARS]
        self._db.execute(
            "INSERT INTO refused_total (origin, reason, times, readings) VALUES (?, ?, 1, ?) "
            "ON CONFLICT DO UPDATE SET times = times + 1, readings = readings + excluded.readings",
            (refusal.origin, refusal.reason, refusal.count),
        )
        alike = self._db.execute(
            "SELECT id FROM refused WHERE origin = ? AND reason = ? AND detail = ? AND kind = ? "
            "AND first BETWEEN ? AND ? AND replayed IS NULL ORDER BY first DESC LIMIT 1",
            (
                refusal.origin,
                refusal.reason,
                detail,
                refusal.kind,
                refusal.time - WINDOW_MS,
                refusal.time + WINDOW_MS,
            ),
        ).fetchone()
        if alike is None:
            row = self._db.execute(
                "INSERT INTO refused (origin, reason, detail, kind, first, last, times, readings) "
                "VALUES (?, ?, ?, ?, ?, ?, 1, ?)",
                (
                    refusal.origin,
                    refusal.reason,
                    detail,
                    refusal.kind,
                    refusal.time,
                    refusal.time,
                    refusal.count,
                ),
            ).lastrowid
            self._hold(refusal.origin, 1, 0)
        else:
            (row,) = alike
            self._db.execute(
                "UPDATE refused SET first = min(first, ?), last = max(last, ?), "
                "times = times + 1, readings = readings + ? WHERE id = ?",
                (refusal.time, refusal.time, refusal.count, row),
            )
        if refusal.sample and row is not None:
            self._add_sample(row, refusal)

    def _add_sample(self, row: int, refusal: Refusal) -> None:
        sample = refusal.sample[:SAMPLE_BYTES]
        added = self._db.execute(
            "INSERT OR IGNORE INTO refused_sample (refused, origin, time, digest, sample) "
            "VALUES (?, ?, ?, ?, ?)",
            (row, refusal.origin, refusal.time, blake2b(sample, digest_size=12).digest(), sample),
        )
        if added.rowcount:
            self._hold(refusal.origin, 0, len(sample) + _ROW_BYTES)

    def _hold(self, origin: int, entries: int, size: int) -> None:
        self._db.execute(
            "INSERT INTO refused_held VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET "
            "entries = entries + excluded.entries, bytes = bytes + excluded.bytes",
            (origin, entries, size),
        )

    def _bound(self) -> None:
        while self._held("sum(bytes)") > self._max_bytes:
            worst = self._held("origin", "ORDER BY bytes DESC, origin LIMIT 1")
            if not self._forget(
                "SELECT id FROM refused_sample WHERE origin = ? ORDER BY id LIMIT 32",
                worst,
                dropped=True,
            ):
                raise RuntimeError(f"refused_held says that origin {worst} holds samples")
        while (excess := self._held("sum(entries)") - self._max_groups) > 0:
            worst = self._held("origin", "ORDER BY entries DESC, origin LIMIT 1")
            oldest = self._db.execute(
                "SELECT id, reason, times FROM refused WHERE origin = ? ORDER BY id LIMIT ?",
                (worst, min(excess, _STEP)),
            ).fetchall()
            for row, reason, times in oldest:
                self._forget("SELECT id FROM refused_sample WHERE refused = ?", row, dropped=True)
                self._db.execute(
                    "UPDATE refused_total SET dropped = dropped + ? "
                    "WHERE origin = ? AND reason = ?",
                    (times, worst, reason),
                )
                self._db.execute("DELETE FROM refused WHERE id = ?", (row,))
            self._hold(worst, -len(oldest), 0)

    def _held(self, what: str, how: str = "") -> int:
        (found,) = self._db.execute(
            f"SELECT {what} FROM refused_held {how}"  # noqa: S608 - constants of this file
        ).fetchone()
        return int(found or 0)

    def _forget(self, which: str, argument: int, *, dropped: bool = False) -> int:
        """Delete the samples whose ids ``which`` selects; how many there were."""
        gone = self._db.execute(
            f"DELETE FROM refused_sample WHERE id IN ({which}) "  # noqa: S608 - as above
            "RETURNING refused, origin, length(sample)",
            (argument,),
        ).fetchall()
        for row, origin, size in gone:
            self._hold(origin, 0, -(size + _ROW_BYTES))
            if dropped:
                self._db.execute(
                    "UPDATE refused_total SET samples_dropped = samples_dropped + 1 WHERE "
                    "origin = ? AND reason = (SELECT reason FROM refused WHERE id = ?)",
                    (origin, row),
                )
        return len(gone)

    # --- reading

    def newest(
        self,
        *,
        origin: int | None = None,
        reason: str | None = None,
        since: int = 0,
        limit: int = 100,
    ) -> list[Refused]:
        """What is held and came ``since`` then (UTC ms) or later, the newest first."""
        return [
            Refused(*row)
            for row in self._db.execute(
                "SELECT id, origin, reason, detail, kind, first, last, times, readings, "
                "(SELECT count(*) FROM refused_sample WHERE refused = refused.id), replayed "
                "FROM refused WHERE (:origin IS NULL OR origin = :origin) "
                "AND (:reason IS NULL OR reason = :reason) AND last >= :since "
                "ORDER BY last DESC, id DESC LIMIT :n",
                {"origin": origin, "reason": reason, "since": since, "n": limit},
            )
        ]

    def samples(self, refused: int) -> list[tuple[int, bytes]]:
        """Time (UTC ms) and payload of what is held of one row, in the order they came."""
        return self._db.execute(
            "SELECT time, sample FROM refused_sample WHERE refused = ? ORDER BY id", (refused,)
        ).fetchall()

    def totals(self) -> list[RefusedTotal]:
        """Per origin and reason, dropped ones included: these add up."""
        return [
            RefusedTotal(*row)
            for row in self._db.execute(
                "SELECT origin, reason, times, readings, dropped, samples_dropped "
                "FROM refused_total ORDER BY origin, reason"
            )
        ]
