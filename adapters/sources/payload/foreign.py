"""JSON of other makers -> rows, as a mapping file says. Pure.

What cannot be used spoils itself only: a row whose time cannot be read, an entry without a name, a
value that is none. Names that the mapping does not know stay as they are; where they are no
quantity of the device, the decoder refuses them and tells the nearest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from adapters.sources.payload.faults import no_json
from adapters.sources.payload.formats import Form, Format, Tag
from adapters.sources.payload.looks import is_neuron, is_own, not_of
from adapters.sources.payload.shape import (
    Damage,
    Message,
    Read,
    Row,
    Scalar,
    UnreadableError,
    number_of,
    remark,
    shown,
    usable,
)
from adapters.sources.payload.when import MISSING, Times
from collector.model import Reason
from collector.registry import Device

_NUMBERS: Final = {float, bool, type(None)}
_any: Final = msgspec.json.Decoder()


class Names:
    """Whose readings a maker's names mean: of one gateway with these devices."""

    def __init__(self, form: Format, devices: Iterable[Device]) -> None:
        brought = list(devices)
        self._given = form.devices
        self._serials: Mapping[str, str] = {}
        if form.device_by == "serial":
            self._serials = {one.serial: one.id for one in brought if one.serial}
        ids = {one.id for one in brought}
        self.known = sorted(ids)
        """Ids of its devices."""
        self._only = ids.pop() if len(ids) == 1 else ""

    def device(self, name: Any) -> str:
        """The id meant by ``name`` (``MISSING``: the gateway's only device); empty for none."""
        if name is MISSING:
            return self._only
        if isinstance(name, int) and not isinstance(name, bool):
            name = shown(name)
        if not isinstance(name, str):
            return ""
        return self._given.get(name) or self._serials.get(name) or name


class Gathered:
    """What one row brings, by device: a tag may be of another device than its row."""

    def __init__(self, form: Format, device: str, number: int, damages: list[Damage]) -> None:
        self._form = form
        self.device, self._number, self._damages = device, number, damages
        self.rows: dict[str, Row] = {}
        self._plain = not (form.tags or form.ignore or form.text_values)

    def take(self, values: Mapping[str, Any], unit: str = "", flag: str | None = None) -> None:
        """Add those of ``values`` that can be one."""
        if self._plain and not (self.rows or unit or flag):
            plain = _all_numbers(values)
            if plain:
                self.rows[self.device] = Row(self.device, 0, plain)
                return
        values = {name: value for name, value in values.items() if name not in self._form.ignore}
        if self._form.text_values:
            values = {name: number_of(value) for name, value in values.items()}
        for name, value in usable(self.device, values, self._number, self._damages):
            self.add(name, value, unit, flag)

    def add(self, name: str, value: Scalar, unit: str = "", flag: str | None = None) -> None:
        """Add one reading under the maker's ``name``."""
        tag = self._form.tags.get(name) or Tag(name)
        device, quantity = tag.device or self.device, tag.quantity
        row = self.rows.get(device)
        if row is None:
            row = self.rows[device] = Row(device, 0, {})
        if quantity in row.values:
            told = f"{shown(name, 80)} is {quantity} too, and the first one is taken"
            self.damage(told, Reason.BAD_VALUE)
            return
        row.values[quantity] = value
        unit = unit or tag.unit
        if unit:
            row.units = row.units or {}
            row.units[quantity] = unit
        if flag is not None:
            row.flags = row.flags or {}
            row.flags[quantity] = flag

    def damage(self, told: str, reason: str = Reason.PAYLOAD) -> None:
        """One reading cannot be used."""
        self._damages.append(Damage(self.device, told, 1, self._number, reason))

    def remark(self, told: str) -> None:
        """Something is to be told of readings that can be used."""
        self._damages.append(remark(told, self.device))

    def lose(self, device: str, told: str, reason: str) -> None:
        """The readings of ``device`` cannot be used."""
        lost = self.rows.pop(device, None)
        if lost is not None and lost.values:
            part = Damage(device, told, len(lost.values), self._number, reason)
            self._damages.append(part)


class ForeignReader:
    """Reads the messages of one gateway that speaks ``form``. ``zone``: its site's; ``saw``: as of
    ``Times``."""

    def __init__(
        self,
        form: Format,
        devices: Iterable[Device],
        zone: str,
        saw: Callable[[int, int], None] | None = None,
    ) -> None:
        self._format = form
        self._names = Names(form, devices)
        self._times = Times(form, zone, "", saw)
        # A form that takes anything must not take these for what they are not.
        self._reads_ours = any(one.rows == "readings" for one in form.forms)
        self._reads_nodes = any(one.device.strip("/") == "node" for one in form.forms)

    def read(self, payload: bytes, received: int) -> Read:
        """The rows of ``payload``. Raises ``UnreadableError``."""
        try:
            whole = _any.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
            raise UnreadableError(no_json(payload, fault)) from fault
        forms, found = self._found(whole)
        damages: list[Damage] = []
        readings: list[Row] = []
        numbers: list[int] = []
        for number, (key, raw) in enumerate(found):
            form = next((form for form in forms if _fits(form, raw)), None)
            if form is None:
                told = f"a row is not of the format {self._format.name}"
                damages.append(Damage("", told, 1, number))
                continue
            device, lacking = self._device(form, key, raw, whole)
            gathered = Gathered(self._format, device, number, damages)
            self._values(form, raw, gathered)
            gathered.lose("", lacking, Reason.UNKNOWN_DEVICE)
            self._time(form, raw, whole, received, gathered)
            readings.extend(gathered.rows.values())
            numbers.extend([number] * len(gathered.rows))
        return Message(readings), damages, numbers

    def _found(self, whole: Any) -> tuple[list[Form], list[tuple[Any, Any]]]:
        """The forms that can fit, and the rows (with their keys) that they find."""
        if (is_own(whole) and not self._reads_ours) or (is_neuron(whole) and not self._reads_nodes):
            raise UnreadableError(not_of(self._format.name, whole))
        for form in self._format.forms:
            found = _rows_at(whole, form.rows)
            if found and _fits(form, found[0][1]):
                return [one for one in self._format.forms if one.rows == form.rows], found
        raise UnreadableError(not_of(self._format.name, whole))

    def _device(self, form: Form, key: Any, raw: Any, whole: Any) -> tuple[str, str]:
        """Whose readings a row brings; empty, and what is told, where it cannot be known."""
        if not form.device:
            told = "the message does not say of which device, and its gateway has not just one"
            return self._names.device(MISSING), told
        named = key if form.device == "*" else _at(form.device, raw, whole)
        return self._names.device(None if named is MISSING else named), (
            f'there is no name of a device at "{form.device}"'
        )

    def _values(self, form: Form, raw: Any, gathered: Gathered) -> None:
        held = _at(form.values, raw, raw)
        if form.name:
            for entry in held if isinstance(held, list) else [held]:
                self._entry(form, entry, gathered)
            return
        if form.values == ".":
            used = {path.partition(".")[0] for path in (form.device, form.time, form.errors)}
            held = {name: value for name, value in held.items() if name not in used}
        gathered.take(held)
        errors = _at(form.errors, raw, raw) if form.errors else None
        if isinstance(errors, dict):
            for name, code in errors.items():
                if name not in self._format.ignore:
                    gathered.add(name, None, flag=self._format.flags.get(shown(code)))

    def _entry(self, form: Form, entry: Any, gathered: Gathered) -> None:
        name = entry.get(form.name) if isinstance(entry, dict) else None
        if not isinstance(name, str):
            gathered.damage(f'an entry has no "{form.name}"')
            return
        flags, flag = self._format.flags, None
        if form.error and entry.get(form.error):  # 0 and null: no error
            if name not in self._format.ignore:
                gathered.add(name, None, flag=flags.get(shown(entry[form.error])))
            return
        quality = entry.get(form.quality) if form.quality else None
        if quality is not None:
            flag = flags.get(shown(quality), shown(quality))
        unit = entry.get(form.unit) if form.unit else None
        gathered.take({name: entry.get(form.value)}, unit if isinstance(unit, str) else "", flag)

    def _time(self, form: Form, raw: Any, whole: Any, received: int, gathered: Gathered) -> None:
        """Give the gathered rows their time, or lose them."""
        try:
            time, told = received, ""
            if form.time:
                time, told = self._times.read(_at(form.time, raw, whole), received)
        except ValueError as fault:
            for device in list(gathered.rows):
                gathered.lose(device, str(fault), Reason.BAD_TIME)
            return
        if told:
            gathered.remark(told)
        for row in gathered.rows.values():
            row.time = time


def _all_numbers(values: Mapping[str, Any]) -> dict[str, Scalar] | None:
    """``values`` if each of them can be one as it is."""
    kinds = set(map(type, values.values())) - _NUMBERS
    if not kinds:
        return dict(values)
    if kinds != {int}:
        return None
    try:
        return {name: float(v) if type(v) is int else v for name, v in values.items()}
    except OverflowError:
        return None


def _rows_at(whole: Any, path: str) -> list[tuple[Any, Any]]:
    """(key, row) of each row; empty where there are none."""
    if path == "*":
        if not isinstance(whole, dict) or not all(
            isinstance(rows, list | dict) for rows in whole.values()
        ):
            return []
        return [
            (key, row)
            for key, rows in whole.items()
            for row in (rows if isinstance(rows, list) else [rows])
        ]
    found = whole if path == "." else _at(path, whole, whole)
    if found is MISSING:
        return []
    return [(MISSING, row) for row in (found if isinstance(found, list) else [found])]


def _fits(form: Form, raw: Any) -> bool:
    if not isinstance(raw, dict):
        return False
    held = _at(form.values, raw, raw)
    if form.name:
        return isinstance(held, list) or (form.values == "." and form.name in raw)
    return isinstance(held, dict)


def _at(path: str, row: Any, whole: Any) -> Any:
    """What lies at ``path``, or ``MISSING``."""
    found = row
    if path[:1] == "/":
        found, path = whole, path[1:]
    if path == ".":
        return found
    for key in path.split("."):
        if not isinstance(found, dict) or key not in found:
            return MISSING
        found = found[key]
    return found
