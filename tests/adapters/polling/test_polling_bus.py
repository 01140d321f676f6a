"""The loop of a bus, over speakers that fail in every way: what is told is true, and nobody harms
another. Simulated time, no wire."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np

from adapters.sources.polling.bus import Answer, BusLoop
from adapters.sources.polling.carrier import Carrier
from adapters.sources.polling.failure import Failure, What
from adapters.sources.polling.polled import Polled
from adapters.sources.polling.turns import Turns
from collector.errors import TemporaryError
from collector.model import Ids, SourceState
from collector.ports import Delivery, Urgency
from collector.registry import Device
from collector.telemetry import Telemetry
from tests.simulated_loop import LoopClock, simulate

START = 1_795_000_000_000 // 900_000 * 900_000
HOUR = 3600


class Thing(Polled):
    __slots__ = ("polls", "says")

    def __init__(self, name: str, says: Callable[[], Failure | None], interval: float = 10) -> None:
        super().__init__(Device("s", name, name, "m", interval=interval))
        self.says = says
        self.polls = 0

    points = 1

    def as_read(self) -> tuple[object, ...]:
        return (id(self),)

    def widen(self, *, barren: bool = False) -> None:
        self.barren = barren

    def refused(self) -> tuple[int, str]:
        return 0, ""

    def news(self) -> bool:
        return False


class Wire:
    """A connection that is always open; an answer takes a tenth of a second."""

    timeout = 2.0
    connected = True
    origin = "modbus:x"
    place = "x"

    async def connect(self) -> None:
        return None

    def close(self) -> None:
        pass

    async def poll(self, device: Thing) -> Answer | Failure:
        device.polls += 1
        await asyncio.sleep(0.1)
        failure = device.says()
        if failure is not None:
            return failure
        one = np.zeros(1)
        return Answer(np.zeros(1, np.int32), one, one.astype(np.uint8), 0.1)

    async def ask(self, device: Thing, patience: float, *, short: bool) -> Failure | None:
        await asyncio.sleep(0.1)
        return device.says()


class SetClock(LoopClock):
    """A clock that somebody sets."""

    offset = 0

    def now(self) -> int:
        return super().now() + self.offset


class Heard:
    def __init__(self, meanwhile: Callable[[], object]) -> None:
        self.states: list[tuple[int, bool, str]] = []
        self._meanwhile = meanwhile

    def submit(self, delivery: Delivery) -> None:
        raise NotImplementedError

    async def deliver(self, delivery: Delivery) -> bool:
        self._meanwhile()
        self.states += [
            (one.origin, one.up, one.reason)
            for one in delivery.entries
            if isinstance(one, SourceState)
        ]
        return True

    def pressure(self) -> Urgency:
        return Urgency.BACKFILL


def run(
    devices: list[Thing],
    work: Callable[[BusLoop[Thing]], Coroutine[Any, Any, None]],
    origin_ids: Callable[[list[str]], Ids] | None = None,
    names: list[str] | None = None,
    meanwhile: Callable[[SetClock], object] = lambda _: None,
) -> tuple[list[tuple[str, bool, str]], Telemetry]:
    """What was told, by origin, and what was counted. ``meanwhile`` is done with the clock while
    a delivery is being synced."""
    names = [] if names is None else names

    def ids(wanted: Any) -> Ids:
        names.extend(name for name in wanted if name not in names)
        return np.array([names.index(name) for name in wanted], np.int32)

    async def whole() -> tuple[list[tuple[str, bool, str]], Telemetry]:
        clock, telemetry = SetClock(START), Telemetry()
        heard = Heard(lambda: meanwhile(clock))
        carrier = Carrier("x", heard, origin_ids or ids, clock, telemetry, "modbus")
        turns: Turns[Thing] = Turns(devices, 0.0, 0)
        wire = Wire()
        loop: BusLoop[Thing] = BusLoop(wire, wire, turns, clock, carrier, telemetry)

        async def kept() -> None:
            while True:
                try:
                    await loop.run()
                except TemporaryError:
                    await asyncio.sleep(5)

        tasks = [asyncio.create_task(carrier.run()), asyncio.create_task(kept())]
        await work(loop)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return [(names[origin], up, reason) for origin, up, reason in heard.states], telemetry

    return simulate(whole())


def fine() -> None:
    return None


def test_a_device_at_which_the_program_fails_harms_no_other() -> None:
    def bug() -> None:
        raise ZeroDivisionError

    bad, good = Thing("bad", bug), Thing("good", fine)

    async def hour(_: BusLoop[Thing]) -> None:
        await asyncio.sleep(HOUR)

    told, telemetry = run([bad, good], hour)
    assert good.polls >= HOUR / 10 - 1
    assert telemetry.value("modbus_device_faults", device="s/bad") > 10
    assert [(name, up) for name, up, _ in told if "bad" in name] == [("device:s/bad", False)]


def test_a_registry_change_while_a_question_is_open_loses_no_word() -> None:
    silent = False

    def says() -> Failure | None:
        return Failure(What.SILENT, "nothing") if silent else None

    async def work(loop: BusLoop[Thing]) -> None:
        nonlocal silent
        await asyncio.sleep(35)
        silent = True
        await asyncio.sleep(6)  # it failed once, and is asked again a second later
        await asyncio.sleep(0.15)
        assert loop.turns.devices[0].failures == 1, "and now it is being asked"
        loop.replace([Thing("d", says)])
        await asyncio.sleep(60)
        silent = False
        await asyncio.sleep(120)

    told, _ = run([Thing("d", says)], work)
    mine = [up for name, up, _ in told if name == "device:s/d"]
    assert mine[-1] is True, "it is up, and nobody was told"
    assert all(one is not two for one, two in itertools.pairwise(mine))


def test_what_could_not_be_told_is_told_later() -> None:
    """The dictionary of origins is on a disk that is full just then."""
    names: list[str] = []
    full = True

    def ids(wanted: list[str]) -> Ids:
        nonlocal full
        if full and "device:s/d" in wanted:
            full = False
            raise TemporaryError("the disk is full")
        names.extend(name for name in wanted if name not in names)
        return np.array([names.index(name) for name in wanted], np.int32)

    async def work(_: BusLoop[Thing]) -> None:
        await asyncio.sleep(HOUR)

    told, _ = run([Thing("d", lambda: Failure(What.SILENT, "nothing"))], work, ids, names)
    assert ("device:s/d", False) in [(name, up) for name, up, _ in told]


def test_who_is_out_of_service_is_not_told_of() -> None:
    over = Thing("over", fine)
    over.device = Device("s", "over", "over", "m", interval=10, end=START - 1)
    dead = Thing("dead", lambda: Failure(What.SILENT, "nothing"))

    async def work(_: BusLoop[Thing]) -> None:
        await asyncio.sleep(HOUR)

    told, _ = run([over, dead], work)
    assert [name for name, _, _ in told if name.startswith("device")] == ["device:s/dead"]


def test_a_clock_set_back_while_readings_are_synced_stops_no_polls() -> None:
    one = Thing("one", fine)

    def set_back(clock: SetClock) -> None:
        if one.polls == 10:
            clock.offset = -HOUR * 1000

    async def minutes(_: BusLoop[Thing]) -> None:
        await asyncio.sleep(600)

    run([one], minutes, meanwhile=set_back)
    assert one.polls >= 60 - 2
