"""The acceptance sheet's words, and the sheet as plain text. Pure."""

from __future__ import annotations

import math
import unicodedata
from typing import Final

from collector.quantities import quantities
from meterwatch.commissioning.clock_words import clock_told
from meterwatch.commissioning.findings import Check
from meterwatch.commissioning.plausible import Value
from meterwatch.commissioning.sheet import Compared, Outcome, Sheet
from meterwatch.commissioning.wiring_words import (
    CHECKS,
    LEVEL_OF_FINDING,
    LEVELS,
    guessed,
    told,
)

WIDTH: Final = 78
_WORDS: Final[dict[str, tuple[str, str]]] = {
    "title": ("Acceptance of a meter", "表计验收单"),
    "site": ("Site", "单位"),
    "place": ("Metering place", "计量点"),
    "serial": ("Serial number", "出厂编号"),
    "clock": ("Meter's clock", "表计时钟"),
    "model": ("Model", "型号"),
    "profile": ("Device profile", "设备型号文件"),
    "connection": ("Connection", "连接"),
    "when": ("Read on", "读取时间"),
    "ratio": ("Ratios, voltage × current", "变比（电压×电流）"),
    "feeds_in": ("Anything feeds in", "有电源上网"),
    "yes": ("yes", "有"),
    "no": ("no", "无"),
    "unsaid": ("not said", "未说明"),
    "watched": ("Watched", "观察"),
    "watched_how": ("{seconds:.0f} s, {samples} readings", "{seconds:.0f} 秒，{samples} 次读数"),
    "display": ("Display against system", "表计显示与系统核对"),
    "display_none": (
        "Nothing was compared: type what the display shows (--display kWh=...).",
        "未核对：请输入表计显示的数值（--display kWh=…）。",
    ),
    "on_display": ("display", "表计显示"),
    "in_system": ("system", "系统读数"),
    "primary": ("after ratio", "乘变比后"),
    "verdict": ("verdict", "结论"),
    "agrees": ("agrees", "一致"),
    "primary_shown": ("agrees (display shows primary)", "一致（显示为一次值）"),
    "differs": ("differs", "不一致"),
    "unread": ("not read from this model", "该型号未读取此项"),
    "values": ("Values", "实测值"),
    "quantity": ("quantity", "指标"),
    "total": ("total", "合计"),
    "wiring": ("Wiring", "接线检查"),
    "wiring_none": (
        "Not judged: watch for a minute (--watch 60).",
        "未判断：请观察一分钟（--watch 60）。",
    ),
    "findings": ("What was found", "检查说明"),
    "proposal": ("Proposal", "验收建议"),
    "accept": ("accept", "建议通过"),
    "check": ("accept once the open items are checked", "核实后通过"),
    "refuse": ("do not accept", "建议不通过"),
    "misfit": (
        "The values do not fit the device profile.",
        "数值与设备型号不符。",
    ),
    "other_serial": (
        "The meter says serial number {told}: another instrument, or a typing error.",
        "表计自报编号为 {told}：可能不是同一块表，或输入有误。",
    ),
    "other_ratios": (
        "The meter is set to ratios of {voltage} × {current}: make them alike.",
        "表内变比设为 {voltage} × {current}：请使两处一致。",
    ),
    "turned": (
        "Long numbers come in the order {order}, the profile has {own}.",
        "多寄存器数值的字节顺序为 {order}，型号文件中是 {own}。",
    ),
    "electrician": ("Electrician", "安装人员"),
    "operator": ("For the operator", "用能单位"),
    "supervisor": ("Inspected by", "验收人员"),
    "date": ("Date", "日期"),
    "signature": ("Signature", "签字"),
    "remarks": ("Remarks", "备注"),
    "phasors": ("Phasors", "相量图"),
    "phasors_note": (
        "Voltages are drawn 120° apart, as a grid has them; currents as measured.",
        "电压按电网相差 120° 绘制，电流角度为实测值。",
    ),
    "made": (
        "Made by meterwatch; it read and changed nothing.",
        "由 meterwatch 生成；只读取，未作任何更改。",
    ),
}
_EVERY_PHASE: Final = ("voltage", "current", "power.active", "power.reactive", "power.factor")


def word(key: str, language: str) -> str:
    return _WORDS[key][language == "zh"]


def head(sheet: Sheet, language: str) -> list[tuple[str, str]]:
    """What it is about: titles with what stands beside them."""
    feeds = {True: "yes", False: "no", None: "unsaid"}[sheet.feeds_in]
    how = word("watched_how", language).format(seconds=sheet.watched, samples=sheet.samples)
    rows = [
        ("site", sheet.site),
        ("place", sheet.place),
        ("serial", sheet.serial or sheet.told.serial),
        ("model", sheet.label_zh if language == "zh" else sheet.label),
        ("profile", sheet.profile),
        ("ratio", f"{sheet.voltage_ratio:g} × {sheet.current_ratio:g}"),
        ("feeds_in", word(feeds, language)),
        ("when", sheet.when),
        ("watched", how),
        ("clock", clock_told(sheet.told, language, advice=False)),
        ("connection", sheet.url),
    ]
    if sheet.told.clock is None:
        rows = [row for row in rows if row[0] != "clock"]
    return [(word(key, language), text) for key, text in rows]


def shown(number: float, unit: str = "") -> str:
    """A number as people write it, with its unit; a dash where there is none."""
    if math.isnan(number):
        return "–"
    text = f"{number:,.3f}".rstrip("0").rstrip(".") if abs(number) < 1e12 else f"{number:.6g}"
    return f"{text} {unit}" if unit and unit != "1" else text


def aligned(number: float, unit: str) -> str:
    """A number in a column, with as many decimals as the others of its unit."""
    decimals = {"V": 1, "A": 2}.get(unit, 3)
    return "–" if math.isnan(number) else f"{number:,.{decimals}f}"


def remark(one: Compared, sheet: Sheet, language: str) -> str:
    """The verdict on one number of the display."""
    key = {Outcome.PRIMARY: "primary_shown"}.get(one.outcome, one.outcome.value)
    text = word(key, language)
    if one.outcome is not Outcome.DIFFERS or not one.factor > 0:
        return text
    ratio = sheet.voltage_ratio * sheet.current_ratio
    guess = guessed(one.factor, ratio, language)
    if language == "zh":
        return f"{text}（{one.factor:.4g} 倍）。{guess}"
    return f"{text} by a factor of {one.factor:.4g}. {guess}"


def phase_table(sheet: Sheet, language: str) -> list[tuple[str, str, list[float]]]:
    """Of quantities of single phases: name, unit, values after ratios of L1, L2, L3 and all."""
    values = {
        v.quantity: v.value * sheet.ratios.get(v.quantity, 1.0) for v in sheet.values if v.given
    }
    rows = []
    for base in _EVERY_PHASE:
        names = [f"{base}.l{n}" for n in (1, 2, 3)]
        if any(name in values for name in names):
            row = quantities()[names[0]]
            label = row.label(language).partition(",")[0].removeprefix("A相")
            numbers = [values.get(name, math.nan) for name in [*names, base]]
            rows.append((label, row.unit, numbers))
    return rows


def other_values(sheet: Sheet) -> list[Value]:
    """What was given and the table of phases does not show."""
    by_phase = {f"{base}{end}" for base in _EVERY_PHASE for end in (".l1", ".l2", ".l3", "")}
    return [v for v in sheet.values if v.given and v.quantity not in by_phase]


def misfit(sheet: Sheet, language: str) -> list[str]:
    """What does not agree beyond the display and the wiring: profile, serial number, ratios."""
    lines = [] if sheet.fits else [word("misfit", language)]
    if sheet.order:
        lines.append(word("turned", language).format(order=sheet.order, own=sheet.own_order))
    if sheet.other_serial:
        lines.append(word("other_serial", language).format(told=_numbers(sheet)))
    if sheet.other_ratios:
        voltage, current = shown(sheet.told.voltage_ratio), shown(sheet.told.current_ratio)
        lines.append(word("other_ratios", language).format(voltage=voltage, current=current))
    if sheet.clock_off:
        colon = "：" if language == "zh" else ": "
        lines.append(word("clock", language) + colon + clock_told(sheet.told, language))
    return lines


def _numbers(sheet: Sheet) -> str:
    """All that may be meant by the meter's number."""
    also = (text for what, text in sheet.told.also if what != "model")
    return " / ".join(dict.fromkeys(text for text in (sheet.told.serial, *also) if text))


def text(sheet: Sheet, language: str) -> str:
    """The sheet as plain text, to be read on a terminal or kept beside the registry."""
    lines = [word("title", language), "=" * WIDTH]
    lines += [_pair(title, value) for title, value in head(sheet, language)]
    lines += ["", *compared_told(sheet, language), "", *_values(sheet, language), ""]
    lines += [*wiring_told(sheet, language), ""]
    lines += misfit(sheet, language)
    lines += [f"{word('proposal', language)}: {word(sheet.proposal.value, language)}", ""]
    for who in ("electrician", "operator", "supervisor"):
        lines.append(_pair(word(who, language), f"{'_' * 28}  {word('date', language)} {'_' * 12}"))
    return "\n".join(line.rstrip() for line in lines)


def compared_told(sheet: Sheet, language: str) -> list[str]:
    """The display against the system, a line each."""
    lines = [f"-- {word('display', language)}"]
    if not sheet.compared:
        return [*lines, word("display_none", language)]
    for one in sheet.compared:
        label = quantities()[one.quantity].label(language)
        numbers = [
            f"{word('on_display', language)} {one.typed}",
            f"{word('in_system', language)} {shown(one.system, one.unit)}",
        ]
        if one.primary != one.system and not math.isnan(one.primary):
            numbers.append(f"{word('primary', language)} {shown(one.primary, one.unit)}")
        comma, colon = ("，", "：") if language == "zh" else (", ", ": ")
        lines.append(_pair(label, f"{comma.join(numbers)}{colon}{remark(one, sheet, language)}"))
    return lines


def _values(sheet: Sheet, language: str) -> list[str]:
    lines = [f"-- {word('values', language)}"]
    table = phase_table(sheet, language)
    if table:
        titles = ["L1", "L2", "L3"] if language != "zh" else ["A相", "B相", "C相"]
        lines.append(_pair("", "".join(_right(t, 13) for t in (*titles, word("total", language)))))
    for label, unit, numbers in table:
        name = f"{label} ({unit})" if unit != "1" else label
        lines.append(_pair(name, "".join(_right(aligned(n, unit), 13) for n in numbers)))
    for value in other_values(sheet):
        label = quantities()[value.quantity].label(language)
        number = value.value
        ratio = sheet.ratios.get(value.quantity, 1.0)
        after = f" (×{ratio:g} = {shown(number * ratio, value.unit)})" if ratio != 1 else ""
        lines.append(_pair(label, shown(number, value.unit) + after))
    return lines


def wiring_told(sheet: Sheet, language: str) -> list[str]:
    """Every check with its verdict, then what was found."""
    lines = [f"-- {word('wiring', language)}"]
    if sheet.wiring is None:
        return [*lines, word("wiring_none", language)]
    zh = language == "zh"
    for check in Check:
        state = LEVELS[sheet.wiring.level(check)][zh]
        lines.append(_pair(CHECKS[check][zh], state, 42))
    for finding in sheet.wiring.findings:
        mark = LEVEL_OF_FINDING[finding.level][zh]
        lines.append(f"  [{mark}] {told(finding, language)}")
    return lines


def _pair(left: str, right: str, width: int = 26) -> str:
    return f"{left}{' ' * max(1, width - _columns(left))}{right}"


def _right(text: str, width: int) -> str:
    return " " * max(1, width - _columns(text)) + text


def _columns(text: str) -> int:
    """Chinese characters take two columns of a terminal."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
