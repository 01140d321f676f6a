"""What one channel of the outbox remembers on disk: what waits, what was said, how it fares.

One connection per channel, used by one thread at a time; all channels share ``outbox.db``.
Every change is one transaction, fsynced: after it returned, no kill and no power cut undoes it.
The judge's file is only read here (see :func:`adapters.state.outbox.enqueue` for who writes it).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from adapters.state.foldfile import open_reader
from adapters.state.outbox_file import open_outbox
from adapters.state.outbox_plan import WINDOW_MS, Health, Pending, Told, Waiting, consequences
from collector.alerts import CLOSED, RESOLVED, Transition
from collector.errors import TemporaryError
from collector.notices import Draft
from collector.ports import Notice

MAX_WAITING: Final = 20_000
"""Transitions a channel keeps for later (law 10); of more, the least severe, oldest are let go."""
KEEP_DONE_MS: Final = 400 * 86_400_000
"""How long ids of what was told are remembered, so that a judge's replay tells it to nobody."""

_INTAKE: Final = 5_000
_COLUMNS: Final = "id, number, alert, seq, to_state, time, level, root, page, data"
_OVER: Final = (RESOLVED, CLOSED)


@dataclass(frozen=True, slots=True)
class State:
    """How a channel fares. Times are UTC ms, 0: never. ``refused``: it refused a message for
    good since its last success. ``waiting`` transitions have no message yet; ``let_go`` of
    them were too many."""

    failures: int
    failing_since: int
    next_try: int
    error: str
    refused: bool
    last_success: int
    let_go: int
    trouble_said: bool

    @property
    def health(self) -> Health:
        return Health(self.failures, self.next_try)


class Memory:
    """One channel's part of ``outbox.db``. A channel that is new begins with what is open."""

    def __init__(self, path: Path, alerts: Path, channel: str, now: int) -> None:
        self._alerts = alerts
        self._judge: sqlite3.Connection | None = None
        self._inode = 0
        self._name = channel
        self._db = open_outbox(path)
        known = self._one("SELECT 1 FROM channel WHERE name = ?", channel)
        if known is None:
            self._begin_with_what_is_open(now)

    def close(self) -> None:
        self._db.close()
        if self._judge is not None:
            self._judge.close()

    # -- what comes from the judge ---------------------------------------------------------

    def intake(self, now: int) -> tuple[int, int]:
        """Take over what the judge said since: how many rows, and how many of all that wait
        were let go for want of room."""
        judge = self._reader()
        if judge is None:
            return 0, 0
        cursor, cursor_id = self._one(
            "SELECT cursor, cursor_id FROM channel WHERE name = ?", self._name
        ) or (0, "")
        at = judge.execute("SELECT id FROM transition WHERE number = ?", (cursor,)).fetchone()
        # Another judge's file (restored, rebuilt) numbers anew: read it again, ids tell.
        moved = cursor and (at is None or at[0] != cursor_id)
        rows = judge.execute(
            f"SELECT {_COLUMNS} FROM transition WHERE number > ? ORDER BY number LIMIT ?",  # noqa: S608 - a constant
            (0 if moved else cursor, _INTAKE),
        ).fetchall()
        if not rows and not moved:
            return 0, 0
        with self._transaction():
            self._insert(rows, now)
            last = (rows[-1][1], rows[-1][0]) if rows else (0, "")
            self._set("cursor = ?, cursor_id = ?", *last)
            return len(rows), self._make_room()

    def _begin_with_what_is_open(self, now: int) -> None:
        """So that a channel added to an old fleet hears of what is wrong, not of its history."""
        judge = self._reader()
        rows = []
        over: list[str] = []
        if judge is not None:
            rows = judge.execute(f"SELECT {_COLUMNS} FROM transition ORDER BY number").fetchall()  # noqa: S608 - a constant
            last = {row[2]: row[4] for row in rows}
            over = [row[0] for row in rows if last[row[2]] in _OVER]
        with self._transaction():
            self._db.execute("INSERT INTO channel(name) VALUES (?)", (self._name,))
            self._insert(rows, now)
            self._finish(over, "earlier")
            if rows:
                self._set("cursor = ?, cursor_id = ?", rows[-1][1], rows[-1][0])

    def _reader(self) -> sqlite3.Connection | None:
        """A connection to the judge's file once it has its tables, else None. A file that took
        the place of the one that was opened is opened instead."""
        inode = _inode(self._alerts)
        if self._judge is not None and inode != self._inode:
            self._judge.close()
            self._judge = None
        if self._judge is None:
            self._inode = inode
            try:
                self._judge = open_reader(self._alerts)
            except TemporaryError:
                return None
        return self._judge

    def _insert(self, rows: Sequence[tuple[Any, ...]], now: int) -> None:
        self._db.executemany(
            f"INSERT OR IGNORE INTO item(channel, arrived, {_COLUMNS})"  # noqa: S608 - a constant
            " VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
            [(self._name, now, *row) for row in rows],
        )

    def _make_room(self) -> int:
        waiting = self.waiting_count()
        if waiting <= MAX_WAITING:
            return 0
        rows = self._db.execute(
            "SELECT id FROM item WHERE channel = ? AND outcome = '' ORDER BY level, number LIMIT ?",
            (self._name, waiting - MAX_WAITING),
        ).fetchall()
        self._finish([row[0] for row in rows], "let go: too many were waiting")
        self._set("let_go = let_go + ?", len(rows))
        return len(rows)

    # -- what a plan needs -----------------------------------------------------------------

    def waiting(self) -> list[Waiting]:
        rows = self._db.execute(
            "SELECT arrived, id, alert, seq, to_state, time, level, root, page, data FROM item"
            " WHERE channel = ? AND outcome = '' ORDER BY number",
            (self._name,),
        )
        return [
            Waiting(
                Transition(
                    id_, alert, seq, state, time, level, root, bool(page), msgspec.json.decode(data)
                ),
                arrived,
            )
            for arrived, id_, alert, seq, state, time, level, root, page, data in rows
        ]

    def waiting_count(self) -> int:
        found = self._one(
            "SELECT count(*) FROM item WHERE channel = ? AND outcome = ''", self._name
        )
        return int(found[0]) if found else 0

    def told(self) -> dict[str, Told]:
        rows = self._db.execute(
            "SELECT alert, level, delivered FROM told WHERE channel = ?", (self._name,)
        )
        return {alert: Told(level, bool(delivered)) for alert, level, delivered in rows}

    def pending(self) -> list[Pending]:
        rows = self._db.execute(
            "SELECT id, level, created, attempts, next_try, believed FROM message"
            " WHERE channel = ? AND state = 'pending'",
            (self._name,),
        )
        return [
            Pending(
                id_, level, created, attempts, next_try, frozenset(msgspec.json.decode(believed))
            )
            for id_, level, created, attempts, next_try, believed in rows
        ]

    def attempts(self, now: int) -> list[int]:
        """Times of the attempts that may still count against the budget."""
        rows = self._db.execute(
            "SELECT time FROM attempt WHERE channel = ? AND time > ?",
            (self._name, now - WINDOW_MS),
        )
        return [time for (time,) in rows]

    def state(self) -> State:
        row = self._one(
            "SELECT failures, failing_since, next_try, error, refused, last_success, let_go,"
            " trouble_said FROM channel WHERE name = ?",
            self._name,
        )
        if row is None:
            raise LookupError(self._name)
        failures, since, next_try, error, refused, success, let_go, said = row
        return State(failures, since, next_try, error, bool(refused), success, let_go, bool(said))

    # -- what happens to a message ---------------------------------------------------------

    def hush(self, quiet: Mapping[str, str]) -> None:
        """These need no message, for these reasons."""
        if not quiet:
            return
        with self._transaction():
            for id_, why in quiet.items():
                self._finish([id_], why)
            self._db.executemany(
                "DELETE FROM told WHERE channel = ? AND alert = (SELECT alert FROM item"
                " WHERE channel = ? AND id = ? AND to_state IN (?, ?))",
                [(self._name, self._name, id_, *_OVER) for id_ in quiet],
            )

    def freeze(self, draft: Draft, notice: Notice, now: int, retry_at: int) -> None:
        """Fix the words and the id of a message, and that it is being tried for the first time."""
        encode = msgspec.json.encode
        believed = consequences(draft.items)
        for item in draft.items:
            believed.setdefault(item.alert, 0)
        with self._transaction():
            self._db.execute(
                "INSERT INTO message(channel, id, level, created, title, body, tags, believed,"
                " attempts, first_try, next_try) VALUES (?,?,?,?,?,?,?,?,1,?,?)",
                (self._name, notice.id, notice.level, now, notice.title, notice.body,
                 encode(notice.tags), encode(believed), now, retry_at),
            )  # fmt: skip
            self._finish(draft.ids, "in message", notice.id)
            self._count_attempt(now)

    def again(self, message: str, now: int, retry_at: int) -> Notice:
        """The message as it was, being tried once more."""
        with self._transaction():
            self._db.execute(
                "UPDATE message SET attempts = attempts + 1, next_try = ?"
                " WHERE channel = ? AND id = ?",
                (retry_at, self._name, message),
            )
            self._count_attempt(now)
        row = self._one(
            "SELECT level, title, body, tags FROM message WHERE channel = ? AND id = ?",
            self._name,
            message,
        )
        if row is None:
            raise LookupError(message)
        level, title, body, tags = row
        return Notice(message, level, title, body, msgspec.json.decode(tags))

    def sent(self, message: str, now: int, *, wake_all: bool) -> None:
        """It was accepted. ``wake_all``: the channel had been away, try the others at once."""
        with self._transaction():
            self._settle(message, "sent", "", now, delivered=True)
            self._set(
                "failures = 0, failing_since = 0, next_try = 0, error = '', refused = 0,"
                " last_success = ?",
                now,
            )
            if wake_all:
                self._db.execute(
                    "UPDATE message SET next_try = 0 WHERE channel = ? AND state = 'pending'",
                    (self._name,),
                )

    def failed(self, message: str, now: int, error: str, retry_at: int, channel_at: int) -> None:
        with self._transaction():
            self._db.execute(
                "UPDATE message SET next_try = ?, reason = ? WHERE channel = ? AND id = ?",
                (retry_at, error, self._name, message),
            )
            self._set(
                "failures = failures + 1, next_try = ?, error = ?, failing_since ="
                " CASE failures WHEN 0 THEN ? ELSE failing_since END",
                channel_at,
                error,
                now,
            )
            self._finish_attempt(now)

    def rejected(self, message: str, now: int, reason: str) -> None:
        """It never will be accepted; what it was about is kept with the reason."""
        with self._transaction():
            self._settle(message, "rejected", reason, now, delivered=False)
            self._set(
                "refused = 1, error = ?, failing_since ="
                " CASE failing_since WHEN 0 THEN ? ELSE failing_since END",
                reason,
                now,
            )

    def tries(self, message: str) -> tuple[int, int]:
        """Attempts so far, and the time of the first (UTC ms)."""
        row = self._one(
            "SELECT attempts, first_try FROM message WHERE channel = ? AND id = ?",
            self._name,
            message,
        )
        return (int(row[0]), int(row[1])) if row else (0, 0)

    def revive(self) -> int:
        """Try again what was refused for good; how many messages."""
        with self._transaction():
            return self._db.execute(
                "UPDATE message SET state = 'pending', attempts = 0, next_try = 0"
                " WHERE channel = ? AND state = 'rejected'",
                (self._name,),
            ).rowcount

    def say_trouble(self, said: bool) -> None:
        with self._transaction():
            self._set("trouble_said = ?", int(said))

    def forget(self, now: int) -> None:
        """Drop what was done long ago."""
        before = now - KEEP_DONE_MS
        with self._transaction():
            self._db.execute(
                "DELETE FROM item WHERE channel = ? AND outcome != '' AND arrived < ?",
                (self._name, before),
            )
            self._db.execute(
                "DELETE FROM message WHERE channel = ? AND state != 'pending' AND settled < ?",
                (self._name, before),
            )

    # -- within a transaction --------------------------------------------------------------

    def _settle(self, message: str, state: str, reason: str, now: int, *, delivered: bool) -> None:
        row = self._one(
            "SELECT believed FROM message WHERE channel = ? AND id = ?", self._name, message
        )
        believed: dict[str, int] = msgspec.json.decode(row[0]) if row else {}
        for alert, level in believed.items():
            if level:
                self._db.execute(
                    "INSERT OR REPLACE INTO told VALUES (?,?,?,?)",
                    (self._name, alert, level, int(delivered)),
                )
            else:
                self._db.execute(
                    "DELETE FROM told WHERE channel = ? AND alert = ?", (self._name, alert)
                )
        self._db.execute(
            "UPDATE message SET state = ?, reason = ?, settled = ? WHERE channel = ? AND id = ?",
            (state, reason, now, self._name, message),
        )
        self._finish_attempt(now)

    def _finish(self, ids: Sequence[str], outcome: str, message: str = "") -> None:
        self._db.executemany(
            "UPDATE item SET outcome = ?, message = ? WHERE channel = ? AND id = ?",
            [(outcome, message, self._name, id_) for id_ in ids],
        )

    def _count_attempt(self, now: int) -> None:
        self._db.execute(
            "DELETE FROM attempt WHERE channel = ? AND (time <= ? OR time > ?)",
            (self._name, now - WINDOW_MS, now + WINDOW_MS),
        )
        self._db.execute(
            "INSERT INTO attempt SELECT ?, 1 + coalesce(max(number), 0), ? FROM attempt"
            " WHERE channel = ?",
            (self._name, now, self._name),
        )

    def _finish_attempt(self, now: int) -> None:
        """The other side counted it somewhere between its start and now: now is the safe side."""
        self._db.execute(
            "UPDATE attempt SET time = ? WHERE channel = ? AND number ="
            " (SELECT max(number) FROM attempt WHERE channel = ?)",
            (now, self._name, self._name),
        )

    def _set(self, what: str, *values: object) -> None:
        self._db.execute(f"UPDATE channel SET {what} WHERE name = ?", (*values, self._name))  # noqa: S608 - only constants of this file

    def _one(self, sql: str, *values: object) -> tuple[Any, ...] | None:
        found: tuple[Any, ...] | None = self._db.execute(sql, values).fetchone()
        return found

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


def _inode(path: Path) -> int:
    """Which file lies there now; 0 for none."""
    try:
        return path.stat().st_ino
    except OSError:
        return 0
