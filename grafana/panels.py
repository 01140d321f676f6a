"""Panels as Grafana takes them: one function for each kind, what they share once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any, Final

from grafana_foundation_sdk.builders import common, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog import builder as cog
from grafana_foundation_sdk.cog import variants
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard

from collector import schema
from grafana import model
from grafana.limits import NO_COLOUR, lines_of, steps_of, told
from grafana.model import Mappings, Panel, Target
from grafana.query import QUARTER, SPANNED, Scope
from grafana.targets import MINUTE, Dialect, refer, value_of
from grafana.units import grafana_unit, written
from grafana.words import CHECK, Language
from rules.ruleset import RuleSet

_MAX_POINTS: Final = 11000
"""Of spans and events, whose step must not grow; Prometheus sources stop there."""
_NAMED: Final = ("label", "title")
"""Columns that exist in each language."""


@dataclass(frozen=True, slots=True)
class View:
    """How a board is being rendered. ``titles``: words for the ids of rules and of sites.
    ``board_uid``: uid of another board, in the same variant."""

    dialect: Dialect
    language: Language
    rules: RuleSet
    titles: Mapping[str, Mappings]
    scope: Scope
    board_uid: Callable[[str], str]


@dataclass(frozen=True)
class Made(cog.Builder[Any]):
    """What is built already, where the SDK asks for a builder."""

    value: Any

    def build(self) -> Any:
        return self.value


def render(panel: Panel, view: View, number: int, x: int, y: int) -> Any:
    """The SDK's builder of one panel, placed."""
    builder = _KINDS[panel.kind](panel, view)
    lines = lines_of(panel.limits, view.rules)
    notes = [panel.about.get(view.language), told(lines, written(panel.unit), view.language)]
    builder.title(panel.title.get(view.language)).description("\n\n".join(filter(None, notes)))
    builder.id(number).grid_pos(dashboard.GridPos(h=panel.height, w=panel.width, x=x, y=y))
    builder.datasource(refer(view.dialect)).unit(grafana_unit(panel.unit))
    builder.no_value(panel.empty.get(view.language))
    builder.thresholds(_thresholds(panel, view))
    if panel.mappings:
        builder.mappings(_mappings(panel.mappings, view.language))
    if panel.decimals is not None:
        builder.decimals(panel.decimals)
    if panel.back:
        builder.time_from(panel.back)
    fixed = _fixed_step(panel)
    if fixed:
        builder.interval(fixed).max_data_points(_MAX_POINTS)
    elif panel.kind in model.SERIES:
        builder.interval(MINUTE)
    return builder


def _fixed_step(panel: Panel) -> str:
    """The step that a panel's windows are made for, or "" for one that may grow."""
    if panel.kind == model.EVENTS:
        return MINUTE
    queries = [target.query for target in panel.targets]
    if panel.kind in model.SERIES and any(one.measurement in SPANNED for one in queries):
        return QUARTER
    return next((one.every for one in queries if one.every), "")


def _thresholds(panel: Panel, view: View) -> builders.ThresholdsConfig:
    lines = lines_of(panel.limits, view.rules)
    steps: list[tuple[float | None, str]]
    if lines:
        steps = steps_of(lines)
    else:
        base = NO_COLOUR if panel.kind in model.SERIES else "text"
        steps = [(None, base), *panel.steps]
    made = [dashboard.Threshold(value=value, color=colour) for value, colour in steps]
    return builders.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(made)


def _mappings(mappings: Mappings, language: Language) -> list[Any]:
    options = {
        value: dashboard.ValueMappingResult(
            text=text.get(language), color=colour or None, index=index
        )
        for index, (value, text, colour) in enumerate(mappings)
    }
    return [dashboard.ValueMap(options=options)]


def _lettered(panel: Panel) -> list[tuple[str, Target]]:
    """Targets with the letters by which Grafana knows them."""
    return list(zip(ascii_uppercase[: len(panel.targets)], panel.targets, strict=True))


def _add_series(builder: Any, panel: Panel, view: View) -> None:
    for ref, target in _lettered(panel):
        legend = target.legend.get(view.language)
        query: variants.Dataquery = view.dialect.series(target.query, view.scope, ref, legend)
        builder.with_target(Made(query))


def _paint(builder: Any, panel: Panel, language: Language) -> None:
    for name, colour in panel.colours:
        fixed = {"mode": "fixed", "fixedColor": colour}
        builder.override_by_name(
            name.get(language), [dashboard.DynamicConfigValue(id_val="color", value=fixed)]
        )


def _lines(panel: Panel, view: View) -> timeseries.Panel:
    builder = timeseries.Panel()
    _add_series(builder, panel, view)
    _paint(builder, panel, view.language)
    legend = common.VizLegendOptions().show_legend(True).placement(shapes.LegendPlacement.BOTTOM)
    builder.legend(legend.display_mode(shapes.LegendDisplayMode.LIST).calcs([]))
    builder.tooltip(
        common.VizTooltipOptions()
        .mode(shapes.TooltipDisplayMode.MULTI)
        .sort(shapes.SortOrder.DESCENDING)
    )
    gap = 1000 * panel.gap_s
    # The one breaks lines where nothing was written, the other joins them where Grafana put nulls.
    builder.line_width(1).fill_opacity(0).insert_nulls(gap).span_nulls(gap)
    builder.show_points(shapes.VisibilityMode.AUTO).point_size(4)
    lines = lines_of(panel.limits, view.rules)
    if lines:
        style = common.GraphThresholdsStyleConfig()
        builder.thresholds_style(style.mode(shapes.GraphThresholdsStyleMode.DASHED_AND_AREA))
        if any(line.recalled for line in lines):
            builder.axis_label(CHECK.get(view.language))
    return builder


def _steps(panel: Panel, view: View) -> timeseries.Panel:
    """Spans from their start to their end. No bars: those of several places would hide each
    other, and stacked they would add what sub-meters count twice."""
    return _lines(panel, view).line_interpolation(shapes.LineInterpolation.STEP_AFTER)


def _stacked(panel: Panel, view: View) -> timeseries.Panel:
    """Counts of what happened in each step, one kind on the other."""
    stack = common.StackingConfig().mode(shapes.StackingMode.NORMAL).group("A")
    builder = _lines(panel, view).draw_style(shapes.GraphDrawStyle.BARS).stacking(stack)
    return builder.fill_opacity(60).bar_alignment(shapes.BarAlignment.AFTER)


def _states(panel: Panel, view: View) -> statetimeline.Panel:
    builder = statetimeline.Panel()
    _add_series(builder, panel, view)
    # As for lines; Grafana's editor has both, the SDK's model of this panel has not.
    gaps = [
        dashboard.DynamicConfigValue(id_val=f"custom.{key}", value=1000 * panel.gap_s)
        for key in ("insertNulls", "spanNulls")
    ]
    builder.override_by_field_type("number", gaps)
    return builder.show_value(shapes.VisibilityMode.AUTO).merge_values(True).row_height(0.8)


def _stat(panel: Panel, view: View) -> stat.Panel:
    builder = stat.Panel()
    _add_series(builder, panel, view)
    _paint(builder, panel, view.language)
    return _number(builder)


def _number(builder: stat.Panel, fields: str = "") -> stat.Panel:
    reduce = common.ReduceDataOptions().values(False).calcs(["lastNotNull"]).fields(fields)
    builder.reduce_options(reduce).graph_mode(shapes.BigValueGraphMode.NONE)
    return builder.color_mode(shapes.BigValueColorMode.VALUE)


def _age(_panel: Panel, view: View) -> stat.Panel:
    query = view.dialect.newest(schema.PIPELINE, "readings")
    builder = stat.Panel().with_target(Made(query))
    return _number(builder, f"/^{view.dialect.age_field}$/")


def _table(panel: Panel, view: View) -> table.Panel:
    builder = table.Panel()
    many = len(panel.targets) > 1
    for ref, target in _lettered(panel):
        column = value_of(ref, many)
        query = view.dialect.rows(target.query, view.scope, ref, view.language, column)
        builder.with_target(Made(query))
    if many:
        _transform(builder, "filterFieldsByName", {"exclude": {"names": ["Time"]}})
        _transform(builder, "merge", {})
    _arrange(builder, panel, view, many=many)
    return builder


def _events(panel: Panel, view: View) -> table.Panel:
    builder = table.Panel().with_target(Made(view.dialect.events(view.scope, view.language)))
    _transform(builder, "sortBy", {"sort": [{"field": "Time", "desc": True}]})
    _arrange(builder, panel, view, many=False)
    return builder


def _arrange(builder: table.Panel, panel: Panel, view: View, *, many: bool) -> None:
    """Columns: order, names, units, words, colours; whatever else comes is hidden."""
    names = [_physical(column.field, view.language, many=many) for column in panel.columns]
    if panel.sort:
        by = _physical(panel.sort, view.language, many=many)
        _transform(builder, "sortBy", {"sort": [{"field": by, "desc": not panel.ascending}]})
    _transform(builder, "filterFieldsByName", {"include": {"names": names}})
    titles = [column.title.get(view.language) for column in panel.columns]
    order = {name: at for at, name in enumerate(names)}
    renamed = dict(zip(names, titles, strict=True))
    organised = {"excludeByName": {}, "indexByName": order, "renameByName": renamed}
    _transform(builder, "organize", organised)
    for name, column in zip(titles, panel.columns, strict=True):
        builder.override_by_name(name, _properties(column, view))


def _physical(field: str, language: Language, *, many: bool) -> str:
    if field in _NAMED:
        return f"{field}_{language}"
    return value_of(field, many) if len(field) == 1 else field


def _properties(column: model.Column, view: View) -> list[dashboard.DynamicConfigValue]:
    # Without it, an empty cell would say why the whole table is empty.
    found: list[tuple[str, Any]] = [("noValue", "-")]
    if column.unit != "text":
        found.append(("unit", grafana_unit(column.unit)))
    mappings = view.titles.get(column.titles, ()) or column.mappings
    if mappings:
        found.append(("mappings", _mappings(mappings, view.language)))
    lines = lines_of(column.limits, view.rules)
    steps = steps_of(lines) if lines else [(None, NO_COLOUR), *column.steps]
    if len(steps) > 1:
        cells = [{"value": at, "color": _in_text(colour)} for at, colour in steps]
        found.append(("thresholds", {"mode": "absolute", "steps": cells}))
    if len(steps) > 1 or any(colour for _, _, colour in column.mappings):
        found.append(("custom.cellOptions", {"type": "color-text"}))
    if column.link:
        # The clicked id itself where people see its name; beside a label, the id's own column.
        clicked = "__value.raw" if column.titles else "__data.fields.site"
        url = f"/d/{view.board_uid(column.link)}?var-site=${{{clicked}}}&${{__url_time_range}}"
        found.append(("links", [{"title": column.title.get(view.language), "url": url}]))
    if column.width:
        found.append(("custom.width", column.width))
    return [dashboard.DynamicConfigValue(id_val=key, value=value) for key, value in found]


def _in_text(colour: str) -> str:
    """Of a number: where a line would have no colour, it is written as all text is."""
    return "text" if colour == NO_COLOUR else colour


def _transform(builder: table.Panel, name: str, options: dict[str, Any]) -> None:
    builder.with_transformation(dashboard.DataTransformerConfig(id_val=name, options=options))


_KINDS: Final[dict[str, Callable[[Panel, View], Any]]] = {
    model.LINES: _lines,
    model.STEPS: _steps,
    model.STACKED: _stacked,
    model.STATES: _states,
    model.STAT: _stat,
    model.AGE: _age,
    model.TABLE: _table,
    model.EVENTS: _events,
}
