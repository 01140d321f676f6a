"""``meterwatch decode``: what a gateway's messages would become, and what it would be told."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from meterwatch.cli import app
from tests.campaigns.traffic import write_fleet


def test_decode_shows_readings_and_refusals(tmp_path: Path) -> None:
    fleet = write_fleet(tmp_path / "fleet", 1883)
    now = time.time_ns() // 10**6
    good = {
        "device": "meter-0",
        "time": now,
        "values": {"energy.active.import": 12.34},
    }
    wrong = {"device": "meter-9", "time": 1_760_000_000_000, "values": {"x": 1}}
    stdin = json.dumps({"readings": [good, wrong]}) + "\nrubbish\n"
    result = CliRunner().invoke(
        app, ["decode", "mqtt-json", "--fleet", str(fleet), "--gateway", "gw-0"], input=stdin
    )
    assert result.exit_code == 1, result.output
    told = [json.loads(line) for line in result.stdout.splitlines()]
    assert told[0] == {
        "point": "plant-0/meter-0/energy.active.import/raw",
        "time": now,
        "value": 12.34,
        "quality": "good",
    }
    assert [line["refused"] for line in told[1:]] == ["unknown-device", "unreadable-payload"]
    several = CliRunner().invoke(app, ["decode", "mqtt-json", "--fleet", str(fleet)], input=stdin)
    assert several.exit_code == 1
    assert "--gateway" in several.stderr
    assert told[1]["todo"].startswith("enter the device in the registry")
    zh = CliRunner().invoke(
        app,
        ["decode", "mqtt-json", "--fleet", str(fleet), "--gateway", "gw-0", "--lang", "zh"],
        input=stdin,
    )
    assert "请在台账中登记该表计" in zh.stdout


def test_decode_shows_remarks_and_heeds_the_format_of_the_registry(tmp_path: Path) -> None:
    fleet = write_fleet(tmp_path / "fleet", 1883)

    def decoded(kind: str, payload: dict[str, Any]) -> tuple[int, list[dict[str, Any]]]:
        command = ["decode", kind, "--fleet", str(fleet), "--gateway", "gw-0"]
        result = CliRunner().invoke(app, command, input=json.dumps(payload))
        return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()]

    now = time.time_ns() // 10**6
    values = {"energy.active.import": 12.34}
    ours = {"readings": [{"device": "meter-0", "time": now, "values": values, "unit": "kWh"}]}
    code, told = decoded("mqtt-json", ours)
    assert (code, told[1]) == (0, {"remark": "'unit' is not known: is 'units' meant?"})
    old = {"readings": [{"device": "meter-0", "time": now - 500 * 86_400_000, "values": values}]}
    code, (refused,) = decoded("mqtt-json", old)
    assert (code, refused["refused"]) == (1, "bad-time")
    assert "older than 400 days" in refused["detail"]

    (site,) = [path for path in (fleet / "registry").iterdir() if "gw-0" in path.read_text("utf-8")]
    text = site.read_text("utf-8")
    site.write_text(text.replace('id = "gw-0"', 'id = "gw-0"\nformat = "neuron"'), "utf-8")
    neuron = {"node": "meter-0", "timestamp": now, "values": values}
    assert [line["value"] for line in decoded("mqtt-json", neuron)[1]] == [12.34]
    code, told = decoded("thingsboard", {"meter-0": [{"ts": now, "values": values}]})
    assert (code, told[0]["remark"]) == (
        0, 'the registry says format = "neuron" of gw-0, here it is thingsboard',
    )  # fmt: skip
