"""One line: one connection, its meters asked one after another, each at its own pace.

A meter is due at whole multiples of its interval (UTC), plus the line's phase. What falls due
together is asked in turn; what was missed because the line was slow (2400 baud is 24 questions a
second at the very best) is skipped and counted, never asked twice.

A question that stays unanswered is asked once more in the same poll, after another one that shows
that the meter is there. A meter that fails is asked again after 1, 2, 4 .. 60 s, with one question
until it answers, and after those that are well: a dead one costs its line one timeout a minute. The
second failure in a row is told as "down".

Nothing is invented: a poll of which anything stayed unanswered leaves no reading.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from adapters.sources.dlt645.address import Line
from adapters.sources.dlt645.link import Failure, Link, What
from adapters.sources.dlt645.meter import Meter
from adapters.sources.modbus.carrier import Carrier, Round
from collector.ports import Clock
from collector.telemetry import Telemetry

DOWN_AFTER: Final = 2
"""Failures in a row until a meter counts as down: a single lost frame is everyday life."""
RETRY_MS: Final = 1_000
RETRY_MOST_MS: Final = 60_000
CONNECT_MOST_MS: Final = 30_000
DEAD_WAITS_MS: Final = 10_000
"""A failing meter yields this long to those that are well, then takes its turn."""
WIDER: Final = 4
"""By this much intervals widen while the journal nears its bound."""
IDLE_MS: Final = 3_600_000


class LineLoop:
    """Runs one line. ``phase`` (ms) shifts its deadlines."""

    def __init__(
        self,
        line: Line,
        meters: Sequence[Meter],
        link: Link,
        clock: Clock,
        carrier: Carrier,
        telemetry: Telemetry,
        phase: int,
    ) -> None:
        self.line = line
        self.meters = list(meters)
        self._link = link
        self._clock = clock
        self._carrier = carrier
        self._telemetry = telemetry
        self._phase = phase
        self._up: bool | None = None
        self._told_wide = False
        self._attempts = 0
        self._unsynced: Round | None = None
        self._resting: asyncio.Task[object] | None = None
        self._changes = 0
        self._blocking = round(link.timeout * 1000)
        """How long a silent meter keeps the line, ms."""

    def replace(self, meters: Sequence[Meter]) -> None:
        """Other meters from now on; those that did not change keep their state."""
        known = {meter.device.key: meter for meter in self.meters}
        self.meters = [new.after(known.get(new.device.key)) for new in meters]
        self.wake()

    def wake(self) -> None:
        """Something changed: look now who is due."""
        self._changes += 1
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None

    async def run(self) -> None:
        """Poll until cancelled."""
        try:
            await self._clock.sleep_until(self._clock.now())  # a simulated clock waits for us now
            while True:
                now = self._clock.now()
                meter, until = self._next(now)
                changes = self._changes
                if meter is None:
                    await self._rest(until, changes)
                elif not self._link.connected and not await self._connect():
                    await self._rest(now + self._wait_to_connect(), changes)
                else:
                    await self._poll(meter)
                    if self._carrier.full:
                        await self._settle()
        finally:
            self._link.close()

    def _next(self, now: int) -> tuple[Meter | None, int]:
        """Whose turn it is, or None and when to look again. Those that are well come first;
        a failing one takes its turn when it has waited long, or when nobody will need the line
        for as long as it may block it."""
        here = [one for one in self.meters if one.device.end > now and one.plan.questions]
        well = min((one for one in here if not one.failures), key=_due, default=None)
        failing = min((one for one in here if one.failures), key=_due, default=None)
        free = now + IDLE_MS if well is None else well.at
        if failing is None:
            return (well, now) if free <= now else (None, free)
        patience = failing.at + DEAD_WAITS_MS
        if patience <= now or (failing.at <= now and free > now + self._blocking):
            return failing, now
        if free <= now:
            return well, now
        return None, min(free, patience if failing.at <= now else failing.at)

    async def _rest(self, until: int, changes: int) -> None:
        """Sleep until ``until``, or until something changed since ``changes`` were counted."""
        await self._settle()
        if self._changes != changes:
            return
        task = self._resting = asyncio.current_task()
        try:
            await self._clock.sleep_until(until)
        except asyncio.CancelledError:
            # Either something changed (then go on) or the program stops, or both.
            if task is None or self._changes == changes or task.uncancel() > 0:
                raise
        finally:
            self._resting = None
        await self._clock.sleep_until(self._clock.now())  # as at the beginning

    async def _settle(self) -> None:
        """Until all readings of this line are synced."""
        if self._unsynced is not None:
            await self._unsynced.wait()

    async def _connect(self) -> bool:
        failure = await self._link.connect()
        if failure is not None:
            self._attempts += 1
            self._count(failure)
            self._tell_line(up=False, reason=failure.detail)
            return False
        self._attempts = 0
        self._tell_line(up=True)
        return True

    def _wait_to_connect(self) -> int:
        return min(CONNECT_MOST_MS, RETRY_MS << min(self._attempts - 1, 10))

    async def _poll(self, meter: Meter) -> None:
        meter.look(self._clock.now())
        if not meter.address:
            found = await self._link.who(meter.pattern)
            if isinstance(found, Failure):
                self._failed(meter, found)
                return
            meter.address = found
        answers: dict[int, bytes] = {}
        while ahead := [one for one in meter.plan.questions if one not in answers]:
            answer = await self._ask(meter, ahead[0])
            if isinstance(answer, bytes):
                meter.gave(ahead[0])
                answers[ahead[0]] = answer
            elif not self._left_out(meter, ahead[0], answer):
                self._failed(meter, answer)
                return
        self._answered(meter, answers)

    async def _ask(self, meter: Meter, identifier: int) -> bytes | Failure:
        """The answer; one lost frame does not lose the poll of a meter that was well."""
        answer = await self._link.read(meter.address, identifier)
        missed = isinstance(answer, Failure) and answer.what in {What.SILENT, What.GARBLED}
        if missed and not meter.failures and self._link.connected:
            self._telemetry.count("dlt645_asked_again")
            return await self._link.read(meter.address, identifier)
        return answer

    def _left_out(self, meter: Meter, identifier: int, failure: Failure) -> bool:
        """Whether the poll goes on without ``identifier``."""
        if failure.what not in {What.NO_SUCH, What.REFUSED}:
            return False
        why = failure.detail.rpartition(": ")[2]
        for_good = failure.what is What.NO_SUCH
        if not meter.refuse(identifier, for_good=for_good, why=why, now=self._clock.now()):
            return False
        self._telemetry.event("meter refuses", origin=meter.origin, reason=failure.detail)
        return bool(meter.plan.questions)

    def _answered(self, meter: Meter, answers: dict[int, bytes]) -> None:
        now = self._clock.now()
        points, values, qualities = meter.plan.decode(answers)
        meter.failures = 0
        if meter.up is not True:
            meter.up = True
            refused = meter.refused()
            reason = f"does not have: {refused}" if refused else ""
            self._unsynced = self._carrier.state(meter.origin, True, reason)
        self._unsynced = self._carrier.readings(
            points, values, qualities, now, self._carrier.origin(meter.origin)
        )
        self._schedule(meter, now)

    def _schedule(self, meter: Meter, now: int) -> None:
        """The next whole multiple of the interval after ``now``."""
        if self._carrier.wide is not self._told_wide:
            self._tell_wide()
        interval = meter.interval * (WIDER if self._told_wide else 1)
        missed = (now - meter.at) // meter.interval
        if missed > 0 and meter.at > meter.device.start:
            self._telemetry.count("dlt645_polls_skipped", missed)
        phase = self._phase % interval
        meter.at = ((now - phase) // interval + 1) * interval + phase

    def _failed(self, meter: Meter, failure: Failure) -> None:
        """Ask again later. Told as down once it is more than a lost frame."""
        self._count(failure)
        meter.failures += 1
        wait = min(RETRY_MOST_MS, RETRY_MS << min(meter.failures - 1, 10))
        reason = str(failure)
        empty = not meter.plan.questions
        if empty:
            wait, reason = IDLE_MS, f"has nothing of what its profile names: {meter.refused()}"
        meter.at = self._clock.now() + wait
        if empty or (meter.failures >= DOWN_AFTER and failure.what is not What.REFUSED):
            meter.widen()
        if (empty or meter.failures >= DOWN_AFTER) and meter.up is not False:
            meter.up = False
            self._unsynced = self._carrier.state(meter.origin, False, reason)

    def _count(self, failure: Failure) -> None:
        self._telemetry.count("dlt645_failures", kind=failure.what.name.lower())

    def _tell_line(self, *, up: bool, reason: str = "") -> None:
        if self._up is not up:
            self._up = up
            self._unsynced = self._carrier.state(self.line.origin, up, reason)

    def _tell_wide(self) -> None:
        """The gap in the record, with its reason (law 10)."""
        self._told_wide = self._carrier.wide
        reason = (
            f"polled {WIDER} times less often: the intake log nears its bound"
            if self._told_wide
            else "polled as often as configured again"
        )
        self._unsynced = self._carrier.state(self.line.origin, True, reason)


def _due(meter: Meter) -> int:
    return meter.at
