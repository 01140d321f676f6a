"""What docs/gateway-protocol.md shows of other forms is decoded to what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from adapters.sources.payload import load_formats, parse_formats
from adapters.sources.payload.formats import Form, Format
from collector.model import Quality
from tests.adapters.payload.decoded import decode as decode_own
from tests.adapters.payload.decoded import rows as own_rows
from tests.adapters.payload.foreign import ENERGY, POWER, decode, rows
from tests.adapters.payload.pushed import T0

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "gateway-protocol.md").read_text("utf-8")


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def blocks(title: str, kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", section(title), re.DOTALL)


def test_the_compact_sample() -> None:
    (sample,) = blocks("Compact form", "json")
    decoded = decode_own(sample.encode())
    assert decoded.refusals == []
    assert own_rows(decoded)[:5] == [
        ("main/energy.active.import", T0, 12345.67, 0),
        ("main/power.active", T0, 81.5, 0),
        ("main/voltage.l1", T0, 230.1, 0),
        ("sub/energy.active.import", T0, 1200.5, 0),
        ("sub/power.active", T0, 7.25 * 40, 0),
    ]
    assert decoded.batch.value.tolist()[5] == 81.2
    assert decoded.batch.quality.tolist()[6] == Quality.NO_VALUE


def test_the_sample_of_a_fleets_own_names() -> None:
    _, own, _ = blocks("Other makers' formats", "toml")
    told = {
        "node": "modbus 1",
        "timestamp": T0,
        "values": {"kWh": 5, "P": 81500, "press_kWh": 7, "heartbeat": 1},
        "errors": {"voltage.l1": 3002},
    }
    decoded = decode("mill", told, own=own)
    assert decoded.refusals == []
    assert [name for name, *_ in rows(decoded)] == [
        ENERGY, POWER, "main/voltage.l1", "sub/energy.active.import",
    ]  # fmt: skip
    assert rows(decoded)[2][3] == Quality.NO_COMMUNICATION


def test_the_sample_of_another_format() -> None:
    *_, own = blocks("Other makers' formats", "toml")
    sample = re.search(r"`(\{\"sn\".*?\})`", section("Other makers' formats"))
    assert sample is not None
    assert rows(decode("acme", sample[1].encode(), own=own)) == [(ENERGY, 0, 12345.67, 0)]


def test_every_format_and_key_is_explained() -> None:
    page = section("Other makers' formats")
    assert [name for name in load_formats() if f"| `{name}` |" not in page] == []
    keys = {*Form.__dataclass_fields__, *Format.__dataclass_fields__, "base"}
    about = {"name", "label", "label_zh", "source", "forms"}
    assert [key for key in keys - about if f"`{key}`" not in page and f"{key} =" not in page
            and f"[{key}]" not in page] == []  # fmt: skip


@pytest.mark.parametrize("own", blocks("Other makers' formats", "toml")[1:])
def test_the_samples_have_no_fault(own: Any) -> None:
    assert parse_formats({"mappings/x.toml": own}, load_formats())
