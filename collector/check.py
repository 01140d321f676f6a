"""Every fault in a fleet folder's files, as ``meterwatch check`` prints them. Pure.

Each file is judged as far as it can be; a fault in one hides none in another. Rules are checked
against the registry only when that is sound, so that one fault is told once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from collector.errors import ConfigurationError, Fault
from collector.profile import Profile
from collector.registry import Registry
from collector.registry_text import read_registry
from collector.settings import parse_settings

RuleCheck = Callable[[Mapping[str, str], Registry | None], Sequence[Fault]]
"""Faults of rule files (name -> text); may also raise ``ConfigurationError``. The registry is
``None`` when it has faults of its own."""


def check(
    settings_text: str,
    registry: Mapping[str, str],
    rules: Mapping[str, str],
    profiles: Mapping[str, Profile],
    rule_check: RuleCheck,
    *,
    settings_file: str = "meterwatch.toml",
) -> list[Fault]:
    """All faults, by file and line, each once; empty when the fleet may start."""
    faults: list[Fault] = []
    try:
        parse_settings(settings_text, settings_file)
    except ConfigurationError as error:
        faults.extend(error.faults)
    found, wrong = read_registry(registry, profiles)
    faults.extend(wrong)
    try:
        faults.extend(rule_check(rules, None if wrong else found))
    except ConfigurationError as error:
        faults.extend(error.faults)
    return sorted(set(faults))
