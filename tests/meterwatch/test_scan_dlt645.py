"""A scan finds the meters on a DL/T 645 line by the ends of their addresses, though their answers
collide, says beforehand how long it takes, and says what it cannot know."""

from __future__ import annotations

import asyncio
import tomllib
from pathlib import Path

import pytest

from collector.connections import check_connection
from collector.errors import ConfigurationError
from meterwatch.clock import SimulatedClock
from meterwatch.commissioning.contact.ports import Note, Wanted
from meterwatch.commissioning.models import SHIPPED, models_of
from meterwatch.commissioning.scan import Scan, prepared, scan
from meterwatch.commissioning.scan_words import plan_told, render
from meterwatch.scan_commands import run_scan
from tests.adapters.dlt645.dlt645_line import SimLine, SimMeter
from tests.meterwatch.dlt645_meters import ONE, START, THREE, fleet, meter

PATIENCE = 0.03
A, B, C = "398192000337", "201500000037", "201500000012"


def url(line: SimLine, address: str = "") -> str:
    end = f"?address={address}" if address else ""
    return f"dlt645+tcp://127.0.0.1:{line.port}{end}"


async def scanned(where: str, wanted: Wanted | None = None) -> Scan:
    search = prepared(where, wanted or Wanted(), patience=PATIENCE, clock=SimulatedClock(START))
    return await scan(search, clock=SimulatedClock(START))


async def test_three_meters_of_which_two_end_alike_are_found() -> None:
    told: list[tuple[int, int, int]] = []
    async with SimLine(meter(A), meter(B, profile=ONE), meter(C, ahead=-3600)) as line:
        line.collide = True
        search = prepared(url(line), Wanted(), patience=PATIENCE, clock=SimulatedClock(START))
        assert search.longest == pytest.approx(100 * PATIENCE)
        assert "00 to 99" in plan_told(search, "en")
        assert "3 s at most" in plan_told(search, "en")
        done = await scan(search, progress=lambda *n: told.append(n), clock=SimulatedClock(START))
    assert [one.who for one in done.found] == [C, B, A]
    likely = [[attempt.profile for attempt in one.likely] for one in done.found]
    assert likely == [[THREE.name], [ONE.name], [THREE.name]]
    assert done.asked == 200, "one ending is shared"
    assert told[-1] == (200, 200, 3)
    assert not done.notes
    said = render(done, "dlt645", SHIPPED, "en")
    assert "1 h" not in said
    assert "60 min behind" in said, "whose clock is off is told"
    devices = tomllib.loads(said)["device"]
    assert [one["id"] for one in devices] == [f"meter-{one}" for one in (C, B, A)]
    for one in devices:
        assert not check_connection(one["connection"]).wrong


@pytest.mark.parametrize("serial", [True, False])
async def test_a_search_may_begin_below_an_ending(serial: bool) -> None:
    async with SimLine(meter(A), meter(B), meter(C)) as line:
        line.collide = True
        where = url(line, "AAAAAAAAAA37")
        if serial:
            where = f"dlt645+serial://{line.serial()}?address=AAAAAAAAAA37"
        done = await scanned(where)
        assert line.connections == (not serial), "silence closes nothing"
    assert [one.who for one in done.found] == [B, A]
    assert done.asked == 100


async def test_nobody_is_known_soon(capsys: pytest.CaptureFixture[str]) -> None:
    async with SimLine() as line:
        code = await asyncio.to_thread(run_scan, url(line), Wanted(), PATIENCE, "zh")
    out, err = capsys.readouterr()
    assert code == 1
    assert "没有表应答" in out
    assert "最长" in err
    assert "已问" not in err, "no ending was asked"
    assert await asyncio.to_thread(run_scan, url(line), Wanted(), PATIENCE, "en") == 1
    assert "cannot go on" in capsys.readouterr().out


async def test_meters_that_know_no_endings_are_told_of_and_asked_by_number() -> None:
    async with SimLine(meter(A, whole_only=True), meter(C, whole_only=True)) as line:
        line.collide = True
        done = await scanned(url(line))
        assert not done.found
        assert done.notes == ((Note.NO_SHORT_ADDRESSES, ""),)
        assert "--address" in render(done, "dlt645", SHIPPED, "en")
        wanted = Wanted(addresses=[A, "201500000010-201500000014"])
        listed = await scanned(url(line), wanted)
    assert [one.who for one in listed.found] == [C, A]
    assert listed.asked == 6


async def test_one_meter_alone_is_found_though_it_knows_no_endings() -> None:
    async with SimLine(meter(A, whole_only=True)) as line:
        done = await scanned(url(line))
    assert [one.who for one in done.found] == [A]
    assert [note for note, _ in done.notes] == [Note.NO_SHORT_ADDRESSES]
    assert "# Somebody answers" in render(done, "dlt645", SHIPPED, "en")


async def test_two_meters_with_one_address_are_told_of() -> None:
    async with SimLine(meter(A), meter(A, altered_byte=8)) as line:
        line.collide = True
        done = await scanned(url(line, "AA8192000337"))
    assert done.notes == ((Note.SAME_ADDRESS, A),)
    assert A in render(done, "dlt645", SHIPPED, "zh")


class Noise(SimMeter):
    """Whatever is said on this line, something comes back."""

    def means(self, pattern: str) -> bool:
        return True

    def answer(self, control: int, data: bytes) -> bytes:
        return b"\x12\x34\x56"


async def test_a_line_that_is_nothing_but_noise_is_given_up() -> None:
    async with SimLine(Noise(A, dict)) as line:
        done = await scanned(url(line))
    assert done.notes == ((Note.NOISE, ""),)
    assert done.asked < 20
    assert "baud rate" in render(done, "dlt645", SHIPPED, "en")


async def test_a_thorough_search_goes_on_below_an_answer() -> None:
    """Two that end alike, and the answer of one drowns the other's."""

    class Loud(SimLine):
        def _answered(self, question: bytes) -> bytes:
            first, end, _ = super()._answered(question).partition(b"\x16\xfe")
            return first + end[:1]

    loud, drowned = "111111110037", "221111110037"
    async with Loud(meter(loud), meter(drowned)) as line:
        trusting = await scanned(url(line, "AAAA11110037"))
        thorough = await scanned(url(line, "AAAA11110037"), Wanted(thorough=True))
    assert [one.who for one in trusting.found] == [loud]
    assert [one.who for one in thorough.found] == [loud, drowned]


async def test_a_fleets_own_models_are_tried(tmp_path: Path) -> None:
    models = models_of(fleet(tmp_path))
    async with SimLine(meter(A)) as line:
        search = prepared(
            url(line), Wanted(addresses=[A]), models=models, clock=SimulatedClock(START)
        )
        done = await scan(search, models=models, clock=SimulatedClock(START))
    assert done.found[0].likely[0].profile == "our-meter"
    assert 'profile = "our-meter"  # or dlt645-2007-three-phase' in render(
        done, "dlt645", models, "en"
    )


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(first=3),
        Wanted(addresses=["12x"]),
        Wanted(addresses=["9-3"]),
        Wanted(addresses=["0-99999"]),
        Wanted(addresses=["1234567890123"]),
    ],
)
def test_what_makes_no_sense_is_refused_before_anybody_is_asked(wanted: Wanted) -> None:
    with pytest.raises(ConfigurationError):
        prepared("dlt645+tcp://h:1", wanted)
