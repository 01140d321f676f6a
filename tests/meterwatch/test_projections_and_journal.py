"""The journal waits for a projection that is still being opened, and not for ever."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from collector.model import Refusal
from collector.telemetry import Telemetry
from meterwatch import projections
from meterwatch.app import Options, Program
from meterwatch.clock import SystemClock
from tests.campaigns.traffic import write_fleet
from tests.servers import free_port

MIB = 1 << 20


@contextmanager
def program(folder: Path, more: str = "", *, enabled: bool = True) -> Iterator[Program]:
    """Put together, not running: no fold was opened yet."""
    if not folder.exists():
        write_fleet(folder, free_port())
    settings = folder / "meterwatch.toml"
    plain = settings.read_text("utf-8").partition("[[projection]]")[0].partition("[journal]")[0]
    settings.write_text(
        f"{plain}{more}\n[[projection]]\nname = 'vm'\nkind = 'victoria-metrics'\n"
        f"url = 'http://127.0.0.1:{free_port()}'\nenabled = {str(enabled).lower()}\n",
        "utf-8",
    )
    made = Program(folder, SystemClock(), Telemetry(), Options(listen=""))
    try:
        yield made
    finally:
        made.journal.close()
        made.lock.close()


def bring(of: Program, size: int) -> None:
    for number in range(size // MIB):
        said = Refusal(number, 0, "unreadable-payload", "x", sample=bytes(MIB))
        of.journal.append([said])


def test_the_journal_waits_for_a_projection_that_is_still_to_be_opened(tmp_path: Path) -> None:
    with program(tmp_path / "fleet") as made:
        bring(made, 4 * MIB)
        for fold in ("archive", "account", "judge"):
            made.journal.release(fold, made.journal.last())
        bring(made, 2 * MIB)  # trimming rides on appends
        assert made.journal.first() == 1


def test_nothing_waits_for_one_that_is_switched_off(tmp_path: Path) -> None:
    with program(tmp_path / "fleet") as made:
        assert made.journal.consumers()["project-vm"] == 0
    with program(tmp_path / "fleet", enabled=False) as made:
        projections.relieve(made)
        assert "project-vm" not in made.journal.consumers()


def test_what_no_projection_comes_for_is_let_go_in_time(tmp_path: Path) -> None:
    with program(tmp_path / "fleet", "[journal]\nmax_mb = 16") as made:
        bring(made, 6 * MIB)
        projections.relieve(made)
        assert "project-vm" in made.journal.consumers()
        bring(made, 4 * MIB)  # more than twice a quarter of the bound
        projections.relieve(made)
        assert "project-vm" not in made.journal.consumers()
