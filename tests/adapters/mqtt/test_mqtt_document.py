"""docs/gateway-protocol.md is executed: its sample, its command, its settings, its reasons."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from adapters.sources.mqtt import TOPIC, replies, trust
from adapters.sources.mqtt.broker_limits import of_config
from adapters.sources.payload import answer, busy
from adapters.sources.payload.ids import LONGEST_ID
from collector.model import LETTERS, Quality, Reason
from collector.settings import MqttSource, parse_settings
from tests.adapters.mqtt.mqtt_box import Box
from tests.adapters.payload.pushed import T0, Fleet, message, row, topic
from tests.intakes import CollectingIntake
from tests.servers import Mosquitto, program

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "gateway-protocol.md").read_text("utf-8")


def block(kind: str) -> str:
    found = re.search(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_sample_payload_decodes_to_what_the_page_says() -> None:
    fleet = Fleet()
    (sample,) = re.findall(r"```json\n(.*?)```", section("Message"), re.DOTALL)
    decoded = fleet.decoder.decode_many([(topic(), sample.encode(), T0)])
    assert [receipt.id for receipt in decoded.receipts] == ["a-1"]
    assert decoded.refusals == []
    assert decoded.batch.time.tolist() == [T0] * 4
    assert decoded.batch.value.tolist()[:3] == [12345.67, 81.2, 18.4]
    assert decoded.batch.quality.tolist() == [0, 0, Quality.CALIBRATION, Quality.NO_VALUE]


@pytest.mark.timeout(60)
async def test_the_command_works_as_it_stands(tmp_path: Path) -> None:
    line = next(line for line in PAGE.splitlines() if line.startswith("mosquitto_rr "))
    program(line.split()[0])
    with Mosquitto(tmp_path / "b") as broker, CollectingIntake() as intake:
        async with Box(broker.port).running(intake):
            words = shlex.split(line.replace(" 1883 ", f" {broker.port} "))
            done = subprocess.run(  # noqa: ASYNC221 - the source has a thread
                words, check=True, timeout=40, stdout=subprocess.PIPE
            )
        assert intake.refusals() == []
        assert json.loads(done.stdout) == json.loads(block("json"))


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


MISTAKES = re.findall(
    r"^\| .*? \| `(\{.*?\})` \| (\S+), (\d+) \| (\S+) \| (.*?) \|$",
    section("Ten mistakes, and their answers"),
    re.MULTILINE,
)


def test_there_are_ten_mistakes() -> None:
    assert len(MISTAKES) == 10


@pytest.mark.parametrize(("sent", "own", "stored", "reason", "detail"), MISTAKES)
def test_each_mistake_has_the_answer_that_the_page_says(
    sent: str, own: str, stored: str, reason: str, detail: str
) -> None:
    (receipt,) = Fleet().decoder.decode_many([(topic(), sent.encode(), T0)]).receipts
    told = json.loads(answer(receipt))
    assert (told["id"], told["stored"]) == (json.loads(own), int(stored))
    assert [part["reason"] for part in told["refused"]] == (
        [] if reason == "none" else [reason.strip("`")]
    )
    assert [part["detail"] for part in told["refused"]] + told.get("remarks", []) == [detail]


def test_replies_are_shown_as_they_are() -> None:
    """Each sample of a reply is what a message like it gets."""
    fleet = Fleet()
    right = row(values={"power.active": 81.2})
    quoted = row(values={"power.active": "81.2"})
    messages = {
        "a-1": message(row(values={"power.active": 81.2, "energy.active.import": 1}), id="a-1"),
        "a-2": message(right, row("mian-meter", values={"power.active": 1}), id="a-2"),
        "a-3": message(quoted, id="a-3"),
        "a-4": message(right, id="a-4"),
    }
    samples = re.findall(r"```json\n(.*?)```", section("Replies"), re.DOTALL)
    assert [json.loads(sample)["id"] for sample in samples] == list(messages)
    for sample, (own, payload) in zip(samples, messages.items(), strict=True):
        (receipt,) = fleet.decoder.decode_many([(topic(), payload, T0)]).receipts
        told = busy(receipt) if own == "a-4" else receipt
        assert json.loads(sample) == json.loads(answer(told))


def test_the_numbers_of_the_page_are_ours() -> None:
    text = section("Replies")
    assert f"queue of {replies.MOST:,} and {replies.MOST_BYTES >> 20} MiB" in text
    assert f"id` is a text of {LONGEST_ID} characters" in text.replace("\n", " ")
    assert trust.REST_S == 600  # "rest for ten minutes"


def test_two_collectors_as_the_page_sets_them() -> None:
    (sample,) = re.findall(r"```toml\n(.*?)```", section("Two collectors"), re.DOTALL)
    (source,) = parse_settings(sample, "meterwatch.toml").sources
    assert isinstance(source, MqttSource)
    assert source.topics == (f"$share/collectors/{TOPIC}",)


def test_the_settings_are_safe_by_our_own_check() -> None:
    settings = re.sub(r" +#.*", "", block("conf"))
    assert "persistence true" in settings
    assert of_config(settings, 4) == []


def test_every_reason_and_every_flag_is_explained() -> None:
    reasons = [value for name, value in vars(Reason).items() if name.isupper()]
    assert [reason for reason in reasons if f"`{reason}`" not in PAGE] == []
    assert [letter for letter in LETTERS if f"`{letter}` " not in PAGE] == []
    assert TOPIC in PAGE
