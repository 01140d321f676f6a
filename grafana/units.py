"""Canonical units (and a few of the dashboards' own) as Grafana names them. Pure data.

Grafana scales some of its units by itself (kWh to MWh); where it knows none, or scales to what
nobody says (kg to Mg), ``suffix:`` only writes the unit behind the number.
"""

from __future__ import annotations

from typing import Final

_GRAFANA: Final = {
    "kWh": "kwatth",
    "kW": "kwatt",
    "kvar": "kvoltampreact",
    "kVA": "kvoltamp",
    "V": "volt",
    "A": "amp",
    "mA": "mamp",
    "Hz": "hertz",
    "%": "percent",
    "1": "none",
    "degC": "celsius",
    "mg/m3": "conmgm3",
    "kPa": "pressurekpa",
    "m/s": "velocityms",
    "ppb": "conppb",
    "t": "masst",
    "deg": "degree",
    "h": "h",
    "m": "lengthm",
    # not of the quantities table
    "share": "percentunit",
    "count": "short",
    "minutes": "m",
    "seconds": "s",
    "milliseconds": "ms",
    "bytes": "bytes",
    "age": "dateTimeFromNow",
    "text": "string",
}
_WRITTEN: Final = {"m3": "m³", "m3/h": "m³/h", "uS/cm": "µS/cm", "per second": "/s"}


def grafana_unit(unit: str) -> str:
    """Grafana's id for ``unit``."""
    return _GRAFANA.get(unit) or f"suffix:{_WRITTEN.get(unit, unit)}"


def written(unit: str) -> str:
    """``unit`` as people write it; nothing for a number without one."""
    return "" if unit == "1" else _WRITTEN.get(unit, unit.replace("degC", "°C").replace("m3", "m³"))
