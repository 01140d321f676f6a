"""A day of a small city, as its meters see it: what they show at any moment, and their registry.

Three sites in two counties bring every quantity there is. Everything here is a function of the
time, so that a test knows what the dashboards must say: a register that rolls over and one that
is reset, NMHC that is too high twice, a station that is silent for two hours, a gateway that is
away for six and brings its history later, values that are none. ``Meters`` remembers when each
was asked. Times are UTC ms; what happens when is told in hours of the sites' own zone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

from collector.profile import parse_profile
from collector.quantities import Quantity, quantities
from meterwatch.simulator.meters import Meter

MINUTE, QUARTER, HOUR, DAY = 60_000, 900_000, 3_600_000, 86_400_000
MIDNIGHT: Final = int(datetime.fromisoformat("2025-06-11T00:00+08:00").timestamp()) * 1000
"""When the day begins. It lies back, so that nothing depends on the day of the test."""
START: Final = MIDNIGHT - HOUR
END: Final = MIDNIGHT + DAY + 45 * MINUTE
"""The day's books are closed by then, and its last hour is counted."""


def hour(number: float) -> int:
    """A moment of the day: ``hour(10.5)`` is half past ten."""
    return MIDNIGHT + round(number * HOUR)


SILENT: Final = (hour(10), hour(12))
"""``hospital/yard`` answers nothing in between."""
AWAY: Final = (hour(8), hour(14))
"""``gw-paper`` cannot reach the broker; a quarter of an hour later it sends what it kept."""
TOO_HIGH: Final = ((hour(10), hour(10) + 40 * MINUTE), (hour(24) + 10 * MINUTE, END + HOUR))
"""NMHC at ``print/stack``: over before noon, and at the end not."""
NO_NMHC: Final = (hour(5), hour(5) + 20 * MINUTE)
IMPOSSIBLE: Final = (hour(6), hour(6) + MINUTE)
STOPPED: Final = (hour(2), hour(2.5))
"""The treatment unit of ``print``."""
RESET: Final = hour(13) + 1_000
"""Of the hospital's meter, a second after it was read: it begins again at what came since."""
POWER_FACTOR_LOW, VOLTAGE_HIGH = hour(22), hour(23)
MODULUS: Final = 1_000_000
"""Steps of 0.01 kWh at which the printer's meter rolls over, once in the day."""

ENERGY: Final = "energy.active.import"
NMHC: Final = "voc.nmhc.concentration"
GROUPS: Final = {
    ("print", "main"): (1, 300, ("electricity",)),
    ("print", "stack"): (2, 60, ("voc", "fluegas", "instrument")),
    ("print", "rto"): (3, 300, ("treatment", "process")),
    ("hospital", "boiler"): (5, 300, ("gas", "heat", "fuel")),
    ("hospital", "works"): (6, 300, ("water", "air")),
    ("hospital", "yard"): (7, 300, ("ambient",)),
    ("paper", "effluent"): (8, 300, ("wastewater",)),
}
"""Place -> unit on the bus, interval in s, groups of quantities it brings."""
SUPPLY: Final = (ENERGY, "power.active", "power.factor", "frequency",
                 "voltage.l1", "voltage.l2", "voltage.l3", "current.l1")  # fmt: skip
DEVICES: Final = {
    **{
        key: (unit, interval, tuple(row.name for row in quantities().values() if row.group in of))
        for key, (unit, interval, of) in GROUPS.items()
    },
    ("print", "rto-supply"): (9, 300, (ENERGY, "power.active")),
    ("hospital", "main"): (4, 300, SUPPLY),
}
PUSHED: Final = (ENERGY, "power.active")
"""What ``gw-paper`` brings of ``paper/main``, each quarter of an hour."""


def counted(now: int) -> int:
    """Steps of 0.01 that went through each counter since ``START``. No two quarters of an hour in
    a row are alike, so that a share of a longer time is not what went through in it."""
    quarters, rest = divmod(now - START, QUARTER)
    return sum(_steps(n) for n in range(quarters)) + _steps(quarters) * rest // QUARTER


def _steps(quarter: int) -> int:
    return 1500 + 300 * (quarter * 7 % 5)


def used(start: int, end: int) -> float:
    """What every counter counted in between, in its canonical unit."""
    return (counted(end) - counted(start)) / 100


def within(now: int, *spans: tuple[int, int]) -> bool:
    return any(start <= now < end for start, end in spans)


def register(site: str, place: str, now: int) -> float:
    """What a counter shows."""
    steps = 940_000 + counted(now)
    if (site, place) == ("hospital", "main") and now >= RESET:
        steps = counted(now) - counted(RESET - 1_000)
    return steps % MODULUS / 100 if (site, place) == ("print", "main") else steps / 100


_USUAL: Final = {"V": 221.0, "Hz": 50.0, "kW": 100.0, "A": 30.0, "pH": 7.5}
_NAMED: Final = {
    "power.factor": 0.95,
    "ambient.pressure": 101.3,
    "treatment.temperature": 780.0,
    "treatment.bypass": 0.0,
    "fluegas.o2": 18.0,
}


def shown(site: str, place: str, quantity: str, now: int) -> float:
    """What the meter of a place shows for ``quantity``; NaN where it has no value."""
    row = quantities()[quantity]
    if row.kind == "counter":
        return register(site, place, now)
    minute = now // MINUTE
    if quantity == NMHC:
        if within(now, NO_NMHC):
            return math.nan
        return (131 if within(now, *TOO_HIGH) else 40) + minute * 7 % 5
    if quantity == "voc.toluene.concentration" and within(now, IMPOSSIBLE):
        return -5.0
    if quantity == "treatment.running":
        return float(not within(now, STOPPED))
    if (site, place) == ("hospital", "main"):
        if quantity == "voltage.l1" and now >= VOLTAGE_HIGH:
            return 238.0
        if quantity == "power.factor" and now >= POWER_FACTOR_LOW:
            return 0.80
    return _usual(row, minute)


def _usual(row: Quantity, minute: int) -> float:
    if row.kind == "state":
        return _NAMED.get(row.name, 1.0)
    usual = _NAMED.get(row.name, _USUAL.get(row.unit, 0.9))
    return usual * (1 + 0.001 * (minute % 7))


@dataclass
class Meters:
    """What hangs on the bus. ``asked``: by place, the moments at which it answered."""

    asked: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    meters: dict[tuple[str, str], Meter] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key, (unit, _, names) in DEVICES.items():
            profile = parse_profile(profile_text(*key), "profile")
            self.meters[key] = Meter(unit, profile, partial(self._at, key, names))

    def _at(self, key: tuple[str, str], names: tuple[str, ...], now: int) -> Mapping[str, float]:
        asked = self.asked.setdefault(key, [])
        if asked[-1:] != [now]:
            asked.append(now)
        return {name: shown(*key, name, now) for name in names}

    def values(self, key: tuple[str, str], quantity: str, start: int, end: int) -> dict[int, float]:
        """What was read of ``quantity`` from ``start`` to ``end``, by time."""
        return {at: shown(*key, quantity, at) for at in self.asked[key] if start <= at <= end}


def profile_text(site: str, place: str) -> str:
    """A model that brings what this place measures: counters as integers of 0.01, all else as
    64-bit floats."""
    name = f"{site}-{place}"
    head = f'name = "{name}"\nmaker = "test"\nmodel = "{name}"\nlabel = "{name}"\n'
    rows = [head + f'label_zh = "{name}"\nsource = "made for this test"\n']
    address = 0
    for quantity in DEVICES[site, place][2]:
        row = quantities()[quantity]
        counter = row.kind == "counter"
        rows.append(
            f'[[register]]\nquantity = "{quantity}"\nfunction = 3\naddress = {address}\n'
            f'type = "{"u32" if counter else "f64"}"\nunit = "{row.unit}"\n'
        )
        if counter:
            rows.append("scale = 0.01\n")
            rows.append(f"modulus = {MODULUS}\n" if (site, place) == ("print", "main") else "")
        address += 2 if counter else 4
    return "".join(rows)


SITES: Final = {
    "print": ("620502", "C2319", "陇南路印刷厂", "Longnan Road Printing"),
    "hospital": ("620503", "Q8411", "秦州医院", "Qinzhou Hospital"),
    "paper": ("620502", "C2211", "渭河纸业", "Weihe Paper"),
}
OUTLETS: Final = (("print", "stack"), ("paper", "effluent"))


def write_fleet(folder: Path, settings: str, bus_port: int) -> None:
    """The fleet folder of all of this."""
    for name in ("registry", "profiles"):
        (folder / name).mkdir(parents=True)
    (folder / "meterwatch.toml").write_text(settings, encoding="utf-8")
    for site, (county, industry, zh, en) in SITES.items():
        rows = [
            f'[site]\nid = "{site}"\nname = "{en}"\nname_zh = "{zh}"\n'
            f'county = "{county}"\nindustry = "{industry}"\nzone = "Asia/Shanghai"\n'
        ]
        for (of, place), (unit, interval, _) in DEVICES.items():
            if of == site:
                (folder / "profiles" / f"{site}-{place}.toml").write_text(profile_text(of, place))
                rows.append(_place(site, place))
                rows.append(
                    f'[[device]]\nid = "{place}-meter"\nplace = "{place}"\n'
                    f'profile = "{site}-{place}"\ninterval = "{interval}s"\n'
                    f'connection = "modbus+tcp://127.0.0.1:{bus_port}?unit={unit}"\n'
                    + ("max_rate = 2000\n" if place == "main" else "")
                )
        if site == "paper":
            names = ", ".join(f'"{name}"' for name in PUSHED)
            rows.append(_place(site, "main"))
            rows.append(
                '[[gateway]]\nid = "gw-paper"\nname = "gateway"\n'
                '[[device]]\nid = "main-meter"\nplace = "main"\nprofile = "push"\n'
                f'gateway = "gw-paper"\ninterval = "15m"\nquantities = [{names}]\n'
            )
        (folder / "registry" / f"{site}.toml").write_text("".join(rows), encoding="utf-8")


def _place(site: str, place: str) -> str:
    outlet = "outlet = true\n" if (site, place) in OUTLETS else ""
    return f'[[place]]\nid = "{place}"\nname = "{place}"\nname_zh = "{place}"\n{outlet}'
