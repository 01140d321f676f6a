"""What one bus promises when its slaves do not behave, in simulated time with real timeouts.

The lines, meters and checks are those of the campaign (``tests/campaigns/field.py``): every number
says whose it is and of which tenth of a second, so a mix-up cannot go unseen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from pymodbus import FramerType
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusIOException

from collector.profile import Profile
from meterwatch.simulator.faults import Gateway, Line, Trouble
from meterwatch.simulator.meters import MeterServer
from tests.campaigns.field import ALIKE, FORTY, SLAVES, START, Field, just_carried, line, stamp
from tests.simulated_loop import simulate

MINUTE = 60_000
Work = Callable[[Field, MeterServer], Coroutine[Any, Any, None]]


def on_a_bus(
    work: Work,
    model: Profile = ALIKE,
    slaves: int = 4,
    interval: float = 10.0,
    **options: Any,
) -> Field:
    """``work`` on a bus that is polled; afterwards nothing wrong may have been kept."""

    async def whole() -> Field:
        field = Field(model, interval)
        server = await field.bus(slaves, **options)
        async with field.polled():
            await work(field, server)
        return field

    field = simulate(whole())
    assert field.wrong == []
    return field


def told(field: Field, origin: str) -> list[tuple[bool, str]]:
    return [(up, reason) for name, up, reason in field.states if name.startswith(origin)]


# Late answers.


def test_pymodbus_alone_hands_over_the_answer_before() -> None:
    """Why the link does not leave this to it: after one late answer every later one is off by one,
    and nothing says so."""

    async def work() -> list[int]:
        field = Field(ALIKE, 10)
        server = await field.bus(1, rtu=True, line=Line(turnaround=0.6))
        slave = server.meters[1]
        client = AsyncModbusTcpClient(
            "127.0.0.1", port=server.port, framer=FramerType.RTU, timeout=1, retries=0
        )
        await client.connect()
        slave.trouble, slave.delay = Trouble.LATE, 0.9
        seen = []
        for address in (0, 2, 4, 6):
            try:
                answer = await client.read_holding_registers(address, count=2, device_id=1)
                seen.append(answer.registers[0])
            except ModbusIOException:
                seen.append(-1)
            slave.trouble = None
        client.close()
        await server.stop()
        return seen

    assert simulate(work()) == [-1, 0, 1, 2], "each time the register before the one asked for"


@pytest.mark.parametrize("gateway", list(Gateway))
@pytest.mark.parametrize("rtu", [False, True])
def test_a_late_answer_is_nobodys_reading(rtu: bool, gateway: Gateway) -> None:
    if rtu and gateway is Gateway.HASTY:
        pytest.skip("an RTU frame says whose it is: nothing can be stamped on it")

    async def work(field: Field, server: MeterServer) -> None:
        await asyncio.sleep(60)
        for delay in (2.5, 4.1, 9.9, 11.0):
            server.meters[2].trouble, server.meters[2].delay = Trouble.LATE, delay
            await asyncio.sleep(45)
        server.meters[2].trouble = None
        await asyncio.sleep(180)
        assert len([t for t in field.times[1] if t > field.clock.now() - 2 * MINUTE]) >= 11

    field = on_a_bus(work, rtu=rtu, gateway=gateway, line=Line())
    assert field.failures()["silent"] > 3


def test_an_answer_that_was_overtaken_is_nobodys_reading() -> None:
    """Something on the way keeps one answer back and lets three others pass."""

    async def work(field: Field, server: MeterServer) -> None:
        await asyncio.sleep(55)
        kept = bytes((1, 3, 16)) + b"".join(
            stamp(n, field.clock.now()).to_bytes(4, "big") for n in range(4)
        )
        server.meters[1].trouble = Trouble.DEAD
        await asyncio.sleep(8)
        server.meters[1].trouble = None
        asked = server.meters[1].asked
        while server.meters[1].asked < asked + 3:  # noqa: ASYNC110 the meter has no event
            await asyncio.sleep(0.01)
        server._open[-1].send(0, kept)
        await asyncio.sleep(60)

    field = on_a_bus(work, slaves=1, rtu=True, line=Line())
    assert field.failures().get("garbled", 0) > 0, "it was not even noticed"


@pytest.mark.parametrize("trouble", [t for t in Trouble if t is not Trouble.WRONG])
@pytest.mark.parametrize("rtu", [False, True])
def test_every_trouble_leaves_no_wrong_reading_and_passes(rtu: bool, trouble: Trouble) -> None:
    async def work(field: Field, server: MeterServer) -> None:
        await asyncio.sleep(45)
        server.meters[2].trouble, server.meters[2].delay = trouble, 3.0
        await asyncio.sleep(180)
        server.meters[2].trouble = None
        await asyncio.sleep(240)
        now = field.clock.now()
        for slave in range(4):
            assert len([t for t in field.times[slave] if t > now - MINUTE]) >= 5, slave

    on_a_bus(work, rtu=rtu, line=Line())


# A dead slave.


@pytest.mark.parametrize("from_start", [False, True])
def test_a_dead_slave_on_a_full_line_costs_no_poll(from_start: bool) -> None:
    assert line(7, 3, from_start=from_start)["missed"] == 0


def test_a_dead_slave_is_found_when_it_comes_back() -> None:
    wires = Line()

    async def work(field: Field, server: MeterServer) -> None:
        await asyncio.sleep(60)
        server.meters[9].trouble = Trouble.DEAD
        await asyncio.sleep(600)
        server.meters[9].trouble = None
        await asyncio.sleep(120)
        assert [t for t in field.times[8] if t > field.clock.now() - MINUTE]

    field = on_a_bus(work, FORTY, SLAVES, just_carried(wires, SLAVES, FORTY), line=wires)
    assert [up for up, _ in told(field, "device:s/p8")] == [True, False, True]


def test_a_line_that_went_dead_is_asked_for_once_and_found_at_once() -> None:
    """Fifty dead slaves are not fifty timeouts a minute, and all are back together."""

    async def work(field: Field, server: MeterServer) -> None:
        await asyncio.sleep(60)
        for slave in server.meters.values():
            slave.trouble = Trouble.DEAD
        await asyncio.sleep(600)
        asked = sum(slave.asked for slave in server.meters.values())
        await asyncio.sleep(600)
        assert sum(slave.asked for slave in server.meters.values()) - asked <= 11
        for slave in server.meters.values():
            slave.trouble = None
        await asyncio.sleep(90)
        now = field.clock.now()
        assert all(field.times[n][-1] > now - 20_000 for n in range(50))

    field = on_a_bus(work, slaves=50)
    downs = [name for name, up, _ in field.states if not up]
    assert len(downs) == len(set(downs)) == 50, "each is told once"


# Overload.


def test_a_line_that_cannot_carry_its_intervals_says_so_and_is_shared_evenly() -> None:
    wires = Line()
    interval = just_carried(wires, SLAVES, FORTY) / 2

    async def work(field: Field, server: MeterServer) -> None:
        await asyncio.sleep(600)

    field = on_a_bus(work, FORTY, SLAVES, interval, line=wires)
    counts = [len(field.times[slave]) for slave in range(SLAVES)]
    assert max(counts) - min(counts) <= 2, counts
    assert min(counts) > 0.9 * 600 / (2 * interval)
    overloads = [reason for _, reason in told(field, "modbus:") if "overloaded" in reason]
    assert len(overloads) == 1
    assert "32 devices need 4.3" in overloads[0]
    assert "in every 2.2 s" in overloads[0]


# Exceptions.


def test_a_busy_slave_is_asked_again_soon_and_has_not_failed() -> None:
    async def work(field: Field, server: MeterServer) -> None:
        await asyncio.sleep(58)
        server.meters[1].trouble, server.meters[1].exception = Trouble.EXCEPTION, 6
        await asyncio.sleep(4)
        server.meters[1].trouble = None
        await asyncio.sleep(60)
        assert field.missed(0, START, field.clock.now()) == 0

    field = on_a_bus(work)
    assert told(field, "device:s/p0") == [(True, "")]
    assert field.failures() == {"busy": pytest.approx(4, abs=3)}


def test_a_gateway_speaks_for_one_slave_and_keeps_its_connection() -> None:
    async def work(field: Field, server: MeterServer) -> None:
        await asyncio.sleep(55)
        server.meters[1].trouble, server.meters[1].exception = Trouble.EXCEPTION, 11
        await asyncio.sleep(600)
        assert server.connections == 1
        for slave in (1, 2, 3):
            assert field.missed(slave, START, field.clock.now()) == 0

    field = on_a_bus(work, rtu=False)
    assert [up for up, _ in told(field, "device:s/p0")] == [True, False]
