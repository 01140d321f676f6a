"""Every dashboard asks real servers, and they answer with what was written.

The city of ``tests/grafana/city.py`` stands in InfluxDB and in VictoriaMetrics; each dashboard is
filled in and asked as Grafana would. One moment in the past is "now", so that nothing depends on
the day on which the tests run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from collector.schema import STATEMENTS
from grafana.boards import BOARDS
from grafana.build import build, catalogue
from tests.databases import Database, InfluxDb, VictoriaMetrics
from tests.grafana import city
from tests.queries import Asked, Row, duration_ms, panels_of

END = int(datetime.fromisoformat("2026-03-05T10:17:23+08:00").timestamp() * 1000)
YESTERDAY = int(datetime.fromisoformat("2026-03-04T00:00:00+08:00").timestamp() * 1000)
DASHBOARDS = {name: json.loads(text) for name, text in build(catalogue()).items()}
DIALECTS = ("influxql", "promql")


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Database]]:
    """A filled server for each dialect. VictoriaMetrics with its cache, as in service: with it,
    it moves the ends of long ranges to multiples of the step."""
    influx = InfluxDb(tmp_path_factory.mktemp("influx"))
    victoria = VictoriaMetrics(tmp_path_factory.mktemp("vm"), "-search.disableCache=false")
    with influx, victoria:
        for database in (influx, victoria):
            city.fill(database, END)
        yield {"influxql": influx, "promql": victoria}


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def ask(
    databases: dict[str, Database], dialect: str, board: str, back: str = "", language: str = "en",
    **chosen: list[str],
) -> Asked:  # fmt: skip
    """One dashboard over its own range, or over ``back``."""
    dashboard = DASHBOARDS[f"{dialect}/{language}/{board}.json"]
    length = back or dashboard["time"]["from"].removeprefix("now-")
    return Asked(dashboard, databases[dialect], END - duration_ms(length), END, chosen)


def column(rows: list[Row], ref: str) -> dict[tuple[str, ...], float]:
    """A table's or number's values of one target, by their tags."""
    found = {}
    for row in rows:
        if row["ref"] == ref:
            tags = {key: value for key, value in row.items() if isinstance(value, str)}
            tags.pop("ref")
            (value,) = (row[key] for key in row if key.lower().startswith("value"))
            found[tuple(tags[key] for key in sorted(tags))] = value
    return found


def series(rows: list[Row], ref: str = "A", **tags: str) -> dict[int, float]:
    return {
        row["time"]: row["value"]
        for row in rows
        if row["ref"] == ref and all(row.get(key) == value for key, value in tags.items())
    }


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_panel_every_variable_and_every_mark_has_data(
    databases: dict[str, Database], name: str
) -> None:
    dialect, language, file = name.split("/")
    asked = ask(databases, dialect, file.removesuffix(".json"), language=language)
    empty = [title for title, rows in asked.panels.items() if not rows]
    empty += [one for one, values in asked.variables.items() if not values]
    empty += [one for one, rows in asked.marks.items() if not rows]
    assert not empty
    assert len(asked.panels) == len(panels_of(DASHBOARDS[name]))


@pytest.mark.parametrize("board", [board.id for board in BOARDS])
def test_both_databases_say_the_same_in_numbers_and_tables(
    databases: dict[str, Database], board: str
) -> None:
    influx, victoria = (ask(databases, dialect, board) for dialect in DIALECTS)
    for panel in panels_of(influx.dashboard):
        title, kind = panel["title"], panel["type"]
        if kind not in {"stat", "table"} or title in {"Last written", "Fired and over"}:
            continue
        for target in panel["targets"]:
            ref = target["refId"]
            one, other = (column(asked.panels[title], ref) for asked in (influx, victoria))
            assert one == pytest.approx(other), (title, ref)


@pytest.mark.parametrize("back", ["24h", "90d"])
def test_a_corrected_day_shows_its_last_value_at_the_days_own_midnight(
    databases: dict[str, Database], dialect: str, back: str
) -> None:
    asked = ask(databases, dialect, "energy", back)
    days = series(asked.panels["Electricity, each day"], site="print", place="main")
    before = YESTERDAY - city.DAY
    assert days == {before - city.DAY: 2400, before: 2400, YESTERDAY: city.CORRECTED}
    largest = series(
        ask(databases, dialect, "overview").panels[
            "Electricity per day: each site's largest meter"
        ],
        site="print",
    )
    assert largest == days


def test_amounts_over_the_range_count_each_quarter_once(
    databases: dict[str, Database], dialect: str
) -> None:
    asked = ask(databases, dialect, "energy", "6h", site=["print"], place=["main"])
    first = (END - duration_ms("6h")) // city.QUARTER + 1
    quarters = END // city.QUARTER - first  # the last one has not closed yet
    rows = column(asked.panels["Amounts over the range: every counter"], "A")
    assert rows == {("main", "energy.active.import", "print"): pytest.approx(25.0 * quarters)}


def test_completeness_takes_the_corrected_hours(
    databases: dict[str, Database], dialect: str
) -> None:
    asked = ask(databases, dialect, "quality", "24h")
    shares = column(asked.panels["Completeness by place"], "D")
    assert shares[("main", "hospital")] == pytest.approx(0.75)
    assert shares[("main", "print")] == 1
    assert column(asked.panels["Completeness"], "A") == {(): pytest.approx(0.9375)}


def test_a_mean_never_mixes_with_the_readings(databases: dict[str, Database], dialect: str) -> None:
    asked = ask(databases, dialect, "voc-outlet")
    values = set(series(asked.panels["NMHC: readings, worst of each step"]).values())
    assert values == {city.NMHC, city.PEAK}
    means = series(asked.panels["NMHC: mean of each hour"])
    whole = [time for time in means if time >= END - 23 * city.HOUR]
    peak = (END - city.PEAK_AGE) // city.HOUR * city.HOUR
    assert max(means[time] for time in whole if time != peak) == city.NMHC
    assert means[peak] == pytest.approx((11 * city.NMHC + city.PEAK) / 12)


def test_the_treatments_meter_is_chosen_apart_from_the_outlet(
    databases: dict[str, Database], dialect: str
) -> None:
    asked = ask(databases, dialect, "voc-outlet", outlet=["stack"], meter=["rto"])
    power = asked.panels["Power of the treatment"]
    assert {(row["site"], row["place"]) for row in power} == {("print", "rto")}
    assert asked.variables["outlet"] == [("Exhaust outlet DA001", "stack")]
    assert [value for _, value in asked.variables["meter"]] == ["main", "rto"]


def test_only_what_is_still_open_is_open(databases: dict[str, Database], dialect: str) -> None:
    asked = ask(databases, dialect, "warnings")
    for level in ("urgent", "severe", "serious", "minor"):
        assert list(column(asked.panels[f"Open: {level}"], "A").values()) == [1], level
    minutes = {
        key[2]: value for key, value in column(asked.panels["Open warnings"], "C").items()
    }  # level, place, rule, ...
    assert minutes == {
        "nmhc-outlet-general": 60,
        "gateway-silent": 30,
        "voltage-high": 120,
        "power-factor-low": 180,
    }


def test_history_has_a_row_for_each_beginning_and_end(
    databases: dict[str, Database], dialect: str
) -> None:
    asked = ask(databases, dialect, "warnings", language="zh")
    rows = asked.panels["发生与解除"]
    states = [row.get("Value", row.get("value")) for row in rows]
    assert (states.count(1), states.count(0)) == (5, 1)
    assert {"nmhc-outlet-general 预警"} < {row["title_zh"] for row in rows}
    assert len(asked.marks["预警发生"]) == 5
    assert len(asked.marks["预警解除"]) == 1


def test_each_hour_counts_what_happened_in_it(databases: dict[str, Database], dialect: str) -> None:
    asked = ask(databases, dialect, "warnings")
    fired = asked.panels["Warnings that fired each hour"]
    total = {ref: sum(series(fired, ref).values()) for ref in "ABCD"}
    assert total == {"A": 1, "B": 2, "C": 1, "D": 1}  # urgent to minor
    hour = (END - city.HOUR) // city.HOUR * city.HOUR
    assert series(fired, "A")[hour] == 1
    quality = ask(databases, dialect, "quality").panels["Invalid and marked readings of each hour"]
    assert {sum(series(quality, ref).values()) for ref in "ABCDEFGHIJKLMN"} == {0, 30, 1, 5}


def test_refused_is_what_came_in_the_range(databases: dict[str, Database], dialect: str) -> None:
    asked = ask(databases, dialect, "quality", "6h")
    rows = column(asked.panels["Refused: from whom, and why"], "B")
    assert rows == {("gateway:gw-1", "unknown-device"): pytest.approx(720, abs=2)}


def test_a_choice_narrows_the_choices_after_it_and_every_panel(
    databases: dict[str, Database], dialect: str
) -> None:
    asked = ask(databases, dialect, "energy", county=["620503"])
    assert asked.variables["site"] == [("Qinzhou Hospital", "hospital")]
    assert asked.variables["place"] == [("Main supply", "main")]
    asked = ask(databases, dialect, "energy", site=["hospital"])
    sites = {row["site"] for rows in asked.panels.values() for row in rows}
    assert sites == {"hospital"}


def test_several_can_be_chosen_and_signs_in_an_id_mean_themselves(
    databases: dict[str, Database], dialect: str
) -> None:
    asked = ask(databases, dialect, "energy", site=["print", "hospital"], place=["main"])
    power = asked.panels["Active power"]
    assert {(row["site"], row["place"]) for row in power} == {
        ("print", "main"),
        ("hospital", "main"),
    }
    asked = ask(databases, dialect, "energy", place=["m.in"])
    assert not asked.panels["Active power"]


def test_sites_at_a_glance_holds_a_row_for_each_site_and_one_for_none(
    databases: dict[str, Database], dialect: str
) -> None:
    rows = ask(databases, dialect, "overview", language="zh").panels["各单位一览"]
    labels = {row["site"]: row.get("label_zh") for row in rows if row["ref"] == "A"}
    assert labels == {"print": "陇南路印刷厂 [print]", "hospital": "秦州医院 [hospital]"}
    assert column(rows, "B") == {("print",): 1, ("hospital",): 2, ("-",): 1}
    assert column(rows, "D") == {("print",): city.PEAK}
    closed = END // city.QUARTER - ((END - city.DAY) // city.QUARTER + 1)
    used = {("print",): 25.0 * closed, ("hospital",): 10.0 * closed}
    assert column(rows, "E") == pytest.approx(used)


def test_the_newest_row_is_told(databases: dict[str, Database]) -> None:
    newest = END // city.MINUTE * city.MINUTE
    influx: Any = ask(databases, "influxql", "pipeline").panels["Last written"][0]
    assert influx["time"] == newest
    victoria = ask(databases, "promql", "pipeline").panels["Last written"][0]
    assert newest - city.MINUTE <= victoria["value"] <= newest


def test_rates_are_per_second(databases: dict[str, Database], dialect: str) -> None:
    rates = series(ask(databases, dialect, "pipeline").panels["Readings per second"])
    assert list(rates.values()) == pytest.approx([10.0] * len(rates))


def test_the_city_writes_only_names_of_the_schema() -> None:
    for row in city.statements(END):
        known = STATEMENTS[row.measurement]
        assert set(row.tags) == set(known.tags), row
        assert set(row.fields) <= set(known.fields), row
        assert set(row.texts) == set(known.texts), row
