"""One ``meterwatch gateway`` command at work on one fleet folder, in the order of things that
:mod:`meterwatch.gateway_commands` promises. It prints what people read."""

# ruff: noqa: PLC0415, T201 -- as in cli.py: what needs cryptography is imported late, it prints

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from adapters.identity.broker import Broker
from adapters.identity.credentials import CERTIFICATE, Credential, Credentials, new_token
from adapters.identity.store import CredentialStore
from collector.errors import ConfigurationError, Fault, TemporaryError
from collector.sections import near
from collector.settings import MqttSource
from meterwatch.fleet import parse, read_files, settings_of
from meterwatch.gateway_words import WORDS, lasting


class Desk:
    """One command at work on one fleet folder."""

    def __init__(self, folder: Path, lang: str) -> None:
        self.folder = folder
        settings = settings_of(folder)  # a faulty registry keeps nobody from revoking
        users = [one.user for one in settings.sources if isinstance(one, MqttSource) and one.user]
        self.store = CredentialStore(folder / settings.program.data)
        self.broker = Broker(settings.broker, folder, users)
        self.now = _now()
        self._lang, self._words = lang, WORDS[lang]

    def known(self, gateway: str) -> None:
        """Raises for a gateway that the registry has not."""
        names = _registered(self.folder)
        if gateway not in names:
            todo = near(gateway, names) or "enter it in its site's file first: [[gateway]]"
            raise ConfigurationError(Fault(f"gateway {gateway}", 0, "is not in the registry", todo))

    def in_force(self, gateway: str, kind: str = "") -> bool:
        held = self.store.read().gateways.get(gateway)
        return held is not None and bool(held.in_force(self.now, kind))

    def wrong(self, gateway: str, what: str, instead: str, kind: str = "") -> None:
        """Raises: what is in the way of this command, and the one to type instead; for a
        credential of ``kind`` with all its words."""
        names = set(self.store.read().gateways)
        with contextlib.suppress(ConfigurationError):  # a broken registry must not stand in the way
            names |= set(_registered(self.folder))
        todo = near(gateway, names) if gateway not in names else ""
        words = [f"run: meterwatch gateway {instead} {self.folder}"]
        words += [gateway] if kind else []
        words += ["--certificate"] if kind == CERTIFICATE else []
        todo = todo or " ".join(words)
        raise ConfigurationError(Fault(f"gateway {gateway}", 0, what, todo))

    def ready(self) -> None:
        """Raises where a new credential could not be brought to the broker."""
        self.broker.check()

    def give_token(self, gateway: str, lasting: int, grace: int | None) -> None:
        """Make a token, keep what checks it, show it. ``grace`` None: the gateway's first."""
        shown: list[tuple[str, Credential]] = []

        def change(held: Credentials) -> Credentials:
            token, one = new_token(held, gateway, self.now, lifetime=lasting)
            shown.append((token, one))
            return held.with_one(gateway, one, self.now, grace)

        self.store.change(change)
        self._told(gateway, grace)
        ((token, one),) = shown
        print(self._words["token"].format(token=token, user=one.user))

    def give_certificate(self, gateway: str, lasting: int, grace: int | None, out: Path) -> None:
        """Likewise a key with its certificate, as files in ``out``."""
        from adapters.identity.authority import (
            GATEWAY_MS,
            check_out,
            hand_out,
            open_authority,
        )

        with self.store.open() as folder:
            authority = open_authority(folder)
        check_out(out, gateway)
        issued = authority.gateway(gateway, self.now, lasting or GATEWAY_MS)
        one = issued.credential(self.now)
        self.store.change(lambda held: held.with_one(gateway, one, self.now, grace))
        self._told(gateway, grace)
        for path in hand_out(issued, out, gateway, authority):
            print(f"  {path}")
        print(self._words["key"])

    def _told(self, gateway: str, grace: int | None) -> None:
        print(self._words["made" if grace is None else "renewed"].format(gateway))
        if grace:
            print(self._words["grace"].format(lasting(grace, self._lang)))
            if self.broker.settings.files:
                print(self._words["afterwards"].format(f"meterwatch gateway broker {self.folder}"))

    def revoke(self, gateway: str) -> None:
        had = self.store.read().gateways[gateway].in_force(self.now, CERTIFICATE)
        self.store.change(lambda held: held.revoked(gateway, self.now))
        print(self._words["revoked"].format(gateway))
        if had:
            print(self._words["restart"])

    def authority(self, servers: list[str], lasting: int, out: Path) -> None:
        from adapters.identity.authority import (
            CERT,
            KEY,
            SERVER_MS,
            check_out,
            hand_out,
            make_authority,
            open_authority,
        )

        with self.store.open() as folder:
            if not servers or not (folder / CERT).exists():
                made = make_authority(folder, self.now)
                print(self._words["ca"].format(folder / CERT, made.until.date(), folder / KEY))
            authority = open_authority(folder)
        if servers:
            issued = authority.server(servers, self.now, lasting or SERVER_MS)
            check_out(out, servers[0])
            key, cert, ca = hand_out(issued, out, servers[0], authority)
            for path in (key, cert, ca):
                print(f"  {path}")
            print(self._words["server"].format(self._named(cert), self._named(key), ca))

    def _named(self, path: Path) -> str:
        """As it stands in meterwatch.toml."""
        whole, home = path.resolve(), self.folder.resolve()
        return str(whole.relative_to(home) if whole.is_relative_to(home) else whole)

    def tell_broker(self, command: str) -> None:
        """Write the broker's files from what is held now, and have them read."""
        failed: Exception | None = None
        with self.store.telling():
            self.now = _now()  # what has ended while it waited has ended
            held = self.store.read()
            crl: bytes | None = None
            try:
                crl = self._crl(held)
            except (ConfigurationError, TemporaryError, ModuleNotFoundError) as fault:
                failed = fault  # passwords and rights do not wait for it
            if not self.broker.settings.files and failed is None:
                print(self._words["no_broker"])
                return
            with self._again():
                for note in self.broker.write(held, self.now, crl):
                    print(self._words["note"].format(note))
        with self._again():
            done = self.broker.reload(command)
            if failed is not None:
                raise failed
        print(done or self._words["reload"])

    @contextlib.contextmanager
    def _again(self) -> Iterator[None]:
        """What goes wrong inside leaves the rest to another command, which is told."""
        try:
            yield
        except (ConfigurationError, TemporaryError) as fault:
            again = f"meterwatch gateway broker {self.folder}"
            raise TemporaryError(self._words["again"].format(fault=fault, again=again)) from fault

    def _crl(self, held: Credentials) -> bytes | None:
        """The list of the revoked, brought up to date; None where there is no authority."""
        known = any(one.kind == CERTIFICATE for _, one in held)
        if not known and not (self.store.folder / "ca.pem").exists():
            return None
        from adapters.identity.authority import revocation_list

        with self.store.open() as folder:
            return revocation_list(folder, held, self.now)


def _now() -> int:
    return time.time_ns() // 1_000_000


def _registered(folder: Path) -> Collection[str]:
    return parse(read_files(folder)).registry.gateways
