"""Limits as dashboards draw them: read from the rules, never written down a second time.

Only threshold rules have a limit that can be drawn as a line. What a rule's source calls recalled
is said to be so wherever its line is.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Final, NamedTuple

from collector.alerts import Level
from grafana.words import CHECK, LIMITS, PARTLY, Language
from rules.life import Limit
from rules.ruleset import Rule, RuleSet

COLOURS: Final = {
    Level.BLUE: "blue",
    Level.YELLOW: "yellow",
    Level.ORANGE: "orange",
    Level.RED: "red",
}
NO_COLOUR: Final = "transparent"

SHARE_WANTED: Final = 0.9
"""Completeness that key energy users' monitoring asks for: got of expected, at least 90 %
(national on-line monitoring of key energy-using units, acceptance of data quality)."""


class Line(NamedTuple):
    """One limit to draw. ``sign`` +1: above is bad, -1: below is."""

    value: float
    sign: int
    level: Level
    title: str
    title_zh: str
    recalled: bool
    partly: bool
    """The rule watches only some industries, sites or points."""


def lines_of(quantities: tuple[str, ...], rules: RuleSet) -> list[Line]:
    """Limits that threshold rules set for any of ``quantities``, from low to high."""
    found = []
    for rule in rules.rules.values():
        settings = rule.settings
        if not isinstance(settings, Limit) or settings.per:
            continue
        if any(fnmatchcase(one, watched) for one in quantities for watched in _watched(rule)):
            select = rule.select
            found.append(
                Line(
                    settings.limit,
                    settings.sign,
                    rule.level,
                    rule.title,
                    rule.title_zh,
                    "recalled" in rule.source,
                    bool(select.sites or select.places or select.industries or select.points),
                )
            )
    return sorted(found)


def _watched(rule: Rule) -> set[str]:
    """Names or patterns of quantities; a point is ``site/place/quantity`` and may go on."""
    if rule.select.points:
        return {point.split("/")[2] for point in rule.select.points if point.count("/") >= 2}
    return {rule.select.quantity}


def steps_of(lines: list[Line]) -> list[tuple[float | None, str]]:
    """Grafana's threshold steps: a colour from each value on, the first from minus infinity."""
    values = sorted({line.value for line in lines})
    steps: list[tuple[float | None, str]] = [(None, _colour(lines, values[0], below=True))]
    steps += [(value, _colour(lines, value, below=False)) for value in values]
    return steps


def _colour(lines: list[Line], value: float, *, below: bool) -> str:
    """Of the stretch that begins at ``value`` (or ends there): the worst that holds in it."""
    worst = [
        line.level
        for line in lines
        if (line.sign > 0 and not below and line.value <= value)
        or (line.sign < 0 and (line.value > value or (below and line.value >= value)))
    ]
    return COLOURS[max(worst)] if worst else NO_COLOUR


def told(lines: list[Line], unit: str, language: Language) -> str:
    """The lines in words, for the panel's description; "" without lines."""
    if not lines:
        return ""
    sign = {1: "> ", -1: "< "}
    parts = [
        f"{sign[line.sign]}{line.value:g} {unit}".rstrip()
        + f": {line.title_zh if language == 'zh' else line.title}"
        + (f" ({PARTLY.get(language)})" if line.partly else "")
        for line in lines
    ]
    check = CHECK.get(language)
    note = f" ({check})" if any(line.recalled for line in lines) else ""
    return f"{LIMITS.get(language)}{note}:\n" + "\n".join(f"- {part}" for part in parts)
