"""A message to people before it has words: what the outbox plans and the texts write out.

Pure values, shared by rooms that may not import each other: the judge writes transitions
(:mod:`collector.alerts`), the outbox turns them into a ``Draft``, the texts turn the draft into
a ``Notice``. Times are UTC milliseconds; levels 1 blue .. 4 red.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from collector.alerts import CLOSED, RESOLVED

BOTH: Final = "both"
"""It fired and was over before anybody could be told. Only here, never of an alert."""


@dataclass(frozen=True, slots=True)
class Item:
    """What one message says of one alert.

    ``state``: a word of :mod:`collector.alerts` (``attached``: listed below its cause, not told
    on its own) or ``BOTH``. ``level``: the present one, or the highest it had when it is over.
    ``data``: what its transitions say, the later before the earlier. ``ids``: the transitions
    that this item tells, oldest first.
    """

    alert: str
    state: str
    time: int
    level: int
    root: str
    data: Mapping[str, Any]
    ids: tuple[str, ...]

    @property
    def over(self) -> bool:
        return self.state in {RESOLVED, CLOSED, BOTH}


@dataclass(frozen=True, slots=True)
class Draft:
    """One message before it has words.

    ``items`` are of one root cause (the root first), or, of a ``digest``, of several, most
    severe first; ``causes`` counts them. ``id`` depends on the transitions told, nothing else.
    """

    id: str
    level: int
    items: tuple[Item, ...]
    digest: bool = False
    causes: int = 1

    @property
    def ids(self) -> tuple[str, ...]:
        """Every transition that this message tells."""
        return tuple(one for item in self.items for one in item.ids)
