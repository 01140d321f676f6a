"""The stack's fleet folder at work: a gateway with the password that make-secrets gave it, the
stack's broker settings, the program, and a database that Grafana could ask.

The database is InfluxDB 1 in the place of 2, which cannot be had as a package: only its version,
name and login differ in the settings.
"""

from __future__ import annotations

from pathlib import Path

from tests.databases import InfluxDb
from tests.deploy.boxes import feeding, send, serving
from tests.programs import RunningProgram, eventually


def test_what_a_gateway_sends_reaches_the_database(tmp_path: Path) -> None:
    with (
        InfluxDb(tmp_path / "influx") as influx,
        serving(tmp_path, feeding(influx)) as box,
        RunningProgram(box.fleet) as running,
    ):
        running.wait_for('"source-up"')
        send(box, power_active=81.2)
        question = "SELECT power_active FROM electricity GROUP BY *"
        (series,) = eventually(lambda: influx.query(question), "a row in the database")  # type: ignore[misc]
        assert series["values"][0][1] == 81.2
        assert (series["tags"]["site"], series["tags"]["place"]) == ("my-site", "main")
        assert running.stop() == 0
        assert not [line for line in running.log if "broker-risk" in line]
