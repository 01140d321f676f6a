"""Real servers for tests, on free loopback ports, started and stopped by the test that wants them.

``Mosquitto``: the broker of the system, with any configuration, killed and restarted at will.
``Certificates``: a CA and what it signed, made by the ``openssl`` program.
A test file takes the fixture with ``broker = servers.broker``.
"""

from __future__ import annotations

import contextlib
import getpass
import random
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
START_S = 20.0

_CHANCE = random.SystemRandom()
"""hypothesis has the other one begin anew, in every worker alike."""


def program(name: str) -> str:
    """Path of a system program, or skip the test that needs it."""
    found = shutil.which(name) or shutil.which(name, path=_PATH)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def free_port() -> int:
    """A loopback port that nobody listens on at this moment, and that the system gives to no
    connection: those begin above."""
    while True:
        port = _CHANCE.randrange(15_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@dataclass(frozen=True)
class Certificates:
    """PEM files: a CA; a server certificate for 127.0.0.1 and localhost; a client's."""

    ca: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path

    @staticmethod
    def make(folder: Path) -> Certificates:
        folder.mkdir(parents=True, exist_ok=True)

        def openssl(*words: str) -> None:
            subprocess.run([program("openssl"), *words], check=True, cwd=folder,
                           stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # fmt: skip

        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2",
                "-subj", "/CN=meterwatch test CA")  # fmt: skip
        (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        for name in ("server", "client"):
            openssl("req", "-new", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr",
                    "-subj", f"/CN=meterwatch test {name}")  # fmt: skip
            openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                    "-CAcreateserial", "-days", "2", "-extfile", "names",
                    "-out", f"{name}.pem")  # fmt: skip
        return Certificates(*(folder / name for name in (
            "ca.pem", "server.pem", "server.key", "client.pem", "client.key")))  # fmt: skip


class Server:
    """A process that a test starts, stops, kills and pauses. Use as a context, or by hand."""

    _process: subprocess.Popen[Any] | None = None

    def start(self) -> Self:
        """Start; returns when it can be used."""
        raise NotImplementedError

    def stop(self) -> None:
        """As an administrator stops it."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """As the power goes: kill -9."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """It keeps its sockets and does nothing, as a machine that hangs."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(how)
            self._process.wait()
            self._process = None


class Mosquitto(Server):
    """A mosquitto of the test's own. ``config`` is appended to a minimal configuration that keeps
    everything while a subscriber is away. Use as a context, or ``start`` and ``stop``."""

    def __init__(
        self,
        folder: Path,
        *,
        config: str = "",
        users: dict[str, str] | None = None,
        certificates: Certificates | None = None,
        client_certificates: bool = False,
        persistent: bool = False,
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.log: list[str] = []
        self._config = config
        self._users = users
        self._certificates = certificates
        self._client_certificates = client_certificates
        self._persistent = persistent
        self._reader: threading.Thread | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def start(self) -> Self:
        """Start, on the same port every time; returns when it accepts connections."""
        path = self.folder / "mosquitto.conf"
        path.write_text(self._text())
        self._process = subprocess.Popen(
            [program("mosquitto"), "-c", str(path)], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True)  # fmt: skip
        running = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(self._process, running))
        self._reader.start()
        if not running.wait(START_S) or self._process.poll() is not None:
            self.kill()
            raise RuntimeError("mosquitto did not start:\n" + "\n".join(self.log))
        return self

    @property
    def reloads(self) -> int:
        """How often it has read its files again."""
        return sum("Reloading config" in line for line in self.log)

    def _end(self, how: signal.Signals) -> None:
        super()._end(how)
        if self._reader is not None:
            self._reader.join()

    def _read(self, process: subprocess.Popen[str], running: threading.Event) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                self.log.append(line.rstrip())
                if " running" in line:
                    running.set()
        running.set()  # ended: nobody needs to wait any longer

    def _text(self) -> str:
        lines = [
            f"listener {self.port} 127.0.0.1",
            f"allow_anonymous {'false' if self._users else 'true'}",
            "max_queued_messages 0",
            "max_inflight_messages 0",
            "set_tcp_nodelay true",
            "log_dest stderr",
            f"user {getpass.getuser()}",  # started as root it would change to its own user
        ]
        if self._users:
            passwords = self.folder / "passwords"
            passwords.touch(mode=0o600)
            for user, password in self._users.items():
                subprocess.run(
                    [program("mosquitto_passwd"), "-b", str(passwords), user, password], check=True
                )
            lines.append(f"password_file {passwords}")
        if self._certificates is not None:
            lines += [
                f"cafile {self._certificates.ca}",
                f"certfile {self._certificates.server}",
                f"keyfile {self._certificates.server_key}",
            ]
            if self._client_certificates:
                lines.append("require_certificate true")
        if self._persistent:
            lines += [
                "persistence true",
                f"persistence_location {self.folder}/",
                "autosave_interval 1",
                "autosave_on_changes true",
            ]
        return "\n".join([*lines, self._config, ""])


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """One that lets everybody in."""
    with Mosquitto(tmp_path / "broker") as running:
        yield running
