"""Settings -> running program. The one place that names concrete classes and hands them to
each other.

    sources -> IntakeLoop -> journal -> FoldLoop(archive), FoldLoop(account), FoldLoop(judge)

Order of starting: journal, revisions, folds, intake, sources; of stopping: sources, intake,
folds, journal. So nothing is accepted before it can be kept, and what was accepted is applied
before the end (and after it: the next start goes on from the cursors).
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from adapters.journals.sqlite import SqliteJournal
from collector.errors import ConfigurationError
from collector.model import Batch, Revision, SourceState, Tick
from collector.normalise import normalise
from collector.pipeline import FoldLoop, IntakeLoop
from collector.ports import Clock, Delivery, Source, Urgency
from collector.registry import PointTable, renames, table
from collector.telemetry import Telemetry
from meterwatch import fleet as fleets
from meterwatch import wiring
from meterwatch.http_status import HttpStatus

ROOMS: Final = ("intake", "archive", "account", "judge")
DRAIN_SECONDS: Final = 10.0
MAX_BYTES: Final = {"archive": 16 << 20}
"""Of journal taken at once: larger commits cost the archive less, and nobody waits for it."""
WATCH_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Options:
    """How to run, beside what the fleet folder says. ``journal`` are keyword arguments of the
    journal that only a test changes."""

    only: frozenset[str] = frozenset(ROOMS)
    journal: Mapping[str, Any] = field(default_factory=dict)
    linger: Mapping[str, float] = field(
        default_factory=lambda: {"archive": 0.5, "account": 0.5, "judge": 0.05}
    )


class Program:
    """A running meterwatch. Raises ``ConfigurationError`` at construction, with all faults."""

    def __init__(
        self, folder: Path, clock: Clock, telemetry: Telemetry, options: Options | None = None
    ) -> None:
        self.folder = folder
        self.clock = clock
        self.telemetry = telemetry
        self.options = options or Options()
        self.fleet = fleets.parse(fleets.read_files(folder))
        self.data = folder / self.fleet.settings.program.data
        self.journal = self._open_journal()
        self.table = self._adopt(self.fleet)
        self.intake = IntakeLoop(self.journal, self._normaliser(self.table), telemetry)
        self.folds = {
            name: FoldLoop(
                name,
                build,
                self.journal,
                telemetry,
                linger=self.options.linger.get(name, 0.05),
                max_bytes=MAX_BYTES.get(name, 4 << 20),
            )
            for name, build in wiring.folds(self).items()
            if name in self.options.only
        }
        self.sources: dict[str, Source] = {}
        self.http: HttpStatus | None = None
        self.started = asyncio.Event()

    # --- life -------------------------------------------------------------------------------

    async def run(self, stopping: asyncio.Event) -> None:
        """Run until ``stopping`` is set, then stop gracefully."""
        outbox = wiring.outbox(self) if "judge" in self.options.only else None
        for fold in self.folds.values():  # after the outbox: it begins with what is open now
            fold.start()
        self.intake.start()
        tasks = await self._start_tasks()
        if outbox is not None:
            tasks.append(asyncio.create_task(outbox.run(), name="outbox"))
        self.telemetry.event(
            "running",
            sites=len(self.fleet.registry.sites),
            points=len(self.fleet.registry.points),
            sources=sorted(self.sources),
            data=str(self.data),
        )
        self.started.set()
        stop_wait = asyncio.create_task(stopping.wait())
        try:
            done, _ = await asyncio.wait({stop_wait, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stop_wait}:
                task.result()  # a task that ended by itself ended by a bug: let it be seen
        finally:
            stop_wait.cancel()
            await self._stop(tasks)
            if outbox is not None:
                outbox.close()

    async def _start_tasks(self) -> list[asyncio.Task[None]]:
        tasks: list[asyncio.Task[None]] = []
        if "intake" in self.options.only:
            self.sources = wiring.sources(self)
            tasks += [
                asyncio.create_task(source.run(self.intake), name=f"source-{name}")
                for name, source in self.sources.items()
            ]
            tasks.append(asyncio.create_task(self._tick(), name="tick"))
            tasks.append(asyncio.create_task(self._watch(), name="watch"))
        listen = self.fleet.settings.program.listen
        if listen:
            await self._listen(listen)
        return tasks

    async def _listen(self, listen: str) -> None:
        """Serve /metrics and /healthz. A port that is taken must not keep readings out: it is
        said, and the program goes on without them."""
        http = HttpStatus(self.telemetry.exposition, self.health)
        host, _, port = listen.rpartition(":")
        try:
            await http.start(host, int(port))
        except OSError as fault:
            self.telemetry.event(
                "metrics and health are not served",
                level="error",
                listen=listen,
                reason=fault.strerror or str(fault),
                todo="change listen in meterwatch.toml, or stop what uses the port",
            )
            return
        self.http = http

    async def _stop(self, tasks: list[asyncio.Task[None]]) -> None:
        self.telemetry.event("stopping")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.http is not None:
            await self.http.close()
        await asyncio.to_thread(self.intake.stop)
        for fold in self.folds.values():
            await asyncio.to_thread(fold.drain, DRAIN_SECONDS)
            await asyncio.to_thread(fold.stop)
        self.journal.close()
        self.telemetry.event("stopped")

    async def _tick(self) -> None:
        """Folds have no clock but this."""
        width = self.fleet.settings.program.tick_ms
        next_tick = self.clock.now()
        while True:
            await self.intake.deliver(
                Delivery(None, Urgency.CONTROL, entries=[Tick(self.clock.now())])
            )
            next_tick = max(next_tick + width, self.clock.now())
            await self.clock.sleep_until(next_tick)

    # --- the registry and the rules ---------------------------------------------------------

    def _adopt(self, fleet: fleets.Fleet) -> PointTable:
        """Give stable ids, keep them across renames, and journal what changed."""
        for old, new in renames(fleet.registry):
            self.journal.rename_point(old, new)
        points = table(fleet.registry, self.journal.point_ids)
        if "intake" in self.options.only:
            revisions = self._changed(fleet)
            if revisions:
                self.journal.append(revisions)
        return points

    def _changed(self, fleet: fleets.Fleet) -> list[Revision]:
        now = self.clock.now()
        made = [fleet.files.registry_revision(now), fleet.files.rules_revision(now)]
        return [
            revision
            for revision in made
            if (held := self.journal.revision(revision.kind)) is None
            or held.digest != revision.digest
        ]

    async def _watch(self) -> None:
        """Take over an edited registry or rule file; keep the old one when the new is bad.

        Files live in the machine's time, also when the program runs in simulated time.
        """
        seen = self.fleet.files
        told: str = ""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                files = await asyncio.to_thread(fleets.read_files, self.folder)
                if files == seen:
                    continue
                fleet = await asyncio.to_thread(fleets.parse, files)
            except ConfigurationError as fault:
                if str(fault) != told:
                    told = str(fault)
                    self.telemetry.count("reload_refused")
                    self.telemetry.event(
                        "edited files refused, the old ones stay in force",
                        level="error",
                        faults=[str(one) for one in fault.faults],
                    )
                continue
            told = ""
            seen = files
            self.reload(fleet)

    def reload(self, fleet: fleets.Fleet) -> None:
        """Put ``fleet`` in force without a restart. Settings need one, and that is said."""
        if fleet.settings != self.fleet.settings:
            self.telemetry.event("meterwatch.toml changed: restart to use it", level="warning")
        self.fleet = fleet
        self.table = self._adopt(fleet)
        self.intake.normalise = self._normaliser(self.table)
        wiring.update(self)
        self.telemetry.count("reloads")
        self.telemetry.event("registry and rules reloaded", points=len(fleet.registry.points))

    @staticmethod
    def _normaliser(points: PointTable) -> Callable[[Batch], Batch]:
        return lambda batch: normalise(batch, points)

    def _open_journal(self) -> SqliteJournal:
        journal = SqliteJournal(
            self.data / "journal.db",
            self.telemetry,
            max_bytes=self.fleet.settings.journal.max_bytes,
            **self.options.journal,
        )
        archive = self.data / "archive.db"
        if archive.exists():
            journal.seed_points(wiring.archive_names(archive))
        return journal

    def source_state(self, origin: str, up: bool, reason: str) -> None:
        """Tell the folds that ``origin`` came up or went down."""
        (number,) = self.journal.origin_ids([origin])
        state = SourceState(self.clock.now(), int(number), up, reason)
        self.intake.submit(Delivery(None, Urgency.CONTROL, entries=[state]))

    # --- health -----------------------------------------------------------------------------

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Is all well, and what is there to say: for /healthz."""
        folds = {
            name: {"healthy": fold.healthy, "lag_entries": fold.lag()}
            for name, fold in self.folds.items()
        }
        pressure = self.journal.pressure()
        well = all(fold.healthy for fold in self.folds.values()) and pressure <= Urgency.BACKFILL
        return well, {
            "folds": folds,
            "journal": {"accepts": f"{pressure.name.lower()} and above"},
            "sources": sorted(self.sources),
        }


async def run_until_signal(program: Program) -> None:
    """Run; SIGINT and SIGTERM stop gracefully, a second one at once."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stopping.set)
    await program.run(stopping)
