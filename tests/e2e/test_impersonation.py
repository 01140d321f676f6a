"""A gateway that speaks for another, through everything: its credentials, a real broker, the
program, and the list of warnings that a person reads."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from adapters.state.alerts import AlertsReader
from collector.alerts import Alert
from collector.errors import TemporaryError
from meterwatch.cli import app
from tests.deploy.boxes import Client
from tests.meterwatch.gateways import OURS, Guarded
from tests.programs import RunningProgram, eventually

NOT_AUTHORISED = 135  # MQTT 5.0, 3.4.2.1


def alerts(data: Path) -> list[Alert]:
    try:
        reader = AlertsReader(data / "alerts.db")
    except TemporaryError:
        return []
    try:
        return reader.alerts(active=True)
    finally:
        reader.close()


def test_it_raises_one_warning_and_revoked_it_is_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MW_PASSWORD", OURS["meterwatch"])
    program_settings = '[program]\nlisten = ""\ntick = "0.2s"\n'
    with Guarded(tmp_path / "broker") as broker:
        desk = broker.fleet(tmp_path / "fleet", program_settings)
        own, other = desk.login("add", "gw-a"), desk.login("add", "gw-b")
        row = {"device": "meter", "values": {"power.active": 3.0}}

        def report(gateway: str, client: Client) -> int:
            payload = json.dumps({"readings": [row | {"time": int(time.time() * 1000)}]})
            return client.publish(f"meterwatch/v1/{gateway}/readings", payload.encode())

        with (
            RunningProgram(tmp_path / "fleet") as program,
            Client(broker.port, *own) as honest,
            Client(broker.port, *other) as liar,
        ):
            program.wait_for("source-up")
            with Client(broker.port, *other) as bold:  # by the topic: the broker sees to that
                assert report("gw-a", bold) == NOT_AUTHORISED
            for _ in range(20):
                assert report("gw-b", liar) == 0
                assert report("gw-a", honest) == 0
            found = eventually(lambda: alerts(tmp_path / "fleet" / "data"), "a warning")
            assert isinstance(found, list)
            assert [(one.rule, one.subject) for one in found] == [
                ("foreign-device", "gateway:gw-b")
            ]
            shown = CliRunner().invoke(app, ["alerts", "list", str(tmp_path / "fleet")]).output
            assert "A gateway reports devices that are not its own  gateway:gw-b" in shown
            desk.type("revoke", "gw-b")
            liar.wait_gone()
            assert not honest.gone
        reader = AlertsReader(tmp_path / "fleet" / "data" / "alerts.db")
        try:
            fired = [one for one in reader.transitions() if one.to_state == "firing"]
        finally:
            reader.close()
        assert len(fired) == 1
        assert fired[0].data["detail"].startswith("print/meter is read through gateway 'gw-a'")
