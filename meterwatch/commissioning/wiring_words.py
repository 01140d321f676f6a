"""A diagnosis in words that an electrician acts on, Chinese and English. Pure.

Each finding is told as what it is, the numbers it was seen by, and what to do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from meterwatch.commissioning.connections import Cause
from meterwatch.commissioning.finding_words import EN, ZH
from meterwatch.commissioning.findings import Check, Finding, Kind, Level

_PHASES: Final = {"en": ("L1", "L2", "L3"), "zh": ("A相", "B相", "C相")}
SMALL: Final = 0.3
"""Numbers this much apart may be of two moments."""
_SIDES: Final = {
    "en": ("the current leads", "the voltage leads"),
    "zh": ("电流线", "电压线"),
}

CHECKS: Final[dict[Check, tuple[str, str]]] = {
    Check.VOLTAGE: ("Voltages", "电压"),
    Check.FREQUENCY: ("Frequency", "频率"),
    Check.CURRENT: ("Currents", "电流"),
    Check.POWER: ("Power against U x I x power factor", "功率与 U×I×功率因数核对"),
    Check.DIRECTION: ("Direction and phases of the currents", "电流方向与相别"),
    Check.RATIO: ("Transformer ratios", "互感器变比"),
    Check.COUNTER: ("Counter against power", "电能与功率核对"),
}
LEVELS: Final[dict[Level | None, tuple[str, str]]] = {
    None: ("in order", "正常"),
    Level.NOTE: ("cannot be told", "无法判断"),
    Level.DOUBT: ("to be checked", "待核实"),
    Level.FAULT: ("wrong", "错误"),
}
LEVEL_OF_FINDING: Final[dict[Level, tuple[str, str]]] = {
    Level.NOTE: ("note", "提示"),
    Level.DOUBT: ("check", "核实"),
    Level.FAULT: ("WRONG", "错误"),
}


@dataclass(frozen=True, slots=True)
class Told:
    """``what`` it is, by which numbers it was ``seen``, what ``todo``; the last may be empty."""

    what: str
    seen: str
    todo: str

    def __str__(self) -> str:
        return " ".join(part for part in (self.what, self.seen, self.todo) if part)


def phase_name(number: int, language: str) -> str:
    return _PHASES[_lang(language)][number - 1]


def told(finding: Finding, language: str) -> Told:
    """The finding in words."""
    lang = _lang(language)
    numbers = finding.numbers
    more = {
        "p": _and([phase_name(n, lang) for n in finding.phases], lang),
        "c": causes_told(finding.causes, lang),
        "pf": phase_name(int(numbers.get("phase", 1)), lang),
        "angles": _angles(numbers, lang),
        "powers": _powers(numbers, lang),
        "guess": guessed(numbers.get("factor", math.nan), numbers.get("ratio", math.nan), lang),
    }
    what, seen, todo = (
        part.format(**numbers, **more) for part in (ZH if lang == "zh" else EN)[finding.kind]
    )
    if finding.kind is Kind.CONNECTED_WRONGLY and finding.level is Level.FAULT:
        todo = "请改正后重测。" if lang == "zh" else "Correct it, and repeat."
    return Told(what, seen, todo)


def causes_told(found: Sequence[Cause], language: str) -> str:
    """``either ... or ...``; each cause as what is exchanged and what is turned round."""
    lang = _lang(language)
    texts = list(dict.fromkeys(_cause(cause, lang) for cause in found))
    return ("，或" if lang == "zh" else "; or ").join(texts)


def _cause(cause: Cause, lang: str) -> str:
    parts: list[str] = []
    crossed = [phase_name(n, lang) for n in cause.crossed]
    turned = [phase_name(n, lang) for n in cause.reversed]
    if len(crossed) == 2:
        side = _SIDES[lang][cause.voltages]
        parts.append(
            f"{crossed[0]}与{crossed[1]}的{side}对调"
            if lang == "zh"
            else f"{side} of {crossed[0]} and {crossed[1]} are exchanged"
        )
    elif crossed:
        gets = [
            f"{phase_name(element, lang)}{'←' if lang == 'zh' else ' gets '}{phase_name(of, lang)}"
            for element, of in cause.gets.items()
        ]
        parts.append(
            f"三相电流（或电压）错位一相（{'，'.join(gets)}）"
            if lang == "zh"
            else f"the currents (or the voltages) are shifted by one phase ({', '.join(gets)})"
        )
    if turned:
        parts.append(
            f"{_and(turned, lang)}电流互感器极性接反"
            if lang == "zh"
            else f"the current transformer of {_and(turned, lang)} is reversed"
        )
    if not parts:
        return "负荷本身如此" if lang == "zh" else "the loads are like this"
    return ("，且" if lang == "zh" else ", and ").join(parts)


def guessed(factor: float, ratio: float, language: str) -> str:
    """What a factor between two numbers that should be equal probably is."""
    lang = _lang(language)
    zh = lang == "zh"
    if abs(factor - 1) < SMALL:
        return "请在负荷平稳时重测。" if zh else "Repeat with a steady load."
    if ratio > 1 and _near(factor, ratio):
        return "变比多算了一次。" if zh else "The ratio is applied once too often."
    if ratio > 1 and _near(factor, 1 / ratio):
        return "变比少算了一次。" if zh else "The ratio is applied once too little."
    for known in (1000.0, 100.0, 10.0):
        if _near(factor, known) or _near(factor, 1 / known):
            return (
                f"可能是单位或小数位不同（{known:g} 倍）：请检查设备型号。"
                if zh
                else f"Probably another unit or decimal point ({known:g}): check the device model."
            )
    if _near(factor, math.sqrt(3)) or _near(factor, 1 / math.sqrt(3)):
        return (
            "可能混用了相电压与线电压：请检查设备型号和接线方式。"
            if zh
            else "Probably voltage to neutral and between phases mixed up: check the device model."
        )
    whole = factor if factor >= 1 else 1 / factor if factor > 0 else math.nan
    if whole >= 2 and _near(whole, round(whole)):
        return (
            f"很像 {round(whole)} 倍的互感器变比只算在其中一边：请核对变比与设备型号。"
            if zh
            else f"It looks like a transformer ratio of {round(whole)} on one side only: check"
            " ratio and device model."
        )
    return (
        "请核对变比、互感器铭牌和设备型号。"
        if zh
        else "Check ratio, the transformers' name plates and the device model."
    )


def _near(factor: float, wanted: float) -> bool:
    return abs(factor / wanted - 1) < 0.05


def _angles(numbers: Mapping[str, float], lang: str) -> str:
    parts = []
    for n in (1, 2, 3):
        angle, power = numbers.get(f"angle{n}"), numbers.get(f"power{n}")
        if angle is None:
            continue
        comma = "，" if lang == "zh" else ", "
        shown = f" {power:.3f} kW{comma}" if power is not None else " "
        parts.append(f"{phase_name(n, lang)}{shown}{angle:.0f}°")
    return ("；" if lang == "zh" else "; ").join(parts)


def _powers(numbers: Mapping[str, float], lang: str) -> str:
    return ("，" if lang == "zh" else ", ").join(
        f"{phase_name(n, lang)} {numbers[key]:.3f} kW"
        for n in (1, 2, 3)
        if (key := f"power{n}") in numbers
    )


def _and(names: Sequence[str], lang: str) -> str:
    if lang == "zh":
        return "、".join(names)
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + "".join(names[-1:])


def _lang(language: str) -> str:
    return "zh" if language == "zh" else "en"
