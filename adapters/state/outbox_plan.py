"""Which messages leave now: the outbox's scheduler as a pure function of rows and times.

Promises, each a property test:

- *Nothing is lost.* Every transition ends in exactly one message, or in ``Plan.quiet`` with the
  reason why nobody is to be told of it.
- *One message per root cause.* Transitions of one root that come within ``grouping`` ms are one
  message. While a root is open, and told, what it stands for is quiet.
- *Never above the budget*: at most ``per_minute`` attempts in any 60 s, a quarter of them kept
  for red. When the rest is short, what has least severity becomes one digest, never nothing.
- *Red first, then oldest.*
- *A recovery is told only to those who were told of the alarm*; what fired and was over before
  anybody was told is one message that says both.

Nothing here reads a clock, a database or a socket.
"""

from __future__ import annotations

import base64
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from collector.alerts import (
    ATTACHED,
    CLOSED,
    FIRING,
    FOUND_LATE,
    RESOLVED,
    Transition,
)
from collector.notices import BOTH, Draft, Item

RED: Final = 4
WINDOW_MS: Final = 60_000
FARTHEST_MS: Final = 4 * 3_600_000
"""No wait is longer: one that seems so was noted before the clock was set back."""

NOT_TOLD: Final = "its alarm was not told here"
BELOW: Final = "below the level of this channel"
COVERED: Final = "told with its cause"
NO_PAGE: Final = "silenced, or told with its cause"


@dataclass(frozen=True, slots=True)
class Policy:
    """``per_minute`` messages in any 60 s (robots of DingTalk and WeCom allow 20); alarms from
    ``at_least`` on; ``grouping`` ms from the first transition of a cause to its message;
    ``after_cause`` ms that an alert may outlive its cause before it is told on its own (the
    devices behind a gateway that came back report one by one)."""

    per_minute: int = 20
    at_least: int = 1
    grouping: int = 3_000
    after_cause: int = 300_000

    @property
    def kept_for_red(self) -> int:
        """Of the budget, what only red may use. A budget of one to three has none to spare."""
        return self.per_minute // 4


@dataclass(frozen=True, slots=True)
class Waiting:
    """A transition not yet in any message; ``arrived`` (UTC ms) when the outbox saw it."""

    transition: Transition
    arrived: int


@dataclass(frozen=True, slots=True)
class Told:
    """An alert that this channel's readers believe open. ``delivered`` is False when the
    message was refused for good: then its end is told as if nothing had been said."""

    level: int
    delivered: bool = True


@dataclass(frozen=True, slots=True)
class Pending:
    """A message with fixed words and id that was tried and not accepted. ``alerts``: those it
    speaks of (what follows of them waits until it is settled)."""

    id: str
    level: int
    created: int
    attempts: int
    next_try: int
    alerts: frozenset[str]


@dataclass(frozen=True, slots=True)
class Health:
    """A channel that failed is tried one message at a time, not before ``next_try``."""

    failures: int = 0
    next_try: int = 0

    def waits(self, now: int) -> bool:
        return bool(self.failures) and _waits(self.next_try, now)


@dataclass(frozen=True, slots=True)
class Plan:
    """``send``: what may leave now, in this order. ``quiet``: transition id -> why it needs no
    message. ``wake``: UTC ms when to plan again if nothing new comes, None: not before."""

    send: tuple[Draft | Pending, ...]
    quiet: Mapping[str, str]
    wake: int | None


def plan(
    now: int,
    rows: Sequence[Waiting],
    told: Mapping[str, Told],
    pending: Sequence[Pending],
    attempts: Sequence[int],
    health: Health,
    policy: Policy,
) -> Plan:
    """What may leave at ``now``. ``rows`` in the judge's order; ``attempts``: times (UTC ms) of
    the attempts of the last minute, those of the future (a clock set back) count as now."""
    quiet: dict[str, str] = {}
    queue, wakes = _groups(now, rows, told, pending, policy, quiet)
    for one in pending:
        if _waits(one.next_try, now):
            wakes.append(one.next_try)
        else:
            queue.append((one.created, one))
    if health.waits(now):
        return Plan((), quiet, health.next_try if queue or wakes else None)
    queue.sort(key=lambda pair: (-pair[1].level, pair[0], pair[1].id))
    used = [min(time, now) for time in attempts if time > now - WINDOW_MS]
    send, left = _within_budget(queue, len(used), now, policy)
    if left:
        wakes.extend(time + WINDOW_MS for time in used)
    if health.failures:
        send = send[:1]  # it is tried whether the channel works again; the rest needs its answer
    return Plan(tuple(send), quiet, min(wakes, default=None))


def message_id(ids: Iterable[str]) -> str:
    """Stable id of a message that tells these transitions, short enough to read aloud."""
    hashed = hashlib.sha256("\n".join(sorted(ids)).encode()).digest()
    return "MW-" + base64.b32encode(hashed)[:12].decode()


def consequences(items: Iterable[Item]) -> dict[str, int]:
    """What readers believe after these items: alert -> its level while open, 0 when it is over
    or they follow its cause instead.

    The end of a cause is the end of what it stands for; only what is worse than its cause is
    followed on its own.
    """
    items = list(items)
    levels = {item.alert: item.level for item in items}
    believed: dict[str, int] = {}
    for item in items:
        if item.over or item.state in {ATTACHED, FOUND_LATE}:
            believed[item.alert] = 0
        elif item.alert == item.root or item.level > levels.get(item.root, 0):
            believed[item.alert] = item.level
    return believed


_Queue = list[tuple[int, Draft | Pending]]
"""Messages with the time since which they wait."""


def _groups(
    now: int,
    rows: Sequence[Waiting],
    told: Mapping[str, Told],
    pending: Sequence[Pending],
    policy: Policy,
    quiet: dict[str, str],
) -> tuple[_Queue, list[int]]:
    """Drafts of the causes that are ripe, and when the others will be."""
    busy = frozenset[str]().union(*(one.alerts for one in pending))
    ripe: _Queue = []
    wakes: list[int] = []
    for root, members in _causes(rows).items():
        oldest = min(row.arrived for moves in members.values() for row in moves)
        freed = all(_freed(row.transition) for moves in members.values() for row in moves)
        opens = oldest + (policy.after_cause if freed else policy.grouping)
        if oldest <= now < opens:  # an arrival beyond now: the clock was set back
            wakes.append(opens)
            continue
        if not busy.isdisjoint({root, *members}):
            continue  # what follows a message waits until that message is settled
        moved = {alert: [row.transition for row in moves] for alert, moves in members.items()}
        items = _items(moved, root, told, policy, quiet)
        if items:
            level = max(item.level for item in items if item.state != ATTACHED)
            ids = [one for item in items for one in item.ids]
            ripe.append((oldest, Draft(message_id(ids), level, tuple(items))))
    return ripe, wakes


def _causes(rows: Sequence[Waiting]) -> dict[str, dict[str, list[Waiting]]]:
    """Rows by the cause that stands for their alert at last, then by alert."""
    by_alert: dict[str, list[Waiting]] = defaultdict(list)
    for row in rows:
        by_alert[row.transition.alert].append(row)
    causes: dict[str, dict[str, list[Waiting]]] = defaultdict(dict)
    for alert, moves in by_alert.items():
        causes[moves[-1].transition.root][alert] = moves
    return causes


def _items(
    moved: Mapping[str, Sequence[Transition]],
    root: str,
    told: Mapping[str, Told],
    policy: Policy,
    quiet: dict[str, str],
) -> list[Item]:
    """What is to be told of one cause: the root first, then the most severe, then the oldest."""
    found = [_item(moves, told.get(alert), policy, quiet) for alert, moves in moved.items()]
    items = [item for item in found if item is not None]
    head = next((item for item in items if item.alert == root), None)
    cause = told.get(root)
    ends = head is not None and head.over
    standing = cause.level if cause is not None and cause.delivered and not ends else 0
    for item in items:
        if item.state == ATTACHED:
            covered = head is None or ends
        else:
            covered = item.alert != root and item.alert not in told and item.level <= standing
        if covered:
            quiet.update(dict.fromkeys(item.ids, COVERED))
    items = [item for item in items if item.ids[0] not in quiet]
    items.sort(key=lambda item: (item.alert != root, -item.level, item.time, item.alert))
    return items


def _item(
    moves: Sequence[Transition], before: Told | None, policy: Policy, quiet: dict[str, str]
) -> Item | None:
    """The net of what happened to one alert since this channel last heard of it."""
    last, ids = moves[-1], tuple(move.id for move in moves)
    data = {key: value for move in moves for key, value in move.data.items()}
    over = last.to_state in {RESOLVED, CLOSED}
    unheard = before is None or not before.delivered
    attached = last.root != last.alert and not last.page and not over
    fired = any(move.page and move.to_state in {FIRING, FOUND_LATE} for move in moves)
    freed = any(_freed(move) for move in moves)
    highest = max(move.level for move in moves)
    why = ""
    if attached:
        return Item(last.alert, ATTACHED, last.time, last.level, last.root, data, ids)
    if not freed and not any(move.page for move in moves):
        why = NO_PAGE
    elif before is None and highest < policy.at_least:
        why = BELOW
    elif unheard and not fired and freed:
        why = COVERED if over else ""
    elif unheard and not fired and (before is None or not over):
        why = NOT_TOLD
    elif not unheard and all(move.to_state == ATTACHED for move in moves):
        why = COVERED
    if why:
        quiet.update(dict.fromkeys(ids, why))
        return None
    state = FIRING if last.to_state == ATTACHED else last.to_state
    state = BOTH if over and unheard else state
    level = max(highest, before.level if before else 0) if over else last.level
    return Item(last.alert, state, last.time, level, last.root, data, ids)


def _waits(until: int, now: int) -> bool:
    return now < until <= now + FARTHEST_MS


def _freed(move: Transition) -> bool:
    """Its cause is over and it is not: it stands for itself again, as good as firing."""
    return move.to_state == ATTACHED and move.root == move.alert


def _within_budget(
    queue: _Queue, used: int, now: int, policy: Policy
) -> tuple[list[Draft | Pending], bool]:
    """The messages that the budget admits, in order, and whether any had to stay behind."""
    reds = [one for _, one in queue if one.level >= RED]
    others = [one for _, one in queue if one.level < RED]
    aged = any(since <= now - WINDOW_MS for since, one in queue if one.level < RED)
    free = max(0, policy.per_minute - used)
    common = max(0, free - policy.kept_for_red) - len(reds)
    if len(reds) > free or (aged and len(reds) == free):
        return _spend([*reds, *others], free)
    if aged:  # a steady stream of red must not starve the others for much over a minute
        common = max(1, common)
    send, left = _spend(others, common)
    return [*reds, *send], left


def _spend(queue: Sequence[Draft | Pending], tokens: int) -> tuple[list[Draft | Pending], bool]:
    """At most ``tokens`` messages off the head of ``queue``, and whether any stay behind. When
    not all fit, the last token carries a digest of all drafts that would. (A message whose
    words are fixed cannot be merged: when its turn has come it leaves as it is.)"""
    if len(queue) <= tokens:
        return list(queue), False
    if tokens <= 0:
        return [], True
    tail = queue[tokens - 1 :]
    drafts = [one for one in tail if isinstance(one, Draft)]
    if isinstance(tail[0], Pending) or len(drafts) < 2:
        return list(queue[:tokens]), True
    return [*queue[: tokens - 1], _digest(drafts)], len(drafts) < len(tail)


def _digest(drafts: Sequence[Draft]) -> Draft:
    items = tuple(item for draft in drafts for item in draft.items)
    return Draft(
        message_id(one for item in items for one in item.ids),
        max(draft.level for draft in drafts),
        items,
        digest=True,
        causes=sum(draft.causes for draft in drafts),
    )
