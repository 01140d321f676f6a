"""The words of every kind of message, against texts a person has read (``messages/*.txt``).

``METERWATCH_WRITE_TEXTS=1`` writes the texts anew; read the difference before committing it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.alerts import (
    ACKNOWLEDGED,
    ATTACHED,
    CLOSED,
    FIRING,
    FOUND_LATE,
    LEVEL_LABELS,
    RESOLVED,
    Level,
)
from collector.notices import BOTH, Draft, Item
from meterwatch.refusal_words import refusal
from rules.messages import LANGUAGES, wording

TEXTS = Path(__file__).parent / "messages"
BEGAN = 1_795_075_530_000  # 2026-11-19 16:05:30 in Shanghai
ID = "MW-3KQ7ZPXA2BCD"

NMHC: dict[str, Any] = {
    "rule": "nmhc-outlet", "kind": "threshold", "direction": "above",
    "title": "NMHC above the limit at the outlet", "title_zh": "排放口非甲烷总烃超过限值",
    "advice": "Look at the power of the treatment unit first; then stop the press.",
    "advice_zh": "先看治理设施是否有电，再停印刷机。",
    "site": "print", "site_name": "Longnan Road Printing", "site_name_zh": "陇南路印刷厂",
    "place": "print/outlet", "place_name": "Outlet DA001", "place_name_zh": "排放口 DA001",
    "subject": "print/outlet/voc.nmhc.concentration/raw",
    "quantity_en": "NMHC", "quantity_zh": "非甲烷总烃", "unit": "mg/m3",
    "value": 128.4, "worst": 128.4, "limit": 70.0, "clear": 60.0, "for_ms": 3_000,
    "started": BEGAN, "fired": BEGAN + 3_000,
}  # fmt: skip
GATEWAY: dict[str, Any] = {
    "rule": "gateway-silent", "kind": "absence", "target": "gateway", "for_ms": 300_000,
    "title": "A gateway is silent", "title_zh": "网关掉线",
    "advice": "Check its supply and its network card.", "advice_zh": "检查网关电源和上网卡。",
    "site": "hospital", "site_name": "District Hospital", "site_name_zh": "区医院",
    "subject": "gateway:gw-hospital", "covers": 20, "value": 312.0, "worst": 312.0,
    "started": BEGAN, "fired": BEGAN + 312_000,
}  # fmt: skip
POWER: dict[str, Any] = {
    "rule": "rto-power", "kind": "threshold", "direction": "below",
    "title": "The exhaust treatment has no power", "title_zh": "废气治理设施断电",
    "advice": "Check the supply of the oxidiser.", "advice_zh": "检查治理设施供电。",
    "site_name": "Longnan Road Printing", "site_name_zh": "陇南路印刷厂",
    "place_name": "Oxidiser", "place_name_zh": "RTO",
    "quantity_en": "active power", "quantity_zh": "有功功率", "unit": "kW",
    "value": 0.02, "worst": 0.0, "limit": 1.0, "started": BEGAN,
}  # fmt: skip
RISE: dict[str, Any] = {
    "rule": "boiler-rise", "kind": "rate", "direction": "rise", "per_ms": 600_000,
    "title": "Boiler temperature rises too fast", "title_zh": "锅炉温度上升过快",
    "advice": "Throttle the burner.", "advice_zh": "降低燃烧负荷。",
    "site_name": "District Hospital", "site_name_zh": "区医院",
    "quantity_en": "temperature", "quantity_zh": "温度", "unit": "degC",
    "value": 41.25, "worst": 41.25, "limit": 30, "started": BEGAN,
    "change": 20.625, "elapsed_ms": 300_000,
}  # fmt: skip
RESET: dict[str, Any] = {
    "rule": "energy-counter-backwards", "kind": "rate", "direction": "fall", "per_ms": 3_600_000,
    "title": "An energy counter ran backwards", "title_zh": "电能表读数回退",
    "site_name": "District Hospital", "site_name_zh": "区医院",
    "quantity_en": "active energy", "quantity_zh": "有功电能", "unit": "kWh",
    "value": -135_716_688.0, "worst": -135_716_688.0, "limit": 0.0, "started": BEGAN,
    "change": -376_990.8, "elapsed_ms": 10_000,
}  # fmt: skip
"""Per hour it is a number that nobody measured."""
FLAT: dict[str, Any] = {
    "rule": "nmhc-flat", "kind": "flatline", "direction": "flat", "for_ms": 7_200_000,
    "title": "The analyser shows the same value", "title_zh": "分析仪读数长时间不变",
    "advice": "Check the sampling line.", "advice_zh": "检查采样管路。",
    "site_name": "Longnan Road Printing", "site_name_zh": "陇南路印刷厂",
    "quantity_en": "NMHC", "quantity_zh": "非甲烷总烃", "unit": "mg/m3",
    "value": 12.5, "worst": 12.5, "started": BEGAN,
}  # fmt: skip
LATE: dict[str, Any] = {
    "origin": "gateway:gw-hospital", "site_name": "District Hospital", "site_name_zh": "区医院",
    "subject": "gateway:gw-hospital", "count": 3, "start": BEGAN, "end": BEGAN + 5_400_000,
    "subjects": ["hospital/boiler/fluegas.o2/raw", "device:hospital/m3"],
}  # fmt: skip
BROKEN: dict[str, Any] = {
    "rule": "rule-broken", "kind": "engine", "for_ms": 1, "target": "source",
    "title": "A rule cannot be judged and was set aside", "title_zh": "预警规则出错，已停用",
    "advice": "Mend the rule's file.", "advice_zh": "请修正规则文件。",
    "subject": "rule:nmhc-outlet", "fault": "division by zero", "value": 1.0, "worst": 1.0,
    "started": BEGAN,
}  # fmt: skip
CHANNEL: dict[str, Any] = {
    "rule": "source-down", "kind": "absence", "target": "source", "for_ms": 60_000,
    "title": "A notification channel fails", "title_zh": "通知渠道发送失败",
    "advice": "Check its key and the network.", "advice_zh": "检查渠道密钥和网络。",
    "subject": "notifier:ops", "value": 61.0, "worst": 61.0, "started": BEGAN,
}  # fmt: skip

FOREIGN: dict[str, Any] = {
    "rule": "foreign-device", "kind": "refusals", "for_ms": 86_400_000,
    "title": "A gateway reports devices that are not its own", "title_zh": "网关上报不属于它的表计",
    "advice": "Revoke its credentials.", "advice_zh": "吊销该网关的凭证。",
    "site": "hospital", "site_name": "District Hospital", "site_name_zh": "区医院",
    "subject": "gateway:gw-hospital", "value": 3.0, "worst": 3.0, "refused": "not-your-device",
    "detail": "hospital/m3 is read through gateway 'gw-east', not through 'gw-hospital'",
    "started": BEGAN, "fired": BEGAN + 60_000,
}  # fmt: skip


def item(alert: str, state: str, level: int, data: dict[str, Any], root: str = "") -> Item:
    return Item(alert, state, BEGAN + 3_900_000, level, root or alert, data, (f"{alert}/1",))


def one(state: str, level: int, data: dict[str, Any], **more: Any) -> Draft:
    return Draft(ID, level, (item("a", state, level, data | more),))


def _behind(n: int) -> Item:
    data = {"place_name": f"Ward {n}", "place_name_zh": f"{n} 号楼"}
    return item(f"d{n}", ATTACHED, 2, data, "gw")


def _digest(count: int) -> Draft:
    base = [(NMHC, 4), (POWER, 3), (GATEWAY, 2), (RISE, 2), (FLAT, 1)]
    items = [
        item(f"x{n}", RESOLVED if n == 1 else FIRING, level, data)
        for n, (data, level) in enumerate(base * (1 + count // len(base)))
    ][:count]
    items.sort(key=lambda one: -one.level)
    return Draft(ID, 4, tuple(items), digest=True, causes=count)


DRAFTS: dict[str, Draft] = {
    "threshold": one(FIRING, 4, NMHC),
    "below": one(FIRING, 3, POWER),
    "rate": one(FIRING, 3, RISE),
    "rate-over": one(RESOLVED, 3, RISE, worst=52.5, now=3.0),
    "rate-never": one(FIRING, 1, RESET),
    "rate-alone": one(FIRING, 3, {k: RISE[k] for k in RISE if k not in {"change", "elapsed_ms"}}),
    "flatline": one(FIRING, 2, FLAT),
    "resolved": one(RESOLVED, 4, NMHC, worst=151.0, now=12.5),
    "both": one(BOTH, 4, NMHC, worst=151.0, now=12.5),
    "acknowledged": one(ACKNOWLEDGED, 4, NMHC, who="Li Wei", note="On my way."),
    "closed": one(CLOSED, 2, GATEWAY, who="Li Wei", reason="dismantled", note="dismantled"),
    "gateway": Draft(ID, 3, (item("gw", FIRING, 3, GATEWAY), *map(_behind, range(1, 4)))),
    "group": Draft(
        ID, 4, (item("p", FIRING, 3, POWER), item("n", FIRING, 4, NMHC, "p"))
    ),
    "digest": _digest(5),
    "found-late": one(FOUND_LATE, 2, LATE),
    "gateway-back": one(RESOLVED, 3, GATEWAY, worst=3_900.0, now=0.0),
    "broken-rule": one(FIRING, 2, BROKEN),
    "channel": one(FIRING, 3, CHANNEL),
    "refusals": one(FIRING, 3, FOREIGN),
    "refusals-over": one(RESOLVED, 3, FOREIGN, worst=412.0, now=0.0),
    "nothing-known": one(FIRING, 1, {}),
}  # fmt: skip


@pytest.mark.parametrize("language", sorted(LANGUAGES))
@pytest.mark.parametrize("name", DRAFTS)
def test_the_words_are_those_that_were_read(name: str, language: str) -> None:
    notice = wording(language, refusal=refusal)(DRAFTS[name])
    text = f"{notice.title}\n{notice.body}\n"
    path = TEXTS / f"{name}.{language}.txt"
    if os.environ.get("METERWATCH_WRITE_TEXTS"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_a_warning_says_everything_a_reader_needs(language: str) -> None:
    for name in ("threshold", "below", "rate", "group"):
        draft = DRAFTS[name]
        notice = wording(language)(draft)
        text = f"{notice.title}\n{notice.body}"
        data = draft.items[0].data
        end = "_zh" if language == "zh" else ""
        level = LEVEL_LABELS[Level(draft.level)][language != "zh"]
        for wanted in (
            level if language == "zh" else level.capitalize(),
            data["title" + end],
            data["site_name" + end],
            data["advice" + end],
            f"{data['limit']:g}",
            f"{data['value']:g}",
            "2026-11-19 16:05:30",
        ):
            assert wanted in text, name
        assert text.endswith(ID)


def test_times_are_local() -> None:
    body = wording("en", "Asia/Urumqi")(DRAFTS["threshold"]).body
    assert "2026-11-19 14:05:30" in body


@pytest.mark.parametrize("language", sorted(LANGUAGES))
@pytest.mark.parametrize("count", [2, 30, 3_000])
def test_a_digest_of_any_size_fits_and_counts_what_it_cannot_list(
    count: int, language: str
) -> None:
    notice = wording(language, max_bytes=1_500)(_digest(count))
    assert len(f"{notice.title}\n{notice.body}".encode()) <= 1_500
    listed = len(re.findall(r"^\d+\. ", notice.body, re.MULTILINE))
    more = re.search(r"(\d+) (?:件。全部|more\.)", notice.body)
    assert listed + (int(more[1]) if more else 0) == count
    assert notice.body.endswith(ID)


VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=400)
    | st.lists(st.text(max_size=80), max_size=40) | st.integers(0, 2**62)
)  # fmt: skip
KEYS = sorted({*NMHC, *GATEWAY, *RISE, *LATE, "who", "note", "reason", "now", "resolved"})
STATES = [FIRING, RESOLVED, BOTH, ACKNOWLEDGED, CLOSED, FOUND_LATE, ATTACHED]
ITEMS = st.builds(
    Item,
    st.text(max_size=60),
    st.sampled_from(STATES),
    st.integers(0, 2**45),
    st.integers(1, 4),
    st.just("a"),
    st.dictionaries(st.sampled_from(KEYS), VALUES),
    st.just(("t",)),
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(ITEMS, min_size=1, max_size=30),
    st.booleans(),
    st.sampled_from(sorted(LANGUAGES)),
    st.integers(900, 3_000),
)
def test_odd_data_never_fails_and_never_exceeds_the_size(
    items: list[Item], digest: bool, language: str, most: int
) -> None:
    notice = wording(language, max_bytes=most)(Draft(ID, 2, tuple(items), digest, len(items)))
    assert len(f"{notice.title}\n{notice.body}".encode()) <= most
    assert notice.body.endswith(ID)
    assert notice.id == ID
