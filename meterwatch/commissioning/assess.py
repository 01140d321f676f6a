"""What a probe's report comes to, given what a person said of the installation: the diagnosis of
its wiring, the acceptance sheet, the ``[[device]]`` block. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from collector.errors import ConfigurationError, Fault
from collector.registry import Device, ratio_of
from meterwatch.commissioning.device_block import device_block
from meterwatch.commissioning.findings import Diagnosis, Installed
from meterwatch.commissioning.models import Models
from meterwatch.commissioning.plausible import Verdict
from meterwatch.commissioning.probe import Report
from meterwatch.commissioning.sheet import DISPLAYED, Compared, Sheet, compare
from meterwatch.commissioning.wiring import diagnose


@dataclass(frozen=True, slots=True)
class Asked:
    """What a probe is to do, as typed. ``display``: what the meter's display shows, as
    ``kWh=1234.5``; ``clamp``: amperes by a clamp meter, as ``L1=118``; ``fleet``: the folder whose
    own models are tried, too."""

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
    fleet: Path | None = None


def pair(option: str, text: str) -> tuple[str, str]:
    """``name=value`` of an option. Raises ``ConfigurationError``."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise ConfigurationError(
            Fault(option, 0, f'"{text}" is no name=number', "as in kWh=1234.5")
        )
    return name.strip(), value.strip()


def typed(name: str, text: str, report: Report | None, ratios: Mapping[str, float]) -> Compared:
    """What the display shows against what was read; without a report only whether that could be
    compared. Raises ``ConfigurationError`` for what is no name or number."""
    values = report.samples[0].values if report is not None else ()
    try:
        return compare(name, text, values, ratios)
    except ValueError as error:
        what = f"{name}={text}: {error}"
        names = f"one of {', '.join(DISPLAYED)}, or a quantity's name, and a number"
        raise ConfigurationError(Fault("--display", 0, what, names)) from error


def installed(asked: Asked) -> Installed:
    """What was said of the installation; ratios are put in by ``wiring``, where the profile is
    known to take them. Raises ``ConfigurationError``."""
    clamps = [math.nan] * 3
    for one in asked.clamp:
        name, text = pair("--clamp", one)
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


def ratios_of(profile: str, asked: Asked, models: Models) -> Mapping[str, float]:
    """By what each quantity is multiplied, from the one rule that intake and books follow."""
    known = models.profiles[profile]
    device = Device(
        "probe",
        "device",
        "place",
        profile,
        ratio=asked.voltage_ratio * asked.current_ratio,
        voltage_ratio=asked.voltage_ratio,
        current_ratio=asked.current_ratio,
    )
    return {quantity: ratio_of(device, quantity, known) for quantity in known.measured}


def wiring(report: Report, ratios: Mapping[str, float], said: Installed) -> Diagnosis | None:
    """The diagnosis of an electricity meter; None for any other device."""
    samples: list[Mapping[str, float]] = [
        {v.quantity: v.value * ratios.get(v.quantity, 1.0) for v in sample.values if v.given}
        for sample in report.samples
    ]
    if not any(name.startswith(("voltage.l", "current.l")) for one in samples for name in one):
        return None
    one_phase = not any("l2" in name or "l3" in name for name in ratios)
    if one_phase:
        samples = [_of_one_phase(sample) for sample in samples]
    voltage = max((ratios.get(f"voltage.l{n}", 1.0) for n in (1, 2, 3)), default=1.0)
    current = max((ratios.get(f"current.l{n}", 1.0) for n in (1, 2, 3)), default=1.0)
    known = replace(
        said,
        voltage_ratio=voltage,
        current_ratio=current,
        single_phase=said.single_phase or one_phase,
    )
    return diagnose(samples, known, [sample.time / 1000 for sample in report.samples])


def _of_one_phase(sample: Mapping[str, float]) -> Mapping[str, float]:
    """The total of a single-phase meter is its phase's."""
    totals = ("power.active", "power.reactive", "power.apparent", "power.factor")
    return {f"{name}.l1": sample[name] for name in totals if name in sample} | dict(sample)


def sheet_of(
    asked: Asked,
    report: Report,
    compared: Sequence[Compared],
    found: Diagnosis | None,
    models: Models,
) -> Sheet:
    """``report`` has samples."""
    first = report.attempts[0]
    last = report.samples[-1]
    span = (last.time - report.samples[0].time) / 1000
    when = datetime.fromtimestamp(last.time / 1000, UTC).astimezone()
    return Sheet(
        url=report.url,
        when=f"{when:%Y-%m-%d %H:%M:%S %z}",
        profile=first.profile,
        label=first.label,
        label_zh=first.label_zh,
        fits=first.verdict in {Verdict.PLAUSIBLE, Verdict.UNDECIDED},
        values=last.values,
        ratios=ratios_of(first.profile, asked, models),
        compared=tuple(compared),
        wiring=found,
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
        takes_ratios=models.takes_ratios(first.profile),
        told=report.identified,
    )


def block_of(asked: Asked, report: Report, models: Models, language: str) -> str:
    """The ``[[device]]`` for the registry, as text."""
    first = report.attempts[0]
    fitting = first.turn or first.verdict in {Verdict.PLAUSIBLE, Verdict.UNDECIDED}
    others = [a.profile for a in report.attempts[1:] if a.verdict is Verdict.PLAUSIBLE]
    return "\n" + device_block(
        report.url,
        first.profile if fitting else "",
        language,
        name=asked.device,
        place=asked.place,
        serial=asked.serial or report.identified.serial,
        ratio=models.takes_ratios(first.profile),
        voltage_ratio=asked.voltage_ratio,
        current_ratio=asked.current_ratio,
        others=tuple(others),
        order=first.order,
    )
