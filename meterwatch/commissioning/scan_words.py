"""A scan in words, and as ``[[device]]`` blocks to paste. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from meterwatch.commissioning.clock_words import clock_told, is_off
from meterwatch.commissioning.contact.ports import Search
from meterwatch.commissioning.device_block import device_block
from meterwatch.commissioning.models import Models
from meterwatch.commissioning.scan import Found, Scan

_WORDS: Final = {
    "en": {
        "plan-units": "asks units {first} to {last} of {place} one after another, reading only:"
        " {most} at most, plus a few seconds for each that answers",
        "plan-endings": "asks {place} for addresses that end in {first} to {last}, reading only:"
        " {most} at most, as much again for each ending that several meters share, and a few"
        " seconds for each that answers",
        "plan-addresses": "asks addresses {first} to {last} of {place} one after another, reading"
        " only: {most} at most, plus a few seconds for each that answers",
        "progress": "{asked} of {of} questions, {found} answer",
        "unreached": "cannot go on: {why}",
        "nobody-modbus": "Nobody answers. Check baud rate, parity and the two wires (try them"
        " exchanged), or allow more time with --timeout.",
        "nobody-dlt645": "Nobody answers. Check the meters' power, baud rate and parity (2400, 9600"
        " and even are usual) and the two wires (try them exchanged), or allow more time with"
        " --timeout.",
        "found-modbus": "unit {who}: {label}",
        "found-dlt645": "meter {who}: {label}",
        "unknown-modbus": "unit {who}: answers, no profile fits",
        "unknown-dlt645": "meter {who}: answers, no profile fits",
        "unread": "{who}: answered, but could not be read",
        "also": "answers as {also}, too: one device",
        "turned": "its long numbers come in the order {order}",
        "clock": "its clock: {clock}",
        "no-short-addresses": "Somebody answers when everybody is asked, but no meter answers to"
        " the end of its address: not every meter can. Where there are several, ask for the numbers"
        " on their labels: --address N or --address N-M.",
        "same-address": "Answers to {about} were garbled twice: two meters with the same address?"
        " Connect one alone and probe it.",
        "noise": "Whatever is asked, garbled bytes come: check baud rate, parity and wiring, and"
        " whether somebody else is reading on this line.",
        "disturbed": "Some answers came late or were disturbed: allow more time with --timeout, and"
        " scan again.",
        "paste": "Paste what follows into the site's file in registry/, then complete it:",
    },
    "zh": {
        "plan-units": "将依次询问 {place} 的从站 {first} 至 {last}，只读不写：最长 {most}，"
        "每个应答的设备再加几秒",
        "plan-endings": "将按表号末两位 {first} 至 {last} 询问 {place}，只读不写：最长 {most}；"
        "每有一个末位由多块表共用，再加同样长的时间；每块应答的表再加几秒",
        "plan-addresses": "将依次询问 {place} 的表号 {first} 至 {last}，只读不写：最长 {most}，"
        "每块应答的表再加几秒",
        "progress": "已问 {asked}/{of}，{found} 个应答",
        "unreached": "无法继续：{why}",
        "nobody-modbus": "没有设备应答。请检查波特率、校验位和 A/B 两根线是否接反，"
        "或用 --timeout 延长等待。",
        "nobody-dlt645": "没有表应答。请检查表计供电、波特率和校验位（常见 2400、9600，偶校验）"
        "以及 A/B 两根线是否接反，或用 --timeout 延长等待。",
        "found-modbus": "从站 {who}：{label}",
        "found-dlt645": "表 {who}：{label}",
        "unknown-modbus": "从站 {who}：有应答，没有相符的型号",
        "unknown-dlt645": "表 {who}：有应答，没有相符的型号",
        "unread": "{who}：曾应答，但未能抄读",
        "also": "从站号 {also} 也应答：是同一台设备",
        "turned": "多寄存器数值的字节顺序为 {order}",
        "clock": "时钟：{clock}",
        "no-short-addresses": "用通配地址询问有应答，但没有表对缩位地址应答：并非所有表都支持。"
        "线路上有多块表时，请按铭牌上的表号询问：--address N 或 --address N-M。",
        "same-address": "对 {about} 的应答两次都是乱码：是否有两块表地址相同？请单独接一块表抄读。",
        "noise": "无论询问什么，收到的都是乱码：请检查波特率、校验位和接线，"
        "以及是否有其他主站正在抄读。",
        "disturbed": "有些应答迟到或受干扰：请用 --timeout 延长等待后重新扫描。",
        "paste": "请将以下内容粘贴到 registry/ 中该单位的文件里，并补全：",
    },
}


def words(language: str) -> Mapping[str, str]:
    return _WORDS["zh" if language == "zh" else "en"]


def plan_told(search: Search, language: str) -> str:
    """What a scan is going to do, before it starts."""
    seconds, scope = search.longest, search.scope
    most = f"{seconds / 60:.0f} min" if seconds >= 120 else f"{max(1, round(seconds))} s"
    how = {"place": search.place, "first": scope.first, "last": scope.last, "most": most}
    return words(language)[f"plan-{scope.kind.value}"].format(**how)


def render(scan: Scan, protocol: str, models: Models, language: str) -> str:
    """What answered, then the blocks, each beginning on a line of its own."""
    say = words(language)
    notes = [say[note.value].format(about=about) for note, about in scan.notes]
    if scan.failure:
        notes.insert(0, say["unreached"].format(why=scan.failure))
    if not scan.found:
        return "\n".join(notes or [say[f"nobody-{protocol}"]])
    lines = [f"# {note}" for note in notes]
    lines += [line for one in scan.found for line in _summary(one, protocol, language)]
    lines += ["", f"# {say['paste']}"]
    for one in scan.found:
        lines += ["", _block(one, models, language)]
    return "\n".join(lines)


def _summary(one: Found, protocol: str, language: str) -> list[str]:
    say = words(language)
    if not one.likely:
        key = f"unknown-{protocol}" if one.attempts else "unread"
        return ["# " + say[key].format(who=one.who)]
    labels = [a.label_zh if language == "zh" else a.label for a in one.likely]
    lines = ["# " + say[f"found-{protocol}"].format(who=one.who, label=" / ".join(labels))]
    if one.also:
        lines.append("#   " + say["also"].format(also=", ".join(one.also)))
    if one.likely[0].turn:
        lines.append("#   " + say["turned"].format(order=one.likely[0].order))
    if is_off(one.identified.clock_off):
        clock = clock_told(one.identified, language)
        lines.append("#   " + say["clock"].format(clock=clock))
    return lines


def _block(one: Found, models: Models, language: str) -> str:
    names = [attempt.profile for attempt in one.likely]
    return device_block(
        one.url,
        names[0] if names else "",
        language,
        serial=one.identified.serial,
        ratio=bool(names) and models.takes_ratios(names[0]),
        others=tuple(names[1:]),
        order=one.likely[0].order if one.likely and one.likely[0].turn else "",
    )
