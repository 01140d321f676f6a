"""Readings of a small plant as gateway messages: what was sent is known to the last digit.

Message ``i`` is a pure function of ``(seed, start, i)``; times are event times one second apart,
in the past but not late, so that two runs that get the same messages must come to the same
archive, books and alerts whenever the messages arrive. Counters count 0.01 kWh and are reset now
and then; concentrations climb over their limit and fall back.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

GATEWAYS = 3
METERS = 4
MONITORS = 2
STEP = 1_000
LIMIT = 100.0

SETTINGS = """
[program]
listen = ""
late_after = "7d"
tick = "1s"
[[source]]
kind = "mqtt"
name = "main"
url = "mqtt://127.0.0.1:{port}"
client_id = "meterwatch-campaign"
version = {version}
topics = ["meterwatch/v1/+/readings"]
"""

RULES = """
[[rule]]
id = "campaign-high"
kind = "threshold"
quantity = "voc.nmhc.concentration"
above = 100
clear = 90
for = "4s"
level = "red"
title = "too high"
title_zh = "过高"
[[rule]]
id = "campaign-spike"
kind = "threshold"
quantity = "voc.nmhc.concentration"
above = 130
level = "orange"
title = "spike"
title_zh = "尖峰"
[[rule]]
id = "campaign-jump"
kind = "rate"
quantity = "voc.nmhc.concentration"
rise = 40
per = "1s"
level = "yellow"
title = "jump"
title_zh = "突变"
"""


@dataclass(frozen=True)
class Sent:
    """One message and the readings in it: (point name, time, value)."""

    topic: str
    payload: bytes
    readings: list[tuple[str, int, float]]


class Traffic:
    """The plant's messages in order."""

    def __init__(self, seed: int, messages: int) -> None:
        """``messages`` that will be asked for: the last of them is measured about now."""
        self._random = random.Random(seed)
        self._start = time.time_ns() // 10**9 * 1000 - messages // GATEWAYS * STEP
        self._registers: dict[str, int] = {}
        self._levels: dict[str, float] = {}
        self._number = 0

    def next(self) -> Sent:
        gateway = self._number % GATEWAYS
        at = self._start + (self._number // GATEWAYS) * STEP
        self._number += 1
        site = f"plant-{gateway}"
        rows: list[dict[str, object]] = []
        readings: list[tuple[str, int, float]] = []
        for quantity, device, value in [*self._meters(site), *self._monitors(site)]:
            rows.append({"device": device, "time": at, "values": {quantity: value}})
            readings.append((f"{site}/{device}/{quantity}/raw", at, value))
        payload = json.dumps({"readings": rows}, separators=(",", ":")).encode()
        return Sent(f"meterwatch/v1/gw-{gateway}/readings", payload, readings)

    def _meters(self, site: str) -> list[tuple[str, str, float]]:
        found = []
        for number in range(METERS):
            device = f"meter-{number}"
            key = f"{site}/{device}"
            register = self._registers.get(key, self._random.randrange(10**6))
            register += self._random.randrange(200)
            if self._random.random() < 0.002:
                register = self._random.randrange(50)
            self._registers[key] = register
            found.append(("energy.active.import", device, register / 100))
        return found

    def _monitors(self, site: str) -> list[tuple[str, str, float]]:
        found = []
        for number in range(MONITORS):
            device = f"monitor-{number}"
            key = f"{site}/{device}"
            level = self._levels.get(key, 60.0)
            level += self._random.uniform(-12, 12) + (60 - level) * 0.02
            if self._random.random() < 0.03:
                level += self._random.choice([60, -60])
            self._levels[key] = level = min(max(level, 1.0), 250.0)
            found.append(("voc.nmhc.concentration", device, round(level, 2)))
        return found


def messages(number: int, seed: int = 7) -> list[Sent]:
    """The plant's messages up to about now."""
    traffic = Traffic(seed, number)
    return [traffic.next() for _ in range(number)]


def readings(sent: Iterable[Sent]) -> int:
    """How many readings are in it; one that was sent twice is one."""
    return len({(name, at) for message in sent for name, at, _ in message.readings})


def write_fleet(folder: Path, port: int, version: int = 5) -> Path:
    """The fleet folder that these messages belong to."""
    (folder / "registry").mkdir(parents=True)
    (folder / "rules").mkdir()
    (folder / "meterwatch.toml").write_text(
        SETTINGS.format(port=port, version=version), encoding="utf-8"
    )
    (folder / "rules" / "campaign.toml").write_text(RULES, encoding="utf-8")
    for gateway in range(GATEWAYS):
        site = f"plant-{gateway}"
        head = (
            f'[site]\nid = "{site}"\nname = "{site}"\nname_zh = "{site}"\n'
            f'county = "620502"\nindustry = "C2319"\n'
            f'[[gateway]]\nid = "gw-{gateway}"\nname = "gw-{gateway}"\n'
        )
        parts = [head]
        for device, profile, quantity in [
            *((f"meter-{n}", "generic-counter", "energy.active.import") for n in range(METERS)),
            *((f"monitor-{n}", "push", "voc.nmhc.concentration") for n in range(MONITORS)),
        ]:
            parts.append(
                f'[[place]]\nid = "{device}"\nname = "{device}"\nname_zh = "{device}"\n'
                f'[[device]]\nid = "{device}"\nplace = "{device}"\nprofile = "{profile}"\n'
                f'gateway = "gw-{gateway}"\ninterval = "1s"\nquantities = ["{quantity}"]\n'
            )
        (folder / "registry" / f"{site}.toml").write_text("\n".join(parts), encoding="utf-8")
    return folder
