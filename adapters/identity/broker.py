"""The files of a mosquitto on this machine, written from the credentials, and the broker told.

Promises:

- The password file, the access list and the list of revoked certificates each change as a whole;
  their owner and mode stay what they were. One that is new is ``root``'s (or whoever runs this), of
  the broker's group, mode 0640.
- Whether the broker can read what was written is looked at before it is told to, and told.
- A process id from a file is signalled only while it is a mosquitto; a command is run without a
  shell, and has ``RELOAD_S`` to end.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from adapters.identity.credentials import TOKEN, Credentials
from adapters.identity.files import ids_of, may_read, replace_file
from adapters.identity.mosquitto import (
    Login,
    Merged,
    UnclearError,
    access,
    by_hand,
    passwords,
)
from collector.broker import BrokerSettings
from collector.errors import ConfigurationError, Fault, TemporaryError

RELOAD_S: Final = 30.0
MODE: Final = 0o640


class Broker:
    """The broker that ``settings`` name; ``folder``: the fleet's, to which paths are relative.
    ``users``: the program's own names at it."""

    def __init__(self, settings: BrokerSettings, folder: Path, users: Iterable[str]) -> None:
        self.settings = settings
        self._folder = folder
        self._users = [settings.user] if settings.user else list(users)

    def check(self) -> None:
        """Raises ``ConfigurationError`` for files that could not be written, before anything
        is changed that they must follow."""
        self._write(Credentials(), 0, None, dry=True)

    def write(self, held: Credentials, now: int, crl: bytes | None) -> list[str]:
        """Write the files; notes for a person. ``crl``: the list of revoked certificates, None
        where there is no authority. Raises ``ConfigurationError``, ``TemporaryError``."""
        return self._write(held, now, crl, dry=False)

    def _write(self, held: Credentials, now: int, crl: bytes | None, *, dry: bool) -> list[str]:
        one = self.settings
        logins = [
            Login(credential.user or gateway, gateway, credential.broker)
            for gateway, credential in held
            if credential.in_force(now)
        ]
        notes: list[str] = []
        texts: list[tuple[Path, bytes]] = []
        if one.password_file:
            path = self._path(one.password_file)
            merged = _merged(path, lambda before: passwords(before, logins, held.gateways))
            texts.append((path, merged.text.encode()))
            notes += [
                f"{path}: the password that {name} had by hand was taken out"
                for name in merged.dropped
            ]
        if one.acl_file:
            path = self._path(one.acl_file)
            merged = _merged(
                path, lambda before: access(before, self._users, logins, held.gateways)
            )
            texts.append((path, merged.text.encode()))
        if one.crl_file and crl is not None:
            texts.append((self._path(one.crl_file), crl))
        for path, data in texts:
            if dry:
                _writable(path)
            else:
                notes += self._replace(path, data)
        return notes

    def _replace(self, path: Path, data: bytes) -> list[str]:
        try:
            found = path.stat()
        except FileNotFoundError:
            group = ids_of(self.settings.run_as)
            owner = (os.geteuid(), group[1] if group else os.getegid())
            mode = MODE
        except OSError as fault:
            raise TemporaryError(f"{path}: cannot be looked at: {fault.strerror}") from fault
        else:
            owner, mode = (found.st_uid, found.st_gid), found.st_mode & 0o7777
        try:
            replace_file(path, data, mode, owner)
        except OSError as fault:
            raise TemporaryError(f"{path}: cannot be written: {fault.strerror}") from fault
        if may_read(path, self.settings.run_as):
            return []
        who = self.settings.run_as
        return [f"{path}: the broker's user {who} cannot read it -> chgrp {who} and chmod 640"]

    def passwords_by_hand(self) -> list[str]:
        """Names in its password file that this program did not write; none where it cannot be
        read."""
        if not self.settings.password_file:
            return []
        try:
            return by_hand(self._path(self.settings.password_file).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, UnclearError):
            return []

    def stale(self, held: Credentials, now: int) -> list[str]:
        """Names in its password file that should not open it any more, because their time ran
        out since it was written; none where it cannot be read."""
        if not self.settings.password_file:
            return []
        try:
            text = self._path(self.settings.password_file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return []
        lines = set(text.split("\n"))
        return [
            one.user
            for _, one in held
            if one.kind == TOKEN and not one.in_force(now) and f"{one.user}:{one.broker}" in lines
        ]

    # --- telling it ---------------------------------------------------------------------------

    def reload(self, command: str = "") -> str:
        """Have the broker read its files again; what was done, "" where nobody said how.
        ``command`` goes before the settings. Raises ``TemporaryError``."""
        command = command or self.settings.reload_command
        if command:
            _run(shlex.split(command), command)
            return f"the broker was told: {command}"
        if self.settings.pid_file:
            number = _mosquitto(self._path(self.settings.pid_file))
            os.kill(number, signal.SIGHUP)
            return f"the broker was told: SIGHUP to process {number}"
        return ""

    def _path(self, name: str) -> Path:
        return self._folder / name


def _merged(path: Path, how: Callable[[str], Merged]) -> Merged:
    try:
        before = path.read_bytes().decode() if path.exists() else ""
        return how(before)
    except UnclearError as fault:
        todo = "mend the file by hand; nothing of it was changed"
        raise ConfigurationError(Fault(str(path), fault.line, str(fault), todo)) from fault
    except (OSError, UnicodeDecodeError) as fault:
        what = f"cannot be read: {getattr(fault, 'strerror', None) or 'it is not UTF-8'}"
        raise ConfigurationError(Fault(str(path), 0, what, "run it as root")) from fault


def _writable(path: Path) -> None:
    folder = Path(os.path.realpath(path)).parent
    if not os.access(folder, os.W_OK | os.X_OK):
        what = "cannot be written" if folder.is_dir() else f"there is no folder {folder}"
        raise ConfigurationError(Fault(str(path), 0, what, "run it as root, or mend [broker]"))


def _run(words: list[str], command: str) -> None:
    try:
        done = subprocess.run(  # noqa: S603 the words of whoever owns the settings
            words, capture_output=True, text=True, timeout=RELOAD_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as fault:
        raise TemporaryError(f"the broker was not told: {command}: {fault}") from fault
    if done.returncode:
        why = done.stderr.strip() or f"exit code {done.returncode}"
        raise TemporaryError(f"the broker was not told: {command}: {why}")


def _mosquitto(path: Path) -> int:
    try:
        number = int(path.read_text(encoding="ascii").strip())
        name = Path(f"/proc/{number}/comm").read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as fault:
        raise TemporaryError(f"the broker was not told: {path} names no process") from fault
    if name != "mosquitto":
        raise TemporaryError(f"the broker was not told: process {number} of {path} is {name}")
    return number
