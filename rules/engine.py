"""The engine: rules with memory, a function of the journal alone.

Promises:

- What it says depends on the journal's entries and their order, not on how readings are cut
  into batches, nor on a clock: alerts, transitions and found-late entries come out the same,
  under the same ids, whenever the same journal is read.
- Readings that may not be compared with a limit (quality, NaN, infinity, impossible time) move
  nothing but, where they show it, a sign of life. What is late (see ``rules.lanes``) never
  pages; what it would have warned of is listed as found late.
- A new revision of registry or rules takes effect where it stands in the journal. (rule, point)
  pairs that did not change keep their state; the alerts of changed or vanished ones are closed,
  with the reason.
- A place is judged only while it is in service (``collector.states``): readings of other times
  are passed over, and at the first tick after it went out of service its alerts are closed.
- A rule that fails is fenced off, counted and itself shown as the warning ``rule-broken``; the
  others go on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import zstandard

from collector.alerts import Alert, Changes, Level, Pending
from collector.errors import ConfigurationError
from collector.model import Batch, Entry, Ids, Mark, Refusal, Revision, SourceState, Tick
from collector.registry import Identify, Point, Registry
from collector.states import ALWAYS, END, changes, within
from rules.book import BROKEN, Book
from rules.kinds.absence import Silence
from rules.kinds.refusals import Refused
from rules.lanes import GAP_MS, LATE, LIVE, Lanes
from rules.life import FIRED, Step
from rules.pairs import Event, Stack
from rules.refused import Refusals
from rules.ruleset import Rule, RuleSet, Select
from rules.silence import Said, Tree
from rules.stacks import by_stack, make, probe
from rules.told import Describer

LATE_AFTER_MS: Final = 600_000
PAUSE_MS: Final = 60_000
GAP_INTERVALS: Final = 3
_NOTHING: Final = Select()
_BROKEN_RULE: Final = Rule(
    id=BROKEN,
    kind="engine",
    level=Level.YELLOW,
    select=_NOTHING,
    settings=Silence("source", 1),
    title="A rule cannot be judged and was set aside",
    title_zh="预警规则出错，已停用",
    advice="Mend the rule's file; the next revision of the rules tries it again.",
    advice_zh="请修正规则文件；规则更新后会重新启用。",
)


class Engine:
    """Implements :class:`collector.alerts.JudgeEngine`.

    ``parse_registry`` and ``parse_rules`` turn a revision's files into values; ``identify``
    gives points their stable ids, ``origins`` names every origin by id. ``late_after`` ms
    between time and receipt from which a reading is late; ``pause`` ms without a tick after
    which the program counts as having been stopped.
    """

    def __init__(
        self,
        parse_registry: Callable[[Mapping[str, str]], Registry],
        parse_rules: Callable[[Mapping[str, str], Registry | None], RuleSet],
        identify: Identify,
        origins: Callable[[], Sequence[str]],
        *,
        late_after: int = LATE_AFTER_MS,
        pause: int = PAUSE_MS,
    ) -> None:
        self._parse_registry = parse_registry
        self._parse_rules = parse_rules
        self._identify = identify
        self._list_origins = origins
        self._origins: list[str] = []
        self._lanes = Lanes(late_after)
        self._tree = Tree(self._lanes, pause)
        self._refusals = Refusals(self._watches, pause)
        self._broken: dict[str, str] = {}
        self._told = Describer(self._tree.whereabouts, self._broken)
        self._book = Book(self._told)
        self._stacks: dict[str, Stack] = {}
        self._registry: Registry | None = None
        self._rules: dict[str, Rule] = {}
        self._watching: dict[str, frozenset[str]] = {}
        self._names: list[str] = []
        self._points: dict[str, Point] = {}
        self._counts: Counter[str] = Counter()
        self._late_moved = False
        self._now = 0
        self._turns = END
        """When the next place comes into service or goes out of it, UTC ms."""
        self._watched_rules: list[Rule] = []
        self._ids_of: dict[str, Ids] = {}
        self._book.rules({BROKEN: _BROKEN_RULE})

    # --- entries ----------------------------------------------------------------------------

    def apply(self, seq: int, entry: Entry) -> None:
        """Take the entry with journal number ``seq``."""
        if isinstance(entry, Batch):
            self._readings(seq, entry)
        elif isinstance(entry, Tick):
            self._tick(seq, entry.time)
        elif isinstance(entry, SourceState):
            self._tree.state(entry, self._origin(entry.origin))
        elif isinstance(entry, Refusal):
            self._refused(seq, entry)
        elif isinstance(entry, Revision):
            self._revise(seq, entry)
        else:
            self._mark(seq, entry)

    def _refused(self, seq: int, entry: Refusal) -> None:
        origin = self._origin(entry.origin)
        self._tree.heard(origin, entry.time)
        for found in self._refusals.heard(entry, origin, self._book.open):
            self._book.fire(seq, found.rule, origin, found.step, evidence=found.evidence)
        self._fence(seq, entry.time)

    def _watches(self, rule: Rule, origin: str) -> bool:
        """Whether a rule about an origin as a whole is for this one."""
        site, _ = self._tree.whereabouts(origin)
        return self._registry is None or rule.select.takes_place(site, "", self._registry)

    def _mark(self, seq: int, mark: Mark) -> None:
        self._book.mark(seq, mark)

    def _readings(self, seq: int, batch: Batch) -> None:
        segments = batch.segments
        newest = dict(zip(segments.origin.tolist(), segments.received.tolist(), strict=True))
        for origin, received in newest.items():
            self._tree.heard(self._origin(origin), received)
        live, late = self._lanes.split(batch)
        self._counts["readings"] += len(batch)
        events: list[Event] = []
        for rows in (live, late):
            if rows is None:
                continue
            for stack in self._stacks.values():
                events += stack.judge(rows)
        if late is not None:
            self._counts["late"] += len(late)
            self._late_moved = True
        if events:
            events.sort(key=lambda event: (event.step.row, event.rule.id))
            for event in events:
                self._enter(seq, event, batch)
        self._fence(seq, int(segments.received[-1]) if len(segments) else 0)

    def _enter(self, seq: int, event: Event, batch: Batch) -> None:
        rule, step, subject = event.rule, event.step, self._names[event.point]
        if event.lane == LIVE:
            if step.what == FIRED:
                self._book.fire(seq, rule, subject, step)
            else:
                self._book.end(seq, rule.id, subject, step)
            return
        segments = batch.segments
        at = int(np.searchsorted(segments.stop, step.row, side="right"))
        origin, found = self._origin(int(segments.origin[at])), int(segments.received[at])
        enter = self._book.late.fire if step.what == FIRED else self._book.late.end
        enter(rule, subject, step, origin, found)

    def _tick(self, seq: int, time: int) -> None:
        self._now = max(self._now, time)
        if time >= self._turns:  # a place came into service, or went out of it
            self._rebuild(seq, time)
        heard = self._tree.tick(time)
        for said in heard:
            if said.what != "attached":
                self._hear(seq, said)
        self._attach(seq, [said for said in heard if said.what == "attached"])
        for found in self._refusals.tick(time):
            self._book.end(seq, found.rule.id, found.subject, found.step)
        if self._late_moved:
            self._late_moved = False
            for stack in self._stacks.values():
                for one in stack.holding(LATE):
                    if one.firing:
                        end = int(self._lanes.late_time[one.point])
                        self._book.late.goes_on(
                            one.rule, self._names[one.point], one.since, end, one.worst
                        )
        self._book.late.notices(seq, time)
        self._fence(seq, time)

    def _hear(self, seq: int, said: Said) -> None:
        rule, subject = said.rule, said.subject
        silent = (said.time - said.since) / 1000
        if said.what == "fired":
            step = Step(0, FIRED, said.time, said.since, silent, silent)
            self._book.fire(seq, rule, subject, step, self._tree.members(subject))
        elif said.what == "over":
            self._book.end(seq, rule.id, subject, Step(0, 0, said.time, said.since, 0.0, silent))
        else:
            self._book.close(seq, rule.id, subject, said.time, "no longer in service")

    def _attach(self, seq: int, heard: Sequence[Said]) -> None:
        """Give alerts their causes, once all of this tick fired."""
        if not heard:
            return
        causes: dict[str, Alert] = {}
        for alert in self._book.open.values():
            if alert.kind == "absence":
                causes.setdefault(alert.subject, alert)  # of several, that of the first rule
        for said in heard:
            cause = causes.get(said.cause)
            self._book.attach(seq, said.rule.id, said.subject, cause, said.time)

    # --- fences -----------------------------------------------------------------------------

    def _fence(self, seq: int, time: int) -> None:
        """Set aside the rules that failed since the last call."""
        failed = self._tree.faults | self._refusals.faults
        self._tree.faults.clear()
        self._refusals.faults.clear()
        for stack in self._stacks.values():
            failed.update(stack.broken)
            stack.broken.clear()
        if failed:
            for name, fault in failed.items():
                self._set_aside(seq, time, name, fault)
            self._build_stacks()

    def _set_aside(self, seq: int, time: int, name: str, fault: str) -> None:
        self._counts["rules_broken"] += 1
        self._broken[name] = fault
        for rule, subject in [key for key in self._book.open if key[0] == name]:
            self._book.close(seq, rule, subject, time, "rule broken")
        self._tree.drop(name)
        self._refusals.drop(name)
        subject = f"rule:{name}"
        if (BROKEN, subject) not in self._book.open:
            self._book.fire(seq, _BROKEN_RULE, subject, Step(0, FIRED, time, time, 1.0, 1.0))

    def _mend(self, seq: int, time: int) -> None:
        """A new revision: what was broken is tried again."""
        for name in self._broken:
            self._book.end(seq, BROKEN, f"rule:{name}", Step(0, 0, time, time, 0.0, 1.0))
        self._broken.clear()

    # --- revisions --------------------------------------------------------------------------

    def _revise(self, seq: int, revision: Revision) -> None:
        self._mend(seq, revision.time)
        try:
            self._read(revision)
        except ConfigurationError as fault:
            # The front door refuses such files; only an older or newer program wrote this one.
            self._set_aside(seq, revision.time, f"{revision.kind}-revision", str(fault))
            return
        self._rebuild(seq, revision.time)

    def _read(self, revision: Revision) -> None:
        if revision.kind == "registry":
            self._registry = self._parse_registry(revision.files)
        else:
            # Without the registry: a site that vanished from it is no reason to lose the rules.
            found = self._parse_rules(revision.files, None)
            self._rules = dict(found.rules)

    def _rebuild(self, seq: int, time: int) -> None:
        """New tables; what did not change keeps its state."""
        self._now = max(self._now, time)
        before = {rule.id: rule.fingerprint for rule in self._watched_rules}
        named = self._points
        ids = self._number()
        self._told.know(self._registry, self._points)
        for point in self._points.values():
            for old in point.formerly:
                if old in named and old not in self._points:
                    self._book.rename(old, point.name)
        self._select(seq, time, ids)
        changed = {
            name
            for name, fingerprint in before.items()
            if name not in self._rules or self._rules[name].fingerprint != fingerprint
        }
        for name in changed:
            self._tree.drop(name)
            self._refusals.drop(name)
        for rule, subject in list(self._book.open):
            if rule == BROKEN:
                continue
            if rule in changed or rule not in self._rules:
                reason = "rule changed" if rule in self._rules else "rule removed"
                self._book.close(seq, rule, subject, time, reason)
            elif rule in self._watching and subject not in self._watching[rule]:
                self._book.close(seq, rule, subject, time, "no longer watched")
        self._book.rules({**self._rules, BROKEN: _BROKEN_RULE})
        self._build_stacks()
        self._build_tree(ids)
        self._refusals.build(self._watched_rules)

    def _number(self) -> dict[str, int]:
        """Stable ids of the registry's points, and what follows from them."""
        points = self._registry.points if self._registry is not None else ()
        ids = self._identify([point.name for point in points])
        self._lanes.grow(int(ids.max()) + 1 if len(ids) else 0)
        self._names = [""] * self._lanes.size
        self._points = {point.name: point for point in points}
        for point, number in zip(points, ids.tolist(), strict=True):
            self._names[number] = point.name
            interval = max((service.interval for service in point.services), default=0)
            gap = round(GAP_INTERVALS * interval * 1000)
            self._lanes.gap[number] = max(GAP_MS, gap)
        named = {point.name: number for point, number in zip(points, ids.tolist(), strict=True)}
        partly = {named[one.name]: one.in_service for one in points if one.in_service != ALWAYS}
        self._lanes.served(partly)
        self._turns = changes(list(partly.values()), self._now)
        return named

    def _select(self, seq: int, time: int, ids: Mapping[str, int]) -> None:
        """Which points each rule watches; a rule that fails here is set aside."""
        self._watched_rules = []
        self._ids_of = {}
        self._watching = {}
        registry = self._registry
        for rule in self._rules.values():
            try:
                probe(rule)
                if registry is not None and not isinstance(rule.settings, Silence | Refused):
                    names = [
                        point.name
                        for point in registry.points
                        if within(point.in_service, self._now)
                        and rule.select.takes(point, registry)
                    ]
                    self._watching[rule.id] = frozenset(names)
                    self._ids_of[rule.id] = np.array([ids[name] for name in names], np.int32)
                self._watched_rules.append(rule)
            except Exception as fault:  # noqa: BLE001 a broken rule harms no other
                self._set_aside(seq, time, rule.id, repr(fault))

    def _build_stacks(self) -> None:
        kept = {name: stack.kept() for name, stack in self._stacks.items()}
        self._stacks = {}
        sound = [rule for rule in self._watched_rules if rule.id not in self._broken]
        for name, mine in by_stack(sound).items():
            watched = [(rule, self._ids_of[rule.id]) for rule in mine if rule.id in self._ids_of]
            if watched:
                stack = make(name, watched, self._lanes)
                if name in kept:
                    stack.take_back(kept[name])
                self._stacks[name] = stack

    def _build_tree(self, ids: Mapping[str, int]) -> None:
        if self._registry is None:
            return
        rules = [rule for rule in self._watched_rules if isinstance(rule.settings, Silence)]
        self._tree.build(self._registry, rules, ids)

    # --- words ------------------------------------------------------------------------------

    def _origin(self, number: int) -> str:
        if number >= len(self._origins):
            self._origins = list(self._list_origins())
        return self._origins[number] if 0 <= number < len(self._origins) else f"origin:{number}"

    # --- what was said ----------------------------------------------------------------------

    def changes(self) -> Changes:
        """What was said since the last call."""
        return self._book.changes()

    def pending(self) -> list[Pending]:
        """What holds now, live, but has not fired."""
        return [
            Pending(one.rule.id, int(one.rule.level), self._names[one.point], one.since, one.worst)
            for stack in self._stacks.values()
            for one in stack.holding(LIVE)
            if not one.firing
        ]

    def worsts(self) -> dict[str, float]:
        """``worst`` by alert id, of open alerts whose worst moved since the last call."""
        moved: dict[str, float] = {}
        for stack in self._stacks.values():
            for one in stack.holding(LIVE):
                if one.firing:
                    alert = self._book.worst(one.rule.id, self._names[one.point], one.worst)
                    if alert is not None:
                        moved[alert.id] = one.worst
        for (rule, subject), total in self._refusals.totals().items():
            alert = self._book.worst(rule, subject, total)
            if alert is not None:
                moved[alert.id] = total
        return moved

    def counts(self) -> Mapping[str, int]:
        """Counted since this engine was made: readings, late, rules_broken; and at present:
        rules, pairs, open."""
        return {
            **self._counts,
            "rules": len(self._rules),
            "pairs": sum(len(stack) for stack in self._stacks.values()),
            "open": len(self._book.open),
        }

    # --- memory -----------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """All memory as bytes, the revisions excepted: they are in the journal."""
        lanes = {name: _packed(getattr(self._lanes, name)) for name in Lanes.ARRAYS}
        stacks = {
            name: {column: _packed(array) for column, array in stack.kept().items()}
            for name, stack in self._stacks.items()
        }
        state = {
            "lanes": lanes,
            "stacks": stacks,
            "tree": self._tree.kept(),
            "refusals": self._refusals.kept(),
            "book": self._book.kept(),
            "broken": self._broken,
            "late_moved": self._late_moved,
            "now": self._now,
        }
        return zstandard.ZstdCompressor(level=1).compress(msgspec.msgpack.encode(state))

    def restore(self, state: bytes, registry: Revision | None, rules: Revision | None) -> None:
        """Continue from a snapshot, with the revisions that were in force at its moment."""
        kept = msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(state))
        for revision in (registry, rules):
            if revision is not None:
                self._read_again(revision)
        arrays = {name: _unpacked(packed) for name, packed in kept["lanes"].items()}
        self._lanes.grow(len(arrays["live_time"]))
        for name, array in arrays.items():
            setattr(self._lanes, name, array)
        self._broken.update(kept["broken"])
        self._now = kept.get("now", kept["tree"]["tick"])  # a snapshot of an earlier version
        self._rebuild(0, 0)
        for name, stack in self._stacks.items():
            if name in kept["stacks"]:
                columns = kept["stacks"][name].items()
                stack.take_back({column: _unpacked(packed) for column, packed in columns})
        for name in self._broken:
            self._tree.drop(name)
            self._refusals.drop(name)
        self._tree.take_back(kept["tree"])
        if "refusals" in kept:
            self._refusals.take_back(kept["refusals"])
        self._book.changes()
        self._book.take_back(kept["book"])
        self._late_moved = kept["late_moved"]

    def _read_again(self, revision: Revision) -> None:
        try:
            self._read(revision)
        except ConfigurationError:
            self._counts["revisions_unreadable"] += 1


def _packed(array: npt.NDArray[Any]) -> tuple[str, bytes]:
    return array.dtype.str, array.tobytes()


def _unpacked(packed: tuple[str, bytes]) -> npt.NDArray[Any]:
    return np.frombuffer(packed[1], np.dtype(packed[0])).copy()
