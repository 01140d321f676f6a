"""The judge's fold: what it says survives crashes, once, and equals an undisturbed run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.journals.sqlite import SqliteJournal
from adapters.state import alerts as module
from adapters.state.alerts import AlertsReader, Judge
from adapters.state.foldfile import open_reader
from collector.errors import ConfigurationError, TemporaryError
from collector.model import Entry, Mark, SourceState, Tick
from collector.telemetry import Telemetry
from rules.engine import Engine
from rules.ruleset import parse_rules
from tests.rules.fleet import MINUTE, T0, Fleet, batch, device, registry

NMHC = "voc.nmhc.concentration"
RULES = f"""
[[rule]]
id = "high"
kind = "threshold"
quantity = "{NMHC}"
above = 60
clear = 50
for = "2m"
level = "red"
title = "High"
title_zh = "高"
[[rule]]
id = "jump"
kind = "rate"
quantity = "{NMHC}"
rise = 30
per = "1m"
level = "blue"
title = "Jump"
[[rule]]
id = "flat"
kind = "flatline"
quantity = "{NMHC}"
for = "3m"
level = "yellow"
title = "Flat"
[[rule]]
id = "silent"
kind = "absence"
target = "device"
window = "5m"
level = "yellow"
title = "Silent"
[[rule]]
id = "gateway"
kind = "absence"
target = "gateway"
window = "5m"
level = "orange"
title = "Gateway"
"""
PLACES = ("a", "b", "c")
TABLES = {
    "alert": "SELECT * FROM alert ORDER BY id",
    "transition": "SELECT id, alert, seq, to_state, time, level, root, page, data FROM transition"
    " ORDER BY id",
    "found_late": "SELECT * FROM found_late ORDER BY id",
    "pending": "SELECT * FROM pending ORDER BY rule, subject",
}


class House:
    """A journal with a small fleet, and the judge's file beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = SqliteJournal(folder / "journal.db", Telemetry())
        self.known = registry({device(name, gateway="g"): [NMHC] for name in PLACES})
        self.telemetry = Telemetry()
        self.points = self.journal.point_ids([point.name for point in self.known.points]).tolist()
        self.journal.origin_ids(["mqtt:main", "gateway:g"])
        self.fleet = Fleet(self.known, RULES)
        self.journal.append(self.fleet.revisions)

    def engine(self) -> Engine:
        return Engine(
            lambda _files: self.known,
            parse_rules,
            self.journal.point_ids,
            self.journal.origin_names,
        )

    def judge(self, name: str = "alerts.db") -> Judge:
        return Judge(self.folder / name, self.journal, self.engine, self.telemetry)

    def close(self) -> None:
        self.journal.close()


def tables(path: Path) -> dict[str, list[Any]]:
    connection = open_reader(path)
    found = {name: connection.execute(sql).fetchall() for name, sql in TABLES.items()}
    connection.close()
    return found


def story(house: House, steps: list[tuple[int, int, int, int]]) -> list[Entry]:
    """Entries from (minutes on, place, value, minutes late)."""
    entries: list[Entry] = []
    now = T0
    for number, (on, place, value, late) in enumerate(steps):
        now += on * MINUTE
        if place == len(PLACES):
            entries.append(SourceState(now, 0, value % 2 == 0))
        else:
            point = house.points[place]
            entries.append(batch([(point, now - late * MINUTE, float(value), 0, now)], origin=1))
        if number % 2:
            entries.append(Tick(now))
    return [*entries, Tick(now)]


steps = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 1, 1, 2, 6]),
        st.integers(0, len(PLACES)),
        st.sampled_from([10, 55, 70, 70, 70, 120]),
        st.sampled_from([0, 0, 0, 0, 1, 15]),
    ),
    min_size=1,
    max_size=30,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps, st.data())
def test_killed_anywhere_it_ends_like_an_undisturbed_run(
    tmp_path_factory: pytest.TempPathFactory, told: list[Any], data: st.DataObject
) -> None:
    house = House(tmp_path_factory.mktemp("house"))
    for entry in story(house, told):
        house.journal.append([entry])
    calm = house.judge("calm.db")
    calm.apply(house.journal.read(0, 1 << 30))
    calm.commit(whole=True)
    calm.close()

    goal = house.journal.last()
    judge = house.judge()
    seq = judge.cursor()
    while seq < goal:
        match data.draw(st.sampled_from(["apply", "apply", "commit", "durable", "kill"])):
            case "apply":
                few = data.draw(st.integers(1, 6))
                entries = house.journal.read(seq, 1 << 30)[:few]
                judge.apply(entries)
                seq = entries[-1][0]
            case "commit":
                judge.commit()
            case "durable":
                judge.commit(whole=True)
                assert judge.cursor() == seq
            case "kill":  # what was not committed is gone, as with kill -9
                judge.close()
                judge = house.judge()
                seq = judge.cursor()
    judge.commit(whole=True)
    judge.close()
    house.close()
    assert tables(house.folder / "alerts.db") == tables(house.folder / "calm.db")


def run(house: House, told: list[tuple[int, int, int, int]]) -> Path:
    for entry in story(house, told):
        house.journal.append([entry])
    judge = house.judge()
    judge.apply(house.journal.read(judge.cursor(), 1 << 30))
    judge.commit(whole=True)
    judge.close()
    return house.folder / "alerts.db"


def test_what_was_said_can_be_read_by_others(tmp_path: Path) -> None:
    house = House(tmp_path)
    path = run(
        house,
        [
            (0, 0, 70, 0),
            (2, 0, 75, 0),
            (1, 1, 71, 0),
            (1, 0, 90, 0),
            (0, 1, 10, 15),
            (0, 1, 99, 14),
        ],
    )
    reader = AlertsReader(path)
    (alert,) = reader.alerts(active=True)
    assert (alert.rule, alert.subject, alert.state) == ("high", f"s/a/{NMHC}/raw", "firing")
    assert alert.worst == 90, "kept up while it fires"
    assert (alert.started, alert.fired) == (T0, T0 + 2 * MINUTE)
    assert reader.alert(alert.id[:8]) == alert
    assert reader.alert("no such") is None
    (pending,) = reader.pending()
    assert (pending.rule, pending.subject) == ("high", f"s/b/{NMHC}/raw")
    (late,) = reader.found_late()
    assert (late.rule, late.origin, late.worst) == ("jump", "gateway:g", 89)
    (said,) = reader.transitions(alert.id)
    assert said.data["title_zh"] == "高"
    assert said.data["quantity_zh"]
    assert (said.data["unit"], said.data["limit"], said.data["site_name"]) == ("mg/m3", 60, "Site")
    assert reader.counts() == {"firing": 1, "found_late": 1}
    assert house.telemetry.value("judge_transitions") == 1
    assert house.telemetry.value("judge_open") == 1
    reader.close()

    house.journal.append([Mark(T0, "acknowledge", alert.id, T0, T0, "Li Wei", "seen")])
    judge = house.judge()
    judge.apply(house.journal.read(judge.cursor()))
    judge.commit()
    assert AlertsReader(path).alerts()[0].acknowledged_by == "Li Wei"
    judge.close()
    house.close()


def test_outputs_are_there_before_memory_is(tmp_path: Path) -> None:
    """People are told at once; only memory and cursor wait for the durable commit."""
    house = House(tmp_path)
    for entry in story(house, [(0, 0, 70, 0), (2, 0, 75, 0)]):
        house.journal.append([entry])
    judge = house.judge()
    judge.apply(house.journal.read(0))
    judge.commit()
    assert judge.cursor() == 0
    assert len(AlertsReader(tmp_path / "alerts.db").alerts()) == 1
    judge.commit(whole=True)
    assert judge.cursor() == house.journal.last()
    judge.close()
    house.close()


def test_memory_is_written_after_many_readings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SNAPSHOT_READINGS", 2)
    house = House(tmp_path)
    for entry in story(house, [(0, 0, 70, 0), (2, 0, 75, 0)]):
        house.journal.append([entry])
    judge = house.judge()
    judge.apply(house.journal.read(0))
    judge.commit()
    assert judge.cursor() == house.journal.last()
    judge.close()
    house.close()


def test_what_is_over_is_forgotten_beyond_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEEP_ROWS", 5)
    monkeypatch.setattr(module, "_TIDY_EVERY", 1)
    house = House(tmp_path)
    judge = house.judge()
    for entry in story(house, [(1, 0, 10 if at % 2 else 120, 0) for at in range(60)]):
        house.journal.append([entry])
    for entry in house.journal.read(0, 1 << 30):
        judge.apply([entry])
        judge.commit()
    judge.commit(whole=True)
    judge.close()
    house.close()
    reader = AlertsReader(tmp_path / "alerts.db")
    kept = reader.alerts()
    assert 5 <= len(kept) <= 8
    assert max(alert.fired for alert in kept) >= T0 + 58 * MINUTE, "the newest stay"
    assert len(reader.transitions()) <= 12


def test_a_file_of_another_journal_is_refused(tmp_path: Path) -> None:
    house = House(tmp_path / "one")
    run(house, [(0, 0, 70, 0), (2, 0, 70, 0)])
    other = House(tmp_path / "two")
    with pytest.raises(ConfigurationError):
        Judge(house.folder / "alerts.db", other.journal, other.engine)
    taken = Judge(house.folder / "alerts.db", other.journal, other.engine, reset=True)
    assert taken.cursor() == 0
    (alert,) = AlertsReader(house.folder / "alerts.db").alerts()
    assert (alert.state, alert.reason) == ("closed", "its journal is gone")
    taken.close()
    house.close()
    other.close()


def test_a_file_that_is_not_there_yet_is_a_temporary_error(tmp_path: Path) -> None:
    with pytest.raises(TemporaryError):
        AlertsReader(tmp_path / "alerts.db")
