"""The simulated clock: time passes only while everybody sleeps, in the same order every time."""

from __future__ import annotations

import asyncio

from meterwatch.clock import SimulatedClock, SystemClock

HOUR = 3_600_000


async def test_half_a_year_passes_at_once_and_in_order() -> None:
    clock = SimulatedClock(0)
    seen: list[tuple[int, str]] = []

    async def poll(name: str, width: int) -> None:
        at = 0
        while True:
            at += width
            await clock.sleep(width)
            assert clock.now() == at
            seen.append((at, name))

    tasks = [asyncio.create_task(poll("a", HOUR)), asyncio.create_task(poll("b", 5 * HOUR))]
    await clock.run_until(180 * 24 * HOUR)
    assert clock.now() == 180 * 24 * HOUR
    assert len(seen) == 180 * 24 + 180 * 24 // 5
    assert [at for at, _ in seen] == sorted(at for at, _ in seen)
    for task in tasks:
        task.cancel()


async def test_time_stands_while_a_woken_task_does_real_work() -> None:
    clock = SimulatedClock(0)
    worked: list[int] = []

    async def work() -> None:
        await clock.sleep(10)
        await asyncio.to_thread(lambda: None)  # real work: another thread, the real clock
        await asyncio.sleep(0.001)
        worked.append(clock.now())
        await clock.sleep(990)

    async def other() -> None:
        for _ in range(20):
            await clock.sleep(5)

    tasks = [asyncio.create_task(work()), asyncio.create_task(other())]
    await clock.run_until(500)
    assert worked == [10]
    for task in tasks:
        task.cancel()


async def test_a_task_that_ends_or_is_cancelled_does_not_stop_time() -> None:
    clock = SimulatedClock(0)

    async def short() -> None:
        await clock.sleep(10)

    async def long() -> None:
        await clock.sleep(200)

    ended = asyncio.create_task(short())
    cancelled = asyncio.create_task(long())
    await clock.run_until(50)
    assert ended.done()
    cancelled.cancel()
    await clock.run_until(300)
    assert clock.now() == 300


async def test_less_than_no_time_does_not_turn_the_clock_back() -> None:
    clock = SimulatedClock(1000)
    times: list[int] = []

    async def late() -> None:
        await clock.sleep(-5)
        times.append(clock.now())

    task = asyncio.create_task(late())
    await clock.run_until(2000)
    await task
    assert times == [1000]
    assert clock.monotonic() == 1.0


async def test_the_machines_clock_sleeps_for_a_while() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    await clock.sleep(5)
    assert clock.monotonic() >= before + 0.005
    await clock.sleep(-5)
