"""An acceptance sheet as a probe of a sound motor fills it in, for tests of commissioning."""

from __future__ import annotations

from collector.quantities import quantities
from meterwatch.commissioning.findings import Installed
from meterwatch.commissioning.plausible import Value
from meterwatch.commissioning.sheet import Sheet, compare
from meterwatch.commissioning.wiring import diagnose
from tests.meterwatch.three_phases import Load, Site, shown

MOTOR = Site((Load(20, 30), Load(21, 32), Load(19.5, 29)))


def value(quantity: str, number: float) -> Value:
    return Value(quantity, number, quantities()[quantity].unit, 0)


VALUES = (value("energy.active.import", 1234.5), value("power.active", 2.5))


def sheet(at: Site = MOTOR, **more: object) -> Sheet:
    values = tuple(value(name, number) for name, number in shown(at).items())
    found: dict[str, object] = {
        "url": "modbus+tcp://192.0.2.10:502?unit=3",
        "when": "2026-11-22 10:00:00 +0800",
        "profile": "chint-dtsu666",
        "label": "CHINT DTSU666 three-phase meter",
        "label_zh": "正泰 DTSU666 三相电能表",
        "fits": True,
        "values": (*VALUES[:1], *values),
        "ratios": {},
        "compared": (compare("kWh", "1234.5", VALUES, {}),),
        "wiring": diagnose([shown(at)], Installed(feeds_in=False)),
        "watched": 60.0,
        "samples": 31,
        "serial": "21030001",
        "place": "press-1",
    }
    return Sheet(**(found | more))  # type: ignore[arg-type]
