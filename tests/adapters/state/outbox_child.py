"""A program with an outbox and nothing else, for tests that kill it: DIR URL."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from adapters.notifiers.apprise import AppriseNotifier
from adapters.state.outbox import Channel, Outbox
from adapters.state.outbox_plan import Policy
from collector.telemetry import Telemetry
from meterwatch.clock import SystemClock
from rules.messages import wording


def main(folder: Path, url: str) -> None:
    notifier = AppriseNotifier("ops", url, timeout=5)
    channel = Channel(notifier, wording(), Policy(per_minute=1_000, grouping=0))
    paths = folder / "alerts.db", folder / "outbox.db"
    outbox = Outbox(*paths, [channel], SystemClock(), Telemetry(), poll_ms=20)
    asyncio.run(outbox.run())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
