"""A scan finds who is on a bus, says what they probably are, writes nothing to them, and gives
blocks that the registry reads."""

from __future__ import annotations

import asyncio
import tomllib
from pathlib import Path

import pytest

from adapters.profiles import load_profiles
from collector.connections import check_connection
from collector.errors import ConfigurationError
from meterwatch.commissioning.contact.ports import Wanted
from meterwatch.commissioning.contact.urls import with_option
from meterwatch.commissioning.device_block import device_block
from meterwatch.commissioning.models import SHIPPED, models_of
from meterwatch.commissioning.scan import prepared, scan
from meterwatch.commissioning.scan_words import render
from meterwatch.fleet import shipped
from meterwatch.scan_commands import run_scan
from meterwatch.simulator.faults import Trouble
from meterwatch.simulator.meters import Meter, MeterServer
from tests.meterwatch.three_phases import Load, Site, shown

PATIENCE = 0.2


def meter(unit: int, profile: str, energy: float, **more: object) -> Meter:
    values = shown(Site((Load(5), Load(6), Load(7)))) | {"energy.active.import": energy + unit}
    return Meter(unit, load_profiles()[profile], lambda _: values, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("rtu", [True, False])
async def test_who_is_there_is_found_with_what_it_probably_is(rtu: bool) -> None:
    meters = [
        meter(2, "eastron-sdm630", 100),
        meter(3, "chint-dtsu666", 200, holes=False),
        meter(5, "acrel-dtsd1352", 300),
        meter(6, "eastron-sdm630", 400, trouble=Trouble.DEAD),
    ]
    told: list[tuple[int, int, int]] = []
    async with MeterServer(meters, lambda: 0, rtu=rtu) as server:
        search = prepared(server.url(1), Wanted(1, 7), patience=PATIENCE)
        assert search.longest == pytest.approx(7 * PATIENCE * (2 if rtu else 1))
        done = await scan(search, progress=lambda *n: told.append(n))
    assert [one.who for one in done.found] == ["2", "3", "5"]
    likely = [{attempt.profile for attempt in one.likely} for one in done.found]
    assert "eastron-sdm630" in likely[0]
    assert "chint-dtsu666" in likely[1]
    assert "acrel-dtsd1352" in likely[2]
    assert told[-1] == (done.asked, done.asked, 3), "progress ends where it said it would"
    assert done.asked == (7 + 4 if rtu else 7)
    assert meters[3].asked == (2 if rtu else 1), "a silent one is not bothered"


async def test_only_reading_functions_are_sent() -> None:
    one = meter(2, "eastron-sdm630", 100)
    async with MeterServer([one], lambda: 0) as server:
        await scan(prepared(server.url(1), Wanted(2, 2), patience=PATIENCE))
    assert {function for function, _ in one.answers} <= {1, 2, 3, 4}
    assert one.asked


async def test_one_device_that_answers_to_every_number_is_listed_once() -> None:
    same = [meter(unit, "eastron-sdm630", 1000 - unit) for unit in (1, 2, 3)]
    async with MeterServer(same, lambda: 0) as server:
        done = await scan(prepared(server.url(1), Wanted(1, 3), patience=PATIENCE))
    assert [(one.who, one.also) for one in done.found] == [("1", ("2", "3"))]
    assert "one device" in render(done, "modbus", SHIPPED, "en")


async def test_a_fleets_own_model_comes_first_where_it_fits_as_well(tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    text = shipped("adapters.profiles")["eastron-sdm630.toml"]
    own = text.replace('name = "eastron-sdm630"', 'name = "our-meter"')
    (tmp_path / "profiles" / "our-meter.toml").write_text(own, encoding="utf-8")
    models = models_of(tmp_path)
    async with MeterServer(
        [meter(2, "eastron-sdm630", 1), meter(3, "acrel-dtsd1352", 5)], lambda: 0
    ) as server:
        search = prepared(server.url(1), Wanted(2, 3), models=models, patience=PATIENCE)
        done = await scan(search, models=models)
    likely = [one.likely[0].profile for one in done.found]
    assert likely[0] == "our-meter"
    assert likely[1] != "our-meter"


async def test_blocks_are_read_as_they_stand() -> None:
    async with MeterServer(
        [meter(2, "eastron-sdm630", 1), meter(9, "acrel-dtsd1352", 5)], lambda: 0
    ) as server:
        done = await scan(prepared(server.url(1), Wanted(2, 9), patience=PATIENCE))
    for language in ("en", "zh"):
        devices = tomllib.loads(render(done, "modbus", SHIPPED, language))["device"]
        assert [one["id"] for one in devices] == ["meter-2", "meter-9"]
        for one in devices:
            assert one["profile"] in load_profiles()
            assert not check_connection(one["connection"]).wrong


def test_a_block_keeps_what_was_said_and_names_what_is_missing() -> None:
    block = device_block(
        "modbus+tcp://h:502?unit=3",
        "eastron-sdm630",
        "en",
        name="m",
        place="press",
        serial='2"1',
        current_ratio=40,
        order="CDAB",
    )
    (device,) = tomllib.loads(block)["device"]
    assert device == {
        "id": "m",
        "place": "press",
        "profile": "eastron-sdm630-cdab",
        "serial": '2"1',
        "current_ratio": 40,
        "connection": "modbus+tcp://h:502?unit=3",
    }
    assert 'order = "CDAB"' in block


def test_the_unit_is_put_into_any_url() -> None:
    assert with_option("modbus+tcp://h:502", "unit", "7") == "modbus+tcp://h:502?unit=7"
    serial = "modbus+serial:///dev/ttyS1?unit=3&baud=9600&parity=E"
    assert (
        with_option(serial, "unit", "7") == "modbus+serial:///dev/ttyS1?unit=7&baud=9600&parity=E"
    )


async def test_the_command_says_first_how_long_it_takes_and_tells_by_its_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with MeterServer([meter(2, "eastron-sdm630", 1)], lambda: 0) as server:
        url = server.url(1)
        assert await asyncio.to_thread(run_scan, url, Wanted(1, 3), PATIENCE, "zh") == 0
        seen = capsys.readouterr()
        assert "最长" in seen.err
        assert 'profile = "eastron-sdm630"' in seen.out
        assert await asyncio.to_thread(run_scan, url, Wanted(4, 4), PATIENCE, "en") == 1
        assert "Nobody answers" in capsys.readouterr().out
    assert await asyncio.to_thread(run_scan, url, Wanted(2, 2), PATIENCE, "en") == 1
    assert "cannot go on" in capsys.readouterr().out
    for wrong in (("tcp://h", Wanted()), (url, Wanted(3, 1)), (url, Wanted(addresses=["1"]))):
        with pytest.raises(ConfigurationError):
            await asyncio.to_thread(run_scan, *wrong, PATIENCE, "en")
