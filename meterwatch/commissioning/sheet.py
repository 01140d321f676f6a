"""The acceptance sheet: what a meter showed on the day it was put into service. Pure.

One ``Sheet`` is told as plain text and as one HTML page (:mod:`.sheet_html`). What the display
shows is typed by the electrician and compared with what the system reads; the rest is measured.
The sheet proposes; people sign.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from adapters.sources.modbus.identity import plain_serial
from collector.quantities import quantities
from meterwatch.commissioning.clock_words import is_off
from meterwatch.commissioning.contact.ports import NOTHING_SAID, Identified
from meterwatch.commissioning.findings import Check, Diagnosis, Level
from meterwatch.commissioning.plausible import Value

COUNTER_TOLERANCE: Final = 0.001
GAUGE_TOLERANCE: Final = 0.05
"""What is displayed and what is read are seconds apart."""

DISPLAYED: Final[Mapping[str, tuple[str, ...]]] = {
    "kwh": ("energy.active.import", "energy.active.total"),
    "kwh+": ("energy.active.import",),
    "kwh-": ("energy.active.export",),
    "kvarh": ("energy.reactive.import", "energy.reactive.total"),
    "kw": ("power.active",),
    "kvar": ("power.reactive",),
    "kva": ("power.apparent",),
    "pf": ("power.factor",),
    "hz": ("frequency",),
    **{f"v{n}": (f"voltage.l{n}",) for n in (1, 2, 3)},
    **{f"u{x}": (f"voltage.l{n}",) for n, x in enumerate("abc", 1)},
    **{f"a{n}": (f"current.l{n}",) for n in (1, 2, 3)},
    **{f"i{x}": (f"current.l{n}",) for n, x in enumerate("abc", 1)},
    **{f"kw{n}": (f"power.active.l{n}",) for n in (1, 2, 3)},
    **{f"p{x}": (f"power.active.l{n}",) for n, x in enumerate("abc", 1)},
    "m3": ("gas.volume", "water.volume", "heat.volume", "air.volume"),
    "gj": ("heat.energy", "steam.energy", "cold.energy"),
    "t": ("steam.mass", "fuel.coal.mass"),
}
"""What an electrician calls what the display shows; names of quantities work as well."""


class Outcome(StrEnum):
    AGREES = "agrees"
    PRIMARY = "primary"
    """The display shows primary values, the registers secondary ones: the ratio lies between."""
    DIFFERS = "differs"
    UNREAD = "unread"


class Proposal(StrEnum):
    ACCEPT = "accept"
    CHECK = "check"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Compared:
    """One number of the display. ``system`` as the meter shows it, ``primary`` after ratios."""

    quantity: str
    typed: str
    display: float
    system: float
    primary: float
    unit: str
    outcome: Outcome

    @property
    def factor(self) -> float:
        """Display over system, NaN where there is none."""
        return self.display / self.system if self.system else math.nan


@dataclass(frozen=True, slots=True)
class Sheet:
    """``when``: local time with its zone, as text. ``values`` as the meter shows them;
    ``ratios`` by quantity what multiplies them. ``fits``: the profile is plausible as it
    stands; ``order``: the order of bytes in which it would be (else empty)."""

    url: str
    when: str
    profile: str
    label: str
    label_zh: str
    fits: bool
    values: tuple[Value, ...]
    ratios: Mapping[str, float]
    compared: tuple[Compared, ...]
    wiring: Diagnosis | None
    watched: float
    samples: int
    serial: str = ""
    place: str = ""
    site: str = ""
    voltage_ratio: float = 1.0
    current_ratio: float = 1.0
    feeds_in: bool | None = None
    order: str = ""
    own_order: str = ""
    takes_ratios: bool = False
    """The profile's values are secondary ones."""
    told: Identified = NOTHING_SAID
    """What the meter says of itself."""

    @property
    def other_serial(self) -> bool:
        """The meter says another serial number than the one that was typed, and no other of its
        numbers is that one: people type what the label shows largest."""
        told = [self.told.serial, *(text for what, text in self.told.also if what != "model")]
        known = {plain_serial(text) for text in told if text}
        return bool(self.serial and known) and plain_serial(self.serial) not in known

    @property
    def clock_off(self) -> bool:
        """Its clock should be set."""
        return is_off(self.told.clock_off)

    @property
    def other_ratios(self) -> bool:
        """The meter was set to other ratios than those that are reckoned with: the bill follows
        the registry's, so both should be alike."""
        if not self.takes_ratios:
            return False
        both = (
            (self.told.voltage_ratio, self.voltage_ratio),
            (self.told.current_ratio, self.current_ratio),
        )
        return any(
            not math.isnan(told) and not math.isclose(told, own, rel_tol=1e-4) for told, own in both
        )

    @property
    def proposal(self) -> Proposal:
        """Refuse what is wrong; check what is doubtful, was not compared or cannot be told."""
        worst = self.wiring.worst if self.wiring is not None else Level.NOTE
        differs = any(one.outcome in {Outcome.DIFFERS, Outcome.UNREAD} for one in self.compared)
        if not self.fits or differs or self.other_serial or worst is Level.FAULT:
            return Proposal.REFUSE
        agreed = bool(self.compared)
        unseen = self.wiring is None or any(
            self.wiring.level(check) is Level.NOTE for check in (Check.CURRENT, Check.DIRECTION)
        )
        doubtful = worst is Level.DOUBT or self.other_ratios or self.clock_off
        if doubtful or not agreed or unseen:
            return Proposal.CHECK
        return Proposal.ACCEPT


def displayed(name: str) -> tuple[str, ...]:
    """Quantities that ``name`` may mean, the likeliest first; none where it means nothing."""
    found = DISPLAYED.get(name.lower().replace("³", "3"))
    return found or ((name,) if name in quantities() else ())


def compare(
    name: str, typed: str, values: Sequence[Value], ratios: Mapping[str, float]
) -> Compared:
    """What the display shows against what was read. Raises ``ValueError`` for a name or a number
    that is none."""
    meant = displayed(name)
    if not meant:
        raise ValueError(f'"{name}" is nothing that is read')
    number = _number(typed)
    given = {value.quantity: value for value in values if value.given}
    quantity = next((one for one in meant if one in given), meant[0])
    unit = quantities()[quantity].unit
    if quantity not in given:
        return Compared(quantity, typed, number, math.nan, math.nan, unit, Outcome.UNREAD)
    system = given[quantity].value
    ratio = ratios.get(quantity, 1.0)
    tolerance = _tolerance(quantity, typed, number)
    outcome = Outcome.DIFFERS
    if abs(number - system) <= tolerance:
        outcome = Outcome.AGREES
    elif ratio != 1 and abs(number - system * ratio) <= tolerance + 0.01 * ratio:
        outcome = Outcome.PRIMARY
    return Compared(quantity, typed, number, system, system * ratio, unit, outcome)


def _number(typed: str) -> float:
    number = float(typed.replace(",", "").replace("_", "").strip())
    if not math.isfinite(number):
        raise ValueError(f"{typed} is no number of a display")
    return number


def _tolerance(quantity: str, typed: str, number: float) -> float:
    """One step of the display's last digit (it may cut off where the register rounds), and what
    can change between looking and asking."""
    digits = len(typed.partition(".")[2]) if "." in typed else 0
    counter = quantities()[quantity].kind == "counter"
    share = COUNTER_TOLERANCE if counter else GAUGE_TOLERANCE
    return 10.0**-digits + share * abs(number)
