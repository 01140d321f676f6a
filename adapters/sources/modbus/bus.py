"""One bus: one connection, its slaves asked one after another, each at its own pace.

A slave is due at whole multiples of its interval (UTC), plus the bus's phase, so that meters
read every 15 minutes are read at :00, :15, :30 and :45, and a hundred connections do not ask in
the same millisecond. What falls due together on one bus is asked in turn; what was missed
because the bus was slow is skipped and counted, never asked twice.

A slave that fails is asked again after 1, 2, 4 .. 60 s, with its first block only until it
answers, and after those that are well: a dead one costs its bus one timeout a minute. The
second failure in a row is told as "down". What a device refuses as "no such register" is left
out until the next registry or the next connection; the rest goes on.

Nothing is invented: a poll that did not wholly succeed leaves no reading.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from adapters.sources.modbus.address import Bus
from adapters.sources.modbus.carrier import Carrier, Round
from adapters.sources.modbus.link import Failure, Link, What
from adapters.sources.modbus.plan import Block, Plan, plan
from collector.ports import Clock
from collector.profile import Profile
from collector.registry import Device
from collector.telemetry import Telemetry

DOWN_AFTER: Final = 2
"""Failures in a row until a device counts as down: a single lost frame is everyday life."""
RETRY_MS: Final = 1_000
RETRY_MOST_MS: Final = 60_000
CONNECT_MOST_MS: Final = 30_000
DEAD_WAITS_MS: Final = 10_000
"""A failing slave yields this long to those that are well, then takes its turn."""
WIDER: Final = 4
"""By this much intervals widen while the journal nears its bound."""
IDLE_MS: Final = 3_600_000


class Slave:
    """One device on a bus: its plan and how it fares."""

    def __init__(self, device: Device, unit: int, profile: Profile, ids: Mapping[str, int]) -> None:
        self.device = device
        self.unit = unit
        self.origin = f"device:{device.key}"
        self.interval = max(1, round(device.interval * 1000))
        self.at = device.start
        """When it is due, UTC ms; in the past: now."""
        self.failures = 0
        self.up: bool | None = None
        """As told last; None: nothing was told yet."""
        self._profile = profile
        self._ids = ids
        self._strict = False
        self._refused: set[Block] = set()
        self._whole = plan(device, profile, ids)
        self.plan: Plan = self._whole

    def after(self, old: Slave | None) -> Slave:
        """What to go on with where ``old`` was: itself when nothing about it changed."""
        if old is None:
            return self
        if self._as_read() == old._as_read():  # noqa: SLF001 of the same class
            return old
        self.up = old.up
        return self

    def _as_read(self) -> tuple[object, ...]:
        where = replace(self.device, file="", line=0)
        return where, self.unit, self._profile, self._whole.points.tolist()

    def narrow(self, block: Block) -> bool:
        """It has no such registers. First read over no gap; then leave out what it refuses.
        False when nothing is left to read."""
        if not self._strict:
            self._strict = True
        else:
            self._refused.add(block)
        narrowed = plan(self.device, self._profile, self._ids, strict=True, without=self._refused)
        if not narrowed.blocks:
            return False
        self.plan = narrowed
        return True

    def widen(self) -> None:
        """Forget what it refused: it may be another device by now."""
        if self._strict:
            self._strict = False
            self._refused.clear()
            self.plan = self._whole

    def refused(self) -> str:
        """What is left out, for people."""
        return ", ".join(
            f"{block.count} from {block.address:#06x}" for block in sorted(self._refused)
        )


class BusLoop:
    """Runs one bus. ``phase`` (ms) shifts its deadlines."""

    def __init__(
        self,
        bus: Bus,
        slaves: Sequence[Slave],
        clock: Clock,
        carrier: Carrier,
        telemetry: Telemetry,
        timeout: float,
        phase: int,
    ) -> None:
        self.bus = bus
        self.slaves = list(slaves)
        self._clock = clock
        self._carrier = carrier
        self._telemetry = telemetry
        self._phase = phase
        self._link = Link(bus, timeout)
        self._up: bool | None = None
        self._told_wide = False
        self._attempts = 0
        self._unsynced: Round | None = None
        self._resting: asyncio.Task[object] | None = None
        self._changes = 0
        self._blocking = round(timeout * 1000)
        """How long a silent slave keeps the line, ms."""

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
                slave, until = self._next(now)
                if slave is None:
                    await self._rest(until)
                elif not self._link.connected and not await self._connect():
                    await self._rest(now + self._wait_to_connect())
                else:
                    await self._poll(slave)
                    if self._carrier.full:
                        await self._settle()
        finally:
            self._link.close()

    def _next(self, now: int) -> tuple[Slave | None, int]:
        """Whose turn it is, or None and when to look again. Those that are well come first;
        a failing one takes its turn when it has waited long, or when nobody will need the
        line for as long as it may block it."""
        well: Slave | None = None
        failing: Slave | None = None
        for slave in self.slaves:
            if slave.device.end <= now or not slave.plan.blocks:
                continue
            if slave.failures:
                if failing is None or slave.at < failing.at:
                    failing = slave
            elif well is None or slave.at < well.at:
                well = slave
        free = now + IDLE_MS if well is None else well.at
        if failing is None:
            return (well, now) if free <= now else (None, free)
        patience = failing.at + DEAD_WAITS_MS
        if patience <= now or (failing.at <= now and free > now + self._blocking):
            return failing, now
        if free <= now:
            return well, now
        return None, min(free, patience if failing.at <= now else failing.at)

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
        self._tell_bus(up=True)
        return True

    def _wait_to_connect(self) -> int:
        return min(CONNECT_MOST_MS, RETRY_MS << min(self._attempts - 1, 10))

    async def _poll(self, slave: Slave) -> None:
        answers: list[bytes] = []
        for block in slave.plan.blocks:
            answer = await self._link.read(slave.unit, block)
            if isinstance(answer, Failure):
                self._failed(slave, block, answer)
                return
            answers.append(answer)
        now = self._clock.now()
        values, qualities = slave.plan.decode(b"".join(answers))
        self._answered(slave)
        self._unsynced = self._carrier.readings(
            slave.plan.points, values, qualities, now, self._carrier.origin(slave.origin)
        )
        self._schedule(slave, now)

    def _answered(self, slave: Slave) -> None:
        slave.failures = 0
        if slave.up is not True:
            slave.up = True
            refused = slave.refused()
            reason = f"refuses registers: {refused}" if refused else ""
            self._unsynced = self._carrier.state(slave.origin, True, reason)

    def _schedule(self, slave: Slave, now: int) -> None:
        """The next whole multiple of the interval after ``now``."""
        if self._carrier.wide is not self._told_wide:
            self._tell_wide()
        interval = slave.interval * (WIDER if self._told_wide else 1)
        missed = (now - slave.at) // slave.interval
        if missed > 0 and slave.at > slave.device.start:
            self._telemetry.count("modbus_polls_skipped", missed)
        phase = self._phase % interval
        slave.at = ((now - phase) // interval + 1) * interval + phase

    def _failed(self, slave: Slave, block: Block, failure: Failure) -> None:
        """Ask again later. Told as down once it is more than a lost frame."""
        self._telemetry.count("modbus_failures", kind=failure.what.name.lower())
        if failure.what is What.NO_SUCH and slave.narrow(block):
            return  # due still: asked again at once, for less
        slave.failures += 1
        wait = min(RETRY_MOST_MS, RETRY_MS << min(slave.failures - 1, 10))
        slave.at = self._clock.now() + wait
        if slave.failures == DOWN_AFTER:
            slave.widen()
            if slave.up is not False:
                slave.up = False
                self._unsynced = self._carrier.state(slave.origin, False, str(failure))

    def _tell_bus(self, *, up: bool, reason: str = "") -> None:
        if self._up is not up:
            self._up = up
            self._unsynced = self._carrier.state(self.bus.origin, up, reason)

    def _tell_wide(self) -> None:
        """The gap in the record, with its reason (law 10)."""
        self._told_wide = self._carrier.wide
        reason = (
            f"polled {WIDER} times less often: the intake log nears its bound"
            if self._told_wide
            else "polled as often as configured again"
        )
        self._unsynced = self._carrier.state(self.bus.origin, True, reason)
