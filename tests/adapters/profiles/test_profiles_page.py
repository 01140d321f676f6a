"""The page about profiles says what the planner does, and its sample is one that loads."""

from __future__ import annotations

import re
import struct

import pytest

from adapters.profiles import load_profiles
from adapters.sources.modbus.codec import encode, spread
from adapters.sources.modbus.plan import plan, requests
from collector.profile import parse_profile
from collector.registry import Device
from tests.adapters.profiles.profiles_page import PAGE, page

TEXT = PAGE.read_text(encoding="utf-8")


def test_the_table_is_what_the_planner_does() -> None:
    assert page(TEXT) == TEXT, "run python -m tests.adapters.profiles.profiles_page"


def test_every_model_with_many_values_saves_most_of_its_requests() -> None:
    for profile in load_profiles().values():
        if len(profile.registers) > 10:
            assert 2 * len(requests(profile)) <= len(profile.registers), profile.name


def test_the_sample_loads_and_reads_what_it_says() -> None:
    (sample,) = re.findall(r"^```toml\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
    profile = parse_profile(sample, "docs/profiles.md")
    rows = {one.quantity: one for one in profile.registers}
    ids = {f"s/p/{name}/raw": n for n, name in enumerate(rows)}
    made = plan(Device("s", "d", "p", profile.name), profile, ids)
    shown = {
        "heat.flow": 12.5,
        "heat.energy": 9876.125,
        "heat.volume": 1234.56,
        "heat.power": 100.0,
        "instrument.state": 3.0,
    }
    (decimals,), (factor,) = rows["heat.volume"].parts, rows["heat.power"].parts
    held = {decimals: -2.0, factor: 4.0}
    wire = {
        (part.function, part.address + n): word
        for name, number in shown.items()
        for part, raw in spread(rows[name], number, held)
        for n, word in enumerate(encode(part, raw))
    }
    image = b"".join(
        struct.pack(">H", wire.get((block.function, block.address + n), 0))
        for block in made.blocks
        for n in range(block.count)
    )
    values, _ = made.decode(image)
    got = dict(zip((row.quantity for row in made.registers), values.tolist(), strict=True))
    assert got == pytest.approx(shown)
