"""What to do with a row of a gateway's message, decided once per kind of row. Pure.

A plan depends on the registry and on the row's device, serial number, units and list of
quantities, never on its values or time; so the decoder keeps it and looks nothing up again.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from adapters.sources.payload.columns import Plan
from adapters.sources.payload.shape import Row, astray
from collector import units
from collector.model import Reason
from collector.profile import Profile
from collector.quantities import quantities
from collector.registry import GAUGE, Device, PointTable, Registry, ratio_of
from collector.units import Factor, UnitError

OLDEST: Final = 946_684_800_000  # 2000-01-01; before it a number was not milliseconds
NEWEST: Final = 253_402_300_800_000  # the year 10000; beyond it a number was not milliseconds


_HINTS: Final = 200
"""Of one gateway so many names are compared with the known ones. To find the nearest of hundreds
costs milliseconds, and wrong names are the sender's to invent."""
_UNKNOWN: Final = 20
"""Of one row so many unknown quantities are told by name."""


class Hints:
    """What was probably meant by names of one gateway, as long as it has not invented too many."""

    def __init__(self) -> None:
        self.left = _HINTS

    def meant(self, name: str, known: Sequence[str]) -> str:
        """A hint to be put behind what is told of ``name``; empty when there were many."""
        if self.left <= 0:
            return ""
        self.left -= 1
        return _meant(name, known)


class Planner:
    """Applies one registry revision to the shape of a row."""

    def __init__(
        self,
        registry: Registry,
        table: PointTable,
        profiles: Mapping[str, Profile],
    ) -> None:
        self._registry, self._table = registry, table
        self._brought: dict[str, list[str]] = {}
        for device in registry.devices.values():
            self._brought.setdefault(device.gateway, []).append(device.id)
        self._profiles = profiles

    def make(
        self, site: str, gateway: str, row: Row, hints: Hints, also: Sequence[str] = ()
    ) -> Plan:
        """The plan of ``row``; ``also``: names by which its gateway's format calls quantities."""
        device = self._registry.devices.get(f"{site}/{row.device}")
        if not row.values:
            return _refused(row, Reason.PAYLOAD, "the reading holds no values")
        if device is None:
            names = self._brought.get(gateway, ())
            told = f"no device {_quoted(row.device)} at site {site!r}"
            told += hints.meant(row.device, names)
            return _refused(row, Reason.UNKNOWN_DEVICE, told)
        if device.gateway != gateway:
            whose = f"gateway {device.gateway!r}" if device.gateway else "a connection of its own"
            told = f"{device.key} is read through {whose}, not through {gateway!r}"
            return _refused(row, Reason.NOT_YOURS, told)
        serial = None if row.serial is None else str(row.serial).strip()
        if serial == "" and device.serial:
            told = f"{device.key} has serial number {device.serial}, the message has an empty one"
            return _refused(row, Reason.WRONG_SERIAL, told)
        if serial is not None and device.serial and serial != device.serial:
            told = (
                f"{device.key} should have serial number {device.serial}, the message says "
                f"{serial:.40}: was the instrument replaced? Then enter the new one in the registry"
            )
            return _refused(row, Reason.WRONG_SERIAL, told)
        return self._usable(device, row, hints, also)

    def _usable(self, device: Device, row: Row, hints: Hints, also: Sequence[str]) -> Plan:
        """The plan of a row whose device is right: which of its quantities are."""
        profile = self._profiles.get(device.profile)
        brings = device.quantities or (tuple(profile.measured) if profile else ())
        ids: list[int] = []
        kept: list[int] = []
        factors: list[tuple[float, float]] = []
        refused: list[tuple[str, str, int]] = []
        given = row.units or {}
        unknown = 0
        for position, quantity in enumerate(row.values):
            point = self._table.ids.get(f"{device.site}/{device.place}/{quantity}/raw")
            if point is None or quantity not in brings:
                unknown += 1
                if unknown <= _UNKNOWN:
                    told = f"{device.key} brings no {_quoted(quantity)}"
                    told += hints.meant(quantity, (*brings, *also))
                    refused.append((Reason.UNKNOWN_QUANTITY, told, 1))
                continue
            scale, offset = 1.0, 0.0
            if quantity in given:
                try:
                    scale, offset = _factor(quantity, given[quantity], hints)
                except UnitError as fault:
                    told = f"{device.key}, {quantity}: {fault}"
                    refused.append((Reason.UNKNOWN_UNIT, told, 1))
                    continue
            if self._table.kind[point] == GAUGE:
                ratio = ratio_of(device, quantity, profile)
                scale, offset = scale * ratio, offset * ratio
            ids.append(point)
            kept.append(position)
            factors.append((scale, offset))
        if unknown > _UNKNOWN:
            told = f"{device.key} brings none of {unknown - _UNKNOWN} further quantities"
            refused.append((Reason.UNKNOWN_QUANTITY, told, unknown - _UNKNOWN))
        columns = np.array(factors, np.float64).reshape(-1, 2)
        plain = all(pair == (1.0, 0.0) for pair in factors)
        return Plan(
            np.array(ids, np.int32).tobytes(),
            len(ids),
            max(device.start, OLDEST),
            min(device.end, NEWEST),
            None if len(kept) == len(row.values) else tuple(kept),
            None if plain else (columns[:, 0].copy(), columns[:, 1].copy()),
            device.no_value,
            tuple(refused),
            not plain or bool(device.no_value),
            astray(given, row.values),
            device.id,
        )


def _quoted(name: str) -> str:
    return repr(name[:80])


def _factor(quantity: str, unit: str, hints: Hints) -> Factor:
    """Into the quantity's own unit; the nearest of an unknown one is looked for within bounds."""
    if not units.known(unit):
        if hints.left <= 0:
            raise UnitError(f'unknown unit "{unit[:40]}"')
        hints.left -= 1
    return quantities()[quantity].factor(unit)


def _refused(row: Row, reason: str, detail: str) -> Plan:
    count = len(row.values)
    return Plan(b"", 0, 0, 0, refused=((reason, detail, count),))


def _meant(name: str, known: Sequence[str]) -> str:
    """A hint at what was probably meant."""
    close = difflib.get_close_matches(name[:80], known, n=1)
    if close:
        return f"; is {close[0]!r} meant?"
    return f" (known: {', '.join(sorted(known)[:12])})" if known else ""
