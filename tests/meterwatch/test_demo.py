"""The demo: played once as a user plays it, its account checked against the files by another
hand; its page at every size."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
import threading
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from rich.cells import cell_len
from rich.console import Console

from adapters.stores.archive_reader import ArchiveReader
from collector.alerts import Alert, FoundLate
from meterwatch.demo.course import Course, Readers
from meterwatch.demo.summary import Summary, Writer
from meterwatch.demo.tally import MODBUS, Row, Tally
from meterwatch.demo.view import Frame, Page
from meterwatch.demo.words import AMOUNTS, SHOWN, Speaker
from meterwatch.fleet import Fleet, parse, read_files
from meterwatch.simulator.park import script, template
from tests.programs import ROOT, RunningProgram, eventually

pytestmark = pytest.mark.timeout(150)
SECONDS = 30
ZONE = ZoneInfo("Asia/Shanghai")
EN, ZH = Speaker("en", ZONE), Speaker("zh", ZONE)
NOON = 1_795_320_000_000
COMMAND = (sys.executable, "-m", "meterwatch", "demo")


@dataclass(frozen=True)
class Played:
    """A demo that was played to its end."""

    folder: Path
    text: str
    code: int

    def number(self, pattern: str) -> list[int]:
        found = re.search(pattern, self.text)
        assert found, f"no {pattern!r} in:\n{self.text}"
        return [int(one.replace(",", "")) for one in found.groups()]


@pytest.fixture(scope="module", autouse=True)
def playing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    """The one long demo, with the broker that comes along, beside the other tests."""
    folder = tmp_path_factory.mktemp("demo")
    process = subprocess.Popen(
        [*COMMAND, "--seconds", str(SECONDS), "--lang", "zh", "--folder", str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"METERWATCH_DEMO_BROKER": "embedded", "FORCE_COLOR": "1"},
    )
    yield process
    if process.poll() is None:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def played(playing: subprocess.Popen[str]) -> Played:
    text, _ = playing.communicate(timeout=120)
    return Played(Path(playing.args[-1]), text, playing.returncode)  # type: ignore[index]  # a list


@pytest.fixture(scope="module")
def fleet(played: Played) -> Fleet:
    return parse(read_files(played.folder))


@pytest.fixture
def readers(played: Played) -> Iterator[Readers]:
    opened = Readers(played.folder / "data")
    yield opened
    opened.close()


def course(readers: Readers, fleet: Fleet, speaker: Speaker) -> Course:
    """What somebody would have seen who looked only at the end."""
    seen = Course(readers, fleet, speaker)
    seen.look(NOON)
    seen.look_closer(NOON)
    return seen


# --- at a terminal ---------------------------------------------------------------------------


class Terminal:
    """A demo at a pseudo-terminal of 100 by 30."""

    def __init__(self, *arguments: str) -> None:
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        environment = {k: v for k, v in os.environ.items() if k not in {"NO_COLOR", "COLUMNS"}}
        self.process = subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=ROOT,
            stdout=slave,
            stderr=slave,
            stdin=slave,
            env=environment | {"TERM": "xterm-256color"},
        )
        os.close(slave)
        self.seen = b""
        self._reader = threading.Thread(target=self._read, args=(master,), daemon=True)
        self._reader.start()

    def _read(self, master: int) -> None:
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while data := os.read(master, 65_536):
                self.seen += data
        os.close(master)

    def wait_for(self, pattern: bytes) -> None:
        def there() -> object:
            assert self.process.poll() is None, self.seen.decode(errors="replace")
            return re.search(pattern, self.seen)

        eventually(there, repr(pattern))

    def end(self) -> int:
        code = self.process.wait(30)
        self._reader.join()
        return code


def test_ctrl_c_ends_a_live_demo_with_its_account(tmp_path: Path) -> None:
    terminal = Terminal("--seconds", "600", "--folder", str(tmp_path / "demo"))
    try:
        terminal.wait_for(rb"stored [1-9]")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == 0
    finally:
        terminal.process.kill()
    page, left, rest = terminal.seen.partition(b"\x1b[?1049l")
    assert left, "the terminal was not given back"
    assert b"\x1b[?1049h" in page
    assert "Main supply" in page.decode()
    text = rest.decode()
    assert "It adds up." in text
    assert "Ended early at your wish" in text
    assert "\x1b[?1049" not in text


def test_the_park_alone_is_a_fleet_folder_until_ctrl_c(tmp_path: Path) -> None:
    folder = tmp_path / "park"
    simulate = (*COMMAND[:-1], "simulate")
    with RunningProgram(folder, command=simulate) as park:
        park.wait_for("Ctrl-C closes the park")
        assert park.wait_for(f"run {folder}")
        assert len(parse(read_files(folder)).registry.devices) == 31
        park.process.send_signal(signal.SIGINT)
        assert park.process.wait(30) == 0
    assert "Traceback" not in park.tail()


def test_the_demo_refuses_a_folder_that_is_somebodys(tmp_path: Path) -> None:
    (tmp_path / "meterwatch.toml").write_text("precious")
    refused = subprocess.run(
        [*COMMAND, "--folder", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert "left untouched" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert (tmp_path / "meterwatch.toml").read_text() == "precious"


# --- played to its end -----------------------------------------------------------------------


def test_all_happened_that_should(played: Played) -> None:
    assert played.code == 0, played.text
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", played.text), "control characters in a pipe"
    for event in script(SECONDS):
        assert event.zh in played.text
    for rule in tomllib.loads(template()["rules/park.toml"])["rule"]:
        assert rule["title_zh"] in played.text
    assert "表号与台账不符" in played.text
    assert "表计归零" in played.text
    assert "补传数据中发现" in played.text


def test_its_log_shows_no_fault(played: Played) -> None:
    log = (played.folder / "demo.log").read_text(encoding="utf-8")
    assert '"event": "stopped"' in log
    assert "Traceback" not in log
    assert '"level": "error"' not in log


def test_the_account_adds_up_line_by_line(played: Played) -> None:
    sent, stored, refused = played.number(r"收到 ([\d,]+) = 入库 ([\d,]+) \+ 拒收 ([\d,]+)，对得上")
    assert sent == stored + refused
    assert stored > 5_000
    whole = r" +([\d,]+) +([\d,]+) +([\d,]+)"
    lines = [
        played.number(name + whole)
        for name in (r"Modbus 表计 23 块", "网关 gw-cement", "网关 gw-hospital")
    ]
    assert all(came == kept + not_kept for came, kept, not_kept in lines)
    assert [sum(column) for column in zip(*lines, strict=True)] == [sent, stored, refused]
    assert played.number("合计" + whole) == [sent, stored, refused]
    assert lines[1][2] == refused > 0, "only the exchanged meter's readings are refused"
    assert played.number(r"拒收 ([\d,]+) 条（网关 gw-cement）") == [refused]


def test_the_account_is_what_the_files_hold(played: Played) -> None:
    _, stored, refused = played.number(r"收到 ([\d,]+) = 入库 ([\d,]+) \+ 拒收 ([\d,]+)")
    reader = ArchiveReader(played.folder / "data" / "archive.db")
    try:
        assert sum(len(reader.read(point, 0, 2**62)) for point in reader.points()) == stored
        assert sum(total.readings for total in reader.refused_totals()) == refused
    finally:
        reader.close()


def test_what_a_gateway_kept_is_stored_without_a_gap(played: Played) -> None:
    reader = ArchiveReader(played.folder / "data" / "archive.db")
    try:
        times = reader.read("hospital/boiler-1/fluegas.o2/raw", 0, 2**62).time
    finally:
        reader.close()
    assert len(times) > SECONDS / 2
    assert set((times[1:] - times[:-1]).tolist()) == {1000}


def test_every_warning_is_told_with_its_life(played: Played) -> None:
    with contextlib.closing(sqlite3.connect(played.folder / "data" / "alerts.db")) as file:
        (count,) = file.execute("SELECT count(*) FROM alert").fetchone()
        (late,) = file.execute("SELECT count(*) FROM found_late").fetchone()
    clock = r"\d\d:\d\d:\d\d"
    told = re.findall(rf"{clock} +({clock}|事后发现) +({clock}|未解除)", played.text)
    assert len(told) == count + late
    assert [fired for fired, _ in told].count("事后发现") == late == 1


def test_the_folder_is_the_fleet_that_the_commands_name(played: Played, fleet: Fleet) -> None:
    assert len(fleet.registry.devices) == 31
    typed = re.findall(r"meterwatch (status|refused) (\S+)", played.text)
    assert {name for name, _ in typed} == {"status", "refused"}
    assert {folder for _, folder in typed} == {str(played.folder)}


# --- the page --------------------------------------------------------------------------------


@pytest.mark.parametrize("speaker", [EN, ZH], ids=["en", "zh"])
@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 36), (200, 60), (60, 20)])
def test_the_page_fits_its_terminal(
    readers: Readers, fleet: Fleet, speaker: Speaker, width: int, height: int
) -> None:
    out = Console(file=StringIO(), width=width, height=height, force_terminal=True)
    seen = course(readers, fleet, speaker)
    page = Page(out, seen, fleet.registry, speaker)
    newest = max(time for time, _ in seen.values.values())
    for alerts in ([], [alert() for _ in range(9)]):
        seen.in_force = alerts
        frame = Frame(newest + 10, 12.3, 60, sent=12_345, stored=12_000, backlog=3, kept=4)
        with out.capture() as captured:
            out.print(page.render(frame))
        shown = re.sub(r"\x1b\[[0-9;]*m", "", captured.get()).splitlines()
        assert len(shown) <= height
        assert all(cell_len(line) <= width for line in shown)
        text = "\n".join(shown)
        assert "12,345" in text
        assert "mg/m³" in text or width < 80


def test_a_value_that_is_old_is_no_value(readers: Readers, fleet: Fleet) -> None:
    out = Console(file=StringIO(), width=120, height=36)
    seen = course(readers, fleet, EN)
    page = Page(out, seen, fleet.registry, EN)
    newest = max(time for time, _ in seen.values.values())
    seen.lines.clear()
    out.print(page.render(Frame(newest + 60_000, 0, 60)))
    text = out.file.getvalue()  # type: ignore[attr-defined]  # a StringIO
    assert len(re.findall(r"silent [6-9]\d s", text)) == len(SHOWN)
    assert "kW" not in text


# --- the summary -----------------------------------------------------------------------------


def alert(**more: object) -> Alert:
    one = Alert("a", "park-nmhc", "threshold", 4, "s", "print", "print/stack", NOON, NOON, 80, 90)
    for name, value in more.items():
        setattr(one, name, value)
    return one


def written(summary: Summary, seen: Course, fleet: Fleet, speaker: Speaker, width: int) -> str:
    out = Console(file=StringIO(), width=width)
    Writer(out, seen, speaker).write(summary, fleet.registry, Path("de mo"))
    return out.file.getvalue()  # type: ignore[attr-defined]  # a StringIO


@pytest.mark.parametrize("width", [60, 80, 116])
def test_a_gap_is_said_and_fails(readers: Readers, fleet: Fleet, width: int) -> None:
    account = Tally([Row(MODBUS, 1_010, 1_000, 3)], [("device:print/rto-meter", "bad-value", 3)])
    summary = Summary(account, [], [], {"print": {"energy.active.import": 1.25}})
    assert not summary.well
    text = written(summary, course(readers, fleet, EN), fleet, EN, width)
    flat = " ".join(text.split())
    assert "1,010 came in, but 1,000 stored + 3 refused leave 7 unexplained" in flat
    assert "bad value" in flat
    assert "1.25 kWh" in flat
    assert "No warning was raised." in flat
    assert "meterwatch status 'de mo'" in flat


@pytest.mark.parametrize("speaker", [EN, ZH], ids=["en", "zh"])
def test_a_warning_is_told_with_its_cause_and_its_life(
    readers: Readers, fleet: Fleet, speaker: Speaker
) -> None:
    root = alert(id="r", rule="park-gateway-silent", subject="gateway:gw-hospital")
    below = alert(id="b", rule="park-meter-silent", cause="r", resolved=NOON + 5_000)
    late = FoundLate("l", "park-boiler-air", 3, "hospital/boiler-1/fluegas.o2/raw", "hospital",
                     "hospital/boiler-1", NOON, NOON + 9_000, 0.5, "gateway:g", NOON)  # fmt: skip
    summary = Summary(Tally([Row(MODBUS, 1, 1, 0)]), [root, below], [late], {}, ["x"])
    assert not summary.well
    text = written(summary, course(readers, fleet, speaker), fleet, speaker, 160)
    assert speaker.say("because", title=fleet_title(fleet, root.rule, speaker)) in text
    assert speaker.say("still") in text
    assert speaker.clock(NOON + 5_000) in text
    assert speaker.clock(NOON + 9_000) in text
    assert speaker.say("missing") in text


def fleet_title(fleet: Fleet, rule: str, speaker: Speaker) -> str:
    found = fleet.rules.rules[rule]
    return speaker.choose(found.title, found.title_zh)


def test_every_point_shown_and_every_amount_exists(fleet: Fleet) -> None:
    points = {point.name for point in fleet.registry.points}
    assert {shown.point for shown in SHOWN} <= points
    assert set(AMOUNTS) <= {point.quantity for point in fleet.registry.points}
    assert all(cell_len(shown.en) <= 12 and cell_len(shown.zh) <= 12 for shown in SHOWN)
