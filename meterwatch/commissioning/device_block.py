"""A ``[[device]]`` of the registry for a device that answered, to be pasted and completed. Pure."""

from __future__ import annotations

import json
import re
from typing import Final

_WORDS: Final = {
    "en": {
        "place": "the id of its [[place]]",
        "serial": "as printed on the meter",
        "ratio": "a 200/5 A transformer is 40; leave it out where the meter shows primary values",
        "other": "or",
        "order": 'a copy of the profile with order = "{order}", in the fleet folder\'s profiles/',
        "unknown": "no profile fits: see `meterwatch profiles`",
    },
    "zh": {
        "place": "所属 [[place]] 的 id",
        "serial": "表计铭牌上的编号",
        "ratio": "200/5 A 互感器为 40；表计显示一次值时删去此行",
        "other": "或",
        "order": '复制该型号文件到 profiles/ 并写入 order = "{order}"',
        "unknown": "没有相符的型号，见 `meterwatch profiles`",
    },
}


def device_block(
    connection: str,
    profile: str,
    language: str,
    *,
    name: str = "",
    place: str = "",
    serial: str = "",
    ratio: bool = False,
    voltage_ratio: float = 1.0,
    current_ratio: float = 1.0,
    others: tuple[str, ...] = (),
    order: str = "",
) -> str:
    """TOML that the registry reads as it stands, with comments on what a person must look at.
    ``ratio``: the profile takes transformer ratios; ``others``: profiles that fit as well;
    ``order``: the bytes come in this order and not in the profile's."""
    words = _WORDS["zh" if language == "zh" else "en"]
    named = name or "meter-" + _number(connection)
    lines = ["[[device]]", f"id = {_text(named)}"]
    lines.append(_line("place", place or named, "" if place else words["place"]))
    hint = f"{words['other']} {', '.join(others)}" if others else ""
    if order:
        profile, hint = f"{profile}-{order.lower()}", words["order"].format(order=order)
    if not profile:
        hint = words["unknown"]
    lines.append(_line("profile", profile, hint))
    lines.append(_line("serial", serial, "" if serial else words["serial"]))
    if voltage_ratio != 1:
        lines.append(f"voltage_ratio = {voltage_ratio:g}")
    if current_ratio != 1:
        lines.append(f"current_ratio = {current_ratio:g}")
    elif ratio:
        lines.append(f"# current_ratio = 40  # {words['ratio']}")
    lines.append(f"connection = {_text(connection)}")
    return "\n".join(lines)


def _line(key: str, value: str, comment: str) -> str:
    return f"{key} = {_text(value)}" + (f"  # {comment}" if comment else "")


def _text(value: str) -> str:
    """A TOML basic string: JSON's escapes are TOML's, but for the slash and DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _number(connection: str) -> str:
    """Unit number or address."""
    found = re.search(r"[?&](?:unit|address)=(\w+)", connection)
    return found.group(1) if found else "1"
