"""A DL/T 645 meter on a simulated line, through the whole program, into the archive: what its
display shows is what is stored, tariffs and demand too."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np

from adapters.stores.archive_reader import ArchiveReader
from collector.errors import TemporaryError
from collector.model import Quality
from tests.adapters.dlt645.dlt645_line import SimLine, SimMeter
from tests.adapters.dlt645.dlt645_polled import FULL, MEANT, THREE, A, B, full
from tests.programs import RunningProgram, eventually
from tests.servers import free_port

SETTINGS = """\
[program]
listen = ""
tick = "1s"

[[source]]
kind = "dlt645"
"""
SITE = """\
[site]
id = "mill"
name = "Mill"
name_zh = "磨坊"
county = "620502"
industry = "C2319"
"""
PLACE = """
[[place]]
id = "{id}"
name = "{id}"
name_zh = "{id}"

[[device]]
id = "{id}-meter"
place = "{id}"
profile = "{profile}"
interval = "1s"
{ratio}connection = "{url}"
"""


def fleet(folder: Path, places: str) -> Path:
    (folder / "registry").mkdir(parents=True)
    (folder / "meterwatch.toml").write_text(SETTINGS, encoding="utf-8")
    (folder / "registry" / "mill.toml").write_text(SITE + places, encoding="utf-8")
    return folder


def place(id_: str, url: str, ratio: str = "") -> str:
    return PLACE.format(id=id_, profile=THREE, url=url, ratio=ratio)


def stored(folder: Path, id_: str) -> dict[str, float]:
    """The newest valid value of each quantity at a place; empty while there is none."""
    try:
        reader = ArchiveReader(folder / "data" / "archive.db")
    except TemporaryError:
        return {}
    try:
        found: dict[str, float] = {}
        for quantity in MEANT:
            series = reader.latest(f"mill/{id_}/{quantity}/raw")
            if len(series) and series.quality[-1] == Quality.GOOD:
                found[quantity] = float(series.value[-1])
        return found
    except KeyError:
        return {}
    finally:
        reader.close()


async def test_what_the_display_shows_is_in_the_archive(tmp_path: Path) -> None:
    """One meter behind a serial server, with ratios; one behind a terminal that calls."""
    port = free_port()
    called = SimLine(SimMeter(B, full))
    async with SimLine(SimMeter(A, full, most=8)) as line:
        urls = (
            f"dlt645+tcp://127.0.0.1:{line.port}?address={A}",
            f"dlt645+listen://127.0.0.1:{port}?terminal=13812345678&address={B}",
        )
        places = place("north", urls[0]) + place("south", urls[1], "current_ratio = 40\n")
        folder = fleet(tmp_path / "fleet", places)
        with RunningProgram(folder) as program:
            await asyncio.to_thread(program.wait_for, "listening for terminals")
            await called.call(port, b"13812345678")
            valid = set(MEANT) - {"energy.reactive.export"}  # a counter below 0: kept as impossible
            await asyncio.to_thread(
                eventually,
                lambda: all(set(stored(folder, id_)) >= valid for id_ in ("north", "south")),
                "every value of both meters is stored",
            )
            assert program.stop() == 0
    await called.stop()
    north, south = stored(folder, "north"), stored(folder, "south")
    for quantity in valid:
        scaled = quantity.startswith(("power.a", "power.r", "current.")) * 40 or 1
        assert np.isclose(north[quantity], MEANT[quantity]), quantity
        assert np.isclose(south[quantity], MEANT[quantity] * scaled), quantity
    assert north["energy.active.import"] == south["energy.active.import"] == 1234.56
    tariffs = [f"energy.active.import.{name}" for name in ("sharp", "peak", "flat", "valley")]
    shown = [int(digits) / 100 for digits in FULL["0001FF00"].split()[1:]]
    assert [north[one] for one in tariffs] == shown
    assert north["power.active.demand.max"] == 1.2345
