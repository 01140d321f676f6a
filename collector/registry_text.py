"""The registry from the text of its files. Pure: text in, ``Registry`` or *all* faults out."""

from __future__ import annotations

from collections.abc import Mapping

from collector.errors import ConfigurationError, Fault
from collector.profile import Profile
from collector.registry import Registry
from collector.registry_reader import read_files
from collector.services import points_of


def parse_registry(files: Mapping[str, str], profiles: Mapping[str, Profile]) -> Registry:
    """The registry in ``files`` (name -> text, one site each).

    Raises ``ConfigurationError`` with *every* fault of every file, sorted. The profile ``push``
    is known without being given.
    """
    registry, faults = read_registry(files, profiles)
    if faults:
        raise ConfigurationError(faults)
    return registry


def read_registry(
    files: Mapping[str, str], profiles: Mapping[str, Profile]
) -> tuple[Registry, list[Fault]]:
    """As :func:`parse_registry`; what could be read, beside the faults."""
    entries = read_files(files)
    registry = Registry(
        sites=entries.sites,
        lines=entries.lines,
        places=entries.places,
        devices={key: entry.device for key, entry in entries.devices.items()},
        gateways=entries.gateways,
        points=points_of(entries, profiles),
    )
    return registry, sorted(set(entries.faults))
