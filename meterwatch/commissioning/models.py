"""The device models that are tried: those that ship, and a fleet's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adapters.profiles import load_profiles
from collector.errors import ConfigurationError, Fault
from collector.profile import Profile
from collector.settings import ProgramSettings, parse_settings
from meterwatch.fleet import SETTINGS, profiles_of


@dataclass(frozen=True, slots=True)
class Models:
    """``own``: names of those that a fleet described itself. ``zone``: where clocks of meters are
    set that say no zone."""

    profiles: Mapping[str, Profile]
    own: frozenset[str] = frozenset()
    zone: str = ProgramSettings().zone

    def of(self, protocol: str) -> list[Profile]:
        """Those that devices of ``protocol`` are read with."""
        return [one for one in self.profiles.values() if protocol and one.protocol == protocol]

    def named(self, name: str, protocol: str) -> Profile:
        """The one that a person named. Raises ``ConfigurationError``."""
        found = self.profiles.get(name)
        if found is not None and protocol and found.protocol == protocol:
            return found
        what = f'no model "{name}"'
        if found is not None:
            what = f'"{name}" does not speak the protocol of this URL'
        names = ", ".join(sorted(one.name for one in self.of(protocol)))
        raise ConfigurationError(Fault("--profile", 0, what, f"one of {names}"))

    def takes_ratios(self, name: str) -> bool:
        """Whether the registry's transformer ratios apply to what ``name`` shows."""
        return any(one.ratio for one in self.profiles[name].measured.values())


SHIPPED: Final = Models(load_profiles())


def models_of(fleet: Path | None) -> Models:
    """Those of a fleet folder too. Raises ``ConfigurationError`` with every fault in them."""
    if fleet is None:
        return SHIPPED
    if not fleet.is_dir():
        raise ConfigurationError(Fault("--fleet", 0, f"{fleet} is no folder", "that of the fleet"))
    profiles = profiles_of(fleet)
    own = frozenset(name for name, one in profiles.items() if SHIPPED.profiles.get(name) != one)
    return Models(profiles, own, _zone(fleet / SETTINGS))


def _zone(file: Path) -> str:
    """The fleet's; a folder with profiles alone has none."""
    if not file.exists():
        return ProgramSettings().zone
    return parse_settings(file.read_text(encoding="utf-8"), str(file)).program.zone
