"""``meterwatch probe`` and ``meterwatch scan``: what an electrician runs at a new meter.

What the two have in common; each has its options in a file of its own. Both only read from
devices. Exit codes as in :mod:`meterwatch.cli`; 1 also when no profile fits, when the wiring is
wrong, when the display disagrees, or when nobody answers a scan.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

Told = Callable[[str], AbstractContextManager[None]]
"""Turns errors into text and exit codes; takes the name of the extra that brings the libraries."""


class Language(StrEnum):
    en = "en"
    zh = "zh"


Lang = Annotated[Language, typer.Option(help="language of what people read")]
FleetFolder = Annotated[
    Path | None, typer.Option(help="fleet folder: models in its profiles/ are tried, too")
]


def commands(told: Told) -> typer.Typer:
    """The two commands; ``told`` as in :mod:`meterwatch.cli`."""
    from meterwatch import probe_commands, scan_commands  # noqa: PLC0415 -- they import this file

    app = typer.Typer()
    probe_commands.add_to(app, told)
    scan_commands.add_to(app, told)
    return app
