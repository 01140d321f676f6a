"""Whose turn it is, without any bus: devices that take their time, and time that only they pass."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.sources.polling.polled import Polled
from adapters.sources.polling.turns import (
    DEAD_WAITS_MOST_MS,
    FORCED_MS,
    LOOK_MS,
    RETRY_MOST_MS,
    Turns,
)
from collector.registry import Device

TIMEOUT = 2_000.0
START = 1_795_000_000_000 // 900_000 * 900_000
MINUTE = 60_000
NEVER = START + 1000 * 24 * 60 * MINUTE


class Fake(Polled):
    """Takes ``takes`` ms for a poll, and a third of it to say that it is there."""

    __slots__ = ("polled_at", "takes", "tries")

    def __init__(
        self, name: str, interval: float, takes: int, start: int = 0, end: int = NEVER
    ) -> None:
        super().__init__(Device("s", name, name, "m", interval=interval, start=start, end=end))
        self.at = max(start, START)
        self.takes = takes
        self.polled_at: list[int] = []
        self.tries: list[int] = []

    points = 1

    def as_read(self) -> tuple[object, ...]:
        return (self,)

    def widen(self, *, barren: bool = False) -> None:
        self.barren = barren

    def refused(self) -> tuple[int, str]:
        return 0, ""

    def news(self) -> bool:
        return False


@dataclass
class Bus:
    """Runs turns as the loop does. ``dead``: who does not answer, from and until when."""

    devices: list[Fake]
    dead: dict[str, tuple[int, int]]
    now: int = START
    rests: int = 0

    def __post_init__(self) -> None:
        self.turns = Turns(self.devices, 0.0, 0)
        self.turns.timeout = TIMEOUT

    def run(self, until: int) -> None:
        while self.now < until:
            turn = self.turns.next(self.now)
            one = turn.device
            if one is None:
                assert turn.until > self.now, "it would never end"
                self.rests += 1
                self.now = min(turn.until, until)
                continue
            assert one.at <= self.now or not one.failures or turn.patience is None
            assert one.device.start <= self.now < one.device.end, "it is not in service"
            if turn.patience is not None:
                self._ask(one, turn.patience * 1000, short=turn.short)
            else:
                self._poll(one)

    def _silent(self, one: Fake) -> bool:
        start, end = self.dead.get(one.device.id, (0, 0))
        return start <= self.now < end

    def _ask(self, one: Fake, patience: float, *, short: bool) -> None:
        takes = math.ceil(one.takes / 3) if short else one.takes
        one.tries.append(self.now)
        silent = self._silent(one) or takes > patience
        self.now += math.ceil(patience) if silent else takes
        if silent and one.failures:
            self.turns.failed(one, self.now)
        elif not silent:
            if short:
                one.pace.nudged(takes)
            if one.failures:
                self.turns.proved(one, self.now)

    def _poll(self, one: Fake) -> None:
        patience = self.turns.patience(one, self.now)
        if self._silent(one):
            self.now += math.ceil(TIMEOUT if patience is None else patience * 1000)
            self.turns.failed(one, self.now)
            return
        assert patience is None or patience * 1000 >= one.takes, "an honest device was cut off"
        self.now += one.takes
        one.pace.polled(one.takes, one.takes)
        one.polled_at.append(self.now)
        self.turns.polled(one, self.now, whole=True)
        self.turns.weigh(self.now)


def missed(one: Fake, start: int, end: int) -> int:
    """Slots from ``start`` to ``end`` in which it was not read."""
    slot = one.interval
    seen = {(at - 1) // slot for at in one.polled_at}
    return sum(n not in seen for n in range(-(-start // slot), end // slot))


@settings(max_examples=30, deadline=None)
@given(
    takes=st.lists(st.integers(20, 300), min_size=2, max_size=16),
    spare=st.floats(1.02, 3.0),
    whose=st.integers(0, 31),
)
def test_a_dead_device_costs_the_others_no_slot(takes: list[int], spare: float, whose: int) -> None:
    longest = max(takes)
    # a line that is full but for one question to a device that never answers
    interval = (sum(takes) * spare + 1.25 * longest + 60) / 1000
    devices = [Fake(f"d{n}", interval, one) for n, one in enumerate(takes)]
    dead = devices[whose % len(devices)]
    warm, died = START + round(20 * interval * 1000), START + round(25 * interval * 1000)
    end = died + 12 * MINUTE
    bus = Bus(devices, {dead.device.id: (died, end)})
    bus.run(end)
    for one in devices:
        if one is not dead:
            assert missed(one, warm, end) == 0, one.device.id
    worked = sum(len(one.polled_at) + len(one.tries) for one in devices)
    assert bus.rests <= 2 * worked + (end - START) / LOOK_MS, "it wakes for nothing"
    probes = [at for at in dead.tries if at > died]
    gaps = [b - a for a, b in itertools.pairwise(probes)]
    most = RETRY_MOST_MS + DEAD_WAITS_MOST_MS + FORCED_MS + 2 * interval * 1000
    assert max(gaps) <= most, "it was forgotten"
    bus.run(end + round(most + 4 * interval * 1000))
    assert dead.polled_at[-1] > end, "it came back and nobody asked"


@settings(max_examples=30, deadline=None)
@given(
    takes=st.lists(st.integers(20, 300), min_size=2, max_size=20),
    load=st.floats(1.3, 20.0),
)
def test_a_bus_that_cannot_carry_its_intervals_serves_all_alike(
    takes: list[int], load: float
) -> None:
    interval = sum(takes) / load / 1000
    devices = [Fake(f"d{n}", interval, one) for n, one in enumerate(takes)]
    bus = Bus(devices, {})
    bus.run(START + 2 * MINUTE)
    begin = bus.now
    bus.run(begin + 3 * MINUTE)
    counts = [sum(at > begin for at in one.polled_at) for one in devices]
    assert max(counts) - min(counts) <= 2
    assert sum(n * one.takes for n, one in zip(counts, devices, strict=True)) > 0.9 * 3 * MINUTE
    assert bus.turns.stretch > 1


@settings(max_examples=30, deadline=None)
@given(
    kinds=st.lists(
        st.tuples(st.integers(20, 300), st.sampled_from([1, 2, 5, 10])), min_size=2, max_size=20
    ),
    load=st.floats(1.3, 20.0),
)
def test_a_bus_that_cannot_carry_its_intervals_stretches_all_alike_and_never_rests(
    kinds: list[tuple[int, int]], load: float
) -> None:
    shortest = sum(takes / times for takes, times in kinds) / load
    devices = [
        Fake(f"d{n}", shortest * times / 1000, takes) for n, (takes, times) in enumerate(kinds)
    ]
    bus = Bus(devices, {})
    bus.run(START + 2 * MINUTE)
    begin = bus.now
    bus.run(begin + 3 * MINUTE)
    assert bus.turns.stretch > 1
    counts = [sum(at > begin for at in one.polled_at) for one in devices]
    worked = sum(n * takes for n, (takes, _) in zip(counts, kinds, strict=True))
    assert worked == bus.now - begin
    for count, (_, times) in zip(counts, kinds, strict=True):
        assert abs(count - 3 * MINUTE / (shortest * load * times)) <= 3 + 0.2 * count


@settings(max_examples=40, deadline=None)
@given(
    intervals=st.lists(st.sampled_from([1.0, 5.0, 60.0, 900.0]), min_size=1, max_size=12),
    takes=st.integers(10, 60),
)
def test_each_is_read_once_in_each_of_its_intervals_and_on_the_minute(
    intervals: list[float], takes: int
) -> None:
    devices = [Fake(f"d{n}", one, takes) for n, one in enumerate(intervals)]
    bus = Bus(devices, {})
    bus.run(START + 120 * MINUTE)
    for one in devices:
        assert missed(one, START, START + 120 * MINUTE) == 0
        late = [at % one.interval for at in one.polled_at[1:]]
        assert max(late, default=0) <= takes * len(devices)


def test_a_clock_that_is_set_back_stops_nobody() -> None:
    """An hour, while one is well, one fails, and one is dead."""
    devices = [Fake(f"d{n}", interval, 30) for n, interval in enumerate((1.0, 60.0, 5.0))]
    bus = Bus(devices, {"d2": (START + MINUTE, START + 600 * MINUTE)})
    bus.run(START + 5 * MINUTE)
    bus.now -= 60 * MINUTE
    back = bus.now
    for one in devices:
        one.polled_at.clear()
        one.tries.clear()
    bus.run(back + 4 * MINUTE)
    assert min(devices[0].polled_at) <= back + 2_000
    assert min(devices[1].polled_at) <= back + 61_000
    assert missed(devices[0], back + MINUTE, back + 4 * MINUTE) == 0
    assert len(devices[2].polled_at) + len(devices[2].tries) > 0


@settings(max_examples=20, deadline=None)
@given(load=st.floats(0.3, 5.0), later=st.integers(5_000, 60_000))
def test_who_is_not_in_service_is_not_asked(load: float, later: int) -> None:
    interval = 300 / load / 1000
    devices = [Fake(f"d{n}", interval, 100) for n in range(2)]
    came = [
        Fake(f"c{n}", 20 * interval, 100, start=START + MINUTE + later + 1013 * n)
        for n in range(40)
    ]
    left = Fake("left", interval, 100, end=START + later)
    bus = Bus([*devices, *came, left], {})
    bus.run(START + 3 * MINUTE)
    assert all(one.polled_at for one in came)
    assert left.polled_at
