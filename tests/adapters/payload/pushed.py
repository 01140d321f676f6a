"""A small registry of pushed devices, made by hand, for tests of what gateways send."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from adapters.sources.payload import PayloadDecoder
from collector.model import Ids
from collector.profile import Measured, Profile
from collector.quantities import KINDS, quantities
from collector.registry import Device, Gateway, Place, Point, PointTable, Registry, Site

T0 = 1_795_305_600_000  # 2026-11-22T08:00:00+08:00
REPLIES = "meterwatch/v1/gw-print/replies"
"""Where the gateway of ``topic()`` is told what became of its messages."""
PUSHED = ("energy.active.import", "power.active", "voltage.l1")
AIR = ("voc.nmhc.concentration", "fluegas.temperature")
METER = Profile(
    "test-meter",
    "Test",
    "M1",
    "Test meter",
    "试验电表",
    "none",
    (),
    {
        "energy.active.import": Measured(0.01, 1e8, ratio=True),
        "power.active": Measured(ratio=True),
        "voltage.l1": Measured(),
    },
)
DEVICES = (
    Device(
        "print", "main-meter", "main", "push", "21030001", gateway="gw-print", quantities=PUSHED
    ),
    Device("print", "stack", "outlet", "push", no_value=(-200.0,), gateway="gw-print",
           quantities=AIR),
    Device("print", "behind", "sub", "test-meter", ratio=40.0, gateway="gw-print"),
    Device("print", "old", "main", "push", end=T0, gateway="gw-print", quantities=PUSHED),
    Device("print", "young", "new", "push", start=T0, gateway="gw-print", quantities=PUSHED),
    Device("print", "polled", "polled", "push", connection="modbus+tcp://127.0.0.1:502",
           quantities=PUSHED),
    Device("mill", "main-meter", "main", "push", gateway="gw-mill", quantities=PUSHED),
)  # fmt: skip


class Origins:
    """Stable ids of origins, as a journal gives them."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def ids(self, names: Sequence[str]) -> Ids:
        self.names += [name for name in names if name not in self.names]
        return np.array([self.names.index(name) for name in names], np.int32)


class Fleet:
    """Registry, point table and decoder over ``devices``."""

    def __init__(
        self,
        devices: Sequence[Device] = DEVICES,
        *,
        source: str = "mqtt:main",
        late_ms: int = 600_000,
        retention_days: int = 400,
    ) -> None:
        sites = {d.site: Site(d.site, d.site, d.site, "620502", "C2319") for d in devices}
        places = {f"{d.site}/{d.place}": Place(d.site, d.place, d.place, d.place) for d in devices}
        points: dict[str, Point] = {}
        for device in devices:
            for quantity in device.quantities or tuple(METER.measured):
                point = Point(device.site, device.place, quantity)
                points.setdefault(point.name, point)
        self.registry = Registry(
            sites,
            {},
            places,
            {d.key: d for d in devices},
            {d.gateway: Gateway(d.site, d.gateway) for d in devices if d.gateway},
            list(points.values()),
        )
        rows = [quantities()[point.quantity] for point in points.values()]
        self.table = PointTable(
            np.ones(len(points), np.bool_),
            np.array([KINDS.index(row.kind) for row in rows], np.uint8),
            np.array([row.low for row in rows]),
            np.array([row.high for row in rows]),
            dict(enumerate(points.values())),
            {name: number for number, name in enumerate(points)},
        )
        self.origins = Origins()
        self.decoder = PayloadDecoder(
            self.registry,
            self.table,
            self.origins.ids,
            source=source,
            late_after_ms=late_ms,
            retention_days=retention_days,
            profiles={METER.name: METER},
        )

    def point(self, name: str) -> int:
        """Id of ``site/place/quantity``."""
        return self.table.ids[f"{name}/raw"]

    def origin(self, name: str) -> int:
        return int(self.origins.ids([name])[0])


def topic(gateway: str = "gw-print") -> str:
    return f"meterwatch/v1/{gateway}/readings"


def row(device: str = "main-meter", time: int | str = T0, **more: Any) -> dict[str, Any]:
    """One reading of a message; ``values`` default to all that the main meter brings."""
    values = dict(zip(PUSHED, (12345.67, 81.5, 230.1), strict=True))
    return {"device": device, "time": time, "values": values} | more


def message(*rows: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"readings": list(rows)} | more).encode()


BODY = message(row())
"""One message: what a meter showed at ``T0``."""
