"""A probe finds a DL/T 645 meter by its label or alone on the line, says which model it is, judges
its wiring and its clock, and tells an electrician what to look at when nothing answers."""

from __future__ import annotations

import asyncio
import math
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.sources.dlt645.address import parse_connection
from collector.connections import check_connection
from collector.errors import ConfigurationError
from collector.profile import Profile
from meterwatch.clock import SimulatedClock
from meterwatch.commissioning import assess
from meterwatch.commissioning.assess import Asked
from meterwatch.commissioning.contact.dlt645_line import OpenLine
from meterwatch.commissioning.contact.ports import Ending, Identified, Trouble
from meterwatch.commissioning.findings import Check, Diagnosis, Installed, Kind, Level
from meterwatch.commissioning.models import SHIPPED, models_of
from meterwatch.commissioning.plausible import Phases, Verdict
from meterwatch.commissioning.probe import Report, Sample, probe
from meterwatch.commissioning.probe_words import render
from meterwatch.commissioning.sheet import Proposal
from meterwatch.commissioning.sheet_html import page
from meterwatch.commissioning.sheet_words import text
from meterwatch.probe_commands import run_probe
from tests.adapters.dlt645.dlt645_line import SimLine, SimMeter
from tests.meterwatch.dlt645_meters import MOTOR, ONE, START, THREE, fleet, meter
from tests.meterwatch.sheets import sheet, value
from tests.meterwatch.three_phases import Load, Site, Wiring

A, B = "398192000337", "201500000016"
ANY = "A" * 12
SHORT = 0.05


def url(line: SimLine, address: str = ANY) -> str:
    return f"dlt645+tcp://127.0.0.1:{line.port}?address={address}"


def fitting(report: Report) -> set[str]:
    return {one.profile for one in report.attempts if one.verdict is Verdict.PLAUSIBLE}


@pytest.mark.parametrize("address", [A, ANY, "AAAAAAAAAA37", "AAAAAAAA0337"])
@pytest.mark.parametrize("profile", [ONE, THREE])
async def test_the_meter_and_its_model_are_found(profile: Profile, address: str) -> None:
    async with SimLine(meter(A, profile=profile)) as line:
        report = await probe(url(line, address), clock=SimulatedClock(START))
    assert report.best is not None
    assert fitting(report) == {profile.name}
    other = next(one for one in report.attempts if one is not report.best)
    assert other.phases is (Phases.FEWER if profile is ONE else Phases.MORE)
    assert report.url == url(line, A), "the registry gets the whole address"
    read = {value.quantity: value for value in report.best.values}
    assert read["voltage.l1"].value == pytest.approx(230)
    assert read["energy.active.import"].value == pytest.approx(1234.5)
    assert "Voltage, L1: 230 V" in render(report, "en")
    assert "A相电压: 230 V" in render(report, "zh")


@pytest.mark.parametrize("serial", [True, False])
async def test_a_serial_port_and_a_server_are_alike(serial: bool) -> None:
    async with SimLine(meter(A)) as line:
        place = line.serial() if serial else f"127.0.0.1:{line.port}"
        way = "serial" if serial else "tcp"
        report = await probe(f"dlt645+{way}://{place}?address={A}", clock=SimulatedClock(START))
    assert fitting(report) == {THREE.name}


async def test_what_the_meter_says_of_itself_is_told() -> None:
    async with SimLine(meter(A, ahead=400)) as line:
        shows = line.meters[0].shows
        more = {"04000403": b"ZC2026-0042".hex(), "04000306": "000040"}
        line.meters[0].shows = lambda: {**shows(), **more}
        report = await probe(url(line), clock=SimulatedClock(START))
    said = report.identified
    assert said.serial == "210300010042"
    assert dict(said.also) == {"address": A, "asset": "ZC2026-0042"}
    assert (said.current_ratio, math.isnan(said.voltage_ratio)) == (40, True)
    assert said.clock_off == 400
    english, chinese = render(report, "en"), render(report, "zh")
    assert "6.67 min ahead: have it set" in english
    assert "快 6.67 分钟：请校时" in chinese
    assert "Asset number: ZC2026-0042" in english


async def test_a_meter_without_number_and_clock_is_read_all_the_same() -> None:
    missing = {"04000101", "04000102", "04000402"}
    async with SimLine(meter(A)) as line:
        shows = line.meters[0].shows
        line.meters[0].shows = lambda: {k: v for k, v in shows().items() if k not in missing}
        report = await probe(url(line), clock=SimulatedClock(START))
    assert report.identified == Identified(A, also=(("address", A),))
    assert "Clock" not in render(report, "en")


async def test_what_the_meter_lacks_is_named_and_what_it_ignores_too() -> None:
    async with SimLine(meter(A, ignores=frozenset({"02800001"}))) as line:
        report = await probe(url(line), THREE, patience=SHORT, clock=SimulatedClock(START))
    assert report.best is not None
    lacking = dict(report.best.lacking)
    assert lacking["current.neutral"] == "stays unanswered"
    assert lacking["energy.reactive.import"] == "no such data"
    assert "voltage.l1" not in lacking
    assert "makes every poll with this profile fail" in render(report, "en")
    assert "每次抄读失败" in render(report, "zh")


async def test_a_lost_frame_is_asked_for_again() -> None:
    voltages = "0201FF00"

    class Forgetful(SimMeter):
        def answer(self, control: int, data: bytes) -> bytes:
            said = super().answer(control, data)
            return b"" if self.asked[-1] == voltages and self.asked.count(voltages) == 1 else said

    async with SimLine(Forgetful(A, meter(A).shows)) as line:
        report = await probe(url(line, A), THREE, patience=SHORT, clock=SimulatedClock(START))
        assert line.meters[0].asked.count(voltages) == 2
    assert report.best is not None
    assert "voltage.l3" in {value.quantity for value in report.best.values}


async def test_who_answers_instead_is_told() -> None:
    async with SimLine(meter(A)) as line:
        report = await probe(url(line, B), patience=SHORT)
    assert report.trouble is not None
    assert (report.trouble.what, report.trouble.other) == (Ending.SILENT, A)
    assert f"Meter {A} does answer" in render(report, "en")
    assert f"应答的是表 {A}" in render(report, "zh")


@pytest.mark.parametrize("collide", [True, False])
async def test_two_meters_under_one_wildcard_are_no_meter(collide: bool) -> None:
    async with SimLine(meter(A), meter(B)) as line:
        line.collide = collide
        report = await probe(url(line), patience=SHORT)
    assert report.trouble is not None
    assert report.trouble.what is Ending.GARBLED
    assert "give the number on the label" in render(report, "en")
    assert "请填写铭牌上的表号" in render(report, "zh")


async def test_silence_garbage_and_no_connection_are_told_apart() -> None:
    async with SimLine() as line:
        silent = await probe(url(line, A), patience=SHORT)
        nobody = await probe(url(line), patience=SHORT)
    gone = await probe(url(line), patience=SHORT)
    async with SimLine(meter(A, altered_byte=8)) as line:
        garbled = await probe(url(line, A), patience=SHORT)
        line.meters = [meter(A, before=b"\x12\x34", cut_after=0)]
        unlike = await probe(url(line, A), patience=SHORT)
    said = [render(one, "en") for one in (silent, nobody, gone, garbled, unlike)]
    assert "does not answer" in said[0]
    assert "2400, 9600 and even" in said[1]
    assert "cannot be reached" in said[2]
    assert "nothing that comes is an answer" in said[3]
    assert "check baud rate and parity" in said[3]
    assert "bytes come that are no frame" in said[4]
    serial = await probe(f"dlt645+serial:///dev/no-such-port?address={A}")
    assert "check the name of the port" in render(serial, "en")


@pytest.mark.parametrize("says", [b"13812345678", b""])
async def test_a_terminal_that_calls_is_waited_for(says: bytes) -> None:
    port = await _free_port()
    terminal = "&terminal=13812345678" if says else ""
    where = f"dlt645+listen://127.0.0.1:{port}?address={A}{terminal}"
    line = SimLine(meter(A))
    going = asyncio.create_task(probe(where, patience=0.2, clock=SimulatedClock(START)))
    await _called(line, port, says)
    report = await going
    await line.stop()
    assert fitting(report) == {THREE.name}
    assert check_connection(report.url).instrument == check_connection(where).instrument


async def test_a_terminal_that_does_not_call_is_told_with_who_did() -> None:
    port = await _free_port()
    meant = parse_connection(f"dlt645+listen://127.0.0.1:{port}?address={A}&terminal=139")
    opened = OpenLine(meant.line, 0.01, call_s=0.5)
    line = SimLine()
    going = asyncio.create_task(opened.open())
    await _called(line, port, b"somebody else")
    why = await going
    opened.close()
    await line.stop()
    assert "no terminal called" in why
    assert "somebody else" in why
    said = render(Report("dlt645+listen://h:1", (), Trouble(Ending.UNREACHED, why)), "en")
    assert "firewall" in said


async def _called(line: SimLine, port: int, says: bytes) -> None:
    """As soon as somebody listens at ``port``."""
    while True:
        try:
            await line.call(port, says)
        except OSError:
            await asyncio.sleep(0)
        else:
            return


async def _free_port() -> int:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


async def watched(site: Site, watch: float = 60) -> Report:
    """A minute of simulated time over real sockets."""
    clock = SimulatedClock(START)
    async with SimLine(meter(A, site, clock=clock.now)) as line:

        async def probing() -> Report:
            await clock.sleep(0)  # from now on time stands while it reads
            return await probe(url(line, A), THREE, watch=watch, clock=clock)

        going = asyncio.create_task(probing())
        going.add_done_callback(lambda _: None)
        while not going.done():
            await clock.run_until(clock.now() + 1000)
            await asyncio.sleep(0)
        return await going


def judged(report: Report) -> Diagnosis:
    ratios = assess.ratios_of(THREE.name, Asked(report.url), SHIPPED)
    found = assess.wiring(report, ratios, Installed(feeds_in=False))
    assert found is not None
    return found


LOADED = Site((Load(60, 30), Load(64, 32), Load(56, 29)))
"""Enough that the counter moves within the minute."""


@pytest.mark.parametrize(
    ("wiring", "kind", "phases"),
    [
        (Wiring(), None, ()),
        (Wiring(reversed=(1,)), Kind.CONNECTED_WRONGLY, (2,)),
        (Wiring(currents=(1, 0, 2)), Kind.CONNECTED_WRONGLY, (1, 2)),
        (Wiring(voltages=(0, None, 2)), Kind.VOLTAGE_LEAD, (2,)),
        (Wiring(neutral=2), Kind.NEUTRAL_CROSSED, (3,)),
    ],
)
async def test_wiring_is_judged_as_over_modbus(
    wiring: Wiring, kind: Kind | None, phases: tuple[int, ...]
) -> None:
    report = await watched(Site(LOADED.loads, wiring=wiring))
    assert len(report.samples) > 20
    found = judged(report)
    faults = {
        one.kind: one.phases
        for one in found.findings
        if one.level is Level.FAULT and one.kind is not Kind.RATIO_TWICE
    }
    if kind is None:
        assert not faults
        assert found.level(Check.COUNTER) is None
    else:
        named = set(faults[kind]) | {p for f in found.findings for c in f.causes for p in c.crossed}
        assert set(phases) <= named


async def test_the_sheet_holds_what_was_found_out() -> None:
    report = await watched(MOTOR, 10)
    asked = Asked(
        report.url, display=["kWh=1234.5"], feeds_in=False, serial="398192000337", place="press-1"
    )
    ratios = assess.ratios_of(THREE.name, asked, SHIPPED)
    compared = [assess.typed("kWh", "1234.5", report, ratios)]
    made_of = assess.sheet_of(asked, report, compared, judged(report), SHIPPED)
    assert made_of.proposal is Proposal.ACCEPT
    assert not made_of.other_serial, "the label shows the address, the register another number"
    for made, language in ((text, "en"), (page, "zh")):
        said = made(made_of, language)
        for part in ("398192000337", "dlt645-2007-three-phase", "1234.5", "press-1"):
            assert part in said
    assert "Meter's clock" in text(made_of, "en")


def test_a_clock_that_is_off_is_looked_at_before_the_meter_is_accepted() -> None:
    right = sheet()
    assert right.proposal is Proposal.ACCEPT
    wrong = replace(right, told=Identified(clock_off=-90.0))
    assert wrong.proposal is Proposal.CHECK
    assert replace(right, told=Identified(clock_off=59.0)).proposal is Proposal.ACCEPT


def test_a_single_phase_meter_is_judged_by_its_total() -> None:
    names = {"voltage.l1": 230.0, "current.l1": 3.0, "power.active": -0.6, "power.factor": -0.87}
    one = Sample(START, tuple(value(name, number) for name, number in names.items()))
    report = Report("dlt645+tcp://h:1?address=1", (), samples=(one,))
    ratios = assess.ratios_of(ONE.name, Asked(report.url), SHIPPED)
    found = assess.wiring(report, ratios, Installed(feeds_in=False))
    assert found is not None
    assert [(f.kind, f.level) for f in found.findings if f.level is Level.FAULT] == [
        (Kind.CONNECTED_WRONGLY, Level.FAULT)
    ]


async def test_a_fleets_own_model_wins_where_it_fits(tmp_path: Path) -> None:
    models = models_of(fleet(tmp_path))
    assert models.own == {"our-meter"}
    async with SimLine(meter(A)) as line:
        three = await probe(url(line), models=models, clock=SimulatedClock(START))
        line.meters[0].shows = meter(A, profile=ONE).shows
        one = await probe(url(line), models=models, clock=SimulatedClock(START))
    assert three.best is not None
    assert three.best.profile == "our-meter"
    assert fitting(three) == {"our-meter", THREE.name}
    assert "shows the same values" not in render(three, "en"), "the other shows more"
    assert fitting(one) == {ONE.name}, "and not where it does not"


async def test_the_command_prints_the_block_and_tells_by_its_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with SimLine(meter(A)) as line:
        asked = Asked(url(line), watch=0.01, sheets=[tmp_path / "s.html"], fleet=fleet(tmp_path))
        assert await asyncio.to_thread(run_probe, asked, "zh") == 0
        out, err = capsys.readouterr()
        (device,) = tomllib.loads(out[out.index("[[device]]") :])["device"]
        assert device["connection"] == url(line, A)
        assert device["profile"] == "our-meter"
        assert device["id"] == f"meter-{A}"
        assert "观察" in err
        assert (tmp_path / "s.html").read_text(encoding="utf-8").startswith("<!doctype html>")
        wrong = Asked(url(line, B), patience=SHORT)
        assert await asyncio.to_thread(run_probe, wrong, "en") == 1
    for asked in (
        Asked("dlt645+tcp://127.0.0.1:1"),
        Asked("dlt645+tcp://127.0.0.1?address=1"),
        Asked(url(line), profile="eastron-sdm630"),
        Asked(url(line), fleet=tmp_path / "nowhere"),
        Asked("mbus://h"),
    ):
        with pytest.raises(ConfigurationError):
            await asyncio.to_thread(run_probe, asked, "en")
