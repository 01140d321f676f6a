"""The 100 rules of the bench, and how many alerts they should raise, counted another way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bench.plan import COUNTERS, QUANTITIES, Plan

RULES_PER_QUANTITY: Final = 10
ABOVE, CLEAR, HOLD_MS = 100, 95, 100
NEVER: Final = 1_000_000_000
"""No register gets that far: rules on counters judge and raise nothing."""
RULE: Final = """
[[rule]]
id = "r-{name}-{number}"
kind = "threshold"
quantity = "{quantity}"
above = {above}
clear = {clear}
for = "{hold}"
level = "{level}"
title = "{quantity} above {above}"
title_zh = "{quantity} 高于 {above}"
"""

Readings = list[tuple[int, float]]
"""Times (ms) and values of one point, by time."""


def rules() -> str:
    """100 rules, 10 for each of the 10 quantities: each watches 500 of the 5,000 points, so
    each reading gets 10 verdicts. Half of them wait (``for``) before they fire."""
    return "".join(
        RULE.format(
            name=quantity.replace(".", "-"),
            quantity=quantity,
            number=number,
            above=(NEVER if quantity in COUNTERS else ABOVE) + number,
            clear=(NEVER if quantity in COUNTERS else CLEAR) + number,
            hold="0s" if number % 2 else f"{HOLD_MS}ms",
            level=("blue", "yellow", "orange", "red")[number % 4],
        )
        for quantity in QUANTITIES
        for number in range(RULES_PER_QUANTITY)
    )


def count_alerts(plan: Plan, stored: Callable[[str], Readings]) -> int:
    """How many alerts the rules should have raised: a plain count, one reading at a time, over
    what is ``stored`` of the points that ever cross a limit (no other can raise any)."""
    alerts = 0
    for number in plan.crossers:
        readings = stored(plan.point(number))
        alerts += sum(_rises(readings, rule) for rule in range(RULES_PER_QUANTITY))
    return alerts


def _rises(readings: Readings, rule: int) -> int:
    above, clear = ABOVE + rule, CLEAR + rule
    hold = 0 if rule % 2 else HOLD_MS
    fired = 0
    since: int | None = None
    firing = False
    for at, value in readings:
        if firing:
            if value <= clear:
                firing, since = False, None
            continue
        if value > above:
            since = at if since is None else since
        elif value <= clear:
            since = None
        if since is not None and at - since >= hold:
            firing = True
            fired += 1
    return fired
