"""What the pages and the comments of deployed files tell a person to install is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.programs import ROOT

PAGES = [
    ROOT / "docs" / "install.md",
    *sorted(
        path for path in (ROOT / "deploy").rglob("*") if path.is_file() and path.suffix != ".xlsx"
    ),
]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_files_that_it_names_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for path in re.findall(r"(?<![\w/])(?:deploy|docs)/[\w./-]*\w", text):
        # What a person makes of its example: a copy of it, secrets.
        if path not in {"deploy/compose/.env", "deploy/compose/my-fleet"}:
            assert (ROOT / path).exists(), path


def test_all_files_of_the_service_are_installed_by_somebody() -> None:
    told = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for file in (ROOT / "deploy" / "systemd").iterdir():
        assert f" deploy/systemd/{file.name} /etc/" in told, file.name
