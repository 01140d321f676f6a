"""The park on real sockets: its meters listen, its gateways publish, its fleet folder is written.

Everything is on free loopback ports, which the written folder names; nothing of the park is
known to the program that reads it except through that folder. What the park decides (a dead
slave, a silent gateway, a wrong serial number) shows on the wire at once.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from meterwatch.simulator.curves import SECOND
from meterwatch.simulator.gateways import PushedDevice, SimulatedGateway
from meterwatch.simulator.meters import MeterServer
from meterwatch.simulator.park import Fitted, Park, template

_NAME: Final = re.compile(r"\{([a-z0-9-]+)\}")


@dataclass(frozen=True, slots=True)
class OpenPark:
    """A park that can be reached. ``servers`` by bus name, ``gateways`` by their id; ``folder``
    is its fleet folder."""

    park: Park
    folder: Path
    servers: Mapping[str, MeterServer]
    gateways: Mapping[str, SimulatedGateway]


@asynccontextmanager
async def opened(
    park: Park, folder: Path, broker: int, *, listen: int = 0, interval_s: int = 1
) -> AsyncIterator[OpenPark]:
    """Open ``park`` and write its fleet folder to ``folder``; both last as long as the block.

    ``broker``: port of an MQTT broker on loopback that accepts anybody; gateways try until it is
    there. ``listen``: port for the program's own status page (0: any). ``interval_s``: how often
    devices are to be read and gateways send, in seconds.
    """
    async with AsyncExitStack() as stack:
        servers = {}
        for bus, server in _servers(park).items():
            servers[bus] = await stack.enter_async_context(server)
        names = {bus: str(server.port) for bus, server in servers.items()}
        names |= {"broker": str(broker), "listen": str(listen), "interval": f"{interval_s}s"}
        write_folder(folder, names)
        gateways = _gateways(park, broker, interval_s * SECOND)
        for gateway in gateways.values():
            stack.push_async_callback(_ended, asyncio.create_task(gateway.run()))
        yield OpenPark(park, folder, servers, gateways)


def write_folder(folder: Path, names: Mapping[str, str]) -> None:
    """The park's template with its ``{names}`` filled in, below ``folder``. KeyError: a name
    that ``names`` lacks."""
    for path, text in template().items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_NAME.sub(lambda found: names[found[1]], text), encoding="utf-8")


def _servers(park: Park) -> dict[str, MeterServer]:
    buses = defaultdict(list)
    for key, meter in park.meters.items():
        buses[park.devices[key].bus].append(meter)
    rtu = {device.bus for device in park.devices.values() if "rtu" in device.scheme}
    return {
        bus: MeterServer(meters, park.clock.now, rtu=bus in rtu) for bus, meters in buses.items()
    }


def _gateways(park: Park, broker: int, interval: int) -> dict[str, SimulatedGateway]:
    boxes = defaultdict(list)
    for device in park.devices.values():
        if device.gateway:
            boxes[device.gateway].append(_pushed(park, device))
    return {
        name: SimulatedGateway(
            name,
            devices,
            park.clock,
            broker,
            interval_ms=interval,
            online=partial(park.online, name),
            seed=park.seed,
        )
        for name, devices in boxes.items()
    }


def _pushed(park: Park, device: Fitted) -> PushedDevice:
    """Displays of pushed meters end at a thousandth."""

    def read(time: int) -> dict[str, float]:
        return {
            quantity: round(park.value(device.site, device.id, quantity, time), 3)
            for quantity in device.quantities
        }

    return PushedDevice(device.id, read, partial(park.serial, device.key))


async def _ended(task: asyncio.Task[None]) -> None:
    """Stop ``task``; what it died of before is told, not swallowed.

    Asked until it listens: before Python 3.12 ``asyncio.wait_for`` swallows a cancellation that
    arrives together with what it waits for.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=0.2)
    if not task.cancelled():
        task.result()
