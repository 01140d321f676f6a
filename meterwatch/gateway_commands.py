"""``meterwatch gateway``: what proves who a gateway is, given, renewed and taken away.

A credential is shown once, when it is made. The order of things is always the same: what could
go wrong is looked at first; then the file of credentials changes, from which our own HTTPS knows
within a second; then what is secret is printed; then the broker's files are written and the broker
is told. A revocation does not wait for the broker: what fails there is told, and may be repeated
with ``meterwatch gateway broker``. Exit codes as in :mod:`meterwatch.cli`.
"""

# ruff: noqa: PLC0415 -- as in cli.py: imports are late

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from collector.errors import ConfigurationError, Fault
from collector.sections import seconds_of
from meterwatch.gateway_words import spoken

if TYPE_CHECKING:
    from meterwatch.gateway_desk import Desk

Told = Callable[[str], AbstractContextManager[None]]
"""Turns errors into text and exit codes; takes the name of the extra that brings the libraries."""

_EXTRA: Final = "certificates"


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
        with told(_EXTRA), spoken(lang.value):
            desk = _desk(folder, lang)
            desk.known(gateway)
            desk.ready()
            kind = _kind(certificate)
            if desk.in_force(gateway, kind):
                desk.wrong(gateway, f"has a {kind} that is in force", "rotate", kind)
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
        with told(_EXTRA), spoken(lang.value):
            desk = _desk(folder, lang)
            desk.ready()
            kind = _kind(certificate)
            if not desk.in_force(gateway, kind):
                desk.wrong(gateway, f"has no {kind} in force", "add", kind)
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
        with told(_EXTRA), spoken(lang.value):
            desk = _desk(folder, lang)
            if not desk.in_force(gateway):
                desk.wrong(gateway, "has no credential in force", "list")
            desk.revoke(gateway)
            desk.tell_broker(reload)

    @app.command("list")
    def list_(
        folder: Folder,
        every: Annotated[bool, typer.Option("--all", help="those that have ended too")] = False,
        lang: Lang = Language.en,
    ) -> None:
        """Who has what, since when and until when; who has nothing."""
        with told(_EXTRA), spoken(lang.value):
            from meterwatch.gateway_list import print_list
            from meterwatch.in_force import in_force

            desk = _desk(folder, lang)
            print_list(
                in_force(folder, lang.value),
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
        with told(_EXTRA), spoken(lang.value):
            desk = _desk(folder, lang)
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
        with told(_EXTRA), spoken(lang.value):
            desk = _desk(folder, lang)
            desk.authority(server or [], _span("--expires", expires), out)

    return app


def _desk(folder: Path, lang: Language) -> Desk:
    from meterwatch.gateway_desk import Desk

    return Desk(folder, lang.value)


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
