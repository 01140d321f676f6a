"""The two loops, on a real journal: answered only when kept, in order, nobody starved or lost."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from adapters.journals.sqlite import SqliteJournal
from collector.errors import TemporaryError
from collector.folding import FoldLoop, merged
from collector.intake import IntakeLoop
from collector.model import Batch, Entry, Refusal, SourceState, Tick
from collector.ports import Delivery, Urgency
from collector.telemetry import Telemetry


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


@pytest.fixture
def journal(tmp_path: Path, telemetry: Telemetry) -> SqliteJournal:
    return SqliteJournal(tmp_path / "journal.db", telemetry)


def one(value: float, origin: int = 0) -> Batch:
    return Batch.of([1], [1000], [value], origin=origin)


def values(journal: SqliteJournal) -> list[float]:
    batches = [entry for _, entry in journal.read(0) if isinstance(entry, Batch)]
    return [float(value) for batch in batches for value in batch.value]


def test_synced_is_called_only_when_the_journal_holds_it(
    journal: SqliteJournal, telemetry: Telemetry
) -> None:
    found: list[list[float]] = []
    intake = IntakeLoop(journal, lambda batch: batch, telemetry)
    intake.submit(Delivery(one(7.0), Urgency.PUSH, synced=lambda: found.append(values(journal))))
    intake.start()
    intake.stop()
    assert found == [[7.0]]


def test_what_waits_becomes_one_record_in_order(
    journal: SqliteJournal, telemetry: Telemetry
) -> None:
    intake = IntakeLoop(journal, lambda batch: batch, telemetry)
    for number in range(5):
        intake.submit(Delivery(one(number, origin=number), Urgency.PUSH))
    intake.submit(Delivery(None, Urgency.CONTROL, entries=[Tick(9)]))
    intake.submit(
        Delivery(one(5, origin=5), Urgency.PUSH, entries=[Refusal(1, 5, "bad-value", "x")])
    )
    intake.start()
    intake.stop()
    kinds = [type(entry).__name__ for _, entry in journal.read(0)]
    assert kinds == ["Batch", "Tick", "Refusal", "Batch"]
    assert values(journal) == [0, 1, 2, 3, 4, 5]
    first = journal.read(0)[0][1]
    assert isinstance(first, Batch)
    assert list(first.segments.origin) == [0, 1, 2, 3, 4]
    assert list(first.segments.stop) == [1, 2, 3, 4, 5]


def test_a_source_going_down_stands_between_the_readings_before_and_after(
    journal: SqliteJournal, telemetry: Telemetry
) -> None:
    intake = IntakeLoop(journal, lambda batch: batch, telemetry)
    intake.submit(Delivery(one(1), Urgency.POLL))
    intake.submit(Delivery(one(2), Urgency.POLL, entries=[SourceState(5, 1, up=False)]))
    intake.start()
    intake.stop()
    kinds = [type(entry).__name__ for _, entry in journal.read(0)]
    assert kinds == ["Batch", "SourceState", "Batch"]


def test_stopping_in_the_middle_of_a_delivery_ends(
    journal: SqliteJournal, telemetry: Telemetry
) -> None:
    """``stop`` at any moment relative to the intake's own steps, by many attempts."""
    for number in range(200):
        intake = IntakeLoop(journal, lambda batch: batch, telemetry)
        intake.start()
        intake.submit(Delivery(one(number), Urgency.PUSH))
        stopper = threading.Thread(target=intake.stop, daemon=True)
        stopper.start()
        stopper.join(30)
        assert not stopper.is_alive(), "hangs"
    assert values(journal) == list(range(200)), "what was submitted was appended"


def test_near_the_bound_backfill_is_refused_first_and_told(
    tmp_path: Path, telemetry: Telemetry
) -> None:
    journal = SqliteJournal(tmp_path / "journal.db", telemetry, max_bytes=4 << 20)
    journal.release("archive", 0)
    filler = Batch.of(range(4000), range(4000), np.zeros(4000))
    while journal.pressure() is Urgency.BACKFILL:
        journal.append([filler])
    answers: list[str] = []
    intake = IntakeLoop(journal, lambda batch: batch, telemetry)
    for urgency in (Urgency.BACKFILL, Urgency.PUSH):
        name = urgency.name
        intake.submit(
            Delivery(
                one(1.5 + urgency),
                urgency,
                synced=lambda name=name: answers.append(f"{name} kept"),
                refused=lambda name=name: answers.append(f"{name} refused"),
            )
        )
    intake.start()
    intake.stop()
    assert answers == ["BACKFILL refused", "PUSH kept"]
    assert 1.5 not in values(journal)
    assert telemetry.value("intake_refused_full", urgency="backfill") == 1


def test_a_delivery_that_breaks_the_program_harms_no_other(
    journal: SqliteJournal, telemetry: Telemetry
) -> None:
    def normalise(batch: Batch) -> Batch:
        if (batch.value == 13).any():
            raise ZeroDivisionError("thirteen")
        return batch

    intake = IntakeLoop(journal, normalise, telemetry)
    answered: list[tuple[float, bool]] = []

    def synced(delivery: Delivery) -> None:
        assert delivery.batch is not None
        answered.append((delivery.batch.value[0], bool(delivery.kept_aside)))

    for number in (12.0, 13.0, 14.0):
        delivery = Delivery(one(number), Urgency.PUSH)
        delivery.synced = partial(synced, delivery)
        intake.submit(delivery)
    intake.start()
    intake.stop()
    assert values(journal) == [12, 14]
    (refusal,) = [e for _, e in journal.read(0) if isinstance(e, Refusal)]
    assert refusal.reason == "program-fault"
    assert refusal.count == 1
    assert refusal.sample, "the readings themselves are kept"
    assert answered == [(12, False), (13, True), (14, False)], "kept aside is kept, and told"


async def test_deliver_waits_for_the_sync(journal: SqliteJournal, telemetry: Telemetry) -> None:
    intake = IntakeLoop(journal, lambda batch: batch, telemetry)
    intake.start()
    assert await intake.deliver(Delivery(one(3), Urgency.POLL)) is True
    assert values(journal) == [3]
    intake.stop()


def test_a_disk_that_is_full_for_a_while_delays_and_loses_nothing(
    tmp_path: Path, telemetry: Telemetry
) -> None:
    class SometimesFull(SqliteJournal):
        failures = 3

        def append(self, entries: Sequence[Entry]) -> int:
            if self.failures:
                self.failures -= 1
                raise TemporaryError("disk is full", retry_after=0.001)
            return super().append(entries)

    journal = SometimesFull(tmp_path / "journal.db", telemetry)
    intake = IntakeLoop(journal, lambda batch: batch, telemetry)
    done = threading.Event()
    intake.start()
    intake.submit(Delivery(one(3), Urgency.POLL, synced=done.set))
    assert done.wait(30)
    intake.stop()
    assert values(journal) == [3]
    assert telemetry.value("journal_append_failures") == 3


def test_runs_of_batches_become_one() -> None:
    entries: list[tuple[int, Entry]] = [
        (1, one(1)),
        (2, one(2)),
        (4, Tick(5)),
        (5, one(3)),
    ]
    out = merged(entries)
    assert [seq for seq, _ in out] == [2, 4, 5]
    first = out[0][1]
    assert isinstance(first, Batch)
    assert list(first.value) == [1, 2]


class SummingFold:
    """A fold whose file is a dict: state and cursor change together, at commit."""

    name = "sum"

    def __init__(self, file: dict[str, float], poison: float | None = None) -> None:
        self._file = file
        self._poison = poison
        self._state = dict(file)

    def cursor(self) -> int:
        return int(self._file["cursor"])

    def apply(self, entries: Sequence[tuple[int, Entry]]) -> None:
        for seq, entry in entries:
            if isinstance(entry, Batch):
                if self._poison is not None and (entry.value == self._poison).any():
                    raise ValueError("poison")
                self._state["sum"] += float(entry.value.sum())
                self._state["count"] += len(entry)
            self._state["cursor"] = seq

    def commit(self, *, whole: bool = False) -> None:
        self._file.update(self._state)

    def sync(self) -> int:
        return int(self._file["cursor"])

    def close(self) -> None:
        pass


def test_a_fold_sees_everything_once_and_releases_it(
    journal: SqliteJournal, telemetry: Telemetry
) -> None:
    file = {"sum": 0.0, "count": 0.0, "cursor": 0.0}
    loop = FoldLoop("sum", lambda: SummingFold(file), journal, telemetry, linger=0)
    loop.start()
    for number in range(50):
        journal.append([one(number), Tick(number)])
    assert loop.drain(30)
    loop.stop()
    assert file == {"sum": sum(range(50)), "count": 50, "cursor": 100}
    assert journal.consumers() == {"sum": 100}
    again = FoldLoop("sum", lambda: SummingFold(file), journal, telemetry, linger=0)
    again.start()
    journal.append([one(1)])
    assert again.drain(30)
    again.stop()
    assert file["count"] == 51


def test_a_fold_goes_round_an_entry_that_breaks_it(
    journal: SqliteJournal, telemetry: Telemetry
) -> None:
    file = {"sum": 0.0, "count": 0.0, "cursor": 0.0}
    for number in range(10):
        journal.append([one(number)])
    loop = FoldLoop("sum", lambda: SummingFold(file, poison=4), journal, telemetry, linger=0)
    loop.RETRY_SECONDS = 0.001
    loop.start()
    assert loop.drain(30)
    loop.stop()
    assert file["count"] == 9
    assert file["sum"] == sum(range(10)) - 4
    assert telemetry.value("fold_entries_skipped", fold="sum") == 1
    assert loop.healthy


def test_what_is_refused_is_told_once_an_hour_of_each_that_brings_it(
    journal: SqliteJournal, telemetry: Telemetry
) -> None:
    """Whatever the way: MQTT 3.1.1, for one, has no word for its sender."""
    first, second = (int(one) for one in journal.origin_ids(["gateway:gw-a", "gateway:gw-b"]))
    intake = IntakeLoop(journal, lambda batch: batch, telemetry)
    for origin, reason in [(first, "bad-value"), (second, "bad-value"), (first, "bad-time")] * 3:
        refusal = Refusal(1, origin, reason, f"{reason}: why")
        intake.submit(Delivery(None, Urgency.PUSH, entries=[refusal]))
    with capture_logs() as logs:
        intake.start()
        intake.stop()
    told = [(line["source"], line["detail"]) for line in logs if line["event"] == "refuses"]
    assert sorted(told) == [
        ("gateway:gw-a", "bad-time: why"),
        ("gateway:gw-a", "bad-value: why"),
        ("gateway:gw-b", "bad-value: why"),
    ]
    assert all("meterwatch refused" in line["todo"] for line in logs)


def test_refusals_respect_the_bound_too(tmp_path: Path, telemetry: Telemetry) -> None:
    """However many wait at once: a flood of what nobody can use must not fill the disk."""
    journal = SqliteJournal(tmp_path / "journal.db", telemetry, max_bytes=16 << 20)
    journal.register(["archive"])
    intake = IntakeLoop(journal, lambda batch: batch, telemetry)
    answers: list[bool] = []
    for number in range(4000):
        refusal = Refusal(number, 0, "unknown-device", "x", 1, "mqtt-json", b"r" * 16_000)
        intake.submit(
            Delivery(
                None,
                Urgency.PUSH,
                entries=[refusal],
                synced=lambda: answers.append(True),
                refused=lambda: answers.append(False),
            )
        )
    intake.start()
    intake.stop()
    assert journal.live_bytes() < 17 << 20
    assert len(journal.read(0, 1 << 30)) == answers.count(True)
    assert len(answers) == 4000, "all are answered, one way or the other"
