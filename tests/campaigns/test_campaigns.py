"""The long campaigns' code, small. ``make prove`` runs them at full size."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from tests.campaigns import direct, field, kill, project, push, sync


def test_meters_in_the_field_miss_nothing_and_nothing_wrong_is_kept() -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    figures = field.campaign(seed, 10, field.SMALL)
    assert figures["line"]["missed"] == 0
    assert figures["hour"]["failures"]["garbled"] > 0


def test_kill_9_under_load_loses_and_doubles_nothing(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    figures = kill.campaign(tmp_path, seed, kills=4, messages=3_000)
    assert figures["kills"] == 4
    assert figures["alerts"] > 0


def test_kill_9_loses_nothing_that_was_acknowledged_to_a_gateway(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    assert direct.campaign(tmp_path, seed, kills=4, messages=3_000)["kills"] == 4


@pytest.mark.timeout(400)
def test_databases_under_load_hold_every_reading_once_whatever_happens(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    figures = project.campaign(tmp_path, seed, project.SMALL)
    assert figures["faults"].keys() >= {"vm emptied", "influx away", "password changed"}
    assert figures["alerts"] > 0


@pytest.mark.timeout(400)
def test_pushed_readings_with_a_receipt_are_stored_whoever_is_killed(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    figures = push.campaign(tmp_path, seed, kills=4, broker_kills=2)
    assert min(figures["stored_by_the_first"], figures["stored_by_the_second"]) > 0


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_every_acknowledgement_follows_an_fdatasync(tmp_path: Path) -> None:
    figures = sync.campaign(tmp_path, random.randrange(10**6), messages=30)
    assert figures["without_sync"] == 0
    assert figures["without_sync_when_off"] >= 30
