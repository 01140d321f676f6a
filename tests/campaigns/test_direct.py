"""The campaign of kill -9 under load, small: gateways that publish to the program itself."""

from __future__ import annotations

import random
from pathlib import Path

from tests.campaigns import direct


def test_kill_9_loses_nothing_that_was_acknowledged_to_a_gateway(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    assert direct.campaign(tmp_path, seed, kills=4, messages=3_000)["kills"] == 4
