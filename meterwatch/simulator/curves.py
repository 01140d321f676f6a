"""What a plant draws at a moment, and what it has drawn until then. Pure, exact, repeatable.

Every flow answers two questions in closed form: ``at(t)``, a rate in some unit (kW, m3/h), and
``area(t)``, its integral in that unit times hours, counted from a fixed Monday. Therefore

- a counter is the difference of two areas: it never depends on who read it before, how often or
  in which order, and never falls while its rate is not negative;
- a simulated half year costs as much as a second.

``t`` is UTC milliseconds, as everywhere. Days are those of China Standard Time, which has been
UTC+8 without summer time since 1991, so plain arithmetic does. Nothing here reads a clock or a
random source: chance is a hash of the seed and the moment.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from operator import itemgetter
from typing import Final, Protocol

SECOND: Final = 1000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
WEEK: Final = 7 * DAY
MONDAY: Final = 1_704_038_400_000
"""Monday 2024-01-01 00:00 +08:00. Near the present, so that floats keep nanowatt hours."""

Knots = Sequence[tuple[float, float]]
"""(hour of the day, rate) in order, the first at hour 0, the last at hour 24."""


class Flow(Protocol):
    """A rate over time and its exact integral (rate x hours since ``MONDAY``)."""

    def at(self, t: int) -> float: ...

    def area(self, t: int) -> float: ...


def chance(seed: int, step: int) -> float:
    """A repeatable number in [-1, 1) for each pair; neighbours are unrelated (splitmix64)."""
    mixed = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + 1) & 0xFFFFFFFFFFFFFFFF
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return ((mixed ^ (mixed >> 31)) >> 11) / 2**52 - 1.0


def wander(seed: int, t: int, period: int) -> float:
    """A smooth repeatable walk in [-1, 1]: chance at every multiple of ``period`` ms, cosine
    between. For what only has a value: voltage, temperature, pressure."""
    step, rest = divmod(t, period)
    weight = (1 - math.cos(math.pi * rest / period)) / 2
    return chance(seed, step) * (1 - weight) + chance(seed, step + 1) * weight


class _Day:
    """One day's course as straight lines between knots, and the area up to each knot."""

    def __init__(self, knots: Knots) -> None:
        hours = [hour for hour, _ in knots]
        if hours[0] != 0 or hours[-1] != 24 or hours != sorted(set(hours)):
            raise ValueError(f"knots must rise from hour 0 to hour 24: {hours}")
        if min(rate for _, rate in knots) < 0:
            raise ValueError("a rate below zero would make a counter fall")
        self.hours = hours
        self.rates = [rate for _, rate in knots]
        self.areas = [0.0]
        for left, right in pairwise(knots):
            width = right[0] - left[0]
            self.areas.append(self.areas[-1] + width * (left[1] + right[1]) / 2)

    def at(self, hour: float) -> float:
        i = self._segment(hour)
        width = self.hours[i + 1] - self.hours[i]
        return self.rates[i] + (self.rates[i + 1] - self.rates[i]) * (hour - self.hours[i]) / width

    def area(self, hour: float) -> float:
        i = self._segment(hour)
        return self.areas[i] + (hour - self.hours[i]) * (self.rates[i] + self.at(hour)) / 2

    def _segment(self, hour: float) -> int:
        return min(bisect_right(self.hours, hour) - 1, len(self.hours) - 2)


@dataclass(frozen=True)
class Load:
    """A machine's course over the week with an unsteadiness of its own.

    ``workday`` holds Monday to Friday, ``restday`` (default: the same) at the weekend.
    ``unsteady`` in [0, 1) is how far it swings around that course, in share of the rate.

    The unsteadiness is a wobble of the *time* at which the course is read: the rate is
    ``course(w(t)) * w'(t)`` and so its area is ``course_area(w(t))``, exactly, whatever the
    course. ``w`` advances (``w' >= 1 - unsteady > 0``) and comes back to ``t`` at the end of
    every swing, so that days keep their total.
    """

    workday: Knots
    restday: Knots | None = None
    unsteady: float = 0.0
    seed: int = 0
    swings: tuple[int, ...] = (23 * SECOND, 11 * 60 * SECOND)
    """Milliseconds of each swing; together they make ``unsteady``."""

    def __post_init__(self) -> None:
        if not 0 <= self.unsteady < 1:
            raise ValueError(f"unsteady must be in [0, 1), not {self.unsteady}")

    @cached_property
    def _week(self) -> tuple[list[_Day], list[float]]:
        work = _Day(self.workday)
        rest = work if self.restday is None else _Day(self.restday)
        days = [work] * 5 + [rest] * 2
        before = [0.0]
        for day in days:
            before.append(before[-1] + day.areas[-1])
        return days, before

    def at(self, t: int) -> float:
        moment, speed = self._wobble(t)
        _, weekday, hour = _calendar(moment)
        return self._week[0][weekday].at(hour) * speed

    def area(self, t: int) -> float:
        moment, _ = self._wobble(t)
        week, weekday, hour = _calendar(moment)
        days, before = self._week
        return week * before[-1] + before[weekday] + days[weekday].area(hour)

    def _wobble(self, t: int) -> tuple[float, float]:
        """``w(t)`` in ms and its derivative."""
        moment, speed = float(t), 1.0
        for index, period in enumerate(self.swings):
            step, rest = divmod(t, period)
            swing = chance(self.seed * 31 + index, step) * self.unsteady / len(self.swings)
            angle = 2 * math.pi * rest / period
            moment += swing * (1 - math.cos(angle)) * period / (2 * math.pi)
            speed += swing * math.sin(angle)
        return moment, speed


def _calendar(moment: float) -> tuple[int, int, float]:
    """Week since ``MONDAY``, day in it (0 = Monday), hour of that day, in China."""
    week, rest = divmod(moment - MONDAY, WEEK)
    weekday, within = divmod(rest, DAY)
    return int(week), int(weekday), within / HOUR


class Timeline:
    """A setting over time: ``first`` until the first change, then what each change says.

    It only grows at its end, so that a reading of the past stays what it was. A park that plays
    its script for weeks has thousands of changes; looking one up does not get slower.
    """

    def __init__(self, first: float = 1.0) -> None:
        self.times: list[int] = []
        """When each change came, UTC ms."""
        self.settings = [first]
        """What held before the first change, then what each change says."""

    def at(self, t: int) -> float:
        return self.settings[bisect_right(self.times, t)]

    def turn(self, since: int, setting: float) -> None:
        """From ``since`` on (UTC ms, not before the last change) it is ``setting``."""
        if self.times and since < self.times[-1]:
            raise ValueError("a timeline only grows at its end")
        self.settings.append(setting)
        self.times.append(since)

    def followed(self, t: int, seconds: float) -> float:
        """What follows this setting with a first-order lag of ``seconds``, at ``t``: a furnace
        cooling down, an analyser's line filling."""
        now = bisect_right(self.times, t)
        # What was turned fifty time constants ago has long arrived, to the last bit.
        start = bisect_right(self.times, t - round(50_000 * seconds))
        value, since = self.settings[start], None
        for change in range(start, now):
            if since is not None:
                value = _approach(value, self.settings[change], self.times[change] - since, seconds)
            since = self.times[change]
        return value if since is None else _approach(value, self.settings[now], t - since, seconds)


def _approach(value: float, target: float, elapsed_ms: int, seconds: float) -> float:
    return target + (value - target) * math.exp(-elapsed_ms / (1000 * seconds))


@dataclass(frozen=True)
class Switched:
    """A flow that a timeline turns off, on, or up: rate times setting, and its exact area."""

    flow: Flow
    setting: Timeline
    _before: list[float] = field(default_factory=lambda: [0.0], repr=False, compare=False)
    """Area up to each change, as far as anybody asked: the past does not change."""

    def at(self, t: int) -> float:
        return self.flow.at(t) * self.setting.at(t)

    def area(self, t: int) -> float:
        now = bisect_right(self.setting.times, t)
        while len(self._before) <= now:
            change = len(self._before) - 1
            self._before.append(
                self._before[change] + self._since(change, self.setting.times[change])
            )
        return self._before[now] + self._since(now, t)

    def _since(self, change: int, t: int) -> float:
        """Area from the beginning of the stretch before change number ``change`` up to ``t``."""
        start = self.setting.times[change - 1] if change else MONDAY
        return self.setting.settings[change] * (self.flow.area(t) - self.flow.area(start))


@dataclass(frozen=True)
class Total:
    """What a main meter sees: the flows behind it, each with its share or yield."""

    parts: tuple[tuple[float, Flow], ...]

    def at(self, t: int) -> float:
        return sum(factor * flow.at(t) for factor, flow in self.parts)

    def area(self, t: int) -> float:
        return sum(factor * flow.area(t) for factor, flow in self.parts)


class Counter:
    """A register: ``start`` at the moment ``opened``, then ``flow``'s area since, times ``per``.

    ``reset`` sets it to zero at a moment, as a meter does that lost its memory.
    """

    def __init__(self, flow: Flow, opened: int, start: float = 0.0, per: float = 1.0) -> None:
        self._flow, self._per = flow, per
        self._epochs = [(opened, start)]

    def reset(self, t: int) -> None:
        """At ``t`` (UTC ms, not before the last reset) it shows zero."""
        self._epochs.append((t, 0.0))

    def at(self, t: int) -> float:
        epoch = bisect_right(self._epochs, t, key=itemgetter(0))
        opened, start = self._epochs[max(0, epoch - 1)]
        return start + self._per * (self._flow.area(t) - self._flow.area(opened))
