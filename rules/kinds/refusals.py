"""Kind ``refusals``: what somebody sends is refused, again and again, for one of some reasons.

    reasons = ["not-your-device"]   words of ``collector.model.Reason``
    count = 3                       so many refusals (one for each message, reason and device)
    window = "1d"                   within this
    clear_for = "1d"                over when nothing was refused for these reasons for so long

Judged for each origin as a whole: a gateway, or the source for what no known gateway sent. The
memory is in ``rules.refused``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from collector.model import Reason
from rules.fields import Fields

REASONS: Final = tuple(value for key, value in vars(Reason).items() if key.isupper())
_MOST: Final = 1000
_DAY: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Refused:
    """What a refusals rule counts; ``window`` and ``quiet`` in ms."""

    reasons: tuple[str, ...]
    count: int
    window: int
    quiet: int


def parse(fields: Fields) -> Refused:
    """The settings of a refusals rule; faults go to ``fields``."""
    if not fields.has("reasons"):
        fields.fault("", '"reasons" is missing', f'add reasons = ["{Reason.NOT_YOURS}"]')
    reasons = fields.names("reasons")
    for reason in reasons:
        fields.known("reasons", reason, REASONS, "reason")
    count = fields.whole("count", 1, least=1, most=_MOST)
    window = fields.span("window", 1, required=True, least=1000)
    return Refused(reasons, count, window, fields.span("clear_for", _DAY, least=1000))
