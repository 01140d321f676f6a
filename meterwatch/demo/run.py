"""Runs the demo, or the park alone.

The park's sockets, the broker's clients and the program live in one process but meet only on the
wire and in the fleet folder. At the end the senders stop first, what is under way arrives, the
program stops as it always does, and only then the account is made, from its files.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.text import Text

from adapters.state.books_reader import Oddity
from collector.accounts.counters import Kind
from collector.errors import TemporaryError
from collector.model import Reason
from collector.telemetry import Telemetry
from meterwatch.app import Program
from meterwatch.clock import SystemClock
from meterwatch.demo.course import Course, Readers
from meterwatch.demo.folder import claim
from meterwatch.demo.stage import alongside, console, interruption, logged, park_open, simulate
from meterwatch.demo.summary import FILES, Summary, Writer, used
from meterwatch.demo.tally import Senders, Tally, tally
from meterwatch.demo.view import Frame, View, view
from meterwatch.demo.words import Speaker
from meterwatch.simulator.broker import RunningBroker
from meterwatch.simulator.meters import Trouble
from meterwatch.simulator.opening import OpenPark
from meterwatch.simulator.park import Event, script

ZONE: Final = "Asia/Shanghai"
LOOK_S: Final = 0.25
CLOSER_MS: Final = 1_000
SETTLE_S: Final = 10.0
CALM_LOOKS: Final = 3
"""Looks in a row at which everything sent has arrived, until it counts as all."""
WHOLE_S: Final = 30
"""Rules need nine seconds to notice a silence: shorter courses demand no warnings."""


def run_demo(folder: Path, seconds: int, lang: str) -> int:
    """Play the demo for ``seconds`` in ``folder``, which is emptied first if a demo made it.

    0 when all that should happen did and every reading is accounted for, else 1. Raises
    ``ConfigurationError`` when the folder is somebody's.
    """
    claim(folder, empty=True)
    speaker = Speaker(lang, ZoneInfo(ZONE))
    with logged(folder / "demo.log"):
        return asyncio.run(Demo(folder, seconds, speaker, console()).run())


def run_simulate(folder: Path, lang: str = "en") -> None:
    """Open the park, write its fleet folder to ``folder``, play its script over and over until
    Ctrl-C. Raises ``ConfigurationError`` when the folder is somebody's."""
    claim(folder, empty=False)
    speaker = Speaker(lang, ZoneInfo(ZONE))
    with logged(folder / "simulator.log"):
        asyncio.run(simulate(folder, speaker, console()))


@dataclass(slots=True)
class Running:
    """A demo under way."""

    park: OpenPark
    program: Program
    task: asyncio.Task[None]
    senders: Senders
    course: Course
    view: View
    began: int


class Demo:
    """One demo. ``run`` once."""

    def __init__(self, folder: Path, seconds: int, speaker: Speaker, console: Console) -> None:
        self.folder = folder
        self.seconds = seconds
        self.speaker = speaker
        self.console = console
        self.clock = SystemClock()
        self.events = script(seconds)
        self.played: list[Event] = []
        self.interrupted = False

    async def run(self) -> int:
        stopping = asyncio.Event()
        async with AsyncExitStack() as stack:
            interrupted = stack.enter_context(interruption())
            park, by = await stack.enter_async_context(park_open(self.folder, self.clock))
            self._open(park, by)
            program = Program(self.folder, self.clock, Telemetry())
            task = asyncio.create_task(program.run(stopping), name="program")
            await alongside(task, program.started.wait())
            readers = await _readers(program, task)
            stack.callback(readers.close)
            course = Course(readers, program.fleet, self.speaker)
            page = view(self.console, course, program.fleet.registry, self.speaker)
            senders = Senders(park, program)
            on = Running(park, program, task, senders, course, page, self.clock.now())
            with page:
                await self._play(on, interrupted)
                kept = senders.kept()
                self._silence(park)
                await self._settled(on)
                stopping.set()
                await task
                page.lines([*course.look(now := self.clock.now()), *course.look_closer(now)])
            summary = self._summary(on, readers, senders, kept)
        Writer(self.console, course, self.speaker).write(
            summary, program.fleet.registry, self.folder
        )
        return 0 if summary.well else 1

    def _open(self, park: OpenPark, by: RunningBroker) -> None:
        say = self.speaker.say
        for told in (
            say("opening", meters=len(park.park.meters), gateways=len(park.gateways)),
            say("opening.broker", broker=say(f"broker.{by.name}")),
            say("opening.course", seconds=self.seconds),
        ):
            self.console.print(Text(told), soft_wrap=True)

    # --- while it runs

    async def _play(self, on: Running, interrupted: asyncio.Event) -> None:
        """The script, watched, until its end or Ctrl-C."""
        waiting = list(self.events)
        closer = 0
        while not interrupted.is_set() and (gone := self._gone(on)) < self.seconds:
            now = self.clock.now()
            while waiting and waiting[0].offset <= gone:
                self._happens(on, waiting.pop(0))
            on.view.lines(on.course.look(self.clock.now()))
            if now >= closer:
                on.view.lines(on.course.look_closer(now))
                closer = now + CLOSER_MS
            on.view.frame(self._frame(on))
            await alongside(on.task, interrupted.wait(), LOOK_S)
        self.interrupted = interrupted.is_set()

    def _happens(self, on: Running, event: Event) -> None:
        event.act(on.park.park)
        on.course.happened(event, self.clock.now())
        self.played.append(event)
        on.view.lines(on.course.lines[-1:])

    def _gone(self, on: Running) -> float:
        return (self.clock.now() - on.began) / 1000

    def _frame(self, on: Running) -> Frame:
        program, telemetry = on.program, on.program.telemetry
        return Frame(
            now=self.clock.now(),
            gone=min(self._gone(on), self.seconds),
            whole=self.seconds,
            sent=sum(on.senders.sent().values()),
            stored=round(telemetry.value("archive_readings")),
            backlog=max(fold.lag() for fold in program.folds.values()),
            kept=sum(on.senders.kept().values()),
        )

    # --- at the end

    @staticmethod
    def _silence(park: OpenPark) -> None:
        """Nothing more is sent; what is on its way arrives."""
        for gateway in park.gateways.values():
            gateway.faults.silent = True
        for meter in park.park.meters.values():
            meter.trouble = Trouble.DEAD

    async def _settled(self, on: Running) -> None:
        """Until everything sent is stored or refused, or it does not become more."""
        calm = 0
        until = self.clock.monotonic() + SETTLE_S
        while calm < CALM_LOOKS and self.clock.monotonic() < until:
            await alongside(on.task, asyncio.sleep(LOOK_S / 2))
            on.view.lines(on.course.look(self.clock.now()))
            on.view.lines(on.course.look_closer(self.clock.now()))
            on.view.frame(self._frame(on))
            stored = round(on.program.telemetry.value("archive_readings"))
            arrived = stored + on.course.refused >= sum(on.senders.sent().values())
            calm = calm + 1 if arrived else 0

    def _summary(
        self, on: Running, readers: Readers, senders: Senders, kept: dict[str, int]
    ) -> Summary:
        registry = on.program.fleet.registry
        account = tally(
            registry,
            readers.archive,
            senders.sent(),
            answered=senders.answered(),
            written=round(on.program.telemetry.value("archive_readings")),
            kept=kept,
        )
        alerts = sorted(readers.alerts.alerts(), key=lambda one: one.started)
        late = sorted(readers.alerts.found_late(), key=lambda one: one.start)
        rules = {one.rule for one in alerts} | {one.rule for one in late}
        missing = self.missing(rules, account, readers.books.anomalies())
        missing += self._broken(on.program)
        data = on.program.data
        return Summary(
            account,
            alerts,
            late,
            used(registry, readers.books),
            missing=missing,
            notes=self._notes(),
            files={name: (data if name.endswith(".db") else self.folder) / name for name in FILES},
        )

    def missing(self, rules: set[str], account: Tally, odd: Sequence[Oddity]) -> list[str]:
        """What should have come of the events that were played, and did not."""
        if self.interrupted or self.seconds < WHOLE_S:
            return []
        refused = {reason for _, reason, _ in account.refusals}
        beside = {
            "meter-exchanged": ("missing.refused", Reason.WRONG_SERIAL in refused),
            "counter-resets": ("missing.odd", any(one.kind is Kind.RESET for one in odd)),
        }
        missing = []
        for event in self.played:
            name = self.speaker.choose(event.en, event.zh)
            missing += [
                self.speaker.say("missing.rule", event=name, rule=rule)
                for rule in event.expect
                if rule not in rules
            ]
            key, came = beside.get(event.id, ("", True))
            if not came:
                missing.append(self.speaker.say(key, event=name))
        return missing

    def _broken(self, program: Program) -> list[str]:
        log = self.folder / "demo.log"
        return [
            self.speaker.say("missing.fold", name=name, log=log)
            for name, fold in program.folds.items()
            if not fold.healthy
        ]

    def _notes(self) -> list[str]:
        if self.interrupted:
            return [self.speaker.say("interrupted")]
        return [self.speaker.say("short")] if self.seconds < WHOLE_S else []


async def _readers(program: Program, task: asyncio.Task[None]) -> Readers:
    """The program's files, as soon as its folds have made them, each its own."""
    while True:
        try:
            return Readers(program.data)
        except TemporaryError:
            await alongside(task, asyncio.sleep(0.02))
