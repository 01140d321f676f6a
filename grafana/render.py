"""Boards as Grafana's JSON: one dialect, one language, the limits of one set of rules."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard

from collector.registry import Registry
from collector.schema import LABEL_PATTERN
from grafana.model import Board, Mappings, Variable
from grafana.panels import Made, View, render
from grafana.targets import SOURCE_VARIABLE, Dialect, refer
from grafana.words import FIRED, NOTES, RESOLVED, SOURCE, Language, Text
from rules.ruleset import RuleSet

TAG: Final = "meterwatch"
COLUMNS: Final = 24
GRAFANA_UID: Final = "-- Grafana --"
"""Of the data source that is Grafana itself."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """For whom dashboards are built. ``registry``: whose sites are shown by name in tables."""

    rules: RuleSet
    zone: str = "browser"
    registry: Registry | None = None


def uid(board: str, dialect: Dialect, language: Language) -> str:
    """The dashboard's stable name in Grafana."""
    return f"mw-{board}-{dialect.name}-{language}"


def dashboard_json(
    board: Board,
    boards: Sequence[Board],
    dialect: Dialect,
    language: Language,
    fleet: Fleet,
) -> str:
    """The text of one dashboard's file; ``boards`` are those it links to, itself included."""

    def name(other: str) -> str:
        return uid(other, dialect, language)

    made = builders.Dashboard(board.title.get(language)).uid(name(board.id)).tags([TAG])
    made.description(board.about.get(language)).editable().timezone(fleet.zone).refresh(
        board.refresh
    )
    made.time(f"now-{board.back}", "now").tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
    scope = {one.tag: one.name for one in reversed(board.variables)}
    made.variables([_source(dialect, language)])
    for variable in board.variables:
        made.with_variable(_variable(variable, scope, dialect, language))
    if board.annotated:
        for title, colour, fired in ((FIRED, "red", True), (RESOLVED, "green", False)):
            made.annotation(_annotation(title, colour, fired, scope, dialect, language))
        made.annotation(_notes(language))
    for other in boards:
        if other.id != board.id:
            link = builders.DashboardLink(other.title.get(language))
            link.type(dashboard.DashboardLinkType.LINK).url(f"/d/{name(other.id)}")
            made.link(link.icon("dashboard").keep_time(True).include_vars(True))
    titles = {"rules": _rules(fleet.rules), "sites": _sites(fleet.registry)}
    _panels(made, board, View(dialect, language, fleet.rules, titles, scope, name))
    text = json.dumps(made.build(), cls=JSONEncoder, ensure_ascii=False, indent=1, sort_keys=True)
    return text + "\n"


def _rules(rules: RuleSet) -> Mappings:
    return tuple((rule.id, Text(rule.title_zh, rule.title), "") for rule in rules.rules.values())


def _sites(registry: Registry | None) -> Mappings:
    found = registry.sites.values() if registry else ()
    return tuple((site.id, Text(site.name_zh, site.name), "") for site in found)


def _panels(made: builders.Dashboard, board: Board, view: View) -> None:
    """Rows one below the other, panels from left to right."""
    number, top = 1, 0
    for row in board.rows:
        heading = builders.Row(row.title.get(view.language)).id(number)
        made.with_row(heading.grid_pos(dashboard.GridPos(h=1, w=COLUMNS, x=0, y=top)))
        number, top, left, height = number + 1, top + 1, 0, 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                top, left, height = top + height, 0, 0
            made.with_panel(render(panel, view, number, left, top))
            number, left, height = number + 1, left + panel.width, max(height, panel.height)
        top += height


def _source(dialect: Dialect, language: Language) -> builders.DatasourceVariable:
    chosen = dashboard.VariableOption(selected=True, text=dialect.uid, value=dialect.uid)
    made = builders.DatasourceVariable(SOURCE_VARIABLE).label(SOURCE.get(language))
    return made.type(dialect.kind).current(chosen).multi(False).include_all(False)


def _variable(
    variable: Variable, scope: dict[str, str], dialect: Dialect, language: Language
) -> builders.QueryVariable:
    made = builders.QueryVariable(variable.name).label(variable.label.get(language))
    made.datasource(refer(dialect)).query(dialect.choices(variable, scope, language))
    made.multi(True).include_all(True).all_value(".*")
    made.current(dashboard.VariableOption(selected=True, text=["All"], value=["$__all"]))
    made.refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
    made.sort(dashboard.VariableSort.ALPHABETICAL_ASC)
    return made.regex(f"/{LABEL_PATTERN}/") if variable.named else made


class _Annotation(dashboard.AnnotationQuery):
    """The SDK's, with the target of a data source instead of Grafana's own."""

    rest: dict[str, object]

    def to_json(self) -> dict[str, object]:
        return super().to_json() | self.rest


class _AnnotationBuilder(builders.AnnotationQuery):
    def __init__(self, rest: dict[str, object]) -> None:
        super().__init__()
        self._internal = _Annotation()
        self._internal.rest = rest


def _notes(language: Language) -> Any:
    """What people noted in Grafana itself, or was published to it, under our tag; off at first,
    because published warnings would stand there twice."""
    target = dashboard.AnnotationTarget(limit=100, match_any=False, tags=[TAG], type_val="tags")
    made = builders.AnnotationQuery().name(NOTES.get(language)).enable(False)
    made.datasource(dashboard.DataSourceRef(type_val="grafana", uid=GRAFANA_UID))
    return made.target(Made(target)).icon_color("purple")


def _annotation(
    title: Text,
    colour: str,
    fired: bool,
    scope: dict[str, str],
    dialect: Dialect,
    language: Language,
) -> Any:
    made = _AnnotationBuilder(dialect.marks(scope, language, fired=fired))
    made.name(title.get(language)).datasource(refer(dialect)).enable(True)
    return made.icon_color(colour)
