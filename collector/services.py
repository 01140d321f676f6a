"""What the registry's entries say of each other, and the points that follow from it. Pure.

References, one instrument in two places, two instruments at one point, units of what is
measured; then every (place, quantity) that any device ever brings is a point, with the services
of its devices in order of time.
"""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from collector.connections import Connection, check_connection, protocol_of
from collector.profile import PUSH, Profile
from collector.quantities import quantities
from collector.registry import FOREVER, Point, Service, ratio_of
from collector.registry_reader import REACHED, DeviceEntry, Entries
from collector.sections import near, one_of
from collector.stated import Stated, by_counter
from collector.states import ALWAYS

_NAME: Final = re.compile(r"[a-z0-9-]+/[a-z0-9-]+/[a-z0-9]+(?:\.[a-z0-9]+)*/[a-z0-9-]+")
_Key = tuple[str, ...]
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def points_of(entries: Entries, profiles: Mapping[str, Profile]) -> list[Point]:
    """The points in order of their names; faults are added to ``entries.faults``."""
    return _Services(entries, profiles).points()


class _Services:
    def __init__(self, entries: Entries, profiles: Mapping[str, Profile]) -> None:
        self._entries = entries
        self._profiles = profiles
        self._at: dict[tuple[str, str], list[Service]] = defaultdict(list)
        # who shares (instrument,), (profile, serial, maker), (place, quantity)
        self._instruments: dict[_Key, list[DeviceEntry]] = defaultdict(list)
        self._serials: dict[_Key, list[DeviceEntry]] = defaultdict(list)
        self._points: dict[_Key, list[DeviceEntry]] = defaultdict(list)
        # how each port is spoken to, and by which device first
        self._ports: dict[str, tuple[tuple[str, ...], DeviceEntry]] = {}

    def points(self) -> list[Point]:
        for entry in self._entries.devices.values():
            self._device(entry)
        self._twice()
        formerly = self._formerly()
        points = []
        for (place, quantity), services in self._at.items():
            site, _, place_id = place.partition("/")
            services.sort(key=lambda service: service.start)
            former = formerly.get((place, quantity), ())
            held = self._entries.places.get(place)
            spans = ALWAYS if held is None else held.in_service
            points.append(Point(site, place_id, quantity, "raw", former, tuple(services), spans))
        return sorted(points, key=lambda point: point.name)

    def _device(self, entry: DeviceEntry) -> None:
        device, section = entry.device, entry.section
        place = f"{device.site}/{device.place}"
        placed = bool(device.place) and (
            place in self._entries.places
            or device.site in self._entries.unclear  # a place without a readable id may be it
            or section.known("place", device.place, self._entries.ids_at(device.site, "place"))
        )
        self._reached(entry)
        brings = self._brings(entry)
        self._rates(entry, brings)
        stated = by_counter(section, entry.stated, brings)
        if device.serial:
            maker = device.site if device.profile == PUSH else ""
            self._serials[device.profile, device.serial, maker].append(entry)
        if not placed or not brings:
            self._entries.unclear.add(place if device.place else device.site)
            return
        for quantity in brings:
            self._at[place, quantity].append(self._service(entry, quantity, stated))
            self._points[place, quantity].append(entry)

    def _reached(self, entry: DeviceEntry) -> None:
        """By a connection or through a gateway, and only by one that exists."""
        device, section = entry.device, entry.section
        has_connection, has_gateway = section.has("connection"), section.has("gateway")
        if has_connection and has_gateway:
            section.fault("gateway", "both connection and gateway are given", "keep one of them")
        elif not has_connection and not has_gateway and not self._misspelt(entry):
            section.fault((), "neither connection nor gateway is given", "say how it is reached")
        if device.connection:
            found = check_connection(device.connection)
            for wrong in found.wrong:
                section.fault("connection", wrong.what, wrong.todo)
            if not found.wrong:  # else it is not known which instrument is meant
                self._instruments[found.instrument,].append(entry)
            self._one_manner(entry, found)
        elif has_connection and section.data["connection"] == "":
            section.fault(
                "connection", "connection is empty", "write modbus+tcp://HOST:PORT?unit=N"
            )
        gateway = self._entries.gateways.get(device.gateway)
        if gateway is not None and gateway.site != device.site:
            todo = "a gateway brings only the devices of its own site"
            section.fault("gateway", f'gateway "{gateway.id}" is of another site', todo)
        elif gateway is None and device.gateway and not self._perhaps(device.site):
            section.known("gateway", device.gateway, self._entries.ids_at(device.site, "gateway"))

    def _perhaps(self, site: str) -> bool:
        """Whether a gateway without a readable id may be the one that is meant."""
        return site in self._entries.unclear_gateways

    def _one_manner(self, entry: DeviceEntry, found: Connection) -> None:
        """A port is opened once: whoever is behind it is spoken to in the same way."""
        if not found.port:
            return
        manner, first = self._ports.setdefault(found.port, (found.manner, entry))
        if manner != found.manner:
            what = f"{found.port} is spoken to in another way at {_at(first)}"
            todo = "one framing, baud rate, parity and stop bits for all devices on it"
            entry.section.fault("connection", what, todo)

    @staticmethod
    def _misspelt(entry: DeviceEntry) -> bool:
        """Whether an unknown key, already a fault, was meant to say how it is reached."""
        meant = ("connection", "gateway")
        return any(key in REACHED or near(key, meant) for key in entry.section.unknown())

    def _brings(self, entry: DeviceEntry) -> tuple[str, ...]:
        """The quantities it brings; empty where that cannot be told (a fault said why)."""
        device, section = entry.device, entry.section
        profile = self._profiles.get(device.profile)
        if not device.profile:
            return ()
        if profile is None and device.profile != PUSH:
            choices = {*self._profiles, PUSH}
            todo = near(device.profile, choices)
            todo = todo or f"see: meterwatch profiles {shlex.quote(device.profile)}"
            section.fault("profile", f'unknown profile "{device.profile}"', todo)
            return ()
        measured = {} if profile is None or device.profile == PUSH else profile.measured
        protocol = "" if profile is None else profile.protocol
        if device.connection and not protocol:
            what = f'profile "{device.profile}" has no registers to poll'
            section.fault("profile", what, "name a gateway that pushes it, or another profile")
            return ()
        if (spoken := protocol_of(device.connection)) not in {"", protocol}:
            what = f'profile "{device.profile}" is of {protocol}, the connection of {spoken}'
            section.fault("profile", what, "a profile of the protocol by which the meter is read")
            return ()
        if not section.has("quantities"):
            if not measured:
                what = f'profile "{device.profile}" does not say what is measured'
                section.fault((), what, 'add quantities = ["..."]')
            return tuple(measured)
        return self._named(entry, measured if device.connection else None)

    def _named(self, entry: DeviceEntry, measured: Mapping[str, object] | None) -> tuple[str, ...]:
        """The quantities that the registry names; of a polled device, its profile has them."""
        section = entry.section
        given = section.data["quantities"]
        if given == []:
            section.fault("quantities", "quantities is empty", "name what the device brings")
        good: list[str] = []
        for index, quantity in enumerate(given if isinstance(given, list) else ()):
            path = ("quantities", index)
            if not isinstance(quantity, str):
                continue  # told when it was read
            if quantity not in quantities():
                todo = near(quantity, quantities()) or "see the table of quantities"
                section.fault(path, f'unknown quantity "{quantity}"', todo)
            elif quantity in good:
                section.fault(path, f'quantity "{quantity}" stands twice', "keep one of them")
            elif measured is not None and quantity not in measured:
                what = f'profile "{entry.device.profile}" has no register for "{quantity}"'
                section.fault(path, what, near(quantity, measured) or one_of(sorted(measured)))
            else:
                good.append(quantity)
        return tuple(good)

    def _rates(self, entry: DeviceEntry, brings: tuple[str, ...]) -> None:
        """Ratios and rates that would have no effect are faults: somebody counts on them."""
        device, section = entry.device, entry.section
        for quantity in entry.max_rates if brings else ():
            if quantity not in brings:
                what = f'max_rate names "{quantity}", which this device does not bring'
                section.fault(("max_rate", quantity), what, near(quantity, brings) or "take it out")
            elif quantities()[quantity].kind != "counter":
                what = f'max_rate names "{quantity}", which is no counter'
                section.fault(("max_rate", quantity), what, "take it out")
        profile = self._profiles.get(device.profile)
        if brings and device.ratio != 1 and all(ratio_of(device, q, profile) == 1 for q in brings):
            key = "current_ratio" if device.current_ratio != 1 else "voltage_ratio"
            what = f'nothing that profile "{device.profile}" brings takes a ratio'
            section.fault(key, what, "its values are primary ones already: take the ratio out")

    def _service(self, entry: DeviceEntry, quantity: str, stated: Stated) -> Service:
        device = entry.device
        profile = self._profiles.get(device.profile)
        measured = None if profile is None else profile.measured.get(quantity)
        return Service(
            device=device.key,
            start=device.start,
            end=device.end,
            resolution=measured.resolution if measured else 0.0,
            modulus=measured.modulus if measured else 0.0,
            ratio=ratio_of(device, quantity, profile),
            max_rate=entry.max_rates.get(quantity, device.max_rate),
            interval=device.interval,
            first=stated.first.get(quantity),
            last=stated.last.get(quantity),
        )

    def _twice(self) -> None:
        """Two instruments at one point, or one instrument twice, at the same time."""
        for one, other, keys in _overlaps(self._points):
            place = f"{other.device.site}/{other.device.place}"
            what = f"serve {place} with {_few(key[1] for key in keys)}"
            todo = 'give one a place of its own; of an exchanged meter end the first with "to"'
            other.section.fault((), self._both(one, other, what), todo)
        for one, other, keys in _overlaps(self._serials):
            what = self._both(one, other, f"have the serial number {keys[0][1]}")
            todo = "correct one, or its dates; a further channel of an instrument goes without"
            other.section.fault("serial", what, todo)
        for one, other, _ in _overlaps(self._instruments):
            if self._alike(one, other):
                what = self._both(one, other, f"are read at {other.device.connection}")
                other.section.fault("connection", what, "correct one: address, unit or dates")

    def _alike(self, one: DeviceEntry, other: DeviceEntry) -> bool:
        """Whether two devices at one address cannot both be there. Two profiles of one maker that
        read other registers are channels of one instrument."""
        if not set(self._brings_of(one)) & set(self._brings_of(other)):
            return False
        first, second = (self._profiles.get(e.device.profile) for e in (one, other))
        if first is None or second is None:
            return one.device.profile == other.device.profile
        return first.maker != second.maker or bool(_reads(first) & _reads(second))

    def _brings_of(self, entry: DeviceEntry) -> tuple[str, ...]:
        profile = self._profiles.get(entry.device.profile)
        return entry.device.quantities or tuple(profile.measured if profile else ())

    def _both(self, one: DeviceEntry, other: DeviceEntry, what: str) -> str:
        """What both do, and when."""
        start = max(one.device.start, other.device.start)
        end = min(one.device.end, other.device.end)
        zone = self._entries.zone(other.device.site)
        spans = []
        if start:
            spans.append(f"from {_day(start, zone)}")
        if end != FOREVER:
            spans.append(f"to {_day(end, zone)}")
        first = f'device "{one.device.key}" ({_at(one)})'
        when = f", {' '.join(spans)}" if spans else ""
        return f'{first} and "{other.device.key}" both {what}{when}'

    def _formerly(self) -> dict[tuple[str, str], tuple[str, ...]]:
        """Former names by place and quantity. A name was one point's only."""
        now = {f"{place}/{quantity}/raw" for place, quantity in self._at}
        taken: set[str] = set()
        good: dict[tuple[str, str], tuple[str, ...]] = {}
        for place, rows in self._entries.formerly.items():
            site = place.partition("/")[0]
            for quantity, names, section in rows:
                path = ("formerly", quantity)
                if (place, quantity) not in self._at:
                    if not {place, site} & self._entries.unclear:
                        what = f'formerly names "{quantity}", which no device brings here'
                        here = [q for at, q in self._at if at == place]
                        section.fault(path, what, near(quantity, here) or "take it out")
                    continue
                for index, name in enumerate(names):
                    if not _NAME.fullmatch(name):
                        todo = 'write "site/place/quantity/raw"'
                        section.fault((*path, index), f'"{name}" is no name of a point', todo)
                    elif name in now:
                        what = f'"{name}" is the name of a point of today'
                        section.fault((*path, index), what, "a former name is out of use")
                    elif name in taken:
                        what = f'"{name}" is given to two points'
                        section.fault((*path, index), what, "one point has its history")
                    taken.add(name)
                good[place, quantity] = names
        return good


def _overlaps(
    groups: Mapping[_Key, list[DeviceEntry]],
) -> Iterable[tuple[DeviceEntry, DeviceEntry, list[_Key]]]:
    """Pairs of devices that share keys at the same time, each pair once with those keys."""
    pairs: dict[_Key, tuple[DeviceEntry, DeviceEntry, list[_Key]]] = {}
    for key, entries in groups.items():
        order = sorted(entries, key=lambda entry: entry.device.start)
        longest = order[0]
        for entry in order[1:]:
            if entry.device.start < longest.device.end:
                first, second = sorted(
                    (longest, entry), key=lambda e: (e.section.file, e.device.line)
                )
                pair = (first.device.key, second.device.key)
                pairs.setdefault(pair, (first, second, []))[2].append(key)
            if entry.device.end > longest.device.end:
                longest = entry
    return pairs.values()


def _reads(profile: Profile) -> set[tuple[int, int]]:
    """Registers by function and address; data identifiers by function 0."""
    registers = {(one.function, one.address) for one in profile.registers}
    return registers | {(0, one.identifier) for one in profile.items}


def _at(entry: DeviceEntry) -> str:
    return f"{entry.section.file}:{entry.device.line}"


def _few(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
    return ", ".join(listed[:3]) + more


def _day(ms: int, zone: ZoneInfo) -> str:
    try:
        return f"{(_EPOCH + timedelta(milliseconds=ms)).astimezone(zone):%Y-%m-%d %H:%M}"
    except OverflowError:
        return "the end of time"
