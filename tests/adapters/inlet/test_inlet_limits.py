"""The room that all bodies share: who waits in line for it, and who leaves the line."""

from __future__ import annotations

import asyncio

from adapters.sources.inlet.limits import Room


async def test_patience_that_ends_in_the_turn_in_which_room_is_given_is_no_fault() -> None:
    room = Room(10)
    assert room.take_now(10)
    waiting = asyncio.create_task(room.take(10, 0.0))
    await asyncio.sleep(0)  # it stands in line, and its patience ends in the loop's next turn
    asyncio.get_running_loop().call_soon(room.give, 10)
    assert await waiting is False
    assert room.used == 0
    assert room.take_now(10), "nobody is left in the line"


async def test_who_gives_up_lets_the_next_one_forward() -> None:
    room = Room(10)
    assert room.take_now(6)
    large = asyncio.create_task(room.take(6, 60.0))
    small = asyncio.create_task(room.take(4, 60.0))
    await asyncio.sleep(0)
    assert not room.take_now(1), "it is not its turn"
    large.cancel()
    assert await small is True
    assert room.used == 10
