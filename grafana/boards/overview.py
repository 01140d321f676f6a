"""City overview: what is wrong now, and where; then what each site used and emitted."""

from __future__ import annotations

from collector import schema
from grafana import words
from grafana.boards import parts
from grafana.boards.now import completeness, firing, open_now, open_table, written_last
from grafana.limits import SHARE_WANTED
from grafana.model import LINES, STACKED, STAT, STEPS, TABLE, Board, Column, Panel, Row, Target
from grafana.query import LAST, MAX, SUM, Query
from grafana.words import Text, same

_NMHC = "voc.nmhc.concentration"
_ENERGY = "energy.active.import"


def board() -> Board:
    """The monitoring centre's first page."""
    return Board(
        id="overview",
        title=Text("全市总览", "City overview"),
        about=Text(
            "值班首页：未解除的预警、数据完整率、各单位用电与排放。点单位名称进入该单位。",
            "The centre's first page: open warnings, completeness, each site's energy and "
            "emissions. A click on a site opens it.",
        ),
        rows=(
            Row(Text("现在", "Now"), (*open_now(), *_alive(), open_table())),
            Row(Text("各单位", "Sites"), (_sites(),)),
            Row(Text("排放与预警", "Emissions and warnings"), (_nmhc(), _fired())),
            Row(Text("用能", "Energy"), (_per_day(),)),
        ),
        variables=(parts.COUNTY, parts.SITE),
        annotated=False,
    )


def _alive() -> tuple[Panel, ...]:
    down = Query(schema.PIPELINE, "sources_down", (), (), LAST, SUM, total=True)
    return (
        completeness(),
        Panel(
            STAT,
            Text("断开的数据源", "Sources down"),
            Text(
                "当前连接不上的总线或消息服务器数。非零时看“系统运行”和预警。",
                "Buses and brokers that cannot be reached. When it is not 0, see Pipeline health "
                "and the warnings.",
            ),
            Text("所选时段内没有写入", "Nothing written in the range"),
            "count",
            4,
            4,
            (Target(down, Text("断开", "down")),),
            steps=((1, "orange"),),
            decimals=0,
        ),
        written_last(),
    )


def _sites() -> Panel:
    by = ("site",)
    names = Query(schema.SITE_INFO, "places", ("county", "industry", "site"), (), LAST,
                  total=True, named="label")  # fmt: skip
    valid = Query(schema.COMPLETENESS, "valid", by, (), SUM, SUM, total=True,
                  divided_by="expected")  # fmt: skip
    used = Query(schema.BOOKS, "amount", by, (("quantity", _ENERGY), ("span", "15m")), SUM, MAX,
                 total=True)  # fmt: skip
    worst = parts.reading(_NMHC, by, within=MAX, across=MAX, total=True)
    return Panel(
        TABLE,
        Text("各单位一览", "Sites at a glance"),
        Text(
            "每个单位一行：未解除预警、完整率、所选时段内 NMHC 最高的读数、用电最多的计量点。"
            "预警多的在前；点名称进入“单位用能”。不属于任何单位的预警（网关、通道）单独一行“-”。",
            "A row for each site: open warnings, completeness, its highest NMHC reading and its "
            "largest meter's electricity in the range. Most warnings first; a click opens Site "
            "energy. Warnings about no site (gateways, channels) stand in the row “-”.",
        ),
        Text(
            "台账尚未写入外部库，或该县区没有单位。",
            "The registry has not been written yet, or the county has no site.",
        ),
        "count",
        24,
        9,
        tuple(
            Target(query, same("{site}"))
            for query in (names, firing(by), valid, worst, used)
        ),
        columns=(
            Column("label", words.NAME, link="energy"),
            Column("site", words.SITE, link="energy"),
            Column("county", words.COUNTY),
            Column("industry", words.INDUSTRY),
            Column("A", Text("计量点数", "Places"), "count"),
            Column("B", Text("未解除预警", "Open warnings"), "count", steps=((1, "orange"),)),
            Column("C", Text("数据完整率", "Completeness"), "share",
                   steps=((0, "orange"), (SHARE_WANTED, "green"))),
            Column("D", Text("NMHC 最高", "Highest NMHC"), parts.unit(_NMHC), limits=(_NMHC,)),
            Column("E", Text("用电（最大计量点）", "Electricity (largest meter)"), "kWh"),
        ),
        sort="B",
    )  # fmt: skip


def _nmhc() -> Panel:
    worst = parts.reading(_NMHC, ("site",), within=MAX, across=MAX, every="15m")
    return Panel(
        LINES,
        Text("各单位非甲烷总烃（15 分钟最高）", "NMHC by site, worst of each 15 minutes"),
        Text(
            "每个单位所有排放口中最高的读数。超标以小时均值判定：超过限值线即到“VOC 排放口”页"
            "核对治理设施。",
            "The highest reading of all outlets of a site. Exceedance is judged on the hour's "
            "mean: when a line is crossed, look at the treatment in VOC outlet.",
        ),
        words.AT_INTAKE,
        parts.unit(_NMHC),
        12,
        9,
        (Target(worst, same("{site}")),),
        limits=(_NMHC,),
    )


def _fired() -> Panel:
    targets = []
    for level, title, _ in parts.LEVELS:
        query = Query(schema.ALERT_EVENTS, "state", (), (("level", level),), SUM, SUM, every="1h")
        targets.append(Target(query, title))
    return Panel(
        STACKED,
        Text("每小时发生的预警", "Warnings that fired each hour"),
        Text(
            "按级别统计每小时新发生的预警（alert_events）。突然增多时先看是否同一数据源断开。",
            "New warnings of each hour by level, from `alert_events`. When there are suddenly "
            "many, see first whether one source went down.",
        ),
        Text("所选时段内没有预警发生", "No warning fired in the range"),
        "count",
        12,
        9,
        tuple(targets),
        colours=tuple((name, colour) for _, name, colour in parts.LEVELS),
        decimals=0,
    )


def _per_day() -> Panel:
    query = parts.amount(_ENERGY, "1d", ("site",), across=MAX)
    return Panel(
        STEPS,
        Text("每日用电：各单位最大计量点", "Electricity per day: each site's largest meter"),
        Text(
            "每个单位当日用电量最大的计量点，一般是总进线。不求和：分表计量的电已含在总表内，"
            "相加会重复。有多路进线的单位请看“单位用能”。来自 books，按当地日。",
            "The day's amount of each site's largest meter, usually its main supply. Nothing is "
            "added up: what a sub-meter counts, the main meter has counted already. For a site "
            "with several supplies see Site energy. From `books`, days of the site's zone.",
        ),
        words.NOT_YET,
        parts.unit(_ENERGY),
        24,
        8,
        (Target(query, same("{site}")),),
        back="31d",
        gap_s=parts.DAY_GAP,
    )
