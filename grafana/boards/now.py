"""What several boards show of this moment: open warnings, completeness, when it was written."""

from __future__ import annotations

from collector import schema
from grafana import words
from grafana.boards import parts
from grafana.limits import SHARE_WANTED
from grafana.model import AGE, STAT, TABLE, Column, Panel, Target
from grafana.query import LAST, SUM, Query
from grafana.words import Text, same

_SUBJECT = ("level", "rule", "site", "place", "subject")
SUBJECT_COLUMNS = (
    Column("level", words.LEVEL, mappings=parts.LEVELS, width=80),
    Column("rule", words.RULE, titles="rules"),
    Column("site", words.SITE, titles="sites", link="energy"),
    Column("place", words.PLACE),
    Column("subject", words.SUBJECT),
)


def firing(by: tuple[str, ...], across: str = SUM) -> Query:
    """Warnings open at the end of the range, as 1."""
    return Query(schema.ALERTS, "firing", by, (), LAST, across, total=True, keep="firing")


def open_now() -> tuple[Panel, ...]:
    """How many warnings are open, a number for each level."""
    about = Text(
        "所选时段末尚未解除的预警数，来自 alerts（每分钟一行）。非零时打开“预警”页处理。",
        "Warnings that nobody and nothing has ended by the end of the range, from `alerts` (a row "
        "each minute). When it is not nothing, open Warnings.",
    )
    found = []
    for level, title, colour in parts.LEVELS:
        query = Query(
            schema.ALERTS, "firing", (), (("level", level),), LAST, SUM, total=True, keep="firing"
        )
        found.append(
            Panel(
                STAT,
                Text(f"未解除：{title.zh}", f"Open: {title.en}"),
                about,
                Text("0", "0"),
                "count",
                3,
                4,
                (Target(query, title),),
                steps=((1, colour),),
                decimals=0,
            )
        )
    return tuple(found)


def open_table() -> Panel:
    def target(field: str, within: str = LAST) -> Target:
        query = Query(schema.ALERTS, field, _SUBJECT, (), within, total=True, keep="firing")
        return Target(query, same("{rule}"))

    return Panel(
        TABLE,
        Text("未解除的预警", "Open warnings"),
        Text(
            "所选时段末尚未解除的预警，新发生的在前，来自 alerts。"
            "“持续”是所选时段内处于预警的分钟数；“最差”是至今超出限值最远的值（掉线类为秒数）。程序停止写入时，这里保持最后的状态。",
            "What is open at the end of the range, newest first, from `alerts`. Minutes: how long "
            "of the range it was open. Worst: the furthest beyond the limit so far (of silence: "
            "seconds). While the program does not write, the last state stays here.",
        ),
        words.NOTHING_OPEN,
        "1",
        24,
        9,
        (target("value"), target("worst"), target("firing", SUM)),
        columns=(
            *SUBJECT_COLUMNS,
            Column("A", Text("触发值", "Value"), "1"),
            Column("B", Text("最差", "Worst"), "1"),
            Column("C", Text("持续", "Minutes"), "minutes"),
        ),
        sort="C",
        ascending=True,
    )


def written_last(width: int = 4, height: int = 4) -> Panel:
    """When the projection last wrote."""
    return Panel(
        AGE,
        Text("最近写入", "Last written"),
        Text(
            "外部库最近一次写入的时间。超过几分钟：本页不再更新，先看“系统运行”。",
            "When the program last wrote here. More than a few minutes: this page stands still; "
            "see Pipeline health first.",
        ),
        Text("所选时段内没有写入", "Nothing written in the range"),
        "age",
        width,
        height,
    )


def completeness(height: int = 4) -> Panel:
    """Valid of expected readings over the range, as one number."""
    share = Query(schema.COMPLETENESS, "valid", (), (), SUM, SUM, total=True,
                  divided_by="expected")  # fmt: skip
    return Panel(
        STAT,
        Text("数据完整率", "Completeness"),
        Text(
            "有效读数占应收读数的比例（所选时段），来自 completeness。重点用能单位在线监测"
            "要求不低于 90%；低于时在“数据质量”页找缺数的计量点。",
            "Valid of expected readings over the range, from `completeness`. On-line monitoring "
            "of key energy users asks for 90 %; below it, find the places in Data quality.",
        ),
        words.NOT_YET,
        "share",
        4,
        height,
        (Target(share, Text("完整率", "share")),),
        steps=((0, "orange"), (SHARE_WANTED, "green")),
        decimals=1,
    )
