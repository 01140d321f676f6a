"""The program with the journal's sync switched off: it must fail the test of the sync.

python -m tests.campaigns.unsynced FOLDER
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from collector.telemetry import Telemetry
from meterwatch.app import Options, Program, run_until_signal
from meterwatch.clock import SystemClock
from meterwatch.logs import configure


async def main() -> None:
    options = Options(journal={"synchronous": "OFF"})
    program = Program(Path(sys.argv[1]), SystemClock(), Telemetry(), options)
    await run_until_signal(program)


if __name__ == "__main__":
    configure()
    asyncio.run(main())
