"""The table of quantities is complete and consistent; units convert by exact factors."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector import units
from collector.quantities import KINDS, by_hj212, quantities
from collector.units import UnitError, factor
from tests.collector.quantities_page import PAGE, page

STANDARD = Path(__file__).resolve().parents[2].parent / "shared/domain/hj212-2017.txt"
ENERGY = ["J", "kJ", "MJ", "GJ", "TJ", "Wh", "kWh", "MWh", "GWh", "kcal", "Mcal", "Gcal"]


def test_the_field_is_covered() -> None:
    rows = quantities()
    assert len(rows) >= 90
    groups = {row.group for row in rows.values()}
    assert groups >= {
        *("electricity", "gas", "heat", "water", "wastewater", "fuel", "air"),
        *("voc", "fluegas", "process", "treatment"),
    }
    for name in (
        *("energy.active.import", "energy.reactive.import", "power.active", "voltage.l1"),
        *("gas.volume", "heat.energy", "steam.mass", "water.volume", "fuel.coal.mass"),
        *("wastewater.cod", "wastewater.nh3n", "wastewater.ph", "wastewater.flow"),
        *("wastewater.tp", "wastewater.tn", "air.volume", "voc.nmhc.concentration"),
        *("fluegas.o2", "fluegas.flow", "treatment.running", "process.running"),
    ):
        assert name in rows


@pytest.mark.parametrize("name", quantities())
def test_each_row_says_all_there_is_to_say(name: str) -> None:
    row = quantities()[name]
    assert re.fullmatch(r"[a-z0-9]+(\.[a-z0-9]+)*", name)
    assert row.kind in KINDS
    assert row.low < row.high
    assert row.kind != "counter" or row.low == 0
    assert row.en.isascii()
    assert re.search(r"[\u4e00-\u9fff]|pH", row.zh)
    assert row.scales in {"", "both", "voltage", "current"}
    assert row.factor(row.unit) == (1, 0)
    assert row.label("zh") == row.zh
    assert row.label("en") == row.en
    if row.hj212_unit:
        assert row.factor(row.hj212_unit).scale != 1


def test_labels_and_factor_codes_name_one_quantity_each() -> None:
    rows = list(quantities().values())
    for column in ("en", "zh"):
        labels = [getattr(row, column) for row in rows]
        assert len(set(labels)) == len(labels)
    assert len(by_hj212()) == sum(bool(row.hj212) for row in rows)


@pytest.mark.skipif(not STANDARD.exists(), reason="the standard's text is not beside the project")
@pytest.mark.parametrize("code", by_hj212())
def test_each_factor_code_stands_in_the_standard(code: str) -> None:
    appendix = STANDARD.read_text(encoding="utf-8").split("表B.1", 1)[1]
    found = re.search(rf"^\s*{code}\s+(\S+)", appendix, re.MULTILINE)
    assert found is not None
    known = found[1].replace("（", "(").split("(")[0].replace("乙烯基苯", "苯乙烯")
    known = {"污水": "污水流量", "废气": "标干流量", "碳氢化合物": "总烃", "烟尘": "颗粒物"}.get(
        known, known
    )
    known = {"气压": "大气压", "水温": "污水水温", "氧气含量": "含氧量", "pH": "pH值"}.get(
        known, known
    )
    label = by_hj212()[code].zh.removesuffix("浓度")
    assert label.removeprefix("环境") == known


def test_a_quantity_is_a_value() -> None:
    row = quantities()["power.active"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        row.unit = "W"  # type: ignore[misc]  # it is the promise that this fails
    with pytest.raises(TypeError):
        quantities()["power.active"] = row  # type: ignore[index]  # as above


@pytest.mark.parametrize(
    ("source", "target", "value", "expected"),
    [
        ("W", "kW", 81200, 81.2),
        ("MWh", "kWh", 1.5, 1500),
        ("kWh", "GJ", 1000, 3.6),
        ("kcal", "kJ", 7000, 29307.6),  # 1 kgce, GB/T 2589
        ("m3/s", "m3/h", 2, 7200),
        ("L/s", "m3/h", 10, 36),
        ("m³/h", "L/min", 6, 100),
        ("Nm3/h", "m3/h", 12, 12),
        ("degF", "degC", 212, 100),
        ("K", "℃", 273.15, 0),
        ("bar", "kPa", 6, 600),
        ("MPa", "kPa", 0.6, 600),
        ("μg/m3", "mg/m3", 150, 0.15),
        ("ug/L", "mg/L", 500, 0.5),
        ("kg/h", "t/h", 2500, 2.5),
        ("%", "1", 97, 0.97),
        ("ppb", "ppm", 103, 0.103),
        ("度", "kWh", 3, 3),
        ("km/h", "m/s", 36, 10),
    ],
)
def test_known_conversions(source: str, target: str, value: float, expected: float) -> None:
    scale, offset = factor(source, target)
    assert value * scale + offset == pytest.approx(expected, rel=1e-12, abs=1e-9)


def test_decimal_steps_stay_decimal() -> None:
    assert factor("Wh", "kWh").scale == 0.001
    assert factor("kWh", "Wh").scale == 1000
    assert factor("L", "m3").scale == 0.001
    assert factor("ug/m3", "mg/m3").scale == 0.001


@given(st.sampled_from(ENERGY), st.sampled_from(ENERGY), st.floats(-1e9, 1e9))
def test_there_and_back_is_the_same(one: str, other: str, value: float) -> None:
    there, back = factor(one, other), factor(other, one)
    assert value * there.scale * back.scale == pytest.approx(value, rel=1e-14)


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [
        ("kwhh", "kWh", 'did you mean "kWh"'),
        ("mw", "kW", '"MW"'),  # milli or mega? never guessed
        ("parsec", "m", 'unknown unit "parsec"'),
        ("ppm", "mg/m3", "molar mass"),
        ("tce", "kWh", "dated factor"),
        ("kW", "kWh", "power"),
        ("kvarh", "kWh", "reactive energy"),
    ],
)
def test_what_cannot_be_is_told(source: str, target: str, says: str) -> None:
    with pytest.raises(UnitError, match=says):
        factor(source, target)


@given(st.text(max_size=8))
def test_no_text_breaks_the_unit_table(unit: str) -> None:
    if units.known(unit):
        factor(unit, unit)
    else:
        with pytest.raises(UnitError):
            factor(unit, "kWh")


def test_the_page_lists_every_quantity_with_its_unit() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text, "run python -m tests.collector.quantities_page"
    assert all(f"| `{row.name}` | {row.unit} |" in text for row in quantities().values())
