"""Revisions, people's marks, broken rules, renamed points, replay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from collector.alerts import Changes
from collector.connections import origin_of
from collector.errors import ConfigurationError, Fault
from collector.model import Batch, Mark, Refusal, Tick, concat
from collector.registry import Point, Registry, Service
from rules.engine import Engine
from rules.life import Limit
from rules.replay import replay
from rules.ruleset import RuleSet, parse_rules
from tests.rules.fleet import MINUTE, T0, Fleet, Names, device, registry

NMHC = "voc.nmhc.concentration"


def rule(name: str, *, above: float = 60.0, title: str = "t", lasting: str = "0s") -> str:
    return (
        f'[[rule]]\nid = "{name}"\nkind = "threshold"\nquantity = "{NMHC}"\nabove = {above}\n'
        f'for = "{lasting}"\nlevel = "red"\ntitle = "{title}"\n'
    )


class Desk:
    """An engine with one point, and what it said, in short."""

    def __init__(self, rules: str | RuleSet) -> None:
        self.fleet = Fleet(registry({device("out"): [NMHC]}), rules)
        self.engine = self.fleet.engine()
        self.point = self.fleet.point(f"out/{NMHC}")
        self.changes = Changes()

    def at(self, minute: float, value: float) -> list[str]:
        time = T0 + round(minute * MINUTE)
        self.engine.apply(1, Batch.of([self.point], [time], [value]))
        return self.said()

    def said(self) -> list[str]:
        self.changes = self.engine.changes()
        return [f"{one.to_state} {one.data['rule']}" for one in self.changes.transitions]

    def rules(self, text: str | RuleSet) -> list[str]:
        self.engine.apply(2, self.fleet.rules_revision(text))
        return self.said()

    def mark(self, kind: str, subject: str, end: int = 0, note: str = "") -> list[str]:
        self.engine.apply(3, Mark(T0, kind, subject, T0, end, "Li Wei", note))
        return self.said()


def test_a_reworded_rule_keeps_its_alert_and_a_changed_one_closes_it() -> None:
    desk = Desk(rule("a") + rule("b"))
    assert desk.at(0, 70) == ["firing a", "firing b"]
    assert desk.rules(rule("a", title="better") + rule("b", above=65)) == ["closed b"]
    assert desk.changes.transitions[0].data["reason"] == "rule changed"
    assert desk.at(1, 70) == ["firing b"]
    assert desk.rules(rule("a", title="better")) == ["closed b"]
    assert desk.changes.transitions[0].data["reason"] == "rule removed"
    assert desk.at(2, 10) == ["resolved a"]


def test_pending_survives_a_revision_of_other_rules() -> None:
    desk = Desk(rule("a", lasting="5m"))
    desk.at(0, 70)
    assert desk.rules(rule("a", lasting="5m") + rule("b")) == []
    assert desk.at(4.9, 70) == ["firing b"]
    assert desk.at(5, 70) == ["firing a"]


def test_a_point_that_left_the_registry_closes_its_alerts_and_the_others_go_on() -> None:
    desk = Desk(rule("a"))
    desk.at(0, 70)
    desk.fleet.registries["other"] = registry({device("in"): [NMHC]})
    desk.engine.apply(2, desk.fleet.registry_revision("other"))
    assert desk.said() == ["closed a"]
    assert desk.at(1, 70) == []
    desk.point = desk.fleet.point(f"in/{NMHC}")
    assert desk.at(1, 70) == ["firing a"]


def test_a_renamed_point_keeps_its_alert_and_its_id() -> None:
    desk = Desk(rule("a"))
    desk.at(0, 70)
    (alert,) = desk.changes.alerts
    old = f"s/out/{NMHC}/raw"
    before = desk.fleet.registries["first"]
    point = Point("s", "stack", NMHC, formerly=(old,), services=before.points[0].services)
    place = replace(before.places["s/out"], id="stack")
    desk.fleet.registries["renamed"] = replace(before, points=[point], places={"s/stack": place})
    desk.fleet.points.names[desk.point] = point.name  # as Journal.rename_point does
    desk.engine.apply(2, desk.fleet.registry_revision("renamed"))
    assert desk.said() == []
    assert desk.changes.alerts[alert].subject == point.name
    assert desk.at(1, 10) == ["resolved a"]
    assert list(desk.changes.alerts) == [alert]


def test_an_alert_is_acknowledged_and_closed_by_somebody() -> None:
    desk = Desk(rule("a"))
    desk.at(0, 70)
    (alert,) = desk.changes.alerts
    assert desk.mark("acknowledge", alert) == ["acknowledged a"]
    assert desk.changes.alerts[alert].acknowledged_by == "Li Wei"
    assert desk.mark("close", alert, note="calibration gas") == ["closed a"]
    closed = desk.changes.alerts[alert]
    assert (closed.state, closed.closed_by, closed.reason) == (
        "closed",
        "Li Wei",
        "calibration gas",
    )
    assert desk.at(1, 80) == [], "what a person closed stays closed while it lasts"
    assert desk.at(2, 10) == []
    assert desk.at(3, 70) == ["firing a"]


def test_silence_withholds_the_page_and_nothing_else() -> None:
    desk = Desk(rule("a"))
    desk.at(0, 70)
    (alert,) = desk.changes.alerts
    desk.mark("silence", alert, end=T0 + 10 * MINUTE)
    assert desk.at(1, 10) == ["resolved a"]
    assert not desk.changes.transitions[0].page
    desk.mark("silence", "place:s/out", end=T0 + 10 * MINUTE)
    assert desk.at(2, 70) == ["firing a"]
    assert not desk.changes.transitions[0].page
    assert desk.at(10, 10) == ["resolved a"]
    assert desk.changes.transitions[0].page


def test_a_mark_on_nothing_is_ignored() -> None:
    assert Desk(rule("a")).mark("close", "no such alert") == []


def broken(settings: object) -> RuleSet:
    good = parse_rules({"r.toml": rule("good") + rule("bad")})
    bad = replace(good.rules["bad"], settings=settings)  # type: ignore[arg-type] that is the point
    return RuleSet({"good": good.rules["good"], "bad": bad})


@pytest.mark.parametrize(
    "settings", [Limit(1, float("nan"), 1.0), Limit(1, 5.0, 9.0), "nonsense", None]
)
def test_a_rule_that_cannot_be_built_is_set_aside_and_shown(settings: object) -> None:
    desk = Desk(broken(settings))
    assert desk.said() == ["firing rule-broken"]
    assert desk.changes.transitions[0].data["subject"] == "rule:bad"
    assert desk.changes.transitions[0].data["fault"]
    assert desk.at(0, 70) == ["firing good"]
    assert desk.rules(rule("good") + rule("bad")) == ["resolved rule-broken"]
    assert desk.at(1, 70) == ["firing bad"]


def test_a_rule_that_fails_while_judging_is_set_aside_and_the_others_go_on() -> None:
    desk = Desk(rule("good") + rule("bad", lasting="1m"))
    stack = desk.engine._stacks["value-up"]
    stack._limits[1] = None  # type: ignore[attr-defined,call-overload] a fault planted in memory
    assert desk.at(0, 70) == ["firing good", "firing rule-broken"]
    assert desk.engine.counts()["rules_broken"] == 1
    assert desk.at(1, 70) == []
    state = desk.engine.snapshot()
    desk.engine = desk.fleet.engine(revised=False)
    desk.engine.restore(state, *desk.fleet.revisions)
    assert desk.at(2, 70) == [], "still set aside after a restart"
    assert desk.at(3, 10) == ["resolved good"]


def test_an_unreadable_revision_keeps_the_old_rules_and_is_shown() -> None:
    desk = Desk(rule("a"))
    assert desk.rules('[[rule]]\nid = "a"\n') == ["firing rule-broken"]
    assert desk.at(0, 70) == ["firing a"]
    assert desk.rules(rule("a")) == ["resolved rule-broken"]


def test_a_registry_that_cannot_be_read_again_is_no_crash() -> None:
    desk = Desk(rule("a"))
    state = desk.engine.snapshot()

    def refuse(_files: object) -> Registry:
        raise ConfigurationError(Fault("registry/s.toml", 1, "of a later version"))

    engine = Engine(
        refuse, lambda *_: RuleSet({}), desk.fleet.points, lambda: desk.fleet.origins.names
    )
    engine.restore(state, *desk.fleet.revisions)
    assert engine.counts()["revisions_unreadable"] == 1


def test_a_refusal_is_a_sign_of_life_of_its_gateway() -> None:
    rules = (
        '[[rule]]\nid = "g"\nkind = "absence"\ntarget = "gateway"\nwindow = "5m"\n'
        'level = "red"\ntitle = "t"\n'
    )
    fleet = Fleet(registry({device("out", gateway="g"): [NMHC]}), rules)
    engine = fleet.engine()
    engine.apply(1, Tick(T0))
    engine.apply(2, Refusal(T0 + 4 * MINUTE, 1, "wrong-serial", "d"))
    engine.apply(3, Tick(T0 + 5 * MINUTE))
    assert not engine.changes()
    engine.apply(4, Tick(T0 + 9 * MINUTE))
    assert [one.to_state for one in engine.changes().transitions] == ["firing"]


def test_a_point_beyond_the_registry_moves_nothing() -> None:
    desk = Desk(rule("a"))
    stray = Batch.of([desk.point + 70_000, desk.point], [T0, T0], [99.0, 99.0])
    desk.engine.apply(1, stray)
    assert desk.said() == ["firing a"]
    assert desk.engine.counts()["readings"] == 2


def test_an_empty_batch_is_nothing() -> None:
    desk = Desk(rule("a"))
    desk.engine.apply(1, Batch.empty())
    assert desk.said() == []


@pytest.mark.parametrize(
    ("connection", "origin"),
    [
        ("modbus+tcp://10.0.0.5:502?unit=3", "modbus:10.0.0.5:502"),
        ("modbus+rtu-tcp://10.0.0.6:4001?unit=3", "modbus:10.0.0.6:4001"),
        ("modbus+tcp://[fe80::1]:502?unit=3", "modbus:[fe80::1]:502"),
        ("modbus+serial:///dev/ttyS1?unit=3&baud=9600", "modbus:/dev/ttyS1"),
    ],
)
def test_a_device_reports_through_its_bus(connection: str, origin: str) -> None:
    from adapters.sources.modbus.address import parse_connection

    assert origin_of(connection) == origin == parse_connection(connection).bus.origin


def test_replay_judges_stored_history_in_any_order_within_a_batch() -> None:
    known = registry({device("out"): [NMHC]})
    rules = parse_rules(
        {
            "r.toml": rule("high", lasting="5m")
            + '[[rule]]\nid = "silent"\nkind = "absence"\ntarget = "device"\nwindow = "30m"\n'
            'level = "red"\ntitle = "t"\n'
        }
    )
    names = Names()
    (point,) = names([f"s/out/{NMHC}/raw"]).tolist()
    times = [T0 + at * MINUTE for at in (*range(60), *range(180, 200))]
    values = [70.0 if 10 <= at < 20 else 10.0 for at in range(80)]
    history = Batch.of([point] * 80, times, values)
    shuffled = np.random.default_rng(3).permutation(60)
    first = Batch.of([point] * 60, history.time[shuffled], history.value[shuffled])
    second = Batch.of([point] * 20, times[60:], values[60:])
    said = replay(rules, known, names, [first, Batch.empty(), second])
    told = [
        (one.rule, one.state, (one.started - T0) / MINUTE, (one.fired - T0) / MINUTE)
        for one in said.alerts
    ]
    assert told == [("high", "resolved", 10, 15), ("silent", "resolved", 59, 89)]
    assert [one.to_state for one in said.transitions] == ["firing", "resolved"] * 2
    assert said == replay(rules, known, names, [concat([first, second])])


def test_a_hole_of_years_is_one_silence_and_costs_little() -> None:
    known = registry({device("out"): [NMHC]})
    rules = parse_rules(
        {
            "r.toml": '[[rule]]\nid = "silent"\nkind = "absence"\ntarget = "device"\n'
            'window = "30m"\nlevel = "red"\ntitle = "t"\n'
        }
    )
    names = Names()
    (point,) = names([f"s/out/{NMHC}/raw"]).tolist()
    years = 40 * 365 * 24 * 60
    times = [T0 + at * MINUTE for at in (0, 1, years, years + 1)]
    told = replay(rules, known, names, [Batch.of([point] * 4, times, [1.0] * 4)])
    (alert,) = told.alerts
    minutes = [(at - T0) / MINUTE for at in (alert.started, alert.fired, alert.resolved)]
    assert minutes == [1, 31, years + 1]


def test_a_replaced_device_is_not_silent_after_its_last_day() -> None:
    rules = (
        '[[rule]]\nid = "d"\nkind = "absence"\ntarget = "device"\nwindow = "5m"\n'
        'level = "red"\ntitle = "t"\n'
    )
    old = device("old", place="m", end=T0 + 20 * MINUTE)
    new = device("new", place="m", start=T0 + 20 * MINUTE)
    known = registry({old: ["power.active"], new: ["power.active"]})
    assert len(known.points[0].services) == 2
    assert isinstance(known.points[0].services[0], Service)
    engine = Fleet(known, rules).engine()
    said: list[str] = []
    for minute in (0, 4, 5, 19, 20, 24, 25):
        engine.apply(1, Tick(T0 + minute * MINUTE))
        said += [
            f"{minute} {one.to_state} {one.data['subject']}" for one in engine.changes().transitions
        ]
    assert said == [
        "5 firing device:s/old",
        "20 closed device:s/old",
        "25 firing device:s/new",
    ]


def test_a_new_device_has_its_whole_window_from_when_it_was_entered() -> None:
    rules = (
        '[[rule]]\nid = "d"\nkind = "absence"\ntarget = "device"\nwindow = "5m"\n'
        'level = "red"\ntitle = "t"\n'
    )
    fleet = Fleet(registry({device("a"): ["power.active"]}), rules)
    engine = fleet.engine()
    fleet.registries["two"] = registry({device(name): ["power.active"] for name in "ab"})
    said: list[str] = []
    for minute in range(0, 40, 2):
        if minute == 20:
            engine.apply(1, fleet.registry_revision("two"))
        engine.apply(1, Tick(T0 + minute * MINUTE))
        said += [f"{minute} {one.data['subject']}" for one in engine.changes().transitions]
    assert said == ["6 device:s/a", "26 device:s/b"]
