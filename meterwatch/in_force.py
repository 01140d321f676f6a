"""The fleet that commands go by which only look: that of the files or, while these have faults, the
one that the program took over last and still runs by. The journal keeps it, as it does for folds.
"""

# ruff: noqa: T201 -- it tells a person by which files the command goes

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from adapters.journals.sqlite import SqliteJournal
from collector.errors import ConfigurationError
from collector.telemetry import Telemetry
from meterwatch.clock import moment
from meterwatch.fleet import (
    PROFILES,
    REGISTRY,
    RULES,
    Fleet,
    FleetFiles,
    parse,
    profiles_in,
    read_files,
    registry_of,
    rules_of,
    settings_of,
)

_NOTE: Final = {
    "en": "the edited files have {count} fault{s} and are not in force: see"
    " meterwatch check {folder}. What follows goes by the registry in force since {since}.",
    "zh": "改过的文件有 {count} 处错误，未生效：请运行 meterwatch check {folder}。"
    "以下按 {since} 起生效的台账显示。",
}  # fmt: skip


def in_force(folder: Path, lang: str = "en") -> Fleet:
    """What the files of ``folder`` mean; while they have faults, what is in force instead, and that
    is said first, on standard error. Raises ``ConfigurationError`` with the faults where nothing
    is: the settings are faulty themselves, or the program never ran."""
    try:
        return parse(read_files(folder))
    except ConfigurationError as edited:
        found = _journalled(folder)
        if found is None:
            raise
        fleet, since = found
        count = len(edited.faults)
        told = moment(since, ZoneInfo(fleet.settings.program.zone))
        note = _NOTE[lang].format(
            count=count, s="" if count == 1 else "s", folder=folder, since=told
        )
        print(note, file=sys.stderr, flush=True)
        return fleet


def _journalled(folder: Path) -> tuple[Fleet, int] | None:
    """The revisions that the journal holds, and since when the registry (UTC ms)."""
    try:
        settings = settings_of(folder)
        path = folder / settings.program.data / "journal.db"
        if not path.exists():
            return None
        with closing(SqliteJournal(path, Telemetry())) as journal:
            registry, rules = journal.revision("registry"), journal.revision("rules")
        if registry is None or rules is None:
            return None
        places = registry_of(registry.files)
        files = FleetFiles(
            folder, "", _named(registry.files, REGISTRY), _named(rules.files, RULES),
            _named(registry.files, PROFILES),
        )  # fmt: skip
        judged = rules_of(rules.files, places)
        return Fleet(files, settings, places, judged, profiles_in(registry.files)), registry.time
    except ConfigurationError:  # of a program that understood what this one does not
        return None


def _named(files: Mapping[str, str], folder: str) -> dict[str, str]:
    return {
        path.removeprefix(folder): text for path, text in files.items() if path.startswith(folder)
    }
