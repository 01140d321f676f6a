"""The Modbus source: polls every device that has a Modbus connection, bus by bus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from adapters.sources import polling
from adapters.sources.modbus.address import Bus, parse_connection
from adapters.sources.modbus.link import Link
from adapters.sources.modbus.slave import Slave
from adapters.sources.modbus.speaker import ModbusSpeaker
from adapters.sources.polling.carrier import Identify
from adapters.sources.polling.source import Patience
from collector.ports import Clock, Intake
from collector.profile import Profile
from collector.registry import Device
from collector.telemetry import Telemetry

KIND: Final = "modbus"


class ModbusSource:
    """Implements :class:`collector.ports.Source` for all Modbus devices of a registry.

    ``devices``: those without a Modbus connection are passed over. ``profiles`` by name.
    ``ids`` maps point names (``site/place/quantity/raw``) to stable ids, as ``PointTable.ids``
    does; quantities it does not name are not read. ``origin_ids`` as ``Journal.origin_ids``.
    ``timeout`` seconds for one answer. ``spread`` as in :class:`adapters.sources.polling.Poller`.

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
        self._clock = clock
        self._timeout = timeout
        wanted = gather(devices, profiles, ids)
        self._poller = polling.Poller(
            name, KIND, wanted, self._speak, origin_ids, clock, telemetry, spread
        )

    def update(
        self, devices: Sequence[Device], profiles: Mapping[str, Profile], ids: Mapping[str, int]
    ) -> None:
        """Another registry from now on (call it in the source's loop). Buses that stay keep
        their connection, devices that stay their state. Raises as the constructor does, and
        then nothing changed."""
        self._poller.update(gather(devices, profiles, ids))

    async def run(self, intake: Intake) -> None:
        """Poll until cancelled."""
        await self._poller.run(intake)

    def _speak(self, bus: Bus, patience: Patience[Slave]) -> ModbusSpeaker:
        link = Link(bus, self._timeout, self._clock.monotonic)
        return ModbusSpeaker(link, self._clock, patience)


def gather(
    devices: Sequence[Device], profiles: Mapping[str, Profile], ids: Mapping[str, int]
) -> dict[Bus, list[Slave]]:
    """Polled devices by bus. Raises ``ConfigurationError`` with every fault."""

    def make(device: Device, profile: Profile) -> tuple[Bus, Slave]:
        address = parse_connection(device.connection)
        return address.bus, Slave(device, address.unit, profile, ids)

    return polling.gather(devices, profiles, KIND, make)
