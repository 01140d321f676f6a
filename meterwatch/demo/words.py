"""What the demo says, in English and Chinese, as data; how it writes numbers and times. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from collector.alerts import LEVEL_LABELS, Level
from collector.quantities import quantities

WORDS: Final[dict[str, tuple[str, str]]] = {
    # before it begins
    "opening": (
        "A park of three plants: {meters} meters on Modbus sockets, {gateways} gateways over MQTT.",
        "模拟三家单位：{meters} 块表走 Modbus 套接字，{gateways} 台网关走 MQTT。",
    ),
    "opening.broker": ("Broker: {broker}.", "消息代理：{broker}。"),
    "opening.course": (
        "meterwatch reads them for {seconds} s while things go wrong. Ctrl-C ends it early.",
        "meterwatch 采集 {seconds} 秒，其间会出各种意外。按 Ctrl-C 可提前结束。",
    ),
    "broker.mosquitto": ("mosquitto", "mosquitto"),
    "broker.embedded": ("the one that comes along (no mosquitto)", "内置（未用 mosquitto）"),
    # the live page
    "time": ("{gone} of {whole} s", "第 {gone} 秒，共 {whole} 秒"),
    "happens": ("What happens", "发生了什么"),
    "in_force": ("Warnings in force", "未解除的预警"),
    "none_in_force": ("none", "无"),
    "more": ("and {count} more", "另有 {count} 条"),
    "counters": (
        "came in {sent}   stored {stored}   refused {refused}   backlog {backlog}",
        "收到 {sent}   入库 {stored}   拒收 {refused}   数据积压 {backlog}",
    ),
    "in_gateways": ("waiting in gateways {kept}", "网关待补传 {kept}"),
    "no_data": ("silent {seconds} s", "{seconds} 秒无数据"),
    "since": ("since {time}", "{time} 起"),
    # lines of the course
    "raised": ("{level}: {title}. {where}{measured}", "{level}：{title}。{where}{measured}"),
    "settled": ("Over: {title}. {where}", "解除：{title}。{where}"),
    "attached": (
        "{title}, {where}: stands behind another warning",
        "{title}，{where}：由另一条预警代表",
    ),
    "refused": ("Refused from {origin}: {detail}", "拒收（{origin}）：{detail}"),
    "odd": ("The books notice: {place}: {words}", "核算发现：{place}，{words}"),
    "found_late": (
        "Found late, in what {origin} sent afterwards: {title}. {where}",
        "补传数据中发现（{origin}）：{title}。{where}",
    ),
    "measured": (": {value}, limit {limit}", "：{value}，限值 {limit}"),
    "fell": (": fell by {change} in {seconds:.0f} s", "：{seconds:.0f} 秒内下降 {change}"),
    "rose": (": rose by {change} in {seconds:.0f} s", "：{seconds:.0f} 秒内上升 {change}"),
    "silent": (": nothing for {seconds:.0f} s", "：已 {seconds:.0f} 秒无数据"),
    # names
    "gateway": ("gateway {name}", "网关 {name}"),
    "device": ("meter {name}", "表计 {name}"),
    "broker": ("message broker {name}", "消息服务器 {name}"),
    "bus": ("bus {name}", "总线 {name}"),
    "meters": ("{count} meters over Modbus", "Modbus 表计 {count} 块"),
    # the summary
    "readings": ("Readings", "读数"),
    "from": ("from", "来源"),
    "sent": ("came in", "收到"),
    "stored": ("stored", "入库"),
    "refused_column": ("refused", "拒收"),
    "together": ("together", "合计"),
    "adds_up": (
        "{sent} came in = {stored} stored + {refused} refused. It adds up.",
        "收到 {sent} = 入库 {stored} + 拒收 {refused}，对得上。",
    ),
    "adds_not_up": (
        "{sent} came in, but {stored} stored + {refused} refused leave {missing} unexplained.",
        "收到 {sent}，入库 {stored} + 拒收 {refused}，差 {missing}，对不上。",
    ),
    "why": (
        "Refused: {readings} from {origin}: {reason}",
        "拒收 {readings} 条（{origin}）：{reason}",
    ),
    "unheard": (
        "{count} more were answered too late for their poll; such a poll is not used in part.",
        "另有 {count} 条应答过迟，所在的一次采集整体不用。",
    ),
    "repeated": (
        "{count} came twice and are kept once.",
        "{count} 条重复送达，只保存一次。",
    ),
    "kept": (
        "{count} were still in {origin} at the end.",
        "结束时 {origin} 中还有 {count} 条未送出。",
    ),
    "warnings": ("Warnings", "预警"),
    "level": ("level", "级别"),
    "what": ("what", "内容"),
    "where": ("where", "地点"),
    "began": ("pending", "条件成立"),
    "fired": ("fired", "发出"),
    "over": ("over", "解除"),
    "worst": ("worst", "最严重"),
    "still": ("in force", "未解除"),
    "because": ("because of: {title}", "根源：{title}"),
    "late": ("found late", "事后发现"),
    "no_warnings": ("No warning was raised.", "没有发出预警。"),
    "books": ("Books: used in this time", "账目：本次用量"),
    "site": ("site", "单位"),
    "measured_share": (
        "As the meters count it; a meter behind large transformers counts in large steps.",
        "按表计走字计算；互感器变比大的表，一个字也大。",
    ),
    "data": ("Where it lies", "数据在哪里"),
    "file.archive.db": ("every reading, and what was refused", "每一条读数，以及拒收了什么"),
    "file.alerts.db": ("warnings and their life", "预警及其经过"),
    "file.books.db": ("what was used", "用量账目"),
    "file.journal.db": ("the intake log", "数据流水"),
    "file.demo.log": ("the program's own log", "程序日志"),
    "next": ("What to try next", "接下来可以试试"),
    "try.status": ("when each device was last heard", "每块表最近一次读数"),
    "try.alerts": ("these warnings again", "再看一遍这些预警"),
    "try.warnings": ("warnings in force", "当前的预警"),
    "try.refused": ("what was refused, and why", "拒收了什么、为什么"),
    "try.probe": ("your own meter, with its address", "读您自己的表，换上它的地址"),
    "try.simulate": ("this park alone, to try settings on", "只运行模拟园区，试自己的配置"),
    "missing": ("What should have happened and did not", "应当发生而没有发生的"),
    "missing.rule": ("{event}: no warning {rule!r}", "{event}：没有发出预警 {rule!r}"),
    "missing.refused": ("{event}: nothing was refused for it", "{event}：没有因此拒收读数"),
    "missing.odd": ("{event}: the books did not notice", "{event}：核算没有发现"),
    "missing.fold": ("{name} stopped by a fault: see {log}", "{name} 因故障停止：见 {log}"),
    "short": (
        "Under 30 s there is no time for some of the warnings, so none was demanded.",
        "不足 30 秒，部分预警来不及出现，本次不作要求。",
    ),
    "interrupted": (
        "Ended early at your wish; the rest of the course was not played.",
        "已按您的要求提前结束，后面的情节没有上演。",
    ),
    # the park alone
    "park.open": (
        "The park is open; its fleet folder is {folder}. In another terminal:",
        "模拟园区已开启，配置目录为 {folder}。请在另一个终端运行：",
    ),
    "park.ends": ("Ctrl-C closes the park.", "按 Ctrl-C 关闭园区。"),
    "try.run": ("read, keep, judge", "采集、入库、判定"),
    "try.metrics": ("what the program says of itself", "程序自身的状态"),
}

AMOUNTS: Final[dict[str, tuple[str, str]]] = {
    "energy.active.import": ("electricity", "用电"),
    "gas.volume": ("natural gas", "天然气"),
    "steam.mass": ("steam", "蒸汽"),
    "water.volume": ("water", "用水"),
    "air.volume": ("compressed air", "压缩空气"),
}
"""Counters whose amounts the summary shows, in this order."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A line of a site's panel: a point and what people call it there."""

    site: str
    place: str
    quantity: str
    en: str
    zh: str

    @property
    def point(self) -> str:
        return f"{self.site}/{self.place}/{self.quantity}/raw"


SHOWN: Final = (
    Shown("print", "main", "power.active", "Main supply", "总进线"),
    Shown("print", "press-1", "power.active", "Press 1", "1号印刷机"),
    Shown("print", "press-2", "power.active", "Press 2", "2号印刷机"),
    Shown("print", "rto", "power.active", "Treatment", "治理设施"),
    Shown("print", "stack", "voc.nmhc.concentration", "NMHC, outlet", "排口NMHC"),
    Shown("cement", "main", "power.active", "Main supply", "总进线"),
    Shown("cement", "mill-1", "power.active", "Ball mill 1", "1号球磨机"),
    Shown("cement", "mill-2", "power.active", "Ball mill 2", "2号球磨机"),
    Shown("cement", "dust-stack", "fluegas.pm", "Dust, outlet", "排口粉尘"),
    Shown("cement", "water", "water.flow", "Water", "用水"),
    Shown("hospital", "main", "power.active", "Main supply", "总进线"),
    Shown("hospital", "gas", "gas.flow", "Gas", "天然气"),
    Shown("hospital", "steam", "steam.flow", "Steam", "蒸汽"),
    Shown("hospital", "boiler-1", "fluegas.o2", "Boiler 1, O2", "1号炉氧量"),
    Shown("hospital", "laundry", "energy.active.import", "Laundry", "洗衣房底数"),
)

SITES: Final = tuple(dict.fromkeys(shown.site for shown in SHOWN))
"""In the order of the story."""

LEVEL_STYLES: Final = {
    Level.BLUE: "bright_blue",
    Level.YELLOW: "yellow",
    Level.ORANGE: "dark_orange",
    Level.RED: "bold red",
}


@dataclass(frozen=True, slots=True)
class Speaker:
    """Says things to one reader. ``lang`` en or zh; times are shown in ``zone``."""

    lang: str
    zone: ZoneInfo

    def say(self, key: str, /, **fields: object) -> str:
        """The text ``key`` with its fields; whole numbers get thousands separators."""
        told = {
            name: f"{value:,}" if isinstance(value, int) else value
            for name, value in fields.items()
        }
        return WORDS[key][self.lang == "zh"].format(**told)

    def choose(self, en: str, zh: str) -> str:
        """The reader's language of two; the other where it is empty."""
        return (zh or en) if self.lang == "zh" else (en or zh)

    def clock(self, ms: int) -> str:
        """Time of day of ``ms`` (UTC ms); a dash for 0."""
        return f"{datetime.fromtimestamp(ms / 1000, self.zone):%H:%M:%S}" if ms else "-"

    def level(self, level: int) -> str:
        zh_en = LEVEL_LABELS[Level(level)]
        return self.choose(zh_en[1], zh_en[0])

    # what a transition's data (see ``rules.book``) says

    def title(self, data: Mapping[str, Any]) -> str:
        told = self.choose(str(data.get("title", "")), str(data.get("title_zh", "")))
        return told or str(data.get("rule", ""))

    def where(self, data: Mapping[str, Any]) -> str:
        """Site and place; of an origin, its site and what it is."""
        names = [
            self.choose(str(data.get(f"{key}_name", "")), str(data.get(f"{key}_name_zh", "")))
            for key in ("site", "place")
        ]
        if not names[1]:
            names[1] = self.origin(str(data.get("subject", "")))
        return self.choose(", ", "，").join(name for name in names if name)

    def measured(self, data: Mapping[str, Any]) -> str:
        """The value against its limit, or how long nothing was heard; empty when there is none."""
        value, limit = data.get("value"), data.get("limit")
        if data.get("kind") == "absence" and isinstance(value, int | float):
            return self.say("silent", seconds=float(value))
        if not isinstance(value, int | float) or not isinstance(limit, int | float):
            return ""
        unit = str(data.get("unit", ""))
        if data.get("kind") == "rate":
            return self._moved(data, unit)
        return self.say("measured", value=amount(value, unit), limit=amount(limit, unit))

    def _moved(self, data: Mapping[str, Any], unit: str) -> str:
        """What changed, in which time: a speed in units an hour says little of one leap."""
        change, elapsed = data.get("change"), data.get("elapsed_ms")
        if not isinstance(change, int | float) or not isinstance(elapsed, int | float):
            return ""
        way = "fell" if change < 0 else "rose"
        return self.say(way, change=amount(abs(change), unit), seconds=elapsed / 1000)

    def origin(self, origin: str, meters: int = 0) -> str:
        """Whoever can be silent as a whole, by its kind."""
        kind, _, name = origin.partition(":")
        known = {"gateway": "gateway", "device": "device", "mqtt": "broker", "modbus": "bus"}
        if origin == "modbus":
            return self.say("meters", count=meters)
        return self.say(known[kind], name=name) if kind in known else origin


def amount(value: float, unit: str, *, steady: bool = False) -> str:
    """Four digits that matter, thousands apart, the unit as people write it. ``steady``: with
    zeros at the end, so that a value which is shown again and again does not jump."""
    size = abs(value)
    digits = 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 10 else 3
    text = f"{value:,.{digits}f}"
    if "." in text and (value == 0 or not steady):
        text = text.rstrip("0").rstrip(".")
    return f"{text} {unit.replace('m3', 'm³').replace('degC', '°C')}".rstrip()


def unit_of(quantity: str) -> str:
    """The canonical unit of ``quantity``."""
    return quantities()[quantity].unit
