"""What the benchmark's sender sends, as a pure function of the plan and the cycle, never of timing.

So which points exceed the limit and when, and the sum of all values of a quantity, can be told
independently of whoever received them (``crossing``, ``expected_rises``, ``sums``).
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

GAUGES: Final = (
    "power.active",
    "power.reactive",
    "voltage.l1",
    "voltage.l2",
    "voltage.l3",
    "current.l1",
    "current.l2",
    "current.l3",
)
COUNTERS: Final = ("energy.active.import", "energy.reactive.import")
QUANTITIES: Final = GAUGES + COUNTERS
"""What each device brings: eight gauges and two counters."""

STAMP: Final = b"1000000000000"
"""Where a time stamp belongs: 13 digits, as epoch milliseconds have until the year 2286."""

_CENTRE: Final = 50.0
_WIDTH: Final = 10.0
"""Centre and half width of a gauge's values below the limit."""

_REGISTER: Final = 10_000_000
"""Where registers begin, in hundredths: they keep eight digits in any run of a bench."""


@dataclass(frozen=True)
class Plan:
    """What is sent. ``crossing``: share of points that ever exceed ``limit``; such a point is
    above it for ``period`` cycles, then below for as many, and so on, starting below; the turn
    comes at a cycle that depends on its message slot, so that not all change at once. A cycle is
    one message of every slot. ``variants``: different renderings of each slot and phase.
    """

    points: int = 5000
    per_message: int = 50
    gateways: int = 10
    crossing: float = 0.01
    limit: float = 100.0
    above: float = 150.0
    period: int = 50
    variants: int = 8
    seed: int = 1

    def __post_init__(self) -> None:
        if self.per_message % len(QUANTITIES) or self.points % self.per_message:
            raise SystemExit(
                f"points must be a multiple of per-message, and that of {len(QUANTITIES)}"
            )

    @property
    def slots(self) -> int:
        """Messages in a cycle."""
        return self.points // self.per_message

    @property
    def devices(self) -> int:
        """Devices in a message."""
        return self.per_message // len(QUANTITIES)

    def gateway(self, slot: int) -> str:
        return f"gw-{slot % self.gateways}"

    def site(self, slot: int) -> str:
        return f"bench-{slot % self.gateways}"

    def device(self, slot: int, index: int) -> str:
        return f"d{slot}-{index}"

    def point(self, number: int) -> str:
        """Name of point 0 .. points-1 (its place is named as its device)."""
        slot, within = divmod(number, self.per_message)
        index, quantity = divmod(within, len(QUANTITIES))
        return f"{self.site(slot)}/{self.device(slot, index)}/{QUANTITIES[quantity]}/raw"

    @cached_property
    def crossers(self) -> frozenset[int]:
        """Numbers of the points that ever exceed the limit; never a counter."""
        able = [n for n in range(self.points) if n % len(QUANTITIES) < len(GAUGES)]
        wanted = round(self.points * self.crossing)
        return frozenset(random.Random(self.seed).sample(able, min(wanted, len(able))))

    def turn(self, slot: int) -> int:
        """The cycle, 0 .. period-1, by which this slot's phases are shifted."""
        return slot * self.period // self.slots

    def is_high(self, slot: int, cycle: int) -> bool:
        """Whether the crossing points of ``slot`` exceed the limit in ``cycle``."""
        return cycle >= self.turn(slot) and (cycle - self.turn(slot)) // self.period % 2 == 1

    def expected_rises(self, cycles: list[int]) -> int:
        """How often any point went from below the limit to above it, when slot ``i`` sent
        ``cycles[i]`` messages: the number of alerts a plain threshold rule raises per point."""
        rises = 0
        for number in self.crossers:
            slot = number // self.per_message
            after = cycles[slot] - self.turn(slot) - self.period
            if after > 0:
                rises += 1 + (after - 1) // (2 * self.period)
        return rises

    def payload(self, slot: int, variant: int, high: bool) -> bytes:
        """One message's JSON, time stamps and registers still to be patched in."""
        rng = random.Random(f"{self.seed}/{slot}/{variant}")
        rows = []
        for index in range(self.devices):
            values = {}
            first = slot * self.per_message + index * len(QUANTITIES)
            for number, quantity in enumerate(GAUGES, first):
                value = _CENTRE + rng.uniform(-_WIDTH, _WIDTH)
                if high and number in self.crossers:
                    value += self.above - _CENTRE
                values[quantity] = round(value, 2)
            for number, quantity in enumerate(COUNTERS, first + len(GAUGES)):
                values[quantity] = self.register(number, 0)[0] / 100
            rows.append({"device": self.device(slot, index), "time": int(STAMP), "values": values})
        return json.dumps({"readings": rows}, separators=(",", ":")).encode()

    def register(self, number: int, cycle: int) -> tuple[int, int]:
        """What counter ``number`` shows in ``cycle``, in hundredths, and its advance each cycle.
        The first one ends in 1, so that JSON writes it with all its digits: see ``_Packet``."""
        step = 1 + number % 3
        return _REGISTER + 1 + number % 5000 * 1000 + cycle * step, step

    def sums(self, cycles: list[int]) -> dict[str, float]:
        """Sum of all values of each quantity when slot ``i`` sent ``cycles[i]`` messages."""
        totals = dict.fromkeys(QUANTITIES, 0)  # in hundredths, exactly
        for slot, count in enumerate(cycles):
            cycle = np.arange(count)
            high = np.array([self.is_high(slot, one) for one in range(count)], np.bool_)
            for variant in range(self.variants):
                for phase in (False, True):
                    times = int(
                        np.count_nonzero((cycle % self.variants == variant) & (high == phase))
                    )
                    if times:
                        for quantity, value in self._hundredths(slot, variant, phase).items():
                            totals[quantity] += times * value
            for index in range(self.devices):
                first = slot * self.per_message + index * len(QUANTITIES) + len(GAUGES)
                for number, quantity in enumerate(COUNTERS, first):
                    start, step = self.register(number, 0)
                    totals[quantity] += count * start + step * (count * (count - 1) // 2)
        return {quantity: total / 100 for quantity, total in totals.items()}

    def _hundredths(self, slot: int, variant: int, high: bool) -> dict[str, int]:
        """Sums of the gauges of one message."""
        rows = json.loads(self.payload(slot, variant, high))["readings"]
        return {
            quantity: sum(round(100 * row["values"][quantity]) for row in rows)
            for quantity in GAUGES
        }

    def registry(self) -> dict[str, str]:
        """File name -> text of the registry these readings belong to."""
        texts: dict[str, list[str]] = {}
        for slot in range(self.slots):
            site, gateway = self.site(slot), self.gateway(slot)
            if site not in texts:
                texts[site] = [
                    f'[site]\nid = "{site}"\nname = "{site}"\nname_zh = "{site}"\n',
                    'county = "620502"\nindustry = "C2319"\n',
                    f'[[gateway]]\nid = "{gateway}"\nname = "{gateway}"\n',
                ]
            for index in range(self.devices):
                device = self.device(slot, index)
                texts[site].append(
                    f'[[place]]\nid = "{device}"\nname = "{device}"\nname_zh = "{device}"\n'
                    f'[[device]]\nid = "{device}"\nplace = "{device}"\nprofile = "push"\n'
                    f'gateway = "{gateway}"\ninterval = "10s"\n'
                    f"quantities = {json.dumps(list(QUANTITIES))}\n"
                )
        return {f"{site}.toml": "\n".join(parts) for site, parts in texts.items()}


def hundredths(register: int) -> bytes:
    """A register as the meter's text."""
    return b"%d.%02d" % divmod(register, 100)
