"""Commands. Each is a thin door: arguments in, a call into the house, an exit code out.

Exit codes: 0 done; 1 faults were found in files (all are printed); 2 wrong usage; 3 cannot work
now (nothing reached, nothing there). Heavy imports stay inside the commands that need them, so
that ``meterwatch --help`` answers at once.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from collector.errors import ConfigurationError, TemporaryError
from meterwatch.commissioning_commands import commands as commissioning_commands
from meterwatch.gateway_commands import commands as gateway_commands
from meterwatch.grafana_commands import commands as grafana_commands
from meterwatch.project_commands import commands as project_commands

app = typer.Typer(
    name="meterwatch",
    help="Reads energy meters and VOC monitors, keeps every reading, warns early.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"meterwatch {metadata.version('meterwatch')}")
        raise typer.Exit


@app.callback()
def _program(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="tell it and exit"),
    ] = False,
) -> None:
    """Reads energy meters and VOC monitors, keeps every reading, warns early."""


Folder = Annotated[Path, typer.Argument(help="the fleet folder, with meterwatch.toml in it")]


class Language(StrEnum):
    en = "en"
    zh = "zh"


class Room(StrEnum):
    intake = "intake"
    archive = "archive"
    account = "account"
    judge = "judge"
    project = "project"


Lang = Annotated[Language, typer.Option(help="language of what people read")]


@contextmanager
def _told(extra: str = "") -> Iterator[None]:
    """Turn errors that a person can mend into their text and an exit code. ``extra``: what
    brings the libraries that this command needs beside those that every box has."""
    try:
        yield
    except ConfigurationError as error:
        for fault in error.faults:
            print(fault, file=sys.stderr)
        count = len(error.faults)
        print(f"{count} fault{'s' if count != 1 else ''}", file=sys.stderr)
        raise typer.Exit(1) from error
    except TemporaryError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(3) from error
    except ModuleNotFoundError as missing:
        if not extra:
            raise
        needed = f"this needs the library {missing.name}, which is not installed"
        print(f'{needed} -> pip install "meterwatch[{extra}]"', file=sys.stderr)
        raise typer.Exit(3) from missing


@app.command()
def run(
    folder: Folder,
    only: Annotated[
        list[Room] | None,
        typer.Option(help="only this part of it; repeat for several (one process each is fine)"),
    ] = None,
    listen: Annotated[
        str | None, typer.Option(help="HOST:PORT of /metrics and /healthz, for this process")
    ] = None,
) -> None:
    """Read, keep and judge, until Ctrl-C."""
    from collector.telemetry import Telemetry
    from meterwatch.app import ROOMS, Options, Program, run_until_signal
    from meterwatch.clock import SystemClock
    from meterwatch.logs import configure

    configure()
    with _told():
        rooms = frozenset(room.value for room in only) if only else frozenset(ROOMS)

        async def main() -> None:
            options = Options(only=rooms, listen=listen)
            program = Program(folder, SystemClock(), Telemetry(), options)
            await run_until_signal(program)

        asyncio.run(main())


@app.command()
def check(folder: Folder) -> None:
    """Name every fault in a fleet folder, and in what it names: files, secrets, databases.

    Each with file and line; exit code 1 if there is any.
    """
    from meterwatch.fleet import parse, read_files
    from meterwatch.inspect import outside, summary

    with _told("influx"):
        fleet = parse(read_files(folder))
        for line in (*summary(fleet), *outside(fleet, folder)):
            print(line)


@app.command()
def demo(
    seconds: Annotated[int, typer.Option(help="how long to watch", min=10)] = 60,
    lang: Lang = Language.en,
    folder: Annotated[
        Path, typer.Option(help="where the demo's files and data go (emptied first)")
    ] = Path("demo"),
) -> None:
    """Everything on a simulated park, explained as it happens."""
    with _told("demo"):
        from meterwatch.demo import run_demo

        raise typer.Exit(run_demo(folder, seconds, lang.value))


@app.command()
def simulate(
    folder: Annotated[Path, typer.Argument(help="where to write the park's fleet folder")],
    lang: Lang = Language.en,
) -> None:
    """The simulated park alone, until Ctrl-C.

    Its meters and gateways answer on this machine only; the folder describes them.
    """
    with _told("demo"):
        from meterwatch.demo import run_simulate

        run_simulate(folder, lang.value)


@app.command()
def decode(
    kind: Annotated[str, typer.Argument(help="mqtt-json, or a mapping: neuron, line-protocol ...")],
    fleet: Annotated[Path, typer.Option(help="fleet folder whose registry applies")],
    gateway: Annotated[
        str, typer.Option(help="id of the gateway that sends them; default: the only one")
    ] = "",
    lang: Lang = Language.en,
) -> None:
    """What a gateway's messages would become.

    Payloads on standard input, one a line; readings as JSON lines on standard output, refusals
    with their reason and what to do, and remarks. With mqtt-json the gateway's format in the
    registry applies. Nothing is stored. The exit status is 1 if anything is refused.
    """
    import json

    from meterwatch.decode import decode_lines

    refused = False
    with _told():
        for told in decode_lines(kind, fleet, gateway, sys.stdin.buffer, lang.value):
            refused |= "refused" in told
            print(json.dumps(told, ensure_ascii=False))
    if refused:
        raise typer.Exit(1)


@app.command()
def status(folder: Folder, lang: Lang = Language.en) -> None:
    """Does it run; sources, backlog, each device's last reading.

    Also what was refused of late, gateways whose clock is wrong, and the metering places that have
    no device. Exit code 3 when the program does not run, or gives no sign of life.
    """
    from meterwatch.status import print_status

    with _told():
        if not print_status(folder, lang.value):
            raise typer.Exit(3)


@app.command()
def refused(
    folder: Folder,
    replay: Annotated[
        bool, typer.Option("--replay", help="take in what today's registry can use")
    ] = False,
    gateway: Annotated[str, typer.Option(help="only what this gateway sent, by its id")] = "",
    limit: Annotated[int, typer.Option(help="show at most so many, the newest", min=1)] = 50,
    every: Annotated[bool, typer.Option("--all", help="show every one that is kept")] = False,
    sample: Annotated[
        bool, typer.Option("--sample", help="with the payload that was kept, the newest of each")
    ] = False,
    lang: Lang = Language.en,
) -> None:
    """What was refused, why, and what to do; replay after mending."""
    from meterwatch.inspect import EVERY, print_refused
    from meterwatch.replay import replay_refused

    with _told():
        if replay:
            if gateway or every or sample:
                raise typer.BadParameter("--replay takes in all that is usable: give it alone")
            print(replay_refused(folder))
        else:
            most = EVERY if every else limit
            print_refused(folder, lang.value, gateway=gateway, limit=most, sample=sample)


alerts_app = typer.Typer(help="Warnings: list, acknowledge, silence, close.", no_args_is_help=True)
app.add_typer(alerts_app, name="alerts")


@alerts_app.command("list")
def alerts_list(
    folder: Folder,
    every: Annotated[bool, typer.Option("--all", help="closed and resolved ones too")] = False,
    lang: Lang = Language.en,
) -> None:
    """Warnings in force."""
    from meterwatch.inspect import print_alerts

    with _told():
        print_alerts(folder, every=every, lang=lang.value)


def _mark(folder: Path, kind: str, alert: str, who: str, note: str, hours: float = 0) -> None:
    from meterwatch.inspect import mark_alert

    with _told():
        print(mark_alert(folder, kind, alert, who, note, hours))


Alert = Annotated[str, typer.Argument(help="the warning's id, or its beginning")]
Who = Annotated[str, typer.Option(help="who says so")]
Note = Annotated[str, typer.Option(help="why; kept as evidence")]


@alerts_app.command("acknowledge")
def alerts_acknowledge(folder: Folder, alert: Alert, who: Who, note: Note = "") -> None:
    """Somebody has seen it and looks after it."""
    _mark(folder, "acknowledge", alert, who, note)


@alerts_app.command("silence")
def alerts_silence(
    folder: Folder,
    alert: Alert,
    who: Who,
    hours: Annotated[float, typer.Option(help="for how long", min=0.1, max=24 * 31)] = 8,
    note: Note = "",
) -> None:
    """No messages about it for some hours; it stays listed."""
    _mark(folder, "silence", alert, who, note, hours)


@alerts_app.command("close")
def alerts_close(folder: Folder, alert: Alert, who: Who, note: Note) -> None:
    """It is settled, and this is how."""
    _mark(folder, "close", alert, who, note)


app.add_typer(commissioning_commands(_told))
app.add_typer(gateway_commands(_told), name="gateway")
app.add_typer(grafana_commands(_told), name="grafana")
app.add_typer(project_commands(_told), name="project")


class Level(StrEnum):
    quarter = "15m"
    hour = "hour"
    day = "day"
    month = "month"


@app.command()
def books(
    folder: Folder,
    level: Annotated[Level, typer.Option(help="width of a line")] = Level.day,
    point: Annotated[
        list[str] | None, typer.Option(help="point name or its beginning; default: all")
    ] = None,
    start: Annotated[str | None, typer.Option(help="ISO date or time")] = None,
    end: Annotated[str | None, typer.Option(help="exclusive")] = None,
    lang: Lang = Language.en,
) -> None:
    """What each counter used, how much of it was measured, and what was odd."""
    from meterwatch.usage import print_books

    with _told():
        print_books(folder, level.value, point or [], start, end, lang.value)


@app.command()
def replay(
    folder: Folder,
    start: Annotated[str, typer.Option(help="2026-11-22, or 2026-11-22T08:00; local time")],
    end: Annotated[str, typer.Option(help="likewise; the first moment that is not meant")],
    lang: Lang = Language.en,
) -> None:
    """What the rules of today say of stored readings.

    Changes nothing.
    """
    from meterwatch.replay import print_replay

    with _told():
        print_replay(folder, start, end, lang.value)


WORKBOOKS = (".xlsx", ".xlsm", ".xls", ".ods", ".et")
"""What people call a spreadsheet; all but the first two are refused with what to do."""


@app.command("export")
def export_readings(
    folder: Folder,
    file: Annotated[
        Path | None, typer.Argument(help="registry.xlsx: the registry as a spreadsheet")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="CSV file to write readings to")] = None,
    point: Annotated[
        list[str] | None, typer.Option(help="point name or its beginning; default: all")
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="2026-11-22, or 2026-11-22T08:00; local time")
    ] = None,
    end: Annotated[
        str | None, typer.Option(help="likewise; the first moment that is not meant")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="write over a spreadsheet that is there")
    ] = False,
) -> None:
    """Readings as CSV, or the registry as a spreadsheet.

    --out FILE.csv: point, time, value, quality. FILE.xlsx: sites, lines, places, gateways, devices.
    """
    if (file is None) == (out is None):
        raise typer.BadParameter("give either --out FILE.csv, or FILE.xlsx for the registry")
    if file is not None and file.suffix.lower() != ".xlsx":
        raise typer.BadParameter(f"{file}: the registry is written as .xlsx; readings with --out")
    with _told("xlsx"):
        if file is not None:
            from meterwatch.registry.exchange import export_registry

            print(export_registry(folder, file, overwrite=replace))
        elif out is not None:
            from meterwatch.transfer import export_csv

            print(export_csv(folder, out, point or [], start, end))


@app.command("import")
def import_readings(
    folder: Folder,
    file: Annotated[
        Path,
        typer.Argument(help="CSV with the columns point,time,value[,quality], or registry.xlsx"),
    ],
    replace: Annotated[
        bool, typer.Option("--replace", help="of a registry: over files that are there")
    ] = False,
) -> None:
    """Readings from a CSV file, or the registry from a spreadsheet.

    Of readings bad lines are named; the good ones are taken in, and judged like any data that
    comes late. Of a spreadsheet each fault is named by its cell, and nothing is written while
    there is one.
    """
    if file.suffix.lower() in WORKBOOKS:
        with _told("xlsx"):
            from meterwatch.registry.exchange import import_registry

            for line in import_registry(folder, file, overwrite=replace):
                print(line)
        return
    from meterwatch.transfer import import_csv

    with _told():
        raise typer.Exit(import_csv(folder, file))


@app.command()
def profiles(
    words: Annotated[
        list[str] | None,
        typer.Argument(help="anything that stands on the meter's label, in Latin or Chinese"),
    ] = None,
    fleet: Annotated[
        Path | None, typer.Option(help="fleet folder: models in its profiles/ are listed, too")
    ] = None,
    lang: Lang = Language.en,
) -> None:
    """Device models that can be read, found by their label."""
    from meterwatch.commissioning.models import models_of
    from meterwatch.profiles_commands import nothing, render

    with _told():
        known = models_of(fleet).profiles
    lines = render(known, words or [], lang.value)
    for line in lines or [nothing(words or [], lang.value)]:
        print(line)
    if not lines:
        raise typer.Exit(3)


def main() -> None:
    """Entry point of the ``meterwatch`` command."""
    app()
