"""Warnings as Grafana annotations: what is to be written so that each stands there once. Pure.

A warning is a region from when it fired to when it was over; one in force is a point until then.
It is found again by a tag with its id, so that publishing twice is publishing once, and the end
is put in when it is known. Grafana keeps a tag ``key:value`` as two parts of at most 100
characters, and 500 for all tags of an annotation: ours stay below, and hold one colon each.
Nothing is ever deleted: a warning that is forgotten here may still be evidence there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from collector.alerts import LEVEL_LABELS, Alert, Level

TAG: Final = "meterwatch"
_ID: Final = "meterwatch-id:"
_LONGEST: Final = 100


@dataclass(frozen=True, slots=True)
class Note:
    """An annotation as it should be. Times are UTC ms; ``end`` equals ``start`` for a point."""

    alert: str
    start: int
    end: int
    tags: tuple[str, ...]
    text: str

    @property
    def tag(self) -> str:
        """The one by which it is found again."""
        return _ID + self.alert


def note_of(alert: Alert, title: str, lang: str) -> Note:
    """``title``: of its rule, in ``lang`` (``zh`` or ``en``). Nothing that still moves while the
    warning is in force (its worst value) is in it: the text is written once."""
    level = Level(alert.level)
    label = LEVEL_LABELS[level][lang != "zh"]
    tags = [TAG, _ID + alert.id, f"level:{level.word}"]
    told = {"rule": alert.rule, "site": alert.site, "place": alert.place}
    tags += [f"{key}:{value}" for key, value in told.items() if 0 < len(value) <= _LONGEST]
    end = max(alert.fired, alert.resolved)
    return Note(alert.id, alert.fired, end, tuple(tags), f"{label} · {title}\n{alert.subject}")


def known(annotations: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """What stands in Grafana, by the id of its warning; of several the first made."""
    found: dict[str, Mapping[str, Any]] = {}
    for one in sorted(annotations, key=lambda one: int(one["id"]), reverse=True):
        for tag in one.get("tags") or ():
            if tag.startswith(_ID):
                found[tag.removeprefix(_ID)] = one
    return found


def differs(note: Note, there: Mapping[str, Any]) -> bool:
    """Whether what stands in Grafana says something else. Grafana may order tags anew."""
    end = there.get("timeEnd") or there.get("time")
    said = there.get("time"), end, there.get("text"), set(there.get("tags") or ())
    return said != (note.start, note.end, note.text, set(note.tags))
