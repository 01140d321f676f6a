"""One process for each room of a fleet folder.

Promise: while a ``RoomLock`` is held, no other process on this machine gets it; it ends with its
process, however that ends (``flock``: nothing stale is ever left behind). Commands that only
read, or append a mark, need none.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from collector.errors import TemporaryError


class RoomLock:
    """The rooms ``names`` in the folder ``data``, all or none. Raises ``TemporaryError`` naming
    the process that has one of them already, or the folder that cannot be written."""

    def __init__(self, data: Path, names: Iterable[str]) -> None:
        self._held: list[int] = []
        try:
            data.mkdir(parents=True, exist_ok=True)
            for name in sorted(names):
                self._take(data / f"{name}.lock", name)
        except OSError as fault:
            self.close()
            raise TemporaryError(f"{data}: cannot be written: {fault.strerror}") from fault
        except TemporaryError:
            self.close()
            raise

    def _take(self, path: Path, name: str) -> None:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._held.append(file)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(file, 32, 0).decode("ascii", errors="replace").strip()
            who = f"process {holder}" if holder else "another process"
            raise TemporaryError(
                f"{path.parent}: {who} runs the room {name} of this folder already;"
                " stop it first, or run another folder"
            ) from None
        with contextlib.suppress(OSError):  # a full disk: the lock holds, its number is not told
            os.ftruncate(file, 0)
            os.pwrite(file, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Give the rooms back. May be repeated."""
        while self._held:
            os.close(self._held.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
