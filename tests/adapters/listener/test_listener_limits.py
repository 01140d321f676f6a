"""How much of a listener one gateway, one address and all together may have: who wants more waits,
at the cost of none of the others."""

from __future__ import annotations

import pytest

from adapters.sources.inlet.limits import Rates
from adapters.sources.mqttwire import packets
from tests.adapters.listener.listener_served import Raw, ServedListener, packet, publish
from tests.adapters.payload.pushed import BODY, T0, message, row
from tests.intakes import CollectingIntake
from tests.programs import eventually

pytestmark = pytest.mark.timeout(60)


def test_only_so_many_wait_and_the_rest_is_not_read() -> None:
    settings = {"window": 4}
    with CollectingIntake(held=True) as intake, ServedListener(intake, settings=settings) as served:
        with Raw(served) as raw, Raw(served) as other:
            raw.connect(keepalive=1)
            for mid in range(1, 21):
                raw.publish(message(row(time=T0 + mid)), mid)
            intake.wait_until(lambda i: i.unsynced() == 12)
            other.connect("gw-mill")
            other.publish(BODY, 1)
            intake.wait_until(lambda i: i.unsynced() == 15)  # who waits is one alone
            intake.release()
            assert [raw.packet()[1][1] for _ in range(20)] == list(range(1, 21))
            assert other.packet() == (4, b"\0\1")
        assert intake.count() == 63
        assert intake.most_unsynced_rows == 15


def test_who_sends_more_than_its_share_is_slowed_down_and_nobody_else() -> None:
    settings = {"rates": Rates(requests=10, readings=1e6, size=1e9, burst=1.0)}
    with CollectingIntake() as intake, ServedListener(intake, settings=settings) as served:
        with Raw(served) as flood, Raw(served) as other:
            flood.connect()
            other.connect("gw-mill")
            for mid in range(1, 31):
                flood.publish(message(row(time=T0 + mid)), mid)
            eventually(
                lambda: served.count("listener_refused", limit="paused-requests"), "it is paused"
            )
            before = intake.count()
            other.publish(BODY, 1)
            assert other.packet() == (4, b"\0\1")
            assert intake.count() < 93, "the flooder is not through"
            assert [flood.packet()[1][1] for _ in range(30)] == list(range(1, 31))
            assert before < 90
        assert intake.count() == 93  # nothing of it was lost


@pytest.mark.parametrize(
    ("rates", "limit"),
    [
        (Rates(requests=1e6, readings=1e6, size=2 * len(BODY), burst=1.0), "bytes"),
        (Rates(requests=1e6, readings=6, size=1e9, burst=1.0), "readings"),
    ],
)
def test_bytes_and_readings_have_their_share_too(rates: Rates, limit: str) -> None:
    settings = {"rates": rates, "window": 1}
    with (
        CollectingIntake() as intake,
        ServedListener(intake, settings=settings) as served,
        Raw(served) as raw,
    ):
        raw.connect()
        for mid in range(1, 7):
            raw.publish(message(row(time=T0 + mid)), mid)
        assert [raw.packet()[1][1] for _ in range(6)] == list(range(1, 7))
        assert served.count("listener_refused", limit=f"paused-{limit}") > 0


def test_connections_of_one_gateway_share_its_share() -> None:
    settings = {"rates": Rates(requests=5, readings=1e6, size=1e9, burst=1.0)}
    with (
        CollectingIntake() as intake,
        ServedListener(intake, settings=settings) as served,
        Raw(served) as one,
        Raw(served) as two,
    ):
        one.connect(client="1")
        two.connect(client="2")
        for mid in range(1, 7):
            one.publish(message(row(time=T0 + mid)), mid)
        for mid in range(1, 7):
            assert one.packet()[1] == bytes([0, mid])
        two.publish(BODY)
        eventually(
            lambda: served.count("listener_refused", limit="paused-requests") > 1, "both wait"
        )
        assert two.packet() == (4, b"\0\1")


def test_packets_that_are_no_messages_count_too() -> None:
    settings = {"rates": Rates(requests=5, readings=1e6, size=1e9, burst=1.0)}
    with (
        CollectingIntake() as intake,
        ServedListener(intake, settings=settings) as served,
        Raw(served) as raw,
    ):
        raw.connect()
        raw.send(b"\xc0\0" * 8)
        assert [raw.packet() for _ in range(8)] == [(13, b"")] * 8
        assert served.count("listener_refused", limit="paused-requests") > 0


def test_a_gateway_has_only_so_many_connections() -> None:
    settings = {"per_gateway": 2}
    with (
        CollectingIntake() as intake,
        ServedListener(intake, settings=settings) as served,
        Raw(served) as one,
        Raw(served) as two,
        Raw(served) as three,
        Raw(served) as again,
    ):
        one.connect(client="1")
        two.connect(client="2")
        assert three.connect(client="3", version=5)[1] == packets.QUOTA
        one.send(packet(0xE0, b""))
        assert one.closed() == b""
        assert again.connect(client="3")[1] == 0


def test_so_many_from_one_address_and_so_many_at_all() -> None:
    for settings, limit in (
        ({"per_address": 2}, "per-address"),
        ({"connections": 2}, "connections"),
    ):
        with (
            CollectingIntake() as intake,
            ServedListener(intake, settings=settings) as served,
            Raw(served) as one,
            Raw(served) as two,
            Raw(served) as three,
        ):
            one.connect(client="1")
            two.connect(client="2")
            assert three.closed() == b""
            assert served.count("listener_refused", limit=limit) == 1


def test_partial_messages_of_all_together_are_bounded() -> None:
    settings = {"in_flight": 1 << 20, "max_message": 1 << 20}
    with CollectingIntake() as intake, ServedListener(intake, settings=settings) as served:
        raws = [Raw(served) for _ in range(4)]
        try:
            for number, raw in enumerate(raws):
                raw.connect(version=5, client=str(number))
                raw.send(publish(b" " * 900_000, version=5)[:600_000])
            eventually(lambda: served.count("listener_refused", limit="room") >= 1, "one is ended")
            ended = [raw for raw in raws if not raw.silent()]
            assert 1 <= len(ended) < 4
            for raw in ended:
                assert raw.packet()[1][0] == packets.QUOTA
        finally:
            for raw in raws:
                raw.socket.close()
        eventually(lambda: served.source.connections == 0, "all gone")
