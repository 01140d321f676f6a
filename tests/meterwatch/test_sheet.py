"""The acceptance sheet compares what a person read with what the system reads, proposes no more
than it saw, and is one page of HTML that needs nothing from anywhere."""

from __future__ import annotations

import asyncio
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from adapters.profiles import load_profiles
from meterwatch.commissioning.assess import Asked
from meterwatch.commissioning.contact.ports import Identified
from meterwatch.commissioning.sheet import Outcome, Proposal, compare
from meterwatch.commissioning.sheet_html import page
from meterwatch.commissioning.sheet_words import text
from meterwatch.probe_commands import run_probe
from meterwatch.simulator.meters import Meter, MeterServer
from tests.meterwatch.sheets import MOTOR, VALUES, sheet
from tests.meterwatch.three_phases import Load, Site, Wiring, shown

RATIOS = {"energy.active.import": 40.0, "power.active": 40.0}


@pytest.mark.parametrize(
    ("name", "typed", "outcome"),
    [
        ("kWh", "1234.5", Outcome.AGREES),
        ("kWh", "1,234.5", Outcome.AGREES),
        ("KWH", "1235", Outcome.AGREES),  # a display without decimals
        ("energy.active.import", "1234.4", Outcome.AGREES),  # one that cuts off
        ("kWh", "1260", Outcome.DIFFERS),
        ("kWh", "49380", Outcome.PRIMARY),
        ("kW", "2.4", Outcome.AGREES),
        ("kW", "100", Outcome.PRIMARY),
        ("kW", "25", Outcome.DIFFERS),
        ("Hz", "50", Outcome.UNREAD),
    ],
)
def test_the_display_is_held_against_the_system(name: str, typed: str, outcome: Outcome) -> None:
    assert compare(name, typed, VALUES, RATIOS).outcome is outcome


@pytest.mark.parametrize(("name", "typed"), [("parsec", "1"), ("kWh", "much"), ("kWh", "nan")])
def test_what_is_no_name_or_number_is_refused(name: str, typed: str) -> None:
    with pytest.raises(ValueError):
        compare(name, typed, VALUES, RATIOS)


def test_a_factor_between_display_and_system_is_named() -> None:
    one = sheet(compared=(compare("kWh", "49380", VALUES, {}),), current_ratio=40.0)
    assert one.compared[0].factor == pytest.approx(40)
    assert "applied once too often" in text(one, "en")
    assert "变比多算了一次" in page(one, "zh")


def test_no_more_is_proposed_than_was_seen() -> None:
    assert sheet().proposal is Proposal.ACCEPT
    assert sheet(compared=()).proposal is Proposal.CHECK
    assert sheet(wiring=None).proposal is Proposal.CHECK
    idle = Site((Load(0.01), Load(0.01), Load(0.01)))
    assert sheet(idle).proposal is Proposal.CHECK
    assert sheet(Site(MOTOR.loads, wiring=Wiring(reversed=(1,)))).proposal is Proposal.REFUSE
    assert sheet(fits=False).proposal is Proposal.REFUSE
    assert sheet(compared=(compare("kWh", "99", VALUES, {}),)).proposal is Proposal.REFUSE
    assert sheet(told=Identified("0021030001")).proposal is Proposal.ACCEPT
    assert sheet(told=Identified("77")).proposal is Proposal.REFUSE
    assert "77" in text(sheet(told=Identified("77")), "en")
    other = sheet(takes_ratios=True, told=Identified(voltage_ratio=1.0, current_ratio=60.0))
    assert other.proposal is Proposal.CHECK
    assert "1 × 60" in page(other, "zh")


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("made", [text, page])
def test_everything_that_is_signed_for_is_on_it(made: object, language: str) -> None:
    one = sheet(Site(MOTOR.loads, wiring=Wiring(reversed=(1,))))
    said = made(one, language)  # type: ignore[operator]
    for part in ("21030001", "press-1", "modbus+tcp://192.0.2.10:502?unit=3", "1234.5", "60"):
        assert part in said
    for part in {
        "en": ("L2 is reversed", "do not accept", "Electrician", "agrees", "-4.096"),
        "zh": ("B相电流互感器极性接反", "建议不通过", "安装人员", "一致", "-4.096"),
    }[language]:
        assert part in said, part


class _Page(HTMLParser):
    """What is opened is closed; what is fetched is gathered."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in {"meta", "circle", "path", "line", "polygon"}:
            self.open.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in {"src", "href"}]

    def handle_endtag(self, tag: str) -> None:
        if tag not in {"circle", "path", "line", "polygon"}:
            assert self.open.pop() == tag


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_is_well_formed_and_fetches_nothing(language: str) -> None:
    made = page(sheet(), language)
    found = _Page()
    found.feed(made)
    found.close()
    assert not found.open
    assert not found.fetched
    assert "script" not in found.tags
    assert {"svg", "table", "dl"} <= found.tags
    assert not re.search(r"url\(|@import|https?:", made)
    assert "size: A4" in made


def test_what_a_person_typed_is_text() -> None:
    made = page(sheet(site="<script>alert(1)</script>", place='a"&b', serial="<b>"), "en")
    assert "<script>" not in made
    assert "&lt;script&gt;" in made
    assert "<b>21" not in made


async def test_the_command_writes_both_forms(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = shown(MOTOR) | {"energy.active.import": 1234.5, "energy.active.export": 0.0}
    one = Meter(3, load_profiles()["chint-dtsu666"], lambda _: values)
    html, plain = tmp_path / "sheet.html", tmp_path / "sheet.txt"
    async with MeterServer([one], lambda: 0) as server:
        asked = Asked(
            server.url(3),
            feeds_in=False,
            display=["kWh=1234.5", "V1=230"],
            clamp=["L1=20.2"],
            sheets=[html, plain],
            place="press-1",
            serial="21030001",
        )
        code = await asyncio.to_thread(run_probe, asked, "zh")
    assert code == 0
    assert "建议通过" in plain.read_text(encoding="utf-8")
    assert html.read_text(encoding="utf-8").startswith("<!doctype html>")
    out = capsys.readouterr().out
    assert 'serial = "21030001"' in out
    assert "电流方向与相别" in out


async def test_the_command_refuses_what_is_wired_wrongly() -> None:
    values = shown(Site(MOTOR.loads, wiring=Wiring(reversed=(0,))))
    one = Meter(3, load_profiles()["chint-dtsu666"], lambda _: values)
    async with MeterServer([one], lambda: 0) as server:
        asked = Asked(server.url(3), "chint-dtsu666", watch=0.01, feeds_in=False)
        assert await asyncio.to_thread(run_probe, asked, "en") == 1
