"""``meterwatch gateway``: what proves who a gateway is, given, renewed and taken away.

A credential is shown once, when it is made. The order of things is always the same: what could
go wrong is looked at first; then the file of credentials changes, from which our own HTTPS knows
within a second; then what is secret is printed; then the broker's files are written and the broker
is told. A revocation does not wait for the broker: what fails there is told, and may be repeated
with ``meterwatch gateway broker``. Exit codes as in :mod:`meterwatch.cli`.
"""

# ruff: noqa: PLC0415, T201 -- as in cli.py: imports are late, it prints

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from collector.errors import ConfigurationError, Fault, TemporaryError
from collector.sections import near, seconds_of
from collector.settings import MqttSource, Settings, parse_settings

if TYPE_CHECKING:
    from adapters.identity.broker import Broker
    from adapters.identity.credentials import Credentials
    from adapters.identity.store import CredentialStore

Told = Callable[[str], AbstractContextManager[None]]
"""Turns errors into text and exit codes; takes the name of the extra that brings the libraries."""

_EXTRA: Final = "certificates"
_DAY_MS: Final = 86_400_000


class Language(StrEnum):
    """Of what people read."""

    en = "en"
    zh = "zh"


Folder = Annotated[Path, typer.Argument(help="the fleet folder, with meterwatch.toml in it")]
Gateway = Annotated[str, typer.Argument(help="the gateway's id in the registry")]
Expires = Annotated[
    str, typer.Option(help="how long it holds, as 365d; of a certificate two years, else for good")
]
Certificate = Annotated[
    bool, typer.Option("--certificate", help="a key and a certificate instead of a token")
]
Out = Annotated[Path, typer.Option(help="folder that keys and certificates are written to")]
Reload = Annotated[
    str, typer.Option("--reload-command", help="makes the broker read its files again")
]
Lang = Annotated[Language, typer.Option(help="language of what people read")]


def commands(told: Told) -> typer.Typer:
    """The group ``gateway``; ``told`` as in :mod:`meterwatch.cli`."""
    app = typer.Typer(
        help="Credentials of gateways: add, rotate, revoke, list.", no_args_is_help=True
    )

    @app.command()
    def add(
        folder: Folder,
        gateway: Gateway,
        expires: Expires = "",
        certificate: Certificate = False,
        out: Out = Path(),
        reload: Reload = "",
        lang: Lang = Language.en,
    ) -> None:
        """Give a gateway its first credential, and show it once.

        A token for HTTPS, which is its password at the MQTT broker too.
        """
        with told(_EXTRA):
            _known(folder, gateway)
            desk = _Desk(folder, lang.value)
            desk.ready()
            kind = _kind(certificate)
            if desk.in_force(gateway, kind):
                todo = f"meterwatch gateway rotate {folder} {gateway}"
                what = f"has a {kind} that is in force"
                raise ConfigurationError(Fault(f"gateway {gateway}", 0, what, todo))
            lasting = _span("--expires", expires)
            if certificate:
                desk.give_certificate(gateway, lasting, None, out)
            else:
                desk.give_token(gateway, lasting, None)
            desk.tell_broker(reload)

    @app.command()
    def rotate(
        folder: Folder,
        gateway: Gateway,
        grace: Annotated[
            str, typer.Option(help="how long the old one stays valid beside the new one")
        ] = "7d",
        expires: Expires = "",
        certificate: Certificate = False,
        out: Out = Path(),
        reload: Reload = "",
        lang: Lang = Language.en,
    ) -> None:
        """Give a gateway a new credential; the old one stays valid for a while."""
        with told(_EXTRA):
            desk = _Desk(folder, lang.value)
            desk.ready()
            kind = _kind(certificate)
            if not desk.in_force(gateway, kind):
                desk.nothing(gateway, f"has no {kind} in force", "add")
            lasting, after = _span("--expires", expires), _span("--grace", grace)
            if certificate:
                desk.give_certificate(gateway, lasting, after, out)
            else:
                desk.give_token(gateway, lasting, after)
            desk.tell_broker(reload)

    @app.command()
    def revoke(
        folder: Folder, gateway: Gateway, reload: Reload = "", lang: Lang = Language.en
    ) -> None:
        """End all credentials of a gateway, at once."""
        with told(_EXTRA):
            desk = _Desk(folder, lang.value)
            if not desk.in_force(gateway):
                desk.nothing(gateway, "has no credential in force", "list")
            desk.revoke(gateway)
            desk.tell_broker(reload)

    @app.command("list")
    def list_(
        folder: Folder,
        every: Annotated[bool, typer.Option("--all", help="those that have ended too")] = False,
        lang: Lang = Language.en,
    ) -> None:
        """Who has what, since when and until when; who has nothing."""
        with told(_EXTRA):
            from meterwatch.fleet import parse, read_files
            from meterwatch.gateway_list import print_list

            desk = _Desk(folder, lang.value)
            print_list(
                parse(read_files(folder)),
                desk.store.read(),
                desk.broker,
                desk.now,
                every,
                lang.value,
            )

    @app.command()
    def broker(folder: Folder, reload: Reload = "", lang: Lang = Language.en) -> None:
        """Write the broker's files again, and have it read them.

        When a grace period is over, after a broker was set up anew, or when it could not be told.
        """
        with told(_EXTRA):
            desk = _Desk(folder, lang.value)
            if not desk.broker.settings.files:
                todo = "add password_file and acl_file: see docs/gateways.md"
                where = str(folder / "meterwatch.toml")
                raise ConfigurationError(Fault(where, 0, "there is no table [broker]", todo))
            desk.tell_broker(reload)

    @app.command()
    def ca(
        folder: Folder,
        server: Annotated[
            list[str] | None,
            typer.Option(help="a certificate for a server of this name; repeat for several names"),
        ] = None,
        expires: Expires = "",
        out: Out = Path(),
        lang: Lang = Language.en,
    ) -> None:
        """Make an authority for certificates; with --server a certificate of a server."""
        with told(_EXTRA):
            desk = _Desk(folder, lang.value)
            desk.authority(server or [], _span("--expires", expires), out)

    return app


class _Desk:
    """One command at work on one fleet folder."""

    def __init__(self, folder: Path, lang: str) -> None:
        from adapters.identity.broker import Broker
        from adapters.identity.store import CredentialStore
        from meterwatch.gateway_words import WORDS

        self.folder = folder
        settings = _settings(folder)
        users = [one.user for one in settings.sources if isinstance(one, MqttSource) and one.user]
        self.store: CredentialStore = CredentialStore(folder / settings.program.data)
        self.broker: Broker = Broker(settings.broker, folder, users)
        self.now = time.time_ns() // 1_000_000
        self._words = WORDS[lang]

    def in_force(self, gateway: str, kind: str = "") -> bool:
        held = self.store.read().gateways.get(gateway)
        return held is not None and bool(held.in_force(self.now, kind))

    def nothing(self, gateway: str, what: str, instead: str) -> None:
        names = set(self.store.read().gateways)
        with contextlib.suppress(ConfigurationError):  # a broken registry must not stand in the way
            names |= set(_registered(self.folder))
        todo = near(gateway, names) if gateway not in names else ""
        todo = todo or f"see: meterwatch gateway {instead} {self.folder}"
        raise ConfigurationError(Fault(f"gateway {gateway}", 0, what, todo))

    def ready(self) -> None:
        """Raises where a new credential could not be brought to the broker."""
        self.broker.check()

    def give_token(self, gateway: str, lasting: int, grace: int | None) -> None:
        """Make a token, keep what checks it, show it. ``grace`` None: the gateway's first."""
        from adapters.identity.credentials import Credential, Held, new_token

        shown: list[tuple[str, Credential]] = []

        def change(held: Credentials) -> Credentials:
            mine = held.gateways.get(gateway, Held())
            token, one = new_token(mine, gateway, self.now, lifetime=lasting)
            shown.append((token, one))
            return held.with_one(gateway, one, self.now, grace)

        self.store.change(change)
        self._told(gateway, grace)
        ((token, one),) = shown
        print(self._words["token"].format(token=token, user=one.user))

    def give_certificate(self, gateway: str, lasting: int, grace: int | None, out: Path) -> None:
        """Likewise a key with its certificate, as files in ``out``."""
        from adapters.identity.authority import (
            GATEWAY_DAYS,
            check_out,
            hand_out,
            open_authority,
        )

        with self.store.open() as folder:
            authority = open_authority(folder)
        check_out(out, gateway)
        days = lasting // _DAY_MS if lasting else GATEWAY_DAYS
        issued = authority.gateway(gateway, self.now, max(days, 1))
        one = issued.credential(self.now)
        self.store.change(lambda held: held.with_one(gateway, one, self.now, grace))
        self._told(gateway, grace)
        for path in hand_out(issued, out, gateway, authority):
            print(f"  {path}")
        print(self._words["key"])

    def _told(self, gateway: str, grace: int | None) -> None:
        print(self._words["made" if grace is None else "renewed"].format(gateway))
        if grace:
            print(self._words["grace"].format(f"{grace / _DAY_MS:g}"))
            if self.broker.settings.files:
                print(self._words["afterwards"].format(f"meterwatch gateway broker {self.folder}"))

    def revoke(self, gateway: str) -> None:
        from adapters.identity.credentials import CERTIFICATE

        had = self.store.read().gateways[gateway].in_force(self.now, CERTIFICATE)
        self.store.change(lambda held: held.revoked(gateway, self.now))
        print(self._words["revoked"].format(gateway))
        if had:
            print(self._words["restart"])

    def authority(self, servers: list[str], lasting: int, out: Path) -> None:
        from adapters.identity.authority import (
            CERT,
            KEY,
            SERVER_DAYS,
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
            check_out(out, servers[0])
            days = lasting // _DAY_MS if lasting else SERVER_DAYS
            issued = authority.server(servers, self.now, max(days, 1))
            for path in hand_out(issued, out, servers[0], authority):
                print(f"  {path}")

    def tell_broker(self, command: str) -> None:
        """Write the broker's files from what is held now, and have them read."""
        held = self.store.read()
        try:
            crl = self._crl(held)
            if not self.broker.settings.files:
                print(self._words["no_broker"])
                return
            for note in self.broker.write(held, self.now, crl):
                print(self._words["note"].format(note))
            done = self.broker.reload(command)
        except (ConfigurationError, TemporaryError) as fault:
            again = f"meterwatch gateway broker {self.folder}"
            raise TemporaryError(self._words["again"].format(fault=fault, again=again)) from fault
        print(done or self._words["reload"])

    def _crl(self, held: Credentials) -> bytes | None:
        """The list of the revoked, brought up to date; None where there is no authority."""
        from adapters.identity.credentials import CERTIFICATE

        known = any(one.kind == CERTIFICATE for _, one in held)
        if not known and not (self.store.folder / "ca.pem").exists():
            return None
        from adapters.identity.authority import revocation_list

        with self.store.open() as folder:
            return revocation_list(folder, held, self.now)


def _registered(folder: Path) -> Collection[str]:
    from meterwatch.fleet import parse, read_files

    return parse(read_files(folder)).registry.gateways


def _known(folder: Path, gateway: str) -> None:
    """Raises for a gateway that the registry has not."""
    names = _registered(folder)
    if gateway not in names:
        todo = near(gateway, names) or "enter it in its site's file first: [[gateway]]"
        raise ConfigurationError(Fault(f"gateway {gateway}", 0, "is not in the registry", todo))


def _settings(folder: Path) -> Settings:
    """The settings alone: a fault in the registry keeps nobody from revoking."""
    from meterwatch.fleet import SETTINGS, read_files

    return parse_settings(read_files(folder).settings, str(folder / SETTINGS))


def _kind(certificate: bool) -> str:
    return "certificate" if certificate else "token"


def _span(option: str, text: str) -> int:
    """A span in ms; 0 where none is given."""
    seconds = seconds_of(text) if text else 0.0
    if seconds is None:
        raise ConfigurationError(
            Fault(option, 0, f'"{text}" is no duration', 'write "12h", "7d", "365d"')
        )
    return round(seconds * 1000)
