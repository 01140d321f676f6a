"""Line protocol, read back by a parser of the test's own: what a row says is what its line says.

Names are as hostile as a string can be; what the encoder replaces in them is in
:func:`~tests.adapters.stores.line_parser.replaced`, and nothing else may change.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.stores.line import (
    FIRST_TIME,
    LAST_TIME,
    MAX_KEY_BYTES,
    NO_POINT,
    TOO_EARLY,
    TOO_LATE,
    Dialect,
    LineEncoder,
    PointNames,
    narrowed,
    statement_line,
)
from collector.model import VALID_BELOW, Quality
from collector.schema import STATEMENTS, Statement
from tests.adapters.stores.line_parser import Line, parsed, replaced

# --- what is encoded


HOSTILE = st.text(
    st.one_of(
        st.sampled_from(", =\"\\\n\r\t'#{}\0；，中文é\u2028"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=6,
)
FIELDS = ("power_active", "voltage_l1", "energy_active_import")
IDS = (0, 1, 2, 7, 63, 64, 70_000, 2**22, 2**31 - 1)


@st.composite
def fleets(draw: st.DrawFn) -> dict[int, PointNames]:
    """Points by id: some share a place, so that their readings can share a line."""
    found = {}
    for number in draw(st.sets(st.sampled_from(IDS), max_size=6)):
        shared = draw(st.booleans())
        found[number] = PointNames(
            measurement="electricity",
            field=FIELDS[len(found) % 3],
            county=draw(HOSTILE),
            place="main" if shared and len(found) < 3 else draw(HOSTILE) + str(number),
            quantity=draw(HOSTILE) + str(number),
            site=draw(HOSTILE),
            statistic="raw" if shared else draw(HOSTILE),
        )
    # Of one place the tags are one: the county follows from the site.
    county = {one.site: one.county for one in found.values()}
    return {
        number: PointNames(
            one.measurement, one.field, county[one.site], one.place, one.quantity, one.site,
            one.statistic,
        )
        for number, one in found.items()
    }  # fmt: skip


LIMIT = 1_700_000_000_000
TIMES = st.one_of(
    st.sampled_from([LIMIT, LIMIT + 1, LIMIT + 2]),
    st.sampled_from([0, -1, FIRST_TIME, FIRST_TIME - 1, LAST_TIME, LAST_TIME + 1, -(2**63)]),
    st.integers(-(2**63), 2**63 - 1),
)
VALUES = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -200.0, 5e-324, 1.7e308, 1e22, 0.1, math.nan, math.inf]),
    st.floats(),
)


@dataclass(frozen=True)
class Rows:
    points: dict[int, PointNames]
    rows: list[tuple[int, int, float, int]]
    low: int
    high: int
    part_bytes: int

    def column(self, at: int, kind: type) -> np.ndarray:
        return np.array([row[at] for row in self.rows], kind)


@st.composite
def batches(draw: st.DrawFn) -> Rows:
    """Rows in any order, many of them with a point and time that others have, too."""
    points = draw(fleets())
    row = st.tuples(
        st.one_of(st.sampled_from(sorted(points) or [3]), st.sampled_from((3, 65, 2**31 - 2, -1))),
        TIMES,
        VALUES,
        st.sampled_from([int(quality) for quality in Quality]),
    )
    rows = draw(st.lists(row, max_size=25))
    low = draw(st.sampled_from([FIRST_TIME, -(2**63), LIMIT]))
    high = draw(st.sampled_from([LAST_TIME, 2**63 - 1, LIMIT + 1]))
    return Rows(points, rows, low, high, draw(st.sampled_from([1, 40, 200, 1 << 20])))


def encode(given_: Rows, barred: np.ndarray | None = None):
    encoder = LineEncoder(given_.points)
    return encoder, encoder.encode(
        given_.column(0, np.int32),
        given_.column(1, np.int64),
        given_.column(2, np.float64),
        given_.column(3, np.uint8),
        low=given_.low,
        high=given_.high,
        part_bytes=given_.part_bytes,
        barred=barred,
    )


def expected(given_: Rows) -> tuple[dict, dict, dict[str, list[int]]]:
    """Readings and marks by series and time, in the order of the rows; refused rows by reason."""
    readings: dict = {}
    marks: dict = {}
    refused: dict[str, list[int]] = {}
    for at, (point, time, value, quality) in enumerate(given_.rows):
        names = given_.points.get(point)
        if names is None:
            refused.setdefault(NO_POINT, []).append(at)
        elif time < max(given_.low, FIRST_TIME):
            refused.setdefault(TOO_EARLY, []).append(at)
        elif time > min(given_.high, LAST_TIME):
            refused.setdefault(TOO_LATE, []).append(at)
        else:
            valid = quality < VALID_BELOW and math.isfinite(value)
            if valid:
                key = (names.measurement, _tags(names.tags()), names.field, time)
                readings.setdefault(key, []).append(bits(value))
            if not valid or quality != Quality.GOOD:
                told = bits(value) if math.isfinite(value) and quality >= VALID_BELOW else None
                key = (_tags(names.quality_tags()), time)
                marks.setdefault(key, []).append((quality, told))
    return readings, marks, refused


def _tags(tags: Mapping[str, str]) -> frozenset:
    return frozenset((name, replaced(text)) for name, text in tags.items())


def bits(value: float) -> bytes:
    """A float as itself: -0 is another than 0."""
    return struct.pack("<d", value)


def found(text: bytes) -> tuple[dict, dict]:
    readings: dict = {}
    marks: dict = {}
    for line in parsed(text):
        tags = frozenset(line.tags.items())
        if line.measurement == "quality":
            told = bits(line.fields["value"]) if "value" in line.fields else None
            marks.setdefault((tags, line.time), []).append((line.fields["code"], told))
            continue
        for field, value in line.fields.items():
            key = (line.measurement, tags, field, line.time)
            readings.setdefault(key, []).append(bits(value))
    return readings, marks


# --- the promises


@given(batches())
def test_every_row_is_in_one_line_exactly_or_refused_with_its_reason(given_: Rows) -> None:
    _, encoded = encode(given_)
    readings, marks, refused = expected(given_)
    assert found(b"".join(encoded.parts)) == (readings, marks)
    assert {why: rows.tolist() for why, rows in encoded.refused.items()} == refused
    assert encoded.rows == len(given_.rows) - sum(map(len, refused.values()))


@given(batches())
def test_parts_are_cut_between_lines_and_bounded(given_: Rows) -> None:
    _, encoded = encode(given_)
    for part in encoded.parts:
        assert part.endswith(b"\n")
        assert len(part) <= given_.part_bytes or part.count(b"\n") == 1
    for part, following in zip(encoded.parts, encoded.parts[1:], strict=False):
        first = following[: following.index(b"\n") + 1]
        assert len(part) + len(first) > given_.part_bytes, "one part would have done"


@given(batches(), st.data())
def test_barred_rows_are_not_sent_and_the_others_are(given_: Rows, data: st.DataObject) -> None:
    barred = np.array([data.draw(st.booleans()) for _ in given_.rows], np.bool_)
    _, encoded = encode(given_, barred)
    rest = [row for row, out in zip(given_.rows, barred, strict=True) if not out]
    kept = Rows(given_.points, rest, given_.low, given_.high, given_.part_bytes)
    assert found(b"".join(encoded.parts)) == expected(kept)[:2]


@given(batches())
def test_narrowed_lines_say_the_same_and_lead_back_to_their_points(given_: Rows) -> None:
    encoder, encoded = encode(given_)
    ids = {(one.measurement, _tags(one.tags()), one.field): at for at, one in given_.points.items()}
    marked = {_tags(one.quality_tags()): at for at, one in given_.points.items()}
    whole = b"".join(encoded.parts)
    narrow = []
    # Not splitlines of str: U+2028 is part of a name.
    for line in whole.splitlines(keepends=True):
        for one in narrowed(line):
            narrow.append(one)
            (told,) = parsed(one)
            tags = frozenset(told.tags.items())
            if told.measurement == "quality":
                assert encoder.point_of(one) == marked[tags]
            else:
                ((field, _),) = told.fields.items()
                assert encoder.point_of(one) == ids[told.measurement, tags, field]
    assert found(b"".join(narrow)) == found(whole)


@given(batches())
def test_ordered_rows_make_the_fewest_lines_and_say_the_same(given_: Rows) -> None:
    encoder = LineEncoder(given_.points)
    order = encoder.order(given_.column(0, np.int32), given_.column(1, np.int64))
    assert sorted(order.tolist()) == list(range(len(given_.rows)))
    rows = [given_.rows[at] for at in order]
    _, encoded = encode(Rows(given_.points, rows, given_.low, given_.high, 1 << 20))
    readings, marks, _ = expected(given_)
    assert found(b"".join(encoded.parts)) == (readings, marks)
    places = {(key[1], key[3]) for key in readings}
    repeated = max(map(len, readings.values()), default=0)
    lines = [one for one in parsed(b"".join(encoded.parts)) if one.measurement != "quality"]
    if repeated <= 1:
        assert len(lines) == len(places)


def test_a_point_that_nobody_made_a_line_of_is_none() -> None:
    encoder = LineEncoder({4: PointNames("electricity", "f", "c", "p", "q", "s", "raw")})
    assert encoder.point_of(b"electricity,site=other f=1 1\n") is None
    assert encoder.point_of(b"") is None


@pytest.mark.parametrize("over", [0, 1])
def test_names_that_are_too_long_are_refused_with_that_reason(over: int) -> None:
    def names(site: str) -> PointNames:
        return PointNames("electricity", "power_active", "c", "p", "power.active", site, "raw")

    head = len("quality,county=c,place=p,quantity=power.active,site=,statistic=raw")
    encoder = LineEncoder({1: names("s"), 2: names("长" + "x" * (MAX_KEY_BYTES - head - 3 + over))})
    encoded = encoder.encode(
        np.array([2, 1, 2], np.int32), np.array([5, 5, 6]), np.ones(3), np.zeros(3, np.uint8)
    )
    refused = {why: rows.tolist() for why, rows in encoded.refused.items()}
    assert refused == ({f"has names of more than {MAX_KEY_BYTES} bytes": [0, 2]} if over else {})
    assert len(parsed(b"".join(encoded.parts))) == (1 if over else 3)


# --- statements


@st.composite
def statements(draw: st.DrawFn) -> Statement:
    shape = STATEMENTS[draw(st.sampled_from(sorted(STATEMENTS)))]
    finite = st.floats(allow_nan=False, allow_infinity=False)
    return Statement(
        shape.name,
        {name: draw(HOSTILE) for name in shape.tags},
        {name: draw(finite) for name in shape.fields},
        draw(st.integers(FIRST_TIME, LAST_TIME - 100)),
        {name: draw(HOSTILE) for name in shape.texts},
        draw(st.integers(0, 100)),
    )


NOTHING = Statement(
    "alert_events", {"rule": ""}, {"state": 1.0}, 5, {"title_en": "", "title_zh": '\\"'}
)


@given(statements())
@example(NOTHING)
def test_influxdb_gets_texts_as_strings_and_the_time_as_it_is(one: Statement) -> None:
    (line,) = parsed(_with_empty(statement_line(one, Dialect.INFLUX)))
    texts = {
        name: text.replace("\n", " ").replace("\r", " ") or EMPTY
        for name, text in one.texts.items()
    }
    assert line == Line(
        one.measurement,
        {name: replaced(text) for name, text in one.tags.items()},
        {**one.fields, **texts},
        one.time,
    )


@given(statements())
@example(NOTHING)
def test_victoria_metrics_gets_texts_as_labels_and_corrections_later(one: Statement) -> None:
    (line,) = parsed(statement_line(one, Dialect.VICTORIA))
    labels = {**one.tags, **one.texts}
    assert line == Line(
        one.measurement,
        {name: replaced(text) for name, text in labels.items()},
        dict(one.fields),
        one.time + one.revision,
    )


@given(statements())
def test_a_line_with_texts_is_never_torn_apart(one: Statement) -> None:
    line = statement_line(one, Dialect.INFLUX)
    if one.texts:
        assert narrowed(line) == [line]


EMPTY = "\0empty"


def _with_empty(line: bytes) -> bytes:
    """An empty string is allowed as a field; the parser takes nothing for nothing."""
    return line.replace(b'=""', b'="' + EMPTY.encode() + b'"')
