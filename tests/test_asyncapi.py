"""docs/asyncapi.yaml is AsyncAPI 3.0, and what its schemas say of messages and replies is so."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from hypothesis import given
from pydantic_asyncapi.v3 import AsyncAPI

from adapters.sources.mqtt import TOPIC
from adapters.sources.mqtt.replies import REPLIES
from adapters.sources.payload import Receipt, answer, busy
from adapters.sources.payload.receipts import BUSY, TODO
from collector.model import Reason
from tests.adapters.payload.any_messages import deliveries
from tests.adapters.payload.pushed import T0, Fleet, message, row, topic

DOCS = Path(__file__).resolve().parents[1] / "docs"
TOLD = yaml.safe_load((DOCS / "asyncapi.yaml").read_text(encoding="utf-8"))
PAGE = (DOCS / "gateway-protocol.md").read_text(encoding="utf-8")


def schema(name: str) -> Any:
    """A validator of one schema of the document, with the others beside it."""
    whole = {"$ref": f"#/components/schemas/{name}", "components": TOLD["components"]}
    return jsonschema_rs.Draft202012Validator(whole)


READINGS, REPLY = schema("readings"), schema("reply")


def test_it_is_of_the_standard() -> None:
    read = AsyncAPI.model_validate(TOLD)
    assert read.asyncapi == "3.0.0"
    assert jsonschema_rs.meta.is_valid({"$defs": TOLD["components"]["schemas"]})


def test_every_reference_leads_somewhere() -> None:
    references = set(re.findall(r'\$ref: "#/([^"]+)"', (DOCS / "asyncapi.yaml").read_text("utf-8")))
    assert len(references) > 15
    for reference in references:
        found = TOLD
        for part in reference.split("/"):
            found = found[part]


def test_topics_and_reasons_are_ours() -> None:
    channels = TOLD["channels"]
    assert channels["readings"]["address"].replace("{gateway}", "+") == TOPIC
    assert channels["replies"]["address"] == f"meterwatch/v1/{{gateway}}/{REPLIES}"
    reasons = set(TOLD["components"]["schemas"]["refused"]["properties"]["reason"]["enum"])
    # An unknown gateway gets no reply, and no database is asked before one is sent.
    assert reasons == TODO.keys() - {Reason.UNKNOWN_GATEWAY, Reason.REJECTED, Reason.UNFIT}
    assert BUSY in reasons


@pytest.mark.parametrize("sample", list[str](re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)))
def test_the_samples_of_the_page_are_messages_or_replies(sample: str) -> None:
    told = json.loads(sample)
    assert READINGS.is_valid(told) != REPLY.is_valid(told)


@pytest.mark.parametrize(
    "payload",
    [
        {"readings": [{"device": "a", "time": 1.5, "values": {}}]},
        {"readings": [{"device": "a", "time": T0, "values": {"power.active": "81"}}]},
        {"readings": [{"device": 5, "time": T0, "values": {}}]},
        {"readings": [{"time": T0, "values": {}}]},
        {"readings": {}},
        {"id": True, "readings": []},
        {"id": "x" * 65, "readings": []},
        {"backfill": "yes", "readings": []},
        {},
        [],
    ],
)
def test_what_it_does_not_allow_we_find_fault_with(payload: Any) -> None:
    assert not READINGS.is_valid(payload)
    (told,) = Fleet().decoder.decode_many([(topic(), json.dumps(payload).encode(), T0)]).receipts
    assert told.refused


@given(deliveries)
def test_what_it_allows_has_the_right_form_for_us(messages: list[tuple[str, bytes, int]]) -> None:
    decoder = Fleet().decoder
    for one in messages:
        (receipt,) = decoder.decode_many([one]).receipts
        assert REPLY.is_valid(json.loads(answer(receipt))) or any(
            part.reason == Reason.UNKNOWN_GATEWAY for part in receipt.refused
        )
        assert REPLY.is_valid(json.loads(answer(busy(receipt))))


def test_a_message_of_the_right_form_is_one() -> None:
    whole = message(
        row(units={"power.active": "W"}, flags={"power.active": "N"}, serial="21030001"),
        row("behind", values={"power.active": None}),
        backfill=False,
        id="m-1",
    )
    assert READINGS.is_valid(json.loads(whole))
    assert REPLY.is_valid(json.loads(answer(Receipt(5, (), "m-1", ("mend the clock",)))))
