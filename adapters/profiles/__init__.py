"""Device models as data: one TOML each, with the link to where its map was read.

A new model costs one file here; nothing else names it.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING

from collector.errors import ConfigurationError, Fault
from collector.profile import PUSH, Profile, parse_profile, push_profile

if TYPE_CHECKING:
    from collections.abc import Mapping


@cache
def load_profiles() -> Mapping[str, Profile]:
    """Every model by name, and the built-in ``push``.

    Raises ``ConfigurationError`` with all faults of all files.
    """
    found = {PUSH: push_profile()}
    faults: list[Fault] = []
    folder = resources.files(__name__)
    for entry in sorted(folder.iterdir(), key=lambda item: item.name):
        if not entry.name.endswith(".toml"):
            continue
        file = f"adapters/profiles/{entry.name}"
        try:
            profile = parse_profile(entry.read_text(encoding="utf-8"), file)
        except ConfigurationError as error:
            faults.extend(error.faults)
            continue
        if f"{profile.name}.toml" != entry.name:
            faults.append(Fault(file, 0, f'is named "{profile.name}"', "name both alike"))
        found[profile.name] = profile
    if faults:
        raise ConfigurationError(faults)
    return MappingProxyType(found)
