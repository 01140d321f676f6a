"""The book of alerts: what the kinds found, turned into alerts, transitions and found-late.

Promises: an alert's id is derived from (rule, subject, since), a transition's from its alert
and its number there, so that the same journal says the same things under the same ids, however
often it is read. At most one alert per (rule, subject) is open. What late data shows is listed
only when no live alert of the same rule and subject covers it.

Keys of ``Transition.data`` are in ``rules.told``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from collector.alerts import (
    ACKNOWLEDGED,
    ATTACHED,
    CLOSED,
    FIRING,
    RESOLVED,
    Alert,
    Changes,
    Transition,
)
from collector.model import Mark
from rules.late import EPISODES, Late, Spans, listed, rename, spans, stable_id
from rules.life import Step
from rules.ruleset import Rule
from rules.told import words

_OPEN: Final = 2**62
BROKEN: Final = "rule-broken"


class Book:
    """Memory of alerts. ``describe`` gives a subject's keys of ``Transition.data``."""

    def __init__(self, describe: Callable[[str], Mapping[str, Any]]) -> None:
        self.open: dict[tuple[str, str], Alert] = {}
        self._describe = describe
        self._changes = Changes()
        self._episodes: Spans = {}
        self.late = Late(describe, self._episodes)
        self._silences: dict[str, tuple[int, int]] = {}
        self._evidence: dict[str, dict[str, Any]] = {}
        """Of open alerts, by id: what fired them, where the value alone does not tell."""
        self._words: dict[str, Mapping[str, Any]] = {}

    def rules(self, rules: Mapping[str, Rule]) -> None:
        """The rules as they are worded now."""
        self._words = {name: words(rule) for name, rule in rules.items()}

    def changes(self) -> Changes:
        """What was said since the last call."""
        changes, self._changes = self._changes, Changes()
        changes.late, notices = self.late.changes()
        changes.transitions += notices
        return changes

    # --- live -------------------------------------------------------------------------------

    def fire(
        self,
        seq: int,
        rule: Rule,
        subject: str,
        step: Step,
        covers: int = 0,
        evidence: Mapping[str, Any] | None = None,
    ) -> Alert:
        """A new alert. ``evidence``: keys of ``Transition.data`` that it keeps while it is open."""
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
        if step.elapsed:
            evidence = {"change": step.change, "elapsed_ms": step.elapsed}
        if evidence:
            self._evidence[alert.id] = dict(evidence)
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
        self._evidence.pop(alert.id, None)

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
        self._evidence.pop(alert.id, None)

    def rename(self, old: str, new: str) -> None:
        """A point is called differently now; its alerts keep their ids."""
        rename(self.open, old, new)
        rename(self._episodes, old, new)
        self.late.rename(old, new)
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
            **self._evidence.get(alert.id, {}),
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
        """Memory, as values that msgspec writes."""
        return {
            "open": list(self.open.values()),
            "episodes": listed(self._episodes),
            "late": self.late.kept(),
            "silences": self._silences,
            "evidence": self._evidence,
        }

    def take_back(self, state: Mapping[str, Any]) -> None:
        """Continue from ``kept``."""
        alerts = [Alert(**row) for row in state["open"]]
        self.open = {(alert.rule, alert.subject): alert for alert in alerts}
        self._episodes.clear()  # shared with ``late``: the table stays the same one
        self._episodes.update(spans(state["episodes"]))
        self.late.take_back(state["late"])
        self._silences = {key: (span[0], span[1]) for key, span in state["silences"].items()}
        moves = state.get("moves", {})  # as an earlier version kept those of rates
        self._evidence = {
            key: {"change": change, "elapsed_ms": elapsed}
            for key, (change, elapsed) in moves.items()
        } | dict(state.get("evidence", {}))
