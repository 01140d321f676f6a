"""``meterwatch status``: does the program run, and how does everything stand.

What sources say of themselves outlives the program that said it. So the first line tells whether
there is one: by the lock that its process holds, and by its newest tick in the archive. Without it,
and for what a source said before this run began, things are told as they were, never as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Table
from rich.text import Text

from adapters.state.roomlock import Holder, holder
from adapters.stores.archive_reader import ArchiveReader
from adapters.stores.refused import Refused
from adapters.stores.states import OriginState
from collector.connections import origin_of
from collector.registry import FOREVER, Device, Registry
from collector.settings import HttpSource, ListenerSource, MqttSource
from meterwatch.clock import moment
from meterwatch.fleet import Fleet, kept
from meterwatch.in_force import in_force
from meterwatch.inspect import EVERY, WORDS, journal_of, now_ms, sender_of, shown, word
from meterwatch.refusal_words import refusal

QUIET_TICKS: Final = 3
QUIET_MS: Final = 60_000
"""A process that gave no sign of life for so many ticks, and for so long, is not taken for well: a
moment's backlog of the archive is."""
OF_LATE_MS: Final = 3_600_000
_AGES: Final = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s"))
_ROOM_OF: Final = {"notifier": "judge", "projection": "project"}
"""Which part of the program speaks for an origin, by the origin's first word; else the intake."""


@dataclass(frozen=True, slots=True)
class Life:
    """``holders``: the process of each part that is at work; ``tick``: the newest sign of life
    (UTC ms); ``quiet``: it is too old for a program that works."""

    holders: Mapping[str, Holder | None]
    tick: int
    quiet: bool

    @property
    def well(self) -> bool:
        return self.holders["intake"] is not None and not self.quiet

    def began(self, said: OriginState) -> int | None:
        """When the run began (UTC ms) that said this; None: it is over."""
        one = self.holders[_ROOM_OF.get(said.name.partition(":")[0], "intake")]
        return one.since if one and not self.quiet and said.told >= one.since else None


@dataclass(frozen=True, slots=True)
class _Look:
    """One look at a fleet, by one clock."""

    fleet: Fleet
    reader: ArchiveReader
    life: Life
    refused: Mapping[str, list[Refused]]
    """Of late, by gateway; else by the origin (``device:SITE/ID``, ``mqtt:NAME``)."""
    newest: Mapping[str, int]
    """Time of the last reading by device (UTC ms), where there is any."""
    zone: ZoneInfo
    lang: str
    now: int


def print_status(folder: Path, lang: str) -> bool:
    """Whether the program runs, sources up or down, backlog of every consumer, what was refused of
    late, last reading of every gateway and device, places without a device. False: it does not
    run, or gives no sign of life."""
    fleet = in_force(folder, lang)
    data = folder / fleet.settings.program.data
    console = Console(highlight=False)
    reader = ArchiveReader(kept(fleet, "archive.db"))
    try:
        now = now_ms()
        life = _life(data, reader.tick(), fleet.settings.program.tick_ms, now)
        zone = ZoneInfo(fleet.settings.program.zone)
        newest = _newest(fleet.registry, reader)
        look = _Look(fleet, reader, life, _refused(reader, now), newest, zone, lang, now)
        for line in (*_program(look), *_stores(look), *_refusals(look)):
            console.print(Text(line), soft_wrap=True)
        shown(_sources(look))
        gateways = _gateways(look)
        if gateways.row_count:
            shown(gateways)
        shown(_devices(look))
    finally:
        reader.close()
    for place in fleet.registry.unserved(now):
        console.print(Text(f"{word('no_device', lang)}: {place.key}"), soft_wrap=True)
    return life.well


def _life(data: Path, tick: int, tick_ms: int, now: int) -> Life:
    holders = {room: holder(data, room) for room in ("intake", *_ROOM_OF.values())}
    one = holders["intake"]
    heard = max(tick, one.since if one else 0)  # one that just began has not said anything yet
    return Life(holders, tick, now - heard > max(QUIET_TICKS * tick_ms, QUIET_MS))


def _program(look: _Look) -> list[str]:
    """First of all whether it runs."""
    life, lang = look.life, look.lang
    alive = word("never", lang)
    if life.tick:
        alive = f"{moment(life.tick, look.zone)} ({_age(look.now - life.tick, lang)})"
    process = life.holders["intake"]
    if process is None:
        return [word("stopped", lang).format(alive=alive, folder=look.fleet.files.folder)]
    if life.quiet:
        return [word("mute", lang).format(process=process.process, alive=alive)]
    since = moment(process.since, look.zone)
    told = word("runs", lang).format(process=process.process, since=since)
    return [told, f"{word('alive', lang)}: {alive}"]


def _age(ms: int, lang: str) -> str:
    width, unit = next((one for one in _AGES if ms >= 2 * one[0]), _AGES[-1])
    count = f"{max(0, ms) // width} {unit}"
    return f"{count} 前" if lang == "zh" else f"{count} ago"


def _stores(look: _Look) -> list[str]:
    lang = look.lang
    journal = journal_of(look.fleet)
    try:
        last = journal.last()
        behind = ", ".join(
            f"{word(name, lang) if name in WORDS else name} {last - released}"
            for name, released in sorted(journal.consumers().items())
        )
        used = journal.live_bytes() / 2**20
    finally:
        journal.close()
    stats = look.reader.stats()
    readings = stats.stored.sealed_rows + stats.stored.run_rows
    backlog = f"{behind} {word('behind', lang)}" if behind else word("nothing", lang)
    return [
        f"{word('journal', lang)}: {used:.1f} MB",
        f"{word('backlog', lang)}: {backlog}",
        f"{word('archive', lang)}: {readings:,} {word('readings', lang)},"
        f" {stats.file_bytes / 2**20:.1f} MB",
    ]


def _refused(reader: ArchiveReader, now: int) -> dict[str, list[Refused]]:
    origins = dict(enumerate(reader.origin_names()))
    found: dict[str, list[Refused]] = {}
    for row in reader.refused(since=now - OF_LATE_MS, limit=EVERY):
        if row.replayed is None:
            origin = origins.get(row.origin, "")
            found.setdefault(sender_of(row.kind, origin) or origin, []).append(row)
    return found


def _refusals(look: _Look) -> list[str]:
    every = [row for rows in look.refused.values() for row in rows]
    if not every:
        return []
    ask = word("ask_refused", look.lang).format(folder=look.fleet.files.folder)
    return [f"{word('refused', look.lang)}: {_counted(every, look)}; {ask}"]


def _counted(rows: list[Refused], look: _Look) -> str:
    """How many readings, since when: equal ones are kept together, so the hour is not to the
    minute, and what is said is."""
    if not rows:
        return ""
    count, since = sum(row.readings for row in rows), min(row.first for row in rows)
    told = word("refused_of_late", look.lang)
    return told.format(count=f"{count:,}", since=moment(since, look.zone))


def _sources(look: _Look) -> Table:
    """Brokers, listeners, buses and channels that the files name, each by its own last word."""
    fleet, lang = look.fleet, look.lang
    pushed = (MqttSource, HttpSource, ListenerSource)
    named = [one.origin for one in fleet.settings.sources if isinstance(one, pushed)]
    named += sorted(
        {
            origin_of(device.connection)
            for device in fleet.registry.devices.values()
            if device.connection and device.start <= look.now < device.end
        }
    )
    named += [f"notifier:{one.name}" for one in fleet.settings.notifiers]
    named += [one.origin for one in fleet.settings.projections if one.enabled]
    states = look.reader.states()
    grid = Table(*(word(key, lang) for key in ("sources", "state", "since", "why")))
    for name in named:
        said = states.get(name)
        if said is None:
            grid.add_row(name, "", word("never", lang), "")
            continue
        state, since = "up" if said.up else "down", said.since
        began = look.life.began(said)
        if began is None:
            state = f"was_{state}"
        elif since < began:  # what it was before this run is no merit of it
            since = said.told
        grid.add_row(name, word(state, lang), moment(since, look.zone), Text(said.reason))
    return grid


def _gateways(look: _Look) -> Table:
    """What each gateway brought, what of it was refused of late, and what is wrong with its clock,
    as the program found it last."""
    lang, states = look.lang, look.reader.states()
    newest: dict[str, int] = {}
    for device, at in look.newest.items():
        gateway = look.fleet.registry.devices[device].gateway
        newest[gateway] = max(at, newest.get(gateway, 0))
    grid = Table(*(word(key, lang) for key in ("gateway", "last", "refused", "clock")))
    for gateway in look.fleet.registry.gateways:
        said = states.get(f"gateway:{gateway}")
        clock = ""
        if said is not None and said.reason:
            found = f"{word('found', lang)} {moment(said.told, look.zone)}"
            clock = f"{refusal(said.reason, lang)} ({found})"
        at = newest.get(gateway, 0)
        grid.add_row(
            gateway,
            moment(at, look.zone) if at else word("never", lang),
            _counted(look.refused.get(gateway, []), look),
            Text(clock),
        )
    return grid


def _devices(look: _Look) -> Table:
    lang = look.lang
    grid = Table(*(word(key, lang) for key in ("device", "place", "last", "refused")))
    for device in look.fleet.registry.devices.values():
        if not device.start <= look.now < device.end:
            continue
        at = look.newest.get(device.key, 0)
        grid.add_row(
            device.key,
            _place(device),
            moment(at, look.zone) if at else word("never", lang),
            _counted(_of_device(device, look), look),
        )
    return grid


def _of_device(device: Device, look: _Look) -> list[Refused]:
    """What of its gateway's refusals names it, or what it was refused itself."""
    named = re.compile(rf"(?<![\w/.-]){re.escape(device.key)}(?![\w/-])")
    rows = look.refused.get(device.gateway, ())
    own = look.refused.get(f"device:{device.key}", ())
    return [*own, *(row for row in rows if named.search(row.detail))]


def _newest(registry: Registry, reader: ArchiveReader) -> dict[str, int]:
    known = set(reader.point_names())
    found: dict[str, int] = {}
    for point in registry.points:
        for service in point.services if point.name in known else ():
            latest = reader.latest(point.name)
            if len(latest):
                found[service.device] = max(int(latest.time[0]), found.get(service.device, 0))
    return found


def _place(device: Device) -> str:
    until = "" if device.end == FOREVER else " *"
    return f"{device.site}/{device.place}{until}"
