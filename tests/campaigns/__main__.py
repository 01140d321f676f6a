"""``python -m tests.campaigns [NAME ...]``: the long campaigns at full size.

Each prints what it does with its seed, and a line of figures; a campaign that fails raises.
``make test`` runs the same code small, each in the test file of its name.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.campaigns import direct, dlt645, field, kill, project, push, sync

CAMPAIGNS: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    "direct": lambda folder, seed: direct.campaign(folder, seed, kills=30, messages=60_000),
    "dlt645": lambda folder, seed: dlt645.campaign(folder, seed, inputs=1_000_000),
    "field": lambda _, seed: field.campaign(seed, 10, field.FULL),
    "kill": lambda folder, seed: kill.campaign(folder, seed, kills=30, messages=60_000),
    "project": lambda folder, seed: project.campaign(folder, seed, project.FULL),
    "push": lambda folder, seed: push.campaign(folder, seed, kills=50, broker_kills=10),
    "sync": lambda folder, seed: sync.campaign(folder, seed, messages=300),
}


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in CAMPAIGNS]
    if unknown:
        print(f"no campaign named {', '.join(unknown)}; there are: {', '.join(CAMPAIGNS)}")
        return 2
    for name in names or CAMPAIGNS:
        seed = random.randrange(10**6)
        print(f"{name}: seed {seed} ...", flush=True)
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"meterwatch-{name}-") as folder:
            figures = CAMPAIGNS[name](Path(folder), seed)
        figures["seconds"] = round(time.monotonic() - started, 1)
        print(json.dumps({"campaign": name, "seed": seed, **figures}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
