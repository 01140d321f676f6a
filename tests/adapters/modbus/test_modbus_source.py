"""What the Modbus source promises over real sockets: right values or none, at the right moments, of
the devices that the registry names.

Most tests let simulated time pass over real sockets, so an hour of polls takes as long as its
sockets do. pymodbus's own servers check that we speak the protocol.
"""

from __future__ import annotations

import asyncio
import os
import struct
from dataclasses import replace

import numpy as np
import pytest
from pymodbus import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from collector.errors import ConfigurationError
from collector.model import Quality
from meterwatch.clock import SimulatedClock, SystemClock
from meterwatch.simulator.meters import MeterServer
from tests import intakes
from tests.adapters.modbus.modbus_polled import PROFILES, believable, device, meter, polling
from tests.adapters.polling import polled
from tests.adapters.polling.polled import HOUR, MINUTE, SECOND, START
from tests.intakes import CollectingIntake

clock, intake = polled.clock, intakes.intake


# Against pymodbus's own servers.


def eastron_slave(unit: int) -> SimDevice:
    floats = {0x00: 230.1, 0x34: 8200.0, 0x46: 50.0, 0x48: 12345.5}
    words = [0] * 400
    for address, number in floats.items():
        words[address : address + 2] = struct.unpack(">HH", struct.pack(">f", number))
    return SimDevice(unit, [SimData(0, values=words, datatype=DataType.REGISTERS)])


async def reads_eastron(url: str, intake: CollectingIntake) -> None:
    async with polling(
        [device(url, profile="eastron-sdm630", interval=0.05)], SystemClock(), intake, patience=2
    ) as world:
        await intake.until(lambda seen: len(seen.rows()) >= 3 * 26)
        for quantity, value in (
            ("voltage.l1", 230.1),
            ("power.active", 8.2),
            ("frequency", 50.0),
            ("energy.active.import", 12345.5),
        ):
            found = world.series("d", quantity)
            assert len(found) >= 3
            assert [v for _, v in found] == pytest.approx([value] * len(found))


@pytest.mark.parametrize("framing", ["modbus+tcp", "modbus+rtu-tcp"])
async def test_reads_a_server_of_another_make(framing: str, intake: CollectingIntake) -> None:
    framer = FramerType.SOCKET if framing == "modbus+tcp" else FramerType.RTU
    server = ModbusTcpServer(eastron_slave(7), framer=framer, address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    port = server.transport.sockets[0].getsockname()[1]
    try:
        await reads_eastron(f"{framing}://127.0.0.1:{port}?unit=7", intake)
    finally:
        await server.shutdown()


async def test_reads_a_serial_line(intake: CollectingIntake) -> None:
    """Two pseudo terminals, wired crosswise: ours at one end, pymodbus's server at the other."""
    ours, our_end = os.openpty()
    theirs, their_end = os.openpty()
    loop = asyncio.get_running_loop()
    loop.add_reader(ours, lambda: os.write(theirs, os.read(ours, 1024)))
    loop.add_reader(theirs, lambda: os.write(ours, os.read(theirs, 1024)))
    server = ModbusSerialServer(eastron_slave(7), port=os.ttyname(their_end), baudrate=115200)
    await server.serve_forever(background=True)
    try:
        await reads_eastron(f"modbus+serial://{os.ttyname(our_end)}?unit=7&baud=115200", intake)
    finally:
        await server.shutdown()
        for end in (ours, theirs):
            loop.remove_reader(end)
        for end in (ours, our_end, theirs, their_end):
            os.close(end)


async def test_a_missing_serial_port_is_told_and_waited_for(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    url = "modbus+serial:///nowhere/ttyS9?unit=1"
    async with polling([device(url)], clock, intake) as world:
        await clock.run_until(START + MINUTE)
        assert world.states() == [("modbus:/nowhere/ttyS9", False)]
        assert "no such serial port" in intake.states()[0].reason


# Every framing, with the simulator.


@pytest.mark.parametrize("rtu", [False, True])
async def test_a_day_of_quarter_hours_is_read_on_the_quarter_hour(
    rtu: bool, clock: SimulatedClock, intake: CollectingIntake
) -> None:
    async with MeterServer([meter(3)], clock.now, rtu=rtu) as server:
        one = device(server.url(3), interval=900)
        async with polling([one], clock, intake) as world:
            await clock.run_until(START + 24 * HOUR)
            times = [time for time, _ in world.series("d")]
            assert times == [START + n * 15 * MINUTE for n in range(97)]
            believable(world)
            assert world.states() == [
                (f"modbus:127.0.0.1:{server.port}", True),
                ("device:s/d", True),
            ]
            segments = intake.batch().segments
            assert {world.origins[n] for n in segments.origin.tolist()} == {"device:s/d"}
            assert segments.received.tolist() == times


async def test_several_slaves_share_one_connection(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    async with MeterServer([meter(n) for n in range(1, 21)], clock.now) as server:
        devices = [device(server.url(n), f"d{n}", interval=n) for n in range(1, 21)]
        async with polling(devices, clock, intake) as world:
            await clock.run_until(START + MINUTE)
            assert server.connections == 1
            for n in range(1, 21):
                whole = [t for t in range(START, START + MINUTE + 1) if t % (n * SECOND) == 0]
                assert [t for t, _ in world.series(f"d{n}")] == sorted({START, *whole})
                believable(world, f"d{n}")


async def test_no_value_is_kept_as_such(clock: SimulatedClock, intake: CollectingIntake) -> None:
    one = meter(values=lambda _: {"energy.active.import": 1.0})
    async with (
        MeterServer([one], clock.now) as server,
        polling([device(server.url(1))], clock, intake),
    ):
        await clock.run_until(START + SECOND)
        rows = {point: (value, quality) for point, _, value, quality in intake.rows()}
        assert np.isnan(rows[0][0])
        assert rows[0][1] == Quality.NO_VALUE
        assert rows[1] == (1.0, Quality.GOOD)


# Registry.


async def test_devices_are_read_only_between_their_dates(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    """A meter is replaced at the same address and place: each reading belongs to one of them."""
    async with MeterServer([meter()], clock.now) as server:
        change = START + 5 * MINUTE
        old = replace(device(server.url(1), "old"), place="d", end=change)
        new = replace(device(server.url(1), "new"), place="d", start=change)
        async with polling([old, new], clock, intake) as world:
            await clock.run_until(START + 10 * MINUTE)
            batch = intake.batch()
            by = {"old": [], "new": []}
            origins = [world.origins[n] for n in batch.origin().tolist()]
            for time, origin in zip(batch.time.tolist(), origins, strict=True):
                by[origin.removeprefix("device:s/")].append(time)
            assert max(by["old"]) < change == min(by["new"])
            assert len(batch) == 2 * 61, "none twice, none missing"


async def test_a_new_registry_changes_only_what_changed(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    async with (
        MeterServer([meter(1), meter(2)], clock.now) as kept,
        MeterServer([meter(1)], clock.now) as left,
        MeterServer([meter(1)], clock.now) as added,
    ):
        first = [device(kept.url(1), "a"), device(left.url(1), "b")]
        async with polling(first, clock, intake) as world:
            await clock.run_until(START + 5 * MINUTE)
            moved = replace(first[0], file="moved.toml", line=9)
            world.update([moved, device(kept.url(2), "c"), device(added.url(1), "e", interval=5)])
            await clock.run_until(START + 10 * MINUTE)
            assert [kept.connections, left.connections, added.connections] == [1, 1, 1]
            times = [t for t, _ in world.series("a")]
            assert times == [START + n * 10 * SECOND for n in range(61)], "undisturbed"
            assert max(t for t, _ in world.series("b")) <= START + 5 * MINUTE
            assert len(world.series("c")) == 31
            assert len(world.series("e")) >= 60
            assert world.states().count(("device:s/a", True)) == 1


async def test_a_bad_registry_is_refused_and_the_old_one_kept(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    async with (
        MeterServer([meter()], clock.now) as server,
        polling([device(server.url(1))], clock, intake) as world,
    ):
        await clock.run_until(START + MINUTE)
        bad = [
            device("modbus+tcp://host:99999?unit=1"),
            device("modbus+tcp://host?unit=1", profile="push"),
            device("modbus+tcp://two:502?unit=1"),
            device("modbus+rtu-tcp://two:502?unit=1"),
            device("modbus+tcp://three?unit=300"),
            device("modbus+serial:///dev/ttyS1?parity=X"),
            device("modbus+tcp://four?baud=9600"),
        ]
        with pytest.raises(ConfigurationError) as caught:
            world.source.update(bad, PROFILES, world.points)
        assert len(caught.value.faults) == 6
        await clock.run_until(START + 2 * MINUTE)
        assert len(world.series("d")) == 13
