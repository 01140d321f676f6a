"""``meterwatch grafana``: options in, lines out; real dashboards, a real alerts.db."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from adapters.journals.sqlite import SqliteJournal
from adapters.state.alerts import Judge
from collector.alerts import RESOLVED, Alert, Changes, Pending
from collector.model import Entry, Revision, Tick
from collector.telemetry import Telemetry
from grafana import targets
from grafana.publish import FOLDERS
from grafana.publish_sources import DIALECTS, influxdb, victoria_metrics
from meterwatch.cli import app
from tests.campaigns.traffic import write_fleet
from tests.grafana import contract_server
from tests.grafana.contract_server import GrafanaServer
from tests.servers import free_port

ROOT = Path(__file__).resolve().parents[2]
VM = ["--database", "victoria-metrics"]
Run = Callable[..., Result]


served = contract_server.served


@pytest.fixture
def run(served: GrafanaServer) -> Run:
    """``meterwatch grafana publish`` against the server, by default with an Admin's token."""

    def one(*options: str, role: str = "Admin", **env: str) -> Result:
        token = served.grafana.token(role)
        runner = CliRunner(env={"GRAFANA_TOKEN": token, **env})
        result = runner.invoke(app, ["grafana", "publish", "--url", served.url, *options])
        assert token not in result.output
        return result

    return one


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """A fleet folder that feeds a VictoriaMetrics."""
    folder = write_fleet(tmp_path / "fleet", 1883)
    settings = folder / "meterwatch.toml"
    more = '[[projection]]\nname = "vm"\nkind = "victoria-metrics"\nurl = "http://127.0.0.1:8999"\n'
    settings.write_text(settings.read_text("utf-8") + "\n" + more, "utf-8")
    return folder


class Teller:
    """A judge's engine that says what it is given: implements ``JudgeEngine``."""

    def __init__(self, *alerts: Alert) -> None:
        self._alerts = {alert.id: alert for alert in alerts}

    def apply(self, seq: int, entry: Entry) -> None:
        """Nothing is judged."""

    def changes(self) -> Changes:
        said, self._alerts = Changes(alerts=self._alerts), {}
        return said

    def pending(self) -> list[Pending]:
        return []

    def worsts(self) -> dict[str, float]:
        return {}

    def counts(self) -> Mapping[str, int]:
        return {}

    def snapshot(self) -> bytes:
        return b""

    def restore(self, state: bytes, registry: Revision | None, rules: Revision | None) -> None:
        """There is no memory."""


def judged(fleet: Path, *alerts: Alert) -> None:
    """Have the judge write these warnings."""
    data = fleet / "data"
    data.mkdir(exist_ok=True)
    journal = SqliteJournal(data / "journal.db", Telemetry())
    journal.append([Tick(1)])
    judge = Judge(data / "alerts.db", journal, lambda: Teller(*alerts))
    judge.apply(journal.read(judge.cursor()))
    judge.commit(whole=True)
    judge.close()
    journal.close()


def test_the_dashboards_and_the_data_sources_name_the_same_uids() -> None:
    assert influxdb().uid == targets.INFLUXDB_UID
    assert victoria_metrics().uid == targets.VICTORIAMETRICS_UID
    assert set(DIALECTS.values()) == {dialect.name for dialect in targets.DIALECTS}


def test_our_folders_are_those_of_the_provisioning_files() -> None:
    text = (ROOT / "grafana/provisioning/dashboards/meterwatch.yaml").read_text("utf-8")
    pairs = re.findall(r"^    folder: (.+)\n    folderUid: (.+)$", text, re.MULTILINE)
    assert {(uid, title) for title, uid in pairs} == set(FOLDERS.values())
    assert all(uid == f"meterwatch-{DIALECTS[kind]}-{lang}"
               for (kind, lang), (uid, _) in FOLDERS.items())  # fmt: skip


@pytest.mark.parametrize("database", ["influxdb", "victoria-metrics"])
@pytest.mark.parametrize("old", [False, True], ids=["Grafana 12", "Grafana 10"])
def test_the_whole_set_twice(served: GrafanaServer, run: Run, database: str, old: bool) -> None:
    served.grafana.unique_titles, served.grafana.versions_in_object = old, not old
    languages = ["--lang", "zh", "--lang", "en", "--database", database]
    first = run(*languages)
    assert first.exit_code == 0, first.output
    count = len(served.grafana.dashboards)
    assert count >= 12
    assert f"{count + 3} created" in first.stdout
    assert first.stdout.startswith(f"Grafana 12.4.0 at {served.url}, organisation Main Org.\n")
    assert all(f"-{DIALECTS[database]}-" in uid for uid in served.grafana.dashboards)
    second = run(*languages)
    assert second.exit_code == 0
    assert second.stdout.endswith(f"{count + 3} unchanged\n")


def test_chinese_is_what_nobody_asks_for(served: GrafanaServer, run: Run) -> None:
    run(*VM)
    assert all(uid.endswith("-zh") for uid in served.grafana.dashboards)


def test_a_dry_run_does_nothing(served: GrafanaServer, run: Run) -> None:
    result = run(*VM, "--dry-run")
    assert result.exit_code == 0
    assert "create     dashboard" in result.stdout
    assert result.stdout.endswith("create (nothing was done)\n")
    assert served.writes() == []


def test_what_was_kept_makes_the_exit_code(served: GrafanaServer, run: Run) -> None:
    run(*VM)
    served.grafana.person_edits("mw-overview-promql-zh", "li.na", title="Mine")
    result = run(*VM)
    assert result.exit_code == 1
    assert "kept       dashboard" in result.stdout
    assert "changed by li.na" in result.stdout
    overwritten = run(*VM, "--overwrite")
    assert overwritten.exit_code == 0
    lines = overwritten.stdout.splitlines()
    assert lines[1].startswith("to be replaced: dashboard")
    assert "changed by li.na" in lines[1]


def test_a_fleets_rules_zone_and_database_apply(
    served: GrafanaServer, run: Run, fleet: Path
) -> None:
    result = run(str(fleet))
    assert result.exit_code == 0, result.output
    assert served.grafana.sources["meterwatch-victoriametrics"]["url"] == "http://127.0.0.1:8999"
    model = served.grafana.dashboards["mw-overview-promql-zh"].model
    assert model["timezone"] == "Asia/Shanghai"
    theirs = run(str(fleet), "--database-url", "http://vm.internal:8428")
    assert "updated    data source" in theirs.stdout
    assert run(str(fleet)).stdout.endswith(" unchanged\n")


def test_warnings_as_annotations(served: GrafanaServer, run: Run, fleet: Path) -> None:
    fired = time.time_ns() // 1_000_000 - 3_600_000
    alert = Alert("a1", "gone", "absence", 4, "device:x/y", "x", "y", fired, fired, 1.0, 1.0)
    old = replace(alert, id="a2", fired=fired - 40 * 86_400_000)
    judged(fleet, alert, old)
    assert run(str(fleet), "--annotations").exit_code == 0
    (made,) = served.grafana.annotations.values()
    assert (made["time"], made["timeEnd"]) == (fired, fired)
    judged(fleet, replace(alert, state=RESOLVED, resolved=fired + 5_000))
    assert "updated    annotation" in run(str(fleet), "--annotations").stdout
    (made,) = served.grafana.annotations.values()
    assert (made["time"], made["timeEnd"]) == (fired, fired + 5_000)
    run(str(fleet), "--annotations", "--days", "60")
    assert len(served.grafana.annotations) == 2


def test_an_editor_without_data_sources(served: GrafanaServer, run: Run) -> None:
    result = run(*VM, "--no-data-source", role="Editor")
    assert result.exit_code == 0, result.output
    assert served.grafana.sources == {}


def test_secrets_come_from_files_too_and_are_shown_nowhere(
    served: GrafanaServer, run: Run, tmp_path: Path
) -> None:
    token, password = tmp_path / "token", tmp_path / "password"
    token.write_text(served.grafana.token("Admin") + "\n", "utf-8")
    password.write_text("s3cret\n", "utf-8")
    options = ["--token-file", str(token), "--database-secret-file", str(password)]
    result = run("--database", "influxdb", *options, GRAFANA_TOKEN="")
    assert result.exit_code == 0, result.output
    assert "s3cret" not in result.output
    assert served.grafana.secrets["meterwatch-influxdb"] == {"httpHeaderValue1": "Token s3cret"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "--database: it is not said which database -> give --database influxdb or"),
        ([*VM, "--annotations"], "--annotations: warnings are a fleet's -> give its folder too"),
        ([*VM, "--token-env", "NOBODY_SET_THIS"], "variable NOBODY_SET_THIS is not set"),
        ([*VM, "--token-file", "no/such"], "secret file no/such cannot be read"),
        ([*VM, "--folder-uid", "a b"], "--folder-uid: 'a b' is no uid of a folder"),
        ([*VM, "--folder", " "], "--folder: the folder has no title"),
        ([*VM, "--ca-file", "no/such"], "no/such is no certificate file"),
        ([*VM, "--url", "http://grafana.example"], "clear text -> write https:// in the address"),
        (
            [*VM, "--database-secret-env", "A", "--database-secret-file", "b"],
            "--database-secret-env is given too",
        ),
    ],
)
def test_what_a_person_can_mend_is_one_line(run: Run, options: list[str], told: str) -> None:
    result = run(*options)
    assert result.exit_code == 1
    assert told in result.stderr
    assert result.stderr.endswith("\n1 fault\n")


def test_a_token_with_a_line_end_inside_is_told_without_it(run: Run) -> None:
    result = run(*VM, GRAFANA_TOKEN="glsa_a\nb")
    assert result.exit_code == 1
    assert "the token is not one line" in result.stderr
    assert "glsa_a" not in result.output


def test_a_grafana_that_is_not_there_is_exit_code_3(run: Run) -> None:
    result = run(*VM, "--url", f"http://127.0.0.1:{free_port()}")
    assert result.exit_code == 3
    assert "was not reached" in result.stderr
    assert "Traceback" not in result.output


def test_warnings_before_anything_was_judged(run: Run, fleet: Path) -> None:
    result = run(str(fleet), "--annotations")
    assert result.exit_code == 3
    assert f"meterwatch run {fleet}" in result.stderr


def test_build_writes_what_changed(tmp_path: Path, fleet: Path) -> None:
    out = tmp_path / "out"
    first = CliRunner().invoke(app, ["grafana", "build", "--out", str(out)])
    assert first.exit_code == 0, first.output
    made = sorted(out.rglob("*.json"))
    assert len(made) >= 24
    assert {json.loads(path.read_text("utf-8"))["timezone"] for path in made} == {"browser"}
    again = CliRunner().invoke(app, ["grafana", "build", "--out", str(out)])
    assert again.stdout == f"{len(made)} dashboards are in {out}\n"
    theirs = CliRunner().invoke(app, ["grafana", "build", str(fleet), "--out", str(out)])
    assert len(theirs.stdout.splitlines()) == len(made) + 1
