"""A Modbus source and its connections: servers that come late, restart or drop the line, and
answers that come too late. None becomes a value that it is not."""

from __future__ import annotations

import asyncio
from time import sleep

import pytest
from pymodbus.pdu import ModbusPDU

from adapters.sources.modbus.address import parse_connection
from adapters.sources.modbus.link import Link
from adapters.sources.modbus.plan import Block
from meterwatch.clock import SimulatedClock, SystemClock
from meterwatch.simulator.meters import Meter, MeterServer, Trouble
from tests import intakes
from tests.adapters.modbus.modbus_polled import TIMEOUT, World, believable, device, meter, polling
from tests.adapters.polling import polled
from tests.adapters.polling.polled import HOUR, MINUTE, SECOND, START
from tests.intakes import CollectingIntake
from tests.servers import free_port

clock, intake = polled.clock, intakes.intake


@pytest.mark.parametrize("rtu", [False, True])
async def test_a_server_that_comes_later_is_found(
    rtu: bool, clock: SimulatedClock, intake: CollectingIntake
) -> None:
    """The first connect fails, and so do many after it."""
    server = MeterServer([meter()], clock.now, rtu=rtu, port=free_port())
    async with polling([device(server.url(1))], clock, intake) as world:
        await clock.run_until(START + HOUR)
        bus = f"modbus:127.0.0.1:{server.port}"
        assert world.states() == [(bus, False)], "told once, however often it was tried"
        async with server:
            await clock.run_until(START + HOUR + MINUTE)
            assert world.states() == [(bus, False), (bus, True), ("device:s/d", True)]
            believable(world)
            assert world.series("d")


@pytest.mark.parametrize("rtu", [False, True])
async def test_a_server_may_restart(
    rtu: bool, clock: SimulatedClock, intake: CollectingIntake
) -> None:
    server = MeterServer([meter()], clock.now, rtu=rtu)
    await server.start()
    async with polling([device(server.url(1))], clock, intake) as world:
        await clock.run_until(START + MINUTE)
        await server.stop()
        await clock.run_until(START + 2 * MINUTE)
        await server.start()
        await clock.run_until(START + 3 * MINUTE)
        bus = f"modbus:127.0.0.1:{server.port}"
        ups = [up for origin, up in world.states() if origin == bus]
        assert ups == [True, False, True]
        times = [time for time, _ in world.series("d")]
        assert [t for t in times if t > START + 150 * SECOND]
        assert not [t for t in times if START + 70 * SECOND < t < START + 2 * MINUTE]
        believable(world)
        await server.stop()


async def test_a_lost_connection_is_noticed_at_once(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    """Not after the timeout, which is longer than this test may take."""
    one = meter()
    async with (
        MeterServer([one], clock.now) as server,
        polling([device(server.url(1))], clock, intake, patience=600) as world,
    ):
        await clock.run_until(START + MINUTE)
        one.trouble = Trouble.DROPS
        await clock.run_until(START + 2 * MINUTE)
        one.trouble = None
        await clock.run_until(START + 4 * MINUTE)
        ups = [up for origin, up in world.states() if origin == "device:s/d"]
        assert ups == [True, False, True]
        believable(world)


async def test_a_busy_program_takes_no_meter_for_dead() -> None:
    """Connecting takes several turns of the loop, each of which may be slow."""
    loop = asyncio.get_running_loop()
    turns = 10

    def busy() -> None:
        nonlocal turns
        sleep(TIMEOUT)  # the work that keeps this turn
        turns -= 1
        if turns:
            loop.call_soon(busy)

    async with MeterServer([meter()], SystemClock().now) as server:
        link = Link(parse_connection(server.url(1)).bus, TIMEOUT)
        busy()
        assert await link.connect() is None
        link.close()


async def test_a_cancellation_in_the_very_turn_of_the_answer_is_heeded(
    clock: SimulatedClock,
) -> None:
    """``asyncio.wait_for`` forgets it (until Python 3.12); the program would never stop."""
    async with MeterServer([meter()], clock.now) as server:
        link = Link(parse_connection(server.url(1)).bus, 10)
        assert await link.connect() is None
        task = asyncio.create_task(link.read(1, Block(3, 0, 2)))
        while link._answer is None:  # noqa: ASYNC110 until it asks
            await asyncio.sleep(0)
        link._answer.set_result(ModbusPDU())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not link.connected, "its answer is lost, so is the line's step"


# Late answers.


async def late(
    server: MeterServer, one: Meter, clock: SimulatedClock, world: World, end: int
) -> None:
    """From now on the meter answers only when the program has long asked again."""
    one.trouble = Trouble.SLOW
    for _ in range(4):
        one.gate = asyncio.Event()
        before = server.connections
        running = asyncio.create_task(clock.run_until(end))
        while server.connections == before and not running.done():  # noqa: ASYNC110
            await asyncio.sleep(0)  # a turn of the loop: the server has no event for it
        one.gate.set()
        await running
        end += MINUTE
    one.trouble, one.gate = None, None
    await clock.run_until(end + 2 * MINUTE)


async def test_a_late_answer_on_rtu_is_never_taken_for_another(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    """The converter passes it on over the new connection, where another question, whose answer
    has the same length, is open."""
    one = meter()
    async with (
        MeterServer([one], clock.now, rtu=True) as server,
        polling([device(server.url(1))], clock, intake) as world,
    ):
        await clock.run_until(START + MINUTE)
        before = len(world.series("d"))
        await late(server, one, clock, world, START + 2 * MINUTE)
        believable(world)
        assert len(world.series("d")) > before
        assert world.telemetry.value("modbus_failures", kind="garbled") > 0, (
            "no late answer came: this test tested nothing"
        )


async def test_a_late_answer_on_tcp_is_known_by_its_number(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    one, other = meter(1), meter(2)
    async with MeterServer([one, other], clock.now) as server:
        devices = [device(server.url(1), "d"), device(server.url(2), "e")]
        async with polling(devices, clock, intake) as world:
            await clock.run_until(START + MINUTE)
            one.trouble, one.gate = Trouble.SLOW, asyncio.Event()
            await clock.run_until(START + 2 * MINUTE)
            one.gate.set()
            await clock.run_until(START + 3 * MINUTE)
            one.trouble = None
            await clock.run_until(START + 5 * MINUTE)
            believable(world, "d")
            believable(world, "e")
            assert len(world.series("e")) == 31, "a silent slave costs its neighbour nothing"
