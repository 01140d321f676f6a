"""How external databases answer, and what is made of it: every failure becomes an error that says
what to do and holds no secret.

Failures come from a server of the test that answers on order, some from a real InfluxDB.
"""

from __future__ import annotations

import base64
import gzip
import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from adapters.stores import external
from adapters.stores.external import Database, LinesRejectedError, Target, reason_of
from adapters.stores.influx import InfluxDatabase
from adapters.stores.victoria import VictoriaDatabase
from collector.errors import MeterwatchError, TemporaryError
from tests.databases import InfluxDb
from tests.http_server import Answer, HttpServer
from tests.servers import free_port

PASSWORD = "pass-Wort-7"
TOKEN = "token-Zeichen-7"
BASIC = base64.b64encode(f"somebody:{PASSWORD}".encode()).decode()
LINE = b"electricity,site=s power_active=1 1795305600000\n"
NOW = int(time.time()) * 1000
"""Databases judge times by their own clock."""


@dataclass(frozen=True)
class Way:
    """One way to a database: how it is opened, where it writes, how it says who it is."""

    open: Callable[[str, bool], Database]
    path: str
    authorization: str


def _vm(**more: Any) -> Callable[[str, bool], Database]:
    return lambda url, squeeze: VictoriaDatabase(
        Target("db", "victoria-metrics", url, gzip=squeeze, **more)
    )


def _influx(version: int, **more: Any) -> Callable[[str, bool], Database]:
    return lambda url, squeeze: InfluxDatabase(
        Target("db", "influxdb", url, version=version, bucket="b", gzip=squeeze, **more)
    )


USER = {"user": "somebody", "password": PASSWORD}
WAYS = {
    "vm-user": Way(_vm(**USER), "/api/v2/write?precision=ms", f"Basic {BASIC}"),
    "vm-token": Way(_vm(token=TOKEN), "/api/v2/write?precision=ms", f"Bearer {TOKEN}"),
    "influx-1": Way(
        _influx(1, policy="half year", **USER),
        "/write?db=b&precision=ms&rp=half+year",
        f"Basic {BASIC}",
    ),
    "influx-2": Way(
        _influx(2, org="o", token=TOKEN),
        "/api/v2/write?bucket=b&precision=ms&org=o",
        f"Token {TOKEN}",
    ),
    "influx-3": Way(
        _influx(3, token=TOKEN), "/api/v2/write?bucket=b&precision=ms", f"Token {TOKEN}"
    ),
}


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer() as made:
        made.answer = Answer(204, "")
        yield made


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Way:
    return WAYS[request.param]


@pytest.fixture
def database(way: Way, server: HttpServer) -> Iterator[Database]:
    with closing(way.open(server.url, False)) as made:
        yield made


def without_secrets(fault: BaseException) -> str:
    """What is said of ``fault``, in its message and those it came from."""
    told = str(fault)
    every = []
    one: BaseException | None = fault
    while one is not None:
        every.append(f"{one} {one!r}")
        one = one.__cause__ or one.__context__
    for secret in (PASSWORD, TOKEN, BASIC):
        assert secret not in " ".join(every)
    return told


def refused(database: Database, kind: type[MeterwatchError]) -> tuple[str, MeterwatchError]:
    with pytest.raises(kind) as caught:
        database.write(LINE)
    return without_secrets(caught.value), caught.value


# --- what is sent


def test_lines_go_where_they_should_with_credentials(
    way: Way, server: HttpServer, database: Database
) -> None:
    database.write(LINE)
    (request,) = server.requests
    assert (request.method, request.body) == ("POST", LINE)
    assert request.path.replace("%20", "+") == way.path
    assert request.headers["Authorization"] == way.authorization
    assert request.headers["Content-Type"].startswith("text/plain")


def test_lines_are_compressed_when_the_target_says_so(way: Way, server: HttpServer) -> None:
    with closing(way.open(server.url, True)) as database:
        database.write(LINE * 1000)
    (request,) = server.requests
    assert request.headers["Content-Encoding"] == "gzip"
    assert len(request.body) < len(LINE) * 100
    assert gzip.decompress(request.body) == LINE * 1000


def test_a_target_shows_no_secret() -> None:
    shown = repr(Target("db", "influxdb", "http://h", token=TOKEN, **USER))
    assert TOKEN not in shown
    assert PASSWORD not in shown


# --- what comes back


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_are_waited_for(
    server: HttpServer, database: Database, status: int
) -> None:
    server.answer = Answer(status, '{"error":"unauthorized"}')
    told, fault = refused(database, TemporaryError)
    assert f"refuses our credentials ({status}: unauthorized)" in told
    assert "put a new token or password where the settings say" in told
    assert server.url in told
    assert isinstance(fault, TemporaryError)
    assert fault.retry_after == 10


@pytest.mark.parametrize("body", ['{"error":"database not found: \\"b\\""}', "404 page", ""])
def test_a_database_that_is_not_there_is_waited_for(
    server: HttpServer, database: Database, body: str
) -> None:
    server.answer = Answer(404, body)
    told, _ = refused(database, TemporaryError)
    assert "has no such database, bucket or path" in told
    assert "create it, or mend the settings" in told
    assert (reason_of(body) or "status 404") in told


@pytest.mark.parametrize("status", [400, 413, 422])
def test_lines_that_are_rejected_are_so_for_good(
    server: HttpServer, database: Database, status: int
) -> None:
    server.answer = Answer(status, '{"code":"invalid","message":"partial write: no"}')
    told, _ = refused(database, LinesRejectedError)
    assert told == f"{status}: partial write: no"
    server.answer = Answer(status, "")
    told, _ = refused(database, LinesRejectedError)
    assert told == f"status {status}"


@pytest.mark.parametrize(
    ("retry", "delay"),
    [("7", 7), ("999999", 300), ("soon", 2), ("-5", 2), ("1e9", 2), (None, 2)],
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_server_with_too_much_to_do_says_how_long(
    server: HttpServer, status: int, retry: str | None, delay: float
) -> None:
    headers = {} if retry is None else {"Retry-After": retry}
    server.answer = Answer(status, '{"message":"busy"}', headers)
    with closing(WAYS["influx-2"].open(server.url, False)) as database:
        told, fault = refused(database, TemporaryError)
    assert f"takes nothing now ({status}: busy)" in told
    assert isinstance(fault, TemporaryError)
    assert fault.retry_after == delay
    assert len(server.requests) == 1, "whoever drives tries again, nobody below"


@pytest.mark.parametrize("status", [402, 405, 409, 418, 500, 502, 504, 599])
def test_any_other_answer_is_waited_for(
    server: HttpServer, database: Database, status: int
) -> None:
    server.answer = Answer(status, "<html><body>\n  Bad\tGateway </body></html>")
    told, _ = refused(database, TemporaryError)
    assert f"{server.url} takes nothing now ({status}: <html><body> Bad Gateway" in told
    assert "\n" not in told


@pytest.mark.parametrize(
    "body",
    [
        "x" * 100_000,
        "\0\1\2",
        "{",
        "[1,2]",
        "null",
        '{"error":null}',
        '{"error":{"deep":[1]}}',
        '"s"',
    ],
)
@pytest.mark.parametrize("status", [400, 500])
def test_an_answer_of_garbage_is_told_within_a_bound(
    server: HttpServer, database: Database, status: int, body: str
) -> None:
    server.answer = Answer(status, body)
    told, _ = refused(database, MeterwatchError)
    assert len(told) < external.LONGEST_REASON + 100
    assert "\n" not in told


@pytest.mark.parametrize("status", [400, 401, 404, 500])
@pytest.mark.parametrize(
    ("name", "secrets"), [("influx-1", (PASSWORD, BASIC)), ("vm-token", (TOKEN,))]
)
def test_secrets_that_a_server_sends_back_are_covered(
    server: HttpServer, status: int, name: str, secrets: tuple[str, ...]
) -> None:
    echo = " ".join(secrets)
    server.answer = Answer(status, json.dumps({"error": "x" * 280 + f"not good: {echo}"}))
    with (
        closing(WAYS[name].open(server.url, False)) as database,
        pytest.raises(MeterwatchError) as caught,
    ):
        database.write(LINE)
    assert "not good: ***" in str(caught.value)
    for secret in secrets:
        assert secret[:6] not in str(caught.value)


def test_a_connection_that_is_closed_is_waited_for(server: HttpServer, database: Database) -> None:
    server.answer = Answer(drop=True)
    told, fault = refused(database, TemporaryError)
    assert told.startswith(f"{server.url} cannot be reached: ")
    assert isinstance(fault, TemporaryError)
    assert fault.retry_after == 2
    server.answer = Answer(204, "")
    database.write(LINE)  # with a connection of its own


def test_nobody_there_is_waited_for(way: Way) -> None:
    with closing(way.open(f"http://127.0.0.1:{free_port()}", False)) as database:
        told, _ = refused(database, TemporaryError)
    assert "cannot be reached: Connection refused" in told


def test_a_name_that_nobody_knows_is_waited_for(way: Way) -> None:
    with closing(way.open("http://no-such-host.invalid:1", False)) as database:
        told, _ = refused(database, TemporaryError)
    assert "no-such-host.invalid:1 cannot be reached: " in told


def test_a_server_that_hangs_is_waited_for(
    server: HttpServer, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external, "ANSWER_MS", 200)
    server.answer = Answer(hang=True)
    told, _ = refused(database, TemporaryError)
    assert "cannot be reached: " in told
    assert "timed out" in told.lower()


GARBAGE = ["", "{", "null", "[]", "{}", '{"results":[]}', '{"results":7}', "<html>log in</html>"]


@pytest.mark.parametrize("body", GARBAGE)
def test_a_question_answered_with_garbage_is_waited_for(server: HttpServer, body: str) -> None:
    server.answer = Answer(200, body)
    with closing(WAYS["influx-1"].open(server.url, False)) as database:
        with pytest.raises(TemporaryError, match="no answer in"):
            database.condition()
        with pytest.raises(TemporaryError, match="no answer in"):
            database.sums("electricity", 0, 1)


@pytest.mark.parametrize("name", ["influx-2", "vm-user"])
def test_a_page_that_wants_a_login_is_no_answer(server: HttpServer, name: str) -> None:
    server.answer = Answer(200, "<html>log in</html>")
    with closing(WAYS[name].open(server.url, False)) as database:
        if name == "influx-2":
            with pytest.raises(TemporaryError, match="no answer in JSON"):
                database.condition()
        with pytest.raises(TemporaryError, match="no answer in JSON"):
            database.sums("electricity", 0, 1)


@pytest.mark.parametrize("status", [200, 201, 202])
def test_only_204_says_that_lines_are_stored(
    server: HttpServer, database: Database, status: int
) -> None:
    server.answer = Answer(status, "<html>log in</html>")
    told, _ = refused(database, TemporaryError)
    assert f"answers {status} to lines, a database says 204" in told


@pytest.mark.parametrize("status", [400, 401, 404, 500])
def test_a_question_that_is_refused_is_waited_for(
    server: HttpServer, database: Database, status: int
) -> None:
    server.answer = Answer(status, '{"error":"no"}')
    with pytest.raises(TemporaryError) as caught:
        database.sums("electricity", 0, 1)
    assert server.url in without_secrets(caught.value)


# --- how the real servers stand


def test_a_retention_policy_says_from_when_on_rows_are_taken(tmp_path: Path) -> None:
    with InfluxDb(tmp_path / "influx") as server:
        server.query('CREATE RETENTION POLICY "short" ON "meterwatch" DURATION 36h REPLICATION 1')
        target = Target("db", "influxdb", server.url, version=1, bucket="meterwatch")
        with closing(InfluxDatabase(target)) as database:
            assert database.condition().limits(NOW)[0] == external.FIRST_TIME, (
                "the default keeps all"
            )
        short = Target(**{**_fields(target), "policy": "short"})
        with closing(InfluxDatabase(short)) as database:
            now = int(time.time()) * 1000  # the server judges by its clock
            low = database.condition().limits(now)[0]
            assert now - 36 * 3_600_000 < low < now - 35 * 3_600_000
            old, edge = b"heat,s=s power=1 %d\n" % (low - 61_000), b"heat,s=s power=2 %d\n" % low
            with pytest.raises(LinesRejectedError, match="points beyond retention policy"):
                database.write(old)
            database.write(edge)


def _fields(target: Target) -> dict[str, Any]:
    return {name: getattr(target, name) for name in Target.__slots__}


def test_a_wrong_password_at_the_real_server_says_what_to_do(tmp_path: Path) -> None:
    with InfluxDb(tmp_path / "influx", users={"admin": "first", "somebody": PASSWORD}) as server:
        target = Target("db", "influxdb", server.url, version=1, bucket="meterwatch", **USER)
        with closing(InfluxDatabase(target)) as database:
            database.write(LINE)
            server.query("SET PASSWORD FOR \"somebody\" = 'another'")
            told, _ = refused(database, TemporaryError)
            assert "refuses our credentials (401: authorization failed)" in told
