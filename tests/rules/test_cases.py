"""Rules as data: each file of ``cases`` is a story with the transitions it must lead to.

A script line is ``minute place value [quantity] [QUALITY] [@received]``, ``tick minute``,
``up minute origin``, ``down minute origin`` or ``refused minute origin reason``. Every story is
told three times: one entry per reading, readings merged as far as they go, and with the engine
taken down and restored from its snapshot between all entries. All three must say the same.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from collector.model import Batch, Entry, Quality, Refusal, SourceState, Tick, concat
from rules.engine import Engine
from tests.rules.fleet import MINUTE, T0, Fleet, device, registry

CASES = sorted((Path(__file__).parent / "cases").glob("*.toml"))
DEFAULT = "voc.nmhc.concentration"


def minutes(text: str) -> int:
    return T0 + round(float(text) * MINUTE)


class Story:
    """A case, parsed."""

    def __init__(self, path: Path) -> None:
        self.case = tomllib.loads(path.read_text(encoding="utf-8"))
        self.lines = [line.split() for line in self.case["script"].strip().splitlines()]
        measured: dict[str, list[str]] = dict(self.case.get("devices", {}))
        for words in self.lines:
            if words[0] not in {"tick", "up", "down", "refused"}:
                found = measured.setdefault(words[1], [])
                quantity = next((word for word in words[3:] if "." in word and "@" not in word), "")
                if (quantity or DEFAULT) not in found:
                    found.append(quantity or DEFAULT)
        devices = {
            device(
                name,
                gateway=self.case.get("gateway", ""),
                interval=self.case.get("interval", 60),
            ): quantities
            for name, quantities in measured.items()
        }
        self.fleet = Fleet(
            registry(devices),
            self.case["rules"],
            late_after=span(self.case.get("late_after", "10m")),
            pause=span(self.case.get("pause", "3h")),
        )
        self.entries = [self.entry(words) for words in self.lines]

    def entry(self, words: list[str]) -> Entry:
        if words[0] == "tick":
            return Tick(minutes(words[1]))
        if words[0] in {"up", "down"}:
            (origin,) = self.fleet.origins([words[2]])
            return SourceState(minutes(words[1]), int(origin), words[0] == "up")
        if words[0] == "refused":
            (origin,) = self.fleet.origins([words[2]])
            return Refusal(minutes(words[1]), int(origin), words[3], f"detail of {words[1]}")
        time, quality, quantity = minutes(words[0]), Quality.GOOD, DEFAULT
        received = time
        for word in words[3:]:
            if word.startswith("@"):
                received = minutes(word[1:])
            elif word.isupper():
                quality = Quality[word]
            else:
                quantity = word
        point = self.fleet.point(f"{words[1]}/{quantity}")
        return Batch.of([point], [time], [float(words[2])], [quality], received=received)


def span(text: str) -> int:
    return int(text[:-1]) * {"m": MINUTE, "h": 60 * MINUTE}[text[-1]]


def stamp(time: int) -> str:
    return f"{(time - T0) / MINUTE:.4f}".rstrip("0").rstrip(".")


def short(subject: str) -> str:
    return subject.split("/")[1] if subject.endswith("/raw") else subject


def told(engine: Engine, said: list[str], late: dict[str, str], subjects: dict[str, str]) -> None:
    """Add what the engine said since the last call, in words."""
    changes = engine.changes()
    for alert in changes.alerts.values():
        subjects[alert.id] = alert.subject
    for one in changes.transitions:
        data = one.data
        if one.to_state == "found-late":
            said.append(f"{stamp(one.time)} found-late {data['origin']} count {data['count']}")
            continue
        line = f"{stamp(one.time)} {one.to_state} {data['rule']} {short(data['subject'])}"
        line += f" since {stamp(data['started'])}"
        if data["kind"] != "absence":
            line += f" worst {data['worst']:.10g}"
        if data["kind"] == "rate":
            line += f" change {data['change']:.10g} in {data['elapsed_ms'] / MINUTE:.10g}"
        if data["kind"] == "refusals":
            line += f" {data['refused']} {data['detail']}"
        if one.root != one.alert:
            line += f" root {subjects[one.root]}"
        said.append(line)
        assert one.page == (one.root == one.alert and one.to_state != "attached")
    for entry in changes.late.values():
        late[entry.id] = (
            f"{stamp(entry.start)}..{stamp(entry.end)} {entry.rule} {short(entry.subject)}"
            f" worst {entry.worst:.10g}"
        )


def merged(entries: list[Entry]) -> list[Entry]:
    out: list[Entry] = []
    for entry in entries:
        if isinstance(entry, Batch) and out and isinstance(out[-1], Batch):
            out[-1] = concat([out[-1], entry])
        else:
            out.append(entry)
    return out


@pytest.mark.parametrize("way", ["one by one", "merged", "restored"])
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path: Path, way: str) -> None:
    story = Story(path)
    engine = story.fleet.engine()
    said: list[str] = []
    late: dict[str, str] = {}
    subjects: dict[str, str] = {}
    entries = merged(story.entries) if way == "merged" else story.entries
    for seq, entry in enumerate(entries, 1):
        engine.apply(seq, entry)
        told(engine, said, late, subjects)
        if way == "restored":
            state = engine.snapshot()
            engine = story.fleet.engine(revised=False)
            engine.restore(state, *story.fleet.revisions)
    assert sorted(said) == sorted(story.case["expect"])
    assert sorted(late.values()) == sorted(story.case.get("late", []))
    if way == "one by one":
        assert said == story.case["expect"], "in this order"


def test_there_are_cases_of_every_kind() -> None:
    names = {path.stem.partition("-")[0] for path in CASES}
    assert {"threshold", "rate", "absence", "flatline", "refusals", "late"} <= names
    assert len(CASES) >= 15
