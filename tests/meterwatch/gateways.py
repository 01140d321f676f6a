"""A fleet with two gateways and a mosquitto of its own, and the commands about them as typed."""

from __future__ import annotations

import getpass
import re
from dataclasses import dataclass
from pathlib import Path

from click.testing import Result
from typer.testing import CliRunner

from meterwatch.cli import app
from tests.programs import eventually
from tests.servers import Certificates, Mosquitto

OURS = {"meterwatch": "reads-all"}
REGISTRY = """\
[site]
id = "print"
name = "Print Works"
name_zh = "印刷厂"
county = "620502"
industry = "C2319"
[[gateway]]
id = "gw-a"
[[gateway]]
id = "gw-b"
[[place]]
id = "main"
name = "main"
name_zh = "总表"
[[device]]
id = "meter"
place = "main"
profile = "push"
gateway = "gw-a"
quantities = ["power.active"]
"""
SETTINGS = """\
[[source]]
kind = "mqtt"
name = "main"
url = "mqtt://127.0.0.1:{port}"
user = "meterwatch"
password_env = "MW_PASSWORD"
"""
BROKER = """\
[broker]
password_file = "{passwords}"
acl_file = "{acl}"
crl_file = "{crl}"
pid_file = "{pid}"
run_as = "{user}"
"""


@dataclass(frozen=True)
class Desk:
    """Where the commands are typed."""

    folder: Path
    broker: Mosquitto | None = None

    def type(self, *words: str, code: int = 0) -> str:
        """Run ``meterwatch gateway WORDS``, the folder after the first; what it printed."""
        typed = ["gateway", words[0], str(self.folder), *words[1:]]
        read = self.broker.reloads if self.broker else 0
        done: Result = CliRunner().invoke(app, typed)
        assert done.exit_code == code, (done.output, done.exception)
        broker = self.broker
        if broker is not None and "SIGHUP" in done.output:  # a signal arrives when it arrives
            eventually(lambda: broker.reloads > read, "the broker reads its files")
        return str(done.output)

    def login(self, *words: str) -> tuple[str, str]:
        """The name and password at the broker that a command shows."""
        return login(self.type(*words))


def login(shown: str) -> tuple[str, str]:
    user = re.search(r"user +(\S+)", shown)
    password = re.search(r"password +(\S+)", shown)
    assert user
    assert password
    return user[1], password[1]


def fleet(folder: Path, settings: str = "", broker: Mosquitto | None = None) -> Desk:
    """A fleet folder with these settings."""
    (folder / "registry").mkdir(parents=True, exist_ok=True)
    (folder / "registry" / "print.toml").write_text(REGISTRY, encoding="utf-8")
    (folder / "meterwatch.toml").write_text(settings, encoding="utf-8")
    return Desk(folder, broker)


class Guarded(Mosquitto):
    """A mosquitto whose password file and access list the commands write. The program's own
    password stands in the one by hand."""

    def __init__(
        self, folder: Path, certificates: Certificates | None = None, more: str = ""
    ) -> None:
        self.acl, self.crl = folder / "acl", folder / "crl"
        self.passwords, self.pid_file = folder / "passwords", folder / "pid"
        folder.mkdir(parents=True)
        self.acl.touch()
        config = f"acl_file {self.acl}\npid_file {self.pid_file}\n{more}"
        super().__init__(folder, config=config, users=OURS, certificates=certificates)

    def fleet(self, folder: Path, more: str = "") -> Desk:
        """A fleet folder that names this broker, with ``more`` settings."""
        settings = (
            more
            + SETTINGS.format(port=self.port)
            + BROKER.format(
                passwords=self.passwords,
                acl=self.acl,
                crl=self.crl,
                pid=self.pid_file,
                user=getpass.getuser(),
            )
        )
        return fleet(folder, settings, self)
