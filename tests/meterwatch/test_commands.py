"""The commands as a person types them, on fleets that exist and fleets that are wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from adapters.journals.sqlite import SqliteJournal
from adapters.sources.payload.receipts import TODO
from adapters.stores.archive import Archive
from collector.model import Batch, Mark, Reason, Refusal
from collector.records import encode
from collector.telemetry import Telemetry
from meterwatch.cli import app
from meterwatch.decode import Numbering
from meterwatch.refusal_words import refusal
from tests.campaigns.kill import journal_last
from tests.campaigns.sending import Sender
from tests.campaigns.traffic import Sent, messages, write_fleet
from tests.programs import RunningProgram, eventually
from tests.servers import Mosquitto

T0 = 1_795_305_600_000
SETTINGS = """\
[program]
zone = "Asia/Tianshui"
late_after = "soon"
[journal]
max_mb = 1
[[source]]
kind = "mqtt"
name = "main"
url = "http://127.0.0.1"
password = "hunter2"
"""
REGISTRY = """\
[site]
id = "Print Works"
name = "Print"
name_zh = "印刷"
county = "620502"
industry = "C2319"
[[place]]
id = "main"
name = "main"
name_zh = "总表"
[[device]]
id = "meter"
place = "mian"
profile = "eastron-sdm360"
connection = "modbus+tcp://10.0.0.5:502?unit=3"
interval = "10 parsecs"
[[device]]
id = "other"
place = "main"
profile = "push"
quantities = ["energy.actve.import"]
"""
RULES = """\
[[rule]]
id = "high"
kind = "treshold"
quantity = "power.active"
above = 5
level = "purple"
title = "high"
title_zh = "高"
"""
PLANTED = [
    ("meterwatch.toml", 2),  # no such zone
    ("meterwatch.toml", 3),  # no duration
    ("meterwatch.toml", 5),  # too small a bound
    ("meterwatch.toml", 9),  # no MQTT address
    ("meterwatch.toml", 10),  # a secret in the file
    ("registry/print.toml", 2),  # no id
    ("registry/print.toml", 13),  # no such place
    ("registry/print.toml", 14),  # no such profile
    ("registry/print.toml", 16),  # no duration
    ("registry/print.toml", 17),  # neither connection nor gateway
    ("registry/print.toml", 21),  # no such quantity
    ("rules/own.toml", 3),  # no such kind
    ("rules/own.toml", 6),  # no such level
]


def test_check_names_a_dozen_planted_faults_with_file_and_line(tmp_path: Path) -> None:
    for name, text in (
        ("meterwatch.toml", SETTINGS),
        ("registry/print.toml", REGISTRY),
        ("rules/own.toml", RULES),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    result = CliRunner().invoke(app, ["check", str(tmp_path)])
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    named = {
        (found[1], int(found[2]))
        for line in lines
        if (found := re.match(rf"{re.escape(str(tmp_path))}/(\S+?):(\d+): .+", line))
    }
    assert named == set(PLANTED)
    assert len(PLANTED) >= 12
    assert "hunter2" not in result.output, "a secret is not repeated"


def test_check_of_a_sound_fleet_says_what_is_in_it(tmp_path: Path) -> None:
    fleet = write_fleet(tmp_path / "fleet", 1883)
    result = CliRunner().invoke(app, ["check", str(fleet)])
    assert result.exit_code == 0, result.stderr
    assert "3 sites" in result.stdout
    assert "18 points" in result.stdout


def test_a_folder_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    for command in (["run"], ["check"], ["status"], ["refused"], ["alerts", "list"]):
        result = CliRunner().invoke(app, [*command, str(tmp_path / "nowhere")])
        assert result.exit_code == 1, command
        assert "is not a folder" in result.stderr
        assert "Traceback" not in result.output


def test_asking_before_anything_ran_is_no_crash(tmp_path: Path) -> None:
    fleet = write_fleet(tmp_path / "fleet", 1883)
    for command in (["status"], ["refused"], ["alerts", "list"]):
        result = CliRunner().invoke(app, [*command, str(fleet)])
        assert result.exit_code == 3, command
        assert f"meterwatch run {fleet}" in result.stderr


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fleet that received some traffic, one message of which was refused, and was stopped."""
    folder = tmp_path_factory.mktemp("commands")
    with Mosquitto(folder / "broker") as broker:
        fleet = write_fleet(folder / "fleet", broker.port)
        sent = messages(300, seed=3)
        now = time.time_ns() // 10**6
        row = {"device": "later", "time": now, "values": {"power.active": 1}}
        payload = json.dumps({"readings": [row]}).encode()
        sent.append(Sent("meterwatch/v1/gw-0/readings", payload, []))
        row = {"device": "new", "time": now, "values": {"power.active": 2}}
        payload = json.dumps({"readings": [row]}).encode()
        sent.append(Sent("meterwatch/v1/gw-new/readings", payload, []))
        sent += [Sent("meterwatch/v1/gw-00/readings", payload, [])] * 3
        with RunningProgram(fleet) as program, Sender(broker.port) as sender:
            program.wait_for("source-up")
            sender.send(sent)
            sender.wait_acknowledged()
            eventually(lambda: "later" in _output(["refused", str(fleet)]), "the refusal shows")
            assert program.stop() == 0, program.tail()
    return fleet


def _output(command: list[str]) -> str:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, command).output


def test_status_tells_backlog_and_last_readings_in_both_languages(ran: Path) -> None:
    english = _output(["status", str(ran)])
    assert "1,800 readings" in english
    assert "account 0, archive 0, judge 0" in english
    assert "plant-0/meter-0" in english
    assert "数据积压" in _output(["status", str(ran), "--lang", "zh"])


def test_books_are_shown_by_span_and_point_in_both_languages(ran: Path) -> None:
    days = _output(["books", str(ran)])
    assert days.count("Active energy, imported") == 12, "twelve meters"
    assert days.count("kWh  measured") >= 12
    quarters = _output(["books", str(ran), "--level", "15m", "--point", "plant-1/meter-2/"])
    assert quarters.count("plant-1/meter-2") == 1
    assert "plant-1/meter-1" not in quarters
    assert "实测" in _output(["books", str(ran), "--lang", "zh"])
    assert "nothing" in _output(["books", str(ran), "--start", "2001-01-01", "--end", "2001-02-01"])


def test_alerts_are_listed_and_a_mark_reaches_the_journal(ran: Path) -> None:
    every = _output(["alerts", "list", str(ran), "--all"])
    assert "jump" in every
    (first,) = re.findall(r"\b([0-9a-f]{12,})\b", every)[:1]
    before = journal_last(ran / "data" / "journal.db")
    result = CliRunner().invoke(
        app, ["alerts", "acknowledge", str(ran), first, "--who", "duty", "--note", "seen"]
    )
    assert result.exit_code == 0, result.output
    assert journal_last(ran / "data" / "journal.db") == before + 1
    unknown = CliRunner().invoke(
        app, ["alerts", "close", str(ran), "zz", "--who", "x", "--note", "y"]
    )
    assert unknown.exit_code == 1
    wild = CliRunner().invoke(
        app, ["alerts", "close", str(ran), f"{first[:4]}*", "--who", "x", "--note", "y"]
    )
    assert wild.exit_code == 1, "an id is typed, not guessed at"
    assert "no" in unknown.stderr


def test_who_reports_as_a_gateway_that_is_not_there_is_named_with_who_is_meant(ran: Path) -> None:
    known = 'in the registry: add it to its site\'s file; did you mean "gw-0"?'
    for command in (["alerts", "list", str(ran), "--all"], ["refused", str(ran)]):
        assert f"    no gateway 'gw-00' {known}\n" in _output(command)
    assert '；是否应为 "gw-0"？' in _output(["alerts", "list", str(ran), "--lang", "zh"])


def test_what_was_refused_is_told_with_what_to_do_and_taken_in_after_mending(ran: Path) -> None:
    assert "taken in" in _output(["refused", str(ran), "--replay"])
    todo = f"    -> {TODO[Reason.UNKNOWN_DEVICE]}\n"
    found = _output(["refused", str(ran)])
    assert "later" in found, "not mended: it stays"
    assert found.count(todo) == 1
    assert f"-> {refusal(TODO[Reason.UNKNOWN_DEVICE], 'zh')}" in _output(
        ["refused", str(ran), "--lang", "zh"]
    )
    registry = ran / "registry" / "plant-0.toml"
    registry.write_text(
        registry.read_text(encoding="utf-8")
        + '[[device]]\nid = "later"\nplace = "monitor-0"\nprofile = "push"\ngateway = "gw-0"\n'
        'interval = "10s"\nquantities = ["power.active"]\n',
        encoding="utf-8",
    )
    assert "1 readings of 1 refusals taken in" in _output(["refused", str(ran), "--replay"])
    with RunningProgram(ran) as program:
        program.wait_for("running")
        eventually(
            lambda: "power.active" in _exported(ran, "plant-0/monitor-0/power"), "it is stored"
        )
        eventually(lambda: todo not in _output(["refused", str(ran)]), "nothing is left to do")
        assert program.stop() == 0


def test_refusals_are_asked_for_by_gateway_number_and_with_their_payload(tmp_path: Path) -> None:
    fleet = write_fleet(tmp_path / "fleet", 1883)
    data = fleet / "data"
    said = [
        ("gateway:gw-1", "json", "first", b'{"a": 1}'),
        ("gateway:gw-1", "json", "second", '{"a": "\u7535"}'.encode()),
        ("gateway:gw-2", "json", "third", b"\x1b[2J"),
        ("mqtt:main", "json:gw-9", "fourth", b""),
    ]  # fmt: skip
    with closing(SqliteJournal(data / "journal.db", Telemetry())) as journal:
        for number, (name, kind, detail, payload) in enumerate(said):
            (origin,) = journal.origin_ids([name]).tolist()
            journal.append([Refusal(T0 + number, origin, Reason.PAYLOAD, detail, 1, kind, payload)])
        with closing(Archive(data / "archive.db", journal, Telemetry())) as archive:
            archive.apply(journal.read(0))
            archive.commit()

    def details(*more: str) -> list[str]:
        told = _output(["refused", str(fleet), *more])
        return [word for word in ("first", "second", "third", "fourth") if word in told]

    assert details("--gateway", "gw-1") == ["first", "second"]
    assert details("--gateway", "gw-9") == ["fourth"], "one that nobody entered, too"
    assert details("--limit", "2") == ["third", "fourth"]
    assert "the newest 2 of 4 are shown; --all" in _output(["refused", str(fleet), "--limit", "2"])
    assert details("--limit", "2", "--all") == ["first", "second", "third", "fourth"]
    assert "are shown" not in _output(["refused", str(fleet)])
    told = _output(["refused", str(fleet), "--sample"])
    assert '    {"a": "\u7535"}\n' in told
    assert "base64 G1sySg==" in told, "a terminal is not written to by who sends"
    assert "no payload is kept" in told


def test_what_a_gateway_sent_before_it_was_entered_is_taken_in_after(ran: Path) -> None:
    assert "gw-new" in _output(["refused", str(ran)])
    registry = ran / "registry" / "plant-1.toml"
    registry.write_text(
        registry.read_text(encoding="utf-8")
        + '[[gateway]]\nid = "gw-new"\n[[device]]\nid = "new"\nplace = "monitor-0"\n'
        'profile = "push"\ngateway = "gw-new"\nquantities = ["power.active"]\n',
        encoding="utf-8",
    )
    assert "1 readings of 1 refusals taken in" in _output(["refused", str(ran), "--replay"])


def test_readings_on_which_the_program_failed_are_taken_in_later(tmp_path: Path) -> None:
    fleet = write_fleet(tmp_path / "fleet", 1883)
    data = fleet / "data"
    name = "plant-1/meter-0/energy.active.import/raw"
    with closing(SqliteJournal(data / "journal.db", Telemetry())) as journal:
        (point,) = journal.point_ids([name]).tolist()
        (origin,) = journal.origin_ids(["gateway:gw-1"]).tolist()
        kept = Batch.of([point] * 2, [T0, T0 + 1], [1.0, 2.0], origin=origin)
        cut = encode(kept)[:-1]
        for detail, sample in (("whole", encode(kept)), ("cut", cut)):
            failed = Refusal(T0, origin, Reason.PROGRAM_FAULT, detail, 2, "batch-record", sample)
            journal.append([failed])
        with closing(Archive(data / "archive.db", journal, Telemetry())) as archive:
            archive.apply(journal.read(0))
            archive.commit()
    assert "2 readings of 1 refusals taken in" in _output(["refused", str(fleet), "--replay"])
    with closing(SqliteJournal(data / "journal.db", Telemetry())) as journal:
        batch, mark = (entry for _, entry in journal.read(2))
    assert isinstance(batch, Batch)
    assert (batch.time.tolist(), batch.value.tolist()) == ([T0, T0 + 1], [1.0, 2.0])
    assert isinstance(mark, Mark)


def test_replay_says_what_the_judge_said(ran: Path) -> None:
    """Today's rules over stored readings raise the alerts that were raised live."""
    every = _output(["alerts", "list", str(ran), "--all"])
    again = _output(["replay", str(ran), "--start", "2020-01-01", "--end", "2100-01-01"])
    for title in ("too high", "spike", "jump"):
        assert again.count(title) == every.count(title)
    assert again.count("plant-") > 5
    assert "尖峰" in _output(
        ["replay", str(ran), "--start", "2020-01-01", "--end", "2100-01-01", "--lang", "zh"]
    )
    bad = CliRunner().invoke(app, ["replay", str(ran), "--start", "monday", "--end", "2100-01-01"])
    assert bad.exit_code == 1
    assert "monday" in bad.stderr


def test_numbers_that_were_never_given_move_no_other() -> None:
    points = Numbering(["a", "", "b", ""])
    assert points(["b", "c", "a"]).tolist() == [2, 4, 0]
    assert points.known(["c", "", "d"]) == [4]


def _exported(fleet: Path, point: str) -> str:
    """The readings as CSV; empty where there is no archive yet."""
    out = fleet / "out.csv"
    done = CliRunner().invoke(app, ["export", str(fleet), "--out", str(out), "--point", point])
    return out.read_text(encoding="utf-8") if done.exit_code == 0 else ""


def test_what_was_exported_imports_to_the_same_readings(ran: Path, tmp_path: Path) -> None:
    csv = _exported(ran, "plant-1/")
    assert len(csv.splitlines()) == 1 + 600
    other = write_fleet(tmp_path / "fleet", 1883)
    file = tmp_path / "in.csv"
    bad = "plant-1/meter-0/energy.active.import/raw,yesterday,1,good\nnobody,2026-01-01T00:00Z,1\n"
    file.write_text(csv + bad, encoding="utf-8")
    result = CliRunner().invoke(app, ["import", str(other), str(file)])
    assert result.exit_code == 1, "two lines are bad, and said to be"
    assert "600 readings taken in, 2 lines refused" in result.stdout
    assert f"{file}:602: " in result.stderr
    assert f"{file}:603: point 'nobody' is not in the registry" in result.stderr
    with RunningProgram(other, "--only", "archive") as program:
        program.wait_for("running")
        eventually(lambda: _exported(other, "plant-1/").count("\n") == 601, "it is stored")
        assert program.stop() == 0
    assert _exported(other, "plant-1/") == csv


def test_a_narrow_terminal_cuts_nothing_that_has_to_be_copied(ran: Path) -> None:
    narrow = CliRunner(env={"COLUMNS": "80"})
    alerts = narrow.invoke(app, ["alerts", "list", str(ran), "--all"]).output
    refused = narrow.invoke(app, ["refused", str(ran)]).output
    profiles = narrow.invoke(app, ["profiles"]).output
    assert "plant-" in alerts
    assert "later" in refused
    assert "https://" in profiles
    assert "…" not in alerts + refused + profiles


def test_a_search_without_a_find_says_so() -> None:
    assert "eastron-sdm630" in CliRunner().invoke(app, ["profiles", "SDM"]).output
    nothing = CliRunner().invoke(app, ["profiles", "steam engine"])
    assert nothing.exit_code == 3
    assert "steam engine" in nothing.output


def test_version_is_told() -> None:
    assert re.fullmatch(
        r"meterwatch \d+\.\d+\.\d+\n", CliRunner().invoke(app, ["--version"]).output
    )


def test_a_line_that_is_no_csv_is_named_and_the_others_are_taken_in(tmp_path: Path) -> None:
    fleet = write_fleet(tmp_path / "fleet", 1883)
    file = tmp_path / "in.csv"
    name = "plant-1/meter-0/energy.active.import/raw"
    good = [f"{name},2026-01-0{day}T00:00:00Z,1" for day in (1, 2)]
    file.write_text(
        f"point,time,value\n{good[0]}\n{'x' * 200_000},,\n{good[1]}\n", encoding="utf-8"
    )
    result = CliRunner().invoke(app, ["import", str(fleet), str(file)])
    assert result.exit_code == 1
    assert "2 readings taken in, 1 lines refused" in result.stdout
    assert f"{file}:3: field larger than field limit" in result.stderr
    file.write_text("x" * 200_000, encoding="utf-8")
    result = CliRunner().invoke(app, ["import", str(fleet), str(file)])
    assert (result.exit_code, "Traceback" in result.output) == (1, False)
    assert f"{file}:1: is no CSV" in result.stderr


def test_a_file_that_cannot_be_written_is_told_in_one_line(ran: Path, tmp_path: Path) -> None:
    out = tmp_path / "nowhere" / "out.csv"
    result = CliRunner().invoke(app, ["export", str(ran), "--out", str(out)])
    assert result.exit_code == 1
    assert f"{out}: cannot be written: No such file" in result.stderr


def test_a_library_that_is_not_installed_is_told_in_one_line() -> None:
    """As on a box that installed nothing but what it needs."""
    code = (
        "import sys; sys.modules['paho'] = None; sys.argv = ['meterwatch', 'demo'];"
        "from meterwatch.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert 'pip install "meterwatch[demo]"' in done.stderr
    assert len(done.stderr.splitlines()) == 1
