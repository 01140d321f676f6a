"""The judge as a person would do it by hand: one reading at a time, everything in dicts.

Written from the promises alone, without a look at the vectorised code; slow and plain on
purpose. It knows threshold, rate and flatline rules, lanes, found-late entries.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from collector.model import USABLE_IN_LIMITS
from rules.kinds.flatline import Flat
from rules.life import Limit
from rules.ruleset import Rule

NEVER_LATE = 60_000


@dataclass
class Lane:
    """What is known of one point in one lane."""

    time: int | None = None
    value: float = 0.0
    memory: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass
class Reference:
    """``rules`` by point name; ``said``: (rule, point, state, since, time, value, worst);
    ``late``: (rule, point, since) -> (end, worst)."""

    rules: dict[str, list[Rule]]
    late_after: int
    gap: int
    said: list[tuple[Any, ...]] = field(default_factory=list)
    late: dict[tuple[str, str, int], tuple[int, float]] = field(default_factory=dict)
    _live: dict[str, Lane] = field(default_factory=dict)
    _old: dict[str, Lane] = field(default_factory=dict)
    _episodes: dict[tuple[str, str], list[list[float]]] = field(default_factory=dict)
    _found: dict[tuple[str, str], list[list[float]]] = field(default_factory=dict)

    def reading(self, point: str, time: int, value: float, quality: int, received: int) -> None:
        if not USABLE_IN_LIMITS[quality] or not isfinite(value) or time > received + NEVER_LATE:
            return
        live = self._live.setdefault(point, Lane())
        if received - time <= self.late_after and (live.time is None or time > live.time):
            for rule in self.rules[point]:
                self._judge(rule, point, live, time, value, late=False, anew=False)
            live.time, live.value = time, value
            return
        old = self._old.setdefault(point, Lane())
        anew = old.time is None or time <= old.time or time - old.time > self.gap
        for rule in self.rules[point]:
            self._judge(rule, point, old, time, value, late=True, anew=anew)
        old.time, old.value = time, value

    def tick(self) -> None:
        for point, lane in self._old.items():
            for rule in self.rules[point]:
                memory = lane.memory.get(rule.id, {})
                key = (rule.id, point, memory.get("since"))
                if memory.get("state") == "firing" and key in self.late and memory.get("listed"):
                    end, _ = self.late[key]
                    assert lane.time is not None
                    self._list(key, max(end, lane.time), memory["worst"])

    def _judge(
        self, rule: Rule, point: str, lane: Lane, time: int, value: float, *, late: bool, anew: bool
    ) -> None:
        memory = lane.memory.setdefault(rule.id, {"state": "idle"})
        if anew and memory["state"] == "firing":
            self._over(rule, point, memory, lane.time, memory["worst"], late=late)
        if anew:
            lane.memory[rule.id] = memory = {"state": "idle"}
        settings = rule.settings
        if isinstance(settings, Flat):
            self._flat(rule, settings, point, lane, memory, time, value, late=late)
            return
        assert isinstance(settings, Limit)
        if settings.per:
            if lane.time is None or anew:
                return
            value = (value - lane.value) / (time - lane.time) * settings.per
        if settings.sign > 0:
            beyond, clear = value > settings.limit, value <= settings.clear
        else:
            beyond, clear = value < settings.limit, value >= settings.clear
        worse = max if settings.sign > 0 else min
        if memory["state"] == "idle":
            if beyond:
                memory.update(state="pending", since=time, worst=value, clearing=None)
        elif not clear:
            memory["worst"] = worse(memory["worst"], value)
            memory["clearing"] = None
        elif memory["state"] == "pending":
            memory["state"] = "idle"
        else:
            if memory["clearing"] is None:
                memory["clearing"] = time
            if time - memory["clearing"] >= settings.clear_lasting:
                self._over(rule, point, memory, time, value, late=late)
                memory["state"] = "idle"
        if memory["state"] == "pending" and time - memory["since"] >= settings.lasting:
            memory["state"] = "firing"
            self._fire(rule, point, memory, time, value, late=late)

    def _flat(
        self,
        rule: Rule,
        settings: Flat,
        point: str,
        lane: Lane,
        memory: dict[str, Any],
        time: int,
        value: float,
        *,
        late: bool,
    ) -> None:
        gap = lane.time is not None and time - lane.time > self.gap
        if "worst" not in memory or gap or abs(value - memory["worst"]) > settings.tolerance:
            if memory["state"] == "firing":
                self._over(rule, point, memory, lane.time if gap else time, value, late=late)
            memory.update(state="standing", since=time, worst=value)
            return
        resting = settings.ignore_zero and abs(memory["worst"]) <= settings.tolerance
        lasted = time - memory["since"] >= settings.lasting
        if memory["state"] == "standing" and lasted and not resting:
            memory["state"] = "firing"
            self._fire(rule, point, memory, time, value, late=late)

    def _fire(
        self, rule: Rule, point: str, memory: dict[str, Any], time: int, value: float, *, late: bool
    ) -> None:
        since = memory["since"]
        if not late:
            self._episodes.setdefault((rule.id, point), []).append([since, float("inf")])
            self.said.append((rule.id, point, "firing", since, time, value, memory["worst"]))
        elif not self._covered(rule.id, point, since, time):
            memory["listed"] = True
            self._list((rule.id, point, since), time, memory["worst"])

    def _over(
        self, rule: Rule, point: str, memory: dict[str, Any], time: Any, value: float, *, late: bool
    ) -> None:
        since, worst = memory["since"], memory["worst"]
        key = (rule.id, point, since)
        if not late:
            self._episodes[rule.id, point][-1][1] = time
            self.said.append((rule.id, point, "resolved", since, time, value, worst))
        elif memory.pop("listed", False):
            self._list(key, max(time, self.late[key][0]), worst)
        elif not self._covered(rule.id, point, since, time):
            self._list(key, time, worst)

    def _covered(self, rule: str, point: str, start: int, end: int) -> bool:
        past = [*self._episodes.get((rule, point), []), *self._found.get((rule, point), [])]
        return any(began <= start and end <= over for began, over in past)

    def _list(self, key: tuple[str, str, int], end: int, worst: float) -> None:
        spans = self._found.setdefault(key[:2], [])
        if not spans or spans[-1][0] != key[2]:
            spans.append([key[2], end])
        spans[-1][1] = end
        self.late[key] = (end, worst)

    def states(self) -> Iterable[tuple[str, str, str, int]]:
        """(rule, point, state, since) of what is pending or firing live."""
        for point, lane in self._live.items():
            for name, memory in lane.memory.items():
                if memory["state"] in {"pending", "firing"}:
                    yield name, point, memory["state"], memory["since"]
