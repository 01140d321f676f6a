"""Kind ``absence``: nothing comes any more.

    target = "device"   a meter or monitor: no reading of any of its points in ``window``
    target = "gateway"  a gateway: nothing of any of its devices in ``window``
    target = "source"   a bus or a broker: down (by its own word) for longer than ``for``
    target = "channel"  a notification channel: failing for longer than ``for``
    target = "database" an external database: taking nothing for longer than ``for``
    target = "point"    one ``quantity`` of a device that otherwise reports

The judging itself is in ``rules.silence``: it needs the whole tree of who reports through whom.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rules.fields import Fields

TARGETS: Final = ("device", "gateway", "source", "channel", "database", "point")
SAYING: Final = frozenset({"source", "channel", "database"})
"""Of these it is known whether they work, because they say so; others are silent."""


@dataclass(frozen=True, slots=True)
class Silence:
    """What an absence rule waits for; ``window`` in ms."""

    target: str
    window: int


def parse(fields: Fields) -> Silence:
    """The settings of an absence rule; faults go to ``fields``."""
    target = fields.word("target", TARGETS)
    key = "for" if target in SAYING else "window"
    return Silence(target, fields.span(key, 1, required=True, least=1000))
