"""The program as a user runs it: a process, its fleet folder, its log, its health page, and the
commands beside it.

    with RunningProgram(folder) as program:
        program.wait_for("running")
        program.kill()

Waiting is always for something seen (a log line, a condition on files), never for time alone; a
deadline only turns a hang into a failure that shows the log.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[1]
DEADLINE = 60.0
POLL = 0.02


class RunningProgram:
    """``meterwatch run FOLDER`` (or another ``command``) as a child process."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        command: Sequence[str] = (sys.executable, "-m", "meterwatch", "run"),
        before: Sequence[str] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.log: list[str] = []
        self._grew = threading.Condition()
        self.process = subprocess.Popen(
            [*before, *command, str(folder), *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            env=os.environ | {"PYTHONUNBUFFERED": "1"} | (environment or {}),
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._grew:
                self.log.append(line.rstrip())
                self._grew.notify_all()
        with self._grew:
            self._grew.notify_all()

    def wait_for(self, text: str, timeout: float = DEADLINE) -> str:
        """The first log line that holds ``text``."""
        until = time.monotonic() + timeout
        with self._grew:
            while True:
                for line in self.log:
                    if text in line:
                        return line
                if self.process.poll() is not None and not self._reader.is_alive():
                    raise AssertionError(f"ended before {text!r}:\n" + self.tail())
                if time.monotonic() > until:
                    raise AssertionError(f"no {text!r} in the log:\n" + self.tail())
                self._grew.wait(POLL * 5)

    def tail(self, lines: int = 40) -> str:
        return "\n".join(self.log[-lines:])

    def kill(self) -> None:
        """kill -9, to the whole group (a tracer included)."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join()

    def stop(self, timeout: float = DEADLINE, *, pid: int | None = None) -> int:
        """SIGTERM (to ``pid`` where a tracer stands between) and wait: the graceful end.
        Returns the exit code."""
        os.kill(pid or self.process.pid, signal.SIGTERM)
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("did not stop:\n" + self.tail()) from None
        self._reader.join()
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.kill()


def meterwatch(*arguments: str, timeout: float = DEADLINE) -> subprocess.CompletedProcess[str]:
    """A command of the program, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "meterwatch", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=timeout,
    )  # fmt: skip


def health(port: int) -> tuple[int, dict[str, Any]]:
    """What /healthz answers: its status, and what it says; 0 and nothing when nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as answer:
        return answer.code, json.load(answer)
    except OSError:
        return 0, {}


def eventually(condition: Callable[[], object], what: str, timeout: float = DEADLINE) -> object:
    """Wait until ``condition()`` is true; its value."""
    until = time.monotonic() + timeout
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > until:
            raise AssertionError(f"not within {timeout:.0f} s: {what}")
        threading.Event().wait(POLL)
