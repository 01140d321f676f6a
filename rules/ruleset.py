"""Rule files as values: which points each rule watches, and with what settings. Pure.

Text in, ``RuleSet`` or *all* faults out, each with file and line. With a registry, what a rule
names (quantity, sites, places, points) is checked against it; whether a rule finds any point at
all is not a fault: a fleet's rules are written before its meters are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final

from collector.alerts import Level
from collector.errors import ConfigurationError, Fault
from collector.located import parse
from collector.registry import Point, Registry
from collector.sections import Section, near
from rules.fields import Fields
from rules.kinds import absence, flatline, rate, refusals, threshold
from rules.kinds.absence import Silence
from rules.kinds.flatline import Flat
from rules.kinds.refusals import Refused
from rules.life import Limit

Settings = Limit | Flat | Silence | Refused

KINDS: Final[Mapping[str, Callable[[Fields], Settings]]] = {
    "threshold": threshold.parse,
    "rate": rate.parse,
    "absence": absence.parse,
    "flatline": flatline.parse,
    "refusals": refusals.parse,
}
_LEVELS: Final = tuple(level.word for level in Level)


@dataclass(frozen=True, slots=True)
class Select:
    """Which points (or devices, gateways) a rule watches: all that match every part given.

    ``quantity`` may end in ``*``. ``places`` are ``site/place``. ``industries`` are prefixes of
    a GB/T 4754 code. ``outlets``: only emission outlets. ``points``: by name, ``/raw`` may be
    left out; then nothing else is looked at.
    """

    quantity: str = ""
    sites: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    industries: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    outlets: bool = False

    def takes(self, point: Point, registry: Registry) -> bool:
        """Whether the rule watches ``point``."""
        if self.points:
            return point.name in self.points or point.name.rpartition("/")[0] in self.points
        if not fnmatchcase(point.quantity, self.quantity):
            return False
        return self.takes_place(point.site, point.place, registry)

    def takes_place(self, site: str, place: str, registry: Registry) -> bool:
        """Whether ``place`` of ``site`` is in the rule's reach (``place`` "" : the site)."""
        if self.sites and site not in self.sites:
            return False
        if self.industries:
            known = registry.sites.get(site)
            if known is None or not known.industry.startswith(self.industries):
                return False
        if place and self.places and f"{site}/{place}" not in self.places:
            return False
        if place and self.outlets:
            found = registry.places.get(f"{site}/{place}")
            return found is not None and found.outlet
        return True


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule as written. ``fingerprint`` covers what it judges by, not how it words it: an
    alert outlives a better title, not another limit."""

    id: str
    kind: str
    level: Level
    select: Select
    settings: Settings
    title: str
    title_zh: str
    advice: str = ""
    advice_zh: str = ""
    source: str = ""
    file: str = ""
    line: int = 0
    fingerprint: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        told = repr((self.id, self.kind, int(self.level), self.select, self.settings))
        digest = hashlib.sha256(told.encode()).hexdigest()[:16]
        object.__setattr__(self, "fingerprint", digest)


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules of one revision, by id, in the order of their files."""

    rules: Mapping[str, Rule]

    def __len__(self) -> int:
        return len(self.rules)


def parse_rules(
    files: Mapping[str, str],
    registry: Registry | None = None,
    quantities: Collection[str] | None = None,
) -> RuleSet:
    """The rules in ``files`` (path -> TOML text).

    ``quantities``: names of the quantities table, to catch misspelt ones. Raises
    ``ConfigurationError`` with every fault found.
    """
    faults: list[Fault] = []
    found: dict[str, Rule] = {}
    for file in sorted(files):
        for fields in _tables(file, files[file], faults):
            rule = _rule(fields, registry, quantities)
            first = found.get(rule.id)
            if first is not None:
                fields.fault(
                    "id", f'rule "{rule.id}" is already defined at {first.file}:{first.line}'
                )
            elif rule.id:
                found[rule.id] = rule
    if faults:
        raise ConfigurationError(sorted(faults))
    return RuleSet(found)


def _tables(file: str, text: str, faults: list[Fault]) -> list[Fields]:
    try:
        whole = Section.whole(parse(text, file), faults)
    except ConfigurationError as error:
        faults.extend(error.faults)
        return []
    tables = whole.sections("rule")
    for key in whole.unknown():
        todo = near(key, ["rule"]) or "a rule file holds [[rule]] tables only"
        whole.fault(key, f'unknown key "{key}"', todo)
    return [Fields(table) for table in tables]


def _rule(fields: Fields, registry: Registry | None, quantities: Collection[str] | None) -> Rule:
    name = fields.text("id", required=True)
    if name and not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
        fields.fault("id", f'id "{name}" may hold only a-z, 0-9 and "-"')
    kind = fields.word("kind", tuple(KINDS))
    level = Level(_LEVELS.index(fields.word("level", _LEVELS)) + 1)
    title = fields.text("title", required=True)
    settings = KINDS[kind](fields)
    select = Select(
        quantity=fields.text("quantity"),
        sites=fields.names("sites"),
        places=fields.names("places"),
        industries=fields.names("industry"),
        points=fields.names("points"),
        outlets=fields.flag("outlets"),
    )
    rule = Rule(
        id=name,
        kind=kind,
        level=level,
        select=select,
        settings=settings,
        title=title,
        title_zh=fields.text("title_zh", title),
        advice=fields.text("advice"),
        advice_zh=fields.text("advice_zh", fields.text("advice")),
        source=fields.text("source"),
        file=fields.file,
        line=fields.line(),
    )
    _check_selection(fields, rule, registry, quantities)
    fields.finish()
    return rule


def _check_selection(
    fields: Fields, rule: Rule, registry: Registry | None, quantities: Collection[str] | None
) -> None:
    select = rule.select
    settings = rule.settings
    of_points = not isinstance(settings, Silence | Refused) or (
        isinstance(settings, Silence) and settings.target == "point"
    )
    if of_points and not select.quantity and not select.points:
        fields.fault("", "the rule names neither a quantity nor points, so it watches nothing")
    if not of_points and (select.quantity or select.points):
        what = "target" if isinstance(settings, Silence) else "kind"
        key = "quantity" if select.quantity else "points"
        fields.fault(key, f"this {what} takes no quantity")
    if quantities is not None and select.quantity:
        known: Sequence[Any] = sorted(quantities)
        if not any(fnmatchcase(quantity, select.quantity) for quantity in known):
            fields.fault(
                "quantity",
                f'quantity "{select.quantity}" is not in the quantities table',
                near(select.quantity, known),
            )
    if registry is None:
        return
    names = [point.name for point in registry.points]
    for key, given, held in (
        ("sites", select.sites, list(registry.sites)),
        ("places", select.places, list(registry.places)),
        ("points", select.points, names + [name.rpartition("/")[0] for name in names]),
    ):
        for name in given:
            if name not in held:
                fields.fault(key, f'{key}: "{name}" is not in the registry', near(name, held))
