"""Reads one device and says which profile fits it: the first thing to do at a new meter.

Reads only, stores nothing. With a profile given, that one is judged; without, every profile of
the device's protocol is tried. What is plausible stands in :mod:`.plausible`; where no profile is
as it stands, the other orders of bytes are tried on what was read. With ``watch`` the device is
read again for that long, and what its wiring shows is said too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from collector.profile import ORDERS, Profile
from meterwatch.clock import SystemClock
from meterwatch.commissioning.contact.ports import (
    NOTHING_SAID,
    Clock,
    Contact,
    Ending,
    Identified,
    Reading,
    Taken,
    Trouble,
)
from meterwatch.commissioning.contact.table import Surroundings, contact_at
from meterwatch.commissioning.models import SHIPPED, Models
from meterwatch.commissioning.plausible import (
    UNCONNECTED,
    Objection,
    Phases,
    Value,
    Verdict,
    judge,
    object_to,
    phases,
)
from meterwatch.commissioning.word_orders import OWN, Choice, choose, long_numbers, named

EVERY_S: Final = 2.0
"""Between two readings while a device is watched; an answer that takes longer makes it longer."""


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
    decide. ``lacking``: quantities that the device does not give, and why. ``phases`` other than
    alike is a reason why it does not fit.
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
    lacking: tuple[tuple[str, str], ...] = ()
    phases: Phases = Phases.ALIKE


@dataclass(frozen=True, slots=True)
class Report:
    """What a probe found; ``attempts`` from the best fit down. ``url`` is what the registry gets;
    ``trouble``: why there was nothing to judge. ``samples``: what the first attempt's profile
    (turned, where it is) brought over time, the oldest first; ``broken`` says why the watch ended
    early."""

    url: str
    attempts: tuple[Attempt, ...]
    trouble: Trouble | None = None
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
    samples: list[tuple[int, Taken]] = field(default_factory=list)


async def probe(
    url: str,
    profile: Profile | None = None,
    *,
    models: Models = SHIPPED,
    patience: float = 2.0,
    watch: float = 0.0,
    clock: Clock | None = None,
) -> Report:
    """Read the device at ``url`` (a ``connection`` as in the registry), and again for ``watch``
    seconds; an answer may take ``patience`` seconds. Raises ``ConfigurationError`` for a URL that
    is none."""
    time: Clock = clock or SystemClock()
    contact = contact_at(url, patience, Surroundings(models.zone, time))
    wanted = [profile] if profile is not None else models.of(contact.protocol)
    try:
        trouble = await contact.open()
        if trouble is not None:
            return Report(url, (), trouble)
        tried, silent = await try_profiles(contact, wanted, time, models)
        if silent is not None:
            return Report(url, tuple(one.attempt for one in tried), silent)
        broken = await _watch(tried[0], watch, time) if watch > 0 else ""
        if tried[0].samples:
            tried[0].attempt = _judged(tried[0])
        attempts = tuple(one.attempt for one in tried)
        fits = attempts[0].verdict in {Verdict.PLAUSIBLE, Verdict.UNDECIDED}
        itself = NOTHING_SAID
        if fits and not broken:
            itself = await contact.identify(tried[0].reading.profile)
        samples = _samples(tried[0])
        return Report(contact.url, attempts, samples=samples, broken=broken, identified=itself)
    finally:
        contact.close()


async def try_profiles(
    contact: Contact, wanted: Sequence[Profile], clock: Clock, models: Models = SHIPPED
) -> tuple[list[Tried], Trouble | None]:
    """Every profile in turn, sorted by how well it fits, and a fleet's own before others that fit
    as well; second: why the device is silent, if it is."""
    tried: list[Tried] = []
    for profile in wanted:
        one = Tried(
            Attempt(profile.name, profile.label, profile.label_zh, Verdict.NO_ANSWER),
            contact.reading(profile),
            len(wanted) == 1,
        )
        tried.append(one)
        taken = await one.reading.read()
        if isinstance(taken, Trouble):
            one.attempt = replace(one.attempt, failure=taken.detail)
            if taken.what is Ending.SILENT:  # another profile will not wake it
                return tried, taken
            continue
        if not taken.values():
            failure = next(iter(one.reading.refused), "")
            one.attempt = replace(one.attempt, failure=failure, lacking=one.reading.lacking)
            continue
        one.samples.append((clock.now(), taken))
        one.attempt = _judged(one)
    _with_all_phases(tried)
    tried.sort(key=lambda one: _rank(one.attempt, models), reverse=True)
    return tried, None


def _with_all_phases(tried: Sequence[Tried]) -> None:
    """Of profiles that name the same values, those that leave phases out which the device has do
    not fit."""
    fits = [one for one in tried if one.attempt.verdict is Verdict.PLAUSIBLE]
    for one in fits:
        left_out = {"voltage.l2", "voltage.l3"}.difference(one.reading.profile.measured)
        for other in fits:
            alike = bool(_identifiers(one) & _identifiers(other))
            if alike and left_out & _alive(other) and "voltage.l1" in _alive(one):
                one.attempt = replace(one.attempt, verdict=Verdict.IMPLAUSIBLE, phases=Phases.MORE)


def _identifiers(one: Tried) -> set[int]:
    return {item.identifier for item in one.reading.profile.items}


def _alive(one: Tried) -> set[str]:
    """Quantities that the device gives and that are not 0."""
    return {v.quantity for v in one.attempt.values if v.given and abs(v.value) >= UNCONNECTED}


def _rank(attempt: Attempt, models: Models) -> tuple[int, bool, int]:
    """The best is the largest. A profile that fits once its orders are turned is better than one
    of which nothing is known."""
    given = sum(value.given for value in attempt.values)
    score = 2 * attempt.verdict + (3 if attempt.turn else 0)
    return (score, attempt.profile in models.own, given)


async def _watch(one: Tried, seconds: float, clock: Clock) -> str:
    """Read again until ``seconds`` have passed; why it ended early, if it did."""
    if not one.samples:
        return ""
    now = start = due = clock.now()
    while (due := max(due + round(EVERY_S * 1000), now)) <= start + seconds * 1000:
        await clock.sleep(due - now)
        at = clock.now()
        taken = await one.reading.read()
        if isinstance(taken, Trouble):
            return taken.detail
        one.samples.append((at, taken))
        now = clock.now()
    return ""


def _judged(one: Tried) -> Attempt:
    """The attempt by all that was read so far: first as the profile stands."""
    reading, profile = one.reading, one.reading.profile
    values = one.samples[-1][1].values()
    objections = tuple(object_to(values))
    compared = phases(values, profile.measured)
    verdict = judge(values)
    if objections or (compared is Phases.FEWER and not one.asked_for):
        verdict = Verdict.IMPLAUSIBLE
    attempt = replace(
        one.attempt,
        verdict=verdict,
        values=values,
        objections=objections,
        failure="; ".join(reading.refused),
        lacking=reading.lacking,
        phases=compared,
    )
    long = long_numbers(profile)
    if not long or (verdict is Verdict.PLAUSIBLE and len(one.samples) == 1):
        return attempt  # over time whole numbers may yet jump as only misread ones do
    choice = _chosen(one, long)
    if verdict is Verdict.UNDECIDED and len(choice.turns) > 1:
        return replace(attempt, unclear=tuple(named(profile, turn) for turn in choice.turns))
    if not choice.other:
        return attempt
    turned = one.samples[-1][1].values(choice.other)
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
    decoded = {turn: [taken.values(turn) for _, taken in one.samples] for turn in ORDERS}
    return choose(decoded, long)


def _samples(one: Tried) -> tuple[Sample, ...]:
    turn = one.attempt.turn or OWN
    return tuple(Sample(time, taken.values(turn)) for time, taken in one.samples)
