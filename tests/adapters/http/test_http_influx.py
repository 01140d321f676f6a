"""InfluxDB's own client, pointed here: it writes, is told, and loses nothing when we are killed."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from influxdb_client import InfluxDBClient, Point, WriteOptions
from influxdb_client.client.exceptions import InfluxDBError
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException
from structlog.testing import capture_logs

from adapters.identity.credentials import Credentials, new_token
from adapters.identity.store import CredentialStore
from adapters.sources.http import Rates
from collector.model import Reason
from tests import intakes
from tests.adapters.http.http_served import WRITE, Served
from tests.adapters.payload.pushed import T0, Fleet
from tests.campaigns import kill
from tests.campaigns.traffic import write_fleet
from tests.intakes import CollectingIntake
from tests.programs import ROOT, RunningProgram, eventually
from tests.servers import free_port

pytestmark = pytest.mark.timeout(120)
EAGER = WriteOptions(
    batch_size=20,
    flush_interval=20,
    jitter_interval=0,
    retry_interval=50,
    max_retry_delay=500,
    max_retries=1000,
    max_retry_time=100_000,
)
SETTINGS = """
[program]
listen = ""
late_after = "7d"
[[source]]
kind = "http"
name = "main"
listen = "127.0.0.1:{port}"
rate_requests = 1000
rate_readings = 100000
"""
intake = intakes.intake


def client(url: str, token: str = "token-of-gw-print", **more: Any) -> InfluxDBClient:
    return InfluxDBClient(url, token=token, org="anything", timeout=20_000, **more)


def point(n: int, device: str = "main-meter", field: str = "power.active") -> Point:
    return Point("meters").tag("device", device).field(field, float(n)).time(T0 + n, "ms")


@pytest.fixture
def served(intake: CollectingIntake) -> Iterator[Served]:
    with Served(intake) as made:
        yield made


def test_its_questions_are_answered(served: Served) -> None:
    with client(served.url) as influx:
        assert influx.ping()
        assert influx.version()
        assert influx.build() == "meterwatch"
        with pytest.warns(DeprecationWarning, match="deprecated"):
            assert influx.health().status == "pass"


def test_the_lines_of_the_page_are_stored(served: Served, intake: CollectingIntake) -> None:
    page = (ROOT / "docs" / "push-http.md").read_text("utf-8")
    samples = re.findall(r"--data-binary \"(.*?)\"", page)
    samples += re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    assert len(samples) == 2
    for sample in samples:
        before = intake.count()
        assert served.post(sample.encode(), f"{WRITE}?precision=ms").status == 204
        assert intake.count() - before == sample.count("=") - sample.count("device=")


@pytest.mark.parametrize("gzip", [False, True])
@pytest.mark.parametrize("precision", ["ns", "us", "ms", "s"])
def test_what_its_synchronous_writer_writes_is_stored_exactly(
    served: Served, intake: CollectingIntake, gzip: bool, precision: str
) -> None:
    with client(served.url, enable_gzip=gzip) as influx:
        writer = influx.write_api(SYNCHRONOUS)
        points = [point(1000 * n) for n in range(50)]
        writer.write("any", record=points, write_precision=precision)
    power = Fleet().point("print/main/power.active")
    assert [found[:3] for found in intake.rows()] == [
        (power, T0 + 1000 * n, 1000.0 * n) for n in range(50)
    ]


def test_a_batch_of_which_part_is_refused_is_told_and_the_rest_is_stored(
    served: Served, intake: CollectingIntake
) -> None:
    with client(served.url) as influx:
        writer = influx.write_api(SYNCHRONOUS)
        with pytest.raises(ApiException) as told:
            writer.write("any", record=[point(1), point(2, "nobody"), point(3)])
        assert told.value.status == 400
        assert "partial write: 2 readings stored, 1 refused" in told.value.message
        assert "nobody" in told.value.message
    assert intake.count() == 2
    (kept,) = intake.refusals()
    assert kept.reason == Reason.UNKNOWN_DEVICE
    assert b"nobody" in kept.sample


def test_its_batching_writer_does_not_send_a_refused_part_again(
    served: Served, intake: CollectingIntake
) -> None:
    errors: list[InfluxDBError] = []
    with (
        client(served.url) as influx,
        influx.write_api(
            EAGER, error_callback=lambda _batch, _data, error: errors.append(error)
        ) as writer,
    ):
        for n in range(40):
            writer.write("any", record=point(n, "nobody" if n == 7 else "main-meter"))
    assert intake.count() == 39
    assert [error.response.status for error in errors] == [400]
    assert len(intake.refusals()) == 1


def test_what_to_mend_of_a_stored_batch_is_in_a_header_and_once_in_our_log(
    served: Served, intake: CollectingIntake
) -> None:
    ahead = point(3_600_000)
    with capture_logs() as logs, client(served.url) as influx:
        for _ in range(2):
            influx.write_api(SYNCHRONOUS).write("any", record=ahead)  # it minds no header
        answer = served.post(ahead.to_line_protocol("ms").encode(), f"{WRITE}?precision=ms")
        served.post(point(1).to_line_protocol("ms").encode(), f"{WRITE}?precision=ms")
    assert intake.count() == 4
    told = answer.headers["meterwatch-remarks"]
    assert (answer.status, answer.body) == (204, b"")
    assert told.startswith("1 reading is 1 h in the future")
    assert [(one["who"], one["message"]) for one in logs if one["event"] == "http-remarks"] == [
        ("gw-print", told)
    ]


@pytest.mark.parametrize(
    ("token", "status"), [("nobody", 401), ("token-of-gw-gone", 403), ("token-of-gw-mill", 400)]
)
def test_it_shows_why_it_may_not_write(served: Served, token: str, status: int) -> None:
    with client(served.url, token) as influx, pytest.raises(ApiException) as told:
        influx.write_api(SYNCHRONOUS).write("any", record=point(1, "stack"))
    assert told.value.status == status
    assert told.value.message


def test_its_batching_writer_waits_while_it_is_too_fast(intake: CollectingIntake) -> None:
    settings = {"rates": Rates(1e6, 40, 1e9, burst=1.0)}
    with Served(intake, settings=settings) as served, client(served.url) as influx:
        with influx.write_api(EAGER) as writer:
            for n in range(100):
                writer.write("any", record=point(n))
        assert served.count("http_requests", code="429") > 0
    assert {time - T0 for _, time, _, _ in intake.rows()} == set(range(100))


def test_nothing_is_lost_when_the_program_is_killed_under_its_batching_writer(
    tmp_path: Path,
) -> None:
    port, fleet = free_port(), write_fleet(tmp_path / "fleet", 0)
    (fleet / "meterwatch.toml").write_text(SETTINGS.format(port=port), "utf-8")
    (fleet / "data").mkdir(mode=0o700)
    token, kept = new_token(Credentials(), "gw-0", T0)
    CredentialStore(fleet / "data").change(lambda held: held.with_one("gw-0", kept, T0))
    written, errors, stop = 0, [], threading.Event()

    def write() -> None:
        nonlocal written
        with (
            client(f"http://127.0.0.1:{port}", token, enable_gzip=True) as influx,
            influx.write_api(EAGER, error_callback=lambda *told: errors.append(told)) as api,
        ):
            while not stop.wait(0.002):  # about so many a second as the test wants
                api.write("any", record=point(written, "meter-0", "energy.active.import"))
                written += 1

    def more_than(goal: int) -> None:
        eventually(lambda: kill.stored(fleet) >= goal or errors, "they are stored")

    writer = threading.Thread(target=write, daemon=True)
    try:
        for turn in range(2):
            with RunningProgram(fleet) as program:
                program.wait_for("source-up")
                if not turn:
                    writer.start()
                more_than(kill.stored(fleet) + 200)
                program.kill()
    finally:
        stop.set()
    with RunningProgram(fleet) as program:
        writer.join(60)
        assert not writer.is_alive()
        assert not errors
        assert written > 400
        eventually(lambda: kill.stored(fleet) >= written, "every one is stored")
        assert program.stop() == 0
    assert kill.stored(fleet) == written
