"""``meterwatch project``: the external databases looked after by a person.

``rebuild`` asks for everything to be fed again, through the journal like every word of a person,
and shows how far it is. It may be interrupted: what is left to feed is in the projection's own
file, and the program (or the same command) goes on with it. ``verify`` compares a database with
the archive, point by point and day by day.
"""

# ruff: noqa: PLC0415, T201 -- as in cli.py: imports are late, it prints

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

import typer

from collector.errors import ConfigurationError, Fault, TemporaryError
from collector.projections import ProjectionSettings

Told = Callable[[str], AbstractContextManager[None]]
"""Turns errors into text and exit codes; takes the name of the extra that brings the libraries."""

LOOK_SECONDS: Final = 0.2
DAY_MS: Final = 86_400_000
MOST_SHOWN: Final = 20
Folder = Annotated[Path, typer.Argument(help="the fleet folder, with meterwatch.toml in it")]
Name = Annotated[str, typer.Argument(help="the projection's name; all of them if left out")]
Since = Annotated[str, typer.Option(help="first day, as 2026-01-31; all there is if left out")]
Until = Annotated[str, typer.Option(help="last day, as 2026-01-31; today if left out")]


def commands(told: Told) -> typer.Typer:
    """The group ``project``."""
    app = typer.Typer(no_args_is_help=True, help="Feed external databases again, or compare them.")

    @app.command()
    def rebuild(folder: Folder, name: Name = "", since: Since = "", until: Until = "") -> None:
        """Feed a database again from the archive.

        For a database that lost its disk or was emptied. May be interrupted and goes on later.
        """
        with told("influx"):
            _rebuild(folder, name, since, until)

    @app.command()
    def verify(folder: Folder, name: Name = "", since: Since = "", until: Until = "") -> None:
        """Compare a database with the archive, by point and day; exit code 1 if it differs.

        Of the last three days if none are named.
        """
        with told("influx"):
            differ = _verify(folder, name, since, until)
        if differ:
            raise typer.Exit(1)

    return app


def _rebuild(folder: Path, name: str, since: str, until: str) -> None:
    from meterwatch.fleet import parse, read_files

    fleet = parse(read_files(folder))
    chosen = _chosen(fleet.settings.projections, name)
    data = folder / fleet.settings.program.data
    low, high = _span(since, until, ZoneInfo(fleet.settings.program.zone))
    seq = _ask(fleet, data, name, low, high)
    with _fed(folder, data) as alive:
        for one in chosen:
            _watch(one, data / f"{one.fold}.db", seq, alive)


def _ask(fleet: Any, data: Path, name: str, low: int, high: int) -> int:
    """Put the wish into the journal; its sequence number."""
    import getpass
    import time

    from adapters.journals.sqlite import SqliteJournal
    from adapters.projection.fold import REBUILD
    from collector.model import Mark
    from collector.telemetry import Telemetry

    path = data / "journal.db"
    if not path.exists():
        raise TemporaryError(f"{path}: there is no journal yet, start the program first")
    maximum = fleet.settings.journal.max_bytes
    journal = SqliteJournal(path, Telemetry(), max_bytes=maximum, mend=False)
    try:
        now = int(time.time() * 1000)
        return journal.append([Mark(now, REBUILD, name, low, high, getpass.getuser())])
    finally:
        journal.close()


@contextlib.contextmanager
def _fed(folder: Path, data: Path) -> Iterator[Callable[[], None]]:
    """While inside, somebody feeds: the program that runs, or else this process; what it yields
    raises what ended that. Then the archive
    is brought up to the wish here, too, unless another process does that: nothing is fed from one
    that lags behind."""
    from collector.telemetry import Telemetry
    from meterwatch.app import Options, Program
    from meterwatch.clock import SystemClock
    from meterwatch.logs import configure

    if not _free(data, "project"):
        yield lambda: None
        return
    rooms = {"project", "archive"} if _free(data, "archive") else {"project"}
    configure()
    ended: list[BaseException] = []
    stop = asyncio.Event()
    loop = asyncio.new_event_loop()
    options = Options(only=frozenset(rooms), listen="")
    program = Program(folder, SystemClock(), Telemetry(), options)

    def live() -> None:
        try:
            loop.run_until_complete(program.run(stop))
        except BaseException as fault:  # noqa: BLE001 carried to the thread that waits
            ended.append(fault)

    def alive() -> None:
        if ended:
            raise ended[0]

    thread = threading.Thread(target=live, name="project")
    thread.start()
    try:
        yield alive
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
    alive()


def _free(data: Path, room: str) -> bool:
    """Whether no process runs this room."""
    from adapters.state.roomlock import holder

    return holder(data, room) is None


def _watch(one: ProjectionSettings, path: Path, seq: int, alive: Callable[[], None]) -> None:
    """Show what is left until nothing is; ``alive`` raises when nobody feeds any more."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("spans fed"),
        TimeRemainingColumn(),
    )
    pause = threading.Event()
    most = 0
    with Progress(*columns) as progress:
        task = progress.add_task(one.name, total=None)
        while True:
            alive()
            cursor, left = _left(path)
            if cursor >= seq:
                most = max(most, left)
                progress.update(task, total=max(most, 1), completed=most - left)
                if not left:
                    break
            pause.wait(LOOK_SECONDS)
    print(f"{one.name}: everything was fed")


def _left(path: Path) -> tuple[int, int]:
    """The projection's cursor, and how many spans it still has to feed."""
    from adapters.state.foldfile import open_reader

    try:
        with contextlib.closing(open_reader(path)) as db:
            (cursor,) = db.execute("SELECT value FROM meta WHERE key = 'cursor'").fetchone()
            (left,) = db.execute("SELECT count(*) FROM refeed").fetchone()
    except (TemporaryError, sqlite3.Error):
        return -1, 0
    return int(cursor), int(left)


def _verify(folder: Path, name: str, since: str, until: str) -> bool:
    import time
    from functools import partial
    from types import SimpleNamespace

    from adapters.projection.verify import days, differences
    from adapters.stores.archive_reader import ArchiveReader
    from adapters.stores.line import names_of_point
    from meterwatch import wiring
    from meterwatch.fleet import kept, parse, read_files
    from meterwatch.projections import database

    fleet = parse(read_files(folder))
    zone = ZoneInfo(fleet.settings.program.zone)
    low, high = _span(since, until, zone)
    now = int(time.time() * 1000)
    differ = False
    with contextlib.closing(ArchiveReader(kept(fleet, "archive.db"))) as archive:
        names = archive.point_names()
        points = {
            number: known
            for number, point in enumerate(names)
            if (known := names_of_point(point, fleet.registry)) is not None
        }
        high = high or now + DAY_MS
        low = low or max(archive.oldest(), now - 3 * DAY_MS)
        for one in _chosen(fleet.settings.projections, name):
            place: Any = SimpleNamespace(folder=folder)
            opened = database(one, place, partial(wiring.secret_text, folder), wiring.imported)
            with contextlib.closing(opened):
                first, last = opened.condition().limits(now)
                found = [
                    each
                    for start, end in days(max(low, first), min(high, last))
                    for each in differences(archive, opened, points, names, start, end)
                ]
            differ |= bool(found)
            _tell(one.name, found, zone)
    return differ


def _tell(name: str, found: list[Any], zone: ZoneInfo) -> None:
    print(f"{name}: {len(found)} points and days differ from the archive" if found else
          f"{name}: holds what the archive holds")  # fmt: skip
    for one in found[:MOST_SHOWN]:
        day = datetime.fromtimestamp(one.day / 1000, zone).date()
        print(
            f"  {one.point} {day}: {one.count} readings with sum {one.sum:.12g}, "
            f"the archive has {one.archive_count} with {one.archive_sum:.12g}"
        )
    if len(found) > MOST_SHOWN:
        print(f"  and {len(found) - MOST_SHOWN} more")
    if found:
        print("  what is missing comes with: meterwatch project rebuild")


def _chosen(projections: tuple[ProjectionSettings, ...], name: str) -> list[ProjectionSettings]:
    enabled = [one for one in projections if one.enabled]
    chosen = [one for one in enabled if name in {"", one.name}]
    if not chosen:
        known = ", ".join(one.name for one in enabled) or "none"
        what = f'no projection "{name}" is enabled' if name else "no projection is enabled"
        raise ConfigurationError(Fault("meterwatch.toml", 0, what, f"enabled are: {known}"))
    return chosen


def _span(since: str, until: str, zone: ZoneInfo) -> tuple[int, int]:
    """UTC ms of the first day's start and the last one's end; 0 where not given."""
    return _day(since, zone), _day(until, zone) + (DAY_MS if until else 0)


def _day(text: str, zone: ZoneInfo) -> int:
    if not text:
        return 0
    try:
        return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() * 1000)
    except ValueError as fault:
        raise typer.BadParameter(f'"{text}" is no day; write it as 2026-01-31') from fault
