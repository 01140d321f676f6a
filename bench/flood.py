"""What 49 gateways notice of one that floods: through a broker, over HTTP, and over MQTT to us.

    python -m bench.flood --through broker|http|listener [--times 20] [--open] [--runs 1]
    python -m bench.flood --full

Fifty gateways send 20 messages of 50 readings a second together, for 28 seconds; from the 8th to
the 20th one of them sends ``--times`` its share, or as fast as it can (``--times 0``). The program
runs with all its rooms. Readings carry the moment of sending as their time, and a reader of the
journal looks every 2 ms: it sees a reading once the sync covers it, whatever it came through.
Nothing is encrypted, so that the three can be compared. ``--open``: without limits for each
gateway, so that fairness alone is left. ``--full``: ten gateways send all they can for eight
seconds, without limits. Prints one JSON line for each run.

The flooding process has a lower priority (nice 10): it stands for another machine.
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

import numpy as np
import psutil

from adapters.identity.credentials import new_token
from adapters.identity.store import CredentialStore
from adapters.journals.sqlite import SqliteJournal
from bench.plan import QUANTITIES, Plan
from bench.watch import Usage, percentile
from collector.model import Batch
from collector.telemetry import Telemetry
from tests.programs import RunningProgram
from tests.servers import Mosquitto, free_port

GATEWAYS: Final = 50
RATE: Final = 20.0
BEFORE_S, FLOOD_S, AFTER_S = 8.0, 12.0, 8.0
LOOK_S: Final = 0.002
SETTINGS: Final = """
[program]
listen = "127.0.0.1:{metrics}"
[journal]
max_mb = 8192
"""
SOURCES: Final = {
    "broker": '[[source]]\nkind = "mqtt"\nname = "main"\nurl = "mqtt://127.0.0.1:{port}"\n',
    "http": '[[source]]\nkind = "http"\nname = "main"\nlisten = "127.0.0.1:{port}"\n',
    "listener": '[[source]]\nkind = "mqtt-listener"\nname = "main"\nlisten = "127.0.0.1:{port}"\n',
}
OPEN: Final = "rate_readings = 10000000\nrate_kb = 1048576\n"
RATES: Final = {
    "broker": "",
    "http": f"rate_requests = 100000\n{OPEN}",
    "listener": f"rate_messages = 100000\n{OPEN}",
}


class Observer:
    """Sees what the journal has synced. ``seen``: by gateway, (time of the reading, when it was
    seen), one for each message; memory of the processes on the way."""

    def __init__(
        self,
        path: Path,
        plan: Plan,
        processes: dict[str, psutil.Process],
        gateways: int = GATEWAYS,
    ) -> None:
        self._journal = SqliteJournal(path, Telemetry())
        self._journal.register(["bench"])
        self._at = self._journal.last()
        names = [f"{plan.site(n)}/{plan.device(n, 0)}/{QUANTITIES[0]}/raw" for n in range(gateways)]
        ids = {name: number for number, name in enumerate(self._journal.point_names())}
        self._slot_of = {ids[name]: slot for slot, name in enumerate(names)}
        self._markers = np.array(list(self._slot_of), np.int32)
        self._processes = processes
        self.seen: list[tuple[int, int, int]] = []
        self.rss: dict[str, int] = dict.fromkeys(processes, 0)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._journal.forget("bench")
        self._journal.close()

    def _run(self) -> None:
        turn = 0
        while not self._stop.wait(LOOK_S):
            turn += 1
            if turn % 100 == 1:
                for name, process in self._processes.items():
                    self.rss[name] = max(self.rss[name], process.memory_info().rss)
            if self._journal.last() <= self._at:
                continue
            now = time.time_ns() // 1_000_000
            found = self._journal.read(self._at)
            for self._at, entry in found:
                if isinstance(entry, Batch):
                    mine = np.isin(entry.point, self._markers)
                    for point, sent in zip(entry.point[mine], entry.time[mine], strict=True):
                        self.seen.append((self._slot_of[int(point)], int(sent), now))
            if turn % 50 == 0:
                self._journal.release("bench", self._at)


def run(through: str, times: float, unlimited: bool) -> dict[str, Any]:
    """One run; the figures."""
    folder = Path(tempfile.mkdtemp(prefix="meterwatch-bench-"))
    plan = Plan(points=50 * GATEWAYS, gateways=GATEWAYS)
    try:
        with ExitStack() as stack:
            broker = None
            port = free_port()
            if through == "broker":
                broker = stack.enter_context(Mosquitto(folder / "broker", persistent=False))
                port = broker.port
            source = SOURCES[through].format(port=port) + (RATES[through] if unlimited else "")
            tokens = write_fleet(folder / "fleet", plan, source)
            if through == "broker":
                tokens.write_text("{}", encoding="utf-8")
            program = stack.enter_context(RunningProgram(folder / "fleet"))
            program.wait_for("running")
            program.wait_for("source-up")
            return _measure(folder / "fleet", plan, through, times, port, tokens, program)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def full(through: str) -> dict[str, Any]:
    """What is acknowledged when ten gateways send all they can; the figures."""
    folder = Path(tempfile.mkdtemp(prefix="meterwatch-bench-"))
    plan = Plan(points=50 * GATEWAYS, gateways=GATEWAYS)
    try:
        with ExitStack() as stack:
            port = free_port()
            if through == "broker":
                port = stack.enter_context(Mosquitto(folder / "broker")).port
            source = SOURCES[through].format(port=port) + RATES[through]
            tokens = write_fleet(folder / "fleet", plan, source)
            if through == "broker":
                tokens.write_text("{}", encoding="utf-8")
            program = stack.enter_context(RunningProgram(folder / "fleet"))
            program.wait_for("running")
            program.wait_for("source-up")
            usage = Usage({"program": psutil.Process(program.process.pid)})
            started = time.monotonic()
            command = [*_sender(through, port, tokens), "--last", "9", "--window", "64"]
            command += ["--seconds", "8", "--links", "4" if through == "http" else "1"]
            told = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
            took = time.monotonic() - started
            cpu = usage.seconds()["program"]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    answered = sum(told["told"].values())
    return {
        "bench": "flood",
        "case": f"{through} full",
        "told": told["told"],
        "answered_per_s": round(answered / took),
        "program_cpu_us_per_message": round(cpu / max(answered, 1) * 1e6),
        "load_average": round(psutil.getloadavg()[0], 1),
    }


def _sender(through: str, port: int, tokens: Path) -> list[str]:
    command = [sys.executable, "-m", "bench.flooding", "--port", str(port)]
    command += ["--tokens", str(tokens)]
    return [*command, "--protocol", "http" if through == "http" else "mqtt"]


def write_fleet(folder: Path, plan: Plan, source: str, gateways: int = GATEWAYS) -> Path:
    """The fleet folder, with a token for each gateway; the file of those."""
    (folder / "registry").mkdir(parents=True)
    for name, text in plan.registry().items():
        (folder / "registry" / name).write_text(text, encoding="utf-8")
    settings = SETTINGS.format(metrics=free_port()) + source
    (folder / "meterwatch.toml").write_text(settings, encoding="utf-8")
    tokens = {}
    now = time.time_ns() // 1_000_000

    def give(held: Any) -> Any:
        for number in range(gateways):
            gateway = plan.gateway(number)
            tokens[gateway], one = new_token(held, gateway, now)
            held = held.with_one(gateway, one, now)
        return held

    CredentialStore(folder / "data").change(give)
    path = folder / "tokens.json"
    path.write_text(json.dumps(tokens), encoding="utf-8")
    return path


def _measure(
    folder: Path,
    plan: Plan,
    through: str,
    times: float,
    port: int,
    tokens: Path,
    program: RunningProgram,
) -> dict[str, Any]:
    ours = {"program": psutil.Process(program.process.pid)}
    if through == "broker":
        ours["broker"] = next(x for x in psutil.Process().children() if x.name() == "mosquitto")
    observer = Observer(folder / "data" / "journal.db", plan, ours)
    common = _sender(through, port, tokens)
    share = RATE / GATEWAYS
    seconds = BEFORE_S + FLOOD_S + AFTER_S
    usage = Usage(ours)
    steady = [*common, "--first", "1", "--last", str(GATEWAYS - 1), "--rate", str(RATE - share)]
    others = subprocess.Popen([*steady, "--seconds", str(seconds)], stdout=subprocess.PIPE)
    threading.Event().wait(BEFORE_S)
    begun, spent = time.time() * 1000, usage.seconds()
    flood = [*common, "--rate", str(share * times), "--seconds", str(FLOOD_S), "--nice", "10"]
    if through == "http" and not times:
        flood += ["--links", "16"]
    flooder = json.loads(subprocess.run(flood, stdout=subprocess.PIPE, check=True).stdout)
    ended, flooded = begun + FLOOD_S * 1000, usage.seconds()
    took = (time.time() * 1000 - begun) / 1000
    told = json.loads(others.communicate()[0])
    if others.returncode:
        raise RuntimeError(program.tail())
    threading.Event().wait(1.0)
    observer.stop()
    found = {
        "bench": "flood",
        "case": f"{through} x{times:g}" if times else f"{through} all it can",
        "flooder_sent_per_s": round(flooder["sent"] / FLOOD_S, 1),
        "flooder_told": flooder["told"],
        "flooder_unanswered": flooder["unanswered"],
        "flooder_stored_per_s": round(
            sum(
                slot == 0 and begun <= seen <= begun + took * 1000
                for slot, _, seen in observer.seen
            )
            / took,
            1,
        ),
    }
    waits = [(sent, seen - sent) for slot, sent, seen in observer.seen if slot]
    for name, since, until in (
        ("before", 0.0, begun),
        ("during", begun, ended),
        ("after", ended, 1e99),
    ):
        stored = [wait for sent, wait in waits if since <= sent < until]
        acked = [wait for sent, wait in told["answers"] if since <= sent < until]
        found[name] = {
            "stored_ms_p50": percentile(stored, 50),
            "stored_ms_p99": percentile(stored, 99),
            "answered_ms_p50": percentile(acked, 50),
            "answered_ms_p99": percentile(acked, 99),
        }
    found["others_not_stored"] = told["sent"] - len(waits)
    found["others_unanswered"] = told["unanswered"]
    for name in ours:
        found[f"{name}_cores_before"] = round(spent[name] / BEFORE_S, 3)
        found[f"{name}_cores_during"] = round((flooded[name] - spent[name]) / took, 3)
        found[f"{name}_rss_peak_mb"] = round(observer.rss[name] / 2**20, 1)
    found["load_average"] = round(psutil.getloadavg()[0], 1)
    return found


def main() -> None:
    args = argparse.ArgumentParser(prog="bench.flood", description=__doc__)
    args.add_argument("--through", action="append", choices=tuple(SOURCES))
    args.add_argument("--times", type=float, default=20, help="its share; 0: as fast as it can")
    args.add_argument("--runs", type=int, default=1)
    args.add_argument("--open", action="store_true", help="no limits for each gateway")
    args.add_argument("--full", action="store_true", help="ten gateways, all they can, no limits")
    told = args.parse_args()
    for _ in range(told.runs):
        for through in told.through or SOURCES:
            if told.full:
                print(json.dumps(full(through)), flush=True)
                continue
            found = run(through, told.times, told.open)
            found["case"] += " open" if told.open else ""
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
