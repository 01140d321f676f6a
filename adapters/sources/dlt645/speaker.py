"""How the meters of one DL/T 645 line are spoken to: a poll is its questions, one after another.

A question that stays unanswered is asked once more in the same poll where the line has time for it,
after another one that shows that the meter is there: a single lost frame is everyday life.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from adapters.sources.dlt645.link import Link
from adapters.sources.dlt645.meter import PATIENCE, SILENCES, Meter
from adapters.sources.polling import Answer, Failure, What
from adapters.sources.polling.failure import ALIVE
from collector.ports import Clock
from collector.telemetry import Telemetry

TIME: Final = 0x04000102
"""Three bytes that every meter has, and nobody polls: a late answer to this is nobody's reading."""


class Dlt645Speaker:
    """Implements ``polling.Speaker``. ``patience`` says how long a question of a poll may wait."""

    def __init__(
        self,
        link: Link,
        clock: Clock,
        telemetry: Telemetry,
        patience: Callable[[Meter, int], float | None],
    ) -> None:
        self.timeout = link.timeout
        self._link = link
        self._clock = clock
        self._telemetry = telemetry
        self._patience = patience
        self.connect = link.connect
        self.close = link.close

    @property
    def connected(self) -> bool:
        return self._link.connected

    async def ask(self, device: Meter, patience: float, *, short: bool) -> Failure | None:
        """A refusal is an answer, except of a meter that has nothing of what is wanted."""
        if not device.address:
            return await self._find(device, patience)
        wanted = next(iter(device.plan.questions))
        asked = TIME if short and not device.barren else wanted
        answer = await self._link.read(device.address, asked, patience)
        if isinstance(answer, bytes) or (answer.what in ALIVE and not device.barren):
            return None
        if answer.what in ALIVE:
            return Failure(What.NO_SUCH, device.empty)
        return answer

    async def poll(self, device: Meter) -> Answer | Failure:
        now = self._clock.now()
        device.look(now)
        if not device.address:
            failure = await self._find(device, self._patience(device, now))
            if failure is not None:
                return failure
        answers: dict[int, bytes] = {}
        longest, alike = 0.0, True
        while (asked := device.ahead(answers)) is not None:
            before = self._clock.monotonic()
            answer = await self._read(device, asked)
            longest = max(longest, self._clock.monotonic() - before)
            if isinstance(answer, bytes):
                device.gave(asked)
                answers[asked] = answer
            elif self._left_out(device, asked, answer, alive=bool(answers) or device.proved):
                alike = False
            else:
                return answer
        if not answers:
            return device.emptied()
        return Answer(*device.plan.decode(answers), longest if alike else None)

    async def _find(self, device: Meter, patience: float | None) -> Failure | None:
        """Its whole address, where the registry has only the end of it."""
        found = await self._link.who(device.pattern, patience)
        if isinstance(found, Failure):
            return found
        device.address = found
        return None

    async def _read(self, device: Meter, asked: int) -> bytes | Failure:
        patience = self._patience(device, self._clock.now())
        answer = await self._link.read(device.address, asked, patience)
        missed = isinstance(answer, Failure) and answer.what in {What.SILENT, What.GARBLED}
        if missed and patience is None and not device.failures and self._link.connected:
            self._telemetry.count("dlt645_asked_again")
            return await self._link.read(device.address, asked)
        return answer

    def _left_out(self, device: Meter, asked: int, failure: Failure, *, alive: bool) -> bool:
        """Whether the poll goes on without ``asked``. There are meters that say nothing to what
        they do not know: ``alive`` is one that just answered something else."""
        now = self._clock.now()
        why = failure.detail.rpartition(": ")[2]
        if failure.what is What.NO_SUCH:
            left_out = device.refuse(asked, why, now)
        elif failure.what is What.REFUSED:
            left_out = device.refuse(asked, why, now, PATIENCE)
        elif failure.what is What.SILENT and alive:
            left_out = device.refuse(asked, "no answer", now, SILENCES)
        else:
            left_out = False
        if not left_out:
            return False
        self._telemetry.event("meter refuses", origin=device.origin, reason=failure.detail)
        return True
