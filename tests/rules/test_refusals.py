"""Refusals that add up: people's marks, memory, and the same as a plain count of everything."""

from __future__ import annotations

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from collector.errors import ConfigurationError
from collector.model import Entry, Mark, Refusal, Tick
from rules.engine import Engine
from rules.kinds.refusals import REASONS
from rules.ruleset import parse_rules
from tests.rules.fleet import MINUTE, T0, Fleet, device, registry

COUNT, WINDOW, QUIET = 3, 10, 30
RULE = f"""
[[rule]]
id = "foreign"
kind = "refusals"
reasons = ["not-your-device"]
count = {COUNT}
window = "{WINDOW}m"
clear_for = "{QUIET}m"
level = "orange"
title = "t"
"""


class Desk:
    """An engine, and what it said, in short."""

    def __init__(self, rules: str = RULE, pause: int = 10**9) -> None:
        known = registry({device("out", gateway="g"): ["power.active"]})
        self.fleet = Fleet(known, rules, pause=pause)
        self.engine: Engine = self.fleet.engine()
        (self.gateway,) = self.fleet.origins(["gateway:g"])
        self._seq = 0
        self.tick(0)

    def take(self, entry: Entry) -> list[str]:
        self._seq += 1
        self.engine.apply(self._seq, entry)
        return [
            f"{(one.time - T0) // MINUTE} {one.to_state}"
            for one in self.engine.changes().transitions
        ]

    def refused(self, minute: int) -> list[str]:
        at = T0 + minute * MINUTE
        return self.take(Refusal(at, int(self.gateway), "not-your-device", "d"))

    def tick(self, minute: int) -> list[str]:
        return self.take(Tick(T0 + minute * MINUTE))


YEAR = 365 * 24 * 60


@pytest.mark.parametrize("told_by", ["tick", "refusal"])
def test_refusals_of_a_clock_that_was_ahead_are_not_counted_with_those_of_today(
    told_by: str,
) -> None:
    desk = Desk(pause=MINUTE)
    desk.tick(YEAR)
    assert [desk.refused(YEAR), desk.refused(YEAR)] == [[], []]
    if told_by == "tick":
        desk.tick(1)
    assert [desk.refused(1), desk.refused(20), desk.refused(40)] == [[], [], []]
    assert [desk.refused(41), desk.refused(42)] == [[], ["42 firing"]]


@pytest.mark.parametrize("told_by", ["tick", "refusal"])
def test_an_alert_of_a_clock_that_was_ahead_is_over_when_it_is_quiet(told_by: str) -> None:
    desk = Desk(pause=MINUTE)
    desk.tick(YEAR)
    assert [desk.refused(YEAR) for _ in range(COUNT)] == [[], [], [f"{YEAR} firing"]]
    if told_by == "refusal":
        assert desk.refused(0) == []
    said = [desk.tick(minute) for minute in range(QUIET + 1)]
    assert said == [[]] * QUIET + [[f"{QUIET} resolved"]]
    assert desk.engine._refusals.kept()["seen"] == []


def test_what_was_closed_is_settled_and_may_begin_again() -> None:
    desk = Desk()
    assert [desk.refused(minute) for minute in (1, 2, 3)] == [[], [], ["3 firing"]]
    (alert,) = [one.id for one in desk.engine._book.open.values()]
    assert desk.take(Mark(T0 + 4 * MINUTE, "close", alert, T0, 0, "Li", "mended")) == ["4 closed"]
    assert [desk.refused(minute) for minute in (5, 6)] == [[], []]
    assert desk.refused(7) == ["7 firing"]
    assert [desk.tick(minute) for minute in (8, 36, 37)] == [[], [], ["37 resolved"]]


def test_a_closed_one_says_nothing_more_when_it_stays_quiet() -> None:
    desk = Desk()
    for minute in (1, 2, 3):
        desk.refused(minute)
    (alert,) = [one.id for one in desk.engine._book.open.values()]
    desk.take(Mark(T0, "close", alert, T0, 0, "Li", "mended"))
    assert desk.tick(100) == []
    assert desk.engine._refusals.kept()["seen"] == []


def test_how_much_it_was_is_told_while_it_goes_on() -> None:
    desk = Desk()
    for minute in range(9):
        desk.refused(minute)
    assert list(desk.engine.worsts().values()) == [9]
    assert desk.engine.worsts() == {}  # nothing new


def test_memory_is_bounded_however_much_is_refused() -> None:
    desk = Desk()
    for minute in range(1000):
        desk.refused(minute)
    assert len(desk.engine._refusals.kept()["seen"][0][2]) <= COUNT


def test_a_changed_rule_begins_anew() -> None:
    desk = Desk()
    for minute in (1, 2, 3):
        desk.refused(minute)
    assert desk.take(desk.fleet.rules_revision(RULE.replace("orange", "red"))) == ["0 closed"]
    assert [desk.refused(minute) for minute in (4, 5)] == [[], []]
    assert desk.refused(6) == ["6 firing"]


def test_a_broken_rule_is_set_aside_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(RULE + RULE.replace('"foreign"', '"other"'))
    watches = desk.engine._refusals._watches
    monkeypatch.setattr(
        desk.engine._refusals,
        "_watches",
        lambda rule, origin: 1 / (rule.id != "foreign") > 0 and watches(rule, origin),
    )
    desk.refused(1)
    desk.refused(2)
    desk.refused(3)
    assert {rule for rule, _ in desk.engine._book.open} == {"rule-broken", "other"}


def test_a_snapshot_of_a_version_that_knew_none_of_it_is_taken() -> None:
    desk = Desk()
    packed = desk.engine.snapshot()
    state = msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(packed))
    del state["refusals"]
    state["book"]["moves"] = {"x": (2.0, 3)}
    del state["book"]["evidence"]
    old = zstandard.ZstdCompressor().compress(msgspec.msgpack.encode(state))
    after = desk.fleet.engine(revised=False)
    after.restore(old, *desk.fleet.revisions)
    desk.engine = after
    assert [desk.refused(minute) for minute in (1, 2, 3)] == [[], [], ["3 firing"]]


def plain(story: list[int | None]) -> list[str]:
    """What the rule says of a story in which each step is a minute: a refusal or not, by looking
    at everything that came before."""
    said: list[str] = []
    counted: list[int] = []
    since = last = 0
    firing = False
    for minute, refused in enumerate(story):
        if refused:
            last = minute
            counted.append(minute)
            recent = [one for one in counted if minute - one <= WINDOW][-COUNT:]
            if not firing and len(recent) == COUNT:
                firing, since = True, recent[0]
                said.append(f"{minute} firing since {since}")
        if firing and minute - last >= QUIET:
            firing = False
            counted = []
            said.append(f"{minute} resolved since {since}")
    return said


@given(st.lists(st.sampled_from([1, *[0] * 7]), max_size=200), st.booleans())
def test_it_says_the_same_as_a_plain_count(story: list[int], restored: bool) -> None:
    desk = Desk()
    said: list[str] = []
    seq = 0
    for minute, refused in enumerate(story):
        entries: list[Entry] = [Tick(T0 + minute * MINUTE)]
        if refused:
            refusal = Refusal(T0 + minute * MINUTE, int(desk.gateway), "not-your-device", "d")
            entries.insert(0, refusal)
        for entry in entries:
            seq += 1
            desk.engine.apply(seq, entry)
            for one in desk.engine.changes().transitions:
                at, since = ((t - T0) // MINUTE for t in (one.time, one.data["started"]))
                said.append(f"{at} {one.to_state} since {since}")
        if restored and minute % 7 == 0:
            state = desk.engine.snapshot()
            desk.engine = desk.fleet.engine(revised=False)
            desk.engine.restore(state, *desk.fleet.revisions)
    assert said == plain(list(story))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (('reasons = ["not-your-device"]', ""), '"reasons" is missing'),
        (("not-your-device", "not-yours"), 'did you mean "not-your-device"?'),
        (('reasons = ["not-your-device"]', "reasons = []"), "watch nothing"),
        ((f"count = {COUNT}", "count = 0"), "from 1 to 1000"),
        ((f'window = "{WINDOW}m"', ""), '"window" is missing'),
        (('title = "t"', 'title = "t"\nquantity = "power.active"'), "takes no quantity"),
        (('title = "t"', 'title = "t"\nabove = 3'), 'unknown key "above"'),
    ],
)
def test_faults_are_told(change: tuple[str, str], told: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        parse_rules({"r.toml": RULE.replace(*change)})
    assert told in str(error.value)


def test_every_reason_may_be_named() -> None:
    for reason in REASONS:
        parse_rules({"r.toml": RULE.replace("not-your-device", reason)})
    assert len(REASONS) >= 14
