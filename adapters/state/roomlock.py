"""One process for each room of a fleet folder.

Promise: while a ``RoomLock`` is held, no other process on this machine gets it; it ends with its
process, however that ends (``flock``: nothing stale is ever left behind). Commands that only
read, or append a mark, need none; they may ask ``holder`` whether anybody is at work.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from collector.errors import TemporaryError

LOOKS: Final = 20
LOOK_SECONDS: Final = 0.01
"""Who asks for the holder has the lock for a moment: a program that starts then tries again."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that runs a room ``since`` then (UTC ms); ``process`` is its number as text,
    empty where a full disk kept it from being told."""

    process: str
    since: int


def holder(data: Path, name: str) -> Holder | None:
    """Who runs the room ``name`` of the folder ``data`` now; None: nobody. Changes nothing. Raises
    ``TemporaryError`` for a lock that may not be read."""
    path = data / f"{name}.lock"
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as fault:
        raise TemporaryError(f"{path}: cannot be read: {fault.strerror}") from fault
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return Holder(_told(file), os.fstat(file).st_mtime_ns // 1_000_000)
    finally:
        os.close(file)
    return None


def _told(file: int) -> str:
    return os.pread(file, 32, 0).decode("ascii", errors="replace").strip()


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
        for look in range(LOOKS):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if look == LOOKS - 1:
                    number = _told(file)
                    who = f"process {number}" if number else "another process"
                    raise TemporaryError(
                        f"{path.parent}: {who} runs this folder already (its part {name});"
                        " stop it first, or run another folder"
                    ) from None
                time.sleep(LOOK_SECONDS)
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
