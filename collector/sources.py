"""``[[source]]`` of ``meterwatch.toml``: where readings come from. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from collector.secrets import Secret, secret_of
from collector.sections import (
    NO_SECRETS,
    NUMBERS,
    PORTS,
    Section,
    host_and_port,
    malformed_ipv4,
)

_SHARE: Final = "$share/"
_MQTT_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}


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


@dataclass(frozen=True, slots=True)
class HttpSource:
    """Listens for what gateways push over HTTPS. Files are relative to the fleet folder. ``plain``:
    without TLS on an address that others reach. ``client_names``: a certificate of the client CA is
    the gateway's of its common name, known or not. ``rate_...``: of one gateway, per second, with
    ``burst`` seconds' worth at once. Other durations in seconds; ``slowest``: bytes a second."""

    name: str
    host: str = "127.0.0.1"
    port: int = 8443
    cert_file: str = ""
    key_file: str = ""
    client_ca_file: str = ""
    client_crl_file: str = ""
    client_names: bool = False
    plain: bool = False
    max_body_mb: int = 4
    under_way_mb: int = 64
    max_connections: int = 500
    max_connections_per_address: int = 200
    rate_requests: int = 50
    rate_readings: int = 10_000
    rate_kb: int = 2048
    burst: float = 10.0
    head_timeout: float = 10.0
    keep_alive: float = 75.0
    slowest: int = 1024
    kind: str = "http"

    @property
    def origin(self) -> str:
        return f"http:{self.name}"


@dataclass(frozen=True, slots=True)
class ListenerSource:
    """Listens for gateways that publish over MQTT, without a broker. As ``HttpSource``;
    ``window``: messages of one connection that wait for their acknowledgement; ``silence`` seconds
    after which a client is given up that wants no keepalive."""

    name: str
    host: str = "127.0.0.1"
    port: int = 8883
    cert_file: str = ""
    key_file: str = ""
    client_ca_file: str = ""
    client_crl_file: str = ""
    client_names: bool = False
    plain: bool = False
    max_message_kb: int = 1024
    under_way_mb: int = 64
    max_connections: int = 500
    max_connections_per_address: int = 200
    max_connections_per_gateway: int = 4
    window: int = 64
    rate_messages: int = 50
    rate_readings: int = 10_000
    rate_kb: int = 2048
    burst: float = 10.0
    connect_timeout: float = 10.0
    silence: float = 3600.0
    slowest: int = 256
    kind: str = "mqtt-listener"

    @property
    def origin(self) -> str:
        return f"mqtt-listener:{self.name}"


LISTENING: Final = (HttpSource, ListenerSource)
SourceSettings = MqttSource | ModbusSource | Dlt645Source | HttpSource | ListenerSource


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
        out_of_range = str(error).startswith("Port out of range")
        section.fault("url", f"url is no URL: {error}", PORTS if out_of_range else todo)
        return "", 0, False
    if "@" in parts.netloc:
        what = f"url holds a user or password: {NO_SECRETS}"
        section.fault("url", what, "use user and password_env or password_file")
    elif parts.scheme not in _MQTT_PORTS:
        section.fault("url", f'url "{url}" is not of MQTT', todo)
    elif malformed_ipv4(host or ""):
        section.fault("url", f'"{host}" is no IPv4 address', NUMBERS)
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


def _listening(section: Section, example: str) -> dict[str, Any]:
    """Where something listens, and with which certificates."""
    listen = section.text("listen", required=True)
    host, port = host_and_port(section, listen, example) if listen else ("", 0)
    files = {
        key: section.text(key)
        for key in ("cert_file", "key_file", "client_ca_file", "client_crl_file")
    }
    names, plain = section.flag("client_names"), section.flag("plain")
    _certificates(section, files, host, plain)
    if names and not files["client_ca_file"]:
        section.fault("client_names", "names of certificates without a CA", "add client_ca_file")
    return {"host": host, "port": port, **files, "client_names": names, "plain": plain}


def _bounds(section: Section, default: HttpSource | ListenerSource) -> dict[str, Any]:
    """How much of it there may be, of all gateways and of each."""
    whole = section.whole_number
    return {
        "under_way_mb": whole("under_way_mb", default.under_way_mb, least=1, most=4096),
        "max_connections": whole("max_connections", default.max_connections, least=1, most=60_000),
        "max_connections_per_address": whole(
            "max_connections_per_address",
            default.max_connections_per_address,
            least=1,
            most=60_000,
        ),
        "rate_readings": whole("rate_readings", default.rate_readings, least=1, most=10_000_000),
        "rate_kb": whole("rate_kb", default.rate_kb, least=1, most=1 << 20),
        "burst": section.seconds("burst", default.burst, least=1, most=3600),
        "slowest": whole("slowest_bytes", default.slowest, least=0, most=1 << 20),
    }


def _listener(section: Section) -> SourceSettings:
    name = section.id("name")
    default = ListenerSource(name)
    whole = section.whole_number
    found = ListenerSource(
        name=name,
        **_listening(section, "0.0.0.0:8883"),
        **_bounds(section, default),
        max_message_kb=whole("max_message_kb", default.max_message_kb, least=1, most=64 << 10),
        max_connections_per_gateway=whole(
            "max_connections_per_gateway", default.max_connections_per_gateway, least=1, most=1000
        ),
        window=whole("window", default.window, least=1, most=65_535),
        rate_messages=whole("rate_messages", default.rate_messages, least=1, most=100_000),
        connect_timeout=section.seconds(
            "connect_timeout", default.connect_timeout, least=0.1, most=300
        ),
        silence=section.seconds("silence", default.silence, least=1, most=86_400),
    )
    if found.under_way_mb << 10 < found.max_message_kb:
        what = f"one message of {found.max_message_kb} KB is more than may be under way"
        section.fault("under_way_mb", what, "raise it, or lower max_message_kb")
    return found


def _http(section: Section) -> SourceSettings:
    name = section.id("name")
    default = HttpSource(name)
    whole = section.whole_number
    found = HttpSource(
        name=name,
        **_listening(section, "0.0.0.0:8443"),
        **_bounds(section, default),
        max_body_mb=whole("max_body_mb", default.max_body_mb, least=1, most=64),
        rate_requests=whole("rate_requests", default.rate_requests, least=1, most=100_000),
        head_timeout=section.seconds("head_timeout", default.head_timeout, least=0.1, most=300),
        keep_alive=section.seconds("keep_alive", default.keep_alive, least=0.1, most=3600),
    )
    if found.under_way_mb < found.max_body_mb:
        what = f"one body of {found.max_body_mb} MB is more than may be under way"
        section.fault("under_way_mb", what, "raise it, or lower max_body_mb")
    return found


def _certificates(section: Section, files: dict[str, str], host: str, plain: bool) -> None:
    """Whether what is said of TLS belongs together."""
    cert, key = files["cert_file"], files["key_file"]
    if bool(cert) != bool(key):
        given = "cert_file" if cert else "key_file"
        section.fault(given, "cert_file and key_file belong together", "give both or none")
    for name in ("client_ca_file", "client_crl_file"):
        if files[name] and not cert:
            section.fault(name, f"{name} has no effect without TLS", "add cert_file and key_file")
    if files["client_crl_file"] and not files["client_ca_file"]:
        section.fault("client_crl_file", "a CRL without its CA", "add client_ca_file")
    if plain and cert:
        section.fault("plain", "plain = true beside a certificate", "take one of them out")
    if host and not (cert or plain or is_loopback(host)):
        what = f"{host} is reached by others, and tokens would come to it unencrypted"
        todo = "add cert_file and key_file, or listen on 127.0.0.1 behind a proxy with TLS"
        section.fault("listen", what, f"{todo} (or, in a network of your own, plain = true)")


def is_loopback(host: str) -> bool:
    """Only this machine reaches ``host``."""
    return host in {"localhost", "::1"} or host.startswith("127.")


_SOURCES: Final[dict[str, Callable[[Section], SourceSettings]]] = {
    "mqtt": _mqtt,
    "modbus": _modbus,
    "dlt645": _dlt645,
    "http": _http,
    "mqtt-listener": _listener,
}


def parse_sources(sections: Iterable[Section]) -> tuple[SourceSettings, ...]:
    """What ``[[source]]`` says; faults go where the sections say."""
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
    elif isinstance(source, LISTENING) and isinstance(other, LISTENING):
        here = (source.host, source.port)
        if source.port and here == (other.host, other.port):
            section.fault("listen", f"two sources listen on port {source.port}", "change one")
