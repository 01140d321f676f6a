"""``meterwatch probe`` and ``meterwatch scan``: what an electrician runs at a new meter.

The front door of :mod:`meterwatch.commissioning`: it reads options, asks for what the display
shows, hands all over and prints what came of it. Both only read from devices. Exit codes as in
:mod:`meterwatch.cli`; 1 also when no profile fits, when the wiring is wrong, when the display
disagrees, or when nobody answers a scan.
"""

# ruff: noqa: PLC0415, T201 -- as in cli.py: imports are late, it prints

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from collector.errors import ConfigurationError, Fault

if TYPE_CHECKING:
    from collector.profile import Profile
    from meterwatch.commissioning.findings import Diagnosis, Installed
    from meterwatch.commissioning.sheet import Compared, Sheet
    from meterwatch.probe import Clock, Report

Told = Callable[[str], AbstractContextManager[None]]
"""Turns errors into text and exit codes; takes the name of the extra that brings the libraries."""


class Language(StrEnum):
    en = "en"
    zh = "zh"


Lang = Annotated[Language, typer.Option(help="language of what people read")]
Url = Annotated[
    str,
    typer.Argument(
        help="modbus+tcp://HOST:PORT?unit=N, modbus+rtu-tcp://HOST:PORT?unit=N, or"
        " modbus+serial:///dev/ttyUSB0?unit=N&baud=9600&parity=N; put it in quotes"
    ),
]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a probe is to do, as typed. ``display``: what the meter's display shows, as
    ``kWh=1234.5``; ``clamp``: amperes by a clamp meter, as ``L1=118``."""

    url: str
    profile: str | None = None
    watch: float = 0.0
    patience: float = 2.0
    voltage_ratio: float = 1.0
    current_ratio: float = 1.0
    feeds_in: bool | None = None
    three_wire: bool = False
    single_phase: bool = False
    clamp: Sequence[str] = ()
    display: Sequence[str] = ()
    ask: bool = False
    sheets: Sequence[Path] = ()
    site: str = ""
    place: str = ""
    serial: str = ""
    device: str = ""


def commands(told: Told) -> typer.Typer:
    """The two commands; ``told`` as in :mod:`meterwatch.cli`."""
    app = typer.Typer()

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
        lang: Lang = Language.en,
    ) -> None:
        """Read one meter, say which model fits it, and whether it is wired rightly.

        With --watch the wiring is judged, with --sheet an acceptance sheet is written. Reads
        only; prints the [[device]] block for the registry.
        """
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
        )
        with told("modbus"):
            raise typer.Exit(run_probe(asked, lang.value))

    @app.command("scan")
    def scan(
        url: Url,
        first: Annotated[int, typer.Option(help="first unit number", min=1, max=247)] = 1,
        last: Annotated[int, typer.Option(help="last unit number", min=1, max=247)] = 247,
        timeout: Annotated[
            float, typer.Option(help="seconds that a unit has for its answer", min=0.05)
        ] = 0.5,
        lang: Lang = Language.en,
    ) -> None:
        """Find the meters on a bus, and print what the registry needs.

        Asks each unit number one question; reads only. The unit number in the URL is not used.
        """
        with told("modbus"):
            raise typer.Exit(run_scan(url, range(first, last + 1), timeout, lang.value))

    return app


def run_probe(asked: Asked, language: str, clock: Clock | None = None) -> int:
    """Probe, judge, compare, write the sheets, print; the exit code."""
    from adapters.sources.modbus.address import AddressError
    from meterwatch.commissioning.probe_words import render
    from meterwatch.commissioning.sheet import compare
    from meterwatch.probe import probe

    wanted = _profile(asked.profile)
    installed = _installed(asked)
    display = [_pair("--display", one) for one in asked.display]
    _known(display)
    if asked.watch > 0:
        seconds = f"{asked.watch:g}"
        wait = f"观察 {seconds} 秒……" if language == "zh" else f"watching for {seconds} s ..."
        print(wait, file=sys.stderr)
    try:
        report = asyncio.run(
            probe(asked.url, wanted, patience=asked.patience, watch=asked.watch, clock=clock)
        )
    except AddressError as error:
        raise ConfigurationError(Fault("URL", 0, str(error))) from error
    print(render(report, language))
    first = report.first
    if first is None or report.failure or not report.samples:
        return 1
    ratios = _ratios(first.profile, asked)
    wiring = _wiring(report, ratios, installed) if asked.watch > 0 or asked.sheets else None
    if asked.ask:
        display += _asked_for(report, language)
    compared = [
        _wrongly_typed(name, typed, lambda n, t: compare(n, t, report.samples[0].values, ratios))
        for name, typed in display
    ]
    sheet = _sheet(asked, report, compared, wiring, ratios)
    _print_wiring(sheet, language)
    for path in asked.sheets:
        _write(path, sheet, language)
    print(_block(asked, report, language))
    return _exit_code(sheet)


def run_scan(
    url: str, units: Sequence[int], patience: float, language: str, clock: Clock | None = None
) -> int:
    """Scan and print; 0 when somebody answers."""
    from adapters.profiles import load_profiles
    from adapters.sources.modbus.address import AddressError, parse_connection
    from meterwatch.commissioning.scan import longest, scan
    from meterwatch.commissioning.scan_words import plan_told, render, words

    if not units:
        raise ConfigurationError(Fault("--last", 0, "is below --first", "exchange the two"))
    try:
        place = parse_connection(url).bus.place
    except AddressError as error:
        raise ConfigurationError(Fault("URL", 0, str(error))) from error
    most = longest(url, len(units), patience)
    print(plan_told(place, units[0], units[-1], most, language), file=sys.stderr)
    terminal = sys.stderr.isatty()

    def progress(asked: int, of: int, found: int) -> None:
        line = words(language)["progress"].format(asked=asked, of=of, found=found)
        if terminal:
            print(f"\r{line}", end="", file=sys.stderr, flush=True)
        elif asked % 50 == 0:
            print(line, file=sys.stderr)

    done = asyncio.run(scan(url, units, patience=patience, progress=progress, clock=clock))
    if terminal:
        print(file=sys.stderr)
    print(render(done, load_profiles(), language))
    return 0 if done.found else 1


def _profile(name: str | None) -> Profile | None:
    from adapters.profiles import load_profiles

    if name is None:
        return None
    known = load_profiles()
    found = known.get(name)
    if found is None or not found.registers:
        names = ", ".join(sorted(n for n, p in known.items() if p.registers))
        raise ConfigurationError(Fault("--profile", 0, f'no model "{name}"', names))
    return found


def _pair(option: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise ConfigurationError(
            Fault(option, 0, f'"{text}" is no name=number', "as in kWh=1234.5")
        )
    return name.strip(), value.strip()


def _known(display: Sequence[tuple[str, str]]) -> None:
    """Faults before the meter is asked for a minute, not after."""
    from meterwatch.commissioning.sheet import compare

    for name, typed in display:
        _wrongly_typed(name, typed, lambda n, t: compare(n, t, (), {}))


def _wrongly_typed(name: str, typed: str, compare: Callable[[str, str], Compared]) -> Compared:
    from meterwatch.commissioning.sheet import DISPLAYED

    try:
        return compare(name, typed)
    except ValueError as error:
        what = f"{name}={typed}: {error}"
        names = f"one of {', '.join(DISPLAYED)}, or a quantity's name, and a number"
        raise ConfigurationError(Fault("--display", 0, what, names)) from error


def _installed(asked: Asked) -> Installed:
    """What was said of the installation; ratios are put in by ``_wiring``, where the profile is
    known to take them."""
    from meterwatch.commissioning.findings import Installed

    clamps = [math.nan] * 3
    for one in asked.clamp:
        name, text = _pair("--clamp", one)
        try:
            clamps[("l1", "l2", "l3").index(name.lower())] = float(text)
        except ValueError as error:
            raise ConfigurationError(Fault("--clamp", 0, f'"{one}"', "as in L1=118.5")) from error
    return Installed(
        asked.voltage_ratio,
        asked.current_ratio,
        asked.feeds_in,
        asked.three_wire,
        asked.single_phase,
        (clamps[0], clamps[1], clamps[2]),
    )


def _ratios(profile: str, asked: Asked) -> Mapping[str, float]:
    """By what each quantity is multiplied, from the one rule that intake and books follow."""
    from adapters.profiles import load_profiles
    from collector.registry import Device, ratio_of

    known = load_profiles()[profile]
    device = Device(
        "probe",
        "device",
        "place",
        profile,
        ratio=asked.voltage_ratio * asked.current_ratio,
        voltage_ratio=asked.voltage_ratio,
        current_ratio=asked.current_ratio,
    )
    return {one.quantity: ratio_of(device, one.quantity, known) for one in known.registers}


def _wiring(report: Report, ratios: Mapping[str, float], installed: Installed) -> Diagnosis | None:
    """The diagnosis of an electricity meter; None for any other device."""
    from dataclasses import replace

    from meterwatch.commissioning.wiring import diagnose

    samples = [
        {v.quantity: v.value * ratios.get(v.quantity, 1.0) for v in sample.values if v.given}
        for sample in report.samples
    ]
    if not any(name.startswith(("voltage.l", "current.l")) for one in samples for name in one):
        return None
    voltage = max((ratios.get(f"voltage.l{n}", 1.0) for n in (1, 2, 3)), default=1.0)
    current = max((ratios.get(f"current.l{n}", 1.0) for n in (1, 2, 3)), default=1.0)
    known = replace(installed, voltage_ratio=voltage, current_ratio=current)
    return diagnose(samples, known, [sample.time / 1000 for sample in report.samples])


def _asked_for(report: Report, language: str) -> list[tuple[str, str]]:
    """Ask for the few numbers that every display shows and this device brings."""
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
    _known(found)
    return found


def _sheet(
    asked: Asked,
    report: Report,
    compared: Sequence[Compared],
    wiring: Diagnosis | None,
    ratios: Mapping[str, float],
) -> Sheet:
    from datetime import UTC, datetime

    from meterwatch.commissioning.plausible import Verdict
    from meterwatch.commissioning.sheet import Sheet

    first = report.attempts[0]
    last = report.samples[-1]
    span = (last.time - report.samples[0].time) / 1000
    when = datetime.fromtimestamp(last.time / 1000, UTC).astimezone()
    return Sheet(
        url=asked.url,
        when=f"{when:%Y-%m-%d %H:%M:%S %z}",
        profile=first.profile,
        label=first.label,
        label_zh=first.label_zh,
        fits=first.verdict in {Verdict.PLAUSIBLE, Verdict.UNDECIDED},
        values=last.values,
        ratios=ratios,
        compared=tuple(compared),
        wiring=wiring,
        watched=span,
        samples=len(report.samples),
        serial=asked.serial,
        place=asked.place,
        site=asked.site,
        voltage_ratio=asked.voltage_ratio,
        current_ratio=asked.current_ratio,
        feeds_in=asked.feeds_in,
        order=first.order,
        own_order=first.own_order,
        takes_ratios=_takes_ratios(first.profile),
        told_serial=report.identified.serial,
        told_ratios=(report.identified.voltage_ratio, report.identified.current_ratio),
    )


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


def _block(asked: Asked, report: Report, language: str) -> str:
    from meterwatch.commissioning.device_block import device_block
    from meterwatch.commissioning.plausible import Verdict

    first = report.attempts[0]
    fitting = first.turn or first.verdict in {Verdict.PLAUSIBLE, Verdict.UNDECIDED}
    others = [a.profile for a in report.attempts[1:] if a.verdict is Verdict.PLAUSIBLE]
    return "\n" + device_block(
        asked.url,
        first.profile if fitting else "",
        language,
        name=asked.device,
        place=asked.place,
        serial=asked.serial or report.identified.serial,
        ratio=_takes_ratios(first.profile),
        voltage_ratio=asked.voltage_ratio,
        current_ratio=asked.current_ratio,
        others=tuple(others),
        order=first.order,
    )


def _takes_ratios(profile: str) -> bool:
    from adapters.profiles import load_profiles

    return any(row.ratio for row in load_profiles()[profile].registers)


def _exit_code(sheet: Sheet) -> int:
    from meterwatch.commissioning.sheet import Proposal

    return 1 if sheet.proposal is Proposal.REFUSE else 0
