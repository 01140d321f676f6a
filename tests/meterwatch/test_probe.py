"""A probe finds the profile that fits, on real sockets, and says so in plain words."""

from __future__ import annotations

import asyncio
import math
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.profiles import load_profiles
from collector.errors import ConfigurationError
from collector.profile import Identity, Register
from meterwatch.commissioning.assess import Asked
from meterwatch.commissioning.plausible import Verdict
from meterwatch.commissioning.probe import probe
from meterwatch.commissioning.probe_words import render
from meterwatch.probe_commands import run_probe
from meterwatch.simulator.faults import Trouble
from meterwatch.simulator.meters import Meter, MeterServer

IMAGES = Path(__file__).parents[1] / "adapters" / "profiles" / "images"
ELECTRIC = ["eastron-sdm630", "chint-dtsu666", "acrel-dtsd1352", "gavazzi-em24"]
SAME_MAP = {"acrel-dtsd1352": {"acrel-adl400"}}


def meter(name: str, **more: object) -> Meter:
    """A meter on the low-voltage side, with the values of its register image."""
    data = tomllib.loads((IMAGES / f"{name}.toml").read_text(encoding="utf-8"))
    values = dict(data["readings"])
    for phase in ("voltage.l1", "voltage.l2", "voltage.l3"):
        if phase in values:
            values[phase] /= data.get("voltage_ratio", 1)
    return Meter(3, load_profiles()[name], lambda _: values, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("holes", [True, False])
@pytest.mark.parametrize("rtu", [True, False])
@pytest.mark.parametrize("name", ELECTRIC)
async def test_the_right_profile_is_found_without_being_told(
    name: str, rtu: bool, holes: bool
) -> None:
    async with MeterServer([meter(name, holes=holes)], lambda: 0, rtu=rtu) as server:
        report = await probe(server.url(3))
    assert report.best is not None
    assert report.best.profile == name
    plausible = [a.profile for a in report.attempts if a.verdict is Verdict.PLAUSIBLE]
    assert set(plausible) - SAME_MAP.get(name, set()) == {name}, "and no other fits"
    read = {value.quantity: value.value for value in report.best.values}
    assert read["frequency"] == pytest.approx(50, abs=0.1)
    assert set(read) == {row.quantity for row in load_profiles()[name].registers}


@pytest.mark.parametrize("name", ["generic-counter", "generic-nmhc"])
async def test_what_has_no_voltage_is_left_to_the_reader(name: str) -> None:
    async with MeterServer([meter(name)], lambda: 0) as server:
        report = await probe(server.url(3), load_profiles()[name])
    assert report.best is None
    assert [attempt.verdict for attempt in report.attempts] == [Verdict.UNDECIDED]
    assert report.attempts[0].values


async def test_a_wrong_profile_is_told_with_the_value_that_cannot_be() -> None:
    async with MeterServer([meter("acrel-dtsd1352")], lambda: 0) as server:
        report = await probe(server.url(3), load_profiles()["eastron-sdm630"])
    assert report.best is None
    assert report.attempts[0].verdict in {Verdict.IMPLAUSIBLE, Verdict.NO_ANSWER}
    assert "does not fit" in render(report, "en")
    assert "不符" in render(report, "zh")


async def test_one_wired_phase_is_enough_and_none_is_too_little() -> None:
    profile = load_profiles()["eastron-sdm630"]
    values = {row.quantity: 0.0 for row in profile.registers}
    async with MeterServer([Meter(3, profile, lambda _: values)], lambda: 0) as server:
        dark = await probe(server.url(3), profile)
        values |= {"voltage.l2": 228.0, "frequency": 50.0}
    async with MeterServer([Meter(3, profile, lambda _: values)], lambda: 0) as server:
        lit = await probe(server.url(3), profile)
    assert dark.attempts[0].verdict is Verdict.IMPLAUSIBLE
    assert lit.attempts[0].verdict is Verdict.PLAUSIBLE


async def test_a_silent_unit_is_told_from_an_unreachable_one() -> None:
    one = meter("eastron-sdm630", trouble=Trouble.DEAD)
    async with MeterServer([one], lambda: 0) as server:
        silent = await probe(server.url(3), patience=0.05)
        assert one.asked == 1, "one question is enough to know"
    gone = await probe(server.url(3), patience=0.05)
    assert "does not answer" in render(silent, "en")
    assert "cannot be reached" in render(gone, "en")
    assert "无应答" in render(silent, "zh")
    assert "无法连接" in render(gone, "zh")


async def test_values_come_with_names_and_units_in_both_languages() -> None:
    one = meter("eastron-sdm630")
    inner = one.values
    one.values = lambda now: {**inner(now), "power.factor": math.nan}
    async with MeterServer([one], lambda: 0) as server:
        report = await probe(server.url(3))
    english, chinese = render(report, "en"), render(report, "zh")
    assert "Voltage, L1: 230.1" in english
    assert "A相电压: 230.1" in chinese
    assert "Power factor: no value" in english
    assert "Use profile: eastron-sdm630" in english
    assert "建议使用型号: eastron-sdm630" in chinese


async def test_what_the_meter_says_of_itself_is_told() -> None:
    """The registers of voltages stand in for those of serial number and ratios."""
    one = meter("acrel-dtsd1352")
    said = Register("", 3, 0x0061, "u16", "")
    itself = Identity(said, replace(said, scale=0.1), replace(said, address=0x0004))
    profile = replace(one.profile, identity=itself)
    async with MeterServer([one], lambda: 0) as server:
        report = await probe(server.url(3), profile)
    volts = next(v.value for v in report.attempts[0].values if v.quantity == "voltage.l1")
    assert report.identified.serial == str(round(volts * 10))
    assert report.identified.voltage_ratio == pytest.approx(volts)
    assert math.isnan(report.identified.current_ratio), "0 is no ratio"
    assert f"Serial number: {round(volts * 10)}" in render(report, "en")


async def test_a_url_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="unknown kind of connection"):
        await probe("tcp://10.0.0.5:502")


async def test_the_command_prints_and_tells_by_its_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with MeterServer([meter("acrel-dtsd1352")], lambda: 0) as server:
        url = server.url(3)
        found = await asyncio.to_thread(run_probe, Asked(url), "zh")
    assert found == 0
    out = capsys.readouterr().out
    assert "建议使用型号: acrel-dtsd1352" in out
    assert f'connection = "{url}"' in out
    assert await asyncio.to_thread(run_probe, Asked(url), "en") == 1
    assert "cannot be reached" in capsys.readouterr().out
    for wrong in (
        Asked("modbus+tcp://"),
        Asked(url, profile="no-such-model"),
        Asked(url, profile="push"),
        Asked(url, display=["kWh"]),
        Asked(url, display=["kWh=many"]),
        Asked(url, display=["parsecs=4"]),
        Asked(url, clamp=["L4=3"]),
    ):
        with pytest.raises(ConfigurationError):
            await asyncio.to_thread(run_probe, wrong, "en")
