"""Who answers on a line, and as what? Reads only.

A protocol's search finds who is there; of those, every profile of the protocol is tried. How long
it takes at most is known before the first question.

A device on Modbus TCP may answer to any unit number. Several that show the very same counters are
one device, and only the first of them is listed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from collector.quantities import quantities
from meterwatch.clock import SystemClock
from meterwatch.commissioning.contact.ports import (
    NOTHING_SAID,
    Clock,
    Identified,
    Kind,
    Note,
    Progress,
    Search,
    Wanted,
)
from meterwatch.commissioning.contact.table import Surroundings, search_at
from meterwatch.commissioning.models import SHIPPED, Models
from meterwatch.commissioning.plausible import Verdict
from meterwatch.commissioning.probe import Attempt, try_profiles


@dataclass(frozen=True, slots=True)
class Found:
    """A device that answers; ``who``: its unit number or address. ``attempts``: all profiles,
    the likeliest first; ``also``: further unit numbers of the same device."""

    who: str
    url: str
    attempts: tuple[Attempt, ...]
    also: tuple[str, ...] = ()
    identified: Identified = NOTHING_SAID
    """What the device says of itself, where its likeliest profile knows how to ask."""

    @property
    def likely(self) -> tuple[Attempt, ...]:
        """Profiles that fit as they stand; else the first that fits with its orders turned."""
        fits = tuple(one for one in self.attempts if one.verdict is Verdict.PLAUSIBLE)
        turned = tuple(one for one in self.attempts if one.turn)
        return fits or turned[:1]


@dataclass(frozen=True, slots=True)
class Scan:
    """``failure``: why the line cannot be asked at all, or could not any more. ``notes``: what
    else a person should know, each with what it is about."""

    found: tuple[Found, ...]
    asked: int
    failure: str = ""
    notes: tuple[tuple[Note, str], ...] = ()


def prepared(
    url: str,
    wanted: Wanted,
    *,
    models: Models = SHIPPED,
    patience: float | None = None,
    clock: Clock | None = None,
) -> Search:
    """A search that has not begun: how long it takes can be told. Raises ``ConfigurationError``
    for a URL that is none and for options that make no sense."""
    return search_at(url, wanted, patience, Surroundings(models.zone, clock or SystemClock()))


async def scan(
    search: Search,
    *,
    models: Models = SHIPPED,
    progress: Progress = lambda *_: None,
    clock: Clock | None = None,
) -> Scan:
    """Find who is there, and read each with every profile; ``search`` is closed after it."""
    try:
        heard = await search.run(progress)
        found = [await _read(search, who, models, clock or SystemClock()) for who in heard.found]
        if search.scope.kind is Kind.UNITS:
            found = _merged(found)
        return Scan(tuple(found), heard.asked, heard.failure, heard.notes)
    finally:
        search.close()


async def _read(search: Search, who: str, models: Models, clock: Clock) -> Found:
    contact = search.contact(who)
    if await contact.open() is not None:
        return Found(who, contact.url, ())
    tried, _ = await try_profiles(contact, models.of(contact.protocol), clock, models)
    one = Found(who, contact.url, tuple(one.attempt for one in tried))
    if one.likely and not one.likely[0].turn:
        one = replace(one, identified=await contact.identify(tried[0].reading.profile))
    return one


def _merged(found: Iterable[Found]) -> list[Found]:
    """One entry for unit numbers that show the same serial number and counters, not all at 0."""
    by_counters: dict[tuple[str, tuple[tuple[str, float], ...]], Found] = {}
    kept: list[Found] = []
    for one in found:
        shown = (one.identified.serial, _counters(one))
        first = by_counters.get(shown)
        if first is None:
            if shown[1]:
                by_counters[shown] = one
            kept.append(one)
            continue
        more = replace(first, also=(*first.also, one.who))
        kept[kept.index(first)] = by_counters[shown] = more
    return kept


def _counters(one: Found) -> tuple[tuple[str, float], ...]:
    values = one.likely[0].values if one.likely else ()
    return tuple(
        (value.quantity, value.value)
        for value in values
        if value.given and value.value and quantities()[value.quantity].kind == "counter"
    )
