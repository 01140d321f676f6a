"""Absence: who has stopped reporting, judged on every tick against the tree of who reports
through whom.

    source (broker, bus) > gateway > device > point

A notification channel (``notifier:NAME``) or an external database (``projection:NAME``) that says
it fails is watched the same way as a source, by rules of its own target; nothing reports through
it.

Promises:

- What is silent only because what it reports through is silent, is never announced: a device
  behind a gateway is measured by how long *the gateway went on talking* without it, so that it
  cannot fire before its gateway does; a point is measured the same way by its device. A device
  on a bus counts only while the bus is up.
- After a beginning (first tick, a pause between ticks, a new entry in the registry, a source or
  gateway or device that came back) every window starts anew.
- A window is never shorter than three intervals of the device: a meter read once an hour is not
  offline after five minutes.
- An alert that fires is attached to the alert of what it reports through while that one fires.

State is plain numbers; nothing here reads a clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from collector.model import Ids, SourceState, Times
from collector.registry import Registry
from rules.kinds.absence import SAYING, Silence
from rules.lanes import Lanes
from rules.life import NEVER
from rules.reporting import POLLED, Member, Reporting, is_push, is_source, silence_of, speaks_as
from rules.ruleset import Rule

INTERVALS: Final = 3
_ROOT_FIRST: Final = {
    "source": 0,
    "channel": 0,
    "database": 0,
    "gateway": 1,
    "device": 2,
    "point": 3,
}


class Said(NamedTuple):
    """What a tick found. ``what``: fired, over, attached or gone (no longer there to be
    silent); ``since``: last sign of life, or since when it is down; ``cause``: subject of
    the alert that stands for it, or ""."""

    what: str
    rule: Rule
    subject: str
    time: int
    since: int
    cause: str = ""


@dataclass(slots=True)
class _Watched:
    """One rule and who it watches."""

    rule: Rule
    silence: Silence
    members: list[Member]
    back: dict[str, int] = field(default_factory=dict)
    """When a parent came back after a silence of its own, by subject."""
    parents: dict[str, list[str]] = field(default_factory=dict)
    """Of points: the devices that served them, in turn."""


@dataclass(slots=True)
class _Source:
    """A broker or bus by its own word. ``fell``: when it last went down."""

    up: bool = True
    since: int = NEVER
    fell: int = NEVER


class Tree:
    """Memory of the absence rules."""

    def __init__(self, lanes: Lanes, pause: int) -> None:
        self.faults: dict[str, str] = {}
        self._lanes = lanes
        self._pause = pause
        self._rules: list[_Watched] = []
        self._who = Reporting()
        self._tick = NEVER
        self._began = NEVER
        self._known: dict[str, int] = {}
        self._sources: dict[str, _Source] = {}
        self._origin_seen: dict[str, int] = {}
        self._seen: dict[str, int] = {}
        self._firing: dict[tuple[str, str], tuple[int, int, str]] = {}
        """(rule, subject) -> (last sign of life when it fired, alert's since, cause)."""

    # --- tables -----------------------------------------------------------------------------

    def build(self, registry: Registry, rules: Sequence[Rule], ids: Mapping[str, int]) -> None:
        """Watch this registry by these rules; what is known of the same subjects stays."""
        self._who = Reporting(registry, ids)
        back = {one.rule.id: one.back for one in self._rules}
        self._rules = []
        order = sorted(rules, key=lambda rule: _ROOT_FIRST[silence_of(rule).target])
        for rule in order:
            watched = _Watched(rule, silence_of(rule), self._who.watch(rule))
            watched.back = back.get(rule.id, {})
            for one in watched.members:
                watched.parents.setdefault(one.subject, []).append(one.parent)
            self._rules.append(watched)
        # Who left and is entered again, or is a gateway without a device, is new when it comes.
        known = {one.subject for one in (*self._who.devices, *self._gateways())}
        known |= {one.subject for watched in self._rules for one in watched.members}
        self._known = {name: since for name, since in self._known.items() if name in known}

    def _gateways(self) -> list[Member]:
        """Those that have a device, and so something to say."""
        return [one for one in self._who.gateways if one.members]

    def drop(self, rule: str) -> None:
        """Forget a rule (changed, removed or broken) and what it fired."""
        self._rules = [one for one in self._rules if one.rule.id != rule]
        self._firing = {key: value for key, value in self._firing.items() if key[0] != rule}

    def members(self, subject: str) -> int:
        """How many devices an origin stands for."""
        return self._who.members(subject)

    def whereabouts(self, subject: str) -> tuple[str, str]:
        """Site and place (``site/place``) of an origin, "" where it has none."""
        return self._who.whereabouts(subject)

    # --- what comes in ----------------------------------------------------------------------

    def heard(self, origin: str, received: int) -> None:
        """A sign of life of an origin as such: a delivery, a refusal."""
        self._origin_seen[origin] = received

    def state(self, entry: SourceState, origin: str) -> None:
        """A source says that it came up or went down."""
        if not is_source(origin):
            return
        source = self._sources.setdefault(origin, _Source())
        if entry.up != source.up or source.since == NEVER:
            source.up, source.since = entry.up, entry.time
            if not entry.up:
                source.fell = entry.time

    def tick(self, time: int) -> list[Said]:
        """Judge everybody at ``time``."""
        if self._tick == NEVER or time - self._tick > self._pause:
            self._began = time
        seen = self._look(time)
        said: list[Said] = []
        for watched in list(self._rules):
            try:
                said += self._judge(watched, time, seen)
            except Exception as fault:  # noqa: BLE001 a broken rule harms no other
                self.faults[watched.rule.id] = repr(fault)
        said += self._attach(time)
        self._tick, self._seen = time, seen
        return said

    def _look(self, time: int) -> dict[str, int]:
        """Last sign of life of everybody, by subject."""
        lanes, seen = self._lanes, {}
        for one in self._who.devices:
            seen[one.subject] = _newest(lanes.answered, one.points)
            self._known.setdefault(one.subject, time)
        for one in self._gateways():
            own = self._origin_seen.get(one.subject, NEVER)
            seen[one.subject] = max(own, _newest(lanes.seen, one.points))
            self._known.setdefault(one.subject, time)
        return seen

    # --- verdicts ---------------------------------------------------------------------------

    def _judge(self, watched: _Watched, time: int, seen: dict[str, int]) -> list[Said]:
        target = watched.silence.target
        if target in SAYING:
            return self._judge_sources(watched, time)
        if target in {"device", "point"}:
            self._note_returns(watched, seen)
        said: list[Said] = []
        inside: set[str] = set()
        for one in watched.members:
            if not one.start <= time < one.end:
                continue
            inside.add(one.subject)
            last = self._last(one, target, time, seen)
            since, until = self._silent(watched, one, time, last, seen)
            key = (watched.rule.id, one.subject)
            window = max(watched.silence.window, INTERVALS * one.interval)
            if key in self._firing:
                mark, began, _ = self._firing[key]
                if last != mark:
                    said.append(Said("over", watched.rule, one.subject, time, began))
                    del self._firing[key]
            elif until - since >= window:
                self._firing[key] = (last, since, "")
                said.append(Said("fired", watched.rule, one.subject, time, since))
        for key in [key for key in self._firing if key[0] == watched.rule.id]:
            if key[1] not in inside:
                began = self._firing.pop(key)[1]
                said.append(Said("gone", watched.rule, key[1], time, began))
        return said

    def _last(self, one: Member, target: str, time: int, seen: Mapping[str, int]) -> int:
        if target == "point":
            self._known.setdefault(one.subject, time)
            return _newest(self._lanes.answered, one.points)
        return seen[one.subject]

    def _note_returns(self, watched: _Watched, seen: Mapping[str, int]) -> None:
        """Parents that spoke again after having been silent for a window of this rule."""
        window = watched.silence.window
        for subject, now in seen.items():
            before = max(self._seen.get(subject, NEVER), self._began)
            if now - before >= window:
                watched.back[subject] = now

    def _silent(
        self, watched: _Watched, one: Member, time: int, last: int, seen: Mapping[str, int]
    ) -> tuple[int, int]:
        """Silence counts from the one to the other; a source that is down makes it none."""
        since = max(last, self._began, one.start, self._known.get(one.subject, NEVER))
        parent = one.parent
        if watched.silence.target == "gateway":
            for name, source in self._sources.items():
                # Which broker a gateway uses is not written anywhere: one that has been silent
                # since a source fell may have fallen with it.
                if is_push(name) and last <= source.fell:
                    if not source.up:
                        return since, since
                    since = max(since, source.since)
            return since, time
        since = max(since, watched.back.get(parent, NEVER))
        if parent in seen:
            return since, min(time, seen[parent])
        bus = self._sources.get(parent)
        if bus is not None:
            return (max(since, bus.since), time) if bus.up else (since, since)
        return since, time

    def _judge_sources(self, watched: _Watched, time: int) -> list[Said]:
        said: list[Said] = []
        for subject, source in self._sources.items():
            if speaks_as(subject) != watched.silence.target:
                continue
            key = (watched.rule.id, subject)
            gone = subject.startswith(POLLED) and subject not in self._who.buses
            if gone:
                if key in self._firing:
                    began = self._firing.pop(key)[1]
                    said.append(Said("gone", watched.rule, subject, time, began))
            elif key in self._firing:
                mark, began, _ = self._firing[key]
                if source.up or source.since != mark:
                    said.append(Said("over", watched.rule, subject, time, began))
                    del self._firing[key]
            elif not source.up and time - source.since >= watched.silence.window:
                self._firing[key] = (source.since, source.since, "")
                said.append(Said("fired", watched.rule, subject, time, source.since))
        return said

    def _attach(self, time: int) -> list[Said]:
        """Whoever fires and reports through somebody that fires gets that one as its cause."""
        said: list[Said] = []
        firing = {subject for _, subject in self._firing}
        rules = {one.rule.id: one for one in self._rules}
        parents = {one.subject: one.parent for one in self._who.devices}
        for (name, subject), (mark, since, cause) in list(self._firing.items()):
            watched = rules[name]
            wanted = self._cause(watched, subject, mark, firing, parents)
            if wanted != cause:
                self._firing[name, subject] = (mark, since, wanted)
                said.append(Said("attached", watched.rule, subject, time, since, wanted))
        return said

    def _cause(
        self,
        watched: _Watched,
        subject: str,
        last: int,
        firing: set[str],
        parents: Mapping[str, str],
    ) -> str:
        target = watched.silence.target
        if target in SAYING:
            return ""
        if target == "gateway":
            for name, source in self._sources.items():
                if name in firing and is_push(name) and last <= source.fell:
                    return name
            return ""
        parent = parents.get(subject, "")
        if target == "point":
            found = watched.parents.get(subject, [])
            parent = next((one for one in found if one in firing), found[-1] if found else "")
            if parent not in firing:
                parent = parents.get(parent, "")
        return parent if parent in firing else ""

    # --- memory -----------------------------------------------------------------------------

    def kept(self) -> dict[str, Any]:
        """Memory, as values that msgspec writes."""
        return {
            "tick": self._tick,
            "began": self._began,
            "known": self._known,
            "sources": {name: (one.up, one.since, one.fell) for name, one in self._sources.items()},
            "origin_seen": self._origin_seen,
            "seen": self._seen,
            "back": {one.rule.id: one.back for one in self._rules},
            "firing": [[*key, *value] for key, value in self._firing.items()],
        }

    def take_back(self, state: Mapping[str, Any]) -> None:
        """Continue from ``kept``."""
        self._tick, self._began = state["tick"], state["began"]
        self._known, self._seen = dict(state["known"]), dict(state["seen"])
        self._origin_seen = dict(state["origin_seen"])
        self._sources = {name: _Source(*value) for name, value in state["sources"].items()}
        for watched in self._rules:
            watched.back = dict(state["back"].get(watched.rule.id, {}))
        self._firing = {
            (rule, subject): (mark, since, cause)
            for rule, subject, mark, since, cause in state["firing"]
        }


def _newest(times: Times, points: Ids) -> int:
    return int(times[points].max()) if len(points) else NEVER
