"""How a registry workbook looks: headings in two languages, formats that keep what is typed, a
sheet that explains every column. ``python -m meterwatch.registry.layout OUT`` writes the template.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

from openpyxl.comments import Comment
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.utils import get_column_letter
from openpyxl.workbook import Workbook
from openpyxl.worksheet.datavalidation import DataValidation
from openpyxl.worksheet.worksheet import Worksheet

from meterwatch.registry.cells import STATES_ZH, shown
from meterwatch.registry.columns import SHEETS, Column, Kind, Sheet
from meterwatch.registry.workbook import HELP

_HEAD: Final = PatternFill("solid", fgColor="DDE6F0")
_NEEDED: Final = PatternFill("solid", fgColor="F6D9B8")
_FORMATS: Final = {Kind.number: "General", Kind.date: "yyyy-mm-dd", Kind.flag: "General"}
_CHOICES: Final = {Kind.flag: ("是", "否"), Kind.state: tuple(STATES_ZH)}
_LAST_ROW: Final = 5000
_INTRODUCTION: Final = {
    "每个单位、计量点、表计各占一行。橙色列必填。不用的表可以空着。": (
        "One row for each site, place and meter. Orange columns are needed."
    ),
    "换表或换互感器：旧表填停用日期和截止表底，新表另起一行。": (
        "After an exchange the old meter gets an end, and the new one a row of its own."
    ),
    "列名或表名以 # 开头的，不导入。": (
        "Columns and sheets whose name begins with # are not imported."
    ),
    "导入：meterwatch import 目录 本文件.xlsx，有错会指明单元格。": (
        "Import: meterwatch import DIR FILE.xlsx; each fault is named by its cell."
    ),
}


def workbook(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> Workbook:
    """A registry workbook with these rows by sheet (values as ``tomllib`` gives them)."""
    made = Workbook()
    made.remove(made.active)
    for sheet in SHEETS:
        worksheet = made.create_sheet(sheet.title)
        _head(worksheet, sheet)
        for number, row in enumerate(rows.get(sheet.key, ()), 3):
            for at, column in enumerate(sheet.columns, 1):
                if column.key in row:
                    _put(worksheet, number, at, column, row[column.key])
    _help(made.create_sheet(HELP))
    return made


def _head(worksheet: Worksheet, sheet: Sheet) -> None:
    worksheet.freeze_panes = "C3"
    for at, column in enumerate(sheet.columns, 1):
        letter = get_column_letter(at)
        dimension = worksheet.column_dimensions[letter]
        dimension.width = column.width
        dimension.number_format = _FORMATS.get(column.kind, "@")
        for number, words in ((1, column.zh), (2, column.key)):
            cell = worksheet.cell(number, at, words)
            cell.font = Font(bold=number == 1)
            cell.fill = _NEEDED if column.required else _HEAD
        worksheet.cell(1, at).comment = Comment(f"{column.help_zh}\n{column.help}", "meterwatch")
        if column.kind in _CHOICES:
            words = ",".join(_CHOICES[column.kind])
            choice = DataValidation("list", formula1=f'"{words}"', allow_blank=True)
            choice.showErrorMessage = False  # a state may have dates, and English will do
            choice.add(f"{letter}3:{letter}{_LAST_ROW}")
            worksheet.add_data_validation(choice)


def _put(worksheet: Worksheet, number: int, at: int, column: Column, value: Any) -> None:
    value = shown(column.kind, value)
    if value == "":
        return
    cell = worksheet.cell(number, at, value)
    if isinstance(value, str):
        cell.data_type = "s"  # whatever it begins with: "=" is no formula here
        cell.number_format = "@"
    elif isinstance(value, datetime):
        cell.number_format = "yyyy-mm-dd hh:mm:ss"
    elif isinstance(value, date):
        cell.number_format = "yyyy-mm-dd"


def _help(worksheet: Worksheet) -> None:
    for line in _INTRODUCTION.items():
        worksheet.append(line)
    worksheet.append([])
    worksheet.append(["表 sheet", "列 column", "必填", "说明", "what", "例 example"])
    for cell in worksheet[worksheet.max_row]:
        cell.font, cell.fill = Font(bold=True), _HEAD
    for sheet in SHEETS:
        for column in sheet.columns:
            needed = "是 yes" if column.required else None
            named = f"{column.zh} {column.key}"
            worksheet.append(
                [sheet.title, named, needed, column.help_zh, column.help, column.example or None]
            )
            worksheet.cell(worksheet.max_row, 6).data_type = "s"
    for letter, width in zip("ABCDEF", (18, 26, 8, 44, 52, 44), strict=True):
        worksheet.column_dimensions[letter].width = width
        for cell in worksheet[letter]:
            cell.alignment = Alignment(vertical="top", wrap_text=cell.row > len(_INTRODUCTION))


if __name__ == "__main__":
    workbook({}).save(Path(sys.argv[1]))
