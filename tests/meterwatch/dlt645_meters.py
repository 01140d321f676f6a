"""DL/T 645 meters that show what a phasor model says, for tests of commissioning.

Digits are made here from the profile's formats, apart from the program's own codec.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from adapters.profiles import load_profiles
from collector.profile import Profile
from tests.adapters.dlt645.dlt645_line import Shown, SimMeter
from tests.meterwatch.three_phases import Load, Site, shown

THREE = load_profiles()["dlt645-2007-three-phase"]
ONE = load_profiles()["dlt645-2007-single-phase"]
MOTOR = Site((Load(3, 30), Load(3.2, 32), Load(2.8, 29)))
START = 1_795_000_000_000
NUMBER = "04000402"


def written(value: float, digits: int, decimals: int) -> str:
    """``-1.5`` with four digits, three of them decimals: ``9500``: the highest bit is the sign."""
    text = str(round(abs(value) * 10**decimals)).zfill(digits)
    return f"{int(text[0]) | 8:X}{text[1:]}" if value < 0 else text


def digits(values: Mapping[str, float], profile: Profile = THREE) -> dict[str, str]:
    """What a meter shows that has all of ``values`` that ``profile`` names."""
    return {
        f"{item.identifier:08X}": written(
            values[item.quantity], item.format.digits, item.format.decimals
        )
        for item in profile.items
        if item.quantity in values
    }


def told(now: int, ahead: float = 0.0) -> Shown:
    """Number and clock: local time at ``now`` (UTC ms), ``ahead`` seconds."""
    local = datetime.fromtimestamp(now / 1000, UTC).astimezone(ZoneInfo("Asia/Shanghai"))
    local += timedelta(seconds=ahead)
    return {
        NUMBER: "210300010042",
        "04000101": f"{local:%y%m%d}05",
        "04000102": f"{local:%H%M%S}",
    }


def meter(
    address: str,
    site: Site = MOTOR,
    profile: Profile = THREE,
    *,
    clock: Callable[[], int] = lambda: START,
    ahead: float = 0.0,
    kwh: float = 1234.5,
    **more: object,
) -> SimMeter:
    """A meter whose counter follows its power since ``START``."""

    def shows() -> Shown:
        values = shown(site) | {"energy.active.export": 0.0}
        if profile is ONE:
            values["power.active"] = values["power.active.l1"]
        power = sum(values[f"power.active.l{n}"] for n in (1, 2, 3))
        hours = (clock() - START) / 3_600_000
        values["energy.active.import"] = kwh + max(0.0, power) * hours
        return {**digits(values, profile), **told(clock(), ahead)}

    return SimMeter(address, shows, **more)  # type: ignore[arg-type]


OWN = """
name = "our-meter"
maker = "somebody"
model = "M-1"
label = "Our meter"
label_zh = "本厂电表"
source = "its document"
item = [
    { quantity = "voltage.l1", identifier = "02010100", format = "XXX.X", unit = "V" },
    { quantity = "voltage.l2", identifier = "02010200", format = "XXX.X", unit = "V" },
    { quantity = "voltage.l3", identifier = "02010300", format = "XXX.X", unit = "V" },
]
"""


def fleet(folder: Path) -> Path:
    """``folder`` as one whose own model knows the voltages of a three-phase meter only."""
    (folder / "profiles").mkdir()
    (folder / "profiles" / "our-meter.toml").write_text(OWN, encoding="utf-8")
    return folder
