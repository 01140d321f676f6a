"""Who reports through whom: devices, the gateway or bus of each, and what they measure. Pure.

    source (broker, bus) > gateway > device > point

Built from a registry once per revision; ``rules.silence`` judges by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from collector.connections import origin_of
from collector.model import Ids
from collector.registry import Device, Registry
from collector.states import Spans, parts
from rules.kinds.absence import SAYING, TARGETS, Silence
from rules.life import NEVER
from rules.ruleset import Rule

OWN: Final = ("gateway:", "device:")
POLLED: Final = ("modbus:", "dlt645:")
CHANNEL: Final = "notifier:"
DATABASE: Final = "projection:"
SPEAKERS: Final = {"channel": CHANNEL, "database": DATABASE}
"""What says of itself that it fails, by the target of its rule; nobody reports through it."""


@dataclass(slots=True)
class Member:
    """A device or gateway as the tree sees it. ``points``: rows into the reading arrays."""

    subject: str
    site: str
    place: str
    parent: str
    points: Ids
    start: int
    end: int
    interval: int
    members: int = 0


class Reporting:
    """The tree of one registry revision; ``ids`` gives the stable id of every point's name."""

    def __init__(
        self, registry: Registry | None = None, ids: Mapping[str, int] | None = None
    ) -> None:
        self._registry = registry
        self._ids = ids or {}
        self.devices: list[Member] = []
        self.gateways: list[Member] = []
        self.buses: dict[str, Member] = {}
        self._by_subject: dict[str, Member] = {}
        self._under: dict[str, list[Member]] = {}
        if registry is not None:
            self._build(registry)

    def _build(self, registry: Registry) -> None:
        points: dict[str, list[int]] = {}
        for point in registry.points:
            for device in {service.device for service in point.services}:
                points.setdefault(device, []).append(self._ids[point.name])
        self.devices = [_device(one, points.get(one.key, [])) for one in registry.devices.values()]
        self._under = {}
        for one in self.devices:
            self._under.setdefault(one.parent, []).append(one)
        self.gateways = [
            self._group(f"gateway:{known.id}", known.site) for known in registry.gateways.values()
        ]
        buses = dict.fromkeys(one.parent for one in self.devices if is_source(one.parent))
        self.buses = {bus: self._group(bus, "") for bus in buses if bus}
        everybody = (*self.devices, *self.gateways, *self.buses.values())
        self._by_subject = {one.subject: one for one in everybody}

    def _group(self, subject: str, site: str) -> Member:
        """A gateway or bus: all that report through it. It is missed while one of the places
        behind it is in service."""
        under = self._under.get(subject, [])
        points = [one.points for one in under]
        missed = [part for one in under for part in self._missed(one)]
        return Member(
            subject=subject,
            site=site or (under[0].site if under else ""),
            place="",
            parent="",
            points=np.concatenate([np.empty(0, np.int32), *points]),
            start=min((one.start for one in missed), default=0),
            end=max((one.end for one in missed), default=NEVER),
            interval=min((one.interval for one in under), default=0),
            members=len(under),
        )

    def watch(self, rule: Rule) -> list[Member]:
        """Whom an absence rule watches; sources are not listed, they tell of themselves."""
        registry, ids = self._registry, self._ids
        if registry is None:
            return []
        target, select = silence_of(rule).target, rule.select
        if target == "device":
            return [
                part
                for one in self.devices
                if select.takes_place(one.site, one.place.partition("/")[2], registry)
                for part in self._missed(one)
            ]
        if target == "gateway":
            return [one for one in self.gateways if select.takes_place(one.site, "", registry)]
        if target in SAYING:
            return []
        members: list[Member] = []
        for point in registry.points:
            place = f"{point.site}/{point.place}"
            if not select.takes(point, registry):
                continue
            for service in point.counted():
                members.append(  # noqa: PERF401 a nested comprehension hides the two levels
                    Member(
                        subject=point.name,
                        site=point.site,
                        place=place,
                        parent=f"device:{service.device}",
                        points=np.array([ids[point.name]], np.int32),
                        start=service.start,
                        end=service.end,
                        interval=round(service.interval * 1000),
                    )
                )
        return members

    def _missed(self, one: Member) -> list[Member]:
        """``one`` as far as its place is in service: else nobody misses it."""
        spans = in_service(one.place, self._registry)
        return [replace(one, start=low, end=high) for low, high in parts(spans, one.start, one.end)]

    def members(self, subject: str) -> int:
        """How many devices an origin stands for."""
        one = self._by_subject.get(subject)
        if one is not None:
            return one.members
        if is_source(subject) and is_push(subject):
            return sum(gateway.members for gateway in self.gateways)
        return 0

    def whereabouts(self, subject: str) -> tuple[str, str]:
        """Site and place (``site/place``) of an origin, "" where it has none."""
        one = self._by_subject.get(subject)
        return (one.site, one.place) if one is not None else ("", "")


def is_source(origin: str) -> bool:
    return bool(origin) and not origin.startswith(OWN)


def speaks_as(origin: str) -> str:
    """The target of the rules about an origin that says itself that it is down."""
    for target, prefix in SPEAKERS.items():
        if origin.startswith(prefix):
            return target
    return "source"


def is_push(source: str) -> bool:
    return not source.startswith((*POLLED, *SPEAKERS.values()))


def in_service(place: str, registry: Registry | None) -> Spans:
    """When what ``place`` (``site/place``) brings counts."""
    found = registry.places.get(place) if registry is not None else None
    return found.in_service if found is not None else ()


def _device(device: Device, points: Sequence[int]) -> Member:
    return Member(
        subject=f"device:{device.key}",
        site=device.site,
        place=f"{device.site}/{device.place}",
        parent=f"gateway:{device.gateway}" if device.gateway else origin_of(device.connection),
        points=np.array(points, np.int32),
        start=device.start,
        end=device.end,
        interval=round(device.interval * 1000),
    )


def silence_of(rule: Rule) -> Silence:
    if not isinstance(rule.settings, Silence) or rule.settings.target not in TARGETS:
        raise TypeError(f"rule {rule.id} of kind {rule.kind} has no absence settings")
    return rule.settings
