"""What can go wrong with processes: the program is killed as it starts and ends; brokers die, come
late or never were."""

from __future__ import annotations

import random
import threading
from pathlib import Path

from tests import servers
from tests.campaigns import kill
from tests.campaigns.kill import stored
from tests.campaigns.sending import send
from tests.campaigns.traffic import Sent, messages, readings, write_fleet
from tests.e2e.operated import session
from tests.programs import RunningProgram, eventually
from tests.servers import Mosquitto, free_port

broker = servers.broker


def test_killed_at_any_moment_of_its_start_and_end(tmp_path: Path, broker: Mosquitto) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    fleet = write_fleet(tmp_path / "fleet", broker.port)
    for _ in range(8):
        with RunningProgram(fleet) as program:
            threading.Event().wait(chance.uniform(0.2, 1.2))  # the moment is what is tried
            program.kill()
    for _ in range(4):
        with RunningProgram(fleet) as program:
            program.wait_for("source-up")
            program.process.terminate()
            threading.Event().wait(chance.uniform(0, 0.3))  # as above
            program.kill()
    so_far: list[Sent] = []
    session(fleet, broker.port, messages(300), so_far)
    assert kill.compare_archive(fleet, so_far) == readings(so_far)


def test_a_broker_killed_under_load_and_one_that_comes_late(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path / "broker", persistent=True)
    fleet = write_fleet(tmp_path / "fleet", broker.port)
    sent = messages(900)
    with RunningProgram(fleet) as program:
        assert "127.0.0.1" in program.wait_for("source-down")
        with broker:
            program.wait_for("source-up")
            send(broker.port, sent[:600])
            broker.kill()
            broker.start()
            # What a killed broker had acknowledged and not written is its own loss; what is
            # sent again is taken once.
            eventually(lambda: sum("source-up" in line for line in program.log) == 2, "up again")
            send(broker.port, sent)
            eventually(lambda: stored(fleet) >= readings(sent), "all is stored")
            assert program.stop() == 0, program.tail()
    assert kill.compare_archive(fleet, sent) == readings(sent)


def test_a_broker_that_never_was_keeps_nobody_from_stopping(tmp_path: Path) -> None:
    fleet = write_fleet(tmp_path / "fleet", free_port())
    with RunningProgram(fleet) as program:
        program.wait_for("source-down")
        assert program.stop() == 0
