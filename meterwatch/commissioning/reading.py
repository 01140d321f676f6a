"""One device read with one profile, as often as wanted: images of its registers, and the values
that they are under a profile or under the same profile with its orders turned.

Only asks (functions 1 to 4). A device that minds the holes in a map is read without them, and
what it refuses is left out and told.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Final

from adapters.sources.modbus.codec import decode_one
from adapters.sources.modbus.identity import block as place_of
from adapters.sources.modbus.identity import told_serial
from adapters.sources.modbus.link import Link
from adapters.sources.modbus.plan import Block, Plan, plan
from adapters.sources.polling import Failure, What
from collector.profile import Profile, Register
from collector.quantities import quantities
from collector.registry import Device
from meterwatch.commissioning.plausible import Value
from meterwatch.commissioning.word_orders import reordered


@dataclass(frozen=True, slots=True)
class Identified:
    """What a device says of itself; empty and NaN where it, or its profile, does not."""

    serial: str = ""
    voltage_ratio: float = math.nan
    current_ratio: float = math.nan


NOTHING_SAID: Final = Identified()


async def identify(link: Link, unit: int, profile: Profile) -> Identified:
    """Ask for serial number and ratios, each by itself; a refusal is an answer, too."""
    known = profile.identity
    answers: dict[Block, bytes] = {}
    for one in (known.serial, known.voltage_ratio, known.current_ratio):
        if one is not None and link.connected:
            answer = await link.read(unit, place_of(one))
            if isinstance(answer, bytes):
                answers[place_of(one)] = answer

    def ratio(one: Register | None) -> float:
        raw = answers.get(place_of(one)) if one is not None else None
        if one is None or raw is None:
            return math.nan
        number = decode_one(one, struct.unpack(f">{len(raw) // 2}H", raw))
        found = number * one.scale + one.offset
        return found if found > 0 else math.nan

    serial = told_serial(known.serial, answers) if known.serial is not None else ""
    return Identified(serial, ratio(known.voltage_ratio), ratio(known.current_ratio))


class Reading:
    """``refused`` says what was left out, in the device's words; ``image`` is the newest."""

    def __init__(self, link: Link, unit: int, profile: Profile) -> None:
        self.profile = profile
        self.refused: tuple[str, ...] = ()
        self.image = b""
        self._link = link
        self._unit = unit
        self._strict = False
        self._without: tuple[Block, ...] = ()
        self._plan: Plan | None = None

    async def read(self) -> Failure | None:
        """Ask for everything once; what went wrong before the end. ``image`` is empty when all
        of it was refused."""
        if self._plan is not None:
            image, refused, failure = await self._ask(self._plan)
            if failure is None and not refused:
                self.image = image
            return failure
        made = self._planned(self.profile)
        image, refused, failure = await self._ask(made)
        if refused and failure is None:  # a strict device may only mind the holes
            self._strict = True
            image, refused, failure = await self._ask(self._planned(self.profile))
            self._without = tuple(refused)
            made = self._planned(self.profile)
        self.refused = tuple(refused.values())
        if failure is None:
            self._plan, self.image = made, image
        return failure

    def values(self, image: bytes, turn: str = "ABCD") -> tuple[Value, ...]:
        """What ``image`` holds, as the meter shows it, before any ratio."""
        profile = reordered(self.profile, turn)
        made = self._planned(profile)
        values, qualities = made.decode(image)
        names = [profile.registers[n].quantity for n in made.points.tolist()]
        return tuple(
            Value(name, value, quantities()[name].unit, quality)
            for name, value, quality in zip(names, values.tolist(), qualities.tolist(), strict=True)
        )

    def _planned(self, profile: Profile) -> Plan:
        device = Device("probe", "device", "place", profile.name)
        ids = {f"probe/place/{row.quantity}/raw": n for n, row in enumerate(profile.registers)}
        return plan(device, profile, ids, strict=self._strict, without=self._without)

    async def _ask(self, wanted: Plan) -> tuple[bytes, dict[Block, str], Failure | None]:
        """The image, what was refused and why, and what ended the reading before its time."""
        image = b""
        refused: dict[Block, str] = {}
        for block in wanted.blocks:
            if not self._link.connected:
                failure = await self._link.connect()
                if failure is not None:
                    return image, refused, failure
            answer = await self._link.read(self._unit, block)
            if isinstance(answer, bytes):
                image += answer
            elif answer.what in {What.NO_SUCH, What.REFUSED}:
                refused[block] = str(answer)
            else:
                return image, refused, answer
        return image, refused, None
