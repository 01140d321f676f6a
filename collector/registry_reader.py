"""The registry's files read into what they say; every fault of every file at once. Pure.

First each file by itself (``[site]``, ``[[line]]``, ``[[treatment]]``, ``[[place]]``,
``[[device]]``, ``[[gateway]]``), then what they say of each other (:mod:`collector.services`).
One site per file. A faulty entry is left out of what follows, so that one fault is told once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from collector.errors import ConfigurationError, Fault
from collector.located import parse
from collector.registry import FOREVER, Device, Gateway, Line, Place, Site
from collector.sections import ID, Section
from collector.stated import Stated, read_stated
from collector.states import read_states

_COUNTY: Final = re.compile(r"[1-8]\d{5}")
_INDUSTRY: Final = re.compile(r"[A-T](?:\d{2,4})?")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NO_ZONE: Final = ZoneInfo("UTC")
_EXAMPLE: Final = "modbus+tcp://10.0.0.5:502?unit=3"
REACHED: Final = ("address", "url", "uri", "host", "ip")
"""What people write for ``connection``."""
_OPTIONS: Final = {"unit", "slave", "slave_id", "station", "baud", "baudrate", "parity", "stop"}
_RATIOS: Final = {"ct": "current_ratio", "pt": "voltage_ratio", "vt": "voltage_ratio"}
_FRACTION: Final = re.compile(r"(\d{1,9})\s*[/:]\s*([1-9]\d{0,8})")
_LONGEST_INTERVAL: Final = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class DeviceEntry:
    """A device as written: ``max_rates`` by quantity, where its file names them so; ``stated``:
    its registers at the beginning and the end."""

    device: Device
    section: Section
    max_rates: Mapping[str, float]
    stated: Stated = field(default_factory=Stated)


@dataclass(slots=True)
class Entries:
    """What all files say, by key; ``formerly`` by place key and quantity."""

    faults: list[Fault] = field(default_factory=list)
    sites: dict[str, Site] = field(default_factory=dict)
    lines: dict[str, Line] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    gateways: dict[str, Gateway] = field(default_factory=dict)
    devices: dict[str, DeviceEntry] = field(default_factory=dict)
    formerly: dict[str, list[tuple[str, tuple[str, ...], Section]]] = field(default_factory=dict)
    unclear: set[str] = field(default_factory=set)
    """Sites and places of which something could not be read: nothing is missed there."""
    unclear_gateways: set[str] = field(default_factory=set)
    """Sites with a gateway whose id could not be read: it may be any that is named."""
    _first: dict[tuple[str, str], str] = field(default_factory=dict)

    def zone(self, site: str) -> ZoneInfo:
        """In which the people of this site read dates."""
        found = zone_of(self.sites[site].zone) if site in self.sites else None
        return found or _NO_ZONE

    def ids_at(self, site: str, what: str) -> list[str]:
        """The ids of a site's lines (treatment units too), places or gateways."""
        tables: dict[str, Mapping[str, Line | Place | Gateway]] = {
            "line": self.lines,
            "place": self.places,
            "gateway": self.gateways,
        }
        return [entry.id for entry in tables[what].values() if entry.site == site]

    def claim(self, what: str, key: str, section: Section) -> bool:
        """Whether ``key`` is new; a fault where it is not."""
        where = f"{section.file}:{section.line('id')}"
        first = self._first.setdefault((what, key), where)
        if first != where:
            section.fault("id", f'{what} "{key}" stands twice, first at {first}', "rename one")
        return first == where


def read_files(files: Mapping[str, str]) -> Entries:
    """Every file by itself; faults are in ``Entries.faults``."""
    entries = Entries()
    for name in sorted(files):
        try:
            located = parse(files[name], name)
        except ConfigurationError as error:
            entries.faults.extend(error.faults)
        else:
            _File(Section.whole(located, entries.faults), entries).read()
    return entries


class _File:
    """One site's file."""

    def __init__(self, whole: Section, entries: Entries) -> None:
        self._whole = whole
        self._entries = entries
        self._zone = _NO_ZONE
        self._site = whole.file  # stands in for the site's id until that is read

    def read(self) -> None:
        self._read_site(self._whole.section("site", required=True))
        lines = self._whole.sections("line")
        treatments = self._whole.sections("treatment")
        for section in lines:
            self._line(section, treatment=False)
        for section in treatments:
            self._line(section, treatment=True)
        self._serves(treatments)
        for section in self._whole.sections("gateway"):
            self._gateway(section)
        for section in self._whole.sections("place"):
            self._place(section)
        for section in self._whole.sections("device"):
            self._device(section)
        self._whole.close()

    def _read_site(self, section: Section) -> None:
        if not isinstance(self._whole.data.get("site"), dict):
            return  # told
        given = section.id()
        name = section.text("name", required=True)
        site = Site(
            id=given or self._site,
            name=name,
            name_zh=section.text("name_zh", name),
            county=section.text(
                "county",
                required=True,
                pattern=_COUNTY,
                form="a county code of 6 digits (GB/T 2260)",
            ),
            industry=section.text(
                "industry",
                required=True,
                pattern=_INDUSTRY,
                form='an industry code such as "C2319" (GB/T 4754)',
            ),
            permit=section.text("permit"),
            permitted_t={
                pollutant: section.check_number(
                    ("permitted_t", pollutant), tonnes, 0.0, least=0, most=1e9
                )
                for pollutant, tonnes in section.table("permitted_t").items()
            },
            zone=self._read_zone(section),
        )
        section.close()
        if given and self._entries.claim("site", given, section):
            self._site = given
        self._entries.sites[self._site] = site

    def _read_zone(self, section: Section) -> str:
        zone = section.text("zone", "Asia/Shanghai")
        found = zone_of(zone)
        if found is None:
            section.fault("zone", f'unknown time zone "{zone}"', 'write "Asia/Shanghai"')
            return "Asia/Shanghai"
        self._zone = found
        return zone

    def _line(self, section: Section, *, treatment: bool) -> None:
        key = section.id()
        name = section.text("name", key)
        line = Line(
            site=self._site,
            id=key,
            name=name,
            name_zh=section.text("name_zh", name),
            treatment=treatment,
            serves=section.id("serves", required=False) if treatment else "",
        )
        section.close()
        if key and self._entries.claim("line or treatment unit", f"{self._site}/{key}", section):
            self._entries.lines[f"{self._site}/{key}"] = line

    def _serves(self, treatments: Iterable[Section]) -> None:
        for section in treatments:
            served = section.data.get("serves")
            if not isinstance(served, str) or not ID.fullmatch(served):
                continue  # told
            line = self._entries.lines.get(f"{self._site}/{served}")
            if line is None or line.treatment:
                every = self._entries.ids_at(self._site, "line")
                of = {key: self._entries.lines[f"{self._site}/{key}"] for key in every}
                lines = [key for key in every if not of[key].treatment]
                section.known("serves", served, lines, "line")

    def _gateway(self, section: Section) -> None:
        key = section.id()
        gateway = Gateway(
            site=self._site,
            id=key,
            name=section.text("name", key),
            format=section.id("format", required=False) or "meterwatch",
            file=section.file,
            line=section.line("format"),
        )
        section.close()
        if not key:
            self._entries.unclear_gateways.add(self._site)
        elif self._entries.claim("gateway", key, section):
            self._entries.gateways[key] = gateway

    def _place(self, section: Section) -> None:
        key = section.id()
        name = section.text("name", key)
        line = section.id("line", required=False)
        place = Place(
            site=self._site,
            id=key,
            name=name,
            name_zh=section.text("name_zh", name),
            outlet=section.flag("outlet"),
            line=line,
            permit_no=section.text("permit_no"),
            states=read_states(section, self._zone),
        )
        formerly = section.table("formerly")
        section.close()
        if line and f"{self._site}/{line}" not in self._entries.lines:
            section.known("line", line, self._entries.ids_at(self._site, "line"))
        if not key:
            self._entries.unclear.add(self._site)
        elif self._entries.claim("place", place.key, section):
            self._entries.places[place.key] = place
            self._entries.formerly[place.key] = _formerly(formerly, section)

    def _device(self, section: Section) -> None:
        key = section.id()
        start, end = self._dates(section)
        voltage = section.number("voltage_ratio", 1.0, above=0, most=1e6)
        current = section.number("current_ratio", 1.0, above=0, most=1e6)
        max_rate, max_rates = _max_rate(section)
        stated = read_stated(section)
        device = Device(
            site=self._site,
            id=key,
            place=section.id("place"),
            profile=section.text("profile", required=True),
            serial=section.text("serial"),
            start=start,
            end=end,
            ratio=voltage * current,
            interval=section.seconds("interval", 60.0, least=0.1, most=_LONGEST_INTERVAL),
            max_rate=max_rate,
            no_value=section.numbers("no_value"),
            connection=section.text("connection"),
            gateway=section.id("gateway", required=False),
            quantities=section.texts("quantities"),
            voltage_ratio=voltage,
            current_ratio=current,
            file=section.file,
            line=section.line(),
        )
        section.close(_meant(section))
        if key and self._entries.claim("device", device.key, section):
            self._entries.devices[device.key] = DeviceEntry(device, section, max_rates, stated)
        elif device.place:
            self._entries.unclear.add(f"{self._site}/{device.place}")

    def _dates(self, section: Section) -> tuple[int, int]:
        start = _moment(section, "from", self._zone, 0)
        end = _moment(section, "to", self._zone, FOREVER)
        if end <= start:
            section.fault(
                "to", '"to" is not after "from"', "the device served until before this date"
            )
            end = FOREVER
        return start, end


def zone_of(name: str) -> ZoneInfo | None:
    """The time zone of this name, if there is one."""
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):  # OSError: the name of a folder of zones
        return None


def _moment(section: Section, key: str, zone: ZoneInfo, default: int) -> int:
    """A date (its first instant in ``zone``) or a date with time, as UTC ms."""
    if not section.has(key):
        return default
    value = section.data[key]
    if isinstance(value, date):
        if not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day, tzinfo=zone)
        elif value.tzinfo is None:
            value = value.replace(tzinfo=zone)
        since = value - _EPOCH
        ms = (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000
        if ms >= 0:
            return ms
        section.fault(key, f'"{key}" is before 1970', "leave it out if the date is not known")
        return default
    section.fault(key, f'"{key}" is no date', "write it without quotes: 2025-01-01")
    return default


def _meant(section: Section) -> dict[str, str]:
    """What to do about keys of a device that people write for others."""
    found = dict.fromkeys(REACHED, f'write it as connection = "{_EXAMPLE}"')
    for key in _OPTIONS & section.data.keys():
        found[key] = f'it stands in the connection, as in "{_EXAMPLE}"'
    for key, ratio in _RATIOS.items():
        written = _FRACTION.fullmatch(str(section.data.get(key)))
        value = f"{int(written[1]) / int(written[2]):g}" if written else "80, for 400/5"
        found[key] = f"write {ratio} = {value}"
    if "://" not in str(section.data.get("address", "://")):
        found["address"] = 'it stands in the connection: "dlt645+tcp://HOST:PORT?address=N"'
    return found


def _max_rate(section: Section) -> tuple[float, dict[str, float]]:
    """One number for all counters, or a table by quantity."""
    if isinstance(section.data.get("max_rate"), dict):
        rates = section.table("max_rate")
        return 0.0, {
            quantity: section.check_number(("max_rate", quantity), rate, 0.0, above=0, most=1e15)
            for quantity, rate in rates.items()
        }
    return section.number("max_rate", 0.0, above=0, most=1e15), {}


def _formerly(
    table: Mapping[str, Any], section: Section
) -> list[tuple[str, tuple[str, ...], Section]]:
    found = []
    for quantity, names in table.items():
        path = ("formerly", quantity)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            section.fault(path, f'formerly "{quantity}" is no list of names', 'write ["a/b/c/raw"]')
        else:
            found.append((quantity, tuple(names), section))
    return found
