"""Documents are executed: what they tell a reader to type, open or copy, exists and works.

Commands are parsed by the program's own command line (not run), links are followed, TOML samples
are loaded by what loads the real files, and the two READMEs give the same commands.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer.main
from packaging.requirements import Requirement

from collector.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[1]
READMES = (ROOT / "README.md", ROOT / "README.zh-CN.md")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("deploy/**/*.md")])
LOCKS = (ROOT / "requirements.lock", ROOT / "requirements-demo.lock")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    """Code blocks of ``page`` in ``language``, without their fences."""
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def spans(page: Path) -> list[str]:
    """Inline code of ``page``."""
    text = re.sub(
        r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    return re.findall(r"`([^`\n]+)`", text)


def typed(page: Path) -> Iterator[list[str]]:
    """What ``page`` tells a reader to type, as words."""
    for block in [*blocks(page, "sh"), *blocks(page, "console")]:
        for line in block.replace("\\\n", " ").splitlines():
            if words := shlex.split(line.removeprefix("$ "), comments=True):
                yield words


def mentioned(page: Path) -> Iterator[list[str]]:
    """Commands that ``page`` speaks of in a sentence, without all of their arguments."""
    for span in spans(page):
        if span.startswith(("meterwatch ", "make ")):
            yield shlex.split(span)


def command(words: list[str]) -> tuple[Any, list[str]]:
    """The command of the program that ``words`` name, and what follows."""
    found: Any = typer.main.get_command(load_cli())
    while hasattr(found, "commands") and words:
        assert words[0] in found.commands, f"there is no `{found.name} {words[0]}`"
        found, words = found.commands[words[0]], words[1:]
    return found, words


def load_cli() -> typer.Typer:
    from meterwatch.cli import app

    return app


def goals() -> set[str]:
    """Goals of the Makefile."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z]+):", text, flags=re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_what_a_page_tells_to_type_exists(page: Path) -> None:
    for words in typed(page):
        program = Path(words[0]).name
        if program == "meterwatch":
            found, arguments = command(words[1:])
            found.make_context(found.name, list(arguments))  # exits where it cannot be parsed
        elif program == "make":
            assert words[1] in goals(), words
        elif program == "cp":
            assert (ROOT / words[-2]).exists(), words


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_that_a_page_speaks_of_exist(page: Path) -> None:
    for words in mentioned(page):
        if words[0] == "make":
            assert words[1] in goals(), words
            continue
        found, arguments = command(words[1:])
        options = {name for option in found.params for name in option.opts}
        assert {word for word in arguments if word.startswith("--")} <= options, words


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target and not target.startswith(("#", "mailto:")):
            assert (page.parent / target.partition("#")[0]).exists(), f"{named(page)}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_toml_samples_of_a_page_load(page: Path) -> None:
    for sample in blocks(page, "toml"):
        assert tomllib.loads(sample)


def test_both_readmes_give_the_same_commands() -> None:
    english, chinese = ([*blocks(page, "sh"), *blocks(page, "toml")] for page in READMES)
    assert english == chinese
    spoken = [{tuple(words) for words in mentioned(page)} for page in READMES]
    assert spoken[0] == spoken[1]


def test_readmes_link_to_each_other() -> None:
    for page, other in zip(READMES, reversed(READMES), strict=True):
        assert f"]({other.name})" in page.read_text(encoding="utf-8")


def test_continuous_integration_runs_the_test_command_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert script[0].endswith("bash")
    assert script[-1] == "make test"
    assert "make test\n" in blocks(READMES[0], "sh")


def test_every_make_goal_is_told_by_make_help() -> None:
    told = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert {"demo", "test", "prove", "check", "bench"} <= set(
        re.findall(r"^make (\w+)", told, re.MULTILINE)
    )
    assert set(re.findall(r"^make (\w+)", told, re.MULTILINE)) <= goals()


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (["prove"], "-m tests.campaigns"),
        (["prove", "kill"], "-m tests.campaigns kill"),
        (["prove", "kill", "strace"], "-m tests.campaigns kill strace"),
        (["prove", "docs"], "-m tests.campaigns docs"),
        (["prove", "NAME=kill"], "-m tests.campaigns kill"),
        (["test", "ARGS=-k park"], "-m pytest -n 4 --dist loadfile -k park"),
        (["demo", "SECONDS=20"], "meterwatch demo --seconds 20"),
        (["demo"], "meterwatch demo --seconds 60"),
    ],
)
def test_make_says_what_was_meant(asked: list[str], expected: str) -> None:
    planned = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", *asked],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"]},  # the outer make, if any, says nothing here
    )
    assert not planned.stderr
    assert [line for line in planned.stdout.splitlines() if line.rstrip().endswith(expected)]


@pytest.mark.parametrize("lock", LOCKS, ids=named)
def test_a_lock_pins_by_hash_and_names_no_host(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert "://" not in text
    entries = re.split(r"\n(?=\S)", text.strip())
    assert len(entries) > 30
    for entry in entries:
        assert re.match(r"[a-z0-9-]+==[0-9]", entry), entry[:60]
        assert "--hash=sha256:" in entry


@pytest.mark.parametrize(("lock", "extra"), [(LOCKS[0], "dev"), (LOCKS[1], "demo")])
def test_a_lock_holds_all_that_the_project_asks_for(lock: Path, extra: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = dict(re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", lock.read_text("utf-8"), re.MULTILINE))
    pending = [Requirement(line) for line in project["dependencies"]]
    pending += [Requirement(line) for line in project["optional-dependencies"][extra]]
    while pending:
        wanted = pending.pop()
        if wanted.name == project["name"]:
            for inner in wanted.extras:
                lines = project["optional-dependencies"][inner]
                pending += [Requirement(line) for line in lines]
            continue
        assert wanted.name in pinned, wanted
        assert wanted.specifier.contains(pinned[wanted.name]), wanted


def test_the_example_folder_has_no_fault() -> None:
    from meterwatch.fleet import parse as parse_fleet
    from meterwatch.fleet import read_files

    try:
        fleet = parse_fleet(read_files(ROOT / "deploy" / "example"))
    except ConfigurationError as error:
        pytest.fail(str(error))
    assert [device.key for device in fleet.registry.devices.values()] == ["my-site/main-meter"]
    assert fleet.registry.unserved(1_780_000_000_000) == []


def test_the_reference_of_the_fleet_folder_is_a_fleet_folder(tmp_path: Path) -> None:
    from meterwatch.fleet import parse as parse_fleet
    from meterwatch.fleet import read_files

    samples = blocks(ROOT / "docs" / "fleet-folder.md", "toml")
    names = ("registry/north-hill.toml", "rules/own.toml", "meterwatch.toml")
    for name, sample in zip(names, samples, strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(sample, encoding="utf-8")
    try:
        fleet = parse_fleet(read_files(tmp_path))
    except ConfigurationError as error:
        pytest.fail(str(error))
    assert len(fleet.registry.devices) == 3
    assert "north-hill-load" in fleet.rules.rules


def test_what_the_example_leaves_as_comments_is_right_too(tmp_path: Path) -> None:
    from collector.settings import MqttSource, parse_settings

    text = (ROOT / "deploy" / "example" / "meterwatch.toml").read_text(encoding="utf-8")
    told = re.sub(r"^# ?((\[|[a-z_]+ = ).*)$", r"\1", text, flags=re.MULTILINE)
    settings = parse_settings(told, "meterwatch.toml")
    assert [source.kind for source in settings.sources] == ["modbus", "mqtt"]
    assert settings.sources[1] == replace(
        MqttSource("main", "broker.example", 8883, tls=True, client_id="meterwatch-main"),
        user="meterwatch",
        password=settings.sources[1].password,
        broker_config="/etc/mosquitto/mosquitto.conf",
    )
    assert settings.broker.reload_command == "systemctl reload mosquitto"
    assert [notifier.name for notifier in settings.notifiers] == ["ops"]


def test_the_licence_is_the_one_that_is_claimed() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert text.rstrip().endswith("limitations under the License.")
