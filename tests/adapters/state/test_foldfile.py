"""State, output and cursor change together; whose journal it is, is never guessed."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest

from adapters.state.foldfile import FoldFile, open_reader
from collector.errors import ConfigurationError, TemporaryError

SCHEMA = "CREATE TABLE IF NOT EXISTS counted (n INTEGER)"


def counted(connection: sqlite3.Connection) -> list[int]:
    return [n for (n,) in connection.execute("SELECT n FROM counted ORDER BY n")]


def count(file: FoldFile, cursor: int, numbers: Iterable[int]) -> None:
    with file.transaction() as connection:
        file.set_cursor(cursor)
        for n in numbers:
            connection.execute("INSERT INTO counted VALUES (?)", (n,))


def test_output_and_cursor_are_committed_together_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "fold.db"
    file = FoldFile(path, "j", SCHEMA)
    with file.transaction() as connection:
        connection.execute("INSERT INTO counted VALUES (1)")
        file.set_cursor(10)
        assert file.cursor == 0
    assert file.cursor == 10
    with pytest.raises(ZeroDivisionError):
        count(file, 20, (n // (n - 3) for n in (2, 3)))
    assert (file.cursor, counted(file.connection)) == (10, [1])
    file.set_cursor(30)
    file.close()
    again = FoldFile(path, "j", SCHEMA)
    assert (again.cursor, counted(again.connection)) == (10, [1])
    again.close()


def test_another_journals_file_is_refused_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "fold.db"
    file = FoldFile(path, "first", SCHEMA)
    with file.transaction() as connection:
        connection.execute("INSERT INTO counted VALUES (1)")
        file.set_cursor(10)
    file.close()
    with pytest.raises(ConfigurationError, match="follows journal first") as refused:
        FoldFile(path, "second", SCHEMA)
    assert refused.value.faults[0].file == str(path)
    moved = FoldFile(path, "second", SCHEMA, reset=True)
    assert (moved.cursor, counted(moved.connection)) == (0, [1])
    moved.close()
    FoldFile(path, "second", SCHEMA).close()


def test_another_version_and_another_kind_of_file_are_refused(tmp_path: Path) -> None:
    FoldFile(tmp_path / "fold.db", "j", SCHEMA, version=1).close()
    with pytest.raises(ConfigurationError, match="written by schema 1, this is 2"):
        FoldFile(tmp_path / "fold.db", "j", SCHEMA, version=2)
    (tmp_path / "text.db").write_text("no database, " * 1000)
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        FoldFile(tmp_path / "text.db", "j", SCHEMA)


def test_a_full_disk_is_temporary_and_changes_nothing(tmp_path: Path) -> None:
    file = FoldFile(tmp_path / "fold.db", "j", SCHEMA)
    (pages,) = file.connection.execute("PRAGMA page_count").fetchone()
    file.connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(TemporaryError):
        count(file, 5, range(10_000))
    assert (file.cursor, counted(file.connection)) == (0, [])
    file.connection.execute("PRAGMA max_page_count = 1000000")
    with file.transaction():
        file.set_cursor(5)
    assert file.cursor == 5
    file.close()


def test_readers_see_only_what_was_committed_and_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(TemporaryError):
        open_reader(tmp_path / "fold.db")
    file = FoldFile(tmp_path / "fold.db", "j", SCHEMA)
    with closing(open_reader(tmp_path / "fold.db")) as reader:
        file.begin()
        file.connection.execute("INSERT INTO counted VALUES (1)")
        assert counted(reader) == []
        file.commit()
        assert counted(reader) == [1]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.execute("INSERT INTO counted VALUES (2)")
    file.close()


def test_a_reader_of_a_file_whose_tables_are_not_there_yet_is_told_to_come_again(
    tmp_path: Path,
) -> None:
    sqlite3.connect(tmp_path / "fold.db").close()
    (tmp_path / "fold.db").touch()
    with pytest.raises(TemporaryError, match="not there yet"):
        open_reader(tmp_path / "fold.db")


def test_a_file_damaged_under_way_is_the_files_fault(tmp_path: Path) -> None:
    """Not that of the entry being applied, which would be passed over for it."""
    path = tmp_path / "fold.db"
    file = FoldFile(path, "j", SCHEMA)
    count(file, 5, range(20_000))
    file.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    file.close()
    with path.open("r+b") as opened:
        opened.seek(8192)
        opened.write(b"\xa5" * (path.stat().st_size - 8192))
    file = FoldFile(path, "j", SCHEMA)
    with pytest.raises(ConfigurationError, match=r"fold\.db"):
        count(file, 6, range(20_000))
    with pytest.raises(ConfigurationError, match=r"fold\.db"):
        file.connection.execute("SELECT n FROM counted").fetchall()
    file.close()


SYNCED = """
import os, sys
from pathlib import Path
from adapters.state.foldfile import FoldFile
file = FoldFile(Path(sys.argv[1]), "j", "CREATE TABLE IF NOT EXISTS counted (n INTEGER)")
for durable in (False, True, False, True):
    os.write(1, b"mark")
    with file.transaction() as connection:
        connection.execute("INSERT INTO counted VALUES (1)")
        file.set_cursor(file.cursor + 1)
    if durable:
        assert file.sync() == file.cursor
os.write(1, b"mark")
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace shows the syncs, it is absent")
def test_what_was_synced_ended_with_a_sync_of_its_log(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-y", "-e", "trace=write,pwrite64,fsync,fdatasync", "-o", trace]
    script = [sys.executable, "-c", SYNCED, tmp_path / "fold.db"]
    subprocess.run(
        [*command, *script], check=True, capture_output=True, cwd=Path(__file__).parents[3]
    )
    parts = trace.read_text().split('"mark"')[1:5]
    last_log_calls = [
        [line for line in part.splitlines() if "fold.db-wal" in line][-1].split("(")[0].split()[-1]
        for part in parts
    ]
    assert last_log_calls[0] == last_log_calls[2] == "pwrite64"
    assert last_log_calls[1] in {"fsync", "fdatasync"}
    assert last_log_calls[3] in {"fsync", "fdatasync"}


def test_a_file_whose_writer_was_killed_while_it_made_it_can_be_read(tmp_path: Path) -> None:
    """A journal of the rollback kind is left then, and a reader may not put it right by itself."""
    made, killed = tmp_path / "made.db", tmp_path / "killed.db"
    with closing(sqlite3.connect(made, isolation_level=None)) as writer:
        writer.execute("CREATE TABLE meta (x)")
        writer.execute("INSERT INTO meta VALUES (1)")
        writer.execute("PRAGMA cache_size = 1")
        writer.execute("BEGIN")
        writer.execute("CREATE TABLE more AS SELECT randomblob(99999) AS x")  # spills into the file
        for suffix in ("", "-journal"):
            shutil.copy(f"{made}{suffix}", f"{killed}{suffix}")
        writer.execute("ROLLBACK")
    with closing(open_reader(killed)) as reader:
        assert reader.execute("SELECT x FROM meta").fetchall() == [(1,)]
    assert not Path(f"{killed}-journal").exists()
