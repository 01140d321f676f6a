"""Data quality and completeness: what is missing, what came and may not be used, and why."""

from __future__ import annotations

from collector import schema
from collector.model import QUALITY_USES, VALID_BELOW, Quality
from grafana import words
from grafana.boards import parts
from grafana.boards.now import completeness
from grafana.limits import SHARE_WANTED
from grafana.model import LINES, STACKED, TABLE, Board, Column, Panel, Row, Target
from grafana.query import COUNT, INCREASE, SUM, Query
from grafana.words import Text, same


def board() -> Board:
    """For who keeps the meters and the transmission in order."""
    return Board(
        id="quality",
        title=Text("数据质量", "Data quality"),
        about=Text(
            "完整率、无效读数的原因、拒收的来源与原因。缺数不是零，这里看缺在哪里、为什么。",
            "Completeness, why readings are invalid, what was refused. Missing is not zero: this "
            "is where it is missing, and why.",
        ),
        rows=(
            Row(Text("缺数情况", "What is missing"), (completeness(8), _over_time(), _by_place())),
            Row(Text("无效与带标记的读数", "Invalid and marked readings"), (_codes(), _worst())),
            Row(Text("拒收", "Refused"), (_refused(), _refused_rate())),
        ),
        variables=(parts.COUNTY, parts.SITE, parts.PLACE),
        back="7d",
        refresh="5m",
        annotated=False,
    )


def _over_time() -> Panel:
    query = Query(schema.COMPLETENESS, "valid", ("site",), (), SUM, SUM, divided_by="expected")
    return Panel(
        LINES,
        Text("各单位每小时完整率", "Completeness of each hour, by site"),
        Text(
            "有效读数占应收读数的比例，来自 completeness。补传到达后旧的小时会上升。",
            "Valid of expected readings, from `completeness`. Late data lifts old hours.",
        ),
        words.NOT_YET,
        "share",
        20,
        8,
        (Target(query, same("{site}")),),
        gap_s=7200,
    )


def _by_place() -> Panel:
    by = ("site", "place")

    def total(field: str) -> Query:
        return Query(schema.COMPLETENESS, field, by, (), SUM, total=True)

    share = Query(schema.COMPLETENESS, "valid", by, (), SUM, SUM, total=True,
                  divided_by="expected")  # fmt: skip
    queries = (total("expected"), total("valid"), total("invalid"), share)
    return Panel(
        TABLE,
        Text("各计量点完整率", "Completeness by place"),
        Text(
            "所选时段内应收、有效、无效读数，完整率低的在前。完整率低而无效少：没有上传；无效多：看下方原因。",
            "Readings expected, valid and invalid over the range, the least complete first. Low "
            "with few invalid: they did not come; with many invalid: see the reasons below.",
        ),
        words.NOT_YET,
        "count",
        24,
        9,
        tuple(Target(query, same("{place}")) for query in queries),
        columns=(
            Column("site", words.SITE, titles="sites", link="energy"),
            Column("place", words.PLACE),
            Column("A", Text("应收", "Expected"), "count"),
            Column("B", Text("有效", "Valid"), "count"),
            Column("C", Text("无效", "Invalid"), "count"),
            Column("D", Text("完整率", "Completeness"), "share",
                   steps=((0, "orange"), (SHARE_WANTED, "green"))),
        ),
        sort="D",
        ascending=True,
    )  # fmt: skip


def _codes() -> Panel:
    targets = []
    for code, use in QUALITY_USES.items():
        if code is not Quality.GOOD:
            query = Query(schema.QUALITY, "code", (), (), COUNT, SUM, every="1h", equals=int(code))
            kind = Text("无效", "invalid") if code >= VALID_BELOW else Text("有效", "valid")
            targets.append(Target(query, Text(f"{use.zh}（{kind.zh}）", f"{use.en} ({kind.en})")))
    return Panel(
        STACKED,
        Text("每小时无效与带标记的读数，按标记", "Invalid and marked readings of each hour"),
        Text(
            "来自 quality：无效的（停运、维护、校准、故障、超量程、通讯异常等）与有效但带标记的。"
            "校准应有规律；“故障”“通讯异常”持续出现应派人检修，三个工作日内修复或上报。",
            "From `quality`: invalid ones (stopped, maintenance, calibration, fault, over range, "
            "no communication) and valid ones with a mark. Calibration keeps a rhythm; faults "
            "that go on are mended, or reported, within three working days.",
        ),
        Text("所选时段内全部读数正常", "Every reading of the range was good"),
        "count",
        12,
        9,
        tuple(targets),
        decimals=0,
    )


def _worst() -> Panel:
    by = ("site", "place", "quantity")
    query = Query(schema.QUALITY, "code", by, (), COUNT, SUM, total=True)
    return Panel(
        TABLE,
        Text("无效与带标记最多的测点", "Points with the most of them"),
        Text(
            "所选时段内每个测点不正常读数的数目。排在前面的先查。",
            "How many readings of each point were not plainly good. Begin at the top.",
        ),
        Text("所选时段内全部读数正常", "Every reading of the range was good"),
        "count",
        12,
        9,
        (Target(query, same("{place}")),),
        columns=(
            Column("site", words.SITE, titles="sites"),
            Column("place", words.PLACE),
            Column("quantity", words.QUANTITY, mappings=parts.quantity_titles()),
            Column("A", Text("读数", "Readings"), "count", width=100),
        ),
        sort="A",
    )


def _refused() -> Panel:
    by = ("origin", "reason")

    def grown(field: str) -> Target:
        query = Query(schema.REFUSED, field, by, (), INCREASE, SUM, total=True)
        return Target(query, same("{origin}"))

    return Panel(
        TABLE,
        Text("拒收：来源与原因", "Refused: from whom, and why"),
        Text(
            "所选时段内收到而不能使用的。原因改正后用 meterwatch refused 重放，不丢数据。",
            "What came in the range and could not be used. Nothing is lost: mend the cause, then "
            "replay with meterwatch refused.",
        ),
        Text("所选时段内没有拒收", "Nothing was refused in the range"),
        "count",
        14,
        9,
        (grown("times"), grown("readings")),
        columns=(
            Column("origin", Text("来源", "Origin")),
            Column("reason", Text("原因", "Reason")),
            Column("A", Text("次数", "Deliveries"), "count", width=110),
            Column("B", Text("读数", "Readings"), "count", width=110),
        ),
        sort="A",
    )


def _refused_rate() -> Panel:
    query = Query(schema.REFUSED, "readings", ("reason",), (), "rate", SUM)
    return Panel(
        LINES,
        Text("拒收速率，按原因", "Refused readings by reason"),
        Text(
            "每秒拒收的读数。台账改动之后突然升高，多为设备编号写错。",
            "Refused readings per second. A rise right after a change of the registry is a "
            "misspelt device, as a rule.",
        ),
        Text("所选时段内没有拒收", "Nothing was refused in the range"),
        "per second",
        10,
        9,
        (Target(query, same("{reason}")),),
    )
