"""A scan in words, and as ``[[device]]`` blocks to paste. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from collector.profile import Profile
from meterwatch.commissioning.device_block import device_block
from meterwatch.commissioning.scan import Found, Scan

_WORDS: Final = {
    "en": {
        "plan": "asks units {first} to {last} of {place} one after another, reading only: {most} at"
        " most, plus a few seconds for each that answers",
        "progress": "{asked} of {of} questions, {found} answer",
        "unreached": "cannot go on: {why}",
        "nobody": "Nobody answers. Check baud rate, parity and the two wires (try them exchanged),"
        " or allow more time with --timeout.",
        "found": "unit {unit}: {label}",
        "unknown": "unit {unit}: answers, no profile fits",
        "also": "answers as {also}, too: one device",
        "turned": "its long numbers come in the order {order}",
        "paste": "Paste what follows into the site's file in registry/, then complete it:",
    },
    "zh": {
        "plan": "将依次询问 {place} 的从站 {first} 至 {last}，只读不写：最长 {most}，"
        "每个应答的设备再加几秒",
        "progress": "已问 {asked}/{of}，{found} 个应答",
        "unreached": "无法继续：{why}",
        "nobody": "没有设备应答。请检查波特率、校验位和 A/B 两根线是否接反，"
        "或用 --timeout 延长等待。",
        "found": "从站 {unit}：{label}",
        "unknown": "从站 {unit}：有应答，没有相符的型号",
        "also": "从站号 {also} 也应答：是同一台设备",
        "turned": "多寄存器数值的字节顺序为 {order}",
        "paste": "请将以下内容粘贴到 registry/ 中该单位的文件里，并补全：",
    },
}


def words(language: str) -> Mapping[str, str]:
    return _WORDS["zh" if language == "zh" else "en"]


def plan_told(place: str, first: int, last: int, seconds: float, language: str) -> str:
    """What a scan is going to do, before it starts."""
    most = f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"
    return words(language)["plan"].format(place=place, first=first, last=last, most=most)


def render(scan: Scan, profiles: Mapping[str, Profile], language: str) -> str:
    """What answered, then the blocks, each beginning on a line of its own."""
    say = words(language)
    if scan.failure:
        return say["unreached"].format(why=scan.failure)
    if not scan.found:
        return say["nobody"]
    lines = [line for one in scan.found for line in _summary(one, language)]
    lines += ["", f"# {say['paste']}"]
    for one in scan.found:
        lines += ["", _block(one, profiles, language)]
    return "\n".join(lines)


def _summary(one: Found, language: str) -> list[str]:
    say = words(language)
    if not one.likely:
        return ["# " + say["unknown"].format(unit=one.unit)]
    labels = [a.label_zh if language == "zh" else a.label for a in one.likely]
    lines = ["# " + say["found"].format(unit=one.unit, label=" / ".join(labels))]
    if one.also:
        also = ", ".join(str(unit) for unit in one.also)
        lines.append("#   " + say["also"].format(also=also))
    if one.likely[0].turn:
        lines.append("#   " + say["turned"].format(order=one.likely[0].order))
    return lines


def _block(one: Found, profiles: Mapping[str, Profile], language: str) -> str:
    names = [attempt.profile for attempt in one.likely]
    first = profiles.get(names[0]) if names else None
    return device_block(
        one.url,
        names[0] if names else "",
        language,
        serial=one.serial,
        ratio=first is not None and any(row.ratio for row in first.registers),
        others=tuple(names[1:]),
        order=one.likely[0].order if one.likely and one.likely[0].turn else "",
    )
