"""Delivery to a real InfluxDB: one bad line, or several, in whatever position, costs the others
nothing, and not many requests either."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import pytest

from adapters.projection.delivery import deliver
from adapters.stores.external import Condition, Database, Held, LinesRejectedError, Sums, Target
from adapters.stores.influx import InfluxDatabase
from adapters.stores.line import Dialect, PointNames
from collector.errors import TemporaryError
from tests.databases import InfluxDb

TIME = 1_795_305_600_000
MEASUREMENTS = (f"m{number}" for number in itertools.count())


class Counting:
    """A real database, and how often it was written to; from ``fails_at`` on it takes nothing."""

    def __init__(self, real: Database, fails_at: int | None = None) -> None:
        self._real = real
        self._fails_at = fails_at
        self.requests = 0
        self.dialect = Dialect.INFLUX
        self.settle_ms = real.settle_ms
        self.replaces = real.replaces

    def write(self, lines: bytes) -> None:
        self.requests += 1
        if self.requests == self._fails_at:
            raise TemporaryError("gone in the middle of it")
        self._real.write(lines)

    def condition(self, now: int) -> Condition:
        return self._real.condition(now)

    def held(self, names: PointNames, start: int, end: int) -> Held:
        return self._real.held(names, start, end)

    def sums(self, measurement: str, start: int, end: int) -> Sums:
        return self._real.sums(measurement, start, end)

    def close(self) -> None:
        self._real.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxDb]:
    with InfluxDb(tmp_path_factory.mktemp("influx")) as real:
        yield real


@pytest.fixture
def database(server: InfluxDb) -> Iterator[Counting]:
    target = Target("db", "influxdb", server.url, version=1, bucket=server.database)
    made = Counting(InfluxDatabase(target))
    yield made
    made.close()


@pytest.fixture
def measurement(server: InfluxDb) -> str:
    """A new one, in which the field ``word`` is of strings: a number there is a conflict (in the
    same shard: InfluxDB 1 knows types by shard)."""
    name = next(MEASUREMENTS)
    line = b'%b,s=first word="of strings" %d\n' % (name.encode(), TIME)
    status, body = server.request("POST", "/write?db=meterwatch&precision=ms", line)
    assert status == 204, body
    return name


def good(measurement: str, at: int) -> bytes:
    return b"%b,s=a value=%d %d\n" % (measurement.encode(), at, TIME + at)


def conflict(measurement: str, at: int) -> bytes:
    return b"%b,s=a word=%d %d\n" % (measurement.encode(), at, TIME + at)


def garbage(measurement: str, at: int) -> bytes:
    return b"%b,s=a value= %d\n" % (measurement.encode(), TIME + at)


def held(server: InfluxDb, measurement: str, field: str = "value") -> set[int]:
    """Which of the rows are there."""
    series = server.query(f'SELECT "{field}" FROM "{measurement}" WHERE "s" = \'a\'')
    return {at - TIME for one in series for at, _ in one["values"]}


def most_requests(lines: int, bad: int) -> int:
    """Each bad line costs two requests for each halving that leads to it, and the first is one."""
    return 1 + bad * 2 * max(1, math.ceil(math.log2(max(2, lines))))


@pytest.mark.parametrize("wrong", [conflict, garbage])
@pytest.mark.parametrize("size", range(1, 21))
def test_one_bad_line_in_any_position(
    server: InfluxDb, database: Counting, measurement: str, size: int, wrong: object
) -> None:
    assert callable(wrong)
    for bad in range(size):
        first = bad * size  # rows of their own for each position
        lines = [good(measurement, first + at) for at in range(size)]
        lines[bad] = wrong(measurement, first + bad)
        database.requests = 0
        (rejected,) = deliver(database, b"".join(lines))
        assert rejected.line == lines[bad]
        expected = "field type conflict" if wrong is conflict else "missing field value"
        assert expected in rejected.reason
        assert database.requests <= most_requests(size, 1)
        there = held(server, measurement) & set(range(first, first + size))
        assert there == set(range(first, first + size)) - {first + bad}


@pytest.mark.parametrize(
    "bad", [{0, 1}, {0, 19}, {9, 10}, {3, 7, 11, 15}, set(range(0, 20, 2)), set(range(20))]
)
def test_several_bad_lines(
    server: InfluxDb, database: Counting, measurement: str, bad: set[int]
) -> None:
    lines = [(conflict if at in bad else good)(measurement, at) for at in range(20)]
    rejected = deliver(database, b"".join(lines))
    assert [one.line for one in rejected] == [lines[at] for at in sorted(bad)]
    assert held(server, measurement) == set(range(20)) - bad
    assert database.requests <= min(most_requests(20, len(bad)), 2 * 20 - 1)


def test_of_a_line_with_many_fields_only_the_bad_one_is_lost(
    server: InfluxDb, database: Counting, measurement: str
) -> None:
    fields = [b"value=7", b"word=5", b"other=9"]
    line = b"%b,s=a %b %d\n" % (measurement.encode(), b",".join(fields), TIME)
    lines = [good(measurement, 1), line, good(measurement, 2)]
    (rejected,) = deliver(database, b"".join(lines))
    assert rejected.line == b"%b,s=a word=5 %d\n" % (measurement.encode(), TIME)
    assert held(server, measurement) == {0, 1, 2}
    assert held(server, measurement, "other") == {0}


def test_one_bad_line_in_a_large_part_costs_few_requests(
    server: InfluxDb, database: Counting, measurement: str
) -> None:
    lines = [good(measurement, at) for at in range(20_000)]
    lines[12_345] = conflict(measurement, 12_345)
    (rejected,) = deliver(database, b"".join(lines))
    assert rejected.line == lines[12_345]
    assert database.requests <= most_requests(20_000, 1)
    ((_, count),) = server.query(f'SELECT count("value") FROM "{measurement}"')[0]["values"]
    assert count == 19_999


def test_nothing_bad_is_one_request(database: Counting, measurement: str) -> None:
    assert deliver(database, b"".join(good(measurement, at) for at in range(50))) == []
    assert database.requests == 1


@pytest.mark.parametrize("at", range(1, 6))
def test_a_database_that_goes_in_the_middle_is_told_and_the_same_can_come_again(
    server: InfluxDb, measurement: str, at: int
) -> None:
    target = Target("db", "influxdb", server.url, version=1, bucket=server.database)
    away = Counting(InfluxDatabase(target), fails_at=at)
    lines = [good(measurement, number) for number in range(8)]
    lines[5] = conflict(measurement, 5)
    with pytest.raises(TemporaryError, match="gone in the middle"):
        deliver(away, b"".join(lines))
    (rejected,) = deliver(away, b"".join(lines))
    assert rejected.line == lines[5]
    assert held(server, measurement) == set(range(8)) - {5}
    away.close()


def test_the_server_says_why(database: Counting, measurement: str) -> None:
    with pytest.raises(LinesRejectedError, match=r"field type conflict.*word"):
        database.write(conflict(measurement, 1))
