"""Who answers on a bus, and as what? Reads only, one question at a time, the least that tells.

Each unit number is asked one question (holding register 0); any answer counts, an exception too,
because only a device that is there can refuse. On a serial line, where a late answer may have met
another's question, one that is silent is asked once more at the end. Of those that answer, every
profile is tried. How long it takes at most is known before the first question.

A device on Modbus TCP may answer to any unit number. Several numbers that show the very same
counters are one device, and only the first of them is listed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit

from adapters.profiles import load_profiles
from adapters.sources.modbus.address import Bus, Framing, parse_connection
from adapters.sources.modbus.link import Link
from adapters.sources.modbus.plan import Block
from adapters.sources.polling import What
from collector.profile import Profile
from collector.quantities import quantities
from meterwatch.clock import SystemClock
from meterwatch.commissioning.plausible import Verdict
from meterwatch.commissioning.reading import identify
from meterwatch.probe import Attempt, Clock, try_profiles

PATIENCE_S: Final = 0.5
"""Most slaves answer within a fifth of a second; a serial converter adds its own wait."""
LAST_UNIT: Final = 247
"""Unit numbers above are reserved (Modbus over serial line V1.02, clause 2.2)."""
_QUESTION: Final = Block(3, 0, 1)


@dataclass(frozen=True, slots=True)
class Found:
    """A unit that answers. ``attempts``: all profiles, the likeliest first; ``also``: further
    unit numbers of the same device."""

    unit: int
    url: str
    attempts: tuple[Attempt, ...]
    also: tuple[int, ...] = ()
    serial: str = ""
    """As the device says it, where its likeliest profile knows how to ask."""

    @property
    def likely(self) -> tuple[Attempt, ...]:
        """Profiles that fit as they stand; else the first that fits with its orders turned."""
        fits = tuple(one for one in self.attempts if one.verdict is Verdict.PLAUSIBLE)
        turned = tuple(one for one in self.attempts if one.turn)
        return fits or turned[:1]


@dataclass(frozen=True, slots=True)
class Scan:
    """``failure``: why the bus cannot be asked at all, or could not any more."""

    found: tuple[Found, ...]
    asked: int
    failure: str = ""


Progress = Callable[[int, int, int], None]
"""Told after each question: questions asked, of how many, and how many units answer so far."""


def longest(url: str, units: int, patience: float) -> float:
    """Seconds that finding out who is there takes at most, when nobody is."""
    return units * patience * _rounds(parse_connection(url).bus)


def _rounds(bus: Bus) -> int:
    return 1 if bus.framing is Framing.TCP else 2


def url_of(url: str, unit: int) -> str:
    """``url`` with another unit number, its other options kept."""
    parts = urlsplit(url)
    options = [one for one in parts.query.split("&") if one and not one.startswith("unit=")]
    head = url.partition("?")[0]
    return f"{head}?{'&'.join([f'unit={unit}', *options])}"


async def scan(
    url: str,
    units: Sequence[int],
    *,
    profiles: Mapping[str, Profile] | None = None,
    patience: float = PATIENCE_S,
    progress: Progress = lambda *_: None,
    clock: Clock | None = None,
) -> Scan:
    """Ask every one of ``units`` on the bus of ``url``. Raises ``AddressError`` for a URL that is
    none."""
    bus = parse_connection(url).bus
    known = [one for one in (profiles or load_profiles()).values() if one.registers]
    link = Link(bus, patience)
    asked = 0
    alive: list[int] = []
    waiting = list(units)
    try:
        for left in reversed(range(_rounds(bus))):
            total = asked + len(waiting)
            silent: list[int] = []
            for unit in waiting:
                there, failure = await _answers(link, bus, unit)
                if failure:
                    return Scan((), asked, failure)
                asked += 1
                (alive if there else silent).append(unit)
                progress(asked, total + (len(silent) if left else 0), len(alive))
            waiting = silent
        found = []
        for unit in sorted(alive):
            tried, _ = await try_profiles(link, unit, known, clock or SystemClock())
            attempts = tuple(one.attempt for one in tried)
            one = Found(unit, url_of(url, unit), attempts)
            if one.likely and not one.likely[0].turn:
                itself = await identify(link, unit, tried[0].reading.profile)
                one = replace(one, serial=itself.serial)
            found.append(one)
        return Scan(_merged(found), asked)
    finally:
        link.close()


async def _answers(link: Link, bus: Bus, unit: int) -> tuple[bool, str]:
    """Whether ``unit`` is there; second: why nobody can be asked."""
    if not link.connected:
        failure = await link.connect()
        if failure is not None:
            return False, failure.detail
    answer = await link.read(unit, _QUESTION)
    if isinstance(answer, bytes):
        return True, ""
    if answer.what is What.CONNECT:
        return False, f"{bus.place}: {answer.detail}"
    return answer.what in {What.NO_SUCH, What.REFUSED, What.GARBLED}, ""


def _merged(found: Iterable[Found]) -> tuple[Found, ...]:
    """One entry for unit numbers that show the same serial number and counters, not all at 0."""
    by_counters: dict[tuple[str, tuple[tuple[str, float], ...]], Found] = {}
    kept: list[Found] = []
    for one in found:
        shown = (one.serial, _counters(one))
        first = by_counters.get(shown)
        if first is None:
            if shown[1]:
                by_counters[shown] = one
            kept.append(one)
            continue
        more = replace(first, also=(*first.also, one.unit))
        kept[kept.index(first)] = by_counters[shown] = more
    return tuple(kept)


def _counters(one: Found) -> tuple[tuple[str, float], ...]:
    values = one.likely[0].values if one.likely else ()
    return tuple(
        (value.quantity, value.value)
        for value in values
        if value.given and value.value and quantities()[value.quantity].kind == "counter"
    )
