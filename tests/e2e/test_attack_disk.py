"""What can go wrong with the room for a program's files: the disk fills up, or the journal to its
bound. Nothing is acknowledged that is not kept, and it goes on by itself."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.campaigns import kill
from tests.campaigns.kill import stored
from tests.campaigns.sending import Sender
from tests.campaigns.traffic import Sent, messages, readings, write_fleet
from tests.e2e.operated import garble, listen, session
from tests.programs import RunningProgram, eventually, health
from tests.servers import Mosquitto

broker = servers.broker


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 160 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", str(folder)],
        capture_output=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def fill(disk: Path, leave: int) -> Path:
    """Somebody else's file takes all but ``leave`` bytes."""
    path = disk / "somebody-elses"
    size = max(0, shutil.disk_usage(disk).free - leave)
    with path.open("wb") as file:
        chunk = b"\0" * (1 << 20)
        try:
            for _ in range(size >> 20):
                file.write(chunk)
            file.write(b"\0" * (size & 0xFFFFF))
        except OSError:
            assert leave == 0
    return path


@pytest.mark.parametrize("leave", [8 << 20, 0])
def test_a_disk_that_fills_up_stops_acknowledgements_and_loses_nothing(
    tmp_path: Path, broker: Mosquitto, small_disk: Path, leave: int
) -> None:
    fleet = write_fleet(small_disk / "fleet", broker.port)
    port = listen(fleet)
    sent = messages(3000)
    with RunningProgram(fleet) as program, Sender(broker.port) as sender:
        program.wait_for("source-up")
        sender.send(sent[:1000])
        sender.wait_acknowledged()
        eventually(lambda: stored(fleet) >= readings(sent[:1000]), "the first part is stored")
        somebodys = fill(small_disk, leave)
        eventually(lambda: health(port)[0] == 503, "it says so")
        before = stored(fleet)
        sender.send(sent[1000:2000])  # the broker takes them, and keeps them for us
        sender.wait_acknowledged()
        assert program.process.poll() is None
        assert health(port)[0] == 503
        assert stored(fleet) == before, "nothing was taken in"
        somebodys.unlink()
        eventually(lambda: stored(fleet) >= readings(sent[:2000]), "it goes on by itself")
        eventually(lambda: health(port)[0] == 200, "and is well")
        sender.send(sent[2000:])
        sender.wait_acknowledged()
        eventually(lambda: stored(fleet) >= readings(sent), "all is stored")
        assert program.stop() == 0, program.tail()
        assert not any("skips an entry" in line for line in program.log)
    assert kill.compare_archive(fleet, sent) == readings(sent)


def test_a_blocked_fold_fills_the_journal_to_its_bound_and_no_further(
    tmp_path: Path, broker: Mosquitto
) -> None:
    """Late data is refused first, then what is pushed; nothing is acknowledged that is not kept,
    and when the fold works again everything comes in."""
    fleet = write_fleet(tmp_path / "fleet", broker.port)
    settings = fleet / "meterwatch.toml"
    settings.write_text(settings.read_text() + "[journal]\nmax_mb = 16\n")
    port = listen(fleet)
    so_far: list[Sent] = []
    session(fleet, broker.port, messages(30), so_far)
    archive = fleet / "data" / "archive.db"
    copy = tmp_path / "copy.db"
    shutil.copy(archive, copy)
    garble(archive)
    big = [Sent("meterwatch/v1/gw-0/readings", _rows_nobody_knows(n), []) for n in range(5000)]
    seen: list[str] = []
    with RunningProgram(fleet) as program, Sender(broker.port) as sender:
        program.wait_for("source-up")
        sender.send(big)
        sender.wait_acknowledged()

        def refuses() -> bool:
            accepts = str(health(port)[1]["journal"]["accepts"])
            if accepts not in seen:
                seen.append(accepts)
            return accepts.startswith(("poll", "control"))

        eventually(refuses, f"pushed readings are refused: {seen}")
        so_far += (good := messages(300))
        sender.send(good)
        sender.wait_acknowledged()
        assert health(port)[0] == 503
        assert (fleet / "data" / "journal.db").stat().st_size < 20 << 20
        for suffix in ("-wal", "-shm"):
            Path(f"{archive}{suffix}").unlink(missing_ok=True)
        shutil.copy(copy, archive)
        program.wait_for("fold works again")
        eventually(lambda: health(port)[0] == 200, "all is well again")
        eventually(lambda: stored(fleet) >= readings(so_far), "what was refused comes again")
        assert program.stop() == 0, program.tail()
    assert kill.compare_archive(fleet, so_far) == readings(so_far)


def _rows_nobody_knows(number: int) -> bytes:
    """About 16 KB of readings of a device that is not in the registry."""
    row = {"device": f"nobody-{number}", "values": {"energy.active.import": 1.0}}
    return json.dumps({"readings": [row | {"time": at} for at in range(200)]}).encode()
