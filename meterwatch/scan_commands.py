"""``meterwatch scan``: options in, the search told as it goes, blocks for the registry out."""

# ruff: noqa: PLC0415, T201 -- as in cli.py: imports are late, it prints

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meterwatch.commissioning_commands import FleetFolder, Lang, Language, Told

if TYPE_CHECKING:
    from meterwatch.commissioning.contact.ports import Clock, Wanted

Url = Annotated[
    str,
    typer.Argument(
        help="modbus+tcp://HOST:PORT, modbus+rtu-tcp://HOST:PORT,"
        " modbus+serial:///dev/ttyUSB0?baud=9600&parity=N, dlt645+tcp://HOST:PORT or"
        " dlt645+serial:///dev/ttyUSB0?baud=2400&parity=E; put it in quotes"
    ),
]


def add_to(app: typer.Typer, told: Told) -> None:
    """The command; ``told`` as in :mod:`meterwatch.cli`."""

    @app.command("scan")
    def scan(
        url: Url,
        first: Annotated[
            int | None, typer.Option(help="Modbus: first unit number (1)", min=1, max=247)
        ] = None,
        last: Annotated[
            int | None, typer.Option(help="Modbus: last unit number (247)", min=1, max=247)
        ] = None,
        address: Annotated[
            list[str] | None,
            typer.Option(help="DL/T 645: ask these addresses instead: N or N-M; repeat"),
        ] = None,
        thorough: Annotated[
            bool,
            typer.Option(
                "--thorough", help="DL/T 645: search on below each answer, 500 questions a meter"
            ),
        ] = False,
        timeout: Annotated[
            float | None,
            typer.Option(help="seconds for an answer: Modbus 0.5, DL/T 645 0.8", min=0.05),
        ] = None,
        fleet: FleetFolder = None,
        lang: Lang = Language.en,
    ) -> None:
        """Find the meters on a line, and print what the registry needs.

        Reads only. Modbus: each unit number is asked one question; the one in the URL is not used.
        DL/T 645: meters are searched by the last digits of their addresses; with an address=AA...37
        in the URL only among those that end so.
        """
        with told("modbus"):
            from meterwatch.commissioning.contact.ports import Wanted

            wanted = Wanted(first, last, address or (), thorough)
            raise typer.Exit(run_scan(url, wanted, timeout, lang.value, fleet=fleet))


def run_scan(
    url: str,
    wanted: Wanted,
    patience: float | None,
    language: str,
    *,
    fleet: Path | None = None,
    clock: Clock | None = None,
) -> int:
    """Scan and print; 0 when somebody answers."""
    from meterwatch.commissioning.models import models_of
    from meterwatch.commissioning.probe_words import waiting_told
    from meterwatch.commissioning.scan import Scan, prepared, scan
    from meterwatch.commissioning.scan_words import plan_told, render, words

    models = models_of(fleet)
    terminal = sys.stderr.isatty()

    def progress(asked: int, of: int, found: int) -> None:
        line = words(language)["progress"].format(asked=asked, of=of, found=found)
        if terminal:
            print(f"\r{line}", end="", file=sys.stderr, flush=True)
        elif asked % 50 == 0:
            print(line, file=sys.stderr)

    async def going() -> tuple[Scan, str]:
        search = prepared(url, wanted, models=models, patience=patience, clock=clock)
        for line in (*waiting_told(url, 0, language), plan_told(search, language)):
            print(line, file=sys.stderr)
        return await scan(search, models=models, progress=progress, clock=clock), search.protocol

    done, protocol = asyncio.run(going())
    if terminal:
        print(file=sys.stderr)
    print(render(done, protocol, models, language))
    return 0 if done.found else 1
