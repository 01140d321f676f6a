"""What a probe found as lines of plain text, Chinese and English. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from collector.quantities import quantities
from meterwatch.commissioning.plausible import Value, Verdict
from meterwatch.probe import Attempt, Report

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
        "or": "or",
        "none": "No profile fits. Compare with the meter's display and its document.",
        "compare": "Compare one value with the meter's display before you trust it.",
        "serial": "Serial number",
        "pt": "Voltage ratio set in the meter",
        "ct": "Current ratio set in the meter",
        "broken": "The watch ended early",
        "missing": "no value",
        "turned": "fits when long numbers are read in the order {order}, not {own} as the profile"
        " has it",
        "turned-todo": "Set the meter's menu to {own}, or use a copy of the profile with"
        ' order = "{order}".',
        "unclear": "the values do not tell between the orders {orders}: watch for a minute"
        " (--watch 60) while they change",
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
        "or": "或",
        "none": "没有相符的型号，请对照表计显示与说明书。",
        "compare": "使用前，请与表计显示核对一个数值。",
        "serial": "出厂编号",
        "pt": "表内电压变比",
        "ct": "表内电流变比",
        "broken": "观察提前结束",
        "missing": "无数值",
        "turned": "多寄存器数值按 {order} 的顺序读取才相符，而型号文件中是 {own}",
        "turned-todo": '请在表计菜单中改为 {own}，或复制该型号文件并写入 order = "{order}"。',
        "unclear": "从数值无法区分 {orders} 几种字节顺序：请在数值变化时观察一分钟（--watch 60）",
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
    for attempt in shown or report.attempts:  # where some fit, the others only make it long
        label = attempt.label_zh if language == "zh" else attempt.label
        lines.append(f"{attempt.profile} ({label}): {words[attempt.verdict.name]}")
        lines += [
            f"  {_name(o.quantity, language)} {o.value:g} {o.unit}"
            f" {words['outside']} {o.low:g} .. {o.high:g}"
            for o in attempt.objections[:3]
        ]
        lines += [f"  {text}" for text in _orders(attempt, words)]
        if attempt.failure:
            lines.append(f"  {words['refused']}: {attempt.failure}")
        if attempt in shown or len(report.attempts) == 1 or attempt.turn:
            lines += [f"  {_shown(value, words, language)}" for value in attempt.values]
    itself = report.identified
    if itself.serial:
        lines.append(f"{words['serial']}: {itself.serial}")
    for key, ratio in (("pt", itself.voltage_ratio), ("ct", itself.current_ratio)):
        if not math.isnan(ratio):
            lines.append(f"{words[key]}: {ratio:g}")
    if report.broken:
        lines.append(f"{words['broken']}: {report.broken}")
    if report.best is not None:
        names = f" {words['or']} ".join(attempt.profile for attempt in shown)
        lines += [f"{words['best']}: {names}", words["compare"]]
    elif not any(a.turn or a.verdict is Verdict.UNDECIDED for a in report.attempts):
        lines.append(words["none"])
    else:
        lines.append(words["compare"])
    return "\n".join(lines)


def _orders(attempt: Attempt, words: Mapping[str, str]) -> list[str]:
    """What is to be said of the orders of bytes."""
    if attempt.turn:
        how = {"order": attempt.order, "own": attempt.own_order}
        return [words["turned"].format(**how), words["turned-todo"].format(**how)]
    if attempt.unclear:
        return [words["unclear"].format(orders=", ".join(attempt.unclear))]
    return []


def _name(quantity: str, language: str) -> str:
    return quantities()[quantity].label(language)


def _shown(value: Value, words: Mapping[str, str], language: str) -> str:
    number = (
        f"{value.value:.10g} {value.unit if value.unit != '1' else ''}".rstrip()
        if value.given
        else words["missing"]
    )
    return f"{_name(value.quantity, language)}: {number}"
