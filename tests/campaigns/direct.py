"""kill -9 under load, with gateways connected to the program itself: what it acknowledged is
stored, once.

No broker keeps anything here: a PUBACK is the program's own word, and a sender forgets a message
with it. Each gateway sends over its own connection; the program is killed again and again while
they send, each time after some more acknowledgements, and started anew on the same port.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from pathlib import Path
from typing import Any

from adapters.identity.credentials import Credentials, new_token
from adapters.identity.store import CredentialStore
from tests.campaigns import traffic
from tests.campaigns.kill import compare_archive, stored
from tests.campaigns.sending import Sender
from tests.campaigns.traffic import GATEWAYS, Sent, write_fleet
from tests.programs import RunningProgram, eventually
from tests.servers import free_port

SOURCE = """
[program]
listen = ""
late_after = "7d"
tick = "1s"
[[source]]
kind = "mqtt-listener"
name = "main"
listen = "127.0.0.1:{port}"
rate_messages = 100000
"""


def write_direct_fleet(folder: Path, port: int) -> tuple[Path, dict[str, str]]:
    """The fleet folder of the campaigns' traffic with a listener for its gateways, and their
    tokens."""
    write_fleet(folder, port)
    (folder / "meterwatch.toml").write_text(SOURCE.format(port=port), encoding="utf-8")
    now = time.time_ns() // 1_000_000
    tokens: dict[str, str] = {}

    def give(held: Credentials) -> Credentials:
        for number in range(GATEWAYS):
            gateway = f"gw-{number}"
            tokens[gateway], one = new_token(held, gateway, now)
            held = held.with_one(gateway, one, now)
        return held

    CredentialStore(folder / "data").change(give)
    return folder, tokens


def campaign(folder: Path, seed: int, *, kills: int, messages: int) -> dict[str, Any]:
    """Run it; the figures. Raises ``AssertionError`` when a promise is broken."""
    chance = random.Random(seed)
    sent = traffic.messages(messages, seed)
    port = free_port()
    fleet, tokens = write_direct_fleet(folder / "fleet", port)
    done = 0
    with contextlib.ExitStack() as stack:
        program = stack.enter_context(RunningProgram(fleet))
        program.wait_for("source-up")
        senders = {
            gateway: stack.enter_context(Sender(port, 50, user=gateway, password=token))
            for gateway, token in tokens.items()
        }
        sending = [
            threading.Thread(target=_send, args=(sender, _of(sent, gateway)))
            for gateway, sender in senders.items()
        ]
        for one in sending:
            one.start()

        def acknowledged() -> int:
            return sum(len(sender.acknowledged) for sender in senders.values())

        while done < kills:
            goal = acknowledged() + chance.randrange(1, messages // (2 * kills))
            eventually(lambda goal=goal: acknowledged() >= goal, "messages are acknowledged")
            program.kill()
            done += 1
            program = stack.enter_context(RunningProgram(fleet))
        for one in sending:
            one.join()
        assert acknowledged() == len(sent), f"{acknowledged()} of {len(sent)} acknowledged"
        expected = traffic.readings(sent)
        eventually(lambda: stored(fleet) >= expected, "the archive holds everything")
        program.wait_for("running")
        assert program.stop() == 0, program.tail()
    return {
        "kills": done,
        "messages_acknowledged": len(sent),
        "readings": compare_archive(fleet, sent),
    }


def _of(sent: list[Sent], gateway: str) -> list[Sent]:
    return [message for message in sent if message.topic.split("/")[2] == gateway]


def _send(sender: Sender, sent: list[Sent]) -> None:
    sender.send(sent)
    sender.wait_acknowledged()
