"""Each model's register image, answered by a server on a real socket in both framings, comes out
of the link, the plan and the decoder as the readings that are expected of it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from adapters.profiles import load_profiles
from adapters.sources.modbus.address import parse_connection
from adapters.sources.modbus.link import Link
from adapters.sources.modbus.plan import plan
from adapters.sources.polling import Failure
from collector.profile import Profile, Register, canonical
from collector.registry import Device
from meterwatch.simulator.meters import ILLEGAL_ADDRESS, Meter, MeterServer

IMAGES = Path(__file__).parent / "images"
MODELS = [one for _, one in sorted(load_profiles().items()) if one.registers]


@dataclass(slots=True)
class Recorded(Meter):
    """Answers from an image, and refuses what lies outside of it."""

    image: dict[tuple[int, int], int] = field(default_factory=dict)

    def read(self, function: int, address: int, count: int, now: int) -> list[int] | int:
        found = [self.image.get((function, address + n)) for n in range(count)]
        words = [word for word in found if word is not None]
        return words if len(words) == count else ILLEGAL_ADDRESS


@pytest.mark.parametrize("rtu", [False, True], ids=["tcp", "rtu-tcp"])
async def test_every_image_is_read_over_the_wire(rtu: bool) -> None:
    images: dict[str, dict[str, Any]] = {
        one.name: tomllib.loads((IMAGES / f"{one.name}.toml").read_text(encoding="utf-8"))
        for one in MODELS
    }
    meters = [
        Recorded(unit, one, lambda _: {}, image=_words(images[one.name]))
        for unit, one in enumerate(MODELS, 1)
    ]
    async with MeterServer(meters, lambda: 0, rtu=rtu) as server:
        link = Link(parse_connection(server.url(1)).bus, 10.0)
        try:
            assert await link.connect() is None
            for meter in meters:
                got = await _read(link, meter, images[meter.profile.name])
                expected = images[meter.profile.name]["readings"]
                assert got == pytest.approx(expected, rel=1e-7, nan_ok=True), meter.profile.name
        finally:
            link.close()


def _words(image: dict[str, Any]) -> dict[tuple[int, int], int]:
    return {
        (block["function"], block["address"] + n): int(word, 16)
        for block in image["block"]
        for n, word in enumerate(block["words"].split())
    }


async def _read(link: Link, meter: Meter, image: dict[str, Any]) -> dict[str, float]:
    voltage, current = image.get("voltage_ratio", 1.0), image.get("current_ratio", 1.0)
    device = Device(
        "s",
        "d",
        "p",
        meter.profile.name,
        ratio=voltage * current,
        voltage_ratio=voltage,
        current_ratio=current,
    )
    ids = {f"s/p/{row.quantity}/raw": n for n, row in enumerate(meter.profile.registers)}
    made = plan(device, meter.profile, ids)
    answers = b""
    for block in made.blocks:
        answer = await link.read(meter.unit, block)
        assert not isinstance(answer, Failure), str(answer)
        answers += answer
    values, _ = made.decode(answers)
    return dict(zip((row.quantity for row in made.registers), values.tolist(), strict=True))


def shown(profile: Profile) -> dict[str, float]:
    """A number for each quantity, no two alike, such as each may have."""
    return {
        row.quantity: (117 + 7 * place) / _tenths(row)
        for place, row in enumerate(profile.registers)
        if row.type != "bit"
    }


def _tenths(row: Register) -> float:
    if canonical(row).counter:
        return 1
    return 1000 if row.quantity.startswith("power.factor") else 10


@pytest.mark.parametrize("model", MODELS, ids=[one.name for one in MODELS])
async def test_what_a_simulated_meter_of_any_model_shows_comes_out_again(model: Profile) -> None:
    """Also of models whose numbers are put together of several registers."""
    parts = {part: 3.0 for row in model.registers for part in row.times}
    parts |= {row.ten_to: -1.0 for row in model.registers if row.ten_to is not None}
    meter = Meter(1, model, lambda _: shown(model), held=parts)
    async with MeterServer([meter], lambda: 0) as server:
        link = Link(parse_connection(server.url(1)).bus, 10.0)
        try:
            assert await link.connect() is None
            got = await _read(link, meter, {})
        finally:
            link.close()
    steps = {row.quantity: abs(row.scale) * canonical(row).scale for row in model.registers}
    for quantity, number in shown(model).items():
        assert got[quantity] == pytest.approx(number, rel=1e-6, abs=9 * steps[quantity]), quantity
