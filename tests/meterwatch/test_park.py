"""The simulated park: what its folder describes is what answers, and its minute ends well."""

from __future__ import annotations

import asyncio
import json
import re
import struct
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusIOException
from pymodbus.framer import FramerType

from adapters.profiles import load_profiles
from collector.quantities import quantities
from meterwatch.clock import SimulatedClock, SystemClock
from meterwatch.fleet import parse, read_files
from meterwatch.simulator.broker import broker
from meterwatch.simulator.curves import DAY, HOUR, MONDAY, SECOND, WEEK
from meterwatch.simulator.opening import OpenPark, opened, write_folder
from meterwatch.simulator.park import Event, Park, fitted, script, template

TUESDAY_10 = MONDAY + 150 * WEEK + DAY + 10 * HOUR


def park(at: int = TUESDAY_10, *, seed: int = 7, hour: float | None = None) -> Park:
    return Park(SimulatedClock(at), seed, hour=hour)


def test_the_park_is_as_large_as_its_readme_says() -> None:
    polled = [device for device in fitted() if device.bus]
    pushed = [device for device in fitted() if device.gateway]
    assert len(polled) == 23
    assert {device.gateway for device in pushed} == {"gw-cement", "gw-hospital"}
    assert len(pushed) == 8
    assert len({device.serial for device in fitted()}) == 31
    buses = {device.bus for device in polled}
    assert len(buses) == 20
    assert [d.id for d in polled if "rtu" in d.scheme] == [
        "mill-1-meter",
        "mill-2-meter",
        "roller-press-meter",
        "classifier-meter",
    ]


@pytest.mark.parametrize("device", fitted(), ids=lambda device: device.key)
def test_a_device_shows_all_that_its_model_can(device) -> None:
    there = park()
    profile = load_profiles()[device.profile]
    wanted = {register.quantity for register in profile.registers} | set(device.quantities)
    assert wanted
    for quantity in wanted:
        row = quantities()[quantity]
        for t in (TUESDAY_10, TUESDAY_10 + 13 * HOUR, TUESDAY_10 + 5 * DAY):
            assert row.low <= there.value(device.site, device.id, quantity, t) <= row.high


def test_two_parks_of_one_seed_are_one_park() -> None:
    one, two, other = park(), park(), park(seed=8)
    at = TUESDAY_10 + 17 * SECOND
    shown = [p.value("print", "press-1-meter", "power.active", at) for p in (one, two, other)]
    assert shown[0] == shown[1] != shown[2]


def test_a_demo_at_night_finds_the_presses_at_work() -> None:
    night = MONDAY + 148 * WEEK + 3 * HOUR
    asleep, awake = park(night), park(night, hour=10)
    assert asleep.value("print", "press-1-meter", "power.active", night + SECOND) < 6
    assert awake.value("print", "press-1-meter", "power.active", night + SECOND) > 70


def test_rules_and_settings_hold_whatever_is_filled_in(tmp_path: Path) -> None:
    names = {device.bus: "1502" for device in fitted() if device.bus}
    names |= {"broker": "1883", "listen": "9464", "interval": "1s"}
    write_folder(tmp_path, names)
    written = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.toml")}
    assert written == set(template())
    for file in tmp_path.rglob("*.toml"):
        text = file.read_text(encoding="utf-8")
        assert tomllib.loads(text)
        assert not re.findall(r"\{[a-z0-9-]+\}", text)
    del names["broker"]
    with pytest.raises(KeyError, match="broker"):
        write_folder(tmp_path, names)


# the script


def rules() -> set[str]:
    return {rule["id"] for rule in tomllib.loads(template()["rules/park.toml"])["rule"]}


@pytest.mark.parametrize("seconds", [20, 60, 300])
def test_the_script_is_in_order_and_leaves_time_to_settle(seconds: float) -> None:
    events = script(seconds)
    offsets = [event.offset for event in events]
    assert offsets == sorted(offsets)
    assert offsets[0] > 0
    assert offsets[-1] <= 0.8 * seconds
    assert all(event.zh and event.en and event.zh != event.en for event in events)
    assert len({event.id for event in events}) == len(events)


def test_every_rule_of_the_park_has_its_moment() -> None:
    expected = [rule for event in script() for rule in event.expect]
    assert sorted(expected) == sorted(rules())


async def play(there: Park, clock: SimulatedClock, events: list[Event]) -> None:
    start = clock.now()
    for event in events:
        await clock.run_until(start + round(event.offset * SECOND))
        event.act(there)


async def test_the_script_breaks_things_and_mends_all_of_them() -> None:
    clock = SimulatedClock(TUESDAY_10)
    there = Park(clock, 7)
    events = script(60)
    broken = [e for e in events if e.offset < 20 or e.id == "meter-exchanged"]
    await play(there, clock, broken)
    now = clock.now() + 5 * SECOND
    assert not there.online("gw-hospital")
    assert there.meters["cement/mill-2-meter"].trouble is not None
    assert there.serial("cement/water-meter") != there.devices["cement/water-meter"].serial
    assert there.value("print", "voc-analyser", "voc.nmhc.concentration", now) > 70
    assert there.value("print", "rto-meter", "power.active", now) == 0
    assert there.value("hospital", "boiler-1-analyser", "fluegas.o2", now) < 1.5
    assert there.value("hospital", "boiler-2-analyser", "fluegas.o2", now) > 2

    clock = SimulatedClock(TUESDAY_10)
    there = Park(clock, 7)
    await play(there, clock, events)
    now = TUESDAY_10 + 60 * SECOND
    assert there.online("gw-hospital")
    assert all(meter.trouble is None for meter in there.meters.values())
    assert all(there.serial(device.key) == device.serial for device in fitted())
    assert there.value("print", "voc-analyser", "voc.nmhc.concentration", now) < 60
    assert there.value("print", "rto-meter", "power.active", now) > 20
    assert there.value("hospital", "boiler-1-analyser", "fluegas.o2", now) > 2
    laundry = there.value("hospital", "laundry-meter", "energy.active.import", now)
    assert 0 < laundry < 2


# on the wire


def floats(registers: list[int]) -> float:
    return struct.unpack(">f", struct.pack(">HH", *registers))[0]


def client(park: OpenPark, bus: str, framer: FramerType = FramerType.SOCKET):
    port = park.servers[bus].port
    return AsyncModbusTcpClient(
        "127.0.0.1", port=port, framer=framer, timeout=0.3, retries=0, reconnect_delay=0
    )


async def test_a_meter_shows_on_the_wire_what_the_park_says(tmp_path: Path) -> None:
    there = park()
    async with opened(there, tmp_path, 1883) as open_park:
        connection = client(open_park, "print-press-1")
        assert await connection.connect()
        answer = await connection.read_input_registers(0x0034, count=2, device_id=1)
        power = there.value("print", "press-1-meter", "power.active", there.clock.now())
        assert floats(answer.registers) == pytest.approx(1000 * power, rel=1e-6)
        connection.close()

        connection = client(open_park, "hospital-laundry")
        assert await connection.connect()
        answer = await connection.read_holding_registers(0, count=2, device_id=1)
        steps = answer.registers[0] << 16 | answer.registers[1]
        energy = there.value("hospital", "laundry-meter", "energy.active.import", there.clock.now())
        assert abs(steps / 100 - energy) <= 0.01
        connection.close()


async def test_a_meter_behind_transformers_shows_secondary_energy(tmp_path: Path) -> None:
    there = park()
    async with opened(there, tmp_path, 1883) as open_park:
        connection = client(open_park, "cement-main")
        assert await connection.connect()
        answer = await connection.read_holding_registers(0x000A, count=2, device_id=1)
        steps = answer.registers[0] << 16 | answer.registers[1]
        energy = there.value("cement", "main-meter", "energy.active.import", there.clock.now())
        assert abs(steps / 100 - energy / 1200) <= 0.01
        connection.close()


async def test_a_dead_slave_is_silent_and_its_neighbours_are_not(tmp_path: Path) -> None:
    there = park()
    async with opened(there, tmp_path, 1883) as open_park:
        connection = client(open_park, "cement-mills", FramerType.RTU)
        assert await connection.connect()

        async def answered(unit: int) -> bool:
            try:
                read = await connection.read_holding_registers(0x000A, count=2, device_id=unit)
            except ModbusIOException:
                return False
            return not read.isError()

        assert await answered(12)
        there.kill("cement/mill-2-meter")
        assert not await answered(12)
        connection.close()
        assert await connection.connect()
        assert await answered(11)
        there.revive("cement/mill-2-meter")
        assert await answered(12)
        connection.close()


async def test_the_folder_names_the_ports_that_answer(tmp_path: Path) -> None:
    there = park()
    async with opened(there, tmp_path, 4711, listen=9999, interval_s=2) as open_park:
        settings = tomllib.loads((tmp_path / "meterwatch.toml").read_text(encoding="utf-8"))
        assert settings["source"][0]["url"] == "mqtt://127.0.0.1:4711"
        assert settings["program"]["listen"] == "127.0.0.1:9999"
        for device in fitted():
            file = tmp_path / "registry" / f"{device.site}.toml"
            site = tomllib.loads(file.read_text(encoding="utf-8"))
            written = next(entry for entry in site["device"] if entry["id"] == device.id)
            assert written["interval"] == "2s"
            if device.bus:
                assert written["connection"] == open_park.servers[device.bus].url(device.unit)


async def test_gateways_push_with_the_serials_that_hang_there(tmp_path: Path) -> None:
    there = Park(SystemClock(), 7, hour=10)
    async with broker(tmp_path / "broker") as running:
        heard = Listener(running.port)
        async with opened(there, tmp_path / "fleet", running.port) as open_park:
            before = await heard.until(lambda row: row["from"] == ("gw-cement", "water-meter"))
            there.exchange("cement/water-meter", "W2611907")
            other = await heard.until(lambda row: row.get("serial") == "W2611907")
            assert set(open_park.gateways) == {"gw-cement", "gw-hospital"}
        heard.close()
    assert before["serial"] == "W1905512"
    assert other["device"] == "water-meter"
    shown = there.value("cement", "water-meter", "water.volume", other["time"])
    assert other["values"]["water.volume"] == pytest.approx(shown, abs=0.001)


async def test_a_silent_gateway_keeps_what_it_reads_and_sends_it_later(tmp_path: Path) -> None:
    there = Park(SystemClock(), 7, hour=10)
    async with broker(tmp_path / "broker") as running:
        heard = Listener(running.port)
        async with opened(there, tmp_path / "fleet", running.port) as open_park:
            gateway = open_park.gateways["gw-hospital"]
            await heard.until(lambda row: row["device"] == "gas-meter")
            there.silence("gw-hospital")
            while len(gateway.kept) < 10:
                await heard.until(lambda row: row["device"] == "air-meter")
            kept = gateway.kept[0].time
            there.unsilence("gw-hospital")
            late = await heard.until(lambda r: r["time"] == kept and r["device"] == "gas-meter")
        heard.close()
    assert late["backfill"] is True
    assert gateway.lost == 0


class Listener:
    """Every reading that anybody publishes, with its message's ``backfill`` and whom it is
    ``from``: gateway and device."""

    def __init__(self, port: int) -> None:
        loop = asyncio.get_running_loop()
        self._rows: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, "listener")
        self._client.on_connect = lambda c, *_: c.subscribe("meterwatch/v1/+/readings", 1)
        self._client.on_message = lambda _c, _u, m: loop.call_soon_threadsafe(
            self._took, m.topic.split("/")[2], m.payload
        )
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _took(self, gateway: str, payload: bytes) -> None:
        message = json.loads(payload)
        for row in message["readings"]:
            told = {"backfill": message["backfill"], "from": (gateway, row["device"])}
            self._rows.put_nowait(row | told)

    async def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The next reading that is wanted."""
        async with asyncio.timeout(30):
            while not wanted(row := await self._rows.get()):
                pass
        return row

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


async def test_the_folder_has_no_fault_and_serves_every_place(tmp_path: Path) -> None:
    async with opened(park(), tmp_path, 1883):
        fleet = parse(read_files(tmp_path))
    assert len(fleet.registry.sites) == 3
    assert len(fleet.registry.devices) == 31
    assert fleet.registry.unserved(TUESDAY_10) == []
    assert rules() <= set(fleet.rules.rules)
    outlets = [place for place in fleet.registry.places.values() if place.outlet]
    assert len(outlets) == 4
