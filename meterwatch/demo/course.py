"""What happens, line by line: the park's mishaps, and what meterwatch says to each.

Everything is read from the files that the program writes, as any other process would read them;
what shows here is committed. ``look`` is asked a few times a second and returns at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.state.alerts import AlertsReader
from adapters.state.books_reader import BooksReader
from adapters.stores.archive_reader import ArchiveReader
from collector.accounts.counters import Kind
from collector.alerts import ATTACHED, CLOSED, FIRING, RESOLVED, Alert, Level, Transition
from collector.registry import Registry
from meterwatch.demo.words import LEVEL_STYLES, SHOWN, Speaker
from meterwatch.fleet import Fleet
from meterwatch.inspect import REASONS_ZH
from meterwatch.simulator.park import Event
from rules.ruleset import RuleSet


@dataclass(frozen=True, slots=True)
class Line:
    """Something that happened at ``time`` (UTC ms). ``mark`` is one cell wide, ``style`` rich's."""

    time: int
    mark: str
    text: str
    style: str = ""


class Readers:
    """The files of a running program, opened. Raises ``TemporaryError`` while one is not there."""

    def __init__(self, data: Path) -> None:
        with ExitStack() as opened:  # closes what is open if one is not there yet
            self.alerts = opened.enter_context(closing(AlertsReader(data / "alerts.db")))
            self.books = opened.enter_context(closing(BooksReader(data / "books.db")))
            self.archive = opened.enter_context(closing(ArchiveReader(data / "archive.db")))
            self._opened = opened.pop_all()

    def close(self) -> None:
        self._opened.close()


class Course:
    """The lines so far, and what is in force. ``told``: the last data said of each alert."""

    def __init__(self, readers: Readers, fleet: Fleet, speaker: Speaker) -> None:
        self.lines: list[Line] = []
        self.told: dict[str, Mapping[str, Any]] = {}
        self.in_force: list[Alert] = []
        self.refused = 0
        self.values: dict[str, tuple[int, float]] = {}
        """Newest stored reading of what the panels show: time (UTC ms) and value."""
        self._readers = readers
        self._registry: Registry = fleet.registry
        self._rules: RuleSet = fleet.rules
        self._speaker = speaker
        self._seen: set[object] = set()
        self._seq = 0

    def happened(self, event: Event, time: int) -> None:
        """The park plays ``event``."""
        text = self._speaker.choose(event.en, event.zh)
        self.lines.append(Line(time, "●", text, "bold"))

    def look(self, now: int) -> list[Line]:
        """What the judge has said since the last look; ``now`` (UTC ms) is when it shows."""
        before = len(self.lines)
        for step in self._readers.alerts.transitions(after=self._seq):
            self._seq = step.seq
            self.told[step.alert] = step.data
            line = self._line(step, now)
            if line is not None:
                self.lines.append(line)
        found = self._readers.alerts.alerts(active=True)
        self.in_force = sorted(found, key=lambda one: (bool(one.cause), -one.level, one.started))
        return self.lines[before:]

    def look_closer(self, now: int) -> list[Line]:
        """What the archive and the books hold: values, and refusals, oddities and late findings
        that were not told yet. Asks more of the disk: once a second is enough."""
        before = len(self.lines)
        archive = self._readers.archive
        known = set(archive.point_names())
        for shown in SHOWN:
            if shown.point not in known:
                continue
            newest = archive.latest(shown.point)
            if len(newest):
                self.values[shown.point] = int(newest.time[0]), float(newest.value[0])
        self.refused = sum(total.readings for total in archive.refused_totals())
        self._refusals(now)
        self._oddities(now)
        self._late(now)
        return self.lines[before:]

    # --- lines

    def _line(self, step: Transition, now: int) -> Line | None:
        speaker, data = self._speaker, step.data
        title, where = speaker.title(data), speaker.where(data)
        if step.to_state == FIRING:
            level = speaker.level(step.level).capitalize()
            text = speaker.say(
                "raised", level=level, title=title, where=where, measured=speaker.measured(data)
            )
            return Line(now, "▲", text, LEVEL_STYLES[Level(step.level)])
        if step.to_state in {RESOLVED, CLOSED}:
            return Line(now, "✓", speaker.say("settled", title=title, where=where), "green")
        if step.to_state == ATTACHED and data.get("cause"):
            return Line(now, "·", speaker.say("attached", title=title, where=where), "dim")
        return None  # what late data showed is told from its own table, at once

    def _refusals(self, now: int) -> None:
        origins = self._readers.archive.origin_names()
        for row in reversed(self._readers.archive.refused(limit=20)):
            if self._new("refused", row.origin, row.reason, row.detail):
                origin = self._speaker.origin(origins[row.origin])
                detail = self._speaker.choose(row.detail, self._reason_zh(row.reason, row.detail))
                text = self._speaker.say("refused", origin=origin, detail=detail)
                self.lines.append(Line(now, "✗", text, "magenta"))

    def _reason_zh(self, reason: str, detail: str) -> str:
        """Details are written in English, for whoever mends the cause; who they are about
        stands first in them."""
        told = REASONS_ZH.get(reason, reason)
        device = self._registry.devices.get(detail.partition(" ")[0])
        if device is None:
            return told
        return f"{self.place(f'{device.site}/{device.place}')}，{told}（{device.key}）"

    def _oddities(self, now: int) -> None:
        names = self._readers.books.points()
        for odd in self._readers.books.anomalies():
            if odd.kind is not Kind.PENDING and self._new("odd", odd.point, odd.kind, odd.time):
                words = self._speaker.choose(odd.words, odd.words_zh)
                text = self._speaker.say("odd", place=self.place(names[odd.point]), words=words)
                self.lines.append(Line(now, "≠", text, "cyan"))

    def _late(self, now: int) -> None:
        for entry in reversed(self._readers.alerts.found_late()):
            if self._new("late", entry.id):
                text = self._speaker.say(
                    "found_late",
                    origin=self._speaker.origin(entry.origin),
                    title=self.title(entry.rule),
                    where=self.place(entry.subject),
                )
                self.lines.append(Line(now, "↺", text, LEVEL_STYLES[Level(entry.level)]))

    def _new(self, *what: object) -> bool:
        if what in self._seen:
            return False
        self._seen.add(what)
        return True

    # --- names

    def title(self, rule: str) -> str:
        """A rule's title in the reader's language; its id when it is not known."""
        known = self._rules.rules.get(rule)
        return self._speaker.choose(known.title, known.title_zh) if known else rule

    def place(self, point: str) -> str:
        """Site and place of a name that begins with them."""
        site, place = point.split("/")[:2]
        names = self._registry.sites.get(site), self._registry.places.get(f"{site}/{place}")
        said = [self._speaker.choose(one.name, one.name_zh) for one in names if one is not None]
        return self._speaker.choose(", ", "，").join(said) or point
