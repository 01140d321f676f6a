"""Alerts equal those of a plain one-reading-at-a-time reference, for any cutting of the readings
into batches, any order of delivery, lateness and duplication."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from collector.model import Entry, Quality, Tick
from rules.engine import Engine
from tests.rules.fleet import MINUTE, T0, Fleet, Reading, batch, device, registry
from tests.rules.reference import Reference

LATE_AFTER = 10 * MINUTE
NAN = float("nan")
RULES = """
[[rule]]
id = "high"
kind = "threshold"
quantity = "voc.*"
above = 6
clear = 4
for = "3m"
level = "red"
title = "t"
[[rule]]
id = "highest"
kind = "threshold"
quantity = "voc.*"
above = 8
level = "red"
title = "t"
[[rule]]
id = "low"
kind = "threshold"
quantity = "voc.*"
below = 2
clear = 3
clear_for = "2m"
level = "blue"
title = "t"
[[rule]]
id = "jump"
kind = "rate"
quantity = "voc.*"
rise = 0.1
clear = 0.02
per = "1s"
for = "1m"
level = "orange"
title = "t"
[[rule]]
id = "drop"
kind = "rate"
quantity = "voc.*"
fall = 3
per = "1m"
level = "orange"
title = "t"
[[rule]]
id = "flat"
kind = "flatline"
quantity = "voc.*"
for = "3m"
ignore_zero = true
level = "yellow"
title = "t"
[[rule]]
id = "nearly-flat"
kind = "flatline"
quantity = "voc.*"
for = "4m"
tolerance = 1
level = "yellow"
title = "t"
"""
PLACES = ("a", "b")
FLEET = Fleet(
    registry({device(name, interval=60): ["voc.nmhc.concentration"] for name in PLACES}), RULES
)
PARSED = FLEET.engine()._rules
POINTS = {FLEET.point(f"{name}/voc.nmhc.concentration"): name for name in PLACES}
SUBJECTS = {f"s/{name}/voc.nmhc.concentration/raw": number for number, name in POINTS.items()}
GAP = LATE_AFTER  # 3 intervals of 60 s are less

values = st.sampled_from(
    [0.0, 1.0, 2.0, 3.0, 4.0, 4.5, 5.0, 6.0, 6.5, 6.5, 7.0, 7.0, 8.0, 9.0, NAN]
)
qualities = st.sampled_from([Quality.GOOD] * 12 + [Quality.UNCERTAIN, Quality.FAULT])


@st.composite
def streams(draw: st.DrawFn) -> list[Reading]:
    """Readings in the order of the journal: mostly forward, some out of order, late, twice."""
    readings: list[Reading] = []
    now, lag = T0, 0
    for _ in range(draw(st.integers(1, 60))):
        now += draw(st.sampled_from([0, 30_000, *[MINUTE] * 5, 2 * MINUTE, 12 * MINUTE]))
        if draw(st.integers(0, 7)) == 0:  # a gateway hands in what it kept, then stops
            lag = draw(st.sampled_from([0, 15 * MINUTE, 40 * MINUTE]))
        back = lag + draw(st.sampled_from([*[0] * 9, -90_000, 30_000, 3 * MINUTE]))
        again = draw(st.integers(0, 9))
        if again == 0 and readings:
            start = draw(st.integers(0, len(readings) - 1))
            few = draw(st.integers(1, 8))
            readings += [(*one[:4], max(now, one[4])) for one in readings[start : start + few]]
            continue
        point = draw(st.sampled_from(sorted(POINTS)))
        readings.append((point, now - back, draw(values), int(draw(qualities)), now))
    return readings


def cut(readings: Sequence[Reading], cuts: Sequence[int]) -> list[Sequence[Reading]]:
    bounds = sorted({0, len(readings), *(at % (len(readings) + 1) for at in cuts)})
    return [readings[a:b] for a, b in pairwise(bounds)]


class Told:
    """Everything an engine says, collected."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []
        self.late: dict[tuple[str, int, int], tuple[int, float]] = {}
        self.ids: dict[str, Any] = {}

    def take(self, engine: Engine) -> None:
        changes = engine.changes()
        for one in changes.transitions:
            if one.to_state == "found-late":
                continue
            assert one.id not in self.ids
            self.ids[one.id] = one
            data = one.data
            value = data["value"] if one.to_state == "firing" else data["now"]
            point = SUBJECTS[data["subject"]]
            self.said.append(
                (data["rule"], point, one.to_state, data["started"], one.time, value, data["worst"])
            )
        for entry in changes.late.values():
            point = SUBJECTS[entry.subject]
            self.late[entry.rule, point, entry.start] = (entry.end, entry.worst)


def judged(entries: Sequence[Entry]) -> tuple[Told, Engine]:
    engine, told = FLEET.engine(), Told()
    for seq, entry in enumerate(entries, 1):
        engine.apply(seq, entry)
        told.take(engine)
    return told, engine


@settings(max_examples=250, deadline=None)
@given(streams(), st.lists(st.integers(0, 200), max_size=12), st.booleans())
def test_alerts_equal_the_reference(readings: list[Reading], cuts: list[int], ticks: bool) -> None:
    reference = Reference({point: list(PARSED.values()) for point in POINTS}, LATE_AFTER, GAP)
    entries: list[Entry] = []
    for part in cut(readings, cuts):
        entries.append(batch(part))
        for reading in part:
            reference.reading(*reading)
        if ticks:
            entries.append(Tick(part[-1][4]))
            reference.tick()
    entries.append(Tick(readings[-1][4]))
    reference.tick()

    told, engine = judged(entries)

    assert sorted(told.said) == sorted(reference.said)
    assert told.late == reference.late
    holding = {(one.rule, SUBJECTS[one.subject], one.started) for one in engine.pending()}
    states = list(reference.states())
    assert holding == {(r, p, since) for r, p, state, since in states if state == "pending"}
    open_alerts = {(alert.rule, SUBJECTS[alert.subject]) for alert in engine._book.open.values()}
    assert open_alerts == {(r, p) for r, p, state, _ in states if state == "firing"}


@settings(max_examples=80, deadline=None)
@given(streams(), st.lists(st.integers(0, 200), max_size=12))
def test_any_cutting_says_the_same_under_the_same_ids(
    readings: list[Reading], cuts: list[int]
) -> None:
    tick = Tick(readings[-1][4])
    whole, _ = judged([batch(readings), tick])
    parts, _ = judged([*(batch(part) for part in cut(readings, cuts)), tick])
    assert [(name, one.time, one.data) for name, one in whole.ids.items()] == [
        (name, one.time, one.data) for name, one in parts.ids.items()
    ], "in the same order, too"
    assert whole.late == parts.late


@settings(max_examples=80, deadline=None)
@given(streams())
def test_a_stream_delivered_again_in_order_finds_nothing_new(readings: list[Reading]) -> None:
    """What was live in order and comes again as a whole, at once or much later."""
    ordered: list[Reading] = []
    newest: dict[int, int] = {}
    for point, time, value, quality, received in readings:
        if received - time <= LATE_AFTER and time > newest.get(point, 0) and time <= received:
            newest[point] = time
            ordered.append((point, time, value, quality, received))
    if not ordered:
        return
    now = ordered[-1][4]
    again = [(*one[:4], now + 24 * 60 * MINUTE) for one in ordered]
    once, _ = judged([batch(ordered), Tick(now)])
    twice, _ = judged([batch(ordered), Tick(now), batch(again), Tick(now + 25 * 60 * MINUTE)])
    assert twice.said == once.said
    assert not twice.late
