"""What spreadsheet programs and people make of a registry: what cannot be mistaken is forgiven,
what may be is named by its cell."""

from __future__ import annotations

import zipfile
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from openpyxl.workbook import Workbook

from collector.errors import ConfigurationError
from meterwatch.registry.exchange import import_registry
from meterwatch.registry.layout import workbook
from tests.meterwatch import workbooks
from tests.meterwatch.workbooks import Desk, Trap, at, puts, small

desk = workbooks.desk
FORGIVEN = {
    "a date as text": puts(at("devices", "from"), "2026/1/1"),
    "a Chinese date": puts(at("devices", "from"), "2026年1月1日"),
    "a date as a number of days": puts(at("devices", "from"), 46023),
    "a date as eight digits": puts(at("devices", "from"), 20260101),
    "a date with a time of midnight": puts(at("devices", "from"), datetime(2026, 1, 1)),  # noqa: DTZ001
    "a number as text": puts(at("devices", "current_ratio"), " 40 "),
    "full-width digits": puts(at("devices", "current_ratio"), "４０"),
    "full-width letters in an id": puts(at("devices", "place"), "ｍａｉｎ"),
    "trailing blanks": puts(at("devices", "place"), "main \u3000"),
    "a code as a number": puts(at("sites", "county"), 620502),
    "zeros that only the format shows": puts(at("devices", "serial"), 170, "00000"),
    "yes in Chinese": puts(at("places", "outlet", 4), "是"),
    "a state in Chinese": puts(at("places", "state"), "在用"),
    "blanks in an empty row": puts("devices!C40", "   "),
    "a heading in one language": puts("devices!A2", None),
    "a heading with an asterisk": puts("devices!B1", "编号 *"),
    "a sheet called by its Chinese name": lambda book: setattr(
        book["devices 表计"], "title", "表计"
    ),
    "a column of one's own": puts("devices!T1", "# 备注"),
    "only one site: it need not be named": puts("devices!A3", None),
}


@pytest.mark.parametrize("trap", FORGIVEN)
def test_what_cannot_be_mistaken_is_forgiven(desk: Desk, tmp_path: Path, trap: str) -> None:
    desk.takes(workbook(small()))
    book = workbook(small())
    FORGIVEN[trap](book)
    other = Desk(tmp_path / "other")
    other.folder.parent.mkdir()
    other.takes(book)
    assert other.registry() == desk.registry()


def renamed(book: Workbook) -> None:
    book["places 计量点"].title = "plaecs"


NAMED: dict[str, tuple[Trap, str, str]] = {
    "a date that may be two": (
        *(puts(at("devices", "from"), "01/02/2026"), at("devices", "from")),
        "year first",
    ),
    "a time of day": (
        *(puts(at("devices", "from"), timedelta(hours=8)), at("devices", "from")),
        "is no date",
    ),
    "a serial number that became a date": (
        puts(at("devices", "serial"), datetime(2026, 3, 1), "yyyy-mm-dd"),  # noqa: DTZ001
        at("devices", "serial"),
        "made a date of it",
    ),
    "digits that are lost": (
        *(puts(at("devices", "serial"), 12345678901234567890), at("devices", "serial")),
        "15 digits",
    ),
    "a formula without a value": (
        *(puts(at("devices", "serial"), '="00"&170'), at("devices", "serial")),
        "formula without a value",
    ),
    "an error of a formula": (
        *(puts(at("devices", "current_ratio"), "#N/A"), at("devices", "current_ratio")),
        "error of a formula",
    ),
    "merged cells": (
        lambda book: book["devices 表计"].merge_cells("A3:A4"),
        *("devices!A3", "are merged"),
    ),
    "a heading that stands twice": (puts("devices!T1", "出厂编号"), "devices!T1", "E1 already"),
    "an unknown heading": (puts("devices!T1", "serail"), "devices!T1", 'mean "serial"'),
    "two headings that disagree": (puts("devices!E2", "id"), "devices!E2", "B2 already"),
    "a needed column that is not there": (
        lambda book: book["sites 单位"].delete_cols(4),
        *("sites!A1", "区县代码 county"),
    ),
    "a sheet of an unknown name": (renamed, "plaecs!A1", 'mean "places"'),
    "no headings": (
        lambda book: book["gateways 网关"].delete_rows(1, 2),
        *("gateways!A1", "no row of headings"),
    ),
    "a site that is not there": (puts("gateways!A3", "mil"), "gateways!A3", 'mean "mill"'),
    "an id in capitals": (puts("devices!B3", "M1"), "devices!B3", "malformed"),
    "a needed cell that is empty": (
        *(puts(at("devices", "profile"), None), at("devices", "profile")),
        "fill it in",
    ),
    "an unknown quantity in a list": (
        puts(at("devices", "quantities", 4), "voc.nmhc.concentration; voc.nmch"),
        *(at("devices", "quantities", 4), 'unknown quantity "voc.nmch"'),
    ),
    "a line that serves": (puts(at("lines", "serves"), "l1"), at("lines", "serves"), "unknown key"),
}


@pytest.mark.parametrize("trap", NAMED)
def test_what_may_be_mistaken_is_named_by_its_cell(desk: Desk, trap: str) -> None:
    book = workbook(small())
    put, where, words = NAMED[trap]
    put(book)
    found = desk.faults(book)
    assert [line for line in found if line.startswith(f"{where}: ") and words in line], found


@pytest.mark.parametrize(
    "trap", sorted(NAMED.keys() - {"a sheet of an unknown name", "no headings"})
)
def test_one_fault_is_told_once(desk: Desk, trap: str) -> None:
    book = workbook(small())
    NAMED[trap][0](book)
    assert len(desk.faults(book)) == 1


def test_two_meters_that_collide_are_named_by_their_cells(desk: Desk) -> None:
    rows = small()
    rows["devices"].append({**rows["devices"][0], "id": "m2", "serial": "171"})
    found = desk.faults(workbook(rows))
    assert any(
        line.startswith("devices!F5: ") and '"mill/m1" (devices!B3)' in line for line in found
    ), found


def test_a_serial_number_typed_as_a_number_is_warned_of(desk: Desk) -> None:
    book = workbook(small())
    puts(at("devices", "serial"), 170)(book)
    said = desk.takes(book)
    assert said[0].startswith("devices!E3: serial is a number in the cell")
    assert desk.registry().devices["mill/m1"].serial == "170"


def test_hidden_rows_columns_and_sheets_are_read_and_told(desk: Desk) -> None:
    book = workbook(small())
    sheet = book["devices 表计"]
    sheet.row_dimensions[4].hidden = True
    sheet.column_dimensions["E"].hidden = True
    book["gateways 网关"].sheet_state = "hidden"
    said = "\n".join(desk.takes(book))
    assert "hidden rows were read like others: 4 (1)" in said
    assert "hidden column E (serial)" in said
    assert "gateways 网关: is hidden" in said
    assert len(desk.registry().devices) == 2


def test_a_computed_formula_is_its_value(desk: Desk) -> None:
    """As Excel saves it: the formula, and what it came to."""
    book = workbook(small())
    puts(at("devices", "current_ratio"), "=200/5")(book)
    book.save(desk.path)
    computed = desk.path.with_name("computed.xlsx")
    with zipfile.ZipFile(desk.path) as source, zipfile.ZipFile(computed, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, data.replace(b"<f>200/5</f><v />", b"<f>200/5</f><v>40</v>"))
    import_registry(desk.folder, computed, overwrite=False)
    assert desk.registry().devices["mill/m1"].ratio == 40


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"site,id,place\nmill,m1,main\n", "is no workbook but text"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "old .xls"),
        (b"", "is no workbook"),
        (b"PK\x03\x04" + bytes(50), "is no workbook"),
        (b" " * (17 << 20), "is of 17 MB"),
    ],
)
def test_what_is_no_workbook_is_refused_with_what_to_do(
    desk: Desk, data: bytes, words: str
) -> None:
    desk.path.write_bytes(data)
    with pytest.raises(ConfigurationError, match=words) as caught:
        import_registry(desk.folder, desk.path, overwrite=False)
    assert caught.value.faults[0].todo


def test_a_workbook_that_unpacks_to_too_much_is_refused(desk: Desk) -> None:
    with zipfile.ZipFile(desk.path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", b" " * (49 << 20))
    with pytest.raises(ConfigurationError, match="49 MB when unpacked"):
        import_registry(desk.folder, desk.path, overwrite=False)


def test_a_cell_far_below_costs_nothing(desk: Desk) -> None:
    book = workbook(small())
    book["devices 表计"].cell(1_048_576, 19).number_format = "@"
    desk.takes(book)
    assert len(desk.registry().devices) == 2
