"""The demo as people watch it: a calm page that is redrawn at a terminal, plain lines elsewhere.

Both show the same course. Plain lines carry no control characters and are never cut; the page
fits the terminal whatever its size, showing the newest lines and the most urgent warnings.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Protocol, Self

from rich.box import ROUNDED
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from collector.alerts import Alert, Level
from collector.registry import Registry
from meterwatch.demo.course import Course, Line
from meterwatch.demo.words import LEVEL_STYLES, SHOWN, SITES, Shown, Speaker, amount, unit_of

STALE_MS: Final = 3_500
"""A value older than three and a half polls is shown as what it is: no data."""
_SPARKS: Final = "▁▂▃▄▅▆"
_SPARK_CELLS: Final = 10
_CELL_VALUES: Final = 3
"""Seconds of the curve in one cell, at a reading a second."""
_WIDE: Final = 118
"""Terminal cells from which on panels have room for a small curve beside each value."""
_MOST_WARNINGS: Final = 5


@dataclass(slots=True)
class Frame:
    """What the page shows besides the course. Times are UTC ms; counts are readings."""

    now: int
    gone: float
    whole: int
    sent: int = 0
    stored: int = 0
    backlog: int = 0
    kept: int = 0
    history: Mapping[str, Sequence[float]] = field(default_factory=dict)


class View(Protocol):
    """Shows lines as they come, and frames as often as it is told."""

    def lines(self, lines: Sequence[Line]) -> None: ...

    def frame(self, frame: Frame) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def view(console: Console, course: Course, registry: Registry, speaker: Speaker) -> View:
    """The page for a terminal that can show it, else plain lines."""
    if console.is_terminal and not console.is_dumb_terminal:
        return Page(console, course, registry, speaker)
    return Plain(console, speaker)


def told(line: Line, speaker: Speaker) -> Text:
    """A line of the course as it is printed."""
    text = Text(f"{speaker.clock(line.time)}  ", style="dim")
    text.append(f"{line.mark} {line.text}", style=line.style)
    return text


class Plain:
    """Lines as they come, for pipes and logs."""

    def __init__(self, console: Console, speaker: Speaker) -> None:
        self._console = console
        self._speaker = speaker

    def lines(self, lines: Sequence[Line]) -> None:
        for line in lines:
            self._console.print(told(line, self._speaker), soft_wrap=True)

    def frame(self, frame: Frame) -> None:
        """Nothing moves here."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return


class Page:
    """The live page. Leaving it gives the terminal back and prints the course as lines."""

    def __init__(
        self, console: Console, course: Course, registry: Registry, speaker: Speaker
    ) -> None:
        self._console = console
        self._course = course
        self._registry = registry
        self._speaker = speaker
        self._live = Live(console=console, screen=True, auto_refresh=False)
        self._history = {
            shown.point: deque[float](maxlen=_SPARK_CELLS * _CELL_VALUES) for shown in SHOWN
        }
        self._drawn: dict[str, int] = {}

    def lines(self, lines: Sequence[Line]) -> None:
        """They show with the next frame."""

    def frame(self, frame: Frame) -> None:
        self._remember()
        self._live.update(self.render(frame), refresh=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()
        for line in self._course.lines:
            self._console.print(told(line, self._speaker))

    def render(self, frame: Frame) -> RenderableType:
        """The whole page, as high as the terminal."""
        plants = Table.grid(expand=True)
        for _ in SITES:
            plants.add_column(ratio=1)
        plants.add_row(*(self._plant(site, frame) for site in SITES))
        rows = max(sum(shown.site == site for shown in SHOWN) for site in SITES) + 2
        room = self._console.height - rows - 2 - 4
        warnings = self._warnings(max(1, min(_MOST_WARNINGS, room // 3)))
        happened = self._happened(max(1, room - len(warnings)))
        return Group(
            self._head(frame),
            plants,
            self._box("happens", happened, "dim"),
            self._box("in_force", warnings, self._worst_style(self._course.in_force)),
            self._foot(frame),
        )

    def _head(self, frame: Frame) -> RenderableType:
        head = Table.grid(expand=True)
        head.add_column()
        head.add_column(justify="right")
        gone = self._speaker.say("time", gone=round(frame.gone), whole=frame.whole)
        clock = self._speaker.clock(frame.now)
        head.add_row(Text(" meterwatch", style="bold"), Text(f"{clock}   {gone} ", style="dim"))
        return head

    def _plant(self, site: str, frame: Frame) -> Panel:
        found = self._registry.sites[site]
        alerts = [alert for alert in self._course.in_force if alert.site == site]
        grid = Table.grid(expand=True, padding=(0, 1, 0, 0), pad_edge=False)
        grid.add_column(no_wrap=True, ratio=1)
        grid.add_column(no_wrap=True, justify="right")
        wide = self._console.width >= _WIDE
        if wide:
            grid.add_column(no_wrap=True, width=_SPARK_CELLS)
        for shown in SHOWN:
            if shown.site == site:
                cells = self._row(shown, alerts, frame.now)
                grid.add_row(*(cells if wide else cells[:2]))
        name = Text(self._speaker.choose(found.name, found.name_zh), style="bold")
        return Panel(
            grid,
            title=name,
            title_align="left",
            box=ROUNDED,
            padding=(0, 1) if wide else 0,
            border_style=self._worst_style(alerts),
        )

    def _row(self, shown: Shown, alerts: Sequence[Alert], now: int) -> tuple[Text, Text, Text]:
        label = Text(self._speaker.choose(shown.en, shown.zh), overflow="ellipsis")
        here = [alert for alert in alerts if alert.place == f"{shown.site}/{shown.place}"]
        style = self._worst_style(here) if here else ""
        newest = self._course.values.get(shown.point)
        if newest is None:
            return label, Text("-", style="dim"), Text("")
        if now - newest[0] > STALE_MS:
            gap = self._speaker.say("no_data", seconds=(now - newest[0]) // 1000)
            return label, Text(gap, style=style or "dim italic"), Text("")
        value = Text(amount(newest[1], unit_of(shown.quantity), steady=True), style=style)
        return label, value, Text(spark([*self._history[shown.point]]), style="dim cyan")

    def _happened(self, rows: int) -> list[RenderableType]:
        lines: list[RenderableType] = []
        for line in self._course.lines[-rows:]:
            text = told(line, self._speaker)
            text.no_wrap, text.overflow = True, "ellipsis"
            lines.append(text)
        return lines + [Text("")] * (rows - len(lines))

    def _warnings(self, most: int) -> list[RenderableType]:
        speaker, alerts = self._speaker, self._course.in_force
        lines: list[RenderableType] = []
        for alert in alerts[:most]:
            data = self._course.told.get(alert.id, {})
            text = Text(no_wrap=True, overflow="ellipsis")
            level = speaker.level(alert.level).capitalize()
            text.append(f"■ {level}  ", style=LEVEL_STYLES[Level(alert.level)])
            text.append(self._course.title(alert.rule))
            text.append(f"  {speaker.where(data)}  ", style="dim")
            text.append(speaker.say("since", time=speaker.clock(alert.started)), style="dim")
            advice = speaker.choose(str(data.get("advice", "")), str(data.get("advice_zh", "")))
            text.append(f"  → {advice}" if advice else "", style="italic dim")
            lines.append(text)
        if len(alerts) > most:
            left = len(alerts) - most + 1
            lines[-1] = Text(speaker.say("more", count=left), style="dim")
        return lines or [Text(speaker.say("none_in_force"), style="dim green")]

    def _box(self, title: str, lines: Sequence[RenderableType], style: str) -> Panel:
        return Panel(
            Group(*lines),
            title=Text(self._speaker.say(title), style="default"),
            title_align="left",
            box=ROUNDED,
            border_style=style,
        )

    def _foot(self, frame: Frame) -> Text:
        told = self._speaker.say(
            "counters",
            sent=frame.sent,
            stored=frame.stored,
            refused=self._course.refused,
            backlog=frame.backlog,
        )
        if frame.kept:
            told += "   " + self._speaker.say("in_gateways", kept=frame.kept)
        return Text(f" {told}", no_wrap=True, overflow="ellipsis")

    @staticmethod
    def _worst_style(alerts: Sequence[Alert]) -> str:
        worst = max((alert.level for alert in alerts), default=0)
        return LEVEL_STYLES[Level(worst)] if worst else "dim"

    def _remember(self) -> None:
        """One more step of each curve when a newer value is stored."""
        for point, (time, value) in self._course.values.items():
            if self._drawn.get(point) != time:
                self._drawn[point] = time
                self._history[point].append(value)


def spark(values: Sequence[float], each: int = _CELL_VALUES) -> str:
    """A curve from zero to the largest of ``values``: one cell for the mean of ``each``, counted
    from the newest."""
    cells = [values[max(0, end - each) : end] for end in range(len(values), 0, -each)][::-1]
    means = [sum(cell) / len(cell) for cell in cells]
    most = max(means, default=0.0)
    top = len(_SPARKS) - 1
    if most <= 0:
        return _SPARKS[0] * len(means)
    return "".join(_SPARKS[max(0, min(top, round(top * mean / most)))] for mean in means)
