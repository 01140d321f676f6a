"""An electrician who types any part of what stands on the label finds the right model, and reads
what it measures, how to connect it, and how far to trust it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from adapters.profiles import load_profiles
from adapters.sources.modbus.address import parse_connection
from collector.profile import PUSH
from meterwatch.cli import app
from meterwatch.fleet import shipped
from meterwatch.profiles_commands import brings, find, fold, render


def found(*typed: str) -> list[str]:
    return [profile.name for profile in find(load_profiles().values(), typed)]


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("DTSU", {"chint-dtsu666"}),
        ("dtsu 666", {"chint-dtsu666"}),
        ("ＤＴＳＵ６６６", {"chint-dtsu666"}),
        ("正泰", {"chint-dtsu666"}),
        ("chint", {"chint-dtsu666"}),
        ("CHINT DTSU666 3×220/380V 0.5S 2019", {"chint-dtsu666"}),
        ("安科瑞", {"acrel-dtsd1352", "acrel-adl400"}),
        ("ADL400", {"acrel-adl400"}),
        ("TUF", {"tuf-2000m"}),
        ("tuf2000m", {"tuf-2000m"}),
        ("超声波", {"tuf-2000m"}),
        ("热量表", {"tuf-2000m", "generic-heat-meter"}),
        ("燃气", {"fuxin-gas", "generic-gas-corrector"}),
        ("福鑫", {"fuxin-gas"}),
        ("PM-5110", {"schneider-pm5110"}),
        ("METSEPM5110", {"schneider-pm5110"}),
        ("施耐德", {"schneider-pm5110", "schneider-iem3000"}),
        ("iEM3255", {"schneider-iem3000"}),
        ("西门子", {"siemens-pac3200"}),
        ("7KM", {"siemens-pac3200"}),
        ("UMG 604", {"janitza-umg"}),
        ("B23", {"abb-b-series", "janitza-b23"}),
        ("ABB B23", {"abb-b-series"}),
        ("佳乐", {"gavazzi-em24"}),
        ("em24-din", {"gavazzi-em24"}),
        ("sdm630", {"eastron-sdm630"}),
        ("非甲烷总烃", {"generic-nmhc"}),
        ("steam engine", set()),
        ("···", set()),
    ],
)
def test_a_part_of_the_label_finds_the_model(typed: str, names: set[str]) -> None:
    assert set(found(typed)) == names
    assert set(found(*typed.split())) == names


def test_without_a_word_all_are_listed_by_name() -> None:
    assert found() == sorted(load_profiles())


@pytest.mark.parametrize("name", sorted(load_profiles()))
def test_every_model_is_found_by_each_thing_its_profile_says_of_the_label(name: str) -> None:
    profile = load_profiles()[name]
    for text in (profile.name, profile.maker, profile.model, profile.label_zh, *profile.also):
        if text:
            assert name in found(text), text


def test_words_are_compared_by_letters_and_digits_alone() -> None:
    assert fold(" ＤＴＳＵ-666 （正泰）") == "dtsu666正泰"


def test_phases_are_told_together() -> None:
    told = brings(load_profiles()["janitza-umg"], "zh")
    assert told.count("电压") == 1
    assert "线电压" in told
    assert not any("相" in label for label in told)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", sorted(set(load_profiles()) - {PUSH}))
def test_what_is_told_is_whole(name: str, language: str) -> None:
    profile = load_profiles()[name]
    text = "\n".join(render({name: profile}, [], language))
    assert profile.source in text
    assert ("尚未在真实设备上试过" in text or "not yet tried" in text) is (
        profile.evidence == "verified"
    )
    assert (profile.doubt_zh if language == "zh" else profile.doubt) in text


@pytest.mark.parametrize(
    "name", sorted(n for n, p in load_profiles().items() if p.registers and p.connection)
)
def test_the_connection_that_is_shown_can_be_written_into_the_registry(name: str) -> None:
    text = "\n".join(render({name: load_profiles()[name]}, [], "en"))
    urls = [word for word in text.split() if word.startswith("modbus+")]
    assert urls
    for url in urls:
        assert parse_connection(url).unit == 1


def test_the_command_takes_words_as_they_are_typed() -> None:
    run = CliRunner().invoke(app, ["profiles", "正泰", "DTSU", "--lang", "zh"])
    assert run.exit_code == 0
    assert run.output.startswith("chint-dtsu666\n")
    assert "DTSU666-H" in run.output, "what to look at before it is believed"


def test_a_fleets_own_models_are_found_too(tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    text = shipped("adapters.profiles")["dlt645-2007-three-phase.toml"]
    text = text.replace('name = "dlt645-2007-three-phase"', 'name = "our-meter"')
    text = text.replace('label = "', 'label = "Gargantua ')
    (tmp_path / "profiles" / "our-meter.toml").write_text(text, encoding="utf-8")
    run = CliRunner().invoke
    ours = run(app, ["profiles", "gargantua", "--fleet", str(tmp_path)])
    assert (ours.exit_code, ours.output.splitlines()[0]) == (0, "our-meter")
    assert run(app, ["profiles", "gargantua"]).exit_code == 3
    assert run(app, ["profiles", "--fleet", str(tmp_path / "nowhere")]).exit_code == 1
