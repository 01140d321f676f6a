"""The books once more, as dumb as can be: one reading at a time, Python's integers, dicts.

Written from the text of ``collector/accounts/counters.py``, not from its code, and sharing none
of it but the registry's ``Service`` and the table of qualities. What the program computes must
equal this for any readings in any order.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from random import Random

from hypothesis import strategies as st

from collector.model import QUALITY_USES, Quality
from collector.registry import Service

QUARTER = 15 * 60 * 1000
BAD = Quality.BAD_TIME
Reading = tuple[int, float, int]
"""time, value, quality"""


@dataclass
class Quarter:
    steps: int = 0
    measured: int = 0
    estimated: int = 0


@dataclass
class Books:
    """quarters: (scale, quarter number) -> Quarter; anomalies: (kind, time, since, until);
    settled: times of anchors; pending: the newest reading is."""

    quarters: dict[tuple[float, int], Quarter] = field(default_factory=dict)
    anomalies: list[tuple[str, int, int, int]] = field(default_factory=list)
    settled: list[int] = field(default_factory=list)
    pending: bool = False

    def total(self) -> float:
        by_scale: dict[float, int] = {}
        for (scale, _), quarter in self.quarters.items():
            by_scale[scale] = by_scale.get(scale, 0) + quarter.steps
        return sum(scale * steps for scale, steps in sorted(by_scale.items()))


def reference(
    readings: Iterable[Reading], services: Iterable[Service], *, amounts: bool = True
) -> Books:
    """``readings`` in the order of the journal. Without ``amounts`` no quarter-hours, quickly."""
    held: dict[int, tuple[float, int]] = {}
    for time, value, quality in readings:
        if quality == Quality.BAD_TIME:
            continue  # a reading of no time at all
        held[time] = (value, quality)
    books = Books()
    before: tuple[str, int] | None = None
    for service in services:
        quantum = service.resolution if service.resolution > 0 else 1e-6
        rows = []
        for time in sorted(held):
            value, quality = held[time]
            if not service.start <= time < service.end:
                continue
            if not QUALITY_USES[Quality(quality)].sums or not math.isfinite(value):
                continue
            if abs(round(value / quantum)) >= 2**61:
                continue
            rows.append((time, round(value / quantum)))
        if not rows:
            continue
        if before is not None and before[0] != service.device:
            books.anomalies.append(("replacement", rows[0][0], before[1], rows[0][0]))
        before = (service.device, _one_service(books, rows, service, quantum, amounts=amounts))
    return books


def _one_service(
    books: Books, rows: list[tuple[int, int]], service: Service, quantum: float, *, amounts: bool
) -> int:
    scale = quantum * service.ratio
    modulus = service.modulus if service.resolution > 0 else service.modulus / quantum
    modulus = int(modulus) if modulus < 2**61 else 0
    rate = service.max_rate / scale / 3_600_000 if service.max_rate else None

    def most(a: tuple[int, int], b: tuple[int, int]) -> float:
        return math.inf if rate is None else math.floor(rate * (b[0] - a[0] + 60_000)) + 1

    def advance(a: tuple[int, int], b: tuple[int, int]) -> int | None:
        d = b[1] - a[1]
        if d >= 0:
            if modulus and d > modulus // 2:
                return None
            return d if d <= most(a, b) else None
        if not modulus or not 0 <= b[1] < modulus:
            return None
        if rate is None:
            return d + modulus if 10 * a[1] >= 9 * modulus and 10 * b[1] <= modulus else None
        return d + modulus if d + modulus <= modulus // 2 and d + modulus <= most(a, b) else None

    def book(a: tuple[int, int], b: tuple[int, int], steps: int) -> None:
        wide = b[0] - a[0] > max(QUARTER, service.interval * 1500)
        at = a[0]
        while amounts and at < b[0]:
            edge = min((at // QUARTER + 1) * QUARTER, b[0])
            till = math.floor(Fraction(steps * (edge - a[0]), b[0] - a[0]))
            since = math.floor(Fraction(steps * (at - a[0]), b[0] - a[0]))
            quarter = books.quarters.setdefault((scale, at // QUARTER), Quarter())
            quarter.steps += till - since
            if wide:
                quarter.estimated += edge - at
            else:
                quarter.measured += edge - at
            at = edge

    def tell(kind: str, time: int, since: int, until: int) -> None:
        books.anomalies.append((kind, time, since, until))

    anchor = rows[0]
    books.settled.append(anchor[0])
    pending: tuple[int, int] | None = None
    told: list[tuple[str, int]] = []

    def settle(x: tuple[int, int]) -> None:
        nonlocal pending, told, anchor
        for kind, time in told:
            tell(kind, time, since, x[0])
        anchor, pending, told = x, None, []
        books.settled.append(x[0])

    for x in rows[1:]:
        since = anchor[0]
        d = advance(anchor, x)
        if pending is None:
            if d is None:
                pending = x
                continue
            if x[1] < anchor[1]:
                told.append(("rollover", x[0]))
            book(anchor, x, d)
            settle(x)
            continue
        if d is not None:
            told.append(("glitch", pending[0]))
            if x[1] < anchor[1]:
                told.append(("rollover", x[0]))
            book(anchor, x, d)
            settle(x)
            continue
        d = advance(pending, x)
        if d is None:
            told.append(("glitch", pending[0]))
            pending = x
            continue
        if pending[1] > anchor[1]:
            told.append(("jump", pending[0]))
        else:
            told.append(("reset", pending[0]))
            bound = most(anchor, pending) if rate is not None else anchor[1] / 2
            if 0 <= pending[1] <= bound:
                book(anchor, pending, pending[1])
        if x[1] < pending[1]:
            told.append(("rollover", x[0]))
        book(pending, x, d)
        settle(x)
    books.pending = pending is not None
    if pending is not None:
        for kind, time in [*told, ("pending", pending[0])]:
            tell(kind, time, anchor[0], service.end)
    return anchor[0]


DAY = 86_400_000


@dataclass
class Cut:
    """A point whose readings are forgotten ``days`` after the clock, once a day and by a week at
    most: which of what is delivered still counts. Their ``reference`` are the books."""

    services: tuple[Service, ...]
    days: int
    counted: list[Reading] = field(default_factory=list)
    day: int | None = None
    horizon: int | None = None

    def tick(self, time: int) -> None:
        if time // DAY == self.day:
            return
        self.day = time // DAY
        wished = (self.day - self.days) * DAY
        before = self.horizon
        now = wished if before is None else min(max(before, wished), before + 7 * DAY)
        self.horizon = now
        of = reference(self.counted, self.services, amounts=False)
        if of.pending:  # what waits to be confirmed waits no longer than it is remembered
            last = of.settled[-1]
            self.counted = [row for row in self.counted if not last < row[0] < now]

    def deliver(self, batch: Iterable[Reading]) -> None:
        kept = {time: (value, quality) for time, value, quality in batch if quality != BAD}
        for time, (value, quality) in sorted(kept.items()):
            if self.horizon is None or self._counts(time, self.horizon):
                self.counted.append((time, value, quality))

    def _counts(self, time: int, horizon: int) -> bool:
        if time < horizon:
            return False
        settled = reference(self.counted, self.services, amounts=False).settled
        if not settled or settled[0] >= horizon or settled[-1] < time:
            return True
        return any(horizon <= before < time for before in settled)


# What the property tests draw from: meters with every fault that is in the books' scope.


@st.composite
def lives(draw: st.DrawFn) -> tuple[list[Reading], tuple[Service, ...]]:
    """Readings of one point in order of time, and the services that it had."""
    services = []
    start = draw(st.sampled_from([0, 7 * 3_600_000]))
    for index in range(draw(st.integers(1, 3))):
        length = draw(st.sampled_from([QUARTER, 90 * 60_000, 5 * 3_600_000, 40 * 86_400_000]))
        services.append(
            Service(
                device=f"site/{draw(st.sampled_from(['old', 'new', str(index)]))}",
                start=start,
                end=start + length,
                resolution=draw(st.sampled_from([0.01, 0.01, 1.0, 0.0])),
                modulus=draw(st.sampled_from([0, 1000, 100_000, 2.0**32])),
                ratio=draw(st.sampled_from([1.0, 40.0])),
                max_rate=draw(st.sampled_from([0.0, 10.0, 2000.0])),
                interval=draw(st.sampled_from([10.0, 900.0, 3600.0])),
            )
        )
        start += length + draw(st.sampled_from([0, 0, 3_600_000]))
    return draw(_readings(services)), tuple(services)


@st.composite
def _readings(draw: st.DrawFn, services: list[Service]) -> list[Reading]:
    out: list[Reading] = []
    time = services[0].start - draw(st.sampled_from([0, 1, QUARTER]))
    register = draw(st.integers(0, 1200))
    good = [0] * 8 + [Quality.SUBSTITUTED, Quality.FAULT, Quality.BAD_TIME, Quality.NO_VALUE]
    for _ in range(draw(st.integers(0, 40))):
        time += draw(st.sampled_from([1, 10_000, QUARTER, QUARTER, 3_600_000, 2 * 86_400_000]))
        wraps = draw(st.sampled_from([1000, 100_000, 2**32]))
        shown: float = register
        match draw(st.sampled_from(["on", "on", "on", "on", "fast", "reset", "odd", "nan", "top"])):
            case "on":
                register = (register + draw(st.integers(0, 30))) % wraps
                shown = register
            case "fast":
                register = shown = (register + draw(st.integers(0, 5000))) % wraps
            case "reset":
                register = shown = draw(st.integers(0, 20))
            case "top":
                register = shown = wraps - draw(st.integers(1, 30))
            case "odd":
                shown = draw(st.integers(-5, 1100) | st.sampled_from([2**33, 1e30]))
            case "nan":
                shown = draw(st.sampled_from([math.nan, math.inf]))
        unit = next((s.resolution for s in services if s.start <= time < s.end), 1.0) or 0.01
        out.append((time, shown * unit, draw(st.sampled_from(good))))
    return out


CALM = (10_000, 60_000, 300_000, QUARTER)


def calm_life(
    chance: Random, paces: tuple[int, ...] = CALM
) -> tuple[list[Reading], tuple[Service, ...]]:
    """A meter as most are: read at a steady pace, now and then something odd, replaced once."""
    pace = chance.choice(paces)
    exchange = chance.randrange(20, 160) * pace + chance.choice([0, 1, pace // 2])
    common = {
        "resolution": 0.01,
        "modulus": chance.choice([0, 5_000, 2**32]),
        "max_rate": chance.choice([0.0, 500.0]),
        "interval": pace / 1000,
    }
    services = (
        Service("site/old", 0, exchange, **common),
        Service("site/new", exchange, 2**62, **common, ratio=chance.choice([1.0, 3.0])),
    )
    out: list[Reading] = []
    time, register = chance.randrange(pace), chance.choice([10, 4_900, 3_000])
    for _ in range(chance.randrange(40, 160)):
        before, time = time, time + pace * chance.choice([1] * 30 + [5, 100])
        register += chance.randrange(6)
        odd = chance.random()
        if before < exchange <= time:
            register += chance.choice([-register, 5, 40])
        elif odd < 0.02:
            register = chance.randrange(100)
        if common["modulus"]:
            register %= int(common["modulus"])
        shown = chance.choice([0, 4_999, 10**6]) if 0.02 <= odd < 0.05 else register
        out.append((time, shown / 100, chance.choice([0] * 30 + [130])))
    return out, services
