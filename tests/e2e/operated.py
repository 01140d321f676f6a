"""A fleet folder as an operator handles it, and what befalls it."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

from adapters.stores.archive_reader import ArchiveReader
from collector.errors import TemporaryError
from tests.campaigns.kill import stored
from tests.campaigns.sending import send
from tests.campaigns.traffic import Sent, readings
from tests.programs import RunningProgram, eventually
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


def session(fleet: Path, port: int, sent: list[Sent], so_far: list[Sent]) -> RunningProgram:
    """Run once more: send, and wait until all that was ever sent is stored."""
    with RunningProgram(fleet) as program:
        program.wait_for("source-up")
        send(port, sent)
        so_far += sent
        eventually(lambda: stored(fleet) >= readings(so_far), f"all is stored\n{program.tail()}")
        assert program.stop() == 0, program.tail()
    return program


def garble(path: Path) -> None:
    """The power went while the card was writing."""
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    path.write_bytes(random.Random(5).randbytes(path.stat().st_size))
