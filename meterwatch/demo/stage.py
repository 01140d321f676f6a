"""What the demo and the park alone stand on: a broker, the park opened on it, and how they end.

Everything opened here is closed by its block, whatever ended it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from collector.ports import Clock
from meterwatch import logs
from meterwatch.clock import SystemClock
from meterwatch.demo.words import Speaker
from meterwatch.simulator.broker import RunningBroker, broker
from meterwatch.simulator.opening import OpenPark, opened
from meterwatch.simulator.park import Event, Park, script

BROKER: Final = "METERWATCH_DEMO_BROKER"
"""Set to ``embedded`` to do without the system's mosquitto."""
HOUR: Final = 10.0
"""The plants live through ten o'clock on a Tuesday morning, whenever the demo runs."""
SEED: Final = 1
PARK_S: Final = 120
"""The park alone plays its script again and again, at this length."""
_PLAIN_WIDTH: Final = 116


@asynccontextmanager
async def park_open(
    folder: Path, clock: Clock, *, listen: int = 0
) -> AsyncIterator[tuple[OpenPark, RunningBroker]]:
    """The park on its sockets, its broker running, its fleet folder written to ``folder``."""
    async with AsyncExitStack() as stack:
        running = await _broker(stack, folder / "broker")
        park = Park(clock, SEED, hour=HOUR)
        opening = opened(park, folder, running.port, listen=listen)
        yield await stack.enter_async_context(opening), running


async def _broker(stack: AsyncExitStack, folder: Path) -> RunningBroker:
    """mosquitto where it is and starts, else the broker that comes along."""
    if os.environ.get(BROKER) != "embedded":
        with contextlib.suppress(RuntimeError):  # it is there but may not run here
            return await stack.enter_async_context(broker(folder))
    return await stack.enter_async_context(broker(folder, embedded=True))


async def alongside(
    task: asyncio.Task[None], other: Awaitable[object], most: float | None = None
) -> None:
    """Wait for ``other``, at most ``most`` seconds. If ``task`` ends before, its error."""
    waiting = asyncio.ensure_future(other)
    try:
        await asyncio.wait({task, waiting}, timeout=most, return_when="FIRST_COMPLETED")
    finally:
        waiting.cancel()
    if task.done():
        task.result()
        raise RuntimeError("the program ended by itself")


@contextmanager
def interruption() -> Iterator[asyncio.Event]:
    """An event that Ctrl-C sets, or whoever ends us; a second Ctrl-C ends at once."""
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def first() -> None:
        event.set()
        for number in numbers:
            loop.remove_signal_handler(number)

    for number in numbers:
        loop.add_signal_handler(number, first)
    try:
        yield event
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """All logs of this process go to ``path``."""
    with path.open("w", encoding="utf-8", buffering=1) as stream:
        logs.configure(stream)
        try:
            yield
        finally:
            logs.configure()


def command() -> str:
    """How the reader can type our own command: as it was typed, unless the shell finds it."""
    typed = Path(sys.argv[0])
    return (
        str(typed)
        if typed.name == "meterwatch" and not shutil.which("meterwatch")
        else "meterwatch"
    )


def console() -> Console:
    """Standard output; where it is no terminal, without colours and wide enough for tables."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(width=_PLAIN_WIDTH, highlight=False, force_terminal=False, color_system=None)


def in_columns(out: Console, rows: Sequence[tuple[str, ...]], indent: int = 2) -> None:
    """Print rows aligned, the first column bold and never cut or wrapped by us: it is to be
    copied."""
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        line = Text(" " * indent)
        for at, cell in enumerate(row):
            gap = "" if at == len(row) - 1 else " " * (widths[at] - cell_len(cell) + 2)
            line.append(cell + gap, style="" if at else "bold")
        out.print(line, soft_wrap=True)


# --- the park alone


async def simulate(folder: Path, speaker: Speaker, out: Console) -> None:
    """The park on its sockets, its script over and over, until Ctrl-C."""
    clock = SystemClock()
    listen = _free_port()

    def told(event: Event) -> None:
        text = Text(f"{speaker.clock(clock.now())}  ", style="dim")
        out.print(text.append(speaker.choose(event.en, event.zh), style="default"))

    with interruption() as interrupted:
        async with park_open(folder, clock, listen=listen) as (park, _):
            out.print(Text(speaker.say("park.open", folder=folder)))
            ours, where = command(), shlex.quote(str(folder))
            typed = {
                f"{ours} run {where}": "try.run",
                f"{ours} status {where}": "try.status",
                f"{ours} alerts list {where}": "try.warnings",
                f"curl http://127.0.0.1:{listen}/metrics": "try.metrics",
            }
            in_columns(out, [(line, speaker.say(key)) for line, key in typed.items()])
            out.print(Text(speaker.say("park.ends"), style="dim"))
            await _over_and_over(park, clock, interrupted, told)


async def _over_and_over(
    park: OpenPark, clock: Clock, interrupted: asyncio.Event, told: Callable[[Event], None]
) -> None:
    """The script again and again, until ``interrupted``."""
    while not interrupted.is_set():
        began = clock.monotonic()
        for event in script(PARK_S):
            await _unless(interrupted, began + event.offset - clock.monotonic())
            if interrupted.is_set():
                return
            event.act(park.park)
            told(event)
        await _unless(interrupted, began + PARK_S - clock.monotonic())


async def _unless(interrupted: asyncio.Event, seconds: float) -> None:
    """Wait ``seconds``, or less if ``interrupted``."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, seconds)):
            await interrupted.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
