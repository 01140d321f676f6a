"""VOC outlet: the concentration against its limit, with the treatment unit beside it."""

from __future__ import annotations

from collector import schema
from collector.quantities import quantities
from grafana import words
from grafana.boards import parts
from grafana.model import LINES, STATES, STEPS, Board, Panel, Row, Target, Variable
from grafana.query import LAST, MAX, MEAN
from grafana.words import Text

_NMHC = "voc.nmhc.concentration"
_OUTLET = Variable(
    "outlet", words.OUTLET, "place", schema.PLACE_INFO, "interval", named=True,
    after=("county", "site"), where=(("outlet", "yes"),),
)  # fmt: skip
_METER = Variable(
    "meter", words.METER, "place", schema.PLACE_INFO, "interval", named=True,
    after=("county", "site"), where=(("outlet", "no"),),
)  # fmt: skip

_WHEREVER = (("place", ""),)
"""Signals of the treatment come with the outlet's logger, or with the treatment's own."""


def board() -> Board:
    """For who watches emissions."""
    return Board(
        id="voc-outlet",
        title=Text("VOC 排放口", "VOC outlet"),
        about=Text(
            "排放口浓度与限值、治理设施的用电、运行和温度放在一起看：浓度升高时先看治理设施。",
            "An outlet's concentration and its limits beside power, running and temperature of "
            "the treatment: when the one rises, look at the other first.",
        ),
        rows=(
            Row(Text("非甲烷总烃", "Non-methane hydrocarbons"), (_worst(), _hour())),
            Row(Text("治理设施", "Treatment"), (_running(), _power(), _temperature())),
            Row(Text("其他污染物与排放量", "Other species and what was emitted"),
                (_species(), _rate(), _mass())),
            Row(Text("废气工况", "Waste gas"), (_flow(), _gas())),
        ),
        variables=(parts.COUNTY, parts.SITE, _OUTLET, _METER),
    )  # fmt: skip


def _worst() -> Panel:
    return Panel(
        LINES,
        Text("非甲烷总烃：读数（区间最高）", "NMHC: readings, worst of each step"),
        Text(
            "排放口有效读数中每个区间的最高值。停运、校准、故障等标记的读数不在其中。"
            "各行业限值不同，请对照该单位的排污许可证。",
            "The highest valid reading of each step. What was marked as stopped, calibration or "
            "fault is not among them. Industries have different limits: the permit decides.",
        ),
        words.AT_INTAKE,
        "mg/m3",
        12,
        9,
        (Target(parts.reading(_NMHC, within=MAX), parts.NAME_OF_PLACE),),
        limits=(_NMHC,),
    )


def _hour() -> Panel:
    return Panel(
        LINES,
        Text("非甲烷总烃：小时均值", "NMHC: mean of each hour"),
        Text(
            "超标按小时均值判定。这里是有效读数的算术平均，未判断有效分钟数是否达到 45；"
            "执法以平台审核的小时值为准。",
            "Exceedance is judged on the hour's mean. This is the plain mean of valid readings; "
            "whether 45 minutes were valid is not checked here. The audited value counts.",
        ),
        words.AT_INTAKE,
        "mg/m3",
        12,
        9,
        (Target(parts.reading(_NMHC, within=MEAN, every="1h"), parts.NAME_OF_PLACE),),
        limits=(_NMHC,),
        gap_s=7200,
    )


def _running() -> Panel:
    names = ("treatment.running", "treatment.bypass", "process.running")
    return Panel(
        STATES,
        Text("运行状态", "Running"),
        Text(
            "治理设施运行、旁路、生产设施运行。生产而治理停运，或旁路开启，应立即处理。",
            "Treatment, bypass, production. Production without treatment, or an open bypass, "
            "is acted on at once.",
        ),
        Text(
            "没有接入运行信号。可看右侧治理设施功率。",
            "No running signal is connected. See the treatment's power beside it.",
        ),
        "1",
        8,
        8,
        parts.each(names, within=LAST, through=_WHEREVER),
        mappings=(("1", Text("是", "yes"), "blue"), ("0", Text("否", "no"), "text")),
    )


def _power() -> Panel:
    query = parts.reading("power.active", through=(("place", _METER.name),))
    return Panel(
        LINES,
        Text("治理设施功率", "Power of the treatment"),
        Text(
            "用上方“治理设施计量点”选择治理设施的电表。浓度未升而功率为零，说明治理未运行。",
            "Choose the treatment's meter above. No power means no treatment, whatever the "
            "concentration says.",
        ),
        words.AT_INTAKE,
        "kW",
        8,
        8,
        (Target(query, parts.NAME_OF_PLACE),),
    )


def _temperature() -> Panel:
    names = ("treatment.temperature",)
    return Panel(
        LINES,
        Text("治理设施温度", "Temperature of the treatment"),
        Text(
            "燃烧类治理设施的温度。低于设计温度时去除率下降。",
            "Of thermal treatment: below its design temperature it removes less.",
        ),
        words.AT_INTAKE,
        "degC",
        8,
        8,
        parts.each(names, through=_WHEREVER),
        limits=names,
    )


def _species() -> Panel:
    ending = ".concentration"
    names = tuple(
        name
        for name in quantities()
        if name.startswith("voc.") and name.endswith(ending) and name != _NMHC
    )
    return Panel(
        LINES,
        Text("其他污染物浓度", "Other species"),
        Text(
            "总烃、甲烷、苯系物等。各物质之和应不大于总烃；苯超标时核查所用溶剂。",
            "Total hydrocarbons, methane, aromatics and others. Together they are not more than "
            "the total; benzene above its limit: find out which solvent is in use.",
        ),
        words.AT_INTAKE,
        "mg/m3",
        12,
        9,
        parts.each(names, within=MAX),
        limits=names,
    )


def _rate() -> Panel:
    names = ("voc.nmhc.rate",)
    return Panel(
        LINES,
        Text("非甲烷总烃排放速率", "NMHC emission rate"),
        Text(
            "监测仪给出的排放速率。没有流量计的排放口没有此值。",
            "As the monitor tells it. An outlet without a flow meter has none.",
        ),
        words.AT_INTAKE,
        "kg/h",
        6,
        9,
        parts.each(names),
        limits=names,
    )


def _mass() -> Panel:
    return Panel(
        STEPS,
        Text("非甲烷总烃日排放量", "NMHC emitted each day"),
        Text(
            "最近 31 天日排放量，来自 books 的累计排放量。与许可排放量对照。",
            "The last 31 days, from the mass counter's `books`. Compare with what is permitted.",
        ),
        words.NOT_YET,
        "kg",
        6,
        9,
        (Target(parts.amount("voc.nmhc.mass", "1d"), parts.NAME_OF_PLACE),),
        back="31d",
        gap_s=parts.DAY_GAP,
    )


def _flow() -> Panel:
    names = ("fluegas.flow",)
    return Panel(
        LINES,
        Text("标干流量", "Waste gas flow, standard, dry"),
        Text(
            "流量为零而浓度不为零，或浓度下降同时流量升高（稀释），应核查。",
            "No flow with a concentration, or a concentration that falls as the flow rises "
            "(dilution): look into it.",
        ),
        words.AT_INTAKE,
        "m3/h",
        12,
        8,
        parts.each(names),
        limits=names,
    )


def _gas() -> Panel:
    names = ("fluegas.o2", "fluegas.humidity")
    return Panel(
        LINES,
        Text("含氧量与湿度", "Oxygen and humidity"),
        Text(
            "含氧量接近 21% 时折算浓度没有意义；突然升高可能是采样管路漏气。",
            "Near 21 % oxygen a converted concentration means nothing; a sudden rise may be a "
            "leaking sample line.",
        ),
        words.AT_INTAKE,
        "%",
        12,
        8,
        parts.each(names),
        limits=names,
    )
