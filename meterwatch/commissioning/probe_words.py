"""What a probe found as lines of plain text, Chinese and English. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from collector.quantities import quantities
from meterwatch.commissioning.clock_words import clock_told
from meterwatch.commissioning.contact.ports import UNANSWERED, Ending, Identified, Trouble
from meterwatch.commissioning.plausible import Phases, Value, Verdict
from meterwatch.commissioning.probe import Attempt, Report

_WORDS: Final[dict[str, dict[str, str]]] = {
    "en": {
        "listening": "waiting at {place} for the terminal to call, up to three minutes ...",
        "watching": "watching for {seconds} s ...",
        "unreached": "cannot be reached",
        "silent": "is connected, but does not answer",
        "garbled": "is connected, but nothing that comes is an answer",
        "broken-off": "answers, but not to the end",
        "other": "Meter {other} does answer on this line: is that the number on the label?",
        "hint-tcp": "check the address and the port, and whether this machine is in that network",
        "hint-serial": "check the name of the port, and whether this user may use it",
        "hint-listen": "look at the terminal: is it told this machine's address and this port, and"
        " does the firewall let it in? Is the program already listening here (stop it first)?",
        "hint-silent-modbus": "check the unit number; on a serial line also baud rate, parity and"
        " the two wires (try them exchanged); a meter with DL/T 645 on its label needs a URL that"
        " begins with dlt645",
        "hint-silent-dlt645": "check the number on the label, the meter's power and the two wires"
        " (try them exchanged); on a serial line also baud rate and parity (2400, 9600 and even"
        " are usual)",
        "hint-garbled": "check baud rate and parity, the wires, and whether somebody else is"
        " reading on this line",
        "hint-several": "with several meters on the line give the number on the label; `meterwatch"
        " scan` finds them. With one meter check baud rate and parity, the wires, and whether"
        " somebody else is reading on this line",
        "PLAUSIBLE": "plausible",
        "IMPLAUSIBLE": "does not fit",
        "UNDECIDED": "answers, but nothing shows whether it fits",
        "NO_ANSWER": "not answered",
        "outside": "is outside",
        "refused": "refused",
        "lacking": "this meter does not give",
        "unanswered": "What stays unanswered makes every poll with this profile fail: use a copy"
        " of it without that.",
        "phases-fewer": "the meter has one phase, the profile three",
        "phases-more": "the meter has more phases than the profile",
        "same": "shows the same values, as far as it goes",
        "best": "Use profile",
        "or": "or",
        "none": "No profile fits. Compare with the meter's display and its document.",
        "compare": "Compare one value with the meter's display before you trust it.",
        "serial": "Serial number",
        "address": "Address",
        "asset": "Asset number",
        "model": "Model, as it says itself",
        "pt": "Voltage ratio set in the meter",
        "ct": "Current ratio set in the meter",
        "clock": "Clock",
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
        "listening": "正在 {place} 等待终端连接，最长三分钟……",
        "watching": "观察 {seconds} 秒……",
        "unreached": "无法连接",
        "silent": "已连接，但设备无应答",
        "garbled": "已连接，但收到的内容都不是应答",
        "broken-off": "有应答，但中途中断",
        "other": "这条线路上应答的是表 {other}：铭牌上是这个号码吗？",
        "hint-tcp": "请检查地址和端口，以及本机与设备是否在同一网络",
        "hint-serial": "请检查串口名称，以及当前用户是否有权使用",
        "hint-listen": "请检查终端：主站地址和端口是否填写本机，防火墙是否放行；"
        "若程序已在此端口监听，请先停止",
        "hint-silent-modbus": "请检查从站号；串口线路还要检查波特率、校验位和 A/B 两根线是否接反；"
        "铭牌上标有 DL/T 645 的表，URL 要以 dlt645 开头",
        "hint-silent-dlt645": "请检查铭牌上的表号、表计供电和 A/B 两根线是否接反；"
        "串口线路还要检查波特率和校验位（常见 2400、9600，偶校验）",
        "hint-garbled": "请检查波特率、校验位和接线，以及是否有其他主站正在抄读",
        "hint-several": "线路上有多块表时，请填写铭牌上的表号，可用 meterwatch scan 查找；"
        "只有一块表时，请检查波特率、校验位和接线，以及是否有其他主站正在抄读",
        "PLAUSIBLE": "合理",
        "IMPLAUSIBLE": "不符",
        "UNDECIDED": "有应答，但没有可用于判断的指标",
        "NO_ANSWER": "未应答",
        "outside": "超出",
        "refused": "被拒绝",
        "lacking": "表计不提供",
        "unanswered": "始终无应答的数据项会使每次抄读失败：请复制型号文件并删去这些数据项。",
        "phases-fewer": "表计为单相，型号为三相",
        "phases-more": "表计的相数多于型号",
        "same": "所含指标与上面的数值一致",
        "best": "建议使用型号",
        "or": "或",
        "none": "没有相符的型号，请对照表计显示与说明书。",
        "compare": "使用前，请与表计显示核对一个数值。",
        "serial": "出厂编号",
        "address": "通信地址",
        "asset": "资产编号",
        "model": "表计自报型号",
        "pt": "表内电压变比",
        "ct": "表内电流变比",
        "clock": "时钟",
        "broken": "观察提前结束",
        "missing": "无数值",
        "turned": "多寄存器数值按 {order} 的顺序读取才相符，而型号文件中是 {own}",
        "turned-todo": '请在表计菜单中改为 {own}，或复制该型号文件并写入 order = "{order}"。',
        "unclear": "从数值无法区分 {orders} 几种字节顺序：请在数值变化时观察一分钟（--watch 60）",
    },
}
_STATES: Final = {
    Ending.UNREACHED: "unreached",
    Ending.SILENT: "silent",
    Ending.GARBLED: "garbled",
    Ending.BROKEN: "broken-off",
}
_REASONS_ZH: Final = {
    "no such data": "无此数据",
    "wrong password or no authority": "密码错误或未授权",
    UNANSWERED: "始终无应答",
}
"""Why a meter does not give something, as far as it is common; the rest stays as it is."""
_UNREACHED: Final = {"serial": "hint-serial", "listen": "hint-listen"}


def render(report: Report, language: str = "zh") -> str:
    """The report as lines of plain text, ``zh`` or ``en``."""
    words = _WORDS["zh" if language == "zh" else "en"]
    if report.trouble is not None:
        return "\n".join(_trouble(report.url, report.trouble, words))
    lines: list[str] = []
    shown = [a for a in report.attempts if a.verdict is Verdict.PLAUSIBLE]
    for attempt in shown or report.attempts:  # where some fit, the others only make it long
        label = attempt.label_zh if language == "zh" else attempt.label
        lines.append(f"{attempt.profile} ({label}): {words[attempt.verdict.name]}")
        lines += [
            f"  {_name(o.quantity, language)} {o.value:g} {o.unit}"
            f" {words['outside']} {o.low:g} .. {o.high:g}"
            for o in attempt.objections[:3]
        ]
        if attempt.phases is not Phases.ALIKE:
            lines.append(f"  {words[f'phases-{attempt.phases.value}']}")
        lines += [f"  {text}" for text in _orders(attempt, words)]
        lines += [f"  {text}" for text in _lacking(attempt, words, language)]
        if attempt is not report.first and attempt in shown and _same(attempt, report.first):
            lines.append(f"  {words['same']}")
        elif attempt in shown or len(report.attempts) == 1 or attempt.turn:
            lines += [f"  {_shown(value, words, language)}" for value in attempt.values]
    lines += _itself(report.identified, words, language)
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


def waiting_told(url: str, watch: float, language: str) -> list[str]:
    """What is waited for, before it begins."""
    words = _WORDS["zh" if language == "zh" else "en"]
    lines = []
    if url.startswith("dlt645+listen:"):
        lines.append(words["listening"].format(place=url.partition("//")[2].partition("?")[0]))
    if watch > 0:
        lines.append(words["watching"].format(seconds=f"{watch:g}"))
    return lines


def _trouble(url: str, trouble: Trouble, words: Mapping[str, str]) -> list[str]:
    """Why nothing was read, and what to look at."""
    scheme = url.partition(":")[0]
    protocol, _, way = scheme.partition("+")
    lines = [f"{url} {words[_STATES[trouble.what]]}: {trouble.detail}"]
    if trouble.other:
        return [*lines, words["other"].format(other=trouble.other)]
    hint = f"hint-silent-{protocol}"
    if trouble.what is Ending.UNREACHED:
        hint = _UNREACHED.get(way, "hint-tcp")
    elif trouble.what is Ending.GARBLED:
        hint = "hint-several" if "ADDRESS=AA" in url.upper() else "hint-garbled"
    return [*lines, words[hint]]


def _lacking(attempt: Attempt, words: Mapping[str, str], language: str) -> list[str]:
    """What the device refused, or does not have of what the profile names."""
    lines = [f"{words['refused']}: {attempt.failure}"] if attempt.failure else []
    for why in dict.fromkeys(why for _, why in attempt.lacking):
        names = "; ".join(_name(one, language) for one, said in attempt.lacking if said == why)
        said = _REASONS_ZH.get(why, why) if language == "zh" else why
        lines.append(f"{words['lacking']} ({said}): {names}")
        if why == UNANSWERED:
            lines.append(words["unanswered"])
    return lines


def _same(attempt: Attempt, first: Attempt | None) -> bool:
    """Whether it shows what the first one shows: then one list is enough."""
    known = {value.quantity: value.value for value in first.values if value.given} if first else {}
    return all(
        math.isclose(value.value, known.get(value.quantity, math.nan), rel_tol=0.05, abs_tol=0.1)
        for value in attempt.values
        if value.given
    )


def _itself(identified: Identified, words: Mapping[str, str], language: str) -> list[str]:
    """What the device says of itself."""
    told = [
        ("serial", identified.serial),
        *identified.also,
        ("clock", clock_told(identified, language)),
    ]
    for key, ratio in (("pt", identified.voltage_ratio), ("ct", identified.current_ratio)):
        if not math.isnan(ratio):
            told.append((key, f"{ratio:g}"))
    return [f"{words[key]}: {text}" for key, text in told if text]


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
