"""Kind ``threshold``: the value itself against a limit, with hysteresis.

above = 60.0   (or below =)   it exceeds while value > 60
clear = 54.0                  it is over when value <= 54 (default: the limit itself)
for = "5m", clear_for = "0s"  how long either must last
"""

from __future__ import annotations

from rules.fields import Fields
from rules.life import Limit


def parse(fields: Fields) -> Limit:
    """The limit of a threshold rule; faults go to ``fields``."""
    up = fields.has("above")
    if up == fields.has("below"):
        fields.fault("above" if up else "", "a threshold needs either above or below, and not both")
    sign = 1 if up else -1
    limit = fields.number("above" if up else "below", 0.0)
    clear = fields.number("clear", limit)
    if sign * clear > sign * limit:
        side = "below or at above" if up else "above or at below"
        fields.fault("clear", f"clear = {clear:g} must lie {side} = {limit:g}")
    return Limit(sign, limit, clear, fields.span("for"), fields.span("clear_for"))
