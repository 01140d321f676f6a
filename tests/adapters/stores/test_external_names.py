"""Hostile names come back from the real VictoriaMetrics and InfluxDB as they were sent, asked for
past the program."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import numpy as np
import pytest

from adapters.projection.store import ProjectedStore
from adapters.stores.external import Database, Target
from adapters.stores.influx import InfluxDatabase
from adapters.stores.line import LineEncoder, PointNames, statement_line
from adapters.stores.victoria import VictoriaDatabase
from collector.errors import RejectedError
from collector.model import Batch, Quality
from collector.schema import Statement
from tests.adapters.stores.line_parser import replaced
from tests.databases import InfluxDb, VictoriaMetrics

NOW = int(time.time()) * 1000
"""Databases judge times by their own clock."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("servers")
    with ExitStack() as stack:
        vm = stack.enter_context(VictoriaMetrics(folder / "vm"))
        influx = stack.enter_context(InfluxDb(folder / "influx"))
        yield {"victoria-metrics": vm, "influxdb": influx}


@pytest.fixture(params=["victoria-metrics", "influxdb"])
def real(request: pytest.FixtureRequest, servers: dict[str, Any]) -> Iterator[tuple[Any, Database]]:
    server = servers[request.param]
    target = Target("db", request.param, server.url, version=1, bucket="meterwatch")
    make = InfluxDatabase if request.param == "influxdb" else VictoriaDatabase
    with closing(make(target)) as database:
        yield server, database


NAMES = [
    "a,b", "a b", "a=b", 'a"b', '"', '"a b"', "a'b", "a\\b", "\\", "a\\", "\\,", "a\\ b", "a\nb",
    "\n", "\r\n", " ", "  a", "a ", ",", "=", "==", "a,site=x", "a b=1 2", "#", "# a",
    "一号锅炉房", "，", "é\u0301", "a\tb", "{x}", "a/b", "(.*)", "$1", "[0-9]+", "%41", "&db=x",
    "\u2028", "\U0001f600", "", "-", "x" * 2000,
]  # fmt: skip


def tags_held(server: Any, measurement: str, field: str) -> list[tuple[dict[str, str], list]]:
    """Every series of a field, with its tags and rows (time, value), past the program."""
    if isinstance(server, InfluxDb):
        return [
            (one["tags"], [tuple(row) for row in one["values"]])
            for one in server.query(f'SELECT "{field}" FROM "{measurement}" GROUP BY *')
        ]
    return [
        (
            {name: text for name, text in one["metric"].items() if name != "__name__"},
            list(zip(one["timestamps"], one["values"], strict=True)),
        )
        for one in server.export(f'{{__name__="{measurement}_{field}"}}')
    ]


def test_hostile_names_come_back_as_they_were_sent(real: tuple[Any, Database]) -> None:
    server, database = real
    points = {
        at: PointNames("heat", "power", name, f"{name}{at}", f"q{name}", name, name)
        for at, name in enumerate(NAMES)
    }
    encoder = LineEncoder(points)
    store = ProjectedStore(database, encoder, NOW)
    ids = np.array(sorted(points), np.int32)
    store.write(Batch.of(ids, [NOW] * len(ids), ids + 0.5, received=NOW))
    bad = [Quality.FAULT] * len(ids)
    store.write(Batch.of(ids, [NOW + 1] * len(ids), ids + 0.25, bad, received=NOW))
    expected = {
        at: ({name: replaced(text) for name, text in one.tags().items()}, [(NOW, at + 0.5)])
        for at, one in points.items()
    }
    found = {int(rows[0][1]): (tags, rows) for tags, rows in tags_held(server, "heat", "power")}
    assert found == expected
    marked = {
        int(rows[0][1]): tags
        for tags, rows in tags_held(server, "quality", "value")
        if tags["quantity"].startswith("q")
    }
    assert marked == {
        at: {name: replaced(text) for name, text in one.quality_tags().items()}
        for at, one in points.items()
    }


def test_hostile_names_are_found_again_by_the_program(real: tuple[Any, Database]) -> None:
    """As far as nothing in them is replaced."""
    server, database = real
    plain = [name for name in NAMES if replaced(name) == name]
    points = {
        at: PointNames("water", "flow", name, f"{name}{at}", f"water{name}", name, name)
        for at, name in enumerate(plain)
    }
    store = ProjectedStore(database, LineEncoder(points), NOW)
    ids = np.array(sorted(points), np.int32)
    store.write(Batch.of(ids, [NOW] * len(ids), ids + 0.5, received=NOW))
    if isinstance(server, VictoriaMetrics):
        server.flush()
    for at in points:
        series = store.read(at, NOW - 5, NOW + 5)
        assert (series.time.tolist(), series.value.tolist()) == ([NOW], [at + 0.5]), plain[at]
    sums = database.sums("water", NOW - 5, NOW + 5)
    assert sums == {
        ("water", one.site, one.place, one.statistic, "flow"): (1, at + 0.5)
        for at, one in points.items()
    }


def test_hostile_texts_come_back_as_they_were_sent(real: tuple[Any, Database]) -> None:
    server, database = real
    for at, text in enumerate(NAMES):
        one = Statement(
            "place_info",
            {"county": "c", "outlet": "no", "place": f"p{at}", "site": text},
            {"interval": 60.0},
            NOW,
            {"label_zh": text, "label_en": f"{text} [x]"},
        )
        database.write(statement_line(one, database.dialect))
    if isinstance(server, InfluxDb):
        found = {}
        for series in server.query('SELECT "label_zh", "label_en" FROM "place_info" GROUP BY *'):
            found[series["tags"]["place"]] = series["values"][0][1:]
        as_text = [text.replace("\n", " ").replace("\r", " ") for text in NAMES]
        assert found == {f"p{at}": [text, f"{text} [x]"] for at, text in enumerate(as_text)}
    else:
        found = {
            tags["place"]: [tags["label_zh"], tags["label_en"]]
            for tags, _ in tags_held(server, "place_info", "interval")
        }
        assert found == {
            f"p{at}": [replaced(text), replaced(f"{text} [x]")] for at, text in enumerate(NAMES)
        }


def test_a_tag_of_64_kib_is_refused_and_the_others_arrive(real: tuple[Any, Database]) -> None:
    server, database = real
    points = {
        at: PointNames("gas", "flow", "c", f"p{at}", "gas.flow", site, "raw")
        for at, site in enumerate(["s", "x" * 65_536, "t"])
    }
    for position in range(3):
        order = np.roll(np.arange(3, dtype=np.int32), position)
        store = ProjectedStore(database, LineEncoder(points), NOW)
        with pytest.raises(RejectedError) as caught:
            store.write(Batch.of(order, [NOW + position] * 3, order * 1.0, received=NOW))
        (row,) = caught.value.reasons
        assert order[row] == 1
        assert "names of more than" in caught.value.reasons[row]
    held = {tags["site"]: len(rows) for tags, rows in tags_held(server, "gas", "flow")}
    assert held == {"s": 3, "t": 3}


def test_the_longest_names_that_are_sent_arrive_whole(real: tuple[Any, Database]) -> None:
    server, database = real
    site = "x" * 15_900
    points = {1: PointNames("fuel", "flow", "c", "p", "fuel.flow", site, "raw")}
    store = ProjectedStore(database, LineEncoder(points), NOW)
    store.write(Batch.of([1], [NOW], [2.0], [Quality.SUBSTITUTED], received=NOW))
    ((tags, rows),) = tags_held(server, "fuel", "flow")
    assert tags["site"] == site
    assert rows == [(NOW, 2.0)]
