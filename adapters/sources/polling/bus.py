"""One bus: one connection, its devices asked one after another, each at its own pace.

Whose turn it is, and for how long, says ``turns.py``; what is asked, and how, is the protocol's
``Speaker``. This is the loop between them: it connects, asks, hands readings to the carrier, and
tells once what goes up and down.

Nothing is invented: a poll that failed leaves no reading.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from adapters.sources.polling.carrier import Carrier, Round
from adapters.sources.polling.failure import Failure, What
from adapters.sources.polling.polled import Polled
from adapters.sources.polling.turns import WIDER, P, Turns, wait
from collector.model import Ids, Qualities, Reason, Refusal, Values
from collector.ports import Clock
from collector.telemetry import Telemetry

DOWN_AFTER: Final = 2
"""Failures in a row until a device counts as down: a single lost frame is everyday life."""
CONNECT_MOST_MS: Final = 30_000


Spoken_contra = TypeVar("Spoken_contra", bound=Polled, contravariant=True)


class Answer(NamedTuple):
    """What a poll brought, as columns of equal length. ``longest`` (s): of the answers in it; None:
    it was not a poll like others, and nothing is learnt from how long it took. ``whole``: nothing
    was left open; else the device is polled again at once."""

    points: Ids
    values: Values
    qualities: Qualities
    longest: float | None
    whole: bool = True


class Speaker(Protocol[Spoken_contra]):
    """One connection, and how the devices on it are spoken to. Used by one task; what happens on
    the wire is a ``Failure``, never raised."""

    timeout: float
    """Seconds for one answer."""

    @property
    def connected(self) -> bool: ...

    async def connect(self) -> Failure | None:
        """Open it anew; None when it is open."""

    def close(self) -> None: ...

    async def poll(self, device: Spoken_contra) -> Answer | Failure:
        """Everything that is wanted of it."""

    async def ask(self, device: Spoken_contra, patience: float, *, short: bool) -> Failure | None:
        """One question, only to see whether it answers; None: it is there."""


class Bus(Protocol):
    """What names a connection: equal ones are the same."""

    @property
    def origin(self) -> str: ...

    @property
    def place(self) -> str: ...


class BusLoop(Generic[P]):
    """Runs one bus, named ``origin`` among origins and ``place`` in metrics."""

    def __init__(
        self,
        bus: Bus,
        speaker: Speaker[P],
        turns: Turns[P],
        clock: Clock,
        carrier: Carrier,
        telemetry: Telemetry,
    ) -> None:
        self.bus = bus
        self.turns = turns
        self._speaker = speaker
        self._clock = clock
        self._carrier = carrier
        self._telemetry = telemetry
        self._kind = carrier.kind
        self._up: bool | None = None
        self._attempts = 0
        self._unsynced: Round | None = None
        self._resting: asyncio.Task[object] | None = None
        self._changes = 0

    def replace(self, devices: Sequence[P]) -> None:
        """Other devices from now on, as ``Turns.replace``."""
        self.turns.replace(devices)
        self.wake()

    def wake(self) -> None:
        """Something changed: look now whose turn it is."""
        self._changes += 1
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None

    async def run(self) -> None:
        """Poll until cancelled."""
        turns, speaker, carrier = self.turns, self._speaker, self._carrier
        try:
            await self._clock.sleep(0)  # a simulated clock waits for us now
            while True:
                now = self._clock.now()
                changes = self._changes
                turn = turns.next(now)
                if turn.device is None:
                    if not await self._settle():  # that may take long: then look again
                        await self._rest(turn.until - now, changes)
                elif not speaker.connected and not await self._connect():
                    await self._settle()
                    await self._rest(self._wait_to_connect(), changes)
                elif turn.patience is not None:
                    await self._ask(turn.device, turn.patience, short=turn.short)
                else:
                    await self._poll(turn.device)
                    if carrier.full:
                        await self._settle()
        finally:
            speaker.close()

    # Resting, connecting.

    async def _rest(self, ms: int, changes: int) -> None:
        """Sleep, or until something changed since ``changes`` were counted."""
        if self._changes != changes:
            return
        task = self._resting = asyncio.current_task()
        try:
            await self._clock.sleep(ms)
        except asyncio.CancelledError:
            # Either something changed (then go on) or the program stops, or both.
            if task is None or self._changes == changes or task.uncancel() > 0:
                raise
            await self._clock.sleep(0)  # as at the beginning
        finally:
            self._resting = None

    async def _settle(self) -> bool:
        """Until all readings of this bus are synced; whether any were not."""
        waiting = self._unsynced
        if waiting is None:
            return False
        await waiting.wait()
        if self._unsynced is waiting:
            self._unsynced = None
        return True

    async def _connect(self) -> bool:
        failure = await self._speaker.connect()
        if failure is not None:
            self._attempts += 1
            self._count(failure)
            self._tell_bus(up=False, reason=failure.detail)
            return False
        self._attempts = 0
        if self._up is False:
            for one in self.turns.devices:
                one.widen()  # whoever is there now, it was away
        self._tell_bus(up=True)
        return True

    def _wait_to_connect(self) -> int:
        return wait(self._attempts, CONNECT_MOST_MS)

    # Asking.

    async def _ask(self, one: P, patience: float, *, short: bool) -> None:
        """One question, only to see whether ``one`` answers, or how fast."""
        started = self._clock.monotonic()
        try:
            failure = await self._speaker.ask(one, patience, short=short)
        except Exception as fault:  # noqa: BLE001 fenced off: a bug at one device harms no other
            failure = self._fault(one, fault)
        if failure is None and short:
            one.pace.nudged((self._clock.monotonic() - started) * 1000)
        if not one.failures:
            return  # it was only asked how fast it is
        result = "silent" if failure is not None else "answered"
        self._telemetry.count(f"{self._kind}_probes", result=result)
        if failure is not None:
            self._failed(one, failure)
        else:
            self.turns.proved(one, self._clock.now())

    async def _poll(self, one: P) -> None:
        started = self._clock.monotonic()
        try:
            answer = await self._speaker.poll(one)
        except Exception as fault:  # noqa: BLE001 fenced off: a bug at one device harms no other
            answer = self._fault(one, fault)
        if isinstance(answer, Failure):
            self._failed(one, answer)
            return
        if answer.longest is not None:
            took = self._clock.monotonic() - started
            one.pace.polled(took * 1000, answer.longest * 1000)
        self._polled(one, answer)

    def _polled(self, one: P, answer: Answer) -> None:
        now = self._clock.now()
        if one.news() or one.tell_again or one.standing.up is not True:
            self._tell_up(one)
        if len(answer.points):
            self._unsynced = self._carrier.readings(
                answer.points,
                answer.values,
                answer.qualities,
                now,
                self._carrier.origin(one.origin),
            )
        if self._carrier.wide is not self.turns.wide:
            self._tell_wide()
        missed = self.turns.polled(one, now, whole=answer.whole)
        if missed > 0:
            self._telemetry.count(f"{self._kind}_polls_skipped", missed)
        self._weigh(now)

    def _failed(self, one: P, failure: Failure) -> None:
        """Ask again later. Told as down once it is more than a lost frame."""
        now = self._clock.now()
        self._count(failure)
        if failure.what is What.BUSY and self.turns.busy(one, now):
            return
        nobody = self.turns.failed(one, now)
        if failure.what is What.WRONG_DEVICE:
            self._refuse(one, failure, now)
        elif one.failures == DOWN_AFTER:
            if failure.what is not What.REFUSED:  # who refuses was not exchanged
                one.widen(barren=one.barren)
            self._tell_down(one, str(failure))
        if nobody:
            for other in self.turns.devices:
                if other.here(now):
                    self._tell_down(other, "nobody on this connection answers")

    def _refuse(self, one: P, failure: Failure, now: int) -> None:
        """It answers and is another one: what it shows belongs to nobody yet."""
        self._tell_down(one, str(failure))
        if now < one.refuse_from:
            return
        one.refuse_from = now + one.interval
        origin = self._carrier.origin(one.origin)
        refusal = Refusal(now, origin, Reason.WRONG_SERIAL, failure.detail, one.points)
        self._unsynced = self._carrier.refusal(refusal)

    def _weigh(self, now: int) -> None:
        """Can the bus keep its intervals?"""
        before = self.turns.stretch
        costs = self.turns.weigh(now)
        if not costs:
            return
        load, stretch = self.turns.load, self.turns.stretch
        self._telemetry.gauge(f"{self._kind}_line_load", round(load, 4), line=self.bus.place)
        if stretch == before:
            return
        self._telemetry.gauge(f"{self._kind}_line_stretch", round(stretch, 3), line=self.bus.place)
        if (before > 1) is (stretch > 1):
            return
        has = min(interval for _, interval in costs) / 1000
        reason = (
            f"overloaded: {len(costs)} devices need {has * load:.3g} s in every {has:.3g} s;"
            f" all of them are asked {stretch:.2f} times less often"
            if stretch > 1
            else "carries its intervals again"
        )
        self._unsynced = self._carrier.state(self.bus.origin, True, reason)

    # Telling.

    def _count(self, failure: Failure) -> None:
        self._telemetry.count(f"{self._kind}_failures", kind=failure.what.name.lower())

    def _fault(self, one: P, fault: Exception) -> Failure:
        """The program itself failed: counted, told, and the connection is begun anew."""
        self._speaker.close()
        self._telemetry.count(f"{self._kind}_device_faults", device=one.device.key)
        self._telemetry.event(
            "the program failed on a device, it is asked again later",
            level="error",
            origin=one.origin,
            fault=repr(fault),
        )
        return Failure(What.FAULT, repr(fault))

    def _tell_up(self, one: P) -> None:
        words = one.words()
        if one.standing.up is not True or words != one.standing.words:
            count, _ = one.refused()
            self._telemetry.gauge(f"{self._kind}_points_refused", count, device=one.device.key)
            self._unsynced = self._carrier.state(one.origin, True, words)
            one.standing.up, one.standing.words = True, words
        one.tell_again = False

    def _tell_down(self, one: P, reason: str) -> None:
        if one.standing.up is not False:
            self._unsynced = self._carrier.state(one.origin, False, reason)
            one.standing.up, one.standing.words = False, ""

    def _tell_bus(self, *, up: bool, reason: str = "") -> None:
        if self._up is not up:
            self._unsynced = self._carrier.state(self.bus.origin, up, reason)
            self._up = up

    def _tell_wide(self) -> None:
        """The gap in the record, with its reason (law 10)."""
        self.turns.wide = self._carrier.wide
        reason = (
            f"polled {WIDER} times less often: the intake log nears its bound"
            if self.turns.wide
            else "polled as often as configured again"
        )
        self._unsynced = self._carrier.state(self.bus.origin, True, reason)
