"""Half a year of a real steel plant, as an integer meter would have counted it.

The file gives the energy of each quarter-hour; the meter counts it in steps of 0.01 kWh. So that
the books have something to get right, its register stands near its end at New Year and rolls
over, it is reset to zero a second after a poll, and later it is replaced by another meter, a
second after a poll too. What the books must say is known from the file to the last step.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

ZONE = ZoneInfo("Asia/Shanghai")
QUARTER = 900_000
DAY = 86_400_000
MODULUS = 2**32
TOTAL_KWH = 521_199.76
FIRST_REGISTER = MODULUS - 9_876_543
SECOND_METER_STARTS_AT = 55_555
POINT = "steel/main/energy.active.import/raw"


@dataclass(frozen=True)
class Plant:
    """``ends``: UTC ms of each quarter-hour's end; ``steps``: 0.01 kWh counted up to then."""

    ends: np.ndarray
    steps: np.ndarray
    start: int
    reset_at: int
    replaced_at: int

    @staticmethod
    def load(file: Path) -> Plant:
        ends, used = [], []
        with file.open(encoding="utf-8") as opened:
            for row in csv.DictReader(opened):
                local = datetime.fromisoformat(row["interval_end"]).replace(tzinfo=ZONE)
                ends.append(int(local.timestamp()) * 1000)
                used.append(round(float(row["active_energy_kwh"]) * 100))
        times = np.array(ends, np.int64)
        start = int(times[0]) - QUARTER
        return Plant(
            times,
            np.cumsum(np.array(used, np.int64)),
            start,
            reset_at=int(times[40 * 96 + 37]) + 1_000,
            replaced_at=int(times[120 * 96 + 50]) + 1_000,
        )

    def counted(self, now: int) -> int:
        """Steps since the start, whole quarter-hours only."""
        at = int(np.searchsorted(self.ends, now, side="right"))
        return int(self.steps[at - 1]) if at else 0

    def first_meter(self, now: int) -> int:
        """Register of the meter that hangs there until ``replaced_at``."""
        if now < self.reset_at:
            return (FIRST_REGISTER + self.counted(now)) % MODULUS
        return self.counted(now) - self.counted(self.reset_at)

    def second_meter(self, now: int) -> int:
        """Register of its successor."""
        return SECOND_METER_STARTS_AT + self.counted(now) - self.counted(self.replaced_at)

    def register(self, now: int) -> int:
        """What hangs there shows."""
        return self.first_meter(now) if now < self.replaced_at else self.second_meter(now)

    def days(self) -> dict[int, float]:
        """kWh of each local day, by its beginning (UTC ms), from the file."""
        before = np.concatenate(([0], self.steps[:-1]))
        found: dict[int, float] = {}
        for end, used in zip(self.ends.tolist(), (self.steps - before).tolist(), strict=True):
            day = end - QUARTER - (end - QUARTER - self.start) % DAY
            found[day] = found.get(day, 0) + used
        return {day: used / 100 for day, used in found.items()}

    def moment(self, at: int) -> str:
        """A time as the registry writes it, local."""
        return datetime.fromtimestamp(at / 1000, ZONE).replace(tzinfo=None).isoformat()

    def write_fleet(self, folder: Path, settings: str, connections: tuple[str, str]) -> None:
        """The fleet folder: one place, two meters one after the other. ``connections``: the
        line that says how each is reached."""
        (folder / "registry").mkdir(parents=True)
        (folder / "meterwatch.toml").write_text(settings, encoding="utf-8")
        first, second = connections
        common = 'profile = "generic-counter"\nplace = "main"\ninterval = "15m"\nmax_rate = 2000\n'
        (folder / "registry" / "steel.toml").write_text(
            '[site]\nid = "steel"\nname = "Steel plant"\nname_zh = "钢铁厂"\n'
            'county = "620502"\nindustry = "C3110"\n'
            '[[gateway]]\nid = "gw-steel"\nname = "gateway"\n'
            '[[place]]\nid = "main"\nname = "Main meter"\nname_zh = "总表"\n'
            f'[[device]]\nid = "first"\n{common}{first}\nto = {self.moment(self.replaced_at)}\n'
            f'[[device]]\nid = "second"\n{common}{second}\n'
            f"from = {self.moment(self.replaced_at)}\n",
            encoding="utf-8",
        )


def check_books(plant: Plant, data: Path) -> None:
    """The books equal the file to 0.01 kWh, in total and for each day."""
    from adapters.state.books import BooksReader

    reader = BooksReader(data / "books.db")
    (point,) = [number for number, name in reader.points().items() if name == POINT]
    total = reader.total(point, plant.start, int(plant.ends[-1]))
    assert total is not None
    assert abs(total - TOTAL_KWH) < 0.005, total
    days = reader.buckets(point, "day", plant.start, int(plant.ends[-1]))
    told = dict(zip(days.start.tolist(), days.amount.tolist(), strict=True))
    expected = plant.days()
    assert told.keys() == expected.keys()
    wrong = {day: (told[day], kwh) for day, kwh in expected.items() if abs(told[day] - kwh) > 0.005}
    assert not wrong
    assert len(expected) == 181
    reader.close()
