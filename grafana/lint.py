"""What every dashboard keeps to, checked on its finished JSON: no fault, or each in a sentence.

Looked at is what Grafana will be given, not what made it, so that a slip of the builder, of a
board or of the SDK shows alike. ``faults`` looks at one dashboard, ``differences`` at the two
languages of one. Pure; run by the tests.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from grafana import asked
from grafana.limits import SHARE_WANTED, lines_of
from grafana.words import CHECK, LANGUAGES, Language
from rules.ruleset import RuleSet

Json = Mapping[str, Any]

SOURCE: Final = "${source}"
_CHINESE: Final = re.compile(r"[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]")
_VARIABLE: Final = re.compile(r"\$(?:\{(\w+)(?::\w+)?\}|(\w+))")
_GRAFANAS: Final = {"timeFilter", "__interval", "__range", "__rate_interval", "__url_time_range"}
_COLUMNS: Final = 24
_COUNTED: Final = {0.0, 1.0, SHARE_WANTED}
"""Where numbers and cells may change colour without a rule: nothing, something, too little."""


def faults(dashboard: Json, rules: RuleSet, language: Language) -> list[str]:
    """What is wrong with one dashboard; each fault names its panel."""
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    found = [*_layout(dashboard), *_variables(dashboard), *_language(dashboard, language)]
    for panel in panels:
        where = panel.get("title") or f"panel {panel.get('id')}"
        checks = (_words(panel), _source(panel), _limits(panel, rules, language))
        found += [f"{where}: {fault}" for check in checks for fault in check]
    for where, query in _queries(dashboard):
        found += [f"{where}: {fault}" for fault in asked.faults(query)]
    return found


def differences(one: Json, other: Json) -> list[str]:
    """Where two languages of one dashboard differ in more than words."""
    found = []
    for what, left, right in (
        ("variables", _shape_of_variables(one), _shape_of_variables(other)),
        ("panels", _shape_of_panels(one), _shape_of_panels(other)),
        ("annotations", len(_annotations(one)), len(_annotations(other))),
        ("links", len(one["links"]), len(other["links"])),
    ):
        if left != right:
            found.append(f"{what} differ: {left} and {right}")
    return found


def _shape_of_variables(dashboard: Json) -> list[Any]:
    return [(one["name"], one["type"]) for one in dashboard["templating"]["list"]]


def _shape_of_panels(dashboard: Json) -> list[Any]:
    shape = []
    for panel in dashboard["panels"]:
        place = tuple(panel["gridPos"][key] for key in "xywh")
        queries = [_text(target) for target in panel.get("targets", [])]
        for language in LANGUAGES:
            queries = [query.replace(f"_{language}", "_LANGUAGE") for query in queries]
        unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit")
        shape.append((panel["id"], panel["type"], place, unit, queries))
    return shape


def _layout(dashboard: Json) -> Iterator[str]:
    ids = Counter(panel["id"] for panel in dashboard["panels"])
    yield from (f"two panels have the id {one}" for one, times in ids.items() if times > 1)
    titles = Counter(panel.get("title") for panel in dashboard["panels"])
    yield from (f'two panels are called "{one}"' for one, times in titles.items() if times > 1)
    taken: dict[tuple[int, int], Any] = {}
    for panel in dashboard["panels"]:
        box = panel["gridPos"]
        if box["x"] + box["w"] > _COLUMNS:
            yield f"{panel.get('title')}: wider than the page"
        cells = [
            (x, y)
            for x in range(box["x"], box["x"] + box["w"])
            for y in range(box["y"], box["y"] + box["h"])
        ]
        over = {taken[cell] for cell in cells if cell in taken}
        yield from (f"{panel.get('title')}: lies over {other}" for other in sorted(over))
        taken |= dict.fromkeys(cells, panel.get("title"))


def _words(panel: Json) -> Iterator[str]:
    defaults = panel["fieldConfig"]["defaults"]
    for key, holder in (("title", panel), ("description", panel), ("unit", defaults)):
        if not holder.get(key):
            yield f"has no {key}"
    if not defaults.get("noValue"):
        yield "says nothing where there is nothing (noValue)"
    if not panel.get("targets"):
        yield "asks nothing"


def _source(panel: Json) -> Iterator[str]:
    if panel.get("datasource", {}).get("uid") != SOURCE:
        yield f"asks {panel.get('datasource')}, not the data source that the board chooses"


def _variables(dashboard: Json) -> Iterator[str]:
    variables = dashboard["templating"]["list"]
    defined = {one["name"] for one in variables}
    spoken = [(where, query) for where, query in _queries(dashboard)]
    spoken += [("links", json.dumps(panel.get("fieldConfig", {}))) for panel in dashboard["panels"]]
    used: set[str] = {"source"} if any(_all(dashboard, "uid", SOURCE)) else set()
    for where, text in spoken:
        for match in _VARIABLE.finditer(text):
            name = match[1] or match[2]
            if name in _GRAFANAS or name.startswith("__data") or not name:
                continue
            if name not in defined:
                yield f"{where}: ${name} is not defined"
            used.add(name)
    yield from (f"variable {name} is used nowhere" for name in sorted(defined - used))
    for one in variables:
        chosen = (one.get("current") or {}).get("value")
        if one["type"] == "query" and chosen != ["$__all"]:
            yield f"variable {one['name']} begins with {chosen} instead of all"
        if one["type"] == "query" and one["datasource"]["uid"] != SOURCE:
            yield f"variable {one['name']} asks another data source"


def _all(node: Any, key: str, value: str) -> Iterator[bool]:
    """True for each ``key`` anywhere below that is ``value``."""
    if isinstance(node, dict):
        if node.get(key) == value:
            yield True
        for child in node.values():
            yield from _all(child, key, value)
    elif isinstance(node, list):
        for child in node:
            yield from _all(child, key, value)


def _annotations(dashboard: Json) -> list[Json]:
    return list(dashboard["annotations"].get("list", []))


def _text(target: Json) -> str:
    return str(target.get("query") or target.get("expr") or "")


def _queries(dashboard: Json) -> Iterator[tuple[str, str]]:
    """Every query to a database, with whose it is."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel.get("title", ""), _text(target)
    for one in _annotations(dashboard):
        if one["datasource"]["type"] != "grafana":
            yield f"annotation {one['name']}", _text(one["target"])
    for one in dashboard["templating"]["list"]:
        if one["type"] == "query":
            query = one["query"]
            yield f"variable {one['name']}", query if isinstance(query, str) else query["query"]


def _language(dashboard: Json, language: Language) -> Iterator[str]:
    """English holds no Chinese anywhere; in Chinese all that people read is Chinese."""
    if language == "en":
        found = sorted({text for text in _strings(dashboard) if _CHINESE.search(text)})
        yield from (f"Chinese in the English dashboard: {text}" for text in found)
        return
    for where, text in _read(dashboard):
        if re.search(r"[A-Za-z]{3}", text) and not _CHINESE.search(text):
            yield f"{where} is not translated: {text}"


def _strings(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for key, child in node.items():
            yield key
            yield from _strings(child)
    elif isinstance(node, list):
        for child in node:
            yield from _strings(child)


def _read(dashboard: Json) -> Iterator[tuple[str, str]]:
    """What people read, and where."""
    yield "title", dashboard["title"]
    yield "description", dashboard["description"]
    for one in dashboard["templating"]["list"]:
        yield f"label of {one['name']}", one["label"]
    for one in (*_annotations(dashboard), *dashboard["links"]):
        yield "annotation or link", one.get("name") or one["title"]
    for panel in dashboard["panels"]:
        where = f"panel {panel['id']}"
        for key in ("title", "description"):
            yield f"{where} {key}", panel.get(key, "")
        defaults = panel.get("fieldConfig", {}).get("defaults", {})
        yield f"{where} noValue", defaults.get("noValue", "")
        yield from ((f"{where} mapping", text) for text in _mapped(defaults.get("mappings", [])))
        for change in panel.get("transformations", []):
            for text in change["options"].get("renameByName", {}).values():
                yield f"{where} column", text
        for override in panel.get("fieldConfig", {}).get("overrides", []):
            for change in override["properties"]:
                if change["id"] == "mappings":
                    yield from ((f"{where} mapping", text) for text in _mapped(change["value"]))


def _mapped(mappings: list[Json]) -> Iterator[str]:
    for mapping in mappings:
        yield from (result["text"] for result in mapping["options"].values())


def _limits(panel: Json, rules: RuleSet, language: Language) -> Iterator[str]:
    """Lines and colours of values come from rules, and say so where they were recalled."""
    steps = panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])
    drawn = {float(step["value"]) for step in steps if step["value"] is not None}
    shown = {one for target in panel["targets"] for one in asked.quantities_of(_text(target))}
    lines = lines_of(tuple(sorted(shown)), rules)
    known = {line.value for line in lines}
    if panel["type"] != "timeseries":
        for override in panel["fieldConfig"].get("overrides", []):
            for change in override["properties"]:
                if change["id"] == "thresholds":
                    values = (step["value"] for step in change["value"]["steps"])
                    drawn |= {float(value) for value in values if value is not None}
        for value in sorted(drawn - _COUNTED - known):
            yield f"changes colour at {value:g}, which is in no rule"
        return
    yield from (f"draws {value:g}, which no rule sets" for value in sorted(drawn - known))
    if drawn:
        yield from (f"does not draw {value:g} of a rule" for value in sorted(known - drawn))
    recalled = any(line.recalled for line in lines if line.value in drawn)
    if recalled and CHECK.get(language) not in panel["description"]:
        yield "does not say that its limits are to be checked"
