"""One rule for instrument transformers: a reading means the same, however it came."""

from __future__ import annotations

import struct

import pytest

from adapters.sources.modbus.plan import plan
from collector.profile import Measured, Profile, Register
from collector.quantities import quantities
from collector.registry import Device, ratio_of
from tests.adapters.payload.pushed import T0, Fleet, message, row, topic

BEHIND = [name for name, row in quantities().items() if row.scales]
GAUGES = [name for name in BEHIND if quantities()[name].kind == "gauge"]
EXPECTED = {"both": 6000.0, "voltage": 100.0, "current": 60.0}


def _profile(quantity: str, *, ratio: bool) -> Profile:
    unit = quantities()[quantity].unit
    register = Register(quantity, 3, 0, "f32", unit, ratio=ratio)
    measured = {quantity: Measured(ratio=ratio)}
    return Profile("m", "m", "m", "m", "m", "m", (register,), measured)


def _device(quantity: str, *, gateway: str = "", connection: str = "") -> Device:
    return Device(
        "print",
        "meter",
        "main",
        "push",
        ratio=6000.0,
        voltage_ratio=100.0,
        current_ratio=60.0,
        quantities=(quantity,),
        gateway=gateway,
        connection=connection,
    )


@pytest.mark.parametrize("quantity", BEHIND)
def test_transformers_multiply_what_lies_behind_them(quantity: str) -> None:
    device = _device(quantity, gateway="gw-print")
    expected = EXPECTED[quantities()[quantity].scales]
    assert ratio_of(device, quantity, None) == expected
    assert ratio_of(device, quantity, _profile(quantity, ratio=True)) == expected
    assert ratio_of(device, quantity, _profile(quantity, ratio=False)) == 1


@pytest.mark.parametrize("quantity", GAUGES)
def test_a_pushed_gauge_and_a_polled_one_are_multiplied_alike(quantity: str) -> None:
    pushed = Fleet([_device(quantity, gateway="gw-print")])
    told = message(row("meter", values={quantity: 2.0}))
    (by_push,) = pushed.decoder.decode_many([(topic(), told, T0)]).batch.value.tolist()
    polled = _device(quantity, connection="modbus+tcp://127.0.0.1:502")
    read = plan(polled, _profile(quantity, ratio=True), {f"print/main/{quantity}/raw": 0})
    (by_poll,), _ = read.decode(struct.pack(">f", 2.0))
    assert by_push == by_poll == 2.0 * EXPECTED[quantities()[quantity].scales]
