"""The park on real sockets: its meters listen, its gateways publish, its fleet folder is written.

Everything is on free loopback ports, which the written folder names; nothing of the park is
known to the program that reads it except through that folder. What the park decides (a dead
slave, a silent gateway, a wrong serial number) shows on the wire at once.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from meterwatch.simulator.meters import MeterServer
from meterwatch.simulator.park import Park, template

_NAME: Final = re.compile(r"\{([a-z0-9-]+)\}")


@dataclass(frozen=True, slots=True)
class OpenPark:
    """A park that can be reached. ``servers`` by bus name; ``folder`` is its fleet folder."""

    park: Park
    folder: Path
    servers: Mapping[str, MeterServer]


@asynccontextmanager
async def opened(
    park: Park, folder: Path, broker: int, *, listen: int = 0, interval: str = "1s"
) -> AsyncIterator[OpenPark]:
    """Open ``park`` and write its fleet folder to ``folder``; both last as long as the block.

    ``broker``: port of an MQTT broker on loopback that accepts anybody. ``listen``: port for
    the program's own status page. ``interval``: how often devices are read and gateways send.
    """
    async with AsyncExitStack() as stack:
        servers = {}
        for bus, server in _servers(park).items():
            servers[bus] = await stack.enter_async_context(server)
        names = {bus: str(server.port) for bus, server in servers.items()}
        names |= {"broker": str(broker), "listen": str(listen), "interval": interval}
        write_folder(folder, names)
        yield OpenPark(park, folder, servers)


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
