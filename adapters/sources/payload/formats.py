"""How another maker's gateway writes its readings, as data: one TOML for each format. Pure.

    label, label_zh, source            whose format it is, and where it was read
    base = "neuron"                    of a fleet's own: all that another one says, and more
    syntax = "json"                    or "line-protocol"
    time_unit = "ms"                   of times that are numbers: s, ms, us, ns
    time_format = "%Y/%m/%d %H:%M:%S"  of times that are text, where it is not ISO 8601
    zone = "Asia/Shanghai"             of times without an offset, where it is not the site's
    time_missing = "refuse"            or "receipt": measured when it came
    device_by = "id"                   or "serial": devices are named by their serial number
    text_values = false                true: a number in quotes is that number
    ignore = ["rssi"]                  names that are no readings
    [[form]]                           where things lie, see ``Form``; the first that fits is taken
    [tags]                             name -> quantity, or {quantity, unit, device}
    [devices]                          name -> id in the registry
    [flags]                            code of an error or a quality -> letter of HJ 212-2017

Text in, ``Format`` or every fault with its line out. A format is named as its file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import PurePath
from typing import Any, Final
from zoneinfo import ZoneInfo

from collector.errors import ConfigurationError, Fault
from collector.located import Located, parse
from collector.model import LETTERS
from collector.quantities import quantities
from collector.sections import ID, Section, kind_of, near, one_of
from collector.units import UnitError

OWN: Final = "meterwatch"
"""The form of docs/gateway-protocol.md."""
LINE_PROTOCOL: Final = "line-protocol"
PER_SECOND: Final[Mapping[str, int]] = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_SAMPLE: Final = datetime(2026, 11, 22, 8, 30, 1)  # noqa: DTZ001 - of a format's text, not a time


@dataclass(frozen=True, slots=True)
class Tag:
    """What a maker's name means. ``device``: of that device (id), whatever the row says."""

    quantity: str
    unit: str = ""
    device: str = ""


@dataclass(frozen=True, slots=True)
class Form:
    """Where things lie in one form of message. A path is keys joined by dots, within a row; with a
    ``/`` in front, within the message.

    ``rows``: path of the row or the list of rows; ``.`` the message itself; ``*`` every entry of an
    object (each a row or a list of them), whose key is then ``*``. ``values``: path of an object of
    names and values, or of a list of entries with ``name`` and ``value``; ``.`` the row itself.
    ``errors``: path of an object of names and error codes. ``error``, ``quality``, ``unit``: of an
    entry. Without ``device`` it is the gateway's only one. Of line protocol, ``device`` is a tag.
    """

    rows: str = "."
    device: str = ""
    time: str = ""
    values: str = "."
    errors: str = ""
    name: str = ""
    value: str = "value"
    error: str = ""
    quality: str = ""
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Format:
    """One maker's format."""

    name: str
    label: str = ""
    label_zh: str = ""
    source: str = ""
    syntax: str = "json"
    time_unit: str = "ms"
    time_format: str = ""
    zone: str = ""
    time_missing: str = "refuse"
    device_by: str = "id"
    text_values: bool = False
    ignore: frozenset[str] = frozenset()
    forms: tuple[Form, ...] = ()
    tags: Mapping[str, Tag] = field(default_factory=dict)
    devices: Mapping[str, str] = field(default_factory=dict)
    flags: Mapping[str, str] = field(default_factory=dict)


def parse_formats(
    texts: Mapping[str, str], known: Mapping[str, Format] | None = None
) -> dict[str, Format]:
    """The formats in ``texts`` (path -> text), by name, beside those ``known`` already; one of the
    same name takes the place of a known one. Raises ``ConfigurationError`` with every fault."""
    faults: list[Fault] = []
    formats = dict(known or {})
    based: list[tuple[str, Located]] = []
    for path in sorted(texts):
        name = PurePath(path).stem
        try:
            located = parse(texts[path], path)
        except ConfigurationError as error:
            faults += error.faults
            continue
        if not ID.fullmatch(name) or name == OWN:
            told = f'"{name}" cannot be the name of a format'
            faults.append(Fault(path, 0, told, 'lower-case letters and digits, joined by "-"'))
        if "base" in located.data:
            based.append((name, located))
        else:
            formats[name] = _read(name, located, faults, {})
    bases = dict(formats)
    for name, located in based:
        formats[name] = _read(name, located, faults, bases)
    if faults:
        raise ConfigurationError(sorted(faults))
    return formats


def _read(name: str, located: Located, faults: list[Fault], bases: Mapping[str, Format]) -> Format:
    top = Section.whole(located, faults)
    base = Format(name)
    wanted = top.text("base")
    if wanted and top.known("base", wanted, sorted(bases), "format"):
        base = bases[wanted]
    syntax = top.text("syntax", base.syntax, choices=("json", LINE_PROTOCOL))
    default = "ns" if syntax != base.syntax else base.time_unit
    tags = {tag: _tag(top, tag, row) for tag, row in top.table("tags").items()}
    forms = tuple(_form(section, syntax) for section in top.sections("form"))
    made = replace(
        base,
        name=name,
        label=top.text("label", base.label),
        label_zh=top.text("label_zh", base.label_zh),
        source=top.text("source", base.source),
        syntax=syntax,
        time_unit=top.text("time_unit", default, choices=tuple(PER_SECOND)),
        time_format=_time_format(top, base.time_format),
        zone=_zone(top, base.zone),
        time_missing=top.text("time_missing", base.time_missing, choices=("refuse", "receipt")),
        device_by=top.text("device_by", base.device_by, choices=("id", "serial")),
        text_values=top.flag("text_values", default=base.text_values),
        ignore=base.ignore | frozenset(top.texts("ignore")),
        forms=forms or base.forms,
        tags={**base.tags, **{tag: row for tag, row in tags.items() if row}},
        devices={**base.devices, **_names(top, "devices")},
        flags={**base.flags, **_flags(top)},
    )
    if not made.forms:
        top.fault((), "there is no [[form]]", 'add one that says where "values" lie')
    top.close()
    return made


def _form(section: Section, syntax: str) -> Form:
    if syntax == LINE_PROTOCOL:
        form = Form(device=section.text("device", required=True))
        section.close()
        return form
    form = Form(
        **{
            key: section.text(key, default)
            for key, default in (
                ("rows", "."), ("device", ""), ("time", ""), ("values", "."), ("errors", ""),
                ("name", ""), ("value", "value"), ("error", ""), ("quality", ""), ("unit", ""),
            )
        }
    )  # fmt: skip
    if form.device == "*" and form.rows != "*":
        section.fault("device", 'device is "*" where rows are not', 'write rows = "*" too')
    if not form.name:
        for key in ("error", "quality", "unit"):
            if section.has(key):
                section.fault(key, f'"{key}" is of entries with a name', "add name = ...")
    section.close()
    return form


def _tag(top: Section, tag: str, row: Any) -> Tag | None:
    """What ``tag`` means; None after a fault."""
    path = ("tags", tag)
    told = len(top.faults)
    if isinstance(row, str):
        row = {"quantity": row}
    if not isinstance(row, dict) or not all(isinstance(part, str) for part in row.values()):
        top.fault(path, f'"{tag}" is {kind_of(row)}', 'write "power.active", or a table of texts')
        return None
    for key in row:
        if key not in ("quantity", "unit", "device"):
            top.fault(path, f'unknown key "{key}"', "quantity, unit and device are known")
    quantity, unit = row.get("quantity", ""), row.get("unit", "")
    if quantity not in quantities():
        todo = near(quantity, quantities()) or one_of(quantities())
        top.fault(path, f'unknown quantity "{quantity}"', todo)
    elif unit:
        try:
            quantities()[quantity].factor(unit)
        except UnitError as fault:
            top.fault(
                path, f"{quantity}: {fault}", f'its own unit is "{quantities()[quantity].unit}"'
            )
    device = row.get("device", "")
    if device and not ID.fullmatch(device):
        top.fault(path, f'device "{device}" is no id of the registry', "write it as it is there")
    return Tag(quantity, unit, device) if len(top.faults) == told else None


def _names(top: Section, key: str) -> dict[str, str]:
    found = {}
    for name, device in top.table(key).items():
        if isinstance(device, str) and ID.fullmatch(device):
            found[name] = device
        else:
            told = f'"{name}" is no id of the registry'
            top.fault((key, name), told, 'lower-case letters and digits, joined by "-"')
    return found


def _flags(top: Section) -> dict[str, str]:
    found = {}
    for code, letter in top.table("flags").items():
        if letter in LETTERS:
            found[code] = letter
        else:
            told = f"{letter!r} is no mark of HJ 212-2017, table 8"
            top.fault(("flags", code), told, one_of(sorted(LETTERS)))
    return found


def _zone(top: Section, default: str) -> str:
    zone = top.text("zone", default)
    try:
        ZoneInfo(zone or "UTC")
    except (LookupError, ValueError, OSError):  # OSError: the name of a folder of zones
        top.fault("zone", f'unknown time zone "{zone}"', 'write "Asia/Shanghai"')
        return default
    return zone


def _time_format(top: Section, default: str) -> str:
    form = top.text("time_format", default)
    try:
        told = datetime.strptime(_SAMPLE.strftime(form), form) if form else _SAMPLE  # noqa: DTZ007
    except ValueError as fault:
        top.fault("time_format", f'"{form}" is no form of a time: {fault}', '"%Y-%m-%d %H:%M:%S"')
        return default
    if told.replace(second=1) != _SAMPLE.replace(tzinfo=told.tzinfo):
        top.fault("time_format", f'"{form}" does not tell date, hour and minute', '"%Y%m%d%H%M%S"')
        return default
    return form
