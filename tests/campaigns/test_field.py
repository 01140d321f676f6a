"""The campaign of meters in the field, small: dead, late and lying slaves, one simulated hour."""

from __future__ import annotations

import random

from tests.campaigns import field


def test_meters_in_the_field_miss_nothing_and_nothing_wrong_is_kept() -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    figures = field.campaign(seed, 10, field.SMALL)
    assert figures["line"]["missed"] == 0
    assert figures["hour"]["failures"]["garbled"] > 0
