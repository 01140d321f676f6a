"""States of a place, and registers stated at an exchange: read as written, faults by line."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.registry import FOREVER, Place, Point, Registry, Service
from collector.registry_text import parse_registry
from collector.states import ALWAYS, END, STATES, changes, parts, spans_of, within
from tests.collector.fleet import PROFILES, SITE, faults

METER = """[[device]]
id = "d"
place = "p"
profile = "meter"
from = 2026-01-01
to = 2026-05-01
connection = "modbus+tcp://10.0.0.5:502?unit=1"
"""


def ms(iso: str) -> int:
    return int(datetime.fromisoformat(iso).timestamp() * 1000)


def place(line: str) -> Place:
    return registry(f'[[place]]\nid = "x"\n{line}\n').places["s/x"]


def registry(addition: str) -> Registry:
    return parse_registry({"s.toml": SITE + addition}, PROFILES)


def test_a_place_is_in_service_unless_it_says_otherwise() -> None:
    assert place("").states == ((0, "in-service"),)
    assert place("").in_service == ALWAYS == ((0, FOREVER),)
    assert END == FOREVER


@pytest.mark.parametrize("word", STATES)
def test_only_one_state_counts(word: str) -> None:
    assert (place(f'state = "{word}"').in_service == ALWAYS) == (word == "in-service")


def test_the_word_of_earlier_registries_is_still_read() -> None:
    assert place('state = "suspended"').states == ((0, "out-of-service"),)


def test_states_hold_from_their_dates_in_the_sites_zone() -> None:
    found = place(
        'state = { 2026-05-01 = "in-service", 2026-02-01 = "commissioning",'
        ' 2026-03-01 = "trial", "2026-06-01T08:30" = "out-of-service" }'
    )
    service = ms("2026-05-01T00:00:00+08:00"), ms("2026-06-01T08:30:00+08:00")
    assert [word for _, word in found.states] == [*STATES[:5]]
    assert found.in_service == (service,)
    assert found.state(service[0] - 1) == "trial"
    assert found.state(service[0]) == "in-service"
    assert found.state(0) == found.state(-5) == "planned"
    assert found.state(FOREVER) == "out-of-service"


def test_a_place_that_is_not_in_service_needs_no_device_then() -> None:
    of = registry('[[place]]\nid = "x"\nstate = { 2026-05-01 = "in-service" }\n')
    assert "s/x" not in [one.key for one in of.unserved(ms("2026-04-30T23:59:59+08:00"))]
    assert "s/x" in [one.key for one in of.unserved(ms("2026-05-01T00:00:00+08:00"))]


@pytest.mark.parametrize(
    ("line", "what", "todo"),
    [
        ('state = "trail"', 'unknown state "trail"', 'did you mean "trial"?'),
        ("state = {}", "state is empty", 'write state = { 2026-01-31 = "in-service" }'),
        ('state = { may = "trial" }', '"may" in state is no date', ""),
        ('state = { 1969-01-01 = "trial" }', '"1969-01-01" in state is no date', ""),
        ("state = { 2026-01-01 = 3 }", "state is a number", ""),
        ('state = { 2026-01-01 = "gone" }', 'unknown state "gone"', "one of"),
        (
            'state = { 2026-01-01 = "trial", "2026-01-01T00:00" = "closed" }',
            "two states since 2026-01-01T00:00",
            "",
        ),
    ],
)
def test_a_faulty_state_is_named(line: str, what: str, todo: str) -> None:
    (fault,) = faults(f'[[place]]\nid = "x"\n{line}\n')
    assert (fault.line, fault.what) == (3, what)
    assert fault.todo.startswith(todo)


words = st.sampled_from(STATES)


@given(st.dictionaries(st.integers(1, 50), words), words, st.integers(0, 60))
def test_spans_are_the_times_in_service(rest: dict[int, str], first: str, at: int) -> None:
    states = tuple(sorted({0: first, **rest}.items()))
    spans = spans_of(states)
    assert within(spans, at) == (Place("s", "x", "", "", states=states).state(at) == "in-service")
    assert all(end < start for (_, end), (start, _) in pairwise(spans))
    turned = [one for one in range(at + 1, 60) if within(spans, one) != within(spans, one - 1)]
    assert changes([spans], at) == (turned[0] if turned else END)


@given(st.dictionaries(st.integers(1, 50), words), st.integers(0, 60), st.integers(1, 60))
def test_counted_services_are_the_services_within_the_spans(
    rest: dict[int, str], start: int, length: int
) -> None:
    spans = spans_of(((0, "planned"), *sorted(rest.items())))
    point = Point("s", "p", "q", services=(Service("d", start, start + length),), in_service=spans)
    counted = {time for one in point.counted() for time in range(one.start, one.end)}
    assert counted == {at for at in range(start, start + length) if within(spans, at)}
    assert [(one.start, one.end) for one in point.counted()] == parts(spans, start, start + length)


# --- registers at an exchange


def test_registers_of_the_only_counter_need_no_name() -> None:
    named = METER + 'first_register = { "energy.active.import" = 0.5 }\n'
    for text in (METER + "first_register = 0.5\nlast_register = 940\n", named):
        points = {one.quantity: one for one in registry(text).points}
        (served,) = points["energy.active.import"].services
        assert served.first == 0.5
        assert served.last == (940 if "last" in text else None)
        assert points["power.active"].services[0].first is None


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('first_register = "5"', "first_register is a text"),
        ("first_register = -1", "first_register is -1"),
        ("last_register = nan", "last_register is not a finite number"),
        (
            'last_register = { "power.active" = 1 }',
            'last_register names "power.active", which is no counter of this device',
        ),
    ],
)
def test_a_register_that_cannot_be_one_is_a_fault(line: str, what: str) -> None:
    (fault,) = faults(METER + line)
    assert (fault.line, fault.what) == (8, what)


def test_a_register_needs_its_date() -> None:
    undated = "\n".join(line for line in METER.splitlines() if line[:3] not in {"fro", "to "})
    found = faults(undated + "\nfirst_register = 1\nlast_register = 2\n")
    assert [fault.what for fault in found] == [
        'first_register without "from"',
        'last_register without "to"',
    ]


def test_of_several_counters_each_register_is_named() -> None:
    text = METER.replace('"meter"', '"push"').replace(
        'connection = "modbus+tcp://10.0.0.5:502?unit=1"',
        'gateway = "g"\nquantities = ["energy.active.import", "energy.active.export"]',
    )
    (fault,) = faults(text + "last_register = 7\n")
    assert fault.what == "last_register is one number, and this device has 2 counters"
    assert fault.todo == 'write last_register = { "energy.active.import" = 7.0 }'
