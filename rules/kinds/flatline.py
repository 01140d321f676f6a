"""Kind ``flatline``: the value stands still while readings keep coming.

    for = "30m"         unchanged for this long
    tolerance = 0       how far from where it stood first still counts as unchanged
    ignore_zero = true  standing at zero (within tolerance) is rest, not a fault

A stretch begins with the first reading at a value and ends with one that differs by more than
``tolerance`` from it, or with a gap (see ``Lanes.gap``): what was not measured did not stand
still. The alert begins where the stretch began.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rules.fields import Fields
from rules.life import ENDED, FIRED, NEVER, Step


@dataclass(frozen=True, slots=True)
class Flat:
    """What a flatline rule looks for; ``lasting`` in ms."""

    lasting: int
    tolerance: float = 0.0
    ignore_zero: bool = False


def parse(fields: Fields) -> Flat:
    """The settings of a flatline rule; faults go to ``fields``."""
    tolerance = fields.number("tolerance", 0.0)
    if tolerance < 0:
        fields.fault("tolerance", "tolerance must not be negative")
    lasting = fields.span("for", 1, required=True, least=1000)
    return Flat(lasting, tolerance, fields.flag("ignore_zero"))


@dataclass(slots=True)
class Stretch:
    """Where one (rule, point) stands: ``since`` when (NEVER: no reading yet) it has stood at
    ``anchor``, and whether that has fired."""

    since: int = NEVER
    anchor: float = 0.0
    firing: bool = False

    def run(
        self,
        flat: Flat,
        rows: Sequence[int],
        times: Sequence[int],
        values: Sequence[float],
        breaks: Sequence[bool],
        before: int,
    ) -> list[Step]:
        """Take readings in order; ``breaks``: a gap (or a new beginning) lies before this one;
        ``before``: time of the reading before the first."""
        steps: list[Step] = []
        for at, (time, value) in enumerate(zip(times, values, strict=True)):
            moved = not abs(value - self.anchor) <= flat.tolerance
            if self.since == NEVER or moved or breaks[at]:
                if self.firing:
                    end = before if breaks[at] else time
                    steps.append(Step(rows[at], ENDED, end, self.since, value, self.anchor))
                self.since, self.anchor, self.firing = time, value, False
            elif not self.firing and time >= self.since + flat.lasting:
                resting = flat.ignore_zero and abs(self.anchor) <= flat.tolerance
                if not resting:
                    self.firing = True
                    steps.append(Step(rows[at], FIRED, time, self.since, value, self.anchor))
            before = time
        return steps
