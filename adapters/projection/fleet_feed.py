"""``site_info`` and ``place_info``: the registry as labels, every ten minutes and when it changes.

All rows of one telling have one time, that of its beginning.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from adapters.projection.feeds import MINUTE_MS, NONE, Known, State, numbers
from collector.registry import Place, Site
from collector.schema import PLACE_INFO, SITE_INFO, Statement, label_of

EVERY_MS: Final = 10 * MINUTE_MS


class FleetFeed:
    """See the module."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._edition = ""
        self._order: list[Site | Place] = []

    def due(self, now: int, state: State, room: int) -> tuple[list[Statement], State]:
        if self._edition != self._known.edition:
            self._edition = self._known.edition
            registry = self._known.registry
            self._order = [*registry.sites.values(), *registry.places.values()]
        time, done = state.get("time", 0), state.get("done", 0)
        if (now // EVERY_MS != time // EVERY_MS or state.get("edition") != self._edition) and (
            now != time  # two editions of one moment: the second waits for the next
        ):
            time, done = now, 0
        elif done >= len(self._order) or state.get("edition") != self._edition:
            return [], state
        part = self._order[done : done + room]
        state = {"time": time, "edition": self._edition, "done": done + len(part)}
        return self._said(part, time), state

    def _said(self, part: list[Site | Place], time: int) -> list[Statement]:
        registry = self._known.registry
        places = Counter(place.site for place in registry.places.values())
        intervals: dict[str, float] = {}
        for device in registry.devices.values():
            if device.start <= time < device.end:
                key = f"{device.site}/{device.place}"
                intervals[key] = min(device.interval, intervals.get(key, device.interval))
        return [
            self._site(one, places[one.id], time)
            if isinstance(one, Site)
            else self._place(one, intervals.get(one.key, 0.0), time)
            for one in part
        ]

    def _site(self, site: Site, places: int, time: int) -> Statement:
        tags = {
            "county": self._known.county(site.id),
            "industry": site.industry or NONE,
            "site": site.id,
        }
        return Statement(SITE_INFO, tags, numbers(places=places), time, _labels(site))

    def _place(self, place: Place, interval: float, time: int) -> Statement:
        """``interval`` of a place with several instruments: the shortest; 0 where there is none."""
        tags = {
            "county": self._known.county(place.site),
            "outlet": "yes" if place.outlet else "no",
            "place": place.id,
            "site": place.site,
        }
        return Statement(PLACE_INFO, tags, numbers(interval=interval), time, _labels(place))

    def close(self) -> None:
        """Nothing is open."""


def _labels(of: Site | Place) -> dict[str, str]:
    """In both languages; a name that only one has stands for the other."""
    return {
        "label_zh": label_of(of.name_zh or of.name or of.id, of.id),
        "label_en": label_of(of.name or of.name_zh or of.id, of.id),
    }
