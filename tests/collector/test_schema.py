"""The names in external databases: a quantity has one of its own, and the page says them all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from collector import schema
from collector.quantities import quantities
from collector.schema import SPANS, STATEMENTS, metric_of, names_of

PAGE = (Path(__file__).parents[2] / "docs" / "schema.md").read_text("utf-8")
CODE = re.compile(r"`([^`]+)`")


def section(name: str) -> str:
    """The part of the page whose heading names ``name``."""
    for part in re.split(r"^## ", PAGE, flags=re.MULTILINE):
        if name in re.split(r", |\n", part)[: part.partition("\n")[0].count(",") + 1]:
            return part
    raise AssertionError(f"no heading for {name}")


def test_each_quantity_has_a_field_and_a_metric_of_its_own() -> None:
    fields = {names_of(name) for name in quantities()}
    assert len(fields) == len(quantities())
    assert len({metric_of(*names) for names in fields}) == len(quantities())
    taken = {metric_of(one.name, field) for one in STATEMENTS.values() for field in one.fields}
    assert not taken & {metric_of(*names) for names in fields}


def test_names_need_no_quotes_anywhere() -> None:
    words = [word for name in quantities() for word in names_of(name)]
    words += [
        word
        for one in STATEMENTS.values()
        for word in (one.name, *one.tags, *one.fields, *one.texts)
    ]
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", word) for word in words)


def test_the_page_names_every_measurement_of_readings() -> None:
    said = CODE.findall(section("Readings"))
    groups = dict.fromkeys(row.group for row in quantities().values())
    assert [word for word in said if word in groups][: len(groups)] == list(groups)
    assert set(schema.READING_TAGS) <= set(said)


@pytest.mark.parametrize("name", STATEMENTS)
def test_the_page_says_what_a_measurement_has(name: str) -> None:
    one = STATEMENTS[name]
    text = section(name)
    said = set(CODE.findall(text))
    assert not {*one.tags, *one.fields, *one.texts} - said
    assert list(one.tags) == sorted(one.tags)  # as InfluxDB likes them


def test_the_page_names_nothing_that_is_not_there() -> None:
    known = {word for one in STATEMENTS.values() for word in (one.name, *one.tags, *one.fields)}
    known |= {word for one in STATEMENTS.values() for word in one.texts}
    known |= {word for name in quantities() for word in names_of(name)}
    underscored = {word for word in CODE.findall(PAGE) if re.fullmatch(r"[a-z]+(_[a-z]+)+", word)}
    assert underscored <= known | {"electricity_power_active"}
    assert set(SPANS) <= set(CODE.findall(section(schema.BOOKS)))
