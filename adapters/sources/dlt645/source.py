"""The DL/T 645 source: polls every device that has a DL/T 645 connection, line by line.

Lines whose terminals call us share listening sockets, which are open as long as a line needs them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from adapters.sources import polling
from adapters.sources.dlt645.address import Line, Way, parse_connection
from adapters.sources.dlt645.frame import matches
from adapters.sources.dlt645.link import SILENCES, Link
from adapters.sources.dlt645.meter import Meter
from adapters.sources.dlt645.speaker import Dlt645Speaker
from adapters.sources.dlt645.terminals import Terminals, TerminalWire
from adapters.sources.dlt645.wire import SerialWire, TcpWire, Wire
from adapters.sources.polling.carrier import Identify
from adapters.sources.polling.source import RESTART_MS, Patience
from collector.ports import Clock, Intake
from collector.profile import Profile
from collector.registry import Device
from collector.telemetry import Telemetry

KIND: Final = "dlt645"


class Dlt645Source:
    """Implements :class:`collector.ports.Source` for all DL/T 645 meters of a registry.

    ``devices``: those without a DL/T 645 connection are passed over. ``profiles`` by name.
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
        self._telemetry = telemetry
        self._timeout = timeout
        self._sockets: dict[tuple[str, int], Terminals] = {}
        self._called: dict[Line, TerminalWire] = {}
        self._opening: set[asyncio.Task[None]] = set()
        wanted = gather(devices, profiles, ids)
        self._poller = polling.Poller(
            name, KIND, wanted, self._speak, origin_ids, clock, telemetry, spread, self._ended
        )

    def update(
        self, devices: Sequence[Device], profiles: Mapping[str, Profile], ids: Mapping[str, int]
    ) -> None:
        """Another registry from now on (call it in the source's loop). Lines that stay keep
        their connection, meters that stay their state. Raises as the constructor does, and
        then nothing changed."""
        self._poller.update(gather(devices, profiles, ids))

    async def run(self, intake: Intake) -> None:
        """Poll until cancelled."""
        try:
            await self._poller.run(intake)
        finally:
            for task in list(self._opening):
                task.cancel()
            await asyncio.gather(*self._opening, return_exceptions=True)

    def _speak(self, line: Line, patience: Patience[Meter]) -> Dlt645Speaker:
        link = Link(
            self._wire(line),
            self._telemetry,
            line.timeout or self._timeout,
            line.gap,
            0 if line.way is Way.SERIAL else SILENCES,
        )
        return Dlt645Speaker(link, self._clock, self._telemetry, patience)

    # Lines whose terminals call us.

    def _wire(self, line: Line) -> Wire:
        if line.way is Way.SERIAL:
            return SerialWire(line)
        if line.way is Way.TCP:
            return TcpWire(line)
        where = (line.host, line.port)
        if where not in self._sockets:
            self._sockets[where] = Terminals(*where, self._timeout, self._telemetry)
            opening = asyncio.create_task(self._listen(self._sockets[where]))
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)
        wire = TerminalWire(line, partial(self._poller.wake, line))
        self._called[line] = wire
        self._sockets[where].wires.append(wire)
        return wire

    def _ended(self, line: Line) -> None:
        """Nobody behind ``line`` is polled any more."""
        wire = self._called.pop(line, None)
        if wire is None:
            return
        wire.end()
        where = (line.host, line.port)
        self._sockets[where].wires.remove(wire)
        if not self._sockets[where].wires:
            self._sockets.pop(where).close()

    async def _listen(self, terminals: Terminals) -> None:
        """Open the listening socket; whoever has the port now may let it go."""
        told = ""
        while not terminals.closed and (why := await terminals.start()):
            if why != told:
                self._telemetry.event("cannot listen for terminals", level="error", reason=why)
                told = why
            await self._clock.sleep(RESTART_MS)
        if terminals.closed:
            return  # the last of its lines went while it waited for the port
        where = f"{terminals.host}:{terminals.port}"
        self._telemetry.event("listening for terminals", source=self.name, at=where)


def gather(
    devices: Sequence[Device], profiles: Mapping[str, Profile], ids: Mapping[str, int]
) -> dict[Line, list[Meter]]:
    """Polled meters by line. Raises ``ConfigurationError`` with every fault."""

    def make(device: Device, profile: Profile) -> tuple[Line, Meter]:
        address = parse_connection(device.connection)
        return address.line, Meter(device, address.meter, profile, ids)

    return polling.gather(devices, profiles, KIND, make, _unlike)


def _unlike(one: Meter, other: Meter) -> str:
    """An abbreviated address that may mean either, at the same time."""
    together = one.device.start < other.device.end and other.device.start < one.device.end
    same = one.pattern == other.pattern
    either = matches(one.pattern, other.pattern) or matches(other.pattern, one.pattern)
    if not together or same or not either:
        return ""
    return (
        f"{other.pattern} may also be {one.device.key}, {one.pattern}:"
        " write the whole address of both"
    )
