"""A fleet folder as an operator handles it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from adapters.stores.archive_reader import ArchiveReader
from collector.errors import TemporaryError
from tests.servers import free_port


def listen(fleet: Path) -> int:
    """The port on which its program will say how it is."""
    port = free_port()
    settings = fleet / "meterwatch.toml"
    text = settings.read_text(encoding="utf-8")
    settings.write_text(text.replace('listen = ""', f'listen = "127.0.0.1:{port}"'), "utf-8")
    return port


def latest(fleet: Path, point: str) -> float | None:
    """The newest value of ``point`` in the archive."""
    try:
        with closing(ArchiveReader(fleet / "data" / "archive.db")) as reader:
            found = reader.latest(point)
    except (TemporaryError, KeyError):
        return None
    return float(found.value[0]) if len(found) else None
