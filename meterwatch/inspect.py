"""What a person asks a fleet folder: status, refusals, warnings. Reads files, changes nothing,
except that a mark on a warning is appended to the journal like everything else.

All of it works while the program runs, and while it does not.
"""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Table

from adapters.journals.sqlite import SqliteJournal
from adapters.profiles import load_profiles
from adapters.state.alerts import AlertsReader
from adapters.stores.archive_reader import ArchiveReader
from collector.alerts import LEVEL_LABELS, Level
from collector.errors import ConfigurationError, Fault, TemporaryError
from collector.model import Mark, Reason
from collector.registry import FOREVER, Device, Registry
from collector.telemetry import Telemetry
from meterwatch.fleet import Fleet, parse, read_files

DAY_MS: Final = 86_400_000

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
    "archive": ("archive", "本地库"),
    "readings": ("readings", "读数"),
    "nothing": ("nothing", "无"),
    "origin": ("from", "来源"),
    "reason": ("reason", "原因"),
    "times": ("times", "次数"),
    "detail": ("what to change", "说明"),
    "level": ("level", "级别"),
    "rule": ("rule", "规则"),
    "where": ("where", "位置"),
    "since": ("since", "开始"),
    "until": ("until", "结束"),
    "worst": ("worst", "极值"),
    "state": ("state", "状态"),
    "id": ("id", "编号"),
    "first": ("first", "首次"),
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
}


def word(key: str, lang: str) -> str:
    """A heading in the reader's language."""
    return WORDS[key][lang == "zh"]


def summary(fleet: Fleet) -> list[str]:
    """What ``check`` says of files without faults."""
    registry = fleet.registry
    told = (
        f"no faults: {len(registry.sites)} sites, {len(registry.places)} places, "
        f"{len(registry.devices)} devices, {len(registry.gateways)} gateways, "
        f"{len(registry.points)} points, {len(fleet.rules)} rules"
    )
    lines = [told]
    lines += [
        f"note: no device at {'outlet' if place.outlet else 'place'} {place.key}"
        + (f" (permit {place.permit_no})" if place.permit_no else "")
        for place in registry.unserved(_now())
    ]
    return lines


def print_status(folder: Path, lang: str) -> None:
    """Backlog of every consumer, last reading of every device, places without a device."""
    console = Console()
    fleet = parse(read_files(folder))
    data = folder / fleet.settings.program.data
    zone = ZoneInfo(fleet.settings.program.zone)
    journal = _journal(data)
    try:
        last = journal.last()
        behind = ", ".join(
            f"{name} {last - released}" for name, released in sorted(journal.consumers().items())
        )
        console.print(f"{word('journal', lang)}: {journal.live_bytes() / 2**20:.1f} MB")
        console.print(f"{word('backlog', lang)}: {behind or word('nothing', lang)}")
    finally:
        journal.close()
    reader = ArchiveReader(data / "archive.db")
    try:
        stats = reader.stats()
        readings = stats.stored.sealed_rows + stats.stored.run_rows
        console.print(
            f"{word('archive', lang)}: {readings:,} {word('readings', lang)},"
            f" {stats.file_bytes / 2**20:.1f} MB"
        )
        console.print(_devices(fleet.registry, reader, zone, lang))
    finally:
        reader.close()
    for place in fleet.registry.unserved(_now()):
        console.print(f"{word('no_device', lang)}: {place.key}")


def _devices(registry: Registry, reader: ArchiveReader, zone: ZoneInfo, lang: str) -> Table:
    known = set(reader.point_names())
    grid = Table(word("device", lang), word("place", lang), word("last", lang))
    now = _now()
    for device in registry.devices.values():
        if not device.start <= now < device.end:
            continue
        names = [
            point.name
            for point in registry.points
            if any(one.device == device.key for one in point.services) and point.name in known
        ]
        newest = max((_newest(reader, name) for name in names), default=0)
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
    """What was refused, the newest first, and how much in all."""
    fleet = parse(read_files(folder))
    data = folder / fleet.settings.program.data
    zone = ZoneInfo(fleet.settings.program.zone)
    reader = ArchiveReader(data / "archive.db")
    console = Console()
    try:
        origins = dict(enumerate(reader.origin_names()))
        grid = Table(
            *(word(key, lang) for key in ("id", "origin", "reason", "readings", "last", "detail"))
        )
        rows = reader.refused(limit=limit)
        for row in rows:
            grid.add_row(
                str(row.id),
                origins.get(row.origin, str(row.origin)),
                REASONS_ZH.get(row.reason, row.reason) if lang == "zh" else row.reason,
                str(row.readings),
                moment(row.last, zone),
                row.detail,
            )
        console.print(grid if rows else word("nothing", lang))
    finally:
        reader.close()


def print_alerts(folder: Path, *, every: bool, lang: str) -> None:
    """Warnings in force, or all of them, the most urgent first."""
    fleet = parse(read_files(folder))
    zone = ZoneInfo(fleet.settings.program.zone)
    reader = AlertsReader(folder / fleet.settings.program.data / "alerts.db")
    console = Console()
    try:
        grid = Table(
            *(word(key, lang) for key in ("level", "rule", "where", "since", "state", "id"))
        )
        found = reader.alerts(active=not every)
        for alert in sorted(found, key=lambda one: (-one.level, one.started)):
            rule = fleet.rules.rules.get(alert.rule)
            title = alert.rule
            if rule is not None:
                title = rule.title_zh if lang == "zh" else rule.title
            label = LEVEL_LABELS[Level(alert.level)][0 if lang == "zh" else 1]
            state = alert.state + (" +" if alert.acknowledged else "")
            grid.add_row(label, title, alert.subject, moment(alert.started, zone), state, alert.id)
        console.print(grid if found else word("nothing", lang))
    finally:
        reader.close()


def mark_alert(folder: Path, kind: str, alert: str, who: str, note: str, hours: float) -> str:
    """Append a mark on one alert to the journal; what the judge makes of it shows in the list."""
    fleet = parse(read_files(folder))
    data = folder / fleet.settings.program.data
    reader = AlertsReader(data / "alerts.db")
    try:
        found = reader.alert(alert)
    finally:
        reader.close()
    if found is None:
        what = f"not exactly one warning has an id that begins with {alert!r}"
        raise ConfigurationError(Fault("alerts", 0, what, "see: alerts list --all"))
    now = _now()
    journal = _journal(data)
    try:
        end = now + round(hours * 3_600_000)
        journal.append([Mark(now, kind, found.id, now, end, who, note)])
    finally:
        journal.close()
    return f"{kind}: {found.id}"


def print_profiles(search: str) -> None:
    """Device models whose name, maker or label holds ``search``."""
    grid = Table("profile", "model", "label", "source")
    for profile in load_profiles().values():
        told = f"{profile.name} {profile.maker} {profile.model} {profile.label} {profile.label_zh}"
        if search.lower() in told.lower():
            grid.add_row(
                profile.name,
                f"{profile.maker} {profile.model}".strip(),
                f"{profile.label} / {profile.label_zh}",
                profile.source,
            )
    Console().print(grid)


def moment(ms: int, zone: ZoneInfo) -> str:
    """A time as people in ``zone`` read it."""
    return datetime.fromtimestamp(ms / 1000, zone).strftime("%Y-%m-%d %H:%M:%S")


def _journal(data: Path) -> SqliteJournal:
    path = data / "journal.db"
    if not path.exists():
        raise TemporaryError(f"{path}: nothing was received yet; start it with meterwatch run")
    return SqliteJournal(path, Telemetry())


def _now() -> int:
    return time.time_ns() // 1_000_000
