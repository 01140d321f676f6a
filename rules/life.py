"""An alert's life, one reading at a time: idle -> pending -> firing -> over. Pure.

    idle     a reading beyond the limit begins it: pending, or firing at once when ``for`` is 0
    pending  a reading at or within ``clear`` ends it without a trace;
             one that is not, at or after ``since + for``, makes it fire
    firing   readings within ``clear`` for at least ``clear_for`` end it;
             one beyond ``clear`` in between starts that wait anew

Between ``clear`` and the limit (the hysteresis) nothing changes direction. Everything is told
in values turned so that larger is worse (``sign * value``). The vectorised kinds call this for
the few pairs that might change; what they skip is exactly what this would leave unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

IDLE, PENDING, FIRING = 0, 1, 2
NEVER: Final = -(2**63)
"""No such time. Smaller than every time."""

FIRED, ENDED = 1, 2


@dataclass(frozen=True, slots=True)
class Limit:
    """What a threshold or rate rule compares with; times in ms.

    ``sign`` +1: larger is worse, -1: smaller is. ``limit`` and ``clear`` as written.
    ``per`` 0: the value itself; else its change in ``per`` ms.
    """

    sign: int
    limit: float
    clear: float
    lasting: int = 0
    clear_lasting: int = 0
    per: int = 0

    @property
    def above(self) -> float:
        return self.sign * self.limit

    @property
    def under(self) -> float:
        return self.sign * self.clear


class Step(NamedTuple):
    """Something happened: ``what`` FIRED or ENDED at ``time``, by the reading at ``row`` of its
    batch. ``since``: where it began; ``value`` and ``worst`` as written, not turned. Of a rate
    that fired also the ``change`` itself, and the ``elapsed`` ms in which it came (0: no rate)."""

    row: int
    what: int
    time: int
    since: int
    value: float
    worst: float
    change: float = 0.0
    elapsed: int = 0


@dataclass(slots=True)
class Life:
    """Where one (rule, point) stands. ``clearing``: first reading within ``clear`` while
    firing, NEVER when there is none; ``worst``: turned."""

    state: int = IDLE
    since: int = 0
    clearing: int = NEVER
    worst: float = 0.0

    def run(
        self,
        limit: Limit,
        rows: Sequence[int],
        times: Sequence[int],
        values: Sequence[float],
        anew: Sequence[bool] | None = None,
        before: int = NEVER,
    ) -> list[Step]:
        """Take readings in order; ``values`` are turned, NaN moves nothing. Where ``anew`` is
        set, what was before is ended (at ``before``, the previous reading's time) and the life
        starts again from that reading."""
        steps: list[Step] = []
        above, under, sign = limit.above, limit.under, limit.sign
        for at, (time, value) in enumerate(zip(times, values, strict=True)):
            if anew is not None:
                if anew[at]:
                    if self.state == FIRING:
                        worst = sign * self.worst
                        steps.append(Step(rows[at], ENDED, before, self.since, worst, worst))
                    self.state = IDLE
                before = time
            if self.state == IDLE:
                if value > above:
                    self.since, self.worst, self.clearing = time, value, NEVER
                    if limit.lasting:
                        self.state = PENDING
                    else:
                        self.state = FIRING
                        steps.append(self._step(rows[at], FIRED, time, value, sign))
            elif value > under:
                self.worst = max(self.worst, value)
                self.clearing = NEVER
                if self.state == PENDING and time >= self.since + limit.lasting:
                    self.state = FIRING
                    steps.append(self._step(rows[at], FIRED, time, value, sign))
            elif value <= under:
                if self.state == PENDING:
                    self.state = IDLE
                    continue
                if self.clearing == NEVER:
                    self.clearing = time
                if time >= self.clearing + limit.clear_lasting:
                    self.state = IDLE
                    steps.append(self._step(rows[at], ENDED, time, value, sign))
        return steps

    def _step(self, row: int, what: int, time: int, value: float, sign: int) -> Step:
        return Step(row, what, time, self.since, sign * value, sign * self.worst)
