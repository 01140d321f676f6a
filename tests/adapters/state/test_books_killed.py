"""kill -9 at any moment of the books: opened again they go on, and equal the reference."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

from collector.model import Tick
from tests.accounts_reference import Reading, calm_life, reference
from tests.adapters.state.books_kept import World, compared, rows_of

ROOT = Path(__file__).resolve().parents[3]
KILLS = 4
LIVES = [
    (readings[:60], services)
    for readings, services in (calm_life(random.Random(seed)) for seed in range(3))
]


def opened(folder: Path) -> World:
    """The folder's journal; the registry in force is journalled (again)."""
    world = World(folder)
    world.registry(*[services for _, services in LIVES])
    return world


def filled(world: World, chance: random.Random) -> list[list[Reading]]:
    """Everything into the journal, some of it late, some twice; returns it by point."""
    rows = [(point, row) for point, (readings, _) in enumerate(LIVES) for row in readings]
    rows.sort(key=lambda row: row[1][0])
    for _ in range(len(rows) // 5):
        rows.insert(chance.randrange(len(rows)), chance.choice(rows))
    delivered: list[list[Reading]] = [[] for _ in LIVES]
    while rows:
        size = chance.choice([1, 5, 20])
        part, rows = rows[:size], rows[size:]
        for point, row in part:
            delivered[point].append(row)
        world.entry(rows_of(part))
        world.entry(Tick(max(row[0] for _, row in part)))
    return delivered


def test_killed_at_random_commits(tmp_path: Path) -> None:
    chance = random.Random(1917)
    world = opened(tmp_path)
    delivered = filled(world, chance)
    world.close()
    for _ in range(KILLS):
        child = keeper(tmp_path)
        assert child.stdout is not None
        for _ in range(chance.randrange(30)):
            child.stdout.readline()
        child.kill()
        child.communicate()
    assert keeper(tmp_path).communicate()[0].endswith(b"done\n")
    world = World(tmp_path)
    reader = world.reader()
    for point, (_, services) in enumerate(LIVES):
        assert reference(delivered[point], services).quarters
        compared(reader, point, delivered[point], services)
    reader.close()
    world.close()


def keeper(folder: Path) -> subprocess.Popen[bytes]:
    """A process that keeps the books of ``folder`` and says each commit."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.adapters.state.test_books_killed", str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )


def keep_books(folder: Path) -> None:
    world = opened(folder)
    books = world.books()
    for entry in world.journal.read(books.cursor()):
        books.apply([entry])
        books.commit()
        print("commit", flush=True)
    print("done", flush=True)


if __name__ == "__main__":
    keep_books(Path(sys.argv[1]))
