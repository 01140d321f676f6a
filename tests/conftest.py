"""What every test may count on: servers on the path, honest property tests, shared material.

- Debian keeps mosquitto where an ordinary user's PATH does not look; tests look there too.
- Property tests explore anew on a person's machine and print how to repeat a failure; in
  continuous integration (``CI`` set) they take the same examples every time. They have no
  deadline: how fast another process lets us be is no property of the code.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

SHARED = Path(__file__).resolve().parents[2] / "shared"
"""Material that lies beside the project on some machines: real data, domain facts."""
SERVERS = ("mosquitto", "strace")
MEMORY, ROOM = Path("/dev/shm"), 512 << 20

settings.register_profile(
    "explore", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("repeat", settings.get_profile("explore"), derandomize=True)
settings.load_profile("repeat" if os.environ.get("CI") else "explore")

os.environ["PATH"] = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))


def pytest_report_header() -> list[str]:
    found = [f"{name} {'found' if shutil.which(name) else 'missing'}" for name in SERVERS]
    return [f"servers: {', '.join(found)}; shared material: {SHARED.is_dir()}"]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared material; tests that need it are skipped where it is not."""
    if not SHARED.is_dir():
        pytest.skip("the shared material is not beside this checkout")
    return SHARED


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A folder of the test's own that every user of the machine may enter, unlike ``tmp_path``."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture(scope="module")
def memory_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in memory where there is room: for a long time in simulated time, most of which
    would be spent on waiting for the disk. Nothing that is tested with it is about the disk."""
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM:
        with tempfile.TemporaryDirectory(dir=MEMORY) as name:
            yield Path(name)
    else:
        yield tmp_path_factory.mktemp("memory")
