"""``meterwatch.toml`` as values: the program, its bounds, where readings come from, who is told.

Pure: text in, ``Settings`` or *all* faults out. Secrets are never in the file: it names an
environment variable (``password_env``) or a file (``password_file``); see ``secrets.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from collector.errors import ConfigurationError, Fault
from collector.located import parse
from collector.projections import ProjectionSettings, parse_projections
from collector.registry_reader import zone_of
from collector.secrets import Secret, secret_of
from collector.sections import NO_SECRETS, Section

LANGUAGES: Final = ("zh", "en")
LEVELS: Final = {"blue": 1, "yellow": 2, "orange": 3, "red": 4}
HALF_A_YEAR: Final = 183
"""Days of history that a site must keep (rules for access ends of key energy users)."""
_LISTEN: Final = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):(\d{1,5})")
_SHARE: Final = "$share/"
_MQTT_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}


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
class MqttSource:
    """A broker that gateways push to. ``version`` 5, or 4 for MQTT 3.1.1. Files are relative to
    the fleet folder. ``broker_config``: mosquitto's own file, if that broker runs on this machine:
    it is looked through at start for settings that lose messages. ``replies``: who is told what
    became of a message: "needed" who asks and whose message was refused in part, "all", "none"."""

    name: str
    host: str
    port: int
    tls: bool = False
    user: str = ""
    password: Secret | None = None
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    client_id: str = ""
    version: int = 5
    topics: tuple[str, ...] = ("meterwatch/v1/+/readings",)
    broker_config: str = ""
    replies: str = "needed"
    kind: str = "mqtt"

    @property
    def origin(self) -> str:
        return f"mqtt:{self.name}"


@dataclass(frozen=True, slots=True)
class ModbusSource:
    """Polls the devices that the registry gives a connection. ``timeout`` of one answer, s."""

    name: str = "modbus"
    timeout: float = 2.0
    kind: str = "modbus"


@dataclass(frozen=True, slots=True)
class Dlt645Source:
    """Polls the DL/T 645 meters of the registry. ``timeout`` of one answer, s; of a terminal on a
    mobile network 5 to 10."""

    name: str = "dlt645"
    timeout: float = 2.0
    kind: str = "dlt645"


SourceSettings = MqttSource | ModbusSource | Dlt645Source


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


def parse_settings(text: str, file: str) -> Settings:
    """The settings in ``text``. Raises ``ConfigurationError`` with *every* fault, sorted."""
    faults: list[Fault] = []
    whole = Section.whole(parse(text, file), faults)
    program = _program(whole.section("program"))
    journal = _journal(whole.section("journal"))
    archive = _archive(whole.section("archive"))
    sources = _sources(whole.sections("source"))
    notifiers = _notifiers(whole.sections("notifier"), program)
    projections = parse_projections(whole.sections("projection"))
    whole.close()
    if faults:
        raise ConfigurationError(sorted(set(faults)))
    return Settings(program, journal, archive, sources, notifiers, projections)


def _program(section: Section) -> ProgramSettings:
    default = ProgramSettings()
    zone = section.text("zone", default.zone)
    if zone_of(zone) is None:
        section.fault("zone", f'unknown time zone "{zone}"', 'write "Asia/Shanghai"')
    listen = section.text("listen", default.listen)
    if listen:
        match = _LISTEN.fullmatch(listen)
        if match is None or int(match[2]) > 65535:
            section.fault("listen", f'listen "{listen}" is not host:port', 'as "127.0.0.1:9464"')
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


def _mqtt(section: Section) -> SourceSettings:
    name = section.id("name")
    host, port, tls = _broker(section)
    user = section.text("user")
    password = secret_of(section, "password", required=False)
    if password is not None and not user:
        section.fault("user", "a password is given without a user", 'add user = "..."')
    files = {key: section.text(key) for key in ("ca_file", "cert_file", "key_file")}
    for key, path in files.items():
        if path and host and not tls:
            section.fault(key, f"{key} has no effect without TLS", "write mqtts:// in url")
    if bool(files["cert_file"]) != bool(files["key_file"]):
        section.fault(
            "cert_file" if files["cert_file"] else "key_file",
            "cert_file and key_file belong together",
            "give both or none",
        )
    default = MqttSource(name, host, port)
    topics = section.texts("topics") if section.has("topics") else default.topics
    for index, topic in enumerate(topics):
        if what := _wrong_filter(topic):
            todo = 'as "meterwatch/v1/+/readings"'
            section.fault(("topics", index), f'"{topic}" {what}', todo)
        elif topic.startswith(_SHARE) and not section.has("client_id"):
            what = f'"{topic}" is shared with others, who may go by the same client_id'
            section.fault(("topics", index), what, "give each of them a client_id of its own")
    if section.data.get("topics") == []:
        section.fault("topics", "topics is empty", 'write ["meterwatch/v1/+/readings"]')
    version = section.whole_number("version", 5, least=4, most=5)
    client_id = section.text("client_id", f"meterwatch-{name}", required=section.has("client_id"))
    return MqttSource(
        name=name,
        host=host,
        port=port,
        tls=tls,
        user=user,
        password=password,
        **files,
        client_id=client_id,
        version=version,
        topics=topics,
        broker_config=section.text("broker_config"),
        replies=section.text("replies", default.replies, choices=("needed", "all", "none")),
    )


def _broker(section: Section) -> tuple[str, int, bool]:
    """Host, port and whether TLS of ``url``."""
    url = section.text("url", required=True)
    todo = 'write "mqtts://HOST:8883" or "mqtt://HOST:1883"'
    if not url:
        return "", 0, False
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        section.fault("url", f"url is no URL: {error}", todo)
        return "", 0, False
    if "@" in parts.netloc:
        what = f"url holds a user or password: {NO_SECRETS}"
        section.fault("url", what, "use user and password_env or password_file")
    elif parts.scheme not in _MQTT_PORTS:
        section.fault("url", f'url "{url}" is not of MQTT', todo)
    elif not host or parts.path.strip("/") or parts.query or parts.fragment or port == 0:
        section.fault("url", f'url "{url}" is not scheme, host and port', todo)
    return host or "", port or _MQTT_PORTS.get(parts.scheme, 0), parts.scheme == "mqtts"


def _wrong_filter(topic: str) -> str:
    """What is wrong with a topic filter (MQTT 3.1.1, 4.7: ``+`` is a whole level, ``#`` the whole
    last one), or empty. ``$share/GROUP/`` may stand before it (MQTT 5.0, 4.8.2)."""
    if topic.startswith(_SHARE):
        group, _, topic = topic.removeprefix(_SHARE).partition("/")
        if not group or {"+", "#"} & set(group):
            return "names no group between $share/ and the filter"
    levels = topic.split("/")
    if not topic or "\0" in topic or any("#" in level for level in levels[:-1]):
        return "is no topic filter"
    if any(len(level) > 1 and {"+", "#"} & set(level) for level in levels):
        return "is no topic filter"
    if levels[-1] in {"+", "#", "replies"}:
        return "would take in replies too, our own among them: end it with /readings"
    return ""


def _modbus(section: Section) -> SourceSettings:
    name = section.id("name", required=False) or "modbus"
    return ModbusSource(name, section.seconds("timeout", 2, least=0.05, most=60))


def _dlt645(section: Section) -> SourceSettings:
    name = section.id("name", required=False) or "dlt645"
    return Dlt645Source(name, section.seconds("timeout", 2, least=0.05, most=60))


_SOURCES: Final[dict[str, Callable[[Section], SourceSettings]]] = {
    "mqtt": _mqtt,
    "modbus": _modbus,
    "dlt645": _dlt645,
}


def _sources(sections: Iterable[Section]) -> tuple[SourceSettings, ...]:
    found: list[tuple[SourceSettings, Section]] = []
    for section in sections:
        kind = section.text("kind", required=True, choices=tuple(_SOURCES))
        if not kind:
            continue  # told, and without it no other key can be judged
        source = _SOURCES[kind](section)
        section.close()
        for other, where in found:
            _apart(source, other, section, where)
        found.append((source, section))
    return tuple(source for source, _ in found)


def _apart(source: SourceSettings, other: SourceSettings, section: Section, where: Section) -> None:
    """Two sources that would be taken for one."""
    if source.name == other.name:
        what = f'source "{source.name}" stands twice, first in line {where.line()}'
        section.fault("name", what, "give it another name")
    elif isinstance(source, MqttSource) and isinstance(other, MqttSource):
        same = (source.host, source.port, source.client_id)
        if source.host and same == (other.host, other.port, other.client_id):
            what = f'client_id "{source.client_id}" is used twice at one broker'
            section.fault("client_id", what, "the two would throw each other out: rename one")


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
