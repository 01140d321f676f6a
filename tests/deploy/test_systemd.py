"""The service files say what systemd understands, and bar what the program does not need.

Whether the bars leave the program room is found by tracing it: every system call that it makes is
one that the filter allows, and no memory is ever written and executed.
"""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.databases import InfluxDb
from tests.deploy.boxes import feeding, send, serving
from tests.programs import ROOT, RunningProgram, eventually
from tests.servers import program

SYSTEMD = ROOT / "deploy" / "systemd"
UNIT = "meterwatch.service"
MOST_EXPOSED = 2.0
"""Of 10, as systemd-analyze weighs what a service could reach."""


def analyze(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """``systemd-analyze`` on the units in ``folder``, as if they were installed."""
    return subprocess.run(
        [program("systemd-analyze"), *words],
        env=os.environ | {"SYSTEMD_UNIT_PATH": f"{folder}:"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The unit as installed, its program standing where it says."""
    text = (SYSTEMD / UNIT).read_text(encoding="utf-8")
    (tmp_path / UNIT).write_text(text.replace("/opt/meterwatch/bin/meterwatch", "/bin/true"))
    return tmp_path


def with_drop_in(installed: Path) -> Path:
    folder = installed / f"{UNIT}.d"
    folder.mkdir()
    shutil.copy(SYSTEMD / "serial.conf", folder)
    return installed


def service() -> dict[str, list[str]]:
    """Key -> its values in the order given, of all sections."""
    found: dict[str, list[str]] = {}
    for line in (SYSTEMD / UNIT).read_text(encoding="utf-8").splitlines():
        key, separator, value = line.partition("=")
        if separator and not line.startswith(("#", " ")):
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("serial", [False, True], ids=["network", "serial"])
def test_systemd_finds_no_fault_in_the_unit(installed: Path, serial: bool) -> None:
    folder = with_drop_in(installed) if serial else installed
    told = analyze(folder, "verify", "--man=no", UNIT)
    about_ours = [line for line in told.stderr.splitlines() if "meterwatch" in line]
    assert (told.returncode, about_ours) == (0, [])


@pytest.mark.parametrize("serial", [False, True], ids=["network", "serial"])
def test_little_of_the_machine_is_within_its_reach(installed: Path, serial: bool) -> None:
    folder = with_drop_in(installed) if serial else installed
    told = analyze(folder, "security", "--offline=true", "--no-pager", "--json=off", UNIT)
    exposure = re.search(r"exposure level for \S+ ([0-9.]+)", told.stdout)
    assert exposure, told.stdout + told.stderr
    assert float(exposure[1]) <= MOST_EXPOSED


def test_a_box_that_nobody_visits_starts_it_again_for_ever() -> None:
    unit = service()
    assert unit["Restart"] == ["always"]
    assert unit["StartLimitIntervalSec"] == ["0"]
    assert int(unit["RestartSec"][0]) >= 5
    # The program stops by itself within its drain, and systemd waits longer than that.
    assert int(unit["TimeoutStopSec"][0]) >= 30
    assert "WatchdogSec" not in unit  # it sends no sign of life


def test_every_drop_in_and_list_can_be_parsed() -> None:
    for name in ("serial.conf", "journald.conf", "mosquitto.conf"):
        parser = configparser.RawConfigParser(strict=False)
        assert parser.read(SYSTEMD / name), name
        assert parser.sections()
    made = subprocess.run(
        [program("systemd-sysusers"), "--dry-run", str(SYSTEMD / "meterwatch.sysusers")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr


def allowed_calls() -> set[str]:
    """System calls that the unit's filter lets through."""
    listed = subprocess.run(
        [program("systemd-analyze"), "syscall-filter", "--no-pager"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    groups: dict[str, list[str]] = {}
    name = ""
    for line in listed.splitlines():
        plain = re.sub(r"\x1b\[[0-9;]*m", "", line)
        if plain.startswith("@"):
            name = plain.strip()
        elif plain.startswith("    ") and not plain.strip().startswith("#"):
            groups.setdefault(name, []).append(plain.strip())

    def flat(group: str) -> set[str]:
        calls: set[str] = set()
        for one in groups[group]:
            calls |= flat(one) if one.startswith("@") else {one}
        return calls

    calls: set[str] = set()
    for value in service()["SystemCallFilter"]:
        for group in value.removeprefix("~").split():
            calls = calls - flat(group) if value.startswith("~") else calls | flat(group)
    return calls


REFUSED = {"fchown", "mbind"} if os.geteuid() == 0 else {"mbind"}
"""Asked for and refused, as the unit would, while the test sees the program do its work: where the
numeric library would like its memory, and, as root only, whose SQLite's files are."""


def test_what_the_program_asks_of_the_kernel_is_what_the_unit_allows(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    refuse = f"inject={','.join(sorted(REFUSED))}:error=EPERM"
    strace = [program("strace"), "-f", "-qq", "-e", "trace=all", "-e", refuse, "-o", str(trace)]
    with (
        InfluxDb(tmp_path / "influx") as influx,
        serving(tmp_path, feeding(influx)) as box,
        RunningProgram(box.fleet, before=strace) as running,
    ):
        running.wait_for('"running"')
        running.wait_for('"source-up"')
        send(box, power_active=81.2)
        box.wait_for_readings(1)
        eventually(lambda: influx.query("SELECT * FROM electricity"), "a row in the database")
        assert running.stop(pid=child(running.process.pid)) == 0
    text = trace.read_text(encoding="utf-8", errors="replace")
    made = set(re.findall(r"^\d+ +([a-z_0-9]+)\(", text, flags=re.MULTILINE))
    assert {"fdatasync", "listen", "connect"} <= made  # it has been at work
    assert made - allowed_calls() <= REFUSED
    writable_code = [
        line for line in text.splitlines()
        if "PROT_WRITE" in line and "PROT_EXEC" in line and re.search(r" (mmap|mprotect)\(", line)
    ]  # fmt: skip
    assert writable_code == []  # MemoryDenyWriteExecute
    families = set(re.findall(r" socket\((AF_[A-Z0-9]+)", text))
    told = set(" ".join(service()["RestrictAddressFamilies"]).split())
    assert families - told <= {"AF_NETLINK"}  # the C library's question which it can do without


def child(pid: int) -> int:
    """The program below its tracer."""
    (found,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(found)
