"""Whether the clocks of gateways are right, told from what they send. Pure: times are arguments.

What is known is when a message came and the newest time in it. Where the clock is right the two
differ by seconds. A difference that stays the same tells a wrong clock, one that shrinks is a
backlog being sent; so only steady ones are judged, except of times in the future, which no backlog
explains. Messages that call themselves late are left out.

Nothing is ever moved here. Numbers that are no milliseconds of this age, and as seconds, micro- or
nanoseconds a time close to receipt, are read as such (``in_milliseconds``); a zone that seems
wrong, a skew, a clock that fell back to 1970 are told, and it is for people to mend the clock: a
correction of ours would be wrong, silently and by hours, on the day they do.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from collector.normalise import AHEAD_MS, EARLIEST_MS
from collector.telemetry import Telemetry

_SECONDS_END: Final = 10**11
"""Below: no milliseconds since 1973."""
_MILLISECONDS_END: Final = 10**14
_MICROSECONDS_END: Final = 10**17
"""Each is the year 5138, in the unit of its name."""
DAY: Final = 86_400_000
RECENT: Final = 60 * DAY
"""Another unit is believed only of a time not longer before receipt, and no day after it: a clock
that lost its time counts milliseconds from its start, and after 11 to 21 days these are seconds of
2000 to today."""
_MINUTE: Final = 60_000
_HALF_HOUR: Final = 1_800_000

_SAMPLES: Final = 5
_ENOUGH: Final = 4
"""Samples (at most one a minute) before a steady difference is judged."""
_STEADY: Final = 60_000
"""They may differ by so much."""
_NEAR: Final = 90_000
"""A zone error is so near to whole half hours; the rest is the way."""
_FURTHEST_ZONE: Final = 26 * _HALF_HOUR
_BEHIND: Final = 120_000
"""Readings may come so late on their usual way."""
_LOST_BEFORE: Final = 1_262_304_000_000
"""2010: clocks without a battery begin in 1970 or 2000."""
_REMEMBERED: Final = 60 * _MINUTE
_WHY: Final = {
    "s": "its times are seconds where milliseconds are meant",
    "us": "its times are microseconds where milliseconds are meant",
    "ns": "its times are nanoseconds where milliseconds are meant",
}


def in_milliseconds(written: int, received: int) -> tuple[int, str]:
    """``written`` as UTC milliseconds, and the unit (``s us ns``) that it was taken to be in; as it
    is, and empty, where it is milliseconds or no unit makes it a time of the 60 days before receipt
    or the day after. A time before 2000 is never made.

    What stays uncertain: milliseconds since a start are like seconds of those 60 days for an hour
    and a half, about the 21st day after the start.
    """
    if _SECONDS_END <= written < _MILLISECONDS_END:
        return written, ""
    if written < _SECONDS_END:
        time, unit = written * 1000, "s"
    elif written < _MICROSECONDS_END:
        time, unit = written // 1000, "us"
    else:
        time, unit = written // 10**6, "ns"
    earliest = max(EARLIEST_MS, received - RECENT)
    return (time, unit) if earliest <= time <= received + DAY else (written, "")


def remark(unit: str) -> str:
    """What a sender is told whose times were read as ``unit``."""
    return f"{_WHY[unit]}: they were taken as such"


@dataclass(frozen=True, slots=True)
class ClockFinding:
    """What is wrong with a gateway's clock. ``kind``: ``unit``, ``lost``, ``zone``, ``ahead`` or
    ``behind``. ``offset_ms``: its clock minus ours. ``since``: receipt, UTC ms. ``told``: in words,
    with what to do."""

    gateway: str
    kind: str
    offset_ms: int
    since: int
    told: str


class Clock:
    """One gateway's clock. ``saw`` is called for every message. Any thread, without a lock: where
    two sources bring the same gateway's at once, a sample may be lost, and nothing else."""

    __slots__ = (
        "_due", "_found", "_gateway", "_least", "_samples", "_telemetry", "_unit", "_unit_at",
        "_unit_since", "local",
    )  # fmt: skip

    def __init__(self, gateway: str, telemetry: Telemetry | None) -> None:
        self._gateway, self._telemetry = gateway, telemetry
        self._samples: deque[int] = deque(maxlen=_SAMPLES)
        self._least: int | None = None
        self._due = 0
        self._found: ClockFinding | None = None
        self._unit, self._unit_at, self._unit_since = "", 0, 0
        self.local = ""
        """The zone in which its times were last read, where they were texts without an offset."""

    def saw(self, received: int, newest: int) -> None:
        """A message that does not call itself late came at ``received``; UTC milliseconds."""
        least = self._least
        late = received - newest if least is None else min(least, received - newest)
        self._least = late
        if received >= self._due or received < self._due - _MINUTE:
            self._samples.append(late)
            self._least = None
            self._due = received + _MINUTE
            self._judge(received)

    def saw_unit(self, received: int, unit: str) -> None:
        """A time was read that can only have been in ``unit``."""
        news = unit != self._unit or received - self._unit_at > _REMEMBERED
        if news:
            self._unit, self._unit_since = unit, received
        self._unit_at = max(self._unit_at, received)
        if news:
            self._tell(self._of_unit())

    def findings(self, now: int) -> list[ClockFinding]:
        """What is wrong with it at ``now``."""
        of_unit = [self._of_unit()] if self._unit and now - self._unit_at <= _REMEMBERED else []
        found = self._found
        return of_unit + ([found] if found else [])

    @property
    def steadily(self) -> str:
        """What is wrong with it beside the unit of its times, in words; empty where nothing is."""
        return self._found.told if self._found else ""

    @property
    def judged(self) -> bool:
        """Enough has come to say whether anything is wrong with it."""
        return len(self._samples) >= _ENOUGH or self._found is not None or bool(self._unit)

    def _of_unit(self) -> ClockFinding:
        told = f"{remark(self._unit)}; let it send milliseconds"
        return ClockFinding(self._gateway, "unit", 0, self._unit_since, told)

    def _judge(self, received: int) -> None:
        samples = sorted(self._samples)
        late = samples[len(samples) // 2]
        if self._telemetry is not None:
            self._telemetry.gauge(
                "gateway_clock_offset_seconds", -late / 1000, gateway=self._gateway
            )
        kind, told = _verdict(samples, received)
        was = self._found
        if kind == (was.kind if was else ""):
            return
        self._found = None
        if kind == "zone" and self.local:
            told += f" Its times have no offset and are read as {self.local}: send one, as +08:00"
        if kind:
            self._found = ClockFinding(self._gateway, kind, -late, received, told)
            self._tell(self._found)
        elif self._telemetry is not None:
            self._telemetry.event("gateway-clock-right", gateway=self._gateway)

    def _tell(self, found: ClockFinding) -> None:
        if self._telemetry is not None:
            self._telemetry.event(
                "gateway-clock",
                level="warning",
                gateway=found.gateway,
                finding=found.kind,
                offset_seconds=found.offset_ms / 1000,
                told=found.told,
            )


def _verdict(samples: list[int], received: int) -> tuple[str, str]:
    """Kind and words for differences (receipt minus newest time, sorted); empty where nothing is
    wrong, or nothing certain."""
    late = samples[len(samples) // 2]
    steady = len(samples) >= _ENOUGH and samples[-1] - samples[0] <= _STEADY
    if steady and received - late < _LOST_BEFORE:
        return "lost", "its clock has lost its time: set it, and look at its battery"
    by = _span(abs(late))
    zone = round(late / _HALF_HOUR) * _HALF_HOUR
    if steady and 0 < abs(zone) <= _FURTHEST_ZONE and abs(late - zone) <= _NEAR:
        told = f"its clock is steadily {_span(abs(zone))} {'behind' if late > 0 else 'ahead'}"
        told += ": is its zone wrong?"
        if 0 < zone <= 2 * _HALF_HOUR:
            told += " Or are its times those at which a period began?"
        return "zone", told
    if samples[-1] < -AHEAD_MS and len(samples) > 1:
        return "ahead", f"its clock is {by} ahead: set it; such readings are kept and not used"
    if steady and late > _BEHIND:
        return "behind", f"its newest readings are steadily {by} old: set its clock, or is it slow?"
    return "", ""


def _span(ms: int) -> str:
    """A span as people say it."""
    seconds = ms // 1000
    if seconds >= 2 * 86_400:
        return f"{seconds // 86_400} d"
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h".replace(".0 ", " ")
    return f"{seconds // 60} min" if seconds >= 300 else f"{seconds} s"


class Clocks:
    """The clocks of all gateways, whatever brings their messages. ``telemetry`` gets each offset as
    a metric (``gateway_clock_offset_seconds``: by how much a gateway is ahead; its way counts
    against it), and each change as a log line."""

    def __init__(self, telemetry: Telemetry | None = None) -> None:
        self._telemetry = telemetry
        self._clocks: dict[str, Clock] = {}

    def of(self, gateway: str) -> Clock:
        clock = self._clocks.get(gateway)
        if clock is None:
            clock = self._clocks[gateway] = Clock(gateway, self._telemetry)
        return clock

    def findings(self, now: int) -> list[ClockFinding]:
        """What is wrong with any of them, by gateway."""
        return [
            found for name in sorted(self._clocks) for found in self._clocks[name].findings(now)
        ]

    def told(self, now: int) -> dict[str, str]:
        """What is wrong with each, by gateway and in words: empty where nothing is. Those of which
        too little has come to say so are not in it."""
        return {
            name: "; ".join([found.told for found in clock.findings(now)])
            for name, clock in sorted(self._clocks.items())
            if clock.judged
        }
