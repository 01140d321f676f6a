"""The file ``outbox.db``: its tables, and how it is opened."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from collector.errors import ConfigurationError, Fault

_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS channel (
    name TEXT PRIMARY KEY,
    cursor INTEGER NOT NULL DEFAULT 0, cursor_id TEXT NOT NULL DEFAULT '',
    failures INTEGER NOT NULL DEFAULT 0, failing_since INTEGER NOT NULL DEFAULT 0,
    next_try INTEGER NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT '',
    refused INTEGER NOT NULL DEFAULT 0, last_success INTEGER NOT NULL DEFAULT 0,
    let_go INTEGER NOT NULL DEFAULT 0, trouble_said INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS item (
    channel TEXT NOT NULL, id TEXT NOT NULL, number INTEGER NOT NULL, arrived INTEGER NOT NULL,
    alert TEXT NOT NULL, seq INTEGER NOT NULL, to_state TEXT NOT NULL, time INTEGER NOT NULL,
    level INTEGER NOT NULL, root TEXT NOT NULL, page INTEGER NOT NULL, data BLOB NOT NULL,
    message TEXT NOT NULL DEFAULT '', outcome TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (channel, id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS item_waiting ON item (channel, number) WHERE outcome = '';
CREATE TABLE IF NOT EXISTS message (
    channel TEXT NOT NULL, id TEXT NOT NULL, level INTEGER NOT NULL, created INTEGER NOT NULL,
    title TEXT NOT NULL, body TEXT NOT NULL, tags BLOB NOT NULL, believed BLOB NOT NULL,
    attempts INTEGER NOT NULL, first_try INTEGER NOT NULL, next_try INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending', reason TEXT NOT NULL DEFAULT '',
    settled INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (channel, id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS message_pending ON message (channel, id) WHERE state = 'pending';
CREATE TABLE IF NOT EXISTS told (
    channel TEXT NOT NULL, alert TEXT NOT NULL, level INTEGER NOT NULL,
    delivered INTEGER NOT NULL, PRIMARY KEY (channel, alert)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS attempt (
    channel TEXT NOT NULL, number INTEGER NOT NULL, time INTEGER NOT NULL,
    PRIMARY KEY (channel, number)
) WITHOUT ROWID;
"""


def open_outbox(path: Path) -> sqlite3.Connection:
    """The file, made if need be. Each change is fsynced. Raises ``ConfigurationError`` when
    another version wrote it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version not in {0, _VERSION}:
        db.close()
        raise ConfigurationError(
            Fault(str(path), 0, f"was written by version {version}, this program knows {_VERSION}")
        )
    db.executescript(_SCHEMA)
    db.execute(f"PRAGMA user_version = {_VERSION:d}")
    return db
