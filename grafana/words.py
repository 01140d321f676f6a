"""Words that dashboards say to people, Chinese and English side by side. Pure data.

A :class:`Text` cannot be made in one language only; what boards have in common stands here.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Language = Literal["zh", "en"]
LANGUAGES: Final[tuple[Language, ...]] = ("zh", "en")


class Text(NamedTuple):
    """One thing said in both languages."""

    zh: str
    en: str

    def get(self, language: Language) -> str:
        return self.zh if language == "zh" else self.en


def same(word: str) -> Text:
    """What is written alike in both: a sign, an id."""
    return Text(word, word)


COUNTY: Final = Text("县区", "County")
SITE: Final = Text("单位", "Site")
PLACE: Final = Text("计量点/排放口", "Place")
OUTLET: Final = Text("排放口", "Outlet")
METER: Final = Text("治理设施计量点", "Treatment meter")
INSTANCE: Final = Text("主机", "Host")
SOURCE: Final = Text("数据源", "Data source")
INDUSTRY: Final = Text("行业代码", "Industry code")
LEVEL: Final = Text("级别", "Level")
RULE: Final = Text("规则", "Rule")
SUBJECT: Final = Text("对象", "Subject")
QUANTITY: Final = Text("指标", "Quantity")
NAME: Final = Text("名称", "Name")
TIME: Final = Text("时间", "Time")

CHECK: Final = Text("限值须核实后执行", "limits: check before enforcement")
LIMITS: Final = Text("限值线", "Lines")
PARTLY: Final = Text("仅部分行业或单位", "some industries or sites only")
FIRED: Final = Text("预警发生", "Warning fired")
RESOLVED: Final = Text("预警解除", "Warning resolved")
NOTES: Final = Text("Grafana 中的标注", "Notes in Grafana")
AT_INTAKE: Final = Text(
    "没有有效读数：未安装该指标的表计，或数据中断。请看“数据质量”与“系统运行”。",
    "No valid readings: nothing here measures it, or data stopped. See Data quality and Pipeline.",
)
NOT_YET: Final = Text(
    "该时段尚未结算，或没有累计量表计。时段结束后数分钟内出现。",
    "No span has closed here yet, or there is no counter. It comes minutes after its span ends.",
)
NOTHING_OPEN: Final = Text(
    "所选时段末没有未解除的预警。若“最近写入”也已停止，请看“系统运行”。",
    "Nothing open at the end of the range. If writing stopped too, see Pipeline health.",
)
