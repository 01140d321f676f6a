"""Formats of other makers as data: one TOML each, with the link to where it was read.

A new format costs one file here, or in a fleet folder's ``mappings/``; nothing else names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType

from adapters.sources.payload.formats import Format, parse_formats


@cache
def load_formats() -> Mapping[str, Format]:
    """Every shipped format by name. Raises ``ConfigurationError`` with all faults of all files."""
    folder = resources.files(__name__)
    texts = {
        f"adapters/sources/payload/mappings/{entry.name}": entry.read_text(encoding="utf-8")
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    }
    return MappingProxyType(parse_formats(texts))
