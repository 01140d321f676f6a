"""The demo's last page: what came in and where it went, warnings with their life, what was used,
where the data lies, what to try next. Every figure is read from the files or counted by a sender.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from adapters.state.books_reader import BooksReader
from collector.alerts import Alert, FoundLate, Level
from collector.registry import Registry
from meterwatch.demo.course import Course
from meterwatch.demo.stage import command, in_columns
from meterwatch.demo.tally import Tally
from meterwatch.demo.words import AMOUNTS, LEVEL_STYLES, SITES, Speaker, amount, unit_of
from meterwatch.inspect import REASONS_ZH

_WIDE: Final = 100
"""Terminal cells from which on a warning takes one line."""
FILES: Final = ("archive.db", "alerts.db", "books.db", "journal.db", "demo.log")


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything the last page says. ``used``: site -> quantity -> amount, canonical units.
    ``missing``: what should have happened and did not, in words; ``notes``: what else to know."""

    tally: Tally
    alerts: Sequence[Alert]
    late: Sequence[FoundLate]
    used: Mapping[str, Mapping[str, float]]
    missing: Sequence[str] = ()
    notes: Sequence[str] = ()
    files: Mapping[str, Path] = field(default_factory=dict)

    @property
    def well(self) -> bool:
        return self.tally.adds_up and not self.missing


def used(registry: Registry, books: BooksReader) -> dict[str, dict[str, float]]:
    """What each site used, by the books: at its main supply where it has one, else the sum of
    what is metered; only quantities of which anything is known."""
    amounts: dict[str, dict[str, float]] = {site: {} for site in SITES}
    ids = {name: id_ for id_, name in books.points().items()}
    for point in registry.points:
        if point.quantity not in AMOUNTS or point.name not in ids:
            continue
        if point.quantity.startswith("energy.") and point.place != "main":
            continue  # what the main supply brings in is used behind it
        total = books.total(ids[point.name], 0, 2**52)
        if total is not None:
            here = amounts[point.site]
            here[point.quantity] = here.get(point.quantity, 0.0) + total
    return amounts


class Writer:
    """Prints a summary for one reader."""

    def __init__(self, console: Console, course: Course, speaker: Speaker) -> None:
        self._console = console
        self._course = course
        self._speaker = speaker

    def write(self, summary: Summary, registry: Registry, folder: Path) -> None:
        """Print it. ``folder``: as the user would type it."""
        meters = sum(not device.gateway for device in registry.devices.values())
        self._readings(summary.tally, meters)
        self._warnings(summary)
        self._used(summary.used, registry)
        self._files(summary.files)
        self._next(folder)
        for note in summary.notes:
            self._plain(note, "yellow")
        if summary.missing:
            self._heading("missing")
            for line in summary.missing:
                self._plain(f"✗ {line}", "bold red")

    # --- sections

    def _readings(self, tally: Tally, meters: int) -> None:
        say = self._speaker.say
        self._heading("readings")
        grid = self._table("from", sent=True, stored=True, refused_column=True)
        whole = tally.whole
        for row in tally.rows:
            name = self._speaker.origin(row.origin, meters)
            grid.add_row(name, f"{row.sent:,}", f"{row.stored:,}", f"{row.refused:,}")
        grid.add_section()
        grid.add_row(say("together"), f"{whole.sent:,}", f"{whole.stored:,}", f"{whole.refused:,}")
        self._print(grid)
        fields = {"sent": whole.sent, "stored": whole.stored, "refused": whole.refused}
        if tally.adds_up:
            self._plain("✓ " + say("adds_up", **fields), "green")
        else:
            missing = sum(abs(row.missing) for row in tally.rows)
            self._plain("✗ " + say("adds_not_up", missing=missing, **fields), "bold red")
        for origin, reason, readings in tally.refusals:
            word = self._speaker.choose(reason.replace("-", " "), REASONS_ZH.get(reason, reason))
            told = self._speaker.origin(origin)
            self._plain(say("why", readings=readings, origin=told, reason=word))
        if tally.unheard > 0:
            self._plain(say("unheard", count=tally.unheard))
        if tally.repeated > 0:
            self._plain(say("repeated", count=tally.repeated))
        for origin, count in tally.kept.items():
            self._plain(say("kept", count=count, origin=self._speaker.origin(origin)))

    def _warnings(self, summary: Summary) -> None:
        speaker, say = self._speaker, self._speaker.say
        self._heading("warnings")
        if not summary.alerts and not summary.late:
            self._plain(say("no_warnings"))
            return
        stacked = self._console.width < _WIDE
        grid = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for key in ("level", "what", *(() if stacked else ("where",)), "began", "fired", "over"):
            grid.add_column(say(key), no_wrap=key in {"level", "began", "fired", "over"})

        def row(level: int, what: Text, where: str, *times: str) -> None:
            place = [] if stacked else [where]
            if stacked:
                what.append(f"\n{where}", style="dim")
            name = Text(speaker.level(level), style=LEVEL_STYLES[Level(level)])
            grid.add_row(name, what, *place, *times)

        for alert in summary.alerts:
            what = Text(self._course.title(alert.rule))
            if alert.cause:
                cause = next((one for one in summary.alerts if one.id == alert.cause), None)
                title = self._course.title(cause.rule) if cause else alert.cause
                what.append(f"\n  {say('because', title=title)}", style="dim")
            where = speaker.where(self._course.told.get(alert.id, {}))
            over = speaker.clock(alert.resolved) if alert.resolved else say("still")
            row(
                alert.level,
                what,
                where,
                speaker.clock(alert.started),
                speaker.clock(alert.fired),
                over,
            )
        for late in summary.late:
            what, where = Text(self._course.title(late.rule)), self._course.place(late.subject)
            times = speaker.clock(late.start), say("late"), speaker.clock(late.end)
            row(late.level, what, where, *times)
        self._print(grid)

    def _used(self, amounts: Mapping[str, Mapping[str, float]], registry: Registry) -> None:
        self._heading("books")
        present = [name for name in AMOUNTS if any(name in here for here in amounts.values())]
        grid = self._table("site")
        for quantity in present:
            grid.add_column(self._speaker.choose(*AMOUNTS[quantity]), justify="right")
        for site, here in amounts.items():
            found = registry.sites[site]
            cells = [amount(here[q], unit_of(q)) if q in here else "" for q in present]
            grid.add_row(self._speaker.choose(found.name, found.name_zh), *cells)
        self._print(grid)
        self._plain(self._speaker.say("measured_share"), "dim")

    def _files(self, files: Mapping[str, Path]) -> None:
        self._heading("data")
        rows = [
            (str(path), f"{_bytes(path) / 1024:>7,.0f} KB", self._speaker.say(f"file.{name}"))
            for name, path in files.items()
        ]
        in_columns(self._console, rows)

    def _next(self, folder: Path) -> None:
        self._heading("next")
        lang = " --lang zh" if self._speaker.lang == "zh" else ""
        where = shlex.quote(str(folder))
        url = '"modbus+tcp://192.0.2.10:502?unit=1"'
        typed = {
            f"status {where}{lang}": "try.status",
            f"alerts list {where} --all{lang}": "try.alerts",
            f"refused {where}{lang}": "try.refused",
            f"probe {url}{lang}": "try.probe",
            "simulate park": "try.simulate",
        }
        rows = [(f"{command()} {line}", self._speaker.say(key)) for line, key in typed.items()]
        in_columns(self._console, rows)

    # --- parts

    def _table(self, first: str, **numbers: bool) -> Table:
        grid = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
        grid.add_column(self._speaker.say(first))
        for key in numbers:
            grid.add_column(self._speaker.say(key), justify="right")
        return grid

    def _heading(self, key: str) -> None:
        self._console.print()
        self._console.print(Text(self._speaker.say(key), style="bold"))

    def _print(self, what: RenderableType) -> None:
        self._console.print(Padding(what, (0, 0, 0, 2), expand=False))

    def _plain(self, text: str, style: str = "") -> None:
        self._console.print(Text(f"  {text}", style=style))


def _bytes(path: Path) -> int:
    """Size of a file, of a database with what still lies in its log."""
    files = (path, path.with_name(path.name + "-wal"))
    return sum(file.stat().st_size for file in files if file.exists())
