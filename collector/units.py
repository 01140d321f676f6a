"""Units by factor: ``factor("MWh", "kWh") == (1000.0, 0.0)``, resolved when files are loaded.

A closed table of the units that meters, monitors and gateways of this field name; no parsing of
unit expressions, no dependency on the edge box. Factors are exact fractions until the last step,
so steps of 0.01 kWh stay steps of 0.01 kWh.

What is never converted, and says why: a volume fraction into a concentration (needs the molar
mass and the standard state), an energy into coal equivalent (needs a dated factor), anything
between dimensions. ``Nm3`` counts as ``m3``: the state at which a volume is told (0 or 20 degC,
wet or dry) belongs to the quantity, whose label names it, not to the unit.
"""

from __future__ import annotations

import difflib
from fractions import Fraction
from functools import lru_cache
from typing import Final, NamedTuple


class UnitError(ValueError):
    """This unit is not known, or cannot become that one; the text says what to do."""


class Factor(NamedTuple):
    """``canonical = value * scale + offset``."""

    scale: float
    offset: float


def _pairs(text: str) -> dict[str, str]:
    return dict(pair.split("=") for pair in text.split())


# dimension -> unit=scale to the dimension's base
_SCALES: Final = {
    # the international table calorie, by which 7000 kcal are 29 307.6 kJ (GB/T 2589)
    "energy": """J=1 kJ=1e3 MJ=1e6 GJ=1e9 TJ=1e12 Wh=3600 kWh=3600e3 MWh=3600e6 GWh=3600e9
        kcal=4186.8 Mcal=4186.8e3 Gcal=4186.8e6""",
    "power": "W=1 kW=1e3 MW=1e6 GW=1e9 kJ/h=10/36 MJ/h=10000/36 GJ/h=10000000/36 kcal/h=1.163",
    "reactive power": "var=1 kvar=1e3 Mvar=1e6",
    "reactive energy": "varh=1 kvarh=1e3 Mvarh=1e6",
    "apparent power": "VA=1 kVA=1e3 MVA=1e6",
    "apparent energy": "VAh=1 kVAh=1e3 MVAh=1e6",
    "voltage": "mV=1e-3 V=1 kV=1e3",
    "current": "mA=1e-3 A=1 kA=1e3",
    "frequency": "Hz=1 kHz=1e3",
    "rotation": "rpm=1 r/min=1",
    "volume": "mL=1e-6 L=1e-3 m3=1 Nm3=1",
    "flow": """L/h=1/3600000 L/min=1/60000 L/s=1/1000 m3/d=1/86400 m3/h=1/3600 m3/min=1/60 m3/s=1
        Nm3/h=1/3600 Nm3/min=1/60 Nm3/s=1""",
    "mass": "mg=1e-6 g=1e-3 kg=1 t=1e3",
    "mass flow": """mg/s=1e-6 g/s=1e-3 kg/s=1 kg/min=1/60 g/h=1/3600000 kg/h=1/3600 t/h=10/36
        t/d=1000/86400""",
    "concentration": """ng/m3=1e-12 ug/m3=1e-9 mg/m3=1e-6 g/m3=1e-3 kg/m3=1 mg/Nm3=1e-6
        ng/L=1e-9 ug/L=1e-6 mg/L=1e-3 g/L=1""",
    "pressure": """Pa=1 hPa=100 kPa=1e3 MPa=1e6 mbar=100 bar=1e5 kgf/cm2=98066.5 mmH2O=9.80665
        mmHg=133.322""",
    "ratio": "1=1 %=1e-2",
    "volume fraction": "ppm=1e-6 ppb=1e-9",
    "acidity": "pH=1",
    "length": "mm=1e-3 cm=1e-2 m=1",
    "speed": "m/s=1 km/h=10/36",
    "angle": "deg=1",
    "conductivity": "uS/cm=1 mS/cm=1e3",
    "turbidity": "NTU=1",
    "time": "s=1 min=60 h=3600 d=86400",
    "temperature": "K=1 degC=1 degF=5/9",
}
# added after scaling, to reach the base
_OFFSETS: Final = {"degC": Fraction("273.15"), "degF": Fraction("459.67") * Fraction(5, 9)}

_DIMENSION: Final = {unit: name for name, units in _SCALES.items() for unit in _pairs(units)}
_SCALE: Final = {
    unit: Fraction(scale) for units in _SCALES.values() for unit, scale in _pairs(units).items()
}

# How people and instruments also write them. Case is not folded: MW is not mW.
_SPELLINGS: Final = str.maketrans(
    {"³": "3", "²": "2", "₃": "3", "₂": "2", "µ": "u", "μ": "u", "％": "%", "·": None, " ": None}
)
_ALSO: Final = {"": "1"} | _pairs(
    """℃=degC °C=degC C=degC ℉=degF °F=degF °=deg kwh=kWh KWh=kWh KWH=kWh KW=kW kw=kW
    kVar=kvar kVAr=kvar KVar=kvar kVarh=kvarh kVArh=kvarh l=L l/s=L/s l/h=L/h l/min=L/min m^3=m3
    m3/hr=m3/h Nm3/hr=Nm3/h ton=t 度=kWh 千瓦时=kWh 立方米=m3 吨=t 千克=kg 升=L 无量纲=1"""
)
_REFUSED: Final = {
    "tce": "coal equivalent is computed from readings with a dated factor, never read",
    "kgce": "coal equivalent is computed from readings with a dated factor, never read",
}


_LONGEST: Final = 40
"""Characters of a unit as written. Gateways send them: what is longer is neither looked at nor
kept."""


def known(unit: str) -> bool:
    """Whether ``unit`` is one that :func:`factor` takes."""
    return _named(unit) in _DIMENSION


def convertible(unit: str) -> tuple[str, ...]:
    """The units whose values can become ``unit``, itself among them, as the table spells them."""
    dimension = _DIMENSION[_resolve(unit)]
    return tuple(one for one, its in _DIMENSION.items() if its == dimension)


@lru_cache(maxsize=1024)
def factor(from_unit: str, to_unit: str) -> Factor:
    """Scale and offset that turn a value in ``from_unit`` into one in ``to_unit``.

    Raises :class:`UnitError` for a unit that is not in the table (naming near ones and all of
    the target's dimension), and for
    two units of which one cannot become the other (naming why).
    """
    target = _resolve(to_unit)
    source = _resolve(from_unit, _DIMENSION[target])
    if _DIMENSION[source] != _DIMENSION[target]:
        raise UnitError(_why_not(source, target))
    scale = _SCALE[source] / _SCALE[target]
    offset = (_OFFSETS.get(source, Fraction(0)) - _OFFSETS.get(target, Fraction(0))) / _SCALE[
        target
    ]
    return Factor(float(scale), float(offset))


def _named(unit: str) -> str:
    if len(unit) > _LONGEST:
        return unit[:_LONGEST] + "..."
    plain = unit.translate(_SPELLINGS)
    return _ALSO.get(plain, plain)


def _resolve(unit: str, dimension: str = "") -> str:
    name = _named(unit)
    if name in _DIMENSION:
        return name
    if name in _REFUSED:
        raise UnitError(f'"{unit}" is not taken: {_REFUSED[name]}')
    folded = {known_unit.casefold(): known_unit for known_unit in _DIMENSION}
    close = difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.5)
    hint = ", ".join(f'"{folded[match]}"' for match in close)
    told = f'unknown unit "{unit[:_LONGEST]}"' + (f"; did you mean {hint}?" if hint else "")
    if dimension:
        told += f" (known: {', '.join(_pairs(_SCALES[dimension]))})"
    raise UnitError(told)


def _why_not(source: str, target: str) -> str:
    dimensions = {_DIMENSION[source], _DIMENSION[target]}
    text = f'"{source}" ({_DIMENSION[source]}) cannot become "{target}" ({_DIMENSION[target]})'
    if dimensions == {"volume fraction", "concentration"}:
        text += (
            ": that needs the molar mass and the standard state; "
            "set the instrument or the gateway to report mg/m3"
        )
    return text
