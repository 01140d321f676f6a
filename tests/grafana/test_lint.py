"""The committed dashboards keep to the lint; each kind of fault, planted once, is found."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from grafana.build import build, catalogue
from grafana.lint import differences, faults

RULES = catalogue()
DASHBOARDS = {name: json.loads(text) for name, text in build(RULES).items()}
Json = dict[str, Any]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_dashboards_have_no_fault(name: str) -> None:
    language = "zh" if "/zh/" in name else "en"
    assert faults(DASHBOARDS[name], RULES, language) == []


@pytest.mark.parametrize("name", [name for name in DASHBOARDS if "/zh/" in name])
def test_both_languages_are_one_dashboard(name: str) -> None:
    assert differences(DASHBOARDS[name], DASHBOARDS[name.replace("/zh/", "/en/")]) == []


def at(dashboard: Json, title: str) -> Json:
    """The panel itself, to be spoilt."""
    return next(panel for panel in dashboard["panels"] if panel["title"] == title)


def defaults(panel: Json) -> Json:
    found: Json = panel["fieldConfig"]["defaults"]
    return found


POWER = "Active power"
VOLTAGE = "Phase voltage"


def replace(panel: Json, old: str, new: str) -> None:
    (key,) = {"query", "expr"} & set(panel["targets"][0])
    text = panel["targets"][0][key]
    assert old in text, text
    panel["targets"][0][key] = text.replace(old, new)


def spoil_variable(dashboard: Json, key: str, value: object) -> None:
    dashboard["templating"]["list"][2][key] = value


def same_place(dashboard: Json) -> None:
    at(dashboard, VOLTAGE)["gridPos"] = copy.deepcopy(at(dashboard, POWER)["gridPos"])


def same_id(dashboard: Json) -> None:
    at(dashboard, VOLTAGE)["id"] = at(dashboard, POWER)["id"]


def drop_line(dashboard: Json) -> None:
    defaults(at(dashboard, VOLTAGE))["thresholds"]["steps"].pop()


def add_line(dashboard: Json) -> None:
    steps = defaults(at(dashboard, VOLTAGE))["thresholds"]["steps"]
    steps.append({"value": 250.0, "color": "red"})


def number_colour(dashboard: Json) -> None:
    override = at(dashboard, "Amounts over the range: every counter")["fieldConfig"]["overrides"][0]
    override["properties"].append(
        {"id": "thresholds", "value": {"steps": [{"value": 17.0, "color": "red"}]}}
    )


def unchecked(dashboard: Json) -> None:
    panel = at(dashboard, VOLTAGE)
    panel["description"] = panel["description"].replace("check before enforcement", "")


COMMON: dict[str, tuple[Callable[[Json], object], str]] = {
    "no title": (lambda d: at(d, POWER).pop("title"), "has no title"),
    "no description": (lambda d: at(d, POWER).pop("description"), "has no description"),
    "no unit": (lambda d: defaults(at(d, POWER)).pop("unit"), "has no unit"),
    "no empty state": (lambda d: defaults(at(d, POWER)).pop("noValue"), "noValue"),
    "no query": (lambda d: at(d, POWER).update(targets=[]), "asks nothing"),
    "one id twice": (same_id, "have the id"),
    "one title twice": (lambda d: at(d, VOLTAGE).update(title=POWER), "are called"),
    "one over the other": (same_place, "lies over Active power"),
    "too wide": (lambda d: at(d, POWER)["gridPos"].update(w=25), "wider than the page"),
    "another data source": (
        lambda d: at(d, POWER).update(datasource={"type": "influxdb", "uid": "mine"}),
        "not the data source that the board chooses",
    ),
    "Chinese in English": (lambda d: d["links"][0].update(title="全市总览"), "Chinese in the"),
    "a variable nobody uses": (
        lambda d: d["templating"]["list"].append(
            {"name": "spare", "type": "custom", "label": "Spare"}
        ),
        "variable spare is used nowhere",
    ),
    "a variable that begins with one site": (
        lambda d: spoil_variable(d, "current", {"value": ["print"]}),
        "instead of all",
    ),
    "a variable of another source": (
        lambda d: spoil_variable(d, "datasource", {"uid": "mine"}),
        "asks another data source",
    ),
    "a limit of no rule": (add_line, "draws 250, which no rule sets"),
    "a limit left out": (drop_line, "does not draw 235.4"),
    "a colour of no rule": (number_colour, "changes colour at 17"),
    "a recalled limit as if it were law": (unchecked, "are to be checked"),
}
IN_QUERIES: dict[str, dict[str, tuple[str, str, str]]] = {
    "influxql": {
        "an undefined variable": ("$site", "$factory", "$factory is not defined"),
        "a misspelt measurement": ('"electricity"', '"electrics"', "no measurement"),
        "a misspelt field": ("power_active", "power_activ", "neither field nor tag"),
        "a misspelt tag": ('"county"', '"country"', "neither field nor tag"),
        "a site by name": ("/^$site$/", "/^print$/", 'names one site: "^print$"'),
        "a place by name": ("=~ /^$place$/", "= 'main'", 'names one place: "main"'),
        "means among readings": ("\"statistic\" = 'raw' AND ", "", "without its statistic"),
    },
    "promql": {
        "an undefined variable": ("$site", "$factory", "$factory is not defined"),
        "a misspelt metric": ("electricity_power", "electrics_power", "there is no metric"),
        "a misspelt field": ("power_active", "power_activ", "there is no metric"),
        "a misspelt label": ("county=~", "country=~", "has no label country"),
        "a label that is not there": ("by (site", "by (subject", "has no label subject"),
        "a site by name": ("$site", "print", 'names one site: "print"'),
        "a place by name": ('=~"$place"', '="main"', 'names one place: "main"'),
        "means among readings": ('statistic="raw", ', "", "without its statistic"),
    },
}


@pytest.mark.parametrize("dialect", IN_QUERIES)
@pytest.mark.parametrize("fault", COMMON)
def test_a_planted_fault_is_found(dialect: str, fault: str) -> None:
    spoil, told = COMMON[fault]
    dashboard = copy.deepcopy(DASHBOARDS[f"{dialect}/en/energy.json"])
    spoil(dashboard)
    assert [one for one in faults(dashboard, RULES, "en") if told in one]


@pytest.mark.parametrize(
    ("dialect", "fault"), [(one, name) for one, cases in IN_QUERIES.items() for name in cases]
)
def test_a_fault_planted_in_a_query_is_found(dialect: str, fault: str) -> None:
    old, new, told = IN_QUERIES[dialect][fault]
    dashboard = copy.deepcopy(DASHBOARDS[f"{dialect}/en/energy.json"])
    replace(at(dashboard, POWER), old, new)
    assert [one for one in faults(dashboard, RULES, "en") if told in one]


def test_faults_in_variables_and_annotations_are_found_too() -> None:
    dashboard = copy.deepcopy(DASHBOARDS["influxql/en/energy.json"])
    dashboard["annotations"]["list"][0]["target"]["query"] = 'SELECT "title" FROM "alert_events"'
    dashboard["templating"]["list"][1]["query"] = 'SHOW TAG VALUES FROM "sites"'
    told = faults(dashboard, RULES, "en")
    assert any("annotation Warning fired" in one and '"title"' in one for one in told)
    assert any("variable county" in one and '"sites"' in one for one in told)


def test_a_missing_translation_is_found() -> None:
    dashboard = copy.deepcopy(DASHBOARDS["promql/zh/energy.json"])
    at(dashboard, "有功功率")["title"] = "Active power"
    defaults(at(dashboard, "相电压"))["noValue"] = "nothing here"
    told = faults(dashboard, RULES, "zh")
    assert sum("is not translated" in one for one in told) == 2


def drop_panel(dashboard: Json) -> object:
    return dashboard["panels"].pop()


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (drop_panel, "panels differ"),
        (lambda d: replace(at(d, POWER), "max by", "min by"), "panels differ"),
        (lambda d: defaults(at(d, POWER)).update(unit="watt"), "panels differ"),
        (lambda d: d["templating"]["list"].pop(), "variables differ"),
        (lambda d: d["annotations"]["list"].pop(), "annotations differ"),
        (lambda d: d["links"].pop(), "links differ"),
    ],
)
def test_languages_that_part_are_found(spoil: Callable[[Json], object], told: str) -> None:
    english = copy.deepcopy(DASHBOARDS["promql/en/energy.json"])
    spoil(english)
    assert [one for one in differences(DASHBOARDS["promql/zh/energy.json"], english) if told in one]
