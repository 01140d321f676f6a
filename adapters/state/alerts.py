"""The judge's file and its fold: what the rules say, kept under stable ids.

Promises: outputs (alerts, transitions, found-late) are committed at once; memory and cursor
together, from time to time and at every whole commit. After a crash the journal is read again
from that cursor, and because ids are derived from what they name, saying it again changes
nothing. The outbox reads ``transition``; pages read through :class:`AlertsReader`. One writer.

The rules themselves are handed in as a :class:`collector.alerts.JudgeEngine`: this room knows
tables, not limits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

from adapters.state.alerts_reader import AlertsReader
from adapters.state.foldfile import FoldFile
from adapters.state.outbox import OUTBOX_SCHEMA, enqueue
from collector.alerts import CLOSED, Alert, FoundLate, JudgeEngine, Pending
from collector.model import Batch, Entry
from collector.ports import Journal
from collector.telemetry import Telemetry

SNAPSHOT_READINGS: Final = 400_000
"""Readings after which memory is written even when no whole commit asks for it."""
KEEP_ROWS: Final = 200_000
"""Ended alerts, transitions and found-late entries kept at least; older ones go."""
_TIDY_EVERY: Final = 10_000

_SQL_TYPES: Final = {"str": "TEXT", "int": "INTEGER", "float": "REAL"}


def _columns(row: type[Alert | FoundLate | Pending]) -> str:
    """A table's columns from its dataclass: one list of names, in one place."""
    return ", ".join(f'"{one.name}" {_SQL_TYPES[str(one.type)]} NOT NULL' for one in fields(row))


SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS alert ({_columns(Alert)}, PRIMARY KEY (id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS alert_by_start ON alert (started);
CREATE INDEX IF NOT EXISTS alert_by_state ON alert (state, fired);
CREATE TABLE IF NOT EXISTS found_late ({_columns(FoundLate)}, PRIMARY KEY (id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS found_late_by_found ON found_late (found);
CREATE TABLE IF NOT EXISTS pending ({_columns(Pending)}, PRIMARY KEY (rule, subject));
CREATE TABLE IF NOT EXISTS snapshot (id INTEGER PRIMARY KEY, state BLOB NOT NULL);
{OUTBOX_SCHEMA};
CREATE INDEX IF NOT EXISTS transition_by_alert ON transition (alert)
"""


def _upsert(table: str, row: type[Alert | FoundLate | Pending]) -> str:
    marks = ", ".join("?" * len(fields(row)))
    return f"INSERT OR REPLACE INTO {table} VALUES ({marks})"  # noqa: S608 names are ours


_ALERT: Final = _upsert("alert", Alert)
_LATE: Final = _upsert("found_late", FoundLate)
_PENDING: Final = _upsert("pending", Pending)


class Judge:
    """Implements :class:`collector.ports.Fold`.

    ``engine``: makes a fresh engine; the file's memory is put into it. ``reset``: follow another
    journal than the file was begun with (see ``FoldFile``); memory then starts anew.
    """

    name = "judge"

    def __init__(
        self,
        path: Path,
        journal: Journal,
        engine: Callable[[], JudgeEngine],
        telemetry: Telemetry | None = None,
        *,
        reset: bool = False,
    ) -> None:
        self._file = FoldFile(path, journal.identity, SCHEMA, reset=reset)
        self._engine = engine()
        self._telemetry = telemetry
        self._seq = self._file.cursor
        self._readings = 0
        self._said = 0
        self._told: dict[str, int] = {}
        self._follow(journal.identity)
        if self._seq:
            self._restore(journal)

    def _follow(self, identity: str) -> None:
        """Begun with another journal: what was open there will never be resolved by this one."""
        with self._file.transaction() as connection:
            if self._file.get("alerts_of", identity) != identity:
                connection.execute(
                    "UPDATE alert SET state = ?, reason = 'its journal is gone'"
                    " WHERE state = 'firing'",
                    (CLOSED,),
                )
            self._file.set("alerts_of", identity)

    def _restore(self, journal: Journal) -> None:
        row = self._file.connection.execute("SELECT state FROM snapshot").fetchone()
        if row is not None:
            revisions = (journal.revision(kind, self._seq) for kind in ("registry", "rules"))
            self._engine.restore(row[0], *revisions)

    def cursor(self) -> int:
        """The last entry whose effect on memory is committed."""
        return self._file.cursor

    def apply(self, entries: Sequence[tuple[int, Entry]]) -> None:
        """Take these entries, in order."""
        for seq, entry in entries:
            self._engine.apply(seq, entry)
            self._seq = seq
            if isinstance(entry, Batch):
                self._readings += len(entry)

    def commit(self, *, whole: bool = False) -> None:
        """Commit what was said; with ``whole``, or after many readings, memory and cursor."""
        changes = self._engine.changes()
        moved = self._seq > self._file.cursor
        remember = moved and (whole or self._readings >= SNAPSHOT_READINGS)
        if changes or remember:
            self._file.begin()
            run = self._file.connection.executemany
            run(_ALERT, [_row(alert) for alert in changes.alerts.values()])
            run(_LATE, [_row(entry) for entry in changes.late.values()])
            enqueue(self._file.connection, changes.transitions)
            self._tidy(len(changes.transitions) + len(changes.late))
            if remember:
                self._remember()
        self._file.commit()
        if remember:
            self._readings = 0
        self._count(len(changes.transitions), len(changes.late))

    def _remember(self) -> None:
        """Memory, cursor, and what changes too often to be written each time."""
        connection = self._file.connection
        worsts = [(worst, name) for name, worst in self._engine.worsts().items()]
        connection.executemany("UPDATE alert SET worst = ? WHERE id = ?", worsts)
        connection.execute("DELETE FROM pending")
        connection.executemany(_PENDING, [_row(one) for one in self._engine.pending()])
        connection.execute(
            "INSERT OR REPLACE INTO snapshot VALUES (0, ?)", (self._engine.snapshot(),)
        )
        self._file.set_cursor(self._seq)

    def _tidy(self, said: int) -> None:
        """Everything has a bound: forget the oldest of what is over."""
        self._said += said
        if self._said < _TIDY_EVERY:
            return
        self._said = 0
        run = self._file.connection.execute
        run(
            "DELETE FROM transition WHERE number <= (SELECT max(number) FROM transition) - ?",
            (2 * KEEP_ROWS,),
        )
        run(
            "DELETE FROM alert WHERE state != 'firing' AND fired < (SELECT fired FROM alert"
            " WHERE state != 'firing' ORDER BY fired DESC LIMIT 1 OFFSET ?)",
            (KEEP_ROWS,),
        )
        run(
            "DELETE FROM found_late WHERE found < (SELECT found FROM found_late"
            " ORDER BY found DESC LIMIT 1 OFFSET ?)",
            (KEEP_ROWS,),
        )

    def _count(self, transitions: int, late: int) -> None:
        telemetry = self._telemetry
        if telemetry is None:
            return
        if transitions:
            telemetry.count("judge_transitions", transitions)
        if late:
            telemetry.count("judge_found_late", late)
        counts = dict(self._engine.counts())
        for name in ("rules", "pairs", "open"):
            telemetry.gauge(f"judge_{name}", counts.pop(name, 0))
        for name, value in counts.items():
            grown = value - self._told.get(name, 0)
            if grown > 0:
                telemetry.count(f"judge_{name}", grown)
            self._told[name] = value

    def sync(self) -> int:
        """Fsync what was committed; its cursor. From a thread of its own."""
        return self._file.sync()

    def close(self) -> None:
        """Give the file back; what was not committed will be read again."""
        self._file.close()


def _reader(row: type[Alert | FoundLate | Pending]) -> Callable[[Any], tuple[Any, ...]]:
    return attrgetter(*(one.name for one in fields(row)))


_ROWS: Final = {one: _reader(one) for one in (Alert, FoundLate, Pending)}


def _row(value: Alert | FoundLate | Pending) -> tuple[Any, ...]:
    return _ROWS[type(value)](value)  # dataclasses.astuple copies deeply: 8 times slower


__all__ = ["AlertsReader", "Judge"]
