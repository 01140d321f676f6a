"""Who answers on a DL/T 645 line? By the ends of addresses, shortest first.

When everybody is asked, several answers collide. A meter also answers when only the last two
digits of its address are named and the rest left open (AA). So the hundred endings are tried:

- silence: nobody's address ends so;
- one answer that came through: that meter. Another whose answer was drowned entirely would be
  missed; ``thorough`` goes on below such an answer, too, which costs five hundred questions each;
- something garbled, twice: several meters. The same with two more digits, down to whole addresses.

When everybody is asked and there is silence, nobody hears, and that is the end of it. Where
whatever is asked brings garbled bytes, it is noise, and that is the end, too. Not every meter
knows endings: that is told when somebody answers and no ending does. Instead of searching, whole
addresses can be asked, from a list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from adapters.sources.dlt645.address import parse_connection
from adapters.sources.dlt645.frame import ANY
from adapters.sources.polling import Failure, What
from collector.errors import ConfigurationError, Fault
from meterwatch.clock import SystemClock
from meterwatch.commissioning.contact.dlt645 import ZONE, Dlt645Contact
from meterwatch.commissioning.contact.dlt645_line import OpenLine
from meterwatch.commissioning.contact.ports import (
    Clock,
    Heard,
    Kind,
    Note,
    Progress,
    Scope,
    Wanted,
)
from meterwatch.commissioning.contact.urls import has_option, with_option

PATIENCE_S: Final = 0.8
"""A meter begins its answer within half a second of the question's end, which takes a tenth of a
second to send at 2400 baud; the rest is for what lies between."""
NOISY: Final = 12
"""So many endings in a row that bring garbled bytes are no meters."""
MOST_ADDRESSES: Final = 10_000
_RANGE: Final = re.compile(r"(\d{1,12})(?:-(\d{1,12}))?", re.ASCII)


class Dlt645Search:
    """Below ``pattern`` (12 characters, AA in front), or, where there are any, ``addresses``."""

    protocol = "dlt645"

    def __init__(
        self,
        url: str,
        addresses: Sequence[str],
        patience: float,
        *,
        thorough: bool = False,
        zone: str = ZONE,
        clock: Clock | None = None,
    ) -> None:
        known = parse_connection(url)
        self.place = known.line.place
        self._pattern = known.meter if "A" in known.meter else ANY
        self._addresses = addresses
        self._thorough = thorough
        self._zone, self._clock = zone, clock or SystemClock()
        self._url = url
        self._line = OpenLine(known.line, patience)
        if addresses:
            self.scope = Scope(Kind.ADDRESSES, addresses[0], addresses[-1])
        else:
            low = self._pattern.replace("AA", "")
            self.scope = Scope(Kind.ENDINGS, f"00{low}", f"99{low}")
        self.questions = len(addresses) or 100
        self.longest = self.questions * patience
        self._count = _Count(self.questions)
        self._found: dict[str, None] = {}
        self._notes: dict[tuple[Note, str], None] = {}

    async def run(self, progress: Progress) -> Heard:
        self._count.tell = lambda: progress(self._count.asked, self._count.of, len(self._found))
        try:
            if self._addresses:
                await self._listed()
            else:
                await self._searched()
        except _EndedError as end:
            return self._heard(str(end))
        return self._heard()

    def contact(self, who: str) -> Dlt645Contact:
        url = with_option(self._url, "address", who)
        return Dlt645Contact(url, who, self._line, zone=self._zone, clock=self._clock)

    def close(self) -> None:
        self._line.close()

    def _heard(self, failure: str = "") -> Heard:
        return Heard(tuple(sorted(self._found)), self._count.asked, failure, tuple(self._notes))

    async def _listed(self) -> None:
        for address in self._addresses:
            answer = await self._ask(address)
            if isinstance(answer, Failure) and answer.what is What.GARBLED:
                answer = await self._again(address)
            if isinstance(answer, str):
                self._found[answer] = None
            elif answer.what is What.GARBLED:
                self._notes[Note.SAME_ADDRESS, address] = None
            self._count.done()

    async def _searched(self) -> None:
        somebody = await self._line.who(self._pattern)
        if isinstance(somebody, Failure):
            if somebody.what in {What.CONNECT, What.LOST}:
                raise _EndedError(somebody.detail)
            if somebody.what is What.SILENT:
                return
        by_ending = await self._below(self._pattern)
        if isinstance(somebody, str):
            self._found[somebody] = None
        if not by_ending:
            self._notes[Note.NO_SHORT_ADDRESSES, ""] = None

    async def _below(self, pattern: str) -> bool:
        """Ask all that end as ``pattern`` and two digits more, then below those that several
        share; whether anybody answered."""
        shared: list[str] = []
        answered = False
        garbled = 0
        for step in range(100):
            ending = _longer(pattern, step)
            answer = await self._ask(ending)
            if isinstance(answer, Failure) and answer.what is What.GARBLED:
                answer = await self._again(ending)
            several = isinstance(answer, Failure) and answer.what is What.GARBLED
            garbled = garbled + 1 if several else 0
            if garbled == NOISY:
                self._notes[Note.NOISE, ""] = None
                raise _EndedError
            if isinstance(answer, str):
                self._found[answer] = None
            answered = answered or several or isinstance(answer, str)
            if "A" in ending and (several or (self._thorough and isinstance(answer, str))):
                shared.append(ending)
                self._count.of += 100
            elif several:
                self._notes[Note.SAME_ADDRESS, ending] = None
            self._count.done()
        for ending in shared:
            await self._below(ending)
        return answered

    async def _ask(self, pattern: str) -> str | Failure:
        """A server that hangs up meanwhile is called once more."""
        lost = ""
        for _ in range(2):
            why = await self._line.open()
            if why:
                raise _EndedError(why)
            answer = await self._line.ask(pattern)
            if isinstance(answer, str) or answer.what is not What.LOST:
                return answer
            lost = answer.detail
        raise _EndedError(lost)

    async def _again(self, pattern: str) -> str | Failure:
        """What was garbled once may have been a late answer to another question."""
        answer = await self._ask(pattern)
        if isinstance(answer, Failure) and answer.what is not What.GARBLED:
            self._notes[Note.DISTURBED, ""] = None
        return answer


class _EndedError(Exception):
    """Nobody can be asked any more; the text says why, if it is no note."""


class _Count:
    """Questions asked, of how many."""

    def __init__(self, of: int) -> None:
        self.asked = 0
        self.of = of
        self.tell: Callable[[], None] = lambda: None

    def done(self) -> None:
        self.asked += 1
        self.tell()


def search(
    url: str,
    wanted: Wanted,
    patience: float | None,
    *,
    zone: str = ZONE,
    clock: Clock | None = None,
) -> Dlt645Search:
    """A search of the addresses that were asked for, or of all. Raises ``AddressError`` for a
    URL that is none, ``ConfigurationError`` for options that make no sense."""
    if wanted.first is not None or wanted.last is not None:
        raise _wrong("--first, --last", "DL/T 645 meters have addresses, no unit numbers")
    whole = url if has_option(url, "address") else with_option(url, "address", ANY)
    addresses = [one for text in wanted.addresses for one in _addresses(text)]
    if len(addresses) > MOST_ADDRESSES:
        raise _wrong("--address", f"{len(addresses)} addresses, {MOST_ADDRESSES} at most at once")
    return Dlt645Search(
        whole,
        addresses,
        patience or PATIENCE_S,
        thorough=wanted.thorough,
        zone=zone,
        clock=clock,
    )


def _addresses(text: str) -> Sequence[str]:
    """``N`` or ``N-M``, each as long as addresses are."""
    found = _RANGE.fullmatch(text.strip())
    if found is None:
        raise _wrong("--address", f'"{text}" is no address and no range of them')
    first, last = int(found[1]), int(found[2] or found[1])
    if last < first:
        raise _wrong("--address", f"{text} ends before it begins")
    if last - first >= MOST_ADDRESSES:
        raise _wrong("--address", f"{text} is more than {MOST_ADDRESSES} addresses")
    return [f"{one:012d}" for one in range(first, last + 1)]


def _wrong(option: str, what: str) -> ConfigurationError:
    todo = "--address N or N-M, as on the labels; without it the line is searched"
    return ConfigurationError(Fault(option, 0, what, todo))


def _longer(pattern: str, step: int) -> str:
    """``AAAAAAAAAA37`` and 5 is ``AAAAAAAA0537``: the next byte upwards."""
    at = pattern.rindex("AA") if "A" in pattern else 0
    return f"{pattern[:at]}{step:02d}{pattern[at + 2 :]}"
