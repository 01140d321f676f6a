"""The registry: all sites, lines, places, devices and gateways, as values.

A registry is immutable; a change is a new one (``registry_text`` reads one from its files).
``PointTable`` is the registry seen from a reading: arrays by stable point id, for vectorised
work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from collector.model import Ids, Mask, Values
from collector.profile import Profile
from collector.quantities import KINDS, quantities
from collector.states import ALWAYS, IN_SERVICE, Spans, States, parts, spans_of

FOREVER = 2**62
"""End of a device that is still there, UTC milliseconds."""


@dataclass(frozen=True, slots=True)
class Site:
    """An enterprise or public body. ``permitted_t`` maps a pollutant to tonnes a year."""

    id: str
    name: str
    name_zh: str
    county: str
    industry: str
    permit: str = ""
    permitted_t: Mapping[str, float] = field(default_factory=dict)
    zone: str = "Asia/Shanghai"


@dataclass(frozen=True, slots=True)
class Line:
    """A production line, or (``treatment``) a unit that treats what a line emits."""

    site: str
    id: str
    name: str
    name_zh: str
    treatment: bool = False
    serves: str = ""
    """Of a treatment unit: the line whose emissions it treats."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is measured: what the law, the bill and the permit know."""

    site: str
    id: str
    name: str
    name_zh: str
    outlet: bool = False
    line: str = ""
    permit_no: str = ""
    states: States = ((0, IN_SERVICE),)
    """See :mod:`collector.states`: what counts, and what is only kept."""

    @property
    def key(self) -> str:
        return f"{self.site}/{self.id}"

    def state(self, at: int) -> str:
        """Its state at ``at`` (UTC ms)."""
        return [word for since, word in self.states if since <= max(at, 0)][-1]

    @property
    def in_service(self) -> Spans:
        """When its readings count."""
        return spans_of(self.states)


@dataclass(frozen=True, slots=True)
class Device:
    """The instrument that serves a place from one date to another (UTC ms, end exclusive).

    ``ratio``: voltage ratio x current ratio; multiplies power and energy of a meter that shows
    secondary values. ``max_rate``: the most its counters can advance in an hour, in canonical
    units after the ratio (0: unknown). ``no_value``: numbers by which it says "no value".
    ``interval``: seconds between readings. Exactly one of ``connection`` (polled) and
    ``gateway`` (pushed) is set.
    """

    site: str
    id: str
    place: str
    profile: str
    serial: str = ""
    start: int = 0
    end: int = FOREVER
    ratio: float = 1.0
    interval: float = 60.0
    max_rate: float = 0.0
    no_value: tuple[float, ...] = ()
    connection: str = ""
    gateway: str = ""
    quantities: tuple[str, ...] = ()
    """Quantities it brings; from its profile when empty."""
    voltage_ratio: float = 1.0
    current_ratio: float = 1.0
    """The two that make ``ratio``: voltages take the one, currents the other (``ratio_of``)."""
    file: str = ""
    line: int = 0

    @property
    def key(self) -> str:
        return f"{self.site}/{self.id}"


@dataclass(frozen=True, slots=True)
class Gateway:
    """A box at a site that pushes readings of several devices. Ids are unique in the fleet.

    ``format``: how it writes them, ``meterwatch`` (docs/gateway-protocol.md) or the name of another
    maker's format. ``file``, ``line``: where it is entered.
    """

    site: str
    id: str
    name: str = ""
    format: str = "meterwatch"
    file: str = field(default="", compare=False)
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Service:
    """One device's service at one point, ``start <= time < end`` (UTC ms).

    Counters: ``resolution`` is the canonical units of one register step (0.01 for a meter that
    counts 0.01 kWh; 0: not integral); ``modulus`` the register steps at which it rolls over
    (0: never); ``ratio`` and ``max_rate`` as in :class:`Device`. ``first`` and ``last``: what the
    register showed at ``start`` and at the end, before the ratio, where somebody wrote it down.
    """

    device: str
    start: int
    end: int
    resolution: float = 0.0
    modulus: float = 0.0
    ratio: float = 1.0
    max_rate: float = 0.0
    interval: float = 60.0
    first: float | None = None
    last: float | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """site/place/quantity/statistic. ``formerly`` names keep the stable id across a rename."""

    site: str
    place: str
    quantity: str
    statistic: str = "raw"
    formerly: tuple[str, ...] = ()
    services: tuple[Service, ...] = ()
    in_service: Spans = ALWAYS
    """Of its place: outside of these, readings are kept and do not count."""

    @property
    def name(self) -> str:
        return f"{self.site}/{self.place}/{self.quantity}/{self.statistic}"

    def counted(self) -> tuple[Service, ...]:
        """``services`` as far as its place is in service: what goes into books."""
        if self.in_service == ALWAYS:
            return self.services
        return tuple(
            replace(one, start=low, end=high)
            for one in self.services
            for low, high in parts(self.in_service, one.start, one.end)
        )


@dataclass(frozen=True, slots=True)
class Registry:
    """One revision of everything. Mappings are by key: ``site``, ``site/place``,
    ``site/device``, gateway id."""

    sites: Mapping[str, Site]
    lines: Mapping[str, Line]
    places: Mapping[str, Place]
    devices: Mapping[str, Device]
    gateways: Mapping[str, Gateway]
    points: Sequence[Point]

    def unserved(self, at: int) -> list[Place]:
        """Permitted outlets and metering places in service without any device at ``at`` (UTC
        ms)."""
        served = {
            f"{device.site}/{device.place}"
            for device in self.devices.values()
            if device.start <= at < device.end
        }
        return [
            place
            for place in self.places.values()
            if place.state(at) == IN_SERVICE and place.key not in served
        ]


COUNTER, GAUGE, STATE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class PointTable:
    """The points of one registry revision as arrays over stable ids ``0 .. len-1``.

    Ids that this revision does not know have ``known`` False and the range of all finite
    numbers. ``kind`` is COUNTER, GAUGE or STATE; ``low high`` the physical range in canonical
    units (counters: of the register).
    """

    known: Mask
    kind: npt.NDArray[np.uint8]
    low: Values
    high: Values
    points: Mapping[int, Point]
    ids: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.known)


Identify = Callable[[Sequence[str]], Ids]
"""Stable ids for names, in their order (``Journal.point_ids``)."""


def table(registry: Registry, identify: Identify) -> PointTable:
    """The registry seen from a reading. ``identify`` gives the stable ids; apply
    :func:`renames` to the dictionary first, so that a renamed point keeps its own."""
    points = list(registry.points)
    ids = identify([point.name for point in points]) if points else np.empty(0, np.int32)
    size = int(ids.max()) + 1 if len(ids) else 0
    known = np.zeros(size, np.bool_)
    kind = np.full(size, GAUGE, np.uint8)
    high = np.full(size, np.finfo(np.float64).max)
    low = -high
    rows = quantities()
    if points:
        of = [rows[point.quantity] for point in points]
        known[ids] = True
        kind[ids] = [KINDS.index(row.kind) for row in of]
        low[ids] = [row.low for row in of]
        high[ids] = [row.high for row in of]
    by_id = dict(zip(ids.tolist(), points, strict=True))
    return PointTable(known, kind, low, high, by_id, {p.name: i for i, p in by_id.items()})


def ratio_of(device: Device, quantity: str, profile: Profile | None) -> float:
    """By what the instrument transformers multiply what ``device`` shows of ``quantity``: the
    one rule for polled and pushed devices, for gauges at intake and for counters in the books.

    1 where its profile says that it shows primary values, and of what no transformer scales.
    Of a quantity that the profile does not know (``push``), the table of quantities decides.
    """
    measured = profile.measured.get(quantity) if profile is not None else None
    row = quantities().get(quantity)
    if row is None or (measured is not None and not measured.ratio):
        return 1.0
    ratios = {
        "both": device.ratio,
        "voltage": device.voltage_ratio,
        "current": device.current_ratio,
    }
    return ratios.get(row.scales, 1.0)


def renames(registry: Registry) -> list[tuple[str, str]]:
    """(former name, name) of every point that had another, in order of names."""
    return [(old, point.name) for point in registry.points for old in point.formerly]
