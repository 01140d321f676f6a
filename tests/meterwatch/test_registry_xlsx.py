"""The registry as a spreadsheet and the fleet folder that it goes into: every fault by its cell,
nothing written over that was not meant, and the commands."""

from __future__ import annotations

import csv
import shutil
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from typer.testing import CliRunner

from collector.errors import ConfigurationError
from meterwatch.cli import app
from meterwatch.registry.columns import SHEETS, TREATMENT
from meterwatch.registry.exchange import export_registry, import_registry
from meterwatch.registry.layout import workbook
from tests.meterwatch import workbooks
from tests.meterwatch.workbooks import Desk, Rows, at, cell, puts, small
from tests.programs import ROOT

desk = workbooks.desk
TEMPLATE = ROOT / "deploy" / "example" / "registry-template.xlsx"


def test_the_template_is_what_the_program_makes() -> None:
    shipped, made = openpyxl.load_workbook(TEMPLATE), workbook({})
    assert shipped.sheetnames == made.sheetnames
    for title in made.sheetnames:
        assert list(shipped[title].values) == list(made[title].values)
    assert all(shipped[sheet.title].max_row == 2 for sheet in SHEETS)


# --- two hundred meters


def park() -> Rows:
    """200 meters of four sites behind eight converters, every tenth of them exchanged once."""
    rows: Rows = {sheet.key: [] for sheet in SHEETS}
    for number in range(4):
        site = f"site-{number + 1}"
        rows["sites"].append(
            {
                "id": site,
                "name": f"Site {number + 1}",
                "name_zh": f"单位{number + 1}",
                "county": "620502",
                "industry": "C2319",
                "permitted_t": {"voc": 12.5},
            }
        )
        rows["lines"].append({"site": site, "id": "press", "name": "Press"})
        rows["lines"].append(
            {"site": site, "id": "rto", "name": "RTO", TREATMENT: True, "serves": "press"}
        )
        rows["gateways"].append({"site": site, "id": f"gw-{site}", "name": f"网关{number + 1}"})
        for index in range(45):
            rows["places"].append(
                {"site": site, "id": f"p{index}", "name_zh": f"{index}号配电柜", "state": "trial"}
                | ({"state": {"2026-01-10": "trial", "2026-03-01": "in-service"}} if index else {})
            )
            rows["devices"] += _meters(number, site, index)
    assert len(rows["devices"]) == 200
    return rows


def _meters(number: int, site: str, index: int) -> list[dict[str, Any]]:
    host = f"192.0.2.{10 * number + index // 25}"
    common = {
        "site": site,
        "place": f"p{index}",
        "profile": "acrel-dtsd1352",
        "current_ratio": 40,
        "interval": "10s",
        "connection": f"modbus+tcp://{host}:502?unit={index % 25 + 1}",
        "max_rate": {"energy.active.import": 400},
    }
    first = {**common, "id": f"m{index}", "serial": f"00{number}{index:03}"}
    if index % 9:
        return [first]
    change = date(2026, 5, 1)
    first |= {"to": change, "last_register": {"energy.active.import": 18342.61}}
    second = {**common, "id": f"m{index}-b", "serial": f"01{number}{index:03}", "from": change}
    return [first, second | {"first_register": {"energy.active.import": 0.02}}]


def test_ten_faults_among_two_hundred_meters_are_ten_cells(desk: Desk, tmp_path: Path) -> None:
    book = workbook(park())
    first_site: dict[str, int] = {}
    for row in book["devices 表计"].iter_rows(min_row=3):
        first_site.setdefault(str(row[1].value), row[0].row)

    def device(name: str, key: str) -> str:
        return at("devices", key, first_site[name])

    planted: dict[str, Any] = {
        at("sites", "county", 4): "62050",  # a digit short
        at("lines", "serves", 4): "pres",  # misspelt
        at("places", "state", 10): "2026-01-10 = 试运; 2026-03-01 = 在用",
        at("gateways", "id", 5): "gw-site-1",  # the first site's
        device("m1", "place"): "p400",  # not there
        device("m2", "from"): "2026年2月30日",  # no such day
        device("m3", "current_ratio"): "200/5",  # no number
        device("m4", "profile"): "acrel-dtsd1325",  # digits exchanged
        device("m5", "connection"): "modbus+tcp://192.0.2.0:502?unti=6",
        device("m6", "serial"): "000005",  # that of m5
    }
    mended = {where: cell(book, where).value for where in planted}
    for where, wrong in planted.items():
        cell(book, where).value = wrong
    found = desk.faults(book)
    assert {line.partition(": ")[0] for line in found} == {*planted}
    assert len(found) == len(planted) == 10, found
    assert all(" -> " in line for line in found), "each says what to do"

    for where, right in mended.items():
        cell(book, where).value = right
    desk.takes(book)
    meant = desk.registry()
    assert (len(meant.devices), len(meant.places)) == (200, 180)
    out = tmp_path / "out.xlsx"
    export_registry(desk.folder, out, overwrite=False)
    again = Desk(tmp_path / "again")
    import_registry(again.folder, out, overwrite=False)
    assert again.registry() == meant


# --- over what is there


def test_files_that_are_there_are_replaced_only_when_that_is_said(desk: Desk) -> None:
    there = desk.folder / "registry" / "the-mill.toml"
    desk.takes(workbook(small()))
    there.parent.joinpath("mill.toml").rename(there)
    text = "# ours\n" + there.read_text("utf-8")
    there.write_text(text, encoding="utf-8")
    assert desk.takes(workbook(small()))[-1] == "nothing to change: the registry says the same"
    assert there.read_text("utf-8") == text

    rows = small()
    rows["devices"][0]["serial"] = "00171"
    with pytest.raises(ConfigurationError, match="with 1 lines of comments"):
        desk.takes(workbook(rows))
    assert there.read_text("utf-8") == text
    said = desk.takes(workbook(rows), overwrite=True)
    assert "registry/the-mill.toml: device m1: serial 00170 -> 00171" in said
    assert desk.registry().devices["mill/m1"].serial == "00171"
    (kept,) = desk.folder.glob("registry.before-*")
    assert (kept / "the-mill.toml").read_text("utf-8") == text
    assert [path.name for path in desk.folder.iterdir() if ".new" in path.name] == []


def test_sites_that_the_workbook_does_not_name_stay(desk: Desk) -> None:
    desk.takes(workbook(small()))
    rows = small()
    rows["sites"][0]["id"] = "shop"
    for sheet in ("lines", "places", "gateways", "devices"):
        for row in rows[sheet]:
            row["site"] = "shop"
    assert "gateway" in desk_faults(desk, rows)  # the fleet has it already: checked together
    rows["gateways"][0]["id"] = rows["devices"][1]["gateway"] = "gw-shop"
    rows["devices"][0] |= {"serial": "9", "connection": "modbus+tcp://192.0.2.2:502?unit=1"}
    assert "registry/mill.toml stays as it is" in "\n".join(desk.takes(workbook(rows)))
    assert {*desk.registry().sites} == {"mill", "shop"}


def desk_faults(desk: Desk, rows: Rows) -> str:
    with pytest.raises(ConfigurationError) as caught:
        desk.takes(workbook(rows))
    return str(caught.value)


def test_an_import_that_was_killed_between_its_renames_is_undone(desk: Desk) -> None:
    desk.takes(workbook(small()))
    (desk.folder / "registry").rename(desk.folder / "registry.before-1")
    assert desk.takes(workbook(small()))[-1] == "nothing to change: the registry says the same"


def test_an_export_writes_over_nothing_and_says_what_it_cannot_carry(desk: Desk) -> None:
    desk.takes(workbook(small()))
    with pytest.raises(ConfigurationError, match="is there already"):
        export_registry(desk.folder, desk.path, overwrite=False)
    there = desk.folder / "registry" / "mill.toml"
    sound = there.read_text("utf-8")
    for wrong in ("Mill ", "Mill\\u0001"):
        there.write_text(sound.replace('"Mill"', f'"{wrong}"'), encoding="utf-8")
        with pytest.raises(ConfigurationError, match=r"carried|control"):
            export_registry(desk.folder, desk.path, overwrite=True)
    assert tomllib.loads(sound)["site"]["name"] == "Mill"


# --- the commands


def test_the_commands_take_readings_as_csv_and_registries_as_workbooks(desk: Desk) -> None:
    run = CliRunner().invoke
    workbook(small()).save(desk.path)
    done = run(app, ["import", str(desk.folder), str(desk.path)])
    assert done.exit_code == 0, done.output
    out = desk.path.with_name("out.xlsx")
    assert run(app, ["export", str(desk.folder), str(out)]).exit_code == 0
    assert run(app, ["export", str(desk.folder), str(out)]).exit_code == 1
    assert run(app, ["export", str(desk.folder), str(out), "--replace"]).exit_code == 0
    assert run(app, ["export", str(desk.folder)]).exit_code == 2
    broken = workbook(small())
    puts(at("devices", "place"), "nowhere")(broken)
    broken.save(desk.path)
    done = run(app, ["import", str(desk.folder), str(desk.path)])
    assert done.exit_code == 1
    assert 'devices!C3: unknown place "nowhere"' in done.output
    readings = desk.path.with_name("readings.csv")
    with readings.open("w", newline="") as file:
        csv.writer(file).writerow(["point", "time", "value"])
    shutil.copy(ROOT / "deploy" / "example" / "meterwatch.toml", desk.folder)
    done = run(app, ["import", str(desk.folder), str(readings)])
    assert "0 readings taken in" in done.output, done.output
