"""The steel plant's half year, twice: polled over Modbus in simulated time, and pushed over MQTT
with duplicates, out of order and across a restart of the broker."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path

import pytest

from adapters.profiles import load_profiles
from adapters.stores.archive_reader import ArchiveReader
from collector.telemetry import Telemetry
from meterwatch.app import Program
from meterwatch.clock import SimulatedClock
from meterwatch.simulator.meters import Meter, MeterServer
from tests.campaigns.sending import Sender
from tests.campaigns.traffic import Sent
from tests.e2e.steel import POINT, Plant, check_books
from tests.programs import RunningProgram, eventually
from tests.servers import Mosquitto

MODBUS = """
[program]
listen = ""
tick = "15m"
[[source]]
kind = "modbus"
timeout = "30s"
"""
MQTT = """
[program]
listen = ""
[[source]]
kind = "mqtt"
name = "main"
url = "mqtt://127.0.0.1:{port}"
client_id = "steel-center"
[archive]
retention_days = 20000
"""


@pytest.fixture(scope="module")
def plant(shared: Path) -> Plant:
    return Plant.load(shared / "data" / "steel-plant-2018-h1.csv")


@pytest.mark.timeout(400)  # 17,000 polls, one after another
async def test_polled_over_modbus_in_simulated_time(plant: Plant, memory_path: Path) -> None:
    clock = SimulatedClock(plant.start)
    profile = load_profiles()["generic-counter"]
    meters = [
        Meter(1, profile, lambda now: {"energy.active.import": plant.first_meter(now)}, raw=True),
        Meter(2, profile, lambda now: {"energy.active.import": plant.second_meter(now)}, raw=True),
    ]
    async with MeterServer(meters, clock.now) as server:
        bus = f"modbus+tcp://127.0.0.1:{server.port}"
        lines = (f'connection = "{bus}?unit=1"', f'connection = "{bus}?unit=2"')
        plant.write_fleet(memory_path / "fleet", MODBUS, lines)
        program = Program(memory_path / "fleet", clock, Telemetry())
        stopping = asyncio.Event()
        running = asyncio.create_task(program.run(stopping))
        await program.started.wait()
        await clock.run_until(int(plant.ends[-1]) + 60_000)
        stopping.set()
        await running
    reader = ArchiveReader(memory_path / "fleet" / "data" / "archive.db")
    stored = reader.read(POINT, 0, 2**62)
    # One poll at each quarter-hour and one more when the new meter came into service.
    assert len(stored) == len(plant.ends) + 2
    check_books(plant, memory_path / "fleet" / "data")


def test_pushed_over_mqtt_doubled_shuffled_and_across_a_broker_restart(
    plant: Plant, tmp_path: Path
) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    messages = list(_messages(plant))
    messages += chance.sample(messages, len(messages) // 5)
    chance.shuffle(messages)
    with Mosquitto(tmp_path / "broker", persistent=True) as broker:
        fleet = tmp_path / "fleet"
        plant.write_fleet(fleet, MQTT.format(port=broker.port), ('gateway = "gw-steel"',) * 2)
        with RunningProgram(fleet) as program:
            program.wait_for("source-up")
            half = len(messages) // 2
            with Sender(broker.port) as sender:
                sender.send(messages[:half])
                sender.wait_acknowledged()
            broker.stop()
            broker.start()
            with Sender(broker.port) as sender:
                sender.send(messages[half:])
                sender.wait_acknowledged()
            readings = len({at for message in messages for _, at, _ in message.readings})
            eventually(lambda: _stored(fleet) >= readings, "all readings are stored")
            assert program.stop() == 0, program.tail()
    assert _stored(fleet) == readings
    check_books(plant, fleet / "data")


def _stored(fleet: Path) -> int:
    path = fleet / "data" / "archive.db"
    if not path.exists():
        return 0
    reader = ArchiveReader(path)
    try:
        return len(reader.read(POINT, 0, 2**62))
    except KeyError:
        return 0
    finally:
        reader.close()


def _messages(plant: Plant) -> list[Sent]:
    """Register readings at every quarter-hour and at the moment of the replacement, a few in
    each message, as a gateway packs them."""
    times = [plant.start, *plant.ends.tolist(), plant.replaced_at]
    times.sort()
    found = []
    for begin in range(0, len(times), 7):
        rows = []
        readings = []
        for at in times[begin : begin + 7]:
            device = "first" if at < plant.replaced_at else "second"
            value = plant.register(at) / 100
            rows.append({"device": device, "time": at, "values": {"energy.active.import": value}})
            readings.append((POINT, at, value))
        payload = json.dumps({"readings": rows}).encode()
        found.append(Sent("meterwatch/v1/gw-steel/readings", payload, readings))
    return found
