"""A registry workbook into ``DIR/registry`` and out of it again.

Import promises: every fault is named by its cell, and then nothing is written; what would change
is listed; a file that a person wrote is never replaced without ``replace``, and then kept in a
folder beside (its comments, too); all files change at once or none does. Sites that the workbook
does not name stay as they are.

Export promises: the workbook that was written has been read again, and says the same registry.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, time
from pathlib import Path
from typing import Any, Final

from openpyxl.utils.exceptions import IllegalCharacterError

from collector.errors import ConfigurationError, Fault
from collector.profile import Profile
from collector.registry import Registry
from collector.registry_text import parse_registry, read_registry
from meterwatch.fleet import profiles_of, registry_texts
from meterwatch.registry.columns import SHEETS
from meterwatch.registry.layout import workbook
from meterwatch.registry.texts import by_cell, rows_of, written
from meterwatch.registry.workbook import read_book

FOLDER: Final = "registry"
BEFORE: Final = "registry.before-"
MOST_CHANGES: Final = 40


@dataclass(frozen=True, slots=True)
class Reading:
    """What a sound workbook says: texts by file name, and what to tell of it."""

    texts: Mapping[str, str]
    notes: tuple[str, ...]
    registry: Registry


def read_registry_book(
    path: Path, present: Mapping[str, str], profiles: Mapping[str, Profile]
) -> Reading:
    """The workbook beside the files that are ``present``. Raises ``ConfigurationError`` with
    every fault, by cell."""
    book = read_book(path)
    if not book.of("sites") and not book.faults:
        raise ConfigurationError(Fault(str(path), 0, "names no site", "fill in the sheet of sites"))
    of = written(book, _names(present))
    every = {**present, **of.texts}
    registry, wrong = read_registry(every, profiles)
    faults = [*book.faults, *of.faults, *by_cell(wrong, of)]
    if faults:
        raise ConfigurationError(sorted(set(faults), key=_order))
    return Reading(of.texts, tuple(book.notes), registry)


def _names(present: Mapping[str, str]) -> dict[str, str]:
    """File names by site."""
    names: dict[str, str] = {}
    for name, text in present.items():
        try:
            site = tomllib.loads(text).get("site", {}).get("id")
        except (ValueError, AttributeError):  # told by the registry's own checks
            continue
        if isinstance(site, str):
            names[site] = name
    return names


def _order(fault: Fault) -> tuple[int, str, int, str, str]:
    """By sheet, row and column."""
    title, sign, ref = fault.file.rpartition("!")
    letters = ref.rstrip("0123456789")
    sheets = [sheet.key for sheet in SHEETS]
    at = sheets.index(title) if title in sheets else len(sheets)
    row = int(ref[len(letters) :] or 0) if sign else 0
    return at, title, row, f"{len(letters)}{letters}", fault.what


def import_registry(folder: Path, path: Path, *, overwrite: bool) -> list[str]:
    """Take the workbook in; what was done, in words."""
    _recover(folder)
    present = registry_texts(folder)
    found = read_registry_book(path, present, profiles_of(folder))
    told = list(found.notes)
    fresh: dict[str, str] = {}
    losses: list[Fault] = []
    for name, text in found.texts.items():
        changes = _changes(present.get(name, ""), text)
        if name not in present:
            told.append(f"new file {FOLDER}/{name}: {_counted(text)}")
        elif not changes:
            continue
        else:
            told += [f"{FOLDER}/{name}: {change}" for change in changes[:MOST_CHANGES]]
            if len(changes) > MOST_CHANGES:
                told.append(f"{FOLDER}/{name}: and {len(changes) - MOST_CHANGES} more changes")
            losses.append(_loss(name, present[name]))
        fresh[name] = text
    told += [
        f"{FOLDER}/{name} stays as it is: the workbook does not name its site"
        for name in sorted(present.keys() - found.texts.keys())
    ]
    if losses and not overwrite:
        for line in told:
            print(line)  # noqa: T201 a command's output; the fault alone does not say what
        raise ConfigurationError(losses)
    if not fresh:
        return [*told, "nothing to change: the registry says the same"]
    kept = _swap(folder, fresh)
    if kept is not None and losses:
        told.append(f"what was replaced is kept in {kept}")
    said = found.registry
    counts = f"{len(said.sites)} sites, {len(said.places)} places, {len(said.devices)} devices"
    return [*told, f"{len(fresh)} files written; the registry has {counts}"]


def _loss(name: str, text: str) -> Fault:
    comments = sum("#" in line for line in text.splitlines())
    what = "would be replaced" + (f", with {comments} lines of comments" if comments else "")
    return Fault(f"{FOLDER}/{name}", 0, what, "nothing was written; say --replace if that is meant")


def _counted(text: str) -> str:
    data = tomllib.loads(text)
    tables = (("place", "places"), ("gateway", "gateways"), ("device", "devices"))
    return ", ".join(f"{len(data.get(table, ()))} {word}" for table, word in tables)


# --- what changes


def _changes(old: str, new: str) -> list[str]:
    """What the new text says otherwise, entry by entry."""
    before, after = _entries(old), _entries(new)
    lines = [f"{key} is gone" for key in before if key not in after]
    for key, now in after.items():
        was = before.get(key)
        if was is None:
            lines.append(f"{key} is new")
            continue
        lines += [
            f"{key}: {name} {_said(was, name)} -> {_said(now, name)}"
            for name in dict.fromkeys((*was, *now))
            if was.get(name) != now.get(name)
        ]
    return lines


def _entries(text: str) -> dict[str, dict[str, Any]]:
    data = tomllib.loads(text)
    entries: dict[str, dict[str, Any]] = {}
    for table, found in data.items():
        for one in [found] if isinstance(found, dict) else found:
            values = {
                name: _same(value)
                for name, value in one.items()
                if name != "id" and value not in ("", [], {})  # as if it were not there
            }
            entries[f"{table} {one.get('id')}"] = values
    return entries


def _same(value: Any) -> Any:
    """Midnight is the day that begins."""
    if isinstance(value, datetime) and value.tzinfo is None and value.time() == time():
        return value.date()
    return value


def _said(entry: Mapping[str, Any], name: str) -> str:
    return str(entry[name]) if name in entry else "(nothing)"


# --- the folder, all at once


def _swap(folder: Path, fresh: Mapping[str, str]) -> Path | None:
    """Put ``fresh`` among the files of the registry, by a folder made beside and two renames;
    the folder that was there."""
    there = folder / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix="registry.new-", dir=folder))
    try:
        if there.is_dir():
            shutil.copytree(there, made, dirs_exist_ok=True, symlinks=True)
            shutil.copystat(there, made)
        else:
            made.chmod(0o755)
        for name, text in fresh.items():
            with (made / name).open("w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        _sync(made)
        kept = _free(folder) if there.is_dir() else None
        if kept is not None:
            there.rename(kept)
        try:
            made.rename(there)
        except OSError:
            if kept is not None:
                kept.rename(there)
            raise
        _sync(folder)
    except OSError as error:
        shutil.rmtree(made, ignore_errors=True)
        what = f"cannot be written: {error.strerror}"
        todo = "nothing has changed; mend it and import again"
        raise ConfigurationError(Fault(str(there), 0, what, todo)) from error
    return kept


def _free(folder: Path) -> Path:
    number = 1 + max((_number(path) for path in folder.glob(f"{BEFORE}*")), default=0)
    return folder / f"{BEFORE}{number}"


def _number(path: Path) -> int:
    tail = path.name.removeprefix(BEFORE)
    return int(tail) if tail.isdecimal() else 0


def _recover(folder: Path) -> None:
    """An import that was killed between its two renames is undone."""
    if not (folder / FOLDER).exists():
        kept = max(folder.glob(f"{BEFORE}*"), key=_number, default=None)
        if kept is not None and _number(kept):
            kept.rename(folder / FOLDER)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# --- and out


def export_registry(folder: Path, out: Path, *, overwrite: bool) -> str:
    """Write the registry as a workbook; what was written, in words."""
    texts, profiles = registry_texts(folder), profiles_of(folder)
    if not texts:
        raise ConfigurationError(
            Fault(str(folder / FOLDER), 0, "holds no site", "nothing to write")
        )
    registry = parse_registry(texts, profiles)
    if out.exists() and not overwrite:
        todo = "name another file, or say --replace"
        raise ConfigurationError(Fault(str(out), 0, "is there already", todo))
    beside = out.with_name(f".{out.name}.new.xlsx")
    try:
        workbook(rows_of(texts)).save(beside)
        _says_the_same(beside, registry, profiles)
        beside.replace(out)
    except OSError as error:
        what = f"cannot be written: {error.strerror}"
        raise ConfigurationError(Fault(str(out), 0, what, "name another file")) from error
    except IllegalCharacterError as error:
        what = f"a workbook cannot hold a control character: {error}"
        raise ConfigurationError(Fault(str(folder / FOLDER), 0, what, "take it out")) from error
    finally:
        beside.unlink(missing_ok=True)
    return f"{len(registry.sites)} sites, {len(registry.devices)} devices -> {out}"


def _says_the_same(path: Path, registry: Registry, profiles: Mapping[str, Profile]) -> None:
    again = bare(read_registry_book(path, {}, profiles).registry)
    meant = bare(registry)
    for name in ("sites", "lines", "places", "devices", "gateways"):
        was, now = getattr(meant, name), getattr(again, name)
        wrong = [key for key in was if was[key] != now.get(key)]
        if wrong:
            what = f"cannot be carried by a workbook exactly as written: {name} {wrong[0]}"
            todo = "take out blanks around its texts, and full-width letters in its codes"
            raise ConfigurationError(Fault(FOLDER, 0, what, todo))
    if again.points != meant.points:
        what = "cannot be carried by a workbook exactly as written: names of quantities or points"
        raise ConfigurationError(Fault(FOLDER, 0, what, "take out blanks around them"))


def bare(registry: Registry) -> Registry:
    """Without where things are written."""
    devices = {key: replace(one, file="", line=0) for key, one in registry.devices.items()}
    return replace(registry, devices=devices)
