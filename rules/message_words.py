"""The words of messages in each language, as data; :mod:`rules.messages` puts them together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from collector.alerts import ACKNOWLEDGED, CLOSED, FIRING, FOUND_LATE, RESOLVED
from collector.notices import BOTH


@dataclass(frozen=True, slots=True)
class Words:
    """Everything that differs between languages besides the order of a sentence."""

    bracket: str
    colon: str
    comma: str
    listing: str
    states: Mapping[str, str]
    digest: str
    where: str
    value: str
    limit: Mapping[str, str]
    change: str
    moved: Mapping[str, str]
    within: str
    alike: str
    never: Mapping[str, str]
    silent: str
    refused: str
    example: str
    flat: str
    worst: str
    now: str
    since: str
    until: str
    lasted: str
    covers: str
    among: str
    more: str
    advice: str
    check: str
    settled: str
    check_late: str
    in_turn: str
    by: str
    note: str
    cause: str
    late: str
    merged: str
    look: str
    id: str
    origins: Mapping[str, str]
    kinds: Mapping[str, str]
    units: tuple[tuple[int, str], ...]


WORDS: Final = {
    "zh": Words(
        bracket="【{}】",
        colon="：",
        comma="，",
        listing="、",
        states={
            FIRING: "预警",
            RESOLVED: "预警解除",
            BOTH: "预警，现已恢复",
            ACKNOWLEDGED: "预警已确认",
            CLOSED: "预警已关闭",
            FOUND_LATE: "预警，补传数据中发现",
        },
        digest="预警汇总 {} 件",
        where="地点：{}",
        value="数值：{}",
        limit={"above": "高于限值 {}", "below": "低于限值 {}", "": "限值 {}"},
        change="{}内变化 {}",
        moved={"rise": "{}内上升 {}", "fall": "{}内下降 {}"},
        within="{}/{}",
        alike="（即 {}）",
        never={"rise": "不得上升", "fall": "不得下降"},
        silent="无数据：已 {}",
        refused="拒收：{} 次",
        example="例如：{}",
        flat="已 {}没有变化",
        worst="最严重时 {}",
        now="现在 {}",
        since="开始：{}",
        until="结束：{}",
        lasted="，历时 {}",
        covers="涉及：{} 台表计",
        among="包括：{}",
        more="等 {} 处",
        advice="处置：{}",
        check="到现场核实。",
        settled="无需立即处置，请记录原因。",
        check_late="核对该时段的记录。",
        in_turn="按级别从高到低逐条处理。",
        by="操作人：{}",
        note="说明：{}",
        cause="原因：{}",
        late="时间：{} 至 {}",
        merged="消息较多，合并为一条：{}。",
        look="另有 {} 件。全部内容：meterwatch alerts",
        id="编号：{}",
        origins={
            "gateway": "网关 {}",
            "device": "表计 {}",
            "mqtt": "消息服务器 {}",
            "http": "上送入口 {}",
            "mqtt-listener": "MQTT 上送入口 {}",
            "modbus": "总线 {}",
            "dlt645": "电表线路 {}",
            "notifier": "通知渠道 {}",
            "projection": "外部库 {}",
            "rule": "规则 {}",
        },
        kinds={
            "threshold": "超过限值",
            "rate": "变化过快",
            "absence": "数据中断",
            "flatline": "读数长时间不变",
            "refusals": "数据被拒收",
            FOUND_LATE: "{} 条超限",
        },
        units=(
            (86_400_000, "{} 天"),
            (3_600_000, "{} 小时"),
            (60_000, "{} 分钟"),
            (1_000, "{} 秒"),
        ),
    ),
    "en": Words(
        bracket="[{}] ",
        colon=": ",
        comma=", ",
        listing=", ",
        states={
            FIRING: "Warning",
            RESOLVED: "Warning over",
            BOTH: "Warning, over by now",
            ACKNOWLEDGED: "Warning acknowledged",
            CLOSED: "Warning closed",
            FOUND_LATE: "Warning, found in late data",
        },
        digest="{} warnings in one message",
        where="Where: {}",
        value="Value: {}",
        limit={"above": "above the limit of {}", "below": "below the limit of {}", "": "limit {}"},
        change="changed {1} within {0}",
        moved={"rise": "rose by {1} in {0}", "fall": "fell by {1} in {0}"},
        within="{} in {}",
        alike=" ({})",
        never={"rise": "may not rise", "fall": "may not fall"},
        silent="No data: for {}",
        refused="Refused: {} times",
        example="For example: {}",
        flat="has not changed for {}",
        worst="worst {}",
        now="now {}",
        since="Since: {}",
        until="Until: {}",
        lasted=", for {}",
        covers="Affected: {} meters",
        among="Among them: {}",
        more="{} in all",
        advice="What to do: {}",
        check="Go and look.",
        settled="Nothing at once; write down the cause.",
        check_late="Check the records of that time.",
        in_turn="Take them in this order.",
        by="By: {}",
        note="Note: {}",
        cause="Why: {}",
        late="Measured: {} to {}",
        merged="Too many for single messages: {}.",
        look="{} more. See all: meterwatch alerts",
        id="Id: {}",
        origins={
            "gateway": "gateway {}",
            "device": "meter {}",
            "mqtt": "message broker {}",
            "http": "entrance for pushes {}",
            "mqtt-listener": "entrance for MQTT pushes {}",
            "modbus": "bus {}",
            "dlt645": "line of meters {}",
            "notifier": "notification channel {}",
            "projection": "external database {}",
            "rule": "rule {}",
        },
        kinds={
            "threshold": "limit exceeded",
            "rate": "changes too fast",
            "absence": "no data",
            "flatline": "reading does not change",
            "refusals": "data is refused",
            FOUND_LATE: "{} findings",
        },
        units=((86_400_000, "{} d"), (3_600_000, "{} h"), (60_000, "{} min"), (1_000, "{} s")),
    ),
}
