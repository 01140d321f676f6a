"""Reads one device and says which profile fits it: the first thing to do at a new meter.

Reads only, stores nothing. With a profile given, that one is judged; without, every profile
that has registers is tried. What is plausible stands in :mod:`.commissioning.plausible`; where
no profile is as it stands, the other orders of bytes are tried on what was read. With ``watch``
the device is read again for that long, and what its wiring shows is said too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from adapters.profiles import load_profiles
from adapters.sources.modbus.address import parse_connection
from adapters.sources.modbus.link import Link
from adapters.sources.polling import What
from collector.profile import ORDERS, Profile
from meterwatch.clock import SystemClock
from meterwatch.commissioning.plausible import Objection, Value, Verdict, judge, object_to
from meterwatch.commissioning.reading import NOTHING_SAID, Identified, Reading, identify
from meterwatch.commissioning.word_orders import OWN, Choice, choose, long_numbers, named

EVERY_S: Final = 2.0
"""Between two readings while a device is watched; an answer that takes longer makes it longer."""


class Clock(Protocol):
    """What of :mod:`meterwatch.clock` a watch needs."""

    def now(self) -> int: ...

    async def sleep_until(self, time: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Sample:
    """What the device showed at ``time`` (UTC ms)."""

    time: int
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Attempt:
    """The device read with one profile. ``failure`` is empty when all of it was answered.

    ``turn`` is the one other turn of byte orders under which it fits although it does not as it
    stands (else empty); ``values`` are then those under it, ``order`` is the device's order and
    ``own_order`` the profile's. ``unclear`` names several orders between which its values do not
    decide.
    """

    profile: str
    label: str
    label_zh: str
    verdict: Verdict
    values: tuple[Value, ...] = ()
    objections: tuple[Objection, ...] = ()
    failure: str = ""
    turn: str = ""
    unclear: tuple[str, ...] = ()
    order: str = ""
    own_order: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What a probe found; ``attempts`` from the best fit down. ``failure`` when nothing was
    reached at all. ``samples``: what the first attempt's profile (turned, where it is) brought
    over time, the oldest first; ``broken`` says why the watch ended early."""

    url: str
    attempts: tuple[Attempt, ...]
    failure: str = ""
    samples: tuple[Sample, ...] = ()
    broken: str = ""
    identified: Identified = NOTHING_SAID
    """What the device says of itself, by the first attempt's profile."""

    @property
    def first(self) -> Attempt | None:
        return self.attempts[0] if self.attempts else None

    @property
    def best(self) -> Attempt | None:
        """The plausible profile, when there is one."""
        first = self.first
        return first if first is not None and first.verdict is Verdict.PLAUSIBLE else None


@dataclass(slots=True)
class Tried:
    """An attempt with what is needed to go on with it."""

    attempt: Attempt
    reading: Reading
    asked_for: bool
    """It is the only one that somebody named, and need not be told from others."""
    samples: list[tuple[int, bytes]] = field(default_factory=list)


async def probe(
    url: str,
    profile: Profile | None = None,
    *,
    profiles: Mapping[str, Profile] | None = None,
    patience: float = 2.0,
    watch: float = 0.0,
    clock: Clock | None = None,
) -> Report:
    """Read the device at ``url`` (a ``connection`` as in the registry), and again for ``watch``
    seconds; an answer may take ``patience`` seconds. Raises ``AddressError`` for a URL that is
    none."""
    address = parse_connection(url)
    known = load_profiles() if profiles is None else profiles
    wanted = [profile] if profile is not None else [p for p in known.values() if p.registers]
    time: Clock = clock or SystemClock()
    link = Link(address.bus, patience)
    try:
        failure = await link.connect()
        if failure is not None:
            return Report(url, (), failure.detail)
        tried, silent = await try_profiles(link, address.unit, wanted, time)
        if silent:
            return Report(url, tuple(one.attempt for one in tried), silent)
        broken = await _watch(tried[0], watch, time) if watch > 0 else ""
        if tried[0].samples:
            tried[0].attempt = _judged(tried[0])
        attempts = tuple(one.attempt for one in tried)
        fits = attempts[0].verdict in {Verdict.PLAUSIBLE, Verdict.UNDECIDED}
        itself = NOTHING_SAID
        if fits and not broken:
            itself = await identify(link, address.unit, tried[0].reading.profile)
        samples = _samples(tried[0])
        return Report(url, attempts, samples=samples, broken=broken, identified=itself)
    finally:
        link.close()


async def try_profiles(
    link: Link, unit: int, wanted: Sequence[Profile], clock: Clock
) -> tuple[list[Tried], str]:
    """Every profile in turn, sorted by how well it fits; second: why the device is silent, if it
    is."""
    tried: list[Tried] = []
    for profile in wanted:
        one = Tried(
            Attempt(profile.name, profile.label, profile.label_zh, Verdict.NO_ANSWER),
            Reading(link, unit, profile),
            len(wanted) == 1,
        )
        tried.append(one)
        failure = await one.reading.read()
        if failure is not None:
            one.attempt = replace(one.attempt, failure=str(failure))
            if failure.what is What.SILENT:  # another profile will not wake it
                return tried, str(failure)
            continue
        if not one.reading.image:
            one.attempt = replace(one.attempt, failure=next(iter(one.reading.refused), ""))
            continue
        one.samples.append((clock.now(), one.reading.image))
        one.attempt = _judged(one)
    tried.sort(key=lambda one: _rank(one.attempt), reverse=True)
    return tried, ""


def _rank(attempt: Attempt) -> tuple[int, int]:
    """The best is the largest. A profile that fits once its orders are turned is better than one
    of which nothing is known."""
    given = sum(value.given for value in attempt.values)
    return (2 * attempt.verdict + (3 if attempt.turn else 0), given)


async def _watch(one: Tried, seconds: float, clock: Clock) -> str:
    """Read again until ``seconds`` have passed; why it ended early, if it did."""
    if not one.samples:
        return ""
    start = clock.now()
    due = start
    while (due := max(due + round(EVERY_S * 1000), clock.now())) <= start + seconds * 1000:
        await clock.sleep_until(due)
        at = clock.now()
        failure = await one.reading.read()
        if failure is not None:
            return str(failure)
        one.samples.append((at, one.reading.image))
    return ""


def _judged(one: Tried) -> Attempt:
    """The attempt by all that was read so far: first as the profile stands."""
    reading, profile = one.reading, one.reading.profile
    values = reading.values(one.samples[-1][1])
    objections = tuple(object_to(values))
    verdict = Verdict.IMPLAUSIBLE if objections else judge(values)
    attempt = replace(
        one.attempt,
        verdict=verdict,
        values=values,
        objections=objections,
        failure="; ".join(reading.refused),
    )
    long = long_numbers(profile)
    if not long or (verdict is Verdict.PLAUSIBLE and len(one.samples) == 1):
        return attempt  # over time whole numbers may yet jump as only misread ones do
    choice = _chosen(one, long)
    if verdict is Verdict.UNDECIDED and len(choice.turns) > 1:
        return replace(attempt, unclear=tuple(named(profile, turn) for turn in choice.turns))
    if not choice.other:
        return attempt
    turned = reading.values(one.samples[-1][1], choice.other)
    tells = judge(turned)
    if tells is Verdict.IMPLAUSIBLE or (tells is Verdict.UNDECIDED and not one.asked_for):
        return attempt  # less bad than as it stands; still more likely another profile
    return replace(
        attempt,
        turn=choice.other,
        order=named(profile, choice.other),
        own_order=named(profile, OWN),
        verdict=Verdict.IMPLAUSIBLE,
        values=turned,
    )


def _chosen(one: Tried, long: frozenset[str]) -> Choice:
    decoded = {
        turn: [one.reading.values(image, turn) for _, image in one.samples] for turn in ORDERS
    }
    return choose(decoded, long)


def _samples(one: Tried) -> tuple[Sample, ...]:
    turn = one.attempt.turn or OWN
    return tuple(Sample(time, one.reading.values(image, turn)) for time, image in one.samples)
