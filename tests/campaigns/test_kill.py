"""The campaign of kill -9 under load, small: readings that come through a broker."""

from __future__ import annotations

import random
from pathlib import Path

from tests.campaigns import kill


def test_kill_9_under_load_loses_and_doubles_nothing(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    figures = kill.campaign(tmp_path, seed, kills=4, messages=3_000)
    assert figures["kills"] == 4
    assert figures["alerts"] > 0
