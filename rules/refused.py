"""Refusals that add up: who sends again and again what may not be taken from it.

Promises:

- One alert for each rule and origin, however much is refused: it begins with the first of the
  refusals that made it fire, and while it is open further ones only count.
- It is over when nothing was refused for its reasons for the rule's ``clear_for``. A time in which
  the program did not run (``pause``) shows nothing: the quiet counts anew from its end.
- An alert that a person closed is settled: what is refused afterwards counts from nothing, and may
  fire again.
- A clock that was ahead and was set back binds nobody: what lies in the future by it is forgotten.
- Memory is bounded: ``count`` times for each rule and origin, and who has been quiet is forgotten.

State is plain numbers; nothing here reads a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from collector.model import Refusal
from rules.kinds.refusals import Refused
from rules.life import ENDED, FIRED, NEVER, Step
from rules.ruleset import Rule


class Found(NamedTuple):
    """``step`` of ``rule`` at ``subject``; ``evidence``: what was refused, as it fired."""

    rule: Rule
    subject: str
    step: Step
    evidence: Mapping[str, Any] = {}


@dataclass(slots=True)
class _Seen:
    """What one rule knows of one origin. ``times``: the newest refusals, at most the rule's
    ``count``; ``since``: where an alert began, NEVER while there is none; ``total``: of it."""

    times: list[int] = field(default_factory=list)
    last: int = NEVER
    since: int = NEVER
    total: int = 0

    def set_back(self, time: int) -> None:
        """It is ``time``, and the clock was ahead before. An alert keeps its beginning, which is
        part of its name."""
        self.times = [one for one in self.times if one <= time]
        self.last = time


class Refusals:
    """Memory of the rules of kind ``refusals``. ``watches``: whether a rule is for an origin."""

    def __init__(self, watches: Callable[[Rule, str], bool], pause: int) -> None:
        self.faults: dict[str, str] = {}
        self._watches = watches
        self._pause = pause
        self._rules: list[tuple[Rule, Refused]] = []
        self._seen: dict[tuple[str, str], _Seen] = {}
        self._tick = self._began = NEVER

    def build(self, rules: Sequence[Rule]) -> None:
        """Judge by these rules; what is known by those that are still there stays."""
        self._rules = [
            (rule, rule.settings) for rule in rules if isinstance(rule.settings, Refused)
        ]
        known = {rule.id for rule, _ in self._rules}
        self._seen = {key: seen for key, seen in self._seen.items() if key[0] in known}

    def drop(self, rule: str) -> None:
        """Forget a rule (changed, removed or broken)."""
        self._rules = [one for one in self._rules if one[0].id != rule]
        self._seen = {key: seen for key, seen in self._seen.items() if key[0] != rule}

    def heard(
        self, entry: Refusal, subject: str, is_open: Container[tuple[str, str]]
    ) -> list[Found]:
        """Take a refusal of the origin ``subject``. ``is_open``: (rule, subject) of open alerts."""
        found: list[Found] = []
        for rule, settings in self._rules:
            if entry.reason not in settings.reasons:
                continue
            try:
                if self._watches(rule, subject):
                    found += self._count(rule, settings, entry, subject, is_open)
            except Exception as fault:  # noqa: BLE001 a broken rule harms no other
                self.faults[rule.id] = repr(fault)
        return found

    def _count(
        self,
        rule: Rule,
        settings: Refused,
        entry: Refusal,
        subject: str,
        is_open: Container[tuple[str, str]],
    ) -> list[Found]:
        key = (rule.id, subject)
        seen = self._seen.setdefault(key, _Seen())
        if seen.since != NEVER and key not in is_open:
            seen.times, seen.since = [], NEVER  # a person closed it
        if seen.last - entry.time > self._pause:
            seen.set_back(entry.time)
        time = seen.last = max(entry.time, seen.last)
        if seen.since != NEVER:
            seen.total += 1
            return []
        seen.times = [*seen.times, time][-settings.count :]
        if len(seen.times) < settings.count or time - seen.times[0] > settings.window:
            return []
        seen.since, seen.total = seen.times[0], settings.count
        step = Step(0, FIRED, time, seen.since, settings.count, settings.count)
        return [Found(rule, subject, step, {"refused": entry.reason, "detail": entry.detail})]

    def tick(self, time: int) -> list[Found]:
        """Whose quiet has lasted at ``time``."""
        if self._tick == NEVER or abs(time - self._tick) > self._pause:
            self._began = time
        self._tick = time
        found: list[Found] = []
        rules = {rule.id: (rule, settings) for rule, settings in self._rules}
        for key, seen in list(self._seen.items()):
            rule, settings = rules[key[0]]
            if seen.last - time > self._pause:
                seen.set_back(time)
            firing = seen.since != NEVER
            quiet = time - max(seen.last, self._began)
            if quiet < (settings.quiet if firing else settings.window):
                continue
            if firing:
                step = Step(0, ENDED, time, seen.since, 0.0, seen.total)
                found.append(Found(rule, key[1], step))
            del self._seen[key]
        return found

    def totals(self) -> dict[tuple[str, str], int]:
        """How much was refused so far, of what fires; by rule and subject."""
        return {key: seen.total for key, seen in self._seen.items() if seen.since != NEVER}

    # --- memory -----------------------------------------------------------------------------

    def kept(self) -> dict[str, Any]:
        """Memory, as values that msgspec writes."""
        return {
            "tick": self._tick,
            "began": self._began,
            "seen": [
                [*key, seen.times, seen.last, seen.since, seen.total]
                for key, seen in self._seen.items()
            ],
        }

    def take_back(self, state: Mapping[str, Any]) -> None:
        """Continue from ``kept``."""
        self._tick, self._began = state["tick"], state["began"]
        known = {rule.id for rule, _ in self._rules}
        self._seen = {
            (rule, subject): _Seen(list(times), last, since, total)
            for rule, subject, times, last, since, total in state["seen"]
            if rule in known
        }
