"""docs/gateway-protocol.md is executed: its sample, its command, its settings, its reasons."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from adapters.sources.mqtt import TOPIC
from adapters.sources.mqtt.broker_limits import of_config
from collector.model import LETTERS, Quality, Reason
from tests.adapters.pushed import T0, Fleet, topic
from tests.adapters.test_mqtt_source import Box
from tests.intakes import CollectingIntake
from tests.servers import Mosquitto, program

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "gateway-protocol.md").read_text("utf-8")


def block(kind: str) -> str:
    found = re.search(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_sample_payload_decodes_to_what_the_page_says() -> None:
    fleet = Fleet()
    decoded = fleet.decoder.decode_many([(topic(), block("json").encode(), T0)])
    assert decoded.refusals == []
    assert decoded.batch.time.tolist() == [T0] * 4
    assert decoded.batch.value.tolist()[:3] == [12345.67, 81.2, 18.4]
    assert decoded.batch.quality.tolist() == [0, 0, Quality.CALIBRATION, Quality.NO_VALUE]


@pytest.mark.timeout(60)
async def test_the_command_works_as_it_stands(tmp_path: Path) -> None:
    words = shlex.split(block("sh"))
    with Mosquitto(tmp_path / "b") as broker, CollectingIntake() as intake:
        words[0] = program(words[0])
        words[words.index("1883")] = str(broker.port)
        async with Box(broker.port).running(intake):
            subprocess.run(words, check=True, timeout=20)  # noqa: ASYNC221 - the source has a thread
            await intake.until(lambda i: i.count() == 2)
        assert intake.refusals() == []


def test_the_settings_are_safe_by_our_own_check() -> None:
    settings = re.sub(r" +#.*", "", block("conf"))
    assert "persistence true" in settings
    assert of_config(settings, 4) == []


def test_every_reason_and_every_flag_is_explained() -> None:
    reasons = [value for name, value in vars(Reason).items() if name.isupper()]
    assert [reason for reason in reasons if f"`{reason}`" not in PAGE] == []
    assert [letter for letter in LETTERS if f"`{letter}` " not in PAGE] == []
    assert TOPIC in PAGE
