"""Whose turn it is on a bus, and how long a question may keep it. Decides only; asks nothing.

A device is due at whole multiples of its interval (UTC), plus the bus's phase, so that meters
read every 15 minutes are read at :00, :15, :30 and :45, and a hundred connections do not ask in
the same millisecond. Of those that are due, whoever must be done first is asked first; what was
missed because the bus was slow is skipped and counted, never asked twice.

A device that fails is asked again after 1, 2, 4 .. 60 s, one question only until it answers, and
in time that nobody else needs: while the bus is idle, and after a while in what is left before
anybody's reading would come too late (``pace.slack``). On a bus with little to spare a question
waits only as long as anybody ever took to answer, and some. So a dead device costs the others no
reading. When nobody on a connection answers, one device is asked for all.

A bus that cannot carry its intervals has all of them stretched alike, and takes its devices one
after another as fast as it can.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from adapters.sources.polling.pace import load, slack
from adapters.sources.polling.polled import Polled

RETRY_MS: Final = 1_000
RETRY_MOST_MS: Final = 60_000
DEAD_WAITS_MS: Final = 10_000
"""A failing device waits this long for an idle bus, then takes what the others can spare."""
DEAD_WAITS_MOST_MS: Final = 120_000
"""Then it is asked all the same: a bus without any slack must still find out who is back."""
EDGE_MS: Final = 20
"""Of what a bus has to spare, never used: turns of the loop, a reconnect."""
FORCED_MS: Final = 30_000
"""Whoever it is: not more often than this."""
BUSY_MS: Final = 250
BUSY_MOST_MS: Final = 60_000
"""Busy for longer, and for three intervals: it fails."""
TIGHT: Final = 0.5
"""Of a bus's time: from here on it is counted who needs how much of it."""
WEIGHED_MS: Final = 1_000
SET_BACK_MS: Final = 1_000
"""By less, clocks are only steered."""
LOOK_MS: Final = 250
"""What can be spared is counted this often at most; in between it is reckoned on."""
SPARE: Final = 1.03
"""An overloaded bus is given this much more than it needs."""
HUSHED_AFTER: Final = 2
"""Failures in a row while nobody was well."""
WHOLE_EVERY: Final = 4
"""So many failures, and a whole question is asked instead of the shortest."""
WIDER: Final = 4
"""By this much intervals widen while the journal nears its bound."""
MINUTE_MS: Final = 60_000
IDLE_MS: Final = 3_600_000

P = TypeVar("P", bound=Polled)


class Turn(NamedTuple, Generic[P]):
    """Whose turn it is: None and when to look again. ``patience``: not a poll, one question only,
    to see whether it answers, that may wait so many seconds; ``short``: the shortest there is."""

    device: P | None
    until: int = 0
    patience: float | None = None
    short: bool = True


class Turns(Generic[P]):
    """Turns of ``devices``. ``phase`` (0 to 1) shifts their deadlines by that part of ``spread``
    (ms), or of an interval that is less than a minute."""

    def __init__(self, devices: Sequence[P], phase: float, spread: int) -> None:
        self.devices: list[P] = []
        self._shortest = IDLE_MS
        """The shortest interval on the bus."""
        self.replace(devices)
        self.timeout = 2_000.0
        """Milliseconds for one answer."""
        self.load = 0.0
        """Part of the bus's time that all polls take together, as weighed last."""
        self.stretch = 1.0
        """By this all intervals are stretched, because the bus cannot carry them."""
        self.wide = False
        """The journal nears its bound: polled less often (law 10)."""
        self.hushed = 0
        """Failures in a row while nobody on the bus was well."""
        self._hushed_until = 0
        self._phase = phase
        self._spread = spread
        self._troubled = False
        self._forced = 0
        """When somebody was asked although the bus had no time for it."""
        self._polls = self._weighed = 0
        self._then = 0
        """When ``next`` was asked last."""
        self._looked, self._spare = 0, 0.0
        """When it was counted last for how long the bus can be kept, and how long that was; what
        polls were to take since then is added, because it was counted already (not that of whom it
        was counted for)."""
        self._looked_for: P | None = None

    def replace(self, devices: Sequence[P]) -> None:
        """Other devices from now on; those that did not change keep their state."""
        known = {one.device.key: one for one in self.devices}
        self.devices = [new.after(known.get(new.device.key)) for new in devices]
        self._shortest = min((one.interval for one in self.devices), default=IDLE_MS)

    @property
    def wider(self) -> float:
        return self.stretch * (WIDER if self.wide else 1)

    def next(self, now: int) -> Turn[P]:
        """Of those that are due, who must be done first. A failing one has its turn in time that
        nobody needs."""
        due: P | None = None
        nearest: P | None = None
        failing: P | None = None
        soonest = now + IDLE_MS
        first = float("inf")
        wider = self.wider
        if now < self._then - SET_BACK_MS:
            self._set_back(now)
        self._then = now
        for one in self.devices:
            if one.device.end <= now or not one.wanted:
                continue
            at = one.at
            if one.failures and not one.proved:
                if failing is None or at < failing.at:
                    failing = one
            elif at > now:
                if at < soonest:
                    soonest = at
                    nearest = one if one.device.start <= now and not one.busy_times else None
            elif at + one.interval * wider < first:
                due, first = one, at + one.interval * wider
        self._troubled = failing is not None
        hurried = self.stretch > 1 and not self.wide
        if failing is not None:
            turn = self._failing(failing, now, due, soonest)
            if turn.device is not None or (due is None and not hurried):
                return turn
        if due is None and hurried and nearest is not None:
            due = nearest
            self._hurry(now, soonest - now)
        if due is not None:
            return Turn(due)
        return self._learn(now) or Turn(None, soonest)

    def patience(self, one: P, now: int) -> float | None:
        """How long a question of its poll may wait, s; None: as long as any."""
        if len(self.devices) == 1:
            return None
        spare = (1 - self.load) * self._shortest
        if not self._troubled and self.load < TIGHT and self.timeout < spare:
            return None  # whoever is silent, nobody is late
        honest = one.pace.honest()
        if honest is None:
            return None
        if now >= self._looked + LOOK_MS:
            self._looked, self._spare, self._looked_for = now, self._room(now, one), one
        return min(max(self._spare - (now - self._looked), honest), self.timeout) / 1000

    # What became of a turn.

    def polled(self, one: P, now: int, *, whole: bool) -> int:
        """It was polled, and is due at the next whole multiple of its interval; not ``whole``: at
        once. How many of its turns were missed."""
        one.failures = one.busy_times = 0
        one.proved = False
        self.hushed = 0
        self._polls += 1
        if one is not self._looked_for:
            self._spare += one.pace.cost
        if not whole:
            one.at = now
            return 0
        interval = max(1, round(one.interval * self.wider))
        missed = (now - one.at) // one.interval if one.at > one.device.start else 0
        if self.stretch > 1:  # multiples of this interval mean nothing to people: waste no time
            # Who was kept waiting by somebody's long poll is asked the sooner after it.
            due = max(one.at + interval, now - interval)
            one.at = due if one.at > one.device.start else now + interval
            return missed
        # What is read rarely is meant to be read on the minute; what is read often is spread out.
        phase = round(self._phase * (interval if interval < MINUTE_MS else self._spread))
        one.at = ((now - phase) // interval + 1) * interval + phase
        return missed

    def proved(self, one: P, now: int) -> None:
        """It is there again."""
        one.proved = True
        one.barren = False
        one.at = now
        if self.hushed:
            self.hushed = 0
            for other in self.devices:
                if other.failures:
                    other.at = min(other.at, now)

    def failed(self, one: P, now: int) -> bool:
        """It is asked again later. Whether nobody at all has answered for a while."""
        one.proved = False
        one.failures += 1
        one.at = now + wait(one.failures)
        if not all(other.failures for other in self.devices if other.here(now)):
            return False
        self.hushed += 1
        self._hushed_until = now + wait(self.hushed)
        return self.hushed > HUSHED_AFTER

    def busy(self, one: P, now: int) -> bool:
        """It asks to be asked again soon; that is no failure, unless it goes on for ever."""
        if not one.busy_times:
            one.busy_since = now
        one.busy_times += 1
        if now - one.busy_since >= max(BUSY_MOST_MS, 3 * one.interval):
            return False
        one.at = now + min(one.interval, BUSY_MS << min(one.busy_times - 1, 5))
        return True

    def weigh(self, now: int) -> list[tuple[float, float]] | None:
        """Looked at once a round, and once a second at most: ``load`` is then as it is, ``stretch``
        as it should be. Pairs of cost and interval; None: not looked."""
        if self._polls < len(self.devices) or now < self._weighed + WEIGHED_MS:
            return None
        self._polls = 0
        self._weighed = now
        costs = [
            (one.pace.mean, float(one.interval))
            for one in self.devices
            if one.pace.answers and one.device.end > now and not one.failures
        ]
        self.load = load(costs)
        if self.load > 1 and not self.load <= self.stretch <= self.load * SPARE**2:
            self.stretch = self.load * SPARE
        elif self.stretch > 1 and self.load < 1 / SPARE:
            self.stretch = 1.0
        return costs

    def _hurry(self, now: int, rest: int) -> None:
        """Whoever is due after this rest is asked now, and the others so much sooner, too: nobody
        gets more than the share that its interval gives it."""
        for one in self.devices:
            if one.at > now and one.device.start <= now and not (one.failures or one.busy_times):
                one.at -= rest

    def _set_back(self, now: int) -> None:
        """Somebody set the clock back: nobody may wait until it is again what it was."""
        for one in self.devices:
            later = RETRY_MOST_MS if one.failures else round(one.interval * self.wider)
            one.at = min(one.at, now + later)
        self._hushed_until = min(self._hushed_until, now + RETRY_MOST_MS)
        self._looked = self._weighed = self._forced = 0

    # Failing ones.

    def _failing(self, one: P, now: int, due: P | None, soonest: int) -> Turn[P]:
        """Ask ``one`` whether it is there, if there is time for it."""
        at = one.at
        if self.hushed and due is None and soonest - now >= IDLE_MS:
            at = max(at, self._hushed_until)
        if at > now:
            return Turn(None, min(soonest, at))
        waited = now - at
        if due is None and (turn := self._question(one, soonest - now)) is not None:
            return turn
        if waited >= DEAD_WAITS_MS:
            room = self._room(now)
            if waited >= DEAD_WAITS_MOST_MS and now >= self._forced + FORCED_MS:
                self._forced = now
                room = max(room, self._honest(short=False))
            if (turn := self._question(one, room)) is not None:
                return turn
        return Turn(None, min(soonest, max(now + LOOK_MS, at + DEAD_WAITS_MS)))

    def _question(self, one: P, room: float) -> Turn[P] | None:
        """The best question to ``one`` that can be waited for in ``room`` ms. A short one: its
        late answer looks like nobody's reading. There are devices that answer whole questions
        only, so where there is time they are asked one now and then."""
        whole = one.failures % WHOLE_EVERY == WHOLE_EVERY - 1 and self.load < TIGHT
        if room < self._honest(short=not whole):
            return None
        return Turn(one, 0, min(room, self.timeout) / 1000, not whole)

    def _learn(self, now: int) -> Turn[P] | None:
        """On a tight bus: how fast is a device at its fastest? Asked once, while all are well."""
        if self.load < TIGHT or self._troubled:
            return None
        for one in self.devices:
            honest = one.pace.honest()
            if one.asked_short or one.failures or not one.here(now):
                continue
            if honest is not None:
                if self._room(now) < honest:
                    return None
                one.asked_short = True
                return Turn(one, 0, honest / 1000)
        return None

    def _honest(self, *, short: bool) -> float:
        """How long anybody on this bus may take to answer, ms, as far as it is known."""
        if short and not any(one.pace.short for one in self.devices):
            short = False  # a whole answer does not come faster
        known = [
            found
            for one in self.devices
            if (not short or one.pace.short) and (found := one.pace.honest(short=short)) is not None
        ]
        return min(self.timeout, max(known, default=self.timeout))

    def _room(self, now: int, asked: P | None = None) -> float:
        """For how long the bus can be kept, ms, so that nobody but ``asked`` is late."""
        turns = []
        for one in self.devices:
            if one is asked or one.device.end <= now or not one.wanted:
                continue
            if one.failures and not one.proved:
                continue
            turns.append((one.at, one.at + one.interval * self.wider, one.pace.cost))
        return slack(now, turns) - EDGE_MS


def wait(failures: int, most: int = RETRY_MOST_MS) -> int:
    """Milliseconds until the next attempt after so many failures."""
    return min(most, RETRY_MS << min(failures - 1, 10))
