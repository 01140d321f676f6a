"""The registry as a spreadsheet: every fault by its cell, nothing lost there and back."""

from __future__ import annotations

import csv
import shutil
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from openpyxl.workbook import Workbook
from typer.testing import CliRunner

from collector.errors import ConfigurationError
from collector.registry import Registry
from collector.registry_text import parse_registry
from collector.states import STATES
from meterwatch.cli import app
from meterwatch.fleet import profiles_of, registry_texts
from meterwatch.registry.cells import shown, understood
from meterwatch.registry.columns import SHEETS, TREATMENT
from meterwatch.registry.exchange import bare, export_registry, import_registry
from meterwatch.registry.layout import workbook
from meterwatch.registry.texts import literal

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "deploy" / "example" / "registry-template.xlsx"
Rows = dict[str, list[dict[str, Any]]]


def small() -> Rows:
    """A sound registry: a site, two places, a gateway, two devices. Data begin in row 3."""
    site = {"id": "mill", "name": "Mill", "name_zh": "面粉厂", "county": "620502"}
    polled = {"site": "mill", "place": "main", "profile": "acrel-dtsd1352"}
    pushed = {"site": "mill", "place": "stack", "profile": "push", "gateway": "gw-mill"}
    return {
        "sites": [{**site, "industry": "C1310"}],
        "lines": [{"site": "mill", "id": "l1", "name": "Line"}],
        "places": [
            {"site": "mill", "id": "main", "name": "Main", "line": "l1"},
            {"site": "mill", "id": "stack", "name": "Stack", "outlet": True, "permit_no": "DA001"},
        ],
        "gateways": [{"site": "mill", "id": "gw-mill", "name": "Box"}],
        "devices": [
            {
                **polled,
                "id": "m1",
                "serial": "00170",
                "from": date(2026, 1, 1),
                "current_ratio": 40,
                "connection": "modbus+tcp://192.0.2.1:502?unit=1",
            },
            {**pushed, "id": "nmhc", "quantities": ["voc.nmhc.concentration"]},
        ],
    }


def cell(book: Workbook, where: str) -> Any:
    """A cell by the name that faults give it."""
    title, _, ref = where.partition("!")
    return next(one for one in book.worksheets if one.title.split()[0] == title)[ref]


def at(sheet: str, key: str, row: int = 3) -> str:
    keys = [column.key for one in SHEETS if one.key == sheet for column in one.columns]
    return f"{sheet}!{chr(65 + keys.index(key))}{row}"


class Desk:
    """A fleet folder, and a workbook beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "fleet"
        self.path = folder / "registry.xlsx"

    def takes(self, book: Workbook, *, overwrite: bool = False) -> list[str]:
        book.save(self.path)
        return import_registry(self.folder, self.path, overwrite=overwrite)

    def faults(self, book: Workbook) -> list[str]:
        with pytest.raises(ConfigurationError) as caught:
            self.takes(book)
        assert not (self.folder / "registry").exists(), "something was written"
        return [str(fault) for fault in caught.value.faults]

    def registry(self) -> Registry:
        return bare(parse_registry(registry_texts(self.folder), profiles_of(self.folder)))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


# --- there and back


def test_a_workbook_becomes_the_registry_that_it_says(desk: Desk) -> None:
    assert desk.takes(workbook(small()))[-1].startswith("1 files written")
    found = desk.registry()
    assert found.sites["mill"].name_zh == "面粉厂"
    assert found.devices["mill/m1"].serial == "00170"
    assert found.devices["mill/m1"].ratio == 40
    start = datetime(2025, 12, 31, 16, tzinfo=UTC).timestamp() * 1000
    assert found.devices["mill/m1"].start == start  # the first of January in Shanghai
    assert found.places["mill/stack"].outlet


ids = st.from_regex(r"[a-z][a-z0-9]{0,5}(-[a-z0-9]{1,3})?", fullmatch=True)
names = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z")) | st.sampled_from("号厂（）=#, "),
    min_size=1,
    max_size=12,
).filter(lambda text: text == text.strip() and "\x7f" not in text)
codes = st.text("AB01-号", min_size=1, max_size=8)
moments = st.datetimes(datetime(1971, 1, 1), datetime(2098, 1, 1)).map(  # noqa: DTZ001 a zone's own
    lambda at: at.replace(microsecond=0)
)
ratios = st.sampled_from([1, 1.5, 40, 100.0, 0.1])
amounts = st.floats(1e-3, 1e9) | st.integers(1, 10**9)
PUSHED = ["energy.active.import", "energy.active.export", "power.active", "voc.nmhc.concentration"]


def some(draw: st.DrawFn, **given: st.SearchStrategy[Any]) -> dict[str, Any]:
    """Some of these keys."""
    return {key: draw(one) for key, one in given.items() if draw(st.booleans())}


@st.composite
def fleets(draw: st.DrawFn) -> dict[str, str]:
    """Sound registry files of up to three sites, as a person might write them."""
    files = {}
    sites = draw(st.lists(ids, min_size=1, max_size=3, unique=True))
    for number, site in enumerate(sites):
        head = {
            "id": site,
            "name": draw(names),
            "county": "620502",
            "industry": "C2319",
            **some(
                draw,
                name_zh=names,
                permit=codes,
                permitted_t=st.dictionaries(names, st.floats(0, 1e6), max_size=2),
                zone=st.sampled_from(["Asia/Urumqi", "Asia/Shanghai", "Europe/Berlin"]),
            ),
        }
        tables: list[tuple[str, dict[str, Any]]] = [("line", {"id": "a-line", "name": "x"})]
        tables += [
            ("treatment", {"id": "rto", **some(draw, name=names, serves=st.just("a-line"))})
            for _ in range(draw(st.integers(0, 1)))
        ]
        gateway = f"gw{number}"
        formats = st.sampled_from(["neuron", "meterwatch", "acme-2"])
        tables.append(("gateway", {"id": gateway, **some(draw, name=names, format=formats)}))
        for place in draw(st.lists(ids, max_size=3, unique=True)):
            tables += _place(draw, site, place, gateway)
        lines = ["[site]", *(f"{key} = {literal(one)}" for key, one in head.items())]
        for table, entry in tables:
            lines.append(f"[[{table}]]")
            lines += [f"{key} = {literal(one)}" for key, one in entry.items()]
        files[f"{site}.toml"] = "\n".join(lines)
    return files


def _place(
    draw: st.DrawFn, site: str, place: str, gateway: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    states = st.dictionaries(moments.map(datetime.isoformat), st.sampled_from(STATES), min_size=1)
    old = draw(st.booleans())
    former = {PUSHED[0]: [f"{site}/was-{place}/{PUSHED[0]}/raw"]}
    yield (
        "place",
        {
            "id": place,
            **some(
                draw,
                name=names,
                name_zh=names,
                outlet=st.booleans(),
                line=st.just("a-line"),
                permit_no=codes,
                state=st.sampled_from(STATES) | states,
            ),
            **({"formerly": former} if old else {}),
        },
    )
    change = draw(moments)
    before = {"to": change, "last_register": {PUSHED[0]: draw(amounts)}}
    after = {"from": change, "first_register": {PUSHED[0]: draw(amounts), PUSHED[1]: 0}}
    halves = [before, after] if draw(st.booleans()) else [{}]
    for number, half in enumerate(halves):
        yield (
            "device",
            {
                "id": f"{place}-{number}",
                "place": place,
                "profile": "push",
                "gateway": gateway,
                "quantities": PUSHED,
                **half,
                **some(
                    draw,
                    serial=st.just(f"{site}-{place}-00{number}"),
                    voltage_ratio=ratios,
                    current_ratio=ratios,
                    interval=st.sampled_from(["10s", "1m", "0.5h"]),
                    no_value=st.lists(amounts, max_size=3),
                    max_rate=amounts | st.fixed_dictionaries({PUSHED[1]: amounts}),
                ),
            },
        )


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a workbook costs too much to shrink
)
@given(fleets())
def test_what_goes_out_comes_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, str]
) -> None:
    one, other = (Desk(tmp_path_factory.mktemp("desk")) for _ in range(2))
    (one.folder / "registry").mkdir(parents=True)
    for name, text in files.items():
        (one.folder / "registry" / name).write_text(text, encoding="utf-8")
    meant = one.registry()
    export_registry(one.folder, one.path, overwrite=False)
    import_registry(other.folder, one.path, overwrite=False)
    assert other.registry() == meant
    said = import_registry(one.folder, one.path, overwrite=False)
    assert said[-1] == "nothing to change: the registry says the same"
    export_registry(other.folder, other.path, overwrite=False)
    import_registry(one.folder, other.path, overwrite=False)
    assert one.registry() == meant


@given(st.dictionaries(names, st.floats(0, 1e6), max_size=2))
@example({"[": 1.0})
@example({"{x}": 1.0, "y": 2.0})
@example({"[a = 1]": 1.0})
def test_a_cell_says_what_it_was_made_of(shares: dict[str, float]) -> None:
    (column,) = [
        column for sheet in SHEETS for column in sheet.columns if column.key == "permitted_t"
    ]
    assert (understood(column, shown(column.kind, shares)) or {}) == shares


def test_the_shipped_example_goes_out_and_comes_back(desk: Desk, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "deploy" / "example", desk.folder)
    meant = desk.registry()
    export_registry(desk.folder, desk.path, overwrite=False)
    other = Desk(tmp_path / "other")
    import_registry(other.folder, desk.path, overwrite=False)
    assert other.registry() == meant


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


# --- the traps of Excel


Trap = Callable[[Workbook], None]


def puts(where: str, value: Any, number_format: str = "General") -> Trap:
    def put(book: Workbook) -> None:
        one = cell(book, where)
        one.value = value
        one.number_format = number_format

    return put


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
