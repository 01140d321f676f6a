"""Lines are what threshold rules say, for the quantities shown; the worst level colours."""

from __future__ import annotations

import pytest

from grafana.limits import lines_of, steps_of, told
from rules.ruleset import RuleSet, parse_rules

FLOW = "fluegas.flow"


def rules(*tables: str) -> RuleSet:
    """Rules of the settings given, each with an id and a title of its own."""
    text = "".join(
        f'[[rule]]\nid = "r{at}"\ntitle = "Rule {at}"\ntitle_zh = "规则{at}"\n{table}\n'
        for at, table in enumerate(tables)
    )
    return parse_rules({"own.toml": text})


def threshold(limit: str, level: str = "orange", watched: str = f'quantity = "{FLOW}"') -> str:
    return f'kind = "threshold"\nlevel = "{level}"\n{limit}\n{watched}'


@pytest.mark.parametrize(
    ("tables", "steps"),
    [
        ([threshold("above = 5")], [(None, "transparent"), (5, "orange")]),
        ([threshold("below = 5")], [(None, "orange"), (5, "transparent")]),
        (
            [threshold("below = 2", "red"), threshold("below = 4", "blue")],
            [(None, "red"), (2, "blue"), (4, "transparent")],
        ),
        (
            [threshold("above = 4", "blue"), threshold("above = 8", "red")],
            [(None, "transparent"), (4, "blue"), (8, "red")],
        ),
        (
            [threshold("below = 2", "yellow"), threshold("above = 8", "red")],
            [(None, "yellow"), (2, "transparent"), (8, "red")],
        ),
        (
            [threshold("above = 4", "red"), threshold("above = 8", "blue")],
            [(None, "transparent"), (4, "red"), (8, "red")],
        ),
        (
            [threshold("above = 5", "blue"), threshold("above = 5", "red")],
            [(None, "transparent"), (5, "red")],
        ),
    ],
)
def test_each_stretch_has_the_colour_of_its_worst_level(
    tables: list[str], steps: list[tuple[float | None, str]]
) -> None:
    assert steps_of(lines_of((FLOW,), rules(*tables))) == steps


@pytest.mark.parametrize(
    ("watched", "drawn"),
    [
        (f'quantity = "{FLOW}"', True),
        ('quantity = "fluegas.*"', True),
        ('quantity = "fluegas.o2"', False),
        (f'points = ["works/stack/{FLOW}"]', True),
        (f'points = ["works/stack/fluegas.o2", "works/stack/{FLOW}/raw"]', True),
        ('points = ["works/stack/fluegas.o2"]', False),
    ],
)
def test_a_line_belongs_to_the_quantity_that_its_rule_watches(watched: str, drawn: bool) -> None:
    lines = lines_of((FLOW,), rules(threshold("above = 5", watched=watched)))
    assert bool(lines) is drawn


def test_rates_of_change_and_silences_are_no_lines() -> None:
    rate = f'kind = "rate"\nlevel = "red"\nrise = 5\nper = "1h"\nquantity = "{FLOW}"'
    flat = f'kind = "flatline"\nlevel = "red"\nfor = "1h"\nquantity = "{FLOW}"'
    assert lines_of((FLOW,), rules(rate, flat)) == []


def test_the_words_name_each_rule_and_what_is_uncertain_of_it() -> None:
    found = rules(
        threshold("above = 120") + '\nsource = "GB 1, table 2; recalled"',
        threshold("above = 70", watched=f'quantity = "{FLOW}"\nindustry = ["C23"]'),
    )
    lines = lines_of((FLOW,), found)
    assert told(lines, "m³/h", "en").splitlines() == [
        "Lines (limits: check before enforcement):",
        "- > 70 m³/h: Rule 1 (some industries or sites only)",
        "- > 120 m³/h: Rule 0",
    ]
    assert told(lines, "m³/h", "zh").splitlines()[1:] == [
        "- > 70 m³/h: 规则1 (仅部分行业或单位)",
        "- > 120 m³/h: 规则0",
    ]
    certain = lines_of((FLOW,), rules(threshold("above = 5")))
    assert told(certain, "", "en") == "Lines:\n- > 5: Rule 0"
    assert told([], "", "en") == ""
