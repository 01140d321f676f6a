"""The book of alerts: what the kinds found, turned into alerts, transitions and found-late.

Promises: an alert's id is derived from (rule, subject, since), a transition's from its alert
and its number there, so that the same journal says the same things under the same ids, however
often it is read. At most one alert per (rule, subject) is open. What late data shows is listed
only when no live alert of the same rule and subject covers it.

``Transition.data`` holds what a message needs, JSON-ready; absent keys do not apply:

    rule kind title title_zh advice advice_zh source    the rule, as written
    subject site site_name site_name_zh county          who it is about
    place place_name place_name_zh
    quantity quantity_en quantity_zh unit statistic     of a point
    value worst limit clear direction for_ms per_ms     direction: above below rise fall flat
    started fired resolved                              UTC ms
    covers                                              devices an origin stands for
    fault                                               why a rule is broken
    cause cause_subject                                 alert (and its subject) that stands for it
    who note reason                                     of a mark, or why it was closed
    count start end origin                              of a found-late notice
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from collector.alerts import (
    ACKNOWLEDGED,
    ATTACHED,
    CLOSED,
    FIRING,
    FOUND_LATE,
    RESOLVED,
    Alert,
    Changes,
    FoundLate,
    Transition,
)
from collector.model import Mark
from rules.kinds.absence import Silence
from rules.kinds.flatline import Flat
from rules.life import NEVER, Limit, Step
from rules.ruleset import Rule

EPISODES: Final = 8
"""Live alerts per (rule, point) remembered to recognise what late data repeats."""
NOTICE_QUIET_MS: Final = 60_000
"""A found-late notice waits until its origin brought no more late exceedances for this long,"""
NOTICE_LATEST_MS: Final = 900_000
"""but not longer than this."""
_OPEN: Final = 2**62
BROKEN: Final = "rule-broken"


def stable_id(*parts: object) -> str:
    """A short id that depends on ``parts`` alone."""
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:20]


@dataclass(slots=True)
class _Burst:
    """Found-late entries of one origin since its last notice; times UTC ms of ticks."""

    first: int
    newest: int
    count: int
    level: int
    start: int
    end: int
    entry: str
    subjects: list[str]


class Book:
    """Memory of alerts. ``describe`` gives a subject's keys of ``Transition.data``."""

    def __init__(self, describe: Callable[[str], Mapping[str, Any]]) -> None:
        self.open: dict[tuple[str, str], Alert] = {}
        self._describe = describe
        self._changes = Changes()
        self._episodes: dict[tuple[str, str], deque[list[int]]] = {}
        self._late: dict[tuple[str, str], FoundLate] = {}
        self._found: dict[tuple[str, str], deque[list[int]]] = {}
        self._bursts: dict[str, _Burst] = {}
        self._silences: dict[str, tuple[int, int]] = {}
        self._words: dict[str, Mapping[str, Any]] = {}

    def rules(self, rules: Mapping[str, Rule]) -> None:
        """The rules as they are worded now."""
        self._words = {name: _words(rule) for name, rule in rules.items()}

    def changes(self) -> Changes:
        """What was said since the last call."""
        changes, self._changes = self._changes, Changes()
        return changes

    # --- live -------------------------------------------------------------------------------

    def fire(self, seq: int, rule: Rule, subject: str, step: Step, covers: int = 0) -> Alert:
        """A new alert."""
        told = self._describe(subject)
        alert = Alert(
            id=stable_id(rule.id, subject, step.since),
            rule=rule.id,
            kind=rule.kind,
            level=int(rule.level),
            subject=subject,
            site=told.get("site", ""),
            place=told.get("place", ""),
            started=step.since,
            fired=step.time,
            value=step.value,
            worst=step.worst,
        )
        self.open[rule.id, subject] = alert
        past = self._episodes.setdefault((rule.id, subject), deque(maxlen=EPISODES))
        past.append([step.since, _OPEN])
        extra = {"covers": covers} if covers else {}
        self._tell(seq, alert, FIRING, step.time, extra)
        return alert

    def end(self, seq: int, rule: str, subject: str, step: Step) -> None:
        """The condition is over. An alert that a person closed before says nothing more."""
        alert = self.open.pop((rule, subject), None)
        past = self._episodes.get((rule, subject))
        if past:
            past[-1][1] = step.time
        if alert is None:
            return
        alert.state, alert.resolved = RESOLVED, step.time
        alert.worst = step.worst
        self._tell(seq, alert, RESOLVED, step.time, {"now": step.value})

    def attach(self, seq: int, rule: str, subject: str, cause: Alert | None, time: int) -> None:
        """``cause`` stands for the alert from now on (None: nobody does any more)."""
        alert = self.open.get((rule, subject))
        wanted = cause.id if cause is not None else ""
        if alert is None or alert.cause == wanted:
            return
        alert.cause = wanted
        extra = {"cause_subject": cause.subject} if cause is not None else {}
        self._tell(seq, alert, ATTACHED, time, extra)

    def close(
        self,
        seq: int,
        rule: str,
        subject: str,
        time: int,
        reason: str,
        who: str = "",
        note: str = "",
    ) -> None:
        """End an alert for another reason than its condition."""
        alert = self.open.pop((rule, subject), None)
        if alert is None:
            return
        past = self._episodes.get((rule, subject))
        if past and not who:
            past[-1][1] = time
        alert.state, alert.resolved = CLOSED, time
        alert.reason, alert.closed_by = reason, who
        self._tell(seq, alert, CLOSED, time, {"reason": reason, "who": who, "note": note})

    def rename(self, old: str, new: str) -> None:
        """A point is called differently now; its alerts keep their ids."""
        for table in (self.open, self._episodes, self._found, self._late):
            _rename(table, old, new)
        for (_, subject), alert in self.open.items():
            if subject == new and alert.subject == old:
                alert.subject = new
                self._changes.alerts[alert.id] = alert

    def worst(self, rule: str, subject: str, worst: float) -> Alert | None:
        """Keep an open alert's worst value; the alert, when it moved."""
        alert = self.open.get((rule, subject))
        if alert is None or alert.worst == worst:
            return None
        alert.worst = worst
        return alert

    # --- people -----------------------------------------------------------------------------

    def mark(self, seq: int, mark: Mark) -> None:
        """A person said something. ``silence`` also takes ``rule:``, ``site:`` and ``place:``
        subjects; whatever names no open alert else is ignored."""
        if mark.kind == "silence" and mark.subject.startswith(("rule:", "site:", "place:")):
            self._silences[mark.subject] = (mark.start, mark.end)
            return
        alert = next((one for one in self.open.values() if one.id == mark.subject), None)
        if alert is None:
            return
        if mark.kind == "close":
            reason = mark.note or "closed by a person"
            key = alert.rule, alert.subject
            self.close(seq, *key, mark.time, reason, mark.who or "?", mark.note)
        elif mark.kind == "silence":
            alert.silenced = mark.end
            self._changes.alerts[alert.id] = alert
        elif mark.kind == "acknowledge":
            alert.acknowledged, alert.acknowledged_by = mark.time, mark.who
            extra = {"who": mark.who, "note": mark.note}
            self._tell(seq, alert, ACKNOWLEDGED, mark.time, extra)

    def _silent(self, alert: Alert, time: int) -> bool:
        if time < alert.silenced:
            return True
        if not self._silences:
            return False
        subjects = (f"rule:{alert.rule}", f"site:{alert.site}", f"place:{alert.place}")
        spans = (self._silences.get(subject, (0, 0)) for subject in subjects)
        return any(start <= time < end for start, end in spans)

    # --- late -------------------------------------------------------------------------------

    def late_fire(self, rule: Rule, subject: str, step: Step, origin: str, found: int) -> None:
        """Late data would have fired."""
        if self._covered(rule.id, subject, step.since, step.time):
            return
        self._enter(rule, subject, step.since, step.time, step.worst, origin, found)

    def late_end(self, rule: Rule, subject: str, step: Step, origin: str, found: int) -> None:
        """An episode in late data is over, at ``step.time``."""
        self._late_to(rule, subject, step.since, step.time, step.worst, origin, found)
        self._late.pop((rule.id, subject), None)

    def late_goes_on(self, rule: Rule, subject: str, since: int, end: int, worst: float) -> None:
        """An episode in late data was still firing at its newest reading."""
        self._late_to(rule, subject, since, end, worst, "", 0)

    def _late_to(
        self, rule: Rule, subject: str, since: int, end: int, worst: float, origin: str, found: int
    ) -> None:
        entry = self._late.get((rule.id, subject))
        if entry is not None and entry.start == since:
            if end > entry.end or worst != entry.worst:
                entry.end, entry.worst = max(end, entry.end), worst
                self._found[rule.id, subject][-1][1] = entry.end
                self._changes.late[entry.id] = entry
        elif origin and not self._covered(rule.id, subject, since, end):
            self._enter(rule, subject, since, end, worst, origin, found)

    def _covered(self, rule: str, subject: str, start: int, end: int) -> bool:
        """Whether an alert, or an entry of earlier late data, already says so."""
        key = rule, subject
        past = (*self._episodes.get(key, ()), *self._found.get(key, ()))
        return any(began <= start and end <= over for began, over in past)

    def _enter(
        self, rule: Rule, subject: str, start: int, end: int, worst: float, origin: str, found: int
    ) -> None:
        told = self._describe(subject)
        entry = FoundLate(
            id=stable_id("late", rule.id, subject, start),
            rule=rule.id,
            level=int(rule.level),
            subject=subject,
            site=told.get("site", ""),
            place=told.get("place", ""),
            start=start,
            end=end,
            worst=worst,
            origin=origin,
            found=found,
        )
        self._late[rule.id, subject] = entry
        self._found.setdefault((rule.id, subject), deque(maxlen=EPISODES)).append([start, end])
        self._changes.late[entry.id] = entry
        burst = self._bursts.get(origin)
        if burst is None:
            burst = _Burst(found, found, 0, 1, start, end, entry.id, [])
            self._bursts[origin] = burst
        burst.newest = max(burst.newest, found)
        burst.count += 1
        burst.level = max(burst.level, entry.level)
        burst.start, burst.end = min(burst.start, start), max(burst.end, end)
        if subject not in burst.subjects and len(burst.subjects) < 20:
            burst.subjects.append(subject)

    def notices(self, seq: int, time: int) -> None:
        """At a tick: one notice per origin whose late data has come to rest."""
        for origin, burst in list(self._bursts.items()):
            rested = time - burst.newest >= NOTICE_QUIET_MS
            if not rested and time - burst.first < NOTICE_LATEST_MS:
                continue
            del self._bursts[origin]
            name = stable_id("found-late", origin, burst.entry)
            data = {
                **self._describe(origin),
                "origin": origin,
                "count": burst.count,
                "start": burst.start,
                "end": burst.end,
                "subjects": burst.subjects,
            }
            self._changes.transitions.append(
                Transition(name + "/1", name, seq, FOUND_LATE, time, burst.level, name, True, data)
            )

    # --- saying it --------------------------------------------------------------------------

    def _tell(
        self, seq: int, alert: Alert, state: str, time: int, extra: Mapping[str, Any]
    ) -> None:
        alert.steps += 1
        data = {
            **self._words.get(alert.rule, {}),
            **self._describe(alert.subject),
            "rule": alert.rule,
            "kind": alert.kind,
            "subject": alert.subject,
            "value": alert.value,
            "worst": alert.worst,
            "started": alert.started,
            "fired": alert.fired,
            **({"resolved": alert.resolved} if alert.resolved else {}),
            **({"cause": alert.cause} if alert.cause else {}),
            **extra,
        }
        self._changes.alerts[alert.id] = alert
        self._changes.transitions.append(
            Transition(
                id=f"{alert.id}/{alert.steps}",
                alert=alert.id,
                seq=seq,
                to_state=state,
                time=time,
                level=alert.level,
                root=alert.cause or alert.id,
                page=not alert.cause and state != ATTACHED and not self._silent(alert, time),
                data=data,
            )
        )

    # --- memory -----------------------------------------------------------------------------

    def kept(self) -> dict[str, Any]:
        """Memory as plain values."""
        return {
            "open": [asdict(alert) for alert in self.open.values()],
            "episodes": [[*key, list(past)] for key, past in self._episodes.items()],
            "found": [[*key, list(past)] for key, past in self._found.items()],
            "late": [asdict(entry) for entry in self._late.values()],
            "bursts": {origin: asdict(burst) for origin, burst in self._bursts.items()},
            "silences": self._silences,
        }

    def take_back(self, state: Mapping[str, Any]) -> None:
        """Continue from ``kept``."""
        alerts = [Alert(**row) for row in state["open"]]
        self.open = {(alert.rule, alert.subject): alert for alert in alerts}
        self._episodes = _spans(state["episodes"])
        self._found = _spans(state["found"])
        late = [FoundLate(**row) for row in state["late"]]
        self._late = {(entry.rule, entry.subject): entry for entry in late}
        self._bursts = {origin: _Burst(**row) for origin, row in state["bursts"].items()}
        self._silences = {key: (span[0], span[1]) for key, span in state["silences"].items()}


def _rename(table: dict[tuple[str, str], Any], old: str, new: str) -> None:
    for rule, subject in [key for key in table if key[1] == old]:
        table[rule, new] = table.pop((rule, subject))


def _spans(rows: Sequence[Any]) -> dict[tuple[str, str], deque[list[int]]]:
    return {
        (rule, subject): deque((list(span) for span in past), EPISODES)
        for rule, subject, past in rows
    }


def _words(rule: Rule) -> dict[str, Any]:
    """A rule's part of ``Transition.data``."""
    words: dict[str, Any] = {
        key: getattr(rule, key)
        for key in ("title", "title_zh", "advice", "advice_zh", "source")
        if getattr(rule, key)
    }
    settings = rule.settings
    if isinstance(settings, Limit):
        ways = ("rise", "fall") if settings.per else ("above", "below")
        words["direction"] = ways[settings.sign < 0]
        turn = settings.sign if settings.per else 1
        words["limit"], words["clear"] = turn * settings.limit, turn * settings.clear
        words["for_ms"] = settings.lasting
        if settings.per:
            words["per_ms"] = settings.per
    elif isinstance(settings, Flat):
        words["direction"], words["for_ms"] = "flat", settings.lasting
    elif isinstance(settings, Silence):
        words["target"], words["for_ms"] = settings.target, settings.window
    return words


__all__ = ["BROKEN", "NEVER", "Book", "stable_id"]
