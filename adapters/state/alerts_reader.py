"""The judge's file, read: alerts, their transitions, what was found late. Any thread or process.

Every answer is of one commit of the judge; :meth:`AlertsReader.moment` makes several be of one.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from adapters.state.foldfile import open_reader
from collector.alerts import Alert, FoundLate, Pending, Transition


class AlertsReader:
    """See the module. Raises ``TemporaryError`` while the file is not there yet."""

    def __init__(self, path: Path) -> None:
        self._connection = open_reader(path)

    def alerts(self, *, active: bool = False, since: int = 0, limit: int = 1_000) -> list[Alert]:
        """Newest first. ``active``: only those firing; ``since``: fired at or after (UTC ms)."""
        where = "state = 'firing' AND" if active else ""
        rows = self._query(
            f"SELECT * FROM alert WHERE {where} fired >= ? ORDER BY fired DESC, id LIMIT ?",  # noqa: S608 no value in it
            (since, limit),
        )
        return [Alert(*row) for row in rows]

    def alert(self, name: str) -> Alert | None:
        """One alert by its id, or by an unambiguous beginning of it."""
        rows = self._query(
            "SELECT * FROM alert WHERE substr(id, 1, length(?1)) = ?1 LIMIT 2", (name,)
        )
        return Alert(*rows[0]) if len(rows) == 1 else None

    def pending(self) -> list[Pending]:
        """What held at the last snapshot and had not fired, oldest first."""
        return [Pending(*row) for row in self._query("SELECT * FROM pending ORDER BY started")]

    def found_late(self, *, since: int = 0, limit: int = 1_000) -> list[FoundLate]:
        """What late data showed, newest first; ``since``: start at or after (UTC ms)."""
        rows = self._query(
            "SELECT * FROM found_late WHERE start >= ? ORDER BY start DESC, id LIMIT ?",
            (since, limit),
        )
        return [FoundLate(*row) for row in rows]

    def transitions(
        self, alert: str = "", *, after: int = 0, limit: int = 10_000
    ) -> list[Transition]:
        """In the order they were said; of one alert, or of all after journal entry ``after``."""
        where = "alert = ? AND" if alert else "'' = ? AND"
        rows = self._query(
            "SELECT id, alert, seq, to_state, time, level, root, page, data FROM transition"  # noqa: S608 no value in it
            f" WHERE {where} seq > ? ORDER BY number LIMIT ?",
            (alert, after, limit),
        )
        return [_transition(*row) for row in rows]

    def firing(self, limit: int) -> list[Alert]:
        """What is open, the most severe first, of equal ones the newest."""
        rows = self._query(
            "SELECT * FROM alert WHERE state = 'firing'"
            " ORDER BY level DESC, fired DESC, id LIMIT ?",
            (limit,),
        )
        return [Alert(*row) for row in rows]

    def named(self, ids: Sequence[str]) -> list[Alert]:
        """Those of these (whole) ids that are known."""
        rows = self._query(
            "SELECT alert.* FROM json_each(?) AS given CROSS JOIN alert ON alert.id = given.value",
            (json.dumps(ids),),
        )
        return [Alert(*row) for row in rows]

    def said(
        self, states: Sequence[str], after: int, limit: int
    ) -> list[tuple[int, Transition, Alert | None]]:
        """Transitions to one of ``states`` with a number above ``after``, in order, each with its
        number, and with its alert as it is now (None: forgotten, it ended long ago)."""
        marks = ", ".join("?" * len(states))
        rows = self._query(
            "SELECT number, t.id, t.alert, t.seq, t.to_state, t.time, t.level, t.root, t.page,"  # noqa: S608 no value in it
            " t.data, a.* FROM transition AS t LEFT JOIN alert AS a ON a.id = t.alert"
            f" WHERE number > ? AND to_state IN ({marks}) ORDER BY number LIMIT ?",
            (after, *states, limit),
        )
        return [
            (row[0], _transition(*row[1:10]), None if row[10] is None else Alert(*row[10:]))
            for row in rows
        ]

    def newest(self) -> int:
        """The number of the newest transition, 0 before the first."""
        ((number,),) = self._query("SELECT max(number) FROM transition")
        return number or 0

    @contextmanager
    def moment(self) -> Iterator[None]:
        """Within it every answer is of one moment. Keep it short."""
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("COMMIT")

    def counts(self) -> dict[str, int]:
        """Alerts by state, and ``found_late``: for summaries."""
        counts = dict(self._query("SELECT state, count(*) FROM alert GROUP BY state"))
        ((counts["found_late"],),) = self._query("SELECT count(*) FROM found_late")
        return counts

    def close(self) -> None:
        self._connection.close()

    def _query(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        cursor: sqlite3.Cursor = self._connection.execute(sql, values)
        return cursor.fetchall()


def _transition(
    name: str,
    alert: str,
    seq: int,
    state: str,
    time: int,
    level: int,
    root: str,
    page: int,
    data: str,
) -> Transition:
    told = msgspec.json.decode(data)
    return Transition(name, alert, seq, state, time, level, root, bool(page), told)
