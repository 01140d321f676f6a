"""What a person asks a fleet folder: status, refusals, warnings. Reads files, changes nothing,
except that a mark on a warning is appended to the journal like everything else.

All of it works while the program runs, and while it does not.
"""

from __future__ import annotations

import time
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
from collector.connections import origin_of
from collector.errors import ConfigurationError, Fault
from collector.model import Mark, Reason
from collector.registry import FOREVER, Device, Registry
from collector.settings import HttpSource, ListenerSource, MqttSource
from collector.telemetry import Telemetry
from meterwatch import named_files
from meterwatch.fleet import Fleet, kept, parse, read_files
from meterwatch.projections import looked_at
from meterwatch.refusal_words import refusal
from meterwatch.wiring import imported, secret_text

DAY_MS: Final = 86_400_000
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
    "newest": ("the newest are shown, more are kept", "只列出最近的，其余仍保存"),
    "sources": ("source", "数据源"),
    "state": ("state", "状态"),
    "up": ("up", "在线"),
    "down": ("down", "离线"),
    "why": ("why", "原因"),
    "gateway": ("gateway", "网关"),
    "clock": ("clock", "时钟"),
    "found": ("found", "判定时间"),
    "alive": ("last sign of life of the program", "程序最近活动"),
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
}

REASONS_ZH: Final[dict[str, str]] = {
    Reason.PAYLOAD: "报文无法读取",
    Reason.UNKNOWN_GATEWAY: "台账中无此网关",
    Reason.UNKNOWN_DEVICE: "台账中无此表计",
    Reason.UNKNOWN_QUANTITY: "未知指标",
    Reason.UNKNOWN_UNIT: "未知单位",
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
    lines += [
        f"note: no device at {'outlet' if place.outlet else 'place'} {place.key}"
        + (f" (permit {place.permit_no})" if place.permit_no else "")
        for place in registry.unserved(_now())
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


def print_status(folder: Path, lang: str) -> None:
    """Sources up or down, wrong clocks of gateways, backlog of every consumer, last reading of
    every device, places without a device."""
    console = Console()
    fleet = parse(read_files(folder))
    zone = ZoneInfo(fleet.settings.program.zone)
    journal = _journal(fleet)
    try:
        last = journal.last()
        behind = ", ".join(
            f"{word(name, lang) if name in WORDS else name} {last - released}"
            for name, released in sorted(journal.consumers().items())
        )
        console.print(f"{word('journal', lang)}: {journal.live_bytes() / 2**20:.1f} MB")
        told = f"{behind} {word('behind', lang)}" if behind else word("nothing", lang)
        console.print(f"{word('backlog', lang)}: {told}", highlight=False)
    finally:
        journal.close()
    reader = ArchiveReader(kept(fleet, "archive.db"))
    try:
        stats = reader.stats()
        readings = stats.stored.sealed_rows + stats.stored.run_rows
        console.print(
            f"{word('archive', lang)}: {readings:,} {word('readings', lang)},"
            f" {stats.file_bytes / 2**20:.1f} MB"
        )
        alive = reader.tick()
        told = moment(alive, zone) if alive else word("never", lang)
        console.print(f"{word('alive', lang)}: {told}", highlight=False)
        console.print(_sources(fleet, reader, zone, lang))
        clocks = _clocks(fleet.registry, reader, zone, lang)
        if clocks.row_count:
            console.print(clocks)
        console.print(_devices(fleet.registry, reader, zone, lang))
    finally:
        reader.close()
    for place in fleet.registry.unserved(_now()):
        console.print(f"{word('no_device', lang)}: {place.key}")


def _sources(fleet: Fleet, reader: ArchiveReader, zone: ZoneInfo, lang: str) -> Table:
    """Brokers, listeners, buses and channels that the files name, each by its own last word."""
    now = _now()
    pushed = (MqttSource, HttpSource, ListenerSource)
    named = [one.origin for one in fleet.settings.sources if isinstance(one, pushed)]
    named += sorted(
        {
            origin_of(device.connection)
            for device in fleet.registry.devices.values()
            if device.connection and device.start <= now < device.end
        }
    )
    named += [f"notifier:{one.name}" for one in fleet.settings.notifiers]
    named += [one.origin for one in fleet.settings.projections if one.enabled]
    states = reader.states()
    grid = Table(*(word(key, lang) for key in ("sources", "state", "since", "why")))
    for name in named:
        said = states.get(name)
        if said is None:
            grid.add_row(name, "", word("never", lang), "")
        else:
            state = word("up" if said.up else "down", lang)
            grid.add_row(name, state, moment(said.since, zone), said.reason)
    return grid


def _clocks(registry: Registry, reader: ArchiveReader, zone: ZoneInfo, lang: str) -> Table:
    """Gateways whose clock is wrong, as the program found it last."""
    states = reader.states()
    grid = Table(*(word(key, lang) for key in ("gateway", "clock", "found")))
    for gateway in registry.gateways:
        said = states.get(f"gateway:{gateway}")
        if said is not None and said.reason:
            grid.add_row(gateway, refusal(said.reason, lang), moment(said.told, zone))
    return grid


def _devices(registry: Registry, reader: ArchiveReader, zone: ZoneInfo, lang: str) -> Table:
    known = set(reader.point_names())
    names: dict[str, set[str]] = {}
    for point in registry.points:
        for service in point.services if point.name in known else ():
            names.setdefault(service.device, set()).add(point.name)
    grid = Table(word("device", lang), word("place", lang), word("last", lang))
    now = _now()
    for device in registry.devices.values():
        if not device.start <= now < device.end:
            continue
        newest = max((_newest(reader, name) for name in names.get(device.key, ())), default=0)
        told = moment(newest, zone) if newest else word("never", lang)
        grid.add_row(device.key, _place(device), told)
    return grid


def _newest(reader: ArchiveReader, name: str) -> int:
    found = reader.latest(name)
    return int(found.time[0]) if len(found) else 0


def _place(device: Device) -> str:
    until = "" if device.end == FOREVER else " *"
    return f"{device.site}/{device.place}{until}"


def print_refused(folder: Path, lang: str, limit: int = 50) -> None:
    """What was refused, the newest first, and what to do about it."""
    fleet = parse(read_files(folder))
    zone = ZoneInfo(fleet.settings.program.zone)
    reader = ArchiveReader(kept(fleet, "archive.db"))
    try:
        origins = dict(enumerate(reader.origin_names()))
        rows = reader.refused(limit=limit)
    finally:
        reader.close()
    for row in rows:
        head = [
            moment(row.last, zone),
            REASONS_ZH.get(row.reason, row.reason) if lang == "zh" else row.reason,
            origins.get(row.origin, str(row.origin)),
            f"{row.readings:,} {word('reading' if row.readings == 1 else 'readings', lang)}",
        ]
        below = [refusal(row.detail, lang)]
        if row.replayed:
            head.append(word("taken", lang))
        elif todo := remedy(row.reason, row.detail):
            below.append(f"-> {refusal(todo, lang)}")
        entry(head, below)
    if len(rows) in {0, limit}:
        Console(highlight=False).print(word("newest" if rows else "nothing", lang))


def print_alerts(folder: Path, *, every: bool, lang: str) -> None:
    """Warnings in force, or all of them, the most urgent first; with each its cause, where
    another warning stands for it."""
    fleet = parse(read_files(folder))
    zone = ZoneInfo(fleet.settings.program.zone)
    reader = AlertsReader(kept(fleet, "alerts.db"))
    try:
        found = reader.alerts(active=not every)
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
        entry([label, title, alert.subject], ["  ".join([span, *state])])
    if not found:
        Console(highlight=False).print(word("nothing", lang))


def _more(alert: Alert, lang: str) -> list[str]:
    """What else a person should know of it."""
    told: list[str] = []
    if alert.cause:
        told.append(f"{word('because', lang)} {alert.cause[:ID_SHOWN]}")
    if alert.acknowledged:
        told.append(f"{word('acknowledged', lang)} {alert.acknowledged_by}")
    return told


def entry(head: list[str], below: list[str]) -> None:
    """One thing on lines of their own: a table would cut what a person has to copy."""
    console = Console(highlight=False)
    console.print(Text("  ".join(head), style="bold"), soft_wrap=True)
    for line in below:
        console.print(Text(f"    {line}"), soft_wrap=True)


def mark_alert(folder: Path, kind: str, alert: str, who: str, note: str, hours: float) -> str:
    """Append a mark on one alert to the journal; what the judge makes of it shows in the list."""
    fleet = parse(read_files(folder))
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
    now = _now()
    journal = _journal(fleet)
    try:
        end = now + round(hours * 3_600_000)
        journal.append([Mark(now, kind, found.id, now, end, who, note)])
    finally:
        journal.close()
    return f"{kind}: {found.id}"


def moment(ms: int, zone: ZoneInfo) -> str:
    """A time as people in ``zone`` read it."""
    return datetime.fromtimestamp(ms / 1000, zone).strftime("%Y-%m-%d %H:%M:%S")


def _journal(fleet: Fleet) -> SqliteJournal:
    return SqliteJournal(kept(fleet, "journal.db"), Telemetry())


def _now() -> int:
    return time.time_ns() // 1_000_000
