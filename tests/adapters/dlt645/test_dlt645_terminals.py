"""A DL/T 645 source and terminals that call it: known by what they say or by their meter, or sent
away."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from adapters.sources.dlt645.terminals import Terminals
from collector.telemetry import Telemetry
from meterwatch.clock import SimulatedClock
from tests import intakes
from tests.adapters.dlt645.dlt645_line import SimLine, SimMeter
from tests.adapters.dlt645.dlt645_polled import (
    FULL,
    PATIENT,
    SHORT,
    A,
    B,
    Moving,
    believable,
    device,
    full,
    polling,
)
from tests.adapters.polling import polled
from tests.adapters.polling.polled import MINUTE, SECOND, START
from tests.intakes import CollectingIntake
from tests.servers import free_port

clock, intake = polled.clock, intakes.intake


async def test_terminals_that_call_are_known_by_what_they_say(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    port = free_port()
    urls = [f"dlt645+listen://127.0.0.1:{port}?terminal=1381234567{n}&address={A}" for n in (1, 2)]
    one, two = SimLine(SimMeter(A, Moving(clock))), SimLine(SimMeter(A, full))
    async with polling([device(urls[0], "a"), device(urls[1], "b")], clock, intake) as world:
        await clock.run_until(START + MINUTE)
        assert [up for up, _ in world.states(f"dlt645:127.0.0.1:{port}/13812345671")] == [False]
        await two.call(port, b"REG,13812345672\r\n")
        await one.call(port, b"\x00\x0113812345671")
        while world.telemetry.value("dlt645_polls", source="dlt645") < 2:
            await clock.run_until(clock.now() + SECOND)
        await clock.run_until(clock.now() + 3 * MINUTE)
        assert believable(world, "a") >= 6
        assert world.newest("b")["energy.active.import"] == 1234.56
        assert world.states(f"dlt645:127.0.0.1:{port}/13812345672")[-1] == (True, "")
        # it lost its network and calls again; the old connection still looks alive
        again = SimLine(SimMeter(A, lambda: {**FULL, "00020000": "00009900"}))
        await again.call(port, b"13812345672")
        while world.newest("b")["energy.active.export"] != 99.0:
            await clock.run_until(clock.now() + SECOND)
    for line in (one, two, again):
        await line.stop()


async def test_a_terminal_that_says_nothing_is_known_by_its_meter(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    port = free_port()
    urls = [f"dlt645+listen://127.0.0.1:{port}?address={one}" for one in (A, B)]
    line = SimLine(SimMeter(B, Moving(clock)))
    async with polling([device(urls[0], "a"), device(urls[1], "b")], clock, intake, 0.3) as world:
        await clock.run_until(START + SECOND)
        await line.call(port)
        while not believable(world, "b"):
            await clock.run_until(clock.now() + SECOND)
        assert believable(world, "a") == 0
    await line.stop()


async def test_a_stranger_is_counted_and_sent_away(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    port = free_port()
    url = f"dlt645+listen://127.0.0.1:{port}?terminal=13812345678&address={A}"
    async with polling([device(url)], clock, intake, SHORT) as world:
        await clock.run_until(START + SECOND)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"138123456789")  # one digit more is another number
        assert await reader.read() != b""  # it was asked for its meter, and then left
        assert world.telemetry.value("dlt645_unknown_terminals") == 1
        assert intake.rows() == []
        writer.close()


async def test_nobody_listens_for_lines_that_went_while_their_port_was_taken(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        url = f"dlt645+listen://127.0.0.1:{port}?terminal=13812345678&address={A}"
        async with polling([device(url)], clock, intake) as world:
            await clock.run_until(START + MINUTE)
            world.update([])
            await clock.run_until(START + 2 * MINUTE)
            other.close()
            await clock.run_until(START + 3 * MINUTE)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
            world.update([device(url)])  # wanted again, it is open again
            await called_at(clock, port)


async def called_at(clock: SimulatedClock, port: int) -> None:
    """Until ``port`` can be called."""
    while True:
        await clock.run_until(clock.now() + SECOND)
        with contextlib.suppress(ConnectionRefusedError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return


async def test_closed_while_it_opens_it_keeps_no_port() -> None:
    port = free_port()
    terminals = Terminals("127.0.0.1", port, PATIENT, Telemetry())
    opening = asyncio.create_task(terminals.start())
    await asyncio.sleep(0)
    assert not opening.done()
    terminals.close()
    assert await opening == ""
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
