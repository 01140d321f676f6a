"""The shipped warnings: they load, name quantities that exist, speak both languages, say where
their limit is from, and have a heading in the runbook."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from collector.quantities import quantities
from rules.book import BROKEN
from rules.life import Limit
from rules.ruleset import Rule, parse_rules

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    path.name: path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "rules" / "catalogue").glob("*.toml"))
}
RULES = parse_rules(FILES, None, quantities()).rules
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_a_shipped_warning_is_complete(rule: Rule) -> None:
    assert rule.advice
    for text in (rule.title_zh, rule.advice_zh):
        assert re.search(r"[一-鿿]", text)
    if isinstance(rule.settings, Limit) and not rule.settings.per:
        assert rule.source
        assert rule.settings.lasting, "one reading is no warning"
    if "limit" in rule.title:
        assert "check before enforcement" in rule.source


@pytest.mark.parametrize("name", [*RULES, BROKEN])
def test_every_warning_has_a_runbook_heading_with_both_names(name: str) -> None:
    heading = RUNBOOK.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    assert heading, f"docs/runbook.md has no heading {name}"
    if name in RULES:
        assert RULES[name].title in heading
        assert RULES[name].title_zh in heading


def test_the_runbook_names_no_warning_that_is_gone() -> None:
    headings = set(re.findall(r"^## (\S+)$", RUNBOOK, re.MULTILINE))
    assert headings == {*RULES, BROKEN}
