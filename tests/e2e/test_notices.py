"""From a reading to a person: the running program tells people through a real HTTP server.

One message for a gateway that falls silent, not one for each of its devices; a channel that
fails is itself a warning through the other channel, and what it missed arrives in the end.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.state.alerts import AlertsReader
from collector.errors import TemporaryError
from tests.campaigns.sending import Sender
from tests.campaigns.traffic import Sent
from tests.http_server import Answer, HttpServer, Request
from tests.programs import RunningProgram, eventually
from tests.servers import Mosquitto

DEVICES = 12
SETTINGS = """
[program]
listen = ""
tick = "0.2s"
[[source]]
kind = "mqtt"
name = "main"
url = "mqtt://127.0.0.1:{port}"
client_id = "notices"
[[notifier]]
name = "first"
kind = "apprise"
url_env = "NOTICES_FIRST"
language = "zh"
[[notifier]]
name = "second"
kind = "apprise"
url_file = "second.url"
language = "en"
"""
RULES = """
[[rule]]
id = "too-high"
kind = "threshold"
quantity = "voc.nmhc.concentration"
above = 60
level = "red"
title = "NMHC above the limit"
title_zh = "非甲烷总烃超标"
advice = "Look at the treatment first."
advice_zh = "先检查治理设施。"
[[rule]]
id = "gateway-silent"
kind = "absence"
target = "gateway"
window = "3s"
level = "orange"
title = "A gateway is silent"
title_zh = "网关掉线"
[[rule]]
id = "device-silent"
kind = "absence"
target = "device"
window = "3s"
level = "yellow"
title = "A meter is silent"
title_zh = "表计掉线"
[[rule]]
id = "channel-failing"
kind = "absence"
target = "channel"
for = "1s"
level = "orange"
title = "A notification channel fails"
title_zh = "通知通道故障"
"""


@pytest.fixture
def channels() -> Iterator[tuple[HttpServer, HttpServer]]:
    with HttpServer() as first, HttpServer() as second:
        yield first, second


def test_warnings_reach_people_and_a_failing_channel_is_one_itself(
    tmp_path: Path, channels: tuple[HttpServer, HttpServer]
) -> None:
    first, second = channels
    with Mosquitto(tmp_path / "broker") as broker:
        fleet = _write(tmp_path / "fleet", broker.port, second)
        environment = {"NOTICES_FIRST": first.url.replace("http", "json") + "/one"}
        with (
            RunningProgram(fleet, environment=environment) as program,
            Sender(broker.port) as sender,
        ):
            program.wait_for("source-up")
            sender.send([_message(20.0), _message(99.0, ahead=5)])
            _told(first, "非甲烷总烃超标", "99", "先检查治理设施")
            _told(second, "NMHC above the limit", "99", "60")
            # Nothing more comes: the gateway is silent, and stands for its devices.
            _told(second, "A gateway is silent")
            eventually(lambda: _active(fleet, "gateway-silent") == 1, "it is listed")
            first.answer = Answer(500)
            sender.send([_message(20.0)])
            _told(second, "A notification channel fails", timeout=60)
            first.answer = Answer()
            _told(first, "网关", timeout=60)
            assert program.stop() == 0, program.tail()
        log = "\n".join(program.log)
    titles = [_text(request) for request in (*first.requests, *second.requests)]
    assert not [text for text in titles if "A meter is silent" in text or "表计掉线" in text]
    silent = [text for text in titles if "Warning: A gateway is silent" in text]
    assert all(f"Affected: {DEVICES} meters" in text for text in silent), silent
    ids = [text.rpartition("Id: ")[2] for text in silent]
    assert len(ids) == len(set(ids)), "one message for each time it fell silent"
    assert str(first.port) not in log, "an address with its secret is in no log"


def _told(server: HttpServer, *words: str, timeout: float = 30) -> None:
    def found() -> bool:
        return any(
            all(word in _text(request) for word in words) for request in list(server.requests)
        )

    try:
        eventually(found, f"a message that says {words}", timeout)
    except AssertionError as missing:
        told = "\n---\n".join(_text(request) for request in list(server.requests))
        raise AssertionError(f"{missing}; there came:\n{told}") from None


def _text(request: Request) -> str:
    told = request.json()
    return f"{told['title']}\n{told['message']}"


def _active(fleet: Path, rule: str) -> int:
    try:
        reader = AlertsReader(fleet / "data" / "alerts.db")
    except TemporaryError:
        return 0
    try:
        return sum(alert.rule == rule for alert in reader.alerts(active=True))
    finally:
        reader.close()


def _message(value: float, ahead: int = 0) -> Sent:
    now = time.time_ns() // 10**6 + ahead
    rows = [
        {
            "device": f"d{n}",
            "time": now,
            "values": {"voc.nmhc.concentration": value if n == 0 else 1},
        }
        for n in range(DEVICES)
    ]
    return Sent("meterwatch/v1/gw/readings", json.dumps({"readings": rows}).encode(), [])


def _write(fleet: Path, port: int, second: HttpServer) -> Path:
    (fleet / "registry").mkdir(parents=True)
    (fleet / "rules").mkdir()
    (fleet / "meterwatch.toml").write_text(SETTINGS.format(port=port), encoding="utf-8")
    (fleet / "second.url").write_text(second.url.replace("http", "json") + "/two\n")
    (fleet / "rules" / "own.toml").write_text(RULES, encoding="utf-8")
    parts = [
        '[site]\nid = "site"\nname = "Site"\nname_zh = "某单位"\ncounty = "620502"\n'
        'industry = "C2319"\n[[gateway]]\nid = "gw"\nname = "Gateway"\n'
    ]
    parts += [
        f'[[place]]\nid = "p{n}"\nname = "Place {n}"\nname_zh = "排放口{n}"\n'
        f'[[device]]\nid = "d{n}"\nplace = "p{n}"\nprofile = "push"\ngateway = "gw"\n'
        f'interval = "1s"\nquantities = ["voc.nmhc.concentration"]\n'
        for n in range(DEVICES)
    ]
    (fleet / "registry" / "site.toml").write_text("\n".join(parts), encoding="utf-8")
    return fleet
