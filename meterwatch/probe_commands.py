"""``meterwatch probe``: options in, what was found out, sheets written; asks for the display."""

# ruff: noqa: PLC0415, T201 -- as in cli.py: imports are late, it prints

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from collector.errors import ConfigurationError, Fault
from meterwatch.commissioning_commands import FleetFolder, Lang, Language, Told

if TYPE_CHECKING:
    from meterwatch.commissioning.assess import Asked
    from meterwatch.commissioning.contact.ports import Clock
    from meterwatch.commissioning.probe import Report
    from meterwatch.commissioning.sheet import Sheet

Url = Annotated[
    str,
    typer.Argument(
        help="modbus+tcp://HOST:PORT?unit=N, modbus+rtu-tcp://HOST:PORT?unit=N,"
        " modbus+serial:///dev/ttyUSB0?unit=N&baud=9600&parity=N, dlt645+tcp://HOST:PORT?address=N,"
        " dlt645+serial:///dev/ttyUSB0?address=N&baud=2400&parity=E or"
        " dlt645+listen://0.0.0.0:PORT?terminal=NAME&address=N; address is the number on the"
        " meter's label, or AAAAAAAAAAAA with one meter on the line; put it in quotes"
    ),
]


def add_to(app: typer.Typer, told: Told) -> None:
    """The command; ``told`` as in :mod:`meterwatch.cli`."""

    @app.command("probe")
    def probe(
        url: Url,
        profile: Annotated[
            str | None, typer.Option(help="device model, see profiles; default: try all")
        ] = None,
        watch: Annotated[
            float, typer.Option(help="seconds to go on reading; then the wiring is judged", min=0)
        ] = 0,
        timeout: Annotated[float, typer.Option(help="seconds for an answer", min=0.05)] = 2.0,
        voltage_ratio: Annotated[float, typer.Option(help="as in the registry", min=1e-6)] = 1.0,
        current_ratio: Annotated[
            float, typer.Option(help="as in the registry: 40 for 200/5 A", min=1e-6)
        ] = 1.0,
        feeds_in: Annotated[
            bool | None,
            typer.Option(
                "--feeds-in/--no-feed-in", help="whether a generator or PV can feed in behind it"
            ),
        ] = None,
        three_wire: Annotated[
            bool, typer.Option("--three-wire", help="no neutral, two current transformers")
        ] = False,
        single_phase: Annotated[
            bool, typer.Option("--single-phase", help="only L1 is connected, on purpose")
        ] = False,
        clamp: Annotated[
            list[str] | None, typer.Option(help="amperes by a clamp meter: L1=118; repeat")
        ] = None,
        display: Annotated[
            list[str] | None,
            typer.Option(help="what the display shows: kWh=1234.5, V1=230, kW=12.3; repeat"),
        ] = None,
        ask: Annotated[bool, typer.Option("--ask", help="ask for what the display shows")] = False,
        sheet: Annotated[
            list[Path] | None,
            typer.Option(help="write an acceptance sheet: .html to print, or .txt; repeat"),
        ] = None,
        site: Annotated[str, typer.Option(help="name of the site, for the sheet")] = "",
        place: Annotated[str, typer.Option(help="the metering place's id")] = "",
        serial: Annotated[str, typer.Option(help="as printed on the meter")] = "",
        device: Annotated[str, typer.Option(help="id that the device gets in the registry")] = "",
        fleet: FleetFolder = None,
        lang: Lang = Language.en,
    ) -> None:
        """Read one meter, say which model fits it, and whether it is wired rightly.

        With --watch the wiring is judged, with --sheet an acceptance sheet is written. Reads
        only; prints the [[device]] block for the registry.
        """
        from meterwatch.commissioning.assess import Asked

        asked = Asked(
            url,
            profile,
            watch,
            timeout,
            voltage_ratio,
            current_ratio,
            feeds_in,
            three_wire,
            single_phase,
            clamp or (),
            display or (),
            ask,
            sheet or (),
            site,
            place,
            serial,
            device,
            fleet,
        )
        with told("modbus"):
            raise typer.Exit(run_probe(asked, lang.value))


def run_probe(asked: Asked, language: str, clock: Clock | None = None) -> int:
    """Probe, judge, compare, write the sheets, print; the exit code."""
    from collector.connections import protocol_of
    from meterwatch.commissioning import assess
    from meterwatch.commissioning.models import models_of
    from meterwatch.commissioning.probe import probe
    from meterwatch.commissioning.probe_words import render, waiting_told
    from meterwatch.commissioning.sheet import Proposal

    models = models_of(asked.fleet)
    protocol = protocol_of(asked.url)
    wanted = models.named(asked.profile, protocol) if asked.profile and protocol else None
    installed = assess.installed(asked)
    display = [assess.pair("--display", one) for one in asked.display]
    for name, text in display:  # faults before the meter is asked for a minute, not after
        assess.typed(name, text, None, {})
    for line in waiting_told(asked.url, asked.watch, language):
        print(line, file=sys.stderr)
    report = asyncio.run(
        probe(
            asked.url,
            wanted,
            models=models,
            patience=asked.patience,
            watch=asked.watch,
            clock=clock,
        )
    )
    print(render(report, language))
    first = report.first
    if first is None or report.trouble is not None or not report.samples:
        return 1
    ratios = assess.ratios_of(first.profile, asked, models)
    wiring = None
    if asked.watch > 0 or asked.sheets:
        wiring = assess.wiring(report, ratios, installed)
    if asked.ask:
        display += _asked_for(report, language)
    compared = [assess.typed(name, text, report, ratios) for name, text in display]
    sheet = assess.sheet_of(asked, report, compared, wiring, models)
    _print_wiring(sheet, language)
    for path in asked.sheets:
        _write(path, sheet, language)
    print(assess.block_of(asked, report, models, language))
    return 1 if sheet.proposal is Proposal.REFUSE else 0


def _asked_for(report: Report, language: str) -> list[tuple[str, str]]:
    """Ask for the few numbers that every display shows and this device brings."""
    from meterwatch.commissioning import assess
    from meterwatch.commissioning.sheet import displayed

    has = {value.quantity for value in report.samples[-1].values if value.given}
    names = [n for n in ("kWh", "kW", "V1", "A1", "m3", "GJ") if has.intersection(displayed(n))]
    found = []
    for name in names:
        what = (
            f"表计显示的 {name}（没有则回车）"
            if language == "zh"
            else f"display, {name} (or Enter)"
        )
        typed = typer.prompt(what, default="", show_default=False).strip()
        if typed:
            found.append((name, typed))
    for name, typed in found:
        assess.typed(name, typed, None, {})
    return found


def _print_wiring(sheet: Sheet, language: str) -> None:
    """What was found out beyond the values, on the terminal; the sheet has more."""
    from meterwatch.commissioning.sheet_words import compared_told, wiring_told

    if sheet.compared:
        print("\n".join(["", *compared_told(sheet, language)]))
    if sheet.wiring is not None:
        print("\n".join(["", *wiring_told(sheet, language)]))


def _write(path: Path, sheet: Sheet, language: str) -> None:
    from meterwatch.commissioning.sheet_html import page
    from meterwatch.commissioning.sheet_words import text

    html = path.suffix.lower() in {".html", ".htm"}
    made = page(sheet, language) if html else text(sheet, language)
    try:
        path.write_text(made + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            Fault("--sheet", 0, f"{path} cannot be written: {error.strerror}", "name another file")
        ) from error
    print(path)
