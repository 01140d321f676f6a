"""Senders are told what became of their messages, over a real mosquitto with MQTT 3.1.1 and 5."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from collector.model import Reason
from collector.ports import Urgency
from meterwatch.clock import SystemClock
from tests import intakes, servers
from tests.adapters.mqtt.mqtt_box import VERSIONS, Box, sender
from tests.adapters.payload.pushed import REPLIES, message, row, topic
from tests.intakes import CollectingIntake
from tests.servers import Mosquitto

pytestmark = pytest.mark.timeout(60)
broker, intake = servers.broker, intakes.intake


@VERSIONS
async def test_a_message_with_an_id_is_answered_with_what_became_of_it(
    broker: Mosquitto, intake: CollectingIntake, version: int
) -> None:
    box = Box(broker.port, version=version)
    async with box.running(intake):
        with sender(broker, version) as gateway:
            gateway.send(message(row(), row("nobody"), id="m-1"))
            reply = gateway.reply()
            gateway.send(message(row(), id=2))
            assert gateway.told() == {"id": 2, "stored": 3, "refused": []}
        async with asyncio.timeout(60):
            while box.metric("mqtt_replies") < 2:  # noqa: ASYNC110 - as Box.until
                await asyncio.sleep(0.01)
    assert (reply.topic, reply.qos, reply.retain) == (REPLIES, 1, False)
    told = json.loads(reply.payload)
    assert (told["id"], told["stored"]) == ("m-1", 3)
    assert [(part["reason"], part["rows"]) for part in told["refused"]] == [("unknown-device", [1])]
    assert box.metric("mqtt_replies_dropped") == box.metric("mqtt_replies_waiting") == 0


async def test_readings_on_which_the_program_failed_are_not_called_stored(
    broker: Mosquitto, intake: CollectingIntake
) -> None:
    intake.aside = "the program failed on these readings: KeyError(7)"
    async with Box(broker.port).running(intake):
        with sender(broker) as gateway:
            gateway.send(message(row(), row("nobody"), id=1))
            found = gateway.told()
    assert (found["id"], found["stored"]) == (1, 0)
    assert [(part["reason"], part["count"]) for part in found["refused"]] == [
        (Reason.UNKNOWN_DEVICE, 3),
        (Reason.PROGRAM_FAULT, 3),
    ]


@VERSIONS
@pytest.mark.parametrize("which", ["needed", "all", "none"])
async def test_who_is_told_is_set(
    broker: Mosquitto, intake: CollectingIntake, version: int, which: str
) -> None:
    told: list[Any] = []
    with sender(broker, version) as gateway:
        async with Box(broker.port, version=version, replies=which).running(intake):
            gateway.send(message(row()))
            gateway.send(b"garbage")
            gateway.send(message(row(), id=1))
            await intake.until(lambda i: i.count() == 6)
        # The end waits for acknowledgements, and replies go before them: this one comes last.
        async with Box(broker.port, version=version).running(intake):
            gateway.send(message(row(), id="last"))
            while (reply := gateway.told())["id"] != "last":
                told.append(reply["stored"])
    assert told == {"needed": [0, 3], "all": [3, 0, 3], "none": []}[which]


async def test_only_after_the_sync(broker: Mosquitto) -> None:
    with CollectingIntake(held=True) as intake, sender(broker) as gateway:
        box = Box(broker.port)
        async with box.running(intake):
            for number in (1, 2):
                gateway.send(message(row(), id=number))
                await intake.until(lambda i, number=number: i.count() == 3 * number)
            intake.release_one()  # the source's state
            intake.release_one()  # the first message
            assert gateway.told()["id"] == 1
            await box.until("mqtt_replies")
            assert box.metric("mqtt_replies") + box.metric("mqtt_replies_waiting") == 1
            intake.release()
            gateway.send(message(row(), id=3))
            assert [gateway.told()["id"] for _ in range(2)] == [2, 3]


@VERSIONS
async def test_a_gateway_that_nobody_entered_is_told_nothing(
    broker: Mosquitto, intake: CollectingIntake, version: int
) -> None:
    async with Box(broker.port, version=version, replies="all").running(intake):
        with sender(broker, version) as gateway:
            gateway.send(message(row(), id=1), to="gw-unknown")
            gateway.send(bytes(5 << 20), to="gw-unknown")
            gateway.send(message(row(), id=2))
            assert gateway.told()["id"] == 2
    assert [r.reason for r in intake.refusals()] == [Reason.UNKNOWN_GATEWAY, Reason.TOO_LARGE]


async def test_a_message_too_large_is_answered(broker: Mosquitto, intake: CollectingIntake) -> None:
    async with Box(broker.port).running(intake):
        with sender(broker) as gateway:
            gateway.send(bytes(5 << 20), CorrelationData=b"big")
            reply = gateway.reply()
    assert json.loads(reply.payload)["refused"][0]["reason"] == Reason.TOO_LARGE
    assert reply.properties is not None
    assert reply.properties.CorrelationData == b"big"


class TestWishes:
    """Response Topic and Correlation Data of MQTT 5."""

    async def test_both_are_honoured(self, broker: Mosquitto, intake: CollectingIntake) -> None:
        async with Box(broker.port).running(intake):
            with sender(broker) as gateway:
                to = f"{REPLIES}/session-7"
                gateway.send(message(row()), ResponseTopic=to, CorrelationData=b"\x00\xff")
                reply = gateway.reply()
        assert (reply.topic, json.loads(reply.payload)["stored"]) == (to, 3)
        assert reply.properties is not None
        assert reply.properties.CorrelationData == b"\x00\xff"

    @pytest.mark.parametrize(
        "to",
        [
            "meterwatch/v1/gw-mill/replies",  # another's
            "meterwatch/v1/gw-print",
            "meterwatch/v1/gw-print/",
            "meterwatch/v1/gw-print-2/replies",
            topic(),  # it would be read as readings, and answered
            "meterwatch/v1/gw-print/x/v1/gw-mill/readings",
            "elsewhere",
            f"{REPLIES}/a/b",
            f"{REPLIES}/",
            f"{REPLIES}-x",
        ],
    )
    async def test_a_topic_that_is_not_the_gateways_own_is_not(
        self, broker: Mosquitto, intake: CollectingIntake, to: str
    ) -> None:
        async with Box(broker.port).running(intake):
            with sender(broker, listens="#") as gateway:
                gateway.send(message(row()), ResponseTopic=to, CorrelationData=b"1")
                heard = [gateway.reply().topic for _ in range(2)]
        assert sorted(heard) == sorted([topic(), REPLIES])

    async def test_a_response_topic_alone_asks(
        self, broker: Mosquitto, intake: CollectingIntake
    ) -> None:
        async with Box(broker.port).running(intake):
            with sender(broker) as gateway:
                gateway.send(message(row()), ResponseTopic=REPLIES)
                assert gateway.told() == {"id": None, "stored": 3, "refused": []}

    async def test_other_properties_change_nothing(
        self, broker: Mosquitto, intake: CollectingIntake
    ) -> None:
        async with Box(broker.port).running(intake):
            with sender(broker) as gateway:
                now = SystemClock().now()
                gateway.send(
                    message(row(time=now)),
                    PayloadFormatIndicator=0,
                    ContentType="text/plain",
                    UserProperty=("backfill", "true"),
                    MessageExpiryInterval=60,
                    TopicAlias=1,  # between gateway and broker: we see the topic
                )
                gateway.send(message(row(time=now), id=1))
                assert gateway.told()["id"] == 1
        assert intake.refusals() == []
        assert not intake.batch().segments.backfill.any()


async def test_a_full_disk_is_told_and_then_the_receipt(
    broker: Mosquitto, intake: CollectingIntake
) -> None:
    async with Box(broker.port).running(intake):
        intake.refuse_below(Urgency.PUSH)
        with sender(broker) as gateway:
            gateway.send(message(row(), id="late", backfill=True))
            told = gateway.told()
            intake.refuse_below(Urgency.BACKFILL)
            receipt = gateway.told()
    assert (told["id"], told["stored"], told["retry"]) == ("late", 0, True)
    assert [part["reason"] for part in told["refused"]] == ["busy"]
    assert receipt == {"id": "late", "stored": 3, "refused": []}
