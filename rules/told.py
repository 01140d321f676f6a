"""What a message needs to know, as plain values: the keys of ``Transition.data``.

``Transition.data`` holds what a message needs, JSON-ready; absent keys do not apply:

    rule kind title title_zh advice advice_zh source    the rule, as written
    subject site site_name site_name_zh county          who it is about
    place place_name place_name_zh
    quantity quantity_en quantity_zh unit statistic     of a point
    value worst limit clear direction for_ms per_ms     direction: above below rise fall flat
    change elapsed_ms                                   of a rate: what changed between the two
                                                        readings that fired it, and in which time
    started fired resolved                              UTC ms
    covers                                              devices an origin stands for
    refused detail                                      the reason, and one of the things refused
    fault                                               why a rule is broken
    cause cause_subject                                 alert (and its subject) that stands for it
    who note reason                                     of a mark, or why it was closed
    count start end origin                              of a found-late notice
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from collector.quantities import quantities
from collector.registry import Point, Registry
from rules.kinds.absence import Silence
from rules.kinds.flatline import Flat
from rules.kinds.refusals import Refused
from rules.life import Limit
from rules.ruleset import Rule


class Describer:
    """Says who and where a subject is. ``whereabouts``: site and place of an origin;
    ``broken``: why a rule is broken, by its id, as it is at the moment of asking."""

    def __init__(
        self, whereabouts: Callable[[str], tuple[str, str]], broken: Mapping[str, str]
    ) -> None:
        self._whereabouts = whereabouts
        self._broken = broken
        self._registry: Registry | None = None
        self._points: Mapping[str, Point] = {}
        self._known: dict[str, Mapping[str, Any]] = {}

    def know(self, registry: Registry | None, points: Mapping[str, Point]) -> None:
        """From now on, this registry and its points by name."""
        self._registry, self._points = registry, points
        self._known = {}

    def __call__(self, subject: str) -> Mapping[str, Any]:
        """The keys of a subject."""
        told = self._known.get(subject)
        if told is None:
            told = self._look_up(subject)
            if subject in self._points:
                self._known[subject] = told
        return told

    def _look_up(self, subject: str) -> dict[str, Any]:
        told: dict[str, Any] = {"subject": subject}
        fault = self._broken.get(subject.removeprefix("rule:"))
        if fault is not None:
            told["fault"] = fault
        point = self._points.get(subject)
        if point is not None:
            told.update(_quantity(point))
            site, place = point.site, f"{point.site}/{point.place}"
        else:
            site, place = self._whereabouts(subject)
        if self._registry is None:
            return told
        known = self._registry.sites.get(site)
        if known is not None:
            told.update(site=site, site_name=known.name, site_name_zh=known.name_zh)
            told["county"] = known.county
        found = self._registry.places.get(place)
        if found is not None:
            told.update(place=place, place_name=found.name, place_name_zh=found.name_zh)
        return told


def _quantity(point: Point) -> dict[str, Any]:
    told = {"quantity": point.quantity, "statistic": point.statistic}
    quantity = quantities().get(point.quantity)
    if quantity is not None:
        told["unit"] = quantity.unit
        told["quantity_en"] = quantity.label("en")
        told["quantity_zh"] = quantity.label("zh")
    return told


def words(rule: Rule) -> dict[str, Any]:
    """A rule's part of ``Transition.data``."""
    words: dict[str, Any] = {
        key: getattr(rule, key)
        for key in ("title", "title_zh", "advice", "advice_zh", "source")
        if getattr(rule, key)
    }
    settings = rule.settings
    if isinstance(settings, Limit):
        ways = ("rise", "fall") if settings.per else ("above", "below")
        words["direction"] = ways[settings.sign < 0]
        turn = settings.sign if settings.per else 1
        words["limit"], words["clear"] = turn * settings.limit, turn * settings.clear
        words["for_ms"] = settings.lasting
        if settings.per:
            words["per_ms"] = settings.per
    elif isinstance(settings, Flat):
        words["direction"], words["for_ms"] = "flat", settings.lasting
    elif isinstance(settings, Silence):
        words["target"], words["for_ms"] = settings.target, settings.window
    elif isinstance(settings, Refused):
        words["for_ms"] = settings.window
    return words
