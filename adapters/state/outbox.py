"""The outbox: what the judge decided reaches people at least once, whatever breaks.

Promises:

- ``enqueue`` belongs to the judge's own transaction and ignores ids it has seen: replaying the
  journal after a crash tells nobody anything twice.
- Every message has its words, its stable id and its attempt on disk *before* it leaves, and is
  settled after the answer. A kill in between sends the same id with the same words again.
- A channel that fails or hangs harms no other: each has its own task, connection and wait. Its
  failure is a fact (``Watch.trouble``), from which the judge warns through the others.
- The judge's file has one writer, the judge; the outbox only reads there and keeps its own
  memory in ``outbox.db``. Neither ever waits for the other.

When and what to send is decided in :mod:`adapters.state.outbox_plan`, purely; what is
remembered, in :mod:`adapters.state.outbox_memory`.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from adapters.state.outbox_memory import Memory
from adapters.state.outbox_plan import FARTHEST_MS, Pending, Plan, Policy, plan
from collector.alerts import Transition
from collector.errors import RejectedError, TemporaryError
from collector.notices import Draft
from collector.ports import Clock, Notice, Notifier
from collector.telemetry import Telemetry

OUTBOX_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS transition (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    alert TEXT NOT NULL,
    seq INTEGER NOT NULL,
    to_state TEXT NOT NULL,
    time INTEGER NOT NULL,
    level INTEGER NOT NULL,
    root TEXT NOT NULL,
    page INTEGER NOT NULL,
    data TEXT NOT NULL
)"""
"""One statement, for the judge's file. ``number``: the order in which the judge said it."""


def enqueue(connection: sqlite3.Connection, rows: Iterable[Transition]) -> None:
    """Keep ``rows`` for the outbox, in their order; those with a known id change nothing.
    Call it within the transaction that commits the judge's state."""
    connection.executemany(
        "INSERT OR IGNORE INTO transition(id, alert, seq, to_state, time, level, root, page, data)"
        " VALUES (?,?,?,?,?,?,?,?,?)",
        [
            (row.id, row.alert, row.seq, row.to_state, row.time, row.level, row.root,
             int(row.page), msgspec.json.encode(row.data).decode())
            for row in rows
        ],
    )  # fmt: skip


Render = Callable[[Draft], Notice]
"""Gives a draft its words (see ``rules.messages``)."""

FIRST_WAIT_MS: Final = 1_000
LONGEST_WAIT_MS: Final = 300_000
LONGEST_ASKED_MS: Final = FARTHEST_MS // 4
"""The longest wait that the other side may ask for (Retry-After)."""
GIVE_UP: Final = 10
"""Attempts after which a message is given up, if the channel has taken others meanwhile."""
_NEVER: Final = 2**62
_TIDY_MS: Final = 3_600_000
_MENDING_MS: Final = 5_000


@dataclass(frozen=True, slots=True)
class Channel:
    """Where messages go, under which budget, and in whose words."""

    notifier: Notifier
    render: Render
    policy: Policy = field(default_factory=Policy)

    @property
    def name(self) -> str:
        return self.notifier.name


@dataclass(frozen=True, slots=True)
class Watch:
    """Who is to know that a channel fails: after ``failures`` in a row, or ``minutes`` without
    success, or at once when it refuses a message for good.

    ``trouble(channel, since, error)`` and ``recovered(channel, time)`` (UTC ms) are called from
    the channel's thread and must return at once. Each is repeated, after a crash or a
    ``TemporaryError`` of its own, until the outbox could note that it returned: they may come
    twice, and never go missing.
    """

    trouble: Callable[[str, int, str], None] = lambda _channel, _since, _error: None
    recovered: Callable[[str, int], None] = lambda _channel, _time: None
    failures: int = 5
    minutes: float = 2.0


@dataclass(frozen=True, slots=True)
class ChannelStatus:
    """For people: ``waiting`` transitions without a message, ``pending`` messages tried in
    vain, since when it fails (UTC ms, 0: it does not), and the last error."""

    name: str
    waiting: int
    pending: int
    failing_since: int
    error: str
    last_success: int


class Outbox:
    """Drains the judge's transitions through every channel, for as long as ``run`` runs.

    ``alerts``: the judge's file (may not exist yet). ``path``: the outbox's own file. Construct
    it before the judge starts: a channel that is new begins with what is open at that moment.
    ``poll_ms``: how often the judge's file is looked at.
    """

    def __init__(
        self,
        alerts: Path,
        path: Path,
        channels: Sequence[Channel],
        clock: Clock,
        telemetry: Telemetry,
        watch: Watch | None = None,
        poll_ms: int = 1_000,
    ) -> None:
        self._clock = clock
        self._telemetry = telemetry
        self._drains = [
            Drain(one, Memory(path, alerts, one.name, clock.now()), clock, telemetry,
                  watch or Watch(), poll_ms)
            for one in channels
        ]  # fmt: skip

    async def run(self) -> None:
        """Until cancelled; an attempt under way is finished first (a notifier has a timeout)."""
        async with asyncio.TaskGroup() as group:
            for drain in self._drains:
                group.create_task(self._drive(drain), name=f"outbox:{drain.name}")

    async def _drive(self, drain: Drain) -> None:
        await self._clock.sleep(0)  # simulated time must know of us first
        while True:
            step = asyncio.ensure_future(asyncio.to_thread(drain.step))
            try:
                rest = await asyncio.shield(step)
            except asyncio.CancelledError:
                with suppress(sqlite3.Error, TemporaryError):
                    await step
                raise
            except (sqlite3.Error, TemporaryError) as fault:  # a full disk: it may pass
                self._telemetry.event("outbox-cannot-write", "error", channel=drain.name,
                                      error=str(fault))  # fmt: skip
                rest = _MENDING_MS
            await self._clock.sleep(rest)

    def status(self) -> list[ChannelStatus]:
        """How each channel fares. Only while ``run`` does not run, or from its loop's thread."""
        return [drain.status() for drain in self._drains]

    def revive(self, channel: str) -> int:
        """Try again what ``channel`` refused for good (its cause is mended); how many."""
        return sum(drain.revive() for drain in self._drains if drain.name == channel)

    def close(self) -> None:
        """After ``run`` has ended."""
        for drain in self._drains:
            drain.memory.close()


class Drain:
    """One channel: looks, plans, sends at most one message a step. One thread at a time."""

    def __init__(
        self,
        channel: Channel,
        memory: Memory,
        clock: Clock,
        telemetry: Telemetry,
        watch: Watch,
        poll_ms: int,
    ) -> None:
        self.name = channel.name
        self.memory = memory
        self._channel = channel
        self._clock = clock
        self._telemetry = telemetry
        self._watch = watch
        self._poll_ms = poll_ms
        self._tidy_at = 0
        self._plan_at = 0
        self._looked_at = 0

    def step(self) -> int:
        """Do the most urgent thing; after how many ms to step again."""
        now = self._clock.now()
        came, let_go = self.memory.intake(now)
        if let_go:
            self._telemetry.count("outbox_let_go", let_go, channel=self.name)
            self._telemetry.event(
                "outbox-too-many-waiting", "error", channel=self.name, let_go=let_go
            )
        health = self.memory.state().health
        back = now < self._looked_at
        sent = False
        if came or back or now >= self._plan_at:
            self._plan_at = health.next_try
            if not health.waits(
                now
            ):  # else a long queue would be planned every second of a long failure
                sent = self._plan_and_send(now)
        self._looked_at = now
        self._say_health()
        if now >= self._tidy_at:
            self.memory.forget(now)
            self._tidy_at = now + _TIDY_MS
        return 0 if sent else max(0, min(self._plan_at - now, self._poll_ms))

    def _plan_and_send(self, now: int) -> bool:
        """Send the most urgent message, if any may leave; else note when to plan again."""
        decided = self._plan(now)
        self.memory.hush(decided.quiet)
        self._telemetry.gauge("outbox_waiting", self.memory.waiting_count(), channel=self.name)
        if decided.send:
            self._send(decided.send[0])  # one only: its answer changes what comes next
            self._plan_at = 0
            return True
        self._plan_at = _NEVER if decided.wake is None else decided.wake
        return False

    def revive(self) -> int:
        self._plan_at = 0
        return self.memory.revive()

    def status(self) -> ChannelStatus:
        state = self.memory.state()
        return ChannelStatus(
            self.name,
            self.memory.waiting_count(),
            len(self.memory.pending()),
            state.failing_since,
            state.error,
            state.last_success,
        )

    def _plan(self, now: int) -> Plan:
        memory = self.memory
        return plan(
            now,
            memory.waiting(),
            memory.told(),
            memory.pending(),
            memory.attempts(now),
            memory.state().health,
            self._channel.policy,
        )

    def _send(self, one: Draft | Pending) -> None:
        now = self._clock.now()
        retry_at = now + FIRST_WAIT_MS
        if isinstance(one, Pending):
            notice = self.memory.again(one.id, now, retry_at)
        else:
            notice = self._words(one)
            self.memory.freeze(one, notice, now, retry_at)
        outcome = "sent"
        try:
            self._channel.notifier.send(notice)
        except RejectedError as refusal:
            outcome = "rejected"
            self._reject(notice, str(refusal))
        except TemporaryError as failure:
            outcome = "failed"
            self._fail(notice, str(failure), failure.retry_after)
        except Exception as bug:  # noqa: BLE001 - a notifier's bug is a failed delivery, not our end
            outcome = "failed"
            self._fail(notice, f"{type(bug).__name__} in the notifier", 0)
        else:
            away = self.memory.state().failures >= self._watch.failures
            self.memory.sent(notice.id, self._clock.now(), wake_all=away)
        self._telemetry.count("messages", channel=self.name, outcome=outcome)

    def _words(self, draft: Draft) -> Notice:
        try:
            return self._channel.render(draft)
        except Exception as bug:  # noqa: BLE001 - words that fail must not silence the warning
            self._telemetry.event("message-without-words", "error", channel=self.name,
                                  message=draft.id, error=repr(bug))  # fmt: skip
            alerts = ", ".join(item.alert for item in draft.items[:20])
            return Notice(draft.id, draft.level, f"预警 Warning {alerts}"[:200], draft.id)

    def _fail(self, notice: Notice, error: str, asked: float) -> None:
        now = self._clock.now()
        state = self.memory.state()
        attempts, first = self.memory.tries(notice.id)
        if attempts >= GIVE_UP and state.last_success > first:
            self._reject(notice, f"given up after {attempts} attempts: {error}")
            return
        wait = min(FIRST_WAIT_MS << min(state.failures, 20), LONGEST_WAIT_MS)
        wait = max(wait, round(min(asked * 1000, LONGEST_ASKED_MS)))
        # A message that failed several times waits longer than its channel, so that another
        # can show whether the channel or the message is at fault.
        self.memory.failed(
            notice.id, now, error, now + wait * (1 + min(attempts // 3, 2)), now + wait
        )
        self._telemetry.event("message-failed", "warning", channel=self.name, message=notice.id,
                              attempts=attempts, error=error, wait_s=wait / 1000)  # fmt: skip

    def _reject(self, notice: Notice, reason: str) -> None:
        self.memory.rejected(notice.id, self._clock.now(), reason)
        self._telemetry.event("message-rejected", "error", channel=self.name, message=notice.id,
                              reason=reason)  # fmt: skip

    def _say_health(self) -> None:
        """Tell the watch when the channel's state is not what it was told last."""
        state, now = self.memory.state(), self._clock.now()
        long = state.failures and now - state.failing_since >= self._watch.minutes * 60_000
        trouble = bool(state.refused or long or state.failures >= self._watch.failures)
        if trouble == state.trouble_said:
            return
        if trouble:
            self._watch.trouble(self.name, state.failing_since, state.error)
        else:
            self._watch.recovered(self.name, state.last_success)
        self.memory.say_trouble(trouble)
        self._telemetry.gauge("notifier_up", 0 if trouble else 1, channel=self.name)
