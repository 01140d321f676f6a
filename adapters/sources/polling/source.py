"""The polled source of any protocol: the devices of a registry, bus by bus.

Invariants: one connection per bus and one task per connection; a bus that fails, whatever the
reason, harms no other; devices are read only between their registry dates; all waiting is done
on the clock that was handed in, except for what the wire itself needs (timeouts, the silence
between frames).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Generic, TypeVar

from adapters.sources.polling.bus import Bus, BusLoop, Speaker
from adapters.sources.polling.carrier import Carrier, Identify
from adapters.sources.polling.turns import P, Turns
from collector.connections import AddressError, protocol_of
from collector.errors import ConfigurationError, Fault
from collector.ports import Clock, Intake
from collector.profile import Profile
from collector.registry import Device
from collector.telemetry import Telemetry

GOLDEN: Final = 0.6180339887498949
"""Successive multiples of it, modulo 1, spread evenly however many there are."""
RESTART_MS: Final = 5_000

B = TypeVar("B", bound=Bus)
Patience = Callable[[P, int], float | None]
"""How many seconds a question of a device's poll may wait, asked at a time (UTC ms)."""


class Poller(Generic[B, P]):
    """Polls what is ``wanted``, bus by bus. ``speak`` opens nothing yet: it makes the speaker of a
    bus; ``ended`` is told of each bus that is no more. ``spread`` seconds over which the buses'
    deadlines lie; intervals of less than a minute are spread over all of the interval (the first
    bus is exactly on the multiples of its intervals)."""

    def __init__(
        self,
        name: str,
        kind: str,
        wanted: Mapping[B, Sequence[P]],
        speak: Callable[[B, Patience[P]], Speaker[P]],
        origin_ids: Identify,
        clock: Clock,
        telemetry: Telemetry,
        spread: float,
        ended: Callable[[B], object] = lambda _: None,
    ) -> None:
        self.name = name
        self._kind = kind
        self._wanted = wanted
        self._speak = speak
        self._origin_ids = origin_ids
        self._clock = clock
        self._telemetry = telemetry
        self._spread = round(spread * 1000)
        self._ended = ended
        self._loops: dict[B, tuple[BusLoop[P], asyncio.Task[None]]] = {}
        self._opened = 0
        self._carrier: Carrier | None = None

    def update(self, wanted: Mapping[B, Sequence[P]]) -> None:
        """Other devices from now on (call it in the source's loop). Buses that stay keep their
        connection, devices that stay their state."""
        self._wanted = wanted
        if self._carrier is not None:
            self._arrange(self._carrier)

    def wake(self, bus: B) -> None:
        """Something happened to ``bus``: it should look at once whose turn it is."""
        if bus in self._loops:
            self._loops[bus][0].wake()

    async def run(self, intake: Intake) -> None:
        """Poll until cancelled."""
        self._carrier = Carrier(
            self.name, intake, self._origin_ids, self._clock, self._telemetry, self._kind
        )
        carrying = asyncio.create_task(self._carrier.run(), name=f"{self.name} carrier")
        try:
            self._arrange(self._carrier)
            await carrying  # until cancelled, or until it fails, which is a bug to be seen
        finally:
            self._carrier = None
            tasks = [carrying, *(task for _, task in self._loops.values())]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for bus in list(self._loops):
                self._end(bus)

    def _arrange(self, carrier: Carrier) -> None:
        """Start, change and end bus loops until they are what is wanted."""
        for bus in [bus for bus in self._loops if bus not in self._wanted]:
            self._end(bus)
        for bus, devices in self._wanted.items():
            if bus in self._loops:
                self._loops[bus][0].replace(devices)
            else:
                self._begin(bus, devices, carrier)

    def _begin(self, bus: B, devices: Sequence[P], carrier: Carrier) -> None:
        phase = self._opened * GOLDEN % 1.0
        self._opened += 1
        turns: Turns[P] = Turns(devices, phase, self._spread)
        speaker = self._speak(bus, turns.patience)
        turns.timeout = speaker.timeout * 1000
        loop = BusLoop(bus, speaker, turns, self._clock, carrier, self._telemetry)
        task = asyncio.create_task(self._keep(loop), name=f"{self.name} {bus.origin}")
        self._loops[bus] = (loop, task)

    def _end(self, bus: B) -> None:
        _, task = self._loops.pop(bus)
        task.cancel()
        self._ended(bus)

    async def _keep(self, loop: BusLoop[P]) -> None:
        """Run a bus; a bug in it must not stop the others."""
        while True:
            try:
                await loop.run()
            except Exception as fault:  # noqa: BLE001 fenced off, told, tried again
                self._telemetry.count(f"{self._kind}_bus_faults", source=self.name)
                self._telemetry.event(
                    "bus failed, will be restarted",
                    level="error",
                    origin=loop.bus.origin,
                    fault=repr(fault),
                )
            await self._clock.sleep(RESTART_MS)


def gather(
    devices: Sequence[Device],
    profiles: Mapping[str, Profile],
    protocol: str,
    make: Callable[[Device, Profile], tuple[B, P]],
    unlike: Callable[[P, P], str] = lambda _one, _other: "",
) -> dict[B, list[P]]:
    """Devices of ``protocol`` by bus; those of others are passed over. ``make`` one from a device
    and its profile (may raise ``AddressError``); ``unlike`` says why two cannot be on one bus.
    Raises ``ConfigurationError`` with every fault."""
    found: dict[B, list[P]] = {}
    faults: list[Fault] = []
    places: dict[str, B] = {}
    fitting = sorted(name for name, one in profiles.items() if one.protocol == protocol)

    def fault(device: Device, what: str, todo: str = "") -> None:
        faults.append(Fault(device.file, device.line, f"device {device.key}: {what}", todo))

    for device in devices:
        if protocol_of(device.connection) != protocol:
            continue
        profile = profiles.get(device.profile)
        if profile is None or profile.protocol != protocol:
            what = f'profile "{device.profile}" says nothing of {protocol}'
            fault(device, what, f"one of {', '.join(fitting)}")
            continue
        try:
            bus, one = make(device, profile)
        except AddressError as error:
            fault(device, str(error))
            continue
        if places.setdefault(bus.place, bus) != bus:
            todo = "the same options for all devices of a connection"
            fault(device, f"{bus.place} is spoken to in another way elsewhere", todo)
            continue
        others = found.setdefault(bus, [])
        why = next((told for other in others if (told := unlike(other, one))), "")
        if why:
            fault(device, why)
            continue
        others.append(one)
    if faults:
        raise ConfigurationError(faults)
    return found
