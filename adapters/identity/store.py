"""The file of credentials: written by commands, read by the program that runs.

    DATA/secrets/gateways.json        mode 0600, of whoever owns DATA

Promises:

- It changes as a whole, is fsynced before a command says that it is done, and one command at a
  time writes it.
- The program takes a change over within a second of the next request: a revoked token opens
  nothing from then on, without a restart.
- A file that cannot be read, or is damaged, opens no door and locks nobody out who was let in: the
  last good one goes on to hold, and it is told once, as an error and as the metric
  ``gateway_credentials_readable``. Where there never was a good one nobody is let in.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from adapters.identity.credentials import Credentials, DamagedError
from adapters.identity.files import as_owner_of, locked, replace_file
from collector.errors import ConfigurationError, Fault, TemporaryError
from collector.ports import Clock
from collector.telemetry import Telemetry

FOLDER: Final = "secrets"
FILE: Final = "gateways.json"
LOOK_S: Final = 1.0
"""So often at most the file is looked at."""
_MOST_BYTES: Final = 64 << 20

Change = Callable[[Credentials], Credentials]


class CredentialStore:
    """The file under the program's data folder, as a command uses it."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.folder = data / FOLDER
        self.path = self.folder / FILE

    def read(self) -> Credentials:
        """What it holds; nothing while it is not there. Raises ``ConfigurationError``."""
        try:
            with as_owner_of(self.data):
                return _read(self.path)
        except FileNotFoundError:
            return Credentials()
        except (OSError, DamagedError) as fault:
            raise ConfigurationError(
                Fault(str(self.path), 0, _told(fault), "bring back the last copy of it")
            ) from fault

    def change(self, how: Change) -> Credentials:
        """Apply ``how`` to what it holds now; what it holds then. Raises ``ConfigurationError``,
        also that of ``how``, and ``TemporaryError`` where it cannot be written; nothing has
        changed then."""
        with self.open():
            held = how(self.read())
            try:
                data = held.encoded()
                Credentials.decoded(data)  # what the program would not read, it is not given
                replace_file(self.path, data, 0o600)
            except DamagedError as fault:
                what = f"{self.path}: it would be one that {fault}; it stayed as it was: try again"
                raise TemporaryError(what) from fault
            except OSError as fault:
                raise TemporaryError(f"{self.path}: {_told(fault)}") from fault
            return held

    @contextlib.contextmanager
    def open(self) -> Iterator[Path]:
        """The folder of secrets, made if need be, with no other command in it. Inside, root is
        whoever owns the data: that one runs the program, and must be able to read all of it."""
        with contextlib.ExitStack() as inside:
            self._enter(inside, inside, "lock")
            yield self.folder

    @contextlib.contextmanager
    def telling(self) -> Iterator[None]:
        """With no other command between reading what is held and telling a broker of it: the
        slower of two would tell it what held before the other's change. Root stays root; what
        ``open`` and ``change`` do may be done inside."""
        with contextlib.ExitStack() as inside:
            with contextlib.ExitStack() as owner:
                self._enter(owner, inside, "broker.lock")
            yield

    def _enter(self, owner: contextlib.ExitStack, inside: contextlib.ExitStack, lock: str) -> None:
        try:
            self.data.mkdir(parents=True, exist_ok=True)
            owner.enter_context(as_owner_of(self.data))
            self.folder.mkdir(mode=0o700, exist_ok=True)
            inside.enter_context(locked(self.folder / lock))
        except OSError as fault:
            raise TemporaryError(f"{self.folder}: {_told(fault)}") from fault


class GatewayCredentials:
    """Who a request is from, as the program asks for each. Any thread."""

    def __init__(self, data: Path, clock: Clock, telemetry: Telemetry) -> None:
        self._path = data / FOLDER / FILE
        self._clock = clock
        self._telemetry = telemetry
        self._held = Credentials()
        self._seen: tuple[int, ...] = ()
        """What distinguishes the file that was looked at last; empty for none."""
        self._fault = ""
        self._good = False
        self._look_at = 0.0
        self._looking = threading.Lock()
        """Of two looks at once the slower one would put back what it read before a revocation."""

    def gateway_of(self, token: str) -> str | None:
        """The gateway whose token this is; None for anything else."""
        return self._current().gateway_of(token, self._clock.now())

    def gateway_of_certificate(self, der: bytes) -> str | None:
        """The gateway whose certificate this is (DER); "" when it has ended, None for one that is
        not known. The handshake must have checked it against the authority."""
        return self._current().gateway_of_certificate(der, self._clock.now())

    def _current(self) -> Credentials:
        now = self._clock.monotonic()
        if now >= self._look_at and self._looking.acquire(blocking=False):
            try:
                self._look_at = now + LOOK_S
                self._look()
            finally:
                self._looking.release()
        return self._held

    def _look(self) -> None:
        seen: tuple[int, ...] = ()
        fault = ""
        try:
            found = self._path.stat()
            seen = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
            if seen == self._seen:
                return
            self._held = _read(self._path)
            self._good = True
        except FileNotFoundError:
            fault = "is gone" if self._good else ""  # before the first there is nothing to miss
        except OSError as error:
            seen, fault = (), _told(error)  # it may pass: looked at again, and told once
        except DamagedError as error:
            fault = str(error)
        if (seen, fault) != (self._seen, self._fault):
            self._tell(fault)
        self._seen, self._fault = seen, fault

    def _tell(self, fault: str) -> None:
        gateways, file = len(self._held.gateways), str(self._path)
        self._telemetry.gauge("gateway_credentials_readable", 0 if fault else 1)
        if fault:
            what = "credentials unreadable, the last good ones hold"
            self._telemetry.event(what, level="error", file=file, reason=fault, gateways=gateways)
        else:
            self._telemetry.event("credentials read", file=file, gateways=gateways)


def _read(path: Path) -> Credentials:
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise DamagedError(f"has {size:,} bytes")
    return Credentials.decoded(path.read_bytes())


def _told(fault: Exception) -> str:
    if isinstance(fault, OSError):
        return f"cannot be read or written: {fault.strerror}"
    return str(fault)
