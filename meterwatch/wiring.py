"""Which class serves which setting: sources, folds and channels of a program, by one table each.

A protocol's library is imported only when the settings name it, so that an edge box installs
only what it needs; a missing one is a configuration fault that says what to install.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adapters.state.alerts import Judge
from adapters.state.books import Books, BooksReader
from adapters.state.outbox import Channel, Outbox, Watch
from adapters.state.outbox_plan import Policy
from adapters.stores.archive import Archive
from adapters.stores.archive_reader import ArchiveReader
from adapters.stores.states import OriginState
from collector.errors import ConfigurationError, Fault, TemporaryError
from collector.model import Revision
from collector.ports import Fold, Source
from collector.registry import PointTable, Registry, table
from collector.secrets import secret
from collector.settings import (
    HttpSource,
    ListenerSource,
    MqttSource,
    NotifierSettings,
    Settings,
)
from meterwatch import fleet as fleets
from meterwatch import logs, projections
from meterwatch.refusal_nearest import with_nearest
from meterwatch.refusal_words import refusal
from rules.engine import Engine
from rules.messages import wording

if TYPE_CHECKING:
    from meterwatch.app import Program

_EXTRAS: Final = {
    "paho": "mqtt",
    "pymodbus": "modbus",
    "serial": "modbus",
    "apprise": "notify",
    "influxdb_client": "influx",
    "uvicorn": "http",
    "starlette": "http",
    "h11": "http",
}


# --- sources ---------------------------------------------------------------------------------


def sources(program: Program) -> dict[str, Source]:
    """The sources that the settings name, by name."""
    return {one.name: _SOURCES[one.kind](program, one) for one in program.fleet.settings.sources}


def update(program: Program) -> None:
    """Hand a reloaded registry to the sources."""
    for one in program.fleet.settings.sources:
        source: Any = program.sources.get(one.name)
        if isinstance(one, MqttSource | HttpSource | ListenerSource) and source is not None:
            source.update(_decoder(program, one))
        elif source is not None:
            fleet = program.fleet
            source.update(list(fleet.registry.devices.values()), fleet.profiles, program.table.ids)


def _mqtt(program: Program, one: Any) -> Source:
    mqtt = imported("adapters.sources.mqtt")
    path = partial(_path, program.folder)
    settings = mqtt.MqttSettings(
        name=one.name,
        host=one.host,
        port=one.port,
        tls=one.tls,
        user=one.user,
        password=secret_text(program.folder, one.password) if one.password else "",
        ca_file=path(one.ca_file),
        cert_file=path(one.cert_file),
        key_file=path(one.key_file),
        client_id=one.client_id,
        version=one.version,
        topics=one.topics,
        broker_config=path(one.broker_config),
        replies=one.replies,
    )
    source: Source = mqtt.MqttSource(
        settings,
        _decoder(program, one),
        program.clock,
        program.telemetry,
    )
    return source


def _decoder(program: Program, one: MqttSource | HttpSource | ListenerSource) -> Any:
    payload = imported("adapters.sources.payload")
    more = {"max_bytes": one.max_body_mb << 20} if isinstance(one, HttpSource) else {}
    return payload.PayloadDecoder(
        program.fleet.registry,
        program.table,
        program.journal.origin_ids,
        source=one.origin,
        late_after_ms=program.fleet.settings.program.late_after_ms,
        retention_days=program.fleet.settings.archive.retention_days,
        profiles=program.fleet.profiles,
        formats=program.fleet.formats,
        clocks=program.clocks,
        **more,
    )


def _http(program: Program, one: Any) -> Source:
    http = imported("adapters.sources.http")
    settings = http.HttpSettings(
        **_listening(program, one),
        max_body=one.max_body_mb << 20,
        rates=http.Rates(one.rate_requests, one.rate_readings, one.rate_kb << 10, one.burst),
        head_timeout=one.head_timeout,
        keep_alive=one.keep_alive,
    )
    source: Source = http.HttpSource(
        settings, _decoder(program, one), _credentials(program), program.clock, program.telemetry
    )
    return source


def _listener(program: Program, one: Any) -> Source:
    listener = imported("adapters.sources.listener")
    settings = listener.ListenerSettings(
        **_listening(program, one),
        max_message=one.max_message_kb << 10,
        per_gateway=one.max_connections_per_gateway,
        window=one.window,
        rates=listener.Rates(one.rate_messages, one.rate_readings, one.rate_kb << 10, one.burst),
        head_timeout=one.connect_timeout,
        silence=one.silence,
    )
    source: Source = listener.ListenerSource(
        settings, _decoder(program, one), _credentials(program), program.clock, program.telemetry
    )
    return source


def _listening(program: Program, one: Any) -> dict[str, Any]:
    """What the settings of all that listen have in common."""
    files = ("cert_file", "key_file", "client_ca_file", "client_crl_file")
    return {
        "name": one.name,
        "host": one.host,
        "port": one.port,
        **{name: _path(program.folder, getattr(one, name)) for name in files},
        "client_names": one.client_names,
        "in_flight": one.under_way_mb << 20,
        "connections": one.max_connections,
        "per_address": one.max_connections_per_address,
        "slowest": one.slowest,
    }


def _credentials(program: Program) -> Any:
    store = imported("adapters.identity.store")
    return store.GatewayCredentials(program.data, program.clock, program.telemetry)


def _path(folder: Path, name: str) -> str:
    """Of a file that settings name."""
    return str(folder / name) if name else ""


def _modbus(program: Program, one: Any) -> Source:
    modbus = imported("adapters.sources.modbus")
    source: Source = modbus.ModbusSource(
        one.name,
        list(program.fleet.registry.devices.values()),
        program.fleet.profiles,
        program.table.ids,
        program.journal.origin_ids,
        program.clock,
        program.telemetry,
        timeout=one.timeout,
    )
    return source


def _dlt645(program: Program, one: Any) -> Source:
    dlt645 = imported("adapters.sources.dlt645")
    source: Source = dlt645.Dlt645Source(
        one.name,
        list(program.fleet.registry.devices.values()),
        program.fleet.profiles,
        program.table.ids,
        program.journal.origin_ids,
        program.clock,
        program.telemetry,
        timeout=one.timeout,
    )
    return source


_SOURCES: Final[Mapping[str, Callable[[Program, Any], Source]]] = {
    "mqtt": _mqtt,
    "modbus": _modbus,
    "dlt645": _dlt645,
    "http": _http,
    "mqtt-listener": _listener,
}


# --- folds -----------------------------------------------------------------------------------


def folds(program: Program) -> dict[str, Callable[[], Fold]]:
    """How each fold is opened from its file."""
    settings: Settings = program.fleet.settings
    data, journal = program.data, program.journal
    reset = not program.foreign

    def parse(revision: Revision) -> tuple[Registry, PointTable]:
        registry = fleets.registry_of(revision.files)
        return registry, table(registry, journal.point_ids)

    made: dict[str, Callable[[], Fold]] = {
        "archive": lambda: Archive(
            data / "archive.db",
            journal,
            program.telemetry,
            retention_days=settings.archive.retention_days,
            reset=reset,
        ),
        "account": lambda: Books(
            data / "books.db",
            journal,
            parse,
            reset=reset,
            history_days=settings.archive.retention_days,
            telemetry=program.telemetry,
        ),
        "judge": lambda: Judge(
            data / "alerts.db",
            journal,
            lambda: Engine(
                fleets.registry_of,
                fleets.rules_of,
                journal.point_ids,
                journal.origin_names,
                late_after=settings.program.late_after_ms,
                pause=max(60_000, 10 * settings.program.tick_ms),
            ),
            program.telemetry,
            reset=reset,
        ),
    }
    told: set[str] = set()

    def opened(name: str) -> Fold:
        fold = made[name]()
        if name not in told:
            told.add(name)
            _tell_gap(program, fold)
        return fold

    named = {name: partial(opened, name) for name in made}
    return named | projections.folds(program, partial(secret_text, program.folder), imported)


def _tell_gap(program: Program, fold: Fold) -> None:
    """A fold whose file is new, or older than it was, cannot have what the journal forgot."""
    first, begun = program.journal.first(), fold.cursor()
    if begun + 1 < (first or program.journal.last() + 1):
        program.telemetry.event(
            "fold begins where the journal does, it lacks what was forgotten before",
            level="warning",
            fold=fold.name,
            has_up_to=begun,
            journal_begins_at=first,
            todo="bring back a copy of its file, if there is one; readings are in the archive",
        )


def foreign(program: Program) -> bool:
    """Whether the ids of the archive, or of the books, contradict the journal's: these files do
    not belong together."""
    ours = program.journal.point_names()
    return any(
        number < len(ours) and ours[number] not in {"", name}
        for number, name in known_names(program.data).items()
    )


def known_names(data: Path) -> dict[int, str]:
    """Names of points by stable id as the folds' files hold them: what they say must stay true
    when the journal is new. A file that cannot be read says nothing."""
    found: dict[int, str] = {}
    for path, read in ((data / "books.db", _book_names), (data / "archive.db", _archive_names)):
        if path.exists():
            # Whose file it is, its fold will find out and tell.
            with contextlib.suppress(TemporaryError, ConfigurationError):
                found |= read(path)
    return found


def known_clocks(data: Path) -> dict[str, str]:
    """What was found wrong with the clocks of gateways before this run, by gateway, as the archive
    keeps it."""
    path = data / "archive.db"
    states: list[OriginState] = []
    if path.exists():
        unreadable = contextlib.suppress(TemporaryError, ConfigurationError)  # as above
        with unreadable, contextlib.closing(ArchiveReader(path)) as reader:
            states = list(reader.states().values())
    return {
        one.name.removeprefix("gateway:"): one.reason
        for one in states
        if one.name.startswith("gateway:") and one.reason
    }


def _archive_names(path: Path) -> dict[int, str]:
    with contextlib.closing(ArchiveReader(path)) as reader:
        return {number: name for number, name in enumerate(reader.point_names()) if name}


def _book_names(path: Path) -> dict[int, str]:
    with contextlib.closing(BooksReader(path)) as reader:
        return dict(reader.points())


# --- channels to people ----------------------------------------------------------------------


def outbox(program: Program) -> Outbox | None:
    """The outbox with the channels that the settings name; None when there are none."""
    notifiers = program.fleet.settings.notifiers
    if not notifiers:
        return None
    channels: list[Channel] = [_CHANNELS[one.kind](program, one) for one in notifiers]
    watch = Watch(
        trouble=lambda channel, _since, error: program.source_state(
            f"notifier:{channel}", up=False, reason=error
        ),
        recovered=lambda channel, _time: program.source_state(
            f"notifier:{channel}", up=True, reason=""
        ),
    )
    return Outbox(
        program.data / "alerts.db",
        program.data / "outbox.db",
        channels,
        program.clock,
        program.telemetry,
        watch,
    )


def _apprise(program: Program, one: NotifierSettings) -> Any:
    notifiers = imported("adapters.notifiers.apprise")
    url = secret_text(program.folder, one.url)

    def told(detail: str, language: str) -> str:
        return refusal(with_nearest(detail, program.fleet.registry.gateways), language)

    return Channel(
        notifiers.AppriseNotifier(one.name, url),
        wording(one.language, program.fleet.settings.program.zone, refusal=told),
        Policy(per_minute=one.per_minute, at_least=one.at_least),
    )


_CHANNELS: Final[Mapping[str, Callable[[Program, NotifierSettings], Any]]] = {"apprise": _apprise}


def secret_text(folder: Path, where: Any) -> str:
    """The text of a secret that settings name, hidden from the log from now on."""
    text = secret(where, lambda name, kind: fleets.secret_reader(name, kind, folder))
    logs.hide(text)
    return text


def imported(module: str) -> Any:
    """A module that needs a library of an extra; a fault that says which, where it is missing."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as missing:
        extra = _EXTRAS.get((missing.name or "").partition(".")[0])
        if extra is None:
            raise
        raise ConfigurationError(
            Fault(
                fleets.SETTINGS,
                0,
                f"the settings need the library {missing.name}, which is not installed",
                f'pip install "meterwatch[{extra}]"',
            )
        ) from missing
