"""The Modbus source: polls every device that has a Modbus connection, bus by bus.

Invariants: one connection per bus and one task per connection; a bus that fails, whatever the
reason, harms no other; devices are read only between their registry dates; all waiting is done
on the clock that was handed in, except for what the wire itself needs (timeouts, the silence
between RTU frames).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from adapters.sources.modbus.address import AddressError, Bus, parse_connection
from adapters.sources.modbus.bus import BusLoop
from adapters.sources.modbus.carrier import Carrier, Identify
from adapters.sources.modbus.slave import Slave
from collector.errors import ConfigurationError, Fault
from collector.ports import Clock, Intake
from collector.profile import Profile
from collector.registry import Device
from collector.telemetry import Telemetry

GOLDEN: Final = 0.6180339887498949
"""Successive multiples of it, modulo 1, spread evenly however many there are."""
RESTART_MS: Final = 5_000


class ModbusSource:
    """Implements :class:`collector.ports.Source` for all polled devices of a registry.

    ``devices``: those without a Modbus connection are passed over. ``profiles`` by name.
    ``ids`` maps point names (``site/place/quantity/raw``) to stable ids, as ``PointTable.ids``
    does; quantities it does not name are not read. ``origin_ids`` as ``Journal.origin_ids``.
    ``timeout`` seconds for one answer. ``spread`` seconds over which the buses' deadlines lie;
    intervals of less than a minute are spread over all of the interval (the first bus is exactly
    on the multiples of its intervals).

    Raises ``ConfigurationError`` with all faults when a device cannot be polled as written.
    """

    def __init__(
        self,
        name: str,
        devices: Sequence[Device],
        profiles: Mapping[str, Profile],
        ids: Mapping[str, int],
        origin_ids: Identify,
        clock: Clock,
        telemetry: Telemetry,
        timeout: float = 2.0,
        spread: float = 1.0,
    ) -> None:
        self.name = name
        self._origin_ids = origin_ids
        self._clock = clock
        self._telemetry = telemetry
        self._timeout = timeout
        self._spread = spread
        self._wanted = gather(devices, profiles, ids)
        self._loops: dict[Bus, tuple[BusLoop, asyncio.Task[None]]] = {}
        self._opened = 0
        self._carrier: Carrier | None = None

    def update(
        self, devices: Sequence[Device], profiles: Mapping[str, Profile], ids: Mapping[str, int]
    ) -> None:
        """Another registry from now on (call it in the source's loop). Buses that stay keep
        their connection, devices that stay their state. Raises as the constructor does, and
        then nothing changed."""
        self._wanted = gather(devices, profiles, ids)
        if self._carrier is not None:
            self._arrange(self._carrier)

    async def run(self, intake: Intake) -> None:
        """Poll until cancelled."""
        self._carrier = Carrier(self.name, intake, self._origin_ids, self._clock, self._telemetry)
        carrying = asyncio.create_task(self._carrier.run(), name=f"{self.name} carrier")
        try:
            self._arrange(self._carrier)
            await carrying  # until cancelled, or until it fails, which is a bug to be seen
        finally:
            self._carrier = None
            tasks = [carrying, *(task for _, task in self._loops.values())]
            self._loops.clear()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _arrange(self, carrier: Carrier) -> None:
        """Start, change and end bus loops until they are what is wanted."""
        for bus in [bus for bus in self._loops if bus not in self._wanted]:
            _, task = self._loops.pop(bus)
            task.cancel()
        for bus, slaves in self._wanted.items():
            if bus in self._loops:
                self._loops[bus][0].replace(slaves)
                continue
            phase = self._opened * GOLDEN % 1.0
            self._opened += 1
            loop = BusLoop(
                bus,
                slaves,
                self._clock,
                carrier,
                self._telemetry,
                self._timeout,
                phase,
                round(self._spread * 1000),
            )
            task = asyncio.create_task(self._keep(loop), name=f"{self.name} {bus.origin}")
            self._loops[bus] = (loop, task)

    async def _keep(self, loop: BusLoop) -> None:
        """Run a bus; a bug in it must not stop the others."""
        while True:
            try:
                await loop.run()
            except Exception as fault:  # noqa: BLE001 fenced off, told, tried again
                self._telemetry.count("modbus_bus_faults", source=self.name)
                self._telemetry.event(
                    "bus failed, will be restarted",
                    level="error",
                    origin=loop.bus.origin,
                    fault=repr(fault),
                )
            await self._clock.sleep_until(self._clock.now() + RESTART_MS)


def gather(
    devices: Sequence[Device], profiles: Mapping[str, Profile], ids: Mapping[str, int]
) -> dict[Bus, list[Slave]]:
    """Polled devices by bus. Raises ``ConfigurationError`` with every fault."""
    found: dict[Bus, list[Slave]] = {}
    faults: list[Fault] = []
    by_place: dict[str, Bus] = {}
    for device in devices:
        if not device.connection.startswith("modbus+"):
            continue
        try:
            address = parse_connection(device.connection)
        except AddressError as error:
            faults.append(Fault(device.file, device.line, f"device {device.key}: {error}"))
            continue
        profile = profiles.get(device.profile)
        if profile is None or not profile.registers:
            faults.append(
                Fault(
                    device.file,
                    device.line,
                    f'device {device.key}: profile "{device.profile}" has no Modbus registers',
                    f"one of {', '.join(sorted(n for n, p in profiles.items() if p.registers))}",
                )
            )
            continue
        bus = address.bus
        if by_place.setdefault(bus.place, bus) != bus:
            faults.append(
                Fault(
                    device.file,
                    device.line,
                    f"device {device.key}: {bus.place} is spoken to in another way elsewhere",
                    "the same options for all devices of a connection, but for unit",
                )
            )
            continue
        found.setdefault(bus, []).append(Slave(device, address.unit, profile, ids))
    if faults:
        raise ConfigurationError(faults)
    return found
