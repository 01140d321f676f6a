"""A small fleet as values, and an engine over it, for tests of rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from collector.model import Batch, Ids, Revision, concat
from collector.registry import Device, Gateway, Place, Point, Registry, Service, Site
from rules.engine import Engine
from rules.ruleset import RuleSet, parse_rules

MINUTE = 60_000
T0 = 1_800_000_000_000
"""Minute 0 of every case, UTC ms."""


class Names:
    """A dictionary of stable ids, as a journal keeps it."""

    def __init__(self, *names: str) -> None:
        self.names = list(names)

    def __call__(self, names: Sequence[str]) -> Ids:
        for name in names:
            if name not in self.names:
                self.names.append(name)
        return np.array([self.names.index(name) for name in names], np.int32)


def device(
    name: str,
    *,
    gateway: str = "",
    connection: str = "",
    interval: float = 60.0,
    place: str = "",
    start: int = 0,
    end: int = 2**62,
) -> Device:
    """A device of site ``s`` at the place of its own name, polled on one bus by default."""
    if not gateway and not connection:
        connection = "modbus+tcp://10.0.0.5:502?unit=1"
    return Device(
        site="s",
        id=name,
        place=place or name,
        profile="push",
        start=start,
        end=end,
        interval=interval,
        connection=connection,
        gateway=gateway,
    )


def registry(devices: Mapping[Device, Sequence[str]], *, outlet: bool = True) -> Registry:
    """Site ``s`` (industry C2319) with these devices, and what each measures."""
    places: dict[str, Place] = {}
    points: dict[str, Point] = {}
    for one, quantities in devices.items():
        places[f"s/{one.place}"] = Place(
            "s", one.place, f"Place {one.place}", f"{one.place} 号", outlet=outlet
        )
        for quantity in quantities:
            service = Service(one.key, one.start, one.end, interval=one.interval)
            name = f"s/{one.place}/{quantity}/raw"
            earlier = points[name].services if name in points else ()
            points[name] = Point("s", one.place, quantity, services=(*earlier, service))
    gateways = {one.gateway: Gateway("s", one.gateway) for one in devices if one.gateway}
    return Registry(
        sites={"s": Site("s", "Site", "单位", "620502", "C2319")},
        lines={},
        places=places,
        devices={one.key: one for one in devices},
        gateways=gateways,
        points=list(points.values()),
    )


class Fleet:
    """An engine that was given a registry and rules, and the dictionaries it uses.

    Files of a registry revision are a key into ``registries``; those of rules are TOML.
    """

    def __init__(
        self,
        first: Registry,
        rules: str | RuleSet,
        *,
        late_after: int = 10 * MINUTE,
        pause: int = 10 * MINUTE,
    ):
        self.points = Names()
        self.origins = Names("mqtt:main", "gateway:g", "modbus:10.0.0.5:502")
        self.registries: dict[str, Registry] = {"first": first}
        self.rulesets: dict[str, RuleSet] = {}
        self.late_after = late_after
        self.pause = pause
        self.revisions = [self.registry_revision("first"), self.rules_revision(rules)]

    def registry_revision(self, name: str) -> Revision:
        return Revision(T0, "registry", name, {"key": name})

    def rules_revision(self, rules: str | RuleSet) -> Revision:
        if isinstance(rules, str):
            return Revision(T0, "rules", "text", {"rules.toml": rules})
        self.rulesets["given"] = rules
        return Revision(T0, "rules", "given", {"given": ""})

    def engine(self, *, revised: bool = True) -> Engine:
        made = Engine(
            lambda files: self.registries[files["key"]],
            lambda files, known: (
                self.rulesets["given"] if "given" in files else parse_rules(files, known)
            ),
            self.points,
            lambda: self.origins.names,
            late_after=self.late_after,
            pause=self.pause,
        )
        if revised:
            for revision in self.revisions:
                made.apply(0, revision)
        return made

    def point(self, name: str) -> int:
        return int(self.points([f"s/{name}/raw"])[0])


Reading = tuple[int, int, float, int, int]
"""point, time, value, quality, received"""


def batch(readings: Sequence[Reading], origin: int = 0) -> Batch:
    """Readings as one batch, a segment for each."""
    return concat(
        [
            Batch.of([point], [time], [value], [quality], origin=origin, received=received)
            for point, time, value, quality, received in readings
        ]
    )
