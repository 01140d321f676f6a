"""Two hundred gateways send live while twenty of them bring three days that they kept.

    python -m bench.backfill --through broker|heeded|http|listener [--late 20] [--hours 72]

Live: 200 gateways send 40 messages of 50 readings a second together. Beside them ``--late``
gateways, each on a second connection, send a message for each minute of ``--hours``, as fast as
they are let: with 20 messages under way each (HTTP: one). ``heeded``: through the broker, and the
late ones wait for the replies of meterwatch, as deploy/gateway/send.py does; ``broker``: for the
broker's PUBACKs only.

Prints one JSON line: sent to stored of the live messages (a reader of the journal sees a reading
once the sync covers it) before and meanwhile, how long the late ones took, memory, and what the
archive then lacks of all that was acknowledged, point by point.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import psutil

from adapters.stores.archive_reader import ArchiveReader
from bench.flood import SOURCES, Observer, write_fleet
from bench.plan import Plan
from bench.watch import percentile
from tests.programs import RunningProgram
from tests.servers import Mosquitto, free_port

GATEWAYS: Final = 200
RATE: Final = 40.0
BEFORE_S: Final = 10.0
AFTER_S: Final = 5.0
LONGEST_S: Final = 900.0
WINDOW: Final = 20
ONE_ADDRESS: Final = "max_connections_per_address = 500\n"
WAYS: Final = {"broker": "broker", "heeded": "broker", "http": "http", "listener": "listener"}


def run(way: str, late: int, hours: float) -> dict[str, Any]:
    """One run; the figures."""
    folder = Path(tempfile.mkdtemp(prefix="meterwatch-bench-"))
    plan = Plan(points=50 * GATEWAYS, gateways=GATEWAYS)
    through = WAYS[way]
    try:
        with ExitStack() as stack:
            port = free_port()
            if through == "broker":
                port = stack.enter_context(Mosquitto(folder / "broker", persistent=False)).port
            source = SOURCES[through].format(port=port) + ONE_ADDRESS * (through != "broker")
            tokens = write_fleet(folder / "fleet", plan, source, GATEWAYS)
            if through == "broker":
                tokens.write_text("{}", encoding="utf-8")
            with RunningProgram(folder / "fleet") as program:
                program.wait_for("running")
                program.wait_for("source-up")
                found = _measure(folder / "fleet", plan, way, port, tokens, program, late, hours)
                if program.stop() != 0:  # drains the folds
                    raise RuntimeError(program.tail())
            sent = found.pop("sent_by")
            found["lacking"] = _lacking(folder / "fleet", plan, sent)
            return found
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measure(
    folder: Path,
    plan: Plan,
    way: str,
    port: int,
    tokens: Path,
    program: RunningProgram,
    late: int,
    hours: float,
) -> dict[str, Any]:
    ours = {"program": psutil.Process(program.process.pid)}
    if WAYS[way] == "broker":
        ours["broker"] = next(x for x in psutil.Process().children() if x.name() == "mosquitto")
    observer = Observer(folder / "data" / "journal.db", plan, ours, GATEWAYS)
    common = [sys.executable, "-m", "bench.flooding", "--port", str(port), "--tokens", str(tokens)]
    common += ["--protocol", "http" if way == "http" else "mqtt", "--gateways", str(GATEWAYS)]
    live = [*common, "--first", "0", "--last", str(GATEWAYS - 1), "--rate", str(RATE)]
    live += ["--seconds", str(LONGEST_S), "--until-input-ends"]
    others = subprocess.Popen(live, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    threading.Event().wait(BEFORE_S)
    begun = time.time() * 1000
    bring = [*common, "--first", "0", "--last", str(late - 1), "--behind", str(hours)]
    bring += ["--seconds", str(LONGEST_S), "--window", str(WINDOW), "--nice", "10"]
    bring += ["--heed"] * (way == "heeded")
    brought = json.loads(subprocess.run(bring, stdout=subprocess.PIPE, check=True).stdout)
    ended = time.time() * 1000
    threading.Event().wait(AFTER_S)
    told = json.loads(others.communicate()[0])
    wanted = brought["sent"] + told["sent"]
    until = time.monotonic() + 120
    while len(observer.seen) < wanted and time.monotonic() < until:
        threading.Event().wait(0.2)
    observer.stop()
    waits = [(sent, seen - sent) for _, sent, seen in observer.seen if sent > begun - 30_000]
    kept = [seen for _, sent, seen in observer.seen if sent <= begun - 30_000]
    found: dict[str, Any] = {
        "bench": "backfill",
        "case": way,
        "gateways": GATEWAYS,
        "late": late,
        "hours": hours,
        "late_readings": brought["sent"] * plan.per_message,
        "late_told": brought["told"],
        "late_unanswered": brought["unanswered"],
        "late_answered_in_s": round((ended - begun) / 1000, 1),
        "late_stored_in_s": round((max(kept, default=0) - begun) / 1000, 1),
        "live_unanswered": told["unanswered"],
        "messages_not_seen": wanted - len(observer.seen),
    }
    for name, since, last in (("before", 0.0, begun), ("meanwhile", begun, max(kept, default=0))):
        stored = [wait for sent, wait in waits if since <= sent < last]
        found[f"live_stored_ms_{name}_p50"] = percentile(stored, 50)
        found[f"live_stored_ms_{name}_p99"] = percentile(stored, 99)
    for name in ours:
        found[f"{name}_rss_peak_mb"] = round(observer.rss[name] / 2**20, 1)
    found["load_average"] = round(psutil.getloadavg()[0], 1)
    found["sent_by"] = {
        gateway: brought["sent_by"].get(gateway, 0) + count
        for gateway, count in told["sent_by"].items()
    }
    return found


def _lacking(folder: Path, plan: Plan, sent: dict[str, int]) -> int:
    """Readings that were sent and are not in the archive, or are there beyond what was sent."""
    reader = ArchiveReader(folder / "data" / "archive.db")
    numbers = {name: number for number, name in enumerate(reader.point_names())}
    lacking = 0
    for number in range(plan.points):
        gateway = plan.gateway(number // plan.per_message)
        held = len(reader.read(numbers[plan.point(number)], 0, 2**62))
        lacking += abs(sent[gateway] - held)
    reader.close()
    return lacking


def main() -> None:
    args = argparse.ArgumentParser(prog="bench.backfill", description=__doc__)
    args.add_argument("--through", action="append", choices=tuple(WAYS))
    args.add_argument("--late", type=int, default=20)
    args.add_argument("--hours", type=float, default=72)
    told = args.parse_args()
    for way in told.through or WAYS:
        print(json.dumps(run(way, told.late, told.hours)), flush=True)


if __name__ == "__main__":
    main()
