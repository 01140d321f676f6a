"""The demo's folder: only what a demo made is ever emptied.

A marker file says whose folder it is. A folder without it that holds anything is somebody's.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from collector.errors import ConfigurationError, Fault

MARKER: Final = ".meterwatch-demo"
_TOLD: Final = "This folder was made by `meterwatch demo` or `simulate`; the demo empties it.\n"


def claim(folder: Path, *, empty: bool) -> None:
    """Make ``folder`` the demo's, emptied first if ``empty``.

    Raises ``ConfigurationError`` when it is no folder, when it holds something that no demo made,
    or when it cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise _fault(folder, "is a file, not a folder")
    try:
        held = sorted(folder.iterdir()) if folder.exists() else []
        if held and folder / MARKER not in held:
            raise _fault(folder, f"holds {held[0].name}, which no demo made: it is left untouched")
        if empty:
            for entry in held:
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                elif entry.name != MARKER:  # last of all, so that an interrupted run stays ours
                    entry.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MARKER).write_text(_TOLD, encoding="utf-8")
    except OSError as fault:
        raise _fault(folder, f"cannot be used: {fault.strerror}") from fault


def _fault(folder: Path, what: str) -> ConfigurationError:
    return ConfigurationError(Fault(str(folder), 0, what, "give another folder"))
