"""The DL/T 645 source: polls every device that has a DL/T 645 connection, line by line.

Invariants: one connection per line and one task per connection; a line that fails, whatever the
reason, harms no other; meters are read only between their registry dates; all waiting is done on
the clock that was handed in, except for what the wire itself needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from adapters.sources.dlt645.address import AddressError, Line, Way, parse_connection
from adapters.sources.dlt645.frame import matches
from adapters.sources.dlt645.line import LineLoop
from adapters.sources.dlt645.link import Link
from adapters.sources.dlt645.meter import Meter
from adapters.sources.dlt645.terminals import Terminals, TerminalWire
from adapters.sources.dlt645.wire import SerialWire, TcpWire, Wire
from adapters.sources.modbus.carrier import Carrier, Identify
from collector.errors import ConfigurationError, Fault
from collector.ports import Clock, Intake
from collector.profile import Profile
from collector.registry import Device
from collector.telemetry import Telemetry

KIND: Final = "dlt645"
GOLDEN: Final = 0.6180339887498949
"""Successive multiples of it, modulo 1, spread evenly however many there are."""
RESTART_MS: Final = 5_000


@dataclass(frozen=True, slots=True)
class _Running:
    loop: LineLoop
    task: asyncio.Task[None]
    wire: Wire


class Dlt645Source:
    """Implements :class:`collector.ports.Source` for all DL/T 645 meters of a registry.

    ``devices``: those without a DL/T 645 connection are passed over. ``profiles`` by name.
    ``ids`` maps point names (``site/place/quantity/raw``) to stable ids, as ``PointTable.ids``
    does; quantities it does not name are not read. ``origin_ids`` as ``Journal.origin_ids``.
    ``timeout`` seconds for one answer. ``spread`` seconds over which the lines' deadlines lie
    (the first line is exactly on the multiples of its intervals).

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
        self._lines: dict[Line, _Running] = {}
        self._sockets: dict[tuple[str, int], Terminals] = {}
        self._opened = 0
        self._opening: set[asyncio.Task[None]] = set()
        self._carrier: Carrier | None = None

    def update(
        self, devices: Sequence[Device], profiles: Mapping[str, Profile], ids: Mapping[str, int]
    ) -> None:
        """Another registry from now on (call it in the source's loop). Lines that stay keep
        their connection, meters that stay their state. Raises as the constructor does, and
        then nothing changed."""
        self._wanted = gather(devices, profiles, ids)
        if self._carrier is not None:
            self._arrange(self._carrier)

    async def run(self, intake: Intake) -> None:
        """Poll until cancelled."""
        self._carrier = Carrier(
            self.name, intake, self._origin_ids, self._clock, self._telemetry, KIND
        )
        carrying = asyncio.create_task(self._carrier.run(), name=f"{self.name} carrier")
        try:
            self._arrange(self._carrier)
            await carrying  # until cancelled, or until it fails, which is a bug to be seen
        finally:
            self._carrier = None
            tasks = [carrying, *self._opening, *(one.task for one in self._lines.values())]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for line in list(self._lines):
                self._end(line)
            for terminals in self._sockets.values():
                terminals.close()
            self._sockets.clear()

    def _arrange(self, carrier: Carrier) -> None:
        """Start, change and end line loops until they are what is wanted."""
        for line in [line for line in self._lines if line not in self._wanted]:
            self._end(line)
        for line, meters in self._wanted.items():
            if line in self._lines:
                self._lines[line].loop.replace(meters)
            else:
                self._begin(line, meters, carrier)
        for where in [where for where, one in self._sockets.items() if not one.wires]:
            self._sockets.pop(where).close()

    def _begin(self, line: Line, meters: Sequence[Meter], carrier: Carrier) -> None:
        phase = round(self._spread * 1000 * (self._opened * GOLDEN % 1.0))
        self._opened += 1
        wire = self._wire(line)
        link = Link(wire, self._telemetry, self._timeout)
        loop = LineLoop(line, meters, link, self._clock, carrier, self._telemetry, phase)
        task = asyncio.create_task(self._keep(loop), name=f"{self.name} {line.origin}")
        self._lines[line] = _Running(loop, task, wire)

    def _end(self, line: Line) -> None:
        running = self._lines.pop(line)
        running.task.cancel()
        if isinstance(running.wire, TerminalWire):
            running.wire.end()
            self._sockets[line.host, line.port].wires.remove(running.wire)

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
        wire = TerminalWire(line, partial(self._called, line))
        self._sockets[where].wires.append(wire)
        return wire

    def _called(self, line: Line) -> None:
        if line in self._lines:
            self._lines[line].loop.wake()

    async def _listen(self, terminals: Terminals) -> None:
        """Open the listening socket; whoever has the port now may let it go."""
        told = ""
        while why := await terminals.start():
            if why != told:
                self._telemetry.event("cannot listen for terminals", level="error", reason=why)
                told = why
            await self._clock.sleep_until(self._clock.now() + RESTART_MS)
        where = f"{terminals.host}:{terminals.port}"
        self._telemetry.event("listening for terminals", source=self.name, at=where)

    async def _keep(self, loop: LineLoop) -> None:
        """Run a line; a bug in it must not stop the others."""
        while True:
            try:
                await loop.run()
            except Exception as fault:  # noqa: BLE001 fenced off, told, tried again
                self._telemetry.count("dlt645_line_faults", source=self.name)
                self._telemetry.event(
                    "line failed, will be restarted",
                    level="error",
                    origin=loop.line.origin,
                    fault=repr(fault),
                )
            await self._clock.sleep_until(self._clock.now() + RESTART_MS)


def gather(
    devices: Sequence[Device], profiles: Mapping[str, Profile], ids: Mapping[str, int]
) -> dict[Line, list[Meter]]:
    """Polled meters by line. Raises ``ConfigurationError`` with every fault."""
    found: dict[Line, list[Meter]] = {}
    faults: list[Fault] = []
    by_place: dict[str, Line] = {}
    fitting = sorted(name for name, profile in profiles.items() if profile.items)
    for device in devices:
        if not device.connection.startswith(f"{KIND}+"):
            continue
        try:
            address = parse_connection(device.connection)
        except AddressError as error:
            faults.append(_fault(device, str(error)))
            continue
        profile = profiles.get(device.profile)
        if profile is None or not profile.items:
            what = f'profile "{device.profile}" has no DL/T 645 items'
            faults.append(_fault(device, what, f"one of {', '.join(fitting)}"))
            continue
        line = address.line
        if by_place.setdefault(line.place, line) != line:
            todo = "one baud rate and parity per line"
            faults.append(_fault(device, f"{line.place} is spoken to in another way", todo))
            continue
        meter = Meter(device, address.meter, profile, ids)
        taken = next((one for one in found.get(line, ()) if _alike(one, meter)), None)
        if taken is not None:
            what = f"{meter.pattern} may also be {taken.device.key}, {taken.pattern}"
            faults.append(_fault(device, what, "write the whole address of both"))
            continue
        found.setdefault(line, []).append(meter)
    if faults:
        raise ConfigurationError(faults)
    return found


def _fault(device: Device, what: str, todo: str = "") -> Fault:
    return Fault(device.file, device.line, f"device {device.key}: {what}", todo)


def _alike(one: Meter, other: Meter) -> bool:
    """Whether an abbreviated address may mean either, at the same time."""
    together = one.device.start < other.device.end and other.device.start < one.device.end
    same = one.pattern == other.pattern
    either = matches(one.pattern, other.pattern) or matches(other.pattern, one.pattern)
    return together and either and not same
