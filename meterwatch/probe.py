"""Reads one device once and says which profile fits it: the first thing to do at a new meter.

Reads only, stores nothing. With a profile given, that one is judged; without, every profile
that has registers is tried. A profile is *plausible* when phase voltages (80 to 300 V, or an
unconnected phase at 0) and the frequency (45 to 55 Hz) are, and nothing is physically
impossible; *undecided* when it has neither to go by. A map that merely answers proves nothing:
most meters answer any address.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from adapters.profiles import load_profiles
from adapters.sources.modbus.address import AddressError, parse_connection
from adapters.sources.modbus.link import Failure, Link, What
from adapters.sources.modbus.plan import Block, Plan, plan
from collector.errors import ConfigurationError, Fault
from collector.model import Quality
from collector.profile import Profile
from collector.quantities import quantities
from collector.registry import Device

VOLTS: Final = (80.0, 300.0)
HERTZ: Final = (45.0, 55.0)
UNCONNECTED: Final = 1.0
"""A phase voltage below this is a phase that is not wired, not a wrong map."""


class Verdict(IntEnum):
    """How well a profile fits; larger is better."""

    NO_ANSWER = 0
    IMPLAUSIBLE = 1
    UNDECIDED = 2
    PLAUSIBLE = 3


@dataclass(frozen=True, slots=True)
class Value:
    """One value in its canonical unit; NaN with quality ``NO_VALUE`` where it has none."""

    quantity: str
    value: float
    unit: str
    quality: int


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a value cannot be: ``value`` lies outside ``low`` to ``high`` (canonical unit)."""

    quantity: str
    value: float
    low: float
    high: float
    unit: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """The device read with one profile. ``failure`` is empty when all of it was answered."""

    profile: str
    label: str
    label_zh: str
    verdict: Verdict
    values: tuple[Value, ...] = ()
    objections: tuple[Objection, ...] = ()
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What a probe found; ``attempts`` from the best fit down. ``failure`` when nothing was
    reached at all."""

    url: str
    attempts: tuple[Attempt, ...]
    failure: str = ""

    @property
    def best(self) -> Attempt | None:
        """The plausible profile, when there is one."""
        first = self.attempts[0] if self.attempts else None
        return first if first is not None and first.verdict is Verdict.PLAUSIBLE else None


async def probe(
    url: str,
    profile: Profile | None = None,
    *,
    profiles: Mapping[str, Profile] | None = None,
    patience: float = 2.0,
) -> Report:
    """Read the device at ``url`` (a ``connection`` as in the registry) once; an answer may take
    ``patience`` seconds. Raises ``AddressError`` for a URL that is none."""
    address = parse_connection(url)
    known = load_profiles() if profiles is None else profiles
    wanted = [profile] if profile is not None else [p for p in known.values() if p.registers]
    link = Link(address.bus, patience)
    try:
        failure = await link.connect()
        if failure is not None:
            return Report(url, (), failure.detail)
        attempts: list[Attempt] = []
        for one in wanted:
            attempt, silent = await _attempt(link, address.unit, one)
            attempts.append(attempt)
            if silent:  # another profile will not wake it
                return Report(url, tuple(attempts), attempt.failure)
        attempts.sort(key=lambda a: (a.verdict, len(a.values)), reverse=True)
        return Report(url, tuple(attempts))
    finally:
        link.close()


def run_probe(url: str, profile: str | None, language: str) -> int:
    """The command: probe, print, and 0 when a profile fits or may fit, else 1. Raises
    ``ConfigurationError`` for a URL or profile that is none."""
    known = load_profiles()
    wanted = None
    if profile is not None:
        wanted = known.get(profile)
        if wanted is None or not wanted.registers:
            names = ", ".join(sorted(n for n, p in known.items() if p.registers))
            raise ConfigurationError(Fault("--profile", 0, f'no model "{profile}"', names))
    try:
        report = asyncio.run(probe(url, wanted))
    except AddressError as error:
        raise ConfigurationError(Fault("URL", 0, str(error))) from error
    print(render(report, language))  # noqa: T201 what the command is for
    fits = {Verdict.PLAUSIBLE, Verdict.UNDECIDED}
    return 0 if any(attempt.verdict in fits for attempt in report.attempts) else 1


async def _attempt(link: Link, unit: int, profile: Profile) -> tuple[Attempt, bool]:
    """One profile; second: whether the device was silent."""
    device = Device("probe", "device", "place", profile.name)
    ids = {f"probe/place/{row.quantity}/raw": n for n, row in enumerate(profile.registers)}
    found = plan(device, profile, ids)
    image, refused, failure = await _read(link, unit, found)
    if refused and failure is None:  # a strict device may only mind the holes
        found = plan(device, profile, ids, strict=True)
        image, refused, failure = await _read(link, unit, found)
        found = plan(device, profile, ids, strict=True, without=refused)
    if failure is not None:
        return _unanswered(profile, str(failure)), failure.what is What.SILENT
    if not image:
        return _unanswered(profile, next(iter(refused.values()), "")), False
    values = _values(found, profile, image)
    objections = tuple(object_to(values))
    verdict = Verdict.IMPLAUSIBLE if objections else judge(values)
    refusal = "; ".join(refused.values())
    return (
        Attempt(
            profile.name,
            profile.label,
            profile.label_zh,
            verdict,
            values,
            objections,
            refusal,
        ),
        False,
    )


async def _read(
    link: Link, unit: int, wanted: Plan
) -> tuple[bytes, dict[Block, str], Failure | None]:
    """The image, what was refused and why, and what ended the reading before its time."""
    image = b""
    refused: dict[Block, str] = {}
    for block in wanted.blocks:
        if not link.connected:
            failure = await link.connect()
            if failure is not None:
                return image, refused, failure
        answer = await link.read(unit, block)
        if isinstance(answer, bytes):
            image += answer
        elif answer.what in {What.NO_SUCH, What.REFUSED}:
            refused[block] = str(answer)
        else:
            return image, refused, answer
    return image, refused, None


def _unanswered(profile: Profile, why: str) -> Attempt:
    return Attempt(profile.name, profile.label, profile.label_zh, Verdict.NO_ANSWER, failure=why)


def _values(read: Plan, profile: Profile, image: bytes) -> tuple[Value, ...]:
    values, qualities = read.decode(image)
    names = [profile.registers[n].quantity for n in read.points.tolist()]
    return tuple(
        Value(name, value, quantities()[name].unit, quality)
        for name, value, quality in zip(names, values.tolist(), qualities.tolist(), strict=True)
    )


def object_to(values: Iterable[Value]) -> Iterable[Objection]:
    """Values that cannot be, given that a meter on a grid shows them."""
    for value in values:
        if value.quality != Quality.GOOD:
            continue
        row = quantities()[value.quantity]
        low, high = row.low, row.high
        if value.quantity == "frequency":
            low, high = HERTZ
        elif _phase_voltage(value.quantity) and value.value >= UNCONNECTED:
            low, high = VOLTS
        if not low <= value.value <= high:
            yield Objection(value.quantity, value.value, low, high, value.unit)


def judge(values: Sequence[Value]) -> Verdict:
    """Of values to which there is no objection."""
    telling = [
        value
        for value in values
        if value.quality == Quality.GOOD
        and (value.quantity == "frequency" or _phase_voltage(value.quantity))
    ]
    if any(value.value >= UNCONNECTED for value in telling):
        return Verdict.PLAUSIBLE
    return Verdict.IMPLAUSIBLE if telling else Verdict.UNDECIDED


def _phase_voltage(quantity: str) -> bool:
    return quantity in {"voltage.l1", "voltage.l2", "voltage.l3"}


# What people read.

_WORDS: Final[dict[str, dict[str, str]]] = {
    "en": {
        "unreached": "cannot be reached",
        "silent": "is connected, but does not answer",
        "hint-tcp": "check the address and the port, and whether this machine is in that network",
        "hint-serial": "check the name of the port, and whether this user may use it",
        "hint-silent": "check the unit number; on a serial line also baud rate, parity and the two"
        " wires (try them exchanged)",
        "PLAUSIBLE": "plausible",
        "IMPLAUSIBLE": "does not fit",
        "UNDECIDED": "answers, but nothing shows whether it fits",
        "NO_ANSWER": "not answered",
        "outside": "is outside",
        "refused": "refused",
        "best": "Use profile",
        "none": "No profile fits. Compare with the meter's display and its document.",
        "compare": "Compare one value with the meter's display before you trust it.",
        "missing": "no value",
    },
    "zh": {
        "unreached": "无法连接",
        "silent": "已连接，但设备无应答",
        "hint-tcp": "请检查地址和端口，以及本机与设备是否在同一网络",
        "hint-serial": "请检查串口名称，以及当前用户是否有权使用",
        "hint-silent": "请检查从站号；串口线路还要检查波特率、校验位和 A/B 两根线是否接反",
        "PLAUSIBLE": "合理",
        "IMPLAUSIBLE": "不符",
        "UNDECIDED": "有应答，但没有可用于判断的指标",
        "NO_ANSWER": "未应答",
        "outside": "超出",
        "refused": "被拒绝",
        "best": "建议使用型号",
        "none": "没有相符的型号，请对照表计显示与说明书。",
        "compare": "使用前，请与表计显示核对一个数值。",
        "missing": "无数值",
    },
}


def render(report: Report, language: str = "zh") -> str:
    """The report as lines of plain text, ``zh`` or ``en``."""
    words = _WORDS["zh" if language == "zh" else "en"]
    lines: list[str] = []
    if report.failure:
        state, hint = words["silent"], words["hint-silent"]
        if not report.attempts:
            serial = report.url.startswith("modbus+serial:")
            state, hint = words["unreached"], words["hint-serial" if serial else "hint-tcp"]
        return f"{report.url} {state}: {report.failure}\n{hint}"
    shown = [a for a in report.attempts if a.verdict is Verdict.PLAUSIBLE]
    for attempt in report.attempts:
        label = attempt.label_zh if language == "zh" else attempt.label
        lines.append(f"{attempt.profile} ({label}): {words[attempt.verdict.name]}")
        lines += [
            f"  {_name(o.quantity, language)} {o.value:g} {o.unit}"
            f" {words['outside']} {o.low:g} .. {o.high:g}"
            for o in attempt.objections[:3]
        ]
        if attempt.failure:
            lines.append(f"  {words['refused']}: {attempt.failure}")
        if attempt in shown or len(report.attempts) == 1:
            lines += [f"  {_shown(value, words, language)}" for value in attempt.values]
    if report.best is not None:
        lines += [f"{words['best']}: {report.best.profile}", words["compare"]]
    elif not any(a.verdict is Verdict.UNDECIDED for a in report.attempts):
        lines.append(words["none"])
    else:
        lines.append(words["compare"])
    return "\n".join(lines)


def _name(quantity: str, language: str) -> str:
    return quantities()[quantity].label(language)


def _shown(value: Value, words: Mapping[str, str], language: str) -> str:
    number = (
        f"{value.value:.10g} {value.unit if value.unit != '1' else ''}".rstrip()
        if value.quality == Quality.GOOD
        else words["missing"]
    )
    return f"{_name(value.quantity, language)}: {number}"
