"""Pipeline health: does data still come in, and does everything keep up?"""

from __future__ import annotations

from collector import schema
from grafana import words
from grafana.boards.now import written_last
from grafana.model import LINES, STATES, Board, Panel, Row, Target, Variable
from grafana.query import LAST, MAX, RATE, SUM, Query
from grafana.words import Text, same

_INSTANCE = Variable("instance", words.INSTANCE, "instance", schema.PIPELINE, "readings")
_SILENT = Text(
    "程序没有写入外部库：它是否在运行，投影（projection）是否正常？用 meterwatch status 查看。",
    "The program writes nothing here: does it run, is its projection healthy? meterwatch status.",
)
_BY = ("instance",)
_FOLD = ("fold", "instance")


def board() -> Board:
    """For who runs the program."""
    return Board(
        id="pipeline",
        title=Text("系统运行", "Pipeline health"),
        about=Text(
            "程序自身：接收速率、数据流水、各处理环节的积压、数据源与外部库投影。",
            "The program itself: readings per second, the journal, how far each part lags, "
            "sources, and the projections into databases like this one.",
        ),
        rows=(
            Row(Text("接收", "Intake"), (written_last(4, 8), _rate(), _sources())),
            Row(Text("处理", "Behind the journal"), (_healthy(), _behind(), _entries())),
            Row(Text("数据流水", "Journal"), (_journal(), _open())),
        ),
        variables=(_INSTANCE,),
        back="6h",
        annotated=False,
    )


def _lines(
    title: Text,
    about: Text,
    unit: str,
    width: int,
    *targets: tuple[Query, Text],
) -> Panel:
    made = tuple(Target(query, legend) for query, legend in targets)
    return Panel(LINES, title, about, _SILENT, unit, width, 8, made, gap_s=300)


def _of(field: str, within: str = LAST) -> Query:
    return Query(schema.PIPELINE, field, _BY, (), within, MAX)


def _rate() -> Panel:
    return _lines(
        Text("每秒读数", "Readings per second"),
        Text(
            "收到并存入流水的读数，和被拒收的。接收骤降：看右侧数据源；拒收升高：看“数据质量”。",
            "Readings that were journalled, and those refused. Fewer come: see the sources "
            "beside it; more are refused: see Data quality.",
        ),
        "per second",
        10,
        (Query(schema.PIPELINE, "readings", _BY, (), RATE, SUM),
         Text("{instance} 接收", "{instance} taken in")),
        (Query(schema.PIPELINE, "refused", _BY, (), RATE, SUM),
         Text("{instance} 拒收", "{instance} refused")),
    )  # fmt: skip


def _sources() -> Panel:
    return _lines(
        Text("数据源", "Sources"),
        Text(
            "连接正常和断开的总线、消息服务器数。断开的检查网络和电源。",
            "Buses and brokers that are reached, and that are not. Check network and power of "
            "those that are not.",
        ),
        "count",
        10,
        (_of("sources_up"), Text("{instance} 正常", "{instance} up")),
        (_of("sources_down"), Text("{instance} 断开", "{instance} down")),
    )


def _healthy() -> Panel:
    query = Query(schema.PIPELINE_FOLD, "healthy", _FOLD, (), LAST, MAX)
    return Panel(
        STATES,
        Text("各环节状态", "Health of each part"),
        Text(
            "archive 存档、account 账本、judge 判定、project-* 外部库投影。"
            "异常的环节不影响其他环节；看日志中的原因。",
            "archive, account (books), judge (warnings), project-* (databases). One that fails "
            "harms no other; its reason stands in the log.",
        ),
        _SILENT,
        "1",
        8,
        8,
        (Target(query, same("{fold} {instance}")),),
        mappings=(("1", Text("正常", "healthy"), "green"), ("0", Text("异常", "failing"), "red")),
    )


def _behind() -> Panel:
    return _lines(
        Text("各环节落后时间", "How far each part is behind"),
        Text(
            "尚未处理的最早一条流水有多旧。持续上升：该环节处理不过来或它写入的库停了。",
            "How old the first entry is that a part has not taken yet. When it keeps rising, the "
            "part cannot keep up, or the database it writes to is down.",
        ),
        "milliseconds",
        8,
        (Query(schema.PIPELINE_FOLD, "behind_ms", _FOLD, (), MAX, MAX), same("{fold} {instance}")),
    )


def _entries() -> Panel:
    return _lines(
        Text("各环节积压条数", "Backlog of each part"),
        Text(
            "流水中尚未处理的条数。积压不丢数据：环节恢复后从断点继续。",
            "Entries of the journal that a part has still to take. Nothing is lost: it goes on "
            "from where it stood.",
        ),
        "count",
        8,
        (Query(schema.PIPELINE_FOLD, "lag_entries", _FOLD, (), MAX, MAX),
         same("{fold} {instance}")),
    )  # fmt: skip


def _journal() -> Panel:
    return _lines(
        Text("数据流水大小与上限", "Size of the journal, and its bound"),
        Text(
            "接近上限时先拒收补传，再拒收推送；已应答的数据不受影响。找出积压最多的环节。",
            "Near its bound late data is refused first, then pushed data; what was answered is "
            "safe. Find the part with the largest backlog.",
        ),
        "bytes",
        12,
        (_of("journal_bytes"), Text("{instance} 大小", "{instance} size")),
        (_of("journal_max_bytes"), Text("{instance} 上限", "{instance} bound")),
    )


def _open() -> Panel:
    return _lines(
        Text("未解除的预警", "Open warnings"),
        Text(
            "程序自己统计的未解除预警数。与“预警”页不一致时，外部库正在追赶。",
            "As the program itself counts them. Where the Warnings page differs, the database "
            "is still catching up.",
        ),
        "count",
        12,
        (_of("open_alerts"), Text("{instance} 未解除", "{instance} open")),
    )
