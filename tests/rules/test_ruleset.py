"""Rule files: every fault at once, each with its line; what a rule watches."""

from __future__ import annotations

import pytest

from collector.alerts import Level
from collector.errors import ConfigurationError
from collector.quantities import quantities
from rules.life import Limit
from rules.ruleset import parse_rules
from tests.rules.fleet import device, registry

GOOD = """
[[rule]]
id = "high"
kind = "threshold"
quantity = "voc.nmhc.concentration"
above = 60
clear = 54.0
for = "5m"
clear_for = "90s"
level = "red"
title = "High"
title_zh = "高"
"""

BAD = '''# twelve faults
[[rule]]
id = "High Rule"
kind = "treshold"
quantity = "voc.nmhc.concentration"
above = 60
level = "crimson"
title = "t"

[[rule]]
id = "b"
kind = "threshold"
quantity = "voc.nhmc.concentration"
above = 60
below = 10
for = "5 minutes"
level = "red"
advice = """
key = "not a key"
"""
clear = 70
sites = ["nowhere"]
titel = "t"

[[rule]]
id = "b"
kind = "flatline"
quantity = "voc.nmhc.concentration"
title = "t"
level = "red"
'''


def faults(text: str) -> list[tuple[int, str]]:
    known = registry({device("out"): ["voc.nmhc.concentration"]})
    with pytest.raises(ConfigurationError) as caught:
        parse_rules({"r.toml": text}, known, quantities())
    assert all(fault.file == "r.toml" for fault in caught.value.faults)
    return [(fault.line, str(fault)) for fault in caught.value.faults]


def test_a_rule_is_read_as_written() -> None:
    rule = parse_rules({"r.toml": GOOD}).rules["high"]
    assert rule.settings == Limit(1, 60.0, 54.0, 300_000, 90_000)
    assert (rule.level, rule.title_zh, rule.line) == (Level.RED, "高", 2)


def test_every_fault_is_named_with_its_line_and_what_was_meant() -> None:
    found = faults(BAD)
    expected = [
        (3, 'may hold only a-z, 0-9 and "-"'),
        (4, 'did you mean "threshold"?'),
        (7, 'unknown level "crimson"'),
        (10, '"title" is missing'),
        (13, 'did you mean "voc.nmhc.concentration"?'),
        (14, "either above or below"),
        (16, '"5 minutes" is no duration'),
        (21, "clear = 70 must lie below"),
        (22, '"nowhere" is not in the registry'),
        (23, 'unknown key "titel"'),
        (25, '"for" is missing'),
        (26, 'rule "b" is already defined at r.toml:10'),
    ]
    for line, words in expected:
        assert any(at == line and words in text for at, text in found), (line, words, found)
    assert len(found) == len(expected), found


def test_broken_toml_has_its_line() -> None:
    ((line, text),) = faults('[[rule]]\nid = "a"\nabove = = 3\n')
    assert line == 3
    assert "is not TOML" in text


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('kind = "rate"\nrise = 5', '"per" is missing'),
        ('kind = "rate"\nrise = -5\nper = "1h"', "must not be negative"),
        ('kind = "rate"\nper = "1h"', "either rise or fall"),
        ('kind = "threshold"\nbelow = 5\nclear = 4', "clear = 4 must lie above"),
        ('kind = "threshold"\nabove = nan', "above is not a finite number"),
        ('kind = "threshold"\nabove = true', "above is true or false"),
        ('kind = "flatline"\nfor = "10m"\ntolerance = -1', "tolerance must not be negative"),
        (
            'kind = "absence"\ntarget = "point"\nwindow = "0s"',
            'window "0s" is impossible -> from 1 s',
        ),
        ('kind = "absence"\ntarget = "device"\nwindow = "5m"', "this target takes no quantity"),
        ('kind = "threshold"\nabove = 1\nplaces = []', "watch nothing"),
    ],
)
def test_impossible_settings_are_refused(lines: str, words: str) -> None:
    text = f'[[rule]]\nid = "a"\nlevel = "red"\ntitle = "t"\nquantity = "power.factor"\n{lines}\n'
    assert any(words in told for _, told in faults(text))


@pytest.mark.parametrize("value", ["1" + "0" * 400, "0x" + "f" * 5000, "9" * 5000, "[" * 5000])
def test_a_value_beyond_all_bounds_is_a_fault(value: str) -> None:
    text = f'[[rule]]\nid = "a"\nabove = {value}\n'
    assert len(faults(text)) == 1


def test_a_rule_may_be_written_in_every_way_of_toml() -> None:
    text = 'rule = [\n  { id = "a", kind = "rate",\n rise = 1 } ]\n'
    assert {line for line, _ in faults(text)} == {2}


def test_a_key_of_another_table_is_named() -> None:
    assert "[[rule]] tables only" in faults("[alarm]\nx = 1\n")[0][1]
    assert 'did you mean "rule"?' in faults("[[rules]]\nx = 1\n")[0][1]


def test_what_a_rule_watches() -> None:
    known = registry(
        {
            device("out"): ["voc.nmhc.concentration", "voltage.l1"],
            device("in"): ["voc.nmhc.concentration"],
        }
    )

    def watched(lines: str) -> set[str]:
        text = GOOD.replace('quantity = "voc.nmhc.concentration"', lines)
        rule = parse_rules({"r.toml": text}, known, quantities()).rules["high"]
        names = (point.name for point in known.points if rule.select.takes(point, known))
        return {name.removeprefix("s/").removesuffix("/raw") for name in names}

    both = {"out/voc.nmhc.concentration", "in/voc.nmhc.concentration"}
    assert watched('quantity = "voc.*"') == both
    assert watched('quantity = "voc.*"\nplaces = ["s/in"]') == {"in/voc.nmhc.concentration"}
    assert watched('quantity = "voc.*"\nindustry = ["C23"]') == both
    assert watched('quantity = "voc.*"\nindustry = ["C24"]') == set()
    assert watched('quantity = "voltage.l[123]"') == {"out/voltage.l1"}
    assert watched('points = ["s/out/voltage.l1", "s/in/voc.nmhc.concentration/raw"]') == {
        "out/voltage.l1",
        "in/voc.nmhc.concentration",
    }


def test_wording_is_no_change_of_a_rule_but_a_limit_is() -> None:
    rule = parse_rules({"r.toml": GOOD}).rules["high"]
    worded = parse_rules({"q.toml": GOOD.replace("高", "超")}).rules["high"]
    stricter = parse_rules({"r.toml": GOOD.replace("= 60", "= 59")}).rules["high"]
    assert rule.fingerprint == worded.fingerprint
    assert rule.fingerprint != stricter.fingerprint
