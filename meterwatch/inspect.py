"""What a person asks a fleet folder: refusals, warnings (``status.py``: how it stands). Reads
files, changes nothing, except that a mark on a warning is appended to the journal like all else.

All of it works while the program runs, and while it does not.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Final
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Table
from rich.text import Text

from adapters.journals.sqlite import SqliteJournal
from adapters.sources.payload import remedy
from adapters.state.alerts import AlertsReader
from adapters.stores.archive_reader import ArchiveReader
from collector.alerts import CLOSED, FIRING, LEVEL_LABELS, RESOLVED, Alert, Level
from collector.errors import ConfigurationError, Fault
from collector.model import Mark, Reason
from collector.telemetry import Telemetry
from meterwatch import named_files
from meterwatch.clock import moment
from meterwatch.fleet import Fleet, kept, unread
from meterwatch.in_force import in_force
from meterwatch.projections import looked_at
from meterwatch.refusal_nearest import with_nearest
from meterwatch.refusal_words import refusal
from meterwatch.wiring import imported, secret_text

DAY_MS: Final = 86_400_000
SHOWN: Final = 50
"""Refusals that are shown unless more are asked for."""
EVERY: Final = 100_000
"""More than the archive holds."""
ID_SHOWN: Final = 12
"""Characters of a warning's id that are shown: enough to name it."""

WORDS: Final[dict[str, tuple[str, str]]] = {
    "sites": ("sites", "单位"),
    "places": ("places", "计量点"),
    "devices": ("devices", "表计"),
    "gateways": ("gateways", "网关"),
    "points": ("points", "测点"),
    "rules": ("rules", "规则"),
    "no_device": ("no device at", "没有表计的计量点"),
    "device": ("device", "表计"),
    "place": ("place", "计量点"),
    "last": ("last reading", "最近读数"),
    "value": ("value", "数值"),
    "never": ("never", "从未"),
    "journal": ("intake log", "数据流水"),
    "backlog": ("backlog", "数据积压"),
    "behind": (
        "records (a few seconds' worth is usual)",
        "条流水（几秒内的属正常）",
    ),
    "archive": ("archive", "本地库"),
    "account": ("account", "核算"),
    "judge": ("judge", "判定"),
    "readings": ("readings", "条读数"),
    "reading": ("reading", "条读数"),
    "nothing": ("nothing", "无"),
    "taken": ("taken in since", "已重新入库"),
    "newest": ("the newest {shown} of {all} are shown; --all shows every one",
               "只列出 {all} 条中最近的 {shown} 条；--all 全部列出"),
    "sample": ("the payload of", "报文原文"),
    "no_sample": ("no payload is kept", "未保存报文原文"),
    "sources": ("source", "数据源"),
    "state": ("state", "状态"),
    "up": ("up", "在线"),
    "down": ("down", "离线"),
    "was_up": ("was up", "曾在线"),
    "was_down": ("was down", "曾离线"),
    "why": ("why", "原因"),
    "gateway": ("gateway", "网关"),
    "clock": ("clock", "时钟"),
    "found": ("found", "判定于"),
    "alive": ("last sign of life of the program", "程序最近活动"),
    "runs": ("the program runs: process {process}, since {since}",
             "程序正在运行：进程 {process}，自 {since} 起"),
    "mute": ("the program's process {process} is there, but its last sign of life was {alive}: see "
             "its log. What follows is how things were then",
             "程序进程 {process} 存在，但最近一次活动是 {alive}：请查看其日志。以下为当时的状态"),
    "stopped": ("the program does not run; its last sign of life was {alive}. Start it with: "
                "meterwatch run {folder}. What follows is how things were then",
                "程序未运行，最近一次活动是 {alive}。请启动：meterwatch run {folder}。"
                "以下为当时的状态"),
    "refused": ("refused", "拒收"),
    "refused_of_late": ("{count} since {since}", "自 {since} 起 {count} 条"),
    "ask_refused": ("why, and what to do: meterwatch refused {folder}",
                    "原因与处理办法：meterwatch refused {folder}"),
    "level": ("level", "级别"),
    "rule": ("rule", "规则"),
    "where": ("where", "位置"),
    "since": ("since", "开始"),
    "until": ("until", "结束"),
    "worst": ("worst", "极值"),
    FIRING: ("in force", "未解除"),
    RESOLVED: ("over", "已解除"),
    CLOSED: ("closed", "已关闭"),
    "acknowledged": ("acknowledged by", "已确认："),
    "because": ("because of", "起因："),
}  # fmt: skip

REASONS_ZH: Final[dict[str, str]] = {
    Reason.PAYLOAD: "报文无法读取",
    Reason.UNKNOWN_GATEWAY: "台账中无此网关",
    Reason.UNKNOWN_DEVICE: "台账中无此表计",
    Reason.UNKNOWN_QUANTITY: "未知指标",
    Reason.UNKNOWN_UNIT: "未知计量单位",
    Reason.WRONG_SERIAL: "表号与台账不符",
    Reason.NOT_YOURS: "不属于该网关",
    Reason.NOT_IN_SERVICE: "表计不在役",
    Reason.BAD_TIME: "时间错误",
    Reason.BAD_VALUE: "数值错误",
    Reason.TOO_LARGE: "报文过大",
    Reason.PROGRAM_FAULT: "程序内部错误",
    Reason.REJECTED: "外部库拒绝写入（本地库已保存）",
    Reason.UNFIT: "外部库无法保存（本地库已保存）",
}


def word(key: str, lang: str) -> str:
    """A heading in the reader's language."""
    return WORDS[key][lang == "zh"]


def summary(fleet: Fleet) -> list[str]:
    """What ``check`` says of files without faults."""
    registry = fleet.registry
    counts = {
        "site": len(registry.sites),
        "place": len(registry.places),
        "device": len(registry.devices),
        "gateway": len(registry.gateways),
        "point": len(registry.points),
        "rule": len(fleet.rules),
    }
    told = (f"{count} {what}{'' if count == 1 else 's'}" for what, count in counts.items())
    lines = [f"no faults: {', '.join(told)}"]
    lines += [f"note: {note}" for note in unread(fleet)]
    lines += [
        f"note: no device at {'outlet' if place.outlet else 'place'} {place.key}"
        + (f" (permit {place.permit_no})" if place.permit_no else "")
        for place in registry.unserved(now_ms())
    ]
    return lines


def outside(fleet: Fleet, folder: Path) -> list[str]:
    """What ``check`` says of what the settings name: files, secrets, and databases. Raises
    ``ConfigurationError`` for what could not be used, and for databases that would hold other
    numbers than they are given."""
    place = SimpleNamespace(folder=folder)
    faults, notes = named_files.looked_at(fleet, datetime.now(UTC))
    for one in fleet.settings.projections:
        if one.enabled:
            secret = partial(secret_text, folder)
            found, told = looked_at(one, place, secret, imported)
            faults += found
            notes += told
    if faults:
        raise ConfigurationError(sorted(set(faults)))
    return notes


def print_refused(
    folder: Path, lang: str, *, gateway: str = "", limit: int = SHOWN, sample: bool = False
) -> None:
    """What was refused, the newest first, and what to do about it. ``gateway``: of this one only,
    in the registry or not; ``limit``: at most so many; ``sample``: with the newest payload kept."""
    fleet = in_force(folder, lang)
    zone = ZoneInfo(fleet.settings.program.zone)
    reader = ArchiveReader(kept(fleet, "archive.db"))
    try:
        origins = dict(enumerate(reader.origin_names()))
        every = reader.refused(limit=EVERY)
        rows = [
            row
            for row in every
            if not gateway or sender_of(row.kind, origins.get(row.origin, "")) == gateway
        ]
        for row in rows[:limit]:
            head = [
                moment(row.last, zone),
                REASONS_ZH.get(row.reason, row.reason) if lang == "zh" else row.reason,
                origins.get(row.origin, str(row.origin)),
                f"{row.readings:,} {word('reading' if row.readings == 1 else 'readings', lang)}",
            ]
            below = [refusal(with_nearest(row.detail, fleet.registry.gateways), lang)]
            if row.replayed:
                head.append(word("taken", lang))
            elif todo := remedy(row.reason, row.detail):
                below.append(f"-> {refusal(todo, lang)}")
            if sample:
                below += _sample(reader.refused_samples(row.id), zone, lang)
            entry(head, below)
    finally:
        reader.close()
    if not rows:
        Console(highlight=False).print(word("nothing", lang))
    elif len(rows) > limit:
        told = word("newest", lang).format(shown=limit, all=f"{len(rows):,}")
        Console(highlight=False).print(told, soft_wrap=True)


def _sample(samples: Sequence[tuple[int, bytes]], zone: ZoneInfo, lang: str) -> list[str]:
    """The newest payload, as it may be given on: text as it came, all else as base64."""
    if not samples:
        return [word("no_sample", lang)]
    at, payload = samples[-1]
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        text = ""
    if not text.replace("\n", "").replace("\r", "").replace("\t", "").isprintable() or not text:
        text = f"base64 {base64.b64encode(payload).decode()}"
    return [f"{word('sample', lang)} {moment(at, zone)}:", *text.splitlines()]


def print_alerts(folder: Path, *, every: bool, lang: str) -> None:
    """Warnings in force, or all of them, the most urgent first; with each its cause, where
    another warning stands for it."""
    fleet = in_force(folder, lang)
    zone = ZoneInfo(fleet.settings.program.zone)
    reader = AlertsReader(kept(fleet, "alerts.db"))
    try:
        found = reader.alerts(active=not every)
        details = {one.id: _detail(reader, one) for one in found if one.kind == "refusals"}
    finally:
        reader.close()
    for alert in sorted(found, key=lambda one: (-one.level, one.started)):
        rule = fleet.rules.rules.get(alert.rule)
        title = alert.rule
        if rule is not None:
            title = rule.title_zh if lang == "zh" else rule.title
        span = moment(alert.started, zone)
        if alert.resolved:
            span += f" .. {moment(alert.resolved, zone)}"
        label = LEVEL_LABELS[Level(alert.level)][0 if lang == "zh" else 1]
        state = [alert.id[:ID_SHOWN], word(alert.state, lang), *_more(alert, lang)]
        below = ["  ".join([span, *state])]
        if detail := details.get(alert.id):
            below.append(refusal(with_nearest(detail, fleet.registry.gateways), lang))
        entry([label, title, alert.subject], below)
    if not found:
        Console(highlight=False).print(word("nothing", lang))


def _detail(reader: AlertsReader, alert: Alert) -> str:
    """Of what was refused again and again, one as an example."""
    fired = reader.transitions(alert.id, limit=1)
    return str(fired[0].data.get("detail", "")) if fired else ""


def _more(alert: Alert, lang: str) -> list[str]:
    """What else a person should know of it."""
    told: list[str] = []
    if alert.cause:
        told.append(f"{word('because', lang)} {alert.cause[:ID_SHOWN]}")
    if alert.acknowledged:
        told.append(f"{word('acknowledged', lang)} {alert.acknowledged_by}")
    return told


def shown(grid: Table) -> None:
    """A table as wide as it must be: no terminal, and no pipe, cuts what stands in it."""
    console = Console()
    wanted = console.measure(grid, options=console.options.update(width=10_000)).maximum
    Console(width=max(console.width, wanted)).print(grid)


def sender_of(kind: str, origin: str) -> str | None:
    """Which gateway sent what was refused: its origin, or, for one that was not known then, what
    stands behind the colon of ``kind``."""
    if origin.startswith("gateway:"):
        return origin.removeprefix("gateway:")
    return kind.partition(":")[2] or None


def entry(head: list[str], below: list[str]) -> None:
    """One thing on lines of their own: a table would cut what a person has to copy."""
    console = Console(highlight=False)
    console.print(Text("  ".join(head), style="bold"), soft_wrap=True)
    for line in below:
        console.print(Text(f"    {line}"), soft_wrap=True)


def mark_alert(folder: Path, kind: str, alert: str, who: str, note: str, hours: float) -> str:
    """Append a mark on one alert to the journal; what the judge makes of it shows in the list."""
    fleet = in_force(folder)
    reader = AlertsReader(kept(fleet, "alerts.db"))
    try:
        found = reader.alert(alert)
    finally:
        reader.close()
    if found is None:
        what = f"not exactly one warning has an id that begins with {alert!r}"
        raise ConfigurationError(
            Fault("alerts", 0, what, f"see: meterwatch alerts list {folder} --all")
        )
    if found.state != FIRING:
        what = f"warning {found.id} is over ({found.state})"
        raise ConfigurationError(Fault("alerts", 0, what, "only one in force can be marked"))
    now = now_ms()
    journal = journal_of(fleet)
    try:
        end = now + round(hours * 3_600_000)
        journal.append([Mark(now, kind, found.id, now, end, who, note)])
    finally:
        journal.close()
    return f"{kind}: {found.id}"


def journal_of(fleet: Fleet) -> SqliteJournal:
    """The journal that the program writes; for a moment, beside it."""
    return SqliteJournal(kept(fleet, "journal.db"), Telemetry())


def now_ms() -> int:
    """Now, UTC ms."""
    return time.time_ns() // 1_000_000
