"""What is committed is what the builder makes; a fleet's own rules draw their own limits."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard
from grafana_foundation_sdk.models import units as known_units

from collector.quantities import quantities
from collector.registry_text import parse_registry
from grafana import targets
from grafana.boards import BOARDS
from grafana.build import DASHBOARDS, build, catalogue, write
from grafana.units import grafana_unit
from rules.ruleset import RuleSet, parse_rules

PROVISIONING = Path(__file__).parents[2] / "grafana" / "provisioning"
BUILT = build(catalogue())


def panel(text: str, title: str) -> dict[str, Any]:
    (found,) = (one for one in json.loads(text)["panels"] if one["title"] == title)
    return dict(found)


def lines(text: str) -> list[tuple[float | None, str]]:
    shown = panel(text, "NMHC: readings, worst of each step")
    steps = shown["fieldConfig"]["defaults"]["thresholds"]["steps"]
    return [(step["value"], step["color"]) for step in steps]


def test_the_committed_set_is_what_the_builder_makes() -> None:
    there = {
        str(path.relative_to(DASHBOARDS)): path.read_text(encoding="utf-8")
        for path in DASHBOARDS.rglob("*")
        if path.is_file()
    }
    assert there == BUILT, "run: python -m grafana.build"


def test_building_twice_is_building_once() -> None:
    assert build(catalogue()) == BUILT


def test_writing_tells_what_changed_and_leaves_the_rest(tmp_path: Path) -> None:
    assert len(write(tmp_path, BUILT)) == len(BUILT)
    assert write(tmp_path, BUILT) == []
    (tmp_path / "own.json").write_text("{}")
    changed = tmp_path / "promql" / "zh" / "overview.json"
    changed.write_text("{}")
    assert write(tmp_path, BUILT) == [changed]
    assert changed.read_text(encoding="utf-8") == BUILT["promql/zh/overview.json"]
    assert (tmp_path / "own.json").read_text() == "{}"


def test_uids_are_stable_and_each_board_is_there_in_each_variant() -> None:
    uids = {name: json.loads(text)["uid"] for name, text in BUILT.items()}
    assert uids["promql/zh/voc-outlet.json"] == "mw-voc-outlet-promql-zh"
    for name, uid in uids.items():
        dialect, language, board = name.removesuffix(".json").split("/")
        assert uid == f"mw-{board}-{dialect}-{language}"
        assert len(uid) <= 40  # as Grafana allows
    assert len(uids) == 4 * 6


@pytest.mark.parametrize("name", BUILT)
def test_the_sdks_own_model_reads_every_dashboard_and_loses_nothing(name: str) -> None:
    """Whatever Grafana's schema has no place for would be gone. Annotations are left out: of
    their targets the SDK models only those of Grafana's own store."""
    plugins.register_default_plugins()
    before = json.loads(BUILT[name])
    read = dashboard.Dashboard.from_json(before)
    again = json.loads(json.dumps(read, cls=JSONEncoder))
    del before["annotations"]
    assert list(lost(before, again)) == []


def lost(before: Any, after: Any, where: str = "") -> Iterator[str]:
    """What is in ``before`` and not, or otherwise, in ``after``."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            yield from lost(value, after.get(key), f"{where}/{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for at, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from lost(one, other, f"{where}/{at}")
    elif before != after:
        yield f"{where}: {before} became {after}"


def test_the_page_names_every_dashboard() -> None:
    page = (PROVISIONING.parents[1] / "docs" / "dashboards.md").read_text(encoding="utf-8")
    for board in BOARDS:
        assert f"| {board.title.zh} · {board.title.en} | `mw-{board.id}` |" in page


def test_links_lead_to_boards_of_the_same_variant() -> None:
    uids = {json.loads(text)["uid"] for text in BUILT.values()}
    for name, text in BUILT.items():
        dialect, language, _ = name.split("/")
        for uid in re.findall(r"/d/([\w-]+)", text):
            assert uid in uids
            assert uid.endswith(f"-{dialect}-{language}")


def test_limits_are_those_of_the_rules_given() -> None:
    shipped = [(None, "transparent"), (70, "orange"), (100, "orange"), (120, "red")]
    assert lines(BUILT["promql/en/voc-outlet.json"]) == shipped
    own = parse_rules(
        {
            "own.toml": """
[[rule]]
id = "nmhc-outlet-general"
kind = "threshold"
level = "yellow"
title = "Our permit"
title_zh = "许可限值"
quantity = "voc.nmhc.concentration"
outlets = true
above = 50
"""
        }
    )
    rules = RuleSet({**catalogue().rules, **own.rules})
    text = build(rules)["influxql/en/voc-outlet.json"]
    assert lines(text) == [(None, "transparent"), (50, "yellow"), (70, "orange"), (100, "orange")]
    about = panel(text, "NMHC: readings, worst of each step")["description"]
    assert "> 50 mg/m³: Our permit" in about
    assert "120" not in about
    assert "许可限值" in build(rules)["influxql/zh/voc-outlet.json"]


def test_a_fleet_without_limits_has_no_lines() -> None:
    text = build(RuleSet({}))["promql/en/voc-outlet.json"]
    assert lines(text) == [(None, "transparent")]
    assert "enforcement" not in text


def test_a_stretch_between_a_low_and_a_high_limit_has_no_colour() -> None:
    text = BUILT["promql/en/energy.json"]
    steps = panel(text, "Phase voltage")["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert [(step["value"], step["color"]) for step in steps] == [
        (None, "yellow"),
        (198, "transparent"),
        (235.4, "yellow"),
    ]


def test_tables_show_a_fleets_sites_by_name_and_lead_on_by_id() -> None:
    """A value mapping is what people see; a link takes the id, not the name."""
    text = """
[site]
id = "print"
name = "Longnan Road Printing"
name_zh = "陇南路印刷厂"
county = "620502"
industry = "C2319"
"""
    registry = parse_registry({"print.toml": text}, {})
    for language, name in (("zh", "陇南路印刷厂"), ("en", "Longnan Road Printing")):
        built = build(catalogue(), registry=registry)[f"promql/{language}/warnings.json"]
        title = "未解除的预警" if language == "zh" else "Open warnings"
        overrides = panel(built, title)["fieldConfig"]["overrides"]
        site = {one["id"]: one["value"] for one in overrides[2]["properties"]}
        assert site["mappings"][0]["options"]["print"]["text"] == name
        assert "var-site=${__value.raw}&" in site["links"][0]["url"]


def test_the_zone_is_the_fleets() -> None:
    text = build(catalogue(), zone="Asia/Shanghai")["influxql/zh/energy.json"]
    assert json.loads(text)["timezone"] == "Asia/Shanghai"


@pytest.mark.parametrize("unit", sorted({row.unit for row in quantities().values()}))
def test_every_unit_of_the_table_is_one_of_grafanas_or_is_written_behind(unit: str) -> None:
    known = {value for value in vars(known_units).values() if isinstance(value, str)}
    named = grafana_unit(unit)
    assert named in known or named.startswith("suffix:")


def test_provisioning_makes_the_data_sources_that_dashboards_begin_with() -> None:
    made = {}
    for path in sorted((PROVISIONING / "datasources").glob("*.yaml")):
        for source in yaml.safe_load(path.read_text(encoding="utf-8"))["datasources"]:
            made[source["uid"]] = source["type"]
    assert made == {dialect.uid: dialect.kind for dialect in targets.DIALECTS}
    for text in BUILT.values():
        first = json.loads(text)["templating"]["list"][0]
        assert made[first["current"]["value"]] == first["query"]


def test_provisioning_names_every_folder_of_dashboards_once() -> None:
    text = (PROVISIONING / "dashboards" / "meterwatch.yaml").read_text(encoding="utf-8")
    providers = yaml.safe_load(text)["providers"]
    folders = {Path(one["options"]["path"]).parts[-2:] for one in providers}
    assert folders == {tuple(name.split("/")[:2]) for name in BUILT}
    for key in ("name", "folder", "folderUid"):
        assert len({one[key] for one in providers}) == len(providers), key
