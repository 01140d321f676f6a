"""Settings -> running program. The one place that names concrete classes and hands them to
each other.

    sources -> IntakeLoop -> journal -> FoldLoop(archive), FoldLoop(account), FoldLoop(judge)

Order of starting: journal, revisions, folds, intake, sources; of stopping: sources, intake,
folds, journal. So nothing is accepted before it can be kept, and what was accepted is applied
before the end (and after it: the next start goes on from the cursors).

Several programs may share a folder, each with other rooms (``Options.only``): the journal joins
them, and a lock per room keeps a second one out.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from adapters.journals.sqlite import SqliteJournal
from adapters.sources.payload import Clocks
from adapters.state.roomlock import RoomLock
from collector.errors import ConfigurationError, TemporaryError
from collector.folding import FoldLoop
from collector.intake import IntakeLoop
from collector.model import Batch, Revision, SourceState, Tick
from collector.normalise import normalise
from collector.ports import Clock, Delivery, Source, Urgency
from collector.registry import PointTable, renames, table
from collector.telemetry import Telemetry
from meterwatch import fleet as fleets
from meterwatch import projections, wiring
from meterwatch.http_status import HttpStatus

FOLDS: Final = ("archive", "account", "judge")
ROOMS: Final = ("intake", *FOLDS, "project")
DRAIN_SECONDS: Final = 10.0
MAX_BYTES: Final = {"archive": 8 << 20}
"""Of journal taken at once: larger commits cost the archive less, and nobody waits for it."""
WATCH_SECONDS: Final = 2.0
SETTLE_SECONDS: Final = 0.2
"""An edited file must look the same so much later: editors do not write at one stroke."""
STALLED_SECONDS: Final = 60.0
MOST_DOWN: Final = 100
"""Sources named in /healthz at most; gateways, too."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to run, beside what the fleet folder says. ``listen``: instead of the settings' own, so
    that each of several programs on one folder shows its health. ``journal`` are keyword
    arguments of the journal that only a test changes. ``linger``: seconds between two turns of a
    fold, by its name or its room: the longer, the fewer turns and the older what it shows."""

    only: frozenset[str] = frozenset(ROOMS)
    listen: str | None = None
    journal: Mapping[str, Any] = field(default_factory=dict)
    linger: Mapping[str, float] = field(
        default_factory=lambda: {"archive": 0.5, "account": 0.5, "judge": 0.05, "project": 0.2}
    )

    def lingers(self, fold: str) -> float:
        """Of one fold."""
        return self.linger.get(fold, self.linger.get(room_of(fold), 0.05))


def room_of(fold: str) -> str:
    """The room (``--only``) that a fold belongs to."""
    return "project" if fold.startswith(projections.PREFIX) else fold


class Program:
    """A running meterwatch. Raises ``ConfigurationError`` at construction, with all faults, and
    ``TemporaryError`` when it cannot run here now: another one does, or the disk is full."""

    def __init__(
        self, folder: Path, clock: Clock, telemetry: Telemetry, options: Options | None = None
    ) -> None:
        self.folder = folder
        self.clock = clock
        self.telemetry = telemetry
        self.options = options or Options()
        self.clocks = Clocks(telemetry)
        self.fleet = fleets.parse(fleets.read_files(folder))
        self.data = folder / self.fleet.settings.program.data
        self._clocks_told = wiring.known_clocks(self.data)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped_by: BaseException | None = None
        self._broken = asyncio.Event()
        self._look = asyncio.Event()
        self.lock = RoomLock(self.data, self.options.only)
        try:
            self.journal = self._open_journal()
            self._build()
        except BaseException:
            self.lock.close()
            raise

    def _build(self) -> None:
        self.foreign = wiring.foreign(self)
        self.table = self._adopt(self.fleet)
        self.intake = IntakeLoop(
            self.journal, self._normaliser(self.table), self.telemetry, died=self._break
        )
        self.folds = {
            name: FoldLoop(
                name,
                build,
                self.journal,
                self.telemetry,
                linger=self.options.lingers(name),
                max_bytes=MAX_BYTES.get(name, 4 << 20),
                changed=self._changes_told(name),
            )
            for name, build in wiring.folds(self).items()
            if room_of(name) in self.options.only
        }
        self.sources: dict[str, Source] = (
            wiring.sources(self) if "intake" in self.options.only else {}
        )
        self.http: HttpStatus | None = None
        self.started = asyncio.Event()

    # --- life -------------------------------------------------------------------------------

    async def run(self, stopping: asyncio.Event) -> None:
        """Run until ``stopping`` is set, then stop gracefully. Raises what ended it otherwise:
        a bug, or ``TemporaryError`` when its journal was damaged or taken away."""
        self._loop = asyncio.get_running_loop()
        outbox = wiring.outbox(self) if "judge" in self.options.only else None
        tasks: list[asyncio.Task[None]] = []
        try:
            for fold in self.folds.values():  # after the outbox: it begins with what is open now
                fold.start()
            self.intake.start()
            await self._start_tasks(tasks)
            if outbox is not None:
                tasks.append(asyncio.create_task(outbox.run(), name="outbox"))
            self.telemetry.event(
                "running",
                sites=len(self.fleet.registry.sites),
                points=len(self.fleet.registry.points),
                sources=sorted(self.sources),
                data=str(self.data),
            )
            self._tell_unread()
            self.started.set()
            await self._until(stopping, tasks)
        finally:
            await self._stop(tasks)
            if outbox is not None:
                outbox.close()
            self.lock.close()

    def _tell_unread(self) -> None:
        if "intake" in self.options.only:
            for what in fleets.unread(self.fleet):
                self.telemetry.event("nothing is read", level="warning", what=what)

    async def _until(self, stopping: asyncio.Event, tasks: list[asyncio.Task[None]]) -> None:
        ends = [asyncio.create_task(one.wait()) for one in (stopping, self._broken)]
        try:
            done, _ = await asyncio.wait({*ends, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in done.intersection(tasks):
                task.result()  # a task that ended by itself ended by a bug: let it be seen
            if self._stopped_by is not None:
                raise self._stopped_by
        finally:
            for end in ends:
                end.cancel()

    def _break(self, why: BaseException) -> None:
        """End the program: it can no longer do its work. Any thread."""
        self._stopped_by = self._stopped_by or why
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it is over already
                self._loop.call_soon_threadsafe(self._broken.set)

    def _journal_damaged(self, what: str) -> None:
        path = self.data / "journal.db"
        self._break(TemporaryError(f"{path}: {what}; start again: a new one is begun, see the log"))

    async def _start_tasks(self, tasks: list[asyncio.Task[None]]) -> None:
        if "intake" in self.options.only:
            tasks += [
                asyncio.create_task(source.run(self.intake), name=f"source-{name}")
                for name, source in self.sources.items()
            ]
            tasks.append(asyncio.create_task(self._tick(), name="tick"))
            tasks.append(asyncio.create_task(self._watch(), name="watch"))
        told = self.options.listen
        listen = self.fleet.settings.program.listen if told is None else told
        if listen:
            await self._listen(listen)

    async def _listen(self, listen: str) -> None:
        """Serve /metrics and /healthz. A port that is taken must not keep readings out: it is
        said, and the program goes on without them."""
        http = HttpStatus(self.telemetry.exposition, self.health)
        host, _, port = listen.rpartition(":")
        try:
            await http.start(host, int(port))
        except (OSError, ValueError, OverflowError) as fault:
            self.telemetry.event(
                "metrics and health are not served",
                level="error",
                listen=listen,
                reason=getattr(fault, "strerror", None) or str(fault),
                todo="change listen in meterwatch.toml, give --listen, or stop what uses the port",
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
        await asyncio.gather(*(asyncio.to_thread(self._end, fold) for fold in self.folds.values()))
        self.journal.close()
        self.telemetry.event("stopped")

    @staticmethod
    def _end(fold: FoldLoop) -> None:
        with contextlib.suppress(TemporaryError):  # a journal that is gone has no more to give
            fold.drain(DRAIN_SECONDS if fold.healthy else 1.0)
        fold.stop()

    async def _tick(self) -> None:
        """Folds have no clock but this."""
        width = self.fleet.settings.program.tick_ms
        next_tick = self.clock.now()
        while True:
            await self.intake.deliver(
                Delivery(None, Urgency.CONTROL, entries=[Tick(self.clock.now())])
            )
            self._tell_clocks()
            await asyncio.to_thread(projections.relieve, self)
            now = self.clock.now()
            # Not further off than one width: a clock that was set back is not waited for.
            next_tick = min(max(next_tick + width, now), now + width)
            await self.clock.sleep(next_tick - now)

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

    def look_now(self) -> None:
        """Look for edited files at once (SIGHUP)."""
        self._look.set()

    async def _watch(self) -> None:
        """Take over an edited registry or rule file; keep the old one when the new is bad.

        Files live in the machine's time, also when the program runs in simulated time.
        """
        told: str = ""
        bad: fleets.FleetFiles | None = None
        while True:
            asked = await self._asked_to_look()
            try:
                files = await self._read_settled()
                if files == bad and not asked:
                    continue
                bad = None
                if files == self.fleet.files:
                    told = ""
                    if asked:
                        self.telemetry.event("looked for edited files, there are none")
                    continue
                bad = files
                fleet = await asyncio.to_thread(fleets.parse, files)
                bad = None
                await self.reload(fleet)
            except (ConfigurationError, TemporaryError) as fault:
                if str(fault) == told and not asked:
                    continue
                told = str(fault)
                self.telemetry.count("reload_refused")
                faults = fault.faults if isinstance(fault, ConfigurationError) else [told]
                self.telemetry.event(
                    "edited files refused, the old ones stay in force",
                    level="error",
                    faults=[str(one) for one in faults],
                )

    async def _asked_to_look(self) -> bool:
        """Wait for the next look; whether somebody asked for it."""
        try:
            async with asyncio.timeout(WATCH_SECONDS):
                await self._look.wait()
        except TimeoutError:
            return False
        self._look.clear()
        return True

    async def _read_settled(self) -> fleets.FleetFiles:
        """The files as they are, once nobody is writing them."""
        files = await asyncio.to_thread(fleets.read_files, self.folder)
        while files != self.fleet.files:
            await asyncio.sleep(SETTLE_SECONDS)  # the files' time, not the program's
            again = await asyncio.to_thread(fleets.read_files, self.folder)
            if again == files:
                break
            files = again
        return files

    async def reload(self, fleet: fleets.Fleet) -> None:
        """Put ``fleet`` in force without a restart. Settings need one, and that is said. Raises
        ``TemporaryError`` when the journal takes nothing now: then nothing has changed."""
        if fleet.settings != self.fleet.settings:
            self.telemetry.event("meterwatch.toml changed: restart to use it", level="warning")
        self.table = await asyncio.to_thread(self._adopt, fleet)
        self.fleet = replace(fleet, settings=self.fleet.settings)
        self.intake.normalise = self._normaliser(self.table)
        wiring.update(self)
        self._tell_unread()
        self.telemetry.count("reloads")
        self.telemetry.event(
            "registry and rules reloaded",
            points=len(fleet.registry.points),
            rules=len(fleet.rules),
        )

    @staticmethod
    def _normaliser(points: PointTable) -> Callable[[Batch], Batch]:
        return lambda batch: normalise(batch, points)

    def _open_journal(self) -> SqliteJournal:
        taking_in = "intake" in self.options.only
        journal = SqliteJournal(
            self.data / "journal.db",
            self.telemetry,
            max_bytes=self.fleet.settings.journal.max_bytes,
            mend=taking_in,
            on_damage=self._journal_damaged,
            **self.options.journal,
        )
        known = wiring.known_names(self.data)
        journal.seed_points([known.get(at, "") for at in range(max(known, default=-1) + 1)])
        if taking_in:
            # Projections take seconds to open: what comes meanwhile waits for them, too.
            projected = [one.fold for one in self.fleet.settings.projections if one.enabled]
            journal.register([*FOLDS, *projected])
        return journal

    def _changes_told(self, fold: str) -> Callable[[bool, str], None] | None:
        """What to call when a projection stops or starts to work: the judge is to know."""
        if room_of(fold) == fold:
            return None
        origin = f"projection:{fold.removeprefix(projections.PREFIX)}"
        return lambda up, reason: self.source_state(origin, up=up, reason=reason)

    def source_state(self, origin: str, up: bool, reason: str) -> None:
        """Tell the folds that ``origin`` came up or went down."""
        (number,) = self.journal.origin_ids([origin])
        state = SourceState(self.clock.now(), int(number), up, reason)
        self.intake.submit(Delivery(None, Urgency.CONTROL, entries=[state]))

    def _tell_clocks(self) -> None:
        """Tell what is newly known of gateways' clocks: the archive keeps the last word of each."""
        for gateway, told in self.clocks.told(self.clock.now()).items():
            if self._clocks_told.get(gateway) != told:
                self._clocks_told[gateway] = told
                # Of a gateway nobody goes by this being up: it is judged by what it sends.
                self.source_state(f"gateway:{gateway}", up=True, reason=told)

    # --- health -----------------------------------------------------------------------------

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Can it do its work, and what is there to say: for /healthz. Not well: a fold fails or
        stands still, or the journal refuses somebody. A source or an external database that is down
        is told, too, but a restart would not mend it."""
        folds = {name: self._fold_health(fold) for name, fold in self.folds.items()}
        pressure = self.journal.pressure()
        ours = [told["healthy"] for name, told in folds.items() if room_of(name) == name]
        well = all(ours) and pressure <= Urgency.BACKFILL
        return well, {
            "folds": folds,
            "journal": {
                "accepts": f"{pressure.name.lower()} and above",
                "used_mb": round(self.journal.live_bytes() / 2**20, 1),
                "max_mb": self.fleet.settings.journal.max_mb,
            },
            "sources": self._source_health(),
            "clocks": self._wrong_clocks(),
        }

    def _fold_health(self, fold: FoldLoop) -> dict[str, Any]:
        lag = fold.lag()
        stalled = fold.stalled()
        told: dict[str, Any] = {
            "healthy": fold.healthy and not (lag and stalled > STALLED_SECONDS),
            "lag_entries": lag,
            "behind_ms": max(0, self.clock.now() - fold.newest) if lag and fold.newest else 0,
        }
        if fold.trouble:
            told["trouble"] = fold.trouble
        elif not told["healthy"]:
            told["trouble"] = f"has not moved for {stalled:.0f} s"
        return told

    def _source_health(self) -> dict[str, Any]:
        """How many origins that ever said so are up, and which are down, since when and why."""
        said = list(self.intake.sources.values())
        names = self.journal.origin_names()
        states = [one for one in said if not names[one.origin].startswith("gateway:")]
        down = sorted((state for state in states if not state.up), key=lambda one: one.time)
        return {
            "up": len(states) - len(down),
            "down": len(down),
            "which": {
                names[one.origin]: {"since": one.time, "reason": one.reason}
                for one in down[-MOST_DOWN:]
            },
        }

    def _wrong_clocks(self) -> dict[str, str]:
        """What is wrong with clocks, by gateway of the registry."""
        known = self.fleet.registry.gateways
        told = list(self._clocks_told.items())
        return dict([one for one in told if one[1] and one[0] in known][:MOST_DOWN])


async def run_until_signal(program: Program) -> None:
    """Run; SIGINT and SIGTERM stop gracefully, a second one at once (which loses nothing that was
    acknowledged); SIGHUP looks for edited files now."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop(number: int) -> None:
        if stopping.is_set():
            program.telemetry.event("stopped at once", level="warning", signal=number)
            os._exit(128 + number)
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop, number)
    with contextlib.suppress(NotImplementedError):
        loop.add_signal_handler(signal.SIGHUP, program.look_now)
    await program.run(stopping)
