"""A real multi-gas monitor through MQTT: what it did not give (-200) is kept as invalid, with its
reason, and no mean contains it."""

from __future__ import annotations

import csv
import json
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from adapters.stores.archive_reader import ArchiveReader
from collector.model import Quality
from tests.campaigns.sending import Sender
from tests.campaigns.traffic import Sent
from tests.programs import RunningProgram, eventually
from tests.servers import Mosquitto

ZONE = ZoneInfo("Asia/Shanghai")
HOUR = 3_600_000
DAY = 24 * HOUR
NO_VALUE = -200.0
SETTINGS = """
[program]
listen = ""
[[source]]
kind = "mqtt"
name = "main"
url = "mqtt://127.0.0.1:{port}"
client_id = "air-center"
[archive]
retention_days = 20000
"""
# column of the file -> quantity, unit it is sent in, factor to the canonical unit
COLUMNS = {
    "nmhc_ugm3": ("voc.nmhc.concentration", "ug/m3", 0.001),
    "benzene_ugm3": ("voc.benzene.concentration", "ug/m3", 0.001),
    "nox_ppb": ("ambient.nox.fraction", "ppb", 1.0),
    "co_mgm3": ("fluegas.co", "mg/m3", 1.0),
    "temperature_c": ("ambient.temperature", "degC", 1.0),
    "relative_humidity_pct": ("ambient.humidity", "%", 1.0),
}
REGISTRY = """
[site]
id = "air"
name = "Air monitor"
name_zh = "空气监测站"
county = "620502"
industry = "C2319"
[[gateway]]
id = "gw-air"
name = "gateway"
[[place]]
id = "station"
name = "Station"
name_zh = "站房"
[[device]]
id = "monitor"
place = "station"
profile = "push"
gateway = "gw-air"
interval = "1h"
no_value = [-200]
quantities = {quantities}
"""


def test_what_the_monitor_did_not_give_enters_no_mean(shared: Path, tmp_path: Path) -> None:
    rows = _rows(shared / "data" / "air-monitor-2004-a.csv")
    fleet = tmp_path / "fleet"
    (fleet / "registry").mkdir(parents=True)
    quantities = json.dumps([quantity for quantity, _, _ in COLUMNS.values()])
    (fleet / "registry" / "air.toml").write_text(
        REGISTRY.format(quantities=quantities), encoding="utf-8"
    )
    with Mosquitto(tmp_path / "broker") as broker:
        (fleet / "meterwatch.toml").write_text(SETTINGS.format(port=broker.port), encoding="utf-8")
        with RunningProgram(fleet) as program, Sender(broker.port) as sender:
            program.wait_for("source-up")
            sender.send(_messages(rows))
            sender.wait_acknowledged()
            eventually(lambda: _count(fleet) == len(rows) * len(COLUMNS), "all is stored")
            assert program.stop() == 0, program.tail()
    reader = ArchiveReader(fleet / "data" / "archive.db")
    missing = 0
    for column, (quantity, _, factor) in COLUMNS.items():
        missing += _check(reader, quantity, factor, [(at, row[column]) for at, row in rows])
    assert missing > 1000, "the file has many"
    assert not reader.refused_totals(), "nothing was refused: invalid is not refused"


def _check(
    reader: ArchiveReader, quantity: str, factor: float, readings: list[tuple[int, float]]
) -> int:
    """One column: every reading is there; hour and day means are those of the given ones."""
    point = f"air/station/{quantity}/raw"
    stored = reader.read(point, 0, 2**62)
    assert stored.time.tolist() == [at for at, _ in readings]
    given = np.array([value != NO_VALUE for _, value in readings])
    assert (stored.quality[~given] == Quality.NO_VALUE).all(), "kept, with its reason"
    assert (stored.quality[given] < Quality.STOPPED).all()
    expected = np.array([value for _, value in readings]) * factor
    assert np.allclose(stored.value[given], expected[given], rtol=1e-12)
    start = readings[0][0] - readings[0][0] % DAY
    for width in (HOUR, DAY):
        spans = reader.buckets(point, start, readings[-1][0] + 1, width)
        for at, count, low, mean in zip(
            spans.start.tolist(),
            spans.count.tolist(),
            spans.low.tolist(),
            spans.mean.tolist(),
            strict=True,
        ):
            here = (stored.time >= at) & (stored.time < at + width) & given
            assert count == here.sum()
            if count:
                assert low >= expected[given].min()
                assert np.isclose(mean, expected[here].mean())
            else:
                assert np.isnan(mean), "missing is not zero"
    return int((~given).sum())


def _rows(file: Path) -> list[tuple[int, dict[str, float]]]:
    found = []
    with file.open(encoding="utf-8") as opened:
        for row in csv.DictReader(opened):
            local = datetime.fromisoformat(row.pop("hour")).replace(tzinfo=ZONE)
            at = int(local.timestamp()) * 1000
            found.append((at, {name: float(value) for name, value in row.items()}))
    return found


def _messages(rows: list[tuple[int, dict[str, float]]]) -> list[Sent]:
    units = {quantity: unit for quantity, unit, _ in COLUMNS.values()}
    found = []
    for begin in range(0, len(rows), 10):
        told = [
            {
                "device": "monitor",
                "time": at,
                "values": {COLUMNS[name][0]: value for name, value in row.items()},
                "units": units,
            }
            for at, row in rows[begin : begin + 10]
        ]
        payload = json.dumps({"readings": told}).encode()
        found.append(Sent("meterwatch/v1/gw-air/readings", payload, []))
    return found


def _count(fleet: Path) -> int:
    path = fleet / "data" / "archive.db"
    if not path.exists():
        return 0
    reader = ArchiveReader(path)
    try:
        names = reader.point_names()
        return sum(len(reader.read(name, 0, 2**62)) for name in names if name)
    finally:
        reader.close()
