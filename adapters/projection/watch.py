"""How a database stands, looked at now and then: its limits, what it dropped, whether it restarted.

A database may lose what it acknowledged within its last seconds (``settle_ms``) when its process
dies. So what was sent counts as *settled* only when the process was seen alive that much later. A
restart before that is a :class:`RestartedError`: what is not settled has to be sent again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from adapters.stores.external import Condition, Database
from collector.errors import TemporaryError
from collector.telemetry import Telemetry

LOOK_SECONDS: Final = 5.0


class RestartedError(TemporaryError):
    """The database's process is another than before."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a database has acknowledged: a growing number, the journal up to ``seq``, and what was
    ``said`` besides readings."""

    number: int
    seq: int
    said: str


class Watch:
    """See the module. ``started``: of the process that was last seen, 0 at first."""

    def __init__(
        self, name: str, database: Database, telemetry: Telemetry, *, started: int = 0
    ) -> None:
        self.condition = Condition()
        self.started = started
        self._name = name
        self._database = database
        self._telemetry = telemetry
        self._looked: float | None = None
        self._seen: Condition | None = None
        self._checkpoints: deque[tuple[float, Checkpoint]] = deque()

    def due(self, clock: float) -> bool:
        """Whether it is time to look again."""
        return self._looked is None or clock - self._looked >= LOOK_SECONDS

    def look(self, clock: float, checkpoint: Checkpoint) -> Checkpoint | None:
        """Look. ``clock``: monotonic seconds; ``checkpoint``: what was acknowledged up to this
        moment. Returns the newest checkpoint that is settled now. Raises ``TemporaryError``:
        unreachable, or ``RestartedError``."""
        found = self._database.condition()
        self._looked = clock
        self.condition = found
        restarted = bool(self.started) and found.started != self.started
        self.started = found.started
        self._tell(found, restarted)
        self._seen = found
        if restarted and self._database.settle_ms:
            self._checkpoints.clear()
            raise RestartedError("the database was restarted: what it may have lost is sent again")
        self._checkpoints.append((clock, checkpoint))
        settled = None
        wait = self._database.settle_ms / 1000
        while self._checkpoints and clock - self._checkpoints[0][0] >= wait:
            settled = self._checkpoints.popleft()[1]
        return settled

    def _tell(self, found: Condition, restarted: bool) -> None:
        before = self._seen
        if before is None or before.advice != found.advice:
            for one in found.advice:
                level = "error" if one.wrong else "warning"
                event = self._telemetry.event
                event(one.what, level=level, projection=self._name, todo=one.todo)
        if before is None or restarted:
            return
        for why, rows in found.dropped.items():
            grown = rows - before.dropped.get(why, 0)
            if grown > 0:
                self._telemetry.count("projection_dropped", grown, projection=self._name, why=why)
                self._telemetry.event(
                    "database dropped rows that it had acknowledged, ours or another's",
                    level="error",
                    projection=self._name,
                    rows=grown,
                    why=why,
                )
