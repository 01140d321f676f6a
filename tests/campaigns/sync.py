"""Every acknowledgement follows an fdatasync of its record, as the kernel saw it.

``synchronous=OFF`` survives kill -9 as well, so only a trace proves the sync. The broker may have
one message under way at a time: then each PUBACK we send stands for exactly one record, and
between two PUBACKs there must be a write to the journal's log and, begun after that write and
ended before the PUBACK, a sync of it.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.campaigns import traffic
from tests.campaigns.direct import write_direct_fleet
from tests.campaigns.sending import Sender
from tests.campaigns.traffic import GATEWAYS, Sent, write_fleet
from tests.programs import RunningProgram, eventually
from tests.servers import Mosquitto, free_port

TRACER = ("strace", "-f", "-y", "-qq", "-s", "8")
CALLS = "trace=pwrite64,fdatasync,fsync,sendto,sendmsg,write"
UNSYNCED = (sys.executable, "-m", "tests.campaigns.unsynced")

_WRITE = re.compile(r"pwrite64\(\d+<[^>]*journal\.db-wal>")
_SYNC = re.compile(r"(?:fdatasync|fsync)\(\d+<[^>]*journal\.db-wal>")
_SYNC_ENDS = re.compile(r"<\.\.\. (?:fdatasync|fsync) resumed>")
_PUBACK = re.compile(r'(?:sendto|sendmsg|write)\(\d+<(?:TCP|socket)[^>]*>, "@\\[234]')


@dataclass
class Verdict:
    """What the trace shows: PUBACKs seen, and those that no sync of their record preceded."""

    acknowledged: int = 0
    unsynced: int = 0


def judge(trace: str) -> Verdict:
    """Read an strace log (``-f -y``) in order of time."""
    verdict = Verdict()
    written = False
    covered = False
    under_way: dict[str, bool] = {}
    for line in trace.splitlines():
        pid, _, call = line.partition(" ")
        if _WRITE.search(call):
            written, covered = True, False
        elif _SYNC.search(call):
            if "unfinished" in call:
                under_way[pid] = written
            else:
                covered = covered or written
        elif _SYNC_ENDS.search(call):
            covered = covered or under_way.pop(pid, False)
        elif _PUBACK.search(call):
            verdict.acknowledged += 1
            verdict.unsynced += not covered
            written = covered = False
    return verdict


def campaign(folder: Path, seed: int, *, messages: int) -> dict[str, Any]:
    """The program as it is passes; with the sync switched off it must not."""
    sent = traffic.messages(messages, seed)
    synced = traced(folder / "synced", sent, ())
    assert synced.acknowledged >= messages, synced
    assert synced.unsynced == 0, synced
    off = traced(folder / "off", sent, UNSYNCED)
    assert off.acknowledged >= messages, off
    assert off.unsynced == off.acknowledged, "the check must be able to fail"
    direct = traced_directly(folder / "direct", sent)
    assert direct.acknowledged >= messages // GATEWAYS, direct
    assert direct.unsynced == 0, direct
    return {
        "acknowledged": synced.acknowledged,
        "acknowledged_directly": direct.acknowledged,
        "without_sync": synced.unsynced + direct.unsynced,
        "without_sync_when_off": off.unsynced,
    }


def traced(folder: Path, sent: list[Sent], command: tuple[str, ...]) -> Verdict:
    """Run the program under strace while ``sent`` comes in; the verdict of the trace."""
    folder.mkdir(parents=True)
    log = folder / "trace"
    with Mosquitto(folder / "broker", config="max_inflight_messages 1") as broker:
        fleet = write_fleet(folder / "fleet", broker.port, version=4)
        options = {"command": command} if command else {}
        with (
            RunningProgram(
                fleet, before=[*TRACER, "-o", str(log), "-e", CALLS], **options
            ) as program,
            Sender(broker.port) as sender,
        ):
            program.wait_for("source-up")
            sender.send(sent)
            sender.wait_acknowledged()
            eventually(
                lambda: judge(log.read_text(errors="replace")).acknowledged >= len(sent),
                "the program acknowledges everything",
            )
            program.kill()
    return judge(log.read_text(errors="replace"))


def traced_directly(folder: Path, sent: list[Sent]) -> Verdict:
    """The same where the sender is connected to the program's own listener: of one gateway, one
    message at a time."""
    folder.mkdir(parents=True)
    log = folder / "trace"
    port = free_port()
    fleet, tokens = write_direct_fleet(folder / "fleet", port)
    one = sent[0].topic
    gateway = one.split("/")[2]
    sent = [message for message in sent if message.topic == one]
    with RunningProgram(fleet, before=[*TRACER, "-o", str(log), "-e", CALLS]) as program:
        program.wait_for("source-up")
        with Sender(port, 1, user=gateway, password=tokens[gateway]) as sender:
            sender.send(sent)
            sender.wait_acknowledged()
        program.kill()
    return judge(log.read_text(errors="replace"))
