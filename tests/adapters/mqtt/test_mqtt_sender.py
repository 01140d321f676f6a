"""The benchmark's sender: what it says it sent is what it sends, counted another way."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from adapters.profiles import load_profiles
from adapters.sources.payload import PayloadDecoder
from collector.normalise import normalise
from collector.registry import table
from collector.registry_text import parse_registry
from tests.adapters.payload.pushed import Origins
from tests.servers import Mosquitto

ROOT = Path(__file__).resolve().parents[3]
sys.path.append(str(ROOT))  # bench is run from the checkout and not installed
sender = importlib.import_module("bench.sender")
sys.path.remove(str(ROOT))
Plan, Slot = sender.Plan, sender.Slot
PLAN = Plan(points=500, per_message=50, gateways=3, crossing=0.05, period=4, variants=2)
T0 = 1_795_305_600_000


def decoder(plan: Any) -> tuple[PayloadDecoder, dict[str, int]]:
    files = {f"registry/{name}": text for name, text in plan.registry().items()}
    registry = parse_registry(files, load_profiles())
    points = table(registry, Origins().ids)
    made = PayloadDecoder(registry, points, Origins().ids, source="mqtt:main",
                          late_after_ms=10**15, profiles=load_profiles())  # fmt: skip
    return made, dict(points.ids)


def test_every_reading_is_taken_and_the_rises_are_as_foretold() -> None:
    plan, cycles = PLAN, [29 + slot % 2 for slot in range(PLAN.slots)]
    decode, ids = decoder(plan)
    assert sorted(ids) == sorted(plan.point(n) for n in range(plan.points))
    names = {number: name for name, number in ids.items()}
    high: dict[str, bool] = {}
    sums = dict.fromkeys(sender.QUANTITIES, 0.0)
    rises = rows = 0
    for slot in range(plan.slots):
        sending = Slot(plan, slot)
        last = 0
        for cycle in range(cycles[slot]):
            packet = sending.next(cycle + 1, T0 + cycle)
            body = packet[packet.index(b"{") :]
            topic = f"meterwatch/v1/{plan.gateway(slot)}/readings"
            decoded = decode.decode_many([(topic, body, T0)])
            assert decoded.refusals == []
            batch = decoded.batch
            rows += len(batch)
            assert batch.time[0] > last
            last = int(batch.time[0])
            for point, value in zip(batch.point.tolist(), batch.value.tolist(), strict=True):
                quantity = names[point].split("/")[2]
                sums[quantity] += value
                is_high = value > plan.limit and quantity not in sender.COUNTERS
                rises += is_high and not high.get(names[point], False)
                high[names[point]] = is_high
    assert rows == sum(cycles) * plan.per_message
    assert rises == plan.expected_rises(cycles) > 0
    assert sums == pytest.approx(plan.sums(cycles), rel=1e-12)


def test_the_values_are_physically_possible() -> None:
    decode, _ = decoder(PLAN)
    points = table(
        parse_registry({f"registry/{n}": t for n, t in PLAN.registry().items()}, load_profiles()),
        Origins().ids,
    )
    for slot in range(PLAN.slots):
        raw = PLAN.payload(slot, 0, True)
        topic = f"meterwatch/v1/{PLAN.gateway(slot)}/readings"
        # the stamp to be patched is a real time of 2001
        batch = normalise(decode.decode_many([(topic, raw, T0)]).batch, points)
        assert not batch.quality.any()


@pytest.mark.timeout(60)
def test_what_it_counts_as_acknowledged_the_broker_has(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "b") as broker:
        ran = subprocess.run(
            [sys.executable, "-m", "bench.sender", "--port", str(broker.port), "--messages", "3000",
             "--points", "500", "--seconds", "30", "--window", "100"],
            check=True, capture_output=True, text=True, cwd=ROOT, timeout=50)  # fmt: skip
    told = json.loads(ran.stdout)
    assert (told["messages"], told["acked"]) == (3000, 3000)
    assert told["readings"] == 3000 * 5 * len(sender.QUANTITIES)
