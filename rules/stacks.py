"""Which rules are judged together, and by what: one table of stacks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from collector.model import Ids
from rules.flats import FlatStack
from rules.kinds.absence import Silence
from rules.kinds.flatline import Flat
from rules.kinds.refusals import Refused
from rules.lanes import Lanes
from rules.life import Limit
from rules.limits import LimitStack
from rules.pairs import Stack
from rules.ruleset import Rule


def probe(rule: Rule) -> None:
    """Try a rule's settings once: what cannot be computed with raises here, for this rule."""
    settings = rule.settings
    if isinstance(settings, Limit):
        numbers = (settings.above, settings.under, settings.lasting, settings.clear_lasting)
        if not np.isfinite(np.array(numbers, np.float64)).all() or settings.under > settings.above:
            raise ValueError(f"impossible limits {settings}")
    elif isinstance(settings, Flat):
        if settings.lasting <= 0:
            raise ValueError(f"impossible span {settings}")
    elif isinstance(settings, Refused):
        if min(settings.count, settings.window, settings.quiet) <= 0:
            raise ValueError(f"impossible count or span {settings}")
    elif not isinstance(settings, Silence):
        raise TypeError(f"unknown settings {settings!r}")


def by_stack(rules: Sequence[Rule]) -> dict[str, list[Rule]]:
    """Rules by the stack that judges them, in an order that does not change."""
    found: dict[str, list[Rule]] = {}
    for rule in rules:
        settings = rule.settings
        if isinstance(settings, Limit):
            way = "up" if settings.sign > 0 else "down"
            found.setdefault(f"{'rate' if settings.per else 'value'}-{way}", []).append(rule)
        elif isinstance(settings, Flat):
            found.setdefault("flat", []).append(rule)
    return found


def make(name: str, watched: Sequence[tuple[Rule, Ids]], lanes: Lanes) -> Stack:
    if name == "flat":
        return FlatStack(watched, lanes.size, lambda: lanes.gap)
    kind, _, way = name.partition("-")
    return LimitStack(watched, lanes.size, 1 if way == "up" else -1, rate=kind == "rate")
