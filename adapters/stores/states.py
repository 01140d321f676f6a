"""Who is up and who is down, by their own last word: for whoever asks what is wrong now.

One row per origin that ever spoke of itself (a broker, a bus, a channel to people), or of which the
program did (a gateway, of its clock); their number is that of the journal's dictionary. Works
inside the transaction of whoever owns the connection.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from collector.model import SourceState

REASON_CHARS: Final = 400

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS origin_state (
    name TEXT PRIMARY KEY, up INTEGER NOT NULL, since INTEGER NOT NULL, told INTEGER NOT NULL,
    reason TEXT NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class OriginState:
    """``name`` is ``up`` or not ``since`` then, and said so last when it ``told`` (UTC ms);
    ``reason``: why it is down, or what is to be mended although it is up, as told last."""

    name: str
    up: bool
    since: int
    told: int
    reason: str


def keep(db: sqlite3.Connection, said: Sequence[SourceState], names: Sequence[str]) -> None:
    """Take these, in order. ``names``: of origins, by id. Saying the same again moves only
    ``told`` and ``reason``."""
    db.executemany(
        "INSERT INTO origin_state VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
        "since = CASE WHEN up = excluded.up THEN since ELSE excluded.since END, "
        "up = excluded.up, told = excluded.told, reason = excluded.reason",
        [
            (names[one.origin], one.up, one.time, one.time, one.reason[:REASON_CHARS])
            for one in said
            if one.origin < len(names)
        ],
    )


def states(db: sqlite3.Connection) -> Mapping[str, OriginState]:
    """The last word of each, by name."""
    rows = db.execute("SELECT name, up, since, told, reason FROM origin_state ORDER BY name")
    return {
        name: OriginState(name, bool(up), since, told, reason)
        for name, up, since, told, reason in rows
    }
