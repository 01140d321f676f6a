"""Warnings: what is open, what came and went, and which rules and sites they come from."""

from __future__ import annotations

from collector import schema
from grafana import words
from grafana.boards import parts
from grafana.boards.now import open_now, open_table, written_last
from grafana.model import EVENTS, STACKED, TABLE, Board, Column, Panel, Row, Target
from grafana.query import SUM, Query
from grafana.words import Text, same


def board() -> Board:
    """The table that the night shift works through."""
    return Board(
        id="warnings",
        title=Text("预警", "Warnings"),
        about=Text(
            "未解除的预警、历史与分布。确认、静默、关闭用命令 meterwatch alerts；处置步骤见手册。",
            "Open warnings, history, where they come from. To acknowledge, silence or close: "
            "meterwatch alerts. What to do stands in the runbook.",
        ),
        rows=(
            Row(Text("现在", "Now"), (*open_now(), written_last(12), open_table())),
            Row(Text("历史", "History"), (_history(), _fired())),
            Row(Text("分布", "Where they come from"), (_by_rule(), _by_site())),
        ),
        variables=(parts.COUNTY, parts.SITE, parts.PLACE),
    )


def _history() -> Panel:
    return Panel(
        EVENTS,
        Text("发生与解除", "Fired and over"),
        Text(
            "每次发生和解除一行，最新在前，来自 alert_events。晚到数据的另列。",
            "A row each time a warning fires or is over, newest first, from `alert_events`. What "
            "late data would have warned of is listed elsewhere.",
        ),
        Text("所选时段内没有发生或解除的预警", "No warning fired or ended in the range"),
        "1",
        14,
        10,
        columns=(
            Column("Time", words.TIME, width=170),
            Column("Value", Text("状态", "State"), mappings=parts.STATES, width=80),
            Column("level", words.LEVEL, mappings=parts.LEVELS, width=80),
            Column("title", Text("预警", "Warning")),
            Column("rule", words.RULE, titles="rules"),
            Column("site", words.SITE, titles="sites"),
            Column("place", words.PLACE),
            Column("subject", words.SUBJECT),
        ),
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
            "按级别统计每小时新发生的预警。每天同一时刻出现的，多与生产班次或校准有关。",
            "New warnings of each hour by level. What comes at the same hour each day has to do "
            "with shifts or calibration, as a rule.",
        ),
        Text("所选时段内没有预警发生", "No warning fired in the range"),
        "count",
        10,
        10,
        tuple(targets),
        colours=tuple((name, colour) for _, name, colour in parts.LEVELS),
        decimals=0,
    )


def _counted(by: tuple[str, ...]) -> Target:
    return Target(Query(schema.ALERT_EVENTS, "state", by, (), SUM, SUM, total=True), same("{site}"))


def _by_rule() -> Panel:
    return Panel(
        TABLE,
        Text("按规则", "By rule"),
        Text(
            "所选时段内各规则发生的次数。次数多而处置少的规则，先核对限值和回差。",
            "How often each rule fired in the range. What fires often and moves nobody needs "
            "another limit or a wider hysteresis.",
        ),
        Text("所选时段内没有预警发生", "No warning fired in the range"),
        "count",
        12,
        8,
        (_counted(("level", "rule")),),
        columns=(
            Column("level", words.LEVEL, mappings=parts.LEVELS, width=80),
            Column("rule", words.RULE, titles="rules"),
            Column("A", Text("次数", "Times"), "count", width=90),
        ),
        sort="A",
    )


def _by_site() -> Panel:
    return Panel(
        TABLE,
        Text("按单位与计量点", "By site and place"),
        Text(
            "所选时段内各计量点发生的次数。“-”表示不属于任何单位的预警。",
            "How often a warning fired for each place in the range. “-”: about no site.",
        ),
        Text("所选时段内没有预警发生", "No warning fired in the range"),
        "count",
        12,
        8,
        (_counted(("county", "site", "place")),),
        columns=(
            Column("county", words.COUNTY, width=110),
            Column("site", words.SITE, titles="sites", link="energy"),
            Column("place", words.PLACE),
            Column("A", Text("次数", "Times"), "count", width=90),
        ),
        sort="A",
    )
