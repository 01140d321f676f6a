"""One bus: one connection, its slaves asked one after another, each at its own pace.

A slave is due at whole multiples of its interval (UTC), plus the bus's phase, so that meters
read every 15 minutes are read at :00, :15, :30 and :45, and a hundred connections do not ask in
the same millisecond. Of those that are due, whoever must be done first is asked first; what was
missed because the bus was slow is skipped and counted, never asked twice.

A slave that fails is asked again after 1, 2, 4 .. 60 s, one question only until it answers, and in
time that nobody else needs: while the line is idle, and after a while in what is left before
anybody's reading would come too late (``pace.slack``). On a line with little to spare a question
waits only as long as the slave ever took to answer, and some. So a dead slave costs the others
no reading. When nobody on a connection answers, one slave is asked for all.

A line that cannot carry its intervals is told, once, with how much it needs and has; then all
intervals on it are stretched alike.

Nothing is invented: a poll that failed leaves no reading.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

from adapters.sources.modbus.address import Bus
from adapters.sources.modbus.carrier import Carrier, Round
from adapters.sources.modbus.link import Failure, Link, What, short
from adapters.sources.modbus.pace import load, slack
from adapters.sources.modbus.plan import Block
from adapters.sources.modbus.slave import Poll, Slave
from collector.ports import Clock
from collector.telemetry import Telemetry

DOWN_AFTER: Final = 2
"""Failures in a row until a device counts as down: a single lost frame is everyday life."""
RETRY_MS: Final = 1_000
RETRY_MOST_MS: Final = 60_000
CONNECT_MOST_MS: Final = 30_000
DEAD_WAITS_MS: Final = 10_000
"""A failing slave waits this long for an idle line, then takes what the others can spare."""
DEAD_WAITS_MOST_MS: Final = 120_000
"""Then it is asked all the same: a line without any slack must still find out who is back."""
EDGE_MS: Final = 20
"""Of what a line has to spare, never used: turns of the loop, a reconnect."""
FORCED_MS: Final = 30_000
"""Whoever it is: not more often than this."""
BUSY_MS: Final = 250
BUSY_MOST_MS: Final = 60_000
"""Busy for longer, and for three intervals: it fails."""
REFUSALS: Final = 8
"""Blocks of one poll that are read in halves; the search goes on with the next poll."""
TIGHT: Final = 0.5
"""Of a line's time: from here on it is counted who needs how much of it."""
WEIGHED_MS: Final = 1_000
SPARE: Final = 1.03
"""An overloaded line is given this much more than it needs."""
WHOLE_EVERY: Final = 4
"""So many failures, and a whole block is asked for instead of a register."""
WIDER: Final = 4
"""By this much intervals widen while the journal nears its bound."""
MINUTE_MS: Final = 60_000
IDLE_MS: Final = 3_600_000


class Turn(NamedTuple):
    """Whose turn it is: None and when to look again; ``nudge``: this one question only, for so
    many seconds."""

    slave: Slave | None
    until: int = 0
    nudge: Block | None = None
    patience: float | None = None


class BusLoop:
    """Runs one bus. ``phase`` (0 to 1) shifts its deadlines by that part of ``spread`` (ms), or of
    an interval that is less than a minute."""

    def __init__(
        self,
        bus: Bus,
        slaves: Sequence[Slave],
        clock: Clock,
        carrier: Carrier,
        telemetry: Telemetry,
        timeout: float,
        phase: float,
        spread: int = 1_000,
    ) -> None:
        self.bus = bus
        self.slaves = list(slaves)
        self._clock = clock
        self._carrier = carrier
        self._telemetry = telemetry
        self._phase = phase
        self._spread = spread
        self._link = Link(bus, timeout, clock.monotonic)
        self._timeout = self._link.timeout * 1000
        self._up: bool | None = None
        self._wide = False
        self._stretch = 1.0
        self._load = 0.0
        self._polls = self._weighed = 0
        self._troubled = False
        self._attempts = 0
        self._hushed = 0
        """Failures in a row while nobody on the bus was well."""
        self._hushed_until = 0
        self._forced = 0
        """When somebody was asked although the line had no time for it."""
        self._unsynced: Round | None = None
        self._resting: asyncio.Task[object] | None = None
        self._changes = 0

    def replace(self, slaves: Sequence[Slave]) -> None:
        """Other devices from now on; those that did not change keep their state."""
        known = {slave.device.key: slave for slave in self.slaves}
        self.slaves = [new.after(known.get(new.device.key)) for new in slaves]
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
                turn = self._next(now)
                if turn.slave is None:
                    await self._rest(turn.until)
                elif not self._link.connected and not await self._connect():
                    await self._rest(now + self._wait_to_connect())
                elif turn.nudge is not None:
                    await self._nudge(turn.slave, turn.nudge, turn.patience)
                else:
                    await self._poll(turn.slave)
                    if self._carrier.full:
                        await self._settle()
        finally:
            self._link.close()

    # Whose turn it is.

    def _next(self, now: int) -> Turn:
        """Of those that are due, who must be done first. A failing one has its turn in time that
        nobody needs."""
        due: Slave | None = None
        failing: Slave | None = None
        soonest = now + IDLE_MS
        first = float("inf")
        wider = self._wider
        for slave in self.slaves:
            if slave.device.end <= now or not slave.plan.blocks:
                continue
            at = slave.at
            if slave.failures and not slave.proved:
                if failing is None or at < failing.at:
                    failing = slave
            elif at > now:
                soonest = min(soonest, at)
            elif at + slave.interval * wider < first:
                due, first = slave, at + slave.interval * wider
        self._troubled = failing is not None
        if failing is not None:
            turn = self._failing(failing, now, due, soonest)
            if turn.slave is not None or due is None:
                return turn
        if due is not None:
            return Turn(due)
        return self._learn(now) or Turn(None, soonest)

    def _failing(self, slave: Slave, now: int, due: Slave | None, soonest: int) -> Turn:
        """Ask ``slave`` whether it is there, if there is time for it."""
        at = slave.at
        if self._hushed and due is None and soonest - now >= IDLE_MS:
            at = max(at, self._hushed_until)
        if at > now:
            return Turn(None, min(soonest, at))
        waited = now - at
        if due is None and (turn := self._question(slave, soonest - now)) is not None:
            return turn
        if waited >= DEAD_WAITS_MS:
            room = self._room(now)
            if waited >= DEAD_WAITS_MOST_MS and now >= self._forced + FORCED_MS:
                self._forced = now
                room = max(room, self._honest(short_one=False))
            if (turn := self._question(slave, room)) is not None:
                return turn
        return Turn(None, min(soonest, max(now + 1, at + DEAD_WAITS_MS)))

    def _question(self, slave: Slave, room: float) -> Turn | None:
        """The best question to ``slave`` that can be waited for in ``room`` ms. A short one: its
        late answer looks like nobody's reading. There are devices that answer whole blocks only,
        so where there is time they are asked one now and then."""
        block = slave.plan.blocks[0]
        if slave.failures % WHOLE_EVERY == WHOLE_EVERY - 1 and self._load < TIGHT:
            known = self._honest(short_one=False)
        else:
            block = short(block)
            known = self._honest(short_one=True)
        if room < known:
            return None
        return Turn(slave, 0, block, min(room, self._timeout) / 1000)

    def _learn(self, now: int) -> Turn | None:
        """On a tight line: how fast is a slave at its fastest? Asked once, while all are well."""
        if self._load < TIGHT or self._troubled:
            return None
        for slave in self.slaves:
            honest = slave.pace.honest()
            if not slave.asked_short and honest is not None and slave.failures == 0:
                if self._room(now) < honest:
                    return None
                slave.asked_short = True
                return Turn(slave, 0, short(slave.plan.blocks[0]), honest / 1000)
        return None

    def _honest(self, *, short_one: bool) -> float:
        """How long anybody on this bus may take to answer, ms, as far as it is known."""
        if short_one and not any(slave.pace.short for slave in self.slaves):
            short_one = False  # a whole block cannot be answered faster
        known = [
            found
            for slave in self.slaves
            if (not short_one or slave.pace.short)
            and (found := slave.pace.honest(short=short_one)) is not None
        ]
        return min(self._timeout, max(known, default=self._timeout))

    def _room(self, now: int, asked: Slave | None = None) -> float:
        """For how long the line can be kept, ms, so that nobody but ``asked`` is late."""
        turns = []
        for slave in self.slaves:
            if slave is asked or slave.device.end <= now or not slave.plan.blocks:
                continue
            if slave.failures and not slave.proved:
                continue
            interval = slave.interval * self._wider
            turns.append((slave.at, slave.at + interval, slave.pace.cost))
        return slack(now, turns) - EDGE_MS

    def _patience(self, slave: Slave) -> float | None:
        """How long a question to a slave that is well may wait, s; None: as long as any."""
        if (not self._troubled and self._load < TIGHT) or len(self.slaves) == 1:
            return None
        honest = slave.pace.honest()
        if honest is None:
            return None
        room = self._room(self._clock.now(), slave)
        return min(max(room, honest), self._timeout) / 1000

    @property
    def _wider(self) -> float:
        return self._stretch * (WIDER if self._wide else 1)

    # Resting, connecting.

    async def _rest(self, until: int) -> None:
        """Sleep until ``until``, or until the devices changed."""
        changes = self._changes
        await self._settle()
        if self._changes != changes:
            return
        task = self._resting = asyncio.current_task()
        try:
            await self._clock.sleep_until(until)
        except asyncio.CancelledError:
            # Either the devices changed (then go on) or the program stops, or both.
            if task is None or self._changes == changes or task.uncancel() > 0:
                raise
        finally:
            self._resting = None

    async def _settle(self) -> None:
        """Until all readings of this bus are synced."""
        if self._unsynced is not None:
            await self._unsynced.wait()

    async def _connect(self) -> bool:
        failure = await self._link.connect()
        if failure is not None:
            self._attempts += 1
            self._telemetry.count("modbus_failures", kind=failure.what.name.lower())
            self._tell_bus(up=False, reason=failure.detail)
            return False
        self._attempts = 0
        if self._up is False:
            for slave in self.slaves:
                slave.widen()  # whoever is there now, it was away
        self._tell_bus(up=True)
        return True

    def _wait_to_connect(self) -> int:
        return min(CONNECT_MOST_MS, RETRY_MS << min(self._attempts - 1, 10))

    # Asking.

    async def _nudge(self, slave: Slave, block: Block, patience: float | None) -> None:
        """One question, only to see whether ``slave`` answers, or how fast."""
        started = self._clock.monotonic()
        answer = await self._link.read(slave.unit, block, patience)
        there = isinstance(answer, bytes) or (
            not slave.barren and answer.what in {What.NO_SUCH, What.REFUSED, What.BUSY}
        )
        if there and block == short(block):
            slave.pace.nudged((self._clock.monotonic() - started) * 1000)
        if not slave.failures:
            return  # it was only asked how fast it is
        self._telemetry.count("modbus_probes", result="answered" if there else "silent")
        if not there:
            assert isinstance(answer, Failure)
            self._failed(slave, answer)
            return
        slave.proved = True
        slave.barren = False
        now = slave.at = self._clock.now()
        if self._hushed:
            self._hushed = 0
            for other in self.slaves:
                if other.failures:
                    other.at = min(other.at, now)

    async def _poll(self, slave: Slave) -> None:
        started = before = self._clock.monotonic()
        left = list(reversed(slave.plan.blocks))
        done: list[Block] = []
        answers: list[bytes] = []
        refusal: Failure | None = None
        longest, refusals = 0.0, 0
        while left:
            block = left.pop()
            answer = await self._link.read(slave.unit, block, self._patience(slave))
            after = self._clock.monotonic()
            longest, before = max(longest, after - before), after
            if isinstance(answer, bytes):
                done.append(block)
                answers.append(answer)
            elif answer.what is not What.NO_SUCH:
                if refusal is not None:
                    slave.replan(whole=False)
                self._failed(slave, answer)
                return
            else:
                refusal = answer
                refusals += 1
                if refusals > REFUSALS:
                    break
                left += reversed(slave.narrow(block, answer.code))
        if refusal is None:
            slave.pace.polled((after - started) * 1000, longest * 1000)
            poll = Poll(slave.plan, *slave.plan.decode(b"".join(answers)))
        else:
            poll = slave.read_only(done, answers)
            slave.replan(whole=refusals <= REFUSALS)
        if slave.barren:
            assert refusal is not None
            self._failed(slave, refusal)
        else:
            self._polled(slave, poll, whole=refusals <= REFUSALS)

    def _polled(self, slave: Slave, poll: Poll, *, whole: bool) -> None:
        now = self._clock.now()
        slave.failures = slave.busy_times = 0
        slave.proved = False
        self._hushed = 0
        news = slave.news()
        if slave.up is not True or news is not None:
            slave.up = True
            self._tell_refused(slave, news)
        if len(poll.plan.points):
            self._unsynced = self._carrier.readings(
                poll.plan.points,
                poll.values,
                poll.qualities,
                now,
                self._carrier.origin(slave.origin),
            )
        if whole:
            self._schedule(slave, now)
        else:
            slave.at = now  # the search for what it refuses goes on
        self._polls += 1
        if self._polls >= len(self.slaves) and now >= self._weighed + WEIGHED_MS:
            self._polls = 0
            self._weighed = now
            self._weigh()

    def _schedule(self, slave: Slave, now: int) -> None:
        """The next whole multiple of the interval after ``now``."""
        if self._carrier.wide is not self._wide:
            self._tell_wide()
        interval = max(1, round(slave.interval * self._wider))
        missed = (now - slave.at) // slave.interval
        if missed > 0 and slave.at > slave.device.start:
            self._telemetry.count("modbus_polls_skipped", missed)
        # What is read rarely is meant to be read on the minute; what is read often is spread out.
        phase = round(self._phase * (interval if interval < MINUTE_MS else self._spread))
        slave.at = ((now - phase) // interval + 1) * interval + phase

    def _failed(self, slave: Slave, failure: Failure) -> None:
        """Ask again later. Told as down once it is more than a lost frame."""
        now = self._clock.now()
        self._telemetry.count("modbus_failures", kind=failure.what.name.lower())
        if failure.what is What.BUSY and self._may_be_busy(slave, now):
            return
        slave.proved = False
        slave.failures += 1
        slave.at = now + min(RETRY_MOST_MS, RETRY_MS << min(slave.failures - 1, 10))
        if slave.failures == DOWN_AFTER:
            slave.widen(barren=slave.barren)
            self._tell_down(slave, str(failure))
        if all(one.failures for one in self.slaves if one.device.end > now):
            self._hushed += 1
            self._hushed_until = now + min(RETRY_MOST_MS, RETRY_MS << min(self._hushed - 1, 10))
            if self._hushed > DOWN_AFTER:
                for one in self.slaves:
                    self._tell_down(one, "nobody on this connection answers")

    def _may_be_busy(self, slave: Slave, now: int) -> bool:
        """It asks to be asked again soon; that is no failure, unless it goes on for ever."""
        if not slave.busy_times:
            slave.busy_since = now
        slave.busy_times += 1
        if now - slave.busy_since >= max(BUSY_MOST_MS, 3 * slave.interval):
            return False
        slave.at = now + min(slave.interval, BUSY_MS << min(slave.busy_times - 1, 5))
        return True

    # What a line can carry.

    def _weigh(self) -> None:
        """Can the line keep its intervals? Looked at once a round, and once a second at most."""
        now = self._clock.now()
        costs = [
            (slave.pace.cost, slave.interval)
            for slave in self.slaves
            if slave.pace.answers and slave.device.end > now and not slave.failures
        ]
        self._load = load(costs)
        self._telemetry.gauge("modbus_line_load", round(self._load, 4), line=self.bus.place)
        if self._load > 1 and not self._load <= self._stretch <= self._load * SPARE**2:
            self._tell_load(costs, self._load * SPARE)
        elif self._stretch > 1 and self._load < 1 / SPARE:
            self._tell_load(costs, 1.0)

    def _tell_load(self, costs: Sequence[tuple[float, float]], stretch: float) -> None:
        before, self._stretch = self._stretch, stretch
        self._telemetry.gauge("modbus_line_stretch", round(stretch, 3), line=self.bus.place)
        if (before > 1) is (stretch > 1):
            return
        has = min(interval for _, interval in costs) / 1000
        reason = (
            f"overloaded: {len(costs)} devices need {has * self._load:.3g} s in every {has:.3g} s;"
            f" all of them are asked {stretch:.2f} times less often"
            if stretch > 1
            else "carries its intervals again"
        )
        self._unsynced = self._carrier.state(self.bus.origin, True, reason)

    # Telling.

    def _tell_refused(self, slave: Slave, news: str | None) -> None:
        count, names = slave.refused()
        if news is not None:
            self._telemetry.gauge("modbus_points_refused", count, device=slave.device.key)
        reason = f"refuses registers: {names}" if names else ""
        self._unsynced = self._carrier.state(slave.origin, True, reason)

    def _tell_down(self, slave: Slave, reason: str) -> None:
        if slave.up is not False:
            slave.up = False
            self._unsynced = self._carrier.state(slave.origin, False, reason)

    def _tell_bus(self, *, up: bool, reason: str = "") -> None:
        if self._up is not up:
            self._up = up
            self._unsynced = self._carrier.state(self.bus.origin, up, reason)

    def _tell_wide(self) -> None:
        """The gap in the record, with its reason (law 10)."""
        self._wide = self._carrier.wide
        reason = (
            f"polled {WIDER} times less often: the intake log nears its bound"
            if self._wide
            else "polled as often as configured again"
        )
        self._unsynced = self._carrier.state(self.bus.origin, True, reason)
