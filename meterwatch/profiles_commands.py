"""Finds device models by what stands on a meter's label: Latin or Chinese, whole or in part.

An electrician types what he reads, ``DTSU``, ``正泰``, ``超声波``, or the whole line with class,
voltage and year. Case, blanks, hyphens and full-width letters make no difference. Models that
have every word come; where there is none, those that have most of them, so that words which
stand on the label and in no profile do no harm.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from adapters.sources.modbus.plan import requests
from collector.profile import Profile
from collector.quantities import quantities

_WHOLE: Final = 2
_PART: Final = 1
_LEAST: Final = {True: 4, False: 2}
"""Letters of a token that must be in a typed word to count: Latin, Chinese."""
_PHASES: Final = re.compile(r"^(?:[ABC]相|AB|BC|CA)|, L[123](?:-L[123])?$")

_WORDS: Final[dict[str, dict[str, str]]] = {
    "en": {
        "brings": "brings",
        "connect": "connect",
        "unknown": "not known: look into the meter's menu or document",
        "delivered": "as delivered",
        "poll": "{requests} requests for {values} values",
        "source": "source",
        "verified": "the map was read there; not yet tried on a real device",
        "recalled": "from memory: compare every value with the display",
        "generic": "of no maker: copy and adapt it",
        "own": "your own",
        "memory": "from memory",
        "doubt": "look at",
        "none": 'no model has "{words}" on its label; without a word all are listed',
    },
    "zh": {
        "brings": "指标",
        "connect": "连接",
        "unknown": "未知：请查看表计菜单或说明书",
        "delivered": "出厂设置",
        "poll": "{requests} 次请求读取 {values} 个数值",
        "source": "来源",
        "verified": "寄存器表已在该来源中核对；尚未在真实设备上试过",
        "recalled": "凭记忆：每个数值都要与表计显示核对",
        "generic": "不属于任何厂家：请复制后修改",
        "own": "自有型号",
        "memory": "凭记忆",
        "doubt": "请核对",
        "none": "没有型号的铭牌上有“{words}”；不带词则列出全部",
    },
}


def find(profiles: Iterable[Profile], typed: Sequence[str]) -> list[Profile]:
    """Models that fit, best first; all of them, by name, when nothing was typed."""
    words = [plain for word in typed for part in word.split() if (plain := fold(part))]
    named = sorted(profiles, key=lambda one: one.name)
    if not words:
        return [] if any(word.strip() for word in typed) else named
    scored = [(_score(profile, words), profile) for profile in named]
    whole = [(points, one) for points, one in scored if min(points) > 0]
    most = max((sum(points) for points, _ in scored), default=0)
    fits = whole or [(points, one) for points, one in scored if sum(points) == most > 0]
    return [one for _, one in sorted(fits, key=lambda found: -sum(found[0]))]


def fold(text: str) -> str:
    """Letters and digits alone, in one case and one width."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(letter for letter in folded if letter.isalnum())


def _score(profile: Profile, words: Sequence[str]) -> list[int]:
    """Points for each word: it stands on the label, or something of the label stands in it."""
    texts = (
        profile.name,
        profile.maker,
        profile.model,
        profile.label,
        profile.label_zh,
        *profile.also,
    )
    label = "|".join(fold(text) for text in texts)
    names = (profile.model, profile.maker, profile.label_zh, *profile.also)
    tokens = {fold(token) for name in names for token in re.split(r"[\s/（）()、]+", name)}
    tokens = {token for token in tokens if len(token) >= _LEAST[token.isascii()]}
    return [
        _WHOLE if word in label else _PART if any(token in word for token in tokens) else 0
        for word in words
    ]


def render(profiles: Mapping[str, Profile], typed: Sequence[str], language: str) -> list[str]:
    """What people read of the models that fit; empty when there is none."""
    words = _WORDS[language]
    lines: list[str] = []
    for profile in find(profiles.values(), typed):
        lines.append(profile.name)
        lines += [f"  {line}" for line in _about(profile, words, language)]
        lines.append("")
    return lines[:-1]


def nothing(typed: Sequence[str], language: str) -> str:
    """What people read when no model fits."""
    return _WORDS[language]["none"].format(words=" ".join(typed))


def _about(profile: Profile, words: Mapping[str, str], language: str) -> list[str]:
    lines = [f"{profile.label} / {profile.label_zh}"]
    if not profile.protocol:
        return lines
    lines.append(f"{words['brings']}: {'; '.join(brings(profile, language))}")
    lines.append(f"{words['connect']}: {_connect(profile, words)}")
    if profile.registers:
        counts = {"requests": len(requests(profile)), "values": len(profile.registers)}
        lines.append(words["poll"].format(**counts))
    lines.append(f"{words['source']}: {profile.source}")
    lines.append(words[profile.evidence])
    doubt = profile.doubt_zh if language == "zh" and profile.doubt_zh else profile.doubt
    if doubt:
        lines.append(f"{words['doubt']}: {doubt}")
    return lines


def brings(profile: Profile, language: str) -> list[str]:
    """What it measures, the phases of one quantity together."""
    labels = (quantities()[name].label(language) for name in profile.measured)
    return list(dict.fromkeys(_PHASES.sub("", label) for label in labels))


def _connect(profile: Profile, words: Mapping[str, str]) -> str:
    """What to write as ``connection``, as the device is delivered."""
    made = profile.connection
    if profile.protocol == "dlt645":  # 2400 8E1 and the number on the label, whoever made it
        number = "address=NUMBER&baud=2400&parity=E&stop=1"
        return f"dlt645+serial:///dev/ttyUSB0?{number} ({words['delivered']}, {words['memory']})"
    if made is None:
        return words["unknown"]
    urls = []
    if made.serial:
        line = f"baud={made.baud}&parity={made.parity}&stop={made.stop}"
        urls.append(f"modbus+serial:///dev/ttyUSB0?unit={made.unit}&{line}")
    if made.tcp:
        urls.append(f"modbus+tcp://ADDRESS:502?unit={made.unit}")
    sure = words["delivered"]
    if made.evidence == "recalled":
        sure += f", {words['memory']}"
    return f"{'  '.join(urls)} ({sure})"
