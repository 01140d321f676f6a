"""``meterwatch grafana``: dashboards built from a fleet's rules, and published to a Grafana.

The front door of :mod:`grafana`: it reads options, files, secrets and warnings, hands them over
and prints what came of it. Exit codes as in :mod:`meterwatch.cli`; 1 also when publishing left
something undone, which is then among the lines printed.
"""

# ruff: noqa: PLC0415, T201 -- as in cli.py: imports are late, it prints

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from collector.errors import ConfigurationError, Fault
from collector.projections import ProjectionSettings
from collector.secrets import Secret, secret

if TYPE_CHECKING:
    from grafana.publish import Folder, Wanted
    from grafana.publish_annotations import Note
    from grafana.publish_client import Server
    from grafana.publish_sources import Source
    from meterwatch.fleet import Fleet

Told = Callable[[str], AbstractContextManager[None]]
"""Turns errors into text and exit codes; takes the name of the extra that brings the libraries."""

TOKEN_ENV: Final = "GRAFANA_TOKEN"  # noqa: S105 the name of a variable
MOST_WARNINGS: Final = 5_000
_EXTRA: Final = "grafana"
_DAY_MS: Final = 86_400_000


class Reader(StrEnum):
    """Language of those who look at the dashboards."""

    zh = "zh"
    en = "en"


class Database(StrEnum):
    """Which one the dashboards ask."""

    influxdb = "influxdb"
    victoria_metrics = "victoria-metrics"


FleetFolder = Annotated[
    Path | None,
    typer.Argument(help="fleet folder whose rules, time zone and databases apply; default: none"),
]


def commands(told: Told) -> typer.Typer:
    """The sub-commands; ``told`` as in :mod:`meterwatch.cli`."""
    app = typer.Typer(help="Dashboards for Grafana: build, publish.", no_args_is_help=True)

    @app.command("build")
    def build(
        folder: FleetFolder = None,
        out: Annotated[Path, typer.Option(help="folder to write to")] = Path("dashboards"),
    ) -> None:
        """Write the dashboards as JSON files.

        With the limits of a fleet's own rules, for provisioning or for importing by hand.
        """
        with told(_EXTRA):
            from grafana.build import write

            made = _dashboards(_fleet(folder))
            for path in write(out, made):
                print(path)
            print(f"{len(made)} dashboards are in {out}")

    @app.command("publish")
    def publish(
        folder: FleetFolder = None,
        url: Annotated[
            str, typer.Option(help="Grafana's address, as in a browser", envvar="GRAFANA_URL")
        ] = "http://localhost:3000",
        token_env: Annotated[
            str, typer.Option(help="environment variable with the service account's token")
        ] = TOKEN_ENV,
        token_file: Annotated[Path | None, typer.Option(help="file with it, instead")] = None,
        ca_file: Annotated[
            Path | None, typer.Option(help="PEM of the authority that signed its certificate")
        ] = None,
        allow_clear_text: Annotated[
            bool, typer.Option("--allow-clear-text", help="send the token without TLS")
        ] = False,
        lang: Annotated[
            list[Reader] | None, typer.Option(help="language of the dashboards; repeat for both")
        ] = None,
        database: Annotated[
            Database | None, typer.Option(help="default: the fleet's, if it feeds one kind")
        ] = None,
        title: Annotated[
            str | None, typer.Option("--folder", help="title of our folder, when it is made")
        ] = None,
        folder_uid: Annotated[
            str | None, typer.Option(help="publish to this folder instead of ours, by its uid")
        ] = None,
        data_source: Annotated[
            bool, typer.Option(help="make or update the data source too")
        ] = True,
        database_url: Annotated[
            str, typer.Option(help="the database's address as Grafana reaches it")
        ] = "",
        database_name: Annotated[str, typer.Option(help="InfluxDB's database or bucket")] = "",
        database_user: Annotated[str, typer.Option(help="who may read there")] = "",
        database_secret_env: Annotated[
            str, typer.Option(help="environment variable with that user's password, or a token")
        ] = "",
        database_secret_file: Annotated[Path | None, typer.Option(help="file with it")] = None,
        influxdb_version: Annotated[
            int | None, typer.Option(help="1, 2 or 3; default: the fleet's, else 2", min=1, max=3)
        ] = None,
        renew_secret: Annotated[
            bool, typer.Option("--renew-secret", help="send it although Grafana has one")
        ] = False,
        annotations: Annotated[
            bool, typer.Option("--annotations", help="the fleet's warnings as annotations too")
        ] = False,
        days: Annotated[int, typer.Option(help="warnings of so many days", min=1, max=366)] = 30,
        overwrite: Annotated[
            bool, typer.Option("--overwrite", help="replace what was changed in Grafana by hand")
        ] = False,
        dry_run: Annotated[
            bool, typer.Option("--dry-run", help="say what would be done, and do nothing")
        ] = False,
    ) -> None:
        """Put the dashboards into a running Grafana.

        Publishing again changes nothing; what was changed there by hand is told and kept.
        """
        with told(_EXTRA):
            from grafana.publish import Wanted
            from grafana.publish_client import Address, Server

            fleet = _fleet(folder)
            near = _projection(fleet, database)
            kind = database.value if database else near.kind if near else ""
            if not kind:
                raise _fault("--database", "it is not said which database", f"give {_KINDS}")
            languages = [one.value for one in dict.fromkeys(lang or [Reader.zh])]
            made = _dashboards(fleet)
            wanted = Wanted(
                [_folder(made, kind, one, folder_uid, title) for one in languages],
                renew=renew_secret,
                overwrite=overwrite,
            )
            if data_source:
                password = _secret("--database-secret", database_secret_env, database_secret_file)
                source = _source(
                    kind,
                    near,
                    database_url,
                    database_name,
                    influxdb_version,
                    database_user,
                    password,
                )
                wanted = replace(wanted, source=source)
            if annotations:
                wanted = replace(wanted, notes=_notes(fleet, languages[0], days))
            token = _secret("--token", "" if token_file else token_env, token_file)
            address = Address(url, token, str(ca_file or ""), allow_clear_text)
            server = Server(address)
            try:
                done = _publish(server, wanted, dry_run=dry_run)
            finally:
                server.close()
        if not done:
            raise typer.Exit(1)

    return app


_KINDS: Final = " or ".join(f"--database {one.value}" for one in Database)


def _publish(server: Server, wanted: Wanted, *, dry_run: bool) -> bool:
    """Plan, tell, do; whether all is as wanted."""
    from grafana.publish import plan
    from grafana.publish_steps import carry_out, good, summary

    version, organisation = server.version(), server.organisation()
    print(f"Grafana{version and ' ' + version} at {server.url}, organisation {organisation}")
    steps = plan(server, wanted)
    for step in steps:
        if step.replaces:
            print(f"to be replaced: {step.kind} {step.name}: {step.why}")
    done = []
    for step in steps if dry_run else carry_out(steps):
        print(step)
        done.append(step)
    print(f"{summary(done)}{' (nothing was done)' if dry_run else ''}")
    return good(done)


def _fleet(folder: Path | None) -> Fleet | None:
    from meterwatch.fleet import parse, read_files

    return parse(read_files(folder)) if folder else None


def _dashboards(fleet: Fleet | None) -> dict[str, str]:
    from grafana.build import build, catalogue

    if fleet is None:
        return build(catalogue())
    return build(fleet.rules, zone=fleet.settings.program.zone, registry=fleet.registry)


def _folder(
    made: dict[str, str], kind: str, language: str, uid: str | None, title: str | None
) -> Folder:
    """The dashboards of one database in one language, where they go."""
    from grafana.publish import FOLDERS, Folder
    from grafana.publish_sources import DIALECTS

    ours = FOLDERS[kind, language]
    way = f"{DIALECTS[kind]}/{language}/"
    found = {name: text for name, text in made.items() if name.startswith(way)}
    return Folder(ours[0] if uid is None else uid, ours[1] if title is None else title, found)


def _projection(fleet: Fleet | None, database: Database | None) -> ProjectionSettings | None:
    """The one external database of the fleet that can be meant."""
    found = [
        one
        for one in (fleet.settings.projections if fleet else ())
        if one.enabled and (database is None or one.kind == database.value)
    ]
    return found[0] if len(found) == 1 else None


def _source(
    kind: str,
    near: ProjectionSettings | None,
    url: str,
    name: str,
    version: int | None,
    user: str,
    password: str,
) -> Source:
    """The data source; what is not given is the fleet's where Grafana has nothing yet."""
    from grafana.publish_sources import VICTORIA_METRICS, influxdb, victoria_metrics

    if kind == VICTORIA_METRICS:
        source = victoria_metrics(url=url, user=user, secret=password)
    else:
        version = version or (near.version if near else 2)
        source = influxdb(url=url, database=name, version=version, user=user, secret=password)
    if near is None:
        return source
    options = {**source.first_options, **({"dbName": near.bucket} if near.bucket else {})}
    return replace(source, first={**source.first, "url": near.url}, first_options=options)


def _notes(fleet: Fleet | None, lang: str, days: int) -> list[Note]:
    """Warnings that fired lately, with the words of their rules."""
    from adapters.state.alerts import AlertsReader
    from grafana.publish_annotations import note_of
    from meterwatch.fleet import kept

    if fleet is None:
        raise _fault("--annotations", "warnings are a fleet's", "give its folder too")
    reader = AlertsReader(kept(fleet, "alerts.db"))
    try:
        since = time.time_ns() // 1_000_000 - days * _DAY_MS
        found = reader.alerts(since=since, limit=MOST_WARNINGS)
    finally:
        reader.close()
    if len(found) == MOST_WARNINGS:
        print(f"only the {MOST_WARNINGS} newest warnings are published")
    notes = []
    for alert in found:
        rule = fleet.rules.rules.get(alert.rule)
        title = alert.rule if rule is None else rule.title_zh if lang == "zh" else rule.title
        notes.append(note_of(alert, title, lang))
    return notes


def _secret(option: str, env: str, file: Path | None) -> str:
    """What stands in the variable or file; empty when neither is named."""
    if env and file:
        raise _fault(f"{option}-file", f"{option}-env is given too", "keep one of them")
    if not env and file is None:
        return ""
    where = Secret(env, str(file or ""), said_in=f"{option}-{'env' if env else 'file'}")

    def read(name: str, kind: str) -> str:
        return os.environ[name] if kind == "env" else Path(name).read_text(encoding="utf-8")

    return secret(where, read)


def _fault(option: str, what: str, todo: str) -> ConfigurationError:
    return ConfigurationError(Fault(option, 0, what, todo))
