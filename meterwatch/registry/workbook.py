"""A registry workbook opened: its sheets and headings found, its rows understood, each fault by
sheet and cell.

Refuses, with what to do, what is no such workbook: an old ``.xls``, one with a password, text, a
file too large. In a workbook it tells unknown sheets and headings, headings that stand twice,
merged cells and formulas that were never computed; hidden rows and columns are read like others
and named. Nothing here knows what a registry may say: that is ``texts`` and the kernel.
"""

from __future__ import annotations

import warnings
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import openpyxl
from openpyxl.cell import Cell
from openpyxl.utils import get_column_letter
from openpyxl.workbook import Workbook
from openpyxl.worksheet.worksheet import Worksheet

from collector.errors import ConfigurationError, Fault
from collector.sections import near
from meterwatch.registry.cells import CellError, Value, lost_zeros, trimmed, understood
from meterwatch.registry.columns import SHEETS, Column, Sheet, headings, plain, titles

MOST_BYTES: Final = 16 << 20
MOST_UNPACKED: Final = 48 << 20
MOST_ROWS: Final = 50_000
HEADING_WITHIN: Final = 20
"""Rows from the top among which the headings are looked for."""
HELP: Final = "help 说明"
IGNORED: Final = "#"
"""Sheets and headings that begin with it are the person's own."""


@dataclass(slots=True)
class Row:
    """A row that says something: its values by key, without the faulty ones (``bad``)."""

    sheet: Sheet
    title: str
    number: int
    letters: Mapping[str, str]
    values: dict[str, Value] = field(default_factory=dict)
    bad: set[str] = field(default_factory=set)

    def at(self, key: str = "id") -> str:
        """Where the cell of ``key`` is, as ``devices!F17``."""
        return f"{self.title}!{self.letters.get(key, 'A')}{self.number}"

    @property
    def order(self) -> tuple[int, int]:
        return SHEETS.index(self.sheet), self.number


@dataclass(slots=True)
class Book:
    """What a workbook says. ``faults``: name the cell; ``notes`` are to be read and no more."""

    rows: list[Row] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def of(self, sheet: str) -> list[Row]:
        return [row for row in self.rows if row.sheet.key == sheet]


def read_book(path: Path) -> Book:
    """Everything in the file. Raises ``ConfigurationError`` for what is no registry workbook."""
    workbook = _opened(path, values=False)
    book = Book()
    found = _sheets(workbook, book)
    if not found and not book.faults:
        every = ", ".join(sheet.title for sheet in SHEETS)
        book.faults.append(
            Fault(str(path), 0, "holds no sheet of a registry", f"name them {every}")
        )
    computed: Workbook | None = None
    if any(cell.data_type == "f" for _, each in found for cell in _cells(each)):
        computed = _opened(path, values=True)
    for sheet, worksheet in found:
        values = computed[worksheet.title] if computed is not None else worksheet
        _Reader(sheet, worksheet, values, book).read()
    book.rows.sort(key=lambda row: row.order)
    return book


def _opened(path: Path, *, values: bool) -> Workbook:
    """``values``: what formulas came to, instead of the formulas."""
    _looked_at(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # extensions that openpyxl does not keep
            return openpyxl.load_workbook(path, data_only=values)
    except Exception as error:  # openpyxl raises whatever a damaged part makes it raise
        what = f"cannot be read as a workbook: {error}"
        raise ConfigurationError(Fault(str(path), 0, what, "save it anew as .xlsx")) from error


def _looked_at(path: Path) -> None:
    """Refuse what is no .xlsx, or more than anybody's registry."""

    def refuse(what: str, todo: str) -> ConfigurationError:
        return ConfigurationError(Fault(str(path), 0, what, todo))

    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise refuse(f"cannot be read: {error.strerror}", "") from error
    if size > MOST_BYTES:
        raise refuse(f"is of {size >> 20} MB", f"at most {MOST_BYTES >> 20} MB: divide it by site")
    if head == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
        raise refuse(
            "is an old .xls workbook, or one with a password",
            "save it as .xlsx, without a password",
        )
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            unpacked = sum(one.file_size for one in archive.infolist())
    except (zipfile.BadZipFile, OSError) as error:
        what = "is no workbook" + (" but text" if head and b"\0" not in head else "")
        raise refuse(what, "fill in registry-template.xlsx and save it as .xlsx") from error
    if "xl/workbook.xml" not in names:
        raise refuse("is no Excel workbook", "save it as .xlsx")
    if unpacked > MOST_UNPACKED:
        todo = f"at most {MOST_UNPACKED >> 20} MB: copy the filled rows into a new workbook"
        raise refuse(f"holds {unpacked >> 20} MB when unpacked", todo)


def _cells(worksheet: Worksheet) -> Iterator[Cell]:
    """The cells that the file has; walking rows and columns would make all in between."""
    for key in sorted(worksheet._cells):  # noqa: SLF001 openpyxl offers no other way
        cell = worksheet._cells[key]  # noqa: SLF001
        if cell.value is not None and (not isinstance(cell.value, str) or trimmed(cell.value)):
            yield cell


def _sheets(workbook: Workbook, book: Book) -> list[tuple[Sheet, Worksheet]]:
    known = titles()
    found: dict[str, tuple[Sheet, Worksheet]] = {}
    for worksheet in workbook.worksheets:
        title = worksheet.title
        sheet = known.get(plain(title))
        if sheet is None:
            own = title == HELP or title.startswith(IGNORED)
            if not own and next(_cells(worksheet), None) is not None:
                todo = near(plain(title), known) or f'let its name begin with "{IGNORED}"'
                book.faults.append(Fault(f"{title}!A1", 0, "is a sheet of no known name", todo))
        elif sheet.key in found:
            other = found[sheet.key][1].title
            what = f'is a second sheet of {sheet.title}, beside "{other}"'
            book.faults.append(Fault(f"{title}!A1", 0, what, "put their rows into one"))
        else:
            found[sheet.key] = (sheet, worksheet)
            if worksheet.sheet_state != "visible":
                book.notes.append(f"{title}: is hidden, and was read")
    return list(found.values())


class _Reader:
    """One sheet."""

    def __init__(self, sheet: Sheet, worksheet: Worksheet, values: Worksheet, book: Book) -> None:
        self._sheet, self._worksheet, self._values, self._book = sheet, worksheet, values, book
        self._title = sheet.key if plain(worksheet.title) == plain(sheet.title) else worksheet.title
        self._rows: dict[int, list[Cell]] = defaultdict(list)
        self._columns: dict[int, Column] = {}
        self._zeros: dict[str, list[str]] = defaultdict(list)

    def read(self) -> None:
        for cell in _cells(self._worksheet):
            self._rows[cell.row].append(cell)
        if not self._rows:
            return
        first, last = self._headings()
        if not last:
            what = f"has no row of headings in its first {HEADING_WITHIN} rows"
            todo = "such as " + ", ".join(one.key for one in self._sheet.columns[:4])
            self._fault("A1", what, todo)
            return
        if self._is_sound(first):
            self._read_rows(last)
            self._tell_hidden(last)

    def _fault(self, ref: str, what: str, todo: str) -> None:
        self._book.faults.append(Fault(f"{self._title}!{ref}", 0, what, todo))

    # --- headings

    def _headings(self) -> tuple[int, int]:
        """First and last row of headings (0: none); notes which column is which."""
        known = headings(self._sheet)
        first = last = 0
        for number in sorted(self._rows):
            words = [plain(str(cell.value)) for cell in self._rows[number]]
            hits = sum(word in known for word in words)
            if not first:
                if number > HEADING_WITHIN:
                    break
                if hits < 2 or hits * 2 < len(words):
                    continue
                first = number
            elif number != last + 1 or hits < min(2, len(words)) or hits * 2 < len(words):
                break
            last = number
            self._name(number, known)
        return first, last

    def _name(self, number: int, known: Mapping[str, Column]) -> None:
        here: dict[str, str] = {}
        for cell in self._rows[number]:
            words = str(cell.value)
            column = known.get(plain(words))
            named = self._columns.get(cell.column)
            if column is None:
                if named is None and not trimmed(words).startswith(IGNORED):
                    todo = near(plain(words), known) or f'begin it with "{IGNORED}" to keep it'
                    self._fault(cell.coordinate, f'unknown heading "{trimmed(words)}"', todo)
            elif column.key in here:
                what = f'the heading "{trimmed(words)}" stands at {here[column.key]} already'
                self._fault(cell.coordinate, what, "keep one of them")
            elif named is not None and named is not column:
                what = f'"{trimmed(words)}" heads the column of "{named.zh} {named.key}"'
                self._fault(cell.coordinate, what, "let both headings say the same")
            else:
                here[column.key] = cell.coordinate
                self._columns[cell.column] = column

    def _is_sound(self, first: int) -> bool:
        """Whether rows can be read under these headings."""
        before = len(self._book.faults)
        present = {column.key for column in self._columns.values()}
        for column in self._sheet.columns:
            if column.required and column.key not in present:
                what = f'there is no column "{column.zh} {column.key}"'
                self._fault(f"A{first}", what, "add it; see registry-template.xlsx")
        for merged in self._worksheet.merged_cells.ranges:
            if merged.max_row >= first and any(
                merged.min_col <= column <= merged.max_col for column in self._columns
            ):
                ref = f"{get_column_letter(merged.min_col)}{merged.min_row}"
                what = f"the cells {merged.coord} are merged"
                self._fault(ref, what, "unmerge them, and fill in each")
        return len(self._book.faults) == before or bool(present)

    # --- rows

    def _read_rows(self, last: int) -> None:
        letters = {one.key: get_column_letter(at) for at, one in self._columns.items()}
        missing = {one.key for one in self._sheet.columns if one.required} - letters.keys()
        numbers = [number for number in sorted(self._rows) if number > last]
        if len(numbers) > MOST_ROWS:
            self._fault(f"A{last + 1}", f"{len(numbers):,} rows follow", f"at most {MOST_ROWS:,}")
            return
        for number in numbers:
            row = Row(self._sheet, self._title, number, letters, bad=set(missing))
            for cell in self._rows[number]:
                column = self._columns.get(cell.column)
                if column is not None:
                    self._take(row, column, cell)
            if row.values or row.bad - missing:
                self._book.rows.append(row)
        for key, refs in self._zeros.items():
            more = f" and {len(refs) - 3} more" if len(refs) > 3 else ""
            self._book.notes.append(
                f"{', '.join(refs[:3])}{more}: {key} is a number in the cell; zeros in front of it"
                " would be lost -> compare with the label, format the column as text"
            )

    def _take(self, row: Row, column: Column, cell: Cell) -> None:
        try:
            value = understood(column, self._value(cell), cell.number_format)
        except CellError as error:
            row.bad.add(column.key)
            self._fault(cell.coordinate, f"{column.key} {error.what}", error.todo)
            return
        if value is None:
            return
        row.values[column.key] = value
        if lost_zeros(column, self._value(cell), cell.number_format):
            self._zeros[column.key].append(row.at(column.key))

    def _value(self, cell: Cell) -> Any:
        if cell.data_type == "f":
            value = self._values[cell.coordinate].value
            if value is None:
                what = "is a formula without a value"
                raise CellError(what, "open it in Excel and save it, or paste it as a value")
            if self._values[cell.coordinate].data_type != "e":
                return value
        elif cell.data_type != "e":
            return cell.value
        raise CellError("is an error of a formula", "correct the formula, or write the value")

    def _tell_hidden(self, last: int) -> None:
        rows = [
            number
            for number in sorted(self._rows)
            if number > last
            and number in self._worksheet.row_dimensions
            and self._worksheet.row_dimensions[number].hidden
        ]
        if rows:
            listed = ", ".join(map(str, rows[:5])) + (" ..." if len(rows) > 5 else "")
            self._book.notes.append(
                f"{self._title}: hidden rows were read like others: {listed} ({len(rows)})"
            )
        for at, column in self._columns.items():
            letter = get_column_letter(at)
            dimensions = self._worksheet.column_dimensions
            if letter in dimensions and dimensions[letter].hidden:
                self._book.notes.append(
                    f"{self._title}: the hidden column {letter} ({column.key}) was read"
                )
