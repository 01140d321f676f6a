"""Workbooks of a small registry, and a fleet folder to bring them into, for tests of the exchange.

A test file takes the fixture with ``desk = workbooks.desk``.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from openpyxl.workbook import Workbook

from collector.errors import ConfigurationError
from collector.registry import Registry
from collector.registry_text import parse_registry
from meterwatch.fleet import profiles_of, registry_texts
from meterwatch.registry.columns import SHEETS
from meterwatch.registry.exchange import bare, import_registry

Rows = dict[str, list[dict[str, Any]]]
Trap = Callable[[Workbook], None]


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


def puts(where: str, value: Any, number_format: str = "General") -> Trap:
    def put(book: Workbook) -> None:
        one = cell(book, where)
        one.value = value
        one.number_format = number_format

    return put


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
