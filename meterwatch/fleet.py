"""The fleet folder: its files read, its meaning parsed, its faults all at once.

    DIR/meterwatch.toml · DIR/registry/*.toml · DIR/rules/*.toml · DIR/profiles/*.toml
    DIR/mappings/*.toml · DIR/data/

The kernel parses text; this is the one place that reads the text from disk. A fold must be a
function of the journal alone, so a registry revision carries the registry's files *and* the
device profiles they use; a rules revision carries the shipped catalogue and the fleet's own.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path

from adapters.sources.payload import OWN, Format, load_formats, parse_formats
from collector.check import check
from collector.connections import protocol_of
from collector.errors import ConfigurationError, Fault, TemporaryError
from collector.model import Revision
from collector.profile import PUSH, Profile, parse_profile, push_profile
from collector.quantities import quantities
from collector.registry import Registry
from collector.registry_text import parse_registry, read_registry
from collector.sections import near, one_of
from collector.settings import Settings, parse_settings
from rules.ruleset import RuleSet, parse_rules

SETTINGS = "meterwatch.toml"
PROFILES = "profiles/"
MAPPINGS = "mappings/"
REGISTRY = "registry/"
RULES = "rules/"
CATALOGUE = "catalogue/"
PUSHING = {"mqtt", "http", "mqtt-listener"}
"""Kinds of source that bring what gateways push."""


@dataclass(frozen=True, slots=True)
class FleetFiles:
    """The text of every file a person wrote, by its path as messages name it."""

    folder: Path
    settings: str
    registry: Mapping[str, str]
    rules: Mapping[str, str]
    profiles: Mapping[str, str]
    mappings: Mapping[str, str] = field(default_factory=dict)

    def registry_revision(self, time: int) -> Revision:
        """The registry with the profiles it names, as a journal entry."""
        files = {REGISTRY + name: text for name, text in self.registry.items()}
        used = {
            name: text
            for name, text in self.profiles.items()
            if any(name.removesuffix(".toml") in site for site in self.registry.values())
        }
        files |= {PROFILES + name: text for name, text in used.items()}
        return _revision(time, "registry", files)

    def rules_revision(self, time: int) -> Revision:
        files = {RULES + name: text for name, text in self.rules.items()}
        files |= {CATALOGUE + name: text for name, text in shipped("rules.catalogue").items()}
        return _revision(time, "rules", files)


@dataclass(frozen=True, slots=True)
class Fleet:
    """What the files mean."""

    files: FleetFiles
    settings: Settings
    registry: Registry
    rules: RuleSet
    profiles: Mapping[str, Profile]
    formats: Mapping[str, Format] = field(default_factory=load_formats)


def read_files(folder: Path) -> FleetFiles:
    """Read a fleet folder. Raises ``ConfigurationError`` for what cannot be read."""
    faults: list[Fault] = []
    if not folder.is_dir():
        raise ConfigurationError(
            Fault(str(folder), 0, "is not a folder", "give the folder that holds meterwatch.toml")
        )
    settings = _text(folder / SETTINGS, faults)
    registry = _texts(folder / "registry", faults)
    if not registry and not faults:
        faults.append(
            Fault(str(folder / "registry"), 0, "holds no site", "write one TOML file per site")
        )
    rules = _texts(folder / "rules", faults)
    profiles = shipped("adapters.profiles") | _texts(folder / "profiles", faults)
    mappings = _texts(folder / "mappings", faults)
    if faults:
        raise ConfigurationError(faults)
    return FleetFiles(folder, settings, registry, rules, profiles, mappings)


def settings_of(folder: Path) -> Settings:
    """The settings alone, whatever is wrong with the other files."""
    faults: list[Fault] = []
    text = _text(folder / SETTINGS, faults)
    if faults:
        raise ConfigurationError(faults)
    return parse_settings(text, str(folder / SETTINGS))


def registry_texts(folder: Path) -> dict[str, str]:
    """The registry's files alone, by name; none if there are none yet."""
    faults: list[Fault] = []
    texts = _texts(folder / "registry", faults)
    if faults:
        raise ConfigurationError(faults)
    return texts


def profiles_of(folder: Path) -> dict[str, Profile]:
    """The device models that this folder may name: the shipped ones and its own."""
    faults: list[Fault] = []
    own = _texts(folder / "profiles", faults)
    if faults:
        raise ConfigurationError(faults)
    return _profiles(
        {PROFILES + name: text for name, text in (shipped("adapters.profiles") | own).items()}
    )


def parse(files: FleetFiles) -> Fleet:
    """What the files mean, or every fault in any of them, sorted by file and line."""
    try:
        settings = parse_settings(files.settings, str(files.folder / SETTINGS))
        profiles = _profiles({PROFILES + name: text for name, text in files.profiles.items()})
        registry = parse_registry(_named(files.folder / REGISTRY, files.registry), profiles)
        rules = _rules(
            shipped("rules.catalogue"), _named(files.folder / RULES, files.rules), registry
        )
        formats = _formats(files, registry)
    except ConfigurationError as first:
        raise ConfigurationError(_all_faults(files, first)) from first
    return Fleet(files, settings, registry, rules, profiles, formats)


def _formats(files: FleetFiles, registry: Registry) -> Mapping[str, Format]:
    """The formats that gateways of ``registry`` may name; it must name no other."""
    formats = parse_formats(_named(files.folder / MAPPINGS, files.mappings), load_formats())
    if faults := _unknown_formats(registry, formats):
        raise ConfigurationError(faults)
    return formats


def _unknown_formats(registry: Registry, formats: Mapping[str, Format]) -> list[Fault]:
    """Gateways that write as no mapping file says."""
    known = (OWN, *formats)
    return [
        Fault(
            one.file,
            one.line,
            f'unknown format "{one.format}"',
            near(one.format, known) or one_of(known),
        )
        for one in registry.gateways.values()
        if one.format not in known
    ]


def _all_faults(files: FleetFiles, first: ConfigurationError) -> list[Fault]:
    """One fault stopped the reading; a person wants all of them."""
    faults: list[Fault] = []
    try:
        profiles = _profiles({PROFILES + name: text for name, text in files.profiles.items()})
    except ConfigurationError as broken:
        faults += broken.faults
        profiles = _profiles(shipped("adapters.profiles"))
    registry = _named(files.folder / REGISTRY, files.registry)
    try:
        _formats(files, read_registry(registry, profiles)[0])
    except ConfigurationError as broken:
        faults += broken.faults

    def rule_faults(rules: Mapping[str, str], registry: Registry | None) -> list[Fault]:
        _rules(shipped("rules.catalogue"), rules, registry)
        return []

    faults += check(
        files.settings,
        registry,
        _named(files.folder / RULES, files.rules),
        profiles,
        rule_faults,
        settings_file=str(files.folder / SETTINGS),
    )
    return sorted(set(faults)) or list(first.faults)


def _named(folder: Path, texts: Mapping[str, str]) -> dict[str, str]:
    """Texts under the path by which a message should name them."""
    return {str(folder / name): text for name, text in texts.items()}


def registry_of(files: Mapping[str, str]) -> Registry:
    """The registry that a journalled revision's files hold."""
    return parse_registry(_under(files, REGISTRY), profiles_in(files))


def profiles_in(files: Mapping[str, str]) -> dict[str, Profile]:
    """The device models that a journalled revision's files hold."""
    return _profiles(_under(files, PROFILES))


def rules_of(files: Mapping[str, str], registry: Registry | None) -> RuleSet:
    """The rules that a journalled revision's files hold."""
    return _rules(_under(files, CATALOGUE), _under(files, RULES), registry)


def _rules(
    catalogue: Mapping[str, str], own: Mapping[str, str], registry: Registry | None
) -> RuleSet:
    """The shipped rules, and the fleet's own: one with the same id takes the shipped one's
    place."""
    ours = parse_rules(own, registry, quantities())
    return RuleSet({**parse_rules(catalogue).rules, **ours.rules})


def unread(fleet: Fleet) -> list[str]:
    """What is entered and can bring nothing, because no source is there for it."""
    kinds = {one.kind for one in fleet.settings.sources}
    devices = fleet.registry.devices.values()
    found = []
    for protocol in sorted({protocol_of(one.connection) for one in devices if one.connection}):
        if protocol not in kinds:
            count = sum(protocol_of(one.connection) == protocol for one in devices)
            found.append(_unread(protocol, f'kind = "{protocol}"', count))
    pushed = sum(bool(one.gateway) for one in devices)
    if pushed and not kinds & PUSHING:
        found.append(_unread("gateways", f"a kind of {', '.join(sorted(PUSHING))}", pushed))
    return found


def _unread(what: str, kind: str, count: int) -> str:
    many = f"{count} device{'' if count == 1 else 's'}"
    return f"no source for {what}: nothing reads {many}; add [[source]] with {kind}"


def kept(fleet: Fleet, name: str) -> Path:
    """Path of one of the program's own files. Raises ``TemporaryError`` while it is not there."""
    folder = fleet.files.folder
    path = folder / fleet.settings.program.data / name
    if not path.exists():
        raise TemporaryError(f"nothing is kept in {path} yet; start with: meterwatch run {folder}")
    return path


@cache
def shipped(package: str) -> dict[str, str]:
    """The TOML files that come with the program in ``package``: name -> text."""
    return {
        entry.name: entry.read_text(encoding="utf-8")
        for entry in sorted(resources.files(package).iterdir(), key=lambda item: item.name)
        if entry.name.endswith(".toml")
    }


def secret_reader(name: str, kind: str, folder: Path) -> str:
    """The text of a secret: an environment variable (``kind="env"``) or a file's first line."""
    if kind == "env":
        return os.environ[name]
    return (folder / name).read_text(encoding="utf-8").strip()


def _profiles(texts: Mapping[str, str]) -> dict[str, Profile]:
    profiles: dict[str, Profile] = {PUSH: push_profile()}
    faults: list[Fault] = []
    for path, text in texts.items():
        try:
            profile = parse_profile(text, path)
            profiles[profile.name] = profile
        except ConfigurationError as fault:
            faults += fault.faults
    if faults:
        raise ConfigurationError(faults)
    return profiles


def _under(files: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {path: text for path, text in files.items() if path.startswith(prefix)}


def _revision(time: int, kind: str, files: dict[str, str]) -> Revision:
    digest = hashlib.sha256()
    for path, text in sorted(files.items()):
        digest.update(f"{len(path)} {len(text)} {path}{text}".encode())
    return Revision(time, kind, digest.hexdigest(), files)


def _texts(folder: Path, faults: list[Fault]) -> dict[str, str]:
    if not folder.is_dir():
        return {}
    return {path.name: _text(path, faults) for path in sorted(folder.glob("*.toml"))}


def _text(path: Path, faults: list[Fault]) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as fault:
        faults.append(Fault(str(path), 0, f"cannot be read: {fault.strerror}"))
    except UnicodeDecodeError as fault:
        line = path.read_bytes()[: fault.start].count(b"\n") + 1
        faults.append(Fault(str(path), line, "is not UTF-8 (is it GBK?)", "save it as UTF-8"))
    return ""
