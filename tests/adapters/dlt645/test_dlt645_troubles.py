"""A DL/T 645 source and a line in trouble: meters that are dead, late, garbled or mistaken for
others, a server that is away. What is stored is right, and neighbours lose nothing."""

from __future__ import annotations

import pytest

from meterwatch.clock import SimulatedClock
from tests import intakes
from tests.adapters.dlt645.dlt645_line import SimLine, SimMeter
from tests.adapters.dlt645.dlt645_polled import (
    SHORT,
    A,
    B,
    Moving,
    believable,
    device,
    full,
    polling,
    tcp,
)
from tests.adapters.polling import polled
from tests.adapters.polling.polled import HOUR, MINUTE, SECOND, START
from tests.intakes import CollectingIntake
from tests.servers import free_port

clock, intake = polled.clock, intakes.intake
TROUBLES: dict[str, dict[str, object]] = {
    "noise before": {"before": b"\x00\xff\x68\x16garbage"},
    "a beginning before": {"before": bytes.fromhex("68 11 22 33 44 55 66 68 91 C8")},
    "wrong address": {"says_it_is": B},
    "wrong identifier": {"other_identifier": "00010A00"},
    "altered in the data": {"altered_byte": -3},
    "altered sum": {"altered_byte": -2},
    "lost byte": {"lost_byte": 16},
    "cut": {"cut_after": 15},
    "silent": {"silent": True},
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_whatever_a_meter_does_a_stored_value_is_right(
    trouble: str, clock: SimulatedClock, intake: CollectingIntake
) -> None:
    """For a while the meter misbehaves; a neighbour on the line loses nothing."""
    bad, good = SimMeter(A, Moving(clock)), SimMeter(B, Moving(clock))
    async with SimLine(bad, good) as line:
        devices = [device(tcp(line, A), "bad"), device(tcp(line, B), "good")]
        async with polling(devices, clock, intake, patience=0.3) as world:
            await clock.run_until(START + MINUTE + SECOND)
            for name, value in TROUBLES[trouble].items():
                setattr(bad, name, value)
            before = believable(world, "bad")
            await clock.run_until(START + 5 * MINUTE + SECOND)
            wrong_only = trouble in {"noise before", "a beginning before"}
            assert (believable(world, "bad") > before) is wrong_only
            for name in TROUBLES[trouble]:
                setattr(bad, name, getattr(SimMeter("", dict), name))
            await clock.run_until(START + 10 * MINUTE + SECOND)
            assert believable(world, "bad") > before
            good_times = [time for time, _ in world.series("good", "energy.active.import")]
            assert good_times == [START + n * MINUTE for n in range(11)]
            believable(world, "good")
            ups = [up for up, _ in world.states("device:s/bad")]
            assert ups == ([True] if wrong_only else [True, False, True])


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        ({"altered_byte": -2}, "garbled: look at baud rate, parity and wiring"),
        ({"says_it_is": B}, f"an answer of meter {B} to something else came"),
        ({"silent": True}, "does not answer within"),
    ],
)
async def test_the_reason_tells_an_electrician_where_to_look(
    trouble: dict[str, object], says: str, clock: SimulatedClock, intake: CollectingIntake
) -> None:
    meter = SimMeter(A, full, **trouble)  # type: ignore[arg-type]
    async with (
        SimLine(meter) as line,
        polling([device(tcp(line))], clock, intake, SHORT) as world,
    ):
        await clock.run_until(START + MINUTE)
        ((up, reason),) = world.states("device:s/d")
        assert not up
        assert says in reason


@pytest.mark.parametrize("lag", [1, 2, 3])
async def test_a_late_answer_never_becomes_a_value(
    lag: int, clock: SimulatedClock, intake: CollectingIntake
) -> None:
    """Every answer comes just when a later question waits for its own; then the line is well."""
    async with (
        SimLine(SimMeter(A, Moving(clock))) as line,
        polling([device(tcp(line), interval=10)], clock, intake, SHORT) as world,
    ):
        await clock.run_until(START + MINUTE)
        line.lag = lag
        await clock.run_until(START + 10 * MINUTE)
        believable(world)
        line.lag = 0
        before = believable(world)
        await clock.run_until(START + 20 * MINUTE)
        assert believable(world) > before


async def test_a_meter_of_another_line_that_is_heard_here_is_not_ours(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    """Two meters answer every question; only the one that was meant counts."""
    chatter = SimMeter(A, full, says_it_is=B)
    async with (
        SimLine(chatter, SimMeter(A, Moving(clock))) as line,
        polling([device(tcp(line))], clock, intake) as world,
    ):
        await clock.run_until(START + 5 * MINUTE)
        assert believable(world) >= 15


async def test_a_dead_meter_costs_its_neighbours_no_poll(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    dead = SimMeter(A, Moving(clock), silent=True)
    async with SimLine(dead, SimMeter(B, Moving(clock))) as line:
        devices = [device(tcp(line, A), "dead"), device(tcp(line, B), "well", interval=10)]
        async with polling(devices, clock, intake, SHORT) as world:
            await clock.run_until(START + HOUR)
            failures = world.telemetry.value("dlt645_failures", kind="silent")
            assert failures <= 70  # once a minute, after the first few
            times = [time for time, _ in world.series("well", "energy.active.import")]
            assert len(times) >= 355


async def test_a_lost_connection_is_opened_again(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    async with (
        SimLine(SimMeter(A, Moving(clock))) as line,
        polling([device(tcp(line))], clock, intake) as world,
    ):
        await clock.run_until(START + 3 * MINUTE)
        line.hang_up()
        await clock.run_until(START + 6 * MINUTE)
        assert line.connections >= 2
        assert believable(world) >= 15


async def test_a_server_that_is_away_is_told(
    clock: SimulatedClock, intake: CollectingIntake
) -> None:
    url = f"dlt645+tcp://127.0.0.1:{free_port()}?address={A}"
    async with polling([device(url)], clock, intake) as world:
        await clock.run_until(START + 8 * MINUTE)
        ((up, reason),) = world.states(url.partition("?")[0].replace("+tcp://", ":"))
        assert not up
        assert "cannot connect" in reason
