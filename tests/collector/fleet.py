"""The fleet of ``tests/collector/data`` and the device model that it names."""

from __future__ import annotations

from pathlib import Path

from collector.errors import ConfigurationError, Fault
from collector.profile import Measured, Profile, Register
from collector.registry import Registry
from collector.registry_text import parse_registry

DATA = Path(__file__).parent / "data"

METER = Profile(
    name="meter",
    maker="Example",
    model="M1",
    label="Meter",
    label_zh="电表",
    source="https://example.org/m1",
    registers=(
        Register("energy.active.import", 3, 0, "u32", "kWh", scale=0.01, ratio=True),
        Register("power.active", 3, 2, "i32", "W", ratio=True),
        Register("voltage.l1", 3, 4, "u16", "V", scale=0.1, ratio=True),
        Register("frequency", 3, 5, "u16", "Hz", scale=0.01),
    ),
    measured={
        "energy.active.import": Measured(0.01, 2.0**32, True),
        "power.active": Measured(ratio=True),
        "voltage.l1": Measured(ratio=True),
        "frequency": Measured(),
    },
)
PRIMARY = Profile(
    name="primary",
    maker="Example",
    model="M2",
    label="Meter, direct",
    label_zh="直接接入电表",
    source="https://example.org/m2",
    registers=(Register("power.active", 3, 2, "i32", "W"),),
    measured={"power.active": Measured()},
)
PROFILES = {"meter": METER, "primary": PRIMARY}


def texts(fleet: str) -> dict[str, str]:
    """The registry files of a fleet under ``data``, by name as messages show it."""
    folder = DATA / fleet / "registry"
    return {f"registry/{p.name}": p.read_text("utf-8") for p in sorted(folder.glob("*.toml"))}


def parsed() -> Registry:
    return parse_registry(texts("fleet"), PROFILES)


SITE = """[site]
id = "s"
name = "Site"
county = "620502"
industry = "C2319"
[[line]]
id = "l"
[[place]]
id = "p"
[[place]]
id = "q"
[[gateway]]
id = "g"
"""
"""A sound site of 13 lines, to which tests add."""


def faults(addition: str, site: str = SITE) -> list[Fault]:
    """What is wrong with a site after ``addition``; line 1 is the first added one."""
    try:
        parse_registry({"s.toml": site + addition}, PROFILES)
    except ConfigurationError as error:
        head = site.count("\n")
        return [Fault(f.file, f.line - head, f.what, f.todo) for f in error.faults]
    return []
