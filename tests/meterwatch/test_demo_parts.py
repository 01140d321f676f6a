"""Parts of the demo, without one that is played: its arithmetic, its words in both languages, whose
folder it empties."""

from __future__ import annotations

import re
import string
from io import StringIO
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from adapters.stores.refused import RefusedTotal
from collector.errors import ConfigurationError
from meterwatch.demo.course import Line
from meterwatch.demo.folder import MARKER, claim
from meterwatch.demo.run import Demo
from meterwatch.demo.tally import MODBUS, Row, Tally, totals
from meterwatch.demo.view import spark
from meterwatch.demo.words import WORDS, Speaker, amount
from tests.programs import ROOT

ZONE = ZoneInfo("Asia/Shanghai")
EN, ZH = Speaker("en", ZONE), Speaker("zh", ZONE)
NOON = 1_795_320_000_000


@given(st.lists(st.floats(0, 1e9, width=32), max_size=12))
def test_a_curve_has_its_top_at_the_largest(values: list[float]) -> None:
    drawn = spark(values, each=1)
    assert len(drawn) == len(values)
    if values and max(values) > 0:
        assert drawn[values.index(max(values))] == max(drawn)


def test_a_curve_counts_its_cells_from_the_newest_value() -> None:
    assert spark([100.0, 0.0, 0.0, 100.0, 100.0], each=2) == "▆▁▆"
    assert spark([], each=3) == ""


def test_a_gap_is_not_made_good_by_a_surplus() -> None:
    gap, surplus = Row(MODBUS, 10, 8, 1), Row("gateway:g", 10, 11, 0)
    assert (gap.missing, surplus.missing) == (1, -1)
    assert Tally([gap, surplus]).whole.missing == 0
    assert not Tally([gap, surplus]).adds_up
    assert Tally([Row(MODBUS, 10, 9, 1)]).adds_up
    assert not Tally([Row(MODBUS, 10, 9, 1)], unheard=-1).adds_up


def test_a_leap_is_told_as_what_leapt() -> None:
    """Not as a speed: per hour it is a number that nobody measured."""
    data = {"kind": "rate", "unit": "kWh", "value": -135_716_688.0, "limit": 0.0}
    assert EN.measured(data) == ""
    data |= {"change": -376_990.8, "elapsed_ms": 10_000}
    assert EN.measured(data) == ": fell by 376,991 kWh in 10 s"
    assert ZH.measured(data) == "：10 秒内下降 376,991 kWh"


def test_refusals_are_told_by_origin_and_reason_the_most_first() -> None:
    found = totals(["mqtt:main", "gateway:g"], [
        RefusedTotal(0, "unknown-gateway", 1, 2, 0, 0),
        RefusedTotal(1, "wrong-serial", 3, 30, 0, 0),
    ])  # fmt: skip
    assert found == [("gateway:g", "wrong-serial", 30), ("mqtt:main", "unknown-gateway", 2)]


def test_what_did_not_happen_is_named(tmp_path: Path) -> None:
    demo = Demo(tmp_path, 60, EN, Console(file=StringIO()))
    demo.played = list(demo.events)
    rules = [rule for event in demo.events for rule in event.expect]
    missing = demo.missing(set(), Tally([]), [])
    assert len(missing) == len(rules) + 2
    assert all(any(rule in line for line in missing) for rule in rules)
    assert len(demo.missing(set(rules), Tally([], [("g", "wrong-serial", 1)]), [])) == 1
    demo.interrupted = True
    assert demo.missing(set(), Tally([]), []) == []
    short = Demo(tmp_path, 29, EN, Console(file=StringIO()))
    short.played = list(short.events)
    assert short.missing(set(), Tally([]), []) == []


@pytest.mark.parametrize("key", WORDS)
def test_every_text_is_there_in_both_languages(key: str) -> None:
    en, zh = (fields(text) for text in WORDS[key])
    assert all(WORDS[key])
    assert sorted(en) == sorted(zh)


def fields(text: str) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]


def test_every_text_is_used() -> None:
    folder = ROOT / "meterwatch" / "demo"
    code = "\n".join(file.read_text(encoding="utf-8") for file in folder.glob("*.py"))
    code += "".join(f'"{row}"' for row in re.findall(r"(\w+)=True", code))
    for key in WORDS:
        built = key.partition(".")[0] in {"broker", "file"} and "." in key
        assert built or re.search(rf'["\']{re.escape(key)}["\'](?!: \()', code), key


@pytest.mark.parametrize("speaker", [EN, ZH], ids=["en", "zh"])
def test_a_transition_is_told_in_the_readers_language(speaker: Speaker) -> None:
    data = {
        "title": "No power", "title_zh": "断电", "site_name": "Works", "site_name_zh": "厂",
        "place_name": "Stack", "place_name_zh": "排口", "unit": "mg/m3",
        "value": 81.25, "limit": 70, "kind": "threshold",
    }  # fmt: skip
    en = ("No power", "Works, Stack", ": 81.25 mg/m³, limit 70 mg/m³")
    zh = ("断电", "厂，排口", "：81.25 mg/m³，限值 70 mg/m³")
    told = speaker.title(data), speaker.where(data), speaker.measured(data)
    assert told == (en if speaker is EN else zh)
    silent = {"subject": "gateway:gw", "kind": "absence", "value": 7.2, "rule": "r"}
    assert "gw" in speaker.where(silent)
    assert " 7 " in speaker.measured(silent)
    assert speaker.title(silent) == "r"


@pytest.mark.parametrize("data", [{}, {"value": None}, {"value": 1.0}, {"subject": "rule:x"}])
def test_what_is_lacking_is_left_out(data: dict[str, object]) -> None:
    for speaker in (EN, ZH):
        assert isinstance(speaker.where(data), str)
        assert speaker.measured(data) == ""


@given(st.floats(-1e9, 1e9).filter(lambda value: abs(value) > 1e-3 or value == 0))
def test_a_number_is_shown_to_four_digits(value: float) -> None:
    text = amount(value, "kW")
    number = float(text.removesuffix(" kW").replace(",", ""))
    assert "e" not in text.removesuffix(" kW")
    assert number == pytest.approx(value, rel=1e-3, abs=1e-3)


def test_a_line_keeps_what_it_says() -> None:
    line = Line(NOON, "▲", "text with [brackets]", "bold")
    from meterwatch.demo.view import told

    assert told(line, EN).plain == f"{EN.clock(NOON)}  ▲ text with [brackets]"


def test_a_new_or_empty_folder_becomes_the_demos(tmp_path: Path) -> None:
    claim(tmp_path / "a" / "b", empty=True)
    assert (tmp_path / "a" / "b" / MARKER).is_file()
    (tmp_path / "c").mkdir()
    claim(tmp_path / "c", empty=True)
    assert (tmp_path / "c" / MARKER).is_file()


def test_only_what_a_demo_made_is_emptied(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    claim(mine, empty=True)
    other.mkdir()
    (other / "precious").write_text("x")
    (mine / "data").mkdir()
    (mine / "data" / "archive.db").write_text("x")
    (mine / "link").symlink_to(other)
    claim(mine, empty=False)
    assert (mine / "data" / "archive.db").exists()
    claim(mine, empty=True)
    assert [entry.name for entry in mine.iterdir()] == [MARKER]
    assert (other / "precious").exists()


def test_somebodys_folder_is_left_untouched(tmp_path: Path) -> None:
    (tmp_path / "meterwatch.toml").write_text("x")
    for empty in (True, False):
        with pytest.raises(ConfigurationError, match=r"meterwatch\.toml.*left untouched"):
            claim(tmp_path, empty=empty)
    with pytest.raises(ConfigurationError, match="is a file"):
        claim(tmp_path / "meterwatch.toml", empty=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["meterwatch.toml"]
