"""The campaign of gateways that push until they have a receipt, small: everybody is killed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.campaigns import push


@pytest.mark.timeout(400)
def test_pushed_readings_with_a_receipt_are_stored_whoever_is_killed(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    figures = push.campaign(tmp_path, seed, kills=4, broker_kills=2)
    assert min(figures["stored_by_the_first"], figures["stored_by_the_second"]) > 0
