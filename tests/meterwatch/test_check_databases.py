"""``check`` looks at the databases that the settings name: what would make them hold other numbers
than they are given is a fault, what a person may accept is a note."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.campaigns.traffic import write_fleet
from tests.databases import InfluxDb, VictoriaMetrics
from tests.programs import meterwatch
from tests.servers import free_port


def check(folder: Path, projection: str, secret: str = "x") -> subprocess.CompletedProcess[str]:
    fleet = write_fleet(folder / f"fleet-{secret}", 1883)
    (fleet / "secret").write_text(f"{secret}\n")
    settings = fleet / "meterwatch.toml"
    settings.write_text(f"{settings.read_text()}\n[[projection]]\n{projection}\n")
    return meterwatch("check", str(fleet))


def victoria(url: str) -> str:
    return f'name = "vm"\nkind = "victoria-metrics"\nurl = "{url}"'


@pytest.mark.parametrize(("dedup", "told"), [("", "counts twice"), ("1m", "are dropped")])
def test_a_victoria_metrics_that_would_count_wrongly_is_a_fault(
    tmp_path: Path, dedup: str, told: str
) -> None:
    with VictoriaMetrics(tmp_path / "vm", dedup=dedup) as server:
        found = check(tmp_path, victoria(server.url))
    assert found.returncode == 1
    assert told in found.stderr
    assert "-dedup.minScrapeInterval=1ms" in found.stderr


def test_a_short_retention_is_a_note(tmp_path: Path) -> None:
    with VictoriaMetrics(tmp_path / "vm", retention="1") as server:
        found = check(tmp_path, victoria(server.url))
    assert (found.returncode, found.stderr) == (0, "")
    assert "keeps 31 days (-retentionPeriod=1)" in found.stdout


def test_a_sound_database_is_not_spoken_of(tmp_path: Path) -> None:
    with VictoriaMetrics(tmp_path / "vm", retention="24") as server:
        found = check(tmp_path, victoria(server.url))
    assert (found.returncode, found.stderr) == (0, "")
    assert "projection" not in found.stdout


def test_one_that_cannot_be_asked_is_a_note(tmp_path: Path) -> None:
    found = check(tmp_path, victoria(f"http://127.0.0.1:{free_port()}"))
    assert (found.returncode, found.stderr) == (0, "")
    assert "projection vm was not checked" in found.stdout
    assert "Connection refused" in found.stdout


def test_influxdb_s_retention_and_credentials(tmp_path: Path) -> None:
    with InfluxDb(tmp_path / "influx", users={"admin": "a", "writer": "right"}) as server:
        server.query(
            'CREATE RETENTION POLICY "short" ON "meterwatch" DURATION 30d REPLICATION 1 DEFAULT'
        )
        where = (
            f'name = "db"\nkind = "influxdb"\nversion = 1\nurl = "{server.url}"\n'
            'database = "meterwatch"\nuser = "writer"\npassword_file = "secret"'
        )
        found = check(tmp_path, where, "right")
        assert (found.returncode, found.stderr) == (0, "")
        assert "InfluxDB keeps 30 days" in found.stdout
        found = check(tmp_path, where, "wrong")
    assert found.returncode == 0
    assert "refuses our credentials" in found.stdout
    assert "wrong" not in found.stdout.replace("fleet-wrong", "")
