"""A broker for the demo: the system's mosquitto, or, where there is none, one in this process.

The embedded broker (amqtt) speaks MQTT 3.1.1 only and keeps nothing over its own end; it is for
looking at meterwatch, never for a plant. Both listen on a free loopback port and accept anybody.
"""

from __future__ import annotations

import asyncio
import getpass
import logging
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_PATH: Final = "/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin"
_START_S: Final = 10.0
_TRIES: Final = 5


@dataclass(frozen=True)
class RunningBroker:
    """``version`` is the newest MQTT it speaks, as ``MqttSettings.version`` counts: 5 or 4."""

    name: str
    port: int
    version: int
    host: str = "127.0.0.1"


@asynccontextmanager
async def broker(folder: Path, *, embedded: bool = False) -> AsyncIterator[RunningBroker]:
    """A broker for as long as the block lasts. ``folder`` takes mosquitto's configuration;
    ``embedded`` asks for the one in this process even where mosquitto is there."""
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path=_PATH)
    if program is None or embedded:
        async with _embedded() as running:
            yield running
    else:
        async with _mosquitto(program, folder) as running:
            yield running


@asynccontextmanager
async def _mosquitto(program: str, folder: Path) -> AsyncIterator[RunningBroker]:
    for _ in range(_TRIES):
        port = _free_port()
        process = await _started(program, folder, port)
        if process is not None:
            break
    else:
        raise RuntimeError(f"mosquitto does not start; see {folder / 'mosquitto.log'}")
    try:
        yield RunningBroker("mosquitto", port, 5)
    finally:
        process.terminate()
        await process.wait()


async def _started(program: str, folder: Path, port: int) -> asyncio.subprocess.Process | None:
    """mosquitto listening on ``port``, or None if it ended (somebody took the port)."""
    config = _configuration(folder, port)
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        program,
        "-c",
        str(config),
        stdout=quiet,
        stderr=quiet,
        start_new_session=True,  # Ctrl-C at the terminal is for us: it outlives the draining
    )
    ended = asyncio.create_task(process.wait())
    try:
        async with asyncio.timeout(_START_S):
            while not ended.done():
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.wait({ended}, timeout=0.02)  # it tells nobody that it listens
                    continue
                writer.close()
                return process
    except TimeoutError:
        process.terminate()
    finally:
        if not ended.done():
            ended.cancel()
    return None


def _configuration(folder: Path, port: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\n"
        "allow_anonymous true\n"
        "max_queued_messages 0\n"
        "max_inflight_messages 0\n"
        "set_tcp_nodelay true\n"
        f"user {getpass.getuser()}\n"
        f"log_dest file {folder / 'mosquitto.log'}\n",
        encoding="utf-8",
    )
    return config


@asynccontextmanager
async def _embedded() -> AsyncIterator[RunningBroker]:
    from amqtt.broker import Broker  # noqa: PLC0415 - an extra that only the demo needs
    from amqtt.errors import BrokerError  # noqa: PLC0415

    for name in ("amqtt", "transitions"):  # both tell every packet at level INFO
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for left in reversed(range(_TRIES)):
        port = _free_port()
        server: Any = Broker(
            {
                "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
                "plugins": {
                    "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}
                },
            }
        )
        try:
            await server.start()
        except BrokerError:  # somebody took the port
            if not left:
                raise
        else:
            break
    try:
        yield RunningBroker("embedded", port, 4)
    finally:
        await server.shutdown()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
