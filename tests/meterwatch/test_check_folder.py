"""``check`` of a fleet folder as people leave it: what is no fault and brings nothing all the same,
files of another encoding."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from meterwatch.cli import app
from tests.campaigns.traffic import write_fleet
from tests.programs import RunningProgram


def test_a_fleet_that_no_source_reads_is_told_by_check_and_by_the_program(tmp_path: Path) -> None:
    fleet = write_fleet(tmp_path / "fleet", 1883)
    assert "no source" not in CliRunner().invoke(app, ["check", str(fleet)]).output
    (fleet / "meterwatch.toml").write_text('[program]\nlisten = ""\n', "utf-8")
    done = CliRunner().invoke(app, ["check", str(fleet)])
    assert done.exit_code == 0
    told = "no source for gateways: nothing reads 18 devices; add [[source]] with a kind of "
    assert f"note: {told}" in done.output
    with RunningProgram(fleet) as program:
        assert told in program.wait_for("nothing is read")
        assert program.stop() == 0


def test_a_file_that_is_not_utf8_is_named_with_its_line(tmp_path: Path) -> None:
    fleet = write_fleet(tmp_path / "fleet", 1883)
    site = fleet / "registry" / "plant-0.toml"
    site.write_bytes(b"# first\n" + "# 电\n".encode("gbk") + site.read_bytes())
    done = CliRunner().invoke(app, ["check", str(fleet)])
    assert f"{site}:2: is not UTF-8 (is it GBK?) -> save it as UTF-8" in done.output
