"""The campaign of databases under load, small: they die, are emptied, change their password."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.campaigns import project


@pytest.mark.timeout(400)
def test_databases_under_load_hold_every_reading_once_whatever_happens(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    figures = project.campaign(tmp_path, seed, project.SMALL)
    assert figures["faults"].keys() >= {"vm emptied", "influx away", "password changed"}
    assert figures["alerts"] > 0
