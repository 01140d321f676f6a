"""Site energy: load, what was used, and the quality of the supply."""

from __future__ import annotations

from collector import schema
from grafana import words
from grafana.boards import parts
from grafana.model import LINES, STEPS, TABLE, Board, Column, Panel, Row, Target
from grafana.query import MAX, SUM, Query
from grafana.words import Text, same

_ENERGY = "energy.active.import"
_BY = ("site", "place")


def board() -> Board:
    """For the energy manager, of a site or of the county."""
    return Board(
        id="energy",
        title=Text("单位用能", "Site energy"),
        about=Text(
            "负荷、用电量与各类能源用量、供电质量。用量一律来自 books：已计变比、换表和翻转。",
            "Load, consumption of every kind of energy, quality of supply. Amounts always come "
            "from `books`: ratios, changes of meter and rollovers are accounted for.",
        ),
        rows=(
            Row(Text("负荷", "Load"), (_power(), _demand())),
            Row(Text("用量", "Consumption"), (_quarters(), _days(), _amounts())),
            Row(Text("气、水、热", "Gas, water, heat"), _others()),
            Row(Text("供电质量", "Quality of supply"), _supply()),
        ),
        variables=(parts.COUNTY, parts.SITE, parts.PLACE),
    )


def _power() -> Panel:
    return Panel(
        LINES,
        Text("有功功率", "Active power"),
        Text(
            "各计量点有功功率均值。夜间和停产时的底数说明待机损耗；突降为零先看该表是否掉线。",
            "Mean active power of each place. What remains at night is standby; a sudden 0 may "
            "be a meter that fell silent.",
        ),
        words.AT_INTAKE,
        "kW",
        16,
        9,
        (Target(parts.reading("power.active"), parts.NAME_OF_PLACE),),
        limits=("power.active",),
    )


def _demand() -> Panel:
    names = ("power.active.demand", "power.active.demand.max")
    return Panel(
        LINES,
        Text("需量", "Demand"),
        Text(
            "表计自己计算的需量和最大需量。按最大需量计基本电费的单位，接近合同值时错峰。",
            "Demand and maximum demand as the meter works them out. Who pays by maximum demand "
            "shifts load before the contract's value.",
        ),
        words.AT_INTAKE,
        "kW",
        8,
        9,
        parts.each(names, within=MAX),
        limits=names,
    )


def _quarters() -> Panel:
    return Panel(
        STEPS,
        Text("每 15 分钟用电量", "Electricity, each quarter of an hour"),
        Text(
            "每个刻钟通过各计量点的电量，来自 books。晚到的数据会补正旧的刻钟。",
            "What went through each place in each quarter, from `books`. Late data corrects old "
            "quarters.",
        ),
        words.NOT_YET,
        "kWh",
        12,
        9,
        (Target(parts.amount(_ENERGY, "15m"), parts.NAME_OF_PLACE),),
    )


def _days() -> Panel:
    return Panel(
        STEPS,
        Text("每日用电量", "Electricity, each day"),
        Text(
            "最近 31 天各计量点日用电量，按当地日，来自 books。分表与总表不要相加。",
            "Days of the site's zone, the last 31, from `books`. A sub-meter is part of its main "
            "meter: do not add them.",
        ),
        words.NOT_YET,
        "kWh",
        12,
        9,
        (Target(parts.amount(_ENERGY, "1d"), parts.NAME_OF_PLACE),),
        back="31d",
        gap_s=parts.DAY_GAP,
    )


def _others() -> tuple[Panel, ...]:
    def days(title: Text, *names: str) -> Panel:
        targets = tuple(
            Target(
                parts.amount(name, "1d"),
                Text(f"{{site}}/{{place}} {parts.label(name).zh}",
                     f"{{site}}/{{place}} {parts.label(name).en}"),
            )
            for name in names
        )  # fmt: skip
        return Panel(
            STEPS,
            title,
            Text(
                "最近 31 天日用量，按当地日，来自 books。不换算标准煤：那需要当年发布的系数。",
                "Days of the site's zone, the last 31, from `books`. Not in coal equivalent: that "
                "needs the year's published factors.",
            ),
            words.NOT_YET,
            parts.unit(names[0]),
            8,
            8,
            targets,
            back="31d",
            gap_s=parts.DAY_GAP,
        )

    return (
        days(Text("每日用气量", "Gas, each day"), "gas.volume"),
        days(Text("每日取水量", "Water, each day"), "water.volume"),
        days(
            Text("每日热量（热水、蒸汽）", "Heat and steam, each day"),
            "heat.energy",
            "steam.energy",
        ),
    )


def _amounts() -> Panel:
    by = ("site", "place", "quantity")

    def total(field: str, within: str = SUM) -> Target:
        where = (("span", "15m"),)
        return Target(Query(schema.BOOKS, field, by, where, within, total=True), same("{place}"))

    return Panel(
        TABLE,
        Text("所选时段用量：全部累计量", "Amounts over the range: every counter"),
        Text(
            "所选时段内各表累计量之和（电、气、热、水、产量、排放量等），来自 books 的刻钟。"
            "“实测”是由相邻读数直接得到的时间占比；其余为间隔较大时的估算或缺数。",
            "Sum over the range of every counter (electricity, gas, heat, water, output, "
            "emissions), from the quarters of `books`. Measured: the share of the time that "
            "readings close together cover; the rest is estimated over wider gaps, or missing.",
        ),
        words.NOT_YET,
        "1",
        24,
        9,
        (total("amount"), total("measured", "mean"), total("estimated", "mean")),
        columns=(
            Column("site", words.SITE, titles="sites"),
            Column("place", words.PLACE),
            Column("quantity", words.QUANTITY, mappings=parts.quantity_titles("counter")),
            Column("A", Text("用量", "Amount"), "1"),
            Column("B", Text("实测", "Measured"), "share"),
            Column("C", Text("估算", "Estimated"), "share"),
        ),
        sort="A",
    )


def _supply() -> tuple[Panel, ...]:
    def lines(title: Text, about: Text, names: tuple[str, ...], limits: bool = True) -> Panel:
        return Panel(
            LINES,
            title,
            about,
            words.AT_INTAKE,
            parts.unit(names[0]),
            12,
            8,
            parts.each(names),
            limits=names if limits else (),
        )

    return (
        lines(
            Text("相电压", "Phase voltage"),
            Text(
                "各相对零线电压。限值按 220 V 直接接入的低压用户；经互感器的高压表不适用。",
                "Phase to neutral. The lines are for 220 V without transformers; they say "
                "nothing of a meter on medium voltage.",
            ),
            ("voltage.l1", "voltage.l2", "voltage.l3"),
        ),
        lines(
            Text("电流", "Current"),
            Text(
                "各相电流。三相相差大时检查负荷分配；某相为零而其他相正常，检查缺相。",
                "Current of each phase. Far apart: share the load better; one at 0 beside two "
                "that are not: a lost phase.",
            ),
            ("current.l1", "current.l2", "current.l3"),
        ),
        lines(
            Text("功率因数", "Power factor"),
            Text(
                "低于限值线会加收力调电费：检查电容补偿柜。负荷很小时的低值不用处理。",
                "Below the line the bill is raised: see to the capacitor bank. Low values at "
                "hardly any load do not matter.",
            ),
            ("power.factor",),
        ),
        lines(
            Text("频率", "Frequency"),
            Text(
                "一般与电网一致；偏离时检查表计或自备发电机。",
                "As the grid's, as a rule; else look at the meter, or at an own generator.",
            ),
            ("frequency",),
        ),
    )
