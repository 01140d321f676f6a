"""Kind ``rate``: how fast the value changes from one usable reading to the next.

    rise = 5.0   (or fall =)   it exceeds while it rises (falls) by more than 5 ...
    per = "1h"                 ... in this span: (value - previous) / (time - previous) * per
    clear = 4.0                it is over when the change is 4 or less (default: the limit)
    for = "0s", clear_for = "0s"

The previous reading is the last one accepted in the same lane, however long ago; the first
reading of a point (and of a stretch of late data) has no rate and moves nothing. People are told
the change itself and the time in which it came: a leap within seconds, per hour, would be a
number that nobody measured.
"""

from __future__ import annotations

from rules.fields import Fields
from rules.life import Limit


def parse(fields: Fields) -> Limit:
    """The limit of a rate rule, ``per`` in ms; faults go to ``fields``."""
    up = fields.has("rise")
    if up == fields.has("fall"):
        fields.fault("rise" if up else "", "a rate needs either rise or fall, and not both")
    key = "rise" if up else "fall"
    limit = fields.number(key, 0.0)
    if limit < 0:
        fields.fault(key, f"{key} = {limit:g} must not be negative", "use rise or fall instead")
    clear = fields.number("clear", limit)
    if clear > limit:
        fields.fault("clear", f"clear = {clear:g} must not exceed {key} = {limit:g}")
    per = fields.span("per", required=True, least=1) or 1
    sign = 1 if up else -1
    return Limit(
        sign, sign * limit, sign * clear, fields.span("for"), fields.span("clear_for"), per
    )
