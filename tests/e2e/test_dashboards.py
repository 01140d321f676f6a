"""From the meter to the dashboard: a day that the program lived through, in both databases.

Nothing here is written into a database by hand. Simulated meters, a gateway and a broker bring the
day of ``tests/e2e/day.py``; the program reads, judges, books and projects it; every dashboard asks
as Grafana would. What the numbers must be is worked out from the meters, past the program.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from adapters.projection.verify import days, differences
from adapters.stores.archive_reader import ArchiveReader
from adapters.stores.external import Database as External
from adapters.stores.external import Target
from adapters.stores.influx import InfluxDatabase
from adapters.stores.line import names_of_point
from adapters.stores.victoria import VictoriaDatabase
from collector.quantities import quantities
from collector.schema import metric_of, names_of
from grafana.build import build, catalogue
from meterwatch.fleet import parse, read_files
from rules.life import Limit
from tests.e2e import day
from tests.e2e.day import DAY, HOUR, MIDNIGHT, MINUTE, NMHC, QUARTER
from tests.e2e.day_run import GARBAGE, LivedDay, lived
from tests.queries import Asked, Row, duration_ms, panels_of

pytestmark = pytest.mark.timeout(300)
"""The first test waits for the whole day, on a machine that may have other work."""
DASHBOARDS = {name: json.loads(text) for name, text in build(catalogue()).items()}
DIALECTS = ("influxql", "promql")
STACK = ("print", "stack")
YARD = ("hospital", "yard")


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivedDay]:
    with lived(tmp_path_factory.mktemp("day")) as made:
        yield made


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def ask(
    city: LivedDay, dialect: str, board: str, start: int = 0, end: int = 0, language: str = "en",
    **chosen: list[str],
) -> Asked:  # fmt: skip
    """One dashboard over its own range up to the end, or from ``start`` to ``end``."""
    dashboard = DASHBOARDS[f"{dialect}/{language}/{board}.json"]
    end = end or city.end
    start = start or end - duration_ms(dashboard["time"]["from"].removeprefix("now-"))
    return Asked(dashboard, city.databases[dialect], start, end, chosen)


def table(rows: list[Row], ref: str, *tags: str) -> dict[tuple[str, ...], float]:
    """One column of a table, by ``tags``."""
    return {
        tuple(row[tag] for tag in tags): _value(row) for row in rows if row["ref"] == ref
    }  # fmt: skip


def series(rows: list[Row], site: str, place: str) -> dict[int, float]:
    return {
        row["time"]: row["value"] for row in rows if (row["site"], row["place"]) == (site, place)
    }


def _value(row: Row) -> float:
    (key,) = (key for key in row if key.lower().startswith("value"))
    return float(row[key])


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_query_every_variable_and_every_mark_has_data(city: LivedDay, name: str) -> None:
    dialect, language, file = name.split("/")
    asked = ask(city, dialect, file.removesuffix(".json"), language=language)
    empty = [one for one, values in asked.variables.items() if not values]
    empty += [one for one, rows in asked.marks.items() if not rows]
    for panel in panels_of(DASHBOARDS[name]):
        answered = {row["ref"] for row in asked.panels[panel["title"]]}
        silent = [one for one in panel["targets"] if one["refId"] not in answered]
        if panel["title"] == BY_MARK[language]:
            assert len(answered) == 3, "no value, impossible, set by hand"
            continue
        empty += [f"{panel['title']}: {one.get('query') or one['expr']}" for one in silent]
    assert not empty


BY_MARK = {
    "zh": "每小时无效与带标记的读数，按标记",
    "en": "Invalid and marked readings of each hour",
}
"""The panel with a query for each mark that a reading can have: the day had three."""


def test_both_databases_hold_what_the_archive_does(city: LivedDay, dialect: str) -> None:
    fleet = parse(read_files(city.folder))
    external = _external(city, dialect)
    archive = ArchiveReader(city.folder / "data" / "archive.db")
    with contextlib.closing(external), contextlib.closing(archive):
        names = archive.point_names()
        points = {
            number: known
            for number, name in enumerate(names)
            if (known := names_of_point(name, fleet.registry)) is not None
        }
        for start, end in days(day.START - DAY, city.end + DAY):
            assert differences(archive, external, points, names, start, end) == []


def _external(city: LivedDay, dialect: str) -> External:
    if dialect == "influxql":
        where = Target("db", "influxdb", city.influx.url, version=1, bucket="meterwatch")
        return InfluxDatabase(where)
    return VictoriaDatabase(Target("db", "victoria-metrics", city.victoria.url))


def test_every_quantity_came_through(city: LivedDay) -> None:
    wanted = {names_of(name) for name in quantities()}
    held = {
        (one["name"], field)
        for one in city.influx.query("SHOW FIELD KEYS")
        for field, _ in one["values"]
    }
    assert wanted <= held
    _, body = city.victoria.request(
        "GET", f"/api/v1/label/__name__/values?start={day.START // 1000}"
    )
    assert {metric_of(*names) for names in wanted} <= set(json.loads(body)["data"])


@pytest.mark.parametrize(
    ("site", "what"),
    [("print", "rolls over"), ("hospital", "is reset"), ("paper", "is away for hours")],
)
def test_a_days_consumption_is_what_its_meter_counted(
    city: LivedDay, dialect: str, site: str, what: str
) -> None:
    days = series(ask(city, dialect, "energy").panels["Electricity, each day"], site, "main")
    assert days.keys() == {MIDNIGHT - DAY, MIDNIGHT}, what
    assert days[MIDNIGHT] == pytest.approx(day.used(MIDNIGHT, MIDNIGHT + DAY), abs=1e-6)
    largest = ask(city, dialect, "overview").panels[
        "Electricity per day: each site's largest meter"
    ]
    (shown,) = (row["value"] for row in largest if (row["site"], row["time"]) == (site, MIDNIGHT))
    assert shown == days[MIDNIGHT]


def test_every_counter_has_its_amount(city: LivedDay, dialect: str) -> None:
    asked = ask(city, dialect, "energy", day.hour(3), day.hour(9) - MINUTE)
    rows = asked.panels["Amounts over the range: every counter"]
    amounts = table(rows, "A", "site", "place", "quantity")
    counters = {
        (*key, name)
        for key, (_, _, names) in day.DEVICES.items()
        for name in names
        if quantities()[name].kind == "counter"
    }
    assert amounts.keys() == counters | {("paper", "main", day.ENERGY)}
    # The quarter that begins with the range is in it or not, as each database takes its bounds.
    most = day.used(day.hour(3), day.hour(9))
    ways = [most, most - day.used(day.hour(3), day.hour(3) + QUARTER)]
    for key, amount in amounts.items():
        assert any(amount == pytest.approx(way, abs=1e-6) for way in ways), (key, amount, ways)


def test_late_data_corrected_the_quarters_that_were_closed(city: LivedDay, dialect: str) -> None:
    left, back = day.AWAY
    asked = ask(city, dialect, "energy", left - HOUR, back + HOUR, site=["paper"], place=["main"])
    told = series(asked.panels["Electricity, each quarter of an hour"], "paper", "main")
    for at in range(left, back, QUARTER):
        assert told[at] == pytest.approx(day.used(at, at + QUARTER), abs=1e-6), (
            at - MIDNIGHT
        ) / HOUR
    if dialect == "promql":  # InfluxDB has replaced what it was told first
        match = 'books_amount{site="paper",span="15m",quantity="energy.active.import"}'
        (held,) = city.victoria.export(match)
        first: dict[int, float] = {}
        for at, value in zip(held["timestamps"], held["values"], strict=True):
            first.setdefault(at // QUARTER * QUARTER, value)  # corrections stand behind it
        wrong = [at for at in range(left, back, QUARTER) if abs(first[at] - told[at]) > 0.01]
        assert len(wrong) > 10, "they were told before they were right"


def test_nmhc_is_shown_with_its_maximum_and_its_limits(city: LivedDay, dialect: str) -> None:
    start = city.end - DAY
    read = city.meters.values(STACK, NMHC, start, city.end)
    worst = max(value for value in read.values() if not math.isnan(value))
    glance = ask(city, dialect, "overview").panels["Sites at a glance"]
    assert table(glance, "D", "site") == {("print",): worst}
    asked = ask(city, dialect, "voc-outlet", outlet=["stack"])
    title = "NMHC: readings, worst of each step"
    shown = series(asked.panels[title], *STACK)
    assert max(shown.values()) == worst
    assert not any(start < at < end for at in shown for start, end in [_inside(day.NO_NMHC)])
    (panel,) = (one for one in panels_of(asked.dashboard) if one["title"] == title)
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    rules = [catalogue().rules[f"nmhc-outlet-{name}"].settings for name in _LIMITS]
    limits = dict(
        zip(_LIMITS, [rule.limit for rule in rules if isinstance(rule, Limit)], strict=True)
    )
    assert limits == _LIMITS
    assert set(limits.values()) <= {step["value"] for step in steps}


_LIMITS = {"general": 120, "printing": 70}


def _inside(span: tuple[int, int]) -> tuple[int, int]:
    """Where a step of a few minutes holds nothing from outside of ``span``."""
    return span[0] + 5 * MINUTE, span[1] - 5 * MINUTE


FIRED = {
    "nmhc-outlet-general": 2,
    "nmhc-outlet-printing": 2,
    "gateway-silent": 1,
    "device-silent": 1,
    "energy-counter-backwards": 2,
    "treatment-not-running": 1,
    "voltage-high": 1,
    "power-factor-low": 1,
}
STILL_OPEN = {"nmhc-outlet-general", "nmhc-outlet-printing", "voltage-high", "power-factor-low"}


def test_warnings_are_those_of_the_day(city: LivedDay, dialect: str) -> None:
    asked = ask(city, dialect, "warnings")
    fired = table(asked.panels["By rule"], "A", "rule")
    assert {rule: count for (rule,), count in fired.items()} == FIRED
    assert {row["rule"] for row in asked.panels["Open warnings"]} == STILL_OPEN
    for level in ("urgent", "severe", "serious", "minor"):
        (row,) = asked.panels[f"Open: {level}"]
        assert _value(row) == 1, level
    states = Counter(_value(row) for row in asked.panels["Fired and over"])
    over = sum(FIRED.values()) - len(STILL_OPEN)
    assert states == {1: sum(FIRED.values()), 0: over}
    assert len(asked.marks["Warning fired"]) == sum(FIRED.values())
    assert len(asked.marks["Warning resolved"]) == over


def test_a_warning_has_the_time_of_its_readings(city: LivedDay, dialect: str) -> None:
    rule = catalogue().rules["nmhc-outlet-general"]
    rows = ask(city, dialect, "warnings").panels["Fired and over"]
    fired = sorted(
        row["time"] for row in rows if row["rule"] == rule.id and _value(row) == 1
    )  # fmt: skip
    assert fired == [start + 5 * MINUTE for start, _ in day.TOO_HIGH]


def test_completeness_counts_what_was_asked_in_vain(city: LivedDay, dialect: str) -> None:
    rows = ask(city, dialect, "quality").panels["Completeness by place"]
    hours = (city.end - 10 * MINUTE) // HOUR - day.START // HOUR
    last = day.START + hours * HOUR
    for key, (_, interval, names) in day.DEVICES.items():
        expected = hours * 3600 // interval * len(names)
        came = sum(at < last for at in city.meters.asked[key]) * len(names)
        invalid = 21 if key == STACK else 0  # 20 without NMHC, and one that cannot be
        found = [table(rows, ref, "site", "place")[key] for ref in "ABCD"]
        assert found == [expected, came - invalid, invalid, pytest.approx(found[1] / found[0])]
    yard = table(rows, "D", "site", "place")[YARD]
    assert 22 / hours <= yard < 24 / hours  # two hours of them, but for the way back


def test_the_hours_of_the_silent_station_have_a_hole(city: LivedDay, dialect: str) -> None:
    asked = ask(city, dialect, "quality", MIDNIGHT, city.end, place=["yard"])
    shares = {
        row["time"]: row["value"] for row in asked.panels["Completeness of each hour, by site"]
    }
    assert shares[day.hour(9)] == 1
    assert shares[day.hour(10)] == pytest.approx(1 / 12)  # it still answered at ten
    assert shares[day.hour(11)] == 0


def test_what_was_invalid_or_marked_is_counted_by_point(city: LivedDay, dialect: str) -> None:
    rows = ask(city, dialect, "quality").panels["Points with the most of them"]
    assert table(rows, "A", "site", "place", "quantity") == {
        (*STACK, NMHC): 20,
        (*STACK, "voc.toluene.concentration"): 1,
        ("paper", "main", "power.active"): 1,
    }


def test_everything_that_was_refused_is_counted(city: LivedDay, dialect: str) -> None:
    rows = ask(city, dialect, "quality").panels["Refused: from whom, and why"]
    times: Any = len(GARBAGE)
    about = ("origin", "reason")
    assert table(rows, "A", *about) == {
        ("gateway:gw-paper", "unknown-device"): times,
        ("gateway:gw-paper", "unreadable-payload"): times,
    }
    assert table(rows, "B", *about)["gateway:gw-paper", "unknown-device"] == times * len(day.PUSHED)


def test_people_choose_sites_by_name(city: LivedDay, dialect: str) -> None:
    choices = ask(city, dialect, "energy", language="zh").variables["site"]
    assert sorted(choices) == sorted((zh, site) for site, (_, _, zh, _) in day.SITES.items())
    choices = ask(city, dialect, "energy", county=["620503"]).variables["place"]
    assert {place for _, place in choices} == {
        place for site, place in day.DEVICES if site == "hospital"
    }
