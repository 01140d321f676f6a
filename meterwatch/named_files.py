"""The files and secrets that the settings name, looked at as the program will at its start: for
``check``.

A fault, at the line that names it, is what would keep a source from starting or its gateways out.
A note is what may be right all the same: a certificate that ends soon, a file that another user
must be able to read, a secret that only the running program is given.
"""

from __future__ import annotations

import os
import ssl
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from adapters.identity.files import may_read
from adapters.identity.validity import ends
from collector.errors import ConfigurationError, Fault
from collector.located import parse
from collector.secrets import Secret
from collector.sections import Section
from collector.settings import MqttSource, SourceSettings
from meterwatch.fleet import SETTINGS, Fleet
from meterwatch.wiring import secret_text

SOON: Final = timedelta(days=30)
_KEYS: Final = ("ca_file", "cert_file", "key_file", "client_ca_file", "client_crl_file")
_HOLDS: Final = {"client_crl_file": ("crl", "list of revoked certificates")}
_CERTIFICATE: Final = ("x509", "certificate")
_GIVEN: Final = "/run/"
"""Below it systemd and containers give a program its secrets, while it runs and to nobody else."""


def looked_at(fleet: Fleet, now: datetime) -> tuple[list[Fault], list[str]]:
    """Faults and notes of what sources and channels name."""
    look = _Look(fleet, now)
    located = parse(fleet.files.settings, str(fleet.files.folder / SETTINGS))
    sections = Section.whole(located, look.faults).sections("source")
    for one, section in zip(fleet.settings.sources, sections, strict=True):
        look.source(one, section)
    for channel in fleet.settings.notifiers:
        look.secret(channel.url)
    return look.faults, [f"note: {note}" for note in look.notes]


class _Look:
    def __init__(self, fleet: Fleet, now: datetime) -> None:
        self.faults: list[Fault] = []
        self.notes: list[Fault] = []
        self._folder, self._now = fleet.files.folder, now
        self._user = _program(self._folder / fleet.settings.program.data)

    def source(self, one: SourceSettings, section: Section) -> None:
        named = {key: name for key in _KEYS if (name := getattr(one, key, ""))}
        sound = {key for key, name in named.items() if self._sound(section, key, name)}
        if {"cert_file", "key_file"} <= sound:
            self._fit(section, named["cert_file"], named["key_file"])
        if isinstance(one, MqttSource) and one.password is not None:
            self.secret(one.password)

    def secret(self, where: Secret) -> None:
        """A password, or an address with a token in it."""
        try:
            secret_text(self._folder, where)
        except ConfigurationError as missing:
            given = where.env or where.file.startswith(_GIVEN)
            (self.notes if given else self.faults).extend(missing.faults)
            return
        if where.file:
            self._for_program(where.said_in, where.said_at, where.file)

    def _sound(self, section: Section, key: str, name: str) -> bool:
        """Whether a file can be read, and holds what ``key`` says as far as it tells alone."""
        path, called, line = self._folder / name, f"{key} {name}", section.line(key)
        try:
            text = path.read_text("ascii", "replace")
        except OSError as fault:
            what = f"{called} cannot be read: {fault.strerror}"
            told = Fault(section.file, line, what, "correct the path, or let the program read it")
            (self.notes if name.startswith(_GIVEN) else self.faults).append(told)
            return False
        self._for_program(section.file, line, name)
        if key == "key_file":
            return True
        kind, what = _HOLDS.get(key, _CERTIFICATE)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(cafile=path)
            found, held = ends(text), context.cert_store_stats()[kind]
        except (ssl.SSLError, ValueError):
            found, held = [], 0
        if not held:
            section.fault(key, f"{called} holds no {what} that can be read", "it must be in PEM")
            return False
        if found:
            # Of a chain the first is what we show; of authorities one that holds is enough.
            self._ends(section, key, called, found[0] if key == "cert_file" else max(found))
        return True

    def _ends(self, section: Section, key: str, called: str, end: datetime) -> None:
        if end <= self._now:
            section.fault(key, f"{called} expired on {end:%Y-%m-%d}", "have it renewed")
        elif end - self._now <= SOON:
            what = f"{called} expires on {end:%Y-%m-%d}, within {SOON.days} days"
            self.notes.append(Fault(section.file, section.line(key), what, "have it renewed"))

    def _fit(self, section: Section, cert: str, key: str) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # An empty password, or OpenSSL would ask for it on the terminal.
            context.load_cert_chain(self._folder / cert, self._folder / key, password="")
        except ssl.SSLError as fault:  # without a reason where the key could not be read
            what = f"is not that of cert_file {cert}" if fault.reason else "cannot be read as a key"
            todo = "it must be the certificate's own, in PEM, without a password"
            section.fault("key_file", f"key_file {key} {what}", todo)

    def _for_program(self, file: str, line: int, name: str) -> None:
        """What root could read the program must be able to read, too."""
        if self._user and not may_read(self._folder / name, self._user):
            what = f"{name} cannot be read by {self._user}, who owns the data"
            self.notes.append(Fault(file, line, what, f"chgrp {self._user} and chmod 640"))


def _program(data: Path) -> str:
    """As whom the program runs, where that is not whoever asks: root reads everything, and the
    program is the owner of its data. Empty where they are not there yet."""
    try:
        return data.owner() if os.geteuid() == 0 else ""
    except (OSError, KeyError):  # a number without a name is of a container
        return ""
