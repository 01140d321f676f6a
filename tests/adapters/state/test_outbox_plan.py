"""The outbox's scheduler: nothing lost, red first, never above the budget, one per cause."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.state.outbox_plan import (
    BELOW,
    COVERED,
    NO_PAGE,
    NOT_TOLD,
    RED,
    Health,
    Pending,
    Plan,
    Policy,
    Told,
    Waiting,
    consequences,
    message_id,
    plan,
)
from collector.alerts import (
    ACKNOWLEDGED,
    ATTACHED,
    CLOSED,
    FIRING,
    FOUND_LATE,
    RESOLVED,
    Transition,
)
from collector.notices import BOTH, Draft

WELL = Health()
MINUTE = 60_000


def row(
    alert: str,
    state: str = FIRING,
    *,
    level: int = 2,
    at: int = 0,
    root: str = "",
    page: bool = True,
    step: int = 1,
    **data: Any,
) -> Waiting:
    move = Transition(
        f"{alert}/{step}/{state}", alert, 1, state, at, level, root or alert, page, data
    )
    return Waiting(move, at)


def plan_now(rows: list[Waiting], now: int = 10_000, **known: Any) -> Plan:
    return plan(
        now,
        rows,
        known.get("told", {}),
        known.get("pending", []),
        known.get("attempts", []),
        known.get("health", WELL),
        known.get("policy", Policy()),
    )


def drafts(decided: Plan) -> list[Draft]:
    return [one for one in decided.send if isinstance(one, Draft)]


# -- one message per root cause ------------------------------------------------------------------


def test_twenty_devices_behind_a_silent_gateway_are_one_message() -> None:
    rows = [row("gw", level=3, at=5)]
    rows += [row(f"dev{n}", at=n, root="gw") for n in range(20)]
    (one,) = drafts(plan_now(rows))
    assert one.items[0].alert == "gw"
    assert len(one.items) == 21
    assert one.level == 3


def test_devices_that_the_judge_attached_are_listed_below_their_cause() -> None:
    rows = [row("gw", level=3)]
    for n in range(3):
        rows.append(row(f"dev{n}"))
        rows.append(row(f"dev{n}", ATTACHED, root="gw", page=False, step=2))
    (one,) = drafts(plan_now(rows))
    assert [item.state for item in one.items] == [FIRING, ATTACHED, ATTACHED, ATTACHED]
    assert one.level == 3
    assert consequences(one.items) == {"gw": 3, "dev0": 0, "dev1": 0, "dev2": 0}


def test_a_cause_waits_for_the_grouping_window_and_says_when() -> None:
    decided = plan_now([row("a", at=9_000)], now=10_000)
    assert not decided.send
    assert decided.wake == 12_000
    assert len(plan_now([row("a", at=9_000)], now=12_000).send) == 1


def test_what_a_told_cause_stands_for_is_quiet_unless_it_is_worse() -> None:
    told = {"gw": Told(2)}
    decided = plan_now([row("dev", root="gw", level=2)], told=told)
    assert not decided.send
    assert decided.quiet == {"dev/1/firing": COVERED}
    assert len(plan_now([row("dev", root="gw", level=4)], told=told).send) == 1


def test_what_outlives_its_cause_is_told_after_a_while() -> None:
    rows = [row("dev", ATTACHED, at=1_000, page=False)]
    decided = plan_now(rows)
    assert not decided.send
    assert decided.wake == 301_000
    (one,) = drafts(plan_now(rows, now=301_000))
    assert one.items[0].state == FIRING
    over = [*rows, row("dev", RESOLVED, at=20_000, step=2)]
    decided = plan_now(over, now=30_000)
    assert not decided.send
    assert set(decided.quiet.values()) == {COVERED}


# -- the end follows the beginning ---------------------------------------------------------------


def test_a_recovery_is_told_only_where_the_alarm_was() -> None:
    rows = [row("a", RESOLVED)]
    assert plan_now(rows).quiet == {"a/1/resolved": NOT_TOLD}
    (one,) = drafts(plan_now(rows, told={"a": Told(2)}))
    assert one.items[0].state == RESOLVED


@pytest.mark.parametrize("end", [RESOLVED, CLOSED])
def test_fired_and_over_before_anybody_was_told_is_one_message_that_says_both(end: str) -> None:
    (one,) = drafts(plan_now([row("a", level=4), row("a", end, level=4, step=2)]))
    assert one.items[0].state == BOTH
    assert consequences(one.items) == {"a": 0}


def test_a_recovery_waits_until_the_message_of_its_alarm_is_settled() -> None:
    trying = Pending("m", 2, 0, 1, 99_000, frozenset({"a"}))
    decided = plan_now([row("a", RESOLVED)], pending=[trying])
    assert not decided.send
    assert not decided.quiet
    assert decided.wake == 99_000


def test_the_end_of_what_was_refused_for_good_is_told_as_if_nothing_had_been_said() -> None:
    rows = [row("a", RESOLVED, started=5)]
    (one,) = drafts(plan_now(rows, told={"a": Told(2, delivered=False)}))
    assert one.items[0].state == BOTH


def test_levels_below_the_channels_are_quiet_but_a_lowering_is_told() -> None:
    policy = Policy(at_least=3)
    assert plan_now([row("a", level=2)], policy=policy).quiet == {"a/1/firing": BELOW}
    lowered = plan_now([row("a", level=2)], policy=policy, told={"a": Told(3)})
    assert drafts(lowered)[0].level == 2


def test_what_the_judge_withholds_is_quiet() -> None:
    assert plan_now([row("a", page=False)]).quiet == {"a/1/firing": NO_PAGE}


def test_an_acknowledgement_is_told_to_those_who_know_the_alarm() -> None:
    assert plan_now([row("a", ACKNOWLEDGED)]).quiet == {"a/1/acknowledged": NOT_TOLD}
    assert len(plan_now([row("a", ACKNOWLEDGED)], told={"a": Told(2)}).send) == 1


# -- budget --------------------------------------------------------------------------------------


def test_a_short_budget_merges_the_least_severe_into_one_digest() -> None:
    rows = [row(f"y{n:02}", at=n) for n in range(30)] + [row("red", level=RED)]
    sent = drafts(plan_now(rows, policy=Policy(per_minute=8)))
    assert [one.level for one in sent] == [4, 2, 2, 2, 2, 2]  # 8, of which 2 are kept for red
    assert [one.digest for one in sent] == [False] * 5 + [True]
    assert sent[-1].causes == 26
    assert sorted(one for draft in sent for one in draft.ids) == sorted(
        one.transition.id for one in rows
    )


def test_a_part_of_the_budget_is_kept_for_red() -> None:
    spent = [10_000] * 15
    yellow = plan_now([row("y")], attempts=spent)
    assert not yellow.send
    assert yellow.wake == 70_000
    assert len(plan_now([row("r", level=RED)], attempts=spent).send) == 1


def test_steady_red_does_not_starve_the_others_for_long() -> None:
    rows = [row(f"r{n}", level=RED, at=60_000) for n in range(4)] + [row("y", at=0)]
    sent = drafts(plan_now(rows, now=70_000, policy=Policy(per_minute=4)))
    assert "y" in {item.alert for one in sent for item in one.items}


def test_a_failing_channel_is_tried_one_message_at_a_time() -> None:
    rows = [row(f"a{n}") for n in range(5)]
    assert plan_now(rows, health=Health(1, 11_000)).wake == 11_000
    assert len(plan_now(rows, now=11_000, health=Health(1, 11_000)).send) == 1


def test_a_clock_set_back_delays_nothing() -> None:
    assert len(plan_now([row("a", at=9_999_999)], attempts=[9_999_999] * 3).send) == 1
    far = 10 * 86_400_000
    waited = Pending("m", 2, 0, 1, far, frozenset({"b"}))
    assert plan_now([], pending=[waited], health=Health(3, far)).send == (waited,)


# -- any history ---------------------------------------------------------------------------------


@dataclass
class World:
    """A channel that keeps what it was told: the memory of the outbox, in plain dicts."""

    policy: Policy
    rows: list[Waiting] = field(default_factory=list)
    told: dict[str, Told] = field(default_factory=dict)
    pending: dict[str, tuple[Pending, Draft]] = field(default_factory=dict)
    attempts: list[int] = field(default_factory=list)
    health: Health = WELL
    sent: list[tuple[int, Draft]] = field(default_factory=list)
    quiet: dict[str, str] = field(default_factory=dict)

    def step(self, now: int, works: bool) -> int | None:
        """One message at most; when to step again, None: nothing is left to do."""
        decided = plan(
            now,
            self.rows,
            self.told,
            [one for one, _ in self.pending.values()],
            self.attempts,
            self.health,
            self.policy,
        )
        for one in decided.quiet:
            assert one not in self.quiet
        self.quiet.update(decided.quiet)
        for one in self.rows:
            if one.transition.id in decided.quiet and one.transition.to_state in {RESOLVED, CLOSED}:
                self.told.pop(one.transition.alert, None)
        self._drop(decided.quiet)
        if not decided.send:
            return decided.wake
        self._red_first(decided)
        one = decided.send[0]
        draft = one if isinstance(one, Draft) else self.pending[one.id][1]
        self._drop(dict.fromkeys(draft.ids))
        self.attempts.append(now)
        if works:
            self.pending.pop(draft.id, None)
            self.health = WELL
            self.sent.append((now, draft))
            for alert, level in consequences(draft.items).items():
                self.told.pop(alert, None)
                if level:
                    self.told[alert] = Told(level)
        else:
            tries = 1 + (one.attempts if isinstance(one, Pending) else 0)
            alerts = frozenset(item.alert for item in draft.items)
            failed = Pending(draft.id, draft.level, now, tries, now + 2_000, alerts)
            self.pending[draft.id] = (failed, draft)
            self.health = Health(self.health.failures + 1, now + 2_000)
        return now

    def _drop(self, ids: Any) -> None:
        self.rows = [one for one in self.rows if one.transition.id not in ids]

    def _red_first(self, decided: Plan) -> None:
        levels = [one.level for one in decided.send if not (isinstance(one, Draft) and one.digest)]
        assert levels == sorted(levels, reverse=True)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, Transition, bool]]:
    """(arrival, transition, does the channel work at that moment) in order of arrival."""
    now, moves = 0, []
    for number in range(draw(st.integers(1, 60))):
        now += draw(st.sampled_from([0, 0, 0, 10, 500, 4_000, 30_000]))
        alert = f"a{draw(st.integers(0, 12))}"
        root = draw(st.sampled_from([alert, alert, "a0", "a1"]))
        state = draw(
            st.sampled_from([FIRING, FIRING, RESOLVED, CLOSED, ACKNOWLEDGED, ATTACHED, FOUND_LATE])
        )
        page = state != ATTACHED and draw(st.sampled_from([True, True, True, False]))
        level = draw(st.integers(1, 4))
        move = Transition(f"t{number}", alert, number, state, now, level, root, page, {})
        moves.append((now, move, draw(st.sampled_from([True, True, True, False]))))
    return moves


@settings(max_examples=150, deadline=None)
@given(histories(), st.integers(1, 25), st.integers(1, 4))
def test_any_history_is_told_within_the_budget_and_completely(
    moves: list[tuple[int, Transition, bool]], per_minute: int, at_least: int
) -> None:
    world = World(Policy(per_minute=per_minute, at_least=at_least))
    now, end = 0, moves[-1][0]
    left, works = list(moves), True
    for _ in range(2_000):
        while left and left[0][0] <= now:
            arrived, move, works = left.pop(0)
            world.rows.append(Waiting(move, arrived))
        wake = world.step(now, works or now > end)
        if wake == now:
            continue
        upcoming = [one for one in (wake, left[0][0] if left else None) if one is not None]
        if not upcoming:
            break
        assert min(upcoming) > now, "a plan that wakes in the past would spin"
        now = min(upcoming)
    assert not world.rows
    assert not world.pending

    told = [one for _, draft in world.sent for one in draft.ids]
    assert Counter([*told, *world.quiet]) == Counter(move.id for _, move, _ in moves)
    for at in world.attempts:
        assert sum(at <= other < at + MINUTE for other in world.attempts) <= per_minute
    for _, draft in world.sent:
        assert draft.id == message_id(reversed(draft.ids))
        assert draft.level == max(item.level for item in draft.items if item.state != ATTACHED)
    _each_end_has_its_beginning(world)
    last = {move.alert: move for _, move, _ in moves}
    for alert in world.told:
        assert last[alert].to_state not in {RESOLVED, CLOSED}, "believed open, but over"


def _each_end_has_its_beginning(world: World) -> None:
    known: set[str] = set()
    for _, draft in world.sent:
        for item in draft.items:
            if item.state in {RESOLVED, CLOSED, ACKNOWLEDGED}:
                began = any(one.endswith(FIRING) for one in item.ids)
                assert item.alert in known or item.state == ACKNOWLEDGED or began
        for alert, level in consequences(draft.items).items():
            known.discard(alert)
            if level:
                known.add(alert)


@given(st.lists(st.text(), min_size=1, unique=True), st.randoms())
def test_a_messages_id_depends_on_what_it_tells_alone(ids: list[str], random: Any) -> None:
    shuffled = list(ids)
    random.shuffle(shuffled)
    assert message_id(ids) == message_id(shuffled)
    assert message_id([*ids, "more" + "".join(ids)]) != message_id(ids)
