"""``meterwatch.toml`` as values: the program, its bounds, where readings come from, who is told.

Pure: text in, ``Settings`` or *all* faults out. Secrets are never in the file: it names an
environment variable (``password_env``) or a file (``password_file``); see ``secrets.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from collector.broker import BrokerSettings, parse_broker
from collector.errors import ConfigurationError, Fault
from collector.located import parse
from collector.projections import ProjectionSettings, parse_projections
from collector.registry_reader import zone_of
from collector.secrets import Secret, secret_of
from collector.sections import Section, host_and_port
from collector.sources import (
    Dlt645Source,
    HttpSource,
    ListenerSource,
    ModbusSource,
    MqttSource,
    SourceSettings,
    parse_sources,
)

__all__ = [
    "ArchiveSettings",
    "Dlt645Source",
    "HttpSource",
    "JournalSettings",
    "ListenerSource",
    "ModbusSource",
    "MqttSource",
    "NotifierSettings",
    "ProgramSettings",
    "Settings",
    "SourceSettings",
    "parse_settings",
]

LANGUAGES: Final = ("zh", "en")
LEVELS: Final = {"blue": 1, "yellow": 2, "orange": 3, "red": 4}
HALF_A_YEAR: Final = 183
"""Days of history that a site must keep (rules for access ends of key energy users)."""


@dataclass(frozen=True, slots=True)
class ProgramSettings:
    """``data`` is a folder, relative to the fleet's. ``listen`` is ``host:port`` of metrics and
    health, empty for none. ``late_after_ms``: receipt minus time from which a message is late
    data. ``tick_ms``: how often the clock is told to the folds."""

    zone: str = "Asia/Shanghai"
    language: str = "zh"
    data: str = "data"
    listen: str = "127.0.0.1:9464"
    late_after_ms: int = 600_000
    tick_ms: int = 5_000


@dataclass(frozen=True, slots=True)
class JournalSettings:
    max_mb: int = 1024

    @property
    def max_bytes(self) -> int:
        return self.max_mb << 20


@dataclass(frozen=True, slots=True)
class ArchiveSettings:
    retention_days: int = 400


@dataclass(frozen=True, slots=True)
class NotifierSettings:
    """A channel to people. ``url`` is secret as a whole: robots carry their token in it.
    ``at_least``: 1 blue .. 4 red; ``per_minute``: what the channel allows."""

    name: str
    url: Secret
    kind: str = "apprise"
    per_minute: int = 20
    at_least: int = 2
    language: str = "zh"


@dataclass(frozen=True, slots=True)
class Settings:
    program: ProgramSettings = ProgramSettings()
    journal: JournalSettings = JournalSettings()
    archive: ArchiveSettings = ArchiveSettings()
    sources: tuple[SourceSettings, ...] = ()
    notifiers: tuple[NotifierSettings, ...] = ()
    projections: tuple[ProjectionSettings, ...] = ()
    broker: BrokerSettings = field(default_factory=BrokerSettings)


def parse_settings(text: str, file: str) -> Settings:
    """The settings in ``text``. Raises ``ConfigurationError`` with *every* fault, sorted."""
    faults: list[Fault] = []
    whole = Section.whole(parse(text, file), faults)
    program = _program(whole.section("program"))
    journal = _journal(whole.section("journal"))
    archive = _archive(whole.section("archive"))
    sources = parse_sources(whole.sections("source"))
    notifiers = _notifiers(whole.sections("notifier"), program)
    projections = parse_projections(whole.sections("projection"))
    broker = parse_broker(whole.section("broker"))
    whole.close()
    if faults:
        raise ConfigurationError(sorted(set(faults)))
    return Settings(program, journal, archive, sources, notifiers, projections, broker)


def _program(section: Section) -> ProgramSettings:
    default = ProgramSettings()
    zone = section.text("zone", default.zone)
    if zone_of(zone) is None:
        section.fault("zone", f'unknown time zone "{zone}"', 'write "Asia/Shanghai"')
    listen = section.text("listen", default.listen)
    if listen:
        host_and_port(section, listen, "127.0.0.1:9464")
    data = section.text("data", default.data)
    if not data.strip() or "\0" in data:
        section.fault("data", "data names no folder", 'write data = "data"')
    found = ProgramSettings(
        zone=zone,
        language=section.text("language", default.language, choices=LANGUAGES),
        data=data,
        listen=listen,
        late_after_ms=round(1000 * section.seconds("late_after", 600, least=1, most=7 * 86400)),
        tick_ms=round(1000 * section.seconds("tick", 5, least=0.1, most=900)),
    )
    section.close()
    return found


def _journal(section: Section) -> JournalSettings:
    found = JournalSettings(section.whole_number("max_mb", 1024, least=16, most=1 << 20))
    section.close()
    return found


def _archive(section: Section) -> ArchiveSettings:
    days = section.whole_number("retention_days", 400, least=HALF_A_YEAR, most=36_525)
    section.close()
    return ArchiveSettings(days)


def _notifiers(
    sections: Iterable[Section], program: ProgramSettings
) -> tuple[NotifierSettings, ...]:
    found: dict[str, NotifierSettings] = {}
    for section in sections:
        name = section.id("name")
        section.text("kind", required=True, choices=("apprise",))
        url = secret_of(section, "url", required=True)
        notifier = NotifierSettings(
            name=name,
            url=url or Secret(),
            per_minute=section.whole_number("per_minute", 20, least=1, most=600),
            at_least=LEVELS[section.text("at_least", "yellow", choices=tuple(LEVELS))],
            language=section.text("language", program.language, choices=LANGUAGES),
        )
        section.close()
        if name in found:
            section.fault("name", f'notifier "{name}" stands twice', "give it another name")
        found[name] = notifier
    return tuple(found.values())
