"""What a registry workbook holds: its sheets and columns, with their headings in two languages.

The keys are those of the registry's TOML files (docs/fleet-folder.md); a heading is known by its
key, its English or its Chinese words, or by both in one cell.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """How a cell is understood (``cells.py``)."""

    text = "text"
    code = "code"
    flag = "yes or no"
    number = "number"
    date = "date"
    duration = "duration"
    numbers = "numbers"
    words = "words"
    rates = "number, or name = number"
    shares = "name = number"
    state = "state, or date = state"
    names = "quantity = former names"


@dataclass(frozen=True, slots=True)
class Column:
    """One column; ``digits``: its texts look like numbers, and Excel drops their zeros."""

    key: str
    zh: str
    kind: Kind
    help_zh: str
    help: str
    example: str = ""
    required: bool = False
    digits: bool = False
    width: int = 14


@dataclass(frozen=True, slots=True)
class Sheet:
    key: str
    zh: str
    also: tuple[str, ...]
    table: str
    """Of the TOML files; ``lines`` are treatment units where their column says so."""
    columns: tuple[Column, ...]

    @property
    def title(self) -> str:
        return f"{self.key} {self.zh}"

    def column(self, key: str) -> Column:
        return next(column for column in self.columns if column.key == key)


_SITE: Final = Column(
    "site", "单位编号", Kind.code, "所属单位的编号", "id of the site", "my-site", required=True
)


def _id(zh: str, english: str, example: str) -> Column:
    return Column(
        "id",
        "编号",
        Kind.code,
        f"{zh}；小写字母、数字和“-”",
        f'{english}: a-z, 0-9 and "-"',
        example,
        required=True,
    )


def _names(example: str, example_zh: str, *, required: bool = False) -> tuple[Column, Column]:
    return (
        Column(
            "name", "名称（英文）", Kind.text, "英文名称", "its name", example, required, width=24
        ),
        Column(
            "name_zh", "名称（中文）", Kind.text, "中文名称", "in Chinese", example_zh, width=24
        ),
    )


SHEETS: Final[tuple[Sheet, ...]] = (
    Sheet(
        "sites",
        "单位",
        ("site", "企业", "用能单位"),
        "site",
        (
            _id("全市唯一，定下后不改", "unique in the fleet, chosen for good", "my-site"),
            *_names("My Site", "我的单位", required=True),
            Column(
                *("county", "区县代码", Kind.code),
                *("6 位行政区划代码（GB/T 2260）", "6 digits of GB/T 2260", "620502"),
                required=True,
            ),
            Column(
                *("industry", "行业代码", Kind.code),
                *("国民经济行业代码（GB/T 4754）", "code of GB/T 4754", "C2319"),
                required=True,
            ),
            Column(
                *("permit", "排污许可证号", Kind.code, "没有则不填", "discharge permit"),
                *("91620500000000000X",),
                digits=True,
                width=24,
            ),
            Column(
                *("permitted_t", "许可排放量（吨/年）", Kind.shares),
                *("污染物 = 吨数，用分号隔开", "tonnes a year, by pollutant", "voc = 12.5"),
                width=20,
            ),
            Column(
                *("zone", "时区", Kind.code, "不填即北京时间", "time zone", "Asia/Shanghai"),
                width=16,
            ),
        ),
    ),
    Sheet(
        "lines",
        "产线",
        ("line", "生产线", "治理设施"),
        "line",
        (
            _SITE,
            _id("产线或治理设施的编号", "of the line or treatment unit", "press-1"),
            *_names("Press 1", "1号印刷机"),
            Column(
                *("treatment", "治理设施", Kind.flag),
                *("是治理设施则填“是”", "yes: it treats what a line emits", "是"),
            ),
            Column(
                *("serves", "服务产线", Kind.code),
                *("治理设施所服务产线的编号", "of a treatment unit: the line", "press-1"),
            ),
        ),
    ),
    Sheet(
        "places",
        "计量点",
        ("place", "排放口", "计量点排放口", "点位"),
        "place",
        (
            _SITE,
            _id("计量点或排放口的编号", "of the metering place or outlet", "main"),
            *_names("Main supply", "总进线"),
            Column(
                *("outlet", "排放口", Kind.flag, "是排放口则填“是”", "yes: an emission outlet"),
                *("否",),
            ),
            Column("line", "产线编号", Kind.code, "所在产线", "the line it belongs to", "press-1"),
            Column(
                *("permit_no", "排放口编号", Kind.code),
                *("许可证上的编号", "as the permit numbers it", "DA001"),
            ),
            Column(
                *("state", "状态", Kind.state),
                *(
                    "待建、调试、试运行、在用、停用、注销；或 日期 = 状态，用分号隔开",
                    "planned, commissioning, trial, in-service, out-of-service, closed;"
                    " or date = state; date = state",
                    "2026-01-10 = 调试; 2026-03-01 = 在用",
                ),
                width=36,
            ),
            Column(
                *("formerly", "曾用名", Kind.names),
                *(
                    "指标 = 旧测点名，多个用逗号；多个指标用分号",
                    "quantity = former point names, with commas; more quantities after a semicolon",
                    "energy.active.import = my-site/old/energy.active.import/raw",
                ),
                width=24,
            ),
        ),
    ),
    Sheet(
        "gateways",
        "网关",
        ("gateway",),
        "gateway",
        (
            _SITE,
            _id("网关编号，全市唯一", "unique in the fleet", "gw-my-site"),
            Column("name", "名称", Kind.text, "名称", "its name", "配电室网关", width=24),
            Column(
                "format",
                "上送格式",
                Kind.code,
                "其他厂家的网关填写，如 neuron；默认 meterwatch",
                "of another maker's gateway, such as neuron; default: meterwatch",
            ),
        ),
    ),
    Sheet(
        "devices",
        "表计",
        ("device", "设备", "仪表", "监测仪", "meters"),
        "device",
        (
            _SITE,
            _id("换表或换互感器后另起一行", "a new row after an exchange", "main-meter"),
            Column(
                *("place", "计量点编号", Kind.code, "服务的计量点", "the place it serves", "main"),
                required=True,
            ),
            Column(
                *("profile", "型号", Kind.code),
                *("meterwatch profiles 列出的型号", "see meterwatch profiles", "eastron-sdm630"),
                required=True,
                width=20,
            ),
            Column(
                *("serial", "出厂编号", Kind.code, "铭牌上的编号", "as on the label", "00000000"),
                digits=True,
            ),
            Column(
                *("from", "启用日期", Kind.date),
                *("第一天，可带时间；不填即一直在", "first day; may have a time", "2026-01-01"),
            ),
            Column(
                *("to", "停用日期", Kind.date),
                *("不再在此的那天，可带时间", "the day on which it is no longer there"),
                "2026-05-01",
            ),
            Column("voltage_ratio", "电压变比", Kind.number, "如 100", "such as 100", "100"),
            Column("current_ratio", "电流变比", Kind.number, "200/5 填 40", "200/5 is 40", "40"),
            Column(
                *("first_register", "起始表底", Kind.rates),
                *("装表时的读数，不乘倍率", "what it showed when put in, before ratios"),
                "energy.active.import = 0.02",
            ),
            Column(
                *("last_register", "截止表底", Kind.rates),
                *("拆表时的读数，不乘倍率", "what it showed when taken out, before ratios"),
                "energy.active.import = 18342.61",
            ),
            Column(
                *("interval", "采集间隔", Kind.duration),
                *("10s、1m、15m；只写数字即秒", "10s, 1m, 15m; a number is seconds", "10s"),
            ),
            Column(
                *("max_rate", "每小时上限", Kind.rates),
                *(
                    "每小时最多走多少（乘倍率后）",
                    "the most its counters advance in an hour, after ratios",
                    "200",
                ),
            ),
            Column(
                *("connection", "通讯地址", Kind.code),
                *("轮询的表计填写", "of a meter that is polled"),
                "modbus+tcp://192.0.2.10:502?unit=1",
                width=38,
            ),
            Column(
                *("gateway", "网关编号", Kind.code, "由网关上送的填写", "that pushes it"),
                "gw-my-site",
            ),
            Column(
                *("quantities", "指标", Kind.words),
                *("只要其中几个，用分号隔开", "only these, with semicolons"),
                "power.active; energy.active.import",
                width=36,
            ),
            Column(
                *("no_value", "无效值", Kind.numbers),
                *("表示“无数值”的数", "numbers that say it has none", "-200; 9999"),
            ),
        ),
    ),
)
TREATMENT: Final = "treatment"
_BLANKS: Final = re.compile(r"[\s*/_\-\u200b\ufeff]+")


def plain(heading: str) -> str:
    """A heading or title as compared: width, case, blanks and asterisks do not matter."""
    return _BLANKS.sub("", unicodedata.normalize("NFKC", heading).casefold())


def headings(sheet: Sheet) -> Mapping[str, Column]:
    """Every way in which a column of this sheet may be headed."""
    known: dict[str, Column] = {}
    for one in sheet.columns:
        for words in (one.key, one.zh, f"{one.zh}{one.key}", f"{one.key}{one.zh}"):
            known[plain(words)] = one
    return known


def titles() -> Mapping[str, Sheet]:
    """Every way in which a sheet may be called."""
    known: dict[str, Sheet] = {}
    for one in SHEETS:
        for words in (one.key, one.zh, one.title, f"{one.zh}{one.key}", *one.also):
            known[plain(words)] = one
    return known
